"""One SQLite file with one connection that writes: open, check, read at start, write in transactions.

What may take long to read is read beside it, on a connection that lives for one query.
"""

import asyncio
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosqlite

from .database_copy import copy_database
from .errors import AlreadyExists, DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable, Invalid, Overloaded
from .migrations import migrate

MEMORY = ":memory:"
_HEADER = b"SQLite format 3\0"
_BUSY_TIMEOUT = 5.0
_TAKEN = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
_READING_AT_ONCE = 2
_MAX_READING = 100


@dataclass(frozen=True, slots=True)
class Statement:
    """Hold one SQL statement and the rows of parameters that it runs with, in order."""

    sql: str
    rows: Sequence[Sequence[object]] = field(repr=False)
    """They hold hashes."""


def grouped(statements: Iterable[Statement]) -> list[Statement]:
    """Make one statement of all that have the same text, where the first of them stood; each is a trip to a thread."""
    rows: dict[str, list[Sequence[object]]] = {}
    for statement in statements:
        rows.setdefault(statement.sql, []).extend(statement.rows)
    return [Statement(sql, together) for sql, together in rows.items()]


class Database:
    """Own the connection; one transaction runs at a time."""

    def __init__(self, connection: aiosqlite.Connection, path: Path | None) -> None:
        """Take a connection and the file that it is to; None for a database in memory."""
        self._connection = connection
        self._path = path
        self._transaction = asyncio.Lock()
        self._asides = asyncio.Semaphore(_READING_AT_ONCE)
        self._reading: set[asyncio.Task[list[tuple[Any, ...]]]] = set()

    @classmethod
    async def open(cls, path: Path | str) -> "Database":
        """Open or create the file (mode 0600), check it and bring its schema up to date.

        One of an older release is first copied to `NAME.vVERSION.bak` beside it, which stays. Raises DatabaseDamaged,
        DatabaseTooNew (the file is left as it is) or DatabaseUnavailable.
        """
        file = None if str(path) == MEMORY else Path(path)
        if file is not None:
            _prepare_file(file)

        async def keep_copy(version: int) -> None:
            if file is not None:
                await asyncio.to_thread(_keep_copy, file, version)

        connection: aiosqlite.Connection | None = None
        try:
            connection = await aiosqlite.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None)
            await _check(connection)
            try:
                await migrate(connection, before=keep_copy)
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
        return cls(connection, file)

    async def read(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        try:
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]
        except sqlite3.Error as error:
            raise _translate(error, "the database") from error

    async def read_aside(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query that may take long: no write waits for it, and it sees only what is committed.

        Raises Overloaded where too many are waiting, DatabaseUnavailable where SQLite refuses.
        """
        if len(self._reading) >= _MAX_READING:
            raise Overloaded("Too many queries are waiting.")
        # A thread cannot be cancelled: were its turn over with its caller, there would soon be many.
        task = asyncio.ensure_future(self._read_aside(sql, parameters))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return await asyncio.shield(task)

    async def _read_aside(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._path is None:
            async with self._transaction:
                return await self.read(sql, parameters)
        async with self._asides:
            try:
                return await asyncio.to_thread(_read_file, self._path, sql, parameters)
            except sqlite3.Error as error:
                raise _translate(error, "the database") from error

    async def transact(self, statements: Iterable[Statement]) -> int:
        """Run the statements in one transaction, all or none, and return how many rows they changed.

        Raises DatabaseUnavailable where SQLite refuses, AlreadyExists where a row is there, Invalid for values that it
        cannot keep.
        """
        changed = 0
        async with self._transaction:
            try:
                try:
                    await self._connection.execute("BEGIN IMMEDIATE")
                    for statement in statements:
                        # aiosqlite logs its calls at level debug: an iterator does not show the hashes that it yields.
                        cursor = await self._connection.executemany(statement.sql, iter(statement.rows))
                        changed += max(cursor.rowcount, 0)
                    await self._connection.execute("COMMIT")
                except BaseException:
                    await self._connection.rollback()
                    raise
            except (UnicodeEncodeError, OverflowError) as error:
                raise Invalid("The database cannot keep a text without UTF-8 or a number beyond 64 bits.") from error
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) in _TAKEN:
                    raise AlreadyExists("A record of this name, id or secret exists; nothing was changed.") from error
                raise DatabaseUnavailable(
                    f"The database could not be written ({error}); nothing was changed."
                ) from error
        return changed

    async def close(self) -> None:
        """Wait for the queries under way and close the connection; SQLite folds the write-ahead log into the file."""
        while self._reading:
            await asyncio.wait(self._reading)
        await self._connection.close()


def _read_file(path: Path, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT)) as connection:
        return connection.execute(sql, parameters).fetchall()


def _keep_copy(path: Path, version: int) -> None:
    try:
        copy_database(path, path.with_name(f"{path.name}.v{version}.bak"))
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            f"The database is of an older release and is not migrated without a copy of it. {error.message}"
        ) from error


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
