"""`wardenmq role`: named lists of ACLs, as Mosquitto's dynamic security has them."""

from typing import Annotated, Any, Literal

import typer

from .api import Api
from .options import Disconnect, Like, RoleName, TextDescription, TextName, given
from .table import Column, column
from .verbs import noun, verb

app = noun("role", "Named lists of ACLs that users and groups are given.")

AclType = Literal[
    "publishClientSend",
    "publishClientReceive",
    "subscribeLiteral",
    "subscribePattern",
    "unsubscribeLiteral",
    "unsubscribePattern",
]
_AclTypeArgument = Annotated[AclType, typer.Argument(metavar="ACLTYPE", help="What is done with the topic.")]
_Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="A filter; %c and %u are client id and user name.")]
_AclPriority = Annotated[int, typer.Option(metavar="N", help="The highest is read first.")]
_Wildcards = Annotated[
    Literal["yes", "no"] | None, typer.Option("--wildcard-subs", help="Whether subscriptions may have + and #.")
]

_COLUMNS: list[Column] = [
    column("name"),
    column("acls", "acl_count"),
    column("wildcard subs", "allow_wildcard_subs"),
    column("text name", "text_name"),
]
_FIELDS: list[Column] = [
    column("name"),
    column("text name", "text_name"),
    column("description", "text_description"),
    column("wildcard subs", "allow_wildcard_subs"),
    column("created", "created_at"),
    ("acls", lambda row: [_acl(acl) for acl in row["acls"]]),
]


@verb(app, "list")
def list_roles(api: Api, like: Like = None) -> None:
    """List roles."""
    api.print_rows(api.collect("roles", query={"like": like}), _COLUMNS, "There are no such roles.")


@verb(app, "show")
def show_role(api: Api, role: RoleName) -> None:
    """Show a role with its ACLs."""
    api.print_record(api.call("GET", "roles", role), _FIELDS)


@verb(app, "add")
def add_role(
    api: Api,
    role: RoleName,
    text_name: TextName = None,
    text_description: TextDescription = None,
    wildcard_subs: _Wildcards = None,
) -> None:
    """Create a role without ACLs."""
    body = {"name": role, **_values(text_name, text_description, wildcard_subs)}
    api.print_record(api.call("POST", "roles", body=body), _FIELDS)


@verb(app, "set")
def set_role(
    api: Api,
    role: RoleName,
    text_name: TextName = None,
    text_description: TextDescription = None,
    wildcard_subs: _Wildcards = None,
    disconnect: Disconnect = False,
) -> None:
    """Change a role; what is not given stays."""
    body = _values(text_name, text_description, wildcard_subs)
    if not body:
        raise typer.BadParameter("There is nothing to change: see --help for what can be.")
    api.print_record(api.call("PATCH", "roles", role, query={"disconnect": disconnect}, body=body), _FIELDS)


@verb(app, "delete")
def delete_role(api: Api, role: RoleName, disconnect: Disconnect = False) -> None:
    """Delete a role and take it from all who have it."""
    api.call("DELETE", "roles", role, query={"disconnect": disconnect})
    api.print_done("The role is deleted.")


@verb(app, "allow")
def allow(
    api: Api,
    role: RoleName,
    acltype: _AclTypeArgument,
    topic: _Topic,
    priority: _AclPriority = 0,
    disconnect: Disconnect = False,
) -> None:
    """Add an ACL that allows something."""
    _add(api, role, acltype, topic, True, priority, disconnect)


@verb(app, "deny")
def deny(
    api: Api,
    role: RoleName,
    acltype: _AclTypeArgument,
    topic: _Topic,
    priority: _AclPriority = 0,
    disconnect: Disconnect = False,
) -> None:
    """Add an ACL that denies something."""
    _add(api, role, acltype, topic, False, priority, disconnect)


@verb(app, "remove")
def remove(api: Api, role: RoleName, acltype: _AclTypeArgument, topic: _Topic, disconnect: Disconnect = False) -> None:
    """Take an ACL out."""
    answer = api.call("DELETE", "roles", role, "acls", acltype, topic, query={"disconnect": disconnect})
    api.print_record(answer, _FIELDS)


def _add(api: Api, role: str, acltype: str, topic: str, allow: bool, priority: int, disconnect: bool) -> None:
    body = {"acltype": acltype, "topic": topic, "allow": allow, "priority": priority}
    api.print_record(api.call("POST", "roles", role, "acls", query={"disconnect": disconnect}, body=body), _FIELDS)


def _values(text_name: str | None, text_description: str | None, wildcard_subs: str | None) -> dict[str, object]:
    body = given(text_name=text_name, text_description=text_description)
    if wildcard_subs is not None:
        body["allow_wildcard_subs"] = wildcard_subs == "yes"
    return body


def _acl(acl: dict[str, Any]) -> str:
    return (
        f"{'allow' if acl['allow'] else 'deny':<5}  {acl['acltype']:<20}  {acl['topic']}  (priority {acl['priority']})"
    )
