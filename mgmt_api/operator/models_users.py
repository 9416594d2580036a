"""What users look like: the logins that may connect over MQTT."""

from pydantic import Field
from typing_extensions import TypedDict

from ...store.records import ClientIdMode, LoginKind, LoginType
from ..limits import Body
from ..paging import Meta, PageQuery, Query
from .fields import MAX_MEMBERSHIPS, Membership, Moment, NewMembership


class User(TypedDict):
    """Show a login, never its password in any form."""

    login: str
    login_type: LoginType
    kind: LoginKind
    tenant: str
    superuser: bool
    disabled: bool
    disabled_at: str | None
    paused_at: str | None
    expires_at: str | None
    secret_expires_at: str | None
    clientid: str | None
    clientid_mode: ClientIdMode
    confined: bool
    can_publish: bool
    can_subscribe: bool
    label: str
    description: str
    roles: list[Membership]
    groups: list[Membership]
    created_at: str


class UserPage(TypedDict):
    """One page of users."""

    data: list[User]
    meta: Meta


class LoginQuery(Query):
    """Say which of the two name spaces a login is in."""

    login_type: LoginType = Field(default="username", description="What the login is compared with")


class UserQuery(PageQuery, LoginQuery):
    """Ask for users."""

    like: str | None = Field(default=None, description="Part of the name")
    role: str | None = Field(default=None, description="A role of its own that it has")
    group: str | None = Field(default=None, description="A group that it is in")
    disabled: bool | None = None
    superuser: bool | None = None


class _UserFields(Body):
    clientid: str | None = Field(default=None, description="See clientid_mode")
    expires_at: Moment | None = Field(default=None, description="None for never")


class NewUser(_UserFields):
    """A user to be created; without a password it can connect with a certificate alone."""

    login: str = Field(min_length=1)
    login_type: LoginType = "username"
    password: str | None = Field(default=None, min_length=1, repr=False)
    superuser: bool = False
    clientid_mode: ClientIdMode = Field(
        default="any",
        description="reserved: nobody else may use the client id; required: this user may use no other",
    )
    confined: bool = Field(default=False, description="Deny what its own rules and roles do not allow")
    can_publish: bool = True
    can_subscribe: bool = True
    label: str = ""
    description: str = ""
    roles: list[NewMembership] = Field(default=[], fail_fast=True, max_length=MAX_MEMBERSHIPS)
    groups: list[NewMembership] = Field(default=[], fail_fast=True, max_length=MAX_MEMBERSHIPS)


class ChangedUser(_UserFields):
    """What is to be another; what is not given stays."""

    password: str | None = Field(default=None, min_length=1, repr=False)
    superuser: bool | None = None
    disabled: bool | None = None
    clientid_mode: ClientIdMode | None = None
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    label: str | None = None
    description: str | None = None
