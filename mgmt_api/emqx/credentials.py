"""Who calls the EMQX facade: HTTP Basic with an API key and its secret."""

import binascii
from base64 import b64decode

from aiohttp import web

from ..errors import ApiError
from ..routes import Caller
from ..state import ApiState

_CHALLENGE = {"WWW-Authenticate": 'Basic Realm="emqx-dashboard"'}

FORBIDDEN = ApiError(403, "UNAUTHORIZED_ROLE", "You don't have permission to access this resource")


def authenticate(request: web.Request, state: ApiState) -> Caller:
    """Name the API key that a request came with. Raises `ApiError` 401; the header never gets into a message."""
    api_key, secret = _basic(request.headers.get("Authorization", ""))
    record = state.directory.verify_api_key(api_key, secret)
    if record is None:
        raise ApiError(401, "BAD_API_KEY_OR_SECRET", "Check api_key/api_secret", _CHALLENGE)
    return Caller(f"api_key:{record.name}", record.role)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            api_key, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = api_key = secret = ""
        if colon:
            return api_key, secret
    raise ApiError(
        401,
        "AUTHORIZATION_HEADER_ERROR",
        "Support authorization: basic; send the header `Authorization: Basic base64(api_key:api_secret)`",
        _CHALLENGE,
    )
