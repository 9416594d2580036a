"""Plugin contexts without a broker."""

from amqtt.contexts import BaseContext
from wardenmq.broker.access import ConnectRequest, Identity
from wardenmq.store.directory import Directory


class DirectoryContext(BaseContext):
    """What a plugin is given."""

    def __init__(self, directory: Directory | None, config: object) -> None:
        super().__init__()
        self.directory = directory
        self.config = config  # type: ignore[assignment]


def request(client_id: str, username: str | None, password: bytes | None) -> ConnectRequest:
    """Describe a client that wants to connect."""
    return ConnectRequest(client_id, username, password, "127.0.0.1", 50_000, "tcp:default", 4)


def identity(
    client_id: str, username: str | None, *, principal: str | None = None, superuser: bool = False
) -> Identity:
    """Describe a connected client; without a principal, one that somebody else than the credential store admitted."""
    return Identity(client_id, username, principal, "127.0.0.1", superuser=superuser)
