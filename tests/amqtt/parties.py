"""Run stock amqtt's broker or ours on the same configuration, for one test to show that they do the same."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import amqtt.broker
from amqtt.plugins.base import BasePlugin
from wardenmq.broker.broker import Broker

from ..clocks import ignore_stalls
from ..engine.wire import Client
from .plugins import AdmitAll, path_of

P = TypeVar("P", bound=BasePlugin[Any])

STOCK = amqtt.broker.Broker
BOTH: tuple[type[amqtt.broker.Broker], ...] = (STOCK, Broker)
NAMES = {STOCK: "amqtt", Broker: "wardenmq"}
OPEN: dict[str, dict[str, Any]] = {path_of(AdmitAll): {}}


class Party:
    """A running broker of either kind and raw clients of it."""

    def __init__(self, broker: amqtt.broker.Broker, stack: AsyncExitStack) -> None:
        self.broker = broker
        self._stack = stack

    @property
    def address(self) -> tuple[str, int]:
        """The address of the default listener; stock amqtt has no public way to ask for it."""
        if isinstance(self.broker, Broker):
            return self.broker.addresses["default"]
        host, port = self.broker._servers["default"].instance.sockets[0].getsockname()[:2]  # type: ignore[attr-defined,union-attr]
        return host, port

    def plugin(self, kind: type[P]) -> P:
        """Give a plugin that was loaded."""
        plugin = self.broker.plugins_manager.get_plugin(kind.__name__)
        assert isinstance(plugin, kind)
        return plugin

    async def open(self) -> Client:
        """Open a connection on which nothing was sent yet."""
        client = await Client.open(self.address)
        self._stack.callback(client.abort)
        return client

    async def connected(self, client_id: str, **fields: object) -> Client:
        """Open a connection whose CONNECT was accepted."""
        client = await self.open()
        await client.connect(client_id, **fields)
        return client


@asynccontextmanager
async def running(
    kind: type[amqtt.broker.Broker], plugins: Mapping[str, Mapping[str, Any]] | None = None, **config: Any
) -> AsyncIterator[Party]:
    """Run a broker of this kind; everybody is let in unless `plugins` says otherwise."""
    chosen = {name: dict(options) for name, options in (OPEN if plugins is None else plugins).items()}
    ignore_stalls()
    broker = kind({"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}, "plugins": chosen, **config})
    await broker.start()
    try:
        async with AsyncExitStack() as stack:
            yield Party(broker, stack)
    finally:
        await broker.shutdown()
