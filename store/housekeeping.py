"""What the store does by itself from time to time."""

import asyncio
from contextlib import suppress
from logging import getLogger

from .audit import Audit
from .bans import Bans
from .errors import StoreError

_INTERVAL = 60.0

_logger = getLogger(__name__)


class Housekeeping:
    """Sweep bans that have ended out of the database, and old entries out of the audit log."""

    def __init__(self, bans: Bans, audit: Audit, *, retention_days: float, max_entries: int) -> None:
        self._bans = bans
        self._audit = audit
        self._retention_days = retention_days
        self._max_entries = max_entries
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def start(self) -> None:
        """Begin; the first round is at once."""
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """End after the round under way: a query that is cut off keeps the database from being closed properly."""
        self._closing.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._closing.is_set():
            (failure,) = await asyncio.gather(self._tidy(), return_exceptions=True)
            if isinstance(failure, StoreError):
                _logger.warning("the store could not be tidied up: %s", failure.message)
            elif failure is not None:
                # One bad round must not be the last one: bans and audit entries would pile up, and nobody would know.
                _logger.error("the store could not be tidied up", exc_info=failure)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _INTERVAL)

    async def _tidy(self) -> None:
        await self._bans.sweep()
        await self._audit.purge(self._retention_days, self._max_entries)
