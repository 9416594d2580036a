"""Every operation, once in a row of calls that make sense: its answer is what the route table promises."""

from typing import Any

from pydantic import TypeAdapter
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.mgmt_api.openapi import documented_errors
from wardenmq.mgmt_api.routes import Route

from .callers import V5, Api, Reply, form
from .calls import (
    access,
    access_authentication,
    clients,
    dashboard,
    data,
    messaging,
    messaging_slow,
    messaging_store,
    monitor,
    node,
    settings,
    tracing,
)

CALLS = [
    *node.CALLS,
    *monitor.CALLS,
    *access_authentication.CALLS,
    *access.CALLS,
    *dashboard.CALLS,
    *messaging.CALLS,
    *messaging_slow.CALLS,
    *messaging_store.CALLS,
    *settings.CALLS,
    *data.CALLS,
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
        assert reply.headers["Content-Type"].partition(";")[0] in {
            route.answer_type or "text/plain",
            *route.other_types,
        }
    elif promised is bytes:
        assert reply.headers["Content-Type"] == (route.answer_type or "application/octet-stream")
    else:
        assert reply.headers["Content-Type"] == "application/json"
        adapter: TypeAdapter[Any] = TypeAdapter(promised)
        understood = adapter.validate_json(reply.body, strict=True)
        # what the type does not know would be lost here, so nothing but what is documented is sent
        assert adapter.dump_python(understood, mode="json", by_alias=True, exclude_unset=True) == reply.json


async def make(api: Api, route: Route[Any, Any], path: str, body: Any) -> Reply:
    """Make one call with a credential that opens the route."""
    headers = await api.bearer() if route.bearer_only else api.keys["administrator"]
    if isinstance(body, tuple):
        data, typed = form(*body)  # pyright: ignore[reportUnknownArgumentType]
        return await api.call(route.method, path, data=data, headers=headers | typed, role=None)
    if isinstance(body, bytes):
        typed = {"Content-Type": route.body_type}
        return await api.call(route.method, path, data=body, headers=headers | typed, role=None)
    return await api.call(route.method, path, body, headers=headers, role=None)


async def every_answer(api: Api) -> list[tuple[Route[Any, Any], Reply]]:
    """Make all the calls, and give what came back."""
    client = await api.mqtt.connected("one", username="alice")
    await client.subscribe(("t/+", 1))
    await (await api.mqtt.connected("away", clean=False)).disconnect()
    for name in ("over", "active"):
        api.mqtt.broker.alarms.activate(name, "Something is wrong.", {"since": 1.5, "reason": None})
    api.mqtt.broker.alarms.deactivate("over")
    routes = {(route.method, route.path): route for route in EMQX.routes}
    answers: list[tuple[Route[Any, Any], Reply]] = []
    for method, path, parameters, query, body, status in CALLS:
        values = {"id": "password_based:built_in_database", **parameters}
        reply = await make(api, routes[method, path], f"{V5}{path.format(**values)}?{query}", body)
        assert reply.status == status, (method, path, query, reply.body)
        answers.append((routes[method, path], reply))
    return answers


async def test_answers_are_as_documented(api: Api) -> None:
    answers = await every_answer(api)
    for route, reply in answers:
        check(route, reply)
    assert {(route.method, route.path) for route, _ in answers} == {(route.method, route.path) for route in EMQX.routes}
