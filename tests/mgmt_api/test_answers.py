"""Every operation, once in a row of calls that make sense: its answer is what the route table promises."""

from typing import Any

from pydantic import TypeAdapter
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.mgmt_api.openapi import documented_errors
from wardenmq.mgmt_api.routes import Route

from .callers import V5, Api, Reply
from .calls import access, clients, dashboard, messaging, node, settings, tracing

CALLS = [
    *node.CALLS,
    *access.CALLS,
    *dashboard.CALLS,
    *messaging.CALLS,
    *settings.CALLS,
    *tracing.CALLS,
    *clients.CALLS,
]


def check(route: Route[Any, Any], reply: Reply) -> None:
    """Assert that an answer is one that the route documents, key by key."""
    bodies: dict[int, Any] = {route.status: route.answer, **route.other_answers}
    if reply.status not in bodies:
        assert reply.code in documented_errors(EMQX, route)[reply.status]
        return
    promised = bodies[reply.status]
    if promised is None:
        assert reply.body == b""
    elif promised is str:
        assert reply.headers["Content-Type"] == "text/plain"
    else:
        assert reply.headers["Content-Type"] == "application/json"
        adapter: TypeAdapter[Any] = TypeAdapter(promised)
        understood = adapter.validate_python(reply.json, strict=True)
        # what the type does not know would be lost here, so nothing but what is documented is sent
        assert adapter.dump_python(understood, mode="json", by_alias=True) == reply.json


async def test_answers_are_as_documented(api: Api) -> None:
    client = await api.mqtt.connected("one", username="alice")
    await client.subscribe(("t/+", 1))
    await (await api.mqtt.connected("away", clean=False)).disconnect()
    for name in ("over", "active"):
        api.mqtt.broker.alarms.activate(name, "Something is wrong.", {"since": 1.5, "reason": None})
    api.mqtt.broker.alarms.deactivate("over")
    routes = {(route.method, route.path): route for route in EMQX.routes}
    for method, path, parameters, query, body, status in CALLS:
        values = {"id": "password_based:built_in_database", **parameters}
        reply = await api.call(method, f"{V5}{path.format(**values)}?{query}", body)
        assert reply.status == status, (method, path, query, reply.body)
        check(routes[method, path], reply)
    assert {(method, path) for method, path, *_ in CALLS} == set(routes)
