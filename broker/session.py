"""One client's state: subscriptions, messages in flight, queue, expiry, will.

A session outlives its connection. All changes to its queue and its in-flight messages happen here; the connection
that carries it at the moment is reached through `Link`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from time import time

from amqtt.session import Session as AmqttSession

from .access import Identity
from .deliveries import RECEIVED, Delivery, Group, InFlight, Offer, Replay, RunDelivery, RunPart, Subscription, Waiting
from .link import Link
from .message import WEIGHT, Message
from .message_run import MessageRun
from .protocol.errors import ProtocolError
from .protocol.packet_ids import unpack_ids
from .protocol.packets import Will
from .protocol.runs import RUN_BYTES, RUN_MESSAGES
from .settings import MqttSettings
from .traffic import Traffic

_PUBACK, _PUBREC, _PUBCOMP = 4, 5, 7
NO_BOUND = 1 << 62
RUN_LEAST = 2
"""Messages for which it is worth while to be sent as a run."""
_RUN_WEIGHT = RUN_BYTES + RUN_MESSAGES * WEIGHT
"""Bytes; no run weighs more."""
NOTHING: deque[Waiting] = deque(maxlen=0)
_NO_IDS: deque[int] = deque(maxlen=0)
"""What sessions have whose queues were never used: most have none, and an empty deque holds 600 bytes."""


class Session:
    """Hold the state of one client id."""

    journaled = False
    """Whether it outlives the process, so that publishers wait until what it is owed is written."""

    __slots__ = (
        "_absent",
        "_drop_oldest",
        "_last_packet_id",
        "_pace_bytes",
        "_pace_length",
        "_unsent",
        "awaiting_rel",
        "checked_by",
        "claimed",
        "clean_start",
        "connected_at",
        "created_at",
        "decided_by",
        "delayed_will",
        "deliveries_checked",
        "disconnected_at",
        "expiry_interval",
        "identity",
        "in_flight",
        "keep_alive",
        "limited",
        "link",
        "listener",
        "max_awaiting_rel",
        "max_inflight",
        "max_queue",
        "max_queued_bytes",
        "peer_host",
        "peer_port",
        "protocol_name",
        "protocol_version",
        "queue",
        "queued_bytes",
        "replay_scheduled",
        "replays",
        "subscription_bytes",
        "subscriptions",
        "traffic",
        "valid_until",
        "view",
        "will",
        "will_due",
        "will_timer",
    )

    def __init__(self, identity: Identity, settings: MqttSettings, absent: Traffic, traffic: Traffic) -> None:
        """`traffic` belongs to the connection that brings the session, or to the session alone.

        `absent` is shared by all sessions: what happens to one while no connection carries it is counted there.
        """
        self.identity = identity
        self.link: Link | None = None
        self.protocol_version = 4
        self.protocol_name = "MQTT"
        self.keep_alive = 0
        self.clean_start = True
        self.expiry_interval = 0.0
        """Seconds that the session outlives its connection; infinity for ever."""
        self.will: Will | None = None
        self.delayed_will: Will | None = None
        """The will of a connection that was lost, until its delay is over or the session ends."""
        self.will_due: float | None = None
        """Seconds since the epoch at which that is."""
        self.will_timer: asyncio.TimerHandle | None = None
        self.created_at = time()
        self.connected_at = self.created_at
        self.disconnected_at: float | None = None
        self.peer_host = ""
        self.peer_port = 0
        self.listener = ""
        self.subscriptions: dict[str, Subscription] = {}
        self.subscription_bytes = 0
        """What they may cost in memory; the router's to keep."""
        self.decided_by: tuple[object, ...] | None = None
        """The standing of the client by which whatever is remembered of it was decided; None while nobody was asked."""
        self.checked_by: tuple[object, ...] | None = None
        """The same for its subscriptions and what is queued, once all of that has been looked through."""
        self.deliveries_checked = False
        """Whether what it receives is decided on topic by topic; `Rechecks` keeps it right, so that a route to many
        costs no question about each. False until a client has taken the session up, for then all is looked through."""
        self.valid_until: float | None = None
        """Seconds since the epoch at which the live session ends with its credential; `Validity` keeps it."""
        self.in_flight: dict[int, InFlight] = {}
        """Sent and not yet acknowledged, by packet identifier, in the order of sending."""
        self.queue: deque[Waiting] = NOTHING
        self.queued_bytes: int = 0
        """What the messages in the queue hold in memory."""
        self.replays: dict[tuple[str, int], Replay] = {}
        """Retained messages that are being sent, by topic filter and QoS."""
        self.replay_scheduled = False
        self.claimed = True
        """False for a session that the server made and no client has taken up yet."""
        self.awaiting_rel: set[int] = set()
        """Packet identifiers of QoS 2 messages received and not yet released."""
        self.max_inflight = settings.max_inflight
        """Unacknowledged messages towards the client: the lower of the setting and its Receive Maximum."""
        self.max_queue = settings.max_mqueue_len
        self.max_queued_bytes = settings.max_mqueue_bytes
        self.max_awaiting_rel = settings.max_awaiting_rel
        self.limited = False
        """Whether the client bounds packet sizes or takes topic aliases, so that it cannot be relayed to in runs."""
        self.traffic = traffic
        """Counts of the connection; of the last one, and what has been dropped since, while there is none."""
        self._absent = absent
        self.view: AmqttSession | None = None
        """amqtt's session object for foreign plugins, made only while one is loaded that wants it."""
        self._drop_oldest = settings.mqueue_drop == "oldest"
        self._pace_length = settings.max_mqueue_len // 2 or NO_BOUND
        self._pace_bytes = settings.max_mqueue_bytes // 2 or NO_BOUND
        self._unsent: deque[int] = _NO_IDS
        """Packet identifiers in flight that the present connection has not been sent yet."""
        self._last_packet_id = 0

    @property
    def client_id(self) -> str:
        """The client id."""
        return self.identity.client_id

    @property
    def username(self) -> str | None:
        """The user name that the client presented or proved."""
        return self.identity.username

    @property
    def connected(self) -> bool:
        """Tell whether a connection carries the session."""
        return self.link is not None

    @property
    def persistent(self) -> bool:
        """Tell whether the session outlives its connection."""
        return self.expiry_interval > 0

    @property
    def in_flight_count(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self.in_flight)

    @property
    def queue_length(self) -> int:
        """Messages that wait."""
        return len(self.queue)

    @property
    def awaiting_rel_count(self) -> int:
        """QoS 2 messages received and not yet released."""
        return len(self.awaiting_rel)

    @property
    def queue_filling(self) -> bool:
        """Tell whether the queue is more than half full."""
        return len(self.queue) > self._pace_length or self.queued_bytes > self._pace_bytes

    @property
    def room(self) -> int:
        """Messages of QoS 1 and 2 that can be taken at once, before anybody should be held for this session's pace."""
        link = self.link
        if link is None or link.slow:  # neither holds anybody; bounds are kept by the queue
            return NO_BOUND
        window = 0 if self.queue or (link.paused and link.congested) else self.max_inflight - len(self.in_flight)
        if self.queued_bytes > self._pace_bytes - _RUN_WEIGHT:
            return window
        return window + self._pace_length - len(self.queue)

    @property
    def expires_at(self) -> float | None:
        """Seconds since the epoch at which the session ends, None while connected or for ever."""
        if self.disconnected_at is None or self.expiry_interval == float("inf"):
            return None
        return self.disconnected_at + self.expiry_interval

    @property
    def expired(self) -> bool:
        """Tell whether the session has outlived its expiry interval."""
        expires_at = self.expires_at
        return expires_at is not None and expires_at <= time()

    # -- towards the client

    def deliver(
        self, message: Message, qos: int, retain: bool = False, identifiers: bytes = b"", group: Group | None = None
    ) -> None:
        """Send a message, or queue it until the client is there and its window open."""
        link = self.link
        if link is None:
            if qos:  # [MQTT-3.1.2-5]: QoS 0 messages are not kept for the absent, which 4.1 leaves open
                self._enqueue(Delivery(message, qos, retain, identifiers, group))
        elif qos == 0:
            if not link.send_publish(message, 0, retain, 0, False, identifiers):
                link.traffic.dropped_too_large += 1
        # [MQTT-4.6.0-5], [MQTT-4.6.0-6], [MQTT5-4.6.0-6], [MQTT5-4.9.0-2], [MQTT-3.3.4-10], [MQTT-4.9.0-3]
        elif self.queue or len(self.in_flight) >= self.max_inflight or (link.paused and link.congested):
            self._enqueue(Delivery(message, qos, retain, identifiers, group))
        else:
            packet_id = self._last_packet_id + 1
            if packet_id > 65_535 or packet_id in self.in_flight:
                packet_id = self._next_packet_id()
            else:
                self._last_packet_id = packet_id
            if link.send_publish(message, qos, retain, packet_id, False, identifiers):
                # A message at its own QoS is most of what there is, and stands for itself.
                alike = qos == message.qos and retain == message.retain and not identifiers and group is None
                self.in_flight[packet_id] = message if alike else Delivery(message, qos, retain, identifiers, group)
            else:  # [MQTT5-3.1.2-25]: as if it had been delivered
                link.traffic.dropped_too_large += 1

    def deliver_run(self, run: MessageRun, qos: int, identifiers: bytes = b"") -> None:
        """Do as `deliver` does with each message of a run."""
        link = self.link
        if link is None:
            if qos:
                self._enqueue_run(run, 0, qos, identifiers)
        elif self.limited:
            for message in run.messages:
                self.deliver(message, qos, False, identifiers)
        elif not qos:
            link.send_run(run, 0, 0, run.count, 0, identifiers)
        else:
            sent = 0
            if not self.queue and not (link.paused and link.congested):
                sent = self._send_run(link, run, 0, run.count, qos, identifiers)
                while sent < run.count and len(self.in_flight) < self.max_inflight and not self.queue:
                    self.deliver(run.messages[sent], qos, False, identifiers)
                    sent += 1
            if sent < run.count:
                self._enqueue_run(run, sent, qos, identifiers)

    def _send_run(self, link: Link, run: MessageRun, at: int, end: int, qos: int, identifiers: bytes) -> int:
        """Send messages of a run from `at` on, up to `end`, as far as the window is open; give their number.

        None are sent where too few packet identifiers in a row are free.
        """
        in_flight = self.in_flight
        first = self._last_packet_id % 65_535 + 1
        count = min(end - at, self.max_inflight - len(in_flight), 65_536 - first)
        numbers = range(first, first + count)
        if count < RUN_LEAST or not (not in_flight or in_flight.keys().isdisjoint(numbers)):
            return 0
        self._last_packet_id = first + count - 1
        link.send_run(run, qos, at, count, first, identifiers)  # [MQTT5-4.3.2-2], [MQTT5-4.3.3-2]
        in_flight.update(dict.fromkeys(numbers, RunDelivery(run, qos, first - at, identifiers)))
        return count

    def acknowledge(self, packet_type: int, packet_id: int, reason: int = 0) -> None:
        """Take a PUBACK, PUBREC or PUBCOMP of the client; raises `ProtocolError`."""
        link = self.link
        if link is None:
            return
        delivery = self.in_flight.get(packet_id)
        if delivery is not None and packet_type == _PUBACK and delivery.qos == 1:
            del self.in_flight[packet_id]  # [MQTT-4.3.2-1], [MQTT5-4.4.0-2], [MQTT5-4.8.2-6]
            link.traffic.acked += 1
            if self._unsent or self.queue:
                self._go_on(link)
            return
        if delivery is None:
            link.traffic.missed[packet_type] += 1
            if packet_type == _PUBREC and reason < 0x80:
                link.send_pubrel(packet_id, known=False)  # so that the client can complete its handshake
            return
        # The right answer to another message than this one: [MQTT-4.3.2-1], [MQTT-4.3.3-1]
        early = packet_type == _PUBCOMP and delivery.message_of(packet_id) is not None  # [MQTT5-4.3.3-3]
        if delivery.qos != 2 or packet_type == _PUBACK or early:
            raise ProtocolError("an acknowledgement of another kind than the message asks for")
        if packet_type == _PUBREC and reason < 0x80:
            self.in_flight[packet_id] = RECEIVED  # [MQTT5-4.3.3-5], [MQTT5-4.3.3-6]
            link.send_pubrel(packet_id)
            return
        # A PUBREC with an error ends the handshake without PUBREL [MQTT5-4.3.3-4].
        del self.in_flight[packet_id]  # [MQTT5-4.4.0-2]
        link.traffic.acked += 1
        self._go_on(link)

    def acknowledge_all(self, packet_type: int, packet_ids: bytes) -> int:
        """Take PUBACKs, PUBRECs or PUBCOMPs without reasons up to one that is no plain answer; give their number.

        The others are for `acknowledge`.
        """
        link = self.link
        if link is None:
            return 0
        in_flight = self.in_flight
        numbers = unpack_ids(packet_ids)
        if packet_type == _PUBREC:
            if not all([(known := in_flight.get(number)) is not None and known.qos == 2 for number in numbers]):
                return 0
            in_flight.update(dict.fromkeys(numbers, RECEIVED))  # [MQTT5-4.3.3-5], [MQTT5-4.3.3-6]
            link.send_pubrels(packet_ids)
            return len(numbers)
        qos, taken = 1 if packet_type == _PUBACK else 2, 0
        for number in numbers:
            delivery = in_flight.get(number)
            if delivery is None or delivery.qos != qos or (qos == 2 and delivery is not RECEIVED):
                break
            del in_flight[number]  # [MQTT-4.3.2-1], [MQTT5-4.4.0-2], [MQTT5-4.8.2-6]
            taken += 1
        link.traffic.acked += taken
        self._go_on(link)
        return taken

    def _go_on(self, link: Link) -> None:
        """Send what waited for room in the window."""
        if self._unsent:
            self._continue_resending(link)
        if self.queue:
            self.drain()

    def resend(self) -> None:
        """Send again what was in flight when the last connection ended, in the original order."""
        link = self.link
        if link is not None:
            self._unsent = deque(self.in_flight)
            self._continue_resending(link)

    def _continue_resending(self, link: Link) -> None:
        unsent = self._unsent
        # What is sent again counts towards the Receive Maximum of the new connection too [MQTT-4.9.0-2].
        while unsent and len(self.in_flight) - len(unsent) < self.max_inflight:
            packet_id = unsent.popleft()  # [MQTT-4.4.0-1], [MQTT-4.3.3-7]
            delivery = self.in_flight.get(packet_id)
            if delivery is None:
                continue
            message = delivery.message_of(packet_id)
            if message is None:
                link.send_pubrel(packet_id)
            elif not link.send_publish(  # [MQTT-3.3.1-1]
                message, delivery.qos, delivery.retain, packet_id, True, delivery.identifiers
            ):
                link.traffic.dropped_too_large += 1
                del self.in_flight[packet_id]

    def drain(self) -> None:
        """Send queued messages while the window is open."""
        link = self.link
        queue = self.queue
        if link is None or not queue:
            return
        now = time()
        while queue and len(self.in_flight) < self.max_inflight and not (link.paused and link.congested):
            delivery = queue[0]
            if isinstance(delivery, RunPart) and self._drain_run(link, delivery, now):
                continue
            queue.popleft()  # [MQTT-4.6.0-6], [MQTT5-4.6.0-5]
            message = delivery.message
            if message is None:
                continue
            self.queued_bytes -= _weigh(message)
            if message.expired(now):  # [MQTT-3.3.2-5]
                link.traffic.dropped_expired += 1
            else:
                self._send(link, delivery)
        if (link.behind or link.slow) and not self.queue_filling:
            link.catch_up()

    def _drain_run(self, link: Link, first: RunPart, now: float) -> bool:
        """Send what the queue begins with of one run; False where that must be done message by message."""
        queue, run, end = self.queue, first.run, first.index + 1
        if self.limited or (run.expires_at is not None and run.expires_at <= now):
            return False
        room = min(len(queue), self.max_inflight - len(self.in_flight))
        for place in range(1, room):
            following = queue[place]
            if not (isinstance(following, RunPart) and following.run is run and following.index == end):
                break
            end += 1
        sent = self._send_run(link, run, first.index, end, first.qos, first.identifiers)
        for _ in range(sent):
            queue.popleft()
        self.queued_bytes -= sent * run.weight
        return sent > 0

    def _send(self, link: Link, delivery: Waiting) -> None:
        message = delivery.message
        if message is None:
            return
        packet_id = self._next_packet_id()
        # [MQTT5-4.3.2-2], [MQTT5-4.3.3-2]
        if link.send_publish(message, delivery.qos, delivery.retain, packet_id, False, delivery.identifiers):
            self.in_flight[packet_id] = delivery  # [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT5-4.3.2-3], [MQTT5-4.3.3-3]
        else:  # [MQTT-3.1.2-25]: as if it had been delivered
            link.traffic.dropped_too_large += 1

    # -- the queue

    def _enqueue_run(self, run: MessageRun, at: int, qos: int, identifiers: bytes) -> None:
        """Queue the messages of a run from `at` on."""
        count = run.count - at
        queue: deque[Waiting] = deque() if self.queue is NOTHING else self.queue
        size = self.queued_bytes + count * run.weight
        if 0 < self.max_queue < len(queue) + count or 0 < self.max_queued_bytes < size:
            for message in run.messages[at:]:  # some must be dropped
                self._enqueue(Delivery(message, qos, False, identifiers))
            return
        queue.extend([RunPart(run, index, qos, identifiers) for index in range(at, run.count)])
        self.queue = queue
        self.queued_bytes = size
        if self.link is not None and self.queue_filling:
            self.link.fall_behind()

    def _enqueue(self, delivery: Delivery) -> None:
        queue = self.queue
        message = delivery.message
        size = _weigh(message)
        while queue and (0 < self.max_queue <= len(queue) or 0 < self.max_queued_bytes < self.queued_bytes + size):
            self.traffic.dropped_queue_full += 1
            if self.link is None:
                self._absent.dropped_queue_full += 1
            if not self._drop_oldest:
                return
            self.queued_bytes -= _weigh(queue.popleft().message)
        if queue is NOTHING:
            queue = self.queue = deque()
        queue.append(delivery)
        self.queued_bytes += size
        # Another member of a shared subscription is chosen before this one's queue is full: no need to hold anybody.
        alone = delivery.group is None or len(delivery.group.members) == 1
        if alone and self.link is not None and self.queue_filling:
            self.link.fall_behind()

    def keep_queued(self, wanted: Callable[[Waiting], bool]) -> None:
        """Drop the queued messages that are not wanted any more."""
        self._replace_queue([entry for entry in self.queue if wanted(entry)])

    def pass_on_shared(self, take: Callable[[Offer], bool], *, sent_too: bool = True) -> None:
        """Offer others what a shared subscription chose this session for and it has not received, oldest first.

        What is taken is gone from here. A QoS 2 message that was sent once stays: nobody else may get it
        [MQTT-4.8.2-4], [MQTT-4.8.2-5]. `sent_too` says whether QoS 1 messages in flight are offered.
        """
        if sent_too:
            for packet_id, delivery in list(self.in_flight.items()):
                if isinstance(delivery, Delivery) and delivery.qos == 1 and _pass_on(delivery, take):
                    del self.in_flight[packet_id]
        if any(delivery.group is not None for delivery in self.queue):
            self._replace_queue(
                [entry for entry in self.queue if not (isinstance(entry, Delivery) and _pass_on(entry, take))]
            )

    def _replace_queue(self, deliveries: list[Waiting]) -> None:
        self.queue = deque(deliveries)
        self.queued_bytes = sum(entry.weight for entry in deliveries)
        link = self.link
        if link is not None and (link.behind or link.slow) and not self.queue_filling:
            link.catch_up()

    def discard_messages(self) -> None:
        """Drop all that is queued and in flight."""
        self.queue = NOTHING
        self.queued_bytes = 0
        self.replays.clear()
        self.in_flight.clear()
        self._unsent = _NO_IDS
        self.awaiting_rel.clear()

    # -- for sessions that outlive the process

    def hold_back(self, packet_ids: Iterable[int]) -> None:
        """Have it written that QoS 2 messages of the client wait for their PUBRELs, if anything is."""

    def let_go(self, packet_ids: Iterable[int]) -> bool:
        """Have it written that they do no more; True where any was written that they did."""
        return False

    def touch(self) -> None:
        """Have the session itself written, as it is when that happens."""

    def returned(self) -> None:
        """Have it written that the client is back."""

    def left(self) -> None:
        """Note how far the connection came that has just ended."""

    def subscribed(self, topic_filter: str, subscription: Subscription | None) -> None:
        """Have a subscription written, or that there is none."""

    def is_pending(self, topic_filters: Iterable[str]) -> bool:
        """Tell whether a change of any of these subscriptions is not written yet."""
        return False

    def _next_packet_id(self) -> int:
        """Find a free packet identifier; the in-flight window is smaller than their number, so there is one."""
        in_flight = self.in_flight
        packet_id = self._last_packet_id
        while True:
            packet_id = packet_id + 1 if packet_id < 65_535 else 1
            if packet_id not in in_flight:  # [MQTT-2.3.1-4], [MQTT-2.2.1-4], [MQTT5-4.3.2-1], [MQTT5-4.3.3-1]
                self._last_packet_id = packet_id
                return packet_id


def _pass_on(delivery: Delivery, take: Callable[[Offer], bool]) -> bool:
    offer = delivery.offer() if delivery.group is not None else None
    return offer is not None and take(offer)


def _weigh(message: Message | None) -> int:
    """Count what a queued message holds in memory, in bytes, as if no other session shared it."""
    return 0 if message is None else message.weight
