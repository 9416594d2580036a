"""Rows of sessions.db that do not fit each other are found, told and put right; all others stay."""

import logging
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.broker import Broker
from wardenmq.store.known_databases import SESSIONS
from wardenmq.store.session_consistency import (
    RULES,
    _is_settled,
    _lowest_bits,
    count_inconsistent,
    mend_inconsistent,
)
from wardenmq.store.sessions import SessionStore

from .session_rows import (
    TABLES,
    delayed,
    delivery,
    insert,
    many_rows,
    message,
    retained,
    session,
    subscription,
    write_database,
)

Table = dict[str, list[tuple[object, ...]]]
WILL = (
    *("will_topic", "will_payload", "will_qos", "will_retain", "will_properties", "will_message_expiry"),
    "will_delay",
)

SOUND: Table = {
    "state": [("alive_at", 3.5)],
    "sessions": [
        session(1, principal="p", certificate_name="é"),
        session(2, username=None, principal=None, expiry_interval=60.0, disconnected_at=None, protocol_version=4),
        session(3, **dict(zip(WILL, ("w", b"", 2, 1, b"", None, 5), strict=True)), will_at=9.5),
        session(4, rights='{"pub": ["t"]}'),
    ],
    "subscriptions": [
        subscription(1, "a/#"),
        subscription(1, "b", asked="old/b"),
        subscription(1, "c", asked=None),
        subscription(2, "$share/g/é", qos=2, identifier=268_435_455),
    ],
    "messages": [message(1), message(2, b"", qos=2, retain=1), message(3, b"x" * 90, count=3, body=10, id_at=5)],
    "deliveries": [
        delivery(1, 0, 1),
        delivery(1, 1, 3, count=3, done=b"\x05", received=b"\x02", share="$share/g/é", qos=2),
        delivery(1, 4, 2),
        delivery(2, 7, 3, first=2),
    ],
    "unreleased": [(1, 1), (1, 65_535)],
    "retained": [retained("a"), ("b", b"", 0, "", b"\x01", 9.5, 0.0)],
    "delayed": [delayed(1), delayed(2, b"", qos=2, retain=1, sender="", expires_at=9.5, delay=0.0)],
}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        SESSIONS.lay_down(connection, 1, SESSIONS.version)
        insert(connection, SOUND)
        yield connection


def contents(connection: sqlite3.Connection) -> dict[str, set[tuple[object, ...]]]:
    return {table: set(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}


def test_what_fits_is_left_alone(connection: sqlite3.Connection) -> None:
    before = contents(connection)
    assert count_inconsistent(connection) == []
    assert mend_inconsistent(connection) == []
    assert contents(connection) == before


def test_many_rows_fit(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")
    insert(connection, many_rows())
    assert count_inconsistent(connection) == []


WRONG: list[tuple[str, tuple[object, ...], str]] = [
    ("sessions", session(9, protocol_version=6), "sessions with impossible values"),
    ("sessions", session(9, client_id=b"bytes"), "sessions with impossible values"),
    ("sessions", session(9, confined=2), "sessions with impossible values"),
    ("sessions", session(9, window=-1), "sessions with impossible values"),
    ("sessions", session(9, sent="x"), "sessions with impossible values"),
    ("sessions", session(9, created_at="yesterday"), "sessions with impossible values"),
    ("sessions", session(9, expiry_interval=b"?"), "sessions with impossible values"),
    ("sessions", session(9, peer_host=b"?"), "sessions with impossible values"),
    ("sessions", session(9, connected_at=math.inf), "sessions with impossible values"),
    ("sessions", session(9, disconnected_at=-1.0), "sessions with impossible values"),
    ("sessions", session(9, expiry_interval=1e300), "sessions with impossible values"),
    ("sessions", session(9, sent=(1 << 63) - 1), "sessions with impossible values"),
    ("sessions", session((1 << 63) - 1), "sessions with impossible values"),
    ("state", ("alive_at", "yesterday"), "notes of the server with impossible values"),
    ("state", ("alive_at", None), "notes of the server with impossible values"),
    ("subscriptions", subscription(1, ""), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", qos=3), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", qos=None), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", identifier=0), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", retain_handling=3), "subscriptions with impossible values"),
    *(
        ("subscriptions", subscription(1, wrong), "subscriptions with impossible values")
        for wrong in ("a/#/b", "a+", "a\0b", "$share/g", "$share//f", "$share/+/f", "$share/g/a#", "$queue/")
    ),
    ("subscriptions", subscription(9, "f"), "subscriptions without a session"),
    ("messages", message(9, topic=None), "messages with impossible values"),
    ("messages", message(9, data="text"), "messages with impossible values"),
    ("messages", message(9, count=0), "messages with impossible values"),
    ("messages", message(9, b"x" * 10, count=3), "messages with impossible values"),
    ("messages", message(9, b"x" * 10, count=2, body=6), "messages with impossible values"),
    ("messages", message(9, b"x" * 10, count=2, id_at=6), "messages with impossible values"),
    ("messages", message(9, topic="a/+"), "messages with impossible values"),
    ("messages", message(9, qos=7), "messages with impossible values"),
    ("messages", message(9, properties=None), "messages with impossible values"),
    ("messages", message(9, expires_at="soon"), "messages with impossible values"),
    ("messages", message(9, b"", count=1_000_000_000), "messages with impossible values"),
    ("messages", message((1 << 63) - 1), "messages with impossible values"),
    ("messages", message(9), "messages that nobody is owed"),
    ("deliveries", delivery(2, -1, 1), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, qos=0), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, count=0), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, done=None), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, qos=7), "deliveries with impossible values"),
    ("deliveries", delivery(2, (1 << 63) - 1, 1), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, count=-3), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 3, count=3, done=b"\x07"), "deliveries of which nothing is owed any more"),
    ("deliveries", delivery(9, 20, 1), "deliveries without a session"),
    ("deliveries", delivery(2, 20, 9), "deliveries whose message is missing"),
    ("deliveries", delivery(2, 20, 1, first=1), "deliveries of more messages than there are"),
    ("deliveries", delivery(2, 20, 3, count=4), "deliveries of more messages than there are"),
    ("deliveries", delivery(1, 3, 1), "deliveries at positions that are taken"),
    ("unreleased", (1, 0), "unreleased packets with impossible values"),
    ("unreleased", (1, 65_536), "unreleased packets with impossible values"),
    ("unreleased", (9, 1), "unreleased packets without a session"),
    ("retained", ("c", None, 1, "", b"", None, 0.0), "retained messages with impossible values"),
    ("retained", ("", b"", 1, "", b"", None, 0.0), "retained messages with impossible values"),
    ("retained", ("a/#", b"", 1, "", b"", None, 0.0), "retained messages with impossible values"),
    ("retained", ("c", b"", 1, "", None, None, 0.0), "retained messages with impossible values"),
    ("retained", ("c", b"", 1, "", b"", "soon", 0.0), "retained messages with impossible values"),
    ("delayed", delayed(-1), "delayed messages with impossible values"),
    ("delayed", delayed(9, due="soon"), "delayed messages with impossible values"),
    ("delayed", delayed(9, due=None), "delayed messages with impossible values"),
    ("delayed", delayed(9, delay=-1.0), "delayed messages with impossible values"),
    ("delayed", delayed(9, topic="a/#"), "delayed messages with impossible values"),
    ("delayed", delayed(9, payload=None), "delayed messages with impossible values"),
    ("delayed", delayed(9, qos=3), "delayed messages with impossible values"),
    ("delayed", delayed(9, retain=None), "delayed messages with impossible values"),
    ("delayed", delayed(9, properties="x"), "delayed messages with impossible values"),
    ("delayed", delayed(9, expires_at=-1.0), "delayed messages with impossible values"),
]


NOT_OWED = "messages that nobody is owed"


@pytest.mark.parametrize(("table", "row", "words"), WRONG)
def test_what_does_not_fit_is_deleted(
    connection: sqlite3.Connection, table: str, row: tuple[object, ...], words: str
) -> None:
    before = contents(connection)
    if table == "state":
        connection.execute("DELETE FROM state")
        before["state"] = set()
    insert(connection, {table: [row]})
    found = {rule.words: count for rule, count in count_inconsistent(connection)}
    if words != NOT_OWED and table == "messages":
        assert found.pop(NOT_OWED) == 1
    assert found == {words: 1}
    assert [(rule.words, count) for rule, count in mend_inconsistent(connection)] == [(words, 1)]
    assert contents(connection) == before
    assert count_inconsistent(connection) == []


def test_every_rule_is_tested() -> None:
    repaired = {rule.words for rule in RULES if rule.repair is not None}
    assert {rule.words for rule in RULES} == {words for _, _, words in WRONG} | repaired
    assert [rule.words for rule in RULES if rule.harmless] == ["deliveries of which nothing is owed any more", NOT_OWED]


def test_a_count_that_cannot_be_says_nothing_about_others(connection: sqlite3.Connection) -> None:
    insert(connection, {"deliveries": [delivery(2, 0, 1, count=1_000_000_000)]})
    found = {rule.words: count for rule, count in count_inconsistent(connection)}
    assert found == {"deliveries with impossible values": 1, "deliveries of more messages than there are": 1}
    before = {table: set(rows) for table, rows in SOUND.items()}
    assert [rule.words for rule, _ in mend_inconsistent(connection)] == ["deliveries with impossible values"]
    assert contents(connection) == before


MENDED = [
    ("deliveries", "share", "deliveries whose shared subscription is none"),
    ("messages", "sender", "messages whose publisher's name cannot be read"),
    ("retained", "sender", "retained messages whose publisher's name cannot be read"),
    ("delayed", "sender", "delayed messages whose publisher's name cannot be read"),
]
TIMES = [
    ("messages", "owed messages published at an impossible time"),
    ("retained", "retained messages published at an impossible time"),
    ("delayed", "delayed messages published at an impossible time"),
]


@pytest.mark.parametrize("value", [b"\xff", b"$share/\xc3/x", None])
@pytest.mark.parametrize(("table", "column", "words"), MENDED)
def test_what_can_be_done_without_is_taken_out(
    connection: sqlite3.Connection, table: str, column: str, words: str, value: bytes | None
) -> None:
    """The message is delivered all the same."""
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT)", (value,))
    assert [(rule.words, found) for rule, found in count_inconsistent(connection)] == [(words, count)]
    assert [(rule.words, found) for rule, found in mend_inconsistent(connection)] == [(words, count)]
    assert connection.execute(f"SELECT {column} FROM {table}").fetchall() == [("",)] * count
    assert count_inconsistent(connection) == []


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("subscriptions", "asked", "subscriptions that were asked for with a filter that is none"),
        ("sessions", "rights", "sessions whose token's rights cannot be read"),
    ],
)
def test_what_may_be_missing_but_not_be_wrong(
    connection: sqlite3.Connection, table: str, column: str, words: str
) -> None:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.execute(f"UPDATE {table} SET {column} = NULL")
    assert count_inconsistent(connection) == []
    connection.execute(f"UPDATE {table} SET {column} = CAST(x'ff' AS TEXT)")
    assert [(rule.words, found) for rule, found in mend_inconsistent(connection)] == [(words, count)]
    assert connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall() == [("",)]


@pytest.mark.parametrize("value", [b"soon", -1.0, 1e300, None])
@pytest.mark.parametrize(("table", "words"), TIMES)
def test_a_time_that_cannot_be_is_forgotten(
    connection: sqlite3.Connection, table: str, words: str, value: bytes | float | None
) -> None:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.execute(f"UPDATE {table} SET published_at = ?", (value,))
    assert [(rule.words, found) for rule, found in mend_inconsistent(connection)] == [(words, count)]
    assert connection.execute(f"SELECT DISTINCT published_at FROM {table}").fetchall() == [(0.0,)]
    assert count_inconsistent(connection) == []


# -- what the doctor leaves, the start takes

VALUES = (b"\xff", b"\xed\xa0\x80", "", "x", "a/#/b", "a\0b", b"\0", None, -1, 0, 7, 70_000, 1 << 40, (1 << 63) - 1)
REALS = (-1.5, 1e300, math.inf)


def rows_around(table: str, number: int) -> tuple[Table, str, object]:
    """Make a row that is sound, with what it needs, and name it by a column."""
    will = dict(zip(WILL, ("w", b"", 1, 0, b"", 60, 5), strict=True))
    owed: Table = {"messages": [message(number)], "deliveries": [delivery(1, number * 100, number)]}
    rows: dict[str, tuple[Table, str, object]] = {
        "state": ({"state": [(f"note-{number}", 1.5)]}, "name", f"note-{number}"),
        "sessions": ({"sessions": [session(number, **will)]}, "id", number),
        "subscriptions": ({"subscriptions": [subscription(1, f"f/{number}")]}, "topic_filter", f"f/{number}"),
        "messages": (owed, "id", number),
        "deliveries": (owed, "position", number * 100),
        "unreleased": ({"unreleased": [(1, number)]}, "packet_id", number),
        "retained": ({"retained": [retained(f"kept/{number}")]}, "topic", f"kept/{number}"),
        "delayed": ({"delayed": [delayed(number)]}, "id", number),
    }
    return rows[table]


def spoil(path: Path, table: str) -> int:
    """Write a row for each column and each value that it may have by mistake; return how many."""
    number = 100
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
            for value in (*VALUES, *REALS):
                number += 1
                rows, key, named = rows_around(table, number)
                insert(connection, rows)
                place = "CAST(? AS TEXT)" if isinstance(value, bytes) and value != b"\0" else "?"
                with suppress(sqlite3.IntegrityError):  # what SQLite itself does not let into the table
                    connection.execute(f"UPDATE {table} SET {column} = {place} WHERE {key} = ?", (value, named))
    return number - 100


@pytest.mark.parametrize("table", TABLES)
async def test_what_is_left_is_taken_by_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str) -> None:
    path = write_database(tmp_path / SESSIONS.name, SOUND)
    assert spoil(path, table) >= 30
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert count_inconsistent(connection)
        mend_inconsistent(connection)
        assert count_inconsistent(connection) == []
        left = contents(connection)
    assert left["sessions"] >= set(SOUND["sessions"])
    assert left["deliveries"] >= set(SOUND["deliveries"])
    with caplog.at_level(logging.INFO):
        store = await SessionStore.open(path, "process")
        broker = Broker({"listeners": {"default": {"type": "external"}}, "plugins": {}}, journal=store)
        try:
            await broker.start()
            assert "Restored" in caplog.text
            assert "make no sense" not in caplog.text
            await broker.shutdown()
            assert broker.alarms.active() == []
        finally:
            await store.close()
    assert store.problem is None


def test_alive_at_is_looked_at_too(connection: sqlite3.Connection) -> None:
    for value in (b"\xff", b"1.5"):
        connection.execute("INSERT OR REPLACE INTO state VALUES ('alive_at', CAST(? AS TEXT))", (value,))
        assert [rule.table for rule, _ in mend_inconsistent(connection)] == ["state"]


@pytest.mark.parametrize(
    ("done", "count", "settled"),
    [
        *((b"", 1, False), (b"\x01", 1, True), (b"\x02", 1, False), (b"\x03", 3, False), (b"\x07", 3, True)),
        *((b"\xff" * 9, 64, True), (b"\xff" * 7, 64, False), (b"\xff\x01", 9, True), (b"\xff\xfe", 9, False)),
        *((None, 1, False), ("\x01", 1, False), (b"\x01", 0, False), (b"\x01", None, False), (b"\xff", 1 << 60, False)),
    ],
)
def test_what_is_settled(done: object, count: object, settled: bool) -> None:
    assert _is_settled(done, count) is settled


@pytest.mark.parametrize(
    ("done", "received", "mended"),
    [
        (b"\x01\x00", b"", (b"\x01", b"")),
        (b"\xfb", b"", (b"\x03", b"")),
        (b"", b"\x02\x03\x04", (b"", b"\x02")),
        (b"\x00", b"\xf8", (b"", b"")),
        (b"\xfb" * 9_000, b"\x03", (b"\x03", b"\x03")),
    ],
)
def test_acknowledgements_of_more_than_there_is(
    connection: sqlite3.Connection, done: bytes, received: bytes, mended: tuple[bytes, bytes]
) -> None:
    """The message stays owed: once too often is better than never."""
    insert(connection, {"deliveries": [delivery(2, 20, 3, count=3, done=done, received=received)]})
    words = "deliveries with more acknowledgements than messages"
    assert [(rule.words, count) for rule, count in count_inconsistent(connection)] == [(words, 1)]
    assert [(rule.words, count) for rule, count in mend_inconsistent(connection)] == [(words, 1)]
    found = connection.execute("SELECT done, received FROM deliveries WHERE position = 20").fetchone()
    assert found == mended
    assert count_inconsistent(connection) == []


def test_a_will_that_cannot_be_goes_alone(connection: sqlite3.Connection) -> None:
    sound = dict(zip(WILL, ("w", b"", 2, 1, b"", None, 5), strict=True))
    wrong: list[dict[str, object]] = [
        *({"will_topic": ""}, {"will_topic": "a/#"}, {"will_payload": None}, {"will_qos": 3}, {"will_retain": None}),
        *({"will_properties": None}, {"will_message_expiry": -1}, {"will_message_expiry": b"?"}, {"will_delay": None}),
        *({"will_delay": 1 << 40}, {"will_at": math.inf}, {"will_at": b"?"}),
    ]
    for number, change in enumerate(wrong, 10):
        insert(connection, {"sessions": [session(number, **(sound | change))]})
    # One that is none, in which there is nevertheless something that cannot be read.
    insert(connection, {"sessions": [session(9)]})
    connection.execute("UPDATE sessions SET will_payload = CAST(x'ff' AS TEXT) WHERE id = 9")
    (found,) = mend_inconsistent(connection)
    assert (found[0].words, found[1]) == ("sessions whose will has impossible values", len(wrong) + 1)
    rows = connection.execute(f"SELECT client_id, {', '.join(WILL)}, will_at FROM sessions WHERE id >= 9").fetchall()
    assert rows == [(f"client-{number}", *[None] * 8) for number in range(9, 10 + len(wrong))]


def test_what_hangs_on_what_goes(connection: sqlite3.Connection) -> None:
    """A session that cannot be takes its deliveries along, and these the messages of which nobody else is owed any."""
    insert(
        connection,
        {
            "sessions": [session(9, window=-1)],
            "messages": [message(9), message(10, count=0)],
            "deliveries": [delivery(9, 0, 9), delivery(9, 1, 1), delivery(2, 30, 10)],
            "subscriptions": [subscription(9, "f")],
            "unreleased": [(9, 1)],
        },
    )
    mended = {rule.words: count for rule, count in mend_inconsistent(connection)}
    assert mended == {
        "sessions with impossible values": 1,
        "messages with impossible values": 1,
        "subscriptions without a session": 1,
        "deliveries without a session": 2,
        "unreleased packets without a session": 1,
        "deliveries whose message is missing": 1,
        "messages that nobody is owed": 1,
    }
    expected = {table: set(rows) for table, rows in SOUND.items()}
    assert contents(connection) == expected


def test_all_or_nothing(connection: sqlite3.Connection) -> None:
    insert(connection, {"deliveries": [delivery(9, 0, 1)], "messages": [message(9)]})
    before = contents(connection)
    connection.execute("CREATE TEMP TRIGGER refuse BEFORE DELETE ON messages BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        mend_inconsistent(connection)
    assert not connection.in_transaction
    assert contents(connection) == before


@given(st.binary(max_size=20), st.integers(1, 200))
def test_bits_are_cut_to_their_count(field: bytes, count: int) -> None:
    cut = _lowest_bits(field, count)
    bits = int.from_bytes(field, "little")
    expected = sum(1 << at for at in range(count) if bits >> at & 1)
    assert int.from_bytes(cut, "little") == expected
    assert cut == b"" or cut[-1]


@pytest.mark.parametrize("field", [None, "text", 5, 1.5])
def test_what_is_no_field_stays(field: object) -> None:
    assert _lowest_bits(field, 3) == field
    assert _lowest_bits(b"\x01", field) == b"\x01" or field == 5
