"""What can still be read of a table whose pages are damaged, by SQLite itself: rows by key, from every side.

A page that cannot be read makes each query fail that comes by it. So a table is read from its first row up to the
damage and from its last row down to it; in between, reading starts anew at keys at which something may be left, upwards
and downwards. No page is read that the table does not lead to: what is in such a page may have been deleted, a login
that was revoked or a message that was delivered.
"""

import sqlite3
from bisect import bisect_right
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .key_search import Key, between

Row = tuple[Any, ...]
_MAX_TRIES = 200_000
"""Queries that may fail in one table: some seconds."""
_MAX_BARREN = 64
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG)
_ROWID = "rowid"


@dataclass(frozen=True, slots=True)
class TableShape:
    """Name a table, its columns and its key: columns of numbers and texts, or the rowid."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    kinds: tuple[type[int] | type[bytes], ...]

    @classmethod
    def of(cls, connection: sqlite3.Connection, name: str) -> "TableShape":
        """Ask a sound database of the same schema. Raises sqlite3.Error."""
        found = connection.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
        columns = tuple(str(column[1]) for column in found)
        try:
            connection.execute(f"SELECT {_ROWID} FROM {_quoted(name)} LIMIT 0")  # noqa: S608
        except sqlite3.OperationalError:  # WITHOUT ROWID
            keys = sorted((column[5], str(column[1]), str(column[2])) for column in found if column[5])
            kinds = tuple(int if kind == "INTEGER" else bytes for _, _, kind in keys)
            return cls(name, columns, tuple(column for _, column, _ in keys), kinds)
        return cls(name, columns, (_ROWID,), (int,))


@dataclass(slots=True)
class _Gap:
    """A part of the table that has not been read: above `low`, or from it on, and below `high`."""

    low: Key | None
    high: Key | None
    inclusive: bool = False
    barren: int = 0
    """How often starting anew in it has found no row but only places where there is none."""


class Salvage:
    """Read one table; once `rows` has given what can be read, the other methods tell what could not."""

    def __init__(self, connection: sqlite3.Connection, shape: TableShape) -> None:
        self._lost: list[tuple[Key | None, Key | None]] = []
        self._connection = connection
        self._shape = shape
        self._tries = 0

    def rows(self) -> Iterator[Row]:
        """Give rows in any order, none of them twice.

        Raises sqlite3.Error where it is not the file that is at fault.
        """
        gap = _Gap(None, None)
        if not (yield from self._upwards(gap)) and not (yield from self._downwards(gap)):
            yield from self._middle(gap)
        self._lost.sort(key=lambda ends: (ends[0] is not None, ends[0]))

    def give_up(self) -> None:
        """Count all of the table as lost, instead of reading it."""
        self._lost = [(None, None)]

    def count_lost(self) -> int:
        """Count the ranges of keys that could not be read."""
        return sum(before is None or before[1] != lost[0] for before, lost in pairwise([None, *self._lost]) if lost)

    def is_lost(self, key: Key) -> bool:
        """Tell whether a row of this key would be in such a range."""
        at = bisect_right(self._lost, (True, key), key=lambda ends: (ends[0] is not None, ends[0]))
        if not at:
            return False
        _, high = self._lost[at - 1]
        return high is None or key < high

    def _middle(self, damaged: _Gap) -> Iterator[Row]:
        """Read what is left between two places that cannot be read."""
        gaps = deque([damaged])
        while gaps:
            gap = gaps.popleft()
            parts = yield from self._split(gap)
            if parts is None:
                self._lost.append((gap.low, gap.high))
            else:
                gaps.extend(parts)

    def _split(self, gap: _Gap) -> Generator[Row, None, list[_Gap] | None]:
        """Start anew somewhere in a gap and give what is left of it on both sides; None where nothing was found."""
        for key in between(gap.low, gap.high, self._shape.kinds):
            if self._tries > _MAX_TRIES or gap.barren > _MAX_BARREN:
                return None
            upper = _Gap(key, gap.high, inclusive=True)
            lower = _Gap(gap.low, key, gap.inclusive)
            to_the_end = yield from self._upwards(upper)
            to_the_start = yield from self._downwards(lower)
            found = not upper.inclusive or lower.high != key
            if found or to_the_end or to_the_start:
                upper.barren = lower.barren = 0 if found else gap.barren + 1
                return [part for part, is_read in ((upper, to_the_end), (lower, to_the_start)) if not is_read]
        return None

    def _upwards(self, gap: _Gap) -> Generator[Row, None, bool]:
        """Read from the gap's low end on and move that end; tell whether that came to the high end."""
        return (yield from self._read(gap, "ASC"))

    def _downwards(self, gap: _Gap) -> Generator[Row, None, bool]:
        """Read from the gap's high end down and move that end; tell whether that came to the low end."""
        return (yield from self._read(gap, "DESC"))

    def _read(self, gap: _Gap, order: str) -> Generator[Row, None, bool]:
        width = len(self._shape.key)
        single = False
        while True:
            found = False
            try:
                for row in self._query(gap, order, limit=1 if single else -1):
                    if not self._move_end(gap, key_of(row[:width]), order):
                        return False
                    found = True
                    yield row[width:]
                if not (single and found):
                    return True
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._tries += 1
                if single:
                    return False
            # Python fetches a row ahead, and loses the one before the one that cannot be read.
            single = not single

    def _move_end(self, gap: _Gap, key: Key, order: str) -> bool:
        """Move the end from which a gap is read to a row; False where such a row cannot be there."""
        if not all(isinstance(part, kind) for part, kind in zip(key, self._shape.kinds, strict=True)):
            return False
        if gap.low is not None and (key < gap.low or (key == gap.low and not gap.inclusive)):
            return False
        if gap.high is not None and key >= gap.high:
            return False
        if order == "ASC":
            gap.low, gap.inclusive = key, False
        else:
            gap.high = key
        return True

    def _query(self, gap: _Gap, order: str, *, limit: int) -> sqlite3.Cursor:
        key = ", ".join(map(_quoted, self._shape.key))
        values = ", ".join("?" * len(self._shape.key))
        conditions: list[str] = []
        parameters: list[int | str] = []
        for sign, bound in ((">=" if gap.inclusive else ">", gap.low), ("<", gap.high)):
            if bound is not None:
                conditions.append(f"({key}) {sign} ({values})")
                parameters += [part.decode() if isinstance(part, bytes) else part for part in bound]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        ordered = ", ".join(f"{_quoted(part)} {order}" for part in self._shape.key)
        columns = ", ".join(map(_quoted, (*self._shape.key, *self._shape.columns)))
        # No index: it may name rows that are not there, and leave out others.
        table = f"{_quoted(self._shape.name)} NOT INDEXED"
        return self._connection.execute(
            f"SELECT {columns} FROM {table} {where} ORDER BY {ordered} LIMIT {limit}",  # noqa: S608 (quoted names)
            parameters,
        )


def key_of(values: Sequence[Any]) -> Key:
    """Make a key of the columns that are one."""
    return tuple(value.encode() if isinstance(value, str) else value for value in values)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _is_damage(error: sqlite3.Error) -> bool:
    """Tell whether it is the file that is at fault, or a text in it that is none; nothing else is passed over."""
    # Python's own module raises an error without a code where a text is not UTF-8.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE
