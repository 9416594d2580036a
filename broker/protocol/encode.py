"""Packets to bytes, for what a server sends. Functions without a 5 in their names write 3.1 and 3.1.1."""

from collections.abc import Sequence

from .packets import Properties
from .properties import encode_properties
from .variable_integer import encode_varint

PINGRESP = b"\xd0\x00"
PUBACK = b"\x40\x02"  # [MQTT-2.2.2-1]
PUBREC = b"\x50\x02"
PUBREL = b"\x62\x02"  # [MQTT-3.6.1-1]
PUBCOMP = b"\x70\x02"
SUBACK_FAILURE = 0x80

encode_remaining_length = encode_varint
_NO_PROPERTIES = b"\0"  # [MQTT5-2.2.2-1]


def encode_connack(session_present: bool, return_code: int) -> bytes:
    """Encode a CONNACK of 3.1 and 3.1.1."""
    present = 1 if session_present and return_code == 0 else 0  # [MQTT-3.2.2-4]
    return bytes((0x20, 2, present, return_code))


def encode_suback(packet_id: int, codes: Sequence[int]) -> bytes:
    """Encode a SUBACK, one code for each topic filter in the order of the request."""
    # [MQTT-2.3.1-7], [MQTT-3.9.3-1]
    return b"\x90" + encode_varint(2 + len(codes)) + packet_id.to_bytes(2, "big") + bytes(codes)


def encode_unsuback(packet_id: int) -> bytes:
    """Encode an UNSUBACK of 3.1 and 3.1.1."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")  # [MQTT-2.3.1-7], [MQTT-2.2.1-6]


def encode_publish_head(first_byte: int, topic: bytes, payload_length: int) -> bytes:
    """Encode a PUBLISH up to and with its topic; a packet identifier (QoS 1, 2) and the payload follow."""
    length = len(topic)
    remaining = 2 + length + payload_length + (2 if first_byte & 0x06 else 0)  # [MQTT-2.3.1-5], [MQTT-2.2.1-2]
    if remaining < 0x80:  # most are, and encoding a length for all sizes costs more than this
        return bytes((first_byte, remaining, 0, length)) + topic
    return bytes((first_byte,)) + encode_varint(remaining) + length.to_bytes(2, "big") + topic  # [MQTT-3.3.2-1]


def encode_connack5(session_present: bool, reason: int, properties: Properties) -> bytes:
    """Encode a CONNACK of MQTT 5."""
    present = 1 if session_present and reason == 0 else 0  # [MQTT5-3.2.2-1], [MQTT5-3.2.2-6]
    return _packet(0x20, bytes((present, reason)) + encode_properties(properties))


def encode_publish_head5(first_byte: int, topic: bytes, rest_length: int) -> bytes:
    """Encode a PUBLISH up to and with its topic; `rest_length` bytes follow.

    They are a packet identifier (QoS 1, 2), the property block with its length, and the payload.
    """
    length = len(topic)
    return bytes((first_byte,)) + encode_varint(2 + length + rest_length) + length.to_bytes(2, "big") + topic


def encode_ack5(first_byte: int, packet_id: bytes, reason: int, properties: bytes = b"") -> bytes:
    """Encode a PUBACK, PUBREC, PUBREL or PUBCOMP; `properties` is a block with its length, or nothing."""
    if len(properties) > 1:
        return _packet(first_byte, packet_id + bytes((reason,)) + properties)
    if reason:
        return bytes((first_byte, 3)) + packet_id + bytes((reason,))
    return bytes((first_byte, 2)) + packet_id  # [MQTT-2.2.1-5]


def encode_suback5(packet_id: int, codes: Sequence[int], properties: bytes = _NO_PROPERTIES) -> bytes:
    """Encode a SUBACK, one code for each topic filter in the order of the request."""
    return _packet(0x90, packet_id.to_bytes(2, "big") + properties + bytes(codes))


def encode_unsuback5(packet_id: int, codes: Sequence[int], properties: bytes = _NO_PROPERTIES) -> bytes:
    """Encode an UNSUBACK, one code for each topic filter in the order of the request."""
    return _packet(0xB0, packet_id.to_bytes(2, "big") + properties + bytes(codes))


def encode_disconnect5(reason: int, properties: Properties) -> bytes:
    """Encode a DISCONNECT from the server."""
    return _reason_packet(0xE0, reason, properties)


def encode_auth(reason: int, properties: Properties) -> bytes:
    """Encode an AUTH."""
    return _reason_packet(0xF0, reason, properties)


def _reason_packet(first_byte: int, reason: int, properties: Properties) -> bytes:
    if properties:
        return _packet(first_byte, bytes((reason,)) + encode_properties(properties))
    if reason:
        # AUTH may leave out its property length only with reason 0; nobody sends one without its method
        return bytes((first_byte, 1, reason)) if first_byte == 0xE0 else bytes((first_byte, 2, reason, 0))
    return bytes((first_byte, 0))


def _packet(first_byte: int, body: bytes) -> bytes:
    return bytes((first_byte,)) + encode_varint(len(body)) + body
