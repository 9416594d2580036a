"""Log in and out: a dashboard user's name and password against a token."""

import asyncio
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from ....store.dashboard_users import DashboardRole
from ...errors import ApiError
from ...routes import Call
from .login_tokens import TOKENS

LoginText = Annotated[str, Field(max_length=100)]


class LooseBody(BaseModel):
    """An object of which what is not known is ignored, as EMQX does for the bodies about users."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class LoginBody(LooseBody):
    """Show who one is."""

    username: LoginText
    password: LoginText = Field(repr=False)


class LogoutBody(LooseBody):
    """Name who logs out."""

    username: LoginText


class License(TypedDict):
    """Name the edition, in EMQX's words."""

    edition: Literal["opensource"]


class Login(TypedDict):
    """Give a token; it is good for `dashboard.token_expired_time` after each use."""

    token: str
    version: str
    license: License
    role: DashboardRole


async def log_in(call: Call[None, LoginBody]) -> Login:
    """Check name and password; the answer is the same for an unknown name and a wrong password."""
    state, body = call.state, call.body
    user = await state.directory.dashboard_users.check(body.username, body.password, call.peer_host)
    if user is None:
        error = ApiError(401, "BAD_USERNAME_OR_PWD", "Auth failed")
        state.refusals.note(asyncio.get_running_loop().time(), call.peer_host, "/api/v5/login", error.code)
        raise error
    return {
        "token": state.part(TOKENS).create(user),
        "version": state.version,
        "license": {"edition": "opensource"},
        "role": user.role,
    }


async def log_out(call: Call[None, LogoutBody]) -> None:
    """End the token that the request came with."""
    caller = call.caller
    if caller is None or caller.user != call.body.username:
        raise ApiError(401, "WRONG_TOKEN_OR_USERNAME", "The token is not one of this user")
    call.state.part(TOKENS).end(caller.token)
