"""Decisions that were made before, for one client; bounded in number and in bytes."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from ..records import SUBSCRIBE
from .topic_trie import Entry, TopicTrie

MAX_DECISIONS = 512
MAX_BYTES = 65_536
"""Of all topics together, for so many decisions; a topic that is longer than an eighth of it is not kept at all."""

Decision = bool | dict[int, bool]
"""The answer, or where QoS and retain flag make a difference one for each `2 * qos + retain`."""

_Kept: TypeAlias = tuple[int, str, int, float]
"""Operation, topic, what it was asked with, and when."""

_NOTHING: dict[str, Decision] = {}
"""Always empty. It stands for the decisions on an operation before there is one: most clients never publish, or never
subscribe."""


class CacheLimits:
    """Say what is kept of the decisions on each client, and for how long; never altered once it is made."""

    __slots__ = ("clock", "enabled", "excluded", "max_bytes", "max_decisions", "ttl")

    def __init__(
        self,
        *,
        enabled: bool = True,
        max_decisions: int = MAX_DECISIONS,
        ttl: float = 60.0,
        excludes: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take limits; `excludes` are filters of topics on which no decision is kept, `ttl` is in seconds."""
        self.enabled = enabled
        self.max_decisions = max_decisions
        self.max_bytes = MAX_BYTES * max(max_decisions, MAX_DECISIONS) // MAX_DECISIONS
        self.ttl = ttl
        self.clock = clock
        rows = [(tuple(each.split("/")), Entry(rank, True, SUBSCRIBE)) for rank, each in enumerate(excludes)]
        self.excluded = TopicTrie(rows) if rows else None
        """None where decisions on all topics are kept."""


DEFAULT_LIMITS = CacheLimits()


class KeptDecision(NamedTuple):
    """Show one decision that is kept."""

    operation: int
    topic: str
    qos: int
    """As it was asked with; where `qos` and `retain` make no difference, as it was first."""
    retain: bool
    allowed: bool
    updated_at: float
    """Seconds since the epoch."""


class DecisionCache:
    """Keep decisions; when it is full, one of them goes.

    Which one is left to chance: a client that goes through 600 topics in turn then still finds most of them, where the
    one least recently used would always be the one that is needed next. Those that are too old go when a further one
    is kept: as a change of the rules ends what it concerns at once, an old one is as right as a new one.
    """

    __slots__ = ("_bytes", "_chance", "_kept", "_swept", "decisions", "limits")

    def __init__(self, limits: CacheLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.decisions: list[dict[str, Decision]] = [_NOTHING] * (SUBSCRIBE + 1)
        """By operation, then by topic; for reading."""
        self._kept: list[_Kept] = []
        self._bytes = 0
        self._chance = 1
        self._swept = 0.0
        """Before when whatever is here was too old was looked for."""

    def __len__(self) -> int:
        """Count the topics, per operation, that have a decision."""
        return len(self._kept)

    def keep(self, operation: int, topic: str, variant: int, allowed: bool, now: float) -> None:
        """Keep a decision that holds whatever the QoS and the retain flag are; `variant` is what it was asked with."""
        own = self._make_room(operation, topic, variant, now)
        if own is not None:
            own[topic] = allowed

    def keep_variant(self, operation: int, topic: str, variant: int, allowed: bool, now: float) -> None:
        """Keep a decision for one QoS and retain flag."""
        variants = self.decisions[operation].get(topic)
        if isinstance(variants, dict):
            variants[variant] = allowed
            return
        own = self._make_room(operation, topic, variant, now)
        if own is not None:
            own[topic] = {variant: allowed}

    def clear(self) -> None:
        """Forget everything."""
        self.decisions[:] = [_NOTHING] * len(self.decisions)
        self._kept.clear()
        self._bytes = 0

    def all(self) -> list[KeptDecision]:
        """List what is kept and not too old, oldest first."""
        oldest = self.limits.clock() - self.limits.ttl
        rows: list[KeptDecision] = []
        for operation, topic, variant, at in self._kept:
            if at < oldest:
                continue
            decision = self.decisions[operation][topic]
            variants = {variant: decision} if isinstance(decision, bool) else decision
            rows += [
                KeptDecision(operation, topic, each >> 1, bool(each & 1), allowed, at)
                for each, allowed in variants.items()
            ]
        rows.sort(key=lambda row: row.updated_at)
        return rows

    def _make_room(self, operation: int, topic: str, variant: int, now: float) -> dict[str, Decision] | None:
        """Give the decisions on an operation for one more; None where it is not to be kept."""
        limits = self.limits
        size = topic.__sizeof__()
        if size > MAX_BYTES // 8 or not limits.enabled:
            return None
        if limits.excluded is not None and limits.excluded.matching(topic, topic.split("/"), {}):
            return None
        if now - self._swept >= limits.ttl or now < self._swept:
            self._drop_old(now)
        while self._kept and (len(self._kept) >= limits.max_decisions or self._bytes + size > limits.max_bytes):
            self._drop_one()
        self._kept.append((operation, topic, variant, now))
        self._bytes += size
        own = self.decisions[operation]
        if own is _NOTHING:
            own = self.decisions[operation] = {}
        return own

    def _drop_old(self, now: float) -> None:
        self._swept = now
        oldest = now - self.limits.ttl
        old = [kept for kept in self._kept if not oldest < kept[3] <= now]
        if not old:
            return
        for operation, topic, _, _ in old:
            self._bytes -= topic.__sizeof__()
            del self.decisions[operation][topic]
        self._kept = [kept for kept in self._kept if oldest < kept[3] <= now]

    def _drop_one(self) -> None:
        self._chance = (self._chance * 69_069 + 1) & 0xFFFFFFFF
        place = (self._chance >> 16) % len(self._kept)
        operation, topic, _, _ = self._kept[place]
        self._kept[place] = self._kept[-1]
        self._kept.pop()
        self._bytes -= topic.__sizeof__()
        del self.decisions[operation][topic]
