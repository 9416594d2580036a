"""Liveness and health, without a credential, and the document of the API."""

from typing import Annotated, Literal

from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from ....broker.alarms import JOURNAL_NOT_READABLE, JOURNAL_NOT_WRITABLE
from ...encoding import encode
from ...paging import Query
from ...routes import Answer, Call
from ...state import ApiState
from ...timestamps import format_time

_CONCERN_SERVICE = frozenset({JOURNAL_NOT_READABLE, JOURNAL_NOT_WRITABLE})
"""Alarms during which the broker does not do all that it is there for; others only want an operator to look."""
_NOT_CACHED = {"Cache-Control": "no-store"}
_RETRY_AFTER = {"Retry-After": "15"}


class StatusQuery(Query):
    """Choose the form of the answer; whatever is not `json` is text."""

    format: Annotated[str | bool, WithJsonSchema({"type": "string"})] = "text"
    """True for the bare key."""


class Status(TypedDict):
    """Say whether the node and its broker run."""

    node_name: str
    cluster: str
    rel_vsn: str
    broker_status: str
    app_status: str


async def get_status(call: Call[StatusQuery, None]) -> Answer:
    """Say whether the broker runs; 503 while it does not."""
    state = call.state
    running = state.broker.transitions.is_started()
    node_status = "started" if running else "stopped"
    app_status = "running" if running else "not_running"
    code = 200 if running else 503
    if call.query.format == "json":
        body: Status = {
            "node_name": state.node,
            "cluster": state.settings.cluster_name,
            "rel_vsn": state.version,
            "broker_status": node_status,
            "app_status": app_status,
        }
        return Answer(encode(body), code, headers=_RETRY_AFTER)
    # the second line names EMQX: probes look for these very words
    return Answer(f"Node {state.node} is {node_status}\nemqx is {app_status}", code, "text/plain", _RETRY_AFTER)


class Problem(TypedDict):
    """Say what is wrong to somebody unknown; `since` is null where that is not known."""

    name: str
    message: str
    since: str | None


class Health(TypedDict):
    """Say whether the broker does all that it is there for."""

    status: Literal["ok", "degraded"]
    problems: list[Problem]


async def get_health(call: Call[None, None]) -> Answer:
    """Say whether the broker does all that it is there for; 503 while it does not."""
    problems = _problems(call.state)
    body: Health = {"status": "degraded" if problems else "ok", "problems": problems}
    return Answer(body, 503 if problems else 200, headers=_NOT_CACHED)


def _problems(state: ApiState) -> list[Problem]:
    broker = state.broker
    problems: list[Problem] = []
    if not broker.transitions.is_started():
        problems.append({"name": "broker_not_running", "message": "The broker is not running.", "since": None})
    for alarm in broker.alarms.active():
        if alarm.name in _CONCERN_SERVICE:
            # no details: they are for those who may look at the server
            since = format_time(alarm.activated_at)
            problems.append({"name": alarm.name, "message": alarm.message, "since": since})
    return problems
