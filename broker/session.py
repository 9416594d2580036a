"""One client's state: subscriptions, messages in flight, queue, expiry, will.

A session outlives its connection. All changes to its queue and its in-flight messages happen here; the connection
that carries it at the moment is reached through `Link`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import time
from typing import Protocol

from amqtt.session import Session as AmqttSession

from .access import Identity
from .message import Message
from .protocol.packets import Will
from .protocol.reason_codes import ReasonCode
from .settings import MqttSettings
from .traffic import Traffic

_PUBREC, _PUBREL = 5, 6


class Link(Protocol):
    """The connection that a session is carried by."""

    traffic: Traffic

    @property
    def congested(self) -> bool:
        """Tell whether the peer reads too slowly for more."""
        ...

    def relay(self, chunk: bytes, count: int) -> None:
        """Send `count` encoded QoS 0 packets, or drop and count them."""
        ...

    def send_publish(self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool) -> None:
        """Send one message."""
        ...

    def send_pubrel(self, packet_id: int) -> None:
        """Release a QoS 2 message."""
        ...

    def close(self, reason: ReasonCode) -> None:
        """End the connection after what is waiting has been sent; no will is held back by this."""
        ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """The options of one subscription; all but `qos` are MQTT 5's."""

    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int | None = None


class Delivery:
    """One message owed to a session at a QoS."""

    __slots__ = ("message", "qos", "retain")

    def __init__(self, message: Message | None, qos: int, retain: bool) -> None:
        self.message = message
        """None once a QoS 2 message has been received and only its PUBREL is owed."""
        self.qos = qos
        self.retain = retain


class Replay:
    """Retained messages on their way to a new subscriber, at the subscription's QoS."""

    __slots__ = ("messages", "qos")

    def __init__(self, messages: Iterator[Message], qos: int) -> None:
        self.messages = messages
        self.qos = qos


class Session:
    """Hold the state of one client id."""

    def __init__(self, identity: Identity, settings: MqttSettings, absent: Traffic) -> None:
        """`absent` is shared by all sessions: what happens to one while no connection carries it is counted there."""
        self.identity = identity
        self.link: Link | None = None
        self.protocol_version = 4
        self.protocol_name = "MQTT"
        self.keep_alive = 0
        self.clean_start = True
        self.expiry_interval = 0.0
        """Seconds that the session outlives its connection; infinity for ever."""
        self.will: Will | None = None
        self.created_at = time()
        self.connected_at = self.created_at
        self.disconnected_at: float | None = None
        self.peer_host = ""
        self.peer_port = 0
        self.listener = ""
        self.subscriptions: dict[str, Subscription] = {}
        self.in_flight: dict[int, Delivery] = {}
        """Sent and not yet acknowledged, by packet identifier, in the order of sending."""
        self.queue: deque[Delivery] = deque()
        self.replays: dict[str, Replay] = {}
        """Retained messages that are being sent, by topic filter."""
        self.replay_scheduled = False
        self.claimed = True
        """False for a session that the server made and no client has taken up yet."""
        self.awaiting_rel: set[bytes] = set()
        """Packet identifiers of QoS 2 messages received and not yet released."""
        self.max_inflight = settings.max_inflight
        self.max_queue = settings.max_mqueue_len
        self.max_awaiting_rel = settings.max_awaiting_rel
        self.traffic = Traffic()
        """Counts of the connection; of the last one, and what has been dropped since, while there is none."""
        self._absent = absent
        self.view: AmqttSession | None = None
        """amqtt's session object for foreign plugins, made only while one is loaded that wants it."""
        self._last_packet_id = 0

    @property
    def client_id(self) -> str:
        """The client id."""
        return self.identity.client_id

    @property
    def username(self) -> str | None:
        """The user name that the client presented."""
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

    def deliver(self, message: Message, qos: int, retain: bool = False) -> None:
        """Send a message, or queue it until the client is there and its window open."""
        link = self.link
        if link is None:
            if qos:  # QoS 0 messages are not kept for the absent, [MQTT-3.1.2-5] leaves the choice
                self._enqueue(Delivery(message, qos, retain))
        elif qos == 0:
            link.send_publish(message, 0, retain, 0, False)
        elif self.queue or len(self.in_flight) >= self.max_inflight or link.congested:
            self._enqueue(Delivery(message, qos, retain))
        else:
            self._send(link, Delivery(message, qos, retain))

    def acknowledge(self, packet_type: int, packet_id: int) -> None:
        """Take a PUBACK, PUBREC or PUBCOMP of the client."""
        link = self.link
        delivery = self.in_flight.get(packet_id)
        if link is None:
            return
        if packet_type == _PUBREC:
            if delivery is None:
                link.traffic.missed[_PUBREC] += 1
            elif delivery.qos == 2:
                delivery.message = None
            link.send_pubrel(packet_id)  # also for an unknown id: the client can complete its handshake
            return
        if delivery is None or delivery.qos != (1 if packet_type == 4 else 2):
            link.traffic.missed[packet_type] += 1
            return
        del self.in_flight[packet_id]
        link.traffic.acked += 1
        if self.queue:
            self.drain()

    def resend(self) -> None:
        """Send again what was in flight when the last connection ended, in the original order."""
        link = self.link
        if link is None:
            return
        for packet_id, delivery in self.in_flight.items():  # [MQTT-4.4.0-1], [MQTT-4.6.0-1]
            if delivery.message is None:
                link.send_pubrel(packet_id)
            else:
                link.send_publish(delivery.message, delivery.qos, delivery.retain, packet_id, True)  # [MQTT-3.3.1-1]

    def drain(self) -> None:
        """Send queued messages while the window is open."""
        link = self.link
        queue = self.queue
        while queue and link is not None and len(self.in_flight) < self.max_inflight and not link.congested:
            self._send(link, queue.popleft())

    def keep_queued(self, wanted: Callable[[Message, int], bool]) -> None:
        """Drop the queued messages that are not wanted any more."""
        kept = [entry for entry in self.queue if entry.message is not None and wanted(entry.message, entry.qos)]
        self.queue = deque(kept)

    def discard_messages(self) -> None:
        """Drop all that is queued and in flight."""
        self.queue.clear()
        self.replays.clear()
        self.in_flight.clear()
        self.awaiting_rel.clear()

    def _send(self, link: Link, delivery: Delivery) -> None:
        message = delivery.message
        if message is None:
            return
        packet_id = self._next_packet_id()
        self.in_flight[packet_id] = delivery
        link.send_publish(message, delivery.qos, delivery.retain, packet_id, False)

    def _enqueue(self, delivery: Delivery) -> None:
        queue = self.queue
        if self.max_queue and len(queue) >= self.max_queue:
            queue.popleft()
            self.traffic.dropped_queue_full += 1
            if self.link is None:
                self._absent.dropped_queue_full += 1
        queue.append(delivery)

    def _next_packet_id(self) -> int:
        """Find a free packet identifier; the in-flight window is smaller than their number, so there is one."""
        in_flight = self.in_flight
        packet_id = self._last_packet_id
        while True:
            packet_id = packet_id + 1 if packet_id < 65_535 else 1
            if packet_id not in in_flight:  # [MQTT-2.3.1-4]
                self._last_packet_id = packet_id
                return packet_id
