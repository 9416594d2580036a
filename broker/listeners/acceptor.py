"""Accept sockets one by one, where something comes between a socket and its connection, or the loop does it badly."""

import asyncio
import socket
from collections.abc import Callable
from logging import getLogger

_logger = getLogger(__name__)

BACKLOG = 1_024
_AT_ONCE = 100
"""Sockets accepted in a row, so that a flood of them does not keep the loop from the others."""
_PAUSE = 1.0
"""Seconds without accepting when the process has run out of something."""
_SILENCE = 60.0
"""Seconds between two lines in the log about that."""

Accepted = Callable[[socket.socket, object], None]


class Acceptor:
    """Own a bound socket and hand on what it accepts, with the peer's address as `accept` gives it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bound: socket.socket, accepted: Accepted) -> None:
        self._loop = loop
        self._socket = bound
        self._accepted = accepted
        self._pause: asyncio.TimerHandle | None = None
        self._next_report = 0.0

    def start(self) -> None:
        """Listen."""
        self._socket.listen(BACKLOG)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # the peer has gone before its turn came
                continue
            except OSError as error:  # out of files or memory: what comes waits in the backlog
                self._report(error)
                self._loop.remove_reader(self._socket)
                self._pause = self._loop.call_later(_PAUSE, self._resume)
                return
            accepted.setblocking(False)
            self._accepted(accepted, peer)

    def _report(self, error: OSError) -> None:
        now = self._loop.time()
        if now >= self._next_report:
            self._next_report = now + _SILENCE
            _logger.error("accepting connections pauses: %s", error.strerror or error)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket, self._accept)
