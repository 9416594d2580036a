"""What is easily promised too early, kept too long or never let go: answers, publishers, waiters, a disk that hangs."""

import asyncio
import gc
import random
import socket
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from amqtt.errors import BrokerError
from hypothesis import given, settings
from hypothesis import strategies as st
from wardenmq.broker.alarms import JOURNAL_NOT_WRITABLE, SESSIONS_SET_ASIDE
from wardenmq.broker.broker import Broker
from wardenmq.broker.journal import journal
from wardenmq.broker.journal.records import Owed, OwedPart
from wardenmq.broker.journal.session import JournaledSession
from wardenmq.broker.outgoing import Outgoing
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.mgmt_api.application import create_application
from wardenmq.store.directory import Directory

from ...conftest import Launch
from .. import access_plugins, wire, wire5
from ..conditions import until
from ..test_runs import LISTENER, PLUGINS
from ..wire import CONNACK, PINGRESP, PUBACK, PUBREC, PUBREL
from . import places
from .memory_store import MemoryStore, Row
from .places import KEPT, SETTINGS, Crash, Peer, Place, numbered, playing

CLEAN: dict[str, Any] = {"clean": True}
SHARED = "$share/g/t"
NEVER = 3_600.0
LONG_AGO = 6.0
"""Seconds after which a batch counts as one that hangs."""
GONE = "is not in the store any more"


async def failing(place: Place, kind: str = "full") -> None:
    """Have the journal find out that nothing can be written."""
    await place.written()
    place.store.fails = kind, f"it is {kind}"
    await place.connected("first to fail", 4)
    await until(lambda: place.journal.fault is not None)


async def recovered(place: Place) -> None:
    """Let the store write again, and wait until it has."""
    place.store.fails = None
    await until(lambda: place.journal.fault is None)
    await place.written()


async def let_all_through(place: Place) -> None:
    place.store.let_go()
    await place.written()


async def busy(place: Place, name: str = "somebody") -> None:
    """Have a batch lie with the store, so that what comes next only gathers."""
    await place.written()
    place.store.blocked = True
    await place.connected(name, 4, **CLEAN)
    place.journal.retain("of no account", None)
    place.journal._write()
    assert place.store.busy


def answered(peer: Peer) -> list[int]:
    """Give the packet identifiers of the PUBACKs that came on this connection."""
    peer.look()
    return [number for _, number in peer.kinds(PUBACK)]


# -- no acknowledgement twice, none too early


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_what_overflows_a_queue_is_acknowledged_once(count: int) -> None:
    """Each message drops the one before, for which the answer waited that it was to join."""
    async with playing(settings=replace(SETTINGS, max_mqueue_len=count, max_inflight=1)) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        filler = await place.connected("filler", 4)
        await place.written()
        place.store.blocked = True
        await filler.publish("t", b"fills the window")
        place.journal._write()
        for number in range(6):
            await pub.publish("t", *numbered(f"{number}", count))
            found = answered(pub)
            assert found == sorted(set(found))
            owed = {payload for payload, _ in still_owed(place, sub.session)}
            assert not owed.intersection(pub.memory.confirmed)
        await sub.answer()
        await let_all_through(place)
        await place.answer_all()
        await place.written()
        assert answered(pub) == list(range(1, 6 * count + 1))


async def test_an_identifier_that_is_used_anew_is_not_acknowledged_for_the_message_before() -> None:
    async with playing(settings=replace(SETTINGS, max_mqueue_len=1, max_inflight=1)) as place:
        await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        filler = await place.connected("filler", 4)
        await place.written()
        place.store.blocked = True
        await filler.publish("t", b"fills the window")
        place.journal._write()
        for payload, topic, retain in (
            (b"b", "t", False),
            (b"c", "t", False),
            (b"M", "kept", True),
            (b"d", "t", False),
        ):
            pub.memory.last_id = 0  # the lowest identifier that is free
            await pub.publish(topic, payload, retain=retain)
            assert b"M" not in pub.memory.confirmed
        assert not place.store.tables["retained"]
        await let_all_through(place)
        assert sorted(pub.memory.confirmed) == [b"M", b"b", b"c", b"d"]
        assert "kept" in place.store.tables["retained"]


def still_owed(place: Place, session: JournaledSession) -> list[tuple[bytes | None, Owed]]:
    """Give what a session is owed at QoS 1, each message with its payload if that is in memory."""
    parts = [(part.owed, part.offset) for part in session.queue if isinstance(part, OwedPart)]
    parts += [(owed, owed.offset(number)) for number, owed in session.in_flight.items() if isinstance(owed, Owed)]
    found: list[tuple[bytes | None, Owed]] = []
    for owed, offset in parts:
        message = owed.message(offset)
        found.append((None if message is None else bytes(message.payload), owed))
    return found


class Publishing:
    """Publish at random with identifiers that are used anew at once, and check each acknowledgement."""

    def __init__(self, place: Place, peer: Peer, chance: random.Random) -> None:
        self.place = place
        self.peer = peer
        self.chance = chance
        self.published: Counter[tuple[int, int]] = Counter()
        """PUBLISHes by the type and identifier of what answers them."""
        self.owes: dict[bytes, set[int]] = {}
        """Payloads with the keys of the sessions that were to get them."""
        self.sent = 0
        self.releasing: set[int] = set()

    async def release(self) -> None:
        """Send each PUBREL that is due, once."""
        due = {number for number, each in self.peer.memory.outbox.items() if each.released}
        fresh, self.releasing = due - self.releasing, due
        await self.peer.say(*[wire.acknowledge(PUBREL, number) for number in sorted(fresh)])

    async def publish(self, topics: Sequence[str]) -> None:
        chance, memory, topic = self.chance, self.peer.memory, self.chance.choice(topics)
        qos = chance.choice((1, 1, 1, 2))
        payloads = numbered(self.peer.name, chance.choice((1, 1, 2, 3, 12)), self.sent)
        self.sent += len(payloads)
        owed = {
            session.key
            for session in self.place.broker.registry
            if isinstance(session, JournaledSession) and topic in session.subscriptions
        }
        memory.last_id = 0
        known = set(memory.outbox)
        data = self.peer.offer(topic, *payloads, qos=qos)
        self.published.update((PUBACK if qos == 1 else PUBREC, number) for number in memory.outbox.keys() - known)
        self.owes.update(dict.fromkeys(payloads, owed))
        await self.peer.say(data)

    @property
    def promised(self) -> list[bytes]:
        """Payloads that the server has taken on."""
        memory = self.peer.memory
        return memory.confirmed + [each.payload for each in memory.outbox.values() if each.released]

    def check(self, *, complete: bool = False) -> None:
        """Assert that nothing was acknowledged twice; `complete` where nothing is left to be."""
        self.peer.look()
        answers = Counter(self.peer.kinds(PUBACK, PUBREC))
        assert answers <= self.published, "acknowledged twice"
        assert not complete or answers == self.published


def check_promises(place: Place, publishing: Sequence[Publishing], *, unbounded: bool) -> None:
    """Assert that what is acknowledged is on the disk for whoever is still owed it, there or in memory."""
    tables = place.store.tables
    confirmed = {payload for each in publishing for payload in each.promised}
    for session in place.broker.registry:
        if isinstance(session, JournaledSession):
            for payload, owed in still_owed(place, session):
                if payload in confirmed:
                    assert owed.record.id in tables["messages"], payload
                    if owed.group is None:
                        assert (session.key, owed.position) in tables["deliveries"], payload
                    else:  # maybe it is another member's yet, as far as is written
                        assert any(row[2] == owed.record.id for row in tables["deliveries"].values()), payload
    if not unbounded:
        return
    names = {key: row[1] for key, row in tables["sessions"].items()}
    written: dict[int, bytes] = {}
    for (key, _), row in tables["deliveries"].items():
        written[key] = written.get(key, b"") + tables["messages"][row[2]][9] + b"\n"
    for each in publishing:
        for payload in each.promised:
            for key in each.owes[payload] & names.keys():  # sessions that a crash would bring back
                if any(topic[0] == key for topic in tables["subscriptions"]):
                    taken = payload in place.peers[names[key]].memory.first
                    assert taken or payload in written.get(key, b""), f"{payload!r} is lost by a crash"


async def publish_at_random(seed: int, *, unbounded: bool) -> None:
    """Publish with a store that writes when chance says so."""
    chance = random.Random(seed)
    limits = replace(
        SETTINGS,
        max_mqueue_len=0 if unbounded else chance.choice((1, 1, 2, 20)),
        max_mqueue_bytes=0 if unbounded else chance.choice((0, 700, 5_000)),
        mqueue_drop=chance.choice(("oldest", "newest")),
        max_inflight=chance.choice((1, 1, 3, 20)),
        max_queued_memory=chance.choice((0, 1_000, 1 << 30)),
    )
    topics = ("t", "nobody") if unbounded else ("t", "t", "t", "s", "nobody")
    async with playing(settings=limits) as place:
        filters = [("t", 1)] if unbounded else [("t", 1), ("$share/g/s", 1)]
        subs = [await place.connected(name, 4, *filters) for name in ("left", "right")[: chance.randint(1, 2)]]
        if chance.random() < 0.5:
            subs.append(await place.connected("twice", 4, ("t", 2)))
        publishing = [Publishing(place, await place.connected(name, 4), chance) for name in ("a", "b")]
        await place.written()
        place.store.blocked = True
        for _ in range(chance.randint(5, 60)):
            match chance.randrange(10):
                case 0 | 1:
                    place.store.fails = chance.choice((None, None, ("full", "it is full")))
                    place.store.release()
                case 2 | 3:
                    sub = chance.choice(subs)
                    if sub.connected:
                        await sub.answer(chance.choice((1, 2, None)))
                case 4:
                    await come_or_go(place, chance.choice(subs), chance, filters)
                case 5:
                    await chance.choice(publishing).release()
                case _:
                    await chance.choice(publishing).publish(topics)
            await place.settle()
            for each in publishing:
                each.check()
            check_promises(place, publishing, unbounded=unbounded)
        place.store.let_go()
        await recovered(place)
        await place.answer_all()
        await place.written()
        for each in publishing:
            each.check(complete=True)
        check_promises(place, publishing, unbounded=unbounded)


async def come_or_go(place: Place, sub: Peer, chance: random.Random, filters: list[tuple[str, int]]) -> None:
    """Have a subscriber lose its connection, come back, or lose its session and begin another one."""
    end = chance.random() < 0.4 and sub.session is not None
    if end:
        place.broker._engine.close_session(sub.session, ReasonCode.ADMINISTRATIVE_ACTION)
        sub.memory.known = False
    if sub.connected:
        await sub.lose()
    if end or chance.random() < 0.5:
        sub.memory.granted.clear()
        await sub.connect()
        if end:
            await sub.subscribe(*filters)


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_nothing_is_acknowledged_twice_or_too_early_where_queues_overflow(seed: int) -> None:
    asyncio.run(publish_at_random(seed, unbounded=False))


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_nothing_that_is_acknowledged_is_lost_by_a_crash_whatever_ends_when(seed: int) -> None:
    asyncio.run(publish_at_random(seed, unbounded=True))


# -- what ends while it waits to be written


@pytest.mark.parametrize("how", ["kicked", "clean start", "access taken back", "unsubscribed"])
async def test_what_is_discarded_is_acknowledged_once_that_is_written(how: str) -> None:
    async with playing(settings=replace(SETTINGS, max_inflight=1)) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await busy(place)
        other = await place.connected("other", 4)
        await other.publish("t", b"sent")
        await pub.publish("t", b"queued")
        key = sub.session.key
        match how:
            case "kicked":
                place.broker._engine.close_session(sub.session, ReasonCode.ADMINISTRATIVE_ACTION)
            case "clean start":
                sub.begin(clean=True)
            case "access taken back":
                sub.session.keep_queued(lambda entry: False)
            case _:
                await sub.unsubscribe("t")
        await place.settle()
        assert answered(pub) == []
        assert key in place.store.tables["sessions"]  # a crash would bring it back
        assert not place.store.tables["messages"]
        await let_all_through(place)
        assert answered(pub) == [1]
        assert (key in place.store.tables["sessions"]) == (how not in ("kicked", "clean start"))


async def test_a_discarded_session_does_not_come_back_without_what_was_acknowledged() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await busy(place)
        await pub.publish("t", b"M")
        place.broker._engine.close_session(sub.session, ReasonCode.ADMINISTRATIVE_ACTION)
        await place.settle()
        crash = Crash.of(place)
    async with crash.restarted() as place:
        assert place.broker.registry.get("sub") is not None
        pub, sub = place.peers["pub"], place.peers["sub"]
        assert not pub.memory.confirmed
        await pub.connect()  # which sends it again
        sub.memory.known = False
        await sub.connect()
        await place.written()
        assert pub.memory.confirmed == [b"M"]
        assert b"M" in sub.memory.first


# -- publishers that are held


async def test_a_publisher_is_read_again_where_nothing_is_left_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it published is acknowledged before it is written: no commit will say that less waits now."""
    monkeypatch.setattr(journal, "_PATIENCE", NEVER)
    monkeypatch.setattr(journal, "_BEAT", NEVER)
    async with playing(settings=replace(SETTINGS, max_unwritten_bytes=10_000)) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        assert await place.journal.written()
        before = len(place.store.submitted)
        pub.send(pub.offer("t", bytes(20_000), b"x" * 30_000))
        await until(lambda: place.look() or len(sub.answers) > 0)
        while sub.answers or not pub.memory.confirmed:
            sub.send(*[wire.acknowledge(*answer) for answer in sub.answers])
            sub.answers.clear()
            await asyncio.sleep(0)
            place.look()
        assert not pub.reading
        place.journal._write()  # as the timer would
        await until(lambda: pub.reading)
        assert len(place.store.submitted) == before
        pub.send(wire.PING)
        await until(lambda: place.look() or pub.kinds(PINGRESP) != [])
        place.store.let_go()


# -- a disk that hangs


class Listening:
    """Wait for a batch, and count what is heard."""

    waits = True

    def __init__(self) -> None:
        self.told = self.stalls = 0

    def written(self, committed: int) -> None:
        self.told += 1

    def stalled(self) -> None:
        self.stalls += 1


async def hanging(place: Place) -> None:
    """Have the journal find out that a batch has been with the store for very long."""
    if not place.store.busy:
        await busy(place)
    place.journal.beat()
    assert place.journal.fault is None, "too early"
    place.journal._last_write -= LONG_AGO
    place.journal.beat()


async def test_a_disk_that_hangs_is_a_fault_until_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    async with playing() as place:
        await place.connected("kept", 4, ("t", 1))
        await busy(place)
        waiting, gathering = Listening(), Listening()
        place.journal._writing.waiters.append(waiting)  # type: ignore[union-attr]
        place.journal.wait(gathering)
        asked = asyncio.ensure_future(place.broker.written())
        assert place.broker.writable
        await hanging(place)
        assert place.journal.fault == ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
        assert place.journal.strained and not place.broker.writable
        (alarm,) = place.broker.alarms.active()
        assert alarm.name == JOURNAL_NOT_WRITABLE
        assert (waiting.stalls, gathering.stalls) == (1, 1)
        assert await place.broker.written() is False
        assert await asked is False
        for _ in range(3):
            place.journal.beat()
        assert (waiting.stalls, waiting.told) == (1, 0)
        assert caplog.text.count("it is tried again") == 1
        place.store.blocked = False
        place.store.release()
        assert place.journal.fault is None and place.broker.writable
        assert not place.broker.alarms.active()
        assert waiting.told == 1
        await place.written()
        assert (gathering.stalls, gathering.told) == (1, 1)
        place.journal.beat()
        assert place.journal.fault is None


async def test_the_api_says_that_the_disk_hangs(tmp_path: Path) -> None:
    directory = await Directory.open(tmp_path / "wardenmq.db")
    async with playing() as place:
        application = create_application(broker=place.broker, directory=directory)
        async with TestClient(TestServer(application)) as http:

            async def health() -> tuple[int, list[str]]:
                async with http.get("/health") as reply:
                    return reply.status, [problem["name"] for problem in (await reply.json())["problems"]]

            assert await health() == (200, [])
            await hanging(place)
            assert await health() == (503, [JOURNAL_NOT_WRITABLE])
            await let_all_through(place)
            assert await health() == (200, [])
    await directory.close()


async def test_clients_do_not_wait_for_a_disk_that_hangs() -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 1))
        await away.lose()
        again = await place.connected("again", 4, ("u", 1))
        await again.lose()
        pub = await place.connected("pub", 4)
        five = await place.connected("five", 5)
        await pub.publish("t", b"old")
        await busy(place)
        await away.connect()
        await again.connect(clean=True)
        assert (away.session_present, away.payloads()) == (True, [])
        assert not again.kinds(CONNACK)
        await hanging(place)
        await until(lambda: place.look() or bool(again.kinds(CONNACK)))
        assert away.payloads() == [b"old"]
        await five.publish("t", b"refused")
        assert five.reasons == [(PUBACK, 1, 0x83)]
        await pub.publish("t", b"waits")
        assert answered(pub) == [1]
        assert away.payloads() == [b"waits"]
        await away.lose()
        await away.connect()
        assert away.payloads() == [b"old", b"waits"]  # whoever comes back now does not wait either
        await let_all_through(place)
        assert answered(pub) == [1, 2]
        await place.answer_all()
        assert away.memory.first == [b"old", b"waits"]


async def test_a_batch_that_hung_and_then_failed_is_tried_again() -> None:
    async with playing() as place:
        await place.connected("kept", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await busy(place)
        listening = Listening()
        place.journal.wait(listening)
        await hanging(place)
        await place.peers["kept"].lose()
        await pub.publish("t", b"x")
        place.store.fails = "full", "it is full"
        place.store.release()
        assert place.journal.fault == ReasonCode.QUOTA_EXCEEDED
        assert len(place.broker.alarms.active()) == 1
        assert listening.stalls == 1, "told twice"
        place.store.let_go()
        await recovered(place)
        assert (listening.told, answered(pub)) == (1, [1])
        assert not place.broker.alarms.active()


async def test_a_batch_that_is_quick_is_no_fault_however_long_ago_the_one_before_was() -> None:
    async with playing() as place:
        kept = await place.connected("kept", 4, ("t", 1))
        await place.written()
        place.journal._last_write -= LONG_AGO
        place.journal.beat()
        assert place.journal.fault is None
        place.store.blocked = True
        place.journal.touch(kept.session)
        place.journal._write()
        place.journal.beat()
        assert place.store.busy and place.journal.fault is None


# -- clients that come and go around a fault


async def test_who_came_back_and_left_before_a_fault_is_not_forgotten() -> None:
    """Nobody is told of a fault who is not connected; what it waited for must not be waited for on its next return."""
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await sub.lose()
        await pub.publish("t", b"1")
        await place.written()
        place.store.blocked = True
        await sub.connect()
        assert sub.payloads() == []  # it is not written yet that it is back
        await sub.lose()
        place.store.fails = "full", "it is full"
        place.store.blocked = False
        place.store.release()
        await until(lambda: place.journal.fault is not None)
        await sub.connect()
        assert sub.payloads() == [b"1"]
        await recovered(place)
        await pub.publish("t", b"2")
        await place.answer_all()
        assert sub.memory.first == [b"1", b"2"]


# -- what grows while the disk is full


async def test_retained_messages_that_come_and_go_in_an_outage_are_bounded() -> None:
    async with playing(settings=replace(SETTINGS, max_unwritten_bytes=20_000)) as place:
        pub = await place.connected("pub", 4, **CLEAN)
        await failing(place)
        sent = 0
        while pub.reading and sent < 1_000:
            sent += 1
            pub.send(
                wire.publish(f"r/{sent}", b"x", retain=True),
                wire.publish(f"r/{sent}", b"", retain=True),
            )
            if sent % 50 == 0:
                place.journal._write()
                await place.settle()
        assert not pub.reading
        assert len(place.journal._changes.get("retained", ())) + len(place.journal._open.retained) < 150
        await recovered(place)
        await until(lambda: pub.reading)
        assert not place.store.tables["retained"]


async def test_one_topic_that_is_retained_again_and_again_in_an_outage_counts_once() -> None:
    async with playing(settings=replace(SETTINGS, max_unwritten_bytes=20_000)) as place:
        pub = await place.connected("pub", 4, **CLEAN)
        await failing(place)
        for number in range(400):
            assert pub.reading
            pub.send(wire.publish("state", b"%0100d" % number, retain=True))
            if number % 50 == 0:
                place.journal._write()
                await place.settle()
        await recovered(place)
        assert place.store.tables["retained"]["state"][1] == b"%0100d" % 399


async def test_connections_that_published_in_an_outage_are_forgotten_with_their_end() -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 1))
        await away.lose()
        await failing(place)
        count = 50
        for number in range(count):
            peer = place.peer("again", 4)
            peer.begin(**CLEAN)
            await place.settle()
            peer.send(wire.publish("t", b"x", 1, 1))
            await place.settle()
            if number % 10 == 0:
                place.journal._write()
                await place.settle()
            await peer.lose()
            peer.memory.outbox.clear()
        gc.collect()
        assert sum(held(each) for each in gc.get_objects()) < count // 5
        place.journal._write()
        await place.settle()
        assert len(place.journal._failed) + len(place.journal._open.waiters) < count // 2
        await recovered(place)
        assert len(away.session.queue) == count


def held(thing: object) -> bool:
    return isinstance(thing, Outgoing) and thing.closed


async def test_whoever_asks_in_an_outage_is_forgotten_once_answered() -> None:
    async with playing() as place:
        await failing(place)
        for _ in range(100):
            assert await place.broker.written() is False
        tried = len(place.store.submitted)
        await until(lambda: len(place.store.submitted) > tried + 1)
        assert len(place.journal._failed) + len(place.journal._open.waiters) < 20
        await recovered(place)


async def test_what_is_settled_in_an_outage_counts_no_more() -> None:
    async with playing(settings=replace(SETTINGS, max_unwritten_bytes=20_000)) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await failing(place)
        for number in range(60):
            assert pub.reading and not place.journal.congested, number
            await pub.publish("t", b"%01000d" % number)
            place.journal._write()  # which fails
            await place.settle()
            await sub.answer()
        assert 0 <= place.journal._unwritten <= 5_000
        assert len(place.journal._failed_records) < 10
        await recovered(place)
        assert place.journal._unwritten == 0
        assert len(sub.memory.first) == len(pub.memory.confirmed) == 60
        assert not place.store.tables["messages"]


# -- much that ends at once


async def test_what_is_passed_on_to_a_member_that_is_not_kept_is_read_at_once() -> None:
    async with playing(settings=replace(SETTINGS, max_queued_memory=0)) as place:
        left = await place.connected("left", 5, (SHARED, 1))
        await left.lose()
        pub = await place.connected("pub", 4)
        payloads = numbered("m", 100)
        for payload in payloads:
            await pub.publish("t", payload)
        await place.written()
        right = await place.connected("right", 5, (SHARED, 1), **CLEAN)
        before = place.store.read_calls
        place.broker._engine.end_session(left.session)
        assert place.store.read_calls == before + 1
        await place.settle()
        await place.answer_all()
        assert sorted(right.memory.first) == payloads
        await place.written()
        assert not place.store.tables["messages"]


async def test_what_is_passed_on_among_those_that_are_kept_is_not_read_for_that() -> None:
    async with playing(settings=replace(SETTINGS, max_queued_memory=0)) as place:
        left = await place.connected("left", 5, (SHARED, 1))
        await left.lose()
        pub = await place.connected("pub", 4)
        payloads = numbered("m", 20)
        for payload in payloads:
            await pub.publish("t", payload)
        await place.written()
        right = await place.connected("right", 5, (SHARED, 1))
        await right.lose()
        before = place.store.read_calls
        place.broker._engine.end_session(left.session)
        assert place.store.read_calls == before
        assert len(right.session.queue) == 20
        await right.connect()
        await place.answer_all()
        assert sorted(right.memory.first) == payloads


async def test_what_goes_with_its_session_is_not_deleted_row_by_row() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        other = await place.connected("other", 4, ("t", 1))
        for peer in (sub, other):
            await peer.lose()
        pub = await place.connected("pub", 4)
        for payload in numbered("m", 30):
            await pub.publish("t", payload)
        await place.written()
        key, before = sub.session.key, len(place.store.submitted)
        assert len(place.store.tables["deliveries"]) == 60
        place.broker._engine.end_session(sub.session)
        await place.written()
        changes = [changes for _, changes in place.store.submitted[before:]]
        assert any(key in each.get("ended", ()) for each in changes)
        assert not [row for each in changes for row in each.get("deliveries", ()) if row[0] == key]  # type: ignore[index]
        assert {row[0] for row in place.store.tables["deliveries"]} == {other.session.key}


# -- messages that were to be read and are owed no more


class SlowToRead(MemoryStore):
    """A store that reads when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = asyncio.Event()
        self.asked = 0

    async def load(self, message_ids: Sequence[int]) -> list[Row]:
        self.asked += 1
        await self.may_read.wait()
        return self.load_now(message_ids)


async def test_what_was_dropped_while_it_was_being_read_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    store = SlowToRead()
    async with playing(store, replace(SETTINGS, max_queued_memory=0, max_mqueue_len=10)) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        await sub.lose()
        pub = await place.connected("pub", 4)
        for payload in numbered("m", 10):
            await pub.publish("t", payload)
        await place.written()
        await sub.connect()
        await until(lambda: store.asked == 1)
        later = numbered("n", 4)
        for payload in later:
            place.broker.publish("t", payload, 1)  # each drops the oldest
        await place.written()
        assert len(store.tables["messages"]) == 10
        store.may_read.set()
        await until(lambda: place.look() or len(sub.messages) > 0)
        await place.answer_all()
        assert sub.memory.first == [*numbered("m", 6, 4), *later]
        assert GONE not in caplog.text
        assert place.journal.lost == 0


# -- when it is written


async def test_a_rest_does_not_make_the_next_message_be_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time to be acknowledged first, as any other."""
    monkeypatch.setattr(journal, "_PATIENCE", NEVER)
    monkeypatch.setattr(journal, "_LEISURE", 0.0)
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        assert await place.journal.written()
        before = len(place.store.submitted)
        pub.send(pub.offer("t", b"x"))
        await until(lambda: place.look() or len(sub.answers) > 0)
        place.journal._look()
        assert len(place.store.submitted) == before
        sub.send(wire.acknowledge(PUBACK, 1))
        await until(lambda: place.look() or len(pub.memory.confirmed) > 0)
        place.journal._look()
        assert len(place.store.submitted) == before
        pub.send(pub.offer("t", b"y"))
        await until(lambda: place.look() or len(sub.answers) > 1)
        place.journal._look()
        place.journal._look()  # the second one that it sees
        assert len(place.store.submitted) == before + 1


async def test_what_is_settled_is_written_after_a_rest_though_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LEISURE", NEVER)
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        await sub.lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"x")
        await sub.connect()
        await place.written()
        before = len(place.store.submitted)
        await sub.answer()
        place.journal._look()
        assert len(place.store.submitted) == before
        monkeypatch.setattr(journal, "_LEISURE", 0.0)
        place.journal._look()
        await until(lambda: not place.store.tables["messages"])


# -- wills that were restored


@pytest.mark.parametrize("plugin", ["FastRules", "SlowRules"])
async def test_a_restored_will_is_asked_for_as_any_other(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"publish": ["forbidden"]}
    others = {name: options for name, options in PLUGINS.items() if "FastRules" not in name}
    monkeypatch.setattr(places, "PLUGINS", {**others, f"{access_plugins.__name__}.{plugin}": rules})
    async with playing() as place:
        sub = place.peer("sub", 4)
        sub.begin()
        await until(lambda: place.look() or bool(sub.kinds(CONNACK)))
        sub.send(wire.subscribe(1, ("allowed", 1)))
        await until(lambda: place.look() or len(sub.codes) > 0)
        for topic in ("allowed", "forbidden"):
            peer = place.peer(topic, 5)
            peer.begin(will=wire5.Will5(topic, b"gone", 1), properties=KEPT)
            await until(lambda peer=peer: place.look() or bool(peer.kinds(CONNACK)))
        await place.written()
        crash = Crash.of(place)
    async with crash.restarted() as place:
        wills = place.broker._engine.wills
        await until(lambda: wills.published + wills.denied == 2)
        assert (wills.published, wills.denied) == (1, 1)
        sub = place.peers["sub"]
        sub.begin()
        await until(lambda: place.look() or len(sub.messages) > 0)
        assert sub.payloads() == [b"gone"]


# -- starts that fail


async def test_a_start_that_fails_leaves_a_journal_that_writes_nothing() -> None:
    async with playing() as place:
        await place.connected("kept", 5, ("t", 1), will=wire5.Will5("t", b"gone", 1))
        await place.written()
        store = place.store.after_a_crash()
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listener = {"type": "tcp", "bind": f"127.0.0.1:{taken.getsockname()[1]}"}
        broker = Broker({"listeners": {LISTENER: listener}, "plugins": PLUGINS}, settings=SETTINGS, journal=store)
        store.fails = "error", "the store is closed"
        with pytest.raises(BrokerError):
            await broker.start()
    submitted = len(store.submitted)
    store.release()
    await asyncio.sleep(20 * journal._RETRY)  # all that it may have planned comes before
    store.release()
    assert len(store.submitted) == submitted


async def test_what_is_found_damaged_while_it_is_read_is_set_aside_with_a_sentence(launch: Launch) -> None:
    """SQLite has nothing against text that is not UTF-8."""
    server = await (await launch()).wait_ready()
    await server.stop()
    file = server.data_dir / "sessions.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO retained VALUES (CAST(x'ff41' AS TEXT), x'00', 0, 's', x'', NULL, 0)")
        database.commit()
    server = await (await launch()).wait_ready()
    (aside,) = [path for path in server.data_dir.glob("sessions.db.*") if "damaged" in path.name]
    (sentence,) = [line for line in server.errors.splitlines() if "was set aside as" in line and "Alarm" not in line]
    assert aside.name in sentence and "wardenmq doctor" in sentence
    assert f"Alarm {SESSIONS_SET_ASIDE}" in server.errors
    await server.stop()
    assert "it is tried again" not in server.errors
