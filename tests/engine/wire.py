"""Speak MQTT 3.1 and 3.1.1 by hand: independent of the broker's code, able to send what no real client would."""

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

PING = b"\xc0\x00"
GOODBYE = b"\xe0\x00"
TIME_LIMIT = 30.0
"""Seconds any single expected thing may take: what protects a test from hanging is nothing that it expects."""


def string(text: str | bytes) -> bytes:
    """Encode an MQTT string, or bytes that pretend to be one."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(raw)) + raw


def remaining_length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, digit = value >> 7, value & 0x7F
        encoded.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + remaining_length(len(body)) + body


@dataclass(frozen=True, slots=True)
class Will:
    topic: str | bytes
    payload: bytes = b"gone"
    qos: int = 0
    retain: bool = False


def connect(
    client_id: str | bytes = "",
    *,
    clean: bool = True,
    keep_alive: int = 0,
    will: Will | None = None,
    username: str | bytes | None = None,
    password: bytes | None = None,
    name: str | bytes = "MQTT",
    level: int = 4,
    flags: int | None = None,
) -> bytes:
    """Build a CONNECT; `flags` overrides the flags byte that the fields would give."""
    bits = 2 if clean else 0
    payload = string(client_id)
    if will is not None:
        bits |= 4 | will.qos << 3 | (32 if will.retain else 0)
        payload += string(will.topic) + string(will.payload)
    if username is not None:
        bits |= 128
        payload += string(username)
    if password is not None:
        bits |= 64
        payload += string(password)
    head = string(name) + bytes((level, bits if flags is None else flags)) + struct.pack("!H", keep_alive)
    return packet(CONNECT, head + payload)


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int | None = None,
    *,
    retain: bool = False,
    dup: bool = False,
) -> bytes:
    body = string(topic) + (b"" if packet_id is None else struct.pack("!H", packet_id)) + payload
    return packet(PUBLISH, body, qos << 1 | (1 if retain else 0) | (8 if dup else 0))


def subscribe(packet_id: int, *filters: tuple[str | bytes, int], flags: int = 2) -> bytes:
    body = struct.pack("!H", packet_id) + b"".join(string(f) + bytes((qos,)) for f, qos in filters)
    return packet(SUBSCRIBE, body, flags)


def unsubscribe(packet_id: int, *filters: str | bytes, flags: int = 2) -> bytes:
    return packet(UNSUBSCRIBE, struct.pack("!H", packet_id) + b"".join(map(string, filters)), flags)


def acknowledge(kind: int, packet_id: int) -> bytes:
    return packet(kind, struct.pack("!H", packet_id), 2 if kind == PUBREL else 0)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it came; PUBLISH and acknowledgement fields are read on demand."""

    kind: int
    flags: int
    body: bytes

    @property
    def qos(self) -> int:
        return self.flags >> 1 & 3

    @property
    def retain(self) -> bool:
        return bool(self.flags & 1)

    @property
    def dup(self) -> bool:
        return bool(self.flags & 8)

    @property
    def topic(self) -> str:
        return self.body[2 : 2 + self._topic_length].decode()

    @property
    def payload(self) -> bytes:
        return self.body[2 + self._topic_length + (2 if self.qos else 0) :]

    @property
    def packet_id(self) -> int:
        start = 2 + self._topic_length if self.kind == PUBLISH else 0
        return struct.unpack_from("!H", self.body, start)[0]

    @property
    def _topic_length(self) -> int:
        return struct.unpack_from("!H", self.body)[0]


class Client:
    """One raw connection; every wait has a time limit, and PUBLISH packets met on the way are kept in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: deque[Packet] = deque()
        self._last_id = 0

    @classmethod
    async def open(cls, address: tuple[str, int], *, read_limit: int = 2**16) -> "Client":
        return cls(*await asyncio.open_connection(*address, limit=read_limit))

    def send(self, *data: bytes) -> None:
        """Hand bytes to the socket as one write."""
        self._writer.write(b"".join(data))

    async def drain(self) -> None:
        await asyncio.wait_for(self._writer.drain(), TIME_LIMIT)

    def abort(self) -> None:
        """Break the connection without a DISCONNECT."""
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()

    async def disconnect(self) -> None:
        """Say goodbye and wait until the server has hung up [MQTT-3.14.4-1]."""
        self.send(GOODBYE)
        await self.hung_up()

    async def read(self, seconds: float = TIME_LIMIT) -> Packet:
        """Take the next packet from the wire itself; IncompleteReadError or ConnectionError when the server hung up."""
        async with asyncio.timeout(seconds):
            first, length, shift = (await self._reader.readexactly(1))[0], 0, 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                length |= (digit & 0x7F) << shift
                shift += 7
                if digit < 0x80:
                    break
            return Packet(first >> 4, first & 15, await self._reader.readexactly(length))

    async def raw(self, count: int) -> bytes:
        """Take that many bytes as they come."""
        async with asyncio.timeout(TIME_LIMIT):
            return await self._reader.readexactly(count)

    async def expect(self, kind: int) -> Packet:
        """Take the next packet of this kind; anything but a PUBLISH on the way is an error."""
        if kind == PUBLISH and self._waiting:
            return self._waiting.popleft()
        while (got := await self.read()).kind != kind:
            assert got.kind == PUBLISH, f"expected packet type {kind}, got {got}"
            self._waiting.append(got)
        return got

    async def message(self) -> Packet:
        """Take the next PUBLISH and do the receiver's part of its handshake."""
        got = await self.expect(PUBLISH)
        await self.complete(got)
        return got

    async def complete(self, got: Packet) -> None:
        """Acknowledge a PUBLISH to the end."""
        if got.qos == 1:
            self.send(acknowledge(PUBACK, got.packet_id))
        elif got.qos == 2:
            self.send(acknowledge(PUBREC, got.packet_id))
            assert (await self.expect(PUBREL)).packet_id == got.packet_id
            self.send(acknowledge(PUBCOMP, got.packet_id))

    async def messages(self, count: int) -> list[bytes]:
        return [(await self.message()).payload for _ in range(count)]

    async def ping(self) -> None:
        """Wait until the server has handled all that was sent so far."""
        self.send(PING)
        await self.expect(PINGRESP)

    async def nothing_came(self) -> None:
        """Assert that no message waits: the answer to a PINGREQ is the next packet."""
        await self.ping()
        assert not self._waiting, f"unexpected {list(self._waiting)}"

    async def hung_up(self, seconds: float = TIME_LIMIT) -> None:
        """Assert that the server closes without sending another packet."""
        assert not self._waiting, f"unexpected {list(self._waiting)}"
        try:
            got = await asyncio.wait_for(self._reader.read(1), seconds)
        except ConnectionError:
            got = b""
        assert got == b"", f"expected the end of the stream, got a packet that begins with {got.hex()}"
        self._writer.close()

    async def connect(self, client_id: str = "", **fields: object) -> bool:
        """Connect and tell whether a session was present; the CONNACK must be 0."""
        self.send(connect(client_id, **fields))  # pyright: ignore[reportArgumentType]
        got = await self.expect(CONNACK)
        assert got.body[1] == 0, f"refused with {got.body[1]}"
        assert got.body[0] in (0, 1)
        return bool(got.body[0])

    async def refused(self, request: bytes) -> int:
        """Send a CONNECT that must be refused; give its return code after the server hung up."""
        self.send(request)
        got = await self.expect(CONNACK)
        assert got.body[0] == 0, "session present in a refusal"  # [MQTT-3.2.2-4]
        await self.hung_up()
        return got.body[1]

    async def subscribe(self, *filters: tuple[str | bytes, int]) -> list[int]:
        """Subscribe and give the return codes."""
        packet_id = self.next_id()
        self.send(subscribe(packet_id, *filters))
        got = await self.expect(SUBACK)
        assert got.packet_id == packet_id  # [MQTT-3.8.4-2]
        return list(got.body[2:])

    async def unsubscribe(self, *filters: str) -> None:
        packet_id = self.next_id()
        self.send(unsubscribe(packet_id, *filters))
        assert (await self.expect(UNSUBACK)).packet_id == packet_id

    async def publish(self, topic: str | bytes, payload: bytes = b"", qos: int = 0, *, retain: bool = False) -> None:
        """Publish and wait until the server has handled it, whatever the QoS."""
        packet_id = self.next_id() if qos else None
        self.send(publish(topic, payload, qos, packet_id, retain=retain))
        if packet_id is None:
            await self.ping()
        elif qos == 1:
            assert (await self.expect(PUBACK)).packet_id == packet_id
        else:
            assert (await self.expect(PUBREC)).packet_id == packet_id
            self.send(acknowledge(PUBREL, packet_id))
            assert (await self.expect(PUBCOMP)).packet_id == packet_id

    async def publish_all(self, topic: str, payloads: Sequence[bytes], qos: int = 0) -> None:
        for payload in payloads:
            await self.publish(topic, payload, qos)

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id
