"""A backup: consistent, private, whole or not at all."""

import asyncio
import fcntl
import math
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store import backup
from wardenmq.store.backup import BACKED_UP, back_up
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable, StoreError
from wardenmq.store.file_exchange import FileExchange
from wardenmq.store.first_run import first_run
from wardenmq.store.known_databases import CONTROL, SESSIONS, KnownDatabase
from wardenmq.store.restoring import restore
from wardenmq.store.sessions import SessionStore

from .session_rows import layout, many_rows, read_rows, write_database, zero

NOW = 1_800_000_000.0
ALL = {"wardenmq.db", "sessions.db", "operator-token", "initial-credentials.json"}


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """Give the data directory of a server that ran once."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    await first_run(data_dir, scram_iterations=4_096)
    write_database(data_dir / SESSIONS.name, many_rows(sessions=3, owed=50))
    return data_dir


def make(data_dir: Path, path: Path, **options: bool) -> backup.Backup:
    return back_up(data_dir, path, release="1.2.3", now=NOW, **options)


def unpacked(path: Path, target: Path) -> Path:
    target.mkdir(mode=0o700)
    restore(path, target, now=NOW)
    return target


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_is_in_it(data_dir: Path, tmp_path: Path) -> None:
    made = make(data_dir, tmp_path / "backup")
    assert {entry.name for entry in made.manifest.files} == ALL
    assert (made.manifest.wardenmq, made.manifest.created_at) == ("1.2.3", "2027-01-15T08:00:00Z")
    versions = {entry.name: entry.schema_version for entry in made.manifest.files if entry.schema_version}
    assert versions == {CONTROL.name: CONTROL.version, SESSIONS.name: SESSIONS.version}
    status = made.path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o600, made.size)
    target = unpacked(made.path, tmp_path / "target")
    assert names(target) == ALL
    for name in ("operator-token", "initial-credentials.json"):
        assert (target / name).read_bytes() == (data_dir / name).read_bytes()
    assert read_rows(target / SESSIONS.name) == read_rows(data_dir / SESSIONS.name)
    assert names(tmp_path) == {"data", "backup", "target"}


def test_what_is_not_there_is_left_out(data_dir: Path, tmp_path: Path) -> None:
    for name in ALL - {CONTROL.name}:
        (data_dir / name).unlink()
    assert [entry.name for entry in make(data_dir, tmp_path / "backup").manifest.files] == [CONTROL.name]
    (data_dir / "jwt-key.pem").write_text("key")
    made = make(data_dir, tmp_path / "second")
    assert [entry.name for entry in made.manifest.files] == [CONTROL.name, "jwt-key.pem"]


def test_the_databases_are_copied_in_an_order_that_does_no_harm() -> None:
    assert BACKED_UP.index(SESSIONS.name) < BACKED_UP.index(CONTROL.name)


def test_nothing_is_changed_by_it(data_dir: Path, tmp_path: Path) -> None:
    def shape() -> dict[str, tuple[int, int, int]]:
        found = {path.name: path.stat() for path in data_dir.iterdir()}
        return {name: (status.st_ino, status.st_size, status.st_mtime_ns) for name, status in found.items()}

    before = shape()
    make(data_dir, tmp_path / "backup")
    assert shape() == before


# -- beside a server


async def test_a_store_that_is_written_to(data_dir: Path, tmp_path: Path) -> None:
    """Each backup holds a moment of each database: of batches that are written meanwhile, the first so many."""
    directory = await Directory.open(data_dir / CONTROL.name)
    (data_dir / SESSIONS.name).unlink()
    store = await SessionStore.open(data_dir / SESSIONS.name, "process")
    written = asyncio.Event()
    count = 0

    def submit() -> None:
        nonlocal count
        count += 1
        rows = {(at, count): (at, count, count, 0, 1, 1, 0, b"", "", b"", b"") for at in range(50)}
        store.submit(count, {"messages": {count: _message(count)}, "deliveries": rows})

    def committed(_: int) -> None:
        written.set()
        if not stopping:
            submit()

    stopping = False
    store.bind(committed, lambda *_: None)
    submit()
    made: list[tuple[int, Path]] = []
    for number in range(4):
        async with asyncio.timeout(60):
            while count < (number + 1) * 20:  # noqa: ASYNC110 (what is waited for knows of no event)
                await asyncio.sleep(0.001)
        await directory.create_login("username", f"user-{number}", None)
        before = count
        path = tmp_path / f"backup-{number}"
        await asyncio.to_thread(make, data_dir, path)
        made.append((before, path))
    stopping = True
    await store.close()
    await directory.close()
    for number, (before, path) in enumerate(made):
        target = unpacked(path, tmp_path / f"target-{number}")
        rows = read_rows(target / SESSIONS.name)
        numbers = {row[0] for row in rows["messages"]}
        assert numbers == set(range(1, len(numbers) + 1))
        assert before - 1 <= len(numbers) <= count
        assert len(rows["deliveries"]) == 50 * len(numbers)
        copy = await Directory.open(target / CONTROL.name)
        assert {login.login for login in copy.logins("username")} == {"mqtt", *(f"user-{n}" for n in range(number + 1))}
        await copy.close()


def _message(number: int) -> tuple[object, ...]:
    return (number, "t", "p", 1, 0, b"", None, 1, 0, b"x" * 100, 0, 0.0)


def test_what_a_killed_process_left(data_dir: Path, tmp_path: Path) -> None:
    """What is in its log is in the backup, and stays in the log."""
    path, killed = data_dir / SESSIONS.name, tmp_path / "killed"
    with closing(sqlite3.connect(path, isolation_level=None)) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("DELETE FROM deliveries")
        shutil.copytree(data_dir, killed)
    log = (killed / f"{SESSIONS.name}-wal").read_bytes()
    make(killed, tmp_path / "backup")
    assert (killed / f"{SESSIONS.name}-wal").read_bytes() == log
    assert read_rows(unpacked(tmp_path / "backup", tmp_path / "target") / SESSIONS.name)["deliveries"] == set()


def test_what_is_in_the_log_only(data_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data_dir / SESSIONS.name, isolation_level=None)) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("DELETE FROM deliveries")
        assert (data_dir / f"{SESSIONS.name}-wal").stat().st_size > 0
        make(data_dir, tmp_path / "backup")
    assert read_rows(unpacked(tmp_path / "backup", tmp_path / "target") / SESSIONS.name)["deliveries"] == set()


# -- what is refused


def test_a_file_that_is_there(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_text("precious")
    path.chmod(0o644)
    with pytest.raises(AlreadyExists, match="left as it is"):
        make(data_dir, path)
    assert path.read_text() == "precious"
    made = make(data_dir, path, overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == made.size
    assert names(tmp_path) == {"data", "backup"}


def test_a_file_that_comes_meanwhile(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = backup.write_archive

    def write_late(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        (tmp_path / "backup").write_text("precious")

    monkeypatch.setattr(backup, "write_archive", write_late)
    with pytest.raises(AlreadyExists):
        make(data_dir, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "precious"
    assert names(tmp_path) == {"data", "backup"}


def no_directory(data_dir: Path) -> None:
    for path in data_dir.iterdir():
        path.unlink()
    data_dir.rmdir()


def no_database(data_dir: Path) -> None:
    (data_dir / CONTROL.name).unlink()


def damaged(data_dir: Path) -> None:
    path = data_dir / SESSIONS.name
    zero(path, layout(path)["messages"][-1].number)


def no_sqlite(data_dir: Path) -> None:
    (data_dir / SESSIONS.name).write_text("no database" * 100)


def foreign(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / SESSIONS.name)) as connection:
        connection.execute("PRAGMA application_id = 4711")


def newer(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / CONTROL.name)) as connection:
        connection.execute("PRAGMA user_version = 4711")


def odd_secret(data_dir: Path) -> None:
    (data_dir / "operator-token").unlink()
    os.mkfifo(data_dir / "operator-token")


def huge_secret(data_dir: Path) -> None:
    (data_dir / "operator-token").write_bytes(bytes((1 << 20) + 1))


def sessions_gone(data_dir: Path) -> None:
    """Leave what a server that runs has beside its sessions, which somebody moved away."""
    (data_dir / SESSIONS.name).unlink()
    (data_dir / f"{SESSIONS.name}-shm").touch()


def unfinished(data_dir: Path) -> None:
    FileExchange(data_dir)


@pytest.mark.parametrize(
    ("prepare", "error", "reason"),
    [
        (no_directory, DatabaseUnavailable, "no database"),
        (no_database, DatabaseUnavailable, "no database"),
        (damaged, DatabaseDamaged, "doctor"),
        (no_sqlite, DatabaseDamaged, "doctor"),
        (foreign, DatabaseDamaged, "some other program"),
        (newer, DatabaseTooNew, "4711"),
        (odd_secret, DatabaseUnavailable, "plain file"),
        (huge_secret, DatabaseUnavailable, "plain file"),
        (sessions_gone, DatabaseDamaged, "sessions.db is gone"),
        (unfinished, DatabaseUnavailable, "exchanged"),
    ],
)
def test_what_cannot_be_backed_up(
    data_dir: Path, tmp_path: Path, prepare: Callable[[Path], None], error: type[StoreError], reason: str
) -> None:
    prepare(data_dir)
    with pytest.raises(error, match=reason):
        make(data_dir, tmp_path / "backup")
    assert names(tmp_path) <= {"data"}


def test_files_that_are_exchanged_meanwhile(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_and_exchange(source: Path, target: Path, database: KnownDatabase) -> int:
        version = copy(source, target, database)
        if source.name == SESSIONS.name:
            shutil.copy(target, data_dir / "x")
            os.replace(data_dir / "x", source)
        return version

    copy = backup._copy_database
    monkeypatch.setattr(backup, "_copy_database", copy_and_exchange)
    with pytest.raises(DatabaseUnavailable, match="exchanged for others"):
        make(data_dir, tmp_path / "backup")
    assert names(tmp_path) == {"data"}


@pytest.mark.parametrize("place", ["directory", "missing"])
def test_a_place_where_nothing_can_be_written(data_dir: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "directory").mkdir()
    path = tmp_path / "directory" if place == "directory" else tmp_path / "missing" / "backup"
    with pytest.raises(DatabaseUnavailable, match="directory"):
        make(data_dir, path, overwrite=True)
    assert names(tmp_path) == {"data", "directory"}


def test_a_full_disk(data_dir: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from wardenmq.store.backup import back_up\n"
        "from wardenmq.store.errors import DatabaseUnavailable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))\n"
        "try:\n"
        "    back_up(Path(sys.argv[1]), Path(sys.argv[2]), release='1', now=0)\n"
        "except DatabaseUnavailable as error:\n"
        "    print(error.message)\n"
    )
    for size in (100, 8_192, 40_000):
        ended = subprocess.run(
            [sys.executable, "-c", code, str(data_dir), str(tmp_path / "backup"), str(size)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.strip().endswith("."), (size, ended)
        assert names(tmp_path) == {"data"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_database_that_somebody_keeps_locked(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardenmq.store.known_databases._BUSY_TIMEOUT", 0.1)
    with closing(sqlite3.connect(data_dir / SESSIONS.name, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnavailable, match="locked"):
            make(data_dir, tmp_path / "backup")
    assert names(tmp_path) == {"data"}


def test_waiting_has_an_end() -> None:
    backup._give_up_at(math.inf)(sqlite3.SQLITE_BUSY, 5, 5)
    backup._give_up_at(0.0)(sqlite3.SQLITE_DONE, 0, 5)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        backup._give_up_at(0.0)(sqlite3.SQLITE_LOCKED, 5, 5)


# -- several backups, and killed ones


def test_two_at_once(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = backup.write_archive

    def write_slowly(*arguments: object) -> None:
        begun.set()
        assert go_on.wait(60)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "write_archive", write_slowly)
    first = threading.Thread(target=make, args=(data_dir, tmp_path / "backup"))
    first.start()
    try:
        assert begun.wait(60)
        with pytest.raises(DatabaseUnavailable, match="Another backup"):
            make(data_dir, tmp_path / "backup")
    finally:
        go_on.set()
        first.join()
    assert names(tmp_path) == {"data", "backup"}
    unpacked(tmp_path / "backup", tmp_path / "target")


def test_what_a_killed_one_left_goes(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.new").write_bytes(b"half")
    (tmp_path / "backup.new").chmod(0o644)
    (tmp_path / ".backup.wardenmq-abc").mkdir()
    (tmp_path / ".backup.wardenmq-abc" / "wardenmq.db").touch()
    (tmp_path / ".other.wardenmq-abc").mkdir()
    make(data_dir, tmp_path / "backup")
    assert names(tmp_path) == {"data", "backup", ".other.wardenmq-abc"}


def test_who_holds_a_leftover_open_sees_nothing(data_dir: Path, tmp_path: Path) -> None:
    """It may have been made by somebody else's hand, or with a mode that let others in."""
    (tmp_path / "backup.new").touch(0o666)
    with (tmp_path / "backup.new").open("rb") as held:
        make(data_dir, tmp_path / "backup")
        assert held.read() == b""
        assert not os.path.samestat(os.fstat(held.fileno()), (tmp_path / "backup").stat())


def test_another_name_of_a_leftover_keeps_what_it_holds(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "backup.new").hardlink_to(tmp_path / "precious")
    make(data_dir, tmp_path / "backup")
    assert (tmp_path / "precious").read_text() == "precious"
    assert names(tmp_path) == {"data", "backup", "precious"}


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_leftover_is_left_alone(data_dir: Path, tmp_path: Path, kind: str) -> None:
    victim, new = tmp_path / "victim", tmp_path / "backup.new"
    victim.write_text("precious")
    if kind == "link":
        new.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(new)
    else:
        new.mkdir()
    before = new.lstat()
    with pytest.raises(DatabaseUnavailable, match=r"backup\.new is not what an earlier backup left"):
        make(data_dir, tmp_path / "backup")
    assert victim.read_text() == "precious"
    assert new.lstat() == before
    assert names(tmp_path) == {"data", "victim", "backup.new"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_is_another_users(data_dir: Path, tmp_path: Path) -> None:
    """A file that was there first is nothing to write secrets to, and a folder of a like name is not in the way."""
    new, folder = tmp_path / "backup.new", tmp_path / ".backup.wardenmq-theirs"
    new.write_text("theirs")
    folder.mkdir()
    (tmp_path / ".backup.wardenmq-link").symlink_to(folder)
    (tmp_path / ".backup.wardenmq-file").touch()
    for path in (new, folder):
        os.chown(path, 4_711, 4_711)
    with pytest.raises(DatabaseUnavailable, match=r"backup\.new is not what an earlier backup left"):
        make(data_dir, tmp_path / "backup")
    assert new.read_text() == "theirs"
    new.unlink()
    make(data_dir, tmp_path / "backup")
    assert names(tmp_path) == {"data", "backup", *(f".backup.wardenmq-{name}" for name in ("theirs", "link", "file"))}


def test_a_file_that_comes_at_the_last_moment(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def come_first(staging: Path, path: Path) -> None:
        discard(staging, path)
        staging.write_text("theirs")

    discard = backup._discard_leftover
    monkeypatch.setattr(backup, "_discard_leftover", come_first)
    with pytest.raises(DatabaseUnavailable, match="Another backup"):
        make(data_dir, tmp_path / "backup")
    assert (tmp_path / "backup.new").read_text() == "theirs"


def test_a_file_that_was_renamed_while_it_was_waited_for(tmp_path: Path) -> None:
    """The lock on it is had then, but it is another one's backup by now."""
    path = tmp_path / "x.new"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    assert backup._is_ours(descriptor, path)
    path.rename(tmp_path / "x")
    assert not backup._is_ours(descriptor, path)
    path.touch()
    assert not backup._is_ours(descriptor, path)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
