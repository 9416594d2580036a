"""What is found by looking at a data directory; nothing in it is changed by that."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store import examination
from wardenmq.store.examination import Finding, examine, find_owner, look_at, set_aside_files
from wardenmq.store.file_exchange import FileExchange
from wardenmq.store.first_run import first_run
from wardenmq.store.known_databases import CONTROL, SESSIONS
from wardenmq.store.lock import LOCK_NAME, DataDirectoryLock, DataDirectoryUnusable

from .session_rows import PAGE, delivery, insert, layout, many_rows, message, overwrite, write_database, zero

CHECKS = [
    *("data directory", "free space", "server", "wardenmq.db", "wardenmq.db rows", "sessions.db", "sessions.db rows"),
    *("history.db", "file modes"),
]


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    await first_run(data_dir, scram_iterations=4_096)
    write_database(data_dir / SESSIONS.name, many_rows(sessions=3, owed=100))
    return data_dir


def by_check(findings: list[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.check, []).append(finding)
        assert finding.message.endswith("."), finding
    return found


def worse(data_dir: Path, *, full: bool = False) -> list[tuple[str, str]]:
    """List what is not well."""
    return [(finding.check, finding.status) for finding in examine(data_dir, full=full) if finding.status != "ok"]


@pytest.mark.parametrize("full", [False, True])
def test_all_is_well(data_dir: Path, full: bool) -> None:
    findings = examine(data_dir, full=full)
    assert [finding.check for finding in findings] == CHECKS
    assert {finding.status for finding in findings} == {"ok"}
    assert f"schema version {SESSIONS.version}" in by_check(findings)["sessions.db"][0].message


def test_nothing_is_changed(data_dir: Path) -> None:
    def shape() -> dict[str, tuple[int, int, int]]:
        found = {path.name: path.stat() for path in data_dir.iterdir()}
        return {name: (status.st_ino, status.st_size, status.st_mtime_ns) for name, status in found.items()}

    zero(data_dir / SESSIONS.name, 5)
    before = shape()
    examine(data_dir)
    examine(data_dir, full=True)
    assert shape() == before


def test_a_text_that_is_none(data_dir: Path) -> None:
    """SQLite's own check, however full, says nothing about it, and no server could read the table."""
    with closing(sqlite3.connect(data_dir / SESSIONS.name, isolation_level=None)) as connection:
        connection.execute("UPDATE messages SET topic = CAST(x'ff' AS TEXT) WHERE id = 1")
    for full in (False, True):
        (finding,) = by_check(examine(data_dir, full=full))["sessions.db rows"]
        assert finding.status == "problem"
        assert "1 messages with impossible values" in finding.message


# -- the directory


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    (finding,) = examine(tmp_path / "nowhere")
    assert (finding.check, finding.status) == ("data directory", "problem")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [finding.status for finding in by_check(examine(tmp_path / "file"))["data directory"]] == ["problem"]


@pytest.mark.parametrize(("mode", "status"), [(0o750, "warning"), (0o701, "warning"), (0o770, "problem")])
def test_others_in_the_directory(data_dir: Path, mode: int, status: str) -> None:
    data_dir.chmod(mode)
    assert worse(data_dir) == [("data directory", status)]


def test_a_directory_in_which_its_owner_cannot_write(data_dir: Path) -> None:
    data_dir.chmod(0o500)
    try:
        (finding, *_) = examine(data_dir)
    finally:
        data_dir.chmod(0o700)
    assert (finding.check, finding.status) == ("data directory", "problem")
    assert "cannot be written" in finding.message


@pytest.mark.parametrize("name", ["data", CONTROL.name, SESSIONS.name])
def test_what_the_system_does_not_let_anybody_write(data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of a read-only file system, or immutable: what modes do not say, and only the system knows."""
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path).name != name)
    (finding,) = (finding for finding in examine(data_dir) if finding.status != "ok")
    assert (finding.check, finding.status) == ("data directory" if name == "data" else name, "problem")
    assert "cannot be written" in finding.message


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_sessions_that_are_gone(data_dir: Path, suffix: str) -> None:
    """A server that runs keeps files beside them, which may be empty."""
    (data_dir / SESSIONS.name).unlink()
    assert worse(data_dir) == []
    (data_dir / f"{SESSIONS.name}{suffix}").touch(0o600)
    (finding,) = by_check(examine(data_dir))["sessions.db"]
    assert finding.status == "problem"
    assert "is gone" in finding.message


@pytest.mark.parametrize(("free", "status"), [(1_000, "problem"), (40 << 20, "warning"), (80 << 20, "warning")])
def test_little_room(data_dir: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    class Usage:
        pass

    usage = Usage()
    usage.free = free  # type: ignore[attr-defined]
    with (data_dir / SESSIONS.name).open("r+b") as file:
        file.truncate(100 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert ("free space", status) in worse(data_dir)


@pytest.mark.parametrize(
    ("name", "mode", "status"),
    [
        ("operator-token", 0o640, "warning"),
        ("operator-token", 0o604, "problem"),
        ("wardenmq.db", 0o660, "problem"),
        ("wardenmq.db.v1.bak", 0o644, "problem"),
        ("sessions.db.damaged-20260101T000000Z", 0o644, "problem"),
    ],
)
def test_secrets_that_others_can_read(data_dir: Path, name: str, mode: int, status: str) -> None:
    (data_dir / name).touch()
    (data_dir / name).chmod(mode)
    (finding,) = by_check(examine(data_dir))["file modes"]
    assert finding.status == status
    assert f"{name} (mode {mode:04o})" in finding.message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user(data_dir: Path) -> None:
    os.chown(data_dir / SESSIONS.name, 4_711, 4_711)
    assert worse(data_dir) == [("file modes", "warning")]


# -- who owns it


def test_nobody_owns_it(data_dir: Path) -> None:
    assert find_owner(data_dir) is None
    assert not (data_dir / LOCK_NAME).exists()
    (data_dir / LOCK_NAME).touch(0o600)
    assert find_owner(data_dir) is None


def test_a_server_owns_it(data_dir: Path) -> None:
    lock = DataDirectoryLock.acquire(data_dir)
    assert f"in use by process {os.getpid()}" in by_check(examine(data_dir))["server"][0].message
    lock.announce("http://127.0.0.1:18083")
    assert "http://127.0.0.1:18083" in by_check(examine(data_dir))["server"][0].message
    owner = find_owner(data_dir)
    assert owner is not None
    assert owner.api_url == "http://127.0.0.1:18083"
    lock.release()


def test_a_lock_that_is_no_file(data_dir: Path) -> None:
    (data_dir / LOCK_NAME).mkdir()
    with pytest.raises(DataDirectoryUnusable):
        examine(data_dir)


def test_an_exchange_that_was_interrupted(data_dir: Path) -> None:
    FileExchange(data_dir)
    assert worse(data_dir) == [("restore", "warning")]


# -- the databases


def no_file(path: Path) -> None:
    path.unlink()


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def no_database(path: Path) -> None:
    path.write_bytes(b"no database")


def a_page(path: Path) -> None:
    zero(path, max(page.number for pages in layout(path).values() for page in pages))


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def of_others(path: Path) -> None:
    run(path, "PRAGMA application_id = 4711")


def newer(path: Path) -> None:
    run(path, "PRAGMA user_version = 4711")


def a_table(path: Path) -> None:
    run(path, "DROP TABLE setting" if path.name == CONTROL.name else "DROP TABLE unreleased")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def run(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
        connection.commit()


STATES: list[tuple[Callable[[Path], None], str]] = [
    (lambda path: None, "sound"),
    (no_file, "missing"),
    (nothing, "damaged"),
    (no_database, "damaged"),
    (a_page, "damaged"),
    (half, "damaged"),
    (a_table, "damaged"),
    (of_others, "foreign"),
    (newer, "newer"),
    (a_directory, "unreadable"),
]


@pytest.mark.parametrize("database", [CONTROL, SESSIONS], ids=lambda database: database.name)
@pytest.mark.parametrize(("change", "state"), STATES, ids=[f"{state}{at}" for at, (_, state) in enumerate(STATES)])
def test_states(data_dir: Path, database: object, change: Callable[[Path], None], state: str) -> None:
    assert database in (CONTROL, SESSIONS)
    known = CONTROL if database is CONTROL else SESSIONS
    path = data_dir / known.name
    change(path)
    found, reason = look_at(path, known)
    assert (found, bool(reason)) == (state, True)
    (finding,) = by_check(examine(data_dir))[known.name]
    well = state == "sound" or (state == "missing" and known is SESSIONS)
    assert (finding.status == "ok") == well
    if state == "damaged":
        assert "doctor --repair" in finding.message


def test_a_log_without_its_database(data_dir: Path) -> None:
    path = data_dir / SESSIONS.name
    path.rename(f"{path}-wal")
    assert look_at(path, SESSIONS) == ("damaged", "its log is there without it")


def test_a_log_that_is_large(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "_LARGE_LOG", 10_000)
    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path, isolation_level=None)) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("PRAGMA wal_autocheckpoint = 0")
        for _ in range(20):
            running.execute("UPDATE deliveries SET qos = 3 - qos")
        assert os.stat(f"{path}-wal").st_size > path.stat().st_size
        assert worse(data_dir) == [("sessions.db", "warning")]


def test_an_index_that_does_not_fit(data_dir: Path) -> None:
    """The quick check does not see it."""
    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_retained_1'"
        ).fetchone()
    page = bytearray(path.read_bytes()[(root - 1) * PAGE : root * PAGE])
    end = page.rfind(b"kept/")
    page[end : end + 5] = b"kepu/"
    overwrite(path, bytes(page), root)
    assert worse(data_dir) == []
    assert worse(data_dir, full=True) == [("sessions.db", "problem")]


def test_an_older_schema(data_dir: Path) -> None:
    path = data_dir / CONTROL.name
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        CONTROL.lay_down(connection, 1, 1)
    path.chmod(0o600)
    (finding,) = by_check(examine(data_dir))[CONTROL.name]
    assert finding.status == "ok"
    assert "brings up to date" in finding.message


def test_rows_that_do_not_fit(data_dir: Path) -> None:
    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        insert(connection, {"messages": [message(5_000)]})
        assert worse(data_dir) == [("sessions.db rows", "warning")]
        insert(connection, {"deliveries": [delivery(77, 1, 5_000)]})
    (finding,) = by_check(examine(data_dir))["sessions.db rows"]
    assert finding.status == "problem"
    assert "1 deliveries without a session" in finding.message


def test_rows_without_parents(data_dir: Path) -> None:
    run(data_dir / CONTROL.name, "INSERT INTO group_member (group_id, principal_id) VALUES ('no group', 'nobody')")
    (finding,) = by_check(examine(data_dir))["wardenmq.db rows"]
    assert finding.status == "problem"
    assert "whose parents are missing" in finding.message


def test_what_was_set_aside(data_dir: Path) -> None:
    names = [f"sessions.db.damaged-2026010{day}T000000Z" for day in (2, 1)]
    for name in (*names, f"{names[0]}-wal", f"{names[1]}-shm"):
        (data_dir / name).touch(0o600)
    assert [path.name for path in set_aside_files(data_dir)] == names[::-1]
    assert worse(data_dir) == [("set aside", "warning")] * 2


def test_a_database_that_is_locked(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever, and it is not said to be damaged."""
    monkeypatch.setattr("wardenmq.store.known_databases._BUSY_TIMEOUT", 0.1)
    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert look_at(path, SESSIONS) == ("unreadable", "database is locked")
