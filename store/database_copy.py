"""A copy of a database: consistent though somebody has it open, private, and there whole or not at all."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from .errors import DatabaseUnavailable


def copy_database(source: Path, target: Path) -> None:
    """Copy to `target` (mode 0600), in place of what is there; raise DatabaseUnavailable, `target` then is as it was.

    Blocks for as long as reading and writing the file takes.
    """
    staging = target.with_name(f"{target.name}.new")
    try:
        _discard(staging)  # of a copy that was killed
        os.close(os.open(staging, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            _copy(source, staging)
            _synchronise(staging)
            staging.replace(target)
            _synchronise(target.parent)
        except BaseException:
            with suppress(OSError):
                _discard(staging)
            raise
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DatabaseUnavailable(f"{source} could not be copied to {target}: {reason}.") from error


def _copy(source: Path, staging: Path) -> None:
    existing = f"{source.absolute().as_uri()}?mode=rw"  # a connection creates no file
    with closing(sqlite3.connect(existing, uri=True)) as original, closing(sqlite3.connect(staging)) as copy:
        original.backup(copy)
        # One file is all of it: nothing is left behind that would have to be kept beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        (answer,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged ({answer})")


def _discard(staging: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        staging.with_name(f"{staging.name}{suffix}").unlink(missing_ok=True)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
