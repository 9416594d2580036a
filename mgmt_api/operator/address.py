"""Where the operator's API is and how the command line names itself there; imports nothing, to be quick."""

PREFIX = "/api/wardenmq/v1"
MAX_TARGET = 262_144
"""Bytes of path and query: a topic of 65,535 bytes, percent-encoded, and names of usual length beside it."""
IDENTITY_PATH = "/identity"
"""Where the server proves to be the owner of its data directory, before anybody tells it the operator token."""
VIA_HEADER = "Wardenmq-Via"
"""Which of the operator's own tools sends a request; without it, the audit log names the API."""
VIA_COMMAND_LINE = "cli"
OPERATOR = "operator"
"""The actor that the audit log names: there is one operator token for all who run the server."""
