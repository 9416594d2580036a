"""Opening: what is created is the owner's alone, what is damaged is set aside, what is not ours is left as it is."""

import asyncio
import random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from wardenmq.store.errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable, StoreError
from wardenmq.store.file_names import SESSIONS_NAME
from wardenmq.store.sessions import SessionStore, connections, opening
from wardenmq.store.sessions.opening import APPLICATION_ID, MIGRATIONS, find_damage, open_sessions
from wardenmq.store.sessions.setting_aside import set_aside

from .journals import TIME_LIMIT, Journal, contents, delivery, everything, expected, message, session, upserts

PAGE = 4_096
AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


async def filled(path: Path) -> bytes:
    """Write a file of some fifty pages and return what it holds."""
    journal = await Journal.open(path)
    await journal.write(
        upserts(
            sessions=[session(number) for number in range(100)],
            messages=[message(number, bytes(500)) for number in range(200)],
            deliveries=[delivery(1, number, number) for number in range(200)],
        )
    )
    await journal.close()
    return path.read_bytes()


async def opened_and_closed(path: Path) -> str | None:
    """Open a file, write to it, close it and return what became of it."""
    journal = await Journal.open(path)
    await journal.write(everything(1_000))
    await journal.close()
    return journal.store.problem


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
async def test_how_durable_it_is(path: Path, durability: str, synchronous: int) -> None:
    journal = await Journal.open(path, durability)
    settings = {
        name: (await journal.in_writer(lambda connection, name=name: connection.execute(f"PRAGMA {name}").fetchone()))[
            0
        ]
        for name in (
            "synchronous",
            "journal_mode",
            "application_id",
            "user_version",
            "temp_store",
            "wal_autocheckpoint",
        )
    }
    assert settings == {
        "synchronous": synchronous,
        "journal_mode": "wal",
        "application_id": APPLICATION_ID,
        "user_version": len(list(MIGRATIONS.glob("*.sql"))),
        "temp_store": 2,
        "wal_autocheckpoint": 4_000,
    }
    # It is the same for a connection that has taken the place of a broken one.
    await journal.in_writer(lambda connection: connection.close())
    journal.store._writer._connection = None
    await journal.write(everything(1))
    found = await journal.in_writer(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert found == (synchronous,)
    await journal.close()


async def test_no_other_durability_is_known(path: Path) -> None:
    with pytest.raises(ValueError, match="none"):
        await SessionStore.open(path, "none")
    assert not path.exists()


async def test_the_files_are_for_the_owner_alone(path: Path) -> None:
    journal = await Journal.open(path)
    await journal.write(everything(1))
    assert names(path.parent) == [SESSIONS_NAME, f"{SESSIONS_NAME}-shm", f"{SESSIONS_NAME}-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    await journal.close()
    path.chmod(0o644)
    await opened_and_closed(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_log_does_not_grow_for_ever(path: Path, journal: Journal) -> None:
    log = path.with_name(f"{path.name}-wal")
    sizes = []
    for number in range(40):
        await journal.write(upserts(messages=[message(number % 2, bytes(1_000_000))]))
        sizes.append(log.stat().st_size)
    assert max(sizes) < 20_000_000


async def test_what_was_written_is_there_again(path: Path) -> None:
    batches = [everything(1), everything(2)]
    for batch in batches:
        journal = await Journal.open(path)
        assert journal.store.problem is None
        await journal.write(batch)
        await journal.close()
    assert contents(path) == expected(*batches)


async def test_a_file_that_is_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path in (tmp_path / "missing" / SESSIONS_NAME, file / SESSIONS_NAME, tmp_path):
        with pytest.raises(DatabaseUnavailable) as caught:
            await SessionStore.open(path, "process")
        assert caught.value.message.startswith(f"{path} ")
        assert caught.value.message.endswith(".")
    assert names(tmp_path) == ["file"]


async def test_a_file_that_may_not_be_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)

    def refuse(self: Path, mode: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(DatabaseUnavailable, match=r"cannot be opened: Read-only file system\.$"):
        await SessionStore.open(path, "process")
    assert names(path.parent) == [SESSIONS_NAME]


async def test_a_file_that_sqlite_cannot_read_is_not_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = await filled(path)

    def refuse(path: Path, mode: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(connections, "connect", refuse)
    with pytest.raises(DatabaseUnavailable, match=r"cannot be used: disk I/O error\.$"):
        await SessionStore.open(path, "process")
    assert files(path.parent) == {SESSIONS_NAME: content}


async def refused(path: Path, error: type[StoreError]) -> str:
    """Open a file that is to be refused, which must leave everything as it was."""
    before = files(path.parent)
    with pytest.raises(error) as caught:
        await SessionStore.open(path, "process")
    assert {name: content for name, content in files(path.parent).items() if not name.endswith("-shm")} == {
        name: content for name, content in before.items() if not name.endswith("-shm")
    }
    assert caught.value.message.endswith(".")
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("identifier", [0, 0x57415244, 4711])
async def test_a_database_of_another_program_is_refused(path: Path, identifier: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"CREATE TABLE sessions (id); PRAGMA application_id = {identifier};")
    assert "some other program" in await refused(path, DatabaseDamaged)
    # Even if it is damaged, too.
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xa5" * 100)
    await refused(path, DatabaseDamaged)


async def test_a_newer_database_is_refused(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 4711")
    assert "4711" in await refused(path, DatabaseTooNew)


async def test_a_newer_database_is_refused_whose_log_alone_says_so(path: Path, tmp_path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 4711")
        killed = tmp_path / "killed"
        killed.mkdir()
        for file in (path, path.with_name(f"{path.name}-wal")):
            shutil.copy(file, killed)
    assert int.from_bytes((killed / SESSIONS_NAME).read_bytes()[60:64], "big") != 4711
    assert "4711" in await refused(killed / SESSIONS_NAME, DatabaseTooNew)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2 // PAGE * PAGE]


def cut_within_a_page(content: bytes) -> bytes:
    return content[: PAGE * 7 + 100]


def cut_header(content: bytes) -> bytes:
    return content[:50]


def emptied(content: bytes) -> bytes:
    return b""


def scrambled(content: bytes) -> bytes:
    return random.Random(6).randbytes(len(content))


def scrambled_but_the_header(content: bytes) -> bytes:
    return content[:100] + random.Random(6).randbytes(len(content) - 100)


def page_zeroed(content: bytes) -> bytes:
    middle = len(content) // PAGE // 2 * PAGE
    return content[:middle] + bytes(PAGE) + content[middle + PAGE :]


def page_overwritten(content: bytes) -> bytes:
    middle = len(content) // PAGE // 2 * PAGE
    return content[:middle] + b"\xa5" * PAGE + content[middle + PAGE :]


def header_zeroed(content: bytes) -> bytes:
    return bytes(PAGE) + content[PAGE:]


def something_else(content: bytes) -> bytes:
    return b"listeners:\n  default:\n    bind: 127.0.0.1:1883\n" * 10


DAMAGES = (
    *(cut, cut_within_a_page, cut_header, emptied, scrambled, scrambled_but_the_header, page_zeroed),
    *(page_overwritten, header_zeroed, something_else),
)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_set_aside(path: Path, damage: Callable[[bytes], bytes]) -> None:
    damaged = damage(await filled(path))
    path.write_bytes(damaged)
    problem = await opened_and_closed(path)
    (aside,) = (name for name in names(path.parent) if name != SESSIONS_NAME)
    assert aside.startswith(f"{SESSIONS_NAME}.damaged-20")
    assert (path.parent / aside).read_bytes() == damaged
    assert problem is not None
    assert aside in problem
    assert "wardenmq doctor" in problem
    assert problem.count(". ") == 0
    assert problem.endswith(".")
    assert "\n" not in problem
    assert contents(path) == expected(everything(1_000))
    # The next start finds nothing wrong.
    assert await opened_and_closed(path) is None
    assert len(names(path.parent)) == 2


@pytest.mark.parametrize("damage", [f"DROP TABLE {name}" for name in ("state", "deliveries", "retained")])
async def test_a_file_without_all_its_tables_is_set_aside(path: Path, damage: str) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
    problem = await opened_and_closed(path)
    assert problem is not None
    assert "lacks" in problem


async def test_what_is_beside_a_damaged_file_goes_with_it(path: Path, tmp_path: Path) -> None:
    journal = await Journal.open(path)
    await journal.write(everything(1))
    killed = tmp_path / "killed" / SESSIONS_NAME
    killed.parent.mkdir()
    log = path.with_name(f"{path.name}-wal").read_bytes()
    killed.write_bytes(b"no database at all, but with a log")
    killed.with_name(f"{SESSIONS_NAME}-wal").write_bytes(log)
    await journal.close()
    assert await opened_and_closed(killed) is not None
    found = files(killed.parent)
    (aside,) = (name for name in found if name.endswith("Z"))
    assert found[aside] == b"no database at all, but with a log"
    assert found[f"{aside}-wal"] == log
    assert contents(killed) == expected(everything(1_000))  # nothing of the log came back in it


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
async def test_a_log_without_its_file_is_set_aside(path: Path, suffix: str) -> None:
    journal = await Journal.open(path)
    await journal.write(everything(1))
    log = path.with_name(f"{path.name}-wal").read_bytes()
    await journal.close()
    path.unlink()
    path.with_name(f"{path.name}{suffix}").write_bytes(log)
    problem = await opened_and_closed(path)
    assert problem is not None
    assert "its log is there without it" in problem
    assert contents(path) == expected(everything(1_000))
    (aside,) = (name for name in names(path.parent) if name != SESSIONS_NAME)
    assert aside.startswith(f"{SESSIONS_NAME}.damaged-")
    assert aside.endswith(suffix)
    assert (path.parent / aside).read_bytes() == log


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
async def test_empty_files_beside_it_are_no_damage(path: Path, suffix: str) -> None:
    path.with_name(f"{path.name}{suffix}").touch()
    assert await opened_and_closed(path) is None
    assert names(path.parent) == [SESSIONS_NAME]
    assert contents(path) == expected(everything(1_000))


def test_what_is_set_aside_overwrites_nothing(path: Path) -> None:
    kept = {}
    for number, suffix in enumerate(("", "-2", "-3-wal", "-4-shm")):
        other = path.with_name(f"{SESSIONS_NAME}.damaged-20261122T010203Z{suffix}")
        other.write_bytes(b"%d" % number)
        kept[other.name] = other.read_bytes()
    for number in (5, 6):
        path.write_bytes(b"%d" % number)
        path.with_name(f"{SESSIONS_NAME}-wal").write_bytes(b"log %d" % number)
        aside = set_aside(path, AT)
        assert aside.name == f"{SESSIONS_NAME}.damaged-20261122T010203Z-{number}"
        kept |= {aside.name: b"%d" % number, f"{aside.name}-wal": b"log %d" % number}
    assert files(path.parent) == kept


def test_what_cannot_be_set_aside_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"damaged")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DatabaseUnavailable, match=r"cannot be set aside: Read-only file system\.$"):
        open_sessions(path, "process")
    assert files(path.parent) == {SESSIONS_NAME: b"damaged"}


def test_the_log_is_set_aside_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"damaged")
    path.with_name(f"{SESSIONS_NAME}-wal").write_bytes(b"log")
    renamed: list[str] = []
    plain = Path.rename

    def rename(self: Path, target: Path) -> Path:
        renamed.append(self.name)
        return plain(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    set_aside(path, AT)
    assert renamed == [f"{SESSIONS_NAME}-wal", SESSIONS_NAME]


async def test_what_could_not_be_created_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(opening, "synchronise", refuse)
        with pytest.raises(DatabaseUnavailable, match="No space left"):
            await SessionStore.open(path, "process")
    assert names(path.parent) == []
    assert await opened_and_closed(path) is None


async def test_what_a_killed_start_left_is_begun_anew(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(f"{SESSIONS_NAME}.new{suffix}").write_bytes(b"half of it")
    assert await opened_and_closed(path) is None
    assert names(path.parent) == [SESSIONS_NAME]


async def test_a_file_without_a_log_is_taken_into_use(path: Path) -> None:
    """As a restored copy is, or one that was repaired."""
    await filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    before = contents(path)
    assert await opened_and_closed(path) is None
    assert contents(path)["messages"][:200] == before["messages"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_looking_for_damage_changes_nothing(path: Path, tmp_path: Path) -> None:
    assert find_damage(path) is None
    assert names(path.parent) == []
    await filled(path)
    journal = await Journal.open(path)
    await journal.write(everything(1))
    killed = tmp_path / "killed"
    killed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(path.with_name(f"{SESSIONS_NAME}{suffix}"), killed)
    await journal.close()
    before = files(killed)
    assert find_damage(killed / SESSIONS_NAME) is None
    assert {name: content for name, content in files(killed).items() if not name.endswith("-shm")} == before


async def test_a_file_that_somebody_keeps_in_another_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader, monkeypatch.context() as patched:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sessions").fetchone()
        patched.setattr(connections, "_BUSY_TIMEOUT", 0.001)
        with pytest.raises(DatabaseUnavailable, match=r"cannot be used: database is locked\.$"):
            await SessionStore.open(path, "process")
    assert await opened_and_closed(path) is None


async def test_a_file_system_that_allows_for_no_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")

    def connect(path: Path, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(f"{path.as_uri()}?mode={mode}&vfs=unix-none", uri=True, isolation_level=None)

    monkeypatch.setattr(connections, "connect", connect)
    with pytest.raises(DatabaseUnavailable, match="does not allow for a write-ahead log"):
        await SessionStore.open(path, "process")


async def test_threads_end_with_a_start_that_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("wardenmq-journal")}

    others = ours()
    path.write_bytes(b"")
    with pytest.raises(DatabaseUnavailable):
        await SessionStore.open(path / "nowhere", "process")

    def refuse(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("too many open files")

    monkeypatch.setattr(connections, "for_reading", refuse)  # by then the writer has opened the file
    with pytest.raises(DatabaseUnavailable, match="too many"):
        await SessionStore.open(path, "process")
    for thread in ours() - others:
        await asyncio.to_thread(thread.join, TIME_LIMIT)
        assert not thread.is_alive()
    assert f"{SESSIONS_NAME}-wal" not in names(path.parent)
