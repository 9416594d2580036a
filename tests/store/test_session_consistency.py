"""Rows of sessions.db that do not fit each other are found, told and put right; all others stay."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.known_databases import SESSIONS
from wardenmq.store.session_consistency import RULES, _lowest_bits, count_inconsistent, mend_inconsistent

from .session_rows import TABLES, delivery, insert, many_rows, message, retained, session, subscription

Table = dict[str, list[tuple[object, ...]]]

SOUND: Table = {
    "state": [("alive_at", 3.5)],
    "sessions": [
        session(1),
        session(2, username=None, principal=None, expiry_interval=60.0, disconnected_at=None, protocol_version=4),
        session(3, will_topic="w", will_payload=b"", will_qos=2, will_retain=1, will_delay=5, will_at=9.5),
    ],
    "subscriptions": [subscription(1, "a/#"), subscription(2, "$share/g/é", qos=2, identifier=268_435_455)],
    "messages": [message(1), message(2, b"", qos=2, retain=1), message(3, b"x" * 90, count=3, body=10, id_at=5)],
    "deliveries": [
        delivery(1, 0, 1),
        delivery(1, 1, 3, count=3, done=b"\x05", received=b"\x02", share="$share/g/é", qos=2),
        delivery(1, 4, 2),
        delivery(2, 7, 3, first=2),
    ],
    "unreleased": [(1, 1), (1, 65_535)],
    "retained": [retained("a"), ("b", b"", 0, "", b"\x01", 9.5)],
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
    ("subscriptions", subscription(1, ""), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", qos=3), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", qos=None), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", identifier=0), "subscriptions with impossible values"),
    ("subscriptions", subscription(1, "f", retain_handling=3), "subscriptions with impossible values"),
    ("subscriptions", subscription(9, "f"), "subscriptions without a session"),
    ("messages", message(9, topic=None), "messages with impossible values"),
    ("messages", message(9, data="text"), "messages with impossible values"),
    ("messages", message(9, count=0), "messages with impossible values"),
    ("messages", message(9, b"x" * 10, count=3), "messages with impossible values"),
    ("messages", message(9, b"x" * 10, count=2, body=6), "messages with impossible values"),
    ("messages", message(9, b"x" * 10, count=2, id_at=6), "messages with impossible values"),
    ("messages", message(9), "messages that nobody is owed"),
    ("deliveries", delivery(2, -1, 1), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, qos=0), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, count=0), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, done=None), "deliveries with impossible values"),
    ("deliveries", delivery(2, 20, 1, share=None), "deliveries with impossible values"),
    ("deliveries", delivery(9, 20, 1), "deliveries without a session"),
    ("deliveries", delivery(2, 20, 9), "deliveries whose message is missing"),
    ("deliveries", delivery(2, 20, 1, first=1), "deliveries of more messages than there are"),
    ("deliveries", delivery(2, 20, 3, count=4), "deliveries of more messages than there are"),
    ("deliveries", delivery(1, 3, 1), "deliveries at positions that are taken"),
    ("unreleased", (1, 0), "unreleased packets with impossible values"),
    ("unreleased", (1, 65_536), "unreleased packets with impossible values"),
    ("unreleased", (9, 1), "unreleased packets without a session"),
    ("retained", ("c", None, 1, "", b"", None), "retained messages with impossible values"),
    ("retained", ("", b"", 1, "", b"", None), "retained messages with impossible values"),
]


@pytest.mark.parametrize(("table", "row", "words"), WRONG)
def test_what_does_not_fit_is_deleted(
    connection: sqlite3.Connection, table: str, row: tuple[object, ...], words: str
) -> None:
    before = contents(connection)
    insert(connection, {table: [row]})
    found = {rule.words: count for rule, count in count_inconsistent(connection)}
    if words != "messages that nobody is owed" and table == "messages":
        assert found.pop("messages that nobody is owed") == 1
    assert found == {words: 1}
    assert [(rule.words, count) for rule, count in mend_inconsistent(connection)] == [(words, 1)]
    assert contents(connection) == before
    assert count_inconsistent(connection) == []


def test_every_rule_is_tested() -> None:
    repaired = {rule.words for rule in RULES if rule.repair is not None}
    assert {rule.words for rule in RULES} == {words for _, _, words in WRONG} | repaired
    assert [rule.words for rule in RULES if rule.harmless] == ["messages that nobody is owed"]


@pytest.mark.parametrize(
    ("done", "received", "mended"),
    [
        (b"\x01\x00", b"", (b"\x01", b"")),
        (b"\xff", b"", (b"\x07", b"")),
        (b"", b"\x02\x03\x04", (b"", b"\x02")),
        (b"\x00", b"\xf8", (b"", b"")),
        (b"\xff" * 9_000, b"\x03", (b"\x07", b"\x03")),
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
    insert(connection, {"sessions": [session(9, will_topic="w", will_payload=b"", will_qos=3, will_retain=0)]})
    (found,) = mend_inconsistent(connection)
    assert found[0].words == "sessions whose will has impossible values"
    assert connection.execute("SELECT client_id, will_topic FROM sessions WHERE id = 9").fetchone() == (
        "client-9",
        None,
    )


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
