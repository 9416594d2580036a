"""Bodies that are wrong many times over: the first fault ends the check."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from wardenmq.mgmt_api.decoding import read_body
from wardenmq.mgmt_api.emqx.access import authorization
from wardenmq.mgmt_api.emqx.access.models import NewRules
from wardenmq.mgmt_api.emqx.clients.models_publish import PublishMessage
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.mgmt_api.errors import ApiError
from wardenmq.mgmt_api.limits import MAX_ENTRIES, MAX_KEYS
from wardenmq.mgmt_api.routes import Route

from .callers import RULES, V5, Api

RULE = {"topic": "t", "permission": "allow", "action": "publish"}
ENTRIES: dict[str, Any] = {
    "/clients/kickout/bulk": "nobody",
    "/publish/bulk": {"topic": "t", "payload": "x"},
    "/authorization/sources/built_in_database/rules/users": {"username": "a", "rules": []},
    "/authorization/sources/built_in_database/rules/clients": {"clientid": "a", "rules": []},
    "/clients/{clientid}/subscribe/bulk": {"topic": "t"},
    "/clients/{clientid}/unsubscribe/bulk": {"topic": "t"},
    "/authentication/order": {"id": "jwt"},
    "/authorization/sources/order": {"type": "file"},
    "/mqtt/topic_rewrite": {"action": "all", "source_topic": "a", "dest_topic": "b", "re": "a"},
    "/mqtt/auto_subscribe": {"topic": "t"},
}
MOST = {
    "/authorization/sources/built_in_database/rules/users": authorization.MAX_SUBJECTS,
    "/authorization/sources/built_in_database/rules/clients": authorization.MAX_SUBJECTS,
    "/authentication/order": 100,
    "/authorization/sources/order": 100,
    "/mqtt/topic_rewrite": 1_000,
    "/mqtt/auto_subscribe": 1_000,
}
"""Entries of a list, where they are not the usual number."""
LISTS = [
    pytest.param(route, id=route.path)
    for route in EMQX.routes
    if route.body is not None and TypeAdapter(route.body).json_schema().get("type") == "array"
]
MANY_KEYS = {f"k{number}": "v" for number in range(MAX_KEYS + 1)}


def refusal(body: object, adapter: TypeAdapter[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_body(json.dumps(body).encode(), "application/json", adapter)
    return caught.value


def adapter_of(route: Route[Any, Any]) -> TypeAdapter[Any]:
    adapter = route.body_adapter
    assert adapter is not None
    return adapter


def test_every_list_is_tried() -> None:
    assert {case.values[0].path for case in LISTS} == set(ENTRIES)  # type: ignore[union-attr]


@pytest.mark.parametrize("route", LISTS)
async def test_of_many_wrong_entries_the_first_is_told(api: Api, route: Route[Any, Any]) -> None:
    reply = await api.call(route.method, f"{V5}{route.path.format(clientid='one')}", [1] * 100)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert reply.json["message"].startswith("body: 0: ")
    assert ";" not in reply.json["message"]


@pytest.mark.parametrize("route", LISTS)
def test_a_list_that_is_too_long(route: Route[Any, Any]) -> None:
    most = route.max_entries
    assert most == MOST.get(route.path, MAX_ENTRIES)
    entry = ENTRIES[route.path]
    assert len(adapter_of(route).validate_json(json.dumps([entry] * most))) == most
    error = refusal([entry] * (most + 1), adapter_of(route))
    assert (error.status, error.code) == (400, "BAD_REQUEST")
    assert f"at most {most} items" in error.message


@pytest.mark.parametrize(
    ("model", "body", "place"),
    [
        (PublishMessage, MANY_KEYS, "body"),
        (list[PublishMessage], [MANY_KEYS], "body: 0"),
        (PublishMessage, {"topic": "t", "payload": "x", "properties": MANY_KEYS}, "body: properties"),
        (
            PublishMessage,
            {"topic": "t", "payload": "x", "properties": {"user_properties": MANY_KEYS}},
            "body: properties: user_properties",
        ),
        (NewRules, MANY_KEYS, "body"),
        (NewRules, {"rules": [MANY_KEYS]}, "body: rules: 0"),
    ],
)
def test_an_object_with_very_many_keys(model: Any, body: Any, place: str) -> None:
    error = refusal(body, TypeAdapter(model))
    assert (error.status, error.message) == (400, f"{place}: there are more than {MAX_KEYS} keys")


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({"rules": [1] * 1_000}, "body: rules: 0: "),
        ({"rules": [RULE | {"qos": [7] * 10}]}, "body: rules: 0: qos: 0: "),
        ({"rules": [RULE | {"qos": "7,7,7"}]}, "body: rules: 0: qos: 0: "),
        ({"rules": [RULE | {"qos": [1] * 17}]}, "body: rules: 0: qos: List should have at most 16 items"),
        ({"rules": [RULE | {"qos": ",".join("1" * 17)}]}, "body: rules: 0: qos: List should have at most 16 items"),
        ({"rules": [RULE] * 10_001}, "body: rules: List should have at most 10000 items"),
    ],
)
def test_lists_within_objects(body: Any, start: str) -> None:
    error = refusal(body, TypeAdapter(NewRules))
    assert error.message.startswith(start)
    assert ";" not in error.message


def test_the_faults_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []

    class Refusing:
        def validate_json(self, _: bytes) -> object:
            raise Counted

    class Counted(Exception):
        def errors(self, **_: bool) -> list[dict[str, Any]]:
            listed.append("once")
            return [{"type": "missing", "loc": ("a",), "msg": "Field required"}]

    monkeypatch.setattr("wardenmq.mgmt_api.decoding.ValidationError", Counted)
    assert not issubclass(Counted, ValidationError)
    error = refusal({}, Refusing())  # type: ignore[arg-type]
    assert (error.message, listed) == ("body: a: Field required", ["once"])


@pytest.mark.parametrize(("path", "key"), [("users", "username"), ("clients", "clientid")])
async def test_rules_of_one_request_are_counted_together(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, key: str
) -> None:
    monkeypatch.setattr(authorization, "MAX_NEW_RULES", 5)
    entries = [{key: "a", "rules": [RULE] * 3}, {key: "b", "rules": [RULE] * 3}]
    reply = await api.call("POST", f"{RULES}/{path}", entries)
    assert (reply.status, reply.json["message"]) == (400, "body: there are more than 5 rules")
    assert (await api.call("GET", f"{RULES}/{path}")).rows == []
    entries[1]["rules"] = [RULE] * 2
    assert (await api.call("POST", f"{RULES}/{path}", entries)).status == 204


@pytest.mark.parametrize("path", ["users", "clients"])
def test_the_limits_of_a_bulk_write_are_documented(path: str) -> None:
    (route,) = [route for route in EMQX.routes if route.method == "POST" and route.path.endswith(f"/rules/{path}")]
    assert f"at most 1_000 {path} and 10_000 rules" in route.summary
