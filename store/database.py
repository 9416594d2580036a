"""One SQLite file with one connection: open, check, read at start, write in transactions."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite

from .errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from .migrations import migrate

MEMORY = ":memory:"
_HEADER = b"SQLite format 3\0"
_BUSY_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Statement:
    """Hold one SQL statement and the rows of parameters that it runs with, in order."""

    sql: str
    rows: Sequence[Sequence[object]]


class Database:
    """Own the connection; the caller sees to it that only one transaction is asked for at a time."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, path: Path | str) -> "Database":
        """Open or create the file (mode 0600), check it and bring its schema up to date.

        Raises DatabaseDamaged, DatabaseTooNew (the file is left as it is) or DatabaseUnavailable.
        """
        if str(path) != MEMORY:
            _prepare_file(Path(path))
        connection: aiosqlite.Connection | None = None
        try:
            connection = await aiosqlite.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None)
            await _check(connection)
            try:
                await migrate(connection)
            except (DatabaseDamaged, DatabaseTooNew) as error:
                raise type(error)(f"{path}: {error.message}") from None
            await connection.execute("PRAGMA journal_mode = WAL")
            # Safe against a killed process; a power failure may take the last commits with it, never the file.
            await connection.execute("PRAGMA synchronous = NORMAL")
            await connection.execute("PRAGMA foreign_keys = ON")
        except BaseException as error:
            if connection is not None:
                await connection.close()
            if isinstance(error, sqlite3.Error):
                raise _translate(error, path) from error
            raise
        return cls(connection)

    async def read(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        try:
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]
        except sqlite3.Error as error:
            raise _translate(error, "the database") from error

    async def transact(self, statements: Iterable[Statement]) -> None:
        """Run the statements in one transaction, all or none; raise DatabaseUnavailable where SQLite refuses."""
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements:
                    # aiosqlite logs its calls at level debug: an iterator does not show the hashes that it yields.
                    await self._connection.executemany(statement.sql, iter(statement.rows))
                await self._connection.execute("COMMIT")
            except BaseException:
                await self._connection.rollback()
                raise
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"The database could not be written ({error}); nothing was changed.") from error

    async def close(self) -> None:
        """Close the connection; SQLite folds the write-ahead log into the file."""
        await self._connection.close()


def _prepare_file(path: Path) -> None:
    """Create the file for its owner alone, or make sure that what is there looks like a database.

    SQLite gives the -wal and -shm files the mode of the database, so this one mode guards all three.
    """
    try:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            with path.open("rb") as file:
                start = file.read(len(_HEADER))
            if not start:
                raise DatabaseDamaged(
                    f"{path} is empty, so it has lost what it held; restore it or move it away."
                ) from None
            if start != _HEADER:
                raise DatabaseDamaged(f"{path} is not a database; it was left as it is.") from None
            path.chmod(0o600)
    except OSError as error:
        raise DatabaseUnavailable(f"{path} cannot be opened: {error.strerror}.") from error


async def _check(connection: aiosqlite.Connection) -> None:
    async with connection.execute("PRAGMA quick_check(1)") as cursor:
        row = await cursor.fetchone()
    if row is None or row[0] != "ok":
        raise DatabaseDamaged(f"The database is damaged ({row[0] if row else 'no answer'}); it was left as it is.")


def _translate(error: sqlite3.Error, path: Path | str) -> DatabaseDamaged | DatabaseUnavailable:
    # The low byte is the primary result code. An error that Python's own module raises has no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return DatabaseDamaged(f"{path} is not a database or is damaged ({error}); it was left as it is.")
    return DatabaseUnavailable(f"{path} cannot be used: {error}.")
