"""Connections that ask `Faults` themselves, for a Python whose SQLite lets nobody put a file layer under it.

A statement that reads rows of a table counts as a read, a COMMIT as a write and a sync: coarser than the files, but
the program above sees the same errors in the same places.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from .file_faults import READER, Faults, part_of
from .synced_copies import SyncedCopies

_connect = sqlite3.connect
_FULL = 2
_CHANGES = ("INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER")
_ERRORS = {
    ("read", "EIO"): ("SQLITE_IOERR_READ", "disk I/O error"),
    ("write", "EIO"): ("SQLITE_IOERR_WRITE", "disk I/O error"),
    ("write", "ENOSPC"): ("SQLITE_FULL", "database or disk is full"),
    ("sync", "EIO"): ("SQLITE_IOERR_FSYNC", "disk I/O error"),
    ("sync", "ENOSPC"): ("SQLITE_IOERR_FSYNC", "disk I/O error"),
}


def install(faults: Faults, synced: SyncedCopies | None = None) -> None:
    """Have all connections to the file that fails go through the faults, from now on and in the whole process."""

    class Connection(FaultyConnection):
        pass

    Connection.faults = faults
    Connection.synced = synced

    def connect(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        path = str(database).removeprefix("file:").partition("?")[0]
        if part_of(path) != "main":
            return _connect(database, *arguments, **options)
        with faults.operation("open", "main") as error:
            if error is not None:
                database = f"file:{path}?mode=ro"
                options["uri"] = True
            connection = _connect(database, *arguments, **{"factory": Connection, **options})
        assert isinstance(connection, Connection)
        connection.kinds = ("main", READER) if "mode=ro" in str(database) else ("main",)
        if synced is not None:
            for part in ("", "-wal"):
                with suppress(FileNotFoundError):
                    synced.opened(path + part)
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]


class FaultyConnection(sqlite3.Connection):
    """A connection whose statements wait and fail as ordered."""

    faults: Faults
    synced: SyncedCopies | None = None
    kinds: tuple[str, ...] = ("main",)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]
        return self.cursor().execute(sql, *parameters)

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, rows)

    def executescript(self, script: str) -> sqlite3.Cursor:
        return self.cursor().executescript(script)

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or FaultyCursor)

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")


class FaultyCursor(sqlite3.Cursor):
    """A cursor of such a connection."""

    connection: FaultyConnection

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]
        word = sql.split(None, 1)[0].rstrip(";").upper()
        if word in ("COMMIT", "END"):
            return self._commit(sql)
        if word in _CHANGES and not self.connection.in_transaction:
            with self._operation("write"), self._operation("sync"):
                return self._kept(super().execute(sql, *parameters))
        if "WAL_CHECKPOINT" in sql.upper():
            with self._operation("write"), self._operation("sync"):
                return self._kept(super().execute(sql, *parameters), whatever=True)
        if word in ("SELECT", "WITH") and " FROM " in f"{sql} ".upper():
            with self._operation("read"):
                return super().execute(sql, *parameters)
        return super().execute(sql, *parameters)

    def executescript(self, script: str) -> sqlite3.Cursor:
        with self._operation("write"), self._operation("sync"):
            return self._kept(super().executescript(script))

    def _commit(self, sql: str) -> sqlite3.Cursor:
        try:
            with self._operation("write"), self._operation("sync"):
                return self._kept(super().execute(sql))
        except sqlite3.OperationalError:
            self.connection.rollback()  # as SQLite does
            raise

    def _kept(self, done: sqlite3.Cursor, whatever: bool = False) -> sqlite3.Cursor:
        """Take copies of the files where the connection has synced them; `whatever` it usually does."""
        plain = self.connection.cursor(sqlite3.Cursor)
        ((synchronous,),) = plain.execute("PRAGMA synchronous").fetchall()
        if self.connection.synced is not None and (whatever or synchronous >= _FULL):
            ((_, _, path),) = plain.execute("PRAGMA database_list").fetchall()
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    self.connection.synced.take(path + suffix)
        return done

    def _operation(self, operation: str) -> "_Failing":
        return _Failing(self.connection, operation)


class _Failing:
    """Run one operation, or raise what SQLite would."""

    def __init__(self, connection: FaultyConnection, operation: str) -> None:
        self._operation = operation
        self._running = connection.faults.operation(operation, *connection.kinds)

    def __enter__(self) -> None:
        name = self._running.__enter__()
        if name is not None:
            error_name, text = _ERRORS[self._operation, name]
            error = sqlite3.OperationalError(text)
            error.sqlite_errorname = error_name
            error.sqlite_errorcode = getattr(sqlite3, error_name)
            self._running.__exit__(None, None, None)
            raise error

    def __exit__(self, *failure: Any) -> None:
        self._running.__exit__(*failure)
