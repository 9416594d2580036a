"""What of the journal is in memory: payloads up to a bound for all sessions, the rest is read when it is wanted."""

import asyncio
from collections import deque
from collections.abc import Iterable
from logging import getLogger

from ..alarms import JOURNAL_NOT_READABLE, Alarms
from ..pace import Pace
from .contract import JournalStore, Row
from .records import Journaled, Owed, Record
from .rows import content_of

_logger = getLogger(__name__)
_RETRY = 1.0
"""Seconds after which what could not be read is tried again."""
_SORTED_OUT = 4
"""Records that are looked at for each that is kept, to let go those that are settled."""


class Contents:
    """Know which records are in memory, let the oldest go, and read them again."""

    def __init__(
        self, store: JournalStore, most: int, alarms: Alarms, pace: Pace, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`most` are the bytes that may be kept in memory; what is being sent comes on top of it."""
        self.closed = False
        """Whether nothing is read any more."""
        self._store = store
        self._most = most
        self._alarms = alarms
        self._pace = pace
        self._loop = loop
        self._kept: deque[Record] = deque()
        """Written records in the order of their age that may be in memory."""
        self._kept_bytes = 0
        self._gone = 0
        """Those among them that are not in memory any more."""
        self._unreadable: set[int] = set()
        """Sessions that wait for what cannot be read."""
        self._loading: set[asyncio.Task[None]] = set()

    @property
    def loading(self) -> bool:
        """Tell whether anything is being read."""
        return len(self._loading) > 0

    def _keep(self, record: Record) -> None:
        """Count a written record that is in memory, and let the oldest ones go where there are too many."""
        record.kept = True
        self._kept.append(record)
        self._kept_bytes += record.size
        while self._kept_bytes > self._most and self._kept:
            self.let_go(self._kept[0])
            self._sort_out()
        # What is settled lies about in between. Where that is most of it, some is looked at for each that comes.
        for _ in range(_SORTED_OUT if 2 * self._gone > len(self._kept) else 0):
            self._sort_out()

    def let_go(self, record: Record) -> None:
        """Let what is in memory of a record go, if it was kept."""
        if record.kept:
            record.kept, record.content = False, None
            self._kept_bytes -= record.size
            self._gone += 1

    def _sort_out(self) -> None:
        """Look at the oldest; it begins anew if it is still in memory."""
        if self._kept:
            oldest = self._kept.popleft()
            if oldest.kept:
                self._kept.append(oldest)
            else:
                self._gone -= 1

    def load(self, session: Journaled, wanted: list[Owed]) -> None:
        """Read what a session is owed next and is not in memory, and have it go on then."""
        task = self._loop.create_task(self._load(session, wanted))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def _load(self, session: Journaled, wanted: list[Owed]) -> None:
        missing = {owed.record.id: owed.record for owed in wanted if owed.record.content is None and owed.left}
        rows = await self._read(session, missing)
        loaded = [] if rows is None else self._take_in(rows, missing)
        for record in () if rows is None else missing.values():
            if record.owed:
                _logger.error("A message for client %r is not in the store any more", session.client_id)
                record.missing = True
        session.loaded()
        self._pace.met = False
        self.keep(loaded)  # only now: what there is no room for is sent at least as far as the window is open

    async def _read(self, session: Journaled, missing: dict[int, Record]) -> list[Row] | None:
        """Read records as often as it takes; None where nobody waits for them any more."""
        try:
            while not self.closed and session.connected:
                try:
                    return await self._store.load(list(missing)) if missing else []
                except Exception as error:  # the store's business: whatever it is, the messages are waited for
                    self._cannot_read(session, error)
                await asyncio.sleep(_RETRY)
            return None
        finally:
            self._waits_no_more(session)

    def _cannot_read(self, session: Journaled, error: Exception) -> None:
        if not self._unreadable:
            reason = str(error).rstrip(".")
            _logger.error("What sessions are owed cannot be read from the disk: %s; it is tried again", reason)
            self._alarms.activate(
                JOURNAL_NOT_READABLE,
                "Messages of persistent sessions cannot be read from the disk.",
                {"reason": reason},
            )
        self._unreadable.add(session.key)

    def _waits_no_more(self, session: Journaled) -> None:
        if session.key in self._unreadable:
            self._unreadable.discard(session.key)
            if not self._unreadable:
                _logger.warning("Nobody waits any more for what could not be read from the disk")
                self._alarms.deactivate(JOURNAL_NOT_READABLE)

    def load_now(self, wanted: list[Owed]) -> list[Record]:
        """Read at once what is not in memory, blocking the loop; give what was read, which is not kept for long."""
        missing = {owed.record.id: owed.record for owed in wanted if owed.record.content is None}
        if not missing:
            return []
        try:
            rows = self._store.load_now(list(missing))
        except Exception as error:  # the store's business, as above
            _logger.error("What is owed to others of a shared subscription cannot be read: %s", error)
            return []
        return self._take_in(rows, missing)

    @staticmethod
    def _take_in(rows: list[Row], missing: dict[int, Record]) -> list[Record]:
        loaded: list[Record] = []
        for row in rows:
            record = missing.pop(row[0])
            if record.content is None:
                record.content = content_of(row)
                loaded.append(record)
        return loaded

    def keep(self, records: Iterable[Record]) -> None:
        """Count records that are in the store and in memory, as far as anybody is owed them."""
        for record in records:
            if record.owed and record.content is not None and not record.kept:
                self._keep(record)
