"""The start: everything that was written is in memory again before the first client is let in.

Payloads of what sessions are owed stay in the store until somebody is sent them.
"""

import asyncio
import gc
from collections import deque
from collections.abc import Callable
from logging import getLogger
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from ..access import Identity
from ..access_control import AccessControl
from ..amqtt_session import view_of
from ..delayed import Delayed
from ..deliveries import Group, Subscription
from ..message import WEIGHT, Message
from ..protocol.packets import Will
from ..registry import SessionRegistry
from ..retention import Retention
from ..router import Router
from ..routing.topics import InvalidTopic, check_filter, check_name, split_share
from ..session import NOTHING
from ..settings import MqttSettings
from ..traffic import Traffic
from ..wills import Wills
from .contract import JournalStore, Row
from .records import PACKET_IDS, Owed, OwedPart, Record
from .rows import delayed_of, unpack_bits
from .session import JournaledSession

if TYPE_CHECKING:
    from ..session import Session
    from .journal import Journal

_logger = getLogger(__name__)
_PROGRESS = 2.0
"""Seconds between two lines on the log."""


_MOST_QOS = 2
_MOST_MESSAGES = 65_535
"""Messages in one record; a run is shorter."""


class Restored(Protocol):
    """What is restored into."""

    settings: MqttSettings
    access: AccessControl
    registry: SessionRegistry
    router: Router
    retention: Retention
    delayed: Delayed
    wills: Wills
    absent: Traffic

    def schedule_expiry(self, session: "Session") -> None:
        """See that a stored session ends when its time is over."""
        ...

    def end_session(self, session: "Session") -> None:
        """Forget a session."""
        ...


class Restoring:
    """Restore one broker's state, once."""

    def __init__(self, engine: Restored, journal: "Journal") -> None:
        self._engine = engine
        self._journal = journal
        self._store: JournalStore = journal.store
        self._now = time()
        self._sessions: dict[int, JournaledSession] = {}
        self._records: dict[int, Record] = {}
        self._texts: dict[str, str] = {}
        """Each topic and sender once, however many messages have it."""
        self._owed: dict[JournaledSession, list[Owed]] = {}
        self._crashed: set[JournaledSession] = set()
        """Those that were connected when the broker was last seen."""
        self._alive_at = self._now
        self._began = self._said = monotonic()
        self._rows = 0
        self._ignored = 0
        """Rows that make no sense."""

    async def restore(self) -> None:
        """Read all tables; raises what the store raises."""
        collecting = gc.isenabled()
        gc.disable()  # all of it stays: looking through it again and again takes longer than reading it
        try:
            await self._restore()
        finally:
            if collecting:
                gc.enable()

    async def _restore(self) -> None:
        await self._read("state", self._take_state)
        await self._read("retained", self._take_retained)
        await self._read("delayed", self._take_delayed)
        await self._read("sessions", self._take_session)
        await self._read("subscriptions", self._take_subscription)
        await self._read("messages", self._take_message)
        await self._read("deliveries", self._take_delivery)
        await self._read("unreleased", self._take_unreleased)
        self._journal.begin(max(self._sessions, default=0) + 1, max(self._records, default=0) + 1)
        queued = 0
        for number, session in enumerate(list(self._sessions.values())):
            queued += self._place(session)
            if number % 1_000 == 0:
                await asyncio.sleep(0)
        for record in self._records.values():
            if not record.owed:
                self._journal.drop_record(record)
        self._end_expired()
        if self._ignored:
            _logger.warning("%d rows of sessions make no sense and were left out; see wardenmq doctor", self._ignored)
        _logger.info(
            "Restored %d sessions, %d messages for them and %d retained messages in %.1f s",
            len(self._engine.registry),
            queued,
            len(self._engine.retention.messages),
            monotonic() - self._began,
        )

    async def _read(self, table: str, take: Callable[[Row], None]) -> None:
        async for rows in self._store.scan(table):
            for row in rows:
                take(row)
            self._rows += len(rows)
            if monotonic() >= self._said + _PROGRESS:
                self._said = monotonic()
                _logger.info("Restoring sessions: %d records read, %s", self._rows, table)
            await asyncio.sleep(0)

    def _take_state(self, row: Row) -> None:
        name, value = row
        if name == "alive_at":
            self._alive_at = min(float(value), self._now)

    def _take_retained(self, row: Row) -> None:
        topic, payload, qos, sender, properties, expires_at, published_at = row
        published_at = published_at or self._now  # of a release that did not note it
        message = Message(topic, payload, qos, True, sender, None, properties, expires_at, b"", published_at)
        if message.expired(self._now) or not self._engine.retention.policy.journaled:
            self._journal.retain(topic, None)
        else:
            self._engine.retention.restore(message)

    def _take_delayed(self, row: Row) -> None:
        delayed, topic = delayed_of(row), row[3]
        if not _is_name(topic) or not 0 <= delayed.message.qos <= _MOST_QOS:
            self._ignored += 1
        elif self._engine.delayed.enabled:
            self._engine.delayed.restore(delayed)
        else:
            self._journal.delay_no_more(delayed)

    def _take_session(self, row: Row) -> None:
        (
            key, client_id, username, principal, certificate_name, peer_host, peer_port, listener, protocol_name,
            protocol_version, keep_alive, clean_start, claimed, confined, superuser, expiry_interval, created_at,
            connected_at, disconnected_at, window, sent_until, *will, will_due, rights,
        ) = row  # fmt: skip
        engine = self._engine
        identity = Identity(
            client_id, username, principal, peer_host, listener, bool(superuser), bool(confined), certificate_name
        )
        if rights is not None:
            identity.rights = engine.access.read_rights(rights)
        session = JournaledSession(identity, engine.settings, engine.absent, Traffic(), self._journal, key)
        session.protocol_name, session.protocol_version = protocol_name, protocol_version
        session.keep_alive, session.clean_start = keep_alive, bool(clean_start)
        session.claimed = bool(claimed)
        session.expiry_interval = inf if expiry_interval is None else expiry_interval
        session.created_at, session.connected_at = created_at, connected_at
        session.peer_host, session.peer_port, session.listener = peer_host, peer_port, listener
        session.disconnected_at = disconnected_at
        session.max_inflight, session.sent_until = window, sent_until
        if disconnected_at is None:
            self._crashed.add(session)
            session.disconnected_at = self._alive_at
        if will[0] is not None:
            topic, payload, qos, retain, properties, message_expiry, delay = will
            session.delayed_will = Will(topic, payload, qos, bool(retain), delay, message_expiry, properties)
            session.will_due = will_due
        self._sessions[key] = session
        engine.access.renew(identity)
        engine.registry.add(session)
        if engine.access.needs_view:
            view_of(session)

    def _take_subscription(self, row: Row) -> None:
        key, topic_filter, qos, no_local, retain_as_published, retain_handling, identifier, asked = row
        session = self._sessions.get(key)
        if session is None or not _is_filter(topic_filter) or not 0 <= qos <= _MOST_QOS:
            self._ignored += 1
        else:
            subscription = Subscription(
                qos, bool(no_local), bool(retain_as_published), retain_handling, identifier, asked
            )
            self._engine.router.subscribe(session, topic_filter, subscription)

    def _take_message(self, row: Row) -> None:
        number, topic, sender, qos, _, properties, expires_at, count, body, _, length = row
        if not 0 < count <= _MOST_MESSAGES or length % count or body < 0:
            self._ignored += 1
            return
        topic, sender = self._texts.setdefault(topic, topic), self._texts.setdefault(sender, sender)
        weight = length // count - body + len(properties) + len(topic.encode()) + WEIGHT
        self._records[number] = Record(number, 0, None, topic, sender, qos, count, weight, expires_at)

    def _take_delivery(self, row: Row) -> None:
        key, position, message_id, first, count, qos, retain, identifiers, share, done, received = row
        session, record = self._sessions.get(key), self._records.get(message_id)
        sound = record is not None and 0 <= first < first + count <= record.count and 1 <= qos <= _MOST_QOS
        if session is None or record is None or not sound or position < 0:
            self._ignored += 1
            return
        group: Group | None = self._engine.router.group(share) if share else None
        owed = Owed(session, record, 0, position, first, count, qos, bool(retain), identifiers, group)
        owed.done, owed.received = unpack_bits(done), unpack_bits(received)
        owed.done &= (1 << count) - 1
        owed.left = count - owed.done.bit_count()
        if owed.left <= 0:
            self._ignored += 1
            return
        record.owed += 1
        self._owed.setdefault(session, []).append(owed)

    def _take_unreleased(self, row: Row) -> None:
        key, packet_id = row
        session = self._sessions.get(key)
        if session is None or not 0 < packet_id <= PACKET_IDS:
            self._ignored += 1
        else:
            session.awaiting_rel.add(packet_id)
            session.unreleased.add(packet_id)

    def _place(self, session: JournaledSession) -> int:
        """Put what a session is owed among what was sent and what waits; give the number of messages."""
        owed = self._owed.pop(session, ())
        crashed, window = session in self._crashed, session.max_inflight
        queue: deque[OwedPart] = deque()
        for each in owed:
            each.maybe_sent = each.count if crashed else max(0, min(each.count, session.sent_until - each.position))
            for offset in range(each.count):
                if each.done >> offset & 1:
                    continue
                packet_id = each.packet_id(offset)
                # What was sent is known where the connection ended before the broker did. Else any of it may have
                # been: acknowledgements that were not written yet had opened the window for it.
                may_be_sent = (
                    len(session.in_flight) < window if crashed else each.position + offset < session.sent_until
                )
                if each.received >> offset & 1 or (may_be_sent and not queue and packet_id not in session.in_flight):
                    session.in_flight[packet_id] = each
                else:
                    queue.append(OwedPart(each, offset))
                    session.queued_bytes += each.record.weight
            session.position = each.position + each.count
        session.position = max(session.position, session.sent_until)
        if crashed:
            session.sent_until = session.position  # should this process be killed, too
            session.touch()
        session.queue = deque(queue) if queue else NOTHING
        return len(queue) + len(session.in_flight)

    def _end_expired(self) -> None:
        """End the sessions whose time is over, lay the wills of those that were lost with the broker."""
        engine = self._engine
        for session in self._sessions.values():
            # [MQTT5-4.1.0-2]; a principal may have been deleted, and the sessions with it, while nobody was told
            if session.expired or not session.persistent or not engine.access.exists(session.identity):
                engine.end_session(session)
                continue
            engine.schedule_expiry(session)
            if session.delayed_will is not None:
                engine.wills.resume(session)


def _is_filter(text: str) -> bool:
    try:
        check_filter(split_share(text)[1])
    except InvalidTopic:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except InvalidTopic:
        return False
    return True
