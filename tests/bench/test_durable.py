"""What `bench/durable.py` requires and how it judges it, and the journal that its restarts begin with."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from compare import Outcome
from durable import PROCESS, ROWS, WallRate, WallShare, describe, line, wall_rate
from durable_brokers import CONTENDERS, unavailable
from durable_restart import MODEL, Filling, client_id, fill
from rows import Sample
from wardenmq.store.sessions import SessionStore

ROW = next(row for row in ROWS if row.requirements)


def turns(*rates: float, lost: int = 0) -> list[Sample]:
    """Give a turn of two seconds for each rate."""
    return [Sample(rate * 2, 0.5, 2.0, lost, {"written_per_message": rate}) for rate in rates]


# -- what is required


def test_the_rate_is_the_median_by_the_clock() -> None:
    assert wall_rate(turns(10, 1_000, 20)) == 20


@pytest.mark.parametrize(
    ("samples", "reached"),
    [({"it": turns(29_000, 31_000, 32_000)}, True), ({"it": turns(29_000, 29_999, 90_000)}, False), ({}, None)],
)
def test_a_rate_is_reached_missed_or_not_measured(
    samples: Mapping[str, Sequence[Sample]], reached: bool | None
) -> None:
    verdict = WallRate("it", 30_000).judge(samples)
    assert verdict.reached is reached
    assert {True: "reached", False: "MISSED", None: "not measured"}[reached] in verdict.text


@pytest.mark.parametrize(
    ("ours", "theirs", "reached"),
    [
        (turns(50, 60, 70), turns(100, 100, 100), True),
        # Round by round: the machine's speed changes between them.
        (turns(50, 5, 500), turns(90, 9, 900), True),
        (turns(49, 49, 90), turns(100, 100, 100), False),
        ([], turns(100), None),
        (turns(1), turns(0), None),
    ],
)
def test_a_share_is_that_of_the_rounds(ours: list[Sample], theirs: list[Sample], reached: bool | None) -> None:
    assert WallShare("of", "to", 0.5).judge({"of": ours, "to": theirs}).reached is reached


def test_something_is_required_offline_and_online_and_named_once() -> None:
    required = [row.name for row in ROWS if row.requirements]
    assert {name.partition(",")[0] for name in required} == {"offline", "online"}
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(PROCESS in requirement.text for row in ROWS for requirement in row.requirements)


def test_every_contender_is_known_to_be_available_or_not() -> None:
    contenders = {name for row in ROWS for name in row.contenders}
    assert contenders == set(CONTENDERS)
    assert {unavailable(name) for name in contenders if name.startswith("wardenmq")} == {None}


def test_what_was_lost_is_said() -> None:
    assert "none lost" in line("it", turns(1, 2, 3))
    assert "6 LOST" in line("it", turns(1, 2, 3, lost=2))
    assert "MISSED" in describe(Outcome(ROW, {PROCESS: turns(40_000, lost=1)}))
    assert "MISSED" not in describe(Outcome(ROW, {PROCESS: turns(40_000)}))


# -- the journal of the restarts


async def model(database: Path) -> None:
    """Write what a server would of one session that is owed one message."""
    store = await SessionStore.open(database, "process")
    await store.close()
    with closing(sqlite3.connect(database)) as connection, connection:
        columns = {
            table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for table in ("sessions", "subscriptions", "messages", "deliveries")
        }
        known: dict[str, object] = {
            "client_id": MODEL,
            "id": 7,
            "session_id": 7,
            "message_id": 7,
            "topic": "a/b",
            "count": 1,
        }
        for table, names in columns.items():
            row = [known.get(name, 0) for name in names]
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", row)


SESSIONS, OWED, MESSAGES, BYTES = 30, 5, 20, 100


async def test_a_journal_is_filled_with_copies(tmp_path: Path) -> None:
    database = tmp_path / "sessions.db"
    await model(database)
    fill(database, SESSIONS, OWED, MESSAGES, BYTES)
    with closing(sqlite3.connect(database)) as connection:
        clients = [row[0] for row in connection.execute("SELECT client_id FROM sessions ORDER BY id")]
        assert clients == [client_id(number) for number in range(SESSIONS)]
        one_each = "SELECT count(*) FROM sessions JOIN subscriptions ON id = session_id"
        assert connection.execute(one_each).fetchone() == (SESSIONS,)
        assert connection.execute("SELECT count(*), min(length(data)) FROM messages").fetchone() == (100, BYTES)
        owed = connection.execute(
            "SELECT client_id, position, data FROM deliveries JOIN sessions ON sessions.id = session_id "
            "JOIN messages ON messages.id = message_id ORDER BY session_id, position"
        ).fetchall()
    assert [row[:2] for row in owed] == [(client_id(s), n) for s in range(OWED) for n in range(MESSAGES)]
    begins = [b"%012d for %05d." % (n, s) for s in range(OWED) for n in range(MESSAGES)]
    assert all(row[2].startswith(begin) for row, begin in zip(owed, begins, strict=True))


async def test_the_store_reads_what_was_filled(tmp_path: Path) -> None:
    database = tmp_path / "sessions.db"
    await model(database)
    fill(database, SESSIONS, OWED, MESSAGES, BYTES)
    store = await SessionStore.open(database, "process")
    try:
        assert store.problem is None
        counts = {
            table: sum([len(chunk) async for chunk in store.scan(table)])
            for table in ("sessions", "subscriptions", "messages", "deliveries")
        }
    finally:
        await store.close()
    assert counts == {"sessions": 30, "subscriptions": 30, "messages": 100, "deliveries": 100}


async def test_there_has_to_be_one_row_to_copy(tmp_path: Path) -> None:
    store = await SessionStore.open(tmp_path / "sessions.db", "process")
    await store.close()
    with (
        closing(sqlite3.connect(tmp_path / "sessions.db")) as connection,
        pytest.raises(RuntimeError, match="instead of the one to copy"),
    ):
        Filling(connection)
