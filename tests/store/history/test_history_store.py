"""The store of what has been: private, there again after a restart, and in nobody's way when it is damaged."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store.errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from wardenmq.store.history import HistoryStore
from wardenmq.store.history.opening import APPLICATION_ID, open_history
from wardenmq.store.known_databases import DATABASES, HISTORY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def put(connection: sqlite3.Connection) -> None:
    connection.execute(f"INSERT INTO monitor_sample VALUES (10{', 1' * 14})")


def count(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM monitor_sample").fetchone()[0]


def test_it_is_one_of_the_databases_of_a_data_directory() -> None:
    assert HISTORY in DATABASES
    assert HISTORY.name == "history.db"
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        HISTORY.lay_down(connection, 1, HISTORY.version)
        assert count(connection) == 0


async def test_what_is_written_is_there_after_a_restart(path: Path) -> None:
    store = await HistoryStore.open(path)
    assert store.problem is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await store.write(put)
    await store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    store = await HistoryStore.open(path)
    assert await store.read(count) == 1
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (HISTORY.version,)


async def test_it_works_in_one_thread_of_its_own(path: Path) -> None:
    store = await HistoryStore.open(path)
    threads = {await store.read(lambda _: threading.current_thread().name) for _ in range(3)}
    assert threads == {next(iter(threads))}
    assert threading.current_thread().name not in threads
    (name,) = threads
    await store.close()
    await store.close()
    assert name.startswith("wardenmq-history")


async def test_half_a_write_is_none() -> None:
    store = await HistoryStore.open(None)

    def fail(connection: sqlite3.Connection) -> None:
        put(connection)
        raise ValueError("after the row")

    with pytest.raises(ValueError, match="after the row"):
        await store.write(fail)
    assert await store.read(count) == 0
    await store.write(put)  # the failed one left no transaction open
    with pytest.raises(DatabaseUnavailable, match="cannot be read or written"):
        await store.write(put)
    assert await store.read(count) == 1
    await store.close()


async def test_a_closed_store_is_of_no_use() -> None:
    store = await HistoryStore.open(None)
    await store.close()
    with pytest.raises(DatabaseUnavailable, match="is closed"):
        await store.read(count)
    with pytest.raises(DatabaseUnavailable, match="is closed"):
        await store.write(put)


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 500)


def damage_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4_096:8_192] = bytes([0x7F]) * 4_096
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [damage_header, damage_page])
async def test_a_damaged_file_is_set_aside(path: Path, damage: object) -> None:
    store = await HistoryStore.open(path)
    await store.write(put)
    await store.close()
    assert callable(damage)
    damage(path)
    damaged = path.read_bytes()
    store = await HistoryStore.open(path)
    assert await store.read(count) == 0
    assert store.problem is not None
    assert "was set aside as" in store.problem
    (aside,) = (file for file in path.parent.iterdir() if ".damaged-" in file.name)
    assert aside.name in store.problem
    assert aside.read_bytes() == damaged
    await store.close()


async def test_an_empty_file_is_taken(path: Path) -> None:
    path.touch()
    store = await HistoryStore.open(path)
    assert store.problem is None
    await store.write(put)
    await store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE precious (value)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(DatabaseDamaged, match="some other program"):
        await HistoryStore.open(path)
    assert path.read_bytes() == before


async def test_a_database_of_a_newer_release_is_left_alone(path: Path) -> None:
    await (await HistoryStore.open(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {HISTORY.version + 1}")
    with pytest.raises(DatabaseTooNew, match=str(HISTORY.version + 1)):
        await HistoryStore.open(path)


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
        await HistoryStore.open(tmp_path / "missing" / "history.db")
    with pytest.raises(DatabaseUnavailable):
        await HistoryStore.open(tmp_path)


async def test_a_newer_schema_keeps_a_copy_of_the_older_one(path: Path, tmp_path: Path) -> None:
    store = await HistoryStore.open(path)
    await store.write(put)
    await store.close()
    folder = tmp_path / "migrations"
    folder.mkdir()
    for number, file in ((1, HISTORY.migrations / "0001_monitor.sql"),):
        (folder / f"{number:04}_a.sql").write_text(file.read_text())
    (folder / "0002_b.sql").write_text("CREATE TABLE more (value);")
    connection, problem = open_history(path, folder)
    with closing(connection):
        assert problem is None
        assert count(connection) == 1
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (0,)
    assert path.with_name("history.db.v1.bak").exists()
