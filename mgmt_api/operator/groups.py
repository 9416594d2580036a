"""Groups, who is in them, and which roles come with them."""

from collections.abc import Callable

from ...store import records
from ...store.errors import NotFound
from ..encoding import Page
from ..paging import PageQuery, paginate, sort_in_runs
from ..routes import Call
from ..state import ApiState
from .fields import DisconnectQuery, Membership, NewPriority, memberships, priorities, shown_time
from .models_roles import AnonymousGroup, ChangedGroup, Group, NameQuery, NewAnonymousGroup, NewGroup


async def list_groups(call: Call[NameQuery, None]) -> Page:
    """List groups by name."""
    part = call.query.like or ""
    groups = call.state.directory.groups.all()
    return await paginate(groups, call.query, _shower(call.state), keep=lambda group: part in group.name)


async def create_group(call: Call[None, NewGroup]) -> Group:
    """Create a group."""
    new = call.body
    group = await call.state.directory.groups.create(
        new.name,
        text_name=new.text_name,
        text_description=new.text_description,
        roles=priorities(new.roles),
        **call.origin,
    )
    return _shower(call.state)(group)


async def get_group(call: Call[None, None]) -> Group:
    """Show one group."""
    return _shower(call.state)(_existing(call.state, call.path["group"]))


async def update_group(call: Call[None, ChangedGroup]) -> Group:
    """Change a group's texts."""
    changed = call.body
    group = await call.state.directory.groups.update(
        call.path["group"],
        text_name=changed.text_name,
        text_description=changed.text_description,
        **call.origin,
    )
    return _shower(call.state)(group)


async def delete_group(call: Call[DisconnectQuery, None]) -> None:
    """Delete a group; its members lose the roles that come with it."""
    await call.state.directory.groups.delete(call.path["group"], disconnect=call.query.disconnect, **call.origin)


async def list_members(call: Call[PageQuery, None]) -> Page:
    """List the members of a group."""
    members = await sort_in_runs(call.state.directory.groups.members(call.path["group"]))

    def show(member: tuple[str, int]) -> Membership:
        return {"name": member[0], "priority": member[1]}

    return await paginate(members, call.query, show)


async def add_member(call: Call[DisconnectQuery, NewPriority]) -> None:
    """Put a user into a group."""
    await call.state.directory.groups.add_member(
        call.path["group"],
        call.path["username"],
        call.body.priority,
        disconnect=call.query.disconnect,
        **call.origin,
    )


async def remove_member(call: Call[DisconnectQuery, None]) -> None:
    """Take a user out of a group."""
    await call.state.directory.groups.remove_member(
        call.path["group"], call.path["username"], disconnect=call.query.disconnect, **call.origin
    )


async def add_group_role(call: Call[DisconnectQuery, NewPriority]) -> None:
    """Give a group a role, or the one it has another priority."""
    await call.state.directory.groups.add_role(
        call.path["group"],
        call.path["role"],
        call.body.priority,
        disconnect=call.query.disconnect,
        **call.origin,
    )


async def remove_group_role(call: Call[DisconnectQuery, None]) -> None:
    """Take a role from a group."""
    await call.state.directory.groups.remove_role(
        call.path["group"], call.path["role"], disconnect=call.query.disconnect, **call.origin
    )


async def get_anonymous_group(call: Call[None, None]) -> AnonymousGroup:
    """Show the group of the clients that present no user name."""
    return {"group": call.state.directory.groups.anonymous}


async def set_anonymous_group(call: Call[DisconnectQuery, NewAnonymousGroup]) -> AnonymousGroup:
    """Give the clients that present no user name a group."""
    await call.state.directory.groups.set_anonymous(call.body.group, disconnect=call.query.disconnect, **call.origin)
    return {"group": call.body.group}


async def clear_anonymous_group(call: Call[DisconnectQuery, None]) -> None:
    """Take their group from the clients that present no user name; they may have none."""
    await call.state.directory.groups.set_anonymous(None, disconnect=call.query.disconnect, **call.origin)


def _existing(state: ApiState, name: str) -> records.Group:
    group = state.directory.groups.get(name)
    if group is None:
        raise NotFound(f"The group '{name[:200]}' does not exist.")
    return group


def _shower(state: ApiState) -> Callable[[records.Group], Group]:
    groups = state.directory.groups

    def show(group: records.Group) -> Group:
        return {
            "name": group.name,
            "text_name": group.text_name,
            "text_description": group.text_description,
            "roles": memberships(group.roles),
            "member_count": len(group.members),
            "anonymous": groups.anonymous == group.name,
            "created_at": shown_time(group.created_at) or "",
        }

    return show
