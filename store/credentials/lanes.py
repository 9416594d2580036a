"""Lanes: a few threads each for calls that take long, with a bounded and fair queue before them."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..errors import Overloaded
from .fair_queue import FairQueue

T = TypeVar("T")

_TOO_MANY = "Too many password checks are waiting."
_CLOSING = "The store is closing."


class Lane:
    """Run calls in a few threads; those that wait do so on the loop, so that a cancelled one leaves nothing behind."""

    def __init__(self, threads: int, max_waiting: int, name: str, *, interval: float = 0.0, niceness: int = 0) -> None:
        """Let `max_waiting` calls wait, served by turns of the networks that they are for.

        Past that the newest of the network that has most of them is refused. Each thread begins a call at most once in
        `interval` seconds. `niceness` is added to the threads' own: how far they step back for others.
        """
        self._pool = ThreadPoolExecutor(threads, name, (lambda: _step_back(niceness)) if niceness else None)
        self._free = threads
        self._max_waiting = max_waiting
        self._interval = interval
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return len(self._queue)

    async def run(
        self,
        call: Callable[[], T],
        known: Callable[[], T | None] = lambda: None,
        learn: Callable[[T], None] | None = None,
        *,
        network: str = "",
    ) -> T:
        """Return the call's result, or what `known` has, or raises, by the time it is this call's turn.

        `learn` gets the result before the next call's turn, even where the caller has been cancelled. Raises
        Overloaded where too many wait or the lane is closed.
        """
        await self._turn(network)
        loop = asyncio.get_running_loop()
        begun = False
        try:
            if (answer := known()) is not None:
                return answer
            future = self._begin(call)
            begun = True
        finally:
            if not begun:
                self._release()
        again = loop.time() + self._interval

        def finish(done: asyncio.Future[T]) -> None:
            if learn is not None and not done.cancelled() and done.exception() is None:
                learn(done.result())
            if again > loop.time():
                loop.call_at(again, self._release)
            else:
                self._release()

        # The thread is free when the call is done, which a cancelled caller does not change.
        future.add_done_callback(finish)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Stop the threads after the call that each is at, and refuse those who wait."""
        self._pool.shutdown(wait=False)
        while (turn := self._queue.take()) is not None:
            _refuse(turn, _CLOSING)

    def _begin(self, call: Callable[[], T]) -> asyncio.Future[T]:
        try:
            return asyncio.get_running_loop().run_in_executor(self._pool, call)
        except RuntimeError:
            raise Overloaded(_CLOSING) from None

    async def _turn(self, network: str) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._queue) >= self._max_waiting:
            self._make_room(network)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(network, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()  # it was this call's turn already
            self._queue.remove(network, turn)
            raise

    def _make_room(self, network: str) -> None:
        displaced = self._queue.displace(network)
        if displaced is None:
            raise Overloaded(_TOO_MANY)
        _refuse(displaced, _TOO_MANY)

    def _release(self) -> None:
        while (turn := self._queue.take()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _refuse(turn: asyncio.Future[None], why: str) -> None:
    if not turn.done():  # else its caller was cancelled a moment ago
        turn.set_exception(Overloaded(why))


def _step_back(niceness: int) -> None:
    """Let other threads go first; only Linux has a niceness for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + niceness)
