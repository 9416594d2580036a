"""Write batches: each in one transaction, by a handful of statements.

Each call into SQLite gives the interpreter's lock away, and a busy event loop may return it only after milliseconds. So
many rows go into one statement.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from . import connections
from .connections import primary_code
from .setting_aside import side_file
from .tables import ALIVE, OF_A_SESSION, ROW_COUNTS, WRITTEN, Table, delete, fitting, parameters, upsert

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = int | str | tuple[int, int | str]
Changes: TypeAlias = Mapping[str, Mapping[Key, Row | None]]
"""Whole rows by table and key, None where a row is to go; `ended` names sessions of which nothing is to stay."""

FULL = "full"
ERROR = "error"
_NAMES = {"ended"} | {table.name for table in WRITTEN}
_MANY_BYTES = 1024 * 1024
"""Bytes of payload in one statement; it holds on to a copy of them until it runs again."""
_NO_SPACE = 1024 * 1024
"""Bytes free on the file system below which an error that has no better reason is for want of space."""
_BROKEN = (
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_INTERNAL),
)
"""After these a connection is not trusted any more."""

_Identity: TypeAlias = tuple[int, int] | None


class FileGone(Exception):
    """Say that the file that is open is not the one under its name any more."""


class Writer:
    """Own the connection that writes; everything happens in one thread, that of the caller."""

    def __init__(self, path: Path, durability: str, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._path = path
        self._durability = durability
        self._connection: sqlite3.Connection | None = connection
        self._clock = clock
        self._files = self._find_files()

    def write(self, changes: Changes) -> None:
        """Write a batch, all of it or nothing. Raises whatever kept it from being written."""
        connection = self._usable_connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            _apply(connection, changes)
            connection.execute(ALIVE, (self._clock(),))
            connection.execute("COMMIT")
        except BaseException as error:
            self._take_back(connection, error)
            raise

    def close(self) -> None:
        """Move the log into the file, if that is possible, and close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # the log is as good, and is played at the next start
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.close()

    def fault(self, error: BaseException) -> tuple[str, str]:
        """Say of what kind an error is, and in one sentence what it means."""
        kind = FULL if self._is_full(error) else ERROR
        reason = str(error) or type(error).__name__
        return kind, f"{self._path} could not be written: {reason}."

    def _usable_connection(self) -> sqlite3.Connection:
        # SQLite does not mind writing to a file that has no name any more, and all of it would be lost.
        database, log = self._find_files()
        if database != self._files[0] or (self._connection is not None and log != self._files[1]):
            raise FileGone("it or its log was deleted or replaced while it was in use; put it back or restart")
        if self._connection is None:
            self._connection = connections.for_writing(self._path, self._durability)
            self._files = self._find_files()
        return self._connection

    def _find_files(self) -> tuple[_Identity, _Identity]:
        return _identity(self._path), _identity(side_file(self._path, "-wal"))

    def _take_back(self, connection: sqlite3.Connection, error: BaseException) -> None:
        broken = primary_code(error) in _BROKEN
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            broken = True
        if broken:
            self._connection = None
            with suppress(sqlite3.Error):
                connection.close()

    def _is_full(self, error: BaseException) -> bool:
        if isinstance(error, OSError):
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = primary_code(error)
        if code == sqlite3.SQLITE_IOERR:  # such as for the index of the log, which no reason is given for
            with suppress(OSError):
                space = os.statvfs(self._path.parent)
                return space.f_bavail * space.f_frsize < _NO_SPACE
        return code == sqlite3.SQLITE_FULL


def _identity(path: Path) -> _Identity:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _apply(connection: sqlite3.Connection, changes: Changes) -> None:
    if unknown := changes.keys() - _NAMES:
        raise ValueError(f"there are no tables {sorted(unknown)}")
    if ended := changes.get("ended"):
        for table, column in OF_A_SESSION.items():
            _delete(connection, table, (column,), [(session_id,) for session_id in ended])
    for table in WRITTEN:
        if rows := changes.get(table.name):
            _delete(connection, table.name, table.key, _keys(key for key, row in rows.items() if row is None))
    for table in WRITTEN:
        if rows := changes.get(table.name):
            _upsert(connection, table, [row for row in rows.values() if row is not None])


def _keys(keys: Iterator[Key]) -> list[Row]:
    return [key if isinstance(key, tuple) else (key,) for key in keys]


def _delete(connection: sqlite3.Connection, table: str, key: tuple[str, ...], keys: Sequence[Row]) -> None:
    if key == ("session_id", "topic_filter"):
        # For a number and a text SQLite would go through all subscriptions of the session, for each of them. Few are
        # ended in other ways than with their session.
        connection.executemany(f"DELETE FROM {table} WHERE session_id = ? AND topic_filter = ?", keys)  # noqa: S608
        return
    for part in _slices(keys):
        size = fitting(len(part))
        connection.execute(delete(table, key, size), parameters(part, len(key), size))


def _upsert(connection: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
    width = len(table.columns)
    for part, length in _by_bytes(rows, table.payload):
        size = fitting(len(part))
        statement = upsert(table, size)
        connection.execute(statement, parameters(part, width, size))
        if length > _MANY_BYTES:  # else the statement would keep it
            connection.execute(statement, parameters((), width, size))


def _by_bytes(rows: Sequence[Row], payload: int | None) -> Iterator[tuple[Sequence[Row], int]]:
    """Cut rows into parts that are not long, as far as single rows are not, and give the length of each."""
    lengths = [len(row[payload] or b"") for row in rows] if payload is not None else []
    if sum(lengths) <= _MANY_BYTES:
        yield from ((part, 0) for part in _slices(rows))
        return
    begin = total = 0
    for number, length in enumerate(lengths):
        if number > begin and (total + length > _MANY_BYTES or number - begin == ROW_COUNTS[-1]):
            yield rows[begin:number], total
            begin, total = number, 0
        total += length
    yield rows[begin:], total


def _slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for begin in range(0, len(rows), ROW_COUNTS[-1]):
        yield rows[begin : begin + ROW_COUNTS[-1]]
