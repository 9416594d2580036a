"""Wait for what must come true."""

import asyncio
from collections.abc import Callable

TIME_LIMIT = 30.0


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds; fail after the time limit."""
    async with asyncio.timeout(TIME_LIMIT):
        while not condition():  # noqa: ASYNC110 (what is waited for knows of no event)
            await asyncio.sleep(0.001)
