"""Several application messages that one publisher sent in a row on one topic, all of one size: encoded once for all.

A publisher in bulk sends packets that differ in packet identifier and payload alone. Such a run is routed once, and
what each subscriber gets is one copy of one template into which its packet identifiers are written a column at a time.
"""

from .message import WEIGHT, Message, encode_expiry
from .protocol.encode import encode_publish_head, encode_publish_head5, encode_varint
from .protocol.packet_ids import write_consecutive

_NO_ID = b"\0\0"


class Template:
    """A run as bytes for one kind of receiver; packet identifiers, where there are any, are to be written yet."""

    __slots__ = ("data", "extra", "first_byte", "id_at", "length")

    def __init__(self, first_byte: int, extra: bytes, data: bytes, length: int, id_at: int) -> None:
        self.first_byte = first_byte
        self.extra = extra
        """Encoded properties that stand before the publisher's."""
        self.data = data
        self.length = length
        """Bytes of one packet."""
        self.id_at = id_at
        """Where its packet identifier is."""

    def numbered(self, at: int, count: int, first: int) -> bytes:
        """Give `count` of the packets from the one at `at` on, with consecutive packet identifiers from `first`."""
        data = bytearray(self.data[at * self.length : (at + count) * self.length])
        write_consecutive(data, self.id_at, self.length, first)
        return bytes(data)


class MessageRun:
    """Hold a run; immutable but for the cache of its encodings, shared by all its receivers."""

    __slots__ = (
        "_body",
        "_data",
        "_id_at",
        "_length",
        "_messages",
        "_native",
        "_payloads",
        "_templates",
        "count",
        "expires_at",
        "properties",
        "published_at",
        "qos",
        "sender",
        "topic",
        "topic_bytes",
    )

    def __init__(
        self,
        topic: str,
        topic_bytes: bytes,
        sender: str,
        qos: int,
        data: bytes,
        count: int,
        id_at: int,
        body: int,
        properties: bytes = b"",
        expires_at: float | None = None,
        native: tuple[int, bool] | None = None,
        published_at: float = 0.0,
    ) -> None:
        """`data` are `count` whole packets of one size, with packet identifiers at `id_at` and payloads from `body` on.

        `native` are their first byte and whether they are of MQTT 5, if they can be passed on in this form.
        """
        self.topic = topic
        self.topic_bytes = topic_bytes
        self.sender = sender
        self.qos = qos
        self.count = count
        self.properties = properties
        """The properties that go on to MQTT 5 subscribers, encoded as they came."""
        self.expires_at = expires_at
        """Seconds since the epoch, None for never."""
        self.published_at = published_at
        """Seconds since the epoch; 0 where that is not known."""
        self._data = data
        self._length = len(data) // count
        self._body = body
        self._id_at = id_at
        self._native = native
        self._payloads: list[bytes] | None = None
        self._messages: list[Message] | None = None
        self._templates: list[Template | None] = [None, None]
        """The last ones that were asked for, without and with MQTT 5."""

    @property
    def payloads(self) -> list[bytes]:
        """What the messages carry, in their order."""
        if self._payloads is None:
            data, length, body = self._data, self._length, self._body
            self._payloads = [data[at + body : at + length] for at in range(0, len(data), length)]
        return self._payloads

    @property
    def messages(self) -> list[Message]:
        """The same as messages, for whoever needs them one by one."""
        if self._messages is None:
            self._messages = [
                Message(
                    self.topic,
                    payload,
                    self.qos,
                    False,
                    self.sender,
                    self.topic_bytes,
                    self.properties,
                    self.expires_at,
                    b"",
                    self.published_at,
                )
                for payload in self.payloads
            ]
        return self._messages

    @property
    def stored(self) -> tuple[bytes, int, int]:
        """The packets, and where in each its packet identifier is and its payload begins."""
        return self._data, self._id_at, self._body

    @property
    def weight(self) -> int:
        """What one of the messages holds in memory, in bytes."""
        return self._length - self._body + len(self.properties) + len(self.topic_bytes) + WEIGHT

    def expiry_property(self, now: float) -> bytes:
        """Encode what is left of the messages' lives; empty where they have no end."""
        return encode_expiry(self.expires_at, now)

    def template(self, first_byte: int, version: int, extra: bytes = b"") -> Template:
        """Encode the run for receivers of a version; `extra` are encoded properties of MQTT 5, before the others."""
        five = version == 5
        known = self._templates[five]
        if known is None or known.first_byte != first_byte or known.extra != extra:
            known = self._templates[five] = self._encode(first_byte, five, extra)
        return known

    def settle(self) -> None:
        """Let go what can be made again: some of the messages may wait long for their acknowledgements."""
        self._templates = [None, None]
        self._payloads = None

    def _encode(self, first_byte: int, five: bool, extra: bytes) -> Template:
        if not extra and self._native == (first_byte, five):
            return Template(first_byte, extra, self._data, self._length, self._id_at)
        payloads = self.payloads
        size = len(payloads[0])
        number = _NO_ID if first_byte & 0x06 else b""
        if five:
            properties = extra + self.properties
            block = encode_varint(len(properties)) + properties
            head = encode_publish_head5(first_byte, self.topic_bytes, len(number) + len(block) + size)
            front = head + number + block
        else:
            head = encode_publish_head(first_byte, self.topic_bytes, size)
            front = head + number
        return Template(first_byte, extra, front + front.join(payloads), len(front) + size, len(head))
