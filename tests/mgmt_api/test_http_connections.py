"""What strangers may hold of the HTTP server: so many connections, and each only for so long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from wardenmq.mgmt_api import dispatch
from wardenmq.mgmt_api.application import create_application, create_runner
from wardenmq.mgmt_api.http_connections import HttpConnections
from wardenmq.mgmt_api.operation import Operation, Reply
from wardenmq.mgmt_api.settings import ApiSettings
from wardenmq.mgmt_api.state import STATE

from ..engine.conditions import until
from .callers import V5, Api

ASKING = f"GET {V5}/status HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@asynccontextmanager
async def listening(api: Api, limit: int = 256) -> AsyncIterator[tuple[HttpConnections, tuple[Any, ...]]]:
    """Serve the API with a bound."""
    settings = ApiSettings(max_connections=limit)
    application = create_application(broker=api.mqtt.broker, directory=api.directory, settings=settings)
    runner = create_runner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield application[STATE].connections, runner.addresses[0]
    finally:
        await runner.cleanup()


async def ask(address: tuple[Any, ...]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and have one request answered."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(ASKING)
    async with asyncio.timeout(30):
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    return reader, writer


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection."""
    async with asyncio.timeout(30):
        try:
            await reader.read()
        except ConnectionError:
            return True
    return reader.at_eof()


async def test_no_more_connections_than_there_may_be(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While something is done for all of them, none more; then the one that has been idle for longest goes."""
    go_on, begun = asyncio.Event(), 0
    carry_out = Operation.carry_out

    async def wait(*given: Any) -> Reply:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return await carry_out(*given)

    async with listening(api, 2) as (connections, address):
        monkeypatch.setattr(Operation, "carry_out", wait)
        busy = [await asyncio.open_connection(*address) for _ in range(2)]
        for _, writer in busy:
            writer.write(ASKING)
        await until(lambda: begun == 2)
        late, writer = await asyncio.open_connection(*address)
        assert await is_over(late)
        writer.close()
        assert (len(connections), connections.refused) == (2, 1)
        go_on.set()
        for reader, _ in busy:
            async with asyncio.timeout(30):
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        busy[0][1].write(ASKING)
        await until(lambda: begun == 3)
        again = await ask(address)
        assert await is_over(busy[1][0])
        for _, writer in (*busy, again):
            writer.close()
        await until(lambda: len(connections) == 0)


@pytest.mark.parametrize(
    "sent",
    [b"", ASKING[:10], ASKING, ASKING + ASKING[:10], b"POST /api/v5/login HTTP/1.1\r\nContent-Length: 9\r\n\r\n"],
)
async def test_nobody_keeps_others_out(api: Api, sent: bytes) -> None:
    async with listening(api, 3) as (connections, address):
        idle = [await asyncio.open_connection(*address) for _ in range(3)]
        for reader, writer in idle:
            writer.write(sent)
            if sent.startswith(ASKING):
                async with asyncio.timeout(30):
                    await reader.readuntil(b"running")
        await until(lambda: len(connections) == 3)
        for _ in range(4):
            _, writer = await ask(address)
            writer.close()
        assert await is_over(idle[0][0])
        assert connections.refused > 0
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"G", ASKING[:-2], b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20])
async def test_a_head_that_does_not_come(api: Api, sent: bytes) -> None:
    async with listening(api) as (connections, address):
        connections.head_seconds = 0.05
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        assert await is_over(reader)
        await until(lambda: len(connections) == 0)
        writer.close()


async def test_a_head_may_come_in_pieces(api: Api) -> None:
    async with listening(api) as (connections, address):
        reader, writer = await asyncio.open_connection(*address)
        for at in range(len(ASKING)):
            writer.write(ASKING[at : at + 1])
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        await until(lambda: len(connections) == 0)


async def test_a_body_that_does_not_come(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_BODY_SECONDS", 0.05)
    monkeypatch.setattr(dispatch, "_SLOWEST", 1e12)
    async with listening(api) as (_, address):
        reader, writer = await asyncio.open_connection(*address)
        head = f"POST {V5}/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(30):
            assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
            assert b"took too long" in await reader.readuntil(b"}")
        writer.close()


async def test_an_answer_that_is_not_taken(api: Api) -> None:
    async with listening(api) as (connections, address):
        connections.stall_seconds = 0.05
        reader, writer = await asyncio.open_connection(*address, limit=1)
        writer.transport.pause_reading()
        asset = b"GET /api-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(asset * 20)
        await until(lambda: len(connections) == 1)
        await until(lambda: len(connections) == 0)
        writer.transport.abort()
        assert reader is not None


async def test_a_server_that_ends_leaves_no_connection(api: Api) -> None:
    async with listening(api) as (connections, address):
        reader, writer = await ask(address)
        silent, other = await asyncio.open_connection(*address)
        await until(lambda: len(connections) == 2)
    assert await is_over(reader)
    assert await is_over(silent)
    await until(lambda: len(connections) == 0)
    writer.close()
    other.close()
