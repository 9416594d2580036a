"""Migrations: in order, each whole or not at all."""

import sqlite3
from pathlib import Path

import aiosqlite
import pytest
from wardenmq.store.errors import DatabaseTooNew
from wardenmq.store.migrations import APPLICATION_ID, available, migrate

TABLES = {
    "tenant", "principal", "credential", "acl_rule", "acl_subject", "default_access", "setting", "audit_log",
}  # fmt: skip


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
