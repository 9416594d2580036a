"""The retained messages: at most one for each topic, found by topic filter.

All messages live in a dictionary; a trie of topic levels beside it answers filters with wildcards by visiting only
what the filter leaves open. The trie holds topics, never messages, so a walk always yields the message of now.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .topics import has_wildcard

M = TypeVar("M")

SLICE_NODES = 1_000
"""Nodes of the trie that a walk visits without a result before it lets the caller have a say."""


class _Node:
    """Stand for one level of the stored topics."""

    __slots__ = ("children", "topic")

    def __init__(self) -> None:
        self.children: dict[str, _Node] | None = None
        self.topic: str | None = None
        """The whole topic that ends with this level, where it has a message."""


class RetainedMessages(Generic[M]):
    """Keep the retained message of each topic; topics and filters must be valid."""

    __slots__ = ("_dollar", "_messages", "_root", "_total_size", "_weigh")

    def __init__(self, weigh: Callable[[M], int] | None = None) -> None:
        self._weigh = weigh or _weigh_nothing
        """Gives the bytes that a message and its topic count; always the same for the same message."""
        self._total_size = 0
        self._messages: dict[str, M] = {}
        self._root = _Node()
        self._dollar = _Node()
        """A root of its own for the topics that begin with `$`, which wildcards at the first level do not reach."""

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def total_size(self) -> int:
        """Add up the weights of all messages; 0 without a scale."""
        return self._total_size

    def store(self, topic: str, message: M) -> bool:
        """Keep a message in place of the topic's last one [MQTT-3.3.1-5]; True if the topic had none."""
        is_new = topic not in self._messages
        if not is_new:
            self._total_size -= self._weigh(self._messages[topic])
        self._total_size += self._weigh(message)
        self._messages[topic] = message
        if is_new:
            node = self._root_of(topic)
            for level in topic.split("/"):
                if node.children is None:
                    node.children = {}
                child = node.children.get(level)
                if child is None:
                    child = node.children[level] = _Node()
                node = child
            node.topic = topic
        return is_new

    def discard(self, topic: str) -> bool:
        """Forget a topic's message [MQTT-3.3.1-10]; False if there is none."""
        if topic not in self._messages:
            return False
        self._total_size -= self._weigh(self._messages.pop(topic))
        path: list[tuple[_Node, dict[str, _Node], str]] = []
        node = self._root_of(topic)
        for level in topic.split("/"):
            children = node.children or {}  # never empty here: a topic in the dictionary stands in the trie
            path.append((node, children, level))
            node = children[level]
        node.topic = None
        while path and node.topic is None and node.children is None:
            node, children, level = path.pop()
            del children[level]
            if not children:
                node.children = None
        return True

    def get(self, topic: str) -> M | None:
        """Return a topic's message, None if there is none."""
        return self._messages.get(topic)

    def match(self, topic_filter: str) -> Iterator[tuple[str, M] | None]:
        """Iterate over the topics that a filter matches and their messages, in no particular order.

        None comes after each thousand nodes that were visited in vain: it says nothing but lets the caller pause, and
        is to be skipped. The walk goes on as far as the caller takes items, and the store may change in between: a
        topic that is there all the while comes exactly once, one that comes or goes meanwhile at most once.
        """
        messages = self._messages
        if not has_wildcard(topic_filter):
            if topic_filter in messages:
                yield topic_filter, messages[topic_filter]
            return
        levels = topic_filter.split("/")
        open_end = levels[-1] == "#"
        if open_end:
            levels.pop()
        # Each entry: nodes still to visit, and how many levels lead to them. The children of a node are copied in one
        # go, which costs little, because the dictionary may change before the next item is asked for.
        pending = [([self._root_of(topic_filter)], 0)]  # [MQTT-4.7.2-1]
        visited = 0
        while pending:
            nodes, depth = pending[-1]
            node = nodes.pop()
            if not nodes:
                pending.pop()
            at_end = depth == len(levels)
            if node.children is not None:
                if at_end:
                    if open_end:
                        pending.append((list(node.children.values()), depth))
                elif levels[depth] == "+":
                    pending.append((list(node.children.values()), depth + 1))
                elif (child := node.children.get(levels[depth])) is not None:
                    pending.append(([child], depth + 1))
            if at_end and node.topic is not None and node.topic in messages:
                visited = 0
                yield node.topic, messages[node.topic]
            else:
                visited += 1
                if visited == SLICE_NODES:
                    visited = 0
                    yield None

    def topics(self) -> Iterator[str]:
        """Iterate over the topics that have a message now, oldest first."""
        return iter(tuple(self._messages))

    def clear(self) -> None:
        """Forget all messages."""
        self._messages.clear()
        self._total_size = 0
        self._root = _Node()
        self._dollar = _Node()

    def _root_of(self, topic: str) -> _Node:
        """Return the root under which a topic hangs, or all topics that a filter can match [MQTT-4.7.2-1]."""
        return self._dollar if topic.startswith("$") else self._root


def _weigh_nothing(_message: object) -> int:
    return 0
