"""How often something was asked and how fast: plain counters, from which rates are worked out when somebody looks."""

from collections import deque
from collections.abc import Callable

WINDOW = 300
"""Seconds over which the longer rate is an average."""


class EvaluationRate:
    """Count events by the second they happen in; nothing runs while nothing happens.

    Who has the time already may spare the calls: `begin` where it is not between `since` and `until`, then count one
    more in `total` and in `counted`.
    """

    __slots__ = ("_clock", "_fastest", "_past", "counted", "since", "total", "until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.since = int(clock())
        """When the present second began."""
        self.until = self.since + 1
        self.counted = 0
        """Events since then."""
        self._past: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        """Seconds in which something happened, with how often."""
        self._fastest = 0
        self.total = 0

    def count(self) -> None:
        """Note one event."""
        self._turn_to(self._clock())
        self.total += 1
        self.counted += 1

    def _turn_to(self, now: float) -> None:
        if not self.since <= now < self.until:
            self.begin(now)

    def begin(self, now: float) -> None:
        """Begin another second: the one that this time is in."""
        if self.counted:
            self._past.append((self.since, self.counted))
            self._fastest = max(self._fastest, self.counted)
        self.since, self.counted = int(now), 0
        self.until = self.since + 1

    @property
    def now(self) -> float:
        """Events in the last second that is over."""
        self._turn_to(self._clock())
        return float(sum(count for at, count in self._past if at == self.since - 1))

    @property
    def last_5_minutes(self) -> float:
        """Events a second, on average over the last five minutes."""
        self._turn_to(self._clock())
        recent = sum(count for at, count in self._past if self.since - WINDOW < at <= self.since)
        return round((recent + self.counted) / WINDOW, 2)

    @property
    def fastest(self) -> float:
        """The most events of any second."""
        return float(max(self._fastest, self.counted))
