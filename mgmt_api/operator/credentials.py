"""Who calls the operator's API: whoever has the operator token."""

from aiohttp import web

from ..errors import ApiError
from ..routes import Caller
from ..state import ApiState
from .address import OPERATOR, VIA_COMMAND_LINE, VIA_HEADER

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="wardenmq"'}

FORBIDDEN = ApiError(403, "FORBIDDEN", "The operator token does not open this.")
"""Never told as it stands: the token opens everything."""


def authenticate(request: web.Request, state: ApiState) -> Caller:
    """Name the operator. Raises `ApiError` 401; the header never gets into a message."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(401, "UNAUTHORIZED", "Send the header `Authorization: Bearer OPERATOR-TOKEN`.", _CHALLENGE)
    if not state.directory.verify_operator_token(token.strip()):
        raise ApiError(401, "UNAUTHORIZED", "The operator token is not the one of this server.", _CHALLENGE)
    via = request.headers.get(VIA_HEADER)
    return Caller(OPERATOR, "administrator", VIA_COMMAND_LINE if via == VIA_COMMAND_LINE else "")
