"""The part of the route table about users, roles and groups."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from pydantic import BaseModel

from ..paging import PageQuery
from ..routes import Route
from . import groups, roles, users
from .fields import DisconnectQuery, NewPriority
from .models_roles import (
    AnonymousGroup,
    ChangedGroup,
    ChangedRole,
    Group,
    GroupPage,
    MemberPage,
    NameQuery,
    NewAcl,
    NewAnonymousGroup,
    NewGroup,
    NewRole,
    Role,
    RolePage,
)
from .models_users import ChangedUser, LoginQuery, NewUser, User, UserPage, UserQuery

_Handler: TypeAlias = Callable[[Any], Awaitable[object]]

_NOT_FOUND = {404: ("NOT_FOUND",)}
_UNKNOWN = {400: ("UNKNOWN_REFERENCE",)}
_EXISTS = {409: ("ALREADY_EXISTS",)}
_CHANGED = {**_NOT_FOUND, **_EXISTS}
_IN_USE = {409: ("IN_USE",)}


def _pair(
    path: str,
    tag: str,
    give: tuple[_Handler, str],
    take: tuple[_Handler, str],
    query: type[BaseModel],
) -> tuple[Route[Any, Any], Route[Any, Any]]:
    """Have something given, with a priority, and taken again; each with its handler and what it does."""
    errors = {**_UNKNOWN, **_NOT_FOUND}
    return (
        Route("PUT", path, *give, tag, query=query, body=NewPriority, status=204, errors=errors),
        Route("DELETE", path, *take, tag, query=query, status=204, errors=errors),
    )


USERS = (
    Route("GET", "/users", users.list_users, "List users", "Users", query=UserQuery, answer=UserPage),
    Route(
        "POST",
        "/users",
        users.create_user,
        "Create a user",
        "Users",
        body=NewUser,
        answer=User,
        status=201,
        errors={**_UNKNOWN, **_EXISTS},
    ),
    Route(
        "GET",
        "/users/{login}",
        users.get_user,
        "Show a user",
        "Users",
        query=LoginQuery,
        answer=User,
        errors=_NOT_FOUND,
    ),
    Route(
        "PATCH",
        "/users/{login}",
        users.update_user,
        "Change a user",
        "Users",
        query=LoginQuery,
        body=ChangedUser,
        answer=User,
        errors=_CHANGED,
    ),
    Route(
        "DELETE",
        "/users/{login}",
        users.delete_user,
        "Delete a user",
        "Users",
        query=LoginQuery,
        status=204,
        errors=_NOT_FOUND,
    ),
    *_pair(
        "/users/{login}/roles/{role}",
        "Users",
        (users.grant_role, "Give a user a role"),
        (users.revoke_role, "Take a role from a user"),
        users.GrantQuery,
    ),
)

ROLES = (
    Route("GET", "/roles", roles.list_roles, "List roles", "Roles", query=NameQuery, answer=RolePage),
    Route(
        "POST",
        "/roles",
        roles.create_role,
        "Create a role",
        "Roles",
        body=NewRole,
        answer=Role,
        status=201,
        errors=_EXISTS,
    ),
    Route("GET", "/roles/{role}", roles.get_role, "Show a role", "Roles", answer=Role, errors=_NOT_FOUND),
    Route(
        "PATCH",
        "/roles/{role}",
        roles.update_role,
        "Change a role",
        "Roles",
        query=DisconnectQuery,
        body=ChangedRole,
        answer=Role,
        errors=_CHANGED,
    ),
    Route(
        "DELETE",
        "/roles/{role}",
        roles.delete_role,
        "Delete a role",
        "Roles",
        query=DisconnectQuery,
        status=204,
        errors=_NOT_FOUND,
    ),
    Route(
        "POST",
        "/roles/{role}/acls",
        roles.add_acl,
        "Add an ACL to a role",
        "Roles",
        query=DisconnectQuery,
        body=NewAcl,
        answer=Role,
        status=201,
        errors=_CHANGED,
    ),
    Route(
        "DELETE",
        "/roles/{role}/acls/{acltype}/{topic}",
        roles.remove_acl,
        "Take an ACL out of a role",
        "Roles",
        query=DisconnectQuery,
        answer=Role,
        errors=_NOT_FOUND,
    ),
)

GROUPS = (
    Route("GET", "/groups", groups.list_groups, "List groups", "Groups", query=NameQuery, answer=GroupPage),
    Route(
        "POST",
        "/groups",
        groups.create_group,
        "Create a group",
        "Groups",
        body=NewGroup,
        answer=Group,
        status=201,
        errors={**_UNKNOWN, **_EXISTS},
    ),
    Route("GET", "/groups/{group}", groups.get_group, "Show a group", "Groups", answer=Group, errors=_NOT_FOUND),
    Route(
        "PATCH",
        "/groups/{group}",
        groups.update_group,
        "Change a group",
        "Groups",
        body=ChangedGroup,
        answer=Group,
        errors=_NOT_FOUND,
    ),
    Route(
        "DELETE",
        "/groups/{group}",
        groups.delete_group,
        "Delete a group",
        "Groups",
        query=DisconnectQuery,
        status=204,
        errors={**_NOT_FOUND, **_IN_USE},
    ),
    Route(
        "GET",
        "/groups/{group}/members",
        groups.list_members,
        "List the members of a group",
        "Groups",
        query=PageQuery,
        answer=MemberPage,
        errors=_NOT_FOUND,
    ),
    *_pair(
        "/groups/{group}/members/{username}",
        "Groups",
        (groups.add_member, "Put a user into a group"),
        (groups.remove_member, "Take a user out of a group"),
        DisconnectQuery,
    ),
    *_pair(
        "/groups/{group}/roles/{role}",
        "Groups",
        (groups.add_group_role, "Give a group a role"),
        (groups.remove_group_role, "Take a role from a group"),
        DisconnectQuery,
    ),
    Route(
        "GET",
        "/anonymous-group",
        groups.get_anonymous_group,
        "Show the group of anonymous clients",
        "Groups",
        answer=AnonymousGroup,
    ),
    Route(
        "PUT",
        "/anonymous-group",
        groups.set_anonymous_group,
        "Give anonymous clients a group",
        "Groups",
        query=DisconnectQuery,
        body=NewAnonymousGroup,
        answer=AnonymousGroup,
        errors=_UNKNOWN,
    ),
    Route(
        "DELETE",
        "/anonymous-group",
        groups.clear_anonymous_group,
        "Take their group from anonymous clients",
        "Groups",
        query=DisconnectQuery,
        status=204,
    ),
)
