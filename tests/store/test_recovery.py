"""Damaged databases: every row is saved whose page can be read, and none that was deleted."""

import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from wardenmq.store.database import Database
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from wardenmq.store.known_databases import CONTROL, SESSIONS
from wardenmq.store.recovery import TableRecovery, recover_database

from .session_rows import (
    PAGE,
    TABLES,
    Rows,
    as_sets,
    cut_off,
    insert,
    layout,
    many_rows,
    message,
    overwrite,
    page_count,
    read_rows,
    rows_on,
    write_database,
    zero,
)

ROWS = many_rows()
WHOLE = as_sets(ROWS)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database that tests copy and damage; some tables in it have inner pages, others have one page."""
    path = write_database(tmp_path_factory.mktemp("sound") / "sessions.db", ROWS)
    inner = {table: sum(page.is_inner for page in pages) for table, pages in layout(path).items()}
    assert min(inner[table] for table in ("messages", "deliveries", "subscriptions", "retained")) >= 1
    assert inner["sessions"] == inner["state"] == 0
    return path


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound, tmp_path / "sessions.db"))


def recover(path: Path) -> tuple[dict[str, TableRecovery], Rows]:
    before = path.read_bytes()
    new = path.with_name("new.db")
    tables = {table.table: table for table in recover_database(path, new, SESSIONS)}
    assert path.read_bytes() == before
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    saved = read_rows(new)
    assert {table: len(rows) for table, rows in saved.items()} == {name: table.saved for name, table in tables.items()}
    return tables, saved


def check_saved(path: Path, sound: Path, lost: set[int]) -> None:
    """Find saved exactly the rows that do not lie on pages that are lost."""
    tables, saved = recover(path)
    expected = rows_on(layout(sound), lambda number: number not in lost)
    assert {table: len(rows) for table, rows in saved.items()} == expected
    for table in TABLES:
        assert saved[table] <= WHOLE[table]
        hit = any(page.number in lost for page in layout(sound)[table])
        assert bool(tables[table].lost_ranges) == hit
        assert tables[table].refused == 0


def test_a_sound_database_is_saved_whole(damaged: Path) -> None:
    tables, saved = recover(damaged)
    assert saved == WHOLE
    assert [table.lost_ranges for table in tables.values()] == [0] * len(TABLES)


@pytest.mark.parametrize("content", [bytes(PAGE), random.Random(2).randbytes(PAGE), b"\xff" * PAGE], ids="0rf")
@pytest.mark.parametrize("table", TABLES)
def test_a_page_of_rows(damaged: Path, sound: Path, table: str, content: bytes) -> None:
    pages = [page.number for page in layout(sound)[table] if not page.is_inner]
    for at in {0, len(pages) // 2, len(pages) - 1}:
        shutil.copy(sound, damaged)
        damaged.with_name("new.db").unlink(missing_ok=True)
        overwrite(damaged, content, pages[at])
        if table == "sessions" and content == bytes(PAGE):
            assert recover(damaged)[1]["deliveries"] == WHOLE["deliveries"]
            damaged.with_name("new.db").unlink()
        check_saved(damaged, sound, {pages[at]})


@pytest.mark.parametrize("table", ["messages", "deliveries", "subscriptions", "retained"])
def test_an_inner_page(damaged: Path, sound: Path, table: str) -> None:
    """What is below it is all there, though nothing leads to it."""
    inner = [page.number for page in layout(sound)[table] if page.is_inner]
    for number in inner:
        shutil.copy(sound, damaged)
        damaged.with_name("new.db").unlink(missing_ok=True)
        zero(damaged, number)
        check_saved(damaged, sound, {number})


@pytest.mark.parametrize("seed", range(12))
def test_many_pages(damaged: Path, sound: Path, seed: int) -> None:
    numbers = random.Random(seed)
    count = numbers.choice([2, 5, 20, 60])
    lost = set(numbers.sample(range(2, page_count(sound) + 1), count))
    overwrite(damaged, bytes(PAGE) if seed % 2 else numbers.randbytes(PAGE), *lost)
    check_saved(damaged, sound, lost)


@pytest.mark.parametrize("tenths", [1, 3, 5, 7, 9])
def test_a_file_that_was_cut_off(damaged: Path, sound: Path, tenths: int) -> None:
    left = page_count(sound) * tenths // 10
    cut_off(damaged, left)
    with pytest.raises(sqlite3.DatabaseError), closing(sqlite3.connect(damaged)) as connection:
        connection.execute("SELECT * FROM messages").fetchall()
    check_saved(damaged, sound, set(range(left + 1, page_count(sound) + 1)))


def test_a_file_that_was_cut_off_within_a_page(damaged: Path, sound: Path) -> None:
    left = page_count(sound) // 2
    with damaged.open("r+b") as file:
        file.truncate(left * PAGE + 1_000)
    _, saved = recover(damaged)
    expected = rows_on(layout(sound), lambda number: number <= left)
    for table in TABLES:
        # Of the page that is there in part, too; nothing tells of a row of which only the payload is cut off.
        assert expected[table] <= len(saved[table]) <= expected[table] + 30
        assert len(saved[table] - WHOLE[table]) <= 1


def test_a_page_that_is_damaged_in_part(damaged: Path, sound: Path) -> None:
    """SQLite refuses all of it; the rows beside the damage are there."""
    page = next(page for page in layout(sound)["messages"] if page.rows > 10)
    with damaged.open("r+b") as file:
        file.seek(page.number * PAGE - 512)  # rows grow from the end of a page
        file.write(b"\xff" * 512)
    _, saved = recover(damaged)
    # Nothing tells of a row of which only the payload is overwritten.
    altered = {row[0] for row in saved["messages"] - WHOLE["messages"]}
    assert len(altered) <= 1
    assert len(saved["messages"]) >= len(WHOLE["messages"]) - 512 // 100 - 1
    assert {table: saved[table] for table in TABLES if table != "messages"} == {
        table: WHOLE[table] for table in TABLES if table != "messages"
    }


@pytest.mark.parametrize("length", [16, 100, PAGE])
def test_the_beginning_of_the_file(damaged: Path, sound: Path, length: int) -> None:
    """Nothing says what is where, not even that it is a database; the rows say it themselves."""
    overwrite(damaged, bytes(length), 1)
    tables, saved = recover(damaged)
    without_types = {"state"}  # whose values can be anything, so nothing can be told to be one
    assert {table: saved[table] for table in saved.keys() - without_types} == {
        table: WHOLE[table] for table in WHOLE.keys() - without_types
    }
    assert all(table.lost_ranges for table in tables.values())


# -- payloads that do not find room in a page


@pytest.mark.parametrize("inner", [False, True])
def test_long_messages(tmp_path: Path, inner: bool) -> None:
    numbers = random.Random(3)
    sizes = [10, 3_000, 4_061, 4_062, 4_100, 9_000, 100_000]
    rows = {"messages": [message(at, numbers.randbytes(sizes[at % 7])) for at in range(1, 400)]}
    sound = write_database(tmp_path / "sound.db", rows)
    damaged = Path(shutil.copy(sound, tmp_path / "sessions.db"))
    pages = layout(sound)["messages"]
    lost = next(page for page in pages if page.is_inner) if inner else pages[len(pages) // 2]
    zero(damaged, lost.number)
    _, saved = recover(damaged)
    assert saved["messages"] <= as_sets(rows)["messages"]
    assert len(saved["messages"]) == 399 - lost.rows


# -- what was deleted


def delete_some(path: Path) -> Rows:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM messages WHERE id BETWEEN 1000 AND 3000")
        connection.execute("DELETE FROM deliveries WHERE message_id BETWEEN 1000 AND 3000")
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert free > 20
    return read_rows(path)


def test_what_was_deleted_does_not_come_back(damaged: Path) -> None:
    left = delete_some(damaged)
    zero(damaged, next(page.number for page in layout(damaged)["messages"] if page.is_inner))
    _, saved = recover(damaged)
    assert saved == left


# -- the log


@contextmanager
def left_by_a_killed_process(path: Path, rows: dict[str, list[tuple[object, ...]]]) -> Iterator[Path]:
    """Give a copy of a database whose last rows are in its log only."""
    with closing(sqlite3.connect(path, isolation_level=None)) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("PRAGMA wal_autocheckpoint = 0")
        insert(running, rows)
        copy = path.with_name("killed.db")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        yield copy


@pytest.mark.parametrize("inner", [False, True])
def test_what_is_in_the_log_is_saved(tmp_path: Path, inner: bool) -> None:
    rows, later = many_rows(sessions=5), {"messages": [message(at) for at in range(5_000, 6_000)]}
    with left_by_a_killed_process(write_database(tmp_path / "sessions.db", rows), later) as path:
        pages = layout(path)["messages"]
        lost = next(page.number for page in pages if page.is_inner == inner)
        # The log has a newer version of the pages at the end of the table; its root among them.
        zero(path, lost, *([] if inner else [2]))
        log = path.with_name("killed.db-wal")
        before = log.read_bytes()
        _, saved = recover(path)
        assert log.read_bytes() == before
    assert set(later["messages"]) <= saved["messages"]
    assert len(saved["messages"]) >= len(rows["messages"]) + 1_000 - pages[1].rows


# -- what cannot be


def test_a_file_without_a_row(tmp_path: Path) -> None:
    for content in (b"", b"no database", bytes(10 * PAGE), random.Random(4).randbytes(10 * PAGE)):
        path = tmp_path / "sessions.db"
        path.write_bytes(content)
        with pytest.raises((DatabaseDamaged, DatabaseUnavailable), match=r"recovered"):
            recover_database(path, tmp_path / "new.db", SESSIONS)
        (tmp_path / "new.db").unlink(missing_ok=True)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("pragma", "error"), [("application_id = 4711", DatabaseDamaged), ("user_version = 4711", DatabaseTooNew)]
)
def test_a_database_of_others(damaged: Path, pragma: str, error: type[Exception]) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute(f"PRAGMA {pragma}")
    with pytest.raises(error, match="left as it is"):
        recover_database(damaged, damaged.with_name("new.db"), SESSIONS)
    assert not damaged.with_name("new.db").exists()


def test_nothing_is_written_over(damaged: Path) -> None:
    damaged.with_name("new.db").write_text("precious")
    with pytest.raises(DatabaseUnavailable, match="File exists"):
        recover_database(damaged, damaged.with_name("new.db"), SESSIONS)
    assert damaged.with_name("new.db").read_text() == "precious"


# -- the control database


async def fill(path: Path, logins: int) -> None:
    directory = await Directory.open(path)
    await directory.roles.create("sensor")
    for number in range(logins):
        await directory.create_login("username", f"user-{number}", None, roles={"sensor": 1})
    await directory.bans.create("clientid", "evil")
    await directory.close()


async def reopened(path: Path) -> Directory:
    return await Directory.open(path)


@pytest.fixture
async def control(tmp_path: Path) -> Path:
    await fill(tmp_path / "wardenmq.db", 300)
    return tmp_path / "wardenmq.db"


def control_tables(path: Path) -> dict[str, TableRecovery]:
    return {table.table: table for table in recover_database(path, path.with_name("new.db"), CONTROL)}


async def test_a_sound_control_database(control: Path) -> None:
    tables = control_tables(control)
    assert (tables["principal"].saved, tables["tenant"].saved, tables["principal_role"].saved) == (300, 1, 300)
    with closing(sqlite3.connect(control)) as old, closing(sqlite3.connect(control.with_name("new.db"))) as new:
        for table in tables:
            assert set(old.execute(f"SELECT * FROM {table}")) == set(new.execute(f"SELECT * FROM {table}")), table
    directory = await reopened(control.with_name("new.db"))
    assert len(list(directory.logins("username"))) == 300
    assert [ban.who for ban in directory.bans.all()] == ["evil"]
    await directory.close()


@pytest.mark.parametrize("table", ["principal", "principal_role", "acl_rule", "audit_log"])
async def test_a_page_of_the_control_database(control: Path, table: str) -> None:
    pages = layout(control)[table]
    lost = pages[len(pages) // 2]
    zero(control, lost.number)
    tables = control_tables(control)
    assert tables[table].lost_ranges == 1
    assert tables["principal"].saved == 300 - (lost.rows if table == "principal" else 0)
    assert tables["audit_log"].saved == 302 - (lost.rows if table == "audit_log" else 0)
    # What a login had goes with it, and nothing else does.
    roles = tables["principal_role"]
    assert roles.saved == 300 - (lost.rows if table in ("principal", "principal_role") else 0)
    await (await Database.open(control.with_name("new.db"))).close()


@pytest.mark.parametrize("table", ["tenant", "default_access"])
async def test_what_every_control_database_holds(control: Path, table: str) -> None:
    """It is there again, and logins stay though the row is lost that all of them belong to."""
    (page,) = layout(control)[table]
    zero(control, page.number)
    tables = control_tables(control)
    assert tables["principal"].saved == 300
    directory = await reopened(control.with_name("new.db"))
    assert directory.default_access["publish"] is False
    assert [tenant.name for tenant in directory.tenants.all()] == ["default"]
    await directory.create_login("username", "another", None)
    await directory.close()


async def test_a_login_that_was_deleted_does_not_come_back(control: Path) -> None:
    """Where it cannot be told which pages are free, those that nothing leads to are not read."""
    directory = await reopened(control)
    for number in range(0, 250):
        await directory.delete_login("username", f"user-{number}")
    await directory.close()
    with control.open("r+b") as file:
        file.seek(32)
        file.write(bytes(4))  # where the list of free pages begins
    root = layout(control)["principal"][0]
    assert root.is_inner
    zero(control, root.number)
    tables = control_tables(control)
    assert tables["principal"].saved == 0


async def test_without_its_beginning_the_control_database_is_lost(control: Path) -> None:
    zero(control, 1)
    with pytest.raises(DatabaseDamaged, match="its beginning"):
        recover_database(control, control.with_name("new.db"), CONTROL)
