"""Open the database of what has been: create it, migrate it, set it aside where it is damaged. All of it blocks."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ..database_copy import copy_database
from ..errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from ..migrations import available, migrate_now, too_new
from ..sessions.connections import connect
from ..sessions.opening import is_damage
from ..sessions.setting_aside import set_aside

APPLICATION_ID = 0x57415248
"""Marks the file as ours (`PRAGMA application_id`)."""
MIGRATIONS = Path(__file__).with_name("migrations")


def open_history(path: Path | None, folder: Path = MIGRATIONS) -> tuple[sqlite3.Connection, str | None]:
    """Open or create the file (mode 0600), and return a connection and what became of a damaged file.

    None for a database in memory. A damaged file is set aside and a new one begun: nothing depends on it. Raises
    DatabaseDamaged or DatabaseTooNew where the file is of another program or a newer release, DatabaseUnavailable where
    it cannot be used; it is left as it is.
    """
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        migrate_now(connection, folder, APPLICATION_ID, before=_keep_nothing)
        return connection, None
    try:
        problem = None
        if damage := _find_damage(path, folder):
            aside = set_aside(path, datetime.now(UTC))
            problem = f"{path} was damaged ({damage}) and was set aside as {aside.name}; a new one was begun."
        _create(path)
        return _open(path, folder), problem
    except OSError as error:
        raise DatabaseUnavailable(f"{path} cannot be opened: {error.strerror or error}.") from error
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} cannot be used: {error}.") from error


def _find_damage(path: Path, folder: Path) -> str | None:
    """Say what is damaged about a file, if anything; one that does not exist, or is empty, is not."""
    if not path.exists() or not path.stat().st_size:
        return None
    known = len(available(folder))
    try:
        with closing(connect(path, "rw")) as connection:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if owner != APPLICATION_ID and (owner or version or _holds_tables(connection)):
                raise DatabaseDamaged(f"{path} is a database of some other program; it was left as it is.")
            if version > known:
                raise DatabaseTooNew(f"{path}: {too_new(version, known).message}")
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if is_damage(error):
            return str(error)
        raise
    return None if answer == "ok" else " ".join(str(answer).split())


def _holds_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _open(path: Path, folder: Path) -> sqlite3.Connection:
    connection = connect(path, "rw")
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        # a power failure may take the last samples, never the file
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate_now(
            connection,
            folder,
            APPLICATION_ID,
            before=lambda version: copy_database(path, path.with_name(f"{path.name}.v{version}.bak")),
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_nothing(_version: int) -> None:
    """Do without a copy of what is in memory alone."""
