"""Connections as amqtt's adapters have them: over asyncio's streams, aiohttp's WebSockets and nothing at all."""

import asyncio
import ssl

import aiohttp
from aiohttp import web
from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, WriterAdapter

from ..engine.wire import Packet


class Line:
    """One connection in memory: the broker's ends are adapters, the client's are `feed` and `read`."""

    def __init__(self, *, peer: tuple[str, int] | None = ("192.0.2.1", 4_711)) -> None:
        self._to_broker = asyncio.StreamReader()
        self.reader = StreamReaderAdapter(self._to_broker)
        self.writer = LineWriter(peer)

    def feed(self, *data: bytes) -> None:
        self._to_broker.feed_data(b"".join(data))

    def hang_up(self) -> None:
        self._to_broker.feed_eof()

    def break_off(self) -> None:
        self._to_broker.set_exception(ConnectionResetError("gone"))

    async def read(self) -> Packet:
        """Take the next packet that the broker has sent."""
        async with asyncio.timeout(30):
            first, length, shift = (await self.writer.sent.readexactly(1))[0], 0, 0
            while True:
                digit = (await self.writer.sent.readexactly(1))[0]
                length |= (digit & 0x7F) << shift
                shift += 7
                if digit < 0x80:
                    break
            return Packet(first >> 4, first & 15, await self.writer.sent.readexactly(length))


class LineWriter(WriterAdapter):
    """Keep what is written; `drain` waits while the gate is closed."""

    def __init__(self, peer: tuple[str, int] | None) -> None:
        self.sent = asyncio.StreamReader(limit=2**30)
        self.size = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self.fails = False
        self._peer = peer

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.size += len(data)
        self.sent.feed_data(data)

    async def drain(self) -> None:
        if self.fails:
            raise BrokenPipeError("gone")
        await self.gate.wait()

    def get_peer_info(self) -> tuple[str, int] | None:
        return self._peer

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return None

    async def close(self) -> None:
        self.closed = True
        self.sent.feed_eof()


class WebSocketReader(ReaderAdapter):
    """Read from an aiohttp WebSocket: as many bytes as were asked for, from however many frames."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._buffer = bytearray()

    async def read(self, n: int = -1) -> bytes:
        while not self._buffer or len(self._buffer) < n:
            message = await self._socket.receive()
            if message.type != aiohttp.WSMsgType.BINARY:
                raise BrokenPipeError
            self._buffer += message.data
        count = len(self._buffer) if n < 0 else n
        taken = self._buffer[:count]  # a bytearray, as in amqtt's own sample
        del self._buffer[:count]
        return taken

    def feed_eof(self) -> None:
        """Do nothing."""


class WebSocketWriter(WriterAdapter):
    """Write to an aiohttp WebSocket when drained."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self._socket = socket
        self._request = request
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        self._buffer += data

    async def drain(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if data:
            await self._socket.send_bytes(data)

    def get_peer_info(self) -> tuple[str, int] | None:
        return self._request.remote or "", 0

    def get_ssl_info(self) -> ssl.SSLObject | None:
        raise NotImplementedError

    async def close(self) -> None:
        await self._socket.close()
