"""The subscriptions to which delivery takes longest: one row for each client and topic, the slowest few of them.

A message of QoS 1 or 2 is delivered when its client has acknowledged it to the end (PUBACK, PUBCOMP). One of QoS 0 is
delivered when it is handed to the socket, which happens in the turn of the loop in which it came: it is never slow.
While it is off, nothing is measured and no connection watched.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Literal, TypeAlias

from .deliveries import RunDelivery, RunPart
from .engine import Engine
from .outgoing import Outgoing
from .protocol.packet_ids import unpack_ids
from .protocol.variable_integer import decode_varint
from .session import Session
from .session_watch import SessionWatch

StatsType: TypeAlias = Literal["whole", "internal", "response"]

_PUBACK, _PUBREC, _PUBCOMP = 4, 5, 7
_MAX_HALF_WAY = 100_000
"""QoS 2 messages received and not completed that are kept in mind; of others the time to the PUBREC counts."""
_SLICE = 500
"""Sessions that are looked at in one turn of the loop."""

Key: TypeAlias = tuple[str, str]
Begun: TypeAlias = tuple[str, float]
"""A topic, and when the time began that is measured."""


@dataclass(frozen=True, slots=True)
class SlowSettings:
    """What is measured, and which of it is kept; times are in seconds."""

    enable: bool = False
    threshold: float = 0.5
    expire_interval: float = 300.0
    top_k_num: int = 10
    stats_type: StatsType = "whole"
    """`whole`: from the publish to the acknowledgement; `internal`: from the publish to the socket; `response`: from
    the socket to the acknowledgement."""


@dataclass(slots=True)
class SlowRow:
    """A subscription that was slow."""

    client_id: str
    topic: str
    timespan: float
    """Seconds."""
    last_update_time: float
    """Seconds since the epoch."""


class SlowSubscriptions(SessionWatch):
    """Measure deliveries and keep the slowest."""

    def __init__(self, engine: Engine) -> None:
        self.settings = SlowSettings()
        self._engine = engine
        self._rows: dict[Key, SlowRow] = {}
        self._half_way: dict[str, dict[int, Begun]] = {}
        """QoS 2 messages that were received and not completed, by client id and packet identifier."""
        self._half_way_count = 0
        self._watches: dict[Outgoing, _SendTimes] = {}
        """How long ago the messages in flight were sent, where that matters."""

    def configure(self, settings: SlowSettings) -> None:
        """Measure by other settings from now on; off, or by another measure, begins with nothing."""
        before, self.settings = self.settings, settings
        if not settings.enable or settings.stats_type != before.stats_type:
            self._let_go()
        if settings.enable and self._engine.delivery_watch is None:
            self._engine.delivery_watch = self
            self._engine.session_watches.append(self)
        elif not settings.enable and self._engine.delivery_watch is self:
            self._engine.delivery_watch = None
            self._engine.session_watches.remove(self)
        if settings.enable and settings.stats_type != "whole":
            self._engine.spawn(self._time_all())
        self._shrink()

    def clear(self) -> None:
        """Forget what was slow."""
        self._rows.clear()

    def rows(self) -> list[SlowRow]:
        """List what was slow, the slowest first."""
        self._expire(time())
        return sorted(self._rows.values(), key=lambda row: (-row.timespan, row.client_id, row.topic))

    def _let_go(self) -> None:
        self._rows.clear()
        self._half_way.clear()
        self._half_way_count = 0
        for out, watch in list(self._watches.items()):
            out.unwatch_packets(watch)
        self._watches.clear()

    # -- what is measured

    def acknowledged(self, session: Session, packet_type: int, packet_ids: bytes) -> None:
        """Measure messages that a client acknowledges; the session has them still."""
        now = time()
        stats_type = self.settings.stats_type
        if stats_type == "internal":
            return
        watch = None
        if stats_type == "response":
            link = session.link
            watch = self._watches.get(link) if isinstance(link, Outgoing) else None
            if watch is None:
                return
        for packet_id in unpack_ids(packet_ids):
            if packet_type == _PUBCOMP:
                begun = self._take_half_way(session.client_id, packet_id)
            else:
                begun = begun_of(session, packet_id)
                if begun is not None and watch is not None:
                    sent = watch.sent_at.pop(packet_id, None)
                    begun = None if sent is None else (begun[0], sent)
                if begun is not None and packet_type == _PUBREC and self._put_half_way(session, packet_id, begun):
                    continue
            if begun is not None:
                self.measured(session.client_id, begun[0], now - begun[1], now)

    def _put_half_way(self, session: Session, packet_id: int, begun: Begun) -> bool:
        delivery = session.in_flight.get(packet_id)
        if delivery is None or delivery.qos != 2 or self._half_way_count >= _MAX_HALF_WAY:
            return False
        known = self._half_way.setdefault(session.client_id, {})
        self._half_way_count += packet_id not in known
        known[packet_id] = begun
        return True

    def _take_half_way(self, client_id: str, packet_id: int) -> Begun | None:
        known = self._half_way.get(client_id)
        begun = None if known is None else known.pop(packet_id, None)
        if begun is not None:
            self._half_way_count -= 1
            if not known:
                del self._half_way[client_id]
        return begun

    def measured(self, client_id: str, topic: str, timespan: float, now: float) -> None:
        """Take what a delivery took into the table, if it is among the slowest."""
        settings = self.settings
        if timespan < settings.threshold:
            return
        key = client_id, topic
        row = self._rows.get(key)
        if row is not None:
            row.timespan, row.last_update_time = timespan, now
            return
        if len(self._rows) >= settings.top_k_num:
            self._expire(now)
        if len(self._rows) >= settings.top_k_num:
            quickest = self._quickest()
            if self._rows[quickest].timespan >= timespan:
                return
            del self._rows[quickest]
        self._rows[key] = SlowRow(client_id, topic, timespan, now)

    def _quickest(self) -> Key:
        return min(self._rows, key=lambda key: self._rows[key].timespan)

    def _shrink(self) -> None:
        while len(self._rows) > self.settings.top_k_num:
            del self._rows[self._quickest()]

    def _expire(self, now: float) -> None:
        oldest = now - self.settings.expire_interval
        for key in [key for key, row in self._rows.items() if row.last_update_time < oldest]:
            del self._rows[key]

    # -- SessionWatch

    def connected(self, session: Session) -> None:
        if self.settings.stats_type != "whole":
            self._time(session)

    def session_ended(self, session: Session) -> None:
        known = self._half_way.pop(session.client_id, None)
        self._half_way_count -= 0 if known is None else len(known)

    async def _time_all(self) -> None:
        for number, session in enumerate(list(self._engine.registry), 1):
            if not self.settings.enable or self.settings.stats_type == "whole":
                return
            self._time(session)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def _time(self, session: Session) -> None:
        link = session.link
        if not isinstance(link, Outgoing) or link in self._watches:
            return
        internal = self.settings.stats_type == "internal"
        watch = _SendTimes(session, self.measured if internal else None, lambda: self._watches.pop(link, None))
        self._watches[link] = watch
        link.watch_packets(watch)


class _SendTimes:
    """Keep in mind when the messages in flight towards one client were sent, or measure them then."""

    __slots__ = ("_ended", "_measured", "_session", "sent_at")

    reads = False

    def __init__(
        self,
        session: Session,
        measured: Callable[[str, str, float, float], None] | None,
        ended: Callable[[], object],
    ) -> None:
        self.sent_at: dict[int, float] = {}
        """By packet identifier; so there are never more than 65,535."""
        self._session = session
        self._measured = measured
        self._ended = ended

    def received(self, packet: bytes) -> None:
        """Is not asked."""

    def sent(self, data: bytes) -> None:
        now = time()
        for packet_id, duplicate in sent_messages(data):
            if self._measured is None:
                if not (duplicate and packet_id in self.sent_at):
                    self.sent_at[packet_id] = now
            elif not duplicate:
                begun = begun_of(self._session, packet_id)
                if begun is not None:
                    self._measured(self._session.client_id, begun[0], now - begun[1], now)

    def ended(self) -> None:
        self._ended()


def begun_of(session: Session, packet_id: int) -> Begun | None:
    """Tell which topic a message in flight is of and when it was published.

    None for what is not in flight, and for what is older than the session: retained messages are no slower for it.
    """
    delivery = session.in_flight.get(packet_id)
    if delivery is None:
        return None
    if isinstance(delivery, RunDelivery | RunPart):
        topic, published_at = delivery.run.topic, delivery.run.published_at
    else:
        message = delivery.message_of(packet_id)
        if message is None:
            return None
        topic, published_at = message.topic, message.published_at
    return None if published_at <= session.created_at else (topic, published_at)


def sent_messages(data: bytes) -> list[tuple[int, bool]]:
    """Find the packet identifiers of the QoS 1 and 2 messages among whole packets, and which are sent again."""
    found: list[tuple[int, bool]] = []
    start = 0
    while start + 1 < len(data):
        first = data[start]
        length, body = decode_varint(data, start + 1)
        if first >> 4 == 3 and first & 0x06:
            at = body + 2 + int.from_bytes(data[body : body + 2], "big")
            found.append((int.from_bytes(data[at : at + 2], "big"), bool(first & 0x08)))
        start = body + length
    return found
