"""`wardenmq group`: users that have roles in common."""

from typing import Annotated

import typer

from .api import Api
from .failures import Unusable
from .options import (
    NO_PRIORITY,
    Disconnect,
    GroupName,
    Like,
    Priority,
    RoleName,
    TextDescription,
    TextName,
    Username,
    given,
    split_priorities,
    with_priorities,
)
from .table import Column, column
from .verbs import noun, verb

app = noun("group", "Users that have roles in common.")

_COLUMNS: list[Column] = [
    column("name"),
    ("roles", lambda row: [role["name"] for role in row["roles"]]),
    column("members", "member_count"),
    column("anonymous"),
    column("text name", "text_name"),
]
_FIELDS: list[Column] = [
    column("name"),
    column("text name", "text_name"),
    column("description", "text_description"),
    ("roles", lambda row: with_priorities(row["roles"])),
    column("members", "member_count"),
    column("anonymous clients", "anonymous"),
    column("created", "created_at"),
]
_MEMBERS: list[Column] = [("their names", lambda row: with_priorities(row["members"]))]


@verb(app, "list")
def list_groups(api: Api, like: Like = None) -> None:
    """List groups."""
    api.print_rows(api.collect("groups", query={"like": like}), _COLUMNS, "There are no such groups.")


@verb(app, "show")
def show_group(api: Api, group: GroupName) -> None:
    """Show a group with its members."""
    found = api.call("GET", "groups", group)
    members = api.collect("groups", group, "members")["data"]
    api.print_record({**found, "members": members}, [*_FIELDS, *_MEMBERS] if members else _FIELDS)


@verb(app, "add")
def add_group(
    api: Api,
    group: GroupName,
    role: Annotated[list[str] | None, typer.Option(metavar="ROLE[=PRIORITY]", help="May be repeated.")] = None,
    text_name: TextName = None,
    text_description: TextDescription = None,
) -> None:
    """Create a group without members."""
    body = {"name": group, "roles": split_priorities(role)}
    body |= given(text_name=text_name, text_description=text_description)
    api.print_record(api.call("POST", "groups", body=body), _FIELDS)


@verb(app, "set")
def set_group(api: Api, group: GroupName, text_name: TextName = None, text_description: TextDescription = None) -> None:
    """Change a group's texts; what is not given stays."""
    body = given(text_name=text_name, text_description=text_description)
    if not body:
        raise typer.BadParameter("There is nothing to change: see --help for what can be.")
    api.print_record(api.call("PATCH", "groups", group, body=body), _FIELDS)


@verb(app, "delete")
def delete_group(api: Api, group: GroupName, disconnect: Disconnect = False) -> None:
    """Delete a group; its members lose the roles that come with it."""
    api.call("DELETE", "groups", group, query={"disconnect": disconnect})
    api.print_done("The group is deleted.")


@verb(app, "join")
def join(
    api: Api, group: GroupName, name: Username, priority: Priority = NO_PRIORITY, disconnect: Disconnect = False
) -> None:
    """Put a user into a group."""
    query, body = {"disconnect": disconnect}, {"priority": priority}
    api.call("PUT", "groups", group, "members", name, query=query, body=body)
    api.print_done("The user is in the group.")


@verb(app, "leave")
def leave(api: Api, group: GroupName, name: Username, disconnect: Disconnect = False) -> None:
    """Take a user out of a group."""
    api.call("DELETE", "groups", group, "members", name, query={"disconnect": disconnect})
    api.print_done("The user is not in the group any more.")


@verb(app, "grant")
def grant_role(
    api: Api, group: GroupName, role: RoleName, priority: Priority = NO_PRIORITY, disconnect: Disconnect = False
) -> None:
    """Give a group a role."""
    query, body = {"disconnect": disconnect}, {"priority": priority}
    api.call("PUT", "groups", group, "roles", role, query=query, body=body)
    api.print_done("The group has the role.")


@verb(app, "revoke")
def revoke_role(api: Api, group: GroupName, role: RoleName, disconnect: Disconnect = False) -> None:
    """Take a role from a group."""
    api.call("DELETE", "groups", group, "roles", role, query={"disconnect": disconnect})
    api.print_done("The group does not have the role any more.")


@verb(app, "anonymous")
def anonymous(
    api: Api,
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="The group that they get.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Take their group away.")] = False,
    disconnect: Disconnect = False,
) -> None:
    """Show or set the group of the clients that present no user name."""
    query = {"disconnect": disconnect}
    if none and group is not None:
        raise Unusable("Name a group or use --none, not both.")
    if none:
        api.call("DELETE", "anonymous-group", query=query)
        found = {"group": None}
    elif group is not None:
        found = api.call("PUT", "anonymous-group", query=query, body={"group": group})
    else:
        found = api.call("GET", "anonymous-group")
    api.print_record(found, [column("anonymous clients are in", "group")])
