"""Things in the order in which they are due: put in, taken out anywhere, first to see, counted from any place.

They lie in chunks of bounded length, so that nothing that is done takes longer as there are more of them.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_CHUNK = 512
"""Things in a chunk; twice as many are cut in two."""


class Due(Protocol):
    """What can be put in order."""

    @property
    def due(self) -> float:
        """When, in seconds since the epoch."""
        ...

    @property
    def number(self) -> int:
        """What decides where two are due at one time; no two in one order have the same."""
        ...


D = TypeVar("D", bound=Due)
Key = tuple[float, int]


def _key(thing: Due) -> Key:
    return thing.due, thing.number


class DueOrder(Generic[D]):
    """Own the chunks; none of them is empty."""

    def __init__(self) -> None:
        self._chunks: list[list[D]] = []
        self._last: list[Key] = []
        """The key of the last thing in each chunk."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def first(self) -> D | None:
        """What is due next; None where there is nothing."""
        return self._chunks[0][0] if self._chunks else None

    def add(self, thing: D) -> None:
        """Put something in, which must not be there."""
        key = _key(thing)
        self._count += 1
        if not self._chunks:
            self._chunks.append([thing])
            self._last.append(key)
            return
        at = min(bisect_left(self._last, key), len(self._last) - 1)
        chunk = self._chunks[at]
        insort(chunk, thing, key=_key)
        self._last[at] = _key(chunk[-1])
        if len(chunk) >= 2 * _CHUNK:
            self._chunks[at : at + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]
            self._last.insert(at, _key(chunk[_CHUNK - 1]))

    def remove(self, thing: D) -> None:
        """Take something out, which must be there."""
        key = _key(thing)
        at = bisect_left(self._last, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key, key=_key)]
        self._count -= 1
        if chunk:
            self._last[at] = _key(chunk[-1])
        else:
            del self._chunks[at], self._last[at]

    def clear(self) -> None:
        """Take everything out."""
        self._chunks.clear()
        self._last.clear()
        self._count = 0

    def from_place(self, place: int) -> Iterator[D]:
        """Iterate from so many things after the first on.

        The order may change between two items: what is there all the while, and is due later, still comes, once.
        """
        at = 0
        while at < len(self._chunks) and place >= len(self._chunks[at]):
            place -= len(self._chunks[at])
            at += 1
        while at < len(self._chunks):
            piece = self._chunks[at][place:]
            yield from piece
            key = _key(piece[-1])
            at = bisect_right(self._last, key)
            place = bisect_right(self._chunks[at], key, key=_key) if at < len(self._chunks) else 0
