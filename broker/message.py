"""An application message on its way from one publisher to many subscribers."""

from math import ceil

from .protocol.encode import encode_publish_head, encode_publish_head5, encode_varint

WEIGHT = 64
"""Bytes that a message costs besides its texts."""
_EXPIRY = b"\x02"
_ROUNDING = 0.001
"""Seconds; so that what was received a moment ago still has all of its interval."""


class Message:
    """Hold one application message; immutable but for the cache of its encoding, shared by all its receivers.

    It stands for itself among what a session has in flight, where it was sent at its own QoS and with nothing added.
    """

    identifiers = b""
    group = None

    __slots__ = (
        "_head",
        "_head5",
        "expires_at",
        "payload",
        "properties",
        "published_at",
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
        sender: str = "",
        topic_bytes: bytes | None = None,
        properties: bytes = b"",
        expires_at: float | None = None,
        head: bytes = b"",
        published_at: float = 0.0,
    ) -> None:
        """`head` is what `head` gives for the first byte with which it begins, where that is known already."""
        self.topic = topic
        self.topic_bytes = topic.encode() if topic_bytes is None else topic_bytes
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.sender = sender
        """Client id of the publisher; empty for the server itself."""
        self.properties = properties
        """The properties that go on to MQTT 5 subscribers, encoded as they came [MQTT-3.3.2-17]."""
        self.expires_at = expires_at
        """Seconds since the epoch, None for never."""
        self.published_at = published_at
        """Seconds since the epoch; 0 where that is not known."""
        self._head = head
        self._head5: tuple[int, bytes, tuple[bytes, bytes]] | None = None
        """First byte and `extra` of the last encoding, and that."""

    @property
    def weight(self) -> int:
        """What it holds in memory, in bytes."""
        return len(self.payload) + len(self.properties) + len(self.topic_bytes) + WEIGHT

    def under(self, topic: str) -> "Message":
        """Give the same message on another topic."""
        return Message(
            topic,
            self.payload,
            self.qos,
            self.retain,
            self.sender,
            None,
            self.properties,
            self.expires_at,
            b"",
            self.published_at,
        )

    def message_of(self, packet_id: int) -> "Message":
        """Give the message that was sent with this packet identifier: itself."""
        return self

    def head(self, first_byte: int) -> bytes:
        """Return the PUBLISH of 3.1 and 3.1.1 up to its topic; encoded once for all receivers that get the same."""
        head = self._head
        if not head or head[0] != first_byte:
            head = self._head = encode_publish_head(first_byte, self.topic_bytes, len(self.payload))
        return head

    def head5(self, first_byte: int, extra: bytes) -> tuple[bytes, bytes]:
        """Return an MQTT 5 PUBLISH up to its topic, and its property block; a packet identifier goes in between.

        `extra` are encoded properties that stand before the publisher's.
        """
        known = self._head5
        if known is None or known[0] != first_byte or known[1] != extra:
            known = self._head5 = (first_byte, extra, self._encode5(first_byte, self.topic_bytes, extra))
        return known[2]

    def aliased_head5(self, first_byte: int, extra: bytes) -> tuple[bytes, bytes]:
        """Return the same with an empty topic: `extra` has an alias that the receiver knows."""
        return self._encode5(first_byte, b"", extra)

    def _encode5(self, first_byte: int, topic: bytes, extra: bytes) -> tuple[bytes, bytes]:
        properties = extra + self.properties
        block = encode_varint(len(properties)) + properties
        identifier = 2 if first_byte & 0x06 else 0
        return encode_publish_head5(first_byte, topic, identifier + len(block) + len(self.payload)), block

    def expired(self, now: float) -> bool:
        """Tell whether the message may not be delivered any more."""
        return self.expires_at is not None and self.expires_at <= now

    def expiry_property(self, now: float) -> bytes:
        """Encode what is left of the message's life; empty where it has no end [MQTT-3.3.2-6]."""
        return encode_expiry(self.expires_at, now)


def encode_expiry(expires_at: float | None, now: float) -> bytes:
    """Encode the Message Expiry Interval that is left, both in seconds since the epoch; nothing for None."""
    if expires_at is None:
        return b""
    return _EXPIRY + max(0, ceil(expires_at - now - _ROUNDING)).to_bytes(4, "big")
