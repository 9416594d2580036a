"""What a session is subscribed to and what it is owed: messages, messages of a run, retained ones that are replayed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .message import Message
from .message_run import MessageRun
from .routing.shared import SharedGroup


@dataclass(frozen=True, slots=True)
class Subscription:
    """The options of one subscription; all but `qos` are MQTT 5's."""

    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int | None = None
    asked: str | None = ""
    """The filter that the client asked for, where that was rewritten: rights are asked about this one. Empty where it
    is the same, None where the server subscribed the client: nobody asks for rights then."""


Group: TypeAlias = SharedGroup[Any, Subscription]
"""A shared subscription; its members are sessions."""


class InFlight(Protocol):
    """What was sent to a session and is not acknowledged, under each of its packet identifiers."""

    @property
    def qos(self) -> int:
        """The QoS that it was sent at."""
        ...

    @property
    def retain(self) -> bool:
        """Whether it was sent as retained."""
        ...

    @property
    def identifiers(self) -> bytes:
        """Encoded subscription identifiers."""
        ...

    def message_of(self, packet_id: int) -> Message | None:
        """Give the message that was sent with a packet identifier; None where only its PUBREL is owed."""
        ...


class Waiting(Protocol):
    """A message that waits in a session's queue."""

    @property
    def qos(self) -> int:
        """The QoS that it is owed at."""
        ...

    @property
    def retain(self) -> bool:
        """Whether it is sent as retained."""
        ...

    @property
    def identifiers(self) -> bytes:
        """Encoded subscription identifiers."""
        ...

    @property
    def group(self) -> Group | None:
        """The shared subscription that chose the session."""
        ...

    @property
    def message(self) -> Message | None:
        """The message, where it is in memory."""
        ...

    @property
    def topic(self) -> str:
        """The message's topic."""
        ...

    @property
    def weight(self) -> int:
        """What the message counts towards the queue's bound, in bytes, as if no other session shared it."""
        ...

    def message_of(self, packet_id: int) -> Message | None:
        """Give the message that was sent with a packet identifier, once it was."""
        ...


class Delivery:
    """One message owed to a session at a QoS."""

    __slots__ = ("group", "identifiers", "message", "number", "qos", "retain")

    number: int
    """Where it stands among all that is listed; `listed.py` gives it to those that somebody looks at."""

    def __init__(
        self, message: Message | None, qos: int, retain: bool, identifiers: bytes = b"", group: Group | None = None
    ) -> None:
        self.message = message
        """None where a QoS 2 message has been received and only its PUBREL is owed."""
        self.qos = qos
        self.retain = retain
        self.identifiers = identifiers
        """Encoded subscription identifiers."""
        self.group = group
        """The shared subscription that chose this session."""

    @property
    def topic(self) -> str:
        """The message's topic."""
        return "" if self.message is None else self.message.topic

    def offer(self) -> "Offer | None":
        """Give it as what another session may have; None where only its PUBREL is owed."""
        message = self.message
        if message is None:
            return None
        return Offer(message, message.topic, message.sender, message.qos, self.retain, self.group)

    @property
    def weight(self) -> int:
        """What it counts towards the queue's bound, in bytes."""
        return 0 if self.message is None else self.message.weight

    def message_of(self, packet_id: int) -> Message | None:
        """Give the message that was sent with this packet identifier."""
        return self.message


class RunDelivery:
    """Messages of a run that were sent to a session with consecutive packet identifiers."""

    __slots__ = ("_first_id", "identifiers", "qos", "run")

    retain = False
    group: Group | None = None

    def __init__(self, run: MessageRun, qos: int, first_id: int, identifiers: bytes) -> None:
        self.run = run
        self.qos = qos
        self.identifiers = identifiers
        self._first_id = first_id
        """The packet identifier that the run's first message has, or would have."""

    def message_of(self, packet_id: int) -> Message:
        """Give the message that was sent with this packet identifier."""
        return self.run.messages[packet_id - self._first_id]


class RunPart:
    """One message of a run that waits."""

    __slots__ = ("identifiers", "index", "number", "qos", "run")

    retain = False
    group: Group | None = None
    number: int
    """As in `Delivery`."""

    def __init__(self, run: MessageRun, index: int, qos: int, identifiers: bytes) -> None:
        self.run = run
        self.index = index
        self.qos = qos
        self.identifiers = identifiers

    @property
    def message(self) -> Message:
        """The message by itself."""
        return self.run.messages[self.index]

    @property
    def topic(self) -> str:
        """The message's topic."""
        return self.run.topic

    @property
    def weight(self) -> int:
        """What it counts towards the queue's bound, in bytes."""
        return self.run.weight

    def message_of(self, packet_id: int) -> Message:
        """Give the message that was sent with this packet identifier."""
        return self.message


class Offer:
    """A message that a shared subscription chose one session for, and that another may have."""

    __slots__ = ("group", "message", "qos", "retain", "sender", "topic")

    def __init__(
        self, message: Message | None, topic: str, sender: str, qos: int, retain: bool, group: Group | None
    ) -> None:
        self.message = message
        """None where it is not in memory."""
        self.topic = topic
        self.sender = sender
        self.qos = qos
        """What it was published at."""
        self.retain = retain
        self.group = group

    def give(self, other: Any, qos: int, identifiers: bytes, group: Group) -> bool:
        """Let another session have it; False where there is nothing to be had."""
        if self.message is None:
            return False
        other.deliver(self.message, qos, self.retain, identifiers, group)
        return True


RECEIVED = Delivery(None, 2, False)
"""Any QoS 2 message that the client has received and of which only the PUBREL is owed."""


class Replay:
    """Retained messages on their way to a new subscriber, at the subscription's QoS; None is a place to pause."""

    __slots__ = ("identifiers", "messages", "no_local", "qos")

    def __init__(self, messages: Iterator[Message | None], qos: int, identifiers: bytes, no_local: bool) -> None:
        self.messages = messages
        self.qos = qos
        self.identifiers = identifiers
        self.no_local = no_local
