"""Tables with damaged pages read by SQLite itself: what their inner pages still lead to, each row once."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store import salvage
from wardenmq.store.known_databases import SESSIONS, open_for_reading
from wardenmq.store.salvage import Salvage, TableShape, key_of

from .session_rows import (
    TABLES,
    layout,
    many_rows,
    page_count,
    rows_on,
    subscription,
    write_database,
    zero,
)

ROWS = many_rows()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("sound") / "sessions.db", ROWS)


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound, tmp_path / "sessions.db"))


def shapes() -> dict[str, TableShape]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        SESSIONS.lay_down(connection, 1, SESSIONS.version)
        return {table: TableShape.of(connection, table) for table in TABLES}


SHAPES = shapes()


def read(path: Path, table: str) -> tuple[list[tuple[object, ...]], Salvage]:
    with closing(open_for_reading(path)) as connection:
        reading = Salvage(connection, SHAPES[table])
        return list(reading.rows()), reading


def reachable(path: Path, lost: set[int]) -> dict[str, int]:
    """Count the rows on pages that are sound as are all that lead to them."""
    pages = layout(path)
    led_to = {page.number for some in pages.values() for page in some if not lost & {page.number, *page.above}}
    return rows_on(pages, lambda number: number in led_to)


def test_shapes() -> None:
    assert (SHAPES["messages"].key, SHAPES["messages"].kinds) == (("rowid",), (int,))
    assert (SHAPES["retained"].key, SHAPES["retained"].kinds) == (("rowid",), (int,))
    assert (SHAPES["deliveries"].key, SHAPES["deliveries"].kinds) == (("session_id", "position"), (int, int))
    assert (SHAPES["subscriptions"].key, SHAPES["subscriptions"].kinds) == (
        ("session_id", "topic_filter"),
        (int, bytes),
    )
    assert SHAPES["state"].kinds == (bytes,)
    assert SHAPES["retained"].columns[0] == "topic"


@pytest.mark.parametrize("table", TABLES)
def test_a_sound_table(sound: Path, table: str) -> None:
    rows, reading = read(sound, table)
    assert Counter(rows) == Counter(ROWS[table])
    assert reading.count_lost() == 0
    assert not reading.is_lost((5,) * len(SHAPES[table].key))


@pytest.mark.parametrize("seed", range(15))
def test_nothing_is_missed_that_is_led_to(damaged: Path, sound: Path, seed: int) -> None:
    numbers = random.Random(seed)
    lost = set(numbers.sample(range(2, page_count(sound) + 1), numbers.choice([1, 3, 10, 40, 100])))
    zero(damaged, *lost)
    expected = reachable(sound, lost)
    for table in TABLES:
        rows, reading = read(damaged, table)
        if len(SHAPES[table].key) == 1:
            assert len(rows) == expected[table], table
        else:  # Of a page in the middle of what belongs to one session nothing tells where it begins.
            assert expected[table] * 0.9 - 1 <= len(rows) <= expected[table], table
        assert Counter(rows) <= Counter(ROWS[table])
        left = {page.number for page in layout(sound)[table]} & lost
        assert bool(reading.count_lost()) == bool(left)
        # Places next to each other may look like one; a page never looks like two.
        assert reading.count_lost() <= len(left)
        shape = SHAPES[table]
        if "rowid" not in shape.key:
            at = [shape.columns.index(column) for column in shape.key]
            saved = {key_of([row[place] for place in at]) for row in rows}
            every = {key_of([row[place] for place in at]) for row in ROWS[table]}
            assert all(reading.is_lost(key) for key in every - saved)


def test_every_other_page(damaged: Path, sound: Path) -> None:
    """As often as reading starts anew, it finds a page between two that are lost."""
    pages = [page for page in layout(sound)["messages"] if not page.is_inner]
    lost = {page.number for page in pages[::2]}
    zero(damaged, *lost)
    rows, reading = read(damaged, "messages")
    assert len(rows) == sum(page.rows for page in pages[1::2])
    assert reading.count_lost() == len(lost)


def test_few_pages_left(damaged: Path, sound: Path) -> None:
    pages = [page for page in layout(sound)["deliveries"] if not page.is_inner]
    kept = {pages[len(pages) // 3].number, pages[len(pages) // 2].number}
    zero(damaged, *({page.number for page in pages} - kept))
    rows, _ = read(damaged, "deliveries")
    # Rows on inner pages, of which each stands between two that are lost, are not all met.
    assert len(rows) >= sum(page.rows for page in pages if page.number in kept)


def test_all_is_lost(damaged: Path, sound: Path) -> None:
    zero(damaged, layout(sound)["messages"][0].number)
    rows, reading = read(damaged, "messages")
    assert (rows, reading.count_lost()) == ([], 1)
    assert reading.is_lost((1,))
    assert reading.is_lost((1 << 60,))


def test_giving_up(sound: Path) -> None:
    with closing(open_for_reading(sound)) as connection:
        reading = Salvage(connection, SHAPES["messages"])
        reading.give_up()
    assert reading.count_lost() == 1
    assert reading.is_lost((-5,))


def test_texts_with_long_beginnings_in_common(tmp_path: Path) -> None:
    """What tells them apart stands far behind."""
    common = "building/with/a/very/long/name/" * 5
    rows = {"subscriptions": [subscription(1, f"{common}{at:06}/temperature/#") for at in range(2_000)]}
    path = write_database(tmp_path / "sessions.db", rows)
    pages = [page for page in layout(path)["subscriptions"] if not page.is_inner]
    expected = sum(page.rows for page in layout(path)["subscriptions"])
    lost = pages[5:80:10]
    zero(path, *(page.number for page in lost))
    saved, _ = read(path, "subscriptions")
    assert len(saved) == expected - sum(page.rows for page in lost)


def test_trying_has_an_end(damaged: Path, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [page for page in layout(sound)["subscriptions"] if not page.is_inner]
    zero(damaged, *(page.number for page in pages[1:-1]))
    tries = 0
    execute = Salvage._query

    def count(self: Salvage, *arguments: object, **options: object) -> sqlite3.Cursor:
        nonlocal tries
        tries += 1
        return execute(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(salvage, "_MAX_TRIES", 100)
    monkeypatch.setattr(Salvage, "_query", count)
    rows, reading = read(damaged, "subscriptions")
    assert tries < 300
    assert len(rows) >= pages[0].rows + pages[-1].rows
    assert reading.count_lost() >= 1


# -- bytes that are no damage to SQLite


def test_a_text_that_is_none(damaged: Path) -> None:
    with closing(sqlite3.connect(damaged)) as connection:
        connection.execute("UPDATE messages SET topic = CAST(x'ff' AS TEXT) WHERE id IN (700, 701, 900)")
        connection.commit()
    rows, reading = read(damaged, "messages")
    assert {row[0] for row in rows} == {row[0] for row in ROWS["messages"]} - {700, 701, 900}
    assert reading.count_lost() == 2


def out_of_order() -> Iterator[tuple[int, ...]]:
    yield from [(1, 1), (2, 2), (2, 2), (1, 1), (9, 9)]


def test_keys_that_are_out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on from the last key, so one that goes back would have it go round for ever."""
    monkeypatch.setattr(Salvage, "_query", lambda self, *_, **__: out_of_order())
    connection = sqlite3.connect(":memory:")
    reading = Salvage(connection, TableShape("t", ("a",), ("rowid",), (int,)))
    assert len(list(reading.rows())) < 1_000
    connection.close()


def test_other_errors_are_told(sound: Path) -> None:
    with closing(open_for_reading(sound)) as connection:
        reading = Salvage(connection, TableShape("nothing", ("a",), ("rowid",), (int,)))
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            list(reading.rows())
