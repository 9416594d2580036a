"""The records that the store hands out. Frozen, free of secrets; times in seconds since the epoch, UTC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

PUBLISH = 1
RECEIVE = 2
SUBSCRIBE = 4
UNSUBSCRIBE = 8

LoginType = Literal["username", "clientid"]
LoginKind = Literal["mqtt_client", "portal_publisher", "portal_subscriber", "haltian_key"]
ClientIdMode = Literal["any", "reserved", "required", "per_connection"]
SubjectType = Literal["username", "clientid", "all"]
Permission = Literal["allow", "deny"]
Action = Literal["publish", "subscribe", "all"]
Operation = Literal["publish", "receive", "subscribe", "unsubscribe"]
AclType = Literal[
    "publishClientSend",
    "publishClientReceive",
    "subscribeLiteral",
    "subscribePattern",
    "unsubscribeLiteral",
    "unsubscribePattern",
]
BanType = Literal["clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net"]
OrgRole = Literal["OrganizationManager", "SpaceDesigner", "AssetInstaller", "DataViewer", "MqttIntegrator"]
IntegrationState = Literal["active", "inactive"]
ApiRole = Literal["administrator", "viewer", "publisher"]

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last that RFC 3339 can write."""
NO_PRIORITY = -1
"""The priority of a membership that was given none, as in Mosquitto's dynamic security."""
MAX_PRIORITY = 100_000
"""Priorities beyond it, either way, are clamped to it, as in Mosquitto's dynamic security."""


class Unset:
    """Say that a value is to stay as it is, where None means something."""


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class Tenant:
    """Describe an organization; the operator's own objects are in the one named `default`."""

    id: str
    name: str
    display_name: str = ""
    enabled: bool = True
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Login:
    """Describe a principal that may connect over MQTT."""

    id: str
    login_type: LoginType
    login: str
    superuser: bool = False
    disabled_at: float | None = None
    """When the operator switched it off; None while it is on."""
    paused_at: float | None = None
    """When its owner switched it off; None while it is on."""
    expires_at: float | None = None
    created_at: float = 0.0
    kind: LoginKind = "mqtt_client"
    confined: bool = False
    """Whether what its own rules do not allow is denied, whatever holds for others."""
    tenant: str = ""
    """The tenant's id."""
    clientid: str | None = None
    clientid_mode: ClientIdMode = "any"
    """What `clientid` means. `reserved`: nobody else may connect with it. `required`: this login may connect with no
    other one. `per_connection`: each connection has a client id of its own, which can be one level of a topic."""
    can_publish: bool = True
    can_subscribe: bool = True
    label: str = ""
    description: str = ""
    secret_expires_at: float | None = None
    """When its password or token ends, where that is another time than its own."""
    parent: str | None = None
    """The id of the shared login whose device it stands for, and with which it goes."""

    @property
    def disabled(self) -> bool:
        """Whether it is switched off, by the operator or by its owner."""
        return self.disabled_at is not None or self.paused_at is not None

    @property
    def valid_until(self) -> float | None:
        """The earlier end of the login and of its secret; None for never."""
        if self.secret_expires_at is None:
            return self.expires_at
        return self.secret_expires_at if self.expires_at is None else min(self.expires_at, self.secret_expires_at)


@dataclass(frozen=True, slots=True)
class Condition:
    """Limit a rule to some clients; all that is set must hold."""

    ipaddr: str | None = None
    """An address or a network (CIDR)."""
    clientid_re: str | None = None
    username_re: str | None = None
    listener: str | None = None
    """The listener's name, with or without its type: `default`, `tcp:default`."""
    listener_re: str | None = None
    zone: str | None = None
    """There is one zone, `default`."""
    zone_re: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny one action on the topics of a filter; a topic that begins with `eq ` is compared literally."""

    topic: str
    permission: Permission
    action: Action
    qos: tuple[int, ...] = (0, 1, 2)
    retain: bool | None = None
    """The retain flag that a publish must have, None for either; of no meaning for subscribe."""
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class RoleAcl:
    """Allow or deny one operation on the topics of a filter, as Mosquitto's dynamic security has it.

    `%c` and `%u` stand for client id and user name where they are a whole level of a type that is not literal.
    """

    acltype: AclType
    topic: str
    allow: bool
    priority: int = 0
    """Higher ones are read first; those of equal priority in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Role:
    """Describe a role; its ACLs in the order in which they are read."""

    id: str
    name: str
    text_name: str = ""
    text_description: str = ""
    allow_wildcard_subs: bool = True
    acls: tuple[RoleAcl, ...] = ()
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Describe a group: its roles by name and its members by user name, each with a priority."""

    id: str
    name: str
    text_name: str = ""
    text_description: str = ""
    roles: Mapping[str, int] = field(default_factory=dict[str, int])
    members: Mapping[str, int] = field(default_factory=dict[str, int])
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Ban:
    """Keep somebody out: `who` is a client id, a user name, an address, a network, or a regular expression."""

    who_type: BanType
    who: str
    by: str = ""
    reason: str = ""
    at: float = 0.0
    until: float | None = None
    """None for ever."""


@dataclass(frozen=True, slots=True)
class Integration:
    """Describe what keys of an organization are linked to, so that they may read its events."""

    id: str
    tenant: str
    description: str
    state: IntegrationState
    created_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Describe one write."""

    id: int
    at: float
    actor: str
    facade: str
    action: str
    target: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Describe a key to the management API; `api_key` is its public half."""

    id: str
    name: str
    api_key: str
    role: ApiRole
    enabled: bool
    expires_at: float | None
    description: str
    created_at: float


BanTest = Callable[[str, str | None, str], bool]
"""Tell of a client id, a user name and a peer's address whether they are banned."""


@dataclass(frozen=True, slots=True)
class Change:
    """Say whose access a write changed: whom to disconnect, whose rules and subscriptions to check again."""

    end_principals: frozenset[str] = frozenset()
    """Principals that are no more: their live sessions are closed, their stored ones end."""
    close_principals: frozenset[str] = frozenset()
    close_anonymous: bool = False
    """Whether the sessions without principal and user name are closed."""
    banned_client_ids: frozenset[str] = frozenset()
    banned_usernames: frozenset[str] = frozenset()
    required_client_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """The only client ids that principals may have from now on; their live sessions with others are closed."""
    reserved_client_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """The principals whose alone client ids are from now on; live sessions of others with these are closed."""
    banned: BanTest | None = None
    """Which live sessions are closed, where names are not enough to find them."""
    principals: frozenset[str] = frozenset()
    usernames: frozenset[str] = frozenset()
    client_ids: frozenset[str] = frozenset()
    anonymous: bool = False
    everyone: bool = False
    valid_until: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    """New ends of live sessions by principal."""


NO_CHANGE = Change()


def to_microseconds(seconds: float | None) -> int | None:
    """Translate a record's time into the database's."""
    return None if seconds is None else round(seconds * 1_000_000)


def to_seconds(microseconds: int | None) -> float | None:
    """Translate the database's time into a record's."""
    return None if microseconds is None else microseconds / 1_000_000
