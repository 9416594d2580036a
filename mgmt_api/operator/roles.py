"""Roles and their ACLs."""

from ...store import records
from ...store.errors import NotFound
from ..encoding import Listing, Page, converted, listing
from ..paging import paginate
from ..routes import Call
from .fields import DisconnectQuery, shown_time
from .models_roles import Acl, ChangedRole, NameQuery, NewAcl, NewRole, RoleRow


async def list_roles(call: Call[NameQuery, None]) -> Page:
    """List roles by name."""
    part = call.query.like or ""
    return await paginate(call.state.directory.roles.all(), call.query, _row, keep=lambda role: part in role.name)


async def create_role(call: Call[None, NewRole]) -> Listing:
    """Create a role."""
    new = call.body
    role = await call.state.directory.roles.create(
        new.name,
        text_name=new.text_name,
        text_description=new.text_description,
        allow_wildcard_subs=new.allow_wildcard_subs,
        acls=await converted(new.acls, NewAcl.to_acl),
        **call.origin,
    )
    return await _show(role)


async def get_role(call: Call[None, None]) -> Listing:
    """Show one role."""
    role = call.state.directory.roles.get(call.path["role"])
    if role is None:
        raise NotFound(f"The role '{call.path['role'][:200]}' does not exist.")
    return await _show(role)


async def update_role(call: Call[DisconnectQuery, ChangedRole]) -> Listing:
    """Change a role; the live sessions of those who have it are checked again or closed."""
    changed = call.body
    role = await call.state.directory.roles.update(
        call.path["role"],
        text_name=changed.text_name,
        text_description=changed.text_description,
        allow_wildcard_subs=changed.allow_wildcard_subs,
        acls=None if changed.acls is None else await converted(changed.acls, NewAcl.to_acl),
        disconnect=call.query.disconnect,
        **call.origin,
    )
    return await _show(role)


async def delete_role(call: Call[DisconnectQuery, None]) -> None:
    """Delete a role and take it from all who have it."""
    await call.state.directory.roles.delete(call.path["role"], disconnect=call.query.disconnect, **call.origin)


async def add_acl(call: Call[DisconnectQuery, NewAcl]) -> Listing:
    """Add an ACL to a role, behind those of its priority."""
    role = await call.state.directory.roles.add_acl(
        call.path["role"], call.body.to_acl(), disconnect=call.query.disconnect, **call.origin
    )
    return await _show(role)


async def remove_acl(call: Call[DisconnectQuery, None]) -> Listing:
    """Take an ACL out of a role."""
    path = call.path
    role = await call.state.directory.roles.remove_acl(
        path["role"], path["acltype"], path["topic"], disconnect=call.query.disconnect, **call.origin
    )
    return await _show(role)


def _row(role: records.Role) -> RoleRow:
    return {
        "name": role.name,
        "text_name": role.text_name,
        "text_description": role.text_description,
        "allow_wildcard_subs": role.allow_wildcard_subs,
        "acl_count": len(role.acls),
        "created_at": shown_time(role.created_at) or "",
    }


async def _show(role: records.Role) -> Listing:
    return await listing(_row(role), "acls", role.acls, _acl)


def _acl(acl: records.RoleAcl) -> Acl:
    return {"acltype": acl.acltype, "topic": acl.topic, "allow": acl.allow, "priority": acl.priority}
