"""A queue that is fair between groups: however long one group's line is, the others' turns come as soon."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """Serve groups by turns, first come, first served within each; every operation takes the same time.

    Who comes newly waits for at most one item of every other group. Items must be distinct.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        """In the order of their next turns; none is empty."""
        self._by_length: dict[int, OrderedDict[str, None]] = {}
        self._longest = 0
        self._size = 0

    def __len__(self) -> int:
        """Tell how many items there are."""
        return self._size

    def put(self, group: str, item: T) -> None:
        """Add an item behind those of its group, a new group behind the others."""
        line = self._lines.setdefault(group, OrderedDict())
        line[item] = None
        self._resized(group, len(line) - 1, len(line))

    def take(self) -> T | None:
        """Take out the oldest item of the group whose turn it is; None where there is none."""
        if not self._lines:
            return None
        group, line = next(iter(self._lines.items()))
        item, _ = line.popitem(last=False)
        self._lines.move_to_end(group)
        self._resized(group, len(line) + 1, len(line))
        return item

    def remove(self, group: str, item: T) -> None:
        """Take out an item, if it is there."""
        line = self._lines.get(group)
        if line is not None and item in line:
            del line[item]
            self._resized(group, len(line) + 1, len(line))

    def displace(self, group: str) -> T | None:
        """Take out the newest item of the longest line to make room in a shorter one.

        None where no line is longer than the group's own.
        """
        if len(self._lines.get(group, ())) >= self._longest:
            return None
        longest = next(reversed(self._by_length[self._longest]))
        line = self._lines[longest]
        item, _ = line.popitem()
        self._resized(longest, len(line) + 1, len(line))
        return item

    def _resized(self, group: str, before: int, after: int) -> None:
        self._size += after - before
        if before:
            del self._by_length[before][group]
            if not self._by_length[before]:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, OrderedDict())[group] = None
        else:
            del self._lines[group]
        # A length changes by one at a time, so the next longest line is never further away.
        if after > self._longest or self._longest not in self._by_length:
            self._longest = after
