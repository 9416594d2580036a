"""How often something was asked and how fast: plain counters, from which rates are worked out when somebody looks."""

from collections import deque
from collections.abc import Callable

WINDOW = 300
"""Seconds over which the longer rate is an average."""


class EvaluationRate:
    """Count events by the second they happen in; nothing runs while nothing happens."""

    __slots__ = ("_clock", "_count", "_fastest", "_past", "_second", "total")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = int(clock())
        self._count = 0
        self._past: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        """Seconds in which something happened, with how often."""
        self._fastest = 0
        self.total = 0

    def count(self) -> None:
        """Note one event."""
        self.total += 1
        second = int(self._clock())
        if second != self._second:
            self._begin(second)
        self._count += 1

    def _begin(self, second: int) -> None:
        if self._count:
            self._past.append((self._second, self._count))
            self._fastest = max(self._fastest, self._count)
        self._second, self._count = second, 0

    @property
    def now(self) -> float:
        """Events in the last second that is over."""
        second = int(self._clock())
        if second != self._second:
            self._begin(second)
        return float(sum(count for at, count in self._past if at == second - 1))

    @property
    def last_5_minutes(self) -> float:
        """Events a second, on average over the last five minutes."""
        second = int(self._clock())
        if second != self._second:
            self._begin(second)
        recent = sum(count for at, count in self._past if second - WINDOW < at <= second)
        return round((recent + self._count) / WINDOW, 2)

    @property
    def fastest(self) -> float:
        """The most events of any second."""
        return float(max(self._fastest, self._count))
