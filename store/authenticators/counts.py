"""What an authenticator has answered so far."""

from collections.abc import Callable
from typing import NamedTuple

from ..evaluations import EvaluationRate


class CountsShown(NamedTuple):
    """Hold an authenticator's counters as they are at one moment, under EMQX's names."""

    total: int
    success: int
    failed: int
    nomatch: int
    rate: float
    rate_last5m: float
    rate_max: float


class Counts:
    """Count evaluations by what came of them; one that is still being checked is in the total only."""

    __slots__ = ("_rate", "ask", "failed", "ignored", "success")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._rate = EvaluationRate(clock)
        self.ask = self._rate.count
        """Note that the authenticator is asked."""
        self.success = 0
        self.failed = 0
        self.ignored = 0

    def show(self) -> CountsShown:
        """Return the counters, with rates as of now."""
        rate = self._rate
        return CountsShown(
            rate.total, self.success, self.failed, self.ignored, rate.now, rate.last_5_minutes, rate.fastest
        )
