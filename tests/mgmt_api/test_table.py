"""Walk the route table: what every operation has in common holds for every row of it."""

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from wardenmq.mgmt_api.emqx.table import EMQX, ROOT
from wardenmq.mgmt_api.openapi import document
from wardenmq.mgmt_api.paging import PageQuery
from wardenmq.mgmt_api.routes import Route

from .callers import Api

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
EMQX_DOCUMENT = Path(__file__).parents[3] / "shared" / "reference" / "emqx-ce-5.8-openapi.json"
EVERY_ROUTE = [pytest.param(f, r, id=f"{r.method} {f.prefix}{r.path}") for f in (EMQX, ROOT) for r in f.routes]
GUARDED = [case for case in EVERY_ROUTE if not case.values[1].public]
WITH_BODY = [case for case in EVERY_ROUTE if case.values[1].body is not None]
PAGED = [case for case in EVERY_ROUTE if issubclass(case.values[1].query_model or object, PageQuery)]


def path_of(facade: Any, route: Route[Any, Any]) -> str:
    path = facade.prefix + route.path
    for name in route.path_parameters:
        path = path.replace(f"{{{name}}}", "password_based:built_in_database" if name == "id" else "some%2Fthing")
    return path


@pytest.mark.parametrize(("facade", "route"), EVERY_ROUTE)
async def test_other_methods_are_refused_before_anybody_is_asked_who_they_are(
    api: Api, facade: Any, route: Route[Any, Any]
) -> None:
    allowed = sorted(other.method for other in facade.routes if other.path == route.path)
    for method in METHODS:
        if method in allowed:
            continue
        reply = await api.call(method, path_of(facade, route), role=None)
        assert reply.status == 405, method
        assert reply.body == b""
        assert reply.headers["Allow"].split(", ") == allowed


@pytest.mark.parametrize(("facade", "route"), GUARDED)
async def test_nobody_gets_in_without_a_credential(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    reply = await api.call(route.method, path_of(facade, route), data=b"not even JSON", role=None)
    assert reply.status == 401
    assert reply.code == "AUTHORIZATION_HEADER_ERROR"
    assert reply.headers["WWW-Authenticate"] == 'Basic Realm="emqx-dashboard"'
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("facade", "route"), GUARDED)
@pytest.mark.parametrize("role", ["viewer", "publisher"])
async def test_roles(api: Api, facade: Any, route: Route[Any, Any], role: str) -> None:
    reply = await api.call(route.method, path_of(facade, route), data=b"{", role=role)
    allowed = route.method == "GET" if role == "viewer" else route.path in ("/publish", "/publish/bulk")
    if allowed:
        assert reply.status not in (401, 403)
    else:
        assert (reply.status, reply.code) == (403, "UNAUTHORIZED_ROLE")
        assert reply.json["message"] == "You don't have permission to access this resource"


@pytest.mark.parametrize(("facade", "route"), WITH_BODY)
async def test_bodies_are_decoded_and_checked(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    path = path_of(facade, route)
    as_json = {"Content-Type": "application/json; charset=utf-8"}

    cut_off = await api.call(route.method, path, data=b'{"a": ', headers=as_json)
    assert (cut_off.status, cut_off.code) == (400, "BAD_REQUEST")
    assert cut_off.json["message"] == "Invalid json message received"

    form = await api.call(route.method, path, data=b"a=b", headers={"Content-Type": "application/octet-stream"})
    assert (form.status, form.code) == (415, "UNSUPPORTED_MEDIA_TYPE")

    wrong = await api.call(route.method, path, body=17)
    assert (wrong.status, wrong.code) == (400, "BAD_REQUEST")

    missing = await api.call(route.method, path)  # no body counts as {}, which no operation is content with
    assert (missing.status, missing.code) == (400, "BAD_REQUEST")

    large = await api.call(route.method, path, data=b'"' + b"x" * 20_000 + b'"', headers=as_json)
    assert (large.status, large.code) == (413, "BAD_REQUEST")


@pytest.mark.parametrize(("facade", "route"), PAGED)
@pytest.mark.parametrize("query", ["page=0", "page=abc", "limit=0", "limit=10001", "page", "page=", "page=%FF"])
async def test_pages_have_bounds(api: Api, facade: Any, route: Route[Any, Any], query: str) -> None:
    reply = await api.call(route.method, f"{path_of(facade, route)}?{query}")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(("facade", "route"), EVERY_ROUTE)
def test_handlers_take_what_the_table_says(facade: Any, route: Route[Any, Any]) -> None:
    query, body = get_args(get_type_hints(route.handler)["call"])
    assert query == (route.query if route.query is not None else type(None))
    assert body == (route.body if route.body is not None else type(None))


def test_no_operation_is_there_twice() -> None:
    for facade in (EMQX, ROOT):
        rows = [(route.method, route.path) for route in facade.routes]
        assert len(rows) == len(set(rows))


async def test_the_document_describes_every_operation(api: Api) -> None:
    reply = await api.call("GET", "/api-docs/swagger.json", role=None)
    assert reply.status == 200
    described = reply.json
    assert described == json.loads(json.dumps(document(EMQX, api.state.version)))
    assert described["openapi"].startswith("3.")
    assert described["servers"] == [{"url": "/api/v5"}]
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {(route.method, route.path) for route in EMQX.routes}
    names = [operation["operationId"] for operation in operations.values()]
    assert len(names) == len(set(names))
    for route in EMQX.routes:
        operation = operations[route.method, route.path]
        assert str(route.status) in operation["responses"]
        assert ("401" in operation["responses"]) is not route.public
        assert ("requestBody" in operation) is (route.body is not None)
        in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        assert in_path == list(route.path_parameters)


def test_every_reference_in_the_document_leads_somewhere() -> None:
    described = document(EMQX, "0")
    schemas = described["components"]["schemas"]
    text = json.dumps(described)
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)


@pytest.fixture(scope="module")
def emqx_document() -> dict[str, Any]:
    if not EMQX_DOCUMENT.exists():
        pytest.skip(f"EMQX's own document is not at {EMQX_DOCUMENT}, so there is nothing to compare with")
    return json.loads(EMQX_DOCUMENT.read_text())


@pytest.mark.parametrize("route", EMQX.routes, ids=lambda route: f"{route.method} {route.path}")
def test_emqx_has_the_same_operation(emqx_document: dict[str, Any], route: Route[Any, Any]) -> None:
    theirs = emqx_document["paths"][route.path][route.method.lower()]
    assert str(route.status) in theirs["responses"]
    if route.query_model is not None:
        known = {follow(emqx_document, parameter)["name"] for parameter in theirs["parameters"]}
        known -= set(route.path_parameters)
        if route.path == "/metrics":
            known.add("node")  # from 5.8.2 on; the document is 5.8.1's
        assert set(route.query_model.model_fields) == known


def follow(described: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    """Follow a parameter's reference, if it is one."""
    if "$ref" not in parameter:
        return parameter
    found = described
    for step in parameter["$ref"].split("/")[1:]:
        found = found[step]
    return found
