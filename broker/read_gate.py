"""Whether a client's socket is read, and the reasons for not reading it."""

import asyncio


class Hold:
    """Reasons for not reading from a socket: bits, and plain numbers, for each client that comes looks at them."""

    TASK = 1
    """Something that this client asked for must be awaited first."""
    UNREAD_ANSWERS = 2
    """The client does not read what it is answered."""
    PACE = 4
    """A consumer of what it publishes has to catch up."""
    RATE = 8
    """It sent more than it may."""
    JOURNAL = 16
    """Too much waits for the disk."""


class ReadGate:
    """Stop reading for as long as there is a reason to."""

    __slots__ = ("_held", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        """None while there is no socket, and again once nothing more is to be read."""
        self._held = 0

    @property
    def held(self) -> bool:
        """Tell whether there is a reason for not reading."""
        return self._held != 0

    @property
    def held_by_us(self) -> bool:
        """Tell whether the client's silence is our doing."""
        return self._held & ~Hold.UNREAD_ANSWERS != 0

    def holds(self, reason: int) -> bool:
        """Tell whether this is among the reasons."""
        return self._held & reason != 0

    def hold(self, reason: int) -> None:
        """Stop reading."""
        if not self._held and self.transport is not None:
            self.transport.pause_reading()
        self._held |= reason

    def free(self, reason: int) -> bool:
        """Take a reason back; True where it was the last and the socket is read again."""
        if not self._held & reason:
            return False
        self._held &= ~reason
        if self._held or self.transport is None:
            return False
        self.transport.resume_reading()
        return True
