"""What a session is subscribed to and what it is owed: messages, messages of a run, retained ones that are replayed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

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


Group: TypeAlias = SharedGroup[Any, Subscription]
"""A shared subscription; its members are sessions."""


class Delivery:
    """One message owed to a session at a QoS."""

    __slots__ = ("group", "identifiers", "message", "qos", "retain")

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

    __slots__ = ("identifiers", "index", "qos", "run")

    retain = False
    group: Group | None = None

    def __init__(self, run: MessageRun, index: int, qos: int, identifiers: bytes) -> None:
        self.run = run
        self.index = index
        self.qos = qos
        self.identifiers = identifiers

    @property
    def message(self) -> Message:
        """The message by itself."""
        return self.run.messages[self.index]

    def message_of(self, packet_id: int) -> Message:
        """Give the message that was sent with this packet identifier."""
        return self.message


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
