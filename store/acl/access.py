"""What one client may do: its layers of compiled rules, what holds after them, and the decisions made so far."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...broker.routing.topics import InvalidTopic, check_filter, check_name, split_share
from ..errors import Invalid
from ..records import RECEIVE, SUBSCRIBE
from .binding import Binding
from .client_facts import ClientFacts
from .decision_cache import DEFAULT_LIMITS, CacheLimits, DecisionCache, KeptDecision
from .explanation import DecidedBy, Explanation, LayerAnswer, LayerKind
from .file_rules import FileRule
from .patterns import CONTROL
from .policy import RECEIVE_AS_SUBSCRIBED, WILDCARD_GUARD, Policy
from .tallies import NOWHERE, Place
from .topic_trie import Entry


class Layer(NamedTuple):
    """Name one subject whose rules concern a client."""

    kind: LayerKind
    name: str
    """The client id, user name, login, role, or "GROUP/ROLE"; empty for all."""
    policy: Policy
    place: Place = NOWHERE


class ClientAccess:
    """Decide for one client as of one generation of the directory; made by `build_access`."""

    __slots__ = (
        "_asked",
        "_cache",
        "_decisions",
        "_defaults",
        "_depth",
        "_last",
        "_receive",
        "_sensitive",
        "checks_delivery",
        "confined",
        "facts",
        "generation",
        "layers",
    )

    def __init__(
        self,
        generation: int,
        layers: tuple[Layer, ...],
        facts: ClientFacts,
        defaults: Mapping[int, bool],
        confined: bool,
        receive: int,
        previous: "ClientAccess | None",
        last: Place,
        limits: CacheLimits,
    ) -> None:
        """Take what decides; `receive` is the kind of RECEIVE, `previous` where bindings and decisions come from.

        `last` is the place behind all layers.
        """
        self.generation = generation
        self.layers = layers
        """In the order in which they are asked. The first that has an answer decides."""
        self.facts = facts
        self.confined = confined
        """Whether everything is denied that the layers do not allow."""
        self._defaults = defaults
        self._receive = receive
        self._last = last
        known: dict[Policy, Binding] = {}
        if previous is not None and previous.facts == facts:
            known = {policy: binding for policy, binding, _ in previous._asked}
        asked: list[tuple[Policy, Binding, Place]] = []
        depth, sensitive = 1, 0
        for _, _, policy, place in layers:
            asked.append((policy, known.get(policy) or policy.bind(facts), place))
            depth = max(depth, policy.depth)
            sensitive |= policy.sensitive
        self._asked = tuple(asked)
        self._depth = depth
        self._sensitive = sensitive
        if previous is not None and previous._cache.limits is limits and previous._decides_like(self):
            self._cache = previous._cache
        else:
            self._cache = DecisionCache(limits)
        self._decisions = self._cache.decisions
        self.checks_delivery = self._needs_delivery_checks()
        """Whether deliveries must be checked one by one (RECEIVE), because a subscription may bring some that are not
        allowed."""

    @property
    def standing(self) -> object:
        """The same object as that of what this was made from, if and only if both decide alike."""
        return self._cache

    def decide(self, operation: int, topic: str, qos: int, retain: bool) -> bool:
        """Answer PUBLISH or RECEIVE for a topic name, SUBSCRIBE for a topic filter, shared or not."""
        decision = self._decisions[operation].get(topic)
        if decision is True or decision is False:
            return decision
        variant = 2 * qos + retain
        if decision is not None and (known := decision.get(variant)) is not None:
            return known
        cache = self._cache
        now = cache.limits.clock()
        allowed = self._decide(operation, topic, qos, retain, now)
        if self._sensitive & operation:
            cache.keep_variant(operation, topic, variant, allowed, now)
        else:
            cache.keep(operation, topic, variant, allowed, now)
        return allowed

    def kept(self) -> list[KeptDecision]:
        """List the decisions on publishes and subscriptions that are remembered, oldest first."""
        return [kept for kept in self._cache.all() if kept.operation != RECEIVE]

    def forget(self) -> None:
        """Remember no decision any more."""
        self._cache.clear()

    def _decide(self, operation: int, topic: str, qos: int, retain: bool, now: float) -> bool:
        """Decide without the cache."""
        if operation == SUBSCRIBE:
            try:
                topic = split_share(topic)[1]  # `$share/g/f` is a subscription to f
            except InvalidTopic:
                return False
        asked = self._receive if operation == RECEIVE else operation
        words = topic.split("/", self._depth)
        for policy, binding, place in self._asked:
            if policy.operations & asked:
                entry = policy.find(asked, topic, words, qos, retain, binding)
                if entry is not None:
                    if place is not NOWHERE and operation != RECEIVE:
                        place.tell(entry.allow, now)
                    return entry.allow
        allowed = self._fall_back(operation, topic)[0]
        if operation != RECEIVE:
            self._last.tell(allowed, now)
        return allowed

    def explain(self, operation: int, topic: str, qos: int, retain: bool) -> Explanation:
        """Decide anew and say why; raise Invalid for a topic name or filter that no client could use."""
        try:
            if operation == SUBSCRIBE:
                topic = split_share(topic)[1]
                check_filter(topic)
            else:
                check_name(topic)
        except InvalidTopic as error:
            raise Invalid(f"'{topic[:200]}' cannot be decided on: {error}.") from None
        asked = self._receive if operation == RECEIVE else operation
        answers: list[LayerAnswer] = []
        words = topic.split("/")
        for layer, (policy, binding, _) in zip(self.layers, self._asked, strict=True):
            entry = policy.find(asked, topic, words, qos, retain, binding)
            answers.append(_answer(layer, entry))
            if entry is not None:
                return Explanation(entry.allow, layer.kind, tuple(answers))
        allowed, decided_by = self._fall_back(operation, topic)
        return Explanation(allowed, decided_by, tuple(answers))

    def _fall_back(self, operation: int, topic: str) -> tuple[bool, DecidedBy]:
        """Say what holds where no layer has an answer, and why."""
        if self.confined:
            return False, "confined"
        if topic.startswith(CONTROL):
            return False, "reserved"
        return self._defaults[operation], "default"

    def _decides_like(self, other: "ClientAccess") -> bool:
        return (
            len(self.layers) == len(other.layers)
            and self._last == other._last
            and all(
                old.policy is new.policy and old.place == new.place
                for old, new in zip(self.layers, other.layers, strict=True)
            )
            and self.facts == other.facts
            and self.confined == other.confined
            and self._receive == other._receive
            and (self._defaults is other._defaults or self._defaults == other._defaults)
        )

    def _needs_delivery_checks(self) -> bool:
        for policy, binding, _ in self._asked:
            if policy.hides(binding, self._receive):
                return True
        # Nothing is hidden, so what a rule allows to subscribe to it allows to receive too. What is left are
        # subscriptions that a role or a default allows, and that bring what only the default of RECEIVE could allow.
        if self._defaults[RECEIVE] and not self.confined:
            return any([layer.policy.unreceived_control for layer in self.layers])
        return (self._defaults[SUBSCRIBE] and not self.confined) or any(
            [layer.policy.unreceived for layer in self.layers]
        )


def build_access(
    generation: int,
    layers: Sequence[Layer],
    facts: ClientFacts,
    defaults: Mapping[int, bool],
    *,
    confined: bool,
    enforce_on_delivery: bool = True,
    previous: ClientAccess | None = None,
    last: Place = NOWHERE,
    limits: CacheLimits = DEFAULT_LIMITS,
) -> ClientAccess:
    """Put together what a client may do.

    `confined` clients are denied what their layers do not allow, and are not asked about under the layer of all.
    `enforce_on_delivery` is whether the subscribe rules of user names, client ids and all hide deliveries too. Where
    `previous` decides by the very same policies, its decisions stay known; `defaults` must not be altered afterwards.
    `last` is where the defaults stand in the order of the sources; `limits` is what is kept of the decisions.
    """
    asked = tuple([layer for layer in layers if layer.kind != "all"]) if confined else tuple(layers)
    receive = RECEIVE if enforce_on_delivery else RECEIVE_AS_SUBSCRIBED
    return ClientAccess(generation, asked, facts, defaults, confined, receive, previous, last, limits)


def _answer(layer: Layer, entry: Entry | None) -> LayerAnswer:
    if entry is None:
        return LayerAnswer(layer.kind, layer.name, None)
    written = layer.policy.written(entry)
    if written is None:
        return LayerAnswer(layer.kind, layer.name, entry.allow, wildcard_guard=entry is WILDCARD_GUARD)
    position, rule = written
    if isinstance(rule, FileRule):
        position = rule.line - 1
    return LayerAnswer(layer.kind, layer.name, entry.allow, rule=rule, position=position)
