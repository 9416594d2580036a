"""Variable byte integers: seven bits in each byte, the lowest first, at most four bytes."""

from .errors import MalformedPacket


def encode_varint(value: int) -> bytes:
    """Encode a variable byte integer of at most 268,435,455."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        if not value:
            encoded.append(low)
            return bytes(encoded)
        encoded.append(low | 0x80)


def decode_varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a variable byte integer of MQTT 5; return its value and where it ends."""
    value = 0
    for index in range(4):
        at = position + index
        if at >= len(data):
            raise MalformedPacket("the packet ends within a variable byte integer")
        byte = data[at]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if index and not byte:  # [MQTT5-1.5.5-1]
                raise MalformedPacket("a variable byte integer is longer than its value needs")
            return value, at + 1
    raise MalformedPacket("a variable byte integer of more than four bytes")
