"""The route table of the operator's API: what there is, what it takes and what it answers."""

from typing import Any

from ..errors import ApiError
from ..routes import Facade, Route
from . import audit, bans, description, identity
from .address import IDENTITY_PATH, PREFIX
from .credentials import FORBIDDEN, authenticate
from .models_bans import AuditPage, AuditQuery, Ban, BanPage, BanQuery, NewBan
from .table_access import ACCESS
from .table_users import GROUPS, ROLES, USERS

_UNKNOWN_BAN = {400: ("BAD_REQUEST",), 404: ("NOT_FOUND",)}

_BANS = (
    Route("GET", "/bans", bans.list_bans, "List bans", "Bans", query=BanQuery, answer=BanPage),
    Route(
        "POST",
        "/bans",
        bans.create_ban,
        "Keep somebody out",
        "Bans",
        body=NewBan,
        answer=Ban,
        status=201,
        errors={409: ("ALREADY_EXISTS",)},
    ),
    Route("DELETE", "/bans", bans.delete_bans, "Let everybody in again", "Bans", status=204),
    Route("GET", "/bans/{who_type}/{who}", bans.get_ban, "Show a ban", "Bans", answer=Ban, errors=_UNKNOWN_BAN),
    Route(
        "DELETE",
        "/bans/{who_type}/{who}",
        bans.delete_ban,
        "Let somebody in again",
        "Bans",
        status=204,
        errors=_UNKNOWN_BAN,
    ),
)

_AUDIT = (
    Route("GET", "/audit", audit.list_entries, "Read the audit log", "Audit", query=AuditQuery, answer=AuditPage),
)

_IDENTITY = (
    Route(
        "GET",
        IDENTITY_PATH,
        identity.prove_identity,
        "Prove to be the owner of the data directory",
        "Identity",
        query=identity.IdentityQuery,
        answer=identity.Identity,
        errors={404: ("NOT_FOUND",)},
        public=True,
    ),
)

_DESCRIPTION = (
    Route(
        "GET",
        "/openapi.json",
        description.get_document,
        "Give this document",
        "Description",
        answer=dict[str, Any],
        public=True,
    ),
)


def _error_body(error: ApiError) -> object:
    return {"code": error.code, "message": error.message}


OPERATOR = Facade(
    name="operator",
    title="wardenmq, operator's API",
    prefix=PREFIX,
    routes=(*USERS, *ROLES, *GROUPS, *ACCESS, *_BANS, *_AUDIT, *_IDENTITY, *_DESCRIPTION),
    authenticate=authenticate,
    forbidden=FORBIDDEN,
    error_body=_error_body,
    security={"operatorToken": {"type": "http", "scheme": "bearer"}},
    caller_errors={401: ("UNAUTHORIZED",)},
)
"""What stands under `/api/wardenmq/v1`."""
