"""What there is to say about the health of a data directory, found by looking and without changing anything."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .backup import BACKED_UP
from .file_exchange import STAGING_NAME
from .known_databases import (
    CONTROL,
    DATABASES,
    HISTORY,
    SESSIONS,
    KnownDatabase,
    holds_something,
    is_gone,
    open_for_reading,
    read_pragma,
)
from .lock import LOCK_NAME, DataDirectoryInUse, DataDirectoryLock, Owner
from .session_consistency import count_inconsistent
from .sessions.opening import is_damage
from .sessions.setting_aside import SIDE_FILES, side_file

Status = Literal["ok", "warning", "problem"]
State = Literal["missing", "sound", "damaged", "foreign", "newer", "unreadable"]
_LEAST_FREE = 4 << 20
_LITTLE_FREE = 64 << 20
"""As much as the log of the sessions may come to."""
_LARGE_LOG = 256 << 20
_MAGIC = b"SQLite format 3\0"
_COMPLAINTS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Say in a sentence what was found about one thing."""

    check: str
    status: Status
    message: str


def examine(data_dir: Path, *, full: bool = False) -> list[Finding]:
    """Look at everything; `full` compares the indexes of the databases with their tables, too. A server may be running.

    Raises DataDirectoryUnusable where the lock is no file of ours.
    """
    findings = list(_examine_directory(data_dir))
    if not data_dir.is_dir():
        return findings
    findings += [*_examine_owner(data_dir), *_examine_exchange(data_dir)]
    for database in DATABASES:
        findings += _examine_database(data_dir / database.name, database, full=full)
    return [*findings, *_examine_modes(data_dir), *_examine_set_aside(data_dir)]


def find_owner(data_dir: Path) -> Owner | None:
    """Tell who owns the data directory; None where nobody does. Raises DataDirectoryUnusable."""
    if not (data_dir / LOCK_NAME).exists():
        return None
    try:
        DataDirectoryLock.acquire(data_dir, database=LOCK_NAME).release()
    except DataDirectoryInUse as error:
        return error.owner
    return None


def set_aside_files(data_dir: Path) -> list[Path]:
    """List damaged databases of sessions that were set aside, the latest last."""
    found = data_dir.glob(f"{SESSIONS.name}.damaged-*")
    return sorted(path for path in found if not path.name.endswith(SIDE_FILES))


def look_at(path: Path, database: KnownDatabase, *, full: bool = False) -> tuple[State, str]:
    """Tell the state of a database, and why it is so."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except FileNotFoundError:
        if holds_something(side_file(path, "-wal")):
            return "damaged", "its log is there without it"
        return "missing", "it is not there"
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    if start != _MAGIC:
        return "damaged", "it is not a database" if start else "it is empty"
    try:
        with closing(open_for_reading(path)) as connection:
            return _look_into(connection, database, full=full)
    except sqlite3.Error as error:
        return "damaged" if is_damage(error) else "unreadable", str(error)


def _look_into(connection: sqlite3.Connection, database: KnownDatabase, *, full: bool) -> tuple[State, str]:
    if read_pragma(connection, "application_id") != database.application_id:
        return "foreign", "it is a database of some other program"
    version = read_pragma(connection, "user_version")
    if version > database.version:
        return "newer", f"it has schema version {version}, which this release does not know"
    missing = _missing_tables(connection, database, version)
    if missing:
        return "damaged", f"it lacks all or part of the tables {', '.join(missing)}"
    check = "integrity_check" if full else "quick_check"
    answers = [str(answer) for (answer,) in connection.execute(f"PRAGMA {check}({_COMPLAINTS})").fetchall()]
    if answers != ["ok"]:
        return "damaged", "; ".join(" ".join(answer.split()) for answer in answers)
    return "sound", f"schema version {version}" + (
        ", which the next start brings up to date" if version < database.version else ""
    )


def _missing_tables(connection: sqlite3.Connection, database: KnownDatabase, version: int) -> list[str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as sound:
        database.lay_down(sound, 1, version)
        names = [str(name) for (name,) in sound.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [name for name in names if not _columns(sound, name) <= _columns(connection, name)]


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(column[1]) for column in connection.execute(f"PRAGMA table_info({table})")}


def _examine_directory(data_dir: Path) -> Iterator[Finding]:
    check = "data directory"
    try:
        status = data_dir.stat()
        free = shutil.disk_usage(data_dir).free
        size = sum(path.stat().st_size for path in _files(data_dir) if path.name in _database_names())
    except OSError as error:
        yield Finding(check, "problem", f"The data directory {data_dir} is not usable: {error.strerror}.")
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        yield Finding(check, "problem", f"{data_dir} is not a directory.")
    elif mode & 0o300 != 0o300 or not os.access(data_dir, os.W_OK | os.X_OK):
        yield Finding(check, "problem", f"{data_dir} cannot be written (mode {mode:04o}).")
    elif mode & 0o022:
        yield Finding(check, "problem", f"Others may write to {data_dir} (mode {mode:04o}): chmod 700 it.")
    elif mode & 0o055:
        yield Finding(check, "warning", f"Others may look into {data_dir} (mode {mode:04o}): chmod 700 it.")
    else:
        yield Finding(check, "ok", f"{data_dir} is there, for its owner alone.")
    check = "free space"
    if free < _LEAST_FREE:
        yield Finding(
            check, "problem", f"{data_dir} has {_size(free)} left: nothing durable is acknowledged once it is full."
        )
    elif free < max(size, _LITTLE_FREE):
        yield Finding(
            check,
            "warning",
            f"{data_dir} has {_size(free)} left: the databases may grow, and a repair needs room for a copy of them "
            f"({_size(size)}).",
        )
    else:
        yield Finding(check, "ok", f"{data_dir} has {_size(free)} left.")


def _examine_owner(data_dir: Path) -> Iterator[Finding]:
    owner = find_owner(data_dir)
    if owner is None:
        yield Finding("server", "ok", "No server is running in the data directory.")
    elif owner.api_url is None:
        yield Finding("server", "ok", f"The data directory is in use by {owner}.")
    else:
        yield Finding("server", "ok", f"A server is running, {owner}, with its management API at {owner.api_url}.")


def _examine_exchange(data_dir: Path) -> Iterator[Finding]:
    if (data_dir / STAGING_NAME).exists():
        yield Finding(
            "restore",
            "warning",
            f"{data_dir / STAGING_NAME} is of a restore or a repair that is under way or was interrupted; "
            "the next start of the server finishes or undoes it.",
        )


def _examine_database(path: Path, database: KnownDatabase, *, full: bool) -> Iterator[Finding]:
    name = database.name
    state, reason = look_at(path, database, full=full)
    if state == "missing" and database is SESSIONS and is_gone(path):
        yield Finding(
            name,
            "problem",
            f"{path} is gone, though SQLite's files beside it are there: put it back before the server starts again, "
            "or restore a backup; without it, the server begins a new one.",
        )
    elif state == "missing" and database is SESSIONS:
        yield Finding(name, "ok", f"There is no {name} yet: it is made when the server starts with a journal.")
    elif state == "missing" and database is HISTORY:
        yield Finding(name, "ok", f"There is no {name} yet: it is made when the server starts.")
    elif state == "missing":
        yield Finding(
            name, "problem", f"There is no {name} in the data directory: restore a backup, or start the server."
        )
    elif state == "damaged":
        yield Finding(name, "problem", f"{path} is damaged ({reason}): {_ADVICE[name]}.")
    elif state != "sound":
        yield Finding(name, "problem", f"{path} cannot be used: {reason}.")
    else:
        if not os.access(path, os.W_OK):
            yield Finding(name, "problem", f"{path} cannot be written, so that no server can start on it.")
            return
        size, log = path.stat().st_size, side_file(path, "-wal")
        logged = log.stat().st_size if holds_something(log) else 0
        text = f"{name} is sound: {reason}, {_size(size)}, write-ahead log {_size(logged)}"
        large = logged > max(size, _LARGE_LOG)
        yield Finding(name, "warning" if large else "ok", f"{text}{_LARGE if large else ''}.")
        if database is not HISTORY:  # its rows do not refer to each other
            yield from _examine_rows(path, database)


def _examine_rows(path: Path, database: KnownDatabase) -> Iterator[Finding]:
    """Look for rows of a sound database that do not fit each other."""
    check = f"{database.name} rows"
    try:
        with closing(open_for_reading(path)) as connection:
            if read_pragma(connection, "user_version") < database.version:
                return
            if database is CONTROL:
                dangling = len(connection.execute("PRAGMA foreign_key_check").fetchall())
                wrong = [("problem", f"{dangling} rows whose parents are missing")] if dangling else []
                advice = "restore a backup"
            else:
                counts = count_inconsistent(connection)
                wrong = [("warning" if rule.harmless else "problem", f"{n} {rule.words}") for rule, n in counts]
                advice = "`wardenmq doctor --repair` puts that right"
    except sqlite3.Error as error:
        yield Finding(check, "problem", f"The rows of {database.name} cannot be read: {error}.")
        return
    if wrong:
        status = "problem" if any(status == "problem" for status, _ in wrong) else "warning"
        words = ", ".join(words for _, words in wrong)
        yield Finding(check, status, f"{database.name} holds {words}: {advice}.")
    else:
        yield Finding(check, "ok", f"The rows of {database.name} fit each other.")


def _examine_modes(data_dir: Path) -> Iterator[Finding]:
    check, sound = "file modes", True
    owner = data_dir.stat().st_uid
    for path in _files(data_dir):
        if not _is_secret(path):
            continue
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            sound = False
            serious = mode & 0o007 or mode & 0o020
            yield Finding(
                check,
                "problem" if serious else "warning",
                f"Others may read or write {path.name} (mode {mode:04o}): chmod 600 it.",
            )
        if status.st_uid != owner:
            sound = False
            yield Finding(
                check, "warning", f"{path.name} belongs to user {status.st_uid}, the data directory to user {owner}."
            )
    if sound:
        yield Finding(check, "ok", "What is secret is readable for its owner alone.")


def _examine_set_aside(data_dir: Path) -> Iterator[Finding]:
    for path in set_aside_files(data_dir):
        yield Finding(
            "set aside",
            "warning",
            f"{path.name} was damaged and is kept: `wardenmq doctor --repair --from {path}` recovers what can be "
            f"read of it, in place of {SESSIONS.name}; delete it when it is of no use any more.",
        )


def _files(data_dir: Path) -> list[Path]:
    return sorted(path for path in data_dir.iterdir() if path.is_file() and not path.is_symlink())


def _database_names() -> set[str]:
    return {f"{database.name}{suffix}" for database in DATABASES for suffix in ("", *SIDE_FILES)}


def _is_secret(path: Path) -> bool:
    return path.name == LOCK_NAME or path.name.startswith(BACKED_UP)


def _size(number: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 10_240:
            return f"{number:,} {unit}"
        number //= 1_024
    return f"{number:,} GiB"


_LARGE = "; it is folded into the database when the server stops"
_ADVICE = {
    CONTROL.name: "restore a backup, or recover what can be read with `wardenmq doctor --repair`",
    SESSIONS.name: "recover what can be read with `wardenmq doctor --repair`; the server's next start sets it aside",
    HISTORY.name: "recover what can be read with `wardenmq doctor --repair`; the server's next start sets it aside",
}
