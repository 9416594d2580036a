"""The samples of how busy the broker was: one every ten seconds, for seven days, thinned as they are read."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from .history_store import HistoryStore

INTERVAL = 10
"""Seconds between samples, which are taken at multiples of it."""
KEPT = 7 * 86_400
"""Seconds for which a sample is kept."""
GAUGES = (
    "connections",
    "live_connections",
    "topics",
    "subscriptions",
    "subscriptions_durable",
    "disconnected_durable_sessions",
)
"""What is a size at the time of the sample."""
COUNTS = (
    "received",
    "sent",
    "dropped",
    "persisted",
    "validation_succeeded",
    "validation_failed",
    "transformation_succeeded",
    "transformation_failed",
)
"""What was counted since the sample before."""
NAMES = (*GAUGES, *COUNTS)
_STEPS = ((3_600, 10), (86_400, 60), (3 * 86_400, 300))
"""The spacing of what is read, in seconds, up to an age of its oldest sample."""
_COARSEST = 600
_LONGEST_FUTURE = 86_400
"""Seconds: a sample from later than that is of a clock that has been set right since, and would never be too old."""

# The names are this module's own.
_ADD = (
    f"INSERT INTO monitor_sample (time, {', '.join(NAMES)}) VALUES ({', '.join('?' * (1 + len(NAMES)))}) "  # noqa: S608
    "ON CONFLICT (time) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in GAUGES)
    + ", "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)
)
_PRUNE = "DELETE FROM monitor_sample WHERE time < ? OR time > ?"
_OLDEST = "SELECT MIN(time) FROM monitor_sample WHERE time >= ? AND time <= ?"
# SQLite takes columns that are not aggregated from the row with the maximum, which here is the newest.
_SERIES = (
    f"SELECT time - time % :step AS bucket, MAX(time), {', '.join(GAUGES)}, "  # noqa: S608
    + ", ".join(f"SUM({name})" for name in COUNTS)
    + " FROM monitor_sample WHERE time >= :since AND time <= :until GROUP BY bucket ORDER BY bucket"
)
_CLEAR = "DELETE FROM monitor_sample"


@dataclass(frozen=True, slots=True)
class Series:
    """Hold samples at regular spacing, oldest first."""

    step: int
    """Seconds from one to the next."""
    points: tuple[tuple[int, tuple[int, ...]], ...]
    """Seconds since the epoch, and the numbers in the order of `NAMES`; nothing for a time without a sample."""


class MonitorSamples:
    """Own the stored samples."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store

    async def add(self, time: int, values: Mapping[str, int]) -> None:
        """Store a sample and drop those that are too old; one of the same time is added to. Raises StoreError."""
        row = (time, *(values[name] for name in NAMES))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD, row)
            connection.execute(_PRUNE, (time - KEPT, time + _LONGEST_FUTURE))

        await self._store.write(write)

    async def series(self, now: int, latest: int | None) -> Series:
        """Read the samples of the last `latest` seconds, None for all, as densely as their age allows for.

        SQLite thins them out in the store's thread, so that no more than some 1,500 come back. Raises StoreError.
        """
        since = now - (KEPT if latest is None else min(latest, KEPT))

        def read(connection: sqlite3.Connection) -> Series:
            (oldest,) = connection.execute(_OLDEST, (since, now)).fetchone()
            if oldest is None:
                return Series(INTERVAL, ())
            step = spacing(now - oldest)
            bounds = {"step": step, "since": oldest - oldest % step, "until": now}
            rows = connection.execute(_SERIES, bounds).fetchall()
            return Series(step, tuple((row[0], tuple(row[2:])) for row in rows))

        return await self._store.read(read)

    async def clear(self) -> None:
        """Forget all samples. Raises StoreError."""
        await self._store.write(lambda connection: connection.execute(_CLEAR))


def spacing(age: int) -> int:
    """Give the seconds between samples where the oldest is so old."""
    return next((step for limit, step in _STEPS if age <= limit), _COARSEST)
