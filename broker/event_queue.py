"""Callbacks of plugins that wait to be run: one bounded queue, served in order.

A worker takes the callbacks in the order in which they were added and awaits them; where one has to wait, another
worker goes on with the next. So a slow plugin delays nobody else's events, and one that never waits costs no task of
its own. Where the queue fills, clients that publish are not read for a while. It is bounded in entries and bytes; what
does not fit is dropped and counted.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from logging import getLogger
from typing import Any, Protocol, TypeAlias

from .pace import Pace

_logger = getLogger(__name__)
PENDING_LIMIT = 10_000
_PENDING_BYTES_LIMIT = 67_108_864
_FILLING = 2
_CLEARING = 8
"""Publishers are held from the half of these limits on, until an eighth is left."""
_WORKER_LIMIT = 1_000
"""Callbacks that may wait at a time."""
_SLICE = 256
"""Callbacks after which a worker lets the rest of the broker go on."""
_DRAIN_TIMEOUT = 5.0

Arguments: TypeAlias = dict[str, Any]


class Callback:
    """One plugin's method for one event."""

    __slots__ = ("call", "failures", "name")

    def __init__(self, plugin: object, event: str, call: Callable[..., Coroutine[Any, Any, object]]) -> None:
        self.call = call
        self.failures = 0
        self.name = f"{type(plugin).__name__}.on_{event}"


class Work(Protocol):
    """Something that calls for one or more callbacks."""

    @property
    def size(self) -> int:
        """Bytes that are kept for it."""
        ...

    @property
    def finished(self) -> bool:
        """Tell whether all its callbacks have been taken."""
        ...

    def take(self) -> tuple[Callback, Arguments] | None:
        """Take the next callback; None where that came to nothing."""
        ...


class Event:
    """An event on its way to its callbacks."""

    __slots__ = ("_arguments", "_callbacks", "_next", "size")

    def __init__(self, callbacks: tuple[Callback, ...], arguments: Arguments, size: int = 0) -> None:
        self._callbacks = callbacks
        self._arguments = arguments
        self._next = 0
        self.size = size

    @property
    def finished(self) -> bool:
        """Tell whether all callbacks have been taken."""
        return self._next >= len(self._callbacks)

    def take(self) -> tuple[Callback, Arguments]:
        """Take the next callback."""
        callback = self._callbacks[self._next]
        self._next += 1
        return callback, self._arguments


class EventQueue:
    """Run callbacks soon; past 10,000 events that wait, or 64 MiB, further ones are dropped and counted."""

    def __init__(self) -> None:
        self._pending: deque[Work] = deque()
        self._pending_bytes = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._woken = False
        self._pace: Pace | None = None
        self.behind = False
        """Whether publishers are held until plugins have caught up."""
        self.slow = False
        """Whether plugins have held publishers up for too long."""
        self.dropped = 0
        """Events that a full queue had no room for."""
        self.failed = 0
        """Callbacks that ended with an exception."""

    def __len__(self) -> int:
        return len(self._pending)

    def keep_pace(self, pace: Pace) -> None:
        """Have publishers held where plugins fall behind."""
        self._pace = pace

    def _exceeds(self, part: int) -> bool:
        return len(self._pending) > PENDING_LIMIT // part or self._pending_bytes > _PENDING_BYTES_LIMIT // part

    def add(self, work: Work) -> None:
        """Have the callbacks of an event run after those of all that was added before."""
        if len(self._pending) >= PENDING_LIMIT or (
            self._pending and self._pending_bytes + work.size > _PENDING_BYTES_LIMIT
        ):
            self.dropped += 1
            if self.dropped == 1:
                _logger.warning("plugins are too slow for the broker's events; events are being dropped")
            return
        self._pending.append(work)
        self._pending_bytes += work.size
        if self._pace is not None and not self.behind and self._exceeds(_FILLING):
            self._pace.fall_behind(self)
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._start_worker)

    def _start_worker(self) -> None:
        """Start a worker if there is work that nobody does: the others, if any, all wait in a callback."""
        self._woken = False
        if self._pending and len(self._workers) < _WORKER_LIMIT:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)
            self._wake()  # comes after the worker's first step, which does all there is or waits

    def _ended(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if self._pending:
            self._wake()

    async def _work(self) -> None:
        pending = self._pending
        for _ in range(_SLICE):
            if not pending:
                return
            work = pending[0]
            taken = work.take()
            if work.finished:
                pending.popleft()
                self._pending_bytes -= work.size
                if self.behind or self.slow:
                    self._catch_up()
            if taken is not None:
                await self.run(*taken)

    def _catch_up(self) -> None:
        if self._pace is not None and self.behind and not self._exceeds(_CLEARING):
            self._pace.catch_up(self)
        if not self._pending:
            self.slow = False

    async def run(self, callback: Callback, arguments: Arguments) -> None:
        """Run one callback now; its failure is counted and logged."""
        try:
            await callback.call(**arguments)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._count_failure(callback)
        except Exception:  # the plugin dispatcher: a broken plugin is heard of and hurts nobody
            self._count_failure(callback)

    def _count_failure(self, callback: Callback) -> None:
        self.failed += 1
        callback.failures += 1
        if callback.failures == 1 or callback.failures % 1_000 == 0:
            _logger.exception("%s failed (%d times so far)", callback.name, callback.failures)

    async def drain(self) -> None:
        """Wait until all callbacks have ended, at most five seconds."""
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                while (workers := self._other_workers()) or self._pending:
                    if self._pending:
                        self._wake()
                    if workers:
                        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        await asyncio.sleep(0)
        except TimeoutError:
            _logger.warning("%d events and %d callbacks did not end in time", len(self._pending), len(self._workers))

    async def clear(self) -> None:
        """Drop what still waits and cancel the callbacks that still run."""
        self.dropped += len(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._catch_up()
        workers = self._other_workers()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    def _other_workers(self) -> "set[asyncio.Task[None]]":
        """Give the workers, but for one that asks itself: a plugin may shut the broker down."""
        current = asyncio.current_task()
        return {worker for worker in self._workers if worker is not current}
