"""The retained messages: at most one for each topic, found by topic filter.

All messages live in a dictionary; a trie of topic levels beside it answers filters with wildcards by visiting only
what the filter leaves open. The trie holds topics, never messages, so a walk always yields the message of now.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from .topics import has_wildcard

M = TypeVar("M")


class _Node:
    """Stand for one level of the stored topics."""

    __slots__ = ("children", "topic")

    def __init__(self) -> None:
        self.children: dict[str, _Node] | None = None
        self.topic: str | None = None
        """The whole topic that ends with this level, where it has a message."""


class RetainedMessages(Generic[M]):
    """Keep the retained message of each topic; topics and filters must be valid."""

    __slots__ = ("_messages", "_root")

    def __init__(self) -> None:
        self._messages: dict[str, M] = {}
        self._root = _Node()

    def __len__(self) -> int:
        return len(self._messages)

    def store(self, topic: str, message: M) -> bool:
        """Keep a message in place of the topic's last one [MQTT-3.3.1-5]; True if the topic had none."""
        is_new = topic not in self._messages
        self._messages[topic] = message
        if is_new:
            node = self._root
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
        """Forget a topic's message [MQTT-3.3.1-6]; False if there is none."""
        if topic not in self._messages:
            return False
        del self._messages[topic]
        path: list[tuple[_Node, dict[str, _Node], str]] = []
        node = self._root
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

    def match(self, topic_filter: str) -> Iterator[tuple[str, M]]:
        """Iterate over the topics that a filter matches and their messages, in no particular order.

        The walk goes on as far as the caller takes items, and the store may change in between: a topic that is there
        all the while comes exactly once, one that comes or goes meanwhile at most once.
        """
        if not has_wildcard(topic_filter):
            if topic_filter in self._messages:
                yield topic_filter, self._messages[topic_filter]
            return
        levels = topic_filter.split("/")
        open_end = levels[-1] == "#"
        if open_end:
            levels.pop()
        root = self._root
        pending = [(root, 0)]
        while pending:
            node, depth = pending.pop()
            at_end = depth == len(levels)
            # Children are copied to `pending` in one go: the dictionary may change before the next item is asked for.
            if node.children is not None:
                if at_end:
                    if open_end:
                        pending += [(child, depth) for child in _open_children(node, root)]
                elif levels[depth] == "+":
                    pending += [(child, depth + 1) for child in _open_children(node, root)]
                elif (child := node.children.get(levels[depth])) is not None:
                    pending.append((child, depth + 1))
            if at_end and node.topic is not None and node.topic in self._messages:
                yield node.topic, self._messages[node.topic]

    def topics(self) -> Iterator[str]:
        """Iterate over the topics that have a message now, oldest first."""
        return iter(tuple(self._messages))

    def clear(self) -> None:
        """Forget all messages."""
        self._messages.clear()
        self._root = _Node()


def _open_children(node: _Node, root: _Node) -> list[_Node]:
    """List the children that a wildcard reaches: at the first level not those that begin with `$` [MQTT-4.7.2-1]."""
    if node.children is None:
        return []
    if node is root:
        return [child for level, child in node.children.items() if not level.startswith("$")]
    return list(node.children.values())
