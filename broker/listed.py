"""What a session is owed, message by message, for somebody who looks: in pages, without keeping anything of them.

Each message has a place, which grows along the queue, so that a page goes on where the one before it ended whatever
has come and gone since. What the journal knows has one already; the others get theirs when they are first looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import Final, TypeAlias

from .deliveries import Delivery, InFlight, RunPart, Waiting
from .journal.contract import JournalStore
from .journal.records import Owed, OwedPart, Record
from .journal.rows import content_of
from .message import Message
from .message_run import MessageRun
from .session import Session

_SLICE: Final = 500
"""Entries that are looked at before the event loop gets its turn."""
_READ_RECORDS: Final = 64
_READ_BYTES: Final = 1_048_576
"""Records and bytes that are read from the store at a time."""
_PACKET_IDS: Final = 65_535

Content: TypeAlias = Message | MessageRun


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a queue or of those in flight, in memory or not."""

    place: int
    qos: int
    content: Content | Record = field(repr=False)
    index: int
    """Which one it is, of a run."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One message as it is shown."""

    place: int
    topic: str
    qos: int
    """What the client gets it at."""
    sender: str
    published_at: float
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """Some of what a session is owed."""

    first: int | None
    """The place of the oldest of all; None where there is none."""
    entries: Sequence[Entry]


class MessageListings:
    """List what waits for sessions."""

    def __init__(self) -> None:
        self._last = 0

    async def queued(self, session: Session, after: int | None, limit: int) -> Part:
        """List what is queued behind a place, the oldest first; all of it for None."""
        queue = list(session.queue)
        first = self._place(queue[0]) if queue else None
        entries: list[Entry] = []
        for number, waiting in enumerate(queue, 1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            place = self._place(waiting)  # of all before the page, too, so that places grow along the queue
            entry = _queued_entry(place, waiting) if after is None or place > after else None
            if entry is not None:
                entries.append(entry)
                if len(entries) == limit:
                    break
        return Part(first, entries)

    def _place(self, waiting: Waiting) -> int:
        if isinstance(waiting, OwedPart):
            return waiting.owed.position + waiting.offset
        if not isinstance(waiting, Delivery | RunPart):
            raise TypeError(f"{type(waiting).__name__} is nothing that waits")
        try:
            return waiting.number
        except AttributeError:
            # Only the end of a queue has no places yet: what comes is appended.
            self._last = waiting.number = max(self._last + 1, time_ns())
            return self._last

    @staticmethod
    async def in_flight(session: Session, after: int | None, limit: int) -> Part:
        """List what was sent behind a place and is not acknowledged, the oldest first."""
        sent = list(session.in_flight.items())
        is_behind = _behind(after, session)
        first: int | None = None
        entries: list[Entry] = []
        for number, (packet_id, delivery) in enumerate(sent, 1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            entry = _sent_entry(packet_id, delivery)
            if entry is None:
                continue
            if first is None:
                first = entry.place
            if is_behind(entry.place):
                entries.append(entry)
                if len(entries) == limit:
                    break
        return Part(first, entries)


def _queued_entry(place: int, waiting: Waiting) -> Entry | None:
    if isinstance(waiting, OwedPart):
        return _owed_entry(place, waiting.owed, waiting.offset)
    if isinstance(waiting, RunPart):
        return Entry(place, waiting.qos, waiting.run, waiting.index)
    message = waiting.message
    return None if message is None else Entry(place, waiting.qos, message, 0)


def _sent_entry(packet_id: int, delivery: InFlight) -> Entry | None:
    """Describe what was sent; None where only its PUBREL is owed."""
    if isinstance(delivery, Owed):
        offset = delivery.offset(packet_id)
        received = delivery.received >> offset & 1
        return None if received else _owed_entry(delivery.position + offset, delivery, offset)
    message = delivery.message_of(packet_id)
    return None if message is None else Entry(packet_id, delivery.qos, message, 0)


def _owed_entry(place: int, owed: Owed, offset: int) -> Entry:
    record = owed.record
    return Entry(place, owed.qos, record if record.content is None else record.content, owed.first + offset)


def _behind(after: int | None, session: Session) -> Callable[[int], bool]:
    """Tell what was sent behind a place.

    Sessions that are not journaled have packet identifiers for places, which begin anew after the last one: behind is
    what less than half of them lies ahead.
    """
    if after is None:
        return lambda place: True
    if session.journaled:
        return lambda place: place > after
    return lambda place: 0 < (place - after) % _PACKET_IDS <= _PACKET_IDS // 2


async def read(entries: Sequence[Entry], store: JournalStore | None) -> AsyncIterator[Listed]:
    """Give messages with their payloads, those that are in the store alone a few at a time.

    What has been delivered meanwhile and is in the store no more is left out. Raises what the store raises.
    """
    loaded: dict[int, Content] = {}
    gone: set[int] = set()
    for number, entry in enumerate(entries):
        content = entry.content
        if isinstance(content, Record):
            known = content.content or loaded.get(content.id)
            if known is None and store is not None and content.id not in gone:
                rows = await store.load(_next_records(entries, number))
                loaded = {row[0]: content_of(row) for row in rows}
                known = loaded.get(content.id)
            if known is None:
                gone.add(content.id)
                continue
            content = known
        yield _listed(entry, content)


def _next_records(entries: Sequence[Entry], start: int) -> list[int]:
    """Choose what to read at once, from one entry on that is in the store alone."""
    chosen: dict[int, None] = {}
    size = 0
    for entry in entries[start:]:
        record = entry.content
        if not isinstance(record, Record) or record.content is not None or record.id in chosen:
            continue
        size += record.size
        if chosen and (len(chosen) >= _READ_RECORDS or size > _READ_BYTES):
            break
        chosen[record.id] = None
    return list(chosen)


def _listed(entry: Entry, content: Content) -> Listed:
    if isinstance(content, MessageRun):
        # One payload is cut out: the run would keep all of its messages, had they been made.
        data, _, body = content.stored
        length = len(data) // content.count
        payload = data[entry.index * length + body : (entry.index + 1) * length]
    else:
        payload = content.payload
    return Listed(entry.place, content.topic, entry.qos, content.sender, content.published_at, payload)
