"""What the tests say to a client that nobody here wrote, whichever library, version and transport it is.

Each library has a `Party` of its own. It does what the library's documentation tells its users to do, translates the
names that the library has for MQTT's properties, and keeps what was seen. No party repairs anything: what a library
does not tell (its `TELLS`), the tests do not ask of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from ..engine.conditions import until
from .node import Node
from .places import Place

SECONDS = 30.0
"""How long any single expected thing may take on a machine that is busy with other tests."""

VERSIONS = {3: "3.1", 4: "3.1.1", 5: "5"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A library in one protocol version over one transport."""

    library: str
    level: int
    transport: str = "tcp"

    def __str__(self) -> str:
        return f"{self.library}-{VERSIONS[self.level]}-{self.transport}"

    def code(self, old: int, new: int) -> int:
        """Choose between what 3.1 and 3.1.1 call something, and what 5 does."""
        return new if self.level == 5 else old


class Names(NamedTuple):
    """What the libraries call a property."""

    paho: str
    gmqtt: str
    mqttjs: str


PROPERTIES = {
    "payload_format": Names("PayloadFormatIndicator", "payload_format_id", "payloadFormatIndicator"),
    "message_expiry": Names("MessageExpiryInterval", "message_expiry_interval", "messageExpiryInterval"),
    "content_type": Names("ContentType", "content_type", "contentType"),
    "response_topic": Names("ResponseTopic", "response_topic", "responseTopic"),
    "correlation_data": Names("CorrelationData", "correlation_data", "correlationData"),
    "user_properties": Names("UserProperty", "user_property", "userProperties"),
    "subscription_identifiers": Names("SubscriptionIdentifier", "subscription_identifier", "subscriptionIdentifier"),
    "topic_alias": Names("TopicAlias", "topic_alias", "topicAlias"),
    "session_expiry": Names("SessionExpiryInterval", "session_expiry_interval", "sessionExpiryInterval"),
    "receive_maximum": Names("ReceiveMaximum", "receive_maximum", "receiveMaximum"),
    "topic_alias_maximum": Names("TopicAliasMaximum", "topic_alias_maximum", "topicAliasMaximum"),
    "maximum_packet_size": Names("MaximumPacketSize", "maximum_packet_size", "maximumPacketSize"),
    "request_response_information": Names(
        "RequestResponseInformation", "request_response_info", "requestResponseInformation"
    ),
    "response_information": Names("ResponseInformation", "response_info", "responseInformation"),
    "will_delay": Names("WillDelayInterval", "will_delay_interval", "willDelayInterval"),
    "assigned_client_id": Names("AssignedClientIdentifier", "assigned_client_identifier", "assignedClientIdentifier"),
    "server_keep_alive": Names("ServerKeepAlive", "server_keep_alive", "serverKeepAlive"),
    "maximum_qos": Names("MaximumQoS", "max_qos", "maximumQoS"),
    "retain_available": Names("RetainAvailable", "retain_available", "retainAvailable"),
    "wildcard_available": Names(
        "WildcardSubscriptionAvailable", "wildcard_subscription_available", "wildcardSubscriptionAvailable"
    ),
    "identifiers_available": Names(
        "SubscriptionIdentifierAvailable", "sub_id_available", "subscriptionIdentifiersAvailable"
    ),
    "shared_available": Names(
        "SharedSubscriptionAvailable", "shared_subscription_available", "sharedSubscriptionAvailable"
    ),
    "authentication_method": Names("AuthenticationMethod", "auth_method", "authenticationMethod"),
    "authentication_data": Names("AuthenticationData", "(unknown to it)", "authenticationData"),
    "reason_string": Names("ReasonString", "reason_string", "reasonString"),
}

Properties = dict[str, object]


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Filter:
    """One line of a SUBSCRIBE; all but topic and QoS are MQTT 5's."""

    topic: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client connects with; `clean` is Clean Session or Clean Start."""

    client_id: str
    clean: bool = True
    username: str | None = None
    password: str | None = None
    will: Will | None = None
    keep_alive: int = 60
    reconnect: bool = False
    """Whether the library is to connect again by itself when the connection broke."""
    properties: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Received:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties


class Refused(Exception):
    """The CONNACK said no; the code is the version's own."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code:#x}")
        self.code = code


class Party(ABC):
    """One client of one library, for one call of `connect`."""

    TELLS: ClassVar[frozenset[str]] = frozenset()
    """What the library lets its user see or say, of: session_present, connack, publish_reason, unsubscribe_reason,
    end_reason, goodbye_properties (on its DISCONNECT), alias (on a message that comes in), pair_order (of user
    properties with different names)."""

    RECONNECTS: ClassVar[bool] = True
    """Whether the library can connect again by itself."""

    def __init__(self, kind: Kind, place: Place, options: Options, node: Node) -> None:
        self.node = node
        self.kind = kind
        self.place = place
        self.options = options
        self.address = place.address(kind.transport)
        self.messages: list[Received] = []
        self.aliases: set[int] = set()
        """Topic aliases that messages came with."""
        self.session_present: bool | None = None
        self.connack: Properties = {}
        self.ended: list[int | None] = []
        """Why the connection ended, as the server said it; None where it said nothing."""

    @abstractmethod
    async def connect(self) -> None:
        """Connect; raises Refused."""

    @abstractmethod
    async def subscribe(self, *filters: Filter, identifier: int | None = None) -> list[int]:
        """Subscribe with one packet, and give the reason codes."""

    @abstractmethod
    async def unsubscribe(self, topic_filter: str) -> list[int]:
        """Unsubscribe and wait for the acknowledgement."""

    @abstractmethod
    async def publish_all(
        self, topic: str, payloads: Sequence[bytes], qos: int = 0, *, retain: bool = False, **properties: object
    ) -> list[int | None]:
        """Publish without waiting in between, then wait for all acknowledgements and give their reasons."""

    @abstractmethod
    async def disconnect(self, reason: int = 0, **properties: object) -> None:
        """Say good-bye."""

    @abstractmethod
    async def drop(self) -> None:
        """Lose the connection without a word."""

    @abstractmethod
    async def close(self) -> None:
        """Leave nothing behind, in whatever state the client is."""

    async def publish(
        self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False, **properties: object
    ) -> int | None:
        """Publish one message and give the reason in its acknowledgement, where the library tells."""
        (reason,) = await self.publish_all(topic, [payload], qos, retain=retain, **properties)
        return reason

    async def take(self, count: int) -> list[Received]:
        """Wait for so many messages since the beginning, and give all there are."""
        await until(lambda: len(self.messages) >= count, SECONDS)
        return self.messages

    async def end(self) -> int | None:
        """Wait until the server closed the connection and give its reason."""
        await until(lambda: bool(self.ended), SECONDS)
        return self.ended[0]

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


async def fence(sender: Party, receiver: Party) -> None:
    """Have everything that was sent before arrive; the receiver has to be subscribed to `fence`."""
    await sender.publish("fence", b"fence", 1)
    await until(lambda: any(message.topic == "fence" for message in receiver.messages), SECONDS)
    receiver.messages[:] = [message for message in receiver.messages if message.topic != "fence"]
