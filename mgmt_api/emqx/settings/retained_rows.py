"""Retained messages as rows of a backup: a line with an object, the bytes of properties and payload, a line's end."""

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
    """Hold a line, and say how many bytes follow it."""

    row: Row
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
    """Read of the line what says where the next one begins; raises Invalid."""
    row = Row(given, _FIELDS)
    return Head(row, row.number("properties", _MAX_SIZE), row.number("payload", _MAX_SIZE))


def read_retained(head: Head, data: bytes, max_levels: int) -> Message:
    """Make the message of what was read; raises Invalid for one that no client could have published."""
    row, properties, payload = head.row, data[: head.properties], data[head.properties : -1]
    topic, sender = row.text("topic"), row.text("sender", "")
    try:
        check_name(topic, max_levels)
        known = decode_publish_properties(properties)
    except (InvalidTopic, MalformedPacket, ProtocolError):
        raise Invalid("This is no message: its topic or its properties are not as MQTT has them.") from None
    if topic.startswith(OWN) or not payload or known.forwarded != properties or len(sender.encode()) > MAX_NAME_BYTES:
        raise Invalid("This is no message that could be retained.")
    return Message(
        topic,
        payload,
        row.number("qos", 2),
        True,
        sender,
        properties=properties,
        expires_at=row.moment("expires_at"),
        published_at=row.moment("published_at") or 0.0,
    )
