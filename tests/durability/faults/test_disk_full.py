"""A disk that is full or broken while the server runs: who is told what, who notices nothing, and what is left."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ...engine.conditions import until
from ...engine.wire import PUBACK, PUBCOMP, PUBREC, PUBREL, Client, acknowledge, publish
from .served import Served, serving

FULL, BROKEN = 0x97, 0x83
FAULTS = {
    "full": ("process", {"write": "ENOSPC"}, FULL),
    "broken": ("process", {"write": "EIO"}, BROKEN),
    "broken at sync": ("power", {"sync": "EIO"}, BROKEN),
}
MESSAGES = 50
UNWRITTEN = 1_048_576


class Story:
    """A server whose disk fails, with a session away that is owed all that is published to `owed/#`."""

    def __init__(self, served: Served, orders: dict[str, str], reason: int) -> None:
        self.served = served
        self.reason = reason
        self._orders = orders

    async def break_disk(self) -> None:
        """Let the disk fail and wait until the server knows, by a publisher that is not answered then."""
        await self.served.disk.fail(**self._orders)
        self.first = await self.served.client("first")
        self.first.send(publish("owed/first", b"first", 1, 1))
        await self.served.failing()

    async def mend_disk(self) -> None:
        """Let the disk work and wait until the server says so."""
        await self.served.disk.fail()
        await self.served.whole_again()

    async def fails_again(self, count: int) -> None:
        """Wait until the server has tried in vain so many times more."""
        (operation,) = self._orders
        await self.served.disk.more(f"{operation} failed", count)

    async def read(self) -> list[tuple[str, bytes]]:
        """Give what the session is owed, up to a last message that is published for it now."""
        publisher = await self.served.client("last")
        await publisher.publish("owed/last", b"last", 2)
        reader = await self.served.client("owed", clean=False)
        messages: list[tuple[str, bytes]] = []
        while not messages or messages[-1] != ("owed/last", b"last"):
            message = await reader.message()
            messages.append((message.topic, message.payload))
        await reader.nothing_came()
        return messages[:-1]


@pytest.fixture(params=FAULTS)
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Story]:
    """The story of each fault."""
    durability, orders, reason = FAULTS[request.param]
    async with serving(tmp_path, durability=durability) as served:
        await served.absent("owed", ("owed/#", 2))
        yield Story(served, orders, reason)


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Story]:
    """The story of a full disk, where little may wait in memory."""
    _, orders, reason = FAULTS["full"]
    async with serving(tmp_path, mqtt={"max_unwritten_bytes": UNWRITTEN, "shutdown_timeout": 1.0}) as served:
        await served.absent("owed", ("owed/#", 2))
        yield Story(served, orders, reason)


async def unanswered(client: Client) -> None:
    """Assert that the server has answered nothing to what the client sent before."""
    client.send(b"\xc0\x00")
    got = await client.read()
    assert got.kind == 13, f"expected PINGRESP, got {got}"


# -- who is told what


async def test_publishers_of_3_1_1_wait_and_are_answered_on_the_same_connection(each: Story) -> None:
    await each.break_disk()
    second = await each.served.client("second")
    second.send(publish("owed/second", b"one", 1, 7), publish("owed/second", b"two", 2, 8))
    await unanswered(second)
    await each.fails_again(2)
    await unanswered(each.first)
    await unanswered(second)

    await each.served.disk.fail()
    assert (await each.first.expect(PUBACK)).packet_id == 1
    assert (await second.expect(PUBACK)).packet_id == 7
    assert (await second.expect(PUBREC)).packet_id == 8
    second.send(acknowledge(PUBREL, 8))
    assert (await second.expect(PUBCOMP)).packet_id == 8
    await each.served.kill_and_restart()
    assert sorted(await each.read()) == [("owed/first", b"first"), ("owed/second", b"one"), ("owed/second", b"two")]


async def test_publishers_of_5_are_told_and_may_try_again(each: Story) -> None:
    publisher = await each.served.client5("publisher")
    for qos in (1, 2):
        assert await publisher.publish("owed/a", b"before", qos) == 0
    await each.break_disk()
    for _ in range(3):
        for qos in (1, 2):
            assert await publisher.publish("owed/a", b"refused", qos) == each.reason
    await each.mend_disk()
    for qos in (1, 2):
        assert await publisher.publish("owed/a", b"after", qos) == 0
    await each.served.kill_and_restart()
    received = await each.read()
    assert received == [("owed/a", b"before")] * 2 + [("owed/first", b"first")] + [("owed/a", b"after")] * 2


async def test_retained_messages_that_cannot_be_kept_are_refused(full: Story) -> None:
    """They are to outlive the process, whoever subscribes to them."""
    publisher = await full.served.client5("publisher")
    assert await publisher.publish("kept", b"before", 1, retain=True) < 0x80
    await full.break_disk()
    assert await publisher.publish("kept", b"refused", 1, retain=True) == full.reason
    assert await publisher.publish("elsewhere", b"not retained", 1) < 0x80
    subscriber = await full.served.client("subscriber")
    await subscriber.subscribe(("kept", 1))
    assert (await subscriber.message()).payload == b"before"


async def test_subscriptions_that_cannot_be_kept_are_refused(each: Story) -> None:
    stored, stored5 = await each.served.client("s3", clean=False), await each.served.client5("s5", clean=False)
    await each.break_disk()
    assert await stored.subscribe(("t/1", 1), ("t/2", 0)) == [0x80, 0x80]
    assert await stored5.subscribe(("t/1", 1), ("t/2", 0)) == [each.reason] * 2
    passing, passing5 = await each.served.client("c3"), await each.served.client5("c5")
    assert await passing.subscribe(("t/1", 1)) == [1]
    assert await passing5.subscribe(("t/1", 2)) == [2]
    await each.mend_disk()
    assert await stored.subscribe(("t/1", 1)) == [1]
    assert await stored5.subscribe(("t/1", 1)) == [1]


# -- who notices nothing


async def test_clean_sessions_go_on(each: Story) -> None:
    publisher, subscriber = await each.served.client("p"), await each.served.client("s")
    await subscriber.subscribe(("t/#", 2))
    await each.break_disk()
    payloads = [b"%d" % number for number in range(MESSAGES)]
    for qos in range(3):
        await publisher.publish_all("t/a", payloads, qos)
        assert await subscriber.messages(MESSAGES) == payloads
    late = await each.served.client5("late")
    await late.subscribe(("t/#", 2))
    assert await late.publish("t/b", b"from 5", 1) == 0
    assert (await late.message()).payload == (await subscriber.message()).payload == b"from 5"
    assert (await each.served.health())[0] == 503


async def test_clients_with_sessions_come_and_go(full: Story) -> None:
    """Whether or not a session can be kept, it serves its client while it is there."""
    await full.served.absent("old", ("t/old", 0))
    await full.break_disk()
    old, new = await full.served.client("old", clean=False), await full.served.client5("new", clean=False)
    await old.publish("t/old", b"to itself")
    assert (await old.message()).payload == b"to itself"
    await new.publish("t/old", b"to another")
    assert (await old.message()).payload == b"to another"
    await old.disconnect()


async def test_publishers_are_not_read_past_what_may_wait_in_memory(full: Story) -> None:
    """They are held back by their sockets, all others are not, and all of it is kept in the end."""
    await full.break_disk()
    publisher = await full.served.client("publisher")
    payload = bytes(UNWRITTEN // 10)
    sent = [publish("owed/a", payload, 1, packet_id) for packet_id in range(1, 301)]
    publisher.send(*sent)
    waiting = asyncio.create_task(publisher.drain())
    clean = await full.served.client("clean")
    await clean.subscribe(("t", 1))
    for number in range(MESSAGES):
        await clean.publish("t", b"%d" % number, 1)
        assert (await clean.message()).payload == b"%d" % number
    await full.fails_again(2)
    assert not waiting.done(), "the server has read it all"
    await full.mend_disk()
    assert [(await publisher.expect(PUBACK)).packet_id for _ in sent] == [*range(1, 301)]
    await waiting


# -- what an operator sees


async def test_the_operator_is_told_once_and_when_it_is_over(each: Story) -> None:
    served = each.served
    assert (await served.health()) == (200, {"status": "ok", "problems": []})
    assert await served.alarms() == await served.alarms(activated=False) == []
    await each.break_disk()
    (alarm,) = await served.alarms()
    assert {"reason"} <= alarm["details"].keys()
    status, health = await served.health()
    assert (status, health["status"]) == (503, "degraded")
    (problem,) = health["problems"]
    assert (problem["name"], problem["message"]) == (alarm["name"], alarm["message"])
    assert str(served.data_dir) not in str(health)
    await each.fails_again(3)
    assert served.process.errors.count("cannot be written to the disk: ") == 1
    await each.mend_disk()
    assert (await served.health()) == (200, {"status": "ok", "problems": []})
    assert await served.alarms() == []
    (over,) = await served.alarms(activated=False)
    assert over["name"] == alarm["name"]
    assert "Traceback" not in served.process.errors


# -- what is left


async def test_all_that_was_acknowledged_is_there_after_many_faults(each: Story) -> None:
    """Publishers send all the while, the disk fails and works by turns, and the server is killed in the end."""
    acknowledged: set[bytes] = set()
    sent: list[bytes] = []
    stop = asyncio.Event()

    async def publish_on(name: str, qos: int, five: bool) -> None:
        client = await (each.served.client5 if five else each.served.client)(name)
        number = 0
        while not stop.is_set():
            payload = f"{name} {number}".encode()
            number += 1
            sent.append(payload)
            if not await client.publish(f"owed/{name}", payload, qos):
                acknowledged.add(payload)

    async with asyncio.TaskGroup() as publishing:
        for qos in (1, 2):
            for five in (False, True):
                publishing.create_task(publish_on(f"{qos}-{five}", qos, five))
        for _ in range(3):
            before = len(acknowledged)
            await until(lambda: len(acknowledged) >= before + MESSAGES)  # noqa: B023 (used up in this turn)
            await each.break_disk()
            await each.mend_disk()
        stop.set()
    await each.served.kill_and_restart()
    received = [payload for topic, payload in await each.read() if topic != "owed/first"]
    assert acknowledged <= set(received)
    for name in ("1-False", "1-True", "2-False", "2-True"):
        numbers = [int(payload.split()[1]) for payload in received if payload.startswith(name.encode())]
        assert numbers == sorted(set(numbers)), name


async def test_a_server_that_stops_meanwhile_keeps_what_it_has_acknowledged(full: Story) -> None:
    publisher = await full.served.client("publisher")
    await publisher.publish_all("owed/a", [b"one", b"two"], 2)
    await full.break_disk()
    publisher.send(publish("owed/a", b"three", 1, 100))
    await unanswered(publisher)
    said = await full.served.stop()
    assert "Traceback" not in said
    assert "is lost" in said
    await full.served.start()
    assert (await full.read())[:2] == [("owed/a", b"one"), ("owed/a", b"two")]
