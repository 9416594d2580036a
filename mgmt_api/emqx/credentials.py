"""Who calls the EMQX facade: HTTP Basic with an API key and its secret, or the token of a dashboard user."""

import binascii
from base64 import b64decode
from typing import Any

from aiohttp import web

from ..dashboard_settings import dashboard_of
from ..errors import ApiError
from ..login_tokens import NoLogin
from ..routes import Caller, Route
from ..state import ApiState

_CHALLENGE = {"WWW-Authenticate": 'Basic Realm="emqx-dashboard"'}

FORBIDDEN = ApiError(403, "UNAUTHORIZED_ROLE", "You don't have permission to access this resource")


def authenticate(request: web.Request, state: ApiState) -> Caller:
    """Name the API key or the user that a request came with. Raises `ApiError` 401; no credential is in a message."""
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    credential = credential.strip()
    if scheme.lower() == "bearer" and credential:
        return _logged_in(credential, state)
    halves = _halves(credential) if scheme.lower() == "basic" else None
    if halves is None:
        raise ApiError(
            401,
            "AUTHORIZATION_HEADER_ERROR",
            "Support authorization: basic/bearer; send the header `Authorization: Basic base64(api_key:api_secret)`, "
            "or `Authorization: Bearer TOKEN` with the token that POST /api/v5/login gives",
            _CHALLENGE,
        )
    record = state.directory.verify_api_key(*halves)
    if record is None:
        raise ApiError(401, "BAD_API_KEY_OR_SECRET", "Check api_key/api_secret", _CHALLENGE)
    return Caller(f"api_key:{record.name}", record.role)


def refuse_key(route: Route[Any, Any]) -> ApiError:
    """Say that no API key opens this."""
    group = "/".join(route.path.split("/")[:2])
    return ApiError(
        401,
        "API_KEY_NOT_ALLOW",
        f"No API key opens {group}; log in and send the header `Authorization: Bearer TOKEN`",
        _CHALLENGE,
    )


def _logged_in(token: str, state: ApiState) -> Caller:
    user = state.tokens.find(token, dashboard_of(state.configuration).token_life)
    if user is NoLogin.EXPIRED:
        raise ApiError(401, "TOKEN_TIME_OUT", "The token has expired; log in again")
    if isinstance(user, NoLogin):
        raise ApiError(401, "BAD_TOKEN", "The token is not known; log in again")
    return Caller(f"dashboard:{user.name}", user.role, user=user.name, token=token)


def _halves(encoded: str) -> tuple[str, str] | None:
    try:
        api_key, colon, secret = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (api_key, secret) if colon else None
