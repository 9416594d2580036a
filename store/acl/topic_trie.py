"""A trie of topic filters, with what belongs to each.

A walk goes through the topic's levels once and gives the lists of entries that concern it; it costs what the topic's
depth does, not what the number of filters does. A level with a placeholder is an edge labelled with the key of its
template. The client's own texts for all templates are worked out once per client, so one trie serves every client.

A trie does not change once it is made. One of more entries shares with it whatever does not lead to these.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from ..background_work import in_slices
from .patterns import Template

ALL_QOS = 0b111

Texts = Mapping[str, Sequence[tuple[str, bool]]]
"""For one client: level text -> the templates that give it, each as its key and whether it begins with a value."""

Levels = tuple[str | Template, ...]
"""A filter's levels; a wildcard is `+` or `#`."""


class Entry(NamedTuple):
    """Hold what one rule says about its filter."""

    rank: int
    """Its place in the order in which rules are read; no two rules of a trie have the same."""
    allow: bool
    operations: int
    """A bit mask."""
    qos_mask: int = ALL_QOS
    retain: bool | None = None
    """The retain flag wanted, None for either."""
    condition: int | None = None
    """Which condition must hold; None for none."""


Entries = list[Entry]
"""In rank order."""

Row = tuple[str | Levels, Entry]
"""An entry with its filter's levels, or with a text that is compared as it stands."""


class _Node:
    __slots__ = ("below", "end", "plus", "templates", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] | None = None
        self.templates: dict[str, _Node] | None = None
        """By key."""
        self.plus: _Node | None = None
        self.end: Entries | None = None
        self.below: Entries | None = None
        """Entries of filters that go on with `#` here."""

    def copy(self) -> "_Node":
        """Return a node that has the same below it."""
        new = _Node()
        new.words, new.templates, new.plus = self.words, self.templates, self.plus
        new.end, new.below = self.end, self.below
        return new


class TopicTrie:
    """Find the entries that concern a topic name or a topic filter."""

    __slots__ = ("_literals", "_root", "depth")

    def __init__(self, rows: Iterable[Row]) -> None:
        """Take entries in rank order."""
        self._root = _Node()
        self._literals: dict[str, Entries] = {}
        self.depth = 1
        """Levels of the deepest filter; what a topic has beyond them meets no word of any."""
        seen: set[tuple[int, bool, int, int, bool | None, int | None]] = set()
        for topic, entry in in_slices(rows):
            if isinstance(topic, str):
                entries = self._literals.setdefault(topic, [])
            else:
                self.depth = max(self.depth, len(topic))
                entries = self._entries(topic)
            # One with the same answer and conditions stands before it: it is never asked, and so lists stay short.
            key = (id(entries), *entry[1:])
            if key not in seen:
                seen.add(key)
                entries.append(entry)

    def with_rows(self, rows: Iterable[Row], *, first: bool) -> "TopicTrie":
        """Return a trie of more entries, which all rank behind those that are there or, if `first`, before them."""
        trie = copy(self)
        for topic, entry in rows:
            if isinstance(topic, str):
                trie._literals = {**trie._literals, topic: _with_entry(trie._literals.get(topic), entry, first)}
            else:
                trie.depth = max(trie.depth, len(topic))
                trie._root = _with_path(trie._root, topic, entry, first)
        return trie

    def _entries(self, levels: Levels) -> Entries:
        """Return the list of a filter, made if need be."""
        node = self._root
        for level in levels:
            if isinstance(level, Template):
                if node.templates is None:
                    node.templates = {}
                node = node.templates.setdefault(level.key, _Node())
            elif level == "#":
                if node.below is None:
                    node.below = []
                return node.below
            elif level == "+":
                if node.plus is None:
                    node.plus = _Node()
                node = node.plus
            else:
                if node.words is None:
                    node.words = {}
                child = node.words.get(level)
                if child is None:
                    child = node.words[level] = _Node()
                node = child
        if node.end is None:
            node.end = []
        return node.end

    def matching(self, topic: str, words: list[str], texts: Texts) -> list[Entries]:
        """Find what matches a topic name; `words` are its levels, `depth` of them at least and the rest in one."""
        found: list[Entries] = []
        if (literal := self._literals.get(topic)) is not None:
            found.append(literal)
        nodes = self._walk(words, topic[:1] != "$", texts, found)
        if nodes:
            _finish(nodes, found)
        return found

    def covering(self, topic_filter: str, words: list[str], texts: Texts) -> tuple[list[Entries], list[Entries]]:
        """Find what concerns a subscription to a filter; `words` as for `matching`.

        First those of whose topics every topic of the requested filter is one: `t/+` does not cover `t/#`. Then those
        that match only in EMQX's plain comparison, which takes the requested levels as words: the two differ where `#`
        is requested and the filter has `+`.
        """
        found: list[Entries] = []
        loosely: list[Entries] = []
        if (literal := self._literals.get(topic_filter)) is not None:
            found.append(literal)
        wildcards = topic_filter[:1] != "$"
        # A requested `+` is covered by `+` alone: no filter has a word `+`.
        if words[-1] == "#":
            nodes = self._walk(words[:-1], wildcards, texts, found)
            _finish_open(nodes, len(topic_filter) <= 2, found, loosely)
        else:
            _finish(self._walk(words, wildcards, texts, found), found)
        return found, loosely

    def _walk(self, words: list[str], wildcards: bool, texts: Texts, found: list[Entries]) -> list[_Node]:
        """Go from the root along plain words, and collect what `#` says of all that is below.

        [MQTT-4.7.2-1] A leading wildcard does not match a leading $ (`wildcards`); nor does a leading placeholder, or a
        client could choose `$SYS` for its client id and read what `${clientid}/#` was never meant to give.
        """
        nodes = [self._root]
        for word in words:
            templates = texts.get(word) if texts else None
            following: list[_Node] = []
            for node in nodes:
                if wildcards:
                    if node.below is not None:
                        found.append(node.below)
                    if node.plus is not None:
                        following.append(node.plus)
                if node.words is not None and (child := node.words.get(word)) is not None:
                    following.append(child)
                if templates is not None and node.templates is not None:
                    for key, begins_with_value in templates:
                        child = node.templates.get(key)
                        if child is not None and (wildcards or not begins_with_value):
                            following.append(child)
            if not following:
                return following
            nodes = following
            wildcards = True
        return nodes


def _with_path(root: _Node, levels: Levels, entry: Entry, first: bool) -> _Node:
    """Return a copy of the root, and of the nodes below it on the way to a filter, that has one more entry there."""
    node = new_root = root.copy()
    for level in levels:
        if level == "#":
            node.below = _with_entry(node.below, entry, first)
            return new_root
        if level == "+":
            child = node.plus = _copied(node.plus)
        elif isinstance(level, Template):
            templates = node.templates or {}
            child = _copied(templates.get(level.key))
            node.templates = {**templates, level.key: child}
        else:
            words = node.words or {}
            child = _copied(words.get(level))
            node.words = {**words, level: child}
        node = child
    node.end = _with_entry(node.end, entry, first)
    return new_root


def _copied(node: _Node | None) -> _Node:
    return _Node() if node is None else node.copy()


def _with_entry(entries: Entries | None, entry: Entry, first: bool) -> Entries:
    """Return a copy of a list with one more entry; of those that say the same only the first."""
    others = entries or []
    if first:
        return [entry, *(other for other in others if other[1:] != entry[1:])]
    return others if any(other[1:] == entry[1:] for other in others) else [*others, entry]


def _finish(nodes: list[_Node], found: list[Entries]) -> None:
    for node in nodes:
        if node.end is not None:
            found.append(node.end)
        if node.below is not None:
            found.append(node.below)  # `a/#` matches `a` too


def _finish_open(nodes: list[_Node], whole: bool, found: list[Entries], loosely: list[Entries]) -> None:
    """Finish `covering` at a requested `#`; `whole` says that the filter is `#` or `/#`.

    A topic is never empty, so `#` asks for nothing that `+/#` does not have, and `/#` for nothing that `/+/#` does not.
    """
    for node in nodes:
        if node.below is not None:
            found.append(node.below)
        if node.plus is None:
            continue
        if node.plus.end is not None:
            loosely.append(node.plus.end)
        if node.plus.below is not None:
            (found if whole else loosely).append(node.plus.below)
