"""A store of the journal in memory: tests say when a batch is written, and when that fails."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

Row = tuple[Any, ...]
TABLES = ("state", "sessions", "subscriptions", "messages", "deliveries", "unreleased", "retained", "delayed")
OF_SESSIONS = ("subscriptions", "deliveries", "unreleased")
_CLIENT_ID = 1
"""The column of sessions that is unique."""


class MemoryStore:
    """Keep the tables as dictionaries; what is here would be on the disk."""

    def __init__(self, tables: dict[str, dict[Any, Row]] | None = None) -> None:
        self.tables: dict[str, dict[Any, Row]] = tables or {name: {} for name in TABLES}
        self.problem: str | None = None
        self.blocked = False
        """Whether batches are left lying until `release` is called."""
        self.fails: tuple[str, str] | None = None
        self.submitted: list[tuple[int, dict[str, dict[Any, Row | None]]]] = []
        self.reads = 0
        """Messages that were loaded."""
        self.read_calls = 0
        self.unreadable = False
        self.on_commit: Callable[[], None] | None = None
        """Called before and after each batch is written, before anybody is told."""
        self._committed: Callable[[int], None]
        self._failed: Callable[[int, str, str], None]
        self._waiting: list[tuple[int, Any]] = []

    def bind(self, committed: Callable[[int], None], failed: Callable[[int, str, str], None]) -> None:
        self._committed, self._failed = committed, failed

    def submit(self, number: int, changes: Any) -> None:
        assert not self._waiting, "one batch at a time"
        self.submitted.append((number, copy.copy(changes)))
        self._waiting.append((number, changes))
        if not self.blocked:
            asyncio.get_running_loop().call_soon(self.release)

    def release(self) -> None:
        """Write what lies there, or fail."""
        waiting, self._waiting = self._waiting, []
        for number, changes in waiting:
            if self.fails is not None:
                self._failed(number, *self.fails)
                continue
            if self.on_commit is not None:
                self.on_commit()
            self._apply(changes)
            if self.on_commit is not None:
                self.on_commit()
            self._committed(number)

    def let_go(self) -> None:
        """Write whatever comes from now on."""
        self.blocked, self.fails, self.unreadable = False, None, False
        self.release()

    @property
    def busy(self) -> bool:
        """Tell whether a batch lies there."""
        return bool(self._waiting)

    def _apply(self, changes: Any) -> None:
        tables = self.tables
        for key in changes.get("ended", ()):
            tables["sessions"].pop(key, None)
            for name in OF_SESSIONS:
                tables[name] = {each: row for each, row in tables[name].items() if each[0] != key}
        for gone in (True, False):  # deletes of all tables first
            for name in TABLES:
                for key, row in changes.get(name, {}).items():
                    if row is None:
                        if gone:
                            tables[name].pop(key, None)
                    elif not gone:
                        assert all(not isinstance(value, bytearray | bool) for value in row), row
                        tables[name][key] = row
        names = [row[_CLIENT_ID] for row in tables["sessions"].values()]
        assert len(set(names)) == len(names), f"two sessions of one client: {names}"

    async def load(self, message_ids: Sequence[int]) -> list[Row]:
        await asyncio.sleep(0)
        return self.load_now(message_ids)

    def load_now(self, message_ids: Sequence[int]) -> list[Row]:
        if self.unreadable:
            raise OSError("the disk cannot be read")
        self.read_calls += 1
        self.reads += len(message_ids)
        messages = self.tables["messages"]
        return [messages[number] for number in message_ids if number in messages]

    async def scan(self, table: str) -> AsyncIterator[list[Row]]:
        rows = [row for _, row in sorted(self.tables[table].items())]
        if table == "messages":
            rows = [(*row[:9], row[10], len(row[9])) for row in rows]
        for at in range(0, len(rows), 3):
            yield rows[at : at + 3]

    def after_a_crash(self) -> "MemoryStore":
        """Give what a new process would find."""
        return MemoryStore({name: dict(rows) for name, rows in self.tables.items()})
