from collections.abc import AsyncIterator

import pytest_asyncio
from wardenmq.broker.broker import Broker

from ..engine.brokers import running_broker


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[Broker]:
    """Run a broker that lets anonymous clients do everything."""
    async with running_broker() as running:
        yield running
