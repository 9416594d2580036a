"""Batches that cannot be written: nothing of them is, somebody hears of it, and the next one is tried as any other."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from wardenmq.store.sessions import SessionStore, connections, writing
from wardenmq.store.sessions.writing import Writer

from .journals import TIME_LIMIT, Journal, contents, everything, expected, message, session, subscription, upserts

PAGE = 4_096


async def test_a_full_disk(path: Path, journal: Journal) -> None:
    await journal.write(everything(1))
    (pages,) = await journal.in_writer(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await journal.in_writer(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    large = everything(2) | upserts(messages=[message(number, bytes(5_000)) for number in range(2, 9)])
    for _ in range(3):
        kind, text = await journal.fail(large)
        assert kind == "full"
        assert text == f"{path} could not be written: database or disk is full."
        assert contents(path) == expected(everything(1))
    # What needs no space can still be written.
    gone = {"deliveries": {(1, 0): None}}
    await journal.write(gone)
    await journal.in_writer(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    await journal.write(large)
    assert contents(path) == expected(everything(1), gone, large)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (upserts(sessions=[session(2, peer_host=None)]), "NOT NULL"),
        (upserts(subscriptions=[subscription(2, "lone surrogate \ud800")]), "surrogates"),
        (upserts(messages=[message(2**63)]), "too large"),
        (upserts(messages=[message("two")]), "mismatch"),  # type: ignore[arg-type]
        ({"messages": {2: message(2)[:-1]}}, "12 values"),
        ({"messages": {2: (*message(2), 1)}}, "12 values"),
        ({"nowhere": {2: (2,)}}, "nowhere"),
        ({"state": {"alive_at": ("alive_at", 2)}}, "state"),
        ({"messages": {2: (*message(2)[:9], object(), 0)}}, "len"),
        ({"messages": {2: (2, object(), *message(2)[2:])}}, "not supported"),
        ({"messages": {2: 17}}, "subscriptable"),
    ],
)
async def test_what_cannot_be_kept(path: Path, journal: Journal, changes: Any, reason: str) -> None:
    await journal.write(everything(1))
    # Whatever else was in the batch, and written already, is taken back.
    kind, text = await journal.fail(changes | {"ended": {1: None}, "retained": {"r/1": None}})
    assert kind == "error"
    assert text.startswith(f"{path} could not be written: ")
    assert reason in text
    assert contents(path) == expected(everything(1))
    await journal.write(everything(2))
    assert contents(path) == expected(everything(1), everything(2))


class _Failing:
    """Changes that raise as they are read."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def keys(self) -> set[str]:
        return set()

    def get(self, name: str) -> Any:
        if name == "deliveries":
            raise self._error
        return everything(2).get(name)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (MemoryError(), "error", "MemoryError"),
        (OSError(errno.ENOSPC, "No space left on device"), "full", "No space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "full", "quota"),
        (OSError(errno.EIO, "Input/output error"), "error", "Input/output"),
        (RuntimeError("surprise"), "error", "surprise"),
        (KeyboardInterrupt(), "error", "KeyboardInterrupt"),
    ],
)
async def test_whatever_goes_wrong_is_told(
    path: Path, journal: Journal, error: BaseException, kind: str, reason: str
) -> None:
    said_kind, text = await journal.fail(_Failing(error))  # type: ignore[arg-type]
    assert (said_kind, reason in text) == (kind, True)
    assert contents(path) == expected()
    await journal.write(everything(2))
    assert contents(path) == expected(everything(2))


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("made up")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_CORRUPT])
async def test_a_connection_that_is_not_trusted_is_replaced(path: Path, journal: Journal, code: int) -> None:
    await journal.write(everything(1))
    before = journal.store._writer._connection
    assert await journal.fail(_Failing(sqlite_error(code))) == (  # type: ignore[arg-type]
        "error",
        f"{path} could not be written: made up.",
    )
    await journal.write(everything(3))
    assert journal.store._writer._connection is not before
    assert contents(path) == expected(everything(1), everything(3))


async def test_any_other_connection_is_kept(journal: Journal) -> None:
    before = journal.store._writer._connection
    await journal.fail(_Failing(sqlite_error(sqlite3.SQLITE_FULL)))  # type: ignore[arg-type]
    await journal.write(everything(3))
    assert journal.store._writer._connection is before


async def test_an_input_output_error_without_space_means_that_the_disk_is_full(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_NO_SPACE", 2**62)
    kind, _ = await journal.fail(_Failing(sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE)))  # type: ignore[arg-type]
    assert kind == "full"


async def test_a_connection_that_cannot_be_replaced_yet(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.fail(_Failing(sqlite_error(sqlite3.SQLITE_IOERR)))  # type: ignore[arg-type]

    def refuse(path: Path, durability: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    with monkeypatch.context() as patched:
        patched.setattr(connections, "for_writing", refuse)
        for _ in range(2):
            kind, text = await journal.fail(everything(1))
            assert kind == "error"
            assert "unable to open" in text
    await journal.write(everything(1))
    assert contents(path) == expected(everything(1))


async def test_a_file_that_is_written_by_another(path: Path, journal: Journal, held_up: sqlite3.Connection) -> None:
    await journal.in_writer(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchone())
    kind, text = await journal.fail(everything(1))
    assert (kind, "locked" in text) == ("error", True)
    held_up.execute("ROLLBACK")
    await journal.write(everything(1))
    assert contents(path) == expected(everything(1))


def delete(path: Path, kept: Path) -> None:
    os.link(path, kept)
    path.unlink()


def rename(path: Path, kept: Path) -> None:
    path.rename(kept)


def replace(path: Path, kept: Path) -> None:
    path.rename(kept)
    shutil.copy(kept, path)


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("lose", [delete, rename, replace])
async def test_a_file_that_is_lost_is_not_written(
    path: Path, journal: Journal, suffix: str, lose: Callable[[Path, Path], None]
) -> None:
    await journal.write(everything(1))
    file, kept = path.with_name(f"{path.name}{suffix}"), path.with_name("kept")
    lose(file, kept)
    for _ in range(2):
        kind, text = await journal.fail(everything(2))
        assert kind == "error"
        assert "deleted or replaced" in text
    assert lose is replace or not file.exists()  # nothing was begun in its place
    kept.replace(file)
    await journal.write(everything(3))
    assert contents(path) == expected(everything(1), everything(3))


async def test_a_folder_that_is_lost(path: Path, journal: Journal) -> None:
    await journal.write(everything(1))
    elsewhere = path.parent.with_name("elsewhere")
    path.parent.rename(elsewhere)
    try:
        kind, _ = await journal.fail(everything(2))
        assert kind == "error"
    finally:
        elsewhere.rename(path.parent)
    await journal.write(everything(3))
    assert contents(path) == expected(everything(1), everything(3))


async def test_a_file_that_is_damaged_while_it_is_written(path: Path) -> None:
    first = Journal((await Journal.open(path)).store)
    await first.write(everything(1))
    await first.close()
    sound = path.read_bytes()

    journal = await Journal.open(path)
    with path.open("r+b") as file:  # the writer has read the first page and no other yet
        file.seek(PAGE)
        file.write(b"\xa5" * (len(sound) - PAGE))
    for _ in range(2):
        kind, text = await journal.fail(everything(2))
        assert (kind, "malformed" in text) == ("error", True)
    with path.open("r+b") as file:
        file.write(sound)
    await journal.write(everything(3))
    await journal.close()
    assert contents(path) == expected(everything(1), everything(3))


async def test_a_batch_under_way_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_BUSY_TIMEOUT", TIME_LIMIT)
    journal = await Journal.open(path)
    await journal.write(everything(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        number = journal.submit(everything(2))
        closes = [asyncio.ensure_future(journal.close()) for _ in range(2)]
        closes[0].cancel()  # somebody who does not want to wait ends nothing
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert not closes[1].done()
        other.execute("ROLLBACK")
    await closes[1]
    assert await journal.outcome(number) == ("committed",)
    assert contents(path) == expected(everything(1), everything(2))


async def test_a_closed_store_is_one_file_and_has_no_threads(path: Path) -> None:
    journal = await Journal.open(path)
    await journal.write(everything(1))
    threads = [thread for pool in (journal.store._writing, journal.store._reading) for thread in pool._threads]
    assert [thread.daemon for thread in threads] == [False, False]
    await journal.close()
    await journal.close()  # once more is no error
    for thread in threads:
        await asyncio.to_thread(thread.join, TIME_LIMIT)
        assert not thread.is_alive()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    kind, text = await journal.fail(everything(2))
    assert (kind, text) == ("error", "The store is closed.")
    assert contents(path) == expected(everything(1))


async def test_a_log_that_cannot_be_folded_in_is_played_at_the_next_start(path: Path, journal: Journal) -> None:
    await journal.write(everything(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM sessions").fetchall()  # what it has begun to read must stay as it is
        await journal.in_writer(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchone())
        await journal.write(everything(2))
        await journal.close()
        assert path.with_name(f"{path.name}-wal").stat().st_size
    again = await Journal.open(path)
    await again.close()
    assert contents(path) == expected(everything(1), everything(2))


def test_a_loop_that_is_gone_is_not_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_BUSY_TIMEOUT", TIME_LIMIT)
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(SessionStore.open(path, "process"))
    writer: Writer = store._writer
    told: list[int] = []

    async def bind() -> None:
        store.bind(told.append, lambda *_: None)

    loop.run_until_complete(bind())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.submit(1, everything(1))
        loop.close()
        other.execute("ROLLBACK")
    store._writing.submit(writer.close).result(TIME_LIMIT)
    store._reading.submit(store._reader.close).result(TIME_LIMIT)
    store._writing.shutdown()
    store._reading.shutdown()
    assert told == []
    assert contents(path) == expected(everything(1))


async def test_nobody_has_to_listen(path: Path) -> None:
    store = await SessionStore.open(path, "process")
    store.submit(1, everything(1))
    store.submit(2, {"nowhere": {}})
    await store.close()
    assert contents(path) == expected(everything(1))
