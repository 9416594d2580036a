"""Batches: what they change, in which order, and that the file holds exactly what was handed over."""

import asyncio
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from wardenmq.store.migrations import available
from wardenmq.store.sessions.opening import MIGRATIONS
from wardenmq.store.sessions.tables import OF_A_SESSION, ROW_COUNTS, TABLES, WRITTEN, delete, fitting, load, scan

from .journals import (
    NOW,
    Journal,
    Row,
    contents,
    delivery,
    everything,
    expected,
    message,
    retained,
    session,
    subscription,
    upserts,
)

LARGEST = 2**63 - 1
ODD_TEXTS = (
    "",
    " ",
    "ünïcödé/漢字/🜁",
    "quote'\"`;--",
    "$share/group/a/#",
    "\ufeffbom",
    "line\nfeed\ttab",
    "\u0001control\u007f",
    "\U0010ffff",
    "\ufffd",
    "e\u0301 is not \u00e9",
)


async def test_each_table_is_written_and_written_over(path: Path, journal: Journal) -> None:
    first = everything(1)
    await journal.write(first)
    assert contents(path) == expected(first)
    second = upserts(
        sessions=[session(1, "client-1", username="u", disconnected_at=NOW, will_topic="w", will_payload=b"\0w")],
        subscriptions=[(1, "a/#", 2, 1, 1, 2, LARGEST, "b/#")],
        messages=[(1, "a", None, 2, 1, b"\1", 1.5, 3, 9, b"x" * 30, 7, 8.5)],
        deliveries=[(1, 0, 1, 2, 3, 2, 1, b"\5", "$share/g/a/#", b"\6", b"\7")],
        retained=[("r/1", b"", 0, None, b"\2", 2.5, 9.5)],
        delayed=[(1, 1.5, 2.5, "d", b"", 2, 1, None, b"\2", 3.5, 4.5)],
    )
    await journal.write(second)
    assert contents(path) == expected(first, second)


async def test_rows_are_deleted_by_key(path: Path, journal: Journal) -> None:
    first, other = everything(1), everything(2)
    await journal.write(first)
    await journal.write(other)
    gone: dict[str, dict[Any, Row | None]] = {name: dict.fromkeys(rows) for name, rows in first.items()}
    await journal.write(gone)
    assert contents(path) == expected(other)
    await journal.write(gone)  # what is not there is no error
    assert contents(path) == expected(other)


async def test_of_an_ended_session_nothing_is_left(path: Path, journal: Journal) -> None:
    batches = [everything(1), everything(2), {"ended": {1: None}}]
    for batch in batches:
        await journal.write(batch)
    found = contents(path)
    assert found == expected(*batches)
    assert [row[0] for row in found["messages"]] == [1, 2]  # others may be owed it
    assert [row[0] for row in found["deliveries"]] == [2]


async def test_sessions_end_before_anything_is_written(path: Path, journal: Journal) -> None:
    await journal.write(everything(1))
    # The same client begins anew, under another id; and what a batch says of an ended one itself comes later.
    batch = upserts(sessions=[session(2, "client-1")], unreleased=[(1, 9)]) | {"ended": {1: None}}
    await journal.write(batch)
    assert contents(path) == expected(everything(1), batch)


async def test_deletes_come_before_upserts(path: Path, journal: Journal) -> None:
    await journal.write(upserts(sessions=[session(1, "same")]))
    batch: dict[str, dict[Any, Row | None]] = {"sessions": {2: session(2, "same"), 1: None}}
    await journal.write(batch)
    assert [row[:2] for row in contents(path)["sessions"]] == [(2, "same")]


@pytest.mark.parametrize("text", ODD_TEXTS)
async def test_texts_of_all_kinds_are_kept(path: Path, journal: Journal, text: str) -> None:
    batch = upserts(
        sessions=[session(1, text, username=text, will_topic=text)],
        subscriptions=[subscription(1, text)],
        messages=[message(1, topic=text)],
        retained=[retained(text)],
    )
    await journal.write(batch)
    assert contents(path) == expected(batch)
    assert [row[:2] for row in (await journal.read())["sessions"]] == [(1, text)]
    gone = {"subscriptions": {(1, text): None}, "retained": {text: None}}
    await journal.write(gone)
    assert contents(path) == expected(batch, gone)


async def test_numbers_of_63_bits_are_kept(path: Path, journal: Journal) -> None:
    batch = upserts(
        sessions=[session(LARGEST, sent=LARGEST)],
        messages=[message(LARGEST), message(LARGEST - 1)],
        deliveries=[delivery(LARGEST, LARGEST, LARGEST), delivery(LARGEST, LARGEST - 1, LARGEST - 1)],
        unreleased=[(LARGEST, 65_535)],
    )
    await journal.write(batch)
    assert contents(path) == expected(batch)
    assert [row[0] for row in await journal.store.load([LARGEST])] == [LARGEST]
    gone = {"messages": {LARGEST: None}, "deliveries": {(LARGEST, LARGEST): None}}
    await journal.write(gone)
    assert contents(path) == expected(batch, gone)
    assert await journal.store.load([LARGEST]) == []


async def test_bytes_are_not_looked_at(path: Path, journal: Journal) -> None:
    every = bytes(range(256))
    rows = [delivery(1, number, 1, done=part, received=every) for number, part in enumerate((b"", b"\0", every * 9))]
    batch = upserts(messages=[message(1, every), message(2, b"")], deliveries=rows, retained=[retained("a", every)])
    await journal.write(batch)
    assert contents(path) == expected(batch)


async def test_times_are_kept_to_the_microsecond(path: Path, journal: Journal) -> None:
    at = 1_764_000_000.123456
    await journal.write(upserts(sessions=[session(1, expiry_interval=4_294_967_294, disconnected_at=at)]))
    (row,) = contents(path)["sessions"]
    assert dict(zip(TABLES["sessions"].columns, row, strict=True))["disconnected_at"] == at


async def test_an_empty_batch_says_that_the_broker_is_alive(path: Path, tmp_path: Path) -> None:
    times = iter((10.5, 20.5, 30.5))
    journal = await Journal.open(path, clock=lambda: next(times))
    for at, changes in ((10.5, {}), (20.5, everything(1)), (30.5, {"messages": {}, "ended": {}})):
        await journal.write(changes)
        assert (await journal.read())["state"] == [("alive_at", at)]
    await journal.close()
    assert contents(path) == expected(everything(1))


async def test_batches_end_in_order_and_in_the_thread_of_the_loop(journal: Journal) -> None:
    numbers = [journal.submit(upserts(messages=[message(number)])) for number in range(50)]
    await journal.outcome(numbers[-1])
    assert journal.told == [("committed", number) for number in numbers]
    assert journal.threads == {threading.get_ident()}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1023, 1024, 1025, 2500])
async def test_any_number_of_rows(path: Path, journal: Journal, count: int) -> None:
    batch = upserts(
        sessions=[session(number) for number in range(count)],
        subscriptions=[subscription(number % 7, f"f/{number}") for number in range(count)],
        messages=[message(number) for number in range(count)],
        deliveries=[delivery(number % 7, number, number) for number in range(count)],
        unreleased=[(number % 7, number) for number in range(count)],
        retained=[retained(f"t/{number}") for number in range(count)],
    )
    await journal.write(batch)
    assert contents(path) == expected(batch)
    # All but every third go again.
    gone = {name: {key: None for number, key in enumerate(rows) if number % 3} for name, rows in batch.items() if rows}
    await journal.write(gone)
    assert contents(path) == expected(batch, gone)


async def test_many_sessions_end_at_once(path: Path, journal: Journal) -> None:
    count = 1_500
    batch = upserts(
        sessions=[session(number) for number in range(count)],
        subscriptions=[subscription(number, "a") for number in range(count)],
        deliveries=[delivery(number, position, 1) for number in range(count) for position in range(3)],
        unreleased=[(number, 1) for number in range(count)],
    )
    await journal.write(batch)
    ended = {"ended": {number: None for number in range(count) if number != 77}}
    await journal.write(ended)
    assert contents(path) == expected(batch, ended)
    assert len(contents(path)["deliveries"]) == 3


@pytest.mark.parametrize(
    "sizes", [(3_000_000,), (10, 3_000_000, 10), (400_000,) * 7, (2_000,) * 1_500, (600_000, 0) * 3]
)
async def test_long_messages_among_short_ones(path: Path, journal: Journal, sizes: tuple[int, ...]) -> None:
    rows = [message(number, bytes([number % 251]) * size) for number, size in enumerate(sizes)]
    batch = upserts(messages=rows, retained=[retained(f"t/{number}", row[9]) for number, row in enumerate(rows)])
    await journal.write(batch)
    assert contents(path) == expected(batch)
    assert await journal.store.load(range(len(sizes))) == rows


async def test_random_batches(path: Path, journal: Journal) -> None:
    generator = random.Random(6)
    batches: list[dict[str, dict[Any, Row | None]]] = []
    for _ in range(60):
        batch = upserts(
            sessions=[session(generator.randrange(9))],
            subscriptions=[
                subscription(generator.randrange(9), f"f/{generator.randrange(9)}", number) for number in (0, 1)
            ],
            messages=[
                message(generator.randrange(40), generator.randbytes(generator.randrange(200))) for _ in range(5)
            ],
            deliveries=[
                delivery(generator.randrange(9), generator.randrange(40), generator.randrange(40)) for _ in range(5)
            ],
            unreleased=[(generator.randrange(9), generator.randrange(5))],
            retained=[retained(f"t/{generator.randrange(9)}", generator.randbytes(4))],
        )
        for rows in batch.values():
            rows.update({key: None for key in rows if generator.random() < 0.3})
        if generator.random() < 0.3:
            batch["ended"] = {generator.randrange(9): None}
        batches.append(batch)
        journal.submit(batch)
    await journal.write({})
    assert [said[0] for said in journal.told] == ["committed"] * 61
    assert contents(path) == expected(*batches)


async def test_the_loop_goes_on_while_a_batch_is_written(journal: Journal, held_up: sqlite3.Connection) -> None:
    numbers = [journal.submit(upserts(messages=[message(number)])) for number in range(3)]
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert journal.told == []
    held_up.execute("ROLLBACK")
    assert [await journal.outcome(number) for number in numbers] == [("committed",)] * 3


def test_a_statement_for_every_number_of_rows() -> None:
    for count in (1, 2, 4, 5, 64, 65, 1024):
        assert fitting(count) >= count
        assert fitting(count) in ROW_COUNTS
    assert fitting(5_000) == ROW_COUNTS[-1]
    with closing(sqlite3.connect(":memory:")) as connection:
        # What SQLite takes unless it was built with less; a widest row must fit as often as the largest statement says.
        most = min(connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER), 32_766)
    assert max(len(table.columns) for table in WRITTEN) * ROW_COUNTS[-1] < most


def test_everything_is_found_by_key() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for _, path in available(MIGRATIONS):
            connection.executescript(path.read_text())
        statements = [delete(table.name, table.key, 4) for table in WRITTEN if table.name != "subscriptions"]
        statements += [delete(table, (column,), 4) for table, column in OF_A_SESSION.items()]
        statements += [load(TABLES["messages"], 4)]
        statements += [scan(table, after=True) for table in TABLES.values()]
        statements += ["DELETE FROM subscriptions WHERE session_id = ? AND topic_filter = ?"]
        for statement in statements:
            plan = [
                row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * statement.count("?"))
            ]
            assert plan[0].startswith("SEARCH "), statement
            assert not any("TEMP B-TREE" in step for step in plan), statement
            if "IN (SELECT" in statement:
                column = statement.partition("WHERE ")[2].partition(" IN ")[0].strip("()").split(", ")
                searched = plan[0].partition("(")[2]
                assert searched.count("=?") == len(column), statement


def test_the_tables_have_the_columns_of_the_schema() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for _, path in available(MIGRATIONS):
            connection.executescript(path.read_text())
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert names == set(TABLES)
        for table in TABLES.values():
            found = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
            assert {row[1] for row in found} == {*table.columns}
            assert [row[1] for row in sorted(found, key=lambda row: row[5]) if row[5]] == [*table.key]
            assert (
                table.payload is None
                or found[[row[1] for row in found].index(table.columns[table.payload])][2] == "BLOB"
            )
