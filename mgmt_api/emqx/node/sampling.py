"""The sampler: it writes down every ten seconds, at multiples of ten, how busy the broker is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from logging import getLogger
from time import monotonic, time

from ....broker.broker import Broker
from ....store.errors import StoreError
from ....store.history.monitor_samples import COUNTS, INTERVAL, MonitorSamples
from ...encoding import SLICE

_logger = getLogger(__name__)

_METRICS = {
    "received": "messages.received",
    "sent": "messages.sent",
    "dropped": "messages.dropped",
    "persisted": "messages.persisted",
    "validation_succeeded": "messages.validation_succeeded",
    "validation_failed": "messages.validation_failed",
    "transformation_succeeded": "messages.transformation_succeeded",
    "transformation_failed": "messages.transformation_failed",
}
"""What is counted, by its name among the samples."""


class Sampler:
    """Sample one broker for as long as `run` runs."""

    def __init__(
        self,
        broker: Broker,
        samples: MonitorSamples,
        *,
        clock: Callable[[], float] = time,
        steady_clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._broker = broker
        self._samples = samples
        self._clock = clock
        self._steady_clock = steady_clock
        self._sleep = sleep
        self._written: Mapping[str, int] = dict.fromkeys(COUNTS, 0)
        """The counters as of the last sample that was stored."""
        self._counted: Mapping[str, int] = self._written
        self._counted_at = steady_clock()
        self._rates: Mapping[str, int] = self._written
        self._durable_subscriptions = 0
        self._failing = False

    @property
    def rates(self) -> Mapping[str, int]:
        """Events per second over the last interval, rounded, under the names of `COUNTS`."""
        return self._rates

    @property
    def durable_subscriptions(self) -> int:
        """Subscriptions of sessions that outlive the process, as of the last sample: to count them takes a while."""
        return self._durable_subscriptions

    async def run(self) -> None:
        """Take a sample at each multiple of the interval, until cancelled."""
        while True:
            now = self._clock()
            await self._sleep(INTERVAL - now % INTERVAL)
            # woken a moment too early or late, or with the clock set meanwhile: the multiple that is nearest
            await self.take(round(self._clock() / INTERVAL) * INTERVAL)

    async def take(self, at: int) -> None:
        """Take the sample of a time, in seconds since the epoch; what cannot be stored is added to the next one."""
        metrics = await self._broker.gather_metrics()
        counted = {name: metrics.get(key, 0) for name, key in _METRICS.items()}
        now = self._steady_clock()
        elapsed, self._counted_at = max(1.0, now - self._counted_at), now
        self._rates = {name: int((counted[name] - self._counted[name]) / elapsed + 0.5) for name in COUNTS}
        self._counted = counted
        self._durable_subscriptions = await self._count_durable_subscriptions()
        deltas = {name: max(0, counted[name] - self._written[name]) for name in COUNTS}
        try:
            await self._samples.add(at, {**self.gauges(), **deltas})
        except StoreError as error:
            if not self._failing:
                _logger.error("Samples of how busy the broker is are not stored: %s", error)
            self._failing = True
            return
        self._failing = False
        self._written = counted

    def gauges(self) -> dict[str, int]:
        """Give the sizes of now."""
        stats, broker = self._broker.stats(), self._broker
        registry = broker.registry
        return {
            "connections": stats["connections.count"],
            "live_connections": stats["live_connections.count"],
            "topics": stats["topics.count"],
            "subscriptions": stats["subscriptions.count"],
            "subscriptions_durable": self._durable_subscriptions,
            "disconnected_durable_sessions": len(registry) - registry.connected_count if broker.durable else 0,
        }

    async def _count_durable_subscriptions(self) -> int:
        if not self._broker.durable:
            return 0
        found = 0
        for number, session in enumerate(list(self._broker.registry), 1):
            if session.journaled:
                found += len(session.subscriptions)
            if number % (10 * SLICE) == 0:
                await asyncio.sleep(0)
        return found
