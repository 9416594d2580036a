"""The users of the built-in database: logins by user name."""

from collections.abc import Callable, Mapping

from ....store.errors import AlreadyExists, NotFound
from ....store.records import Login
from ...encoding import Page
from ...errors import ApiError
from ...paging import paginate
from ...routes import Call
from .models import ChangedUser, NewUser, User, UserQuery

BUILT_IN_DATABASE = "password_based:built_in_database"

_LOGIN_TYPE = "username"
"""The built-in authenticator's `user_id_type`."""


async def list_users(call: Call[UserQuery, None]) -> Page:
    """List the users that a query asks for."""
    _require_authenticator(call.path)
    query = call.query
    tests: list[Callable[[Login], bool]] = []
    part, superuser = query.like_user_id, query.is_superuser
    if part:
        tests.append(lambda login: part in login.login)
    if superuser is not None:
        tests.append(lambda login: login.superuser is superuser)
    logins = call.state.directory.logins(_LOGIN_TYPE)
    return await paginate(logins, query, _show, keep=lambda login: all(t(login) for t in tests), counted=not part)


async def create_user(call: Call[None, NewUser]) -> User:
    """Create a user."""
    _require_authenticator(call.path)
    new = call.body
    try:
        login = await call.state.directory.create_login(
            _LOGIN_TYPE, new.user_id, new.password, new.is_superuser, **call.origin
        )
    except AlreadyExists:
        raise ApiError(409, "ALREADY_EXISTS", "User already exists") from None
    return _show(login)


async def get_user(call: Call[None, None]) -> User:
    """Show one user."""
    _require_authenticator(call.path)
    login = call.state.directory.login(_LOGIN_TYPE, call.path["user_id"])
    if login is None:
        raise _unknown_user()
    return _show(login)


async def update_user(call: Call[None, ChangedUser]) -> User:
    """Give a user a new password; their live sessions are closed."""
    _require_authenticator(call.path)
    changed = call.body
    try:
        login = await call.state.directory.update_login(
            _LOGIN_TYPE,
            call.path["user_id"],
            password=changed.password,
            superuser=changed.is_superuser,
            **call.origin,
        )
    except NotFound:
        raise _unknown_user() from None
    return _show(login)


async def delete_user(call: Call[None, None]) -> None:
    """Delete a user and close their live sessions."""
    _require_authenticator(call.path)
    try:
        await call.state.directory.delete_login(_LOGIN_TYPE, call.path["user_id"], **call.origin)
    except NotFound:
        raise _unknown_user() from None


def _show(login: Login) -> User:
    return {"user_id": login.login, "is_superuser": login.superuser}


def _require_authenticator(path: Mapping[str, str]) -> None:
    if path["id"] != BUILT_IN_DATABASE:
        raise ApiError(404, "NOT_FOUND", f"Authenticator '{path['id']}' does not exist")


def _unknown_user() -> ApiError:
    return ApiError(404, "NOT_FOUND", "User not found")
