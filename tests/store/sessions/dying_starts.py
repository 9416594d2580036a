"""Starts and batches that are killed at a chosen step; run by `test_killed.py`.

Run as `python -m tests.store.sessions.dying_starts KIND FOLDER`, it prepares a data directory in FOLDER/base and then,
for one step after the other, forks a process that opens a copy of it, writes a batch and kills itself at that step,
until one reaches its end. Each process prints a line as it dies or ends. Steps are what Python tells its audit hooks of
(files that are opened, renamed or deleted, databases that are opened) and how far SQLite has got in its statements.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from wardenmq.store.file_names import SESSIONS_NAME
from wardenmq.store.migrations import available
from wardenmq.store.sessions import connections
from wardenmq.store.sessions.opening import MIGRATIONS, open_sessions
from wardenmq.store.sessions.writing import Writer

from .journals import Row, everything, message, upserts

KINDS = ("create", "migrate", "set aside", "play the log")
DAMAGED = b"this was a database" * 1_000
DAMAGED_LOG = b"this was its log" * 1_000
SECOND = "ALTER TABLE sessions ADD COLUMN note TEXT; CREATE TABLE second (id INTEGER);"
_EVENTS = ("open", "os.", "sqlite3.connect", "shutil.")
_OPERATIONS = 40
"""Of SQLite's machine, between two steps."""
_MOST = 2_000


def last_batch() -> dict[str, dict[Any, Row | None]]:
    """Make the batch that each process writes once it has opened the file."""
    return everything(3) | upserts(messages=[message(number, bytes(3_000)) for number in range(3, 30)])


def prepare(kind: str, folder: Path) -> Path:
    """Make the data directory that all processes begin with, and return the migrations that they know."""
    base = folder / "base"
    base.mkdir()
    path = base / SESSIONS_NAME
    migrations = folder / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    if kind == "set aside":
        path.write_bytes(DAMAGED)
        path.with_name(f"{SESSIONS_NAME}-wal").write_bytes(DAMAGED_LOG)
    elif kind != "create":
        running = folder / "running"
        running.mkdir()
        connection, _ = open_sessions(running / SESSIONS_NAME, "process")
        writer = Writer(running / SESSIONS_NAME, "process", connection, lambda: 1.0)
        writer.write(everything(1))
        connection.execute("PRAGMA wal_checkpoint").fetchone()
        writer.write(everything(2))
        for suffix in ("", "-wal"):
            shutil.copy(running / f"{SESSIONS_NAME}{suffix}", base)
        writer.close()
    if kind == "migrate":
        (migrations / f"{len(available(migrations)) + 1:04}_second.sql").write_text(SECOND)
    return migrations


class Steps:
    """Count what happens, and die at one of them."""

    def __init__(self, last: int) -> None:
        self._left = last
        self.phase = "opening"

    def install(self) -> None:
        sys.addaudithook(self._hear)
        plain = connections.connect

        def connect(path: Path, mode: str) -> sqlite3.Connection:
            connection = plain(path, mode)
            connection.set_progress_handler(self._step, _OPERATIONS)
            return connection

        connections.connect = connect

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(_EVENTS):
            self._step()

    def _step(self) -> int:
        self._left -= 1
        if self._left == 0:
            say(self.phase)
            os.kill(os.getpid(), signal.SIGKILL)
        return 0


def say(phase: str) -> None:
    os.write(1, (json.dumps(phase) + "\n").encode())


def die(last: int, path: Path, migrations: Path) -> NoReturn:
    """Open the file and write to it, in a process of its own, as far as that step."""
    steps = Steps(last)
    steps.install()
    connection, _ = open_sessions(path, "process", migrations)
    steps.phase = "writing"
    Writer(path, "process", connection, lambda: 2.0).write(last_batch())
    steps.phase = "written"
    with closing(connection):
        pass
    say("ended")
    os._exit(0)


def main(kind: str, folder: Path) -> None:
    migrations = prepare(kind, folder)
    for last in range(1, _MOST):
        copy = folder / str(last)
        shutil.copytree(folder / "base", copy)
        child = os.fork()
        if child == 0:
            try:
                die(last, copy / SESSIONS_NAME, migrations)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("there was no end of steps")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
