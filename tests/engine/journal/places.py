"""A broker without sockets on a store in memory, clients that behave, and what a crash leaves of both."""

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from wardenmq.broker import admission, delayed, engine, incoming, outgoing, replay, retention, session, wills
from wardenmq.broker.broker import Broker
from wardenmq.broker.journal import restoring
from wardenmq.broker.journal import session as journaled_session
from wardenmq.broker.journal.journal import Journal
from wardenmq.broker.settings import MqttSettings

from ...clocks import ignore_stalls
from .. import wire, wire5
from ..costs import packets
from ..packets5 import P, parse
from ..test_runs import LISTENER, PLUGINS, Clock, Port
from ..wire import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
)
from .memory_store import MemoryStore

SETTINGS = MqttSettings(shutdown_timeout=0.0)
"""Brokers are mostly thrown away, which nobody should wait for."""
_CLOCKS = (
    admission,
    delayed,
    engine,
    incoming,
    outgoing,
    replay,
    retention,
    session,
    wills,
    restoring,
    journaled_session,
)
KEPT: list[tuple[int, object]] = [(P.SESSION_EXPIRY, 0xFFFFFFFF)]
_STEPS = 200_000
"""Turns of the loop in which all must be quiet."""


@contextmanager
def shown(clock: Clock) -> Iterator[None]:
    """Have the broker and the journal go by this clock."""
    with ExitStack() as stack:
        for module in _CLOCKS:
            stack.enter_context(patch.object(module, "time", clock))
        yield


@dataclass
class Publication:
    """A message of the client's own whose handshake is not over."""

    topic: str
    payload: bytes
    qos: int
    released: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Memory:
    """What a client remembers through all its connections, as the standard wants it."""

    outbox: dict[int, Publication] = field(default_factory=dict)
    confirmed: list[bytes] = field(default_factory=list)
    refused: dict[bytes, int] = field(default_factory=dict)
    """Payloads of messages that were not taken, each with the reason."""
    unreleased: dict[int, bytes] = field(default_factory=dict)
    """QoS 2 messages received and not released."""
    unanswered: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """Messages received whose PUBACK or PUBREC was not sent, with their QoS."""
    received: list[tuple[str, bytes, int]] = field(default_factory=list)
    """Topic, payload and QoS; what was sent again counts once at QoS 2 only."""
    first: list[bytes] = field(default_factory=list)
    """Payloads in the order in which they came for the first time."""
    granted: dict[str, bool] = field(default_factory=dict)
    """Topic filters: whether the server has confirmed the subscription, or its end."""
    asked: dict[int, list[tuple[str, bool]]] = field(default_factory=dict)
    """SUBSCRIBEs and UNSUBSCRIBEs that are not answered."""
    known: bool = False
    """Whether the server has answered something that makes it remember the session."""
    last_id: int = 0


class Peer:
    """One client: answers when the test says so, checks what comes."""

    def __init__(self, place: "Place", name: str, version: int = 4, memory: Memory | None = None) -> None:
        self.place = place
        self.name = name
        self.version = version
        self.build: Any = wire5 if version == 5 else wire
        self.memory = memory or Memory()
        self.port: Port | None = None
        self.answers: list[tuple[int, int]] = []
        """Acknowledgements that are owed to the server."""
        self.seen: list[tuple[int, int]] = []
        """Packet types with their identifiers or reasons, as they came."""
        self.messages: list[tuple[bytes, int, bool, int]] = []
        """Payload, QoS, DUP and packet identifier of each PUBLISH."""
        self.codes: list[list[int]] = []
        """Reasons of each SUBACK and UNSUBACK."""
        self.reasons: list[tuple[int, int, int]] = []
        """Packet type, identifier and reason of each acknowledgement."""
        self.goodbye: int | None = None
        """The reason of the server's DISCONNECT."""
        self.session_present: bool | None = None
        self._sent_here: set[int] = set()
        """Packet identifiers of PUBLISHes on this connection."""

    # -- connections

    @property
    def connected(self) -> bool:
        return self.port is not None and not self.port.closed

    @property
    def reading(self) -> bool:
        """Tell whether the server reads from the client."""
        return self.port is not None and self.port.reads

    @property
    def session(self) -> Any:
        return self.place.broker.registry.get(self.name)

    async def connect(self, *, clean: bool = False, **fields: Any) -> "Peer":
        """Open a connection, and send again what the standard wants; not waiting for the CONNACK where none comes."""
        self.memory.asked.clear()
        self.begin(clean=clean, **fields)
        await self.place.settle()
        if self.session_present:
            self.resume()
            await self.place.settle()
        return self

    def begin(self, *, clean: bool = False, **fields: Any) -> None:
        """Open a connection."""
        connection = self.place.broker.connection_through(LISTENER)
        assert connection is not None
        self.look()
        self.port = Port(connection)
        self.answers.clear()
        self.messages.clear()
        self.seen.clear()
        self.codes.clear()
        self.reasons.clear()
        self._sent_here.clear()
        self.goodbye = self.session_present = None
        if clean:
            self.memory = Memory(
                confirmed=self.memory.confirmed, received=self.memory.received, first=self.memory.first
            )
        connection.connection_made(self.port)
        if self.version == 5:
            fields.setdefault("properties", [] if clean and "properties" not in fields else KEPT)
        connection.data_received(self.build.connect(self.name, clean=clean, **fields))

    def resume(self) -> None:
        """Send again what was not acknowledged, in its order."""
        for number, publication in self.memory.outbox.items():
            if publication.released:
                self.send(wire.acknowledge(PUBREL, number))
            else:
                self.send(self._publish(number, publication, dup=True))

    def send(self, *chunks: bytes) -> None:
        """Have the server read chunks, if it does."""
        assert self.port is not None
        for chunk in chunks:
            if not self.port.closed:
                self.port.connection.data_received(chunk)

    async def say(self, *chunks: bytes) -> None:
        """Have the server read chunks and do what it can do at once."""
        self.send(*chunks)
        await self.place.settle()

    async def lose(self) -> None:
        """Lose the connection."""
        assert self.port is not None
        if not self.port.closed:
            self.port.closed = True
            self.port.connection.connection_lost(None)
        await self.place.settle()

    async def leave(self) -> None:
        await self.say(wire.GOODBYE)
        await self.lose()

    # -- what it sends

    def next_id(self) -> int:
        memory = self.memory
        while True:
            memory.last_id = memory.last_id % 65_535 + 1
            if memory.last_id not in memory.outbox:
                return memory.last_id

    def offer(self, topic: str, *payloads: bytes, qos: int = 1, **fields: Any) -> bytes:
        """Give the packets that publish, and remember to see them through."""
        data: list[bytes] = []
        for payload in payloads:
            publication = Publication(topic, payload, qos, fields=fields)
            number = self.next_id() if qos else 0
            if qos:
                self.memory.outbox[number] = publication
            data.append(self._publish(number, publication, dup=False))
        return b"".join(data)

    def _publish(self, number: int, publication: Publication, *, dup: bool) -> bytes:
        qos, fields = publication.qos, publication.fields
        return self.build.publish(
            publication.topic, publication.payload, qos, number if qos else None, dup=dup, **fields
        )

    async def publish(self, topic: str, *payloads: bytes, qos: int = 1, **fields: Any) -> None:
        await self.say(self.offer(topic, *payloads, qos=qos, **fields))

    async def subscribe(self, *filters: tuple[str, int], **fields: Any) -> list[int] | None:
        """Subscribe and give the codes if there is an answer yet."""
        before = len(self.codes)
        number = self._ask([topic_filter for topic_filter, _ in filters], wanted=True)
        await self.say(self.build.subscribe(number, *filters, **fields))
        return self.codes[-1] if len(self.codes) > before else None

    async def unsubscribe(self, *filters: str) -> None:
        await self.say(self.build.unsubscribe(self._ask(list(filters), wanted=False), *filters))

    def _ask(self, filters: list[str], *, wanted: bool) -> int:
        number = self.next_id()
        self.memory.asked[number] = [(topic_filter, wanted) for topic_filter in filters]
        for topic_filter in filters:
            self.memory.granted.pop(topic_filter, None)
        return number

    async def release(self) -> None:
        """Send the PUBRELs that are due."""
        for number, publication in list(self.memory.outbox.items()):
            if publication.released:
                self.send(wire.acknowledge(PUBREL, number))
        await self.place.settle()

    async def answer(self, count: int | None = None) -> None:
        """Send the oldest acknowledgements that are owed, in one chunk."""
        answers, self.answers = self.answers[:count], self.answers[len(self.answers) if count is None else count :]
        for kind, number in answers:
            self.memory.unanswered.pop(number, None) if kind != PUBCOMP else None
        await self.say(b"".join([wire.acknowledge(kind, number) for kind, number in answers]))

    # -- what comes

    def look(self) -> None:
        """Take in what came."""
        if self.port is None:
            return
        data = b"".join(self.port.written)
        self.port.written.clear()
        for first, body in packets(data):
            self._take(first, body)

    def _take(self, first: int, body: bytes) -> None:
        kind = first >> 4
        got: Any = parse(first, body, len(body) + 2) if self.version == 5 else wire.Packet(kind, first & 15, body)
        if kind == PUBLISH:
            self._take_message(got)
            return
        reason = (got.reason or 0) if self.version == 5 else 0
        number = 0
        if kind == CONNACK:
            reason = got.reason if self.version == 5 else body[1]
            assert reason == 0, f"refused with {reason}"
            self.session_present = bool(body[0])
            self._begin_again()
        elif kind == DISCONNECT:
            self.goodbye = reason
        elif kind in (SUBACK, UNSUBACK):
            self.memory.known = True
            number = got.packet_id
            self.memory.granted.update(self.memory.asked.pop(number, ()))
            self.codes.append(list(got.codes) if self.version == 5 else list(body[2:]))
        elif len(body) >= 2:
            number = got.packet_id
            self.reasons.append((kind, number, reason))
            self._take_ack(kind, number, reason)
        self.seen.append((kind, number))

    def _begin_again(self) -> None:
        """Forget what the standard has forgotten where the server knows no session."""
        memory = self.memory
        if not self.session_present:
            assert not memory.known, f"{self.name}: a session that was promised is gone"
            memory.outbox.clear()
            memory.granted.clear()
            memory.unreleased.clear()
            memory.unanswered.clear()

    def _take_ack(self, kind: int, number: int, reason: int) -> None:
        memory = self.memory
        publication = memory.outbox.get(number)
        if kind in (PUBACK, PUBREC) and publication is not None and reason >= 0x80:
            memory.refused[publication.payload] = reason
            del memory.outbox[number]
        elif kind == PUBACK and publication is not None:
            assert publication.qos == 1
            memory.confirmed.append(publication.payload)
            del memory.outbox[number]
        elif kind == PUBREC and publication is not None:
            assert publication.qos == 2
            publication.released = True
        elif kind == PUBCOMP and publication is not None:
            assert publication.released
            memory.confirmed.append(publication.payload)
            del memory.outbox[number]
        elif kind == PUBREL:
            memory.unreleased.pop(number, None)
            self.answers.append((PUBCOMP, number))

    def _take_message(self, got: Any) -> None:
        memory, number, payload = self.memory, got.packet_id if got.qos else 0, got.payload
        self.seen.append((PUBLISH, number))
        self.messages.append((payload, got.qos, got.dup, number))
        if payload not in memory.first:
            memory.first.append(payload)
        if not got.qos:
            memory.received.append((got.topic, payload, 0))
            return
        again = memory.unanswered.get(number)
        if again is not None:
            assert number not in self._sent_here, "sent twice on one connection"
            # At QoS 1 the first one may never have been written; then nobody knows that the identifier was used.
            assert again[1] == 1 or again == (payload, got.qos), "another message with an identifier that is not free"
        self._sent_here.add(number)
        memory.unanswered[number] = payload, got.qos
        if got.qos == 1:
            memory.received.append((got.topic, payload, 1))
            self.answers.append((PUBACK, number))
            return
        earlier = memory.unreleased.get(number)
        if earlier is None:
            memory.received.append((got.topic, payload, 2))
        else:
            assert earlier == payload, "another message with the identifier of one that is not released"
        memory.unreleased[number] = payload
        self.answers.append((PUBREC, number))

    def payloads(self) -> list[bytes]:
        """Take the payloads that came on this connection."""
        found = [payload for payload, *_ in self.messages]
        self.messages.clear()
        return found

    def kinds(self, *wanted: int) -> list[tuple[int, int]]:
        """Give the packets of these types with their identifiers, in their order."""
        return [entry for entry in self.seen if entry[0] in wanted]


class Place:
    """A broker on a store, and its clients."""

    def __init__(self, broker: Broker, store: MemoryStore, clock: Clock) -> None:
        self.broker = broker
        self.store = store
        self.clock = clock
        self.peers: dict[str, Peer] = {}

    @property
    def journal(self) -> Journal:
        found = self.broker._engine.journal
        assert isinstance(found, Journal)
        return found

    def peer(self, name: str, version: int = 4, memory: Memory | None = None) -> Peer:
        if name not in self.peers:
            self.peers[name] = Peer(self, name, version, memory)
        return self.peers[name]

    async def connected(self, name: str, version: int = 4, /, *filters: tuple[str, int], **fields: Any) -> Peer:
        """Connect a client, with a session that is kept unless it is said otherwise, and subscribe."""
        peer = self.peer(name, version)
        await peer.connect(**fields)
        if filters:
            assert await peer.subscribe(*filters) is not None
        return peer

    def look(self) -> None:
        for peer in self.peers.values():
            peer.look()

    async def settle(self) -> None:
        """Let the broker do all that it can do at once."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        for _ in range(_STEPS):
            await asyncio.sleep(0)
            if not ready and not self._about_to_write:
                break
        else:
            raise AssertionError("the broker does not come to rest")
        self.look()

    @property
    def _about_to_write(self) -> bool:
        """Tell whether somebody waits for a batch that gathers a little longer."""
        journal = self.journal
        return journal._timer is not None and journal.fault is None and bool(journal._open.waiters)

    async def written(self) -> None:
        """Have all written that is gathered, also what nobody waits for."""
        await self.settle()
        assert await self.journal.written()
        await self.settle()

    async def answer_all(self, *peers: Peer) -> None:
        """Have these, or all, answer whatever comes until nothing comes any more."""
        chosen = peers or tuple(self.peers.values())
        for _ in range(_STEPS):
            busy = False
            for peer in chosen:
                if not peer.connected:
                    continue
                if peer.answers:
                    busy = True
                    await peer.answer()
                if any(publication.released for publication in peer.memory.outbox.values()):
                    busy = True
                    await peer.release()
            if not busy:
                await self.settle()
                if not any(peer.answers for peer in chosen if peer.connected):
                    return
        raise AssertionError("the clients do not come to rest")

    async def end_all(self) -> None:
        """Answer everything, end all sessions and forget what is retained."""
        await self.answer_all()
        for peer in list(self.peers.values()):
            await peer.connect(clean=True)
            await peer.leave()
        for each in list(self.broker.registry):
            self.broker._engine.end_session(each)
        for topic in list(self.store.tables["retained"]):
            self.broker._engine.retention.discard(topic)
        await self.written()

    def left_over(self) -> dict[str, object]:
        """Give what the store holds beside the state."""
        return {name: rows for name, rows in self.store.tables.items() if rows and name != "state"}


@asynccontextmanager
async def playing(
    store: MemoryStore | None = None, settings: MqttSettings | None = None, clock: Clock | None = None
) -> AsyncIterator[Place]:
    """Run a broker on a store until the test is over with it; what it does at the end concerns nobody."""
    ignore_stalls()
    store, clock = store or MemoryStore(), clock or Clock()
    config = {"listeners": {LISTENER: {"type": "external"}}, "plugins": PLUGINS}
    with shown(clock):
        broker = Broker(config, settings=settings or SETTINGS, journal=store)
        await broker.start()
        place = Place(broker, store, clock)
        try:
            yield place
        finally:
            store.on_commit = None
            store.let_go()
            await broker.shutdown()


@dataclass
class Crash:
    """What is on the disk when the process dies, and what its clients know then."""

    store: MemoryStore
    memories: dict[str, Memory]
    versions: dict[str, int]
    now: float

    @classmethod
    def of(cls, place: Place) -> "Crash":
        place.look()
        return cls(
            place.store.after_a_crash(),
            {name: copy.deepcopy(peer.memory) for name, peer in place.peers.items()},
            {name: peer.version for name, peer in place.peers.items()},
            place.clock.now,
        )

    @asynccontextmanager
    async def restarted(self, settings: MqttSettings | None = None) -> AsyncIterator[Place]:
        """Run the next broker with the same clients, none of which is connected."""
        clock = Clock()
        clock.now = self.now
        async with playing(self.store.after_a_crash(), settings, clock) as place:
            for name, memory in self.memories.items():
                place.peer(name, self.versions[name], copy.deepcopy(memory))
            yield place


def numbered(prefix: str, count: int, start: int = 0, width: int = 4) -> list[bytes]:
    """Make payloads of one size."""
    return [b"%s%0*d" % (prefix.encode(), width, number) for number in range(start, start + count)]
