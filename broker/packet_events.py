"""The packets that plugins are shown: amqtt's objects, decoded by amqtt's own classes.

amqtt knows 3.1.1 alone. A packet of MQTT 5 is shown as the 3.1.1 packet that says most of the same: properties are left
out, reason codes become return codes, and a topic alias is replaced by its topic. AUTH has no counterpart and is not
shown.
"""

import asyncio
import struct
from collections.abc import Coroutine
from typing import Any, TypeVar

from amqtt.adapters import BufferReader
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt import MQTTPacket, packet_class
from amqtt.mqtt.packet import MQTTFixedHeader
from amqtt.session import Session as AmqttSession

from .amqtt_session import SessionView
from .protocol.packets import PacketType
from .protocol.reason_codes import ReasonCode, connack_return_code

T = TypeVar("T")

_FAILURE_3 = 0x80
_TOPIC_ALIAS = 0x23
_WIDTHS = {0x01: 1, 0x02: 4, _TOPIC_ALIAS: 2}
"""Bytes of the properties of a PUBLISH that have always as many."""
_SUBSCRIPTION_IDENTIFIER = 0x0B
_USER_PROPERTY = 0x26
_UNREADABLE = (AMQTTError, MQTTError, CodecError, NoDataError, ValueError, LookupError, struct.error)


class PacketRun:
    """Whole packets, one behind the other, of one connection and direction."""

    __slots__ = ("_at", "_data", "_outgoing", "_version", "view")

    def __init__(self, view: AmqttSession | None, data: bytes, version: int, *, outgoing: bool) -> None:
        self.view = view
        self._data = data
        self._version = version
        self._outgoing = outgoing
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self._data)

    @property
    def finished(self) -> bool:
        """Tell whether all packets have been taken."""
        return self._at >= len(self._data)

    def next_packet(self) -> "MQTTPacket[Any, Any, Any] | None":
        """Take the next packet; None for one that amqtt has no class for or cannot read."""
        data, start = self._data, self._at
        self._at = len(data)
        try:
            length, body = _read_varint(data, start + 1)
            self._at = end = body + length
            return self._decode(data[start], data[body:end])
        except _UNREADABLE:
            return None

    def _decode(self, first_byte: int, body: bytes) -> "MQTTPacket[Any, Any, Any] | None":
        # a CONNECT is shown before anybody has read of which version it is
        version = body[_skip_string(body, 0)] if first_byte >> 4 == PacketType.CONNECT else self._version
        if version == 5:
            if first_byte >> 4 == PacketType.AUTH:
                return None
            body = self._downgrade(first_byte, body)
        header = MQTTFixedHeader(first_byte >> 4, first_byte & 0x0F, len(body))
        return _finish(packet_class(header).from_stream(BufferReader(body), fixed_header=header))

    def _downgrade(self, first_byte: int, body: bytes) -> bytes:
        """Rewrite the body of an MQTT 5 packet as 3.1.1 has it."""
        match first_byte >> 4:
            case PacketType.CONNECT:
                return _downgrade_connect(body)
            case PacketType.CONNACK:
                return bytes((body[0], connack_return_code(ReasonCode(body[1]))))
            case PacketType.PUBLISH:
                return self._downgrade_publish(body, 2 if first_byte & 0x06 else 0)
            case PacketType.PUBACK | PacketType.PUBREC | PacketType.PUBREL | PacketType.PUBCOMP | PacketType.UNSUBACK:
                return body[:2]
            case PacketType.SUBSCRIBE:
                return body[:2] + _without_options(body, _skip_properties(body, 2))
            case PacketType.SUBACK:
                codes = body[_skip_properties(body, 2) :]
                return body[:2] + bytes(min(code, _FAILURE_3) for code in codes)
            case PacketType.UNSUBSCRIBE:
                return body[:2] + body[_skip_properties(body, 2) :]
            case _:
                return b""

    def _downgrade_publish(self, body: bytes, identifier_length: int) -> bytes:
        topic_end = _skip_string(body, 0)
        properties = topic_end + identifier_length
        payload = _skip_properties(body, properties)
        topic = body[:topic_end]
        view = self.view
        alias = _find_alias(body[properties:payload])
        if alias and isinstance(view, SessionView):
            key = (self._outgoing, alias)
            if topic_end > 2:
                view.topic_aliases[key] = body[2:topic_end].decode()
            else:
                known = view.topic_aliases.get(key, "").encode()
                topic = len(known).to_bytes(2, "big") + known
        return topic + body[topic_end:properties] + body[payload:]


def _downgrade_connect(body: bytes) -> bytes:
    flags_at = _skip_string(body, 0) + 1
    properties = flags_at + 3
    client_id = _skip_properties(body, properties)
    client_id_end = _skip_string(body, client_id)
    rest = _skip_properties(body, client_id_end) if body[flags_at] & 0x04 else client_id_end
    return body[:properties] + body[client_id:client_id_end] + body[rest:]


def _without_options(body: bytes, start: int) -> bytes:
    """Leave the QoS of the subscription options."""
    filters = bytearray()
    while start < len(body):
        end = _skip_string(body, start)
        filters += body[start:end]
        filters.append(body[end] & 0x03)
        start = end + 1
    return bytes(filters)


def _find_alias(block: bytes) -> int:
    """Find the topic alias in the property block of a PUBLISH; 0 if there is none."""
    _, at = _read_varint(block, 0)
    while at < len(block):
        identifier = block[at]
        at += 1
        if identifier == _TOPIC_ALIAS:
            return int.from_bytes(block[at : at + 2], "big")
        if identifier in _WIDTHS:
            at += _WIDTHS[identifier]
        elif identifier == _SUBSCRIPTION_IDENTIFIER:
            _, at = _read_varint(block, at)
        else:
            at = _skip_string(block, at)
            if identifier == _USER_PROPERTY:
                at = _skip_string(block, at)
    return 0


def _skip_string(data: bytes, start: int) -> int:
    return start + 2 + (data[start] << 8 | data[start + 1])


def _skip_properties(data: bytes, start: int) -> int:
    length, begin = _read_varint(data, start)
    return begin + length


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Read a variable byte integer; give it and where it ends."""
    value = 0
    for index in range(4):
        byte = data[start + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, start + index + 1
    raise ValueError("a variable byte integer of more than four bytes")


def _finish(work: "Coroutine[Any, Any, T]") -> T:
    """Run a coroutine that reads from a buffer, and so never waits, without a task."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise asyncio.InvalidStateError("amqtt's decoder waits for something")
