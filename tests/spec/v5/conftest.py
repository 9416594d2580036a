import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .serving import Clients5, serving5


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients5]:
    """Give clients of a broker that lets anonymous clients do everything."""
    async with serving5() as opened:
        yield opened


class Clock:
    """The time of day as the broker sees it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Let that many seconds have passed."""
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give a clock that the test can put forward, in every module of the broker that looks at the time."""
    settable = Clock()
    patched = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("wardenmq.broker") and getattr(module, "time", None) is time.time:
            monkeypatch.setattr(module, "time", settable)
            patched += 1
    assert patched, "no module of the broker imports time.time"
    return settable
