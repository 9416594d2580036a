"""An application message on its way from one publisher to many subscribers."""

from .protocol.encode import encode_publish_head
from .protocol.packets import Properties


class Message:
    """Hold one application message; immutable but for the cache of its encoding, shared by all its receivers."""

    __slots__ = (
        "_head",
        "_head_first_byte",
        "payload",
        "properties",
        "qos",
        "retain",
        "sender",
        "topic",
        "topic_bytes",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        *,
        sender: str = "",
        topic_bytes: bytes | None = None,
        properties: Properties | None = None,
    ) -> None:
        self.topic = topic
        self.topic_bytes = topic.encode() if topic_bytes is None else topic_bytes
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.sender = sender
        """Client id of the publisher; empty for the server itself."""
        self.properties = properties
        self._head = b""
        self._head_first_byte = 0

    def head(self, first_byte: int) -> bytes:
        """Return the encoded PUBLISH up to its topic; encoded once for all receivers that get the same."""
        if self._head_first_byte != first_byte:
            self._head = encode_publish_head(first_byte, self.topic_bytes, len(self.payload))
            self._head_first_byte = first_byte
        return self._head
