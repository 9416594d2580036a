"""Work that takes long, in a thread beside the event loop: without keeping the loop from its turns."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

_SLICE = 100
"""Items after which others have their turn; they take about a millisecond."""
_PAUSE = 0.000_05
_NEVER = 1_000_000_000

T = TypeVar("T")


class _Switch:
    """Switch something off as long as anybody wants it off, from whichever threads, and then as it was."""

    def __init__(self, switch_off: Callable[[], Callable[[], None]]) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._switch_off = switch_off
        self._restore: Callable[[], None] = lambda: None

    @contextmanager
    def off(self) -> Generator[None]:
        with self._lock:
            if self._depth == 0:
                self._restore = self._switch_off()
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._restore()


def _disable() -> Callable[[], None]:
    was_on = gc.isenabled()
    gc.disable()
    return gc.enable if was_on else lambda: None


def _put_off_full() -> Callable[[], None]:
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    return lambda: gc.set_threshold(young, middle, old)


# The collector is the process's own, so those who want it off are counted for the process, too.
_collection = _Switch(_disable)
_full_collection = _Switch(_put_off_full)


def collection_paused() -> AbstractContextManager[None]:
    """Load without garbage collection: nothing that is loaded is garbage, and looking for some is half the time."""
    return _collection.off()


def full_collection_put_off() -> AbstractContextManager[None]:
    """Compile without looking through all that was loaded, which no other thread could interrupt.

    What is young goes on being looked through: left until the end it would be a hundred thousand objects at once.
    """
    return _full_collection.off()


def in_slices(items: Iterable[T]) -> Iterator[T]:
    """Go through items and, in a thread without event loop, let other threads have their turn now and then.

    Else the interpreter would leave a thread alone for five milliseconds each time the loop waits for its turn.
    """
    pausing = not _has_loop()
    for count, item in enumerate(items, start=1):
        yield item
        if pausing and count % _SLICE == 0:
            time.sleep(_PAUSE)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
