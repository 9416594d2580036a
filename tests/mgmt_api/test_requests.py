"""Requests that lead nowhere, are too large or meet a fault: what everybody is told."""

import asyncio
import gzip
import logging

import pytest
from aiohttp import web
from wardenmq.mgmt_api.application import create_application
from wardenmq.mgmt_api.dispatch import Endpoint
from wardenmq.mgmt_api.state import STATE
from wardenmq.store.errors import DatabaseUnavailable, Overloaded

from ..engine.conditions import until
from .callers import USERS, V5, Api
from .served import served

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "path", ["/", "/api/v4/nodes", f"{V5}/nothing", f"{V5}/clients/", f"{V5}/clients/a/b/c", f"{V5}/clients/%FF"]
)
async def test_a_path_that_leads_nowhere(api: Api, path: str) -> None:
    for role in ("administrator", None):
        page = await api.call("GET", path, role=role)
        assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    text = await api.call("GET", path, headers={"Accept": "text/plain"})
    assert (text.status, text.body) == (404, b"404 - NOT FOUND")
    answer = await api.call("GET", path, headers={"Accept": "application/json"})
    assert (answer.status, answer.json) == (404, {"code": "NOT_FOUND", "message": "Request Path Not Found"})


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "x"])
async def test_a_packed_body_is_refused(api: Api, encoding: str) -> None:
    packed = gzip.compress(b'{"topic": "t", "payload": "x"}')
    headers = {**JSON, "Content-Encoding": encoding}
    reply = await api.call("POST", f"{V5}/publish", data=packed, headers=headers)
    assert (reply.status, reply.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    table = f"{V5}/authentication/password_based:built_in_database/import_users?type=plain"
    assert (await api.call("POST", table, data=packed, headers=headers)).code == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_body_that_says_that_it_is_not_packed(api: Api) -> None:
    body = b'{"topic": "t", "payload": "x"}'
    reply = await api.call("POST", f"{V5}/publish", data=body, headers={**JSON, "Content-Encoding": "Identity"})
    assert reply.status == 202


async def test_a_packed_body_that_nobody_reads_is_not_unpacked(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(*address)
    head = f"POST {V5}/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    # it unpacks to nothing, so whoever tries breaks off
    writer.write(f"{head}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc".encode())
    writer.write(f"GET {V5}/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("sent", ["Content-Length: 30\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n3\r\nab"])
async def test_a_body_that_does_not_arrive_whole_is_no_fault(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    handle, begun, ended = Endpoint.handle, asyncio.Event(), asyncio.Event()

    async def handling(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        begun.set()
        try:
            return await handle(endpoint, request)
        finally:
            ended.set()

    monkeypatch.setattr(Endpoint, "handle", handling)
    # routes keep what they were registered with
    application = create_application(broker=api.mqtt.broker, directory=api.directory)
    http = served(application)
    await http.start_server()
    _, writer = await asyncio.open_connection(http.host, http.port)
    writer.write(f"POST {V5}/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{sent}".encode())
    async with asyncio.timeout(30):
        await begun.wait()
        writer.transport.abort()
        await ended.wait()
    await http.close()
    assert application[STATE].unhandled_errors == 0
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "data", [b"[" * 10_000, b'{"topic": "t", "payload": "\xff"}', b"NaN", b"\0", b'{"a":1}{"a":1}']
)
async def test_bodies_that_are_no_json(api: Api, data: bytes) -> None:
    reply = await api.call("POST", f"{V5}/publish", data=data, headers=JSON)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_a_fault_is_logged_and_counted_but_not_told(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> dict[str, int]:
        raise RuntimeError("inner workings")

    monkeypatch.setattr(api.mqtt.broker, "stats", fail)
    reply = await api.get("/stats")
    assert (reply.status, reply.code) == (500, "INTERNAL_ERROR")
    assert b"inner workings" not in reply.body
    assert b"Traceback" not in reply.body
    assert "inner workings" in caplog.text
    assert "GET /api/v5/stats failed" in caplog.text
    assert api.state.unhandled_errors == 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DatabaseUnavailable("the disk is full"), 500, "INTERNAL_ERROR"),
        (Overloaded("too much waits"), 503, "SERVICE_UNAVAILABLE"),
    ],
)
async def test_trouble_of_the_store(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api.directory, "create_login", fail)
    reply = await api.call("POST", USERS, {"user_id": "a", "password": "b"})
    assert (reply.status, reply.code) == (status, code)
    assert api.state.unhandled_errors == (status == 500)


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /status HTTP/1.1\r\nBad Header: x\r\nHost: x\r\n\r\n"],
)
async def test_what_is_no_http_gets_a_400_without_a_traceback(api: Api, data: bytes) -> None:
    reader, writer = await asyncio.open_connection(api.http.host, api.http.port)
    writer.write(data)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert b"Traceback" not in answer
    assert b"aiohttp/" not in answer.partition(b"\r\n\r\n")[2]


async def test_a_large_answer_arrives_whole(api: Api) -> None:
    for number in range(1_000):
        api.mqtt.broker.subscribe_for(f"client-{number}", "t", 0)
    reply = await api.get("/clients", limit=10_000)
    assert len(reply.body) > 500_000
    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert reply.headers["Content-Type"] == "application/json"
    assert [row["clientid"] for row in reply.rows] == [f"client-{number}" for number in range(1_000)]


async def test_a_peer_that_leaves_in_the_middle_of_an_answer_is_no_fault(
    api: Api, address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wardenmq.mgmt_api")
    for number in range(10_000):
        api.mqtt.broker.subscribe_for(f"client-{number}", "t", 0)
    reader, writer = await asyncio.open_connection(*address, limit=1_000)
    key = api.keys["viewer"]["Authorization"]
    writer.write(f"GET {V5}/clients?limit=10000 HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n".encode())
    async with asyncio.timeout(30):
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.transport.abort()
    await until(lambda: "the peer left" in caplog.text)
    assert "failed" not in caplog.text


async def test_no_releases_are_told(api: Api) -> None:
    for path in ("/", f"{V5}/status", f"{V5}/nodes"):
        assert (await api.call("GET", path, role=None)).headers["Server"] == "wardenmq"
