"""The packets that are worth an object: those that open, subscribe, unsubscribe and close.

PUBLISH and its acknowledgements never become objects on their way in: `reader.py` hands their parts to the sink.
`properties` is what MQTT 5 adds; it is empty in packets of earlier versions.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from .reason_codes import ReasonCode

Properties: TypeAlias = dict[int, object]
"""By `properties.PropertyId`, in the order of the packet; all user properties in one list of pairs."""


def _no_properties() -> Properties:
    return {}


class PacketType(IntEnum):
    """The control packet types (MQTT 5, table 2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


@dataclass(frozen=True, slots=True)
class Will:
    """The message that is published if the connection ends without a DISCONNECT."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    delay: int = 0
    """Seconds between the end of the connection and the will."""
    message_expiry: int | None = None
    properties: bytes = field(default=b"", repr=False)
    """What goes on to subscribers, encoded as it came, without its length: see `properties.PublishProperties`."""


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT; `client_id` is empty where the client leaves the choice to the server."""

    protocol_name: str
    protocol_version: int
    clean_start: bool
    keep_alive: int
    """Seconds, 0 for none."""
    client_id: str
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    properties: Properties = field(default_factory=_no_properties, repr=False)


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """One topic filter of a SUBSCRIBE with its options; all but `qos` are MQTT 5's."""

    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A SUBSCRIBE; at least one request."""

    packet_id: int
    requests: tuple[SubscribeRequest, ...]
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """An UNSUBSCRIBE; at least one filter."""

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class Pingreq:
    """A PINGREQ."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A DISCONNECT; in 3.1 and 3.1.1 always with reason 0."""

    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class Auth:
    """An AUTH, one step of an enhanced authentication; its properties always name the method."""

    reason: ReasonCode
    properties: Properties = field(default_factory=_no_properties, repr=False)


Packet: TypeAlias = Connect | Subscribe | Unsubscribe | Pingreq | Disconnect | Auth
