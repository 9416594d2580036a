from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ..clocks import WallClock, show_to_the_broker
from .brokers import Clients, serving


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients]:
    """Give clients of a broker that lets anonymous clients do everything."""
    async with serving() as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Give a clock that the test can put forward, for the broker."""
    return show_to_the_broker(monkeypatch)
