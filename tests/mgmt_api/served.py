"""The API of a broker that a test runs by itself, as one administrator calls it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from wardenmq.broker.broker import Broker
from wardenmq.mgmt_api.application import create_application, create_runner
from wardenmq.store.directory import Directory

from .callers import V5, basic

_SHUTDOWN_SECONDS = 1.0


class ServedServer(TestServer):
    """Serve as the server itself does; aiohttp's own test server unpacks bodies, and logs differently."""

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return create_runner(self.app, shutdown_timeout=_SHUTDOWN_SECONDS)


def served(application: web.Application) -> TestClient[Any, Any]:
    """Serve an application while the client that is returned is entered."""
    return TestClient(ServedServer(application))


Caller: TypeAlias = Callable[..., Awaitable[tuple[int, Any]]]


@asynccontextmanager
async def over(broker: Broker) -> AsyncIterator[Caller]:
    """Serve the API with a directory of its own, and give what calls it: method, path, body to status and answer."""
    directory = await Directory.open(":memory:")
    key, secret = await directory.create_api_key("administrator", "administrator")
    async with served(create_application(broker=broker, directory=directory)) as http:

        async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            headers = basic(key.api_key, secret)
            async with http.request(method, V5 + path, json=body, headers=headers) as response:
                data = await response.read()
                return response.status, json.loads(data) if data else None

        yield call
    await directory.close()
