"""The clocks that other tests rely on."""

import asyncio
import time
from itertools import accumulate

import pytest

from .clocks import LONGEST, SteadyTime, WallClock, ignore_stalls
from .engine.conditions import until


def test_steady_time_goes_on_as_the_clock_does_but_for_stalls() -> None:
    steps = [0.01, LONGEST, 7.0, 0.0, 0.02, 3_600.0]
    counted = [0.01, LONGEST, LONGEST, 0.0, 0.02, LONGEST]
    moments = accumulate(steps, initial=100.0)
    steady = SteadyTime(lambda: next(moments))
    assert [steady() for _ in steps] == pytest.approx([*accumulate(counted, initial=100.0)][1:], abs=1e-6)


async def test_a_stall_makes_no_timer_due() -> None:
    """Whoever is ready has his turn first."""
    ignore_stalls()
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    loop.call_later(0.5, seen.append, "timer")
    loop.call_later(0.01, seen.append, "before")
    time.sleep(0.6)  # noqa: ASYNC251 - this is the stall
    for _ in range(3):
        await asyncio.sleep(0)
    assert seen == ["before"]
    begun = loop.time()
    await until(lambda: len(seen) > 1)
    assert seen == ["before", "timer"]
    assert loop.time() - begun > 0.4


async def test_idle_time_counts_in_full() -> None:
    """However little happens in the loop; a machine that is slow may take longer, but not less."""
    ignore_stalls()
    ignore_stalls()
    begun = time.monotonic()
    await asyncio.sleep(0.3)
    assert time.monotonic() - begun >= 0.29


async def test_each_loop_has_its_own() -> None:
    assert not isinstance(asyncio.get_running_loop().time, SteadyTime)


def test_the_time_of_day_is_set() -> None:
    clock = WallClock()
    before = time.time()
    clock.advance(3_600)
    clock.advance(-1_800)
    assert clock() >= before + 1_800
    assert clock.ahead == 1_800
