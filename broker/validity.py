"""Live sessions end with the credential that they came in with."""

import asyncio
from collections.abc import Callable
from time import time

from .expiries import Expiries
from .registry import SessionRegistry
from .session import Session

_LOOK_INTERVAL = 0.5
"""Seconds after which the clock is looked at again: it may be set while a timer runs."""
_TURN = 0.005
"""Seconds after which others have their turn, where many sessions end at a time."""


class Validity:
    """Close the connections whose time is over: by the wall clock, and less than a second late."""

    def __init__(self, registry: SessionRegistry, close: Callable[[Session], None]) -> None:
        self._registry = registry
        self._close = close
        self._ends: Expiries[str] = Expiries()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, session: Session, until: float | None) -> None:
        """Say when a live session ends: seconds since the epoch, None for never."""
        session.valid_until = until
        if until is None:
            self._ends.cancel(session.client_id)
        else:
            self._ends.schedule(session.client_id, until)
            self._look_in(until - time())

    def enforce(self, session: Session) -> None:
        """Close a session at once if its time is over."""
        if session.link is not None and session.valid_until is not None and session.valid_until <= time():
            self._close(session)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        """Look at the clock in so many seconds, if not before."""
        loop = asyncio.get_running_loop()
        delay = min(max(seconds, 0.0), _LOOK_INTERVAL)
        if self._timer is None or self._timer.when() > loop.time() + delay:
            self.close()
            self._timer = loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        self._look_in(_LOOK_INTERVAL)  # before anything that may fail
        loop, now = asyncio.get_running_loop(), time()
        turn_ends = loop.time() + _TURN
        for client_id in self._ends.due(now):
            session = self._registry.get(client_id)
            if session is None or session.valid_until is None:
                continue
            if session.valid_until > now:  # it was put off since
                self._ends.schedule(client_id, session.valid_until)
                continue
            self.enforce(session)
            if loop.time() >= turn_ends:
                break
        first = self._ends.first
        if first is None:
            self.close()
        else:
            self._look_in(first - now)
