"""Topic metrics: what comes in and goes out on single topics. Source of the counters: EMQX 5's topic metrics."""

from collections import deque
from collections.abc import Callable
from time import monotonic, time

from .detours import Detours
from .message import Message

MAX_TOPICS = 512
"""EMQX's bound."""
_WINDOW = 5
"""Seconds over which rates are taken."""


class Meter:
    """Count something and tell how often it happened lately."""

    __slots__ = ("_recent", "count")

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[list[int]] = deque(maxlen=_WINDOW + 1)
        """Second and number, of the last seconds in which anything happened."""

    def add(self, number: int, second: int) -> None:
        """Count; `second` is of a clock that does not go back."""
        self.count += number
        recent = self._recent
        if recent and recent[-1][0] == second:
            recent[-1][1] += number
        else:
            recent.append([second, number])

    def rate(self, second: int) -> float:
        """Give the mean per second of the last five whole seconds."""
        return sum(number for when, number in self._recent if second - _WINDOW <= when < second) / _WINDOW


class TopicCounters:
    """Count the messages on one topic."""

    def __init__(self, topic: str, created_at: float) -> None:
        self.topic = topic
        self.created_at = created_at
        """Seconds since the epoch."""
        self.reset_at: float | None = None
        self.incoming = [Meter(), Meter(), Meter()]
        """Messages that were published, by QoS."""
        self.outgoing = [Meter(), Meter(), Meter()]
        """Messages given to subscribers, by the QoS that they were published at."""
        self.dropped = Meter()
        """Messages that nobody subscribed to."""

    def reset(self, now: float) -> None:
        """Begin to count anew."""
        self.reset_at = now
        self.incoming, self.outgoing, self.dropped = [Meter() for _ in range(3)], [Meter() for _ in range(3)], Meter()


class TopicMetrics:
    """Own the counters of the topics that are measured; a `TopicWatch`."""

    def __init__(
        self, detours: Detours, *, clock: Callable[[], float] = time, steady_clock: Callable[[], float] = monotonic
    ) -> None:
        self._detours = detours
        self._clock = clock
        self._steady_clock = steady_clock
        self._topics: dict[str, TopicCounters] = {}

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def topics(self) -> list[TopicCounters]:
        """The counters in the order in which topics were added."""
        return list(self._topics.values())

    @property
    def second(self) -> int:
        """The present second, for `Meter.rate`."""
        return int(self._steady_clock())

    def get(self, topic: str) -> TopicCounters | None:
        """Return a topic's counters; None where it is not measured."""
        return self._topics.get(topic)

    def set_topics(self, topics: list[str]) -> None:
        """Measure exactly these topics from now on; those that were measured before go on counting."""
        known = self._topics
        self._topics = {topic: known.get(topic) or TopicCounters(topic, self._clock()) for topic in topics}
        if self._topics and not known:
            self._detours.add(self)
        elif known and not self._topics:
            self._detours.remove(self)
        else:
            self._detours.changed()

    def reset(self, topic: str | None = None) -> None:
        """Begin to count anew on one topic or on all of them."""
        now = self._clock()
        for counters in self._topics.values():
            if topic is None or counters.topic == topic:
                counters.reset(now)

    # -- TopicWatch

    def watches(self, topic: str, sender: str) -> bool:
        """Tell whether a topic is measured."""
        return topic in self._topics

    def published(self, message: Message, reached: int, sender: str) -> None:
        """Count a message."""
        counters = self._topics.get(message.topic)
        if counters is None:
            return
        second = self.second
        counters.incoming[message.qos].add(1, second)
        if reached:
            counters.outgoing[message.qos].add(reached, second)
        else:
            counters.dropped.add(1, second)

    def denied(self, topic: str, qos: int, sender: str) -> None:
        """Leave out what was not published."""
