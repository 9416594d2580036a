"""MQTT as bytes for the load generators: PUBLISH packets of one size, made and taken apart many at a time."""

import struct

SEQUENCE_DIGITS = 12
CONNECTED = b"\x20\x02\x00\x00"
DISCONNECT = b"\xe0\x00"
PUBACK_BYTES = 4
DUP = 0x08
_NO_ID = b"\0\0"


def text(value: bytes) -> bytes:
    """Encode a text with its length."""
    return struct.pack("!H", len(value)) + value


def packet(first: int, body: bytes) -> bytes:
    """Encode a packet."""
    length, size = len(body), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    size.append(length)
    return bytes((first, *size)) + body


def connect_packet(client_id: str, username: str, password: str, version: int = 4) -> bytes:
    """Encode a CONNECT for a clean session without keep-alive."""
    body = text(b"MQTT") + bytes((version, 0xC2)) + struct.pack("!H", 0) + _no_properties(version)
    return packet(0x10, body + text(client_id.encode()) + text(username.encode()) + text(password.encode()))


def subscribe_packet(topic_filter: bytes, qos: int, *others: bytes, version: int = 4) -> bytes:
    """Encode a SUBSCRIBE with packet identifier 1."""
    wanted = b"".join(text(each) + bytes((qos,)) for each in (topic_filter, *others))
    return packet(0x82, b"\x00\x01" + _no_properties(version) + wanted)


def subscribed(qos: int, count: int = 1, version: int = 4) -> bytes:
    """Give the SUBACK that grants it."""
    return packet(0x90, b"\x00\x01" + _no_properties(version) + bytes((qos,)) * count)


def user_property(name: bytes, value: bytes) -> bytes:
    """Encode MQTT 5 properties that are one user property of fewer than 128 bytes."""
    body = b"\x26" + text(name) + text(value)
    return bytes((len(body),)) + body


def _no_properties(version: int) -> bytes:
    return b"\0" if version == 5 else b""


def packet_id(number: int) -> bytes:
    """Give the packet identifier of a publisher's n-th message."""
    return (number % 65_535 + 1).to_bytes(2, "big")


class Format:
    """Numbered messages of several publishers, two digits in the topic for each: packets that are all of one size."""

    def __init__(self, prefix: bytes, qos: int, payload_bytes: int) -> None:
        if payload_bytes < SEQUENCE_DIGITS:
            raise ValueError(f"a payload has {SEQUENCE_DIGITS} bytes at least")
        self._prefix = prefix
        self._qos = qos
        self._payload = b"%%0%dd" % SEQUENCE_DIGITS + b"." * (payload_bytes - SEQUENCE_DIGITS)
        sample = self.packet(0, 0, _NO_ID)
        self.size = len(sample)
        self._publisher_at = sample.index(prefix) + len(prefix)
        self._id_at = self._publisher_at + 2
        self._sequence_at = len(sample) - payload_bytes

    def packet(self, publisher: int, number: int, identifier: bytes) -> bytes:
        """Encode one message; the identifier goes into QoS 1 and 2 packets only."""
        topic = text(self._prefix + b"%02d" % publisher)
        return packet(0x30 | self._qos << 1, topic + (identifier if self._qos else b"") + self._payload % number)

    def sent(self, publisher: int, first: int, count: int) -> bytes:
        """Encode consecutive messages as the publisher sends them."""
        return b"".join(self.packet(publisher, number, packet_id(number)) for number in range(first, first + count))

    def expected(self, publisher: int, first: int, count: int) -> bytes:
        """Encode consecutive messages as `strip_ids` leaves them."""
        return b"".join(self.packet(publisher, number, _NO_ID) for number in range(first, first + count))

    def publisher(self, data: bytes, position: int) -> bytes:
        """Read the two digits of the packet at a position."""
        return data[position + self._publisher_at : position + self._publisher_at + 2]

    def number(self, data: bytes, position: int) -> int:
        """Read the sequence number of the packet at a position; ValueError if there is none."""
        return int(data[position + self._sequence_at : position + self._sequence_at + SEQUENCE_DIGITS])

    def without_ids(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Return whole packets with zeros for their identifiers, and the high and the low bytes of these."""
        high, low = data[self._id_at :: self.size], data[self._id_at + 1 :: self.size]
        bare = bytearray(data)
        bare[self._id_at :: self.size] = bare[self._id_at + 1 :: self.size] = bytes(len(high))
        return bytes(bare), high, low

    def strip_ids(self, data: bytes) -> tuple[bytes, bytes]:
        """Return whole QoS 1 packets with zeros for their identifiers, and the PUBACKs for them."""
        bare, high, low = self.without_ids(data)
        answers = bytearray(b"\x40\x02\0\0" * len(high))
        answers[2::4], answers[3::4] = high, low
        return bare, bytes(answers)


def expected_pubacks(first: int, count: int) -> bytes:
    """Give the PUBACKs for consecutive messages of a publisher."""
    return b"".join(b"\x40\x02" + packet_id(number) for number in range(first, first + count))
