"""A disk that cannot be read, where what a client is owed is on it alone: it waits, and everybody else does not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ...engine.wire import Client
from .served import NOT_READABLE, Served, serving

MESSAGES = 300
PAYLOADS = [f"{number} ".encode() + bytes(10_000) for number in range(MESSAGES)]
"""Too long for the pages that a start reads, and so in no cache."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that keeps nothing in memory of what it has written, and a session that is owed messages."""
    async with serving(tmp_path, mqtt={"max_queued_memory": 0}) as running:
        await running.absent("owed", ("owed/#", 2))
        publisher = await running.client("publisher")
        for number, payload in enumerate(PAYLOADS):
            await publisher.publish("owed/a", payload, 1 + number % 2)
        await running.stop()
        await running.start()
        yield running


@pytest.fixture
async def unreadable(served: Served) -> Served:
    """The same server, which can write, but not read what a client is owed."""
    await served.disk.fail(**{"read:reader": "EIO"})
    return served


async def exchange(served: Served) -> None:
    """Have messages of all kinds go from one clean session to another."""
    publisher, subscriber = await served.client(), await served.client5()
    await subscriber.subscribe(("t/#", 2))
    for qos in range(3):
        await publisher.publish("t/a", b"%d" % qos, qos)
        assert (await subscriber.message()).payload == b"%d" % qos


async def read_all(reader: Client) -> None:
    """Assert that all comes, once and in its order."""
    for payload in PAYLOADS:
        received = (await reader.message()).payload
        assert received[:10] == payload[:10]
        assert received == payload
    await reader.nothing_came()


async def failures(served: Served, count: int = 1) -> None:
    """Wait until reading has failed so many times more."""
    await served.disk.more("read:reader failed", count)


async def test_a_client_waits_until_what_it_is_owed_can_be_read(unreadable: Served) -> None:
    reader = await unreadable.client("owed", clean=False)
    for _ in range(2):
        await failures(unreadable)
        await reader.nothing_came()
        await exchange(unreadable)
    assert "Traceback" not in unreadable.process.errors
    await unreadable.disk.fail()
    await read_all(reader)


async def test_a_client_that_comes_back_meanwhile_gets_all_of_it(unreadable: Served) -> None:
    first = await unreadable.client("owed", clean=False)
    await failures(unreadable, 2)
    second = await unreadable.client("owed", clean=False)
    await first.hung_up()
    await second.nothing_came()
    second.abort()
    await unreadable.disk.fail()
    await read_all(await unreadable.client("owed", clean=False))


async def test_new_messages_are_kept_behind_those_that_cannot_be_read(unreadable: Served) -> None:
    reader, publisher = await unreadable.client("owed", clean=False), await unreadable.client("publisher")
    await failures(unreadable)
    late = [b"late %d" % number for number in range(10)]
    await publisher.publish_all("owed/a", late, 1)
    await reader.nothing_came()
    await unreadable.disk.fail()
    received = await reader.messages(MESSAGES + len(late))
    assert [payload[:10] for payload in received] == [payload[:10] for payload in PAYLOADS + late]


async def test_the_operator_is_told_once_and_when_it_is_over(unreadable: Served) -> None:
    reader = await unreadable.client("owed", clean=False)
    await failures(unreadable, 4)
    said = [line for line in unreadable.process.errors.splitlines() if " ERROR " in line]
    assert len(said) == 1, said
    assert "cannot be read" in said[0]
    (alarm,) = await unreadable.alarms(NOT_READABLE)
    status, health = await unreadable.health()
    assert (status, [problem["message"] for problem in health["problems"]]) == (503, [alarm["message"]])
    assert str(unreadable.data_dir) not in str(health)
    await unreadable.disk.fail()
    await read_all(reader)
    await unreadable.whole_again()
    assert await unreadable.alarms(NOT_READABLE) == []
    assert len(await unreadable.alarms(NOT_READABLE, activated=False)) == 1


async def test_it_is_over_though_the_client_has_gone_again(unreadable: Served) -> None:
    reader = await unreadable.client("owed", clean=False)
    await failures(unreadable)
    await unreadable.failing()
    reader.abort()
    await unreadable.disk.fail()
    await unreadable.whole_again()
    assert await unreadable.alarms(NOT_READABLE) == []


async def test_a_kill_meanwhile_takes_nothing(unreadable: Served) -> None:
    await unreadable.client("owed", clean=False)
    await failures(unreadable)
    await unreadable.kill_and_restart()
    await read_all(await unreadable.client("owed", clean=False))


async def test_a_stop_meanwhile_takes_nothing(unreadable: Served) -> None:
    await unreadable.client("owed", clean=False)
    await failures(unreadable)
    assert "Traceback" not in await unreadable.stop()
    await unreadable.start()
    await read_all(await unreadable.client("owed", clean=False))


async def test_a_member_that_goes_meanwhile_leaves_its_messages_to_another(tmp_path: Path) -> None:
    """What a shared subscription chose a member for goes to another one, though it is on the disk alone."""
    async with serving(tmp_path, mqtt={"max_queued_memory": 0}) as served:
        share = ("$share/group/owed/#", 1)
        await served.absent("one", share)
        publisher = await served.client("publisher")
        await publisher.publish_all("owed/a", PAYLOADS, 1)
        await served.absent("other", share)
        await served.stop()
        await served.start()
        await served.disk.fail(**{"read:reader": "EIO"})
        await served.client("one", clean=True)  # the end of its session
        await exchange(served)
        assert "Traceback" not in served.process.errors
        await served.disk.fail()
        await read_all(await served.client("other", clean=False))


async def test_nothing_is_lost_where_nothing_can_be_read_at_all(served: Served) -> None:
    await served.disk.fail(read="EIO")
    reader = await served.client("owed", clean=False)
    await served.disk.more("read failed", 2)
    await reader.nothing_came()
    await exchange(served)
    await served.disk.fail()
    await read_all(reader)
    await served.whole_again()
    assert "Traceback" not in served.process.errors
