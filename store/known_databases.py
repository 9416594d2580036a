"""The databases of a data directory: what marks each as ours, and the migrations that make its schema."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from . import migrations
from .file_names import DATABASE_NAME, HISTORY_NAME, SESSIONS_NAME
from .history.opening import APPLICATION_ID as HISTORY_APPLICATION_ID
from .history.opening import MIGRATIONS as HISTORY_MIGRATIONS
from .sessions.opening import APPLICATION_ID as SESSIONS_APPLICATION_ID
from .sessions.opening import MIGRATIONS as SESSIONS_MIGRATIONS
from .sessions.setting_aside import side_file

_BUSY_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class KnownDatabase:
    """Name a database and say what it has to be."""

    name: str
    application_id: int
    migrations: Path

    @property
    def version(self) -> int:
        """Give the schema version of this release."""
        return len(migrations.available(self.migrations))

    def lay_down(self, connection: sqlite3.Connection, first: int, last: int) -> None:
        """Apply migrations to a file that nobody else knows of yet. Raises sqlite3.Error."""
        for number, path in migrations.available(self.migrations)[first - 1 : last]:
            connection.executescript(path.read_text(encoding="utf-8"))
            connection.execute(f"PRAGMA application_id = {self.application_id}")
            connection.execute(f"PRAGMA user_version = {number}")


CONTROL = KnownDatabase(DATABASE_NAME, migrations.APPLICATION_ID, Path(__file__).with_name("migrations"))
SESSIONS = KnownDatabase(SESSIONS_NAME, SESSIONS_APPLICATION_ID, SESSIONS_MIGRATIONS)
HISTORY = KnownDatabase(HISTORY_NAME, HISTORY_APPLICATION_ID, HISTORY_MIGRATIONS)
DATABASES = (CONTROL, SESSIONS, HISTORY)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a database that a server may be writing, and leave it as it is. Raises sqlite3.Error.

    What it says about itself is not trusted: a schema can call functions.
    """
    # A connection that may only read leaves an empty log behind where there was none. One that may write takes it away
    # again when it is the last, but would fold a log that holds something into the file.
    mode = "ro" if holds_something(side_file(path, "-wal")) else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None
    )
    for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def is_gone(path: Path) -> bool:
    """Tell whether a database is not there although what SQLite keeps beside one that is open is."""
    return not os.path.lexists(path) and any(os.path.lexists(side_file(path, suffix)) for suffix in ("-wal", "-shm"))


def holds_something(path: Path) -> bool:
    """Tell whether there is a file that is not empty."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def read_pragma(connection: sqlite3.Connection, name: str) -> int:
    """Read a number that the file has in its header. Raises sqlite3.Error."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
