"""What a login is made of and what may change about it, for those who write one."""

from dataclasses import dataclass, field
from typing import TypedDict

from .credentials.stored_secrets import StoredSecret
from .records import UNSET, Unset


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLogin:
    """Hold what a login is made of; `id` is chosen where it is None."""

    login_type: str
    login: str
    secret: StoredSecret | None = field(default=None, repr=False)
    secret_expires_at: float | None = None
    public_id: str | None = None
    """The public part of the secret, such as a token's `jti`."""
    id: str | None = None
    kind: str = "mqtt_client"
    tenant: str = ""
    """The tenant's id."""
    superuser: bool = False
    disabled: bool = False
    confined: bool = False
    can_publish: bool = True
    can_subscribe: bool = True
    clientid: str | None = None
    clientid_mode: str = "any"
    parent: str | None = None
    """The id of the shared login that it belongs to."""
    label: str = ""
    description: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginChange:
    """Hold what is to be another; None and UNSET leave a value as it is."""

    secret: StoredSecret | None = field(default=None, repr=False)
    secret_expires_at: float | None = None
    """Goes with `secret`."""
    public_id: str | None = None
    superuser: bool | None = None
    disabled: bool | None = None
    paused: bool | None = None
    expires_at: float | Unset | None = UNSET
    clientid: str | Unset | None = UNSET
    clientid_mode: str | None = None
    parent: str | Unset | None = UNSET
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    label: str | None = None
    description: str | None = None


class LoginValues(TypedDict, total=False):
    """What `create_login` takes beside names and secret; each is explained at `NewLogin`."""

    id: str | None
    kind: str
    secret_expires_at: float | None
    public_id: str | None
    disabled: bool
    confined: bool
    can_publish: bool
    can_subscribe: bool
    clientid: str | None
    clientid_mode: str
    parent: str | None
    label: str
    description: str
    expires_at: float | None


class LoginChanges(TypedDict, total=False):
    """What `update_login` takes beside names and secret; each is explained at `LoginChange`."""

    secret_expires_at: float | None
    public_id: str | None
    superuser: bool | None
    disabled: bool | None
    paused: bool | None
    expires_at: float | Unset | None
    clientid: str | Unset | None
    clientid_mode: str | None
    parent: str | Unset | None
    can_publish: bool | None
    can_subscribe: bool | None
    label: str | None
    description: str | None
