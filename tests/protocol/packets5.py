"""Malformed and forbidden packets of MQTT 5: name, bytes, reason code. Statements are numbered as in MQTT 5."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from wardenmq.broker.protocol.reason_codes import ReasonCode

from .build import block, connect, field, packet

Case: TypeAlias = tuple[str, bytes, ReasonCode]

MALFORMED = ReasonCode.MALFORMED_PACKET
PROTOCOL = ReasonCode.PROTOCOL_ERROR
VERSION = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
TOPIC = ReasonCode.TOPIC_NAME_INVALID
LARGE = ReasonCode.PACKET_TOO_LARGE
ALIAS = ReasonCode.TOPIC_ALIAS_INVALID

NONE = b"\x00"
A = field(b"a")

# One good property of each kind.
GOOD = {
    "payload format": b"\x01\x01",
    "message expiry": b"\x02\x00\x00\x00\x3c",
    "content type": b"\x03\x00\x04text",
    "response topic": b"\x08\x00\x03r/t",
    "correlation data": b"\x09\x00\x02\x00\xff",
    "subscription id": b"\x0b\x07",
    "session expiry": b"\x11\x00\x00\x0e\x10",
    "assigned client id": b"\x12\x00\x02me",
    "server keep-alive": b"\x13\x00\x3c",
    "authentication method": b"\x15\x00\x05PLAIN",
    "authentication data": b"\x16\x00\x02\x00\x01",
    "request problem": b"\x17\x01",
    "will delay": b"\x18\x00\x00\x00\x05",
    "request response": b"\x19\x00",
    "response information": b"\x1a\x00\x01r",
    "server reference": b"\x1c\x00\x01s",
    "reason string": b"\x1f\x00\x03why",
    "receive maximum": b"\x21\x00\x14",
    "topic alias maximum": b"\x22\x00\x00",
    "topic alias": b"\x23\x00\x01",
    "maximum QoS": b"\x24\x01",
    "retain available": b"\x25\x01",
    "user property": b"\x26\x00\x01k\x00\x01v",
    "maximum packet size": b"\x27\x00\x00\x10\x00",
    "wildcards available": b"\x28\x01",
    "subscription ids available": b"\x29\x01",
    "shared available": b"\x2a\x01",
}
USER = GOOD["user property"]

Holder: TypeAlias = Callable[[bytes], bytes]


def _will(properties: bytes) -> bytes:
    return connect(5, NONE, A + properties + field(b"w") + field(b"m"), flags=0x06)


# Each packet that a client may put properties into, and those that it may have besides user properties.
HOLDERS_FIRST: dict[str, tuple[Holder, list[str]]] = {
    "CONNECT": (
        lambda properties: connect(5, properties),
        [
            "session expiry",
            "authentication method",
            "authentication data",
            "request problem",
            "request response",
            "receive maximum",
            "topic alias maximum",
            "maximum packet size",
        ],
    ),
    "will": (
        _will,
        ["payload format", "message expiry", "content type", "response topic", "correlation data", "will delay"],
    ),
}
_MESSAGE = ["payload format", "message expiry", "content type", "response topic", "correlation data", "topic alias"]
HOLDERS_LATER: dict[str, tuple[Holder, list[str]]] = {
    "PUBLISH": (lambda properties: packet(0x30, A + properties + b"data"), _MESSAGE),
    "retained PUBLISH": (lambda properties: packet(0x31, A + properties + b"data"), _MESSAGE),
    "PUBLISH QoS 1": (lambda properties: packet(0x32, A + b"\x00\x01" + properties + b"data"), _MESSAGE),
    "PUBLISH QoS 2": (lambda properties: packet(0x34, A + b"\x00\x01" + properties + b"data"), _MESSAGE),
    "PUBACK": (lambda properties: packet(0x40, b"\x00\x01\x00" + properties), ["reason string"]),
    "PUBREC": (lambda properties: packet(0x50, b"\x00\x01\x00" + properties), ["reason string"]),
    "PUBREL": (lambda properties: packet(0x62, b"\x00\x01\x00" + properties), ["reason string"]),
    "PUBCOMP": (lambda properties: packet(0x70, b"\x00\x01\x00" + properties), ["reason string"]),
    "SUBSCRIBE": (lambda properties: packet(0x82, b"\x00\x01" + properties + A + b"\x00"), ["subscription id"]),
    "UNSUBSCRIBE": (lambda properties: packet(0xA2, b"\x00\x01" + properties + A), []),
    "DISCONNECT": (
        lambda properties: packet(0xE0, b"\x00" + properties),
        ["session expiry", "reason string", "server reference"],
    ),
    "AUTH": (
        lambda properties: packet(0xF0, b"\x18" + properties),
        ["authentication method", "authentication data", "reason string"],
    ),
}


def _properties(holders: dict[str, tuple[Holder, list[str]]]) -> Iterator[Case]:
    """Give what no packet with properties may have in them."""
    for name, (holder, allowed) in holders.items():
        yield f"{name}: property 0", holder(block(b"\x00")), MALFORMED
        yield f"{name}: unknown property", holder(block(USER, b"\x7e\x00")), MALFORMED
        yield f"{name}: property identifier of two bytes", holder(block(b"\x80\x01\x00")), MALFORMED
        yield f"{name}: over-long property identifier [MQTT-1.5.5-1]", holder(block(b"\xa6\x00" + USER[1:])), MALFORMED
        yield f"{name}: properties longer than the packet", holder(b"\x7f"), MALFORMED
        yield f"{name}: over-long property length [MQTT-1.5.5-1]", holder(b"\x80\x00"), MALFORMED
        yield f"{name}: property length of five bytes [MQTT-1.5.5-1]", holder(b"\x80\x80\x80\x80\x01"), MALFORMED
        yield f"{name}: property identifier alone", holder(block(b"\x26")), MALFORMED
        yield f"{name}: user property without its value", holder(block(b"\x26\x00\x01k")), MALFORMED
        yield f"{name}: user property cut short", holder(block(b"\x26\x00\x01k\x00\x05v")), MALFORMED
        yield f"{name}: property name not UTF-8 [MQTT-1.5.7-1]", holder(block(b"\x26\x00\x01\xff\x00\x01v")), MALFORMED
        yield f"{name}: property value not UTF-8 [MQTT-1.5.7-1]", holder(block(b"\x26\x00\x01k\x00\x01\x80")), MALFORMED
        yield f"{name}: U+0000 in a property [MQTT-1.5.4-2]", holder(block(b"\x26\x00\x01k\x00\x01\x00")), MALFORMED
        for twice in allowed:
            yield f"{name}: {twice} twice", holder(block(GOOD[twice], USER, GOOD[twice])), PROTOCOL
        for misplaced, value in GOOD.items():
            if misplaced in allowed or misplaced == "user property":
                continue
            # A subscription identifier is defined for PUBLISH, but only towards the client [MQTT-3.3.4-6].
            known = "PUBLISH" in name and misplaced == "subscription id"
            yield f"{name}: {misplaced} misplaced", holder(block(value)), PROTOCOL if known else MALFORMED


# What stands instead of a CONNECT; all of them say that they are of MQTT 5.
FIRST5: list[Case] = [
    ("v5: reserved header bits [MQTT-2.1.3-1]", b"\x11" + connect(5, NONE)[1:], MALFORMED),
    ("v5: reserved flag [MQTT-3.1.2-3]", connect(5, NONE, flags=0x03), MALFORMED),
    ("v5: no flags", packet(0x10, b"\x00\x04MQTT\x05"), MALFORMED),
    ("v5: no keep-alive", packet(0x10, b"\x00\x04MQTT\x05\x02"), MALFORMED),
    ("v5: half a keep-alive", packet(0x10, b"\x00\x04MQTT\x05\x02\x00"), MALFORMED),
    ("v5: no properties [MQTT-2.2.2-1]", connect(5, b"", b""), MALFORMED),
    ("v5: no client id [MQTT-3.1.3-3]", connect(5, NONE, b""), MALFORMED),
    ("v5: client id cut short", connect(5, NONE, b"\x00\x02a"), MALFORMED),
    ("v5: client id not UTF-8 [MQTT-3.1.3-4]", connect(5, NONE, field(b"\xff")), MALFORMED),
    ("v5: client id with a surrogate [MQTT-1.5.4-1]", connect(5, NONE, field(b"\xed\xa0\x80")), MALFORMED),
    ("v5: client id with U+0000 [MQTT-1.5.4-2]", connect(5, NONE, field(b"a\x00")), MALFORMED),
    ("v5: will QoS without a will [MQTT-3.1.2-11]", connect(5, NONE, flags=0x12), MALFORMED),
    ("v5: will retain without a will [MQTT-3.1.2-13]", connect(5, NONE, flags=0x22), MALFORMED),
    (
        "v5: will QoS 3 [MQTT-3.1.2-12]",
        connect(5, NONE, A + NONE + field(b"w") + field(b"m"), flags=0x1E),
        MALFORMED,
    ),
    ("v5: will without its properties [MQTT-3.1.2-9]", connect(5, NONE, A, flags=0x06), MALFORMED),
    ("v5: will without its topic [MQTT-3.1.2-9]", connect(5, NONE, A + NONE, flags=0x06), MALFORMED),
    ("v5: will without its payload [MQTT-3.1.2-9]", connect(5, NONE, A + NONE + A, flags=0x06), MALFORMED),
    ("v5: empty will topic [MQTT-4.7.3-1]", connect(5, NONE, A + NONE + field(b"") + A, flags=0x06), TOPIC),
    ("v5: will topic with # [MQTT-4.7.0-1]", connect(5, NONE, A + NONE + field(b"w/#") + A, flags=0x06), TOPIC),
    ("v5: will topic with + [MQTT-4.7.0-1]", connect(5, NONE, A + NONE + field(b"+/w") + A, flags=0x06), TOPIC),
    (
        "v5: will topic not UTF-8 [MQTT-3.1.3-11]",
        connect(5, NONE, A + NONE + field(b"\xc3") + A, flags=0x06),
        MALFORMED,
    ),
    ("v5: will not announced [MQTT-3.1.3-1]", connect(5, NONE, A + NONE + A + A), MALFORMED),
    ("v5: user name missing [MQTT-3.1.2-17]", connect(5, NONE, flags=0x82), MALFORMED),
    ("v5: user name not announced [MQTT-3.1.2-16]", connect(5, NONE, A + A), MALFORMED),
    ("v5: user name not UTF-8 [MQTT-3.1.3-12]", connect(5, NONE, A + field(b"\xff"), flags=0x82), MALFORMED),
    ("v5: password missing [MQTT-3.1.2-19]", connect(5, NONE, A + A, flags=0xC2), MALFORMED),
    ("v5: password alone missing [MQTT-3.1.2-19]", connect(5, NONE, flags=0x42), MALFORMED),
    ("v5: password cut short", connect(5, NONE, A + b"\x00\x05p", flags=0x42), MALFORMED),
    ("v5: password not announced [MQTT-3.1.2-18]", connect(5, NONE, A + A + A, flags=0x82), MALFORMED),
    ("v5: bytes behind the payload", connect(5, NONE, A + b"\x00"), MALFORMED),
    ("v5: over-long remaining length [MQTT-1.5.5-1]", b"\x10\x8e\x00" + connect(5, NONE)[2:], MALFORMED),
    ("v5: longer than any CONNECT", b"\x10\xff\xff\x1f\x00\x04MQTT\x05\x02\x00", LARGE),
    ("v5: receive maximum 0", connect(5, block(b"\x21\x00\x00")), PROTOCOL),
    ("v5: receive maximum cut short", connect(5, block(b"\x21\x00")), MALFORMED),
    ("v5: maximum packet size 0", connect(5, block(b"\x27\x00\x00\x00\x00")), PROTOCOL),
    ("v5: maximum packet size cut short", connect(5, block(b"\x27\x00\x00\x00")), MALFORMED),
    ("v5: session expiry cut short", connect(5, block(b"\x11\x00\x00\x00")), MALFORMED),
    ("v5: topic alias maximum cut short", connect(5, block(b"\x22\x00")), MALFORMED),
    ("v5: request problem information 2", connect(5, block(b"\x17\x02")), PROTOCOL),
    ("v5: request response information 255", connect(5, block(b"\x19\xff")), PROTOCOL),
    ("v5: authentication data without a method", connect(5, block(GOOD["authentication data"])), PROTOCOL),
    ("v5: authentication method not UTF-8 [MQTT-1.5.4-1]", connect(5, block(b"\x15\x00\x01\xff")), MALFORMED),
    ("v5: authentication method cut short", connect(5, block(b"\x15\x00\x05PLA")), MALFORMED),
    ("v5: will payload format 2", _will(block(b"\x01\x02")), PROTOCOL),
    ("v5: will response topic with a wildcard [MQTT-3.3.2-14]", _will(block(b"\x08\x00\x03r/#")), PROTOCOL),
    ("v5: will content type not UTF-8 [MQTT-3.3.2-19]", _will(block(b"\x03\x00\x01\xff")), MALFORMED),
    ("v5: will delay cut short", _will(block(b"\x18\x00\x00\x00")), MALFORMED),
    *((f"v5: {name}", data, reason) for name, data, reason in _properties(HOLDERS_FIRST)),
]


def _publish(properties: bytes, topic: bytes = b"a", first_byte: int = 0x30) -> bytes:
    packet_id = b"\x00\x01" if first_byte & 0x06 else b""
    return packet(first_byte, field(topic) + packet_id + properties + b"data")


def _subscribe(topic_filter: bytes, options: int) -> bytes:
    return packet(0x82, b"\x00\x01" + NONE + field(topic_filter) + bytes((options,)))


def _acknowledgements() -> Iterator[Case]:
    for name, first, statement, forbidden in (
        ("PUBACK", 0x40, "3.4.2-1", (0x01, 0x04, 0x18, 0x81, 0x8E, 0x92, 0xFF)),
        ("PUBREC", 0x50, "3.5.2-1", (0x02, 0x11, 0x82, 0x8F, 0x92, 0x9B, 0xFF)),
        ("PUBREL", 0x62, "3.6.2-1", (0x01, 0x10, 0x80, 0x91, 0xFF)),
        ("PUBCOMP", 0x70, "3.7.2-1", (0x01, 0x10, 0x80, 0x91, 0xFF)),
    ):
        flag = "3.6.1-1" if name == "PUBREL" else "2.1.3-1"
        yield f"{name} with wrong flags [MQTT-{flag}]", packet(first ^ 0x02, b"\x00\x01"), MALFORMED
        yield f"{name} with a further flag [MQTT-{flag}]", packet(first | 0x08, b"\x00\x01"), MALFORMED
        yield f"{name} without packet id", packet(first), MALFORMED
        yield f"{name} with half a packet id", packet(first, b"\x00"), MALFORMED
        yield f"{name} packet id 0", packet(first, b"\x00\x00"), PROTOCOL
        yield f"{name} packet id 0 with a reason", packet(first, b"\x00\x00\x00\x00"), PROTOCOL
        yield f"{name} with bytes behind its properties", packet(first, b"\x00\x01\x00\x00\x00"), MALFORMED
        for reason in forbidden:
            yield (
                f"{name} reason {reason:02x} [MQTT-{statement}]",
                packet(first, b"\x00\x01" + bytes((reason,))),
                PROTOCOL,
            )


# What follows a good CONNECT of MQTT 5.
LATER5: list[Case] = [
    ("second CONNECT [MQTT-3.1.0-2]", connect(5, NONE), PROTOCOL),
    ("second CONNECT of 3.1.1 [MQTT-3.1.0-2]", connect(4), PROTOCOL),
    ("CONNACK from a client", b"\x20\x03\x00\x00\x00", PROTOCOL),
    ("SUBACK from a client", b"\x90\x04\x00\x01\x00\x00", PROTOCOL),
    ("UNSUBACK from a client", b"\xb0\x04\x00\x01\x00\x00", PROTOCOL),
    ("PINGRESP from a client", b"\xd0\x00", PROTOCOL),
    ("type 0", b"\x00\x00", PROTOCOL),
    ("remaining length of five bytes [MQTT-1.5.5-1]", b"\x30\x80\x80\x80\x80\x01", MALFORMED),
    ("over-long remaining length [MQTT-1.5.5-1]", b"\xc0\x80\x00", MALFORMED),
    ("over-long remaining length of PUBLISH [MQTT-1.5.5-1]", b"\x30\x85\x80\x00\x00\x01a\x00x", MALFORMED),
    ("longer than allowed [MQTT-3.2.2-15]", b"\x30\xff\xff\xff\x7f", LARGE),
    ("PUBLISH without a body", b"\x30\x00", MALFORMED),
    ("PUBLISH with half a topic length", b"\x30\x01\x00", MALFORMED),
    ("PUBLISH topic longer than the packet", b"\x30\x03\x00\x05a", MALFORMED),
    ("PUBLISH without properties [MQTT-2.2.2-1]", b"\x30\x03\x00\x01a", MALFORMED),
    ("PUBLISH QoS 1 without properties [MQTT-2.2.2-1]", b"\x32\x05\x00\x01a\x00\x01", MALFORMED),
    ("PUBLISH QoS 1 without packet id [MQTT-2.2.1-3]", b"\x32\x03\x00\x01a", MALFORMED),
    ("PUBLISH QoS 1 with half a packet id", b"\x32\x04\x00\x01a\x00", MALFORMED),
    ("PUBLISH QoS 1 packet id 0 [MQTT-2.2.1-3]", b"\x32\x06\x00\x01a\x00\x00\x00", PROTOCOL),
    ("PUBLISH QoS 2 packet id 0 [MQTT-2.2.1-3]", b"\x34\x06\x00\x01a\x00\x00\x00", PROTOCOL),
    ("PUBLISH QoS 3 [MQTT-3.3.1-4]", _publish(NONE, first_byte=0x36), MALFORMED),
    ("PUBLISH QoS 0 with DUP [MQTT-3.3.1-2]", _publish(NONE, first_byte=0x38), MALFORMED),
    ("PUBLISH QoS 0 retained with DUP [MQTT-3.3.1-2]", _publish(NONE, first_byte=0x39), MALFORMED),
    ("PUBLISH topic with # [MQTT-3.3.2-2]", _publish(NONE, b"a/#"), TOPIC),
    ("PUBLISH topic with + [MQTT-3.3.2-2]", _publish(NONE, b"+"), TOPIC),
    ("PUBLISH QoS 1 topic with a wildcard [MQTT-3.3.2-2]", _publish(NONE, b"#", 0x32), TOPIC),
    ("PUBLISH topic with U+0000 [MQTT-4.7.3-2]", _publish(NONE, b"a\x00"), MALFORMED),
    ("PUBLISH topic not UTF-8 [MQTT-3.3.2-1]", _publish(NONE, b"\xff"), MALFORMED),
    ("PUBLISH topic over-long UTF-8 [MQTT-1.5.4-1]", _publish(NONE, b"\xe0\x80\xaf"), MALFORMED),
    ("PUBLISH topic with a surrogate [MQTT-1.5.4-1]", _publish(NONE, b"\xed\xb0\x80"), MALFORMED),
    ("PUBLISH without topic or alias [MQTT-4.7.3-1]", _publish(NONE, b""), PROTOCOL),
    ("PUBLISH QoS 1 without topic or alias [MQTT-4.7.3-1]", _publish(NONE, b"", 0x32), PROTOCOL),
    ("PUBLISH with an alias that stands for nothing", _publish(block(GOOD["topic alias"]), b""), PROTOCOL),
    ("PUBLISH topic alias 0 [MQTT-3.3.2-8]", _publish(block(b"\x23\x00\x00")), ALIAS),
    ("PUBLISH topic alias 0 without a topic [MQTT-3.3.2-8]", _publish(block(b"\x23\x00\x00"), b""), ALIAS),
    ("PUBLISH topic alias above the maximum [MQTT-3.3.2-9]", _publish(block(b"\x23\xff\xff")), ALIAS),
    ("PUBLISH topic alias cut short", _publish(block(b"\x23\x00")), MALFORMED),
    ("PUBLISH subscription id 0 [MQTT-3.3.4-6]", _publish(block(b"\x0b\x00")), PROTOCOL),
    ("PUBLISH subscription id cut short", _publish(block(b"\x0b\x80")), MALFORMED),
    ("PUBLISH payload format 2", _publish(block(b"\x01\x02")), PROTOCOL),
    ("PUBLISH payload format cut short", _publish(block(b"\x01")), MALFORMED),
    ("PUBLISH message expiry cut short", _publish(block(b"\x02\x00\x00\x00")), MALFORMED),
    ("PUBLISH content type not UTF-8 [MQTT-3.3.2-19]", _publish(block(b"\x03\x00\x01\xff")), MALFORMED),
    ("PUBLISH content type with U+0000 [MQTT-1.5.4-2]", _publish(block(b"\x03\x00\x01\x00")), MALFORMED),
    ("PUBLISH content type cut short", _publish(block(b"\x03\x00\x05text")), MALFORMED),
    ("PUBLISH response topic with # [MQTT-3.3.2-14]", _publish(block(b"\x08\x00\x01#")), PROTOCOL),
    ("PUBLISH response topic with + [MQTT-3.3.2-14]", _publish(block(b"\x08\x00\x03a/+")), PROTOCOL),
    ("PUBLISH response topic empty [MQTT-4.7.3-1]", _publish(block(b"\x08\x00\x00")), PROTOCOL),
    ("PUBLISH response topic not UTF-8 [MQTT-3.3.2-13]", _publish(block(b"\x08\x00\x01\xff")), MALFORMED),
    ("PUBLISH correlation data cut short", _publish(block(b"\x09\x00\x05abc")), MALFORMED),
    ("PUBLISH half a correlation data length", _publish(block(b"\x09\x00")), MALFORMED),
    *_acknowledgements(),
    ("SUBSCRIBE without its flag [MQTT-3.8.1-1]", packet(0x80, b"\x00\x01\x00\x00\x01a\x00"), MALFORMED),
    ("SUBSCRIBE with other flags [MQTT-3.8.1-1]", packet(0x8A, b"\x00\x01\x00\x00\x01a\x00"), MALFORMED),
    ("SUBSCRIBE empty", b"\x82\x00", MALFORMED),
    ("SUBSCRIBE without properties [MQTT-2.2.2-1]", packet(0x82, b"\x00\x01"), MALFORMED),
    ("SUBSCRIBE in the form of 3.1.1", packet(0x82, b"\x00\x01\x00\x01a\x00"), MALFORMED),
    ("SUBSCRIBE without a filter [MQTT-3.8.3-2]", packet(0x82, b"\x00\x01\x00"), PROTOCOL),
    ("SUBSCRIBE packet id 0 [MQTT-2.2.1-3]", packet(0x82, b"\x00\x00\x00\x00\x01a\x00"), PROTOCOL),
    ("SUBSCRIBE without options", packet(0x82, b"\x00\x01\x00\x00\x01a"), MALFORMED),
    ("SUBSCRIBE second filter without options", packet(0x82, b"\x00\x01\x00\x00\x01a\x00\x00\x01b"), MALFORMED),
    ("SUBSCRIBE filter cut short", packet(0x82, b"\x00\x01\x00\x00\x05a\x00"), MALFORMED),
    ("SUBSCRIBE filter not UTF-8 [MQTT-3.8.3-1]", _subscribe(b"\xff", 0), MALFORMED),
    ("SUBSCRIBE filter with U+0000 [MQTT-4.7.3-2]", _subscribe(b"\x00", 0), MALFORMED),
    ("SUBSCRIBE QoS 3", _subscribe(b"a", 0x03), PROTOCOL),
    ("SUBSCRIBE retain handling 3", _subscribe(b"a", 0x30), PROTOCOL),
    ("SUBSCRIBE reserved option bit 6 [MQTT-3.8.3-5]", _subscribe(b"a", 0x40), MALFORMED),
    ("SUBSCRIBE reserved option bit 7 [MQTT-3.8.3-5]", _subscribe(b"a", 0x80), MALFORMED),
    ("SUBSCRIBE all option bits [MQTT-3.8.3-5]", _subscribe(b"a", 0xFF), MALFORMED),
    ("SUBSCRIBE No Local on a shared filter [MQTT-3.8.3-4]", _subscribe(b"$share/g/a", 0x05), PROTOCOL),
    ("SUBSCRIBE subscription id 0", packet(0x82, b"\x00\x01\x02\x0b\x00\x00\x01a\x00"), PROTOCOL),
    (
        "SUBSCRIBE over-long subscription id [MQTT-1.5.5-1]",
        packet(0x82, b"\x00\x01\x03\x0b\x81\x00\x00\x01a\x00"),
        MALFORMED,
    ),
    (
        "SUBSCRIBE subscription id of five bytes [MQTT-1.5.5-1]",
        packet(0x82, b"\x00\x01\x06\x0b\xff\xff\xff\xff\x01\x00\x01a\x00"),
        MALFORMED,
    ),
    ("UNSUBSCRIBE without its flag [MQTT-3.10.1-1]", packet(0xA0, b"\x00\x01\x00\x00\x01a"), MALFORMED),
    ("UNSUBSCRIBE empty", b"\xa2\x00", MALFORMED),
    ("UNSUBSCRIBE without properties [MQTT-2.2.2-1]", packet(0xA2, b"\x00\x01"), MALFORMED),
    ("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]", packet(0xA2, b"\x00\x01\x00"), PROTOCOL),
    ("UNSUBSCRIBE packet id 0 [MQTT-2.2.1-3]", packet(0xA2, b"\x00\x00\x00\x00\x01a"), PROTOCOL),
    ("UNSUBSCRIBE filter cut short", packet(0xA2, b"\x00\x01\x00\x00\x05a"), MALFORMED),
    ("UNSUBSCRIBE filter not UTF-8 [MQTT-3.10.3-1]", packet(0xA2, b"\x00\x01\x00\x00\x01\xff"), MALFORMED),
    ("UNSUBSCRIBE filter with U+0000 [MQTT-4.7.3-2]", packet(0xA2, b"\x00\x01\x00\x00\x01\x00"), MALFORMED),
    ("PINGREQ with flags [MQTT-2.1.3-1]", b"\xc2\x00", MALFORMED),
    ("PINGREQ with a body", b"\xc0\x01\x00", MALFORMED),
    ("DISCONNECT with flags [MQTT-3.14.1-1]", b"\xe1\x00", MALFORMED),
    ("DISCONNECT with bytes behind its properties", packet(0xE0, b"\x00\x00\x00"), MALFORMED),
    ("DISCONNECT session expiry cut short", packet(0xE0, b"\x00" + block(b"\x11\x00\x00")), MALFORMED),
    ("DISCONNECT reason unknown [MQTT-3.14.2-1]", packet(0xE0, b"\x05"), PROTOCOL),
    ("DISCONNECT reason of SUBACK [MQTT-3.14.2-1]", packet(0xE0, b"\x01\x00"), PROTOCOL),
    ("DISCONNECT not authorised, a server's reason [MQTT-3.14.2-1]", packet(0xE0, b"\x87"), PROTOCOL),
    ("DISCONNECT keep-alive, a server's reason [MQTT-3.14.2-1]", packet(0xE0, b"\x8d"), PROTOCOL),
    ("DISCONNECT taken over, a server's reason [MQTT-3.14.2-1]", packet(0xE0, b"\x8e\x00"), PROTOCOL),
    ("DISCONNECT server moved, a server's reason [MQTT-3.14.2-1]", packet(0xE0, b"\x9d\x00"), PROTOCOL),
    ("AUTH with flags [MQTT-3.15.1-1]", packet(0xF2, b"\x18" + block(GOOD["authentication method"])), MALFORMED),
    ("AUTH empty, a server's success [MQTT-3.15.2-1]", b"\xf0\x00", PROTOCOL),
    (
        "AUTH success, a server's reason [MQTT-3.15.2-1]",
        packet(0xF0, b"\x00" + block(GOOD["authentication method"])),
        PROTOCOL,
    ),
    ("AUTH reason unknown [MQTT-3.15.2-1]", packet(0xF0, b"\x1a" + block(GOOD["authentication method"])), PROTOCOL),
    ("AUTH without properties", packet(0xF0, b"\x18"), PROTOCOL),
    ("AUTH without a method", packet(0xF0, b"\x18\x00"), PROTOCOL),
    ("AUTH data without a method", packet(0xF0, b"\x18" + block(GOOD["authentication data"])), PROTOCOL),
    (
        "AUTH with bytes behind its properties",
        packet(0xF0, b"\x18" + block(GOOD["authentication method"]) + b"\x00"),
        MALFORMED,
    ),
    *_properties(HOLDERS_LATER),
]
