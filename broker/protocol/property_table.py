"""The properties of MQTT 5: one table of what each is called, how it is written, and where it may stand."""

from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias, cast

from .cursor import Cursor
from .errors import ProtocolError
from .packets import PacketType
from .reason_codes import ReasonCode
from .variable_integer import encode_varint

_P = PacketType
WILL = 0
"""Stands for the will of a CONNECT, which has properties of its own, among the packet types."""
_ANSWERS = {_P.PUBACK, _P.PUBREC, _P.PUBREL, _P.PUBCOMP, _P.SUBACK, _P.UNSUBACK}


class PropertyId(IntEnum):
    """The identifiers of MQTT 5, table 2.4."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


def _binary(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError("a property's value is longer than 65,535 bytes")
    return len(value).to_bytes(2, "big") + value


def _text(value: str) -> bytes:
    return _binary(value.encode())


_Read: TypeAlias = Callable[[Cursor], object]
_Write: TypeAlias = Callable[[object], bytes]
_Type: TypeAlias = tuple[_Read, _Write]

_BYTE: _Type = Cursor.byte, lambda value: bytes((cast("int", value),))
_INTEGER: _Type = Cursor.integer, lambda value: cast("int", value).to_bytes(2, "big")
_LONG_INTEGER: _Type = Cursor.long_integer, lambda value: cast("int", value).to_bytes(4, "big")
_VARIABLE_INTEGER: _Type = Cursor.variable_integer, lambda value: encode_varint(cast("int", value))
_TEXT: _Type = Cursor.text, lambda value: _text(cast("str", value))
_TEXT_PAIR: _Type = Cursor.text_pair, lambda value: b"".join(map(_text, cast("tuple[str, str]", value)))
_BINARY: _Type = Cursor.binary, lambda value: _binary(cast("bytes", value))

_I = PropertyId
_TABLE: dict[PropertyId, tuple[_Type, set[int]]] = {
    _I.PAYLOAD_FORMAT_INDICATOR: (_BYTE, {_P.PUBLISH, WILL}),
    _I.MESSAGE_EXPIRY_INTERVAL: (_LONG_INTEGER, {_P.PUBLISH, WILL}),
    _I.CONTENT_TYPE: (_TEXT, {_P.PUBLISH, WILL}),
    _I.RESPONSE_TOPIC: (_TEXT, {_P.PUBLISH, WILL}),
    _I.CORRELATION_DATA: (_BINARY, {_P.PUBLISH, WILL}),
    _I.SUBSCRIPTION_IDENTIFIER: (_VARIABLE_INTEGER, {_P.PUBLISH, _P.SUBSCRIBE}),
    _I.SESSION_EXPIRY_INTERVAL: (_LONG_INTEGER, {_P.CONNECT, _P.CONNACK, _P.DISCONNECT}),
    _I.ASSIGNED_CLIENT_IDENTIFIER: (_TEXT, {_P.CONNACK}),
    _I.SERVER_KEEP_ALIVE: (_INTEGER, {_P.CONNACK}),
    _I.AUTHENTICATION_METHOD: (_TEXT, {_P.CONNECT, _P.CONNACK, _P.AUTH}),
    _I.AUTHENTICATION_DATA: (_BINARY, {_P.CONNECT, _P.CONNACK, _P.AUTH}),
    _I.REQUEST_PROBLEM_INFORMATION: (_BYTE, {_P.CONNECT}),
    _I.WILL_DELAY_INTERVAL: (_LONG_INTEGER, {WILL}),
    _I.REQUEST_RESPONSE_INFORMATION: (_BYTE, {_P.CONNECT}),
    _I.RESPONSE_INFORMATION: (_TEXT, {_P.CONNACK}),
    _I.SERVER_REFERENCE: (_TEXT, {_P.CONNACK, _P.DISCONNECT}),
    _I.REASON_STRING: (_TEXT, {_P.CONNACK, _P.DISCONNECT, _P.AUTH, *_ANSWERS}),
    _I.RECEIVE_MAXIMUM: (_INTEGER, {_P.CONNECT, _P.CONNACK}),
    _I.TOPIC_ALIAS_MAXIMUM: (_INTEGER, {_P.CONNECT, _P.CONNACK}),
    _I.TOPIC_ALIAS: (_INTEGER, {_P.PUBLISH}),
    _I.MAXIMUM_QOS: (_BYTE, {_P.CONNACK}),
    _I.RETAIN_AVAILABLE: (_BYTE, {_P.CONNACK}),
    _I.USER_PROPERTY: (_TEXT_PAIR, {*_P, WILL} - {_P.PINGREQ, _P.PINGRESP}),
    _I.MAXIMUM_PACKET_SIZE: (_LONG_INTEGER, {_P.CONNECT, _P.CONNACK}),
    _I.WILDCARD_SUBSCRIPTION_AVAILABLE: (_BYTE, {_P.CONNACK}),
    _I.SUBSCRIPTION_IDENTIFIER_AVAILABLE: (_BYTE, {_P.CONNACK}),
    _I.SHARED_SUBSCRIPTION_AVAILABLE: (_BYTE, {_P.CONNACK}),
}
WRITERS: dict[int, _Write] = {identifier: write for identifier, ((_, write), _) in _TABLE.items()}
READERS: dict[int, dict[int, _Read]] = {
    packet: {identifier: read for identifier, ((read, _), packets) in _TABLE.items() if packet in packets}
    for packet in (*_P, WILL)
}
_BOOLEANS = frozenset(identifier for identifier, (kind, _) in _TABLE.items() if kind is _BYTE)
_NEVER_ZERO = {_I.RECEIVE_MAXIMUM, _I.MAXIMUM_PACKET_SIZE, _I.SUBSCRIPTION_IDENTIFIER, _I.TOPIC_ALIAS}


def check_value(identifier: int, value: object) -> None:
    """Refuse a value that parses and that the property may not have."""
    if identifier in _BOOLEANS and value not in (0, 1):
        raise ProtocolError(f"property 0x{identifier:02x} is neither 0 nor 1")
    if identifier in _NEVER_ZERO and value == 0:
        reason = ReasonCode.TOPIC_ALIAS_INVALID if identifier == PropertyId.TOPIC_ALIAS else None  # [MQTT5-3.3.2-8]
        raise ProtocolError(f"property 0x{identifier:02x} is 0", reason)
    if identifier == PropertyId.RESPONSE_TOPIC:
        topic = cast("str", value)
        if not topic or "+" in topic or "#" in topic:  # [MQTT-4.7.3-1], [MQTT5-3.3.2-14]
            raise ProtocolError("a response topic that no message can have")
