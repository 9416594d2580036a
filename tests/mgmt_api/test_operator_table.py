"""Walk the operator's route table: what every operation has in common holds for every row of it."""

import json
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import TypeAdapter
from wardenmq.mgmt_api.openapi import document, documented_errors
from wardenmq.mgmt_api.operator.table import OPERATOR
from wardenmq.mgmt_api.paging import PageQuery
from wardenmq.mgmt_api.routes import Route

from .callers import Reply, basic
from .operators import Operator

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
EVERY_ROUTE = [pytest.param(route, id=f"{route.method} {route.path}") for route in OPERATOR.routes]
GUARDED = [case for case in EVERY_ROUTE if not case.values[0].public]
WITH_JSON = [case for case in EVERY_ROUTE if case.values[0].body_adapter is not None]
PAGED = [case for case in EVERY_ROUTE if issubclass(case.values[0].query_model or object, PageQuery)]
AnyRoute = Route[Any, Any]


def path_of(route: AnyRoute) -> str:
    path = route.path
    for name in route.path_parameters:
        path = path.replace(f"{{{name}}}", "some%2Fthing")
    return path


@pytest.mark.parametrize("route", EVERY_ROUTE)
async def test_other_methods_are_refused(operator: Operator, route: AnyRoute) -> None:
    allowed = sorted(other.method for other in OPERATOR.routes if other.path == route.path)
    for method in METHODS:
        if method not in allowed:
            reply = await operator.call(method, path_of(route), token=None)
            assert (reply.status, reply.headers["Allow"].split(", ")) == (405, allowed)


@pytest.mark.parametrize("route", GUARDED)
async def test_nobody_gets_in_without_the_operator_token(operator: Operator, route: AnyRoute) -> None:
    key, secret = await operator.directory.create_api_key("default", "administrator")
    bunkerm = await operator.directory.create_bunkerm_key()
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {bunkerm}"},
        {"Authorization": f"Bearer {operator.token}x"},
        {"Authorization": f"Basic {operator.token}"},
        basic(key.api_key, secret),
        {"X-API-Key": bunkerm},
    ):
        reply = await operator.call(route.method, path_of(route), data=b"not even JSON", headers=headers, token=None)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        assert operator.token.encode() not in reply.body
    assert operator.state.refused_callers == 7


@pytest.mark.parametrize("route", WITH_JSON)
async def test_bodies_are_decoded_and_checked(operator: Operator, route: AnyRoute) -> None:
    path = path_of(route)
    as_json = {"Content-Type": "application/json; charset=utf-8"}
    cut_off = await operator.call(route.method, path, data=b'{"a": ', headers=as_json)
    assert (cut_off.status, cut_off.code) == (400, "BAD_REQUEST")
    form = await operator.call(route.method, path, data=b"a=b", headers={"Content-Type": "text/plain"})
    assert (form.status, form.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    for body in (17, [], {"nonsense": 1}, {f"k{number}": 1 for number in range(1_001)}):
        wrong = await operator.call(route.method, path, body=body)
        assert (wrong.status, wrong.code) == (400, "BAD_REQUEST")
    large = await operator.call(route.method, path, data=b'"' + b"x" * 20_000 + b'"', headers=as_json)
    assert (large.status, large.code) == (413, "BAD_REQUEST")


@pytest.mark.parametrize("route", PAGED)
@pytest.mark.parametrize("query", ["page=0", "page=abc", "limit=0", "limit=10001", "page", "page=%FF"])
async def test_pages_have_bounds(operator: Operator, route: AnyRoute, query: str) -> None:
    reply = await operator.call(route.method, f"{path_of(route)}?{query}")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_handlers_take_what_the_table_says(route: AnyRoute) -> None:
    query, body = get_args(get_type_hints(route.handler)["call"])
    assert query == (route.query if route.query is not None else type(None))
    assert body == (route.body if route.body is not None else type(None))


def test_no_operation_is_there_twice() -> None:
    rows = [(route.method, route.path) for route in OPERATOR.routes]
    assert len(rows) == len(set(rows))


async def test_the_document_describes_every_operation(operator: Operator) -> None:
    described = (await operator.call("GET", "/openapi.json", token=None)).json
    assert described == json.loads(json.dumps(document(OPERATOR, operator.state.version)))
    assert described["servers"] == [{"url": "/api/wardenmq/v1"}]
    assert described["components"]["securitySchemes"] == {"operatorToken": {"type": "http", "scheme": "bearer"}}
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {(route.method, route.path) for route in OPERATOR.routes}
    names = [operation["operationId"] for operation in operations.values()]
    assert len(names) == len(set(names))
    for route in OPERATOR.routes:
        operation = operations[route.method, route.path]
        assert str(route.status) in operation["responses"]
        assert ("401" in operation["responses"]) is not route.public
        assert ("requestBody" in operation) is (route.body is not None)
        assert [p["name"] for p in operation["parameters"] if p["in"] == "path"] == list(route.path_parameters)
    schemas = described["components"]["schemas"]
    references = {part.split('"')[0] for part in json.dumps(described).split('"$ref": "')[1:]}
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)


# -- every operation, once in a row of calls that make sense

RULE = {"topic": "t/${clientid}", "permission": "allow", "action": "all", "condition": {"ipaddr": "192.0.2.0/24"}}
ACL = {"acltype": "publishClientSend", "topic": "t/%c", "allow": True}
BAN = {"who_type": "clientid", "who": "c", "until": "2100-01-01T00:00:00Z"}
ALICE = {"login": "alice", "password": "x", "roles": [{"name": "r"}], "groups": [{"name": "g", "priority": 2}]}

CALLS: list[tuple[str, str, str, Any, int]] = [
    # method, path as in the table with its parameters filled in, query, body, expected status
    ("POST", "/roles", "", {"name": "r", "acls": [ACL]}, 201),
    ("POST", "/roles", "", {"name": "r"}, 409),
    ("GET", "/roles", "like=r", None, 200),
    ("GET", "/roles/{role:r}", "", None, 200),
    ("GET", "/roles/{role:x}", "", None, 404),
    ("PATCH", "/roles/{role:r}", "disconnect=true", {"text_name": "R"}, 200),
    ("PATCH", "/roles/{role:x}", "", {}, 404),
    ("POST", "/roles/{role:r}/acls", "", {**ACL, "topic": "u"}, 201),
    ("POST", "/roles/{role:r}/acls", "", ACL, 409),
    ("DELETE", "/roles/{role:r}/acls/{acltype:publishClientSend}/{topic:u}", "", None, 200),
    ("DELETE", "/roles/{role:r}/acls/{acltype:publishClientSend}/{topic:u}", "", None, 404),
    ("POST", "/groups", "", {"name": "g", "roles": [{"name": "r", "priority": 3}]}, 201),
    ("POST", "/groups", "", {"name": "h", "roles": [{"name": "nothing"}]}, 400),
    ("GET", "/groups", "", None, 200),
    ("GET", "/groups/{group:g}", "", None, 200),
    ("PATCH", "/groups/{group:g}", "", {"text_description": "d"}, 200),
    ("POST", "/users", "", ALICE, 201),
    ("POST", "/users", "", ALICE, 409),
    ("POST", "/users", "", {"login": "bob", "roles": [{"name": "nothing"}]}, 400),
    ("POST", "/users", "", {"login": "c", "login_type": "clientid", "expires_at": "2100-01-01T00:00:00Z"}, 201),
    ("GET", "/users", "role=r&group=g&disabled=false&superuser=false&like=al", None, 200),
    ("GET", "/users", "login_type=clientid", None, 200),
    ("GET", "/users/{login:alice}", "", None, 200),
    ("GET", "/users/{login:nobody}", "", None, 404),
    ("PATCH", "/users/{login:alice}", "", {"disabled": True, "expires_at": None, "clientid": "c2"}, 200),
    ("DELETE", "/users/{login:c}", "login_type=clientid", None, 204),
    ("DELETE", "/users/{login:alice}/roles/{role:r}", "", None, 204),
    ("PUT", "/users/{login:alice}/roles/{role:r}", "disconnect", {"priority": 5}, 204),
    ("PUT", "/users/{login:alice}/roles/{role:nothing}", "", {}, 400),
    ("GET", "/groups/{group:g}/members", "", None, 200),
    ("DELETE", "/groups/{group:g}/members/{username:alice}", "", None, 204),
    ("PUT", "/groups/{group:g}/members/{username:alice}", "", {"priority": 1}, 204),
    ("DELETE", "/groups/{group:g}/roles/{role:r}", "", None, 204),
    ("PUT", "/groups/{group:g}/roles/{role:r}", "", {}, 204),
    ("PUT", "/anonymous-group", "", {"group": "nothing"}, 400),
    ("PUT", "/anonymous-group", "", {"group": "g"}, 200),
    ("GET", "/anonymous-group", "", None, 200),
    ("DELETE", "/groups/{group:g}", "", None, 409),
    ("DELETE", "/anonymous-group", "", None, 204),
    ("PUT", "/rules/{subject_type:username}/{subject:alice}", "", {"rules": [RULE]}, 200),
    ("POST", "/rules/{subject_type:username}/{subject:alice}", "first=true", {**RULE, "qos": 1}, 201),
    ("GET", "/rules/{subject_type:username}/{subject:alice}", "", None, 200),
    ("GET", "/rules/{subject_type:nothing}/{subject:alice}", "", None, 404),
    ("PUT", "/rules/all", "", {"rules": [{**RULE, "condition": None}]}, 200),
    ("POST", "/rules/all", "", {**RULE, "retain": True}, 201),
    ("GET", "/rules/all", "", None, 200),
    ("GET", "/rules", "", None, 200),
    ("GET", "/acl/explain", "clientid=one&topic=t/one&username=alice&action=publish&address=192.0.2.1", None, 200),
    ("GET", "/acl/explain", "clientid=one&topic=a/%23&action=subscribe", None, 200),
    ("GET", "/acl/explain", "clientid=one&topic=a/%23&action=publish", None, 400),
    ("GET", "/acl/explain", "topic=a", None, 400),
    ("DELETE", "/rules/all", "", None, 204),
    ("DELETE", "/rules/all", "", None, 404),
    ("DELETE", "/rules/{subject_type:username}/{subject:alice}", "", None, 204),
    ("GET", "/defaults", "", None, 200),
    ("PATCH", "/defaults", "", {"publish": "allow", "unsubscribe": "deny"}, 200),
    ("POST", "/bans", "", BAN, 201),
    ("POST", "/bans", "", BAN, 409),
    ("GET", "/bans", "who_type=clientid&like=c", None, 200),
    ("GET", "/bans/{who_type:clientid}/{who:c}", "", None, 200),
    ("DELETE", "/bans/{who_type:clientid}/{who:c}", "", None, 204),
    ("DELETE", "/bans/{who_type:clientid}/{who:c}", "", None, 404),
    ("DELETE", "/bans", "", None, 204),
    ("POST", "/imports/{source:mosquitto-passwords}", "dry_run", b"bob:plain\n", 200),
    ("POST", "/imports/{source:mosquitto-acl}", "overwrite=true", b"user alice\ntopic read t/#\n", 200),
    ("POST", "/imports/{source:dynamic-security}", "", b"{}", 400),
    ("GET", "/audit", "", None, 200),
    ("DELETE", "/groups/{group:g}", "", None, 204),
    ("DELETE", "/roles/{role:r}", "", None, 204),
    ("DELETE", "/users/{login:alice}", "", None, 204),
    ("GET", "/openapi.json", "", None, 200),
    ("GET", "/identity", f"challenge={'0' * 64}", None, 404),
]


def route_and_path(method: str, written: str) -> tuple[AnyRoute, str]:
    """Split "/{name:value}" into the table's path and the one that is called."""
    segments = [part[1:-1].split(":", 1) if part.startswith("{") else [part] for part in written.split("/")]
    template = "/".join(f"{{{part[0]}}}" if len(part) == 2 else part[0] for part in segments)
    (route,) = [route for route in OPERATOR.routes if (route.method, route.path) == (method, template)]
    return route, "/".join(part[-1] for part in segments)


def check(route: AnyRoute, reply: Reply) -> None:
    """Assert that an answer is one that the route documents, key by key."""
    if reply.status != route.status:
        assert reply.code in documented_errors(OPERATOR, route)[reply.status]
    elif route.answer is None:
        assert reply.body == b""
    else:
        adapter: TypeAdapter[Any] = TypeAdapter(route.answer)
        understood = adapter.validate_python(reply.json, strict=True)
        # what the type does not know would be lost here, so nothing but what is documented is sent
        assert adapter.dump_python(understood, mode="json") == reply.json


async def test_answers_are_as_documented(operator: Operator) -> None:
    called: set[tuple[str, str]] = set()
    for method, written, query, body, status in CALLS:
        route, path = route_and_path(method, written)
        sent = {"data": body} if isinstance(body, bytes) else {"body": body}
        reply = await operator.call(method, f"{path}?{query}", **sent)
        assert reply.status == status, (method, path, query, reply.body)
        check(route, reply)
        called.add((route.method, route.path))
    assert called == {(route.method, route.path) for route in OPERATOR.routes}
