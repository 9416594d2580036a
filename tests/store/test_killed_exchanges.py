"""A restore or a repair that is killed at any step leaves the old or the new, whole, once it was finished or undone."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store.backup import back_up
from wardenmq.store.file_exchange import STAGING_NAME, finish_or_undo
from wardenmq.store.file_names import CREDENTIALS_NAME, DATABASE_NAME, OPERATOR_TOKEN_NAME, SESSIONS_NAME
from wardenmq.store.known_databases import CONTROL
from wardenmq.store.repair import repair
from wardenmq.store.restoring import restore

from .dying_exchange import BACKUP, BASE, NOW
from .session_rows import delivery, layout, many_rows, message, page_count, read_rows, session, write_database, zero

ROOT = Path(__file__).parent.parent.parent
TIME_LIMIT = 240


def run(what: str, folder: Path) -> list[Path]:
    """Carry out the work with a kill at each of its steps; return the directories left behind, in order."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.store.dying_exchange", what, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def mark(path: Path, text: str) -> None:
    """Write something by which a control database is known again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'setting'").fetchone():
            CONTROL.lay_down(connection, 1, CONTROL.version)
        connection.execute("INSERT OR REPLACE INTO setting (key, value) VALUES ('mark', ?)", (text,))


def mark_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT value FROM setting WHERE key = 'mark'").fetchone()[0]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


OLD = {DATABASE_NAME, f"{DATABASE_NAME}-wal", SESSIONS_NAME, OPERATOR_TOKEN_NAME}
NEW = {DATABASE_NAME, CREDENTIALS_NAME}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a backup, and a data directory of a server that was killed: its last write is in the log only."""
    new = tmp_path / "new"
    new.mkdir()
    mark(new / DATABASE_NAME, "new")
    (new / CREDENTIALS_NAME).write_text("{}")
    folder = tmp_path / "kills"
    base = folder / BASE
    base.mkdir(parents=True, mode=0o700)
    back_up(new, folder / BACKUP, release="1", now=NOW)
    live = tmp_path / "live.db"
    mark(live, "older")
    with closing(sqlite3.connect(live, isolation_level=None)) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("UPDATE setting SET value = 'old' WHERE key = 'mark'")
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", base / f"{DATABASE_NAME}{suffix}")
    write_database(base / SESSIONS_NAME, many_rows(sessions=1, owed=10))
    (base / OPERATOR_TOKEN_NAME).write_text("old")
    return folder


def check_old(data_dir: Path) -> None:
    assert names(data_dir) == OLD
    assert mark_of(data_dir / DATABASE_NAME) == "old"
    assert len(read_rows(data_dir / SESSIONS_NAME)["messages"]) == 10


def check_new(data_dir: Path) -> None:
    (kept,) = names(data_dir) - NEW
    assert kept.startswith("before-restore-")
    assert mark_of(data_dir / DATABASE_NAME) == "new"
    check_old(data_dir / kept)


def is_new(data_dir: Path) -> bool:
    if any(name.startswith("before-restore-") for name in names(data_dir)):
        check_new(data_dir)
        return True
    check_old(data_dir)
    return False


def test_a_restore_is_killed(folder: Path) -> None:
    left = run("restore", folder)
    outcomes: list[bool] = []
    said: set[str | None] = set()
    for data_dir in left:
        said.add(finish_or_undo(data_dir))
        outcomes.append(is_new(data_dir))
        assert finish_or_undo(data_dir) is None
    # It is the old up to a moment, and the new from then on.
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert 10 < sum(outcomes) < len(outcomes) - 10
    assert {sentence and sentence.split()[-1] for sentence in said} == {None, "finished.", "undone."}


def test_what_finishes_it_is_killed_too(folder: Path) -> None:
    left = [path for path in run("restore", folder) if (path / STAGING_NAME / "plan.json").exists()]
    half = left[len(left) // 2]
    for data_dir in (left[0], half, left[-1]):
        again = folder.parent / f"again-{data_dir.name}"
        again.mkdir()
        data_dir.rename(again / BASE)
        for twice in run("finish", again):
            finish_or_undo(twice)
            check_new(twice)


def test_an_interrupted_restore_is_finished_by_the_next_one(folder: Path) -> None:
    left = [path for path in run("restore", folder) if (path / STAGING_NAME / "plan.json").exists()]
    for data_dir in left:
        restored = restore(folder / BACKUP, data_dir, now=NOW + 1)
        assert restored.kept is not None
        assert mark_of(restored.kept / DATABASE_NAME) == "new"
        assert mark_of(data_dir / DATABASE_NAME) == "new"
        first, second = sorted(names(data_dir) - NEW)
        assert second == restored.kept.name
        check_old(data_dir / first)


# -- repairs


def test_a_recovery_is_killed(folder: Path) -> None:
    sessions = folder / BASE / SESSIONS_NAME
    sessions.unlink()
    rows = many_rows(sessions=3, owed=30)
    write_database(sessions, rows)
    zero(sessions, layout(sessions)["unreleased"][0].number)
    damaged = sessions.read_bytes()
    outcomes: list[bool] = []
    for data_dir in run("repair", folder):
        finish_or_undo(data_dir)
        aside = {name for name in names(data_dir) - OLD if not name.endswith("-shm")}
        outcomes.append(bool(aside))
        if aside:
            (kept,) = aside
            assert kept.startswith(f"{SESSIONS_NAME}.damaged-")
            assert (data_dir / kept).read_bytes() == damaged
            saved = read_rows(data_dir / SESSIONS_NAME)
            assert (len(saved["messages"]), len(saved["unreleased"])) == (90, 0)
        else:
            assert names(data_dir) >= OLD
            assert (data_dir / SESSIONS_NAME).read_bytes() == damaged
        # Whatever was left, doing it again comes to the same end.
        list(repair(data_dir, now=NOW))
        assert len(read_rows(data_dir / SESSIONS_NAME)["messages"]) == 90
        assert mark_of(data_dir / DATABASE_NAME) == "old"
    assert outcomes == sorted(outcomes)
    assert {*outcomes} == {False, True}


def test_putting_rows_right_is_killed(folder: Path) -> None:
    sessions = folder / BASE / SESSIONS_NAME
    sessions.unlink()
    rows = {"sessions": [session(1)], "messages": [message(1), message(2)], "deliveries": [delivery(1, 0, 1)]}
    write_database(sessions, rows | {"deliveries": [*rows["deliveries"], delivery(9, 0, 2)]})
    before = read_rows(sessions)
    for data_dir in run("repair", folder):
        finish_or_undo(data_dir)
        after = read_rows(data_dir / SESSIONS_NAME)
        copies = [name for name in names(data_dir) - OLD if not name.endswith((".new", "-wal", "-shm"))]
        if after != before:
            assert (after["deliveries"], len(after["messages"])) == ({delivery(1, 0, 1)}, 1)
            (copy,) = copies
            assert read_rows(data_dir / copy) == before
    assert after != before
    assert page_count(sessions) > 1
