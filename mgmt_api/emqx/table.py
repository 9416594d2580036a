"""The route table of the EMQX facade: what there is, who may call it, what it takes and what it answers."""

from typing import Any

from ..errors import ApiError
from ..routes import Facade, Route
from .access.table import ACCESS
from .clients.table import CLIENTS
from .credentials import FORBIDDEN, authenticate, refuse_key
from .dashboard.table import DASHBOARD, DOCUMENTATION
from .messaging.table import MESSAGING
from .node import status
from .node.table import NODE, STATUS
from .settings.table import SETTINGS
from .tracing.table import TRACING

BASIC = "basicAuth"
BEARER = "bearerAuth"


def _error_body(error: ApiError) -> object:
    return {"code": error.code, "message": error.message}


def _facade(prefix: str, routes: tuple[Route[Any, Any], ...]) -> Facade:
    return Facade(
        name="emqx",
        title="wardenmq, EMQX 5 management API",
        prefix=prefix,
        routes=routes,
        authenticate=authenticate,
        forbidden=FORBIDDEN,
        error_body=_error_body,
        security={BASIC: {"type": "http", "scheme": "basic"}, BEARER: {"type": "http", "scheme": "bearer"}},
        bearer_required=refuse_key,
        caller_errors={
            401: ("AUTHORIZATION_HEADER_ERROR", "BAD_API_KEY_OR_SECRET", "BAD_TOKEN", "TOKEN_TIME_OUT"),
            403: ("UNAUTHORIZED_ROLE",),
        },
    )


EMQX = _facade(
    "/api/v5",
    (*NODE, *CLIENTS, *ACCESS, *DASHBOARD, *MESSAGING, *SETTINGS, *TRACING),
)
"""What stands under `/api/v5`."""

ROOT = _facade(
    "",
    (
        *STATUS,
        Route(
            "GET",
            "/health",
            status.get_health,
            "Say whether the broker does all that it is there for",
            "Status",
            answer=status.Health,
            other_answers={503: status.Health},
            public=True,
        ),
        *DOCUMENTATION,
    ),
)
"""What EMQX has beside its prefix."""
