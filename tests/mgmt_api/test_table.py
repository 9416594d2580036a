"""Walk the route table: what every operation has in common holds for every row of it."""

import json
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import ValidationError
from wardenmq.mgmt_api.emqx.table import EMQX, ROOT
from wardenmq.mgmt_api.multipart import UploadedFile
from wardenmq.mgmt_api.openapi import document
from wardenmq.mgmt_api.paging import PageQuery
from wardenmq.mgmt_api.paths import SegmentPath
from wardenmq.mgmt_api.routes import Route

from .callers import Api, Reply, form

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
EVERY_ROUTE = [(f, r) for f in (EMQX, ROOT) for r in f.routes]
GUARDED = [case for case in EVERY_ROUTE if not case[1].public]
WITH_BODY = [case for case in EVERY_ROUTE if case[1].body_adapter is not None]
WITH_FILE = [case for case in EVERY_ROUTE if case[1].body is UploadedFile]
PAGED = [case for case in EVERY_ROUTE if issubclass(case[1].query_model or object, PageQuery)]


def path_of(facade: Any, route: Route[Any, Any]) -> str:
    path = facade.prefix + route.path
    for name in route.path_parameters:
        path = path.replace(f"{{{name}}}", "password_based:built_in_database" if name == "id" else "some%2Fthing")
    return path


async def test_other_methods_are_refused_before_the_caller_is_asked(api: Api, subtests: pytest.Subtests) -> None:
    for facade, route in EVERY_ROUTE:
        with subtests.test(f"{route.method} {facade.prefix}{route.path}"):
            await _check_other_methods(api, facade, route)


async def _check_other_methods(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    path = path_of(facade, route)
    allowed = sorted(
        {other.method for other in facade.routes if SegmentPath(facade.prefix + other.path).match(path) is not None}
    )
    for method in METHODS:
        if method in allowed:
            continue
        reply = await api.call(method, path, role=None)
        assert reply.status == 405, method
        assert reply.body == b""
        assert reply.headers["Allow"].split(", ") == allowed


async def test_nobody_gets_in_without_a_credential(api: Api, subtests: pytest.Subtests) -> None:
    for facade, route in GUARDED:
        with subtests.test(f"{route.method} {facade.prefix}{route.path}"):
            await _check_nobody_gets_in_without_a_credential(api, facade, route)


async def _check_nobody_gets_in_without_a_credential(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    reply = await api.call(route.method, path_of(facade, route), data=b"not even JSON", role=None)
    assert reply.status == 401
    assert reply.code == "AUTHORIZATION_HEADER_ERROR"
    assert reply.headers["WWW-Authenticate"] == 'Basic Realm="emqx-dashboard"'
    assert reply.headers["Content-Type"] == "application/json"


async def test_roles(api: Api, subtests: pytest.Subtests) -> None:
    for role in ["viewer", "publisher"]:
        for facade, route in GUARDED:
            with subtests.test(f"{route.method} {facade.prefix}{route.path}", role=role):
                await _check_roles(api, facade, route, role)


async def _check_roles(api: Api, facade: Any, route: Route[Any, Any], role: str) -> None:
    reply = await api.call(route.method, path_of(facade, route), data=b"{", role=role)
    allowed = route.method == "GET" if role == "viewer" else route.path in ("/publish", "/publish/bulk")
    allowed = allowed and not _holds_secrets(route)
    if route.bearer_only:
        assert (reply.status, reply.code) == (401, "API_KEY_NOT_ALLOW")
        assert reply.headers["WWW-Authenticate"] == 'Basic Realm="emqx-dashboard"'
    elif allowed:
        assert reply.status not in (401, 403)
    else:
        assert (reply.status, reply.code) == (403, "UNAUTHORIZED_ROLE")
        assert reply.json["message"] == "You don't have permission to access this resource"


def _holds_secrets(route: Route[Any, Any]) -> bool:
    """Tell whether it is about backups, in which there is what is kept of passwords."""
    return route.path.startswith("/data/")


async def test_users_who_only_view(api: Api, subtests: pytest.Subtests) -> None:
    for facade, route in GUARDED:
        with subtests.test(f"{route.method} {facade.prefix}{route.path}"):
            await _check_users_who_only_view(api, facade, route)


async def _check_users_who_only_view(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    path = path_of(facade, route)
    reply = await api.call(route.method, path, data=b"{", headers=await api.bearer("viewer"), role=None)
    reads = route.method == "GET" and not _holds_secrets(route)
    if reads or route.path in ("/logout", "/users/{username}/change_pwd"):
        assert reply.status not in (401, 403)
    else:
        assert (reply.status, reply.code) == (403, "UNAUTHORIZED_ROLE")


async def test_files_come_in_forms(api: Api, subtests: pytest.Subtests) -> None:
    for facade, route in WITH_FILE:
        with subtests.test(f"{route.method} {facade.prefix}{route.path}"):
            await _check_files_come_in_forms(api, facade, route)


async def _check_files_come_in_forms(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    path = path_of(facade, route)
    other = await api.call(route.method, path, body={})
    assert (other.status, other.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    data, headers = form("name", b"x", "another_field")
    missing = await api.call(route.method, path, data=data, headers=headers)
    assert (missing.status, missing.code) == (400, "BAD_REQUEST")


def takes_nothing(route: Route[Any, Any]) -> bool:
    """Tell whether an operation is content with an empty object."""
    try:
        assert route.body_adapter is not None
        route.body_adapter.validate_python({})
    except ValidationError:
        return False
    return True


async def test_bodies_are_decoded_and_checked(api: Api, subtests: pytest.Subtests) -> None:
    for facade, route in WITH_BODY:
        with subtests.test(f"{route.method} {facade.prefix}{route.path}"):
            await _check_bodies_are_decoded_and_checked(api, facade, route)


async def _check_bodies_are_decoded_and_checked(api: Api, facade: Any, route: Route[Any, Any]) -> None:
    path = path_of(facade, route)
    as_json = {"Content-Type": "application/json; charset=utf-8"}
    credential = await api.bearer() if route.bearer_only else api.keys["administrator"]

    async def call(body: object = None, **sent: Any) -> Reply:
        headers = credential | sent.pop("headers", {})
        return await api.call(route.method, path, body, headers=headers, role=None, **sent)

    cut_off = await call(data=b'{"a": ', headers=as_json)
    assert (cut_off.status, cut_off.code) == (400, "BAD_REQUEST")
    assert cut_off.json["message"] == "Invalid json message received"

    raw = await call(data=b"a=b", headers={"Content-Type": "application/octet-stream"})
    assert (raw.status, raw.code) == (415, "UNSUPPORTED_MEDIA_TYPE")

    wrong = await call(17)
    assert (wrong.status, wrong.code) == (400, "BAD_REQUEST")

    if not takes_nothing(route):
        missing = await call()  # no body counts as {}
        assert (missing.status, missing.code) == (400, "BAD_REQUEST")

    large = await call(data=b'"' + b"x" * (route.max_body_size or 20_000) + b'"', headers=as_json)
    assert (large.status, large.code) == (413, "BAD_REQUEST")


async def test_pages_have_bounds(api: Api, subtests: pytest.Subtests) -> None:
    for query in ["page=0", "page=abc", "limit=0", "limit=10001", "page", "page=", "page=%FF"]:
        for facade, route in PAGED:
            with subtests.test(f"{route.method} {facade.prefix}{route.path}", query=query):
                await _check_pages_have_bounds(api, facade, route, query)


async def _check_pages_have_bounds(api: Api, facade: Any, route: Route[Any, Any], query: str) -> None:
    reply = await api.call(route.method, f"{path_of(facade, route)}?{query}")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


def test_handlers_take_what_the_table_says(subtests: pytest.Subtests) -> None:
    for facade, route in EVERY_ROUTE:
        with subtests.test(f"{route.method} {facade.prefix}{route.path}"):
            _check_handlers_take_what_the_table_says(facade, route)


def _check_handlers_take_what_the_table_says(facade: Any, route: Route[Any, Any]) -> None:
    query, body = get_args(get_type_hints(route.handler)["call"])
    assert query == (route.query if route.query is not None else type(None))
    # a handler that is made for many roots of the configuration takes the body of any
    assert body in (Any, route.body if route.body is not None else type(None))


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
        assert ("401" in operation["responses"]) is (route.public is not True or route.path == "/login")
        assert ("requestBody" in operation) is (route.body is not None)
        in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        assert in_path == list(route.path_parameters)


def test_the_document_says_how_to_call() -> None:
    described = document(EMQX, "0")
    assert described["components"]["securitySchemes"] == {
        "basicAuth": {"type": "http", "scheme": "basic"},
        "bearerAuth": {"type": "http", "scheme": "bearer"},
    }
    security = {
        path: {method: made["security"] for method, made in of.items()} for path, of in described["paths"].items()
    }
    assert security["/nodes"]["get"] == [{"basicAuth": []}, {"bearerAuth": []}]
    assert security["/api_key"]["post"] == [{"bearerAuth": []}]
    assert security["/login"]["post"] == security["/error_codes"]["get"] == []


def test_the_document_tells_forms_of_bodies_and_answers() -> None:
    async def handler(call: Any) -> None: ...

    routes: list[Route[Any, Any]] = [
        Route("POST", "/file", handler, "s", "t", body=UploadedFile, answer=bytes, answer_type="application/zip"),
        Route("PUT", "/text", handler, "s", "t", body=str, answer=dict[str, int], other_types={"text/plain": str}),
        Route("GET", "/open", handler, "s", "t", public=lambda state: True, answer=bytes),
    ]
    paths = document(replace(EMQX, routes=tuple(routes)), "0")["paths"]
    sent = paths["/file"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert sent["properties"] == {"filename": {"type": "string", "format": "binary"}}
    assert list(paths["/file"]["post"]["responses"]["200"]["content"]) == ["application/zip"]
    either = document(EMQX, "0")["paths"]["/authentication/{id}/import_users"]["post"]["requestBody"]["content"]
    assert either["multipart/form-data"]["schema"] == sent
    assert either["application/json"]["schema"]["type"] == "array"
    assert either["application/json"]["schema"]["items"] == {"$ref": "#/components/schemas/ImportedUser"}
    assert paths["/text"]["put"]["requestBody"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    forms = paths["/text"]["put"]["responses"]["200"]["content"]
    assert {name: of["schema"]["type"] for name, of in forms.items()} == {
        "application/json": "object",
        "text/plain": "string",
    }
    assert paths["/open"]["get"]["security"] == [{"basicAuth": []}, {"bearerAuth": []}, {}]
    assert "401" in paths["/open"]["get"]["responses"]


def test_every_reference_in_the_document_leads_somewhere() -> None:
    described = document(EMQX, "0")
    schemas = described["components"]["schemas"]
    text = json.dumps(described)
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)
