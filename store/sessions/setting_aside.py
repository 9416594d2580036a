"""Put a damaged database out of the way: whole, under a name of its own, and in nobody's place."""

import os
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from ..errors import DatabaseUnavailable

SIDE_FILES = ("-wal", "-shm", "-journal")


def side_file(path: Path, suffix: str) -> Path:
    """Name a file that SQLite keeps beside a database."""
    return path.with_name(f"{path.name}{suffix}")


def set_aside(path: Path, now: datetime) -> Path:
    """Rename a database and what is beside it to `NAME.damaged-TIME` and return that; raise DatabaseUnavailable."""
    target = _free_name(path, now)
    try:
        # The log goes first: were it left behind by a kill, it would be played into the database that is begun anew.
        for suffix in (*SIDE_FILES, ""):
            part = side_file(path, suffix)
            if os.path.lexists(part):
                part.rename(side_file(target, suffix))
        synchronise(path.parent)
    except OSError as error:
        raise DatabaseUnavailable(f"{path} is damaged and cannot be set aside: {error.strerror}.") from error
    return target


def _free_name(path: Path, now: datetime) -> Path:
    name = f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for number in count(1):
        target = path.with_name(name if number == 1 else f"{name}-{number}")
        if not any(os.path.lexists(side_file(target, suffix)) for suffix in (*SIDE_FILES, "")):
            return target
    raise AssertionError("unreachable")


def synchronise(path: Path) -> None:
    """Have the disk hold a file, or the names in a directory. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
