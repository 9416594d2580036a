from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import web
from wardenmq.broker.settings import MqttSettings
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN
from wardenmq.mgmt_api.application import create_application, create_runner
from wardenmq.mgmt_api.settings import ApiSettings
from wardenmq.store.directory import Directory

from ..engine.brokers import serving
from .callers import Api, basic
from .operators import Operator
from .served import served

ROLES = ("administrator", "viewer", "publisher")


@pytest_asyncio.fixture
async def directory() -> AsyncIterator[Directory]:
    """Give a new directory."""
    opened = await Directory.open(":memory:")
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def api(directory: Directory) -> AsyncIterator[Api]:
    """Give the API of a broker that lets anonymous clients do everything, with a key for each role."""
    limits = MqttSettings(max_packet_size=1_000, session_expiry_interval=7_200)
    async with serving(settings=limits, directory=directory) as mqtt:
        application = create_application(
            broker=mqtt.broker, directory=directory, settings=ApiSettings(max_body_size=20_000, max_rules=5)
        )
        async with served(application) as http:
            keys = {role: await directory.create_api_key(role, role) for role in ROLES}
            caller = Api(
                http, mqtt, directory, {role: basic(key.api_key, secret) for role, (key, secret) in keys.items()}
            )
            yield caller
            for client in caller.opened:
                client.abort()


@pytest_asyncio.fixture
async def address(api: Api) -> AsyncIterator[tuple[str, int]]:
    """Serve the API as the server does; aiohttp's test server cancels handlers and logs differently."""
    runner = create_runner(create_application(broker=api.mqtt.broker, directory=api.directory), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0]
    await runner.cleanup()


@pytest_asyncio.fixture
async def operator(directory: Directory) -> AsyncIterator[Operator]:
    """Give the operator's API of a broker that holds its clients to the directory, and lets anonymous ones in."""
    plugins = {CREDENTIAL_PLUGIN: {"allow_anonymous": True}, TOPIC_ACL_PLUGIN: {}}
    async with serving(plugins, directory=directory) as mqtt:
        settings = ApiSettings(max_body_size=20_000)
        application = create_application(broker=mqtt.broker, directory=directory, settings=settings)
        async with served(application) as http:
            yield Operator(http, mqtt, directory, await directory.create_operator_token())
