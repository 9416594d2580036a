"""A backup of a data directory, made while a server runs in it or while none does."""

import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from .backup_archive import BackupEntry, Manifest, hash_file, write_archive
from .errors import AlreadyExists, DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from .file_exchange import STAGING_NAME
from .file_names import CREDENTIALS_NAME, OPERATOR_TOKEN_NAME
from .known_databases import CONTROL, HISTORY, SESSIONS, KnownDatabase, is_gone, open_for_reading, read_pragma
from .sessions.opening import is_damage
from .sessions.setting_aside import synchronise

# A login is written before it can have a session, and deleted before its session ends. So sessions first: what the two
# copies then disagree in is what a crash leaves, too, a session whose login is gone. The other way round there would be
# sessions of logins that never were, and what was forbidden to somebody while the sessions were copied would be
# allowed again by the restored database. Nothing depends on the history.
_DATABASES = (HISTORY, SESSIONS, CONTROL)
_SECRETS = (OPERATOR_TOKEN_NAME, CREDENTIALS_NAME, "jwt-key.pem")
_MAX_SECRET = 1 << 20
_PATIENCE = 10.0

BACKED_UP = (*(database.name for database in _DATABASES), *_SECRETS)
"""The names that a backup may hold; one without the control database is none."""


@dataclass(frozen=True, slots=True)
class Backup:
    """Describe a backup that was made."""

    path: Path
    size: int
    manifest: Manifest


def back_up(data_dir: Path, path: Path, *, release: str, now: float, overwrite: bool = False) -> Backup:
    """Write a backup to `path` (mode 0600): whole, or nothing; what was there goes only with `overwrite`.

    Beside it there has to be room for copies of the databases as well. Raises AlreadyExists or another StoreError.
    """
    if not (data_dir / CONTROL.name).exists():
        raise DatabaseUnavailable(f"There is no database in {data_dir}: start the server there once.")
    try:
        if path.is_dir():
            raise DatabaseUnavailable(f"{path} is a directory; name a file.")
        _refuse_existing(path, overwrite=overwrite)
        with _output(path, overwrite=overwrite) as stream, _folder(path) as folder:
            manifest = Manifest(release, _rfc3339(now), tuple(_collect(data_dir, folder)))
            write_archive(stream, manifest, folder, now)
        return Backup(path, path.stat().st_size, manifest)
    except OSError as error:
        raise DatabaseUnavailable(f"{path} could not be written: {error.strerror or error}.") from error


def _refuse_existing(path: Path, *, overwrite: bool) -> None:
    if os.path.lexists(path) and not overwrite:
        raise AlreadyExists(f"{path} exists; it was left as it is.")


def _collect(data_dir: Path, folder: Path) -> Iterator[BackupEntry]:
    before = _identities(data_dir)
    for database in _DATABASES:
        source = data_dir / database.name
        if database is SESSIONS and is_gone(source):
            raise DatabaseDamaged(f"{source} is gone, though its log is there: see `wardenmq doctor`.")
        if source.exists():
            yield _entry(folder / database.name, _copy_database(source, folder / database.name, database))
    for name in _SECRETS:
        if (data_dir / name).exists():
            _copy_secret(data_dir / name, folder / name)
            yield _entry(folder / name, None)
    if (data_dir / STAGING_NAME).exists() or _identities(data_dir) != before:
        raise DatabaseUnavailable(f"The files in {data_dir} were exchanged for others meanwhile; nothing was written.")


def _identities(data_dir: Path) -> list[tuple[int, int] | None]:
    """Tell which files the databases are: one that is restored or set aside meanwhile is another one afterwards."""
    found: list[tuple[int, int] | None] = []
    for database in _DATABASES:
        try:
            status = (data_dir / database.name).stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _copy_database(source: Path, target: Path, database: KnownDatabase) -> int:
    """Copy a database as of one moment, check the copy, and return its schema version."""
    version = 0
    try:
        with closing(open_for_reading(source)) as original, closing(sqlite3.connect(target)) as copy:
            owner, version = (read_pragma(original, name) for name in ("application_id", "user_version"))
            if owner != database.application_id:
                raise DatabaseDamaged(f"{source} is a database of some other program.")
            if version > database.version:
                raise DatabaseTooNew(f"{source} has schema version {version}, which this release does not know.")
            # In one step: a copy in several begins anew whenever somebody writes in between.
            original.backup(copy, progress=_give_up_at(time.monotonic() + _PATIENCE))
            copy.execute("PRAGMA journal_mode = DELETE")  # one file is all of it
            (answer,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise DatabaseUnavailable(f"{source} cannot be copied: {error}.") from error
        answer = str(error)
    if answer != "ok":
        raise DatabaseDamaged(f"{source} is damaged ({answer}): see `wardenmq doctor`.")
    return version


def _give_up_at(deadline: float) -> Callable[[int, int, int], None]:
    """Bound how long a database is waited for that somebody keeps locked; SQLite would wait for ever."""

    def check(status: int, *_: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise sqlite3.OperationalError("it is locked")

    return check


def _copy_secret(source: Path, target: Path) -> None:
    try:
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MAX_SECRET + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError as error:
        raise DatabaseUnavailable(f"{source} cannot be read: {error.strerror}.") from error
    if data is None or len(data) > _MAX_SECRET:
        raise DatabaseUnavailable(f"{source} is not a plain file of at most {_MAX_SECRET} bytes.")
    target.write_bytes(data)


def _entry(path: Path, version: int | None) -> BackupEntry:
    return BackupEntry(path.name, path.stat().st_size, hash_file(path), version)


@contextmanager
def _output(path: Path, *, overwrite: bool) -> Generator[BinaryIO]:
    """Give a new file beside the backup, and rename it when it is finished."""
    staging = path.with_name(f"{path.name}.new")
    _discard_leftover(staging, path)
    try:
        # Never one that is there: somebody may hold it open, and would read all that is written to it.
        descriptor = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise _is_being_made(path) from None
    with os.fdopen(descriptor, "w+b") as stream:
        if not _is_ours(descriptor, staging):
            raise _is_being_made(path)
        try:
            os.fchmod(descriptor, 0o600)
            yield stream
            stream.flush()
            os.fsync(descriptor)
            _refuse_existing(path, overwrite=overwrite)
            staging.replace(path)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise
    synchronise(path.parent)


def _discard_leftover(staging: Path, path: Path) -> None:
    """Delete what a backup of this user's left that was killed; refuse where it is anything else."""
    try:
        descriptor = os.open(staging, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError:  # a link, or nothing that this user may read
        raise _is_no_leftover(staging) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise _is_no_leftover(staging)
        if not _is_ours(descriptor, staging):
            raise _is_being_made(path)
        staging.unlink()
    finally:
        os.close(descriptor)


def _is_no_leftover(staging: Path) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"{staging} is not what an earlier backup left; it was left as it is.")


def _is_being_made(path: Path) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"Another backup to {path} is being made.")


def _is_ours(descriptor: int, path: Path) -> bool:
    """Lock a file against other backups, and tell whether it still has its name then."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def _folder(path: Path) -> Generator[Path]:
    """Give a private folder beside the backup; the lock on the backup's file is held, so that none is in use."""
    prefix = f".{path.name}.wardenmq-"
    for left in path.absolute().parent.iterdir():
        if left.name.startswith(prefix) and _is_our_folder(left):  # of a backup that was killed
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_our_folder(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _rfc3339(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
