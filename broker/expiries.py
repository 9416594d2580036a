"""What ends at a time: keys in the order in which somebody has to look at them."""

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 256


class Expiries(Generic[K]):
    """Remember when to look at each key; one entry for each, however often its time is put off."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float | None:
        """When to look next, None for never."""
        heap = self._heap
        while heap and self._at.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def schedule(self, key: K, at: float) -> None:
        """Look at a key at a time, or already earlier if that was said before: who looks will see and say again."""
        known = self._at.get(key)
        if known is not None and known <= at:
            return
        self._at[key] = at
        heappush(self._heap, (at, id(key), key))
        self._compact()

    def _compact(self) -> None:
        """Drop the entries that were cancelled or overtaken by an earlier one, once they are most."""
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [(when, id(each), each) for each, when in self._at.items()]
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Forget a key, and what is kept of it."""
        if self._at.pop(key, None) is not None:
            self._compact()

    def due(self, now: float) -> Iterator[K]:
        """Take out the keys whose time has come, earliest first."""
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                yield key
