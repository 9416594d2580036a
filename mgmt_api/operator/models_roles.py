"""What roles and groups look like, as Mosquitto's dynamic security has them."""

from pydantic import Field
from typing_extensions import TypedDict

from ...store.records import AclType, RoleAcl
from ...store.role_acls import MAX_ACLS
from ..limits import Body
from ..paging import Meta, PageQuery
from .fields import MAX_MEMBERSHIPS, Membership, NewMembership, Priority


class Acl(TypedDict):
    """Show an ACL of a role."""

    acltype: AclType
    topic: str
    allow: bool
    priority: int


class RoleRow(TypedDict):
    """Show a role in a list."""

    name: str
    text_name: str
    text_description: str
    allow_wildcard_subs: bool
    acl_count: int
    created_at: str


class Role(RoleRow):
    """Show a role, its ACLs in the order in which they are read."""

    acls: list[Acl]


class RolePage(TypedDict):
    """One page of roles."""

    data: list[RoleRow]
    meta: Meta


class Group(TypedDict):
    """Show a group; its members have a list of their own."""

    name: str
    text_name: str
    text_description: str
    roles: list[Membership]
    member_count: int
    anonymous: bool
    created_at: str


class MemberPage(TypedDict):
    """One page of a group's members by user name."""

    data: list[Membership]
    meta: Meta


class GroupPage(TypedDict):
    """One page of groups."""

    data: list[Group]
    meta: Meta


class AnonymousGroup(TypedDict):
    """Show the group of the clients that present no user name; None where they have none."""

    group: str | None


class NameQuery(PageQuery):
    """Ask for roles or groups."""

    like: str | None = Field(default=None, description="Part of the name")


class NewAcl(Body):
    """An ACL to be added; one of a type and topic that are there already is refused."""

    acltype: AclType
    topic: str = Field(min_length=1, description="`%c` and `%u` stand for client id and user name as whole levels")
    allow: bool
    priority: Priority = Field(default=0, description="The highest is read first")

    def to_acl(self) -> RoleAcl:
        """Make the store's record."""
        return RoleAcl(self.acltype, self.topic, self.allow, self.priority)


class NewRole(Body):
    """A role to be created."""

    name: str = Field(min_length=1)
    text_name: str = ""
    text_description: str = ""
    allow_wildcard_subs: bool = Field(default=True, description="False denies every subscription with + or #")
    acls: list[NewAcl] = Field(default=[], fail_fast=True, max_length=MAX_ACLS)


class ChangedRole(Body):
    """What is to be another; what is not given stays, `acls` replaces all of them."""

    text_name: str | None = None
    text_description: str | None = None
    allow_wildcard_subs: bool | None = None
    acls: list[NewAcl] | None = Field(default=None, fail_fast=True, max_length=MAX_ACLS)


class NewGroup(Body):
    """A group to be created."""

    name: str = Field(min_length=1)
    text_name: str = ""
    text_description: str = ""
    roles: list[NewMembership] = Field(default=[], fail_fast=True, max_length=MAX_MEMBERSHIPS)


class ChangedGroup(Body):
    """What is to be another; what is not given stays."""

    text_name: str | None = None
    text_description: str | None = None


class NewAnonymousGroup(Body):
    """The group to be given to clients that present no user name."""

    group: str = Field(min_length=1)
