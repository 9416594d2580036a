"""Migrations: in order, each whole or not at all, and never without a copy of what was there."""

import resource
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import aiosqlite
import pytest
from wardenmq.store import migrations
from wardenmq.store.database import MEMORY, Database
from wardenmq.store.errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from wardenmq.store.migrations import APPLICATION_ID, available, migrate

TABLES = {
    *("tenant", "principal", "credential", "acl_rule", "acl_subject", "default_access", "setting", "audit_log"),
    *("tenant_addon", "role", "grp", "principal_role", "group_member", "group_role", "ban"),
    *("org_role", "integration", "integration_key"),
}

# What a release that knew the first migration only can have written.
FIRST_ROWS = """
    INSERT INTO principal (id, tenant_id, kind, login_type, login, created_at, updated_at)
      SELECT 'p1', id, 'mqtt_client', 'username', 'alice', 1, 1 FROM tenant;
    INSERT INTO principal (id, tenant_id, kind, login_type, login, superuser, expires_at, created_at, updated_at)
      SELECT 'p2', id, 'mqtt_client', 'clientid', 'dev-1', 1, 99, 2, 2 FROM tenant;
    INSERT INTO principal (id, tenant_id, kind, login_type, login_scope, login, created_at, updated_at)
      SELECT 'p3', id, 'human', 'username', 'dashboard', 'dev-1', 3, 3 FROM tenant;
    INSERT INTO principal (id, tenant_id, kind, label, created_at, updated_at)
      SELECT 'p4', id, 'emqx_api_key', 'default', 4, 4 FROM tenant;
    INSERT INTO credential (id, principal_id, kind, algo, secret_hash, params, issued_at) VALUES
      ('c1', 'p1', 'password', 'argon2id', x'0102', '{"scram": "kept"}', 1),
      ('c2', 'p2', 'password', 'argon2id', x'0304', '{}', 2);
    INSERT INTO acl_rule (subject_type, subject, ord, ops, match, allow, topic) VALUES
      ('username', 'alice', 0, 5, 'pattern', 1, '#'), ('all', '', 0, 4, 'literal', 0, '#');
    INSERT INTO acl_subject (subject_type, subject) VALUES ('username', 'alice'), ('all', '');
    UPDATE default_access SET allow = 1 WHERE op = 'publish';
    INSERT INTO setting (key, value) VALUES ('authn', '[]');
    INSERT INTO audit_log (at, actor, facade, action, target) VALUES (1, 'key', 'emqx', 'login.create', 'alice');
"""


async def tables(connection: aiosqlite.Connection) -> set[str]:
    rows = await connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {row[0] for row in rows}


async def pragma(connection: aiosqlite.Connection, name: str) -> int:
    return next(iter(await connection.execute_fetchall(f"PRAGMA {name}")))[0]


async def test_the_schema_is_laid_down_once() -> None:
    async with aiosqlite.connect(":memory:", isolation_level=None) as connection:
        await migrate(connection)
        assert await tables(connection) == TABLES
        assert await pragma(connection, "user_version") == len(available())
        assert await pragma(connection, "application_id") == APPLICATION_ID
        await migrate(connection)  # would fail on tables that exist
        assert await pragma(connection, "user_version") == len(available())


async def test_a_failing_migration_leaves_the_version_before_it(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (id INTEGER);")
    (tmp_path / "0002_second.sql").write_text("CREATE TABLE second (id INTEGER); INSERT INTO nowhere VALUES (1);")
    async with aiosqlite.connect(":memory:", isolation_level=None) as connection:
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            await migrate(connection, tmp_path)
        assert await tables(connection) == {"first"}
        assert await pragma(connection, "user_version") == 1

        (tmp_path / "0002_second.sql").write_text("CREATE TABLE second (id INTEGER);")
        await migrate(connection, tmp_path)
        assert await tables(connection) == {"first", "second"}
        assert await pragma(connection, "user_version") == 2

        (tmp_path / "0002_second.sql").unlink()
        with pytest.raises(DatabaseTooNew):
            await migrate(connection, tmp_path)


def test_numbers_must_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").touch()
    (tmp_path / "0003_third.sql").touch()
    with pytest.raises(ValueError, match="not numbered"):
        available(tmp_path)


def make_first_version(path: Path) -> sqlite3.Connection:
    """Write a database of the first version, as a running broker has it: the last writes in the log only."""
    connection = sqlite3.connect(path, isolation_level=None)
    sql = available()[0][1].read_text(encoding="utf-8")
    connection.executescript(f"{sql}\nPRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(FIRST_ROWS)
    return connection


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Read all tables of a database that nobody has open."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in sorted(names)}


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Give a database of the first version whose process has ended."""
    path = tmp_path / "wardenmq.db"
    make_first_version(path).close()
    return path


async def test_everything_is_kept_by_the_migration(first: Path) -> None:
    before = contents(first)
    await (await Database.open(first)).close()
    after = contents(first)
    assert version(first) == len(available())
    assert set(after) == TABLES
    # A client id that is a login belongs to it from now on; nothing else has changed.
    columns = {"p2": ("dev-1", "reserved")}
    expected = [(*row[:6], *columns.get(str(row[0]), row[6:8]), *row[8:]) for row in before["principal"]]
    assert after["principal"] == expected
    assert after["principal"] != before["principal"]
    for name in before.keys() - {"principal"}:
        assert after[name] == before[name]
    for name in after.keys() - before.keys():
        assert after[name] == []


async def test_a_client_id_that_is_reserved_already_stays_with_its_owner(first: Path) -> None:
    with closing(sqlite3.connect(first)) as connection:
        connection.execute("UPDATE principal SET clientid = 'dev-1', clientid_mode = 'reserved' WHERE id = 'p1'")
        connection.commit()
    await (await Database.open(first)).close()
    with closing(sqlite3.connect(first)) as connection:
        rows = connection.execute("SELECT id, clientid, clientid_mode FROM principal WHERE id IN ('p1', 'p2')")
        assert rows.fetchall() == [("p1", "dev-1", "reserved"), ("p2", None, "any")]


async def test_a_copy_is_kept_of_what_was_there(first: Path) -> None:
    before = contents(first)
    await (await Database.open(first)).close()
    copy = first.with_name("wardenmq.db.v1.bak")
    assert names(first.parent) == ["wardenmq.db", "wardenmq.db.v1.bak"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert version(copy) == 1
    assert contents(copy) == before
    # It is the very thing to go back with, and it stays as it is.
    made = copy.stat()
    await (await Database.open(first)).close()
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    shutil.copy(copy, first)
    await (await Database.open(first)).close()
    assert version(first) == len(available())


async def test_the_copy_holds_what_a_killed_process_had_committed(tmp_path: Path) -> None:
    with closing(make_first_version(tmp_path / "running.db")) as running:
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"running.db{suffix}", tmp_path / f"wardenmq.db{suffix}")
        (committed,) = running.execute("SELECT count(*) FROM principal").fetchone()
    assert committed == 4
    database = await Database.open(tmp_path / "wardenmq.db")
    assert await database.read("SELECT count(*) FROM principal") == [(committed,)]
    await database.close()
    assert len(contents(tmp_path / "wardenmq.db.v1.bak")["principal"]) == committed


async def test_a_later_copy_takes_the_place_of_an_earlier_one(first: Path) -> None:
    copy = first.with_name("wardenmq.db.v1.bak")
    copy.write_text("of an attempt that failed")
    copy.with_name(f"{copy.name}.new").write_text("of an attempt that was killed")
    copy.with_name(f"{copy.name}.new-journal").write_text("of the same")
    before = contents(first)
    await (await Database.open(first)).close()
    assert contents(copy) == before
    assert names(first.parent) == ["wardenmq.db", "wardenmq.db.v1.bak"]


@contextmanager
def disk_full_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("trouble", ["target", "staging", "full"])
async def test_nothing_is_migrated_without_a_copy(first: Path, trouble: str) -> None:
    copy = first.with_name("wardenmq.db.v1.bak")
    staging = copy.with_name(f"{copy.name}.new")
    before = contents(first)
    if trouble != "full":
        blocked = copy if trouble == "target" else staging
        blocked.mkdir()
        (blocked / "file").touch()
    with (
        disk_full_beyond(40_000 if trouble == "full" else resource.RLIM_INFINITY),
        pytest.raises(DatabaseUnavailable, match="is not migrated without a copy") as caught,
    ):
        await Database.open(first)
    assert "wardenmq.db.v1.bak: " in caught.value.message
    assert caught.value.message.endswith(".")
    assert version(first) == 1
    assert contents(first) == before
    if trouble == "full":
        assert names(first.parent) == ["wardenmq.db"]
    else:
        assert names(first.parent) == ["wardenmq.db", blocked.name]
        shutil.rmtree(blocked)
    await (await Database.open(first)).close()
    assert version(first) == len(available())


async def test_a_migration_that_fails_leaves_the_copy_too(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = first.with_name("0002_broken.sql")
    broken.write_text("CREATE TABLE second (id INTEGER); INSERT INTO nowhere VALUES (1);")
    before = contents(first)
    monkeypatch.setattr(migrations, "available", lambda folder: [available()[0], (2, broken)])
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        await Database.open(first)
    assert version(first) == version(first.with_name("wardenmq.db.v1.bak")) == 1
    assert contents(first) == contents(first.with_name("wardenmq.db.v1.bak")) == before


async def test_nothing_is_copied_that_is_not_migrated(tmp_path: Path) -> None:
    await (await Database.open(MEMORY)).close()
    path = tmp_path / "wardenmq.db"
    for _ in range(2):  # new, and up to date
        await (await Database.open(path)).close()
    assert names(tmp_path) == ["wardenmq.db"]
    for pragma_, error in (("user_version = 4711", DatabaseTooNew), ("application_id = 4711", DatabaseDamaged)):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA {pragma_}")
        with pytest.raises(error):
            await Database.open(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 1")
    assert names(tmp_path) == ["wardenmq.db"]
