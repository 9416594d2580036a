"""What a disk does on command: refuse, wait, be slow; whoever stands between SQLite and its files asks here.

Operations are `open`, `read`, `write` and `sync`. An order for `write:wal` concerns the write-ahead log alone, one for
`write:main` the database file alone, one for `read:reader` the connections alone that only read.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

NAME = "sessions.db"
"""The file that fails, with its companions; all others stay whole."""
READER = "reader"
BEGUN, ENDED, FAILED = "begun", "ended", "failed"


def part_of(path: str) -> str | None:
    """Give which part of the database a file is; None for a file that is none of ours.

    While it is made, the database has another name.
    """
    name = Path(path).name
    for database in (NAME, f"{NAME}.new"):
        if name == database:
            return "main"
        if name.startswith(f"{database}-"):
            return name.removeprefix(f"{database}-")
    return None


class Faults:
    """Hold the orders that are in force and count the operations; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._failing: dict[str, str] = {}
        self._held: set[str] = set()
        self._delays: dict[str, float] = {}
        self._let: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        """Operations that do not wait."""

    def fail(self, orders: Mapping[str, str]) -> None:
        """Let operations fail from now on, by operation the name of the error; none for a whole disk.

        `read` knows EIO, `write` and `sync` know EIO and ENOSPC, `open` knows EROFS: what is opened can only be read.
        """
        with self._changed:
            self._failing = dict(orders)

    def hold(self, operations: Collection[str]) -> None:
        """Let operations that begin from now on wait; those that are no longer named go on.

        Returns once no operation of that kind is under way any more.
        """
        with self._changed:
            self._held = set(operations)
            self._let.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(self._running[name] for name in operations))

    def let(self, operation: str, count: int) -> None:
        """Let so many of the held operations through."""
        with self._changed:
            self._let[operation] += count
            self._changed.notify_all()

    def delay(self, seconds: Mapping[str, float]) -> None:
        """Let each operation take so much longer from now on."""
        with self._changed:
            self._delays = dict(seconds)

    def counts(self) -> dict[str, int]:
        """Give how many operations have begun, ended and failed: `sync begun`, `sync:wal ended`, ..."""
        with self._changed:
            return dict(self._counts)

    @contextmanager
    def operation(self, operation: str, *kinds: str) -> Iterator[str | None]:
        """Wait for as long as is ordered, then give the name of the error that the operation shall end with, if any."""
        names = (operation, *(f"{operation}:{kind}" for kind in kinds))
        with self._changed:
            self._count(names, BEGUN)
            self._changed.wait_for(lambda: self._pass(names))
            self._running.update(names)
            seconds = max(self._delays.get(name, 0.0) for name in names)
        if seconds:
            time.sleep(seconds)
        with self._changed:
            error = next((self._failing[name] for name in names if name in self._failing), None)
        try:
            yield error
        finally:
            with self._changed:
                self._running.subtract(names)
                self._count(names, FAILED if error else ENDED)

    def _pass(self, names: tuple[str, ...]) -> bool:
        held = next((name for name in names if name in self._held), None)
        if held is None:
            return True
        if self._let[held] == 0:
            return False
        self._let[held] -= 1
        return True

    def _count(self, names: tuple[str, ...], state: str) -> None:
        for name in names:
            self._counts[f"{name} {state}"] += 1
        self._changed.notify_all()
