"""The tables of the journal and the SQL over them: few statements for many rows, each searching by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

ROW_COUNTS = (1, 4, 16, 64, 256, 1024)
"""For how many rows there are statements. Few, so that all of them stay prepared; what is not needed is padded."""


@dataclass(frozen=True, slots=True)
class Table:
    """Describe a table: its key and its columns, in the order in which a row crosses from and to the broker."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    payload: int | None = None
    """Which column may be long."""
    scanned: tuple[str, ...] = ()
    """What is read of each row at start, where that is not all of it; begins with the key."""


_TABLES = (
    Table("state", ("name",), ("name", "value")),
    Table(
        "sessions",
        ("id",),
        (
            *("id", "client_id", "username", "principal", "certificate_name", "peer_host", "peer_port", "listener"),
            *("protocol_name", "protocol_version", "keep_alive", "clean_start", "claimed", "confined", "superuser"),
            *("expiry_interval", "created_at", "connected_at", "disconnected_at", "window", "sent"),
            *("will_topic", "will_payload", "will_qos", "will_retain", "will_properties", "will_message_expiry"),
            *("will_delay", "will_at", "rights"),
        ),
        payload=22,
    ),
    Table(
        "subscriptions",
        ("session_id", "topic_filter"),
        (
            *("session_id", "topic_filter", "qos", "no_local", "retain_as_published", "retain_handling"),
            *("identifier", "asked"),
        ),
    ),
    Table(
        "messages",
        ("id",),
        (
            *("id", "topic", "sender", "qos", "retain", "properties", "expires_at", "count", "body", "data"),
            *("id_at", "published_at"),
        ),
        payload=9,
        scanned=(
            *("id", "topic", "sender", "qos", "retain", "properties", "expires_at", "count", "body", "id_at"),
            "length(data)",
        ),
    ),
    Table(
        "deliveries",
        ("session_id", "position"),
        (
            *("session_id", "position", "message_id", "first", "count", "qos", "retain", "identifiers", "share"),
            *("done", "received"),
        ),
    ),
    Table("unreleased", ("session_id", "packet_id"), ("session_id", "packet_id")),
    Table(
        "retained",
        ("topic",),
        ("topic", "payload", "qos", "sender", "properties", "expires_at", "published_at"),
        payload=1,
    ),
    Table(
        "delayed",
        ("id",),
        (
            *("id", "due", "delay", "topic", "payload", "qos", "retain", "sender", "properties", "expires_at"),
            "published_at",
        ),
        payload=4,
    ),
)
TABLES = {table.name: table for table in _TABLES}
WRITTEN = tuple(table for table in _TABLES if table.name != "state")
"""The tables that a batch may change."""
OF_A_SESSION = {
    "sessions": "id",
    "subscriptions": "session_id",
    "deliveries": "session_id",
    "unreleased": "session_id",
}
"""The tables of which nothing is left of a session that is over, and the column that holds its id."""
ALIVE = "INSERT OR REPLACE INTO state (name, value) VALUES ('alive_at', ?)"


def fitting(count: int) -> int:
    """Give the smallest number of rows for which there are statements that takes so many, or else the largest."""
    return next((size for size in ROW_COUNTS if size >= count), ROW_COUNTS[-1])


@cache
def upsert(table: Table, size: int) -> str:
    """Write rows in place of those of the same key; takes the values of `size` rows, and how many of them to write."""
    columns = ", ".join(table.columns)
    return f"INSERT OR REPLACE INTO {table.name} ({columns}) {_values(len(table.columns), size)}"


@cache
def delete(table: str, key: tuple[str, ...], size: int) -> str:
    """Delete rows by key; takes `size` keys, and how many of them to delete."""
    columns = ", ".join(key)
    # A row value of one column would not be compared as that column is.
    searched = f"({columns})" if len(key) > 1 else columns
    return f"DELETE FROM {table} WHERE {searched} IN ({_values(len(key), size)})"  # noqa: S608


@cache
def load(table: Table, size: int) -> str:
    """Read rows by their key of one column, in its order; takes `size` keys, and how many of them to read."""
    (key,) = table.key
    columns = ", ".join(table.columns)
    return f"SELECT {columns} FROM {table.name} WHERE {key} IN ({_values(1, size)}) ORDER BY {key}"  # noqa: S608


@cache
def scan(table: Table, *, after: bool) -> str:
    """Read the next rows in the order of their key; takes the last key that was read, if any, and how many to read."""
    columns = ", ".join(table.scanned or table.columns)
    key = ", ".join(table.key)
    beyond = f"WHERE ({key}) > ({', '.join('?' * len(table.key))})" if after else ""
    return f"SELECT {columns} FROM {table.name} {beyond} ORDER BY {key} LIMIT ?"  # noqa: S608


def parameters(rows: Sequence[Sequence[object]], width: int, size: int) -> list[object]:
    """Lay out rows for a statement that takes `size` of them; raise ValueError where they do not have this width."""
    flat = list(chain.from_iterable(rows))
    if len(flat) != len(rows) * width:
        raise ValueError(f"rows of {width} values were expected")
    flat.extend([None] * ((size - len(rows)) * width))
    flat.append(len(rows))
    return flat


def _values(width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"SELECT * FROM (VALUES {', '.join([row] * size)}) LIMIT ?"  # noqa: S608
