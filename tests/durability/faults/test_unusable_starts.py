"""A start on a disk that fails: what can be served is, else one sentence says why not; nothing is begun anew."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ...engine.wire import PUBACK, publish
from .served import Served
from .test_disk_full import unanswered
from .test_reading_faults import exchange

NOT_WRITTEN = {"full": {"write": "ENOSPC"}, "broken": {"write": "EIO"}, "read-only": {"open": "EROFS"}}
BROKEN = {"full": {"write": "ENOSPC"}, "broken": {"write": "EIO"}}


@pytest.fixture
async def stopped(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that has kept a message for a session and was killed."""
    async with AsyncExitStack() as stack:
        served = await Served(tmp_path, stack).start()
        await served.absent("owed", ("owed/#", 1))
        await (await served.client("publisher")).publish("owed/a", b"kept", 1)
        await served.process.kill()
        yield served


def names(served: Served) -> set[str]:
    return {file.name for file in served.data_dir.glob("sessions.db*")}


async def refused(served: Served, **failing: str) -> str:
    """Start the server on a disk that fails and give the sentence with which it ends."""
    ended = await (await served.launch(**failing)).ended()
    assert ended.status == 2, ended.errors
    sentences = [line for line in ended.errors.splitlines() if line.startswith("wardenmq: ")]
    assert len(sentences) == 1, ended.errors
    assert sentences[0].endswith(".")
    assert "sessions.db" in sentences[0]
    assert "Traceback" not in ended.errors
    return sentences[0]


async def served_again(served: Served) -> None:
    """Assert that a start on a disk that works finds what was kept."""
    await served.start()
    assert (await (await served.client("owed", clean=False)).message()).payload == b"kept"
    assert not list(served.data_dir.glob("sessions.db.*"))


async def test_a_file_that_cannot_be_read_is_left_as_it_is(stopped: Served) -> None:
    """It is not damaged: to set it aside would lose all that it holds."""
    before = names(stopped)
    await refused(stopped, read="EIO")
    assert names(stopped) <= before, "something was set aside or begun"
    await served_again(stopped)


@pytest.mark.parametrize("fault", NOT_WRITTEN)
async def test_a_server_that_cannot_write_serves_what_needs_no_writing(stopped: Served, fault: str) -> None:
    await (await stopped.launch(**NOT_WRITTEN[fault])).wait_ready()
    publisher = await stopped.client("publisher")
    publisher.send(publish("owed/a", b"new", 1, 1))
    await stopped.failing()
    await unanswered(publisher)
    await exchange(stopped)
    await stopped.disk.fail()
    await publisher.expect(PUBACK)
    await stopped.whole_again()
    await stopped.kill_and_restart()
    assert await (await stopped.client("owed", clean=False)).messages(2) == [b"kept", b"new"]
    assert not list(stopped.data_dir.glob("sessions.db.*"))


@pytest.mark.parametrize("fault", BROKEN)
async def test_the_first_start_does_not_succeed_by_halves(tmp_path: Path, fault: str) -> None:
    async with AsyncExitStack() as stack:
        served = Served(tmp_path, stack)
        await refused(served, **BROKEN[fault])
        assert not (served.data_dir / "sessions.db").exists()
        await served.start()
        await served.absent("owed", ("owed/#", 1))


async def test_something_else_in_its_place_is_left_alone(stopped: Served) -> None:
    database = stopped.data_dir / "sessions.db"
    elsewhere = stopped.data_dir / "elsewhere"
    elsewhere.mkdir()
    for file in stopped.data_dir.glob("sessions.db*"):
        file.rename(elsewhere / file.name)
    database.mkdir()
    await refused(stopped)
    assert [file.name for file in stopped.data_dir.glob("sessions.db*")] == ["sessions.db"]
    database.rmdir()
    for file in elsewhere.iterdir():
        file.rename(stopped.data_dir / file.name)
    await served_again(stopped)
