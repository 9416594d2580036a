"""Loads for sessions that outlive their connections: messages in a ring, a window of them on their way, a drain after.

Everything that a subscriber gets is compared with what was sent, and has to be the next message; every acknowledgement
has to come, in the order of the messages.
"""

import random
import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence

from brokers import START_SECONDS, Endpoint
from clients import receive
from streams import RECEIVE_BYTES, SETTLE_SECONDS, STALL_SECONDS
from windows import PUBACK, PUBCOMP, PUBREC, PUBREL, runs
from wire import DISCONNECT, packet, text

RING = 4_000
"""Messages until payloads and packet identifiers come again: more than are on their way, or kept by a bounded queue."""
PAYLOAD_BYTES = 100
NUMBER_DIGITS = 12
TOPIC = b"durable/bench"
ACKNOWLEDGEMENT_BYTES = 4
_NO_ID = b"\0\0"
_PERSISTENT, _CLEAN = 0xC0, 0xC2


def equal_sizes(payload_bytes: int = PAYLOAD_BYTES) -> list[int]:
    """Give the sizes of payloads that a broker may take in runs."""
    return [payload_bytes] * RING


def varied_sizes(payload_bytes: int = PAYLOAD_BYTES) -> list[int]:
    """Give sizes of the same mean of which no two in a row are alike, so that each message is one by itself."""
    chance = random.Random(1)
    half = payload_bytes * 4 // 5
    sizes = [payload_bytes]
    while len(sizes) < RING:
        size = chance.randint(payload_bytes - half, payload_bytes + half)
        if size != sizes[-1] and (len(sizes) < RING - 1 or size != sizes[0]):
            sizes.append(size)
    return sizes


class Ring:
    """Numbered messages on one topic that are sent over and over, and how a subscriber gets them."""

    def __init__(self, qos: int, sizes: Sequence[int], mark: bytes = b"") -> None:
        self.qos = qos
        self.count = len(sizes)
        self._mark = mark
        packets = [self._packet(number, size, (number + 1).to_bytes(2, "big")) for number, size in enumerate(sizes)]
        self.sizes = [len(each) for each in packets]
        self.size = self.sizes[0] if len(set(self.sizes)) == 1 else None
        """That of all packets, where there is one."""
        self.id_ats = [1 + _length_bytes(each) + len(text(TOPIC)) for each in packets]
        self.heads = [each[:at] for each, at in zip(packets, self.id_ats, strict=True)]
        self.tails = [each[at + 2 :] for each, at in zip(packets, self.id_ats, strict=True)]
        self.bare = b"".join(head + _NO_ID + tail for head, tail in zip(self.heads, self.tails, strict=True)) * 2
        """All packets twice, with zeros for their identifiers."""
        self._data = memoryview(b"".join(packets) * 2)
        self._begins = [0]
        for size in self.sizes * 2:
            self._begins.append(self._begins[-1] + size)

    def payload(self, number: int, size: int) -> bytes:
        """Give the payload of a message: its number in the ring, what marks the ring, and dots."""
        return (b"%0*d" % (NUMBER_DIGITS, number) + self._mark).ljust(size, b".")

    def sent(self, first: int, count: int) -> memoryview:
        """Give consecutive packets, at most as many as the ring has."""
        begin = first % self.count
        return self._data[self._begins[begin] : self._begins[begin + count]]

    def number(self, data: bytes) -> int | None:
        """Read which message of the ring the first packet is; None while it has not come whole."""
        if len(data) < 5 or len(data) < 1 + _length_bytes(data) + len(text(TOPIC)) + 2 + NUMBER_DIGITS:
            return None
        at = 1 + _length_bytes(data) + len(text(TOPIC)) + 2
        return int(data[at : at + NUMBER_DIGITS])

    def _packet(self, number: int, size: int, identifier: bytes) -> bytes:
        payload = self.payload(number, size)
        return packet(0x30 | self.qos << 1, text(TOPIC) + identifier + payload)


def _length_bytes(data: bytes) -> int:
    """Say how many bytes the remaining length of a packet takes."""
    count = 1
    while data[count] & 0x80:
        count += 1
    return count


def _cycle(first: int, count: int) -> bytes:
    return b"".join(bytes((first, 2)) + (number % RING + 1).to_bytes(2, "big") for number in range(count))


def _answers(first: int, identifiers: bytes) -> bytes:
    answers = bytearray(bytes((first, 2, 0, 0)) * (len(identifiers) // 2))
    answers[2::4], answers[3::4] = identifiers[0::2], identifiers[1::2]
    return bytes(answers)


class Publisher:
    """Send the messages of a ring and take their acknowledgements, which have to come in order."""

    def __init__(self, sock: socket.socket, ring: Ring) -> None:
        self.sock = sock
        self.sent = self.received = self.acknowledged = 0
        self.altered = False
        self._ring = ring
        self._final = PUBACK if ring.qos == 1 else PUBCOMP
        self._expected = {first: _cycle(first, RING * 2) for first in (self._final, PUBREC)}
        self._releases = _cycle(PUBREL, RING * 2)
        self._sizes = {PUBACK: 4} if ring.qos == 1 else {PUBREC: 4, PUBCOMP: 4}
        self._rest = b""

    def send(self, count: int) -> None:
        """Send the next messages."""
        self.sock.sendall(self._ring.sent(self.sent, count))
        self.sent += count

    def take(self) -> None:
        """Take what has come and answer it."""
        data = self._rest + _received(self.sock)
        taken = 0
        for first, part in runs(data, self._sizes):
            taken += len(part)
            count = len(part) // ACKNOWLEDGEMENT_BYTES
            at = (self.acknowledged if first == self._final else self.received) % RING
            self.altered |= not self._expected[first].startswith(part, at * 4)
            if first == self._final:
                self.acknowledged += count
            else:
                self.sock.sendall(self._releases[at * 4 : (at + count) * 4])
                self.received += count
        self._rest = data[taken:]


class Subscriber:
    """Compare what one session gets with what was sent, and acknowledge all of a read in one write."""

    def __init__(self, ring: Ring) -> None:
        self.sock: socket.socket | None = None
        self.received = self.delivered = 0
        """How many of the messages that were sent have come, and were released where that is due."""
        self.altered = False
        self._ring = ring
        self._first = 0x30 | ring.qos << 1
        self._rest = b""

    def attach(self, sock: socket.socket) -> None:
        """Go on with a connection, whose first packet begins anew."""
        self.sock = sock
        self._rest = b""

    def detach(self) -> None:
        """Leave without losing what has been acknowledged."""
        if self.sock is not None:
            leave(self.sock)
        self.sock = None

    def skip_to(self, number: int) -> None:
        """Expect that message of all that were sent next; what is before it was dropped."""
        self.received = self.delivered = number

    def first_number(self) -> int | None:
        """Say which message of the ring waits as the first; None if nothing has come whole."""
        return self._ring.number(self._rest)

    def look(self) -> None:
        """Read without taking anything."""
        if self.sock is not None:
            self._rest += _received(self.sock)

    def take(self, more: bool = True) -> None:
        """Take what has come and answer it; without `more` only what has been read."""
        if self.sock is None:
            return
        data = self._rest + (_received(self.sock) if more else b"")
        position, answers = 0, b""
        while position < len(data) and not self.altered:
            if data[position] == PUBREL and self._ring.qos == 2:
                taken, identifiers = self._releases(data, position)
                answers += _answers(PUBCOMP, identifiers)
            elif data[position] == self._first:
                taken, identifiers = self._messages(data, position)
                answers += _answers(PUBACK if self._ring.qos == 1 else PUBREC, identifiers)
            else:
                self.altered = True  # of another type, with DUP or RETAIN: not what was sent
                break
            if not taken:
                break
            position += taken
        self._rest = data[position:]
        if answers:
            self.sock.sendall(answers)

    def _messages(self, data: bytes, position: int) -> tuple[int, bytes]:
        """Compare whole messages from here on; return how many bytes they had, and their identifiers."""
        taken, identifiers = self._alike(data, position) if self._ring.size else self._each(data, position)
        self.received += len(identifiers) // 2
        if self._ring.qos == 1:
            self.delivered = self.received
        self.altered |= _NO_ID in (identifiers[at : at + 2] for at in range(0, min(len(identifiers), 64), 2))
        return taken, identifiers

    def _alike(self, data: bytes, position: int) -> tuple[int, bytes]:
        ring, size = self._ring, self._ring.size or 1
        firsts = data[position : position + size * RING : size]
        count = min(len(firsts) - len(firsts.lstrip(bytes((self._first,)))), (len(data) - position) // size)
        at, part = ring.id_ats[0], bytearray(data[position : position + count * size])
        identifiers = bytearray(2 * count)
        identifiers[0::2], identifiers[1::2] = part[at::size], part[at + 1 :: size]
        part[at::size] = part[at + 1 :: size] = bytes(count)
        self.altered |= not ring.bare.startswith(part, self.received % ring.count * size)
        return len(part), bytes(identifiers)

    def _each(self, data: bytes, position: int) -> tuple[int, bytes]:
        ring, begin, identifiers = self._ring, position, []
        number, length = self.received % ring.count, len(data)
        while position < length and data[position] == self._first:
            end = position + ring.sizes[number]
            if end > length:
                break
            at = position + ring.id_ats[number]
            identifiers.append(data[at : at + 2])
            if not (data.startswith(ring.heads[number], position) and data.startswith(ring.tails[number], at + 2)):
                self.altered = True
                break
            position, number = end, (number + 1) % ring.count
        return position - begin, b"".join(identifiers)

    def _releases(self, data: bytes, position: int) -> tuple[int, bytes]:
        identifiers, begin = [], position
        while data.startswith(b"\x62\x02", position) and position + ACKNOWLEDGEMENT_BYTES <= len(data):
            identifiers.append(data[position + 2 : position + 4])
            position += ACKNOWLEDGEMENT_BYTES
        self.delivered += len(identifiers)
        return position - begin, b"".join(identifiers)


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(RECEIVE_BYTES)
    if not data:
        raise RuntimeError("the broker closed a connection")
    return data


class Exchange:
    """Keep a window of messages on their way from one publisher to the subscribers that are there, if any.

    A message is out of the window when the publisher has its last acknowledgement, and those subscribers the message.
    """

    def __init__(self, publisher: Publisher, live: Sequence[Subscriber], window: int) -> None:
        self.publisher = publisher
        self._live = live
        self._window = window
        self._epoll = select.epoll()
        self._ends: dict[int, Publisher | Subscriber] = {publisher.sock.fileno(): publisher}
        self._ends |= {subscriber.sock.fileno(): subscriber for subscriber in live if subscriber.sock is not None}
        for number in self._ends:
            self._epoll.register(number, select.EPOLLIN)

    @property
    def on_their_way(self) -> int:
        """Messages that are in the window."""
        done = min([self.publisher.acknowledged, *[subscriber.delivered for subscriber in self._live]])
        return self.publisher.sent - done

    @property
    def wrong(self) -> int:
        """Acknowledgements and messages that have not come, each live subscriber by itself; or whatever was altered."""
        sent = self.publisher.sent
        missing = sum(abs(sent - subscriber.delivered) for subscriber in self._live)
        return missing + sent - self.publisher.acknowledged + any(end.altered for end in self._ends.values())

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        last = time.monotonic()
        end = last + seconds
        while True:
            now, room = time.monotonic(), self._window - self.on_their_way
            if now < end and room >= max(1, self._window // 4):  # in bulk, as publishers with a window do
                self.publisher.send(room)
                room = 0
            if (now >= end and room == self._window) or now - last > STALL_SECONDS:
                return
            for number, _ in self._epoll.poll(0.1):
                self._ends[number].take()
                last = now

    def settle(self) -> None:
        """Take what comes though all has come."""
        end = time.monotonic() + STALL_SECONDS
        while time.monotonic() < end and (events := self._epoll.poll(SETTLE_SECONDS)):
            for number, _ in events:
                self._ends[number].take()


def drain(subscriber: Subscriber, total: int, settle_seconds: float = SETTLE_SECONDS) -> float:
    """Take what was kept for a session until it has so many messages, or nothing comes; return the seconds it took."""
    begun = last = time.monotonic()
    poll = select.poll()
    if subscriber.sock is None:
        raise RuntimeError("a session without connection gets nothing")
    poll.register(subscriber.sock, select.POLLIN)
    while subscriber.delivered < total and not subscriber.altered and time.monotonic() - last < STALL_SECONDS:
        if poll.poll(100):
            subscriber.take()
            last = time.monotonic()
    taken = last - begun
    while poll.poll(settle_seconds * 1_000) and time.monotonic() - last < STALL_SECONDS:
        subscriber.take()  # a message too many
    return taken


def await_first(subscriber: Subscriber) -> int | None:
    """Wait for the first message that was kept and say its number in the ring; None if nothing comes."""
    if subscriber.sock is None:
        raise RuntimeError("a session without connection gets nothing")
    poll, end = select.poll(), time.monotonic() + STALL_SECONDS
    poll.register(subscriber.sock, select.POLLIN)
    while (number := subscriber.first_number()) is None and time.monotonic() < end:
        if poll.poll(100):
            subscriber.look()
    return number


# -- sessions


def hello(client_id: str, username: str, password: str, *, clean: bool) -> bytes:
    """Encode a 3.1.1 CONNECT without keep-alive, which begins a clean session or goes on with a persistent one."""
    body = text(b"MQTT") + bytes((4, _CLEAN if clean else _PERSISTENT)) + struct.pack("!H", 0)
    return packet(0x10, body + b"".join(text(each.encode()) for each in (client_id, username, password)))


def open_session(endpoint: Endpoint, client_id: str, *, clean: bool = False, present: bool = False) -> socket.socket:
    """Connect; RuntimeError if the session is not present though it should be, or the other way round."""
    sock = socket.create_connection((endpoint.host, endpoint.port), timeout=START_SECONDS)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(hello(client_id, endpoint.username, endpoint.password, clean=clean))
        receive(sock, bytes((0x20, 2, present, 0)))
    except BaseException:
        sock.close()
        raise
    return sock


def leave(sock: socket.socket) -> None:
    """Say goodbye and wait until the broker has closed the connection, so that the session is known to be left."""
    sock.sendall(DISCONNECT)
    end = time.monotonic() + STALL_SECONDS
    while sock.recv(RECEIVE_BYTES):
        if time.monotonic() > end:
            raise RuntimeError("the broker goes on after a DISCONNECT")
    sock.close()


def round_trip_seconds(sock: socket.socket, ring: Ring, first: int, seconds: float) -> tuple[Mapping[str, float], int]:
    """Send QoS 1 messages one by one, each when the last was acknowledged; give percentiles and how many it were."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    number = first
    while (begun := time.perf_counter()) < end:
        sock.sendall(ring.sent(number, 1))
        receive(sock, bytes((PUBACK, 2)) + (number % ring.count + 1).to_bytes(2, "big"))
        times.append(time.perf_counter() - begun)
        number += 1
    times.sort()
    at = {name: times[min(len(times) - 1, int(len(times) * share))] for name, share in (("median", 0.5), ("p99", 0.99))}
    return {f"{name}_ms": value * 1_000 for name, value in at.items()}, number - first
