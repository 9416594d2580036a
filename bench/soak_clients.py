"""Clients of the long soak on raw sockets: MQTT 3.1.1 and 5.0, clean and persistent, each message accounted for.

A source numbers its messages. A client knows which number of each source has to come next, and counts what is missing,
what comes twice or in another order, and what was altered; what a session that outlives its connection may be sent
again, with DUP, is told apart.
"""

import contextlib
import select
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wire import DISCONNECT, packet, text

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, PINGRESP = (0x20, 0x30, 0x40, 0x50, 0x62, 0x70, 0x90, 0xD0)
DUP, RETAIN = 0x08, 0x01
NUMBER_DIGITS = 10
SMALLEST, SIZES = 20, 400
"""Payloads have so many bytes at least, and so many sizes from there on."""
IN_FLIGHT = 16
"""Messages that a publisher has on their way at most; fewer than a broker allows."""
KEEP_ALIVE = 120
EXPIRY_SECONDS = 3_600
WILL_DELAY_SECONDS = 1
FAULTS_KEPT = 20
_FILLING = bytes(range(33, 126)) * 8
_RECEIVE_BYTES = 65_536
_REFUSED = 0x80
_PING = b"\xc0\x00"


@dataclass(slots=True)
class Counts:
    """What all clients together have seen."""

    published: int = 0
    acknowledged: int = 0
    delivered: int = 0
    redelivered: int = 0
    """Sent again with DUP to a session that came back, as it has to be."""
    missed: int = 0
    """Messages at QoS 0 that did not come, as may be."""
    lost: int = 0
    out_of_turn: int = 0
    """Came twice, or after a later one."""
    altered: int = 0
    connects: int = 0
    wills: int = 0
    retained: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    """What else went wrong, by kind."""

    @property
    def wrong(self) -> bool:
        """Tell whether anything is not as it has to be."""
        return bool(self.lost or self.out_of_turn or self.altered or self.faults)


class Source:
    """The messages of one publisher on one topic, numbered from 0."""

    __slots__ = ("acknowledged", "equal", "qos", "retain", "seed", "sent", "topic")

    def __init__(self, topic: bytes, qos: int, *, seed: int, equal: bool = False, retain: bool = False) -> None:
        self.topic = topic
        self.qos = qos
        self.seed = seed
        self.equal = equal
        self.retain = retain
        self.sent = self.acknowledged = 0

    def payload(self, number: int) -> bytes:
        """Give the payload of a message, whose size and text depend on source and number; the size may be fixed."""
        begin = (self.seed * 7 + number) % 93
        size = SMALLEST + (self.seed if self.equal else self.seed + number * 37) % SIZES
        return b"%0*d" % (NUMBER_DIGITS, number) + _FILLING[begin : begin + size - NUMBER_DIGITS]


class Will:
    """The wills of one client: the number of each connection that it ended without a DISCONNECT."""

    __slots__ = ("due", "topic")

    def __init__(self, topic: bytes) -> None:
        self.topic = topic
        self.due: list[int] = []

    @staticmethod
    def payload(connection: int) -> bytes:
        """Give the will of a connection."""
        return b"%0*d" % (NUMBER_DIGITS, connection)


@dataclass(frozen=True, slots=True)
class Wish:
    """A topic filter and the QoS wanted of it."""

    topic_filter: bytes
    qos: int


class World:
    """What all clients share: where the broker is, the sources and wills by topic, and the counts."""

    def __init__(self, host: str, port: int, username: str, password: str) -> None:
        self.address = (host, port)
        self.login = text(username.encode()) + text(password.encode())
        self.sources: dict[bytes, Source] = {}
        self.wills: dict[bytes, Will] = {}
        self.counts = Counts()
        self.epoll = select.epoll()
        self.clients: dict[int, Client] = {}
        """By the descriptor of their socket."""
        self.arrived = 0
        """Packets that came from the broker."""

    def poll(self, seconds: float) -> None:
        """Let the clients that something came for take it."""
        for number, events in self.epoll.poll(seconds):
            client = self.clients.get(number)
            if client is None:
                continue
            if events & select.EPOLLOUT:
                client.flush()
            if events & ~select.EPOLLOUT:
                client.read()


class Client:
    """One client, through all its connections."""

    def __init__(
        self,
        world: World,
        name: str,
        version: int,
        *,
        persistent: bool,
        wishes: Sequence[Wish] = (),
        source: Source | None = None,
        will: Will | None = None,
    ) -> None:
        self.name = name
        self.persistent = persistent
        self.ready = False
        """Connected, and subscribed to all that it wishes."""
        self.source = source
        self.unacknowledged: dict[int, int] = {}
        """Its messages that were not acknowledged in the end, by packet identifier; -1 once they have been received."""
        self.next: dict[bytes, int] = {}
        """The number that has to come next, by topic; without one any number may."""
        self.will_at: Counter[bytes] = Counter()
        """How many wills have come, by topic."""
        self._world = world
        self._version = version
        self._wishes = wishes
        self._qos = wishes[0].qos if wishes else 0
        """Wished of all of them."""
        self._will = will
        self._connections = 0
        self._sock: socket.socket | None = None
        self._leaving = self._deaf = False
        self._rest = b""
        self._out = b""
        self._incoming: set[int] = set()
        """QoS 2 messages that were received and not released; they outlive the connection of a persistent session."""
        self._floors: dict[bytes, int] = {}
        """Retained messages that have to come first, by topic, and the least number that they may have."""
        self._next_id = 1
        self._pinged = False

    def owe(self, sources: Iterable[Source]) -> None:
        """Expect all messages of these sources from the first on, where they come at QoS 1 or 2."""
        self.next |= {source.topic: 0 for source in sources if self._at_qos(source)}

    def expect_wills(self) -> None:
        """Expect all wills."""
        self.will_at.update(dict.fromkeys(self._world.wills, 0))

    @property
    def missing(self) -> int:
        """Count the messages at QoS 1 and 2 that have not come, of topics of which any has to come."""
        sources, wills = self._world.sources, self._world.wills
        owed = [sources[topic].sent - at for topic, at in self.next.items() if self._at_qos(sources[topic])]
        return sum(owed) + sum(len(wills[topic].due) - at for topic, at in self.will_at.items()) + len(self._floors)

    @property
    def may_leave(self) -> bool:
        """Tell whether it is known what becomes of its will."""
        return self.ready and self.connected

    # -- the connection

    @property
    def connected(self) -> bool:
        """Tell whether there is a connection, ready or not."""
        return self._sock is not None and not self._leaving

    def connect(self) -> None:
        """Open a connection and say hello."""
        world = self._world
        if self._sock is not None:  # the broker has not closed the last one yet
            self._close()
        sock = self._sock = socket.create_connection(world.address, timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        world.clients[sock.fileno()] = self
        world.epoll.register(sock.fileno(), select.EPOLLIN)
        self._connections += 1
        self._leaving = self._deaf = self._pinged = False
        self._rest = self._out = b""
        world.counts.connects += 1
        self.send(self._hello())

    def stop_reading(self) -> None:
        """Read and send nothing any more, so that something is on its way when the connection ends."""
        if self._sock is not None and self.ready:
            self._world.epoll.unregister(self._sock.fileno())
            self._deaf, self.ready = True, False
            self._count_missing_retained()

    def leave(self, *, abruptly: bool) -> None:
        """End the connection, with a DISCONNECT or with a reset; what comes after that is not looked at."""
        if self._sock is None:
            return
        if abruptly:
            if self._will is not None and (self.ready or self._deaf):
                self._will.due.append(self._connections)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close()
        else:
            self.send(DISCONNECT)
            self._leaving = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        if self.ready:
            self._count_missing_retained()
        self.ready = False

    def ping(self) -> None:
        """Ask whether the broker is there; the answer to the last question must have come."""
        if self._pinged:
            self._fault("a PINGREQ was not answered")
        self._pinged = True
        self.send(_PING)

    def send(self, data: bytes) -> None:
        """Send, later if the socket is full."""
        if self._sock is None:
            return
        if self._out:
            self._out += data
            return
        try:
            count = self._sock.send(data)
        except BlockingIOError:
            count = 0
        except OSError:
            return  # what reads will see it
        if count < len(data):
            self._out = data[count:]
            self._world.epoll.modify(self._sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def flush(self) -> None:
        """Go on sending."""
        data, self._out = self._out, b""
        if self._sock is not None:
            self._world.epoll.modify(self._sock.fileno(), select.EPOLLIN)
            self.send(data)

    def read(self) -> None:
        """Take what has come and answer all of it in one write."""
        if self._sock is None:
            return
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if not self._leaving:
                self._fault("the broker closed a connection")
            self._close()
            self.ready = False
            return
        if self._leaving:
            return
        answers = self._take(self._rest + data if self._rest else data)
        if answers:
            self.send(b"".join(answers))

    def _close(self) -> None:
        if self._sock is not None:
            self._world.clients.pop(self._sock.fileno(), None)
            self._sock.close()
        self._sock = None

    def _fault(self, kind: str) -> None:
        self._world.counts.faults[kind] += 1

    # -- packets

    def _take(self, data: bytes) -> list[bytes]:
        """Take all whole packets and give the answers to them."""
        answers: list[bytes] = []
        position, length = 0, len(data)
        while position + 2 <= length:
            first, size, body = data[position], data[position + 1], position + 2
            if size > 127:
                if position + 5 > length:
                    break
                size, body = _length(data, position + 1)
            if body + size > length:
                break
            self._world.arrived += 1
            if first & 0xF0 == PUBLISH:
                self._take_publish(first, data[body : body + size], answers)
            else:
                self._take_other(first, data[body : body + size], answers)
            position = body + size
        self._rest = data[position:]
        return answers

    def _take_publish(self, first: int, body: bytes, answers: list[bytes]) -> None:
        at = 2 + (body[0] << 8 | body[1])
        topic, qos = body[2:at], first >> 1 & 3
        if qos:
            identifier = body[at : at + 2]
            at += 2
            answers.append((b"\x40\x02" if qos == 1 else b"\x50\x02") + identifier)
            if qos == 2:
                number = int.from_bytes(identifier, "big")
                if number in self._incoming:  # [MQTT-4.3.3-10]
                    self._world.counts.redelivered += bool(first & DUP)
                    if not first & DUP:
                        self._world.counts.out_of_turn += 1
                    return
                self._incoming.add(number)
        if self._version == 5:
            size, at = _length(body, at)
            at += size
        self._account(topic, qos, first, body[at:])

    def _take_other(self, first: int, body: bytes, answers: list[bytes]) -> None:
        if first in (PUBACK, PUBREC, PUBCOMP):
            self._take_acknowledgement(first, body, answers)
        elif first == PUBREL:
            self._incoming.discard(int.from_bytes(body[:2], "big"))
            answers.append(b"\x70\x02" + body[:2])
        elif first == PINGRESP:
            self._pinged = False
        elif first == CONNACK:
            self._take_connack(body, answers)
        elif first == SUBACK:
            at = 2
            if self._version == 5:
                size, at = _length(body, at)
                at += size
            if list(body[at:]) != [wish.qos for wish in self._wishes]:
                self._fault("a subscription was not granted as wished")
            self.ready = True
        else:
            self._fault(f"a packet that begins with {first:02x}")

    # -- sessions

    def _hello(self) -> bytes:
        version, flags = self._version, 0xC0
        properties = will = b""
        if not self.persistent or (version == 5 and self._connections == 1):
            flags |= 0x02
        if version == 5:
            properties = b"\x05\x11" + struct.pack("!I", EXPIRY_SECONDS) if self.persistent else b"\0"
        if self._will is not None:
            flags |= 0x0C  # at QoS 1
            delay = b"\x05\x18" + struct.pack("!I", WILL_DELAY_SECONDS) if self.persistent else b"\0"
            will = (delay if version == 5 else b"") + text(self._will.topic) + text(Will.payload(self._connections))
        head = text(b"MQTT") + bytes((version, flags)) + struct.pack("!H", KEEP_ALIVE) + properties
        return packet(0x10, head + text(self.name.encode()) + will + self._world.login)

    def _take_connack(self, body: bytes, answers: list[bytes]) -> None:
        back = self.persistent and self._connections > 1
        if body[1]:
            self._fault(f"a CONNECT was answered with {body[1]:02x}")
            return
        if body[0] != back:
            self._fault("a session was not present" if back else "a session was present that must not be")
        if back:
            # What may be lost is not owed to a session that was away.
            self.next = {topic: at for topic, at in self.next.items() if self._at_qos(self._world.sources[topic])}
            self._send_again(answers)
            self.ready = True
            return
        if not self.persistent and self._connections > 1:
            self.next = {}
            self._incoming.clear()
        if not self._wishes:
            self.ready = True
            return
        self._floors = {
            source.topic: source.acknowledged - 1
            for wish in self._wishes
            if (source := self._world.sources.get(wish.topic_filter)) and source.retain and source.acknowledged
        }
        answers.append(self._subscribe())

    def _subscribe(self) -> bytes:
        properties = b"\0" if self._version == 5 else b""
        wishes = b"".join(text(wish.topic_filter) + bytes((wish.qos,)) for wish in self._wishes)
        return packet(0x82, b"\0\1" + properties + wishes)

    def _at_qos(self, source: Source) -> int:
        return min(source.qos, self._qos)  # [MQTT-3.8.4-8]

    # -- what is received

    def _account(self, topic: bytes, qos: int, first: int, payload: bytes) -> None:
        counts, source = self._world.counts, self._world.sources.get(topic)
        counts.delivered += 1
        if first & DUP and self.persistent:
            counts.redelivered += 1
        if source is None:
            self._account_will(topic, first, payload)
            return
        try:
            number = int(payload[:NUMBER_DIGITS])
        except ValueError:
            number = -1
        if number < 0 or qos != self._at_qos(source) or payload != source.payload(number):
            counts.altered += 1
            return
        due = self.next.get(topic)
        if self._floors and topic in self._floors:
            counts.retained += 1
            if number < self._floors.pop(topic):
                counts.lost += 1  # an older value than the one that was acknowledged
        elif first & RETAIN and not (source.retain and due is None):
            counts.altered += 1
        if due is None or number == due:
            self.next[topic] = number + 1
        elif number > due:
            self.next[topic] = number + 1
            if qos:
                counts.lost += number - due
            else:
                counts.missed += number - due
        elif not (first & DUP and qos == 1 and self.persistent):
            counts.out_of_turn += 1

    def _account_will(self, topic: bytes, first: int, payload: bytes) -> None:
        counts, will = self._world.counts, self._world.wills.get(topic)
        at = self.will_at[topic]
        if will is None:
            counts.altered += 1
        elif at < len(will.due) and payload == Will.payload(will.due[at]):
            self.will_at[topic] += 1
            counts.wills += 1
        elif not (first & DUP and any(payload == Will.payload(number) for number in will.due[:at])):
            counts.out_of_turn += 1

    def _count_missing_retained(self) -> None:
        self._world.counts.lost += len(self._floors)
        self._floors = {}

    # -- what is published

    def publish(self, count: int = 1) -> int:
        """Publish the next messages of its source in one write, as far as they may be on their way; say how many."""
        source = self.source
        if source is None or not self.ready:
            return 0
        if source.qos:
            count = min(count, IN_FLIGHT - len(self.unacknowledged))
        parts: list[bytes] = []
        for _ in range(count):
            identifier = self._identifier() if source.qos else 0
            if source.qos:
                self.unacknowledged[identifier] = source.sent
            parts.append(self._message(source, source.sent, identifier))
            source.sent += 1
        if parts:
            self.send(b"".join(parts))
        self._world.counts.published += len(parts)
        return len(parts)

    def _message(self, source: Source, number: int, identifier: int, flags: int = 0) -> bytes:
        body = text(source.topic)
        if source.qos:
            body += identifier.to_bytes(2, "big")
        if self._version == 5:
            body += b"\0"
        return packet(PUBLISH | source.qos << 1 | source.retain | flags, body + source.payload(number))

    def _identifier(self) -> int:
        identifier = self._next_id
        while identifier in self.unacknowledged:
            identifier = identifier % 65_535 + 1
        self._next_id = identifier % 65_535 + 1
        return identifier

    def _send_again(self, answers: list[bytes]) -> None:
        """Send what was not acknowledged in the connection before, in its order. [MQTT-4.4.0-1]"""
        for identifier, number in self.unacknowledged.items():
            if number < 0:
                answers.append(b"\x62\x02" + identifier.to_bytes(2, "big"))
            elif self.source is not None:
                answers.append(self._message(self.source, number, identifier, DUP))

    def _take_acknowledgement(self, first: int, body: bytes, answers: list[bytes]) -> None:
        identifier = int.from_bytes(body[:2], "big")
        # PUBCOMP may say that a message which is released again has been released before.
        if len(body) > 2 and body[2] >= _REFUSED and first != PUBCOMP:
            self._fault(f"a message was answered with {body[2]:02x}")
        if identifier not in self.unacknowledged or self.source is None:
            self._fault("an acknowledgement that nobody waits for")
        elif first == PUBREC:
            self.unacknowledged[identifier] = -1
            answers.append(b"\x62\x02" + body[:2])
        else:
            if identifier != next(iter(self.unacknowledged)):  # [MQTT-4.6.0-2]
                self._fault("an acknowledgement out of order")
            del self.unacknowledged[identifier]
            self.source.acknowledged += 1
            self._world.counts.acknowledged += 1


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable byte integer; return it and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
