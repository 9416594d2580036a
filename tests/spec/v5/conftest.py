from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ...clocks import WallClock, show_to_the_broker
from . import plugins
from .serving import Clients5, serving5


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients5]:
    """Give clients of a broker that lets anonymous clients do everything."""
    async with serving5() as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Give a clock that the test can put forward, for the broker and the plugins."""
    return show_to_the_broker(monkeypatch, plugins.__name__)
