"""Liveness, without a credential, and the document of the API."""

from typing_extensions import TypedDict

from ..encoding import encode
from ..paging import Query
from ..routes import Answer, Call

_RETRY_AFTER = {"Retry-After": "15"}


class StatusQuery(Query):
    """Choose the form of the answer; whatever is not `json` is text."""

    format: str = "text"


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


async def get_document(call: Call[None, None]) -> Answer:
    """Give the OpenAPI document."""
    return Answer(call.state.document, 200)
