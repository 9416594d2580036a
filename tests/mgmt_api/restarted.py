"""A broker with a data directory that a test starts, and starts again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from wardenmq.broker.broker import Broker
from wardenmq.mgmt_api.application import create_application
from wardenmq.mgmt_api.configuration import Configuration, Governed
from wardenmq.mgmt_api.roots import ROOTS
from wardenmq.store.directory import Directory

from ..clocks import ignore_stalls
from ..engine.brokers import ANONYMOUS
from .callers import V5, basic
from .served import Caller


@asynccontextmanager
async def started(
    data_dir: Path, *, fixed: Mapping[str, Any] | None = None, plugins: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Caller, Broker]]:
    """Start it with what is stored in force, and give what calls its API, and the broker itself."""
    ignore_stalls()
    directory = await Directory.open(data_dir / "wardenmq.db")
    key, secret = await directory.create_api_key(f"key-{id(directory)}", "administrator")
    config = {
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
        "plugins": dict(ANONYMOUS if plugins is None else plugins),
    }
    broker = Broker(config, directory=directory)
    broker.settings = replace(broker.settings, shutdown_timeout=0.0)
    configuration = Configuration(Governed(broker, directory, data_dir=data_dir, fixed=fixed or {}), ROOTS)
    await configuration.load()
    await broker.start()
    application = create_application(broker=broker, directory=directory, configuration=configuration, data_dir=data_dir)
    try:
        async with TestClient(TestServer(application)) as http:

            async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                async with http.request(method, V5 + path, json=body, headers=basic(key.api_key, secret)) as response:
                    data = await response.read()
                    return response.status, await response.json(content_type=None) if data else None

            yield call, broker
    finally:
        await broker.shutdown()
        await directory.close()
