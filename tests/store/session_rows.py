"""Databases of sessions with many rows, where each of them lies, and ways to damage the file."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from wardenmq.store.known_databases import SESSIONS

PAGE = 4_096
TABLES = ("state", "sessions", "subscriptions", "messages", "deliveries", "unreleased", "retained", "delayed")
_INNER = (2, 5)
_WITH_ROWS = (2, 10, 13)

Rows = dict[str, set[tuple[object, ...]]]


def session(number: int, **values: object) -> tuple[object, ...]:
    """Make a row of sessions."""
    row: dict[str, object] = {
        **{
            "id": number,
            "client_id": f"client-{number}",
            "username": "user",
            "principal": None,
            "certificate_name": None,
        },
        **{"peer_host": "h", "peer_port": 1, "listener": "tcp:default", "protocol_name": "MQTT", "protocol_version": 5},
        **{"keep_alive": 60, "clean_start": 0, "claimed": 0, "confined": 0, "superuser": 0, "expiry_interval": None},
        **{"created_at": 1.0, "connected_at": 1.5, "disconnected_at": 2.5, "window": 20, "sent": 0},
        **{"will_topic": None, "will_payload": None, "will_qos": None, "will_retain": None, "will_properties": None},
        **{"will_message_expiry": None, "will_delay": None, "will_at": None, "rights": None},
    }
    assert row.keys() >= values.keys()
    return tuple((row | values).values())


def subscription(number: int, topic_filter: str, **values: object) -> tuple[object, ...]:
    row = {"qos": 1, "no_local": 0, "retain_as_published": 0, "retain_handling": 0, "identifier": None, "asked": ""}
    assert row.keys() >= values.keys()
    return (number, topic_filter, *(row | values).values())


def message(number: int, data: bytes = b"payload", **values: object) -> tuple[object, ...]:
    row: dict[str, object] = {
        **{"topic": f"t/{number}", "sender": "publisher", "qos": 1, "retain": 0, "properties": b""},
        **{"expires_at": None, "count": 1, "body": 0, "id_at": 0, "data": data, "published_at": 7.5},
    }
    assert row.keys() >= values.keys()
    return (number, *(row | values).values())


def delivery(number: int, position: int, of: int, **values: object) -> tuple[object, ...]:
    row: dict[str, object] = {
        **{"message_id": of, "first": 0, "count": 1, "qos": 1, "retain": 0, "identifiers": b"", "share": ""},
        **{"done": b"", "received": b""},
    }
    assert row.keys() >= values.keys()
    return (number, position, *(row | values).values())


def retained(topic: str, payload: bytes = b"kept") -> tuple[object, ...]:
    return (topic, payload, 1, "publisher", b"", None, 6.5)


def delayed(number: int, payload: bytes = b"later", **values: object) -> tuple[object, ...]:
    row: dict[str, object] = {
        **{"due": 70.5, "delay": 60.0, "topic": f"later/{number}", "payload": payload, "qos": 1, "retain": 0},
        **{"sender": "publisher", "properties": b"", "expires_at": None, "published_at": 10.5},
    }
    assert row.keys() >= values.keys()
    return (number, *(row | values).values())


def write_database(path: Path, rows: dict[str, list[tuple[object, ...]]]) -> Path:
    """Make a database of sessions; in one file, without a log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        SESSIONS.lay_down(connection, 1, SESSIONS.version)
        insert(connection, rows)
    path.chmod(0o600)
    return path


def insert(connection: sqlite3.Connection, rows: dict[str, list[tuple[object, ...]]]) -> None:
    connection.execute("BEGIN")
    for table, some in rows.items():
        if some:
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(some[0]))})", some)
    connection.execute("COMMIT")


def many_rows(sessions: int = 20, owed: int = 250, size: int = 100) -> dict[str, list[tuple[object, ...]]]:
    """Make rows of all tables: each session is owed messages of its own."""
    numbers = random.Random(1)
    rows: dict[str, list[tuple[object, ...]]] = {table: [] for table in TABLES}
    rows["state"] = [("alive_at", 3.5)]
    for number in range(1, sessions + 1):
        rows["sessions"].append(session(number))
        rows["subscriptions"] += [subscription(number, f"sensors/{number}/room-{at}/#") for at in range(20)]
        rows["unreleased"] += [(number, packet) for packet in range(1, 40)]
        rows["retained"] += [retained(f"kept/{number}/{at}", numbers.randbytes(60)) for at in range(20)]
        rows["delayed"] += [delayed(100 * number + at, numbers.randbytes(60)) for at in range(20)]
        for at in range(owed):
            identity = (number - 1) * owed + at + 1
            rows["messages"].append(message(identity, numbers.randbytes(size)))
            rows["deliveries"].append(delivery(number, at + 7, identity))
    return rows


def as_sets(rows: dict[str, list[tuple[object, ...]]]) -> Rows:
    return {table: set(some) for table, some in rows.items()}


def read_rows(path: Path) -> Rows:
    """Read all tables of a sound database."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {table: set(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}


# -- where rows lie


@dataclass(frozen=True)
class Page:
    """A page of a table: how many rows it holds itself, and the pages that lead to it."""

    number: int
    rows: int
    above: tuple[int, ...]
    is_inner: bool


def layout(path: Path) -> dict[str, list[Page]]:
    """Read from the file's bytes which pages each table has; a log beside it is not looked at, and stays."""
    data = path.read_bytes()
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        roots = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name: list(_pages(data, root, ())) for name, root in roots}


def _pages(data: bytes, number: int, above: tuple[int, ...]) -> Iterator[Page]:
    start = (number - 1) * PAGE
    kind, count = data[start], int.from_bytes(data[start + 3 : start + 5], "big")
    yield Page(number, count if kind in _WITH_ROWS else 0, above, kind in _INNER)
    if kind in _INNER:
        cells = [int.from_bytes(data[start + 12 + 2 * at : start + 14 + 2 * at], "big") for at in range(count)]
        for at in (*(start + cell for cell in cells), start + 8):
            yield from _pages(data, int.from_bytes(data[at : at + 4], "big"), (*above, number))


def rows_on(pages: dict[str, list[Page]], sound: Callable[[int], bool]) -> dict[str, int]:
    """Count the rows of each table that lie on pages that are sound."""
    return {table: sum(page.rows for page in some if sound(page.number)) for table, some in pages.items()}


# -- damage


def zero(path: Path, *numbers: int) -> None:
    """Overwrite pages with zeros."""
    overwrite(path, bytes(PAGE), *numbers)


def overwrite(path: Path, content: bytes, *numbers: int) -> None:
    with path.open("r+b") as file:
        for number in numbers:
            file.seek((number - 1) * PAGE)
            file.write(content)


def cut_off(path: Path, pages: int) -> None:
    """Leave so many pages of a file."""
    with path.open("r+b") as file:
        file.truncate(pages * PAGE)


def page_count(path: Path) -> int:
    return path.stat().st_size // PAGE
