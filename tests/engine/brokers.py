"""Start brokers for a test: a free port, the plugins that the test names, everything closed at the end."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from wardenmq.broker.broker import Broker
from wardenmq.broker.settings import MqttSettings

from ..clocks import ignore_stalls
from .wire import Client

ANONYMOUS: dict[str, dict[str, Any]] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


@asynccontextmanager
async def running_broker(
    plugins: Mapping[str, Mapping[str, Any]] | None = None,
    settings: MqttSettings | None = None,
    directory: object | None = None,
) -> AsyncIterator[Broker]:
    """Run a broker on a free port; anonymous clients are let in unless `plugins` says otherwise."""
    config = {
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
        "plugins": {name: dict(options) for name, options in (ANONYMOUS if plugins is None else plugins).items()},
    }
    ignore_stalls()
    broker = Broker(config, settings=settings, directory=directory)
    broker.settings = replace(broker.settings, shutdown_timeout=0.0)  # clients of tests leave what they like unread
    await broker.start()
    try:
        yield broker
    finally:
        await broker.shutdown()


class Clients:
    """Open raw clients to one broker and break what is left of them at the end."""

    def __init__(self, broker: Broker, stack: AsyncExitStack) -> None:
        self.broker = broker
        self._stack = stack

    async def open(self, *, read_limit: int = 2**16) -> Client:
        """Open a connection on which nothing was sent yet."""
        client = await Client.open(self.broker.addresses["default"], read_limit=read_limit)
        self._stack.callback(client.abort)
        return client

    async def connected(self, client_id: str = "", **fields: object) -> Client:
        """Open a connection whose CONNECT was accepted."""
        client = await self.open()
        await client.connect(client_id, **fields)
        return client

    async def pair(self, *filters: tuple[str, int]) -> tuple[Client, Client]:
        """Open a publisher, and a subscriber to these filters."""
        subscriber = await self.connected("subscriber")
        assert await subscriber.subscribe(*filters) == [qos for _, qos in filters]
        return await self.connected("publisher"), subscriber


@asynccontextmanager
async def serving(
    plugins: Mapping[str, Mapping[str, Any]] | None = None,
    settings: MqttSettings | None = None,
    directory: object | None = None,
) -> AsyncIterator[Clients]:
    """Run a broker and open clients to it."""
    async with running_broker(plugins, settings, directory) as broker, AsyncExitStack() as stack:
        yield Clients(broker, stack)
