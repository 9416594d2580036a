"""A server that is killed while it starts on thousands of stored messages: nothing is lost, however often.

`tests/store/sessions/test_killed.py` has each step of opening the file; here it is the whole start of a real process.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from wardenmq.store.file_names import SESSIONS_NAME
from wardenmq.store.migrations import available
from wardenmq.store.sessions.opening import MIGRATIONS

from ..engine.packets5 import Packet5
from ..engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from ..engine.wire5 import Client5, acknowledge, publish
from ..spec.v5.serving import KEPT
from .crashing_servers import CrashingServer
from .ledger import Key, payload_of
from .persistent_clients import wait_for

RUNS, RUN = 100, 40
SINGLE = 500
QUEUED = RUNS * RUN + SINGLE
RETAINED = 500
IN_FLIGHT = 30
UNRELEASED = 20
SECOND_MIGRATION = """
CREATE TABLE later (id INTEGER PRIMARY KEY, topic TEXT, data BLOB);
INSERT INTO later SELECT id, topic, data FROM messages;
UPDATE messages SET topic = topic || '/moved';
UPDATE messages SET topic = substr(topic, 1, length(topic) - 6);
CREATE INDEX later_topic ON later (topic);
"""
"""Takes a while, and leaves everything as it was where it is carried out whole."""
WITH_MIGRATIONS = """
import sys
from pathlib import Path
from wardenmq.store.sessions import SessionStore
SessionStore.open.__func__.__kwdefaults__["folder"] = Path({folder!r})
from wardenmq.cli import main
main()
"""


class Stored:
    """A server with much to restore, and what that is."""

    def __init__(self, server: CrashingServer, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack
        self.in_flight: dict[int, bytes] = {}
        """What the client `flying` was sent and has not received, by packet identifier."""
        self.received: list[int] = []
        """The packet identifiers of what it has, with PUBREL owed."""
        self.lines = 0
        """Lines of log that a whole start writes."""
        self.start_seconds = 0.0
        """How long a start takes from its first line of log on."""

    async def client(self, client_id: str, *, present: bool | None = None) -> Client5:
        """Connect to a session that is kept."""
        place = self.server.place
        client = await Client5.open(await place.reachable())
        assert isinstance(client, Client5)
        self._stack.callback(client.abort)
        fields = {"username": place.username, "password": place.password}
        connack = await client.connect(client_id, clean=False, properties=KEPT, **fields)
        assert present is None or connack.session_present is present
        return client

    async def fill(self) -> None:
        """Have everything stored, and kill the server: nothing of it is in the file itself but all in the log."""
        await self.server.start()
        everything, flying = await self.client("everything"), await self.client("flying")
        await everything.subscribe(("q/#", 2))
        await flying.subscribe(("f", 2))
        await everything.disconnect()
        sender = await self.client("sender")
        await self._publish_queued(sender)
        for number in range(RETAINED):
            sender.send(publish(f"r/{number}", payload_of(Key(2, number), 100), 1, 1 + number, retain=True))
        for _ in range(RETAINED):
            assert (await sender.expect(PUBACK)).reason == 0x10
        await self._fly(sender, flying)
        for number in range(UNRELEASED):
            sender.send(publish("q/last", payload_of(Key(3, number), 50), 2, 10_000 + number))
        for _ in range(UNRELEASED):
            await sender.expect(PUBREC)
        await self.server.kill()

    async def _publish_queued(self, sender: Client5) -> None:
        for run in range(RUNS):
            numbers = range(run * RUN, (run + 1) * RUN)
            sender.send(*(publish(f"q/{run % 7}", self.queued(number), 1, 1 + number) for number in numbers))
        for number in range(RUNS * RUN, QUEUED):
            sender.send(publish(f"q/{number % 7}", self.queued(number), 1, 1 + number))
        for number in range(QUEUED):
            assert (await sender.expect(PUBACK)).packet_id == 1 + number

    @staticmethod
    def queued(number: int) -> bytes:
        """Give the payload of a queued message: those of a run are of one size."""
        return payload_of(Key(1, number), 20 + number // RUN % 13 * 100 + (number if number >= RUNS * RUN else 0) % 50)

    async def _fly(self, sender: Client5, flying: Client5) -> None:
        for number in range(IN_FLIGHT):
            sender.send(publish("f", payload_of(Key(4, number), 30), 2, 20_000 + number))
        for number in range(IN_FLIGHT):
            assert (await sender.expect(PUBREC)).packet_id == 20_000 + number
        sender.send(*(acknowledge(PUBREL, 20_000 + number) for number in range(IN_FLIGHT)))
        for _ in range(IN_FLIGHT):
            await sender.expect(PUBCOMP)
            got = await flying.expect(PUBLISH)
            self.in_flight[got.packet_id] = got.payload
        self.received = [*self.in_flight][::3]
        for packet_id in self.received:
            del self.in_flight[packet_id]
            flying.send(acknowledge(PUBREC, packet_id))
            assert (await flying.expect(PUBREL)).packet_id == packet_id

    # -- kills

    async def measure(self) -> None:
        """Take the time of a whole start, and kill the server after it."""
        await self.server.launch()
        await self.logged(1)
        began = monotonic()
        await self._ready()
        self.start_seconds = monotonic() - began
        self.lines = self._line_count()
        await self.server.kill()

    async def _ready(self) -> None:
        assert self.server.process is not None
        await self.server.process.wait_ready()

    def _line_count(self) -> int:
        return 0 if self.server.process is None else self.server.process.errors.count("\n")

    async def logged(self, lines: int) -> None:
        """Wait until a start has written that many lines of log."""
        await wait_for(lambda: self._line_count() >= lines, lambda: f"line {lines} of\n{self.server.log}")

    # -- what must be there

    async def check(self) -> None:
        """Start the server for good and take everything."""
        await self.server.start()
        await self._check_retained()
        await self._check_flying()
        await self._check_unreleased()
        await self._check_queued()
        await self.server.stop()
        assert "Traceback" not in self.server.log, self.server.log

    async def _check_queued(self) -> None:
        client = await self.client("everything", present=True)
        for number in range(QUEUED):
            got = await client.message()
            assert (got.payload, got.topic) == (self.queued(number), f"q/{self._line(number)}")
        for number in range(UNRELEASED):
            assert (await received(client)).payload == payload_of(Key(3, number), 50)
        await client.nothing_came()

    @staticmethod
    def _line(number: int) -> int:
        return (number // RUN if number < RUNS * RUN else number) % 7

    async def _check_retained(self) -> None:
        client = await self.client("new", present=False)
        await client.subscribe(("r/#", 1))
        found = {got.topic: got.payload for got in [await client.message() for _ in range(RETAINED)]}
        assert found == {f"r/{number}": payload_of(Key(2, number), 100) for number in range(RETAINED)}

    async def _check_flying(self) -> None:
        client = await self.client("flying", present=True)
        released: list[int] = []
        sent: dict[int, bytes] = {}
        while len(released) + len(sent) < IN_FLIGHT:
            got = await client.read()
            if got.kind == PUBREL:
                released.append(got.packet_id)
                client.send(acknowledge(PUBCOMP, got.packet_id))
            else:
                assert got.dup
                sent[got.packet_id] = got.payload
                client.send(acknowledge(PUBREC, got.packet_id))
                self.received.append(got.packet_id)
            if got.kind == PUBREL and got.packet_id in sent:
                raise AssertionError(f"{got} before all was sent again")
        assert sorted(sent.items()) == sorted(self.in_flight.items())
        assert released == self.received[: len(released)]

    async def _check_unreleased(self) -> None:
        """What was received once is not delivered again, whether the sender knows of the PUBREC or not."""
        sender = await self.client("sender", present=True)
        for number in range(UNRELEASED):
            if number % 2:
                sender.send(publish("q/last", payload_of(Key(3, number), 50), 2, 10_000 + number, dup=True))
                assert (await sender.expect(PUBREC)).packet_id == 10_000 + number
            sender.send(acknowledge(PUBREL, 10_000 + number))
            done = await sender.expect(PUBCOMP)
            assert (done.packet_id, done.reason) == (10_000 + number, 0)


async def received(client: Client5) -> Packet5:
    """Take a QoS 2 message to the end of its handshake, whatever other messages come meanwhile."""
    got = await client.expect(PUBLISH)
    client.send(acknowledge(PUBREC, got.packet_id))
    assert (await client.expect(PUBREL)).packet_id == got.packet_id
    client.send(acknowledge(PUBCOMP, got.packet_id))
    return got


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Stored]:
    server = CrashingServer(tmp_path, log_level="debug")
    async with AsyncExitStack() as stack:
        filled = Stored(server, stack)
        try:
            await filled.fill()
            yield filled
        finally:
            await server.end()


async def test_killed_after_each_line_of_the_log(stored: Stored) -> None:
    await stored.measure()
    assert stored.lines > 4
    for lines in range(1, stored.lines + 1):
        await stored.server.launch()
        await stored.logged(lines)
        await stored.server.kill()
    await stored.check()


async def test_killed_at_any_moment_of_the_start(stored: Stored) -> None:
    random = Random(3)
    await stored.measure()
    for _ in range(6):
        await stored.server.launch()
        await stored.logged(1)
        await asyncio.sleep(random.uniform(0, stored.start_seconds))
        await stored.server.kill()
    await stored.check()


async def test_killed_while_it_migrates(stored: Stored, tmp_path: Path) -> None:
    """To a later schema, which this release does not have yet: a second migration is put beside the first."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / f"{len(available(folder)) + 1:04}_second.sql").write_text(SECOND_MIGRATION)
    old = tmp_path / "old"
    shutil.copytree(stored.server.data, old)
    path = stored.server.data / SESSIONS_NAME
    before = version(path)
    assert before == len(available(MIGRATIONS))
    stored.server.python = ("-c", WITH_MIGRATIONS.format(folder=str(folder)))
    random = Random(4)
    for _ in range(6):
        if version(path) > before:  # killed too late: once more from the beginning
            shutil.rmtree(stored.server.data)
            shutil.copytree(old, stored.server.data)
        await stored.server.launch()
        await wait_for(copying(path), lambda: f"a migration\n{stored.server.log}")
        await asyncio.sleep(random.uniform(0, 0.1))
        await stored.server.kill()
    await stored.check()
    assert version(path) == before + 1
    assert version(path.with_name(f"{path.name}.v{before}.bak")) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM later").fetchone()[0] >= RUNS + SINGLE


def copying(path: Path) -> Callable[[], bool]:
    """Give what tells when a start begins to migrate: it first makes a copy."""
    before = {found: found.stat().st_mtime_ns for found in path.parent.glob("*.bak*")}

    def begun() -> bool:
        now = {found: found.stat().st_mtime_ns for found in path.parent.glob("*.bak*")}
        return now != before

    return begun


def version(path: Path) -> int:
    """Read the schema's version, and leave the log as the kill left it."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]
