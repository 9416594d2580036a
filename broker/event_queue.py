"""Callbacks of plugins that wait to be run: one bounded queue, served in order, and a bounded line for each callback.

A worker takes the callbacks in the order in which they were added and awaits them; where one has to wait, another
worker goes on with the next. So a slow plugin delays nobody else's events, and one that never waits costs no task of
its own. Only so many runs of one callback may wait at a time; its further events form a line of its own, so that one
that never comes back takes neither the workers nor the room of the others. Where queue or line fills, clients that
publish are not read for a while. Both are bounded in entries and bytes; what does not fit is dropped and counted.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from logging import getLogger
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from .pace import Pace

_logger = getLogger(__name__)
PENDING_LIMIT = 10_000
_PENDING_BYTES_LIMIT = 67_108_864
_FILLING = 2
_CLEARING = 8
"""Publishers are held from the half of these limits on, until an eighth is left."""
_WORKER_LIMIT = 100
"""Runs of one callback that may wait at a time; each callback has its own, so that nobody has the last ones."""
_SLICE = 256
"""Callbacks after which a worker lets the rest of the broker go on."""
_DRAIN_TIMEOUT = 5.0

Arguments: TypeAlias = dict[str, Any]
T = TypeVar("T")


class Line(Generic[T]):
    """Entries that wait their turn, bounded in number and bytes; publishers are held while it fills."""

    __slots__ = ("_entries", "_size", "behind", "slow", "taken")

    def __init__(self) -> None:
        self._entries: deque[tuple[T, int]] = deque()
        self._size = 0
        self.behind = False
        """Whether publishers are held until it has been worked off."""
        self.slow = False
        """Whether it has held publishers up for too long."""
        self.taken = 0
        """Entries that have had their turn."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: T, size: int, pace: Pace | None) -> bool:
        """Take an entry and tell whether there was room for it."""
        if len(self._entries) >= PENDING_LIMIT or (self._entries and self._size + size > _PENDING_BYTES_LIMIT):
            return False
        self._entries.append((entry, size))
        self._size += size
        if pace is not None and self._exceeds(_FILLING):
            pace.fall_behind(self)
        return True

    def first(self) -> T:
        """Give the entry whose turn it is."""
        return self._entries[0][0]

    def pop(self, pace: Pace | None) -> T:
        """Take the entry whose turn it is."""
        entry, size = self._entries.popleft()
        self._size -= size
        self.taken += 1
        if self.behind or self.slow:
            self._catch_up(pace)
        return entry

    def clear(self, pace: Pace | None) -> int:
        """Forget all entries and tell how many there were."""
        count = len(self._entries)
        self._entries.clear()
        self._size = 0
        self._catch_up(pace)
        return count

    def _exceeds(self, part: int) -> bool:
        return len(self._entries) > PENDING_LIMIT // part or self._size > _PENDING_BYTES_LIMIT // part

    def _catch_up(self, pace: Pace | None) -> None:
        if pace is not None and self.behind and not self._exceeds(_CLEARING):
            pace.catch_up(self)
        if not self._entries:
            self.slow = False


class Callback:
    """One plugin's method for one event."""

    __slots__ = ("call", "dropped", "failures", "line", "name", "running")

    def __init__(self, plugin: object, event: str, call: Callable[..., Coroutine[Any, Any, object]]) -> None:
        self.call = call
        self.running = 0
        """Runs that have begun and not ended."""
        self.line: Line[Arguments] = Line()
        """Events for which there is no run yet, because so many have not ended."""
        self.dropped = 0
        """Events that its line had no room for."""
        self.failures = 0
        self.name = f"{type(plugin).__name__}.on_{event}"


Call: TypeAlias = tuple[Callback, Arguments, int]
"""A callback, what it is given, and the bytes that are kept for it."""


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

    def take(self) -> Call | None:
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

    def take(self) -> Call:
        """Take the next callback."""
        callback = self._callbacks[self._next]
        self._next += 1
        return callback, self._arguments, self.size


class EventQueue:
    """Run callbacks soon; past 10,000 events that wait, or 64 MiB, further ones are dropped and counted."""

    def __init__(self) -> None:
        self._pending: Line[Work] = Line()
        self._lined: set[Callback] = set()
        """Callbacks with a line of their own."""
        self._free: deque[Callback] = deque()
        """Those of them that may run again, once for each time that they are named."""
        self._workers: set[asyncio.Task[None]] = set()
        self._woken = False
        self._pace: Pace | None = None
        self.dropped = 0
        """Events that a full queue or line had no room for."""
        self.failed = 0
        """Callbacks that ended with an exception."""

    def __len__(self) -> int:
        return len(self._pending) + sum(len(callback.line) for callback in self._lined)

    def keep_pace(self, pace: Pace) -> None:
        """Have publishers held where plugins fall behind."""
        self._pace = pace

    def add(self, work: Work) -> None:
        """Have the callbacks of an event run after those of all that was added before."""
        if self._pending.add(work, work.size, self._pace):
            self._wake()
            return
        self.dropped += 1
        if self.dropped == 1:
            _logger.warning("plugins are too slow for the broker's events; events are being dropped")

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._start_worker)

    def _start_worker(self) -> None:
        """Start a worker if there is work that nobody does: the others, if any, all wait in a callback."""
        self._woken = False
        if self._pending or self._free:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)
            self._wake()  # comes after the worker's first step, which does all there is or waits

    def _ended(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if self._pending or self._free:
            self._wake()

    async def _work(self) -> None:
        for _ in range(_SLICE):
            if self._free:
                taken = self._take_from_line(self._free.popleft())
            elif self._pending:
                taken = self._take()
            else:
                return
            if taken is None:
                continue
            callback, arguments = taken
            callback.running += 1
            try:
                await self.run(callback, arguments)
            finally:
                callback.running -= 1
                if callback.line:
                    self._free.append(callback)
                    self._wake()

    def _take(self) -> tuple[Callback, Arguments] | None:
        """Take the next callback; None where that came to nothing or it has to stand in line."""
        work = self._pending.first()
        taken = work.take()
        if work.finished:
            self._pending.pop(self._pace)
        if taken is None:
            return None
        callback, arguments, size = taken
        # Whoever stands in line comes first, also where a run has just ended.
        if callback.running < _WORKER_LIMIT and not callback.line:
            return callback, arguments
        if callback.line.add(arguments, size, self._pace):
            self._lined.add(callback)
        else:
            self.dropped += 1
            callback.dropped += 1
            if callback.dropped == 1:
                _logger.warning("%s is too slow for the broker's events; some are being dropped", callback.name)
        return None

    def _take_from_line(self, callback: Callback) -> tuple[Callback, Arguments] | None:
        if not callback.line:
            return None
        arguments = callback.line.pop(self._pace)
        if not callback.line:
            self._lined.discard(callback)
        return callback, arguments

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
                while (workers := self._other_workers()) or self._pending or self._free:
                    if self._pending or self._free:
                        self._wake()
                    if workers:
                        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        await asyncio.sleep(0)
        except TimeoutError:
            _logger.warning("%d events and %d callbacks did not end in time", len(self), len(self._workers))

    async def clear(self) -> None:
        """Drop what still waits and cancel the callbacks that still run."""
        self.dropped += self._pending.clear(self._pace)
        for callback in self._lined:
            count = callback.line.clear(self._pace)
            self.dropped += count
            callback.dropped += count
        self._lined.clear()
        self._free.clear()
        workers = self._other_workers()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    def _other_workers(self) -> "set[asyncio.Task[None]]":
        """Give the workers, but for one that asks itself: a plugin may shut the broker down."""
        current = asyncio.current_task()
        return {worker for worker in self._workers if worker is not current}
