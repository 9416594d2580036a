"""Reading beside the writes, and transactions that take turns."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wardenmq.store.database import MEMORY, Database, Statement
from wardenmq.store.database_copy import copy_database
from wardenmq.store.errors import DatabaseUnavailable, Overloaded

_LONG = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT count(*) FROM c"
_PUT = "INSERT INTO setting (key, value) VALUES (?, ?)"


@pytest.fixture(params=["memory", "file"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(MEMORY if request.param == "memory" else tmp_path / "wardenmq.db")
    yield opened
    await opened.close()


async def put(database: Database, key: str) -> int:
    return await database.transact([Statement(_PUT, [(key, "")])])


async def test_a_long_query_holds_up_no_write(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "wardenmq.db")
    reading = asyncio.ensure_future(database.read_aside(_LONG, [3_000_000]))
    for number in range(5):
        await put(database, f"{number}")
    assert not reading.done()
    assert await reading == [(3_000_000,)]
    await database.close()


async def test_what_is_read_aside_is_what_was_committed(database: Database) -> None:
    await put(database, "a")
    assert await database.read_aside("SELECT key FROM setting WHERE key = ?", ["a"]) == [("a",)]
    counts = await asyncio.gather(
        database.transact([Statement(_PUT, [(f"{number}", "")]) for number in range(50)]),
        *(database.read_aside("SELECT count(*) FROM setting") for _ in range(20)),
    )
    assert {count for ((count,),) in counts[1:]} <= {1, 51}  # type: ignore[misc]


async def test_reading_aside_writes_nothing(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "wardenmq.db")
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        await database.read_aside(_PUT, ["a", ""])
    with pytest.raises(DatabaseUnavailable, match="no such table"):
        await database.read_aside("SELECT * FROM nowhere")
    await database.close()


async def test_closing_waits_for_queries_though_nobody_else_does(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "wardenmq.db")
    await put(database, "a")
    reading = [asyncio.ensure_future(database.read_aside(_LONG, [300_000])) for _ in range(4)]
    await asyncio.sleep(0)
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    await database.close()
    # The log was folded into the file, so nobody had it open any more.
    assert [path.name for path in tmp_path.iterdir()] == ["wardenmq.db"]


async def test_queries_do_not_pile_up(database: Database) -> None:
    reading = [asyncio.ensure_future(database.read_aside("SELECT 1")) for _ in range(150)]
    outcomes = await asyncio.gather(*reading, return_exceptions=True)
    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 50
    assert await database.read_aside("SELECT 1") == [(1,)]


async def test_transactions_take_turns(database: Database) -> None:
    broken = [Statement(_PUT, [("broken", "")]), Statement("INSERT INTO nowhere VALUES (?)", [(1,)])]
    outcomes = await asyncio.gather(
        *(put(database, f"{number}") if number % 3 else database.transact(broken) for number in range(30)),
        return_exceptions=True,
    )
    assert [outcome if outcome == 1 else type(outcome) for outcome in outcomes] == [
        1 if number % 3 else DatabaseUnavailable for number in range(30)
    ]
    keys = await database.read("SELECT key FROM setting ORDER BY CAST(key AS INTEGER)")
    assert keys == [(f"{number}",) for number in range(30) if number % 3]


async def test_a_cancelled_transaction_ends(database: Database) -> None:
    for turns in range(12):
        transaction = asyncio.ensure_future(put(database, f"{turns}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        transaction.cancel()
        await asyncio.gather(transaction, return_exceptions=True)
    await put(database, "last")
    assert ("last",) in await database.read("SELECT key FROM setting")


async def test_the_rows_that_changed_are_counted(database: Database) -> None:
    rows = [(f"{number}", "") for number in range(7)]
    update = Statement("UPDATE setting SET value = ? WHERE key < ?", [("x", "3"), ("y", "2")])
    assert await database.transact([Statement(_PUT, rows)]) == 7
    assert await database.transact([update, Statement("DELETE FROM setting", [()])]) == 3 + 2 + 7
    assert await database.transact([Statement("DELETE FROM setting", [()])]) == 0
    assert await database.transact([]) == 0


async def test_a_copy_is_one_private_file(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "wardenmq.db")
    await put(database, "a")  # in the log only, by now
    copy_database(tmp_path / "wardenmq.db", tmp_path / "copy.db")
    await put(database, "b")
    await database.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "wardenmq.db"]
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(tmp_path / "copy.db")
    assert connection.execute("SELECT key FROM setting").fetchall() == [("a",)]
    connection.close()
    with pytest.raises(DatabaseUnavailable, match="missing.db could not be copied to"):
        copy_database(tmp_path / "missing.db", tmp_path / "copy.db")
    assert not (tmp_path / "missing.db").exists()
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]  # as it was
