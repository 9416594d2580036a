"""Bring a database to this release's schema: numbered SQL files, `PRAGMA user_version` counting those applied."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite

from .errors import DatabaseDamaged, DatabaseTooNew

APPLICATION_ID = 0x57415244
"""Marks the file as ours (`PRAGMA application_id`), so that no other program's database is ever migrated."""

_FOLDER = Path(__file__).with_name("migrations")


def available(folder: Path = _FOLDER) -> list[tuple[int, Path]]:
    """List the migrations as (number, file), from 1 upwards; raise ValueError where a number is missing or double."""
    found = sorted((int(path.name[:4]), path) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations in {folder} are not numbered 1, 2, 3, ...")
    return found


async def migrate(
    connection: aiosqlite.Connection,
    folder: Path = _FOLDER,
    *,
    before: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Apply what is missing, each migration in a transaction of its own.

    `before` is awaited with the present version where there is something to apply to a database that is not new; what
    it raises ends the migration before it began. Raises DatabaseTooNew where the file is ahead of this release,
    DatabaseDamaged where it is not ours; both before anything is written. A migration that fails leaves the schema as
    the one before it made it.
    """
    migrations = available(folder)
    version = await _pragma(connection, "user_version")
    if version > len(migrations):
        raise too_new(version, len(migrations))
    owner = await _pragma(connection, "application_id")
    if owner != APPLICATION_ID and (owner or version or await _holds_tables(connection)):
        raise DatabaseDamaged("The file is a database of some other program.")
    if before is not None and 0 < version < len(migrations):
        await before(version)
    for number, path in migrations[version:]:
        try:
            await connection.executescript(_script(number, path, APPLICATION_ID))
        except sqlite3.Error:
            await connection.rollback()
            raise


def migrate_now(
    connection: sqlite3.Connection, folder: Path, application_id: int, *, before: Callable[[int], None]
) -> None:
    """Apply what is missing to a database that is known to be ours or new; blocks, else as `migrate` does it.

    Raises DatabaseTooNew where the file is ahead of this release, before anything is written.
    """
    migrations = available(folder)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise too_new(version, len(migrations))
    if 0 < version < len(migrations):
        before(version)
    for number, path in migrations[version:]:
        try:
            connection.executescript(_script(number, path, application_id))
        except sqlite3.Error:
            connection.rollback()
            raise


def too_new(version: int, known: int) -> DatabaseTooNew:
    """Say that a database is ahead of this release."""
    return DatabaseTooNew(
        f"The database has schema version {version}, but this release knows versions up to {known} only."
    )


def _script(number: int, path: Path, application_id: int) -> str:
    # executescript commits whatever is open before it starts, so the transaction has to be part of the script.
    return (
        f"BEGIN IMMEDIATE;\n{path.read_text(encoding='utf-8')}\n"
        f"PRAGMA application_id = {application_id};\nPRAGMA user_version = {number};\nCOMMIT;"
    )


async def _pragma(connection: aiosqlite.Connection, name: str) -> int:
    async with connection.execute(f"PRAGMA {name}") as cursor:
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _holds_tables(connection: aiosqlite.Connection) -> bool:
    async with connection.execute("SELECT 1 FROM sqlite_master LIMIT 1") as cursor:
        return await cursor.fetchone() is not None
