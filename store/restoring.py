"""A backup put in the place of what a data directory holds."""

import os
import shutil
import sqlite3
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from .backup import BACKED_UP
from .backup_archive import ArchiveReader, BackupUnacceptable, Manifest
from .errors import DatabaseUnavailable
from .file_exchange import FileExchange, finish_or_undo, unused_name
from .known_databases import CONTROL, DATABASES, KnownDatabase, open_for_reading, read_pragma
from .sessions.setting_aside import SIDE_FILES

_KEPT_NAME = "before-restore-"
_ROOM = 16 << 20
"""Bytes that are left free: a database that cannot grow serves nobody."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Describe what was restored, and in which folder of the data directory the former files are; None for none."""

    manifest: Manifest
    kept: Path | None


def restore(path: Path, data_dir: Path, *, now: float, own: AbstractContextManager[object] | None = None) -> Restored:
    """Check a backup, then put it in place of what is in `data_dir`, which is moved to a folder in it.

    `own` has the directory's lock while it is entered, and may make the directory: that is not before a backup was
    found in `path`. Without it the caller has the lock. Killed at any moment, this leaves the old or the new, once
    `finish_or_undo` has been called. Raises BackupUnacceptable or another StoreError; nothing was changed then.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DatabaseUnavailable(f"{path} cannot be read: {error.strerror}.") from error
    try:
        with stream:
            # Read once, from its beginning: it may come out of a pipe.
            reader = ArchiveReader(stream, BACKED_UP)
            with own or nullcontext():
                finish_or_undo(data_dir)
                return Restored(reader.manifest, _put_in_place(reader, data_dir, now))
    except OSError as error:
        raise DatabaseUnavailable(f"{path} could not be restored: {error.strerror or error}.") from error


def _put_in_place(reader: ArchiveReader, data_dir: Path, now: float) -> Path | None:
    """Do what `restore` does with a backup that is open, and return where the former files are."""
    _check_room(reader.manifest, data_dir)
    exchange = FileExchange(data_dir)
    try:
        reader.extract(exchange.folder)
        _check_databases(reader.manifest, exchange.folder)
        return _exchange(reader.manifest, exchange, data_dir, now)
    finally:
        exchange.abandon()


def _check_room(manifest: Manifest, data_dir: Path) -> None:
    needed = sum(entry.size for entry in manifest.files) + _ROOM
    free = shutil.disk_usage(data_dir).free
    if needed > free:
        raise DatabaseUnavailable(f"{data_dir} has {free} bytes free, but the backup needs {needed}.")


def _check_databases(manifest: Manifest, folder: Path) -> None:
    held = {entry.name for entry in manifest.files}
    if CONTROL.name not in held:
        raise BackupUnacceptable(f"The backup does not hold {CONTROL.name}.")
    for database in DATABASES:
        if database.name in held:
            _check_database(folder / database.name, database)


def _check_database(path: Path, database: KnownDatabase) -> None:
    try:
        with closing(open_for_reading(path)) as connection:
            owner, version = (read_pragma(connection, name) for name in ("application_id", "user_version"))
            if owner != database.application_id:
                raise BackupUnacceptable(f"{database.name} in the backup is a database of some other program.")
            if version > database.version:
                raise BackupUnacceptable(f"{database.name} in the backup is of a newer release.")
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise BackupUnacceptable(f"{database.name} in the backup is damaged ({answer}).")


def _exchange(manifest: Manifest, exchange: FileExchange, data_dir: Path, now: float) -> Path | None:
    kept = unused_name(data_dir, _KEPT_NAME, now)
    present = [name for name in _belonging() if os.path.lexists(data_dir / name)]
    # The control database goes first and comes last. While there is none, commands that find no server say so.
    new = sorted((entry.name for entry in manifest.files), key=lambda name: (name == CONTROL.name, name))
    exchange.carry_out([(name, f"{kept}/{name}") for name in present], [(name, name) for name in new])
    return data_dir / kept if present else None


def _belonging() -> list[str]:
    """List the names of all that belongs together in a data directory, what SQLite keeps beside databases included."""
    plain = sorted(set(BACKED_UP) - {database.name for database in DATABASES})
    return [*(f"{database.name}{suffix}" for database in DATABASES for suffix in ("", *SIDE_FILES)), *plain]
