"""Open the database of the journal: examine it, set it aside where it is damaged, create it, migrate it.

All of it blocks, and may be cut short anywhere: whoever opens the database next finds all that was committed.
"""

import os
import sqlite3
import stat
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ..database_copy import copy_database
from ..errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from ..migrations import available, migrate_now, too_new
from . import connections
from .connections import primary_code
from .setting_aside import SIDE_FILES, set_aside, side_file, synchronise
from .tables import TABLES

APPLICATION_ID = 0x57415253
"""Marks the file as the journal's (`PRAGMA application_id`)."""
MIGRATIONS = Path(__file__).with_name("migrations")
_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_VERSION = slice(60, 64)
_OWNER = slice(68, 72)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_sessions(path: Path, durability: str, folder: Path = MIGRATIONS) -> tuple[sqlite3.Connection, str | None]:
    """Open or create the file (mode 0600) and return a connection that writes, and what became of a damaged file.

    A damaged file is set aside and a new one begun. One of an older release is first copied to `NAME.vVERSION.bak`
    beside it, which stays. Raises DatabaseDamaged or DatabaseTooNew where the file is of another program or a newer
    release, DatabaseUnavailable where it cannot be used; it is left as it is.
    """
    problem: str | None = None
    with _translated(path):
        if damage := find_damage(path, folder):
            aside = set_aside(path, datetime.now(UTC))
            problem = (
                f"{path} was damaged ({damage}) and was set aside as {aside.name}, so what it held is missing: "
                f"see what `wardenmq doctor` can recover."
            )
        if not path.exists():
            _create(path, folder)
        path.chmod(0o600)
        _bring_up_to_date(path, folder)
        return connections.for_writing(path, durability), problem


def find_damage(path: Path, folder: Path = MIGRATIONS) -> str | None:
    """Say what is damaged about a file, if anything, and leave it as it is; one that does not exist is not damaged.

    Reads all of the file. Raises DatabaseDamaged where it is a database of another program, DatabaseTooNew where a
    newer release wrote it, DatabaseUnavailable where it cannot be read.
    """
    with _translated(path):
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DatabaseUnavailable(f"{path} is not a file.")
            with path.open("rb") as file:
                header = file.read(_HEADER_SIZE)
        except FileNotFoundError:
            return "its log is there without it" if _has_log(path) else None
        known = len(available(folder))
        if not header:
            return "it is empty"
        if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
            return "it is not a database"
        if int.from_bytes(header[_OWNER], "big") != APPLICATION_ID:
            raise DatabaseDamaged(f"{path} is a database of some other program; it was left as it is.")
        _refuse_newer(path, int.from_bytes(header[_VERSION], "big"), known)
        # Who may write would fold the log into the file; who may not would leave an empty log behind, and could not
        # take back what a killed process began without one.
        mode = "ro" if _size(side_file(path, "-wal")) else "rw"
        try:
            with closing(connections.connect(path, mode)) as connection:
                return _check(connection, path, known)
        except sqlite3.Error as error:
            if is_damage(error):
                return str(error)
            raise


def _check(connection: sqlite3.Connection, path: Path, known: int) -> str | None:
    # Again, since it may be in the log alone.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _refuse_newer(path, version, known)
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        return " ".join(str(answer).split())
    if version == known:
        columns = {name: {*table.columns} for name, table in TABLES.items()}
        missing = [name for name, expected in columns.items() if not expected <= _columns(connection, name)]
        if missing:
            return f"it lacks all or part of the tables {', '.join(missing)}"
    return None


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")}


def _refuse_newer(path: Path, version: int, known: int) -> None:
    if version > known:
        raise DatabaseTooNew(f"{path}: {too_new(version, known).message}")


def _has_log(path: Path) -> bool:
    return any(_size(side_file(path, suffix)) > 0 for suffix in ("-wal", "-journal"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _create(path: Path, folder: Path) -> None:
    """Make the file elsewhere and rename it, so that it is whole from the first and an empty one has lost something."""
    staging = path.with_name(f"{path.name}.new")
    _discard(staging)  # of a start that was killed
    os.close(os.open(staging, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    try:
        with closing(connections.connect(staging, "rw")) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # a power failure leaves what is discarded
            migrate_now(connection, folder, APPLICATION_ID, before=lambda _: None)
            connection.execute("PRAGMA journal_mode = WAL")
        synchronise(staging)
        for suffix in SIDE_FILES:  # empty ones, of a file that somebody moved away
            side_file(path, suffix).unlink(missing_ok=True)
        staging.rename(path)
        synchronise(path.parent)
    except BaseException:
        with suppress(OSError):
            _discard(staging)
        raise


def _discard(staging: Path) -> None:
    for suffix in ("", *SIDE_FILES):
        side_file(staging, suffix).unlink(missing_ok=True)


def _bring_up_to_date(path: Path, folder: Path) -> None:
    def keep_copy(version: int) -> None:
        try:
            copy_database(path, path.with_name(f"{path.name}.v{version}.bak"))
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(
                f"{path} is of an older release and is not migrated without a copy of it. {error.message}"
            ) from error

    with closing(connections.connect(path, "rw")) as connection:
        migrate_now(connection, folder, APPLICATION_ID, before=keep_copy)


def is_damage(error: Exception) -> bool:
    """Tell whether SQLite found that the file is damaged, or no database."""
    return primary_code(error) in _DAMAGED


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseUnavailable(f"{path} cannot be opened: {error.strerror or error}.") from error
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} cannot be used: {error}.") from error
