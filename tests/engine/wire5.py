"""Speak MQTT 5 by hand: independent of the broker's code, free in what it sends, strict about what the server sends."""

import asyncio
import struct
from dataclasses import dataclass, replace

from .packets5 import AUTH, P, Packet5, Properties, Property, parse, property_block, shortest
from .wire import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    TIME_LIMIT,
    UNSUBACK,
    UNSUBSCRIBE,
    Client,
    packet,
    string,
)


def users(*pairs: tuple[str, str]) -> list[Property]:
    """Give user properties."""
    return [(P.USER, pair) for pair in pairs]


@dataclass(frozen=True, slots=True)
class Will5:
    topic: str | bytes
    payload: bytes = b"gone"
    qos: int = 0
    retain: bool = False
    properties: Properties = ()


def connect(
    client_id: str | bytes = "",
    *,
    clean: bool = True,
    keep_alive: int = 0,
    properties: Properties = (),
    will: Will5 | None = None,
    username: str | bytes | None = None,
    password: bytes | None = None,
    name: str | bytes = "MQTT",
    level: int = 5,
    flags: int | None = None,
) -> bytes:
    """Build a CONNECT; `flags` overrides the flags byte that the fields would give."""
    bits = 2 if clean else 0
    payload = string(client_id)
    if will is not None:
        bits |= 4 | will.qos << 3 | (32 if will.retain else 0)
        payload += property_block(will.properties) + string(will.topic) + string(will.payload)
    if username is not None:
        bits |= 128
        payload += string(username)
    if password is not None:
        bits |= 64
        payload += string(password)
    head = string(name) + bytes((level, bits if flags is None else flags)) + struct.pack("!H", keep_alive)
    return packet(CONNECT, head + property_block(properties) + payload)


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int | None = None,
    *,
    retain: bool = False,
    dup: bool = False,
    properties: Properties = (),
) -> bytes:
    body = string(topic) + (b"" if packet_id is None else struct.pack("!H", packet_id)) + property_block(properties)
    return packet(PUBLISH, body + payload, qos << 1 | (1 if retain else 0) | (8 if dup else 0))


def options(
    qos: int = 0, *, no_local: bool = False, retain_as_published: bool = False, retain_handling: int = 0
) -> int:
    """Give the options byte of a subscription."""
    return qos | no_local << 2 | retain_as_published << 3 | retain_handling << 4


def subscribe(packet_id: int, *filters: tuple[str | bytes, int], properties: Properties = (), flags: int = 2) -> bytes:
    """Build a SUBSCRIBE from filters and their options bytes."""
    body = struct.pack("!H", packet_id) + property_block(properties)
    return packet(SUBSCRIBE, body + b"".join(string(f) + bytes((byte,)) for f, byte in filters), flags)


def unsubscribe(packet_id: int, *filters: str | bytes, properties: Properties = (), flags: int = 2) -> bytes:
    body = struct.pack("!H", packet_id) + property_block(properties)
    return packet(UNSUBSCRIBE, body + b"".join(map(string, filters)), flags)


def acknowledge(kind: int, packet_id: int, reason: int | None = None, properties: Properties | None = None) -> bytes:
    """Build an acknowledgement, without the reason and the properties that are not given."""
    return packet(kind, struct.pack("!H", packet_id) + _tail(reason, properties), 2 if kind == PUBREL else 0)


def disconnect(reason: int | None = None, properties: Properties | None = None, flags: int = 0) -> bytes:
    return packet(DISCONNECT, _tail(reason, properties), flags)


def auth(reason: int | None = None, properties: Properties | None = None, flags: int = 0) -> bytes:
    return packet(AUTH, _tail(reason, properties), flags)


def _tail(reason: int | None, properties: Properties | None) -> bytes:
    if properties is None:
        return b"" if reason is None else bytes((reason,))
    return bytes((reason or 0,)) + property_block(properties)


class Client5(Client):
    """One raw MQTT 5 connection; waits, time limits and kept PUBLISH packets are those of `Client`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._announced: dict[int, object] = {}
        self._aliases: dict[int, str] = {}

    def announce(self, properties: Properties) -> None:
        """Remember what the CONNECT asks of the server; `connect` does it itself."""
        self._announced = {} if isinstance(properties, bytes) else dict(properties)

    async def read(self, seconds: float = TIME_LIMIT) -> Packet5:  # type: ignore[override]
        """Take the next packet and check it; IncompleteReadError or ConnectionError when the server hung up."""
        async with asyncio.timeout(seconds):
            first, length = (await self._reader.readexactly(1))[0], bytearray()
            while not length or length[-1] >= 0x80:
                length += await self._reader.readexactly(1)
            count = shortest(bytes(length))
            data = await self._reader.readexactly(count)
        return self._checked(parse(first, data, 1 + len(length) + count))

    def _checked(self, got: Packet5) -> Packet5:
        """Hold the server to what this client announced."""
        limit = self._announced.get(P.MAXIMUM_PACKET_SIZE, 2**32)
        assert got.size <= limit, f"{got.size} bytes, announced {limit}"  # [MQTT-3.1.2-24]  # type: ignore[operator]
        if self._announced.get(P.REQUEST_PROBLEM) == 0 and got.kind not in (PUBLISH, CONNACK, DISCONNECT):
            assert not got.properties, f"explained without being asked: {got}"  # [MQTT-3.1.2-29]
        if got.kind != PUBLISH:
            return got
        alias = got.get(P.TOPIC_ALIAS)
        topic = got.wire_topic
        if alias is not None:
            assert isinstance(alias, int)
            most = self._announced.get(P.TOPIC_ALIAS_MAXIMUM, 0)
            assert 0 < alias <= most, f"topic alias {alias}, announced {most}"  # [MQTT-3.1.2-26], [MQTT-3.3.2-8]
            topic = self._aliases[alias] = topic or self._aliases[alias]
        assert topic, "no topic"  # [MQTT-4.7.3-1]
        return replace(got, topic=topic)

    async def rest(self) -> bytes:
        """Take all that comes until the server hangs up."""
        async with asyncio.timeout(TIME_LIMIT):
            return await self._reader.read(-1)

    async def expect(self, kind: int) -> Packet5:  # type: ignore[override]
        return await super().expect(kind)  # type: ignore[return-value]

    async def message(self) -> Packet5:  # type: ignore[override]
        return await super().message()  # type: ignore[return-value]

    async def connect(self, client_id: str = "", **fields: object) -> Packet5:  # type: ignore[override]
        """Connect and give the CONNACK; its reason must be 0."""
        self.announce(fields.get("properties", ()))  # type: ignore[arg-type]
        self.send(connect(client_id, **fields))  # type: ignore[arg-type]
        got = await self.read()  # [MQTT-3.2.0-1]: before anything else
        assert got.kind == CONNACK, got
        assert got.reason == 0, f"refused with {got.reason:#04x} {got.properties}"
        return got

    async def refused(self, request: bytes) -> int:
        """Send a CONNECT that must be refused; give the reason after the server hung up."""
        return (await self.refusal(request)).reason

    async def refusal(self, request: bytes) -> Packet5:
        """Send what must end a connection attempt; give the CONNACK after the server hung up."""
        self.send(request)
        got = await self.read()
        assert got.kind == CONNACK and got.reason >= 0x80, got
        await self.hung_up()  # [MQTT-3.2.2-7]
        return got

    async def disconnected(self, *reasons: int) -> Packet5:
        """Expect a DISCONNECT with one of these reasons, and the end of the stream after it."""
        got = await self.expect(DISCONNECT)
        assert got.reason in reasons, f"DISCONNECT {got.reason:#04x} {got.properties}"
        await self.hung_up()  # [MQTT-3.14.4-1], [MQTT-3.14.4-2]
        return got

    async def subscribe(self, *filters: tuple[str | bytes, int], properties: Properties = ()) -> list[int]:
        """Subscribe and give the reason codes."""
        return list((await self.suback(*filters, properties=properties)).codes)

    async def suback(self, *filters: tuple[str | bytes, int], properties: Properties = ()) -> Packet5:
        packet_id = self.next_id()
        self.send(subscribe(packet_id, *filters, properties=properties))
        got = await self.expect(SUBACK)
        assert got.packet_id == packet_id  # [MQTT-3.8.4-2]
        assert len(got.codes) == len(filters)  # [MQTT-3.8.4-6]
        return got

    async def unsubscribe(self, *filters: str | bytes, properties: Properties = ()) -> list[int]:  # type: ignore[override]
        """Unsubscribe and give the reason codes."""
        packet_id = self.next_id()
        self.send(unsubscribe(packet_id, *filters, properties=properties))
        got = await self.expect(UNSUBACK)
        assert got.packet_id == packet_id  # [MQTT-3.10.4-5]
        assert len(got.codes) == len(filters)
        return list(got.codes)

    async def publish(  # type: ignore[override]
        self,
        topic: str | bytes,
        payload: bytes = b"",
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties = (),
    ) -> int:
        """Publish, wait until the server has handled it, and give the reason of its PUBACK or PUBREC (0 for QoS 0)."""
        got = await self.puback(topic, payload, qos, retain=retain, properties=properties)
        return 0 if got is None else got.reason

    async def puback(
        self,
        topic: str | bytes,
        payload: bytes = b"",
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties = (),
    ) -> Packet5 | None:
        """Publish to the end of the handshake and give the PUBACK or PUBREC, None for QoS 0."""
        packet_id = self.next_id() if qos else None
        self.send(publish(topic, payload, qos, packet_id, retain=retain, properties=properties))
        if packet_id is None:
            await self.ping()
            return None
        got = await self.expect(PUBACK if qos == 1 else PUBREC)
        assert got.packet_id == packet_id  # [MQTT-2.2.1-5]
        if qos == 2 and got.reason < 0x80:
            self.send(acknowledge(PUBREL, packet_id))
            done = await self.expect(PUBCOMP)
            assert (done.packet_id, done.reason) == (packet_id, 0)
        return got
