"""One broker after the other on one file of sessions, in this process: stopped, or as a crash leaves it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from wardenmq.broker.broker import Broker
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.sessions import SessionStore

from ..clocks import WallClock
from ..engine.brokers import ANONYMOUS
from ..engine.conditions import until
from ..engine.packets5 import Properties
from ..engine.wire import Client
from ..engine.wire5 import Client5
from ..spec.v5.serving import KEPT

ENDS = ("stopped", "crashed", "stopped twice", "crashed twice")
"""How the first broker ends; the second of those that are restarted twice has no client."""


class Lives:
    """Own the broker of the moment, its store and the raw clients to it."""

    def __init__(self, folder: Path, end: str, clock: WallClock, settings: MqttSettings | None = None) -> None:
        self.settings = settings
        self.clock = clock
        self.crashes = end.startswith("crashed")
        self._times = 2 if end.endswith("twice") else 1
        self._folder = folder
        self._life = 0
        self._stack = AsyncExitStack()
        self.broker: Broker
        self._store: SessionStore

    @property
    def path(self) -> Path:
        """The file of the present broker."""
        return self._folder / f"sessions-{self._life}.db"

    async def start(self) -> None:
        """Start a broker on what is there."""
        self._store = await SessionStore.open(self.path, "process", clock=self.clock)
        config = {"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}, "plugins": dict(ANONYMOUS)}
        self.broker = Broker(config, settings=self.settings, journal=self._store)
        await self.broker.start()

    async def end(self) -> None:
        """Stop the broker."""
        await self._stack.aclose()
        await self.broker.shutdown()
        await self._store.close()

    async def restart(self, *, after: float = 0.0) -> None:
        """End the broker and start the next one, some seconds later by the clock.

        A crash keeps what is committed at this moment; everything that is acknowledged to anybody must be.
        """
        for _ in range(self._times):
            if self.crashes:
                await self._crash()
            else:
                await self.end()
            self.clock.advance(after / self._times)
            await self.start()

    async def _crash(self) -> None:
        """Take up the file as another process would find it, had this one been killed now."""
        before = self.path
        self._life += 1
        with closing(sqlite3.connect(before)) as source, closing(sqlite3.connect(self.path)) as target:
            source.backup(target)
        await self.end()

    # -- clients

    async def open(self) -> Client:
        """Open a connection for a 3.1.1 client."""
        client = await Client.open(self.broker.addresses["default"])
        self._stack.callback(client.abort)
        return client

    async def open5(self) -> Client5:
        """Open a connection for a client of version 5."""
        client = await Client5.open(self.broker.addresses["default"])
        assert isinstance(client, Client5)
        self._stack.callback(client.abort)
        return client

    async def connected(self, client_id: str, *, clean: bool = False, **fields: object) -> Client:
        """Connect a 3.1.1 client."""
        client = await self.open()
        await client.connect(client_id, clean=clean, **fields)
        return client

    async def connected5(self, client_id: str, properties: Properties = KEPT, **fields: object) -> Client5:
        """Connect a client of version 5 for the first time, with a session that is kept unless said otherwise."""
        client = await self.open5()
        assert not (await client.connect(client_id, properties=properties, **fields)).session_present
        return client

    async def back(self, client_id: str) -> Client:
        """Take up a 3.1.1 session, which must be there."""
        client = await self.open()
        assert await client.connect(client_id, clean=False)
        return client

    async def back5(
        self, client_id: str, properties: Properties = KEPT, *, present: bool = True, **fields: object
    ) -> Client5:
        """Take up a session of version 5."""
        client = await self.open5()
        connack = await client.connect(client_id, clean=False, properties=properties, **fields)
        assert connack.session_present is present
        return client

    async def away5(self, client_id: str, *filters: tuple[str, int], properties: Properties = KEPT) -> None:
        """Leave a session with subscriptions behind."""
        client = await self.connected5(client_id, properties)
        if filters:
            await client.subscribe(*filters)
        await self.leave(client, client_id)

    async def leave(self, client: Client, client_id: str) -> None:
        """Disconnect, and wait until that is written."""
        await client.disconnect()
        await until(lambda: not self.session(client_id).connected)
        await self.written()

    async def publisher(self) -> Client5:
        """Connect a client that publishes and has no session to be kept."""
        return await self.connected5("", ())

    async def publish(self, topic: str, payload: bytes = b"", qos: int = 1, **fields: object) -> None:
        """Publish to the end of the handshake."""
        publisher = await self.publisher()
        assert await publisher.publish(topic, payload, qos, **fields) in (0, 0x10)  # type: ignore[arg-type]
        await publisher.disconnect()

    async def written(self) -> None:
        """Wait until everything that happened so far is on the disk, nobody's acknowledgement being waited for."""
        client = await self.open5()
        await client.connect("written", clean=False, properties=KEPT)
        await client.subscribe(("written", 1))
        await client.unsubscribe("written")
        await client.disconnect()

    async def nothing_more(self, client: Client, topic: str) -> None:
        """Assert that a subscriber to this topic, or to a filter that matches it, is owed nothing: the next is new."""
        await self.publish(topic, b"the next one")
        got = await client.message()
        assert (got.payload, got.dup) == (b"the next one", False), got

    def session(self, client_id: str) -> Session:
        """Give a session, which must be there."""
        session = self.broker.registry.get(client_id)
        assert session is not None, f"no session of {client_id!r}"
        return session


@asynccontextmanager
async def living(
    folder: Path, end: str, clock: WallClock, settings: MqttSettings | None = None
) -> AsyncIterator[Lives]:
    """Run a broker and those after it; the last one is stopped at the end."""
    lives = Lives(folder, end, clock, settings)
    await lives.start()
    try:
        yield lives
    finally:
        await lives.end()
