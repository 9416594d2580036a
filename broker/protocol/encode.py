"""Packets to bytes, for what a server sends."""

from collections.abc import Sequence

PINGRESP = b"\xd0\x00"
PUBACK = b"\x40\x02"
PUBREC = b"\x50\x02"
PUBREL = b"\x62\x02"  # [MQTT-3.6.1-1]
PUBCOMP = b"\x70\x02"
SUBACK_FAILURE = 0x80


def encode_remaining_length(length: int) -> bytes:
    """Encode a variable byte integer of at most 268,435,455."""
    if length < 0x80:
        return bytes((length,))
    encoded = bytearray()
    while True:
        length, low = length >> 7, length & 0x7F
        if not length:
            encoded.append(low)
            return bytes(encoded)
        encoded.append(low | 0x80)


def encode_connack(session_present: bool, return_code: int) -> bytes:
    """Encode a CONNACK of 3.1 and 3.1.1."""
    return bytes((0x20, 2, 1 if session_present else 0, return_code))


def encode_suback(packet_id: int, codes: Sequence[int]) -> bytes:
    """Encode a SUBACK, one code for each topic filter in the order of the request."""
    return b"\x90" + encode_remaining_length(2 + len(codes)) + packet_id.to_bytes(2, "big") + bytes(codes)


def encode_unsuback(packet_id: int) -> bytes:
    """Encode an UNSUBACK of 3.1 and 3.1.1."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


def encode_publish_head(first_byte: int, topic: bytes, payload_length: int) -> bytes:
    """Encode a PUBLISH up to and with its topic; a packet identifier (QoS 1, 2) and the payload follow."""
    length = len(topic)
    remaining = 2 + length + payload_length + (2 if first_byte & 0x06 else 0)
    return bytes((first_byte,)) + encode_remaining_length(remaining) + length.to_bytes(2, "big") + topic
