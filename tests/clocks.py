"""Clocks for tests: the time of day, which a test puts forward, and a loop's time, in which no stall shows."""

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

LONGEST = 0.05
"""Seconds that may pass between two looks at the clock before the rest is taken for a stall."""
STEP = 0.02
"""Seconds after which the clock is looked at though nothing happens."""


class WallClock:
    """The time of day, which somebody may set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Let that many seconds have passed."""
        self.ahead += seconds


def show_to_the_broker(monkeypatch: pytest.MonkeyPatch, *others: str) -> WallClock:
    """Give a clock that the broker sees, and the modules of these names, wherever they look at the time of day."""
    clock = WallClock()
    patched = 0
    for name, module in list(sys.modules.items()):
        if name.startswith(("wardenmq.broker", *others)) and getattr(module, "time", None) is time.time:
            monkeypatch.setattr(module, "time", clock)
            patched += 1
    assert patched, "no module of the broker imports time.time"
    return clock


class SteadyTime:
    """The time of an event loop, less what the machine did not let it run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looked = self._now = clock()

    def __call__(self) -> float:
        looked = self._clock()
        self._now += min(looked - self._looked, LONGEST)
        self._looked = looked
        return self._now


def ignore_stalls() -> None:
    """Have all timers of the running loop go by steady time from now on.

    Broker and clients of a test share a process. When the machine stalls, nobody had his turn, but every timer is due:
    the broker would find a client silent which had no chance to speak. uvloop's time cannot be replaced and stays.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop) or isinstance(loop.time, SteadyTime):
        return
    loop.time = SteadyTime(loop.time)

    def look() -> None:
        loop.call_later(STEP, look)

    look()
