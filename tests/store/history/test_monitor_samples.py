"""Samples: added up and thinned out as they are read, dropped when they are old."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.history import HistoryStore
from wardenmq.store.history.monitor_samples import COUNTS, GAUGES, INTERVAL, KEPT, NAMES, MonitorSamples, spacing

NOW = 1_900_000_200
"""A multiple of ten minutes."""


@pytest.fixture
async def store() -> AsyncIterator[HistoryStore]:
    opened = await HistoryStore.open(None)
    yield opened
    await opened.close()


@pytest.fixture
def samples(store: HistoryStore) -> MonitorSamples:
    return MonitorSamples(store)


def values(gauge: int, counted: int) -> dict[str, int]:
    return {**dict.fromkeys(GAUGES, gauge), **dict.fromkeys(COUNTS, counted)}


def numbers(gauge: int, counted: int) -> tuple[int, ...]:
    return tuple(values(gauge, counted)[name] for name in NAMES)


async def fill(store: HistoryStore, times: range) -> None:
    """Store a sample for each time at once: the gauge tells the time, and one thing was counted."""
    rows = [(time, *numbers(time, 1)) for time in times]
    question_marks = ", ".join("?" * len(rows[0]))
    await store.write(
        lambda connection: connection.executemany(f"INSERT INTO monitor_sample VALUES ({question_marks})", rows)
    )


async def test_nothing_is_stored(samples: MonitorSamples) -> None:
    assert (await samples.series(NOW, None)).points == ()
    assert (await samples.series(NOW, 1)).points == ()


async def test_samples_come_back_in_order_with_their_own_numbers(samples: MonitorSamples) -> None:
    different = {name: place + 1 for place, name in enumerate(NAMES)}
    await samples.add(NOW, different)
    await samples.add(NOW - 20, values(5, 7))
    series = await samples.series(NOW, None)
    assert series.step == INTERVAL
    assert series.points == ((NOW - 20, numbers(5, 7)), (NOW, tuple(range(1, len(NAMES) + 1))))


async def test_a_second_sample_of_the_same_time_is_added_to_the_first(samples: MonitorSamples) -> None:
    """After a restart within ten seconds, or when the clock was set back: nothing that was counted is lost."""
    await samples.add(NOW, values(5, 7))
    await samples.add(NOW, values(3, 2))
    assert (await samples.series(NOW, None)).points == ((NOW, numbers(3, 9)),)


async def test_only_the_latest(samples: MonitorSamples, store: HistoryStore) -> None:
    await fill(store, range(NOW - 300, NOW + 10, 10))
    times = [time for time, _ in (await samples.series(NOW, 60)).points]
    assert times == list(range(NOW - 60, NOW + 10, 10))
    assert len((await samples.series(NOW, 10**9)).points) == 31
    assert [time for time, _ in (await samples.series(NOW + 5, 4)).points] == []


@pytest.mark.parametrize(
    ("age", "step"),
    [
        (0, 10),
        (60, 10),
        (3_600, 10),
        (3_610, 60),
        (86_400, 60),
        (86_410, 300),
        (3 * 86_400, 300),
        (3 * 86_400 + 10, 600),
    ],
)
async def test_the_older_the_wider_apart(samples: MonitorSamples, store: HistoryStore, age: int, step: int) -> None:
    assert spacing(age) == step
    await fill(store, range(NOW - age, NOW + 1, 10))
    series = await samples.series(NOW, None)
    assert series.step == step
    times = [time for time, _ in series.points]
    assert times == list(range(times[0], NOW + 1, step))
    assert all(time % step == 0 for time in times)
    assert times[0] <= NOW - age < times[0] + step
    counted = [row[NAMES.index("received")] for _, row in series.points]
    assert sum(counted) == age // 10 + 1  # nothing is counted twice or left out
    sizes = [row[NAMES.index("topics")] for _, row in series.points]
    assert sizes == [min(time + step - 10, NOW) for time in times]  # the newest of each


async def test_seven_days_are_a_thousand_points(samples: MonitorSamples, store: HistoryStore) -> None:
    await fill(store, range(NOW - KEPT, NOW + 10, 10))
    series = await samples.series(NOW, None)
    assert series.step == 600
    assert len(series.points) == KEPT // 600 + 1
    assert sum(row[-1] for _, row in series.points) == KEPT // 10 + 1


async def test_what_is_too_old_is_dropped_and_so_is_what_lies_in_the_future(
    samples: MonitorSamples, store: HistoryStore
) -> None:
    for time in (NOW - KEPT - 10, NOW - KEPT, NOW + 40_000_000):
        await fill(store, range(time, time + 1))
    await samples.add(NOW, values(1, 1))
    stored = await store.read(lambda connection: connection.execute("SELECT time FROM monitor_sample").fetchall())
    assert [time for (time,) in stored] == [NOW - KEPT, NOW]


async def test_what_lies_in_the_future_is_not_shown(samples: MonitorSamples, store: HistoryStore) -> None:
    await fill(store, range(NOW, NOW + 100, 10))
    assert [time for time, _ in (await samples.series(NOW + 19, None)).points] == [NOW, NOW + 10]


async def test_forgotten(samples: MonitorSamples) -> None:
    await samples.add(NOW, values(1, 1))
    await samples.clear()
    assert (await samples.series(NOW, None)).points == ()


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    store = await HistoryStore.open(tmp_path / "history.db")
    await MonitorSamples(store).add(NOW, values(4, 2))
    await store.close()
    store = await HistoryStore.open(tmp_path / "history.db")
    assert (await MonitorSamples(store).series(NOW, None)).points == ((NOW, numbers(4, 2)),)
    await store.close()


@given(st.integers(0, KEPT))
def test_a_series_is_never_long(age: int) -> None:
    assert age // spacing(age) <= 1_440
