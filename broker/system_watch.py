"""The watch over the machine and the broker's own limits: it raises alarms before there is no room left."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import getLogger
from typing import Protocol

from .alarms import Alarms
from .listeners.limits import BrokerLimits, ListenerLimits

_logger = getLogger(__name__)

HIGH_CPU_USAGE = "high_cpu_usage"
HIGH_SYSTEM_MEMORY_USAGE = "high_system_memory_usage"
HIGH_PROCESS_MEMORY_USAGE = "high_process_memory_usage"
TOO_MANY_CONNECTIONS = "too_many_connections"
"""Also with `/LISTENER` behind it, where it is one listener that is nearly full."""
DISK_NEARLY_FULL = "disk_nearly_full"

PROCESS_MEMORY_FLOOR = 256 << 20
"""Bytes that the process may have whatever share of the machine they are: it is all of the broker, not one client."""
CONNECTIONS_HIGH = 0.9
CONNECTIONS_LOW = 0.8
"""Shares of the bound from which on there are too many connections, and below which there are not any more."""
DISK_INTERVAL = 30.0
_DISK_SHARE = 0.05
_DISK_LEAST = 128 << 20
_DISK_MOST = 2 << 30
_DISK_RELIEF = 1.2
_STALL_PAUSE = 60.0
"""Seconds between two words about the event loop being late."""


@dataclass(frozen=True, slots=True)
class SystemWatchSettings:
    """Say when to look and what is too much; intervals in seconds, None for never, levels as shares of 1."""

    cpu_interval: float = 60.0
    cpu_high: float = 0.8
    cpu_low: float = 0.6
    memory_interval: float | None = 60.0
    system_memory_high: float = 0.7
    process_memory_high: float = 0.05
    long_schedule: float | None = 0.24
    """How late the event loop may be before that is told."""


class Readings(Protocol):
    """What the machine says about itself; None where the platform does not tell."""

    def cpu(self) -> float | None:
        """Give the share of the machine's processors that was in use since the last call, from 0 to 1."""
        ...

    def memory(self) -> tuple[int, int] | None:
        """Give the machine's memory and how much of it is in use, bytes."""
        ...

    def process_memory(self) -> int | None:
        """Give the memory of this process, bytes."""
        ...

    def disk(self) -> tuple[int, int] | None:
        """Give the size and the free room of the disk with the data directory, bytes; may block."""
        ...


class SystemWatch:
    """Look now and then, once it has been given something to read; owns the alarms named above."""

    def __init__(self, alarms: Callable[[], Alarms], limits: BrokerLimits, tell: Callable[[str, str], None]) -> None:
        """`tell` hears of what is no alarm: the kind of event and a text."""
        self._alarms = alarms
        self._limits = limits
        self._tell = tell
        self._settings = SystemWatchSettings()
        self._readings: Readings | None = None
        self._cpu_at: float | None = None
        self._memory_at: float | None = None
        self._disk_at: float | None = None
        self._disk_check: asyncio.Task[None] | None = None
        self._looked_at: float | None = None
        self._stall_told_at: float | None = None
        self._listeners_seen: set[str] = set()
        """The names of the alarms that there may be about listeners."""

    @property
    def settings(self) -> SystemWatchSettings:
        """When it looks and what is too much."""
        return self._settings

    def configure(self, settings: SystemWatchSettings) -> None:
        """Change when it looks and what is too much; it looks anew at once."""
        self._settings = settings
        self._memory_at = None
        if self._cpu_at is not None:
            # the usage is that of the time since the last look, so there has to be some
            self._cpu_at = min(self._cpu_at, (self._looked_at or 0.0) + settings.cpu_interval)

    def begin(self, readings: Readings) -> None:
        """Watch by these readings from now on."""
        self._readings = readings
        self._cpu_at = self._memory_at = self._disk_at = self._looked_at = None

    async def end(self) -> None:
        """Watch no more; alarms stay as they are."""
        self._readings = None
        check, self._disk_check = self._disk_check, None
        if check is not None:
            check.cancel()
            await asyncio.gather(check, return_exceptions=True)

    def keep_house(self, now: float, late: float, listeners: Iterable[tuple[str, ListenerLimits]]) -> None:
        """Look at what is due; `now` is of a clock that is never set, `late` is how late the event loop was."""
        readings, settings = self._readings, self._settings
        if readings is None:
            return
        self._looked_at = now
        self._check_connections(listeners)
        self._check_lateness(now, late)
        if self._cpu_at is None:
            readings.cpu()  # the first reading is of no time at all
            self._cpu_at = now + settings.cpu_interval
        elif now >= self._cpu_at:
            self._cpu_at = now + settings.cpu_interval
            self._check_cpu(readings.cpu())
        every = settings.memory_interval
        if every is not None and (self._memory_at is None or now >= self._memory_at):
            self._memory_at = now + every
            self._check_memory(readings)
        if self._disk_check is None and (self._disk_at is None or now >= self._disk_at):
            self._disk_at = now + DISK_INTERVAL
            self._disk_check = asyncio.ensure_future(self._check_disk(readings))

    def _check_cpu(self, usage: float | None) -> None:
        if usage is None:
            return
        settings = self._settings
        if usage >= settings.cpu_high:
            self._alarms().activate(
                HIGH_CPU_USAGE,
                f"{_percent(usage)} cpu usage",
                {
                    "usage": _percent(usage),
                    "high_watermark": _percent(settings.cpu_high),
                    "low_watermark": _percent(settings.cpu_low),
                },
            )
        elif usage <= settings.cpu_low:
            self._alarms().deactivate(HIGH_CPU_USAGE)

    def _check_memory(self, readings: Readings) -> None:
        memory = readings.memory()
        if memory is None or memory[0] <= 0:
            return
        total, used = memory
        self._judge_memory(HIGH_SYSTEM_MEMORY_USAGE, "System", used / total, self._settings.system_memory_high)
        process = readings.process_memory()
        if process is not None:
            share = process / total if process > PROCESS_MEMORY_FLOOR else 0.0
            self._judge_memory(HIGH_PROCESS_MEMORY_USAGE, "Process", share, self._settings.process_memory_high)

    def _judge_memory(self, name: str, whose: str, share: float, high: float) -> None:
        if share > high:
            self._alarms().activate(
                name,
                f"{whose} memory usage is higher than {_percent(high)}",
                {"usage": _percent(share), "high_watermark": _percent(high)},
            )
        else:
            self._alarms().deactivate(name)

    def _check_connections(self, listeners: Iterable[tuple[str, ListenerLimits]]) -> None:
        self._judge_connections(TOO_MANY_CONNECTIONS, self._limits.open, self._limits.max_connections)
        seen: set[str] = set()
        for listener_id, limits in listeners:
            name = f"{TOO_MANY_CONNECTIONS}/{listener_id}"
            seen.add(name)
            self._judge_connections(name, limits.open, limits.max_connections)
        for name in self._listeners_seen - seen:  # of a listener that is no more
            self._alarms().deactivate(name)
        self._listeners_seen = seen

    def _judge_connections(self, name: str, count: int, most: int) -> None:
        if most > 0 and count >= max(1.0, most * CONNECTIONS_HIGH):
            self._alarms().activate(
                name,
                f"{_percent(CONNECTIONS_HIGH)} of the connections that are allowed are in use: more will be refused.",
                {"connections": count, "max_connections": most},
            )
        elif most <= 0 or count < most * CONNECTIONS_LOW:
            self._alarms().deactivate(name)

    async def _check_disk(self, readings: Readings) -> None:
        """Look at the disk in a thread: one that does not answer must not hold the event loop."""
        try:
            found = await asyncio.to_thread(readings.disk)
        except OSError as error:
            _logger.debug("the room on the disk is not known: %s", error)
            return
        finally:
            self._disk_check = None
        if found is not None and self._readings is not None:
            self._judge_disk(*found)

    def _judge_disk(self, total: int, free: int) -> None:
        least = max(_DISK_LEAST, min(int(total * _DISK_SHARE), _DISK_MOST))
        if free < least:
            self._alarms().activate(
                DISK_NEARLY_FULL,
                "The disk with the data directory is nearly full: once it is, nothing durable is acknowledged.",
                {"free": free, "total": total, "low_watermark": least},
            )
        elif free >= least * _DISK_RELIEF:
            self._alarms().deactivate(DISK_NEARLY_FULL)

    def _check_lateness(self, now: float, late: float) -> None:
        most = self._settings.long_schedule
        if most is None or late <= most:
            return
        if self._stall_told_at is not None and now < self._stall_told_at + _STALL_PAUSE:
            return
        self._stall_told_at = now
        text = f"The event loop was {round(late * 1_000)} ms late."
        _logger.warning("%s Clients waited that long.", text)
        self._tell("long_schedule", text)


def _percent(share: float) -> str:
    return f"{share * 100:.4g}%"
