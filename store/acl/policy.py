"""The compiled rules of one subject: of a client id, of a user name, of a role, for all, or derived from a state.

Whatever path leads to them, of the rules that fit the lowest rank wins, so the answer is that of reading the list from
the top. A policy does not change once it is made, so a thread may make it, and one of a rule more shares what it can.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from logging import getLogger
from typing import cast

from ...broker.routing.topics import has_wildcard
from ..background_work import in_slices
from ..errors import Invalid
from ..records import PUBLISH, RECEIVE, SUBSCRIBE, AclType, Condition, Role, RoleAcl, Rule
from .binding import Binding
from .client_facts import ClientFacts
from .conditions import CompiledCondition
from .file_rules import FileRule
from .patterns import CONTROL, LITERAL_PREFIX, LITERAL_TYPES, Template, parse_acl_pattern, parse_pattern
from .topic_trie import ALL_QOS, Entries, Entry, Levels, Row, TopicTrie
from .who import CompiledWho, Who

RECEIVE_AS_SUBSCRIBED = 16
"""The operation RECEIVE where denies of subscribe rules are not to hide anything."""

WILDCARD_GUARD = Entry(-1, False, SUBSCRIBE)
"""What a role that allows no wildcard subscriptions says of one, whatever its ACLs are."""

_DELIVERIES = RECEIVE | RECEIVE_AS_SUBSCRIBED
_ACTIONS = {"publish": PUBLISH, "subscribe": SUBSCRIBE, "all": PUBLISH | SUBSCRIBE}
_ACL_OPERATIONS: dict[AclType, int] = {
    # Unsubscribe ACLs are kept for those who read them back and never asked: MQTT 3.1.1 cannot refuse an UNSUBSCRIBE.
    "publishClientSend": PUBLISH,
    "publishClientReceive": _DELIVERIES,
    "subscribeLiteral": SUBSCRIBE,
    "subscribePattern": SUBSCRIBE,
}

_logger = getLogger(__name__)


def operations(rule: Rule) -> int:
    """Return the operations of a rule as a bit mask."""
    return _ACTIONS[rule.action]


def qos_mask(rule: Rule) -> int:
    """Return the QoS levels of a rule as a bit mask."""
    return sum(1 << qos for qos in set(rule.qos))


class Policy:
    """Decide by the rules of one subject; None where none of them fits.

    Made by `of_rules`, `of_role` or `of_derived`, of rules that were checked before.
    """

    __slots__ = (
        "_condition_numbers",
        "_conditions",
        "_first_rank",
        "_guards_wildcards",
        "_hiding",
        "_of_everybody",
        "_only_denies",
        "_positions",
        "_rules",
        "_templates",
        "_trie",
        "depth",
        "operations",
        "sensitive",
        "unreceived",
        "unreceived_control",
    )

    def __init__(
        self,
        rules: Sequence[Rule] | Sequence[RoleAcl],
        rows: Sequence[Row],
        *,
        positions: Sequence[int] | None = None,
        conditions: Mapping[Condition | Who, int] | None = None,
        guards_wildcards: bool = False,
        unreceived: Collection[str] = (),
    ) -> None:
        """Take rules and what they were compiled to.

        `conditions` has the number of each condition, ascending; `positions` the place of a rank's rule, None for the
        same; `unreceived` the topics of ACLs that allow a subscription without what it brings.
        """
        self._rules = rules
        self._first_rank = 0
        self._positions = positions
        self._only_denies = False
        self._trie = TopicTrie(rows)
        self.depth = self._trie.depth
        self.operations = SUBSCRIBE if guards_wildcards else 0
        """The operations, as a bit mask, about which it says anything."""
        self._condition_numbers: Mapping[Condition | Who, int] = conditions or {}
        self._conditions = tuple([_compile(condition) for condition in self._condition_numbers])
        self._guards_wildcards = guards_wildcards
        self.unreceived = bool(unreceived)
        """Whether it may allow a subscription without allowing the deliveries that this brings."""
        self.unreceived_control = any(topic.startswith(CONTROL) for topic in unreceived)
        """The same for control topics."""
        self.sensitive = 0
        """The operations, as a bit mask, for which QoS or retain flag can make a difference."""
        self._templates: tuple[Template, ...] = ()
        self._hiding: tuple[tuple[int, int | None], ...] = ()
        self._learn(rows)

    def _learn(self, rows: Sequence[Row]) -> None:
        """Work out what is to be known of all entries, of which these are new."""
        templates = {template.key: template for template in self._templates}
        hiding = dict.fromkeys(self._hiding)
        for topic, entry in in_slices(rows):
            self.operations |= entry.operations
            if entry.qos_mask != ALL_QOS or entry.retain is not None:
                self.sensitive |= entry.operations
            if not entry.allow and entry.operations & _DELIVERIES and not _covers_what_it_meets(topic):
                hiding[entry.operations & _DELIVERIES, entry.condition] = None
            if not isinstance(topic, str):
                templates.update([(level.key, level) for level in topic if isinstance(level, Template)])
        self._templates = tuple(templates.values())
        self._hiding = tuple(hiding)
        shared = not templates and not self._conditions
        self._of_everybody = Binding((), (), ClientFacts("", None)) if shared else None

    @classmethod
    def of_rules(cls, rules: Sequence[Rule]) -> "Policy":
        """Compile rules as EMQX has them: the first in the list that fits decides.

        Subscribe rules count for deliveries too (RECEIVE), so that a deny hides a topic from a wider subscription.
        """
        conditions: dict[Condition | Who, int] = {}
        rows: list[Row] = []
        for rank, rule in enumerate(in_slices(rules)):
            rows.extend(_rows_of_rule(rank, rule, conditions))
        return cls(rules, rows, conditions=conditions)

    def with_rule(self, rule: Rule, *, first: bool) -> "Policy":
        """Return a policy of one more rule behind those of a list, or before them, at a small part of the cost."""
        if self._positions is not None:
            raise ValueError("a role's ACLs are no list of rules")
        policy = copy(self)
        rules = cast("Sequence[Rule]", self._rules)
        policy._rules = (rule, *rules) if first else (*rules, rule)
        policy._first_rank = self._first_rank - first
        conditions = {**self._condition_numbers}
        rank = policy._first_rank if first else policy._first_rank + len(rules)
        rows = tuple(_rows_of_rule(rank, rule, conditions))
        if len(conditions) > len(self._conditions):
            policy._condition_numbers = conditions
            policy._conditions = (*self._conditions, _compile(next(reversed(conditions))))
        policy._trie = self._trie.with_rows(rows, first=first)
        policy.depth = policy._trie.depth
        policy._learn(rows)
        return policy

    @classmethod
    def of_derived(cls, rules: Sequence[Rule]) -> "Policy":
        """Compile rules that follow from a state and can only allow."""
        if any(rule.permission != "allow" for rule in rules):
            raise ValueError("a derived rule can only allow")
        return cls.of_rules(rules)

    @classmethod
    def of_role(cls, role: Role) -> "Policy":
        """Compile a role as Mosquitto's dynamic security reads it.

        For a subscription: the guard against wildcards, then ACLs compared literally, then patterns that cover it;
        patterns, and the ACLs of other operations, by priority. Only `publishClientReceive` counts for deliveries.
        """
        by_priority = sorted(range(len(role.acls)), key=lambda position: -role.acls[position].priority)
        positions = sorted(by_priority, key=lambda position: role.acls[position].acltype not in LITERAL_TYPES)
        rows: list[Row] = []
        subscribed: dict[Levels, str] = {}
        received: set[Levels] = set()
        for rank, position in enumerate(in_slices(positions)):
            acl = role.acls[position]
            mask = _ACL_OPERATIONS.get(acl.acltype)
            if mask is None:
                continue
            is_literal = acl.acltype in LITERAL_TYPES
            levels = tuple(acl.topic.split("/")) if is_literal else parse_acl_pattern(acl.topic)
            rows.append((acl.topic if is_literal else levels, Entry(rank, acl.allow, mask)))
            if acl.allow and mask & SUBSCRIBE:
                subscribed[levels] = acl.topic
            elif acl.allow and mask & RECEIVE:
                received.add(levels)
        return cls(
            role.acls,
            rows,
            positions=positions,
            guards_wildcards=not role.allow_wildcard_subs,
            unreceived=tuple(topic for levels, topic in subscribed.items() if levels not in received),
        )

    def without_allows(self) -> "Policy":
        """Return a policy that has no answer where this one allows."""
        policy = copy(self)
        policy._only_denies = True
        return policy

    def bind(self, facts: ClientFacts) -> Binding:
        """Work out what the rules mean for a client; once for a session is enough."""
        return self._of_everybody or Binding(self._templates, self._conditions, facts)

    def hides(self, binding: Binding, operation: int) -> bool:
        """Tell whether a rule may hide deliveries that a wider subscription would bring; for a kind of RECEIVE."""
        return any(mask & operation and binding.holds(condition, False) for mask, condition in self._hiding)

    def find(
        self, operation: int, topic: str, words: list[str], qos: int, retain: bool, binding: Binding
    ) -> Entry | None:
        """Find what decides on a topic name (PUBLISH, RECEIVE) or on a filter without share prefix (SUBSCRIBE).

        `words` are its levels; what lies deeper than `depth` of them may be left in one.
        """
        if operation != SUBSCRIBE:
            found = self._trie.matching(topic, words, binding.texts)
            if binding.conditional:
                found = [binding.usable(entries) for entries in found]
        else:
            if self._guards_wildcards and has_wildcard(topic):
                return WILDCARD_GUARD
            retain = False
            found, loosely = self._trie.covering(topic, words, binding.texts)
            if binding.conditional:
                found = [binding.usable(entries) for entries in found]
                loosely = [binding.usable(entries) for entries in loosely]
            if loosely and self._positions is None:
                # A deny rule also concerns what EMQX's own comparison takes it to concern; a role's ACL does not.
                found += [[entry for entry in entries if not entry.allow] for entries in loosely]
        entry = _first(found, operation, 1 << qos, retain) if found else None
        return None if entry is not None and entry.allow and self._only_denies else entry

    def written(self, entry: Entry) -> tuple[int, Rule | RoleAcl] | None:
        """Return the place, from 0, and the text of the rule that an entry came from; None for the wildcard guard."""
        if entry is WILDCARD_GUARD:
            return None
        position = entry.rank - self._first_rank if self._positions is None else self._positions[entry.rank]
        return position, self._rules[position]


def _first(lists: list[Entries], operation: int, qos_bit: int, retain: bool) -> Entry | None:
    """Return the lowest-ranked entry that fits."""
    best: Entry | None = None
    for entries in lists:
        for entry in entries:
            if best is not None and best.rank < entry.rank:
                break
            if entry.operations & operation and entry.qos_mask & qos_bit and entry.retain in (None, retain):
                best = entry
                break
    return best


def _rows_of_rule(rank: int, rule: Rule, conditions: dict[Condition | Who, int]) -> Iterator[Row]:
    mask = operations(rule)
    allow = rule.permission == "allow"
    qos = qos_mask(rule)
    condition = None
    limit = rule.who if isinstance(rule, FileRule) else rule.condition
    if limit is not None and limit != Condition():
        condition = conditions.setdefault(limit, len(conditions))
    is_literal = rule.topic.startswith(LITERAL_PREFIX)
    text = rule.topic.removeprefix(LITERAL_PREFIX)
    topic = text if is_literal else parse_pattern(text)
    deliveries = _deliveries(rule, is_literal, qos)
    if rule.retain is None and qos == ALL_QOS and not (is_literal and deliveries):
        yield topic, Entry(rank, allow, mask | deliveries, condition=condition)
        return
    if mask & PUBLISH:
        yield topic, Entry(rank, allow, PUBLISH, qos, rule.retain, condition)
    if mask & SUBSCRIBE:
        # The retain condition is about a publish; a subscription has no retain flag.
        yield topic, Entry(rank, allow, SUBSCRIBE, qos, None, condition)
    if deliveries:
        yield tuple(text.split("/")) if is_literal else topic, Entry(rank, allow, deliveries, condition=condition)


def _covers_what_it_meets(topic: str | Levels) -> bool:
    """Tell whether a subscription that brings a topic of this filter is one that the filter covers as a whole.

    So it is with `$SYS/#`, for no wildcard leads there. Such a deny refuses those subscriptions, and what it does not
    refuse was allowed by a rule before it, which allows the deliveries too: it hides nothing.
    """
    return len(topic) == 2 and isinstance(topic[0], str) and topic[0][:1] == "$" and topic[1] == "#"


def _deliveries(rule: Rule, is_literal: bool, qos: int) -> int:
    """Tell which kinds of RECEIVE a rule counts for.

    An allow counts for each topic of its filter, even where the filter was written `eq`: the subscription it allows
    brings all of them. An allow for some QoS only counts for all, as the QoS was settled when the client subscribed.
    A literal deny is about asking for that very filter (`eq #` forbids subscribing to everything at once) and a deny
    for some QoS only about the QoS asked for; neither means that the messages are to be kept from the client.
    """
    if not operations(rule) & SUBSCRIBE:
        return 0
    if rule.permission == "allow":
        return _DELIVERIES
    return 0 if is_literal or qos != ALL_QOS else RECEIVE


def _compile(condition: Condition | Who) -> CompiledCondition | CompiledWho | None:
    try:
        return CompiledCondition(condition) if isinstance(condition, Condition) else CompiledWho(condition)
    except Invalid as error:
        # It was valid when it was written: another release of the `regex` package may see that in another way.
        _logger.error("a condition cannot be asked any more; a deny with it holds for everybody: %s", error.message)
        return None
