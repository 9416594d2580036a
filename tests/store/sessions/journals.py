"""Rows for batches, and a store with what it says of them."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from wardenmq.store.sessions import SessionStore
from wardenmq.store.sessions.tables import TABLES

TIME_LIMIT = 60.0
NOW = 1_700_000_000.0
Row = tuple[Any, ...]
Contents = dict[str, list[Row]]


def session(session_id: int, client_id: str | None = None, **changed: object) -> Row:
    """Make a session; `changed` gives other columns by name."""
    values: dict[str, object] = {
        **dict.fromkeys(TABLES["sessions"].columns),
        "id": session_id,
        "client_id": f"client-{session_id}" if client_id is None else client_id,
        "peer_host": "127.0.0.1",
        "listener": "tcp:default",
        "protocol_name": "MQTT",
        "protocol_version": 5,
        **dict.fromkeys(("peer_port", "keep_alive", "clean_start", "claimed", "confined", "superuser", "sent"), 0),
        **dict.fromkeys(("created_at", "connected_at"), NOW),
        "window": 20,
    }
    return (*(values | changed).values(),)


def message(message_id: int, data: bytes = b"payload", *, topic: str = "a/b") -> Row:
    return (message_id, topic, "publisher", 1, 0, b"", None, 1, 0, data, 0, NOW)


def delivery(session_id: int, position: int, message_id: int, *, done: bytes = b"", received: bytes = b"") -> Row:
    return (session_id, position, message_id, 0, 1, 1, 0, b"", "", done, received)


def subscription(session_id: int, topic_filter: str, qos: int = 1) -> Row:
    return (session_id, topic_filter, qos, 0, 0, 0, None, "")


def retained(topic: str, payload: bytes = b"kept") -> Row:
    return (topic, payload, 1, "publisher", b"", None, NOW)


def delayed(number: int, payload: bytes = b"later") -> Row:
    return (number, NOW + 60, 60.0, f"later/{number}", payload, 1, 0, "publisher", b"", None, NOW)


def upserts(**tables: list[Row]) -> dict[str, dict[Any, Row | None]]:
    """Make a batch of whole rows."""
    batch: dict[str, dict[Any, Row | None]] = {}
    for name, rows in tables.items():
        width = len(TABLES[name].key)
        batch[name] = {row[:width] if width > 1 else row[0]: row for row in rows}
    return batch


def everything(session_id: int) -> dict[str, dict[Any, Row | None]]:
    """Make a batch with a row in each table, all of one session."""
    return upserts(
        sessions=[session(session_id)],
        subscriptions=[subscription(session_id, "a/#")],
        messages=[message(session_id)],
        deliveries=[delivery(session_id, 0, session_id)],
        unreleased=[(session_id, 7)],
        retained=[retained(f"r/{session_id}")],
        delayed=[delayed(session_id)],
    )


def contents(path: Path) -> Contents:
    """Read what another process would find in the file, each row as it crosses to the broker."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            name: connection.execute(
                f"SELECT {', '.join(table.columns)} FROM {name} ORDER BY {', '.join(table.key)}"
            ).fetchall()
            for name, table in TABLES.items()
            if name != "state"
        }


def expected(*batches: Mapping[str, Mapping[Any, Row | None]]) -> Contents:
    """Tell what a file holds after these batches, by the words of the contract."""
    tables: dict[str, dict[Any, Row]] = {name: {} for name in TABLES if name != "state"}
    for batch in batches:
        for ended in batch.get("ended", {}):
            tables["sessions"].pop(ended, None)
            for name in ("subscriptions", "deliveries", "unreleased"):
                tables[name] = {key: row for key, row in tables[name].items() if key[0] != ended}
        for name, rows in batch.items():
            if name != "ended":
                for key in [key for key, row in rows.items() if row is None]:
                    tables[name].pop(key, None)
                tables[name].update((key, row) for key, row in rows.items() if row is not None)
    return {name: [rows[key] for key in sorted(rows)] for name, rows in tables.items()}


class Journal:
    """A store whose batches can be waited for."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.told: list[tuple[Any, ...]] = []
        """What the store said, in order."""
        self.threads: set[int] = set()
        self._news = asyncio.Event()
        self._number = 0
        store.bind(lambda *said: self._hear("committed", *said), lambda *said: self._hear("failed", *said))

    @classmethod
    async def open(cls, path: Path, durability: str = "process", **options: Any) -> "Journal":
        return cls(await SessionStore.open(path, durability, **options))

    def _hear(self, *said: object) -> None:
        self.threads.add(threading.get_ident())
        self.told.append(said)
        self._news.set()

    def submit(self, changes: Mapping[str, Mapping[Any, Row | None]]) -> int:
        """Hand over a batch and return its number."""
        self._number += 1
        self.store.submit(self._number, changes)
        return self._number

    async def outcome(self, number: int) -> tuple[Any, ...]:
        """Wait for the end of a batch and return what was said without its number."""
        async with asyncio.timeout(TIME_LIMIT):
            while not (found := [said for said in self.told if said[1] == number]):
                self._news.clear()
                await self._news.wait()
        assert len(found) == 1
        return found[0][:1] + found[0][2:]

    async def write(self, changes: Mapping[str, Mapping[Any, Row | None]]) -> None:
        """Write a batch, which must succeed."""
        assert await self.outcome(self.submit(changes)) == ("committed",)

    async def fail(self, changes: Mapping[str, Mapping[Any, Row | None]]) -> tuple[str, str]:
        """Write a batch that must fail, and return the kind and the text."""
        outcome, kind, text = await self.outcome(self.submit(changes))
        assert outcome == "failed"
        return kind, text

    async def read(self) -> Contents:
        """Read all tables through the store itself."""
        return {name: [row async for piece in self.store.scan(name) for row in piece] for name in TABLES}

    async def in_writer(self, call: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do something with the connection that writes, in its thread."""
        connection = self.store._writer._connection
        assert connection is not None
        return await asyncio.get_running_loop().run_in_executor(self.store._writing, call, connection)

    async def close(self) -> None:
        async with asyncio.timeout(TIME_LIMIT):
            await self.store.close()
