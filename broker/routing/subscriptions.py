"""The subscription index: who subscribed to what, and which subscriptions match a topic.

Filters without a wildcard live in a dictionary alone, so any number of them costs a publish one look-up. Filters with
a wildcard also hang in a trie with a node for each level before a final `#`; a match walks it level by level, keeping
the nodes reached so far, and visits only nodes whose path fits the topic.
"""

from collections.abc import Hashable, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from .topics import has_wildcard

S = TypeVar("S", bound=Hashable)
V = TypeVar("V")


class _Node(Generic[S, V]):
    """Stand for one level of wildcard filters; the dictionaries of subscribers are the index's own."""

    __slots__ = ("any_level", "children", "here", "open_end")

    def __init__(self) -> None:
        self.children: dict[str, _Node[S, V]] | None = None
        self.any_level: _Node[S, V] | None = None
        """The child for `+`."""
        self.here: dict[S, V] | None = None
        """Subscribers of the filter that ends with this level."""
        self.open_end: dict[S, V] | None = None
        """Subscribers of the filter that ends with `#` after this level."""

    def child(self, level: str) -> "_Node[S, V] | None":
        if level == "+":
            return self.any_level
        return self.children.get(level) if self.children is not None else None

    def grow(self, level: str) -> "_Node[S, V]":
        node: _Node[S, V] = _Node()
        if level == "+":
            self.any_level = node
        elif self.children is None:
            self.children = {level: node}
        else:
            self.children[level] = node
        return node

    def drop(self, level: str) -> None:
        if level == "+":
            self.any_level = None
        elif self.children is not None:
            del self.children[level]
            if not self.children:
                self.children = None

    @property
    def empty(self) -> bool:
        return self.here is None and self.open_end is None and self.any_level is None and self.children is None


class SubscriptionIndex(Generic[S, V]):
    """Index subscriptions by topic filter; filters must have passed `check_filter`."""

    __slots__ = ("_filters", "_root", "_subscription_count", "generation")

    def __init__(self) -> None:
        self._filters: dict[str, dict[S, V]] = {}
        self._root: _Node[S, V] = _Node()
        self._subscription_count = 0
        self.generation = 0
        """Grows with every change, so that what was computed from the index can be known to be stale."""

    @property
    def filter_count(self) -> int:
        """Count the distinct filters."""
        return len(self._filters)

    @property
    def subscription_count(self) -> int:
        """Count the pairs of filter and subscriber."""
        return self._subscription_count

    def add(self, topic_filter: str, subscriber: S, value: V) -> bool:
        """Add a subscription, or replace the value of the one that is there; True if it is new."""
        self.generation += 1
        subscribers = self._filters.get(topic_filter)
        if subscribers is None:
            subscribers = self._filters[topic_filter] = {}
            if has_wildcard(topic_filter):
                self._hang(topic_filter, subscribers)
        is_new = subscriber not in subscribers
        subscribers[subscriber] = value  # [MQTT-3.8.4-3]
        self._subscription_count += is_new
        return is_new

    def remove(self, topic_filter: str, subscriber: S) -> bool:
        """Remove a subscription; False if there is none."""
        subscribers = self._filters.get(topic_filter)
        if subscribers is None or subscriber not in subscribers:
            return False
        self.generation += 1
        self._subscription_count -= 1
        del subscribers[subscriber]
        if not subscribers:
            del self._filters[topic_filter]
            if has_wildcard(topic_filter):
                self._prune(topic_filter)
        return True

    def match(self, topic: str) -> list[tuple[S, V]]:
        """List the subscriptions that match a topic name, one row each: a subscriber may come several times."""
        rows: list[tuple[S, V]] = []
        exact = self._filters.get(topic)
        if exact is not None:
            rows += exact.items()
        root = self._root
        if root.empty:
            return rows
        levels = topic.split("/")
        reached = [root]
        if topic[:1] == "$":  # wildcards at the first level don't match it [MQTT-4.7.2-1]
            node = root.child(levels.pop(0))
            if node is None:
                return rows
            reached = [node]
        for level in levels:
            following: list[_Node[S, V]] = []
            for node in reached:
                if node.open_end is not None:
                    rows += node.open_end.items()
                if node.children is not None and (child := node.children.get(level)) is not None:
                    following.append(child)
                if node.any_level is not None:
                    following.append(node.any_level)
            if not following:
                return rows
            reached = following
        for node in reached:
            if node.here is not None:
                rows += node.here.items()
            if node.open_end is not None:  # `a/#` matches `a`, its parent level (4.7.1.2)
                rows += node.open_end.items()
        return rows

    def filters(self) -> Iterator[str]:
        """Iterate over the distinct filters as they are now, oldest first."""
        return iter(tuple(self._filters))

    def subscribers(self, topic_filter: str) -> Mapping[S, V]:
        """Show who subscribed to exactly this filter: a live, read-only view, empty if nobody."""
        return MappingProxyType(self._filters.get(topic_filter, {}))

    def _hang(self, topic_filter: str, subscribers: dict[S, V]) -> None:
        levels, open_end = _path(topic_filter)
        node = self._root
        for level in levels:
            node = node.child(level) or node.grow(level)
        if open_end:
            node.open_end = subscribers
        else:
            node.here = subscribers

    def _prune(self, topic_filter: str) -> None:
        levels, open_end = _path(topic_filter)
        path: list[tuple[_Node[S, V], str]] = []
        node = self._root
        for level in levels:
            path.append((node, level))
            child = node.child(level)
            if child is None:
                raise LookupError("a filter in the dictionary must hang in the trie")
            node = child
        if open_end:
            node.open_end = None
        else:
            node.here = None
        while path and node.empty:
            node, level = path.pop()
            node.drop(level)


def _path(topic_filter: str) -> tuple[list[str], bool]:
    """Split a filter into the levels before a final `#`, and whether there is one."""
    levels = topic_filter.split("/")
    open_end = levels[-1] == "#"
    if open_end:
        levels.pop()
    return levels, open_end
