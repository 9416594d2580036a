"""What can be put right is, and what was there before is kept."""

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store import repair as repairing
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseDamaged, DatabaseUnavailable, StoreError
from wardenmq.store.examination import examine
from wardenmq.store.file_exchange import STAGING_NAME, FileExchange
from wardenmq.store.first_run import first_run
from wardenmq.store.known_databases import CONTROL, SESSIONS
from wardenmq.store.repair import repair
from wardenmq.store.sessions import SessionStore

from .session_rows import delivery, insert, layout, many_rows, read_rows, session, write_database, zero

NOW = 1_800_000_000.0
STAMP = "20270115T080000Z"
ROWS = many_rows(sessions=3, owed=400)


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    await first_run(data_dir, scram_iterations=4_096)
    write_database(data_dir / SESSIONS.name, ROWS)
    return data_dir


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run(data_dir: Path, **options: object) -> list[str]:
    return list(repair(data_dir, now=NOW, **options))  # type: ignore[arg-type]


def problems(data_dir: Path) -> list[str]:
    return [finding.message for finding in examine(data_dir, full=True) if finding.status == "problem"]


def test_there_is_nothing_to_do(data_dir: Path) -> None:
    before = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    assert run(data_dir) == []
    assert {path.name: path.read_bytes() for path in data_dir.iterdir()} == before


def damage(path: Path, table: str) -> int:
    """Zero the last page with rows of a table and return how many are lost."""
    page = [page for page in layout(path)[table] if not page.is_inner][-1]
    zero(path, page.number)
    return page.rows


async def test_damaged_sessions(data_dir: Path) -> None:
    path = data_dir / SESSIONS.name
    lost = damage(path, "messages")
    damaged = path.read_bytes()
    assert problems(data_dir)
    said = run(data_dir)
    assert f"{1_200 - lost:,} rows of messages (1 damaged place)" in said[0]
    assert (
        said[1] == f"Of that, {lost} deliveries whose message is missing were of no use and are left out or put right."
    )
    assert said[2].endswith(f"is kept as sessions.db.damaged-{STAMP}.")
    assert (data_dir / f"sessions.db.damaged-{STAMP}").read_bytes() == damaged
    rows = read_rows(path)
    assert len(rows["messages"]) == len(rows["deliveries"]) == 1_200 - lost
    assert rows["subscriptions"] == set(ROWS["subscriptions"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert problems(data_dir) == []
    assert run(data_dir) == []
    store = await SessionStore.open(path, "process")
    assert store.problem is None
    await store.close()


def test_what_lies_beside_goes_with_it(data_dir: Path) -> None:
    """Another database's log would be played into the new one."""
    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path, isolation_level=None)) as running:
        running.execute("PRAGMA journal_mode = WAL")
        running.execute("DELETE FROM unreleased")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", data_dir / f"copy{suffix}")
    for suffix in ("", "-wal"):
        (data_dir / f"copy{suffix}").replace(f"{path}{suffix}")
    log = Path(f"{path}-wal").read_bytes()
    lost = damage(path, "messages")
    run(data_dir)
    rows = read_rows(path)
    assert (len(rows["messages"]), len(rows["unreleased"])) == (1_200 - lost, 0)
    assert (data_dir / f"sessions.db.damaged-{STAMP}-wal").read_bytes() == log


def test_rows_that_do_not_fit(data_dir: Path) -> None:
    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        insert(
            connection, {"deliveries": [delivery(77, at, 1) for at in range(3)], "sessions": [session(9, window=-1)]}
        )
    before = read_rows(path)
    (said,) = run(data_dir)
    assert "3 deliveries without a session" in said
    assert "1 sessions with impossible values" in said
    copy = data_dir / f"sessions.db.before-repair-{STAMP}"
    assert said.endswith(f"is kept as {copy.name}.")
    assert read_rows(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert read_rows(path) == {table: set(rows) for table, rows in ROWS.items()}
    assert problems(data_dir) == []


def test_a_copy_is_never_written_over(data_dir: Path) -> None:
    path = data_dir / SESSIONS.name
    for number in range(2):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            insert(connection, {"deliveries": [delivery(77 + number, 0, 1)]})
        run(data_dir)
    kept = {name for name in names(data_dir) if ".before-repair-" in name}
    assert kept == {f"sessions.db.before-repair-{STAMP}", f"sessions.db.before-repair-{STAMP}-2"}
    first, second = (read_rows(data_dir / name)["deliveries"] for name in sorted(kept))
    assert delivery(77, 0, 1) in first - second
    assert delivery(78, 0, 1) in second - first


def test_without_a_copy_nothing_is_done(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseUnavailable("No space left on device.")

    path = data_dir / SESSIONS.name
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        insert(connection, {"deliveries": [delivery(77, 0, 1)]})
    before = read_rows(path)
    monkeypatch.setattr(repairing, "copy_database", fail)
    with pytest.raises(DatabaseUnavailable, match="No space"):
        run(data_dir)
    assert read_rows(path) == before


# -- what was set aside


async def set_aside(data_dir: Path) -> Path:
    """Have a server find its sessions damaged and begin anew."""
    path = data_dir / SESSIONS.name
    damage(path, "unreleased")
    store = await SessionStore.open(path, "process")
    assert store.problem is not None
    await store.close()
    (aside,) = (file for file in data_dir.iterdir() if ".damaged-" in file.name)
    assert read_rows(path)["messages"] == set()
    return aside


async def test_what_was_set_aside_is_recovered(data_dir: Path) -> None:
    aside = await set_aside(data_dir)
    damaged = aside.read_bytes()
    assert run(data_dir) == []  # the sessions of now are sound
    said = run(data_dir, source=aside)
    assert f"made anew of what can be read of {aside.name}" in said[0]
    assert read_rows(data_dir / SESSIONS.name)["messages"] == set(ROWS["messages"])
    assert said[-1].endswith(f"is kept as sessions.db.replaced-{STAMP}.")
    assert read_rows(data_dir / f"sessions.db.replaced-{STAMP}")["messages"] == set()
    assert aside.read_bytes() == damaged


async def test_without_sessions_the_latest_that_was_set_aside(data_dir: Path) -> None:
    aside = await set_aside(data_dir)
    (data_dir / SESSIONS.name).unlink()
    (data_dir / f"{SESSIONS.name}.damaged-20000101T000000Z").write_text("older")
    run(data_dir)
    assert read_rows(data_dir / SESSIONS.name)["messages"] == set(ROWS["messages"])
    assert aside.exists()


def test_a_file_that_is_not_there(data_dir: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="no file"):
        run(data_dir, source=data_dir / "nowhere")
    assert not (data_dir / STAGING_NAME).exists()


# -- the control database


async def test_a_damaged_control_database(data_dir: Path) -> None:
    directory = await Directory.open(data_dir / CONTROL.name)
    for number in range(200):
        await directory.create_login("username", f"user-{number}", None)
    await directory.close()
    path = data_dir / CONTROL.name
    before = sum(page.rows for page in layout(path)["principal"])
    lost = damage(path, "principal")
    damaged = path.read_bytes()
    said = run(data_dir)
    assert f"{before - lost} rows of principal (1 damaged place)" in said[0]
    assert "look through them" in said[-1]
    assert (data_dir / f"wardenmq.db.damaged-{STAMP}").read_bytes() == damaged
    directory = await Directory.open(path)
    assert len(list(directory.logins("username"))) >= 200 - lost
    await directory.close()
    assert problems(data_dir) == []


def test_what_cannot_be_repaired_is_left_and_the_rest_is_done(data_dir: Path) -> None:
    zero(data_dir / CONTROL.name, 1)
    lost = damage(data_dir / SESSIONS.name, "messages")
    before = (data_dir / CONTROL.name).read_bytes()
    said: list[str] = []
    with pytest.raises(DatabaseDamaged, match=r"wardenmq\.db: its beginning"):
        said.extend(repair(data_dir, now=NOW))
    assert (data_dir / CONTROL.name).read_bytes() == before
    assert len(read_rows(data_dir / SESSIONS.name)["messages"]) == 1_200 - lost
    assert any("made anew" in sentence for sentence in said)
    assert not (data_dir / STAGING_NAME).exists()


@pytest.mark.parametrize("pragma", ["application_id = 4711", "user_version = 4711"])
def test_what_is_of_others_is_left_alone(data_dir: Path, pragma: str) -> None:
    for database in (CONTROL, SESSIONS):
        with closing(sqlite3.connect(data_dir / database.name)) as connection:
            connection.execute(f"PRAGMA {pragma}")
    before = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    assert run(data_dir) == []
    with pytest.raises(StoreError, match="left as it is"):
        run(data_dir, source=data_dir / SESSIONS.name)
    assert {path.name: path.read_bytes() for path in data_dir.iterdir()} == before


def test_what_was_interrupted_is_finished_first(data_dir: Path) -> None:
    FileExchange(data_dir)
    (said,) = run(data_dir)
    assert "undone" in said
    assert not (data_dir / STAGING_NAME).exists()


def test_an_empty_directory(tmp_path: Path) -> None:
    assert run(tmp_path) == []
    assert names(tmp_path) == set()
