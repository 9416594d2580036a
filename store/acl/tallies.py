"""How often each source of rules was asked and what it said: plain counts, for decisions that nobody remembered."""

from collections.abc import Callable
from typing import NamedTuple

from ..evaluations import EvaluationRate


class Tally:
    """Count what one source said to publishes and subscriptions."""

    __slots__ = ("allow", "deny", "nomatch", "rate")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.allow = 0
        self.deny = 0
        self.nomatch = 0
        self.rate = EvaluationRate(clock)
        """Of all three together."""


class Place(NamedTuple):
    """Say where a layer stands in the order of the sources."""

    source: Tally | None
    """Whose layer it is; None where it is no source's."""
    passed: tuple[Tally, ...]
    """Of the sources that have been asked before it, and had no answer if it has one."""

    def tell(self, allowed: bool, now: float) -> None:
        """Count that the layer decided; all in one, for it is a part of each decision that nobody remembers."""
        for tally in self.passed:
            tally.nomatch += 1
            rate = tally.rate
            if not rate.since <= now < rate.until:
                rate.begin(now)
            rate.total += 1
            rate.counted += 1
        source = self.source
        if source is not None:
            rate = source.rate
            if not rate.since <= now < rate.until:
                rate.begin(now)
            rate.total += 1
            rate.counted += 1
            if allowed:
                source.allow += 1
            else:
                source.deny += 1


NOWHERE = Place(None, ())
"""Of layers without sources."""
