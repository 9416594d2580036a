"""Schema upgrades of the sessions: never without a copy, each whole or not at all."""

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store.errors import DatabaseTooNew, DatabaseUnavailable
from wardenmq.store.file_names import SESSIONS_NAME
from wardenmq.store.known_databases import SESSIONS
from wardenmq.store.migrations import available
from wardenmq.store.sessions.opening import MIGRATIONS
from wardenmq.store.sessions.tables import TABLES

from .journals import Journal, contents, everything, expected, message

SECOND = "ALTER TABLE sessions ADD COLUMN note TEXT; CREATE TABLE second (id INTEGER);"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the migrations of a release to come."""
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later)
    (later / f"{len(available(MIGRATIONS)) + 1:04}_second.sql").write_text(SECOND)
    return later


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    """Give a file of this release whose process was killed: the last batch is in the log only."""
    path = tmp_path / "running" / SESSIONS_NAME
    path.parent.mkdir()
    journal = await Journal.open(path)
    await journal.write(everything(1))
    await journal.in_writer(lambda connection: connection.execute("PRAGMA wal_checkpoint").fetchone())
    await journal.write(everything(2))
    killed = tmp_path / "data" / SESSIONS_NAME
    killed.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(path.with_name(f"{SESSIONS_NAME}{suffix}"), killed.parent)
    await journal.close()
    return killed


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


NOW_KNOWN = len(available(MIGRATIONS))
COPY = f"{SESSIONS_NAME}.v{NOW_KNOWN}.bak"
KEPT = expected(everything(1), everything(2))


async def test_an_old_file_is_copied_and_then_migrated(old: Path, folder: Path) -> None:
    journal = await Journal.open(old, folder=folder)
    assert journal.store.problem is None
    await journal.write(everything(3))
    await journal.close()
    assert names(old.parent) == [SESSIONS_NAME, COPY]
    assert (version(old), version(old.with_name(COPY))) == (NOW_KNOWN + 1, NOW_KNOWN)
    assert contents(old) == expected(everything(1), everything(2), everything(3))
    assert contents(old.with_name(COPY)) == KEPT
    assert stat.S_IMODE(old.with_name(COPY).stat().st_mode) == 0o600
    # The older release leaves alone what it does not know, and finds its own file in the copy.
    with pytest.raises(DatabaseTooNew):
        await Journal.open(old)
    old.with_name(COPY).replace(old)
    again = await Journal.open(old)
    await again.close()
    assert contents(old) == KEPT


async def test_nothing_is_copied_that_is_not_migrated(old: Path, folder: Path, tmp_path: Path) -> None:
    await (await Journal.open(old)).close()
    assert names(old.parent) == [SESSIONS_NAME]
    new = tmp_path / "new" / SESSIONS_NAME
    new.parent.mkdir()
    for _ in range(2):
        await (await Journal.open(new, folder=folder)).close()
    assert names(new.parent) == [SESSIONS_NAME]
    assert version(new) == NOW_KNOWN + 1


async def test_nothing_is_migrated_that_cannot_be_copied(old: Path, folder: Path) -> None:
    blocked = old.with_name(f"{COPY}.new")
    (blocked / "in the way").mkdir(parents=True)
    with pytest.raises(DatabaseUnavailable, match="is not migrated without a copy"):
        await Journal.open(old, folder=folder)
    assert version(old) == NOW_KNOWN
    assert contents(old) == KEPT
    shutil.rmtree(blocked)
    await (await Journal.open(old, folder=folder)).close()
    assert version(old) == NOW_KNOWN + 1


async def test_a_migration_that_fails_leaves_the_schema_before_it(old: Path, folder: Path) -> None:
    (folder / f"{NOW_KNOWN + 2:04}_third.sql").write_text("CREATE TABLE third (id); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        await Journal.open(old, folder=folder)
    assert version(old) == NOW_KNOWN + 1
    assert contents(old) == KEPT
    with closing(sqlite3.connect(old)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    assert "second" in tables
    assert "third" not in tables
    (folder / f"{NOW_KNOWN + 2:04}_third.sql").write_text("CREATE TABLE third (id);")
    await (await Journal.open(old, folder=folder)).close()
    assert version(old) == NOW_KNOWN + 2
    assert names(old.parent) == [SESSIONS_NAME, COPY, f"{SESSIONS_NAME}.v{NOW_KNOWN + 1}.bak"]


async def test_a_damaged_old_file_is_set_aside_and_not_migrated(old: Path, folder: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    with old.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xa5" * 4_096)
    journal = await Journal.open(old, folder=folder)
    assert journal.store.problem is not None
    await journal.close()
    assert COPY not in names(old.parent)
    assert version(old) == NOW_KNOWN + 1
    assert contents(old) == expected()


async def test_a_file_of_the_first_release_keeps_its_rows(tmp_path: Path) -> None:
    """What the first schema did not note reads as unknown, and messages are found as they were."""
    path = tmp_path / SESSIONS_NAME
    known = everything(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        SESSIONS.lay_down(connection, 1, 1)
        for table, rows in known.items():
            columns = [str(column[1]) for column in connection.execute(f"PRAGMA table_info({table})")]
            for row in rows.values():
                if not columns or row is None:
                    continue
                values = dict(zip(TABLES[table].columns, row, strict=True))
                marks = ", ".join("?" * len(columns))
                names_of = ", ".join(columns)
                connection.execute(
                    f"INSERT INTO {table} ({names_of}) VALUES ({marks})", [values[name] for name in columns]
                )
    journal = await Journal.open(path)
    rows = await journal.read()
    assert rows["retained"] == [("r/1", b"kept", 1, "publisher", b"", None, 0.0)]
    assert rows["subscriptions"] == [(1, "a/#", 1, 0, 0, 0, None, "")]
    assert rows["delayed"] == []
    assert await journal.store.load([1]) == [(*message(1)[:-1], 0.0)]
    await journal.write(everything(2))
    await journal.close()
    assert [row[0] for row in contents(path)["delayed"]] == [2]
