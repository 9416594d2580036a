"""Connections to the file of the journal: one that writes, in its thread, and one that reads, in another."""

import sqlite3
from pathlib import Path

DURABILITIES = {"process": "NORMAL", "power": "FULL"}
"""What `PRAGMA synchronous` is for each. With NORMAL a power failure may take the last commits, never the file."""
_BUSY_TIMEOUT = 5.0
_STATEMENTS = 256
"""More than there are, so that none is compiled twice."""
_CHECKPOINT_PAGES = 4_000
"""Pages in the log after which they are moved to the file: seldom enough, and then for some hundredth of a second."""
_LOG_SIZE = 64 * 1024 * 1024
"""Bytes that the log keeps on the disk once it has been moved."""
_WRITER_CACHE = 8 * 1024
"""KiB of pages kept in memory: what was written lately is what will be deleted next."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file that exists; `mode` is `rw` or `ro`. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, cached_statements=_STATEMENTS)


def primary_code(error: BaseException) -> int:
    """Give SQLite's result code without its details; 0 where there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def for_writing(path: Path, durability: str) -> sqlite3.Connection:
    """Open the file for the thread that calls. Raises sqlite3.Error."""
    connection = connect(path, "rw")
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError("the file system does not allow for a write-ahead log")
        for setting in (
            f"synchronous = {DURABILITIES[durability]}",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            f"journal_size_limit = {_LOG_SIZE}",
            f"cache_size = -{_WRITER_CACHE}",
            # Else what a statement may have to take back would go to a file elsewhere, on a disk that may be full.
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {setting}")
        # The log is there from now on, and stays until the last connection is closed.
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def for_reading(path: Path) -> sqlite3.Connection:
    """Open the file for the thread that calls, which will see what is committed. Raises sqlite3.Error."""
    connection = connect(path, "ro")
    connection.execute("PRAGMA query_only = ON")
    return connection
