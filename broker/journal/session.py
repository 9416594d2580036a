"""A session that outlives its connection, and the process: whatever changes in what it is owed is journaled."""

from collections import deque
from collections.abc import Callable, Iterable
from time import time
from typing import TYPE_CHECKING

from ..access import Identity
from ..deliveries import Group, Offer, Subscription, Waiting
from ..link import Link
from ..message import Message
from ..message_run import MessageRun
from ..protocol.errors import ProtocolError
from ..protocol.packet_ids import unpack_ids
from ..session import NO_BOUND, NOTHING, RUN_LEAST, Session
from ..settings import MqttSettings
from ..traffic import Traffic
from .contract import Row
from .records import PACKET_IDS, Owed, OwedPart, Record
from .rows import session_row

if TYPE_CHECKING:
    from .journal import Journal

_PUBACK, _PUBREC, _PUBCOMP = 4, 5, 7
_AT_ONCE = 500
"""Messages that are read from the store at a time."""
_AT_ONCE_BYTES = 4_194_304
_WINDOWS = 8
"""So many times the window at most: more may have to give way to others before it is sent."""


class JournaledSession(Session):
    """Hold the state of one client id, and have it written.

    A QoS 2 message is sent, and its PUBREL too, only once it is written that it is: a client that is sent it again
    after a crash must be able to tell. At QoS 1 the client may get it twice, so nothing waits.
    """

    journaled = True

    __slots__ = ("_loading", "_returned_in", "_waited_for", "journal", "key", "position", "sent_until", "unreleased")

    def __init__(
        self,
        identity: Identity,
        settings: MqttSettings,
        absent: Traffic,
        traffic: Traffic,
        journal: "Journal",
        key: int,
    ) -> None:
        """`key` is the session's number in the journal; the rest is the session's own."""
        super().__init__(identity, settings, absent, traffic)
        self.journal = journal
        self.key = key
        self.position = 0
        """Where the next message stands that the client is owed."""
        self.sent_until = 0
        """The position up to which the last connection was sent what the client is owed; good while there is none."""
        self.unreleased: set[int] = set()
        """The packet identifiers among `awaiting_rel` that are written."""
        self._loading = False
        """Whether what comes next is being read from the store."""
        self._returned_in = 0
        """The batch that says that the client is back, until it is written."""
        self._waited_for = 0
        """The last batch that this is told of."""

    @property
    def room(self) -> int:
        """Messages that can be taken at once; the window does not count, for all may have to wait to be written."""
        if self.link is None or self.link.slow:
            return NO_BOUND
        return min(super().room, self._pace_length - len(self.queue))

    # -- towards the client

    def deliver(
        self, message: Message, qos: int, retain: bool = False, identifiers: bytes = b"", group: Group | None = None
    ) -> None:
        """Send a message, or queue it until the client is there and its window open."""
        if not qos:
            super().deliver(message, qos, retain, identifiers, group)
            return
        if self.queue and not self._make_room(1, message.weight):
            return
        owed = self.journal.owe(self, message, self.position, qos, retain, identifiers, group)
        self.position += 1
        link = self.link
        if link is None or qos == 2 or self._must_queue or not self._may_send(link, owed, 0):
            self._enqueue_owed(owed, 0)
        else:
            self._send_one(link, owed, 0, message)

    def deliver_run(self, run: MessageRun, qos: int, identifiers: bytes = b"") -> None:
        """Do as `deliver` does with each message of a run."""
        if not qos:
            super().deliver_run(run, qos, identifiers)
            return
        if self._drop_oldest and 0 < run.count <= (self.max_queue or run.count):
            self._make_room(run.count, run.count * run.weight)
        if self.limited or not self._has_room(run.count, run.count * run.weight):
            for message in run.messages:
                self.deliver(message, qos, False, identifiers)
            return
        owed = self.journal.owe(self, run, self.position, qos, False, identifiers)
        self.position += run.count
        link, sent = self.link, 0
        ready = qos == 1 and not self._must_queue
        if link is not None and ready and not (link.paused and link.congested):
            sent = self._send_owed(link, owed, 0, run.count, run)
            while sent < run.count and self._may_send(link, owed, sent):
                self._send_one(link, owed, sent, run.messages[sent])
                sent += 1
        if sent < run.count:
            self._enqueue_owed(owed, sent)

    @property
    def _must_queue(self) -> bool:
        """Tell whether there is anything to be sent before, or nothing may be sent yet."""
        return len(self.queue) > 0 or len(self._unsent) > 0 or self._returned_in > 0

    def _may_send(self, link: Link, owed: Owed, offset: int) -> bool:
        """Tell whether the window is open, the socket takes something and the packet identifier is free."""
        in_flight = self.in_flight
        return (
            len(in_flight) < self.max_inflight
            and not (link.paused and link.congested)
            and owed.packet_id(offset) not in in_flight
        )

    def _send_one(self, link: Link, owed: Owed, offset: int, message: Message) -> None:
        packet_id = owed.packet_id(offset)
        # [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT5-4.3.2-2], [MQTT5-4.3.3-2]
        if link.send_publish(message, owed.qos, owed.retain, packet_id, offset < owed.maybe_sent, owed.identifiers):
            self.in_flight[packet_id] = owed
        else:  # [MQTT-3.1.2-25]: as if it had been delivered
            link.traffic.dropped_too_large += 1
            self.journal.settle(owed, offset)

    def _send_owed(self, link: Link, owed: Owed, at: int, end: int, run: MessageRun) -> int:
        """Send what is owed of a run from `at` on, up to `end`, as far as the window is open; give the number."""
        in_flight = self.in_flight
        first = owed.packet_id(at)
        count = min(end - at, self.max_inflight - len(in_flight), PACKET_IDS + 1 - first)
        numbers = range(first, first + count)
        if count < RUN_LEAST or at < owed.maybe_sent or not (not in_flight or in_flight.keys().isdisjoint(numbers)):
            return 0
        link.send_run(run, owed.qos, owed.first + at, count, first, owed.identifiers)
        in_flight.update(dict.fromkeys(numbers, owed))
        return count

    def acknowledge(self, packet_type: int, packet_id: int, reason: int = 0) -> None:
        """Take a PUBACK, PUBREC or PUBCOMP of the client; raises `ProtocolError`."""
        link = self.link
        if link is None:
            return
        owed = self.in_flight.get(packet_id)
        if not isinstance(owed, Owed):
            link.traffic.missed[packet_type] += 1
            if packet_type == _PUBREC and reason < 0x80:
                link.send_pubrel(packet_id, known=False)  # so that the client can complete its handshake
            return
        offset = owed.offset(packet_id)
        received = owed.received >> offset & 1
        # The right answer to another message than this one: [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT5-4.3.3-3]
        if (packet_type == _PUBACK) != (owed.qos == 1) or (packet_type == _PUBCOMP and not received):
            raise ProtocolError("an acknowledgement of another kind than the message asks for")
        if packet_type == _PUBREC and reason < 0x80:
            if not received:
                self.journal.receive(owed, 1 << offset)  # [MQTT5-4.3.3-5], [MQTT5-4.3.3-6]
            link.release_when_written(self.journal, packet_id.to_bytes(2, "big"))
            return
        # A PUBREC with an error ends the handshake without PUBREL [MQTT5-4.3.3-4].
        del self.in_flight[packet_id]  # [MQTT-4.3.2-1], [MQTT5-4.4.0-2], [MQTT5-4.8.2-6]
        self.journal.settle(owed, offset)
        link.traffic.acked += 1
        self._go_on(link)

    def acknowledge_all(self, packet_type: int, packet_ids: bytes) -> int:
        """Take PUBACKs, PUBRECs or PUBCOMPs without reasons up to one that is no plain answer; give their number.

        The others are for `acknowledge`.
        """
        link = self.link
        if link is None:
            return 0
        in_flight, journal = self.in_flight, self.journal
        wanted = 1 if packet_type == _PUBACK else 2
        taken = bits = found = position = 0
        last: Owed | None = None
        for number in unpack_ids(packet_ids):
            owed = in_flight.get(number)
            if owed is not last:
                if not isinstance(owed, Owed) or owed.qos != wanted:
                    break
                if last is not None and found:
                    if found == last.left and packet_type != _PUBREC:
                        journal.forget(last)
                    else:
                        self._answered(last, packet_type, bits, found)
                last, bits, found, position = owed, 0, 0, owed.position + 1
            if last is None:
                break
            bit = 1 << (number - position) % PACKET_IDS
            if packet_type == _PUBACK or (packet_type == _PUBCOMP and last.received & bit):
                del in_flight[number]  # [MQTT-4.3.2-1], [MQTT5-4.4.0-2], [MQTT5-4.8.2-6]
            elif packet_type == _PUBCOMP or (last.received | bits) & bit:
                break
            bits |= bit
            found += 1
            taken += 1
        if last is not None and found:
            self._answered(last, packet_type, bits, found)
        if packet_type == _PUBREC:
            if taken:
                link.release_when_written(journal, packet_ids[: 2 * taken])
            return taken
        link.traffic.acked += taken
        self._go_on(link)
        return taken

    def _answered(self, owed: Owed, packet_type: int, bits: int, count: int) -> None:
        if packet_type == _PUBREC:
            self.journal.receive(owed, bits)  # [MQTT5-4.3.3-5], [MQTT5-4.3.3-6]
        else:
            self.journal.settle_some(owed, bits, count)

    def _continue_resending(self, link: Link) -> None:
        unsent = self._unsent
        if self._returned_in:
            return
        # What is sent again counts towards the Receive Maximum of the new connection too [MQTT-4.9.0-2].
        while unsent and len(self.in_flight) - len(unsent) < self.max_inflight:
            packet_id = unsent[0]  # [MQTT-4.4.0-1], [MQTT-4.3.3-7]
            owed = self.in_flight.get(packet_id)
            if not isinstance(owed, Owed):
                unsent.popleft()
                continue
            offset = owed.offset(packet_id)
            if owed.received >> offset & 1:
                link.release_when_written(self.journal, packet_id.to_bytes(2, "big"))
            elif owed.qos == 2 and owed.batch > self.journal.committed:
                self._wait_for_batch()
                return
            else:
                message = owed.message(offset)
                if message is None and not owed.record.missing:
                    self._load_in_flight()
                    return
                if message is None or not link.send_publish(  # [MQTT-3.3.1-1]
                    message, owed.qos, owed.retain, packet_id, True, owed.identifiers
                ):
                    self._give_up(link, owed, offset, message)
                    del self.in_flight[packet_id]
            unsent.popleft()

    def _give_up(self, link: Link, owed: Owed, offset: int, message: Message | None) -> None:
        if message is None:
            self.journal.lost += 1
        else:
            link.traffic.dropped_too_large += 1
        self.journal.settle(owed, offset)

    def drain(self) -> None:
        """Send queued messages while the window is open, and they are in memory and may be sent."""
        link, queue = self.link, self.queue
        if link is None or not queue or self._unsent or self._returned_in:
            return
        now = time()
        while queue and isinstance(part := queue[0], OwedPart):
            owed = part.owed
            if owed.record.expired(now):  # [MQTT-3.3.2-5]
                link.traffic.dropped_expired += 1
                self._drop_first()
                continue
            if not self._may_send(link, owed, part.offset):
                break
            if owed.qos == 2 and owed.batch > self.journal.committed:
                self._wait_for_batch()
                break
            content = owed.record.content
            if content is None and not owed.record.missing:
                self._load_queue()
                break
            if isinstance(content, MessageRun) and not self.limited and self._drain_owed(link, part, content):
                continue
            message = owed.message(part.offset)
            queue.popleft()  # [MQTT-4.6.0-6], [MQTT5-4.6.0-5]
            self.queued_bytes -= part.weight
            if message is None:
                self._give_up(link, owed, part.offset, None)
            else:
                self._send_one(link, owed, part.offset, message)
        if (link.behind or link.slow) and not self.queue_filling:
            link.catch_up()

    def _drain_owed(self, link: Link, first: OwedPart, run: MessageRun) -> bool:
        """Send what the queue begins with of one run; False where that must be done message by message."""
        queue, owed, end = self.queue, first.owed, first.offset + 1
        for place in range(1, min(len(queue), self.max_inflight - len(self.in_flight))):
            following = queue[place]
            if not (isinstance(following, OwedPart) and following.owed is owed and following.offset == end):
                break
            end += 1
        sent = self._send_owed(link, owed, first.offset, end, run)
        for _ in range(sent):
            queue.popleft()
        self.queued_bytes -= sent * first.weight
        return sent > 0

    # -- what has to be waited for

    def _wait_for_batch(self) -> None:
        """Go on once what comes next is written."""
        if self._waited_for < self.journal.number:
            self._waited_for = self.journal.wait(self)

    def returned(self) -> None:
        """Send nothing before it is written that the client is back: what it is sent, it may have been sent then."""
        self.journal.touch(self)
        if self.journal.fault is None:
            self._returned_in = self._waited_for = self.journal.wait(self)

    def written(self, committed: int) -> None:
        """Go on: what was waited for is written."""
        if committed >= self._returned_in:
            self._returned_in = 0
        self._continue()

    @property
    def waits(self) -> bool:
        """Tell whether there is anybody to go on for."""
        return self.link is not None

    def stalled(self) -> None:
        """Go on without: the client is not to suffer from the disk."""
        self._returned_in = 0
        self._continue()

    def _load_in_flight(self) -> None:
        wanted: list[Owed] = []
        for packet_id in list(self._unsent)[:_AT_ONCE]:
            owed = self.in_flight.get(packet_id)
            if isinstance(owed, Owed) and (not wanted or wanted[-1] is not owed):
                wanted.append(owed)
        self._load(wanted)

    def _load_queue(self) -> None:
        wanted: list[Owed] = []
        size, most = 0, min(_AT_ONCE, _WINDOWS * self.max_inflight)
        for entry in self.queue:
            if not isinstance(entry, OwedPart) or (wanted and wanted[-1] is entry.owed):
                continue
            wanted.append(entry.owed)
            size += entry.owed.record.size
            if len(wanted) >= most or size >= _AT_ONCE_BYTES:
                break
        self._load(wanted)

    def _load(self, wanted: list[Owed]) -> None:
        if not self._loading:
            self._loading = True
            self.journal.contents.load(self, wanted)

    def loaded(self) -> None:
        """Go on: what was to be read from the store is there."""
        self._loading = False
        self._continue()

    def _continue(self) -> None:
        link = self.link
        if link is not None:
            self._go_on(link)

    # -- the queue

    def _has_room(self, count: int, size: int) -> bool:
        if 0 < self.max_queue < len(self.queue) + count:
            return False
        return not 0 < self.max_queued_bytes < self.queued_bytes + size

    def _make_room(self, count: int, size: int) -> bool:
        """Drop what the queue has no room for, as the settings say; False where it is the new message."""
        while self.queue and not self._has_room(count, size):
            self.traffic.dropped_queue_full += 1
            if self.link is None:
                self._absent.dropped_queue_full += 1
            if not self._drop_oldest:
                return False
            self._drop_first()
        return True

    def _drop_first(self) -> None:
        part = self.queue.popleft()
        if isinstance(part, OwedPart):
            self.queued_bytes -= part.weight
            self.journal.settle(part.owed, part.offset)

    def _enqueue_owed(self, owed: Owed, at: int) -> None:
        """Queue what is owed from one place on."""
        queue: deque[Waiting] = deque() if self.queue is NOTHING else self.queue
        self.queue = queue
        queue.extend([OwedPart(owed, offset) for offset in range(at, owed.count)])
        self.queued_bytes += owed.record.weight * (owed.count - at)
        if owed.qos == 2 and self.link is not None:
            self._wait_for_batch()
        # Another member of a shared subscription is chosen before this one's queue is full: no need to hold anybody.
        alone = owed.group is None or len(owed.group.members) == 1
        if alone and self.link is not None and self.queue_filling:
            self.link.fall_behind()

    def keep_queued(self, wanted: Callable[[Waiting], bool]) -> None:
        """Drop the queued messages that are not wanted any more."""
        kept = [entry for entry in self.queue if wanted(entry)]
        staying = set(map(id, kept))
        for entry in self.queue:
            if isinstance(entry, OwedPart) and id(entry) not in staying:
                entry.owed.answer = None  # its publisher waits until that is written
                self.journal.settle(entry.owed, entry.offset)
        self._replace_queue(kept)

    def pass_on_shared(self, take: Callable[[Offer], bool], *, sent_too: bool = True) -> None:
        """Offer others what a shared subscription chose this session for and it has not received, oldest first."""
        sent = [
            (packet_id, owed)
            for packet_id, owed in (self.in_flight.items() if sent_too else ())
            if isinstance(owed, Owed) and owed.group is not None and owed.qos == 1
        ]
        read = self._read_for_others([owed for _, owed in sent])
        for packet_id, owed in sent:
            if self._pass_on(owed, owed.offset(packet_id), take):
                del self.in_flight[packet_id]
        gone: set[int] = set()
        for entry in self.queue:
            # What may have been sent at QoS 2 stays: nobody else may get it [MQTT-4.8.2-4].
            if isinstance(entry, OwedPart) and entry.group is not None:
                sent_before = entry.offset < entry.owed.maybe_sent
                if not (entry.qos == 2 and sent_before) and self._pass_on(entry.owed, entry.offset, take):
                    gone.add(id(entry))
        if gone:
            self._replace_queue([entry for entry in self.queue if id(entry) not in gone])
        for record in read:
            record.content = None  # what is left is read again when it is sent

    def _read_for_others(self, sent: list[Owed]) -> list[Record]:
        """Read at once what members may get that have no part in the journal; the others need it in no memory."""
        queued = [entry.owed for entry in self.queue if isinstance(entry, OwedPart)]
        wanted = [
            owed
            for owed in sent + queued
            if owed.group is not None
            and owed.record.content is None
            and not all(member.journaled for member in owed.group.members)
        ]
        return self.journal.contents.load_now(wanted) if wanted else []

    def _pass_on(self, owed: Owed, offset: int, take: Callable[[Offer], bool]) -> bool:
        if not take(OwedOffer(owed, offset)):
            return False
        owed.answer = None  # its publisher waits for the batch: the other one may lose it yet
        self.journal.settle(owed, offset)
        return True

    def adopt(
        self, record: Record, index: int, qos: int, retain: bool, identifiers: bytes, group: Group | None
    ) -> None:
        """Take a message that is in the journal already, wherever it is."""
        if self.queue and not self._make_room(1, record.weight):
            return
        owed = self.journal.owe_of(self, record, index, 1, self.position, qos, retain, identifiers, group)
        self.position += 1
        link, message = self.link, owed.message(0)
        if link is None or message is None or qos == 2 or self._must_queue or not self._may_send(link, owed, 0):
            self._enqueue_owed(owed, 0)
            self.drain()  # which has it read, if it is the next one
        else:
            self._send_one(link, owed, 0, message)

    def discard_messages(self) -> None:
        """Drop all that is queued and in flight, and the session from the journal: it is over."""
        sent = [owed for owed in self.in_flight.values() if isinstance(owed, Owed)]
        waiting = [part.owed for part in self.queue if isinstance(part, OwedPart)]
        for owed in dict.fromkeys(sent + waiting):
            owed.answer = None  # its publisher waits until it is written that the session is over
            self.journal.forget(owed)
        super().discard_messages()
        self.unreleased.clear()
        self.journal.end(self)

    # -- what the client sends

    def hold_back(self, packet_ids: Iterable[int]) -> None:
        """Have it written that QoS 2 messages of the client wait for their PUBRELs."""
        for packet_id in packet_ids:
            self.unreleased.add(packet_id)
            self.journal.hold_back(self, packet_id, held=True)

    def let_go(self, packet_ids: Iterable[int]) -> bool:
        """Have it written that they do no more; True where any was written that they did."""
        known = self.unreleased.intersection(packet_ids)
        for packet_id in known:
            self.unreleased.discard(packet_id)
            self.journal.hold_back(self, packet_id, held=False)
        return bool(known)

    def subscribed(self, topic_filter: str, subscription: Subscription | None) -> None:
        """Have a subscription written, or that there is none."""
        self.journal.subscribed(self, topic_filter, subscription)

    def is_pending(self, topic_filters: Iterable[str]) -> bool:
        """Tell whether a change of any of these subscriptions is not written yet."""
        return any(self.journal.is_pending(self, topic_filter) for topic_filter in topic_filters)

    def row(self) -> Row:
        """Give its row as it is now."""
        return session_row(self, self.key, self.sent_until)

    def touch(self) -> None:
        """Have the session itself written, as it is when that happens."""
        self.journal.touch(self)

    def left(self) -> None:
        """Note how far the connection came that has just ended."""
        self._returned_in = self._waited_for = 0  # nobody waits; whoever comes next begins anew
        first = self.queue[0] if self.queue else None
        # The queue is sent in the order of positions, and nothing passes it.
        sent = first.owed.position + first.offset if isinstance(first, OwedPart) else self.position
        # What another process may have sent is not known any better by now.
        known = isinstance(first, OwedPart) and first.offset < first.owed.maybe_sent
        self.sent_until = max(sent, self.sent_until) if known else sent
        self.touch()


class OwedOffer(Offer):
    """Offer a message as the journal has it, in memory or not."""

    __slots__ = ("_offset", "_owed")

    def __init__(self, owed: Owed, offset: int) -> None:
        record = owed.record
        super().__init__(owed.message(offset), record.topic, record.sender, record.qos, owed.retain, owed.group)
        self._owed = owed
        self._offset = offset

    def give(self, other: Session, qos: int, identifiers: bytes, group: Group) -> bool:
        """Let another session have it; False where it cannot be read."""
        owed = self._owed
        if qos and isinstance(other, JournaledSession):
            other.adopt(owed.record, owed.first + self._offset, qos, self.retain, identifiers, group)
            return True
        return super().give(other, qos, identifiers, group)
