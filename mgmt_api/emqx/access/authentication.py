"""The users of the built-in database: logins by user name or by client id."""

from collections.abc import Callable
from typing import Any, get_args

from ....store.authenticators.settings import DatabaseSettings, JwtSettings
from ....store.errors import AlreadyExists, NotFound
from ....store.importing.authenticator_users import import_authenticator_users
from ....store.importing.emqx_users import Form
from ....store.records import Login, LoginType
from ...encoding import Page
from ...errors import ApiError, bad_request
from ...multipart import MEDIA_TYPE, read_file
from ...paging import paginate
from ...routes import Call
from .models_authentication import ChangedUser, ImportQuery, NewUser, User, UserQuery

_LINE = 200
"""Bytes of the line that begins a multipart body, at most."""


async def list_users(call: Call[UserQuery, None]) -> Page:
    """List the users that a query asks for."""
    login_type = _login_type(call)
    query = call.query
    tests: list[Callable[[Login], bool]] = []
    part, superuser = query.like_user_id, query.is_superuser
    if part:
        tests.append(lambda login: part in login.login)
    if superuser is not None:
        tests.append(lambda login: login.superuser is superuser)
    logins = call.state.directory.logins(login_type)
    return await paginate(logins, query, _show, keep=lambda login: all(t(login) for t in tests), counted=not part)


async def create_user(call: Call[None, NewUser]) -> User:
    """Create a user."""
    login_type = _login_type(call)
    directory, new = call.state.directory, call.body
    password, secret = new.password, None
    if _has_algorithm(call):
        if directory.login(login_type, new.user_id) is not None:
            raise _taken()
        password, secret = None, await directory.authenticators.hash_password(new.password)
    try:
        login = await directory.create_login(
            login_type, new.user_id, password, new.is_superuser, secret=secret, **call.origin
        )
    except AlreadyExists:
        raise _taken() from None
    return _show(login)


async def get_user(call: Call[None, None]) -> User:
    """Show one user."""
    login = call.state.directory.login(_login_type(call), call.path["user_id"])
    if login is None:
        raise _unknown_user()
    return _show(login)


async def update_user(call: Call[None, ChangedUser]) -> User:
    """Give a user a new password; their live sessions are closed."""
    login_type, name = _login_type(call), call.path["user_id"]
    directory, changed = call.state.directory, call.body
    if directory.login(login_type, name) is None:
        raise _unknown_user()
    password, secret = changed.password, None
    if _has_algorithm(call):
        password, secret = None, await directory.authenticators.hash_password(changed.password)
    try:
        login = await directory.update_login(
            login_type, name, password=password, secret=secret, superuser=changed.is_superuser, **call.origin
        )
    except NotFound:
        raise _unknown_user() from None
    return _show(login)


async def delete_user(call: Call[None, None]) -> None:
    """Delete a user and close their live sessions."""
    try:
        await call.state.directory.delete_login(_login_type(call), call.path["user_id"], **call.origin)
    except NotFound:
        raise _unknown_user() from None


async def import_users(call: Call[ImportQuery, bytes]) -> None:
    """Import users out of a file, or out of an array that is the body itself; those that exist are overwritten."""
    _login_type(call)
    settings = _settings(call)
    if not isinstance(settings, DatabaseSettings):
        raise bad_request("Users are imported into password_based:built_in_database")
    data, form = _file_of(call.body)
    await import_authenticator_users(
        call.state.directory, settings, data, form=form, kind=call.query.type, **call.origin
    )


def _file_of(body: bytes) -> tuple[bytes, Form]:
    """Take the file out of a form, or the array that was sent instead."""
    if body.lstrip()[:1] == b"[":
        return body, "json"
    line, end, _ = body[:_LINE].partition(b"\r\n")
    if not end or not line.startswith(b"--"):
        raise bad_request("Missing required parameter: filename")
    boundary = line[2:].decode(errors="replace").rstrip(" \t")
    file = read_file(body, f'{MEDIA_TYPE}; boundary="{boundary}"', "filename")
    form = file.name.rpartition(".")[2].lower()
    if form not in get_args(Form):
        raise bad_request("The file's name must end in .csv or .json")
    return file.data, "csv" if form == "csv" else "json"


def _show(login: Login) -> User:
    return {"user_id": login.login, "is_superuser": login.superuser}


def _settings(call: Call[Any, Any]) -> object:
    settings = call.state.directory.authenticators.get(call.path["id"])
    if settings is None:
        raise unknown_authenticator(call.path["id"])
    return settings


def _login_type(call: Call[Any, Any]) -> LoginType:
    """Say which logins are the users of the authenticator that the path names."""
    settings = _settings(call)
    if isinstance(settings, JwtSettings):
        raise bad_request(f"Authenticator '{settings.id}' has no users")
    return settings.user_id_type if isinstance(settings, DatabaseSettings) else "username"


def _has_algorithm(call: Call[Any, Any]) -> bool:
    """Tell whether the operator has said how passwords are to be hashed."""
    settings = _settings(call)
    return isinstance(settings, DatabaseSettings) and settings.algorithm is not None


def unknown_authenticator(authenticator: str) -> ApiError:
    """Say that the chain has no such authenticator."""
    return ApiError(404, "NOT_FOUND", f"Authenticator '{authenticator[:200]}' does not exist")


def _taken() -> ApiError:
    return ApiError(409, "ALREADY_EXISTS", "User already exists")


def _unknown_user() -> ApiError:
    return ApiError(404, "NOT_FOUND", "User not found")
