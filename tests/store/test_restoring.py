"""A backup put in the place of what is there, after everything about it was checked."""

import io
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from wardenmq.store import restoring
from wardenmq.store.backup import back_up
from wardenmq.store.backup_archive import BackupEntry, BackupUnacceptable, Manifest, hash_file, write_archive
from wardenmq.store.errors import DatabaseUnavailable
from wardenmq.store.file_exchange import STAGING_NAME
from wardenmq.store.known_databases import CONTROL, SESSIONS
from wardenmq.store.restoring import Restored, restore

from .session_rows import layout, many_rows, read_rows, write_database, zero

NOW = 1_800_000_000.0
KEPT = "before-restore-20270115T080000Z"


def write_control(path: Path, mark: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        CONTROL.lay_down(connection, 1, CONTROL.version)
        connection.execute("INSERT INTO setting (key, value) VALUES ('mark', ?)", (mark,))


def mark_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT value FROM setting").fetchone()[0]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give the directory that the backup is of."""
    source = tmp_path / "source"
    source.mkdir()
    write_control(source / CONTROL.name, "new")
    write_database(source / SESSIONS.name, many_rows(sessions=2, owed=30))
    (source / "operator-token").write_text("new token")
    return source


@pytest.fixture
def backup(source: Path, tmp_path: Path) -> Path:
    return back_up(source, tmp_path / "backup", release="1", now=NOW).path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    return data_dir


def test_into_an_empty_directory(backup: Path, source: Path, data_dir: Path) -> None:
    restored = restore(backup, data_dir, now=NOW)
    assert restored.kept is None
    assert {entry.name for entry in restored.manifest.files} == names(source)
    assert names(data_dir) == names(source)
    assert mark_of(data_dir / CONTROL.name) == "new"
    assert read_rows(data_dir / SESSIONS.name) == read_rows(source / SESSIONS.name)
    assert {stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()} == {0o600}


def fill(data_dir: Path) -> dict[str, bytes]:
    """Write what belongs to a server, and what does not."""
    write_control(data_dir / CONTROL.name, "old")
    for name in ("sessions.db", "sessions.db-wal", "wardenmq.db-journal", "initial-credentials.json", "jwt-key.pem"):
        (data_dir / name).write_bytes(f"old {name}".encode())
    others = ("wardenmq.lock", "wardenmq.db.v1.bak", "sessions.db.damaged-20260101T000000Z", "notes.txt")
    for name in others:
        (data_dir / name).write_bytes(f"other {name}".encode())
    return {name: (data_dir / name).read_bytes() for name in others}


def test_what_was_there_is_kept(backup: Path, source: Path, data_dir: Path) -> None:
    others = fill(data_dir)
    before = {path.name: path.read_bytes() for path in data_dir.iterdir() if path.name not in others}
    restored = restore(backup, data_dir, now=NOW)
    assert restored.kept == data_dir / KEPT
    assert {path.name: path.read_bytes() for path in restored.kept.iterdir()} == before
    assert stat.S_IMODE(restored.kept.stat().st_mode) == 0o700
    assert names(data_dir) == names(source) | others.keys() | {KEPT}
    for name, content in others.items():
        assert (data_dir / name).read_bytes() == content


def test_often(backup: Path, data_dir: Path) -> None:
    kept = [restore(backup, data_dir, now=NOW).kept for _ in range(4)]
    assert kept == [None, *(data_dir / f"{KEPT}{suffix}" for suffix in ("", "-2", "-3"))]
    assert mark_of(data_dir / KEPT / CONTROL.name) == "new"


def test_a_backup_without_sessions(source: Path, data_dir: Path, tmp_path: Path) -> None:
    """There are none afterwards: others' sessions do not fit these logins."""
    (source / SESSIONS.name).unlink()
    made = back_up(source, tmp_path / "backup", release="1", now=NOW)
    fill(data_dir)
    restore(made.path, data_dir, now=NOW)
    assert not (data_dir / SESSIONS.name).exists()
    assert (data_dir / KEPT / SESSIONS.name).exists()


def test_a_backup_within_the_directory(source: Path) -> None:
    made = back_up(source, source / "backup", release="1", now=NOW)
    restore(made.path, source, now=NOW)
    assert made.path.exists()
    assert mark_of(source / CONTROL.name) == "new"


def test_a_backup_of_an_older_release(source: Path, data_dir: Path, tmp_path: Path) -> None:
    """It is brought up to date by the server, which keeps a copy of it."""
    (source / CONTROL.name).unlink()
    with closing(sqlite3.connect(source / CONTROL.name, isolation_level=None)) as connection:
        CONTROL.lay_down(connection, 1, 1)
    made = back_up(source, tmp_path / "backup", release="0", now=NOW)
    restored = restore(made.path, data_dir, now=NOW)
    assert {entry.name: entry.schema_version for entry in restored.manifest.files}[CONTROL.name] == 1


# -- what is refused, before anything is touched


def pack(folder: Path, target: Path, *names: str) -> Path:
    """Make an archive whose manifest fits it, whatever is in the files."""
    entries = tuple(BackupEntry(name, (folder / name).stat().st_size, hash_file(folder / name), 1) for name in names)
    stream = io.BytesIO()
    write_archive(stream, Manifest("1", "now", entries), folder, NOW)
    target.write_bytes(stream.getvalue())
    return target


def refuse(backup: Path, data_dir: Path, reason: str) -> None:
    others = fill(data_dir)
    before = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    with pytest.raises(BackupUnacceptable, match=reason):
        restore(backup, data_dir, now=NOW)
    assert {path.name: path.read_bytes() for path in data_dir.iterdir()} == before
    assert others.keys() < before.keys()


def of_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 4711")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 4711")


def damaged(path: Path) -> None:
    zero(path, max(page.number for pages in layout(path).values() for page in pages))


def no_database(path: Path) -> None:
    path.write_bytes(b"no database" * 1_000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", [CONTROL.name, SESSIONS.name])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (of_others, "some other program"),
        (newer, "newer release"),
        (damaged, "is damaged"),
        (no_database, "is damaged"),
        (empty, "some other program"),
    ],
)
def test_a_database_that_cannot_be_used(
    source: Path, data_dir: Path, tmp_path: Path, name: str, change: Callable[[Path], None], reason: str
) -> None:
    change(source / name)
    refuse(pack(source, tmp_path / "backup", SESSIONS.name, CONTROL.name), data_dir, f"^{name} in the backup.*{reason}")


def test_a_backup_without_the_control_database(source: Path, data_dir: Path, tmp_path: Path) -> None:
    refuse(pack(source, tmp_path / "backup", SESSIONS.name), data_dir, "does not hold wardenmq.db")


def test_an_archive_that_is_damaged(backup: Path, data_dir: Path, tmp_path: Path) -> None:
    data = backup.read_bytes()
    for length in (0, 10, len(data) // 2, len(data) - 100):
        cut = tmp_path / f"cut-{length}"
        cut.write_bytes(data[:length])
        target = tmp_path / f"data-{length}"
        target.mkdir()
        refuse(cut, target, "not whole|decompressed")


def test_a_database_that_calls_functions(source: Path, data_dir: Path, tmp_path: Path) -> None:
    """Checking it calls none: whoever made it may not be the one who restores it."""
    with closing(sqlite3.connect(source / CONTROL.name)) as connection:
        connection.execute("CREATE VIEW trap AS SELECT load_extension('/nowhere/evil.so')")
        connection.execute("CREATE INDEX twice ON setting (key, key || 'x')")
        connection.commit()
    made = pack(source, tmp_path / "backup", CONTROL.name)
    restore(made, data_dir, now=NOW)
    assert mark_of(data_dir / CONTROL.name) == "new"


def test_a_file_that_cannot_be_read(data_dir: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DatabaseUnavailable, match="cannot be read: "):
            restore(path, data_dir, now=NOW)
    assert names(data_dir) == set()


def test_a_directory_is_owned_only_for_a_backup(backup: Path, data_dir: Path, tmp_path: Path) -> None:
    owned: list[str] = []

    @contextmanager
    def own() -> Iterator[None]:
        owned.append("begun")
        yield
        owned.append("ended")

    (tmp_path / "none").write_bytes(b"no backup")
    for path, error in ((tmp_path / "missing", DatabaseUnavailable), (tmp_path / "none", BackupUnacceptable)):
        with pytest.raises(error):
            restore(path, data_dir, now=NOW, own=own())
    assert owned == []
    restore(backup, data_dir, now=NOW, own=own())
    assert owned == ["begun", "ended"]


def test_a_backup_that_can_be_read_only_once(backup: Path, data_dir: Path, tmp_path: Path) -> None:
    """Such as one that comes out of another program."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(backup.read_bytes()), daemon=True)
    writer.start()
    restore(pipe, data_dir, now=NOW)
    writer.join(60)
    assert mark_of(data_dir / CONTROL.name) == "new"


# -- trouble on the way


def test_a_disk_that_has_no_room(backup: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(data_dir)
    before = names(data_dir)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: os.terminal_size((0, 0)) and _Usage())
    with pytest.raises(DatabaseUnavailable, match="1000 bytes free"):
        restore(backup, data_dir, now=NOW)
    assert names(data_dir) == before


class _Usage:
    free = 1_000


def test_a_disk_that_fills_up(backup: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    fill(data_dir)
    before = names(data_dir)
    with monkeypatch.context() as patched:
        patched.setattr(restoring.FileExchange, "carry_out", fail)
        with pytest.raises(DatabaseUnavailable, match="No space left"):
            restore(backup, data_dir, now=NOW)
    assert names(data_dir) == before
    restored: Restored = restore(backup, data_dir, now=NOW)
    assert restored.kept is not None


def test_what_an_earlier_one_left_is_out_of_the_way(backup: Path, data_dir: Path) -> None:
    (data_dir / STAGING_NAME).mkdir()
    (data_dir / STAGING_NAME / CONTROL.name).write_text("half")
    restore(backup, data_dir, now=NOW)
    assert mark_of(data_dir / CONTROL.name) == "new"
    assert not (data_dir / STAGING_NAME).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_roots_restore_is_for_the_directorys_owner(backup: Path, data_dir: Path) -> None:
    fill(data_dir)
    os.chown(data_dir, 4_711, 4_712)
    restored = restore(backup, data_dir, now=NOW)
    assert restored.kept is not None
    for path in (data_dir / CONTROL.name, data_dir / SESSIONS.name, data_dir / "operator-token", restored.kept):
        assert (path.stat().st_uid, path.stat().st_gid) == (4_711, 4_712)
