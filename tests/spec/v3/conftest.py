from collections.abc import AsyncIterator

import pytest_asyncio

from ...engine.brokers import Clients, serving


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients]:
    """Give clients of a broker that lets anonymous clients do everything."""
    async with serving() as opened:
        yield opened
