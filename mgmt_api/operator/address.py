"""Where the operator's API is and how the command line names itself there; imports nothing, to be quick."""

PREFIX = "/api/wardenmq/v1"
VIA_HEADER = "Wardenmq-Via"
"""Which of the operator's own tools sends a request; without it, the audit log names the API."""
VIA_COMMAND_LINE = "cli"
OPERATOR = "operator"
"""The actor that the audit log names: there is one operator token for all who run the server."""
