"""What carries a command's requests to the operations: a connection to the server, or the store in this process."""

from typing import Protocol


class Transport(Protocol):
    """A way for requests to get to the operations."""

    def call(self, method: str, path: str, query_string: str, content_type: str, data: bytes) -> tuple[int, bytes]:
        """Return status and body; raise `Failure`, or a `StoreError` that is no fault of the request."""
        ...

    def close(self) -> None:
        """Let go of what was held; a second call does nothing."""
        ...
