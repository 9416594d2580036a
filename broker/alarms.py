"""Alarms: what an operator has to know about now, and what there was to know about lately."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from logging import getLogger
from time import monotonic, time
from typing import Any

_logger = getLogger(__name__)

JOURNAL_NOT_WRITABLE = "journal_not_writable"
"""Durable state cannot be written: publishers that owe it are not acknowledged."""
JOURNAL_NOT_READABLE = "journal_not_readable"
"""Messages that are on the disk alone cannot be read: the clients that they are for wait."""
SESSIONS_SET_ASIDE = "sessions_set_aside"
"""A damaged file of sessions was set aside at the start; the service is whole, what it held is not there."""

MAX_HISTORY = 1_000
MAX_HISTORY_AGE = 86_400.0
"""Seconds for which an alarm that is over is remembered, from its end on."""


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """Say what becomes of alarms beside being listed."""

    log: bool = True
    publish: bool = True
    """Whether those who listen are told, so that `$SYS` topics tell of alarms."""
    size_limit: int = MAX_HISTORY
    validity_period: float = MAX_HISTORY_AGE
    """Seconds for which an alarm that is over is remembered, from its end on."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Describe one alarm; times in seconds since the epoch."""

    name: str
    """The same for the same cause; never made of what clients send, so that alarms are few."""
    message: str
    """A sentence for anybody: `GET /health` shows it without a credential, so no paths, names or addresses."""
    details: dict[str, Any]
    """JSON values for programs that may look at the server."""
    activated_at: float
    deactivated_at: float | None = None
    """None while the alarm is active; never before `activated_at`, however the clock was set."""

    def duration(self, now: float) -> float:
        """Say how many seconds the alarm has been or was active; never negative, however the clock was set."""
        end = now if self.deactivated_at is None else self.deactivated_at
        return max(0.0, end - self.activated_at)


class Alarms:
    """Own the alarms of one broker; for its event loop's thread alone."""

    def __init__(self, *, clock: Callable[[], float] = time, steady_clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # An alarm's age must not change because somebody set the clock: a jump would empty the history at once.
        self._steady_clock = steady_clock
        self._active: dict[str, Alarm] = {}
        self._history: deque[tuple[float, Alarm]] = deque(maxlen=MAX_HISTORY)
        self._settings = AlarmSettings()
        self.announce: Callable[[Alarm], None] | None = None
        """Told of each alarm that is raised or over, unless the settings say otherwise."""

    @property
    def settings(self) -> AlarmSettings:
        """What becomes of alarms."""
        return self._settings

    def configure(self, settings: AlarmSettings) -> None:
        """Change what becomes of alarms; of a history that is too long now the newest stay."""
        self._settings = settings
        self._history = deque(self._history, maxlen=settings.size_limit)

    def activate(self, name: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Raise an alarm and log it; one that is active already stays as it is."""
        if name in self._active:
            return
        alarm = self._active[name] = Alarm(name, message, dict(details or {}), self._clock())
        if self._settings.log:
            _logger.warning("Alarm %s: %s", name, message)
        self._tell(alarm)

    def deactivate(self, name: str) -> None:
        """End an alarm, log it and remember it; nothing happens where it is not active."""
        alarm = self._active.pop(name, None)
        if alarm is None:
            return
        now = self._clock()
        over = replace(alarm, deactivated_at=max(alarm.activated_at, now))
        self._history.append((self._steady_clock(), over))
        if self._settings.log:
            _logger.warning("Alarm %s is over after %.1f s.", name, alarm.duration(now))
        self._tell(over)

    def _tell(self, alarm: Alarm) -> None:
        if self.announce is not None and self._settings.publish:
            self.announce(alarm)

    def is_active(self, name: str) -> bool:
        """Tell whether an alarm is active."""
        return name in self._active

    def active(self) -> list[Alarm]:
        """List the active alarms in the order in which they were raised."""
        return list(self._active.values())

    def history(self) -> list[Alarm]:
        """List the alarms that are over, newest first."""
        oldest = self._steady_clock() - self._settings.validity_period
        while self._history and self._history[0][0] < oldest:
            self._history.popleft()
        return [alarm for _, alarm in reversed(self._history)]

    def clear_history(self) -> None:
        """Forget the alarms that are over."""
        self._history.clear()
