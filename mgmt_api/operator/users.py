"""Users: the logins that may connect over MQTT, whichever facade made them."""

from collections.abc import Callable

from ...store.errors import NotFound
from ...store.records import UNSET, Login
from ..encoding import Page
from ..paging import paginate
from ..routes import Call
from ..state import ApiState
from .fields import DisconnectQuery, NewPriority, memberships, priorities, shown_time
from .models_users import ChangedUser, LoginQuery, NewUser, User, UserQuery


class GrantQuery(LoginQuery, DisconnectQuery):
    """Say whose role is meant, and what becomes of their sessions."""


async def list_users(call: Call[UserQuery, None]) -> Page:
    """List the users that a query asks for."""
    state, query = call.state, call.query
    tests = _tests(state, query)
    logins = state.directory.logins(query.login_type)
    return await paginate(
        logins, query, lambda login: _show(state, login), keep=lambda login: all(test(login) for test in tests)
    )


async def create_user(call: Call[None, NewUser]) -> User:
    """Create a user."""
    new = call.body
    login = await call.state.directory.create_login(
        new.login_type,
        new.login,
        new.password,
        new.superuser,
        clientid=new.clientid,
        clientid_mode=new.clientid_mode,
        confined=new.confined,
        can_publish=new.can_publish,
        can_subscribe=new.can_subscribe,
        label=new.label,
        description=new.description,
        expires_at=new.expires_at,
        roles=priorities(new.roles),
        groups=priorities(new.groups),
        **call.origin,
    )
    return _show(call.state, login)


async def get_user(call: Call[LoginQuery, None]) -> User:
    """Show one user."""
    login = call.state.directory.login(call.query.login_type, call.path["login"])
    if login is None:
        raise NotFound(f"The user '{call.path['login'][:200]}' does not exist.")
    return _show(call.state, login)


async def update_user(call: Call[LoginQuery, ChangedUser]) -> User:
    """Change a user; their live sessions end where they would not be let in again as they are."""
    changed = call.body
    given = changed.model_fields_set
    login = await call.state.directory.update_login(
        call.query.login_type,
        call.path["login"],
        password=changed.password,
        superuser=changed.superuser,
        disabled=changed.disabled,
        expires_at=changed.expires_at if "expires_at" in given else UNSET,
        clientid=changed.clientid if "clientid" in given else UNSET,
        clientid_mode=changed.clientid_mode,
        can_publish=changed.can_publish,
        can_subscribe=changed.can_subscribe,
        label=changed.label,
        description=changed.description,
        **call.origin,
    )
    return _show(call.state, login)


async def delete_user(call: Call[LoginQuery, None]) -> None:
    """Delete a user and end their sessions."""
    await call.state.directory.delete_login(call.query.login_type, call.path["login"], **call.origin)


async def grant_role(call: Call[GrantQuery, NewPriority]) -> None:
    """Give a user a role, or the one they have another priority."""
    await call.state.directory.roles.grant(
        call.query.login_type,
        call.path["login"],
        call.path["role"],
        call.body.priority,
        disconnect=call.query.disconnect,
        **call.origin,
    )


async def revoke_role(call: Call[GrantQuery, None]) -> None:
    """Take a role from a user."""
    await call.state.directory.roles.revoke(
        call.query.login_type,
        call.path["login"],
        call.path["role"],
        disconnect=call.query.disconnect,
        **call.origin,
    )


def _tests(state: ApiState, query: UserQuery) -> list[Callable[[Login], bool]]:
    tests: list[Callable[[Login], bool]] = []
    part, role, group, disabled, superuser = query.like, query.role, query.group, query.disabled, query.superuser
    if part:
        tests.append(lambda login: part in login.login)
    if disabled is not None:
        tests.append(lambda login: login.disabled is disabled)
    if superuser is not None:
        tests.append(lambda login: login.superuser is superuser)
    if role is not None:
        tests.append(lambda login: role in state.directory.roles.of_login(login.id))
    if group is not None:
        tests.append(lambda login: group in state.directory.groups.of_login(login.id))
    return tests


def _show(state: ApiState, login: Login) -> User:
    directory = state.directory
    tenant = directory.tenants.by_id(login.tenant)
    return {
        "login": login.login,
        "login_type": login.login_type,
        "kind": login.kind,
        "tenant": "" if tenant is None else tenant.name,
        "superuser": login.superuser,
        "disabled": login.disabled,
        "disabled_at": shown_time(login.disabled_at),
        "paused_at": shown_time(login.paused_at),
        "expires_at": shown_time(login.expires_at),
        "secret_expires_at": shown_time(login.secret_expires_at),
        "clientid": login.clientid,
        "clientid_mode": login.clientid_mode,
        "confined": login.confined,
        "can_publish": login.can_publish,
        "can_subscribe": login.can_subscribe,
        "label": login.label,
        "description": login.description,
        "roles": memberships(directory.roles.of_login(login.id)),
        "groups": memberships(directory.groups.of_login(login.id)),
        "created_at": shown_time(login.created_at) or "",
    }
