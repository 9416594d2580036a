"""Whether a client's socket is read, and the reasons for not reading it."""

import asyncio
from collections.abc import Callable
from enum import IntFlag


class Hold(IntFlag):
    """Reasons for not reading from a socket."""

    TASK = 1
    """Something that this client asked for must be awaited first."""
    UNREAD_ANSWERS = 2
    """The client does not read what it is answered."""
    PACE = 4
    """A consumer of what it publishes has to catch up."""
    RATE = 8
    """It sent more than it may."""


class ReadGate:
    """Stop reading for as long as there is a reason to."""

    __slots__ = ("_held", "_resumed", "transport")

    def __init__(self, resumed: Callable[[], None]) -> None:
        """`resumed` is called when the last reason is gone, after reading has begun again."""
        self.transport: asyncio.Transport | None = None
        """None while there is no socket, and again once nothing more is to be read."""
        self._held = Hold(0)
        self._resumed = resumed

    @property
    def held(self) -> bool:
        """Tell whether there is a reason for not reading."""
        return bool(self._held)

    @property
    def held_by_us(self) -> bool:
        """Tell whether the client's silence is our doing."""
        return bool(self._held & ~Hold.UNREAD_ANSWERS)

    def holds(self, reason: Hold) -> bool:
        """Tell whether this is among the reasons."""
        return bool(self._held & reason)

    def hold(self, reason: Hold) -> None:
        """Stop reading."""
        if not self._held and self.transport is not None:
            self.transport.pause_reading()
        self._held |= reason

    def free(self, reason: Hold) -> None:
        """Take a reason back, and read again if it was the last."""
        if not self._held & reason:
            return
        self._held &= ~reason
        if not self._held and self.transport is not None:
            self.transport.resume_reading()
            self._resumed()
