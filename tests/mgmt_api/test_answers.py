"""Every operation, once in a row of calls that make sense: its answer is what the route table promises."""

from typing import Any

from pydantic import TypeAdapter
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.mgmt_api.openapi import documented_errors
from wardenmq.mgmt_api.routes import Route

from .callers import V5, Api, Reply

NODE = "wardenmq@127.0.0.1"
USERS = "/authentication/{id}/users"
RULES = "/authorization/sources/built_in_database/rules"
RULE = {"topic": "t/${clientid}", "permission": "allow", "action": "all"}
MESSAGE = {"topic": "t/1", "payload": "x"}
UNWANTED = {"topic": "unwanted", "payload": "x"}
BAD = {"topic": "#", "payload": "x"}

CALLS: list[tuple[str, str, dict[str, str], str, Any, int]] = [
    # method, path as in the table, its parameters, query, body, expected status
    ("GET", "/status", {}, "", None, 200),
    ("GET", "/clients", {}, "", None, 200),
    ("GET", "/clients", {}, "like_clientid=o", None, 200),
    ("GET", "/clients", {}, "ip_address=x", None, 400),
    ("GET", "/clients", {}, "node=x", None, 500),
    ("GET", "/clients/{clientid}", {"clientid": "one"}, "", None, 200),
    ("GET", "/clients/{clientid}", {"clientid": "away"}, "", None, 200),
    ("GET", "/clients/{clientid}", {"clientid": "nobody"}, "", None, 404),
    ("GET", "/clients/{clientid}/subscriptions", {"clientid": "one"}, "", None, 200),
    ("GET", "/subscriptions", {}, "", None, 200),
    ("GET", "/subscriptions", {}, "match_topic=%23", None, 200),
    ("GET", "/topics", {}, "", None, 200),
    ("GET", "/topics", {}, "topic=", None, 400),
    ("GET", "/topics/{topic}", {"topic": "t%2F%2B"}, "", None, 200),
    ("POST", "/publish", {}, "", MESSAGE, 200),
    ("POST", "/publish", {}, "", UNWANTED, 202),
    ("POST", "/publish", {}, "", BAD, 400),
    ("POST", "/publish", {}, "", {}, 400),
    ("POST", "/publish/bulk", {}, "", [MESSAGE, MESSAGE], 200),
    ("POST", "/publish/bulk", {}, "", [MESSAGE, UNWANTED], 202),
    ("POST", "/publish/bulk", {}, "", [MESSAGE, BAD], 400),
    ("POST", USERS, {}, "", {"user_id": "alice", "password": "x"}, 201),
    ("POST", USERS, {}, "", {"user_id": "alice", "password": "x"}, 409),
    ("GET", USERS, {}, "", None, 200),
    ("GET", USERS, {}, "like_user_id=a", None, 200),
    ("GET", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 200),
    ("PUT", USERS + "/{user_id}", {"user_id": "alice"}, "", {"password": "y"}, 200),
    ("DELETE", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 204),
    ("DELETE", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 404),
    ("POST", RULES + "/users", {}, "", [{"username": "u", "rules": [RULE]}], 204),
    ("POST", RULES + "/users", {}, "", [{"username": "u", "rules": [RULE]}], 409),
    ("GET", RULES + "/users", {}, "", None, 200),
    ("GET", RULES + "/users/{username}", {"username": "u"}, "", None, 200),
    ("PUT", RULES + "/users/{username}", {"username": "u"}, "", {"username": "u", "rules": []}, 204),
    ("DELETE", RULES + "/users/{username}", {"username": "u"}, "", None, 204),
    ("POST", RULES + "/clients", {}, "", [{"clientid": "c", "rules": [RULE]}], 204),
    ("GET", RULES + "/clients", {}, "", None, 200),
    ("GET", RULES + "/clients/{clientid}", {"clientid": "c"}, "", None, 200),
    ("PUT", RULES + "/clients/{clientid}", {"clientid": "c"}, "", {"clientid": "c", "rules": []}, 204),
    ("DELETE", RULES + "/clients/{clientid}", {"clientid": "c"}, "", None, 204),
    ("POST", RULES + "/all", {}, "", {"rules": [RULE | {"qos": 1, "retain": False}]}, 204),
    ("GET", RULES + "/all", {}, "", None, 200),
    ("DELETE", RULES + "/all", {}, "", None, 204),
    ("DELETE", RULES, {}, "", None, 400),
    ("GET", "/nodes", {}, "", None, 200),
    ("GET", "/nodes/{node}", {"node": NODE}, "", None, 200),
    ("GET", "/nodes/{node}/metrics", {"node": NODE}, "", None, 200),
    ("GET", "/nodes/{node}/stats", {"node": NODE}, "", None, 200),
    ("GET", "/metrics", {}, "", None, 200),
    ("GET", "/metrics", {}, "aggregate=true", None, 200),
    ("GET", "/stats", {}, "", None, 200),
    ("GET", "/stats", {}, "aggregate", None, 200),
    ("GET", "/alarms", {}, "", None, 200),
    ("GET", "/alarms", {}, "activated=false", None, 200),
    ("GET", "/alarms", {}, "activated=soon", None, 400),
    ("DELETE", "/alarms", {}, "", None, 204),
    ("DELETE", "/clients/{clientid}", {"clientid": "one"}, "", None, 204),
    ("POST", "/clients/kickout/bulk", {}, "", ["away"], 204),
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
