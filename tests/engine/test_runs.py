"""Packets that are taken together come to what they come to one by one: for every client, queue and counter."""

import asyncio
import gc
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from amqtt.plugins.base import BaseAuthPlugin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wardenmq.broker import admission, engine, incoming, outgoing, replay, session
from wardenmq.broker.access import Accept, ConnectRequest
from wardenmq.broker.amqtt_session import view_of
from wardenmq.broker.broker import Broker
from wardenmq.broker.connection import Connection, PacketReader
from wardenmq.broker.message import Message
from wardenmq.broker.protocol.runs import RUN_BYTES
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.broker.traffic import Traffic

from ..clocks import ignore_stalls
from . import access_plugins, wire, wire5
from .costs import packets
from .packets5 import P, parse
from .wire import CONNACK, GOODBYE, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL

LISTENER = "default"
EXAMPLES = 200
DENIED = "t/denied"
TOLD_APART = ("bytes_received", "bytes_sent", "reads", "writes")
"""Counters that tell of a connection's bytes and of turns of the loop, not of packets."""
QOS_3 = b"\x36\x05\0\1t\0\1"
KEPT: list[tuple[int, object]] = [(P.SESSION_EXPIRY, 0xFFFFFFFF)]


# -- a broker in process, and its clients


class AdmitAll(BaseAuthPlugin):
    """Let everybody in, without a coroutine."""

    def authenticate_connect(self, request: ConnectRequest) -> Accept:
        return Accept()


PLUGINS = {f"{__name__}.AdmitAll": {}, f"{access_plugins.__name__}.FastRules": {"publish": [DENIED]}}


class Clock:
    """The time of day, which passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    @contextmanager
    def shown(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in (admission, engine, incoming, outgoing, replay, session):
                stack.enter_context(patch.object(module, "time", self))
            yield


class Port(asyncio.Transport):
    """Keep what is written, and whether the client is read."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.written: list[bytes] = []
        self.reads = True
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("10.0.0.1", 1883) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


Seen = tuple[object, ...]
"""A packet from the server, taken apart; equal if a client cannot tell the two from each other."""


class Party:
    """One client through all its connections: what it sent, saw, and still owes an answer to."""

    def __init__(self, place: "Place", name: str, version: int) -> None:
        self.name = name
        self.version = version
        self.build = wire5 if version == 5 else wire
        self.place = place
        self.port: Port | None = None
        self.waiting: deque[bytes] = deque()
        """What the server has not read yet."""
        self.seen: list[Seen] = []
        self.owed: list[tuple[int, int]] = []
        """Answers to messages: the packet type and the identifier."""
        self.received: list[int] = []
        """Identifiers of messages of its own that wait for their PUBREL."""
        self.last_id = 0

    @property
    def connected(self) -> bool:
        return self.port is not None and not self.port.closed

    @property
    def session(self) -> Session:
        found = self.place.broker.registry.get(self.name)
        assert found is not None
        return found

    @property
    def connection(self) -> Connection:
        assert self.port is not None
        return self.port.connection

    def next_id(self) -> int:
        self.last_id = self.last_id % 65_535 + 1
        return self.last_id

    async def connect(self, *, clean: bool = False, properties: list[tuple[int, object]] | None = None) -> None:
        """Open a new connection, which takes the client id over if there is one already."""
        connection = self.place.broker.connection_through(LISTENER)
        assert connection is not None
        earlier = self.port
        self.waiting.clear()
        self.owed.clear()
        self.port = Port(connection)
        connection.connection_made(self.port)
        fields: dict[str, Any] = {"clean": clean}
        if self.version == 5:
            fields["properties"] = KEPT if properties is None else properties
        else:
            fields["level"] = self.version
            fields["name"] = "MQIsdp" if self.version == 3 else "MQTT"
        connection.data_received(self.build.connect(self.name, **fields))
        if earlier is not None:
            self._note(earlier)
        await self.place.settle()

    async def send(self, *chunks: bytes) -> None:
        """Send chunks, each of which is read by itself, and let the broker work them off."""
        self.waiting.extend(chunk for chunk in chunks if chunk)
        await self.place.settle()

    async def subscribe(self, *filters: tuple[str, int], identifier: int | None = None) -> None:
        properties = {} if identifier is None else {"properties": [(P.SUBSCRIPTION_ID, identifier)]}
        await self.send(self.build.subscribe(1, *filters, **properties))

    async def publish(self, topic: str, payloads: list[bytes], qos: int, **fields: Any) -> list[int]:
        """Publish all in one chunk; give the packet identifiers."""
        ids = [self.next_id() if qos else None for _ in payloads]
        data = [self.build.publish(topic, payload, qos, number, **fields) for payload, number in zip(payloads, ids)]  # noqa: B905
        await self.send(b"".join(data))
        return [number for number in ids if number]

    async def break_off(self) -> None:
        """Lose the connection."""
        assert self.port is not None
        if not self.port.closed:
            self.port.closed = True
            self.connection.connection_lost(None)
        await self.place.settle()

    def feed(self) -> bool:
        """Have the server read one chunk; False where it does not want to, or there is none."""
        if not self.waiting or self.port is None or self.port.closed or not self.port.reads:
            return False
        self.connection.data_received(self.waiting.popleft())
        return True

    def look(self) -> None:
        """Take in what came."""
        if self.port is not None:
            self._note(self.port)

    def _note(self, port: Port) -> None:
        data = b"".join(port.written)
        port.written.clear()
        for first, body in packets(data):
            kind, number = first >> 4, 0
            if self.version == 5:
                got = parse(first, body, len(body) + 2)
                number = got.packet_id
                # Their order is free, but for that of user properties among themselves.
                properties = tuple(sorted(got.properties, key=lambda entry: entry[0]))
                self.seen.append((kind, got.flags, number, got.reason, got.topic, properties, got.payload))
            else:
                plain = wire.Packet(kind, first & 15, body)
                if kind == PUBLISH:
                    number = plain.packet_id if plain.qos else 0
                    self.seen.append((kind, plain.flags, number, 0, plain.topic, (), plain.payload))
                else:
                    number = 0 if kind == CONNACK or len(body) < 2 else plain.packet_id
                    self.seen.append((kind, plain.flags, number, body))
            self._owe(kind, first, number)

    def _owe(self, kind: int, first: int, number: int) -> None:
        if kind == PUBLISH and first & 6:
            self.owed.append((PUBREC if first & 4 else PUBACK, number))
        elif kind == PUBREL:
            self.owed.append((PUBCOMP, number))
        elif kind == PUBREC:
            self.received.append(number)

    def messages(self) -> list[tuple[bytes, int, bool, int]]:
        """Take the messages that came: payload, QoS, DUP and packet identifier."""
        got = [entry for entry in self.seen if entry[0] == PUBLISH]
        self.seen.clear()
        return [(entry[6], entry[1] >> 1 & 3, bool(entry[1] & 8), entry[2]) for entry in got]  # type: ignore[operator,misc]

    def payloads(self) -> list[bytes]:
        return [payload for payload, *_ in self.messages()]

    def answers(self, kind: int) -> list[int]:
        """Give the packet identifiers of the acknowledgements of a kind."""
        return [entry[2] for entry in self.seen if entry[0] == kind]  # type: ignore[misc]

    async def answer(self, *, times: int = 1) -> None:
        """Acknowledge all that came, so many steps of a handshake in a row."""
        for _ in range(times):
            owed, self.owed = self.owed, []
            await self.send(b"".join([wire.acknowledge(kind, number) for kind, number in owed]))


class Place:
    """A broker whose clients have no sockets."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self.broker = broker
        self.clock = clock
        self.parties: dict[str, Party] = {}

    def party(self, name: str, version: int = 4) -> Party:
        if name not in self.parties:
            self.parties[name] = Party(self, name, version)
        return self.parties[name]

    async def connected(self, name: str, version: int = 4, *filters: tuple[str, int], **fields: Any) -> Party:
        """Connect a client that keeps its session and subscribes to these filters."""
        identifier = fields.pop("identifier", None)
        party = self.party(name, version)
        await party.connect(**fields)
        if filters:
            await party.subscribe(*filters, identifier=identifier)
        party.seen.clear()
        return party

    async def settle(self) -> None:
        """Let the broker do all that it can do at once."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while True:
            await asyncio.sleep(0)
            if not ready and not any([party.feed() for party in self.parties.values()]):
                break
        for party in self.parties.values():
            party.look()


@asynccontextmanager
async def playing(settings: MqttSettings | None = None, *, in_runs: bool = True) -> AsyncIterator[Place]:
    """Run a broker, with runs or without."""
    ignore_stalls()
    clock = Clock()
    reader = PacketReader if in_runs else _one_by_one
    config = {"listeners": {LISTENER: {"type": "external"}}, "plugins": PLUGINS}
    with clock.shown(), patch("wardenmq.broker.connection.PacketReader", reader):
        broker = Broker(config, settings=settings)
        broker.settings = replace(broker.settings, shutdown_timeout=0.0)  # some clients acknowledge nothing
        await broker.start()
        try:
            yield Place(broker, clock)
        finally:
            await broker.shutdown()


def _one_by_one(*arguments: Any, coalesce: bool, **options: Any) -> PacketReader:
    return PacketReader(*arguments, coalesce=False, **options)


def counts(traffic: Traffic) -> dict[str, object]:
    found = {name: getattr(traffic, name) for name in Traffic.__slots__ if name not in TOLD_APART}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def state(session: Session) -> dict[str, object]:
    """Give all that a session holds, in an order in which it matters."""
    flying = [(number, *described(sent, sent.message_of(number))) for number, sent in session.in_flight.items()]
    queued = [described(entry, entry.message) for entry in session.queue]
    return {
        "in flight": flying,
        "queue": queued,
        "counts": (session.in_flight_count, session.queue_length, session.queued_bytes),
        "awaiting release": set(session.awaiting_rel),
        "traffic": counts(session.traffic),
        "connected": session.connected,
    }


def described(delivery: Any, message: Message | None) -> tuple[object, ...]:
    """Give what a delivery and its message are."""
    own = (delivery.qos, delivery.retain, delivery.identifiers, delivery.group is not None)
    if message is None:
        return own
    return (*own, message.topic, message.payload, message.properties, message.expires_at, message.sender, message.qos)


# -- what may happen, drawn at random

TOPICS = ("t/a", "t/b", "u", DENIED, "nobody", "t/" + "x" * 130)
FILTERS = ("t/#", "t/+", "t/a", "t/b", "#", "u")
SHARED = "$share/group/t/#"
VERSIONS = {"p3": 3, "p4": 4, "p5": 5, "s4": 4, "s5": 5, "small5": 5, "away": 4, "g4": 4, "g5": 5}
PUBLISHERS = ("p3", "p4", "p5")
GROUP = ("g4", "g5")
OTHERS = ("s4", "s5", "small5", "away", "p5")


@dataclass(frozen=True)
class Row:
    """Messages in a row, alike or not so much."""

    topic: str
    qos: int
    count: int
    size: int = 5
    varied: bool = False
    flags: str = ""
    expiry: int | None = None
    user: bool = False
    alias: int = 0
    named: bool = True
    one_id: bool = False

    def encode(self, party: Party, number: Callable[[], int]) -> bytes:
        fields: dict[str, Any] = {"retain": "r" in self.flags, "dup": "d" in self.flags and self.qos > 0}
        topic = self.topic
        if party.version == 5:
            properties: list[tuple[int, object]] = [(P.USER, ("a", "b")), (P.USER, ("a", "a"))] if self.user else []
            if self.expiry is not None:
                properties.append((P.MESSAGE_EXPIRY, self.expiry))
            if self.alias:
                properties.append((P.TOPIC_ALIAS, self.alias))
                topic = topic if self.named else ""
            fields["properties"] = properties
        first = party.next_id() if self.qos else None
        found: list[bytes] = []
        for index in range(self.count):
            packet_id = first if not index or self.one_id or not self.qos else party.next_id()
            payload = b"%0*d" % (self.size + (index % 3 if self.varied else 0), number())
            found.append(party.build.publish(topic, payload, self.qos, packet_id, **fields))
        return b"".join(found)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(point % (len(data) + 1) for point in cuts)})
    return [data[a:b] for a, b in pairwise(points)]


@dataclass(frozen=True)
class Burst:
    """A publisher sends."""

    who: str
    rows: list[Row]
    cuts: list[int]
    tail: bytes = b""

    async def play(self, script: "Playing") -> None:
        party = script.place.party(self.who)
        if not party.connected:
            await party.connect()
        data = b"".join([row.encode(party, script.next_number) for row in self.rows]) + self.tail
        await party.send(*cut(data, self.cuts))


@dataclass(frozen=True)
class Answer:
    """A client answers some of what came to it."""

    who: str
    order: str
    part: int
    cuts: list[int]
    reason: int = 0
    times: int = 1
    stray: int = 0
    wrong: bool = False

    async def play(self, script: "Playing") -> None:
        party = script.place.party(self.who)
        if not party.connected:
            return
        chosen = choose(party.owed, self.order, self.part)
        party.owed = [owed for owed in party.owed if owed not in chosen]
        answers = [
            wire5.acknowledge(kind, number, self.reason)
            if party.version == 5 and self.reason and kind != PUBCOMP
            else wire.acknowledge(kind, number)
            for kind, number in chosen
        ] * self.times
        if self.stray:
            answers.insert(len(answers) // 2, wire.acknowledge(self.stray, 60_001))
        if self.wrong and chosen:
            kind, number = chosen[-1]
            answers[-1] = wire.acknowledge(PUBACK if kind != PUBACK else PUBCOMP, number)
        await party.send(*cut(b"".join(answers), self.cuts))


@dataclass(frozen=True)
class Release:
    """A publisher releases messages of QoS 2."""

    who: str
    order: str
    part: int
    stray: bool = False

    async def play(self, script: "Playing") -> None:
        party = script.place.party(self.who)
        if not party.connected:
            return
        chosen = choose(party.received, self.order, self.part)
        party.received = [number for number in party.received if number not in chosen]
        if self.stray:
            chosen.insert(len(chosen) // 2, 60_001)
        await party.send(b"".join([wire.acknowledge(PUBREL, number) for number in chosen]))


@dataclass(frozen=True)
class Come:
    """A client connects, or takes its own place."""

    who: str
    clean: bool = False
    receive_maximum: int = 0

    async def play(self, script: "Playing") -> None:
        properties = script.properties(self.who)
        if self.receive_maximum:
            properties = [*properties, (P.RECEIVE_MAXIMUM, self.receive_maximum)]
        await script.place.party(self.who).connect(clean=self.clean, properties=properties)


@dataclass(frozen=True)
class Join:
    """A client subscribes, which brings it retained messages, or leaves a subscription."""

    who: str
    topic_filter: str
    qos: int
    leave: bool

    async def play(self, script: "Playing") -> None:
        party = script.place.party(self.who)
        if party.connected and self.leave:
            await party.send(party.build.unsubscribe(2, self.topic_filter))
        elif party.connected:
            await party.subscribe((self.topic_filter, self.qos))


@dataclass(frozen=True)
class Leave:
    """A client goes."""

    who: str
    goodbye: bool

    async def play(self, script: "Playing") -> None:
        party = script.place.party(self.who)
        if party.connected and self.goodbye:
            await party.send(GOODBYE)
        elif party.connected:
            await party.break_off()


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    seconds: float

    async def play(self, script: "Playing") -> None:
        script.place.clock.now += self.seconds


@dataclass(frozen=True)
class GiveUp:
    """Consumers that are behind are found slow."""

    async def play(self, script: "Playing") -> None:
        pace = script.place.broker._engine.pace
        for consumer in list(pace._behind):
            pace._behind[consumer].cancel()
            pace._look(consumer, consumer.taken, 0.0, 0.0)
        await script.place.settle()


Step = Burst | Answer | Release | Come | Join | Leave | Wait | GiveUp


def choose(items: list[Any], order: str, part: int) -> list[Any]:
    """Take some of what there is."""
    found = list(dict.fromkeys(items))
    if order == "backwards":
        found.reverse()
    elif order == "every other":
        found = found[::2] + found[1::2]
    return found[: 1 + len(found) * part // 4] if part < 4 else found


@dataclass(frozen=True)
class Script:
    """Everything that happens, and where."""

    settings: MqttSettings
    limits: dict[str, list[tuple[int, object]]]
    subscriptions: dict[str, list[tuple[str, int, int | None]]]
    steps: list[Step]


class Playing:
    """One play of a script."""

    def __init__(self, script: Script, place: Place) -> None:
        self._script = script
        self._number = 0
        self.place = place

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def properties(self, who: str) -> list[tuple[int, object]]:
        return [*KEPT, *self._script.limits.get(who, [])]

    async def set_up(self) -> None:
        for who, version in VERSIONS.items():
            subscriptions = self._script.subscriptions.get(who, [])
            if not subscriptions and who not in PUBLISHERS:
                continue
            party = self.place.party(who, version)
            await party.connect(properties=self.properties(who))
            for topic_filter, options, identifier in subscriptions:
                await party.subscribe((topic_filter, options), identifier=identifier if version == 5 else None)
            if who == "away":
                await party.break_off()

    async def play(self) -> list[object]:
        """Play it; what anybody can know after each step."""
        await self.set_up()
        found: list[object] = []
        for step in self._script.steps:
            if getattr(step, "who", "p4") in self.place.parties:
                await step.play(self)  # type: ignore[arg-type]
                found.append((step, self._known()))
        for _ in range(3):
            for party in self.place.parties.values():
                if party.connected:
                    await party.answer()
        found.append(self._known())
        return found

    def _known(self) -> dict[str, object]:
        core = self.place.broker._engine
        known: dict[str, object] = {party.name: self._of(party) for party in self.place.parties.values()}
        known["sessions"] = {one.client_id: state(one) for one in core.registry}
        known["ended"], known["absent"] = counts(core.ended), counts(core.absent)
        known["retained"] = [found and (found[0], found[1].payload) for found in core.retained.match("#")]
        known["pace"] = (core.pace.episodes, core.pace.given_up)
        return known

    @staticmethod
    def _of(party: Party) -> object:
        """Sort what came since the last time: a publisher's own answers may come between other packets than before."""
        seen, party.seen = party.seen, []
        held = party.connected and party.port is not None and not party.port.reads
        if party.name not in PUBLISHERS:
            return party.connected, held, seen
        return party.connected, held, sorted(seen, key=lambda entry: _STREAM.get(entry[0], 0))  # type: ignore[arg-type]


_STREAM = {PUBLISH: 1, PUBACK: 2, PUBREC: 2, PUBREL: 3, PUBCOMP: 4}


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    pick = st.sampled_from
    chosen = MqttSettings(
        max_inflight=draw(pick([32, 8, 3, 1])),
        max_mqueue_len=draw(pick([1_000, 1_000, 20, 6, 1, 0])),
        max_mqueue_bytes=draw(pick([16_777_216, 16_777_216, 1_500, 0])),
        mqueue_drop=draw(pick(["oldest", "newest"])),
        max_awaiting_rel=draw(pick([1_000, 1_000, 4])),
    )
    limits: dict[str, list[tuple[int, object]]] = {
        "small5": [(P.MAXIMUM_PACKET_SIZE, 60)] if draw(st.booleans()) else [(P.TOPIC_ALIAS_MAXIMUM, 1)],
        "s5": [(P.RECEIVE_MAXIMUM, draw(pick([2, 5])))] if draw(st.booleans()) else [],
    }
    options = st.builds(wire5.options, st.integers(0, 2), retain_as_published=st.booleans(), no_local=st.booleans())
    subscriptions: dict[str, list[tuple[str, int, int | None]]] = {}
    for who in draw(st.lists(pick(OTHERS), min_size=2, max_size=5, unique=True)):
        five = VERSIONS[who] == 5
        one = st.tuples(pick(FILTERS), options if five else st.integers(0, 2), pick([None, None, 1, 200]))
        subscriptions[who] = draw(st.lists(one, min_size=1, max_size=3))
    if draw(pick([False, False, True])):
        subscriptions |= {who: [(SHARED, draw(st.integers(0, 2)), None)] for who in GROUP}
    steps = st.lists(_steps(sorted(subscriptions)), min_size=5, max_size=16)
    return Script(chosen, limits, subscriptions, draw(steps))


def _steps(subscribers: list[str]) -> st.SearchStrategy[Step]:
    pick = st.sampled_from
    lengths = st.one_of(st.integers(3, 12), st.integers(1, 12), pick([40, 300]))
    rarely = pick([False] * 7 + [True])
    rows = st.builds(
        Row,
        pick([*TOPICS[:2] * 4, *TOPICS]),
        pick([0, 1, 1, 2, 2]),
        lengths,
        pick([5, 5, 6, 130]),
        rarely,
        pick(["", "", "", "", "", "", "d", "r", "r"]),
        pick([None, None, None, 10]),
        rarely,
        pick([0, 0, 0, 0, 1, 2]),
        st.booleans(),
        rarely,
    )
    cuts = st.one_of(st.just([]), st.lists(st.integers(0, 5_000), max_size=3))
    parts, orders = pick([4, 4, 4, 0, 1, 2, 3]), pick(["in order", "in order", "backwards", "every other"])
    burst = st.builds(
        Burst,
        pick(PUBLISHERS),
        st.lists(rows, min_size=1, max_size=4),
        cuts,
        pick([b"", b"", b"", b"", b"", QOS_3, GOODBYE]),
    )
    answer = st.builds(
        Answer,
        pick(subscribers),
        orders,
        parts,
        cuts,
        pick([0, 0, 0, 0, 0x10, 0x80]),
        pick([1, 1, 1, 1, 2]),
        pick([0, 0, 0, 0, 0, PUBACK, PUBREC, PUBCOMP]),
        rarely,
    )

    def join(who: str) -> st.SearchStrategy[Step]:
        # Who has both gets the copies of the two in any order, for a shared subscription is served by itself.
        return st.builds(Join, st.just(who), pick([SHARED] if who in GROUP else FILTERS), st.integers(0, 2), rarely)

    return st.one_of(
        burst,
        burst,
        burst,
        answer,
        answer,
        answer,
        st.builds(Release, pick(PUBLISHERS), orders, parts, st.booleans()),
        st.builds(Come, pick(subscribers), pick([False, False, False, True]), pick([0, 0, 2])),
        pick(subscribers).flatmap(join),
        st.builds(Leave, pick(subscribers), st.booleans()),
        pick([Wait(4.0), Wait(20.0), GiveUp()]),
    )


async def _play(script: Script, in_runs: bool) -> list[object]:
    async with playing(script.settings, in_runs=in_runs) as place:
        return await Playing(script, place).play()


@given(scripts())
@settings(max_examples=max(EXAMPLES, settings().max_examples), suppress_health_check=[HealthCheck.too_slow])
def test_runs_are_told_apart_from_single_messages_by_nobody(script: Script) -> None:
    with asyncio.Runner() as runner:
        single = runner.run(_play(script, in_runs=False))
        together = runner.run(_play(script, in_runs=True))
    for ours, theirs in zip(together, single, strict=True):
        assert not differences(ours, theirs)


def differences(ours: object, theirs: object, where: str = "") -> list[str]:
    """Say where two plays come apart, so that a failure can be read."""
    if ours == theirs:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return [found for key in ours for found in differences(ours[key], theirs[key], f"{where} {key}")]
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [found for at, pair in pairs for found in differences(*pair, f"{where} {at}")]
    return [f"{where}: together {ours!r}, one by one {theirs!r}"]


# -- one edge after the other, with runs

LARGE = MqttSettings(max_inflight=1_000, max_mqueue_len=10_000)


def numbered(count: int, start: int = 0, size: int = 4) -> list[bytes]:
    return [b"%0*d" % (size, number) for number in range(start, start + count)]


@contextmanager
def taken() -> Iterator[list[int]]:
    """Note how many messages are taken together."""
    found: list[int] = []
    original = incoming.Incoming.publish_numbered

    def publish_numbered(self: incoming.Incoming, flags: int, topic: bytes, packet_ids: bytes, *rest: Any) -> Any:
        found.append(len(packet_ids) // 2)
        return original(self, flags, topic, packet_ids, *rest)

    with patch.object(incoming.Incoming, "publish_numbered", publish_numbered):
        yield found


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_run_that_is_longer_than_the_window_waits_for_it(qos: int) -> None:
    async with playing(MqttSettings(max_inflight=8)) as place:
        subscriber = await place.connected("s", 4, ("t", qos))
        publisher = await place.connected("p")
        with taken() as together:
            ids = await publisher.publish("t", numbered(20), qos)
        assert together == [20]
        assert publisher.answers(PUBACK if qos == 1 else PUBREC) == ids
        assert (subscriber.session.in_flight_count, subscriber.session.queue_length) == (8, 12)
        got = subscriber.messages()
        while subscriber.owed:
            await subscriber.answer()
            got += subscriber.messages()
        assert got == [(payload, qos, False, at) for at, payload in enumerate(numbered(20), 1)]
        assert state(subscriber.session)["counts"] == (0, 0, 0)
        assert subscriber.session.traffic.acked == 20


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (65_530, [65_531, 65_532, 65_533, 65_534, 65_535, 1, 3, 4, 6, 7, 8, 9]),
        (65_535, [1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
        (3, [4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ],
)
@pytest.mark.parametrize("qos", [1, 2])
async def test_packet_identifiers_go_on_behind_the_last_and_leave_out_what_is_in_flight(
    qos: int, last: int, expected: list[int]
) -> None:
    """[MQTT-2.3.1-4] [MQTT-2.2.1-4]: a run across 65,535 meets messages that were never acknowledged."""
    async with playing(LARGE) as place:
        subscriber = await place.connected("s", 4, ("t", qos))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(6), qos)
        subscriber.messages()
        subscriber.owed = [owed for owed in subscriber.owed if owed[1] not in (2, 5)]
        await subscriber.answer(times=2)
        subscriber.session._last_packet_id = last
        await publisher.publish("t", numbered(12, 6), qos)
        got = subscriber.messages()
        assert [(payload, number) for payload, _, _, number in got] == list(zip(numbered(12, 6), expected, strict=True))
        assert list(subscriber.session.in_flight) == [2, 5, *expected]
        while subscriber.owed:
            await subscriber.answer()
        assert list(subscriber.session.in_flight) == [2, 5]


async def test_what_was_sent_in_runs_is_sent_again_in_its_order() -> None:
    """[MQTT-4.4.0-1] [MQTT-4.6.0-1]: with DUP and the same identifiers, and before what came meanwhile."""
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("t", 1))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(10), 1)
        subscriber.messages()
        subscriber.owed = [(PUBACK, 5), (PUBACK, 2), (PUBACK, 3)]
        await subscriber.answer()
        await subscriber.break_off()
        await publisher.publish("t", numbered(5, 10), 1)
        session = subscriber.session
        assert (session.in_flight_count, session.queue_length) == (7, 5)
        await subscriber.connect()
        again = [(payload, 1, True, at) for at, payload in enumerate(numbered(10), 1) if at not in (2, 3, 5)]
        assert subscriber.messages() == [
            *again,
            *((payload, 1, False, at) for at, payload in enumerate(numbered(5, 10), 11)),
        ]
        await subscriber.answer()
        assert state(session)["counts"] == (0, 0, 0)


async def test_a_run_of_qos_2_goes_on_where_each_message_was() -> None:
    """[MQTT-4.4.0-1]: PUBREL for what was received, PUBLISH for the rest, each in the order of the messages."""
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("t", 2))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(6), 2)
        subscriber.messages()
        subscriber.owed = [(PUBREC, 4), (PUBREC, 2), (PUBREC, 1)]
        await subscriber.answer()
        assert subscriber.answers(PUBREL) == [4, 2, 1]
        subscriber.owed = [(PUBCOMP, 2)]
        await subscriber.answer()
        await subscriber.break_off()
        subscriber.seen.clear()
        await subscriber.connect()
        assert [(entry[0], entry[2]) for entry in subscriber.seen] == [
            (CONNACK, 0),
            (PUBREL, 1),
            (PUBLISH, 3),
            (PUBREL, 4),
            (PUBLISH, 5),
            (PUBLISH, 6),
        ]
        await subscriber.answer(times=2)
        assert state(subscriber.session)["counts"] == (0, 0, 0)


@pytest.mark.parametrize(("drop", "kept"), [("oldest", range(20, 30)), ("newest", range(10))])
async def test_a_run_overflows_the_queue_of_an_absent_client_by_the_stated_policy(drop: str, kept: range) -> None:
    async with playing(MqttSettings(max_mqueue_len=10, mqueue_drop=drop)) as place:
        subscriber = await place.connected("s", 4, ("t", 1))
        await subscriber.break_off()
        publisher = await place.connected("p")
        for start in (0, 6, 12):  # the first fits, the second in part, the third not at all
            await publisher.publish("t", numbered(6 if start < 12 else 18, start), 1)
        session = subscriber.session
        assert session.traffic.dropped_queue_full == place.broker._engine.absent.dropped_queue_full == 20
        assert session.queued_bytes == sum(entry.message.weight for entry in session.queue if entry.message)
        await subscriber.connect()
        assert subscriber.payloads() == numbered(len(kept), kept[0])
        assert session.queued_bytes == 0


@pytest.mark.parametrize(("drop", "kept"), [("oldest", range(25, 30)), ("newest", range(5))])
async def test_a_run_overflows_the_bytes_of_a_queue(drop: str, kept: range) -> None:
    weight = Message("t", numbered(1)[0]).weight
    async with playing(MqttSettings(max_mqueue_bytes=5 * weight + 1, mqueue_drop=drop)) as place:
        subscriber = await place.connected("s", 4, ("t", 1))
        await subscriber.break_off()
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(30), 1)
        assert subscriber.session.queued_bytes == 5 * weight
        assert subscriber.session.traffic.dropped_queue_full == 25
        await subscriber.connect()
        assert subscriber.payloads() == numbered(5, kept[0])


@pytest.mark.parametrize("version", [4, 5])
async def test_a_run_expires_while_it_waits(version: int) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]: what is left of the interval is told, what has none left is not sent."""
    async with playing() as place:
        subscriber = await place.connected("s", version, ("t", 1))
        await subscriber.break_off()
        publisher = await place.connected("p", 5)
        await publisher.publish("t", numbered(4), 1, properties=[(P.MESSAGE_EXPIRY, 10)])
        await publisher.publish("t", numbered(4, 4), 1, properties=[(P.MESSAGE_EXPIRY, 60)])
        await publisher.publish("t", numbered(4, 8), 1)
        place.clock.now += 20
        await subscriber.connect()
        got = [entry for entry in subscriber.seen if entry[0] == PUBLISH]
        assert [entry[6] for entry in got] == numbered(8, 4)
        told = [dict(entry[5]).get(P.MESSAGE_EXPIRY) for entry in got]  # type: ignore[call-overload]
        assert told == ([40] * 4 + [None] * 4 if version == 5 else [None] * 8)
        assert subscriber.session.traffic.dropped_expired == 4
        assert subscriber.session.queued_bytes == 0
        place.clock.now += 15.5
        subscriber.seen.clear()
        await subscriber.connect()  # sent again, with what is left by then
        got = [entry for entry in subscriber.seen if entry[0] == PUBLISH]
        told = [dict(entry[5]).get(P.MESSAGE_EXPIRY) for entry in got]  # type: ignore[call-overload]
        assert told == ([25] * 4 + [None] * 4 if version == 5 else [None] * 8)


@pytest.mark.parametrize("version", [4, 5])
async def test_a_rule_that_is_withdrawn_between_two_messages_of_a_run_holds_for_the_next(version: int) -> None:
    """The rest of the bytes comes after the change; what was allowed before has been delivered."""
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("#", 1))
        publisher = await place.connected("p", version)
        build = wire5 if version == 5 else wire
        rows = [build.publish("t/maybe", payload, 1, at) for at, payload in enumerate(numbered(10), 1)]
        data, at = b"".join(rows), 4 * len(rows[0]) + 3
        await publisher.send(data[:at])
        plugin = place.broker._engine.access._authorizers[0]
        with patch.object(plugin.config, "publish", ["t/maybe"]):  # type: ignore[attr-defined]
            link = publisher.session.link
            assert link is not None
            link.forget_decisions()
            await publisher.send(data[at:])
        assert subscriber.payloads() == numbered(4)
        assert publisher.answers(PUBACK) == list(range(1, 11))
        if version == 5:
            assert [entry[3] for entry in publisher.seen] == [0] * 4 + [0x87] * 6
        assert publisher.session.traffic.publish_dropped == 6


@pytest.mark.parametrize(
    "tail", [QOS_3, wire.publish("t", b"0004", 1, 0), b"\x40\2\0\0", wire.publish("a/#", b"", 1, 9)]
)
async def test_what_comes_before_a_malformed_packet_is_delivered(tail: bytes) -> None:
    """[MQTT-4.8.0-1]: at every quality of service; the publisher is closed, and nothing behind is taken."""
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("t", 2))
        for qos in (0, 1, 2):
            publisher = await place.connected(f"p{qos}")
            rows = [wire.publish("t", payload, qos, at if qos else None) for at, payload in enumerate(numbered(5), 1)]
            await publisher.send(b"".join(rows) + tail + rows[0])
            assert subscriber.payloads() == numbered(5)
            assert not publisher.connected
            assert publisher.answers(PUBACK) + publisher.answers(PUBREC) == (list(range(1, 6)) if qos else [])


async def test_a_publisher_that_is_taken_over_has_what_it_had_sent_whole_delivered() -> None:
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("t", 1))
        publisher = await place.connected("p")
        rows = b"".join([wire.publish("t", payload, 1, at) for at, payload in enumerate(numbered(10), 1)])
        await publisher.send(rows[:-3])
        earlier = publisher.connection
        await publisher.connect()
        earlier.data_received(rows[-3:])
        await place.settle()
        assert subscriber.payloads() == numbered(9)
        await publisher.publish("t", numbered(1, 9), 1)
        assert subscriber.payloads() == numbered(1, 9)


@pytest.mark.parametrize("version", [3, 4, 5])
async def test_each_receiver_of_a_run_gets_it_in_its_own_form(version: int) -> None:
    """[MQTT-3.3.4-3] [MQTT-3.8.4-6]: with its identifiers, at the lower of the two QoS, and within what it takes."""
    async with playing() as place:
        plain = [await place.connected(f"s{number}", number, ("t", 2)) for number in (3, 4, 5)]
        identified = await place.connected("i", 5, ("t", 1), identifier=300)
        lower = await place.connected("l", 4, ("t", 0))
        small = await place.connected("small", 5, ("t", 2), properties=[*KEPT, (P.MAXIMUM_PACKET_SIZE, 40)])
        publisher = await place.connected("p", version)
        with taken() as together:
            await publisher.publish("t", numbered(5), 2)
            await publisher.publish("t", numbered(5, 5, 40), 2)
        assert together == [5, 5]
        both = [*numbered(5), *numbered(5, 5, 40)]
        for subscriber in plain:
            assert subscriber.messages() == [(payload, 2, False, at) for at, payload in enumerate(both, 1)]
        assert [entry[5] for entry in identified.seen] == [((P.SUBSCRIPTION_ID, 300),)] * 10
        assert identified.messages() == [(payload, 1, False, at) for at, payload in enumerate(both, 1)]
        assert lower.messages() == [(payload, 0, False, 0) for payload in both]
        assert small.payloads() == numbered(5)
        assert small.session.traffic.dropped_too_large == 5


async def test_a_run_that_waited_is_sent_within_what_the_client_takes_now() -> None:
    """[MQTT5-3.1.2-25]: it may ask for less than when the messages came."""
    async with playing() as place:
        subscriber = await place.connected("s", 5, ("t", 1))
        await subscriber.break_off()
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(5), 1)
        await publisher.publish("t", numbered(5, 5, 40), 1)
        await publisher.publish("t", numbered(5, 10), 1)
        await subscriber.connect(properties=[*KEPT, (P.MAXIMUM_PACKET_SIZE, 40)])
        assert subscriber.payloads() == [*numbered(5), *numbered(5, 10)]
        assert subscriber.session.traffic.dropped_too_large == 5
        assert state(subscriber.session)["counts"] == (10, 0, 0)


async def test_a_run_to_many_is_no_longer_than_what_one_client_may_cause_at_once() -> None:
    async with playing() as place:
        subscribers = [await place.connected(f"s{number}", 4, ("t", 1)) for number in range(20)]
        publisher = await place.connected("p")
        with taken() as together, patch.object(incoming, "_WORK", 100):
            ids = await publisher.publish("t", numbered(30), 1)
        assert together == [5] * 6
        assert publisher.answers(PUBACK) == ids
        for subscriber in subscribers:
            assert subscriber.payloads() == numbered(30)
        with taken() as together, patch.object(incoming, "_WORK", 59):
            await publisher.publish("t", numbered(2, 30), 1)
        assert together == []
        assert [subscriber.payloads() for subscriber in subscribers] == [numbered(2, 30)] * 20


# -- pace: whoever publishes waits before anything is lost

TIGHT = {
    "messages": (MqttSettings(max_inflight=4, max_mqueue_len=20), 4),
    "bytes": (MqttSettings(max_inflight=4, max_mqueue_bytes=4_000), 4),
    "bytes of large messages": (MqttSettings(max_inflight=4, max_mqueue_bytes=10_000), 900),
    "a window that is wider than the queue": (MqttSettings(max_inflight=200, max_mqueue_len=10), 4),
}


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(("settings_", "size"), TIGHT.values(), ids=TIGHT.keys())
async def test_a_run_holds_its_publisher_before_the_queue_is_full(settings_: MqttSettings, size: int, qos: int) -> None:
    async with playing(settings_) as place:
        subscriber = await place.connected("s", 4, ("t", qos))
        publisher = await place.connected("p")
        payloads = numbered(600, size=size)
        await publisher.publish("t", payloads, qos)
        assert publisher.port is not None
        assert not publisher.port.reads
        got = subscriber.payloads()
        while subscriber.owed:
            await subscriber.answer()
            got += subscriber.payloads()
        assert got == payloads
        assert subscriber.session.traffic.dropped_queue_full == 0
        assert publisher.port.reads


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_run_to_a_socket_that_takes_no_more_holds_its_publisher(qos: int) -> None:
    """Then the window does not help: all that comes waits in the queue, whose bound is the lower one here."""
    async with playing(MqttSettings(max_inflight=200, max_mqueue_len=20)) as place:
        subscriber = await place.connected("s", 4, ("t", qos))
        publisher = await place.connected("p")
        subscriber.connection.pause_writing()
        with patch.object(outgoing, "WRITE_HIGH_WATER", 1_000):
            payloads = numbered(300, size=100)
            await publisher.publish("t", payloads[:12], qos)
            assert subscriber.connection.out.congested
            await publisher.publish("t", payloads[12:], qos)
            assert publisher.port is not None
            assert not publisher.port.reads
            assert subscriber.session.traffic.dropped_queue_full == 0
            subscriber.connection.resume_writing()
            await place.settle()
            got = subscriber.payloads()
            while subscriber.owed:
                await subscriber.answer()
                got += subscriber.payloads()
        assert got == payloads
        assert subscriber.session.traffic.dropped_queue_full == 0


# -- what waits, looked through


async def test_queued_messages_of_runs_can_be_looked_through() -> None:
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("t/#", 1))
        await subscriber.break_off()
        publisher = await place.connected("p")
        for topic, start in (("t/a", 0), ("t/b", 5), ("t/a", 10)):
            await publisher.publish(topic, numbered(5, start), 1)
        session = subscriber.session
        session.keep_queued(lambda entry: entry.topic == "t/a" and entry.message.payload not in numbered(2, 2))
        kept = [*numbered(2), *numbered(1, 4), *numbered(5, 10)]
        assert [entry.message.payload for entry in session.queue if entry.message] == kept
        assert session.queued_bytes == sum(entry.message.weight for entry in session.queue if entry.message)
        await subscriber.connect()
        assert [(payload, number) for payload, _, _, number in subscriber.messages()] == [
            (payload, number) for number, payload in enumerate(kept, 1)
        ]
        assert session.queued_bytes == 0


async def test_plugins_see_the_messages_of_runs_in_flight() -> None:
    async with playing() as place:
        subscriber = await place.connected("s", 5, ("t", 2), identifier=7)
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(6), 2)
        view = view_of(subscriber.session)
        seen = view.inflight_out
        assert [(number, entry.topic, entry.data, entry.qos, entry.retain) for number, entry in seen.items()] == [
            (number, "t", payload, 2, False) for number, payload in enumerate(numbered(6), 1)
        ]
        subscriber.owed = [(PUBREC, 1), (PUBREC, 2), (PUBREC, 3)]
        await subscriber.answer()
        assert list(view.inflight_out) == [4, 5, 6]
        assert view.inflight_out_count == 6


@pytest.mark.parametrize("waits", [False, True], ids=["sent", "queued before"])
@pytest.mark.parametrize("version", [4, 5])
async def test_what_a_few_unacknowledged_messages_hold_is_bounded(version: int, waits: bool) -> None:
    """A message that waits for its acknowledgement keeps the run that it came in, and what was made of it."""
    async with playing(MqttSettings(max_inflight=250, max_mqueue_len=10_000)) as place:
        subscriber = await place.connected("s", version, ("t", 1), identifier=7 if version == 5 else None)
        publisher = await place.connected("p")
        size, runs, kept = 600, 20, 0
        for keep in (0, 1):  # once to have caches filled
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(runs):
                if waits:
                    await subscriber.break_off()
                await publisher.publish("t", numbered(100, size=size), 1)
                if waits:
                    await subscriber.connect()
                publisher.seen.clear()
                subscriber.seen.clear()
                kept += keep
                subscriber.owed = subscriber.owed[kept if waits else keep :]
                await subscriber.answer()
            gc.collect()
            more = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
        assert state(subscriber.session)["counts"] == (runs, 0, 0)
        assert more < 4 * runs * RUN_BYTES
        subscriber.owed = [(PUBACK, number) for number in subscriber.session.in_flight]
        await subscriber.answer()
        assert state(subscriber.session)["counts"] == (0, 0, 0)


# -- acknowledgements in a row


async def test_an_acknowledgement_of_nothing_among_others_is_counted_and_no_more() -> None:
    async with playing(MqttSettings(max_inflight=6)) as place:
        subscriber = await place.connected("s", 4, ("t", 1))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(12), 1)
        subscriber.messages()
        subscriber.owed = [(PUBACK, number) for number in (1, 2, 2, 60_000, 3, 4)]
        await subscriber.answer()
        assert subscriber.payloads() == numbered(4, 6)
        traffic = subscriber.session.traffic
        assert (traffic.acked, traffic.missed[PUBACK], traffic.acks_received[PUBACK]) == (4, 2, 6)


@pytest.mark.parametrize("wrong", [PUBREC, PUBCOMP])
async def test_acknowledgements_before_a_wrong_one_count(wrong: int) -> None:
    """[MQTT-4.8.0-1]: what waited has been sent, and the counters are those of the packets that were taken."""
    async with playing(MqttSettings(max_inflight=6)) as place:
        subscriber = await place.connected("s", 4, ("t", 1), ("u", 2))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(4), 1)
        await publisher.publish("u", numbered(2, 4), 2)
        await publisher.publish("t", numbered(4, 6), 1)
        subscriber.messages()
        await subscriber.send(
            b"".join([wire.acknowledge(PUBACK, number) for number in (1, 2, 5, 3)])
            if wrong == PUBREC
            else b"".join([wire.acknowledge(PUBACK, number) for number in (1, 2)] + [wire.acknowledge(wrong, 5)] * 3)
        )
        assert not subscriber.connected
        assert subscriber.payloads() == numbered(2, 6)
        session = subscriber.session
        assert session.traffic.acked == 2
        assert session.traffic.acks_received[PUBACK] == (3 if wrong == PUBREC else 2)
        assert session.traffic.acks_received[PUBCOMP] == (0 if wrong == PUBREC else 1)
        assert list(session.in_flight) == [3, 4, 5, 6, 7, 8]


async def test_repeated_and_early_answers_of_qos_2_are_taken_one_by_one() -> None:
    """[MQTT-4.3.3-1]: PUBREC twice is answered twice; PUBCOMP before PUBREC is an error."""
    async with playing() as place:
        subscriber = await place.connected("s", 4, ("t", 2))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(4), 2)
        subscriber.messages()
        subscriber.owed = [(PUBREC, number) for number in (1, 2, 1, 2, 60_000)]
        await subscriber.answer()
        assert subscriber.answers(PUBREL) == [1, 2, 1, 2, 60_000]
        subscriber.owed = [(PUBCOMP, number) for number in (1, 2, 3)]
        await subscriber.answer()
        assert not subscriber.connected
        assert list(subscriber.session.in_flight) == [3, 4]
        assert subscriber.session.traffic.acked == 2


async def test_a_negative_pubrec_among_others_ends_its_handshake_alone() -> None:
    """[MQTT5-4.3.3-4]: without PUBREL."""
    async with playing(MqttSettings(max_inflight=4)) as place:
        subscriber = await place.connected("s", 5, ("t", 2))
        publisher = await place.connected("p")
        await publisher.publish("t", numbered(6), 2)
        subscriber.messages()
        answers = [wire5.acknowledge(PUBREC, number, 0x80 if number == 3 else None) for number in (1, 2, 3, 4)]
        await subscriber.send(b"".join(answers))
        assert subscriber.answers(PUBREL) == [1, 2, 4]
        assert subscriber.payloads() == numbered(1, 4)
        assert list(subscriber.session.in_flight) == [1, 2, 4, 5]
