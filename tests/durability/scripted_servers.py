"""A server that says what a test has it say, right or wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ..engine.wire import CONNACK, CONNECT, packet
from .persistent_clients import WAIT_SECONDS, Place


class Peer:
    """One connection of a client, as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *packets: bytes) -> None:
        """Send packets in one write."""
        self._writer.write(b"".join(packets))

    def abort(self) -> None:
        """Break the connection, as the end of the process does."""
        self._writer.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await self._writer.wait_closed()

    async def read(self) -> tuple[int, int, bytes]:
        """Take the next packet: type, flags and body."""
        async with asyncio.timeout(WAIT_SECONDS):
            first, length, shift = (await self._reader.readexactly(1))[0], 0, 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                length |= (digit & 0x7F) << shift
                shift += 7
                if digit < 0x80:
                    return first >> 4, first & 15, await self._reader.readexactly(length)

    async def take(self, kind: int) -> bytes:
        """Take the next packet, which must be of this type; give its body."""
        got = await self.read()
        assert got[0] == kind, got
        return got[2]

    async def accept(self, *, present: bool, level: int = 4, properties: bytes = b"\0", reason: int = 0) -> bytes:
        """Take the CONNECT and answer it; give its body."""
        body = await self.take(CONNECT)
        self.send(packet(CONNACK, bytes((present, reason)) + (properties if level == 5 else b"")))
        return body


class ScriptedServer:
    """Hand each connection to the test."""

    def __init__(self) -> None:
        self.place = Place()
        self._peers: asyncio.Queue[Peer] = asyncio.Queue(maxsize=10)
        self._all: list[Peer] = []

    async def next_peer(self) -> Peer:
        """Wait for the next connection."""
        return await asyncio.wait_for(self._peers.get(), WAIT_SECONDS)

    async def accepted(self, *, present: bool, level: int = 4, properties: bytes = b"\0") -> Peer:
        """Wait for the next connection and let the client in."""
        peer = await self.next_peer()
        await peer.accept(present=present, level=level, properties=properties)
        return peer

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._all.append(peer)
        self._peers.put_nowait(peer)

    async def end(self) -> None:
        """Break all connections."""
        for peer in self._all:
            peer.abort()
            with suppress(ConnectionError):
                await peer.wait_closed()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Listen on a free port."""
    scripted = ScriptedServer()
    server = await asyncio.start_server(scripted._connected, "127.0.0.1", 0)
    scripted.place.address = server.sockets[0].getsockname()
    try:
        yield scripted
    finally:
        server.close()
        await server.wait_closed()
        await scripted.end()
