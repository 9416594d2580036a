"""The keep-alives of all clients, watched with one timer: a timer for each would be a tenth of what a client costs."""

import asyncio
from typing import Protocol

_TURN = 0.25
"""Seconds: who is silent for too long is noticed by so much later at most."""


class Client(Protocol):
    """Who may not be silent for long."""

    def check_silence(self) -> None:
        """End the connection if it was silent for too long, else have it looked at again."""
        ...


class KeepAlives:
    """Look at each client when its time may be over."""

    __slots__ = ("_due", "_loop", "_next", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, set[Client]] = {}
        """Who is looked at in which turn; turns are numbered by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0
        """The turn for which the timer is set."""

    def watch(self, client: Client, seconds: float) -> int:
        """Have a client looked at once in so many seconds; return what `forget` wants to know."""
        turn = int((self._loop.time() + seconds) / _TURN) + 1
        clients = self._due.get(turn)
        if clients is None:
            self._due[turn] = {client}
            self._wake(turn)
        else:
            clients.add(client)
        return turn

    def forget(self, client: Client, turn: int) -> None:
        """Do not look at a client, if that is still to come."""
        clients = self._due.get(turn)
        if clients is not None:
            clients.discard(client)
            if not clients:
                del self._due[turn]

    def _wake(self, turn: int) -> None:
        if self._timer is not None:
            if self._next <= turn:
                return
            self._timer.cancel()
        self._next = turn
        self._timer = self._loop.call_at(turn * _TURN, self._look)

    def _look(self) -> None:
        self._timer = None
        now = int(self._loop.time() / _TURN)
        if self._due:  # before anything that may fail
            self._wake(max(now + 1, min(self._due)))
        for turn in [turn for turn in self._due if turn <= now]:
            clients = self._due.get(turn, set())
            while clients:
                clients.pop().check_silence()
            self._due.pop(turn, None)
