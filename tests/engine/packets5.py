"""MQTT 5 packets as a client sees them: properties both ways, and what a server sends, taken apart and checked.

Independent of the broker's code. Every packet from the server is checked: flags, lengths in their shortest form, and
properties and reason codes that the standard gives to that packet. A test that reads packets of a server that breaks
one of those statements fails by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from .wire import (
    CONNACK,
    DISCONNECT,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    remaining_length,
    string,
)

AUTH = 15


class P(IntEnum):
    """The properties, MQTT 5.0 table 2-4."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTH_METHOD = 0x15
    AUTH_DATA = 0x16
    REQUEST_PROBLEM = 0x17
    WILL_DELAY = 0x18
    REQUEST_RESPONSE = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_AVAILABLE = 0x28
    SUBSCRIPTION_ID_AVAILABLE = 0x29
    SHARED_AVAILABLE = 0x2A


BYTES = frozenset({0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A})
SHORTS = frozenset({0x13, 0x21, 0x22, 0x23})
LONGS = frozenset({0x02, 0x11, 0x18, 0x27})
VARIABLE = frozenset({0x0B})
BINARY = frozenset({0x09, 0x16})
STRINGS = frozenset({0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F})
PAIRS = frozenset({0x26})
NOT_ZERO = frozenset({0x0B, 0x21, 0x23, 0x27})

Property: TypeAlias = tuple[int, object]
Properties: TypeAlias = Sequence[Property] | bytes
"""Pairs in wire order; or a property block without its length, right or wrong."""

EXPLANATION = {P.REASON_STRING, P.USER}
FROM_SERVER: dict[int, set[P]] = {
    CONNACK: {
        P.SESSION_EXPIRY,
        P.ASSIGNED_CLIENT_ID,
        P.SERVER_KEEP_ALIVE,
        P.AUTH_METHOD,
        P.AUTH_DATA,
        P.RESPONSE_INFORMATION,
        P.SERVER_REFERENCE,
        P.RECEIVE_MAXIMUM,
        P.TOPIC_ALIAS_MAXIMUM,
        P.MAXIMUM_QOS,
        P.RETAIN_AVAILABLE,
        P.MAXIMUM_PACKET_SIZE,
        P.WILDCARD_AVAILABLE,
        P.SUBSCRIPTION_ID_AVAILABLE,
        P.SHARED_AVAILABLE,
        *EXPLANATION,
    },
    PUBLISH: {
        P.PAYLOAD_FORMAT,
        P.MESSAGE_EXPIRY,
        P.CONTENT_TYPE,
        P.RESPONSE_TOPIC,
        P.CORRELATION_DATA,
        P.SUBSCRIPTION_ID,
        P.TOPIC_ALIAS,
        P.USER,
    },
    DISCONNECT: {P.SERVER_REFERENCE, *EXPLANATION},  # [MQTT-3.14.2-2]: no Session Expiry Interval
    AUTH: {P.AUTH_METHOD, P.AUTH_DATA, *EXPLANATION},
    **dict.fromkeys((PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK), EXPLANATION),
}
"""What a server may send on each packet."""

_PUBLISH_REASONS = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
REASONS: dict[int, set[int]] = {
    CONNACK: {0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: _PUBLISH_REASONS,  # [MQTT-3.4.2-1]
    PUBREC: _PUBLISH_REASONS,  # [MQTT-3.5.2-1]
    PUBREL: {0x00, 0x92},  # [MQTT-3.6.2-1]
    PUBCOMP: {0x00, 0x92},  # [MQTT-3.7.2-1]
    SUBACK: {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},  # [MQTT-3.9.3-2]
    UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},  # [MQTT-3.11.3-2]
    DISCONNECT: {0x00, *range(0x80, 0x84), 0x87, 0x89, *range(0x8B, 0x91), *range(0x93, 0xA3)},  # [MQTT-3.14.2-1]
    AUTH: {0x00, 0x18},  # [MQTT-3.15.2-1]
}
"""What a server may give as the reason on each packet."""


def encode_property(identifier: int, value: object) -> bytes:
    """Encode one property; bytes as the value of a number are taken as they are."""
    if isinstance(value, int):
        if identifier in VARIABLE:
            raw = remaining_length(value)
        else:
            raw = value.to_bytes(1 if identifier in BYTES else 2 if identifier in SHORTS else 4, "big")
    elif isinstance(value, tuple):
        raw = b"".join(map(string, value))
    elif identifier in BYTES | SHORTS | LONGS | VARIABLE:
        assert isinstance(value, bytes)
        raw = value
    else:
        assert isinstance(value, str | bytes)
        raw = string(value)
    return remaining_length(identifier) + raw


def property_block(properties: Properties) -> bytes:
    """Encode properties with the length before them."""
    raw = properties if isinstance(properties, bytes) else b"".join(encode_property(*one) for one in properties)
    return remaining_length(len(raw)) + raw


@dataclass(frozen=True, slots=True)
class Packet5:
    """One packet from the server, decoded."""

    kind: int
    flags: int
    size: int
    """The whole packet's bytes."""
    packet_id: int = 0
    reason: int = 0
    codes: tuple[int, ...] = ()
    session_present: bool = False
    wire_topic: str = ""
    """As sent: empty where only the alias was."""
    topic: str = ""
    properties: tuple[Property, ...] = ()
    payload: bytes = b""

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
    def subscription_ids(self) -> list[object]:
        return sorted(self.all(P.SUBSCRIPTION_ID))  # pyright: ignore[reportArgumentType]

    @property
    def forwarded(self) -> list[Property]:
        """What the publisher's properties are to arrive as: all that is not between server and subscriber alone."""
        own = {P.SUBSCRIPTION_ID, P.TOPIC_ALIAS, P.MESSAGE_EXPIRY}
        return [entry for entry in self.properties if entry[0] not in own]

    def get(self, identifier: int) -> object:
        """Give a property's value, None where it is absent."""
        return next(iter(self.all(identifier)), None)

    def all(self, identifier: int) -> list[object]:
        return [value for known, value in self.properties if known == identifier]


class _Body:
    """Take a packet's body apart; AssertionError where it is not as the standard asks."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data), f"truncated at {self.at}: {self.data.hex()}"
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def varint(self) -> int:
        value = shift = 0
        while True:
            digit = self.number(1)
            value |= (digit & 0x7F) << shift
            if digit < 0x80:
                assert digit or not shift, "not the shortest form of a variable byte integer"  # [MQTT-1.5.5-1]
                return value
            shift += 7
            assert shift < 28, "variable byte integer too long"

    def string(self) -> str:
        text = self.take(self.number(2)).decode()  # [MQTT-1.5.4-1]
        assert "\0" not in text  # [MQTT-1.5.4-2]
        return text

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    @property
    def done(self) -> bool:
        return self.at == len(self.data)

    def properties(self, kind: int) -> tuple[Property, ...]:
        end = self.varint() + self.at  # [MQTT-2.2.2-1]: present even if zero
        found: list[Property] = []
        while self.at < end:
            identifier = self.varint()
            assert identifier in FROM_SERVER[kind], f"property {identifier:#04x} on packet type {kind}"
            again = identifier in (P.USER, P.SUBSCRIPTION_ID) or all(known != identifier for known, _ in found)
            assert again, f"property {identifier:#04x} twice"
            value = self.value(identifier)
            assert identifier not in BYTES or value in (0, 1), f"property {identifier:#04x} is {value}"
            assert identifier not in NOT_ZERO or value, f"property {identifier:#04x} is 0"
            found.append((P(identifier), value))
        assert self.at == end, "the properties do not end where their length says"
        return tuple(found)

    def value(self, identifier: int) -> object:
        if identifier in VARIABLE:
            return self.varint()
        if identifier in STRINGS:
            return self.string()
        if identifier in PAIRS:
            return self.string(), self.string()  # [MQTT-1.5.7-1]
        if identifier in BINARY:
            return self.take(self.number(2))
        return self.number(1 if identifier in BYTES else 2 if identifier in SHORTS else 4)


def parse(first: int, data: bytes, size: int) -> Packet5:
    """Decode a packet from a server, without resolving topic aliases."""
    kind, flags, body = first >> 4, first & 15, _Body(data)
    if kind == PUBLISH:
        topic = body.string()  # [MQTT-3.3.2-1]
        assert not {"#", "+"} & set(topic), f"wildcard in {topic!r}"  # [MQTT-3.3.2-2]
        qos = flags >> 1 & 3
        assert qos < 3 and (qos or not flags & 8)  # [MQTT-3.3.1-4], [MQTT-3.3.1-2]
        packet_id = body.number(2) if qos else 0  # [MQTT-2.2.1-2]
        assert packet_id or not qos, "packet identifier 0"  # [MQTT-2.2.1-4]
        properties = body.properties(kind)
        return Packet5(kind, flags, size, packet_id, 0, (), False, topic, topic, properties, body.rest())
    assert flags == (2 if kind == PUBREL else 0), f"flags {flags} on packet type {kind}"  # [MQTT-2.1.3-1]
    packet_id = reason = 0
    codes: tuple[int, ...] = ()
    present = False
    properties: tuple[Property, ...] = ()
    if kind == CONNACK:
        bits, reason = body.number(1), body.number(1)
        assert bits in (0, 1)  # [MQTT-3.2.2-1]
        present = bits == 1
        assert not (present and reason), "session present in a refusal"  # [MQTT-3.2.2-6]
        properties = body.properties(kind)
    elif kind in (SUBACK, UNSUBACK):
        packet_id = body.number(2)
        properties = body.properties(kind)
        codes = tuple(body.rest())
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH):
        packet_id = body.number(2) if kind not in (DISCONNECT, AUTH) else 0
        reason = 0 if body.done else body.number(1)
        properties = () if body.done else body.properties(kind)
    else:
        assert kind == PINGRESP, f"packet type {kind} from a server"
    assert body.done, f"bytes left at the end of packet type {kind}: {data.hex()}"
    for code in codes or (reason,):
        assert kind == PINGRESP or code in REASONS[kind], f"reason {code:#04x} on packet type {kind}"
    return Packet5(kind, flags, size, packet_id, reason, codes, present, "", "", properties)


def shortest(encoded: bytes) -> int:
    """Decode a variable byte integer that must be in its shortest form."""
    return _Body(encoded).varint()
