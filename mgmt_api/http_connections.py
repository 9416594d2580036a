"""Connections to the HTTP server, bounded in number and in what they may take: whoever opens one is a stranger yet.

aiohttp bounds neither, and each is a file that MQTT clients cannot have.
"""

import asyncio
from typing import Any, cast

from aiohttp import web

HEAD_SECONDS = 20.0
"""From when a connection is open until its first request's head is there."""
STALL_SECONDS = 60.0
"""For how long a peer may take nothing of its answer."""
_END_OF_HEAD = b"\r\n\r\n"


class HttpConnections:
    """Make the connections of one server, and own what they share."""

    def __init__(
        self,
        limit: int,
        *,
        head_seconds: float = HEAD_SECONDS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.limit = limit
        self.head_seconds = head_seconds
        self.stall_seconds = stall_seconds
        self.refused = 0
        """Connections that were closed because there were too many."""
        self.server: web.Server | None = None
        """What makes aiohttp's part of each, while it runs."""
        self._open: dict[asyncio.Protocol, HttpConnection] = {}
        """All of them, by what aiohttp has for each."""
        self._idle: dict[HttpConnection, None] = {}
        """Those that nothing is done for, whoever was heard of the longest ago first."""

    def __len__(self) -> int:
        return len(self._open)

    def __call__(self) -> "HttpConnection":
        """Make the protocol of a new connection."""
        if self.server is None:
            raise RuntimeError("the server does not run")
        return HttpConnection(self, self.server())

    def enter(self, connection: "HttpConnection") -> bool:
        """Take a new connection in, in place of the one that has been idle for longest if need be; False without room.

        Idle is also who sends a body or takes an answer, however slowly: so nobody keeps others out for long.
        """
        if len(self._open) >= self.limit:
            self.refused += 1
            longest = next(iter(self._idle), None)
            if longest is None:
                return False
            longest.abort()
        self._open[connection.handler] = connection
        self._idle[connection] = None
        return True

    def leave(self, connection: "HttpConnection") -> None:
        """Take a connection out."""
        self._idle.pop(connection, None)
        del self._open[connection.handler]

    def heard_of(self, connection: "HttpConnection") -> None:
        """Take note that an idle connection moves."""
        if connection in self._idle:
            del self._idle[connection]
            self._idle[connection] = None

    def begin(self, handler: asyncio.Protocol) -> None:
        """Take note that something is done for a connection from now on."""
        connection = self._open.get(handler)
        if connection is not None:
            self._idle.pop(connection, None)

    def finish(self, handler: asyncio.Protocol) -> None:
        """Take note that it is done."""
        connection = self._open.get(handler)
        if connection is not None:
            self._idle[connection] = None


class HttpConnection(asyncio.Protocol):
    """Stand between a socket and aiohttp: pass everything on, and break off what takes too long."""

    __slots__ = ("_open", "_owner", "_tail", "_timer", "_transport", "handler")

    def __init__(self, owner: HttpConnections, handler: asyncio.Protocol) -> None:
        self._owner = owner
        self.handler = handler
        self._open = False
        self._tail: bytes | None = b""
        """The last bytes of a head that is not whole yet; None behind the first one."""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._transport = cast("asyncio.Transport", transport)
        self._open = self._owner.enter(self)
        if not self._open:
            self._transport.abort()
            return
        self._wait(self._owner.head_seconds)
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, and see whether the first head is whole with it."""
        if not self._open:
            return
        self._owner.heard_of(self)
        if self._tail is not None:
            seen = self._tail + data
            self._tail = seen[-len(_END_OF_HEAD) + 1 :]
            if _END_OF_HEAD in seen:
                self._tail = None
                self._wait_no_more()
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that nothing more comes."""
        return self.handler.eof_received() if self._open else None

    def pause_writing(self) -> None:
        """Pass on that the peer takes nothing for now, and wait only for so long."""
        self._wait(self._owner.stall_seconds)
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it does again."""
        self._owner.heard_of(self)
        self._wait_no_more()
        self.handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, once."""
        self._wait_no_more()
        if self._open:
            self._open = False
            self._owner.leave(self)
            self.handler.connection_lost(exc)

    def abort(self) -> None:
        """Break the connection off; its place is free at once."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def _wait(self, seconds: float) -> None:
        self._wait_no_more()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class BoundedRunner(web.AppRunner):
    """Run an application whose sites accept bounded connections."""

    def __init__(self, application: web.Application, *, connections: HttpConnections, **options: Any) -> None:
        super().__init__(application, **options)
        self._connections = connections

    @property
    def server(self) -> web.Server | None:
        """What sites make connections with."""
        self._connections.server = super().server
        # sites do nothing but call it
        return None if self._connections.server is None else cast("web.Server", self._connections)
