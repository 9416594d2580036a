"""Opening a directory: what it leaves running, and what it does not."""

import asyncio
import threading
from pathlib import Path

import pytest
from wardenmq.store import directory as directory_module
from wardenmq.store.directory import Directory
from wardenmq.store.housekeeping import Housekeeping


async def test_nothing_stays_of_one_that_could_not_be_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Exception):
        pass

    def fail(*_: object) -> None:
        raise Odd

    before = set(threading.enumerate())
    monkeypatch.setattr(directory_module, "Audit", fail)
    with pytest.raises(Odd):
        await Directory.open(tmp_path / "db")
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


@pytest.mark.parametrize("wanted", [True, False])
async def test_housekeeping_is_for_whoever_stays(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tidied = asyncio.Event()

    async def tidy(_: Housekeeping) -> None:
        tidied.set()

    monkeypatch.setattr(Housekeeping, "_tidy", tidy)
    started: list[Housekeeping] = []
    start = Housekeeping.start

    def note(housekeeping: Housekeeping) -> None:
        started.append(housekeeping)
        start(housekeeping)

    monkeypatch.setattr(Housekeeping, "start", note)
    directory = await Directory.open(":memory:", housekeeping=wanted)
    if wanted:
        await asyncio.wait_for(tidied.wait(), 30)
    assert len(started) == wanted
    await directory.close()
