"""The graceful end: what can still be delivered is, then everybody is told that the server leaves."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from .connection import Connection
from .engine import Engine
from .protocol.reason_codes import ReasonCode

_LOOK = 0.02
"""Seconds between two looks at the queues."""
_CLOSING = 5.0
"""Seconds in which clients may take what was written to their sockets."""


class Connections(Protocol):
    """The listeners, as far as their connections are concerned."""

    @property
    def connections(self) -> Iterable[Connection]:
        """Those that are open."""
        ...

    async def wait_empty(self, seconds: float) -> None:
        """Wait until all connections are gone, but no longer than this."""
        ...


class Leaving:
    """Close all connections of a broker that listens no more."""

    def __init__(
        self, engine: Engine, connections: Connections, loop: asyncio.AbstractEventLoop, seconds: float
    ) -> None:
        """`seconds` is how long queues may take to empty, and then the journal to be written."""
        self._engine = engine
        self._connections = connections
        self._loop = loop
        self._seconds = seconds

    async def leave(self) -> None:
        """Let those go first who wait for nothing, so that nothing more comes in; then the others."""
        until = self._loop.time() + self._seconds
        while waiting := [connection for connection in self._connections.connections if _waits(connection)]:
            if self._loop.time() >= until:
                break
            kept = set(waiting)
            for connection in list(self._connections.connections):
                if connection not in kept:
                    self._close(connection)
            await asyncio.sleep(_LOOK)
        for connection in list(self._connections.connections):
            self._close(connection)
        await self._connections.wait_empty(_CLOSING)
        for connection in list(self._connections.connections):
            connection.out.abort()
        if self._engine.journal is not None:
            await self._engine.journal.close(max(_CLOSING, self._seconds))

    def _close(self, connection: Connection) -> None:
        session = connection.session
        if session is not None and session.link is connection.out:
            # The server leaves: no will speaks for a healthy client.
            self._engine.detach(session, graceful=True, reason="shutdown")
        connection.out.close(ReasonCode.SERVER_SHUTTING_DOWN)


def _waits(connection: Connection) -> bool:
    """Tell whether a client is to get something yet that nobody keeps for it, or an answer."""
    out, session = connection.out, connection.session
    if out.closed or session is None or session.link is not out:
        return False
    return out.held is not None or (len(session.queue) > 0 and not session.journaled)
