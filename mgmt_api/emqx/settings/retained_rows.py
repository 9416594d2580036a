"""Retained messages as rows of a backup: an object in a line, then the bytes of properties and payload, a line's end."""

from typing import NamedTuple

from ....broker.message import Message
from ....broker.protocol.errors import MalformedPacket, ProtocolError
from ....broker.protocol.properties import decode_publish_properties
from ....broker.routing.topics import InvalidTopic, check_name
from ....store.errors import Invalid
from ....store.names import MAX_NAME_BYTES
from ....store.portable_rows import Row, write_row

OWN = "$SYS/"
"""What the broker says about itself is in no backup."""
_MAX_SIZE = 0xFFFF_FFFF
_FIELDS = ("topic", "qos", "sender", "published_at", "expires_at", "properties", "payload")


class Head(NamedTuple):
    """Say what a message is, and how many bytes of it follow."""

    topic: str
    qos: int
    sender: str
    published_at: float
    expires_at: float | None
    properties: int
    payload: int

    @property
    def size(self) -> int:
        """How many bytes stand behind the line, the last one its end."""
        return self.properties + self.payload + 1


def retained_row(message: Message) -> list[bytes]:
    """Write a message; the parts add up to its row."""
    head = write_row(
        {
            "topic": message.topic,
            "qos": message.qos,
            "sender": message.sender,
            "published_at": message.published_at,
            "expires_at": message.expires_at,
            "properties": len(message.properties),
            "payload": len(message.payload),
        }
    )
    return [head, message.properties, message.payload, b"\n"]


def read_head(given: object) -> Head:
    """Read the line; raises Invalid."""
    row = Row(given, _FIELDS)
    return Head(
        row.text("topic"),
        row.number("qos", 2),
        row.text("sender", ""),
        row.moment("published_at") or 0.0,
        row.moment("expires_at"),
        row.number("properties", _MAX_SIZE),
        row.number("payload", _MAX_SIZE),
    )


def read_retained(head: Head, data: bytes, max_levels: int) -> Message:
    """Make the message of what was read; raises Invalid for one that no client could have published."""
    properties, payload = data[: head.properties], data[head.properties : -1]
    try:
        check_name(head.topic, max_levels)
        sender = head.sender.encode()
        known = decode_publish_properties(properties)
    except (InvalidTopic, MalformedPacket, ProtocolError, UnicodeError):
        raise Invalid("This is no message: its topic, sender or properties are not as MQTT has them.") from None
    if head.topic.startswith(OWN) or not payload or known.forwarded != properties or len(sender) > MAX_NAME_BYTES:
        raise Invalid("This is no message that could be retained.")
    return Message(
        head.topic,
        payload,
        head.qos,
        True,
        head.sender,
        properties=properties,
        expires_at=head.expires_at,
        published_at=head.published_at,
    )
