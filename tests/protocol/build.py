"""Packets from their parts, right or wrong; independent of the broker's own encoder."""


def varint(value: int) -> bytes:
    """Encode a variable byte integer in its shortest form."""
    head, rest = value % 128, value // 128
    return bytes((head | 0x80,)) + varint(rest) if rest else bytes((head,))


def packet(first_byte: int, body: bytes = b"") -> bytes:
    """Put a fixed header in front of a body."""
    return bytes((first_byte,)) + varint(len(body)) + body


def field(value: bytes) -> bytes:
    """Put its length in front of a string or of binary data."""
    return len(value).to_bytes(2, "big") + value


def block(*properties: bytes) -> bytes:
    """Put their length in front of properties."""
    joined = b"".join(properties)
    return varint(len(joined)) + joined


def connect(level: int, properties: bytes = b"", payload: bytes = b"\x00\x01a", *, flags: int = 0x02) -> bytes:
    """Build a CONNECT; `payload` begins with the client identifier."""
    name = b"MQIsdp" if level == 3 else b"MQTT"
    return packet(0x10, field(name) + bytes((level, flags)) + b"\x00\x3c" + properties + payload)


CONNECT3 = connect(3)
CONNECT4 = connect(4)
CONNECT5 = connect(5, b"\x00")
CONNECTS = {3: CONNECT3, 4: CONNECT4, 5: CONNECT5}
