"""An inner protocol that echoes and remembers, a server around it, and a client that writes raw frames."""

import asyncio
import base64
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from wardenmq.broker.listeners.websocket import WebSocketProtocol

from ..clocks import ignore_stalls

TIME_LIMIT = 30.0
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Echo(asyncio.Protocol):
    """Echo what comes, and keep a record of every call in order."""

    def __init__(self, *, pauses: bool = False) -> None:
        self.pauses = pauses
        self.calls: list[str] = []
        self.received = bytearray()
        self.lost_with: Exception | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.calls.append("data")
        self.received += data
        if self.pauses:
            self.transport.pause_reading()
        else:
            self.transport.write(data)

    def eof_received(self) -> None:
        self.calls.append("eof")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.lost_with = exc


@dataclass
class Echoes:
    """What a test sees of the server: its port and every inner protocol that was made."""

    port: int = 0
    made: list[Echo] = field(default_factory=list[Echo])

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.port}/mqtt"


@asynccontextmanager
async def echoing(
    make: Callable[[], Echo] = Echo,
    *,
    max_frame_size: int = 1_000_000,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[Echoes]:
    """Serve echoes on a free port; `options` are those of WebSocketProtocol."""
    ignore_stalls()
    echoes = Echoes()
    loop = asyncio.get_running_loop()

    def factory() -> Echo:
        echo = make()
        echoes.made.append(echo)
        return echo

    def accept() -> WebSocketProtocol:
        return WebSocketProtocol(factory, loop, max_frame_size=max_frame_size, **options)

    server = await loop.create_server(accept, "127.0.0.1", 0, ssl=tls)
    echoes.port = server.sockets[0].getsockname()[1]
    try:
        yield echoes
    finally:
        server.close()
        for echo in echoes.made:
            echo.transport.abort()


def request(
    path: str = "/mqtt", *, subprotocol: str | None = "mqtt", padding: int = 0, origins: Sequence[str] = ()
) -> bytes:
    """Write an opening request."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    lines += [f"Origin: {origin}" for origin in origins]
    lines += [f"X-Padding: {'x' * 1_000}"] * padding
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """Write a frame as RFC 6455 section 5.2 lays it out."""
    mask_bit = 0x80 if masked else 0
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65_536:
        head += struct.pack("!BH", mask_bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", mask_bit | 127, len(payload))
    if not masked:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    return head + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


class RawClient:
    """A socket that speaks no WebSocket but what a test writes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *parts: bytes) -> None:
        """Write everything in one go."""
        self.writer.write(b"".join(parts))

    async def response(self) -> str:
        """Read up to the blank line that ends a response's head."""
        async with asyncio.timeout(TIME_LIMIT):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def frame(self) -> tuple[int, bytes]:
        """Read a frame of the server: opcode and payload."""
        async with asyncio.timeout(TIME_LIMIT):
            first, length = await self.reader.readexactly(2)
            assert first & 0x80, "the server does not fragment"
            assert not length & 0x80, "a server does not mask"
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def payload(self, size: int) -> bytes:
        """Read binary frames until they hold so many bytes."""
        data = b""
        while len(data) < size:
            opcode, part = await self.frame()
            assert opcode == BINARY
            data += part
        return data

    async def rest(self) -> bytes:
        """Read until the server ends the stream."""
        async with asyncio.timeout(TIME_LIMIT):
            return await self.reader.read()


@asynccontextmanager
async def raw_client(port: int, **options: Any) -> AsyncIterator[RawClient]:
    """Connect a socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[RawClient]:
    """Connect a socket and open the WebSocket."""
    async with raw_client(port) as client:
        client.send(request())
        assert (await client.response()).startswith("HTTP/1.1 101 ")
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; TimeoutError if it never does."""
    async with asyncio.timeout(TIME_LIMIT):
        while not condition():  # noqa: ASYNC110 - what is waited for knows of no event
            await asyncio.sleep(0.005)
