"""Brokers for the MQTT 5 tests: clients of version 5, and of 3.1.1 and 3.1 beside them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings

from ...engine.brokers import ANONYMOUS, Clients, running_broker
from ...engine.conditions import until
from ...engine.packets5 import P, Properties
from ...engine.wire5 import Client5

FOR_EVER = 0xFFFFFFFF
KEPT: list[tuple[int, object]] = [(P.SESSION_EXPIRY, FOR_EVER)]
"""CONNECT properties of a client whose session is to be kept."""


class Clients5(Clients):
    """Open raw clients to one broker; `connected` and `pair` of the base class give 3.1.1 ones."""

    async def open5(self, *, read_limit: int = 2**16) -> Client5:
        """Open a connection on which nothing was sent yet."""
        client = await Client5.open(self.broker.addresses["default"], read_limit=read_limit)
        self._stack.callback(client.abort)
        assert isinstance(client, Client5)
        return client

    async def connected5(self, client_id: str = "", **fields: object) -> Client5:
        """Open a connection whose CONNECT was accepted."""
        client = await self.open5()
        await client.connect(client_id, **fields)
        return client

    async def subscribed5(self, client_id: str, *filters: tuple[str, int], properties: Properties = ()) -> Client5:
        """Open a connection that subscribes to these filters, which must be granted as asked."""
        client = await self.connected5(client_id, properties=properties)
        assert await client.subscribe(*filters) == [byte & 3 for _, byte in filters]
        return client

    async def pair5(self, *filters: tuple[str, int]) -> tuple[Client5, Client5]:
        """Open a publisher, and a subscriber to these filters."""
        subscriber = await self.subscribed5("subscriber", *filters)
        return await self.connected5("publisher"), subscriber

    def session(self, client_id: str) -> Session:
        """Give the broker's session of a client id, which must exist."""
        session = self.broker.registry.get(client_id)
        assert session is not None, f"no session of {client_id!r}"
        return session

    async def gone(self, client_id: str) -> None:
        """Wait until no connection carries this client's session, whether or not the session is left."""
        registry = self.broker.registry
        await until(lambda: (session := registry.get(client_id)) is None or not session.connected)

    async def away(self, client_id: str, *filters: tuple[str, int], properties: Properties = KEPT) -> None:
        """Leave a session with these subscriptions behind."""
        client = await self.connected5(client_id, properties=properties)
        if filters:
            await client.subscribe(*filters)
        await client.disconnect()
        await self.gone(client_id)

    async def back(self, client_id: str, *, present: bool = True, properties: Properties = KEPT) -> Client5:
        """Take up a session that was left behind."""
        client = await self.open5()
        connack = await client.connect(client_id, clean=False, properties=properties)
        assert connack.session_present is present
        return client


@asynccontextmanager
async def serving5(
    settings: MqttSettings | None = None, plugins: Mapping[str, Mapping[str, Any]] | None = None
) -> AsyncIterator[Clients5]:
    """Run a broker and open clients to it; anonymous clients are let in unless `plugins` says otherwise."""
    async with running_broker(ANONYMOUS if plugins is None else plugins, settings) as broker, AsyncExitStack() as stack:
        yield Clients5(broker, stack)
