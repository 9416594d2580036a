"""Connections that somebody else has accepted, handed over as amqtt's reader and writer adapters."""

import asyncio
from collections.abc import Iterable
from logging import getLogger
from typing import Any

from amqtt.adapters import ReaderAdapter, WriterAdapter

from ..connection import Connection
from .limits import ListenerLimits
from .listener import Listener

_logger = getLogger(__name__)
_CHUNK = 65_536
"""Largest piece that is asked of a reader at a time."""
_HIGH_WATER = 65_536
_CLOSE_TIMEOUT = 5.0
"""Seconds that a writer may take to close."""

Data = bytes | bytearray | memoryview


class ExternalListener(Listener):
    """Count the connections that are handed over under one name; nothing is bound."""

    def __init__(self, name: str, limits: ListenerLimits) -> None:
        super().__init__(name, "external", limits)


class AdapterTransport(asyncio.Transport):
    """Look like a socket's transport to a protocol, over amqtt's adapters.

    amqtt's readers can only be asked for a number of bytes and wait until there are as many, so packets are read by
    their lengths: first byte, remaining length, body.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        peer: tuple[str, int],
        protocol: asyncio.Protocol,
    ) -> None:
        super().__init__()
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._protocol = protocol
        self._loop = loop
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._to_write = asyncio.Event()
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._high = _HIGH_WATER
        self._low = _HIGH_WATER // 4
        self._writing_paused = False
        self._closing = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._error: Exception | None = None

    async def serve(self) -> None:
        """Carry the connection until either side ends it; cancelled, end it at once."""
        self._protocol.connection_made(self)
        reading = self._loop.create_task(self._read())
        writing = self._loop.create_task(self._write())
        self._tasks = (reading, writing)
        try:
            if self._closing:  # refused at once, when there was nobody yet to tell
                reading.cancel()
                self._to_write.set()
            await asyncio.wait((writing,))
        finally:
            self.abort()
            self._protocol.connection_lost(self._error)
            await asyncio.gather(reading, writing, return_exceptions=True)
            await self._close_writer()

    async def _close_writer(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._writer.close()
        except Exception as error:  # the connection driver: an adapter may fail in any way
            _logger.debug("an adapter's writer did not close: %r", error)

    # -- reading

    async def _read(self) -> None:
        try:
            while await self._read_packet():
                pass
        except Exception as error:  # the connection driver: an adapter may fail in any way
            _logger.debug("an adapter's reader failed: %r", error)
            self._error = error
        await self._may_read.wait()  # as with a socket that is not read: what came first is dealt with first
        if not self._closing:
            self._protocol.eof_received()
            self.close()

    async def _read_packet(self) -> bool:
        """Hand one packet on, a long one in pieces; False at the end of the stream."""
        head = bytearray(await self._read_some(1))
        if not head:
            return False
        length = 0
        for index in range(4):
            digit = await self._read_some(1)
            head += digit
            if not digit:
                break
            length |= (digit[0] & 0x7F) << 7 * index
            if digit[0] < 0x80:
                break
        if length > _CHUNK:  # it may be refused for its length alone
            await self._hand_on(bytes(head))
            head.clear()
        while length and not self._closing:
            piece = await self._read_some(min(length, _CHUNK))
            if not piece:
                break
            length -= len(piece)
            head += piece
            if len(head) >= _CHUNK:
                await self._hand_on(bytes(head))
                head.clear()
        if head:
            await self._hand_on(bytes(head))
        return not self._closing

    async def _read_some(self, count: int) -> bytes:
        return bytes(await self._reader.read(count))

    async def _hand_on(self, data: bytes) -> None:
        await self._may_read.wait()
        self._protocol.data_received(data)

    def pause_reading(self) -> None:
        """Stop `data_received` from being called; nothing more is read but a packet that has begun."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Let `data_received` be called again."""
        self._may_read.set()

    def is_reading(self) -> bool:
        """Tell whether `data_received` may be called."""
        return self._may_read.is_set() and not self._closing

    # -- writing

    async def _write(self) -> None:
        try:
            while True:
                await self._to_write.wait()
                self._to_write.clear()
                while self._buffer:
                    data = b"".join(self._buffer)
                    self._buffer.clear()
                    self._writer.write(data)
                    await self._writer.drain()
                    self._buffered -= len(data)
                    if self._writing_paused and self._buffered <= self._low:
                        self._writing_paused = False
                        self._protocol.resume_writing()
                if self._closing:
                    return
        except Exception as error:  # the connection driver: an adapter may fail in any way
            _logger.debug("an adapter's writer failed: %r", error)
            self._error = error

    def write(self, data: Data) -> None:
        """Send bytes soon."""
        if self._closing or not data:
            return
        self._buffer.append(bytes(data))
        self._buffered += len(data)
        self._to_write.set()
        if self._buffered > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send chunks soon."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Tell that adapters cannot be closed for writing alone."""
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, for `pause_writing` and `resume_writing`."""
        self._high = _HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark in bytes."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Count the bytes that the writer has not taken yet."""
        return self._buffered

    # -- the end

    def close(self) -> None:
        """Send what is waiting and close."""
        if not self._closing:
            self._closing = True
            self._may_read.set()
            if self._tasks:
                self._tasks[0].cancel()
            self._to_write.set()

    def abort(self) -> None:
        """Close at once, whatever is waiting."""
        self._closing = True
        self._buffer.clear()
        for task in self._tasks:
            task.cancel()

    def is_closing(self) -> bool:
        """Tell whether either side began to close."""
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Answer for `peername` and `ssl_object`."""
        if name == "peername":
            return self._peer
        if name == "ssl_object":
            try:
                return self._writer.get_ssl_info()
            except Exception as error:  # the connection driver: an adapter may fail in any way
                _logger.debug("an adapter's writer knows nothing of TLS: %r", error)
        return default

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol


async def serve_adapters(
    loop: asyncio.AbstractEventLoop, connection: Connection, reader: ReaderAdapter, writer: WriterAdapter
) -> None:
    """Carry a connection over amqtt's adapters until it ends; one without a peer address is closed, as in amqtt."""
    peer = writer.get_peer_info()
    if peer is None:
        _logger.warning("an external connection without a peer address is closed")
        await writer.close()
        return
    await AdapterTransport(loop, reader, writer, (str(peer[0]), int(peer[1])), connection).serve()
