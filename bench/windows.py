"""Loads at QoS 1 and 2: a window of messages on their way, acknowledged and compared many at a time."""

import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence

from streams import PAYLOAD_BYTES, RECEIVE_BYTES, STALL_SECONDS, settle
from wire import Format

RING = 2_000
"""Messages until payloads and packet identifiers come again; far more than are on their way."""
WINDOW = 100
PREFIX = b"bench/"
PUBACK, PUBREC, PUBREL, PUBCOMP = 0x40, 0x50, 0x62, 0x70
DUP, RETAIN = 0x08, 0x01
ACKNOWLEDGEMENT_BYTES = 4
LOOK_AHEAD = 64
"""Packets that are looked at for whether they are of one type."""


def runs(data: bytes, sizes: Mapping[int, int]) -> Iterator[tuple[int, bytes]]:
    """Split whole packets of known sizes into runs of one type; RuntimeError for a packet of another type."""
    position = 0
    while position < len(data):
        first = data[position]
        size = sizes.get(first)
        if size is None:
            raise RuntimeError(f"the broker sent a packet that begins with {first:02x}")
        firsts = data[position : position + size * LOOK_AHEAD : size]
        count = min(len(firsts) - len(firsts.lstrip(bytes((first,)))), (len(data) - position) // size)
        if not count:
            return
        yield first, data[position : position + count * size]
        position += count * size


def _cycle(first: int, count: int) -> bytes:
    """Give the acknowledgements of all messages of the ring, and some again."""
    return b"".join(bytes((first, 2)) + (number % RING + 1).to_bytes(2, "big") for number in range(count))


def _answers(first: int, high: bytes, low: bytes) -> bytes:
    answers = bytearray(bytes((first, 2, 0, 0)) * len(high))
    answers[2::4], answers[3::4] = high, low
    return bytes(answers)


def _identifiers(high: bytes, low: bytes) -> bytes:
    together = bytearray(2 * len(high))
    together[0::2], together[1::2] = high, low
    return bytes(together)


class _Publisher:
    """Send numbered messages and take their acknowledgements, which have to come in order."""

    def __init__(self, sock: socket.socket, qos: int, layout: Format) -> None:
        self.sent = self.received = self.acknowledged = 0
        self.altered = False
        self._sock = sock
        self._size = layout.size
        self._ring = memoryview(
            b"".join(layout.packet(0, n % RING, (n % RING + 1).to_bytes(2, "big")) for n in range(RING * 2))
        )
        self._final = PUBACK if qos == 1 else PUBCOMP
        self._expected = {first: _cycle(first, RING * 2) for first in (self._final, PUBREC)}
        self._releases = _cycle(PUBREL, RING * 2)
        self._sizes = {PUBACK: 4} if qos == 1 else {PUBREC: 4, PUBCOMP: 4}
        self.rest = b""

    def send(self, count: int) -> None:
        """Send the next messages; at most as many as the ring has."""
        begin = self.sent % RING * self._size
        self._sock.sendall(self._ring[begin : begin + count * self._size])
        self.sent += count

    def take(self) -> None:
        """Take what has come and answer it."""
        data = self.rest + _received(self._sock)
        taken = 0
        for first, part in runs(data, self._sizes):
            taken += len(part)
            count = len(part) // ACKNOWLEDGEMENT_BYTES
            at = self.acknowledged if first == self._final else self.received
            self.altered |= not self._expected[first].startswith(part, at % RING * 4)
            if first == self._final:
                self.acknowledged += count
            else:
                self._sock.sendall(self._releases[at % RING * 4 : (at % RING + count) * 4])
                self.received += count
        self.rest = data[taken:]


class _Subscriber:
    """Acknowledge whatever comes and compare it with what was sent.

    A packet identifier has to be one that is not in use: no message of the same read has it, of which none has been
    acknowledged yet, and none whose PUBREL is still to come. PUBRELs come in the order of their messages.
    """

    def __init__(self, sock: socket.socket, qos: int, layout: Format) -> None:
        self.received = self.delivered = 0
        self.altered = False
        self._sock = sock
        self._qos = qos
        self._layout = layout
        self._publish = 0x30 | qos << 1
        # What nobody set, DUP or RETAIN, is seen as an alteration, and does not end the row.
        self._sizes = {self._publish | flags: layout.size for flags in (0, DUP, RETAIN, DUP | RETAIN)}
        if qos == 2:
            self._sizes[PUBREL] = ACKNOWLEDGEMENT_BYTES
        self._to_release = b""
        """The identifiers of the messages whose PUBREL is to come, two bytes each, in their order."""
        self._expected = b"".join(layout.packet(0, n % RING, b"\0\0") for n in range(RING * 2))
        self.rest = b""

    def take(self) -> None:
        """Take what has come and answer all of it in one write."""
        data = self.rest + _received(self._sock)
        taken, answers = 0, b""
        for first, part in runs(data, self._sizes):
            taken += len(part)
            answers += self._take_releases(part) if first == PUBREL else self._take_messages(part)
        self.rest = data[taken:]
        if answers:
            self._sock.sendall(answers)
        if self._qos == 1:
            self._to_release = b""  # all are acknowledged, so their identifiers are free

    def _take_messages(self, part: bytes) -> bytes:
        count = len(part) // self._layout.size
        bare, high, low = self._layout.without_ids(part)
        self.altered |= not self._expected.startswith(bare, self.received % RING * self._layout.size)
        self.received += count
        if self._qos == 1:
            self.delivered += count
        self._to_release += _identifiers(high, low)
        in_use = memoryview(self._to_release).cast("H").tolist()
        self.altered |= len(set(in_use)) < len(in_use) or 0 in in_use
        return _answers(PUBACK if self._qos == 1 else PUBREC, high, low)

    def _take_releases(self, part: bytes) -> bytes:
        high, low = part[2::4], part[3::4]
        self.altered |= part[1::4].strip(b"\2") != b"" or not self._to_release.startswith(_identifiers(high, low))
        self._to_release = self._to_release[2 * len(high) :]
        self.delivered += len(high)
        return _answers(PUBCOMP, high, low)


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(RECEIVE_BYTES)
    if not data:
        raise RuntimeError("the broker closed a connection")
    return data


class Window:
    """Keep a window of messages in flight from one publisher to all subscribers; each end is acknowledged and checked.

    A message is out of the window when the publisher has its last acknowledgement, and every subscriber the message.
    """

    def __init__(
        self, publisher: socket.socket, subscribers: Sequence[socket.socket], qos: int, window: int = WINDOW
    ) -> None:
        layout = Format(PREFIX, qos, PAYLOAD_BYTES)
        self._window = window
        self._publisher = _Publisher(publisher, qos, layout)
        self._subscribers = [_Subscriber(sock, qos, layout) for sock in subscribers]
        self._ends: dict[int, _Publisher | _Subscriber] = {publisher.fileno(): self._publisher}
        for sock, subscriber in zip(subscribers, self._subscribers, strict=True):
            self._ends[sock.fileno()] = subscriber
        self._epoll = select.epoll()
        for number in self._ends:
            self._epoll.register(number, select.EPOLLIN)

    @property
    def delivered(self) -> int:
        """Messages so far, each as often as it was delivered."""
        return sum([subscriber.delivered for subscriber in self._subscribers])

    @property
    def lost(self) -> int:
        """Deliveries and last acknowledgements that are missing or too many, each subscriber by itself."""
        sent = self._publisher.sent
        ends = [self._publisher.acknowledged, *(subscriber.delivered for subscriber in self._subscribers)]
        return sum(abs(sent - count) for count in ends) + sum(bool(end.rest) for end in self._ends.values())

    @property
    def altered(self) -> bool:
        """Tell whether a message or an acknowledgement was not the next one."""
        return any(end.altered for end in self._ends.values())

    def settle(self) -> None:
        """Take what comes though all has come."""
        settle(self._epoll, lambda number: self._ends[number].take())

    def check(self) -> None:
        """Do nothing: all is looked at on the way."""

    @property
    def _open(self) -> int:
        done = min([subscriber.delivered for subscriber in self._subscribers])
        return self._publisher.sent - min(self._publisher.acknowledged, done)

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        last = time.monotonic()
        end = last + seconds
        while True:
            now = time.monotonic()
            room = self._window - self._open
            if now < end and room >= self._window // 4:  # in bulk, as in the streams
                self._publisher.send(room)
            if (now >= end and room == self._window) or now - last > STALL_SECONDS:
                return
            for number, _ in self._epoll.poll(0.1):
                self._ends[number].take()
                last = now
