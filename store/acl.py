"""The compiled rules of one subject.

For each operation the rules become a dictionary of literal topics and a trie of filters. An entry's rank is the
rule's place in its list; whatever path leads to them, of the entries that fit the lowest rank wins, so the answer is
that of reading the list from the top. A check walks the topic once: it costs what the topic's depth does, not what
the number of rules does.

A level with a placeholder is an edge labelled with its template. The client's own texts for all templates are worked
out once per client (`Policy.bind`), so one compiled policy serves every client.
"""

from collections.abc import Iterable, Mapping, Sequence

from .patterns import LITERAL_PREFIX, Template, parse_pattern
from .records import PUBLISH, SUBSCRIBE, Rule

ALL_QOS = 0b111

Entry = tuple[int, bool, int, bool | None]
"""Rank, allow, QoS levels as a bit mask, retain flag wanted (None for either)."""

Texts = Mapping[str, Sequence[Template]]
"""For one client: level text -> the templates that give it."""

_ACTIONS = {"publish": PUBLISH, "subscribe": SUBSCRIBE, "all": PUBLISH | SUBSCRIBE}


def operations(rule: Rule) -> int:
    """Return the operations of a rule as a bit mask."""
    return _ACTIONS[rule.action]


def qos_mask(rule: Rule) -> int:
    """Return the QoS levels of a rule as a bit mask."""
    return sum(1 << qos for qos in set(rule.qos))


class _Node:
    __slots__ = ("below", "end", "plus", "templates", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.templates: dict[Template, _Node] = {}
        self.plus: _Node | None = None
        self.end: list[Entry] = []
        self.below: list[Entry] = []
        """Entries of filters that go on with `#` here."""


class _Index:
    """The rules of one subject for one operation."""

    def __init__(self) -> None:
        self.root = _Node()
        self.literals: dict[str, list[Entry]] = {}

    def add_literal(self, topic: str, entry: Entry) -> None:
        _append(self.literals.setdefault(topic, []), entry)

    def add_pattern(self, levels: Iterable[str | Template], entry: Entry) -> None:
        node = self.root
        for level in levels:
            if isinstance(level, Template):
                node = node.templates.setdefault(level, _Node())
            elif level == "#":
                _append(node.below, entry)
                return
            elif level == "+":
                if node.plus is None:
                    node.plus = _Node()
                node = node.plus
            else:
                node = node.words.setdefault(level, _Node())
        _append(node.end, entry)


class Policy:
    """Decide by the rules of one subject; None where none of them fits."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Compile valid rules."""
        self._rules = rules
        self._publish = _Index()
        self._subscribe = _Index()
        self._receive: _Index | None = None
        templates: dict[Template, None] = {}
        for rank, rule in enumerate(rules):
            mask = operations(rule)
            allow = rule.permission == "allow"
            entry = (rank, allow, qos_mask(rule), rule.retain)
            # The retain condition is about a publish; a subscription has no retain flag.
            for index, wanted, row in (
                (self._publish, PUBLISH, entry),
                (self._subscribe, SUBSCRIBE, (*entry[:3], None)),
            ):
                if not mask & wanted:
                    continue
                if rule.topic.startswith(LITERAL_PREFIX):
                    index.add_literal(rule.topic.removeprefix(LITERAL_PREFIX), row)
                    continue
                levels = parse_pattern(rule.topic)
                index.add_pattern(levels, row)
                templates.update((level, None) for level in levels if isinstance(level, Template))
        self._templates = tuple(templates)

    @property
    def hides(self) -> bool:
        """Whether a rule may hide deliveries that a wider subscription would bring."""
        return any(_hides(rule) for rule in self._rules)

    def bind(self, client_id: str, username: str | None) -> Texts:
        """Work out the levels that stand for this client's values."""
        texts: dict[str, list[Template]] = {}
        for template in self._templates:
            text = template.text(client_id, username)
            if text is not None:
                texts.setdefault(text, []).append(template)
        return texts

    def decide(self, operation: int, topic: str, qos: int, retain: bool, texts: Texts) -> bool | None:
        """Answer for a topic name (PUBLISH, RECEIVE) or for a topic filter without share prefix (SUBSCRIBE)."""
        if operation == PUBLISH:
            found = _match(self._publish, topic, 1 << qos, retain, texts)
        elif operation == SUBSCRIBE:
            found = _cover(self._subscribe, topic, 1 << qos, texts)
        else:
            found = _match(self._receive_index(), topic, ALL_QOS, False, texts)
        return None if found is None else found[1]

    def _receive_index(self) -> _Index:
        if self._receive is None:
            self._receive = _compile_receive(self._rules)
        return self._receive


def _hides(rule: Rule) -> bool:
    # A literal deny is about asking for that very filter (`eq #` forbids subscribing to everything at once) and a
    # deny for some QoS only about the QoS asked for; neither means that the messages are to be kept from the client.
    return (
        rule.permission == "deny"
        and bool(operations(rule) & SUBSCRIBE)
        and not rule.topic.startswith(LITERAL_PREFIX)
        and qos_mask(rule) == ALL_QOS
    )


def _compile_receive(rules: Sequence[Rule]) -> _Index:
    """Read the subscribe rules as rules for single deliveries.

    Denies as `_hides` says. An allow counts for each topic of its filter, even where the filter was written `eq`: the
    subscription it allows brings all of them. An allow for some QoS only counts for all, as the QoS was settled when
    the client subscribed.
    """
    index = _Index()
    for rank, rule in enumerate(rules):
        if not operations(rule) & SUBSCRIBE:
            continue
        allow = rule.permission == "allow"
        if not allow and not _hides(rule):
            continue
        entry = (rank, allow, ALL_QOS, None)
        if rule.topic.startswith(LITERAL_PREFIX):
            index.add_pattern(rule.topic.removeprefix(LITERAL_PREFIX).split("/"), entry)
        else:
            index.add_pattern(parse_pattern(rule.topic), entry)
    return index


def _append(entries: list[Entry], entry: Entry) -> None:
    """Add an entry unless one with the same answer and conditions stands before it; so lists stay short."""
    if all(entry[1:] != earlier[1:] for earlier in entries):
        entries.append(entry)


def _better(best: Entry | None, entries: list[Entry], qos_bit: int, retain: bool) -> Entry | None:
    """Return the lowest-ranked of `best` and the entries that fit; entries are in rank order."""
    for entry in entries:
        if best is not None and best[0] < entry[0]:
            return best
        if entry[2] & qos_bit and (entry[3] is None or entry[3] == retain):
            return entry
    return best


def _better_deny(best: Entry | None, entries: list[Entry], qos_bit: int) -> Entry | None:
    return _better(best, [entry for entry in entries if not entry[1]], qos_bit, retain=False)


def _follow(nodes: list[_Node], word: str, texts: Texts, from_wildcards: bool) -> list[_Node]:
    """Step from all nodes along one plain word."""
    templates = texts.get(word, ())
    following: list[_Node] = []
    for node in nodes:
        if (child := node.words.get(word)) is not None:
            following.append(child)
        if from_wildcards and node.plus is not None:
            following.append(node.plus)
        if node.templates:
            following.extend(
                node.templates[template]
                for template in templates
                if template in node.templates and (from_wildcards or not template.begins_with_value)
            )
    return following


def _match(index: _Index, topic: str, qos_bit: int, retain: bool, texts: Texts) -> Entry | None:
    """Find the first rule that matches a topic name."""
    best = _better(None, index.literals.get(topic, []), qos_bit, retain)
    nodes = [index.root]
    # [MQTT-4.7.2-1] A leading wildcard does not match a leading $; nor does a leading placeholder, or a client could
    # choose `$SYS` for its client id and read what `${clientid}/#` was never meant to give.
    wildcards = not topic.startswith("$")
    for word in topic.split("/"):
        if wildcards:
            for node in nodes:
                best = _better(best, node.below, qos_bit, retain)
        nodes = _follow(nodes, word, texts, wildcards)
        if not nodes:
            return best
        wildcards = True
    for node in nodes:
        best = _better(best, node.end, qos_bit, retain)
        best = _better(best, node.below, qos_bit, retain)  # `a/#` matches `a` too
    return best


def _cover(index: _Index, topic_filter: str, qos_bit: int, texts: Texts) -> Entry | None:
    """Find the first rule that concerns a subscription to a filter.

    A rule concerns it where every topic of the requested filter is one of the rule's: `t/+` does not cover `t/#`. A
    deny rule concerns it also where EMQX's plain comparison, with the requested levels taken as words, matches: the
    two differ where `#` is requested and the rule has `+`.
    """
    best = _better(None, index.literals.get(topic_filter, []), qos_bit, retain=False)
    nodes = [index.root]
    wildcards = not topic_filter.startswith("$")
    levels = topic_filter.split("/")
    for word in levels:
        if wildcards:
            for node in nodes:
                best = _better(best, node.below, qos_bit, retain=False)
        if word == "#":
            return _cover_rest(best, nodes, len(topic_filter) <= 2, qos_bit)
        nodes = _follow(
            nodes, word, texts, wildcards
        )  # a requested `+` is covered by `+` alone: no rule has a word `+`
        if not nodes:
            return best
        wildcards = True
    for node in nodes:
        best = _better(best, node.end, qos_bit, retain=False)
        best = _better(best, node.below, qos_bit, retain=False)
    return best


def _cover_rest(best: Entry | None, nodes: list[_Node], whole: bool, qos_bit: int) -> Entry | None:
    """Finish `_cover` at a requested `#`; `whole` says that the filter is `#` or `/#`.

    A topic is never empty, so `#` asks for nothing that `+/#` does not have, and `/#` for nothing that `/+/#` does not.
    """
    for node in nodes:
        if node.plus is None:
            continue
        best = _better_deny(best, node.plus.end, qos_bit)
        if whole:
            best = _better(best, node.plus.below, qos_bit, retain=False)
        else:
            best = _better_deny(best, node.plus.below, qos_bit)
    return best
