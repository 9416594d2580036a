"""Those who may log in to the management API."""

import re
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from ....store.dashboard_users import DashboardRole, DashboardUser
from ....store.errors import AlreadyExists, InUse, Invalid, NotFound
from ...errors import ApiError, bad_request
from ...routes import Call
from ..credentials import FORBIDDEN
from .login import LoginText, LooseBody

DEFAULT_USER = "admin"
"""The user that the first start makes; it stays an administrator."""
_LENGTHS = range(8, 65)
_CLASSES = (re.compile("[A-Za-z]"), re.compile("[0-9]"), re.compile("[^A-Za-z0-9]"))
_NEEDED_CLASSES = 2

Description = Annotated[str, Field(max_length=10_000)]
Password = Annotated[str, Field(max_length=1_000, repr=False)]


class User(TypedDict):
    """Describe a dashboard user."""

    username: str
    role: DashboardRole
    description: str
    backend: str


class NewUser(LooseBody):
    """Describe a user to be created."""

    username: LoginText
    password: Password
    description: Description = ""
    role: DashboardRole = "administrator"


class UserChange(LooseBody):
    """Change what is given."""

    description: Description | None = None
    role: DashboardRole | None = None


class PasswordChange(LooseBody):
    """Set another password for one that is known."""

    old_pwd: Password
    new_pwd: Password


def _show(user: DashboardUser) -> User:
    return {"username": user.name, "role": user.role, "description": user.description, "backend": "local"}


async def list_users(call: Call[None, None]) -> list[User]:
    """List all users."""
    return [_show(user) for user in call.state.directory.dashboard_users.all()]


async def create_user(call: Call[None, NewUser]) -> User:
    """Create a user."""
    body = call.body
    if not body.username:
        raise bad_request("Username or password undefined")
    _check_password(body.password)
    try:
        user = await call.state.directory.dashboard_users.create(
            body.username, body.password, body.role, description=body.description, **call.origin
        )
    except AlreadyExists:
        raise bad_request("username_already_exists") from None
    return _show(user)


async def update_user(call: Call[None, UserChange]) -> User:
    """Change description or role; a new role ends the user's logins."""
    name, body = call.path["username"], call.body
    if name == DEFAULT_USER and body.role not in (None, "administrator"):
        raise ApiError(400, "NOT_ALLOWED", f"Cannot change the role of {DEFAULT_USER}")
    try:
        user = await call.state.directory.dashboard_users.update(
            name, role=body.role, description=body.description, **call.origin
        )
    except NotFound:
        raise _unknown() from None
    except InUse as error:
        raise ApiError(400, "NOT_ALLOWED", error.message) from None
    return _show(user)


async def delete_user(call: Call[None, None]) -> None:
    """Delete a user, whose logins end."""
    name = call.path["username"]
    if name == DEFAULT_USER:
        raise ApiError(400, "NOT_ALLOWED", f"Cannot delete user {DEFAULT_USER}")
    if call.caller is not None and call.caller.user == name:
        raise ApiError(400, "NOT_ALLOWED", "Cannot delete self")
    try:
        await call.state.directory.dashboard_users.delete(name, **call.origin)
    except NotFound:
        raise _unknown() from None
    except InUse as error:
        raise ApiError(400, "NOT_ALLOWED", error.message) from None


async def change_password(call: Call[None, PasswordChange]) -> None:
    """Set another password, which ends the user's logins; who only views may do that for himself alone."""
    name, body, caller = call.path["username"], call.body, call.caller
    if caller is None or (caller.role != "administrator" and caller.user != name):
        raise FORBIDDEN
    users = call.state.directory.dashboard_users
    if users.get(name) is None:
        raise _unknown()
    checked = await users.check(name, body.old_pwd, call.peer_host)
    if checked is None:
        raise _not_the_old_password()
    _check_password(body.new_pwd)
    try:
        await users.set_password(name, body.new_pwd, expected=checked, **call.origin)
    except Invalid:  # somebody else was quicker, so that the old one is another now
        raise _not_the_old_password() from None
    except NotFound:
        raise _unknown() from None


def _not_the_old_password() -> ApiError:
    return ApiError(400, "ERROR_PWD_NOT_MATCH", "Old password not match")


def _check_password(password: str) -> None:
    if len(password) not in _LENGTHS:
        raise bad_request(f"The range of password length is {_LENGTHS.start}~{_LENGTHS.stop - 1}")
    if not password.isascii() or not password.isprintable():
        raise bad_request("Only ASCII characters are allowed in the password")
    if sum(found.search(password) is not None for found in _CLASSES) < _NEEDED_CLASSES:
        raise bad_request("The password must hold at least two of letters, digits and special characters")


def _unknown() -> ApiError:
    return ApiError(404, "USER_NOT_FOUND", "Dashboard user not found")
