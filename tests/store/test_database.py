"""Opening: what is refused is left as it is; what is created is the owner's alone."""

import sqlite3
import stat
from pathlib import Path

import pytest
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable, StoreError
from wardenmq.store.records import Rule

RULES = (Rule("a/#", "allow", "all"),)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def refused(path: Path, error: type[StoreError]) -> str:
    """Open a file that is to be refused and return the sentence; the file must not have changed."""
    before = path.read_bytes()
    with pytest.raises(error) as caught:
        await Directory.open(path)
    assert path.read_bytes() == before
    return caught.value.message


async def test_database_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.set_rules("all", "", RULES)
    found = sorted(tmp_path.iterdir())
    assert [file.name for file in found] == ["wardenmq.db", "wardenmq.db-shm", "wardenmq.db-wal"]
    assert [mode(file) for file in found] == [0o600] * 3
    await directory.close()


async def test_an_existing_file_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    await (await Directory.open(path)).close()
    path.chmod(0o644)
    await (await Directory.open(path)).close()
    assert mode(path) == 0o600


async def test_a_directory_is_new_until_something_was_written(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    await (await Directory.open(path)).close()
    directory = await Directory.open(path)
    assert directory.is_new
    await directory.set_rules("all", "", RULES)
    await directory.delete_all_rules()
    await directory.close()
    again = await Directory.open(path)
    assert not again.is_new  # although nothing is left of what was written
    await again.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    path.write_bytes(b"listeners:\n  default:\n    bind: 127.0.0.1:1883\n")
    assert "is not a database" in await refused(path, DatabaseDamaged)


async def test_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    for number in range(50):
        await directory.set_rules("username", f"user {number}", RULES)
    await directory.close()
    with path.open("r+b") as file:
        for page in range(2, 12):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)
    await refused(path, DatabaseDamaged)


async def test_a_cut_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(40))
    await refused(path, DatabaseDamaged)


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    await (await Directory.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 4711")
    connection.close()
    assert "4711" in await refused(path, DatabaseTooNew)


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE moz_places (id INTEGER PRIMARY KEY)")
    connection.close()
    assert "other program" in await refused(path, DatabaseDamaged)


async def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="No such file"):
        await Directory.open(tmp_path / "missing" / "wardenmq.db")
    assert not (tmp_path / "missing").exists()


async def test_an_empty_file_is_a_database_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    path.touch()
    with pytest.raises(DatabaseDamaged, match="empty"):
        await Directory.open(path)
    assert path.stat().st_size == 0
