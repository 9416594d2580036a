"""What runs beside the API to see how the broker fares: samples, `$SYS` topics, the watch over the machine, pushes."""

import asyncio
from collections.abc import Coroutine
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....broker.broker import Broker
from ....store.history import HistoryStore
from ....store.history.monitor_samples import MonitorSamples
from ...state import Part
from .certificate_dates import CertificateDates
from .sampling import Sampler

if TYPE_CHECKING:
    from .readings import MachineReadings

_logger = getLogger(__name__)


class Monitoring:
    """Belong to one application: begins when that is started, ends when it is cleaned up."""

    def __init__(self, broker: Broker, history: HistoryStore | None, data_dir: Path | None) -> None:
        """`history` stays the caller's to close; without one, samples are kept in memory."""
        self._broker = broker
        self._given = history
        self._own: HistoryStore | None = None
        self._data_dir = data_dir
        self._samples: MonitorSamples | None = None
        self._sampler: Sampler | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._readings: MachineReadings | None = None
        self.certificates = CertificateDates()

    @property
    def samples(self) -> MonitorSamples:
        """The stored samples."""
        if self._samples is None:
            raise RuntimeError("the application was not started")
        return self._samples

    @property
    def readings(self) -> "MachineReadings":
        """What the machine says, for whoever scrapes."""
        if self._readings is None:
            raise RuntimeError("the application was not started")
        return self._readings

    @property
    def sampler(self) -> Sampler:
        """What takes the samples."""
        if self._sampler is None:
            raise RuntimeError("the application was not started")
        return self._sampler

    async def start(self, node: str, release: str, metrics: tuple[str, ...], *work: Coroutine[Any, Any, None]) -> None:
        """Begin to sample, to speak as `node` and to watch, and run `work` beside."""
        from .readings import MachineReadings

        self._readings = MachineReadings()
        store = self._given
        if store is None:
            store = self._own = await HistoryStore.open(None)
        self._samples = MonitorSamples(store)
        self._sampler = Sampler(self._broker, self._samples)
        self._broker.sys_topics.begin(node, release, metrics, self._broker.started_at)
        self._broker.system_watch.begin(MachineReadings(self._data_dir))
        self._sampling = asyncio.ensure_future(self._sampler.run())
        self._tasks = [asyncio.ensure_future(each) for each in work]

    def take_over(self, sampler: Sampler) -> None:
        """Have the rates of this sampler shown; it is the caller's to run."""
        self._sampler = sampler

    async def stop_sampling(self) -> None:
        """Take no more samples by itself."""
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            await _cancel(sampling)

    async def stop(self) -> None:
        """End all of it."""
        await self.stop_sampling()
        tasks, self._tasks = self._tasks, []
        await _cancel(*tasks)
        self._broker.sys_topics.end()
        await self._broker.system_watch.end()
        if self._own is not None:
            await self._own.close()
            self._own = None


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    """End tasks; what one of them failed with before is in the log."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            _logger.error("What watches over the broker has failed", exc_info=outcome)


MONITORING: Part[Monitoring] = Part(lambda state: Monitoring(state.broker, state.history, state.data_dir))
"""What sees how the broker fares, while the application runs."""
