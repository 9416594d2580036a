"""A journaled session sends what a plain one sends, in the same order; what it promises is written before."""

import asyncio
import random
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wardenmq.broker.access import Identity
from wardenmq.broker.alarms import Alarms
from wardenmq.broker.deliveries import Group, Offer
from wardenmq.broker.journal.journal import Journal
from wardenmq.broker.journal.session import JournaledSession
from wardenmq.broker.message import Message
from wardenmq.broker.message_run import MessageRun
from wardenmq.broker.pace import Pace
from wardenmq.broker.protocol.errors import ProtocolError
from wardenmq.broker.protocol.packet_ids import unpack_ids
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.broker.routing.shared import SharedGroup, Strategy
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.broker.traffic import Traffic

from ..conditions import until
from ..test_runs import Clock
from .memory_store import MemoryStore
from .places import numbered, playing, shown

PUBACK, PUBREC, PUBCOMP = 4, 5, 7
SETTINGS = MqttSettings(max_inflight=8, max_mqueue_len=20)
IDS = 65_535


class RecordingLink:
    """Note what a session sends, as a client would see it."""

    def __init__(self, most: int = 0) -> None:
        self.traffic = Traffic()
        self.behind = self.slow = self.paused = self.congested = False
        self.most = most
        """Bytes of payload that the client takes."""
        self.sent: list[tuple[bytes, int, bool, bool, int]] = []
        """Payload, QoS, RETAIN, DUP and packet identifier of each PUBLISH."""
        self.released: list[int] = []
        self.unknown: list[int] = []
        self.closed_for: ReasonCode | None = None
        self._waiting: list[tuple[int, bytes]] = []

    def relay(self, chunk: bytes, count: int) -> None:
        raise AssertionError("a session relays nothing")

    def send_publish(
        self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool = False, identifiers: bytes = b""
    ) -> bool:
        if 0 < self.most < len(message.payload):
            return False
        self.sent.append((message.payload, qos, retain, dup, packet_id))
        return True

    def send_run(self, run: MessageRun, qos: int, at: int, count: int, first_id: int, identifiers: bytes = b"") -> None:
        payloads = run.payloads[at : at + count] if qos else run.payloads
        for place, payload in enumerate(payloads):
            self.sent.append((payload, qos, False, False, first_id + place if qos else 0))

    def send_pubrel(self, packet_id: int, known: bool = True) -> None:
        (self.released if known else self.unknown).append(packet_id)

    def send_pubrels(self, packet_ids: bytes) -> None:
        self.released += unpack_ids(packet_ids)

    def release_when_written(self, journal: Any, packet_ids: bytes) -> None:
        self._waiting.append((journal.wait(self), packet_ids))

    def written(self, committed: int) -> None:
        while self._waiting and self._waiting[0][0] <= committed:
            self.send_pubrels(self._waiting.pop(0)[1])

    def stalled(self) -> None: ...

    def fall_behind(self) -> None: ...

    def catch_up(self) -> None: ...

    def forget_decisions(self) -> None: ...

    def close(self, reason: ReasonCode) -> None:
        self.closed_for = reason


class Side:
    """One session, plain or journaled, and its client."""

    def __init__(self, mqtt: MqttSettings, store: MemoryStore | None) -> None:
        self.settings = mqtt
        self.store = store
        identity = Identity("a", None, None, "")
        loop = asyncio.get_running_loop()
        self.journal: Journal | None = None
        self.session: Session
        if store is None:
            self.session = Session(identity, mqtt, Traffic(), Traffic())
        else:
            self.journal = Journal(store, mqtt, Alarms(), Pace(loop), loop)
            self.session = JournaledSession(identity, mqtt, Traffic(), Traffic(), self.journal, self.journal.new_key())
        self.session.expiry_interval = 100.0
        self.link: RecordingLink | None = None
        self.unanswered: list[tuple[int, int]] = []
        """What the client may answer: QoS and packet identifier."""
        self.completing: list[int] = []
        self.got: list[tuple[bytes, int, bool, bool]] = []
        self.received: set[int] = set()
        self._seen = self._released = 0

    def connect(self, window: int = 0, most: int = 0) -> None:
        self.session.max_inflight = window or self.settings.max_inflight
        self.session.limited = most > 0
        self.link = RecordingLink(most)
        self.unanswered.clear()
        self.completing.clear()
        self._seen = self._released = 0
        self.session.traffic = self.link.traffic
        self.session.disconnected_at = None
        self.session.link = self.link
        self.session.returned()

    def resume(self) -> None:
        self.session.resend()
        self.session.drain()

    def lose(self) -> None:
        self.session.link = self.link = None
        self.session.left()

    async def settle(self) -> None:
        """Have all written that is to be, and take in what came of it."""
        if self.journal is not None:
            for _ in range(1_000):
                self.journal._press()  # nobody is to be patient here
                assert await self.journal.written()
                for _ in range(4):
                    await asyncio.sleep(0)
                if (
                    not self.journal.contents.loading
                    and self.journal._open.changes_nothing
                    and not self.journal._open.waiters
                ):
                    break
            else:
                raise AssertionError("the session does not come to rest")
        self.look()

    def look(self) -> None:
        link = self.link
        if link is None:
            return
        for payload, qos, retain, dup, packet_id in link.sent[self._seen :]:
            self.got.append((payload, qos, retain, dup))
            if qos:
                self.unanswered.append((qos, packet_id))
        self._seen = len(link.sent)
        self.completing += link.released[self._released :]
        self._released = len(link.released)

    def answer(self, count: int, *, together: bool) -> None:
        """Answer the oldest messages that came."""
        chosen, self.unanswered = self.unanswered[:count], self.unanswered[count:]
        self._acknowledge([(PUBACK if qos == 1 else PUBREC, number) for qos, number in chosen], together)

    def complete(self, count: int, *, together: bool) -> None:
        chosen, self.completing = self.completing[:count], self.completing[count:]
        self._acknowledge([(PUBCOMP, number) for number in chosen], together)

    def _acknowledge(self, answers: list[tuple[int, int]], together: bool) -> None:
        session = self.session
        while answers:
            kind = answers[0][0]
            alike = [number for each, number in answers if each == kind]
            answers = [entry for entry in answers if entry[0] != kind]
            taken = 0
            if together and len(alike) > 1:
                taken = session.acknowledge_all(kind, b"".join([number.to_bytes(2, "big") for number in alike]))
            for number in alike[taken:]:
                session.acknowledge(kind, number)

    def state(self) -> tuple[object, ...]:
        session = self.session
        return (
            session.in_flight_count,
            session.queue_length,
            session.queued_bytes,
            [(entry.topic, entry.qos, entry.retain, entry.weight) for entry in session.queue],
        )

    def counted(self) -> dict[str, object]:
        traffic = self.session.traffic
        return {
            name: getattr(traffic, name)
            for name in ("acked", "dropped_queue_full", "dropped_expired", "dropped_too_large")
        }


def message(payload: bytes, topic: str = "t", *, expires_at: float | None = None, retain: bool = False) -> Message:
    return Message(topic, payload, 2, retain, "pub", None, b"", expires_at)


def run_of(payloads: list[bytes], expires_at: float | None = None) -> MessageRun:
    head = b"\x32" + bytes((5 + len(payloads[0]),)) + b"\0\1t\0\0"
    packets = b"".join([head + payload for payload in payloads])
    return MessageRun("t", b"t", "pub", 1, packets, len(payloads), 5, 7, b"", expires_at)


# -- the same script for both


class Script:
    """Do at random what happens to a session, to both sides alike."""

    def __init__(self, seed: int, *, only_qos: int | None) -> None:
        self.chance = random.Random(seed)
        self.number = 0
        self.room = IDS
        self.only_qos = only_qos
        self.clock = Clock()
        chance = self.chance
        self.settings = MqttSettings(
            max_inflight=chance.choice((1, 3, 8)),
            max_mqueue_len=chance.choice((0, 6, 20)),
            max_mqueue_bytes=chance.choice((0, 0, 1_500)),
            mqueue_drop=chance.choice(("oldest", "newest")),
            max_queued_memory=chance.choice((0, 500, 1 << 28)),
        )
        # The one looks at expired messages when they may be sent, the other when they might; so no bound depends on it.
        self.expires = not self.settings.max_mqueue_len and not self.settings.max_mqueue_bytes
        self.group: Group = SharedGroup("g", "t", Strategy.ROUND_ROBIN, full_filter="$share/g/t")

    async def play(self, steps: int) -> tuple["Side", "Side"]:
        sides = Side(self.settings, None), Side(self.settings, MemoryStore())
        for _ in range(steps):
            # As publishers do who do not want to hold anybody up; what is written first has to wait in the queue.
            self.room = min([side.session.room for side in sides if side.link is not None], default=IDS)
            step = self.draw()
            for side in sides:
                step(side)
                await side.settle()
            self.compare(*sides)
        for side in sides:
            if side.link is None:
                side.connect()
                side.resume()
                await side.settle()
            for _ in range(400):
                side.answer(100, together=True)
                await side.settle()
                side.complete(100, together=True)
                await side.settle()
            assert not side.session.in_flight and not side.session.queue
        self.compare(*sides)
        return sides

    def compare(self, plain: "Side", journaled: "Side") -> None:
        assert [entry[:3] for entry in plain.got] == [entry[:3] for entry in journaled.got]
        assert [entry[3] for entry in plain.got] == [entry[3] for entry in journaled.got]
        if not self.expires:
            assert plain.state() == journaled.state()
            assert plain.counted() == journaled.counted()

    def draw(self) -> Any:
        chance = self.chance
        kind = chance.choices(
            ("single", "run", "answer", "complete", "lose", "connect", "later", "keep", "pass"),
            (5, 4, 6, 4, 1, 2, 1, 0.5, 0.5),
        )[0]
        return getattr(self, kind)()

    def payload(self, size: int = 6) -> bytes:
        self.number += 1
        return b"%0*d" % (size, self.number)

    def qos(self) -> int:
        return self.chance.choice((0, 1, 1, 2, 2)) if self.only_qos is None else self.only_qos

    def expiry(self) -> float | None:
        return self.clock.now + self.chance.choice((5, 50)) if self.expires and self.chance.random() < 0.2 else None

    def single(self) -> Any:
        chance, qos = self.chance, self.qos()
        found = message(self.payload(chance.choice((6, 7, 40))), expires_at=self.expiry(), retain=chance.random() < 0.1)
        shared = self.group if chance.random() < 0.2 else None
        retain = found.retain
        return lambda side: side.session.deliver(found, qos, retain, b"", shared)

    def run(self) -> Any:
        qos, expires_at = self.qos(), self.expiry()
        size = self.chance.randint(2, 12)
        if min(size, self.room) < 2:
            return self.single()
        payloads = [self.payload() for _ in range(min(size, self.room))]
        return lambda side: side.session.deliver_run(run_of(payloads, expires_at), qos)

    def answer(self) -> Any:
        count, together = self.chance.choice((1, 2, 5, 30)), self.chance.random() < 0.5
        return lambda side: side.answer(count, together=together) if side.link else None

    def complete(self) -> Any:
        count, together = self.chance.choice((1, 2, 5, 30)), self.chance.random() < 0.5
        return lambda side: side.complete(count, together=together) if side.link else None

    def lose(self) -> Any:
        return lambda side: side.lose() if side.link else None

    def connect(self) -> Any:
        window, most = self.chance.choice((0, 0, 1, 2)), self.chance.choice((0, 0, 0, 20))

        def step(side: Side) -> None:
            if side.link is not None:
                side.lose()
            side.connect(window, most)
            side.resume()

        return step

    def later(self) -> Any:
        seconds = self.chance.choice((1, 10, 60))
        first = [True]

        def step(side: Side) -> None:
            if first.pop() if first else False:
                self.clock.now += seconds

        return step

    def keep(self) -> Any:
        if self.expires:  # places in the queue would differ
            return self.single()
        places = {place for place in range(40) if self.chance.random() < 0.7}

        def step(side: Side) -> None:
            kept = {id(entry) for place, entry in enumerate(side.session.queue) if place in places}
            side.session.keep_queued(lambda entry: id(entry) in kept)

        return step

    def pass_(self) -> Any:
        if self.expires:
            return self.single()
        wanted = {self.chance.randrange(10) for _ in range(6)}
        sent_too = self.chance.random() < 0.5

        def step(side: Side) -> None:
            if side.link is not None:
                return

            offered = count()

            def take(offer: Offer) -> bool:
                assert offer.group is self.group
                return next(offered) % 10 in wanted

            side.session.pass_on_shared(take, sent_too=sent_too)

        return step


setattr(Script, "pass", Script.pass_)


async def both_alike(seed: int, only_qos: int | None) -> None:
    script = Script(seed, only_qos=only_qos)
    with shown(script.clock):
        _, journaled = await script.play(60)
        assert journaled.journal is not None and journaled.store is not None
        await journaled.settle()
        assert not journaled.store.tables["messages"] and not journaled.store.tables["deliveries"]
        assert journaled.journal.lost == 0
        await journaled.journal.close(5.0)


@settings(max_examples=80)
@given(seed=st.integers(0, 1 << 32))
def test_a_journaled_session_sends_what_a_plain_one_sends(seed: int) -> None:
    asyncio.run(both_alike(seed, 1))


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32))
def test_it_does_so_at_qos_2(seed: int) -> None:
    asyncio.run(both_alike(seed, 2))


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32))
def test_it_does_so_at_all_qos_at_once(seed: int) -> None:
    asyncio.run(both_alike(seed, None))


# -- packet identifiers


async def journaled(mqtt: MqttSettings = SETTINGS) -> Side:
    """Give a session whose client is there."""
    side = Side(mqtt, MemoryStore())
    side.connect()
    await side.settle()
    return side


@pytest.mark.parametrize("in_runs", [True, False])
@pytest.mark.parametrize("qos", [1, 2])
async def test_packet_identifiers_begin_again_behind_the_last(qos: int, in_runs: bool) -> None:
    side = await journaled()
    session = side.session
    assert isinstance(session, JournaledSession)
    session.position = IDS - 5
    payloads = numbered("a", 8)
    if in_runs:
        session.deliver_run(run_of(payloads), qos)
    else:
        for payload in payloads:
            session.deliver(message(payload), qos)
    await side.settle()
    assert side.link is not None
    ids = [entry[4] for entry in side.link.sent]
    assert ids == [IDS - 4, IDS - 3, IDS - 2, IDS - 1, IDS, 1, 2, 3]
    assert [entry[0] for entry in side.got] == payloads
    side.answer(8, together=True)
    await side.settle()
    if qos == 2:
        assert side.link.released == ids
        side.complete(8, together=True)
        await side.settle()
    assert not session.in_flight
    assert side.journal is not None
    await side.journal.close(5.0)


async def test_one_message_that_is_not_acknowledged_while_all_other_identifiers_pass() -> None:
    side = await journaled(replace(SETTINGS, max_inflight=600, max_mqueue_len=0))
    session, link = side.session, side.link
    assert isinstance(session, JournaledSession) and link is not None
    session.deliver(message(b"first"), 1)
    sent = 1
    while sent < IDS:
        count = min(256, IDS - sent)
        session.deliver_run(run_of(numbered("a", count)), 1)
        ids = [entry[4] for entry in link.sent[-count:]]
        assert ids == list(range(sent + 1, sent + 1 + count))
        session.acknowledge_all(PUBACK, b"".join([number.to_bytes(2, "big") for number in ids]))
        sent += count
    assert list(session.in_flight) == [1]
    session.deliver_run(run_of(numbered("b", 5)), 1)
    assert len(session.queue) == 5  # they would have its identifier and those behind it
    session.acknowledge(PUBACK, 1)
    await side.settle()
    assert [entry[4] for entry in link.sent[-5:]] == [1, 2, 3, 4, 5]
    assert not session.queue
    assert side.journal is not None
    await side.journal.close(5.0)


async def test_a_client_that_takes_one_message_at_a_time() -> None:
    side = Side(SETTINGS, MemoryStore())
    side.connect(window=1)
    side.session.deliver_run(run_of(numbered("a", 4)), 1)
    side.session.deliver(message(b"single"), 2)
    side.session.deliver_run(run_of(numbered("b", 3)), 2)
    await side.settle()
    expected = [*numbered("a", 4), b"single", *numbered("b", 3)]
    for number, payload in enumerate(expected, 1):
        assert [entry[0] for entry in side.got] == expected[:number]
        assert side.got[-1][0] == payload
        side.answer(1, together=False)
        await side.settle()
        if side.completing:
            assert len(side.got) == number
            side.complete(1, together=False)
            await side.settle()
    assert not side.session.in_flight and not side.session.queue
    assert side.journal is not None
    await side.journal.close(5.0)


async def test_a_run_is_settled_message_by_message_in_any_order() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        side = await journaled()
        side.session.deliver_run(run_of(numbered("a", 8)), 2)
        await side.settle()
        numbers = list(range(1, 9))
        chance.shuffle(numbers)
        for kind in (PUBREC, PUBCOMP):
            for number in numbers:
                side.session.acknowledge(kind, number)
                await side.settle()
        assert not side.session.in_flight
        assert side.store is not None and not side.store.tables["deliveries"] and not side.store.tables["messages"]
        assert side.journal is not None
        await side.journal.close(5.0)


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_acknowledgement_twice_and_one_of_another_kind(together: bool) -> None:
    side = await journaled()
    session = side.session
    session.deliver_run(run_of(numbered("a", 3)), 1)
    session.deliver_run(run_of(numbered("b", 3)), 2)
    await side.settle()
    twice = b"\0\1\0\2\0\2\0\3"
    if together:
        assert session.acknowledge_all(PUBACK, twice) == 2
        assert session.acknowledge_all(PUBREC, b"\0\4\0\4\0\5") == 1
        assert session.acknowledge_all(PUBCOMP, b"\0\5") == 0
        assert session.acknowledge_all(PUBACK, b"\0\5") == 0
    session.acknowledge(PUBACK, 2)
    with pytest.raises(ProtocolError):
        session.acknowledge(PUBCOMP, 6)  # no PUBREC has come
    with pytest.raises(ProtocolError):
        session.acknowledge(PUBACK, 6)
    if not together:
        with pytest.raises(ProtocolError):
            session.acknowledge(PUBREC, 1)
    session.acknowledge(PUBREC, 60_000)
    assert side.link is not None and side.link.unknown == [60_000]
    session.acknowledge(PUBREC, 6, 0x80)
    await side.settle()
    assert 6 not in session.in_flight
    assert side.journal is not None
    await side.journal.close(5.0)


# -- what is written before


async def test_a_qos_2_message_is_not_sent_before_it_is_written_and_keeps_its_place() -> None:
    side = await journaled()
    assert side.store is not None and side.link is not None and side.journal is not None
    side.store.blocked = True
    side.session.deliver(message(b"1"), 1)
    side.session.deliver(message(b"2"), 2)
    side.session.deliver(message(b"3"), 1)  # does not pass the other
    side.session.deliver_run(run_of(numbered("a", 2)), 1)
    await until(lambda: side.store is not None and side.store.busy)
    assert [entry[0] for entry in side.link.sent] == [b"1"]
    side.store.blocked = False
    side.store.release()
    await side.settle()
    assert [entry[0] for entry in side.link.sent] == [b"1", b"2", b"3", *numbered("a", 2)]
    await side.journal.close(5.0)


async def test_a_pubrel_is_not_sent_before_it_is_written_also_on_the_next_connection() -> None:
    side = await journaled()
    assert side.store is not None and side.link is not None and side.journal is not None
    side.session.deliver_run(run_of(numbered("a", 3)), 2)
    await side.settle()
    side.store.blocked = True
    side.answer(2, together=True)
    await until(lambda: side.store is not None and side.store.busy)
    assert side.link.released == []
    side.lose()
    side.connect()
    side.resume()
    assert side.link.released == [] and side.link.sent == []
    side.store.blocked = False
    side.store.release()
    await side.settle()
    assert side.link.released == [1, 2]
    assert [(entry[0], entry[3]) for entry in side.link.sent] == [(b"a0002", True)]
    await side.journal.close(5.0)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("queue_length", [100, 20])
async def test_a_run_is_not_dropped_because_it_must_be_written_first(queue_length: int, qos: int) -> None:
    mqtt = MqttSettings(max_inflight=300, max_mqueue_len=queue_length, shutdown_timeout=0.0)
    async with playing(settings=mqtt) as place:
        sub = await place.connected("sub", 4, ("t", qos))
        pub = await place.connected("pub", 4)
        payloads = numbered("a", 256)
        await pub.publish("t", *payloads, qos=qos)
        await place.answer_all()
        await place.written()
        assert sub.memory.first == payloads
        assert pub.memory.confirmed == payloads
        assert sub.session.traffic.dropped_queue_full == 0


async def test_a_client_that_comes_back_gets_a_run_whole_however_slow_the_disk_is() -> None:
    mqtt = MqttSettings(max_inflight=300, max_mqueue_len=100, shutdown_timeout=0.0)
    async with playing(settings=mqtt) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await sub.lose()
        await place.written()
        place.store.blocked = True
        await sub.connect()
        payloads = numbered("a", 256)
        await pub.publish("t", *payloads)
        place.store.blocked = False
        place.store.release()
        await place.answer_all()
        await place.written()
        assert sub.memory.first == payloads
