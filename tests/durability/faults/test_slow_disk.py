"""A slow disk: what must be on it waits for it, and nothing else does.

What waits is told by counting what the disk has begun and ended, not by a clock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ...engine.wire import PUBACK, PUBCOMP, PUBREC, PUBREL, Client, acknowledge, publish
from .served import Served, serving
from .test_disk_full import unanswered

MESSAGES = 200
LONG = bytes(100_000)
LOG_SIZE = 16 * 2**20
"""Bytes of log about which SQLite moves it into the file."""
SECONDS = 0.5
EXCHANGES = 20
"""How many messages there and back at least while the disk is busy, in as many seconds as it takes."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that waits for the disk with each commit, and a session that is owed what is published to `owed/#`."""
    async with serving(tmp_path, durability="power") as running:
        await running.absent("owed", ("owed/#", 2))
        publisher = await running.client("before")
        await publisher.publish("owed/before", b"before", 1)
        yield running


class Pair:
    """A publisher and a subscriber with clean sessions."""

    def __init__(self, publisher: Client, subscriber: Client) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        self._number = 0

    @classmethod
    async def of(cls, served: Served, qos: int) -> "Pair":
        publisher, subscriber = await served.client(f"p{qos}"), await served.client(f"s{qos}")
        await subscriber.subscribe((f"clean/{qos}", qos))
        return cls(publisher, subscriber)

    async def exchange(self, qos: int) -> None:
        """Have one message go all the way, acknowledgements included."""
        self._number += 1
        payload = b"%d" % self._number
        await self._publisher.publish(f"clean/{qos}", payload, qos)
        assert (await self._subscriber.message()).payload == payload


@asynccontextmanager
async def one_held_sync(served: Served) -> AsyncIterator[int]:
    """Hold the disk up from its next sync on, which must come of what was sent last; give how many had ended."""
    ended = await served.disk.count("sync ended")
    await served.disk.reached("sync begun", ended + 1)
    yield ended
    assert await served.disk.count("sync ended") == ended


# -- what waits


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_publisher_is_answered_after_the_sync_that_keeps_its_message(served: Served, qos: int) -> None:
    publisher = await served.client("publisher")
    await served.disk.hold("sync")
    publisher.send(publish("owed/a", b"a", qos, 5))
    async with one_held_sync(served) as ended:
        await unanswered(publisher)
    await served.disk.hold()
    assert (await publisher.expect(PUBACK if qos == 1 else PUBREC)).packet_id == 5
    assert await served.disk.count("sync ended") > ended
    if qos == 2:
        publisher.send(acknowledge(PUBREL, 5))
        assert (await publisher.expect(PUBCOMP)).packet_id == 5


async def test_what_comes_during_a_sync_waits_for_the_next_one(served: Served) -> None:
    early = await served.client("early")
    late = [await served.client(f"late{number}") for number in range(10)]
    await served.disk.hold("sync")
    early.send(publish("owed/a", b"early", 1, 1))
    async with one_held_sync(served):
        for number, client in enumerate(late):
            client.send(publish("owed/a", b"%d" % number, 1, 1))
            await unanswered(client)
    await served.disk.let("sync")
    await early.expect(PUBACK)
    async with one_held_sync(served) as ended:
        for client in late:
            await unanswered(client)
    await served.disk.hold()
    for client in late:
        await client.expect(PUBACK)
    # One after the other they would have taken ten; the time is written now and then, too.
    assert await served.disk.count("sync ended") <= ended + 3


async def test_a_session_is_promised_after_the_sync_that_keeps_it(served: Served) -> None:
    subscriber = await served.client("subscriber", clean=False)
    await served.disk.hold("sync")
    answered = asyncio.create_task(subscriber.subscribe(("t", 1)))
    async with one_held_sync(served):
        await (await Pair.of(served, 1)).exchange(1)
        assert not answered.done()
    await served.disk.hold()
    assert await answered == [1]


# -- what does not


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_clean_sessions_exchange_messages_during_one_sync(served: Served, qos: int) -> None:
    waiting, pair = await served.client("waiting"), await Pair.of(served, qos)
    await served.disk.hold("sync")
    waiting.send(publish("owed/a", b"a", 1, 1))
    async with one_held_sync(served):
        for _ in range(MESSAGES):
            await pair.exchange(qos)
        await unanswered(waiting)
        await (await Pair.of(served, qos)).exchange(qos)  # clients that come now
        assert (await served.health())[0] == 200
    await served.disk.hold()
    await waiting.expect(PUBACK)


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_clean_sessions_do_not_wait_where_the_log_is_moved(tmp_path: Path, operation: str) -> None:
    """Without a power failure to survive, SQLite waits for the disk only when it moves its log into the file."""
    async with serving(tmp_path, durability="process", mqtt={"max_mqueue_len": 0, "max_mqueue_bytes": 0}) as served:
        await served.absent("owed", ("owed/#", 1))
        publisher, pair = await served.client("publisher"), await Pair.of(served, 1)
        await served.disk.hold(f"{operation}:main" if served.disk.knows_files else operation)
        begun, ended = [await served.disk.count(f"{operation}:main {state}") for state in ("begun", "ended")]
        sent = range(1, LOG_SIZE // len(LONG) * 2)
        publisher.send(*(publish("owed/a", LONG, 1, packet_id) for packet_id in sent))
        while await served.disk.count(f"{operation}:main begun") == begun:
            await pair.exchange(1)
        for _ in range(MESSAGES):
            await pair.exchange(1)
        assert await served.disk.count(f"{operation}:main ended") == ended
        await served.disk.hold()
        assert [(await publisher.expect(PUBACK)).packet_id for _ in sent] == [*sent]


@pytest.mark.parametrize("qos", [0, 1])
async def test_clean_sessions_exchange_messages_while_each_sync_takes_half_a_second(served: Served, qos: int) -> None:
    pair, publisher = await Pair.of(served, qos), await served.client("publisher")
    await served.disk.delay(sync=SECONDS)
    stop = asyncio.Event()

    async def publish_on() -> int:
        sent = 0
        while not stop.is_set():
            before = await served.disk.count("sync ended")
            await publisher.publish("owed/a", b"%d" % sent, 1)
            assert await served.disk.count("sync ended") > before
            sent += 1
        return sent

    publishing = asyncio.create_task(publish_on())
    during = 0
    async with asyncio.timeout(60):
        while during < EXCHANGES * 3:
            begun = await served.disk.count("sync begun")
            await pair.exchange(qos)
            during += begun > await served.disk.count("sync ended")
    stop.set()
    assert await publishing >= 1
    await served.disk.delay()


# -- what is left


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_power_failure_takes_nothing_that_was_acknowledged(served: Served, qos: int) -> None:
    """The server is killed while publishers send, and what the disk had not been asked to keep is gone."""
    acknowledged: set[bytes] = set()

    async def publish_on(name: str) -> None:
        client = await served.client(name)
        for number in range(10**6):
            payload = f"{name} {number}".encode()
            await client.publish("owed/a", payload, qos)
            acknowledged.add(payload)

    publishing = [asyncio.create_task(publish_on(f"publisher{number}")) for number in range(5)]
    async with asyncio.timeout(60):
        while len(acknowledged) < MESSAGES:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await served.disk.hold("sync")
    ended = await served.disk.count("sync ended")
    await served.disk.reached("sync begun", ended + 1)
    await served.lose_power_and_restart()
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.IncompleteReadError | ConnectionError) for outcome in outcomes), outcomes

    last, reader = await served.client("last"), await served.client("owed", clean=False)
    await last.publish("owed/last", b"last", 2)
    received: list[bytes] = []
    while (message := await reader.message()).topic != "owed/last":
        received.append(message.payload)
    assert len(received) == len(set(received))
    assert acknowledged <= set(received)


async def test_a_power_failure_leaves_a_server_that_starts(tmp_path: Path) -> None:
    """What was not to survive it may be gone, but what is left is whole."""
    async with serving(tmp_path, durability="process") as served:
        await served.absent("owed", ("owed/#", 1))
        publisher = await served.client("publisher")
        for number in range(MESSAGES):
            await publisher.publish("owed/a", b"%d" % number, 1)
        await served.lose_power_and_restart()
        assert not list(served.data_dir.glob("sessions.db.damaged*"))
        await served.absent("owed", ("owed/#", 1))
        assert (await served.health())[0] == 200
