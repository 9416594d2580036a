"""The journal: what must outlive the process, written in batches by a thread of the store's.

While one batch is being written, the next one gathers; what is settled before its batch is written is never written.
Who must not be answered before something is written waits for the batch that is gathering. Where a batch cannot be
written, it is merged with what came after it and tried again.
"""

import asyncio
from logging import getLogger

from ..alarms import JOURNAL_NOT_WRITABLE, Alarms
from ..delayed_message import DelayedMessage
from ..deliveries import Group, Subscription
from ..held import Answer
from ..message import Message
from ..message_run import MessageRun
from ..pace import Pace
from ..protocol.reason_codes import ReasonCode
from ..settings import MqttSettings
from .batch import Batch, HeldPublisher, Waiter, merge
from .contents import Contents
from .contract import Changes, JournalStore
from .records import Journaled, Owed, Record

_logger = getLogger(__name__)
_RETRY = 1.0
"""Seconds after which a batch that could not be written is tried again."""
_PATIENCE = 0.004
"""Seconds for which what was sent to a connected client may be acknowledged before it is written; up to twice that."""
_HANGING = 5.0
"""Seconds after which a batch that is being written counts as one that cannot be."""
_LEISURE = 0.1
"""Seconds for which what is settled may wait to be written."""
_ROW = 200
"""Bytes that a row costs that waits to be written."""
_BEAT = 10.0
"""Seconds after which the time is written though nothing else is."""


class Journal:
    """Own the batches."""

    def __init__(
        self,
        store: JournalStore,
        settings: MqttSettings,
        alarms: Alarms,
        pace: Pace,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.store = store
        self.committed = 0
        """The last batch that is written."""
        self.fault: ReasonCode | None = None
        """Why nothing can be written at the moment."""
        self.refused = 0
        """Messages and subscriptions that were not taken because of a fault."""
        self.lost = 0
        """Messages that were owed and that the store had no more."""
        self._alarms = alarms
        self._pace = pace
        self._loop = loop
        self._most_unwritten = settings.max_unwritten_bytes
        self._open = Batch(1)
        self._writing: Batch | None = None
        self._changes: Changes = {}
        """Those that are being written, or could not be."""
        self._unwritten = 0
        """Bytes of messages in the batch that is being written, or could not be."""
        self._failed: list[Waiter] = []
        """Who waits for a batch that could not be written."""
        self._failed_records: list[Record] = []
        self._timer: asyncio.Handle | None = None
        self._soon = False
        """Whether the timer is for this turn of the loop."""
        self._last_write = 0.0
        self._next_record = 1
        self._next_session = 1
        self._last: Record | None = None
        """The record made last: mostly the next one to be owed something is owed the same."""
        self.closed = False
        self.contents = Contents(store, settings.max_queued_memory, alarms, pace, loop)
        self._held: list[HeldPublisher] = []
        self._tick = 0
        self.answer: Answer | None = None
        """What the publisher of the message that is being delivered is to be told; set for as long as that takes."""
        self._last_beat = 0.0
        store.bind(self._committed, self._not_committed)

    # -- sessions

    def begin(self, sessions: int, records: int) -> None:
        """Number sessions and records from here on; for whoever restores what was there before."""
        self._next_session, self._next_record = sessions, records

    def new_key(self) -> int:
        """Give a number that no session had."""
        self._next_session += 1
        return self._next_session - 1

    def touch(self, session: Journaled) -> None:
        """Write a session anew."""
        if not self.closed:
            self._open.sessions[session.key] = session
            self._press()

    def end(self, session: Journaled) -> None:
        """Let nothing of a session stay; what it was owed must have been taken back by `forget`."""
        if not self.closed:
            self._open.ended.add(session.key)
            self._press()

    def subscribed(self, session: Journaled, topic_filter: str, subscription: Subscription | None) -> None:
        """Write a subscription, or that there is none."""
        if not self.closed:
            self._open.subscriptions[session.key, topic_filter] = subscription
            self._press()

    def is_pending(self, session: Journaled, topic_filter: str) -> bool:
        """Tell whether a change of a subscription is not written yet."""
        key = (session.key, topic_filter)
        return key in self._open.subscriptions or key in self._changes.get("subscriptions", ())

    def hold_back(self, session: Journaled, packet_id: int, held: bool) -> None:
        """Write that a QoS 2 message of the client waits for its PUBREL, or does no more."""
        if not self.closed:
            self._open.unreleased[session.key, packet_id] = held
            self._press()

    def retain(self, topic: str, message: Message | None) -> None:
        """Write a retained message, or that there is none."""
        if not self.closed:
            batch = self._open
            before = batch.retained.get(topic)
            if topic in batch.retained:
                batch.size -= 0 if before is None else before.weight
            else:
                unwritten = self._changes.get("retained", {}).get(topic)
                batch.size += _ROW if unwritten is None else -len(unwritten[1])  # which it takes the place of
            batch.size += 0 if message is None else message.weight
            batch.retained[topic] = message
            self._press()

    def delay(self, delayed: DelayedMessage) -> None:
        """Write a message that waits to be published."""
        if not self.closed:
            batch = self._open
            batch.delayed[delayed.number] = delayed
            batch.size += delayed.message.weight + _ROW
            self._press()

    def delay_no_more(self, delayed: DelayedMessage) -> None:
        """Write that a message waits no more; what it owes by now is written with it."""
        if not self.closed:
            batch = self._open
            if batch.delayed.pop(delayed.number, None) is not None:
                batch.size -= delayed.message.weight + _ROW
                return
            unwritten = self._changes.get("delayed", {}).get(delayed.number)
            batch.size += 0 if unwritten is None else -len(unwritten[4])  # which it takes the place of
            batch.delayed[delayed.number] = None
            self._press()

    # -- what sessions are owed

    def record(self, content: Message | MessageRun) -> Record:
        """Give the record of a message or run, new unless it is the one that was asked for last."""
        last = self._last
        if last is not None and last.content is content and last.batch == self._open.number and last.owed:
            return last
        batch = self._open
        count = 1 if isinstance(content, Message) else content.count
        record = Record(
            self._next_record,
            batch.number,
            content,
            content.topic,
            content.sender,
            content.qos,
            count,
            content.weight,
            content.expires_at,
        )
        self._next_record += 1
        self._last = record
        batch.records[record] = None
        batch.size += record.size
        return record

    def owe(
        self,
        session: Journaled,
        content: Message | MessageRun,
        position: int,
        qos: int,
        retain: bool = False,
        identifiers: bytes = b"",
        group: Group | None = None,
    ) -> Owed:
        """Write that a session is owed a message or a whole run from a position on."""
        record = self.record(content)
        return self.owe_of(session, record, 0, record.count, position, qos, retain, identifiers, group)

    def owe_of(
        self,
        session: Journaled,
        record: Record,
        first: int,
        count: int,
        position: int,
        qos: int,
        retain: bool,
        identifiers: bytes,
        group: Group | None,
    ) -> Owed:
        """Write that a session is owed messages of a record, from its `first` on."""
        batch = self._open
        answer = self.answer
        owed = Owed(
            session,
            record,
            batch.number,
            position,
            first,
            count,
            qos,
            retain,
            identifiers,
            group,
            answer,
            self._tick,
        )
        if answer is not None:
            answer.unsettled += 1
        record.owed += 1
        if not self.closed:
            batch.fresh[owed] = None
            if qos == 2 or session.link is None:
                batch.pressing, owed.answer = True, None  # it is written before it can be settled
            if not self._soon:
                self._gather()
        return owed

    def settle(self, owed: Owed, offset: int) -> None:
        """Take note that one message is owed no more."""
        owed.left -= 1
        if not owed.left:
            self.forget(owed)
        else:
            owed.done |= 1 << offset
            self._mark(owed)

    def settle_some(self, owed: Owed, bits: int, count: int) -> None:
        """Do the same with several messages, by their bits."""
        owed.left -= count
        if not owed.left:
            self.forget(owed)
        else:
            owed.done |= bits
            self._mark(owed)

    def receive(self, owed: Owed, bits: int) -> None:
        """Take note that the client has received QoS 2 messages, by their bits."""
        owed.received |= bits
        self._mark(owed)
        self._press()

    def _mark(self, owed: Owed) -> None:
        """Write anew what is owed, unless it is to be written for the first time."""
        batch = self._open
        if owed.batch != batch.number:
            batch.owed[owed] = None
            if self._timer is None:
                self._gather()

    def forget(self, owed: Owed) -> None:
        """Take note that nothing of this is owed any more."""
        batch, record = self._open, owed.record
        owed.left = 0
        if self.closed:
            return
        if owed.batch == batch.number:
            batch.fresh.pop(owed, None)
        else:
            batch.owed.pop(owed, None)
            batch.dropped.add((owed.session.key, owed.position))
        answer, owed.answer = owed.answer, None
        if answer is not None:
            answer.settle()
        record.owed -= 1
        if not record.owed:
            if record.batch == batch.number:
                del batch.records[record]
                batch.size -= record.size
            else:
                batch.dropped_records.add(record.id)
                self.contents.let_go(record)
                if record.batch > self.committed:
                    self._unwritten -= record.size
        if self._timer is None:
            self._gather()

    def drop_record(self, record: Record) -> None:
        """Write that nobody is owed this, which was found so."""
        self._open.dropped_records.add(record.id)
        self._gather()

    # -- who waits

    @property
    def number(self) -> int:
        """The batch that gathers."""
        return self._open.number

    @property
    def strained(self) -> bool:
        """Tell whether nothing can be written for now, or more waits for that than should."""
        return self.fault is not None or self._unwritten + self._open.size > self._most_unwritten

    @property
    def congested(self) -> bool:
        """Tell whether more waits for the disk than should."""
        return self._unwritten + self._open.size > self._most_unwritten

    def wait(self, waiter: Waiter) -> int:
        """Have somebody told when all that is gathered by now is written; give the batch's number."""
        self._open.waiters.append(waiter)
        if not self._soon:
            self._gather()
        return self._open.number

    async def written(self) -> bool:
        """Wait until all that is gathered by now is written; False where that fails for now."""
        if self.closed or (self._open.changes_nothing and self._writing is None and not self._changes):
            return True
        future = _Future(self._loop.create_future())
        self.wait(future)
        while self.fault is None:
            done, _ = await asyncio.wait([future.future], timeout=_RETRY)
            if done:
                return True
        return not future.future.cancel()  # done already, or let go

    def hold(self, publisher: HeldPublisher) -> None:
        """Remember somebody who is not read until less waits for the disk."""
        self._held.append(publisher)

    # -- batches

    def _press(self) -> None:
        self._open.pressing = True
        self._gather()

    def _gather(self) -> None:
        """See that the batch that gathers is written: at once where it must be and somebody waits, else soon."""
        if self._soon or self._writing is not None or self.fault is not None or self.closed:
            return
        if self._open.pressing and self._open.waiters:
            self._write_soon()
        elif self._timer is None:
            self._timer = self._loop.call_later(_PATIENCE, self._look)

    def _write_soon(self) -> None:
        if not self._soon and self.fault is None and not self.closed:
            if self._timer is not None:
                self._timer.cancel()
            self._soon = True
            self._timer = self._loop.call_soon(self._write)

    def _look(self) -> None:
        """Write what has gathered, unless it may well be settled yet without."""
        batch = self._open
        oldest = next(iter(batch.fresh), None)
        patient = oldest is None or oldest.tick == self._tick
        self._tick += 1
        settled = batch.dropped or batch.owed or batch.dropped_records
        overdue = self._loop.time() >= self._last_write + _LEISURE and (settled or batch.changes_nothing)
        if batch.pressing or not patient or overdue:
            self._write()
        else:
            self._timer = self._loop.call_later(_PATIENCE, self._look)

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._soon = None, False
        if self._writing is not None:
            return
        batch = self._open
        quiet = self.fault is None and self._loop.time() < self._last_beat + _BEAT
        if quiet and batch.changes_nothing and not self._changes:
            # Nothing is left of what they wait for. What comes next is of another batch, which this one becomes.
            waiters, batch.waiters, batch.pressing = batch.waiters, [], False
            self.committed, batch.number = batch.number, batch.number + 1
            self._tell(waiters)
            return
        self._last_write = self._loop.time()
        self._writing, self._open = batch, Batch(batch.number + 1)
        self._last = None
        self._last_beat = self._loop.time()
        changes = batch.changes()
        self._changes = merge(self._changes, changes) if self._changes else changes
        self._unwritten += batch.size
        self.store.submit(batch.number, self._changes)

    def _committed(self, number: int) -> None:
        batch = self._writing
        if batch is None or batch.number != number:
            return
        self._writing, self._changes, self._unwritten = None, {}, 0
        self.committed = number
        if self.fault is not None:
            self.fault = None
            _logger.warning("Sessions are written to the disk again")
            self._alarms.deactivate(JOURNAL_NOT_WRITABLE)
        waiters = [*self._failed, *batch.waiters]
        self._failed.clear()
        self.contents.keep(self._failed_records)
        self.contents.keep(batch.records)
        self._failed_records = []
        if self._open.waiters or not self._open.changes_nothing:
            self._gather()
        self._tell(waiters)

    def _tell(self, waiters: list[Waiter]) -> None:
        for waiter in waiters:
            waiter.written(self.committed)
        self._pace.met = False  # what leaves a queue holds nobody
        if self._held and not self.congested:
            held, self._held = self._held, []
            for publisher in held:
                self._loop.call_soon(publisher.go_on_writing)

    def _not_committed(self, number: int, kind: str, text: str) -> None:
        batch = self._writing
        if batch is None or batch.number != number:
            return
        self._writing = None
        self._failed = [each for each in dict.fromkeys([*self._failed, *batch.waiters]) if each.waits]
        self._failed_records = [record for record in (*self._failed_records, *batch.records) if record.owed]
        stalls = self.fault is None
        self._stall(
            ReasonCode.QUOTA_EXCEEDED if kind == "full" else ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, text.rstrip(".")
        )
        if not self.closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._soon = self._loop.call_later(_RETRY, self._write), True
        if stalls:
            self._tell_of_stall([*self._failed, *self._open.waiters])

    def _stall(self, fault: ReasonCode, reason: str) -> None:
        if self.fault is None:
            _logger.error("Sessions cannot be written to the disk: %s; it is tried again", reason)
            self._alarms.activate(
                JOURNAL_NOT_WRITABLE,
                "What must be kept for persistent sessions cannot be written to the disk.",
                {"reason": reason},
            )
        self.fault = fault

    @staticmethod
    def _tell_of_stall(waiters: list[Waiter]) -> None:
        for waiter in waiters:
            waiter.stalled()

    def beat(self) -> None:
        """Write the time, if that was long ago: how long sessions were left alone is reckoned from it.

        A batch that takes very long counts as one that cannot be written, until it is.
        """
        writing = self._writing
        if writing is not None and self.fault is None and self._loop.time() >= self._last_write + _HANGING:
            self._stall(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "the disk does not answer")
            self._tell_of_stall([*writing.waiters, *self._open.waiters])
        if self.fault is None and self._writing is None and self._loop.time() >= self._last_beat + _BEAT:
            self._write()

    def abandon(self) -> None:
        """Take nothing any more, and write nothing: the start that it was for has failed."""
        self.closed = self.contents.closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def close(self, seconds: float) -> None:
        """Write what is left, for as long as this may take, and take nothing any more."""
        if self.closed:
            return
        self._last_beat = 0.0  # so that the time is written at any rate
        future = _Future(self._loop.create_future())
        self._open.pressing = True
        self.wait(future)
        if self.fault is not None and self._writing is None:
            self._write()
        done, _ = await asyncio.wait([future.future], timeout=seconds)
        if not done:
            _logger.error("What was not written to the disk by now is lost")
        self.closed = self.contents.closed = True
        if self._timer is not None:
            self._timer.cancel()


class _Future:
    """Wait for a batch in a coroutine."""

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    @property
    def waits(self) -> bool:
        """Tell whether there is anything to be told for."""
        return not self.future.done()

    def stalled(self) -> None:
        """Wait on."""

    def written(self, committed: int) -> None:
        """End the wait."""
        if not self.future.done():
            self.future.set_result(None)
