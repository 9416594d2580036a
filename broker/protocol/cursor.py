"""The fields that packets are made of. Reading past the end of a packet is a malformed packet, whatever the field."""

from .errors import MalformedPacket, ProtocolError
from .reason_codes import ReasonCode
from .variable_integer import decode_varint


class Cursor:
    """Read fields from a packet body, or from a part of one."""

    __slots__ = ("body", "position")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Tell whether the body is used up."""
        return self.position >= len(self.body)

    def byte(self) -> int:
        """Read one byte."""
        position = self.position
        if position >= len(self.body):
            raise MalformedPacket("the packet ends within a field")
        self.position = position + 1
        return self.body[position]

    def take(self, length: int) -> bytes:
        """Read as many bytes as are asked for."""
        start = self.position
        if start + length > len(self.body):
            raise MalformedPacket("a field is longer than the packet")
        self.position = start + length
        return self.body[start : start + length]

    def integer(self) -> int:
        """Read a two-byte integer."""
        return (self.byte() << 8) | self.byte()

    def long_integer(self) -> int:
        """Read a four-byte integer."""
        return int.from_bytes(self.take(4), "big")

    def variable_integer(self) -> int:
        """Read a variable byte integer, which must not be longer than its value needs."""
        value, self.position = decode_varint(self.body, self.position)
        return value

    def binary(self) -> bytes:
        """Read a length-prefixed field."""
        start = self.position + 2
        body = self.body
        end = start + int.from_bytes(body[start - 2 : start], "big")
        if end > len(body):
            raise MalformedPacket("a field is longer than the packet")
        self.position = end
        return body[start:end]

    def text(self) -> str:
        """Read a length-prefixed UTF-8 string."""
        return decode_text(self.binary())

    def text_pair(self) -> tuple[str, str]:
        """Read two strings, a name and its value."""
        return self.text(), self.text()  # [MQTT5-1.5.7-1]

    def packet_id(self) -> int:
        """Read a packet identifier."""
        value = self.integer()
        if value == 0:  # [MQTT-2.3.1-1], [MQTT5-2.2.1-3]
            raise ProtocolError("packet identifier 0")
        return value


def decode_text(raw: bytes) -> str:
    """Decode a UTF-8 string as MQTT allows it."""
    try:
        # Python's codec refuses surrogates and over-long forms [MQTT-1.5.3-1] [MQTT5-1.5.4-1], and unlike "utf-8-sig"
        # it keeps a byte order mark [MQTT-1.5.3-3] [MQTT5-1.5.4-3].
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedPacket("a string is not UTF-8") from None
    if "\0" in text:  # [MQTT-1.5.3-2], [MQTT5-1.5.4-2]
        raise MalformedPacket("a string contains U+0000")
    return text


def decode_topic_name(raw: bytes) -> str:
    """Decode the topic of a PUBLISH or of a will."""
    if not raw:  # [MQTT-4.7.3-1]
        raise MalformedPacket("an empty topic name", ReasonCode.TOPIC_NAME_INVALID)
    topic = decode_text(raw)
    if "+" in topic or "#" in topic:  # [MQTT-3.3.2-2]
        raise MalformedPacket("a topic name with a wildcard", ReasonCode.TOPIC_NAME_INVALID)
    return topic
