"""Loads at QoS 0: packets sent over and over, and counted and compared by the byte where they come out.

One process does both ends on raw sockets. It makes no packet while it runs and looks at none: it sends slices of one
text, and what arrives has to be the next bytes of that text. So it is faster than any broker.
"""

import random
import select
import socket
import ssl
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from wire import packet, text, user_property

CHUNK_MESSAGES = 2_000
PAYLOAD_BYTES = 64
RECEIVE_BYTES = 262_144
STALL_SECONDS = 5.0
"""A run in which nothing arrives for so long is over; what is missing is lost."""
SETTLE_SECONDS = 0.1
"""So long is waited after the last turn for what should not come any more."""
TOPIC_AT = slice(10, 15)
"""Where the number of the topic is in packets of fewer than 128 bytes."""
_WRITABLE = select.EPOLLOUT | select.EPOLLONESHOT


class Load(Protocol):
    """What one broker is loaded with."""

    @property
    def delivered(self) -> int:
        """Messages so far, each as often as it was delivered."""
        ...

    @property
    def lost(self) -> int:
        """Deliveries and acknowledgements that are missing or too many, each subscriber by itself."""
        ...

    @property
    def altered(self) -> bool:
        """Tell whether something else came than was sent, or in another order."""
        ...

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        ...

    def settle(self) -> None:
        """Take what comes though all has come."""
        ...

    def check(self) -> None:
        """Look at what has come, where that takes too long to be done on the way."""
        ...


# -- what is sent


@dataclass(frozen=True, slots=True)
class Chunk:
    """Packets to be sent over and over."""

    data: bytes
    ends: tuple[int, ...]
    """Where each packet ends."""

    @classmethod
    def of(cls, packets: Sequence[bytes]) -> "Chunk":
        """Join packets."""
        ends, total = [], 0
        for each in packets:
            total += len(each)
            ends.append(total)
        return cls(b"".join(packets), tuple(ends))

    def messages(self, total: int) -> int:
        """Count the whole packets in the first bytes of an endless repetition."""
        rounds, rest = divmod(total, len(self.data))
        return rounds * len(self.ends) + bisect_right(self.ends, rest)

    def floor(self, total: int) -> int:
        """Give the end of the last whole packet in these bytes."""
        rounds, rest = divmod(total, len(self.data))
        whole = bisect_right(self.ends, rest)
        return rounds * len(self.data) + (self.ends[whole - 1] if whole else 0)

    def boundary(self, total: int) -> int:
        """Give the end of the packet that these bytes end in."""
        rounds, rest = divmod(total, len(self.data))
        return rounds * len(self.data) + (self.ends[bisect_left(self.ends, rest)] if rest else 0)


def same_sized(
    topics: int = 1, payload_bytes: int = PAYLOAD_BYTES, messages: int = CHUNK_MESSAGES, first_topic: int = 0
) -> Chunk:
    """Make PUBLISH packets whose payloads all differ, the topics `bench/NNNNN` taking turns."""
    heads = [text(b"bench/%05d" % n) for n in range(first_topic, first_topic + topics)]
    return Chunk.of([packet(0x30, heads[n % topics] + b"%0*d" % (payload_bytes, n)) for n in range(messages)])


def with_user_property(name: bytes, value: Callable[[int], bytes]) -> Chunk:
    """Make MQTT 5 PUBLISH packets, each with a user property whose value for the n-th is `value(n)`."""
    topic = text(b"bench/00000")
    bodies = (topic + user_property(name, value(n)) + b"%0*d" % (PAYLOAD_BYTES, n) for n in range(CHUNK_MESSAGES))
    return Chunk.of([packet(0x30, body) for body in bodies])


def gateway(topics: int = 100, smallest: int = 20, largest: int = 200) -> Chunk:
    """Make PUBLISH packets of a gateway: the topics take turns, and the payloads are of many lengths."""
    lengths = random.Random(1)
    heads = [text(b"bench/%05d" % n) for n in range(topics)]
    sizes = [lengths.randint(smallest, largest) for _ in range(max(CHUNK_MESSAGES, 4 * topics))]
    return Chunk.of([packet(0x30, heads[n % topics] + b"%0*d" % (size, n)) for n, size in enumerate(sizes)])


# -- both ends


class Sender:
    """Send a chunk over and over on one socket, as far as there is room."""

    def __init__(self, sock: socket.socket, chunk: Chunk, epoll: select.epoll) -> None:
        self.sent = 0
        self.chunk = chunk
        self._sock = sock
        self._view = memoryview(chunk.data * 2)
        self._epoll = epoll
        self._limit: int | None = None
        self._blocked = False
        sock.setblocking(False)
        epoll.register(sock.fileno(), 0)

    def start(self) -> None:
        """Send without end."""
        self._limit = None

    def stop(self) -> None:
        """Send no more than the packet that has been begun."""
        self._limit = self.chunk.boundary(self.sent)

    @property
    def stopping(self) -> bool:
        """Tell whether no new packet is begun."""
        return self._limit is not None

    @property
    def finished(self) -> bool:
        """Tell whether all that is to be sent was taken."""
        return self._limit == self.sent

    def resume(self) -> None:
        """Go on after the socket was full."""
        self._blocked = False

    def send(self, room: int) -> None:
        """Send whole packets for so many bytes; when stopping, the rest of the last one."""
        end = self._limit if self._limit is not None else self.chunk.floor(self.sent + room)
        if self._blocked or end <= self.sent:
            return
        begin = self.sent % len(self.chunk.data)
        part = self._view[begin : begin + min(end - self.sent, len(self.chunk.data))]
        try:
            count = self._sock.send(part)
        except (BlockingIOError, ssl.SSLWantWriteError):
            count = 0
        self.sent += count
        if count < len(part):
            self._blocked = True
            self._epoll.modify(self._sock.fileno(), _WRITABLE)


class Receiver:
    """Compare what comes out of one socket with a chunk that is repeated without end."""

    def __init__(self, sock: socket.socket, chunk: Chunk, epoll: select.epoll) -> None:
        self.received = 0
        self.altered = False
        self._sock = sock
        self._ring = chunk.data * 2
        self._length = len(chunk.data)
        self._size = min(RECEIVE_BYTES, self._length)
        sock.setblocking(False)
        epoll.register(sock.fileno(), select.EPOLLIN)

    def take(self) -> None:
        """Take what is there."""
        for data in received(self._sock, self._size):
            self.altered |= not self._ring.startswith(data, self.received % self._length)
            self.received += len(data)


def received(sock: socket.socket, size: int) -> Iterator[bytes]:
    """Read once; with TLS until there is no more, because such a socket has more than the operating system knows of."""
    secure = isinstance(sock, ssl.SSLSocket)
    while True:
        try:
            data = sock.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not data:
            raise RuntimeError("the broker closed a subscriber's connection")
        yield data
        if not secure:
            return


class Source(Protocol):
    """What is sent under one window."""

    @property
    def complete(self) -> bool:
        """Tell whether all that was to be sent has come."""
        ...

    def start(self) -> None:
        """Send without end."""
        ...

    def stop(self) -> None:
        """Finish the packets that have been begun."""
        ...

    def pump(self) -> None:
        """Send as much as there is room for."""
        ...


def drive(
    epoll: select.epoll, sources: Sequence[Source], actions: Mapping[int, Callable[[], bool]], seconds: float
) -> None:
    """Send for so long, and go on until all has come, or nothing comes any more.

    The action of a socket that is ready tells whether something arrived.
    """
    last = time.monotonic()
    end, stopped = last + seconds, False
    for source in sources:
        source.start()
        source.pump()
    while True:
        events = epoll.poll(0.1)
        now = time.monotonic()
        if now >= end and not stopped:
            stopped = True
            for source in sources:
                source.stop()
                source.pump()
        for number, _ in events:
            if actions[number]():
                last = now
        if (stopped and all(source.complete for source in sources)) or now - last > STALL_SECONDS:
            return


def settle(epoll: select.epoll, take: Callable[[int], object]) -> None:
    """Take what still comes, until nothing does for a moment."""
    end = time.monotonic() + STALL_SECONDS
    while time.monotonic() < end and (events := epoll.poll(SETTLE_SECONDS)):
        for number, _ in events:
            take(number)


class Flow:
    """One publisher, and the subscribers that get all that it sends."""

    def __init__(self, sender: Sender, receivers: Sequence[Receiver], window: int) -> None:
        self.sender = sender
        self.receivers = receivers
        self._window = window
        self.start, self.stop = sender.start, sender.stop

    @property
    def complete(self) -> bool:
        """Tell whether all that was to be sent has come."""
        sent = self.sender.sent
        return self.sender.finished and all([receiver.received >= sent for receiver in self.receivers])

    def pump(self) -> None:
        """Send as much as the slowest subscriber has room for.

        Not before a quarter of the window is free: a publisher in bulk does not send packets one by one.
        """
        room = self._window - (self.sender.sent - min([receiver.received for receiver in self.receivers]))
        if self.sender.stopping or room >= self._window // 4:
            self.sender.send(room)

    def writable(self) -> bool:
        """Go on sending."""
        self.sender.resume()
        self.pump()
        return False

    def readable(self, receiver: Receiver) -> bool:
        """Take what one subscriber gets."""
        receiver.take()
        self.pump()
        return True


def difference(chunk: Chunk, sent: int, got: int) -> int:
    """Count the messages by which two numbers of bytes differ; a part of one counts, too."""
    return 0 if sent == got else max(1, abs(chunk.messages(sent) - chunk.messages(got)))


class Stream:
    """Keep publishers ahead of their subscribers by a window of bytes, so that no broker has a reason to drop."""

    def __init__(self, flows: Sequence[tuple[socket.socket, Sequence[socket.socket], Chunk]], window: int) -> None:
        self._epoll = select.epoll()
        self._flows: list[Flow] = []
        self._actions: dict[int, Callable[[], bool]] = {}
        for publisher, subscribers, chunk in flows:
            receivers = [Receiver(sock, chunk, self._epoll) for sock in subscribers]
            flow = Flow(Sender(publisher, chunk, self._epoll), receivers, window)
            self._flows.append(flow)
            self._actions[publisher.fileno()] = flow.writable
            for sock, receiver in zip(subscribers, receivers, strict=True):
                self._actions[sock.fileno()] = partial(flow.readable, receiver)

    @property
    def delivered(self) -> int:
        """Messages so far, each as often as it was delivered."""
        return sum(flow.sender.chunk.messages(each.received) for flow in self._flows for each in flow.receivers)

    @property
    def lost(self) -> int:
        """Deliveries that are missing or too many, each subscriber by itself."""
        return sum(
            difference(flow.sender.chunk, flow.sender.sent, each.received)
            for flow in self._flows
            for each in flow.receivers
        )

    @property
    def altered(self) -> bool:
        """Tell whether a subscriber got other bytes than were sent."""
        return any(receiver.altered for flow in self._flows for receiver in flow.receivers)

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        drive(self._epoll, self._flows, self._actions, seconds)

    def settle(self) -> None:
        """Take what comes though all has come."""
        settle(self._epoll, lambda number: self._actions[number]())

    def check(self) -> None:
        """Do nothing: all is looked at on the way."""


class FanIn:
    """Keep many publishers ahead of the one subscriber that gets all; their packets are of one size."""

    def __init__(
        self, publishers: Sequence[tuple[socket.socket, Chunk]], subscriber: socket.socket, window: int
    ) -> None:
        self.altered = False
        self._epoll = select.epoll()
        self._senders = [Sender(sock, chunk, self._epoll) for sock, chunk in publishers]
        self._size = publishers[0][1].ends[0]
        self._window = window
        self._subscriber = subscriber
        self._received = 0
        self._parts: list[bytes] = []
        self._by_topic = {sender.chunk.data[TOPIC_AT]: sender for sender in self._senders}
        self._checked = dict.fromkeys(self._by_topic, 0)
        self._actions = {
            sock.fileno(): partial(self._writable, sender)
            for (sock, _), sender in zip(publishers, self._senders, strict=True)
        }
        self._actions[subscriber.fileno()] = self._readable
        subscriber.setblocking(False)
        self._epoll.register(subscriber.fileno(), select.EPOLLIN)

    @property
    def _sent(self) -> int:
        return sum([sender.sent for sender in self._senders])

    @property
    def delivered(self) -> int:
        """Messages so far."""
        return self._received // self._size

    @property
    def lost(self) -> int:
        """Messages that are missing or too many as of the last check, each publisher's by themselves."""
        differences = (
            difference(sender.chunk, sender.sent, self._checked[topic]) for topic, sender in self._by_topic.items()
        )
        return sum(differences) + any(self._parts)

    @property
    def complete(self) -> bool:
        """Tell whether all that was to be sent has come."""
        return self._received >= self._sent and all(sender.finished for sender in self._senders)

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        drive(self._epoll, [self], self._actions, seconds)

    def settle(self) -> None:
        """Take what comes though all has come."""
        settle(self._epoll, lambda number: self._actions[number]())

    def start(self) -> None:
        """Send without end."""
        for sender in self._senders:
            sender.start()

    def stop(self) -> None:
        """Finish the packets that have been begun."""
        for sender in self._senders:
            sender.stop()

    def pump(self) -> None:
        """Share what room there is among all, once that is a quarter of the window."""
        room = self._window - (self._sent - self._received)
        if self._senders[0].stopping or room >= self._window // 4:
            for sender in self._senders:
                sender.send(room // len(self._senders))

    def check(self) -> None:
        """Tell the packets of the publishers apart, and compare each one's with what it sent."""
        data = b"".join(self._parts)
        found: dict[bytes, list[bytes]] = {topic: [] for topic in self._by_topic}
        for position in range(0, len(data) - len(data) % self._size, self._size):
            part = data[position : position + self._size]
            found.setdefault(part[TOPIC_AT], []).append(part)
        self.altered |= len(found) > len(self._by_topic)
        for topic, sender in self._by_topic.items():
            self.altered |= not self._continues(topic, sender.chunk.data, b"".join(found[topic]))
        self._parts = [data[len(data) - len(data) % self._size :]]

    def _continues(self, topic: bytes, ring: bytes, data: bytes) -> bool:
        begin = self._checked[topic] % len(ring)
        self._checked[topic] += len(data)
        return (ring * (2 + len(data) // len(ring))).startswith(data, begin)

    def _writable(self, sender: Sender) -> bool:
        sender.resume()
        self.pump()
        return False

    def _readable(self) -> bool:
        for data in received(self._subscriber, RECEIVE_BYTES):
            self._parts.append(data)
            self._received += len(data)
        self.pump()
        return True
