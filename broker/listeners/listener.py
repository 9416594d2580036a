"""One bound address and the connections that came through it."""

import asyncio
import ssl
from collections.abc import Callable

from ..connection import Connection


class Listener:
    """Accept connections at one address; `max_connections` 0 for no bound of its own."""

    def __init__(self, name: str, kind: str, host: str | None, port: int, max_connections: int) -> None:
        self.name = name
        self.kind = kind
        self.listener_id = f"{kind}:{name}"
        self.max_connections = max_connections
        self.connections: set[Connection] = set()
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def full(self) -> bool:
        """Tell whether there is no room for another connection."""
        return 0 < self.max_connections <= len(self.connections)

    @property
    def address(self) -> tuple[str, int]:
        """The address that is bound, which tells the port where 0 was asked for."""
        if self._server is None or not self._server.sockets:
            return (self._host or "0.0.0.0", self._port)
        bound = self._server.sockets[0].getsockname()
        return (str(bound[0]), int(bound[1]))

    def entered(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)
        self._empty.clear()

    def left(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until no connection is left."""
        await self._empty.wait()

    async def open(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[["Listener"], Connection],
        ssl_context: ssl.SSLContext | None,
        max_message_size: int,
    ) -> None:
        """Bind and listen; raises OSError."""
        if self.kind in ("ws", "wss"):
            from .websocket import serve  # its library is loaded only where a WebSocket listener exists

            self._server = await serve(
                loop,
                lambda: factory(self),
                self._host,
                self._port,
                ssl=ssl_context,
                max_message_size=max_message_size,
            )
            return
        self._server = await loop.create_server(
            lambda: factory(self), self._host, self._port, ssl=ssl_context, reuse_address=True, backlog=1_024
        )

    def stop(self) -> None:
        """Accept no more connections; those that are there stay."""
        if self._server is not None:
            self._server.close()
