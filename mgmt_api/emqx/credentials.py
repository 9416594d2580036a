"""Who calls the EMQX facade: HTTP Basic with an API key and its secret, or the token of a dashboard user."""

from base64 import b64decode
from typing import Any

from aiohttp import web

from ..errors import ApiError
from ..routes import Caller, Route
from ..state import ApiState
from .dashboard.dashboard_settings import dashboard_of
from .dashboard.login_tokens import TOKENS, NoLogin

_CHALLENGE = {"WWW-Authenticate": 'Basic Realm="emqx-dashboard"'}

FORBIDDEN = ApiError(403, "UNAUTHORIZED_ROLE", "You don't have permission to access this resource")


_OTHER_SITE = ApiError(
    403,
    "UNAUTHORIZED_ROLE",
    "A page of another site changes nothing here with a key that the browser remembers; `dashboard.cors` allows it",
)


def authenticate(request: web.Request, state: ApiState) -> Caller:
    """Name the API key or the user that a request came with.

    Raises `ApiError` 401, and 403 for what a page of another site has a browser send; no credential is in a message.
    """
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
    if request.method != "GET" and _is_of_another_site(request) and not dashboard_of(state.configuration).cors:
        raise _OTHER_SITE
    return Caller(f"api_key:{record.name}", record.role)


def _is_of_another_site(request: web.Request) -> bool:
    """Tell whether a browser sends this for a page that is not from here; nothing else says where it comes from."""
    relation, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if relation is not None:
        return relation not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2].lower() != request.headers.get("Host", "").lower()


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
    user = state.part(TOKENS).find(token, dashboard_of(state.configuration).token_life)
    if user is NoLogin.EXPIRED:
        raise ApiError(401, "TOKEN_TIME_OUT", "The token has expired; log in again")
    if isinstance(user, NoLogin):
        raise ApiError(401, "BAD_TOKEN", "The token is not known; log in again")
    return Caller(f"dashboard:{user.name}", user.role, user=user.name, token=token)


def _halves(encoded: str) -> tuple[str, str] | None:
    try:
        api_key, colon, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # of both steps; text beyond ASCII is not even looked at as base64
        return None
    return (api_key, secret) if colon else None
