"""One connection of a client, for as long as it lasts: bytes to packets, in MQTT 3.1.1 and 5 alike."""

import asyncio
from collections.abc import Callable

from ..engine.packets5 import Packet5, parse
from ..engine.wire import CONNACK, PUBLISH, SUBACK, Packet


def parse_any(level: int, first: int, data: bytes, size: int) -> Packet5:
    """Decode a packet from a server; one of 3.1.1 has no reasons and no properties."""
    if level == 5:
        return parse(first, data, size)
    got = Packet(first >> 4, first & 15, data)
    if got.kind == PUBLISH:
        packet_id = got.packet_id if got.qos else 0
        topic = got.topic
        return Packet5(PUBLISH, got.flags, size, packet_id, wire_topic=topic, topic=topic, payload=got.payload)
    if got.kind == CONNACK:
        return Packet5(CONNACK, got.flags, size, reason=data[1], session_present=bool(data[0]))
    codes = tuple(data[2:]) if got.kind == SUBACK else ()
    return Packet5(got.kind, got.flags, size, got.packet_id if data else 0, codes=codes)


class Connection(asyncio.Protocol):
    """Give each packet to `receive`, in the turn of the loop that brings its last byte.

    What `receive` raises ends the connection, and is raised by `wait_over`.
    """

    transport: asyncio.Transport

    def __init__(self, level: int, receive: Callable[[Packet5], None]) -> None:
        self.failure: BaseException | None = None
        self.over = asyncio.Event()
        self._level = level
        self._receive = receive
        self._buffer = bytearray()

    @classmethod
    async def open(cls, address: tuple[str, int], level: int, receive: Callable[[Packet5], None]) -> "Connection":
        """Connect; OSError where nobody listens."""
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(level, receive), *address)
        return connection

    def send(self, *packets: bytes) -> None:
        """Hand packets to the socket as one write; nothing where the connection is over."""
        if not self.transport.is_closing():
            self.transport.write(b"".join(packets))

    def abort(self) -> None:
        """Break the connection; what was not sent yet is lost."""
        self.transport.abort()

    async def wait_over(self) -> None:
        """Wait until the connection has ended, by whomever; raises what handling a packet raised."""
        await self.over.wait()
        if self.failure is not None:
            raise self.failure

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self.failure is None and self._take_packet():
                pass
        except BaseException as failure:
            self.failure = failure
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()

    def _take_packet(self) -> bool:
        """Give away the first packet; False if it is not complete."""
        buffer = self._buffer
        length, at = 0, 1
        while True:
            if at >= len(buffer):
                return False
            length |= (buffer[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if buffer[at - 1] < 0x80:
                break
        if len(buffer) < at + length:
            return False
        first, data = buffer[0], bytes(buffer[at : at + length])
        del buffer[: at + length]
        self._receive(parse_any(self._level, first, data, at + length))
        return True
