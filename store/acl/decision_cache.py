"""Decisions that were made before, for one client; bounded in number and in bytes."""

from collections.abc import Mapping
from types import MappingProxyType

from ..records import SUBSCRIBE

MAX_DECISIONS = 512
MAX_BYTES = 65_536
"""Of all topics together; a topic that is longer than an eighth of it is not kept at all."""

Decision = bool | dict[int, bool]
"""The answer, or where QoS and retain flag make a difference one for each `2 * qos + retain`."""

_NOTHING: Mapping[str, Decision] = MappingProxyType({})
"""Stands for the decisions on an operation before there is one: most clients never publish, or never subscribe."""


class DecisionCache:
    """Keep decisions; when it is full, one of them goes.

    Which one is left to chance: a client that goes through 600 topics in turn then still finds most of them, where the
    one least recently used would always be the one that is needed next.
    """

    __slots__ = ("_bytes", "_chance", "_kept", "decisions")

    def __init__(self) -> None:
        self.decisions: list[Mapping[str, Decision]] = [_NOTHING] * (SUBSCRIBE + 1)
        """By operation, then by topic; for reading."""
        self._kept: list[tuple[int, str]] = []
        self._bytes = 0
        self._chance = 1

    def __len__(self) -> int:
        """Count the topics, per operation, that have a decision."""
        return len(self._kept)

    def keep(self, operation: int, topic: str, allowed: bool) -> None:
        """Keep a decision that holds whatever the QoS and the retain flag are."""
        if self._make_room(operation, topic):
            self._own(operation)[topic] = allowed

    def keep_variant(self, operation: int, topic: str, variant: int, allowed: bool) -> None:
        """Keep a decision for one QoS and retain flag."""
        variants = self.decisions[operation].get(topic)
        if isinstance(variants, dict):
            variants[variant] = allowed
        elif self._make_room(operation, topic):
            self._own(operation)[topic] = {variant: allowed}

    def _make_room(self, operation: int, topic: str) -> bool:
        size = topic.__sizeof__()
        if size > MAX_BYTES // 8:
            return False
        while self._kept and (len(self._kept) >= MAX_DECISIONS or self._bytes + size > MAX_BYTES):
            self._drop_one()
        self._kept.append((operation, topic))
        self._bytes += size
        return True

    def _drop_one(self) -> None:
        self._chance = (self._chance * 69_069 + 1) & 0xFFFFFFFF
        place = (self._chance >> 16) % len(self._kept)
        operation, topic = self._kept[place]
        self._kept[place] = self._kept[-1]
        self._kept.pop()
        self._bytes -= topic.__sizeof__()
        del self._own(operation)[topic]

    def _own(self, operation: int) -> dict[str, Decision]:
        """Give the decisions on an operation for writing."""
        known = self.decisions[operation]
        if isinstance(known, dict):
            return known
        own: dict[str, Decision] = {}
        self.decisions[operation] = own
        return own
