"""The records that the store hands out. Frozen, free of secrets; times in seconds since the epoch, UTC."""

from dataclasses import dataclass
from typing import Literal

PUBLISH = 1
RECEIVE = 2
SUBSCRIBE = 4

LoginType = Literal["username", "clientid"]
SubjectType = Literal["username", "clientid", "all"]
Permission = Literal["allow", "deny"]
Action = Literal["publish", "subscribe", "all"]
ApiRole = Literal["administrator", "viewer", "publisher"]


class Unset:
    """Say that a value is to stay as it is, where None means something."""


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class Login:
    """Describe a principal that may connect over MQTT."""

    id: str
    login_type: LoginType
    login: str
    superuser: bool = False
    disabled: bool = False
    """Switched off, by the operator or by its owner."""
    expires_at: float | None = None
    created_at: float = 0.0
    kind: str = "mqtt_client"
    confined: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny one action on the topics of a filter; a topic that begins with `eq ` is compared literally."""

    topic: str
    permission: Permission
    action: Action
    qos: tuple[int, ...] = (0, 1, 2)
    retain: bool | None = None
    """The retain flag that a publish must have, None for either; of no meaning for subscribe."""


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


@dataclass(frozen=True, slots=True)
class Change:
    """Say whose access a write changed: whom to disconnect, whose subscriptions to check again."""

    close_principals: frozenset[str] = frozenset()
    usernames: frozenset[str] = frozenset()
    client_ids: frozenset[str] = frozenset()
    everyone: bool = False


NO_CHANGE = Change()


def to_microseconds(seconds: float | None) -> int | None:
    """Translate a record's time into the database's."""
    return None if seconds is None else round(seconds * 1_000_000)


def to_seconds(microseconds: int | None) -> float | None:
    """Translate the database's time into a record's."""
    return None if microseconds is None else microseconds / 1_000_000
