"""What a new broker finds: whatever the old one promised, wherever it was when it died."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from wardenmq.broker.journal.records import Owed, OwedPart

from .. import wire5
from ..conditions import until
from ..packets5 import P
from ..wire import PUBREC, PUBREL
from .places import KEPT, SETTINGS, Crash, Memory, Peer, Place, numbered, playing

pytestmark = pytest.mark.asyncio

SHARED = "$share/group/t/#"
SUBSCRIBERS: dict[str, tuple[int, tuple[str, int], bytes]] = {
    "one": (4, ("t/#", 1), b"ab"),
    "two": (4, ("t/#", 2), b"ab"),
    "five": (5, ("t/a", 2), b"a"),
}
"""Version, subscription, and the first bytes of the payloads that it is sent."""
GROUP = ("left", "right")
PUBLISHERS = {"p4": 4, "p5": 5}


# -- a life, and what must be so after any of its moments


class Life:
    """Subscribers and publishers of all kinds; each commit leaves a picture of what a crash would leave."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.crashes: list[Crash] = []
        self.sent = Counter[bytes]()
        self.wills = 0
        place.store.on_commit = lambda: self.crashes.append(Crash.of(place))

    async def begin(self) -> None:
        for name, (version, subscription, _) in SUBSCRIBERS.items():
            await self.place.connected(name, version, subscription, **connecting(name))
        for name in GROUP:
            await self.place.connected(name, 5, (SHARED, 2))
        for name, version in PUBLISHERS.items():
            await self.place.connected(name, version)

    def payloads(self, publisher: str, topic: str, count: int) -> list[bytes]:
        """Make the next payloads of a publisher on a topic."""
        prefix = topic[-1] + publisher
        start = self.sent[prefix.encode()]
        self.sent[prefix.encode()] += count
        return numbered(prefix, count, start)

    async def publish(self, publisher: str, topic: str, count: int, qos: int, **fields: Any) -> None:
        peer = self.place.peers[publisher]
        await peer.publish(topic, *self.payloads(publisher, topic, count), qos=qos, **fields)

    async def come(self, name: str, **fields: Any) -> None:
        """Have a client come with a will."""
        self.wills += 1
        will = wire5.Will5("t/a", b"w%04d" % self.wills, 2)
        await self.place.peer(name, 5).connect(will=will, **fields)


def connecting(name: str) -> dict[str, Any]:
    if name == "five":
        return {"properties": [(P.SESSION_EXPIRY, 0xFFFFFFFF), (P.RECEIVE_MAXIMUM, 2)]}
    return {}


async def come_back(place: Place) -> None:
    """Have all clients back, and everything done that they and the broker owe each other."""
    for name, peer in place.peers.items():
        await peer.connect(**connecting(name))
    await place.answer_all()


def check(peers: dict[str, Peer]) -> None:
    """Hold what the clients got against what was confirmed to the publishers."""
    confirmed = [payload for name in PUBLISHERS if name in peers for payload in peers[name].memory.confirmed]
    assert not any(peer.memory.outbox for peer in peers.values())
    for name, (_, _, wanted) in SUBSCRIBERS.items():
        if name not in peers:  # it was not there yet, and nothing was published
            continue
        memory = peers[name].memory
        expected = {
            payload for payload in confirmed if payload[:1] in {wanted[at : at + 1] for at in range(len(wanted))}
        }
        assert expected <= set(memory.first), (name, "lost", sorted(expected - set(memory.first)))
        for prefix in {payload[:3] for payload in memory.first}:
            of_one = [payload for payload in memory.first if payload[:3] == prefix]
            assert of_one == sorted(of_one), (name, "out of order", of_one)
        check_once(Counter(payload for _, payload, qos in memory.received if qos == 2), name)
    members = [payload for name in GROUP if name in peers for payload in peers[name].memory.first]
    shared = {payload for payload in confirmed if payload[:1] in (b"a", b"b")}
    assert shared <= set(members), ("group", "lost", sorted(shared - set(members)))
    check_once(
        Counter(entry[1] for name in GROUP if name in peers for entry in peers[name].memory.received if entry[2] == 2),
        "group",
    )


def check_once(counted: Counter[bytes], name: str) -> None:
    twice = [payload for payload, times in counted.items() if times > 1]
    assert not twice, (name, "twice at QoS 2", twice)


def check_state(place: Place, crash: Crash) -> None:
    """Hold what was restored against what was confirmed: subscriptions, their ends, retained messages."""
    for name, memory in crash.memories.items():
        session = place.broker.registry.get(name)
        for topic_filter, granted in memory.granted.items():
            found = session is not None and topic_filter in session.subscriptions
            assert found is granted, (name, topic_filter, granted)
    kept = [payload for name in PUBLISHERS for payload in crash.memories.get(name, Memory()).confirmed]
    kept = [payload for payload in kept if payload.startswith(b"r")]
    if kept:
        found = place.broker._engine.retained.get("r")
        assert found is not None and found.payload >= max(kept), "an older retained message"


async def survives(crash: Crash) -> None:
    """Restart, let everybody finish, and see that nothing is missing, nothing twice, and nothing left over."""
    async with crash.restarted() as place:
        check_state(place, crash)
        await come_back(place)
        check(place.peers)
        await place.end_all()
        assert place.left_over() == {}


async def test_a_life_can_end_at_any_commit() -> None:
    async with playing() as place:
        life = Life(place)
        await life.begin()
        peers = place.peers
        await life.publish("p4", "t/a", 3, 1)
        await life.come("guest")
        await peers["guest"].subscribe(("t/#", 2), ("u", 1))
        await life.publish("p5", "r", 1, 1, retain=True)
        await life.publish("p5", "t/b", 3, 2)
        await peers["guest"].answer(1)
        await peers["guest"].unsubscribe("u")
        await peers["two"].answer(2)
        await peers["one"].answer(1)
        await peers["five"].answer(1)
        await life.publish("p4", "t/a", 4, 2)
        await peers["p5"].release()
        await peers["two"].answer()
        await peers["one"].lose()
        await life.publish("p5", "t/a", 2, 1)
        await peers["p4"].release()
        await peers["two"].connect()  # takes its own place
        await peers["two"].answer()
        await life.publish("p5", "r", 1, 2, retain=True)
        await peers["left"].answer(3)
        await peers["guest"].lose()  # and its will is published
        await peers["left"].lose()
        await life.publish("p4", "t/b", 3, 2)
        await peers["right"].answer()
        await peers["one"].connect()
        await life.come("guest", clean=True, properties=KEPT)
        await peers["guest"].subscribe(("u", 2))
        await life.publish("p5", "r", 2, 1, retain=True)
        await peers["one"].answer(2)
        await peers["five"].lose()
        await peers["p4"].lose()
        await peers["p4"].connect()
        await peers["left"].connect()
        await peers["right"].answer(2)
        await peers["right"].leave()
        await life.publish("p5", "t/a", 3, 2)
        await life.come("guest", clean=True)  # whose session ends with it
        await peers["guest"].lose()
        await peers["five"].connect(**connecting("five"))
        await place.answer_all()
        await place.written()
        await peers["right"].connect()
        await place.answer_all()
        check(peers)
        place.store.on_commit = None
        await place.end_all()
        assert place.left_over() == {}
    assert len(life.crashes) > 50
    for number, crash in enumerate(life.crashes):
        try:
            await survives(crash)
        except AssertionError as error:
            raise AssertionError(f"a crash at commit {number / 2}: {error}") from error


async def live_at_random(life: Life, chance: random.Random, steps: int) -> None:
    place = life.place
    for _ in range(steps):
        name = chance.choice(list(place.peers))
        peer = place.peers[name]
        # Batches lie there for a while or fail, as they do on a disk.
        place.store.blocked = chance.random() < 0.4
        place.store.fails = ("full", "it is full") if chance.random() < 0.1 else None
        if not place.store.blocked:
            place.store.release()
        match chance.choice(("publish", "publish", "answer", "answer", "lose", "connect", "release", "wait")):
            case "publish":
                publisher = chance.choice(list(PUBLISHERS))
                if place.peers[publisher].connected:
                    await life.publish(
                        publisher, chance.choice(("t/a", "t/b")), chance.randint(1, 6), chance.randint(1, 2)
                    )
            case "answer" if peer.connected:
                await peer.answer(chance.choice((1, 2, 5, None)))
            case "lose" if peer.connected:
                await peer.lose()
            case "connect":
                await peer.connect(**connecting(name))
            case "release" if peer.connected:
                await peer.release()
            case _:
                await let_all_through(place)
    await let_all_through(place)


async def let_all_through(place: Place) -> None:
    """Have the store write all that is gathered."""
    place.store.let_go()
    await until(lambda: place.journal.fault is None)
    await place.written()


@pytest.mark.parametrize("seed", range(12))
async def test_random_lives_can_end_and_go_on_several_times(seed: int) -> None:
    chance = random.Random(seed)
    crash: Crash | None = None
    life: Life | None = None
    for _ in range(4):
        async with playing() if crash is None else crash.restarted() as place:
            sent = life.sent if life is not None else Counter[bytes]()
            life = Life(place)
            life.sent = sent
            if crash is None:
                await life.begin()
                life.crashes.clear()
            await live_at_random(life, chance, 30)
        for chosen in chance.sample(life.crashes, min(4, len(life.crashes))):
            await survives(chosen)
        crash = chance.choice(life.crashes) if life.crashes else crash


# -- the same, exactly


def picture(place: Place) -> dict[str, Any]:
    """Give what is to be the same in the next broker."""
    return {
        session.client_id: {
            "subscriptions": dict(session.subscriptions),
            "in flight": in_flight(place, session),
            "owed": in_flight(place, session) + queued(place, session),
            "received": received(session),
            "unreleased": set(session.unreleased),
            "expiry": session.expiry_interval,
            "identity": replace(session.identity, policy=None),
            "from": (session.peer_host, session.peer_port, session.listener),
            "protocol": (session.protocol_name, session.protocol_version, session.keep_alive, session.clean_start),
            "times": (session.created_at, session.connected_at),
            "window": session.max_inflight,
            "position": session.position,
            "queued bytes": session.queued_bytes,
        }
        for session in place.broker._engine.registry
        if session.journaled
    }


def in_flight(place: Place, session: Any) -> list[tuple[object, ...]]:
    return [told(place, owed, owed.offset(number)) for number, owed in session.in_flight.items()]


def queued(place: Place, session: Any) -> list[tuple[object, ...]]:
    return [told(place, part.owed, part.offset) for part in session.queue if isinstance(part, OwedPart)]


def told(place: Place, owed: Owed, offset: int) -> tuple[object, ...]:
    place.journal.contents.load_now([owed])
    message = owed.message(offset)
    assert message is not None
    return (
        owed.packet_id(offset),
        message.topic,
        message.payload,
        owed.qos,
        owed.retain,
        owed.identifiers,
        None if owed.group is None else owed.group.full_filter,
        (message.sender, message.qos, message.retain, message.properties, message.expires_at),
    )


def received(session: Any) -> set[int]:
    return {number for number, owed in session.in_flight.items() if owed.received >> owed.offset(number) & 1}


async def again(place: Place) -> Crash:
    """Have all written, and crash."""
    await place.written()
    return Crash.of(place)


async def test_a_session_comes_back_as_it_was() -> None:
    async with playing() as place:
        sub = await place.connected(
            "sub", 5, properties=[(P.SESSION_EXPIRY, 3_600), (P.RECEIVE_MAXIMUM, 4)], keep_alive=60
        )
        options = wire5.options(2, no_local=True, retain_as_published=True, retain_handling=1)
        assert await sub.subscribe(("t/#", options), properties=[(P.SUBSCRIPTION_ID, 7)]) == [2]
        assert await sub.subscribe(("u/+", 1), (SHARED.replace("t/#", "v"), 1)) == [1, 1]
        pub = await place.connected("pub", 5)
        users = [(P.USER, ("a", "b")), (P.RESPONSE_TOPIC, "r"), (P.CORRELATION_DATA, b"\0c"), (P.MESSAGE_EXPIRY, 60)]
        await pub.publish("t/a", *numbered("run", 6), qos=2)
        await pub.publish("t/b", b"kept", qos=1, properties=users)
        await pub.publish("u/a", *numbered("one", 3), qos=1)
        await pub.publish("v", b"shared", qos=1)
        await sub.answer(2)
        await pub.release()
        before = picture(place)
        assert len(before["sub"]["in flight"]) == 4 and len(before["sub"]["received"]) == 2
        crash = await again(place)
    async with crash.restarted() as place:
        after = picture(place)
        assert after == before
        sub = place.peers["sub"]
        await sub.connect(properties=[(P.SESSION_EXPIRY, 3_600), (P.RECEIVE_MAXIMUM, 4)])
        assert sub.session_present
        assert [(number, dup) for _, _, dup, number in sub.messages] == [(3, True), (4, True)]
        assert sub.kinds(PUBREL) == [(PUBREL, 1), (PUBREL, 2)]
        await place.answer_all()
        assert sub.memory.first == [*numbered("run", 6), b"kept", *numbered("one", 3), b"shared"]


async def test_what_was_sent_and_what_waits_is_told_apart_where_the_connection_had_ended_before() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 5, ("t", 1), properties=[(P.SESSION_EXPIRY, 3_600), (P.RECEIVE_MAXIMUM, 3)])
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 5))
        await sub.lose()
        await pub.publish("t", *numbered("b", 2))
        before = picture(place)
        crash = await again(place)
    async with crash.restarted() as place:
        assert picture(place) == before
        sub = place.peers["sub"]
        await sub.connect()
        assert [(payload, dup) for payload, _, dup, _ in sub.messages] == [
            *[(payload, True) for payload in numbered("a", 3)],
            *[(payload, False) for payload in [*numbered("a", 2, 3), *numbered("b", 2)]],
        ]


@pytest.mark.parametrize("qos", [1, 2])
async def test_two_crashes_in_a_row_change_nothing(qos: int) -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", qos))
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 5), qos=qos)
        assert len(sub.memory.unanswered) == 5
        crash = await again(place)
    async with crash.restarted() as place:
        first = picture(place)
        crash = await again(place)
    async with crash.restarted() as place:
        assert picture(place) == first
        sub = place.peers["sub"]
        await sub.connect()
        assert [(payload, dup) for payload, _, dup, _ in sub.messages] == [(each, True) for each in numbered("a", 5)]


async def test_a_crash_in_the_middle_of_a_start_changes_nothing() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 5), qos=2)
        crash = await again(place)
    crashes: list[Crash] = []
    store = crash.store.after_a_crash()
    store.on_commit = lambda: crashes.append(replace(crash, store=store.after_a_crash()))
    async with playing(store) as place:
        await place.written()
    assert crashes
    for each in crashes:
        async with each.restarted() as place:
            sub = place.peers["sub"]
            await sub.connect()
            assert [(payload, dup) for payload, _, dup, _ in sub.messages] == [
                (each, True) for each in numbered("a", 5)
            ]


async def test_a_member_that_crashed_twice_keeps_the_qos_2_messages_that_it_was_sent() -> None:
    async with playing() as place:
        await place.connected("left", 5, (SHARED, 2))
        pub = await place.connected("pub", 4)
        await pub.publish("t/a", *numbered("a", 4), qos=2)
        await place.connected("right", 5, (SHARED, 2))
        crash = await again(place)
    async with crash.restarted() as place:
        crash = await again(place)
    async with crash.restarted() as place:
        right = place.peers["right"]
        await right.connect()
        place.broker._engine.end_session(place.peers["left"].session)
        await place.settle()
        assert right.messages == []  # [MQTT-4.8.2-4]


async def test_what_a_publisher_has_not_released_is_known_again() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"once", qos=2)
        assert pub.kinds(PUBREC)
        crash = await again(place)
        await pub.release()
        assert pub.memory.confirmed == [b"once"]
        later = await again(place)
    async with crash.restarted() as place:
        pub, sub = place.peers["pub"], place.peers["sub"]
        assert picture(place)["pub"]["unreleased"] == {1}
        await sub.connect()
        await pub.connect()  # which releases it
        assert pub.memory.confirmed == [b"once"]
        await place.answer_all()
        assert [payload for _, payload, _ in sub.memory.received] == [b"once"] * 2  # at QoS 1 it may come twice
    async with later.restarted() as place:
        assert picture(place)["pub"]["unreleased"] == set()


async def test_a_message_sent_again_is_not_passed_on_again() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        pub = await place.connected("pub", 4)
        store = place.store
        crashes: list[Crash] = []
        store.on_commit = lambda: crashes.append(Crash.of(place))
        await pub.publish("t", b"once", qos=2)
    for crash in crashes:
        async with crash.restarted() as place:
            sub, pub = place.peers["sub"], place.peers["pub"]
            await sub.connect()
            await pub.connect()
            if not pub.memory.outbox:  # its session was not written yet, and it knows
                continue
            await place.answer_all()
            assert pub.memory.confirmed == [b"once"]
            assert [payload for _, payload, _ in sub.memory.received] == [b"once"]


# -- what is over does not come back


async def test_an_ended_session_and_what_it_was_owed_are_gone() -> None:
    async with playing() as place:
        await place.connected("sub", 4, ("t", 1))
        await place.peers["sub"].lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 3))
        await place.connected("sub", 4, clean=True)
        crash = await again(place)
        tables = place.store.tables
        assert [row[1] for row in tables["sessions"].values()] == ["pub"]
        assert not any(tables[name] for name in ("subscriptions", "messages", "deliveries"))
    async with crash.restarted() as place:
        assert set(picture(place)) == {"pub"}


async def test_a_clean_start_that_is_kept_has_nothing_of_the_session_before() -> None:
    async with playing() as place:
        await place.connected("sub", 5, ("t", 1), ("u", 1))
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 3))
        await place.connected("sub", 5, ("v", 1), clean=True, properties=[(P.SESSION_EXPIRY, 100)])
        crash = await again(place)
    async with crash.restarted() as place:
        found = picture(place)["sub"]
        assert set(found["subscriptions"]) == {"v"} and not found["owed"]


async def test_a_subscription_that_was_taken_back_stays_away() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1), ("u", 2))
        await sub.unsubscribe("t")
        assert await sub.subscribe(("u", 0)) == [0]
        crash = await again(place)
    async with crash.restarted() as place:
        subscriptions = picture(place)["sub"]["subscriptions"]
        assert {name: each.qos for name, each in subscriptions.items()} == {"u": 0}


async def test_sessions_expire_while_the_broker_is_down() -> None:
    async with playing() as place:
        await place.connected("brief", 5, ("t", 1), properties=[(P.SESSION_EXPIRY, 10)])
        await place.connected("long", 5, ("t", 1), properties=[(P.SESSION_EXPIRY, 1_000)])
        await place.connected("ever", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 3))
        place.store.tables["state"]["alive_at"] = ("alive_at", place.clock.now)  # as a store does with each batch
        crash = await again(place)
    crash.now += 11
    async with crash.restarted() as place:
        assert set(picture(place)) == {"long", "ever", "pub"}
        await place.written()
        later = Crash.of(place)
        assert {row[1] for row in place.store.tables["sessions"].values()} == {"long", "ever", "pub"}
    later.now += 1_000
    async with later.restarted() as place:
        assert set(picture(place)) == {"ever", "pub"}
        await place.written()
        assert len(place.store.tables["subscriptions"]) == 1
        assert len(place.store.tables["deliveries"]) == 1


async def test_a_session_that_was_left_expires_from_then_on() -> None:
    async with playing() as place:
        brief = await place.connected("brief", 5, ("t", 1), properties=[(P.SESSION_EXPIRY, 10)])
        await brief.lose()
        place.clock.now += 6
        place.store.tables["state"]["alive_at"] = ("alive_at", place.clock.now)
        crash = await again(place)
    crash.now += 5
    async with crash.restarted() as place:
        assert picture(place) == {}
        await place.written()
        assert place.left_over() == {}


async def test_messages_expire_while_the_broker_is_down() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 5, ("t", 1))
        await sub.lose()
        pub = await place.connected("pub", 5)
        await pub.publish("t", b"brief", properties=[(P.MESSAGE_EXPIRY, 10)])
        await pub.publish("t", b"long", properties=[(P.MESSAGE_EXPIRY, 100)])
        await pub.publish("kept/brief", b"x", retain=True, properties=[(P.MESSAGE_EXPIRY, 10)])
        await pub.publish("kept/long", b"y", retain=True, properties=[(P.MESSAGE_EXPIRY, 100)])
        crash = await again(place)
    crash.now += 20
    async with crash.restarted() as place:
        await place.written()
        assert set(place.store.tables["retained"]) == {"kept/long"}
        sub = place.peers["sub"]
        await sub.connect()
        assert sub.payloads() == [b"long"]
        session = place.peers["sub"].session
        assert session.traffic.dropped_expired == 1
        assert await sub.subscribe(("kept/#", 1)) == [1]
        assert sub.payloads() == [b"y"]


async def test_retained_messages_come_back_with_all_that_they_have() -> None:
    users = [(P.USER, ("a", "b")), (P.CONTENT_TYPE, "x"), (P.RESPONSE_TOPIC, "r"), (P.CORRELATION_DATA, b"\0c")]
    async with playing() as place:
        pub = await place.connected("pub", 5)
        await pub.publish("r/a", b"1", qos=2, retain=True, properties=users)
        await pub.publish("r/b", b"2", qos=1, retain=True)
        await pub.publish("r/c", b"3", qos=0, retain=True)
        await pub.publish("r/d", b"4", qos=1, retain=True)
        await pub.publish("r/b", b"5", qos=1, retain=True)
        await pub.publish("r/d", b"", qos=1, retain=True)
        kept = {topic: place.broker._engine.retained.get(topic) for topic in ("r/a", "r/b", "r/c")}
        crash = await again(place)
    async with crash.restarted() as place:
        retained = place.broker._engine.retained
        assert retained.get("r/d") is None
        for topic, before in kept.items():
            after = retained.get(topic)
            assert before is not None and after is not None
            assert [
                getattr(after, name) for name in ("payload", "qos", "retain", "sender", "properties", "expires_at")
            ] == [getattr(before, name) for name in ("payload", "qos", "retain", "sender", "properties", "expires_at")]


# -- wills


def willing(delay: int = 0) -> dict[str, Any]:
    return {
        "will": wire5.Will5("will", b"gone", 1, properties=[(P.WILL_DELAY, delay)] if delay else ()),
        "properties": [(P.SESSION_EXPIRY, 1_000)],
    }


async def test_the_will_of_a_client_that_was_connected_is_published_after_a_crash() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("will", 1))
        await place.connected("dear", 5, **willing())
        crash = await again(place)
    async with crash.restarted() as place:
        await place.settle()
        sub = place.peers["sub"]
        await sub.connect()
        await place.settle()
        assert sub.payloads() == [b"gone"]
        await place.written()
        crash = Crash.of(place)
    async with crash.restarted() as place:  # but once
        await place.settle()
        sub = place.peers["sub"]
        await sub.connect()
        assert sub.payloads() == [b"gone"]
        assert len(sub.session.in_flight) == 1


async def test_a_delayed_will_waits_on_after_a_crash() -> None:
    async with playing() as place:
        await place.connected("sub", 4, ("will", 1))
        dear = await place.connected("dear", 5, **willing(100))
        await dear.lose()
        crash = await again(place)
        due = dear.session.will_due
    crash.now += 50
    async with crash.restarted() as place:
        session = place.peers["dear"].session
        assert (session.will_due, session.delayed_will.topic) == (due, "will")
        assert session.will_timer is not None
        await place.peers["dear"].connect()
        assert session.delayed_will is None and session.will_timer is None
        await place.written()
        crash = Crash.of(place)
    async with crash.restarted() as place:
        assert place.peers["dear"].session.delayed_will is None


@pytest.mark.parametrize("ends", ["will", "session"])
async def test_a_delayed_will_that_came_due_while_the_broker_was_down_is_published_at_its_start(ends: str) -> None:
    async with playing() as place:
        await place.connected("sub", 4, ("will", 1))
        dear = await place.connected("dear", 5, **willing(100))
        await dear.lose()
        crash = await again(place)
    crash.now += 101 if ends == "will" else 1_001
    async with crash.restarted() as place:
        sub = place.peers["sub"]
        await sub.connect()
        await place.settle()
        assert sub.payloads() == [b"gone"]


async def test_a_client_that_left_with_a_goodbye_leaves_no_will() -> None:
    async with playing() as place:
        await place.connected("sub", 4, ("will", 1))
        dear = await place.connected("dear", 5, **willing(100))
        await dear.leave()
        crash = await again(place)
    async with crash.restarted() as place:
        assert place.peers["dear"].session.delayed_will is None
        sub = place.peers["sub"]
        await sub.connect()
        await place.settle()
        assert sub.payloads() == []


async def test_the_will_of_a_session_that_is_looked_through_first_is_written_too() -> None:
    async with playing() as place:
        await place.connected("sub", 4, ("will", 1))
        dear = await place.connected("dear", 5)
        assert await dear.subscribe(*[(f"f/{number}", 1) for number in range(300)]) is not None
        await dear.lose()
        dear.session.checked_by = None  # as after a change of somebody's access
        await dear.connect(**willing())
        assert dear.session.will is not None
        crash = await again(place)
    async with crash.restarted() as place:
        sub = place.peers["sub"]
        await sub.connect()
        await place.settle()
        assert sub.payloads() == [b"gone"]


# -- payloads that are not in memory


async def stored(place: Place, count: int, size: int = 100, *, qos: int = 1) -> list[bytes]:
    """Have single messages wait for the absent client `sub`."""
    sub = await place.connected("sub", 4, ("t", qos))
    await sub.lose()
    pub = await place.connected("pub", 4)
    payloads = [b"%0*d" % (size + number % 2, number) for number in range(count)]  # no two alike: no runs
    for payload in payloads:
        await pub.publish("t", payload, qos=qos)
        await pub.release()
    await place.written()
    return payloads


def in_memory(place: Place) -> int:
    """Count the bytes of records that are in memory because they are kept."""
    return place.journal.contents._kept_bytes


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("most", [0, 1, 1_000, 1 << 30])
async def test_payloads_past_the_bound_are_read_when_they_are_wanted(most: int, qos: int) -> None:
    async with playing(settings=replace(SETTINGS, max_queued_memory=most)) as place:
        payloads = await stored(place, 200, qos=qos)
        assert in_memory(place) <= most
        sub = place.peers["sub"]
        await sub.connect()
        await place.answer_all()
        assert sub.memory.first == payloads
        assert in_memory(place) <= most
        if most == 1 << 30:
            assert place.store.reads == 0
        else:
            # As many at once as a client can take, again and again; nothing one by one, nothing many times over.
            assert place.store.read_calls <= 40
            assert place.store.reads <= 8 * len(payloads)
        await place.end_all()
        assert place.left_over() == {}


async def test_after_a_start_payloads_are_read_when_they_are_wanted() -> None:
    async with playing() as place:
        payloads = await stored(place, 200)
        crash = await again(place)
    async with crash.restarted() as place:
        assert (place.store.reads, in_memory(place)) == (0, 0)
        sub = place.peers["sub"]
        await sub.connect()
        await place.answer_all()
        assert sub.memory.first == payloads
        assert place.store.read_calls <= 20
        assert place.store.reads <= 2 * len(payloads)


async def test_what_is_in_flight_and_not_in_memory_is_read_to_be_sent_again() -> None:
    async with playing(settings=replace(SETTINGS, max_queued_memory=0)) as place:
        payloads = await stored(place, 40)
        sub = place.peers["sub"]
        for _ in range(3):
            await sub.connect()
            assert sub.payloads() == payloads[:32]
            await sub.lose()
        await sub.connect()
        await place.answer_all()
        assert sub.memory.first == payloads


async def test_messages_that_cannot_be_read_wait_until_they_can() -> None:
    async with playing() as place:
        payloads = await stored(place, 50)
        crash = await again(place)
    async with crash.restarted() as place:
        place.store.unreadable = True
        sub, pub = place.peers["sub"], place.peers["pub"]
        await sub.connect()
        await pub.connect()
        await pub.publish("t", b"later")
        assert pub.memory.confirmed[-1] == b"later"
        assert sub.payloads() == []
        place.store.unreadable = False
        await place.journal.contents._loading.copy().pop()
        await place.settle()
        await place.answer_all()
        assert sub.memory.first == [*payloads, b"later"]
        assert place.journal.lost == 0


async def test_a_session_can_end_while_what_it_owes_to_others_cannot_be_read() -> None:
    async with playing() as place:
        for name in GROUP:
            await place.connected(name, 5, (SHARED, 1))
            await place.peers[name].lose()
        pub = await place.connected("pub", 4)
        for payload in numbered("a", 6):
            await pub.publish("t/a", payload)
        crash = await again(place)
    async with crash.restarted() as place:
        place.store.unreadable = True
        left = place.peers["left"].session
        assert len(left.queue) == 3
        place.broker._engine.end_session(left)
        place.store.unreadable = False
        await place.written()
        assert place.broker.registry.get("left") is None
        assert [row[1] for row in place.store.tables["sessions"].values()] == ["right", "pub"]
        assert {key[0] for key in place.store.tables["deliveries"]} == {place.peers["right"].session.key}


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("kept", [True, False])
async def test_what_is_passed_on_and_not_in_memory_reaches_a_member_that_is_there(kept: bool, qos: int) -> None:
    async with playing(settings=replace(SETTINGS, max_queued_memory=0)) as place:
        await place.connected("left", 5, (SHARED, qos))
        await place.peers["left"].lose()
        pub = await place.connected("pub", 4)
        payloads = numbered("a", 6)
        for payload in payloads:
            await pub.publish("t/a", payload, qos=qos)
        await place.written()
        right = await place.connected("right", 5, (SHARED, qos), clean=not kept)
        place.broker._engine.end_session(place.peers["left"].session)
        await place.settle()
        await place.answer_all()
        assert sorted(right.memory.first) == payloads
        await place.end_all()
        assert place.left_over() == {}


@pytest.mark.parametrize("state", ["queued", "in flight"])
async def test_a_message_that_the_store_has_lost_is_counted_and_the_rest_goes_on(state: str) -> None:
    async with playing() as place:
        payloads = await stored(place, 10)
        if state == "in flight":
            await place.peers["sub"].connect()
            await place.peers["sub"].lose()
        crash = await again(place)
    async with crash.restarted() as place:
        messages = place.store.tables["messages"]
        lost = next(number for number, row in messages.items() if row[9] == payloads[4])
        del messages[lost]
        sub = place.peers["sub"]
        await sub.connect()
        await place.answer_all()
        assert [payload for payload in sub.payloads()] == payloads[:4] + payloads[5:]
        assert place.journal.lost == 1
        await place.end_all()
        assert place.left_over() == {}


async def test_a_record_serves_many_sessions_and_goes_with_the_last() -> None:
    async with playing() as place:
        names = [f"s{number}" for number in range(5)]
        for name in names:
            await place.connected(name, 4, ("t", 1))
            await place.peers[name].lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"a single one")
        await pub.publish("t", *numbered("a", 10))
        await place.written()
        assert len(place.store.tables["messages"]) == 2
        assert len(place.store.tables["deliveries"]) == 10
        for left, name in zip(range(4, -1, -1), names, strict=True):
            await place.peers[name].connect()
            await place.answer_all()
            await place.written()
            assert len(place.store.tables["deliveries"]) == 2 * left
            assert len(place.store.tables["messages"]) == (2 if left else 0)


async def test_records_that_nobody_is_owed_are_swept_out_at_the_start() -> None:
    async with playing() as place:
        await stored(place, 3)
        crash = await again(place)
    tables = crash.store.tables
    tables["deliveries"].clear()  # as a repair may leave it
    async with crash.restarted() as place:
        await place.written()
        assert not place.store.tables["messages"]


async def test_the_log_tells_what_was_restored(caplog: pytest.LogCaptureFixture) -> None:
    async with playing() as place:
        await stored(place, 3)
        pub = place.peers["pub"]
        await pub.publish("r", b"x", retain=True)
        crash = await again(place)
    caplog.clear()
    with caplog.at_level("INFO", "wardenmq"):
        async with crash.restarted():
            pass
    assert "Restored 2 sessions, 3 messages for them and 1 retained messages in " in caplog.text


async def test_numbers_are_not_given_twice() -> None:
    async with playing() as place:
        await stored(place, 3)
        crash = await again(place)
    async with crash.restarted() as place:
        keys, ids = set(place.store.tables["sessions"]), set(place.store.tables["messages"])
        await place.connected("other", 4, ("t", 1))
        pub = place.peers["pub"]
        await pub.connect()
        await pub.publish("t", b"new")
        await place.written()
        assert len(place.store.tables["sessions"]) == len(keys) + 1
        assert len(place.store.tables["messages"]) == len(ids) + 1
