"""The faulty disk itself, under SQLite alone: what it refuses, what it holds up, and that it leaves the rest whole."""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from .disk import LAYER, LAYERS, TIME_LIMIT, Connector, Disk
from .file_faults import NAME, Faults, part_of

ROOT = Path(__file__).parent.parent.parent.parent
EVERY_LAYER = LAYERS if LAYER == "vfs" else (LAYER,)
BEGIN, COMMIT = "BEGIN IMMEDIATE", "COMMIT"
CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
ROWS = 50


def insert(first: int, count: int = ROWS) -> str:
    """Give a statement that writes some pages."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {first + count - 1})"
    return f"INSERT INTO t {numbers} SELECT i, zeroblob(2000) FROM n"


def numbers(*firsts: int) -> list[int]:
    return [number for first in firsts for number in range(first, first + ROWS)]


class Plain:
    """Run statements in the process with the disk."""

    def __init__(self, process: asyncio.subprocess.Process, disk: Disk, path: Path) -> None:
        self.process = process
        self.disk = disk
        self.path = path
        self._answers: dict[int, asyncio.Future[tuple[list[list[object]], str | None]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def run(self, sql: str, connection: str = "writer") -> list[list[object]]:
        """Run a statement and give its rows; it must succeed."""
        rows, error = await self.begin(sql, connection)
        assert error is None, f"{sql}: {error}"
        return rows

    async def error(self, sql: str, connection: str = "writer") -> str | None:
        """Run a statement and give the name of SQLite's error, None where there is none."""
        return (await self.begin(sql, connection))[1]

    def begin(self, sql: str, connection: str = "writer") -> "asyncio.Future[tuple[list[list[object]], str | None]]":
        """Hand a statement over and give what will be its answer."""
        number = len(self._answers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([number, connection, sql]).encode() + b"\n")
        return asyncio.ensure_future(asyncio.wait_for(self._answers[number], TIME_LIMIT))  # type: ignore[return-value]

    async def end(self) -> None:
        """Let the process close its connections and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), TIME_LIMIT)
        await self._reading

    async def kill(self) -> None:
        """End the process as the operating system would."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            number, rows, error = json.loads(line)
            if not self._answers[number].done():
                self._answers[number].set_result((rows, error))

    def committed(self) -> list[int]:
        """Give the numbers that a process finds that opens the file now."""
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return [number for (number,) in connection.execute("SELECT id FROM t ORDER BY id")]


@pytest.fixture(params=EVERY_LAYER)
def layer(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def plain(layer: str, tmp_path: Path) -> AsyncIterator[Plain]:
    """A table in a file whose disk can be ordered about."""
    path, synced = tmp_path / NAME, tmp_path / "synced"
    synced.mkdir()
    connector = Connector(synced, layer=layer)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.durability.faults.plain_sqlite", str(path)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=connector.inherited,
        env=connector.environment,
    )
    running = Plain(process, await connector.disk(), path)
    try:
        for sql in ("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, value BLOB)"):
            await running.run(sql)
        yield running
    finally:
        await running.kill()
        running.disk.close()


async def transact(plain: Plain, sql: str) -> str | None:
    """Run a statement in a transaction of its own, and give the error of whatever failed first."""
    await plain.run(BEGIN)
    error = await plain.error(sql) or await plain.error(COMMIT)
    if error is not None:
        await plain.error("ROLLBACK")  # SQLite may have done so already
    return error


# -- what fails


@pytest.mark.parametrize(
    ("operation", "error", "by_sqlite"),
    [
        ("write", "ENOSPC", "SQLITE_FULL"),
        ("write", "EIO", "SQLITE_IOERR_WRITE"),
        ("sync", "EIO", "SQLITE_IOERR_FSYNC"),
        ("sync", "ENOSPC", "SQLITE_IOERR_FSYNC"),
    ],
)
async def test_a_commit_fails_whole_and_the_next_one_works(
    plain: Plain, operation: str, error: str, by_sqlite: str
) -> None:
    await plain.run("PRAGMA synchronous = FULL")
    assert await transact(plain, insert(1)) is None
    await plain.disk.fail(**{operation: error})
    for first in (1_000, 2_000):
        assert await transact(plain, insert(first)) == by_sqlite
        assert await plain.run("SELECT count(*) FROM t", "reader") == [[ROWS]]
    assert await plain.disk.count(f"{operation} failed") >= 2
    await plain.disk.fail()
    assert await transact(plain, insert(3_000)) is None
    await plain.kill()
    assert plain.committed() == numbers(1, 3_000)


async def test_a_read_fails_and_the_next_one_works(plain: Plain) -> None:
    await plain.run(insert(1))
    await plain.disk.fail(read="EIO")
    assert await plain.error("SELECT sum(length(value)) FROM t", "reader") == "SQLITE_IOERR_READ"
    await plain.disk.fail()
    assert await plain.run("SELECT sum(length(value)) FROM t", "reader") == [[2000 * ROWS]]
    await plain.end()
    assert plain.committed() == numbers(1)


if LAYER == "vfs":  # the other one does not know the files apart

    @pytest.mark.parametrize("layer", ["vfs"], indirect=True)
    async def test_one_part_fails_alone(plain: Plain) -> None:
        """What is committed to the log is kept, though the database file takes nothing."""
        await plain.disk.fail(**{"write:main": "EIO"})
        assert await transact(plain, insert(1)) is None
        assert await plain.error(CHECKPOINT) == "SQLITE_IOERR_WRITE"
        await plain.disk.fail(**{"sync:wal": "EIO"})
        assert await plain.error(CHECKPOINT) == "SQLITE_IOERR_FSYNC"
        await plain.disk.fail()
        assert await plain.run(CHECKPOINT) == [[0, 0, 0]]
        assert (plain.path.with_name(f"{NAME}-wal")).stat().st_size == 0
        await plain.end()
        assert plain.committed() == numbers(1)


async def test_what_is_opened_on_a_read_only_disk_can_be_read(plain: Plain) -> None:
    await plain.run(insert(1))
    await plain.disk.fail(open="EROFS")
    assert await plain.error(insert(1_000), "another") == "SQLITE_READONLY"
    assert await plain.run("SELECT count(*) FROM t", "another") == [[ROWS]]
    await plain.run(insert(1_000))
    await plain.end()
    assert plain.committed() == numbers(1, 1_000)


# -- what waits


async def test_a_commit_waits_for_the_disk_and_readers_do_not(plain: Plain) -> None:
    await plain.run("PRAGMA synchronous = FULL")
    await plain.run("SELECT count(*) FROM t", "reader")
    begun, ended = [await plain.disk.count(f"sync {state}") for state in ("begun", "ended")]
    await plain.disk.hold("sync")
    written = plain.begin(insert(1))
    await plain.disk.reached("sync begun", begun + 1)
    for _ in range(20):
        assert await plain.run("SELECT count(*) FROM t", "reader") == [[0]]
    assert not written.done()
    assert await plain.disk.count("sync ended") == ended
    await plain.disk.let("sync")
    assert await written == ([], None)
    assert await plain.disk.count("sync ended") == ended + 1
    assert await plain.run("SELECT count(*) FROM t", "reader") == [[ROWS]]


async def test_held_operations_go_on_when_the_disk_is_free_again(plain: Plain) -> None:
    begun = await plain.disk.count("write begun")
    await plain.disk.hold("write")
    written = plain.begin(insert(1))
    await plain.disk.reached("write begun", begun + 1)
    await plain.disk.hold()
    assert await written == ([], None)


async def test_held_operations_go_on_when_the_test_hangs_up(plain: Plain) -> None:
    await plain.disk.hold("write")
    written = plain.begin(insert(1))
    plain.disk.close()
    assert await written == ([], None)


async def test_a_failure_ordered_meanwhile_meets_what_was_held(plain: Plain) -> None:
    begun = await plain.disk.count("write begun")
    await plain.disk.hold("write")
    written = plain.begin(insert(1))
    await plain.disk.reached("write begun", begun + 1)
    await plain.disk.fail(write="ENOSPC")
    await plain.disk.hold()
    assert await written == ([], "SQLITE_FULL")


async def test_a_slow_disk_takes_the_time_it_was_given(plain: Plain) -> None:
    await plain.run("PRAGMA synchronous = FULL")
    await plain.disk.delay(sync=0.5)
    began = asyncio.get_running_loop().time()
    await plain.run(insert(1))
    assert asyncio.get_running_loop().time() - began >= 0.5
    await plain.disk.delay()


# -- what is left


@pytest.mark.parametrize(("synchronous", "left"), [("FULL", numbers(1, 1_000)), ("NORMAL", [])])
async def test_a_power_failure_leaves_what_was_synced(plain: Plain, synchronous: str, left: list[int]) -> None:
    await plain.run(f"PRAGMA synchronous = {synchronous}")
    await plain.run("CREATE TABLE synced(id INTEGER)")
    await plain.run(CHECKPOINT)
    await plain.run(insert(1))
    await plain.run(insert(1_000))
    await plain.kill()
    assert plain.committed() == numbers(1, 1_000)
    plain.disk.lose_power(plain.path.parent)
    assert plain.committed() == left


async def test_other_files_are_whole(plain: Plain, tmp_path: Path) -> None:
    await plain.disk.fail(read="EIO", write="EIO", sync="EIO")
    other = str(tmp_path / "wardenmq.db")
    await plain.run("CREATE TABLE t(id INTEGER)", other)
    await plain.run("INSERT INTO t VALUES (1)", other)
    assert await plain.run("SELECT id FROM t", other) == [[1]]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("/d/sessions.db", "main"),
        ("/d/sessions.db-wal", "wal"),
        ("/d/sessions.db-journal", "journal"),
        ("/d/sessions.db.new", "main"),
        ("/d/sessions.db.new-wal", "wal"),
        ("/d/sessions.db.damaged-20261122T010203Z", None),
        ("/sessions.db/wardenmq.db", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("layer", [LAYER])
def test_the_parts_of_the_database(layer: str, name: str, part: str | None) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize("layer", [LAYER])
def test_the_orders_in_force_are_the_last_ones(layer: str) -> None:
    faults = Faults()
    faults.fail({"write": "EIO", "read": "EIO"})
    faults.fail({"sync:wal": "EIO"})
    for operation, part, error in (("write", "main", None), ("sync", "main", None), ("sync", "wal", "EIO")):
        with faults.operation(operation, part) as ordered:
            assert ordered == error
    assert faults.counts()["sync:wal failed"] == 1
    assert faults.counts()["sync begun"] == 2
