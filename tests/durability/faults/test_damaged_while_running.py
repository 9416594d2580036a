"""A file that is damaged while the server runs: it says so, serves on, and the next start sets the file aside."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ...engine.conditions import until
from ...engine.wire import publish
from .served import NOT_READABLE, Served, serving
from .test_disk_full import unanswered
from .test_reading_faults import exchange

MESSAGES = 3_000
PAGE = 4_096
PAYLOAD = bytes(1_000)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A server with more stored messages than its caches hold, all of them in the one file."""
    limits = {"max_queued_memory": 0, "max_mqueue_len": 0, "max_mqueue_bytes": 0}
    async with serving(tmp_path, mqtt=limits) as running:
        await running.absent("owed", ("owed/#", 1))
        publisher = await running.client("publisher")
        for first in range(1, MESSAGES + 1, 500):
            publisher.send(*(publish("owed/a", PAYLOAD, 1, number) for number in range(first, first + 500)))
            for _ in range(500):
                await publisher.expect(4)
        await running.stop()
        assert not (running.data_dir / "sessions.db-wal").exists()
        await running.start()
        yield running


def damage(served: Served) -> None:
    """Write noise over all pages but the first, which says that it is a database."""
    file = served.data_dir / "sessions.db"
    noise = random.Random(1).randbytes(file.stat().st_size - PAGE)
    with file.open("r+b") as opened:
        opened.seek(PAGE)
        opened.write(noise)


async def test_the_server_says_so_and_serves_on(served: Served) -> None:
    damage(served)
    publisher = await served.client("publisher")
    publisher.send(publish("owed/a", b"new", 1, 1))
    await served.failing()
    await unanswered(publisher)
    await exchange(served)
    reader = await served.client("owed", clean=False)
    await reader.nothing_came()
    (alarm,) = await served.alarms()
    assert "malformed" in alarm["details"]["reason"]
    assert "Traceback" not in served.process.errors
    assert await (await served.client5("s", clean=False)).subscribe(("t", 1)) == [0x83]


async def test_the_next_start_sets_the_file_aside(served: Served) -> None:
    damage(served)
    publisher = await served.client("publisher")
    publisher.send(publish("owed/a", b"new", 1, 1))
    await served.failing()
    assert "Traceback" not in await served.stop()
    damaged = (served.data_dir / "sessions.db").stat().st_size
    await served.start()
    aside = [file for file in served.data_dir.glob("sessions.db.damaged-*") if not file.name.endswith(("-wal", "-shm"))]
    assert [file.stat().st_size for file in aside] == [damaged]
    said = [line for line in served.process.errors.splitlines() if aside[0].name in line]
    assert len(said) == 1
    assert "wardenmq doctor" in said[0]
    assert (await served.health())[0] == 200
    await served.absent("owed", ("owed/#", 1))
    await (await served.client("publisher")).publish("owed/a", b"after", 1)
    assert (await (await served.client("owed", clean=False)).message()).payload == b"after"


async def test_a_client_whose_messages_are_damaged_waits_and_holds_nobody_up(served: Served) -> None:
    damage(served)
    reader = await served.client("owed", clean=False)
    await until(lambda: "cannot be read" in served.process.errors)
    await served.failing()  # that it is connected is to be written, too
    await reader.nothing_came()
    await exchange(served)
    assert "Traceback" not in served.process.errors


async def test_a_damaged_message_holds_up_its_client_alone_and_is_told_once(tmp_path: Path) -> None:
    """Others are read in between, again and again, which does not mean that all is well."""
    async with serving(tmp_path, mqtt={"max_queued_memory": 0}) as served:
        publisher = await served.client("publisher")
        names = ("damaged", "one", "two", "three")
        for name in names:
            await served.absent(name, (name, 1))
            await publisher.publish(name, PAYLOAD * 6 + name.encode() * 100 + PAYLOAD * 12, 1)
        await served.stop()
        await served.start()
        break_chain(served.data_dir / "sessions.db", b"damaged" * 10)

        damaged = await served.client("damaged", clean=False)
        for name in names[1:]:
            await served.disk.more("open begun")  # it was tried again
            assert (await (await served.client(name, clean=False)).message()).payload.count(name.encode()) == 100
        await damaged.nothing_came()
        said = [line for line in served.process.errors.splitlines() if " ERROR " in line]
        assert len(said) == 1, said
        (alarm,) = await served.alarms(NOT_READABLE)
        assert "malformed" in alarm["details"]["reason"]
        assert await served.alarms(NOT_READABLE, activated=False) == []


def break_chain(file: Path, text: bytes) -> None:
    """Let the overflow page that this text is on, which is not the last one, point to a page that does not exist."""
    with file.open("r+b") as opened:
        at = opened.read().index(text)
        opened.seek(at // PAGE * PAGE)
        opened.write(b"\xff" * 4)
