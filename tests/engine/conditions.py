"""Wait for something to become true, with a time limit instead of a fixed sleep."""

import asyncio
from collections.abc import Callable

from .wire import TIME_LIMIT


async def until(condition: Callable[[], bool], seconds: float = TIME_LIMIT) -> None:
    """Return once the condition holds; TimeoutError if it never does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any state of the broker may be the condition
            await asyncio.sleep(0.005)


async def turn_by_turn(condition: Callable[[], bool]) -> None:
    """Return in the first turn of the loop that finds the condition true, however soon it is true no more."""
    async with asyncio.timeout(TIME_LIMIT):
        while not condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
