"""The connection as its incoming half sees it."""

from collections.abc import Coroutine
from typing import Any, Protocol

from .protocol.packets import Packet


class Driver(Protocol):
    """The connection, as far as its incoming half needs it."""

    @property
    def closed(self) -> bool:
        """Tell whether nothing more is read or sent."""
        ...

    def packet(self, packet: Packet) -> bool | None:
        """Take a packet that is neither PUBLISH nor an acknowledgement."""
        ...

    def leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for something with reading held; True."""
        ...

    def hold_for_pace(self) -> bool:
        """Stop reading until nobody is behind any more; False if there is nothing to stop."""
        ...

    def hold_for_journal(self) -> bool:
        """Stop reading until less waits for the disk; False if there is nothing to stop."""
        ...

    def take_turns(self) -> bool:
        """Let others have their turn before the rest of what came is read; True."""
        ...


class _Nobody:
    """Drive what is not connected any more."""

    closed = True

    def packet(self, packet: Packet) -> bool | None:
        return True

    def leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        work.close()
        return True

    def hold_for_pace(self) -> bool:
        return False

    def hold_for_journal(self) -> bool:
        return False

    def take_turns(self) -> bool:
        return True


NOBODY = _Nobody()
