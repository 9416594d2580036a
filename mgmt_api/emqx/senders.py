"""Who sent a message, by user name: messages know the client id alone."""

from typing import Protocol

from ...broker.registry import SessionRegistry


class Sent(Protocol):
    """A message, as far as its sender goes."""

    @property
    def sender(self) -> str:
        """Client id of the publisher."""
        ...

    @property
    def published_at(self) -> float:
        """Seconds since the epoch."""
        ...


def username_of(registry: SessionRegistry, message: Sent) -> str | None:
    """Return the sender's user name while its session is there.

    A session that began after the message may be that of somebody else under the same client id.
    """
    session = registry.get(message.sender)
    if session is None or session.created_at > message.published_at:
        return None
    return session.username
