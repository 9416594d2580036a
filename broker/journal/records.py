"""Messages that sessions are owed, as the journal knows them: one record for all, and what each session is owed of it.

A record is one message or one run. Each session numbers what it is owed: the position decides the order, and the packet
identifier, so that a message has the same one after a restart without a word being written about it when it is sent.
"""

from typing import Protocol

from ..deliveries import Group
from ..held import Answer
from ..message import Message
from ..message_run import MessageRun
from .contract import Row

PACKET_IDS = 65_535
"""Packet identifiers that there are; 0 is none."""


class Journaled(Protocol):
    """A session, as far as the journal needs it."""

    key: int
    """Its number in the journal."""

    @property
    def client_id(self) -> str:
        """The client id."""
        ...

    @property
    def connected(self) -> bool:
        """Tell whether a connection carries it."""
        ...

    @property
    def link(self) -> object | None:
        """The connection that carries it."""
        ...

    def row(self) -> Row:
        """Give its row as it is now."""
        ...

    def loaded(self) -> None:
        """Go on: what was to be read from the store is there."""
        ...


class Record:
    """Hold one message or run, or the knowledge that it is in the store."""

    __slots__ = (
        "batch",
        "content",
        "count",
        "expires_at",
        "id",
        "kept",
        "missing",
        "owed",
        "qos",
        "sender",
        "topic",
        "weight",
    )

    def __init__(
        self,
        number: int,
        batch: int,
        content: Message | MessageRun | None,
        topic: str,
        sender: str,
        qos: int,
        count: int,
        weight: int,
        expires_at: float | None,
    ) -> None:
        self.id = number
        self.batch = batch
        """The batch that it was written with."""
        self.content = content
        """None where it is in the store alone."""
        self.topic = topic
        self.sender = sender
        self.qos = qos
        """What it was published at."""
        self.count = count
        self.weight = weight
        """What one of the messages holds in memory, in bytes, while it is there."""
        self.expires_at = expires_at
        self.owed = 0
        """How many sessions are owed anything of it."""
        self.kept = False
        """Whether it counts towards what is kept in memory."""
        self.missing = False
        """Whether the store has it no more, though it should."""

    @property
    def size(self) -> int:
        """What it holds in memory while it is there, in bytes."""
        return self.weight * self.count

    def expired(self, now: float) -> bool:
        """Tell whether it may not be delivered any more."""
        return self.expires_at is not None and self.expires_at <= now


class Owed:
    """Consecutive messages of a record that a session is owed at consecutive positions.

    It stands among what the session has in flight for each of the packet identifiers that it was sent with.
    """

    __slots__ = (
        "answer",
        "batch",
        "count",
        "done",
        "first",
        "group",
        "identifiers",
        "left",
        "maybe_sent",
        "position",
        "qos",
        "received",
        "record",
        "retain",
        "session",
        "tick",
    )

    def __init__(
        self,
        session: Journaled,
        record: Record,
        batch: int,
        position: int,
        first: int,
        count: int,
        qos: int,
        retain: bool,
        identifiers: bytes,
        group: Group | None,
        answer: Answer | None = None,
        tick: int = 0,
    ) -> None:
        self.session = session
        self.record = record
        self.batch = batch
        """The batch that it was written with first."""
        self.position = position
        self.first = first
        """Which message of the record is at `position`."""
        self.count = count
        self.qos = qos
        self.retain = retain
        self.identifiers = identifiers
        """Encoded subscription identifiers."""
        self.group = group
        """The shared subscription that chose this session."""
        self.answer = answer
        """What its publisher is to be told once nothing of it is owed or it is written, whatever comes first."""
        self.tick = tick
        """When it came, in the journal's own measure."""
        self.left = count
        """Messages that are not settled."""
        self.maybe_sent = 0
        """How many of the messages, from the first on, the client may have been sent by another process."""
        self.done = 0
        """A bit for each message that is settled."""
        self.received = 0
        """A bit for each QoS 2 message that the client has received, so that only its PUBREL is owed."""

    def packet_id(self, offset: int) -> int:
        """Give the packet identifier of a message by its place in here."""
        return (self.position + offset) % PACKET_IDS + 1

    def offset(self, packet_id: int) -> int:
        """Give the place in here of the message with a packet identifier."""
        return (packet_id - 1 - self.position) % PACKET_IDS

    def message(self, offset: int) -> Message | None:
        """Give a message by its place in here; None while it is in the store alone."""
        content = self.record.content
        return content.messages[self.first + offset] if isinstance(content, MessageRun) else content

    def message_of(self, packet_id: int) -> Message | None:
        """Give the message that was sent with a packet identifier; None where only its PUBREL is owed."""
        offset = self.offset(packet_id)
        return None if self.received >> offset & 1 else self.message(offset)


class OwedPart:
    """One of the messages that a session is owed, as it waits in the queue."""

    __slots__ = ("offset", "owed")

    def __init__(self, owed: Owed, offset: int) -> None:
        self.owed = owed
        self.offset = offset

    @property
    def message(self) -> Message | None:
        """The message; None while it is in the store alone."""
        return self.owed.message(self.offset)

    @property
    def topic(self) -> str:
        """The message's topic."""
        return self.owed.record.topic

    @property
    def weight(self) -> int:
        """What the message counts towards the queue's bound, in bytes."""
        return self.owed.record.weight

    @property
    def qos(self) -> int:
        """The QoS that it is owed at."""
        return self.owed.qos

    @property
    def retain(self) -> bool:
        """Whether it is sent as retained."""
        return self.owed.retain

    @property
    def identifiers(self) -> bytes:
        """Encoded subscription identifiers."""
        return self.owed.identifiers

    @property
    def group(self) -> Group | None:
        """The shared subscription that chose this session."""
        return self.owed.group

    def message_of(self, packet_id: int) -> Message | None:
        """Give the message."""
        return self.message
