"""Requests that lead nowhere, are too large or meet a fault: what everybody is told."""

import asyncio
import gzip
import logging

import pytest
from wardenmq.store.errors import DatabaseUnavailable, Overloaded

from ..engine.conditions import until
from .callers import USERS, V5, Api

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


async def test_a_body_that_unpacks_to_too_much(api: Api) -> None:
    packed = gzip.compress(b'"' + b"x" * 1_000_000 + b'"')
    assert len(packed) < api.state.settings.max_body_size
    reply = await api.call("POST", f"{V5}/publish", data=packed, headers={**JSON, "Content-Encoding": "gzip"})
    assert (reply.status, reply.code) == (413, "BAD_REQUEST")
    assert (await api.get("/nodes")).status == 200


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
