"""Who is answered when: what is promised is written, and nobody else waits for the disk."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from wardenmq.broker.alarms import JOURNAL_NOT_WRITABLE
from wardenmq.broker.journal import journal
from wardenmq.broker.protocol.reason_codes import ReasonCode

from .. import wire, wire5
from ..conditions import until
from ..wire import CONNACK, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, UNSUBACK
from .places import SETTINGS, Place, numbered, playing

pytestmark = pytest.mark.asyncio

CLEAN: dict[str, Any] = {"clean": True}
FAULTS = {"full": 0x97, "error": 0x83}
ANSWERS = (PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK)


async def recovered(place: Place) -> None:
    """Let the store write again, and wait until it has."""
    place.store.fails = None
    await until(lambda: place.journal.fault is None)
    await place.written()


async def failing(place: Place, kind: str = "full") -> None:
    """Have the journal find out that nothing can be written."""
    await place.written()
    place.store.fails = kind, f"it is {kind}"
    await place.connected("first to fail", 4)
    await until(lambda: place.journal.fault is not None)


async def let_all_through(place: Place) -> None:
    """Write until nothing lies there any more."""
    place.store.blocked = False
    place.store.release()
    await place.written()


# -- the order of answers


@pytest.mark.parametrize("version", [4, 5])
async def test_answers_wait_for_their_batches_in_the_order_of_their_requests(version: int) -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        await sub.lose()
        pub = await place.connected("pub", version)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", b"1", qos=1)
        assert place.store.busy
        await pub.publish("nobody", b"2", qos=1)
        await pub.publish("t", b"3", qos=2)
        await pub.subscribe(("u", 1))
        await pub.unsubscribe("u")
        await pub.publish("nobody", b"6", qos=2)
        pub.send(wire.PING)
        await place.settle()
        assert pub.kinds(*ANSWERS) == []
        assert pub.kinds(PINGRESP) == [(PINGRESP, 0)]
        place.store.release()
        await place.settle()
        assert pub.kinds(*ANSWERS) == [(PUBACK, 1), (PUBACK, 2)]
        place.store.release()
        await place.settle()
        answers = [kind for kind, _ in pub.kinds(*ANSWERS)]
        assert answers == [PUBACK, PUBACK, PUBREC, SUBACK, UNSUBACK, PUBREC]


@pytest.mark.parametrize("seed", range(10))
async def test_acknowledgements_keep_their_order_whatever_is_written_when(seed: int) -> None:
    chance = random.Random(seed)
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        await sub.lose()
        await place.connected("clean", 4, ("c", 2), **CLEAN)
        pub = await place.connected("pub", chance.choice((4, 5)))
        await place.written()
        for number in range(60):
            place.store.blocked = chance.random() < 0.7
            if chance.random() < 0.3:
                place.store.release()
            qos = chance.choice((1, 2))
            payloads = numbered(f"{number:03}", chance.choice((1, 1, 4)))
            await pub.publish(chance.choice(("t", "c", "nobody")), *payloads, qos=qos)
            if chance.random() < 0.2:
                await pub.release()
        await let_all_through(place)
        await place.answer_all()
        await place.written()
        for kind in (PUBACK, PUBREC):
            found = [number for _, number in pub.kinds(kind)]
            assert found == sorted(found)
        assert not pub.memory.outbox
        assert sorted(pub.memory.confirmed) == sorted(set(pub.memory.confirmed))


async def test_what_an_online_subscriber_has_acknowledged_need_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_PATIENCE", 3_600.0)
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await place.journal.written()
        before = len(place.store.submitted)
        pub.send(pub.offer("t", b"x"))
        await until(lambda: place.look() or len(sub.answers) > 0)
        assert not pub.memory.confirmed
        sub.send(wire.acknowledge(PUBACK, 1))
        await until(lambda: place.look() or len(pub.memory.confirmed) > 0)
        assert not any(changes.get("messages") for _, changes in place.store.submitted[before:])


@pytest.mark.parametrize("end", ["lost", "ended"])
async def test_a_message_that_is_passed_on_to_another_member_is_not_settled_by_that(end: str) -> None:
    async with playing() as place:
        left = await place.connected("left", 5, ("$share/g/t", 1))
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        await place.connected("busy", 4)
        await until(lambda: place.store.busy)
        await pub.publish("t", b"x")
        assert left.payloads() == [b"x"]
        right = place.peer("right", 5)
        right.begin()
        right.send(wire5.subscribe(1, ("$share/g/t", 1), properties=()))
        if end == "lost":
            await left.lose()
        else:
            place.broker._engine.close_session(left.session, ReasonCode.ADMINISTRATIVE_ACTION)
        await place.settle()
        assert right.payloads() == [b"x"]
        assert not pub.memory.confirmed  # neither has acknowledged it, and it is not written
        await right.answer()
        assert len(pub.memory.confirmed) <= 1
        await let_all_through(place)
        assert pub.memory.confirmed == [b"x"]
        assert not place.store.tables["deliveries"]


# -- nothing is said before it is written


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_publisher_is_answered_once_what_it_published_is_written(qos: int) -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", qos))
        await sub.lose()
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", *numbered("a", 3), qos=qos)
        assert not pub.kinds(*ANSWERS)
        place.store.release()
        await place.settle()
        assert [kind for kind, _ in pub.kinds(*ANSWERS)] == [PUBACK if qos == 1 else PUBREC] * 3
        assert len(place.store.tables["deliveries"]) == 1
        if qos == 2:
            assert len(place.store.tables["unreleased"]) == 3
            await pub.release()
            assert not pub.kinds(PUBCOMP)
            place.store.release()
            await place.settle()
            assert len(pub.kinds(PUBCOMP)) == 3
            assert not place.store.tables["unreleased"]


@pytest.mark.parametrize("retain", [False, True])
async def test_a_retained_message_is_written_before_it_is_acknowledged(retain: bool) -> None:
    async with playing() as place:
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        await pub.publish("r", b"x", qos=1, retain=retain)
        assert bool(pub.kinds(PUBACK)) is not retain
        place.store.release()
        await place.settle()
        assert pub.kinds(PUBACK) == [(PUBACK, 1)]
        assert set(place.store.tables["retained"]) == ({"r"} if retain else set())


async def test_a_subscription_is_written_before_it_is_granted_and_its_end_before_it_is_confirmed() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 5)
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"kept", qos=1, retain=True)
        await place.written()
        place.store.blocked = True
        assert await sub.subscribe(("t", 1)) is None
        place.store.release()
        await place.settle()
        assert sub.codes == [[1]]
        assert [key[1] for key in place.store.tables["subscriptions"]] == ["t"]
        assert sub.payloads() == [b"kept"]
        place.store.release()
        await place.settle()
        await sub.unsubscribe("t")
        assert len(sub.codes) == 1
        place.store.release()
        place.store.release()
        await place.settle()
        place.store.release()
        await place.settle()
        assert sub.codes == [[1], [0]]
        assert not place.store.tables["subscriptions"]


async def test_a_qos_2_message_and_its_pubrel_are_sent_once_they_are_written() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", b"x", qos=2)
        assert not sub.messages
        place.store.release()
        await place.settle()
        assert sub.payloads() == [b"x"]
        await sub.answer()
        assert not sub.kinds(PUBREL)
        place.store.release()
        await place.settle()
        assert sub.kinds(PUBREL) == [(PUBREL, 1)]
        (row,) = place.store.tables["deliveries"].values()
        assert row[10] == b"\1"


# -- who need not wait


async def test_nobody_waits_for_the_disk_to_whom_nothing_durable_is_owed() -> None:
    async with playing() as place:
        clean = await place.connected("clean", 4, ("c", 2), **CLEAN)
        kept = await place.connected("kept", 4, ("k", 1), ("q", 0))
        pub = await place.connected("pub", 5, **CLEAN)
        persistent = await place.connected("persistent", 4)
        await place.written()
        place.store.blocked = True
        owing = await place.connected("owing", 4)
        await owing.publish("k", b"owed", qos=1)
        await until(lambda: place.store.busy)
        for peer in (pub, persistent):
            for qos in (0, 1, 2):
                await peer.publish("c", b"%d %s" % (qos, peer.name.encode()), qos=qos)
                await place.answer_all(clean, peer)
            await peer.publish("q", b"0 " + peer.name.encode(), qos=1)
        assert len(clean.payloads()) == 6
        assert len(pub.memory.confirmed) == len(persistent.memory.confirmed) == 3
        # At QoS 1 the subscriber itself need not wait either; who waits is the publisher.
        assert sorted(kept.payloads()) == [b"0 persistent", b"0 pub", b"owed"]
        assert not owing.memory.confirmed
        assert await clean.subscribe(("d", 1)) == [1]
        await clean.unsubscribe("d")
        assert len(clean.codes) == 3
        newcomer = await place.connected("newcomer", 5, ("n", 1), **CLEAN)
        assert newcomer.codes == [[1]]
        assert place.store.busy


async def test_a_clean_receiver_does_not_wait_for_one_that_is_kept() -> None:
    async with playing() as place:
        clean = await place.connected("clean", 4, ("t", 2), **CLEAN)
        kept = await place.connected("kept", 4, ("t", 2))
        await kept.lose()
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        for qos in (1, 2):
            await pub.publish("t", b"%d" % qos, qos=qos)
            await place.answer_all(clean)
        assert clean.payloads() == [b"1", b"2"]
        assert not clean.memory.unreleased
        assert not pub.kinds(*ANSWERS)


async def test_a_client_that_comes_back_while_the_disk_is_slow_is_let_in_at_once() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        await place.written()
        place.store.blocked = True
        await sub.lose()
        await until(lambda: place.store.busy)
        await sub.connect()
        assert sub.kinds(CONNACK) and sub.session_present


async def test_a_clean_start_is_answered_once_the_end_of_the_session_before_it_is_written() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        await sub.lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"old")
        await place.written()
        place.store.blocked = True
        await sub.connect(clean=True)
        fresh = await place.connected("fresh", 4, **CLEAN)
        assert fresh.kinds(CONNACK)  # there was none before it
        assert not sub.kinds(CONNACK)
        place.store.release()
        await until(lambda: place.look() or len(sub.kinds(CONNACK)) > 0)
        assert sub.session_present is False
        assert not place.store.tables["deliveries"] and not place.store.tables["subscriptions"]


async def test_a_clean_start_is_answered_during_a_fault() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 1))
        await sub.lose()
        await failing(place)
        await sub.connect(clean=True)
        await until(lambda: place.look() or len(sub.kinds(CONNACK)) > 0)
        await recovered(place)
        assert not place.store.tables["subscriptions"]


# -- faults


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("kind", FAULTS)
async def test_a_client_of_mqtt_5_is_told_and_nobody_gets_its_message(kind: str, qos: int) -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        clean = await place.connected("clean", 4, ("t", 2), **CLEAN)
        pub = await place.connected("pub", 5)
        await failing(place, kind)
        await pub.publish("t", b"single", qos=qos)
        assert pub.memory.refused == {b"single": FAULTS[kind]}
        await place.settle()
        assert clean.payloads() == []
        assert place.journal.refused >= 1
        assert not pub.session.awaiting_rel
        await recovered(place)
        assert not any(place.store.tables[name] for name in ("messages", "deliveries", "unreleased"))
        await pub.publish("t", b"again", qos=qos)
        await place.answer_all()
        assert pub.memory.confirmed == [b"again"]
        assert clean.payloads() == [b"again"]


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_run_is_refused_message_by_message(kind: str) -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 5)
        await failing(place, kind)
        payloads = numbered("a", 20)
        pub.send(pub.offer("t", *payloads, qos=1))
        await until(lambda: pub.look() or len(pub.memory.refused) > 0)
        await recovered(place)
        await place.settle()
        # What was not read meanwhile is taken afterwards; nothing is neither refused nor taken.
        assert not pub.memory.outbox
        assert [*pub.memory.refused, *pub.memory.confirmed] == payloads
        await away.connect()
        await place.answer_all()
        assert away.memory.first == pub.memory.confirmed


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("kind", FAULTS)
async def test_a_client_of_an_earlier_version_is_acknowledged_when_it_can_be_written(kind: str, qos: int) -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 4)
        await failing(place, kind)
        payloads = numbered("a", 6)
        for payload in payloads:
            await pub.publish("t", payload, qos=qos)
        assert not pub.kinds(*ANSWERS)
        await recovered(place)
        await place.answer_all()
        await place.written()
        assert pub.memory.confirmed == payloads
        await away.connect()
        await place.answer_all()
        assert away.memory.first == payloads
        assert len(away.memory.received) == len(payloads)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("version", [3, 4, 5])
async def test_a_subscription_that_cannot_be_kept_is_refused_at_once(version: int, kind: str) -> None:
    names = {"name": "MQIsdp", "level": 3} if version == 3 else {}
    async with playing() as place:
        sub = await place.connected("sub", 5 if version == 5 else 4, ("before", 1), **names)
        clean = await place.connected("clean", 5 if version == 5 else 4, **{**CLEAN, **names})
        await failing(place, kind)
        answer = {3: 1, 4: 0x80, 5: FAULTS[kind]}[version]
        assert await sub.subscribe(("t", 1)) == [answer]
        assert set(sub.session.subscriptions) == {"before"}
        assert await clean.subscribe(("t", 1)) == [1]
        await recovered(place)
        assert await sub.subscribe(("t", 1)) == [1]


async def test_a_fault_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    async with playing() as place:
        await failing(place, "full")
        await until(lambda: len(place.store.submitted) > 4)  # tried again and again
        (alarm,) = place.broker.alarms.active()
        assert (alarm.name, alarm.details["reason"]) == (JOURNAL_NOT_WRITABLE, "it is full")
        place.store.fails = "error", "it is something else"
        tried = len(place.store.submitted)
        await until(lambda: len(place.store.submitted) > tried + 1)
        assert place.journal.fault == FAULTS["error"]
        await recovered(place)
        assert place.broker.alarms.active() == []
        told = [record.getMessage() for record in caplog.records if record.name.endswith("journal.journal")]
        assert told == [
            "Sessions cannot be written to the disk: it is full; it is tried again",
            "Sessions are written to the disk again",
        ]


async def test_what_a_client_is_owed_already_is_sent_during_a_fault() -> None:
    async with playing() as place:
        sub = await place.connected("sub", 4, ("t", 2))
        await sub.lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"1", qos=1)
        await pub.publish("t", b"2", qos=2)
        await pub.release()
        await failing(place)
        await sub.connect()
        await place.settle()
        assert sub.payloads() == [b"1", b"2"]
        await sub.answer()
        assert not sub.kinds(PUBREL)  # which is not written yet
        await recovered(place)
        await place.answer_all()
        await place.written()
        assert not place.store.tables["deliveries"]


async def test_a_client_without_a_session_to_be_kept_notices_nothing_of_a_fault() -> None:
    async with playing() as place:
        clean = await place.connected("clean", 5, ("t", 2), **CLEAN)
        pub = await place.connected("pub", 5, **CLEAN)
        await failing(place)
        for qos in (0, 1, 2):
            await pub.publish("t", b"%d" % qos, qos=qos)
            await place.answer_all(clean, pub)
        assert clean.payloads() == [b"0", b"1", b"2"]
        assert pub.memory.confirmed == [b"1", b"2"]
        fresh = await place.connected("fresh", 5, ("t", 1), **CLEAN)
        assert fresh.codes == [[1]]
        kept = await place.connected("kept", 5)
        assert kept.kinds(CONNACK)


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_retained_message_is_refused_during_a_fault_and_the_one_before_stays(kind: str) -> None:
    async with playing() as place:
        pub = await place.connected("pub", 5)
        await pub.publish("r", b"old", qos=1, retain=True)
        await failing(place, kind)
        await pub.publish("r", b"new", qos=1, retain=True)
        assert pub.memory.refused == {b"new": FAULTS[kind]}
        found = place.broker._engine.retained.get("r")
        assert found is not None and found.payload == b"old"
        await recovered(place)
        assert place.store.tables["retained"]["r"][1] == b"old"


async def test_what_is_released_during_a_fault_is_confirmed_after_it() -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 5)
        await pub.publish("t", b"x", qos=2)
        await failing(place)
        await pub.release()
        assert not pub.kinds(PUBCOMP)
        await recovered(place)
        assert pub.memory.confirmed == [b"x"]
        assert not place.store.tables["unreleased"]


async def test_records_of_a_batch_that_failed_are_bounded_in_memory_too() -> None:
    async with playing(settings=replace(SETTINGS, max_queued_memory=2_000)) as place:
        away = await place.connected("away", 4, ("t", 1))
        await away.lose()
        pubs = [await place.connected(f"p{number}", 4) for number in range(8)]
        await failing(place)
        for pub in pubs:
            await pub.publish("t", bytes(1_000))
        tried = len(place.store.submitted)
        await until(lambda: len(place.store.submitted) > tried + 1)  # and failed with all of them
        await recovered(place)
        assert all(len(pub.memory.confirmed) == 1 for pub in pubs)
        held = sum(part.owed.record.size for part in away.session.queue if part.owed.record.content is not None)
        assert held <= 2_000


# -- too much that waits


async def test_publishers_that_owe_are_not_read_until_less_waits() -> None:
    async with playing(settings=replace(SETTINGS, max_unwritten_bytes=5_000)) as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        clean = await place.connected("clean", 4, ("c", 2), **CLEAN)
        owing = [await place.connected(f"owing {qos}", 4) for qos in (1, 2)]
        other = await place.connected("other", 4)
        await place.written()
        place.store.blocked = True
        for qos, peer in enumerate(owing, 1):
            for number in range(8):
                if peer.reading:
                    await peer.publish("t", b"%d" % number + bytes(1_000), qos=qos)
        assert not any(peer.reading for peer in owing)
        assert len(away.session.queue) < 10
        for qos in (0, 1, 2):
            await other.publish("c", b"%d" % qos, qos=qos)
            await place.answer_all(clean, other)
        assert len(clean.payloads()) == 3 and other.reading
        await let_all_through(place)
        await until(lambda: all(peer.reading for peer in owing))
        await place.written()
        for qos, peer in enumerate(owing, 1):
            assert len(peer.kinds(PUBACK if qos == 1 else PUBREC)) == len(peer.memory.outbox) + len(
                peer.memory.confirmed
            )


async def test_a_publisher_is_read_again_where_what_it_owed_is_owed_no_more() -> None:
    async with playing(settings=replace(SETTINGS, max_unwritten_bytes=100)) as place:
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await place.written()
        pub.send(*[pub.offer("t", bytes(1_000 + number)) for number in range(3)])
        assert not pub.reading
        place.broker._engine.end_session(sub.session)  # in the same turn of the loop
        await until(lambda: pub.reading)


FLOODS: dict[str, Callable[[int], bytes]] = {
    "subscriptions": lambda number: wire.subscribe(number, ("t", number % 2)),
    "publishes of both kinds": lambda number: wire.publish("k" if number % 2 else "nobody", b"x", 1, number),
    "releases of nothing": lambda number: wire.acknowledge(PUBREL, number) + wire.publish("nobody", b"", 1, number),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_answers_that_are_held_are_bounded(kind: str) -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("k", 1))
        await away.lose()
        flooding = await place.connected("flooding", 4)
        await place.written()
        place.store.blocked = True
        await flooding.publish("k", b"held")
        chunks = [b"".join([FLOODS[kind](at + number) for number in range(1_000)]) for at in range(1, 20_000, 1_000)]
        for chunk in chunks:
            if not flooding.reading:
                break
            await flooding.say(chunk)
        assert flooding.connected and not flooding.reading
        await let_all_through(place)
        await until(lambda: flooding.reading)


# -- connections that end while answers are held


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_publisher_that_comes_back_while_its_batch_waits(qos: int) -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", b"x", qos=qos)
        await pub.lose()
        await pub.connect()  # and sends it again
        assert pub.session_present
        assert not pub.kinds(*ANSWERS)
        await let_all_through(place)
        await place.answer_all()
        await place.written()
        assert pub.memory.confirmed == [b"x"]
        await away.connect()
        await place.answer_all()
        assert [payload for _, payload, _ in away.memory.received] == [b"x"] * (1 if qos == 2 else 2)


async def test_a_message_sent_twice_is_answered_once_the_first_is_written() -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", b"x", qos=2)
        await pub.say(wire.publish("t", b"x", 2, 1, dup=True))
        assert not pub.kinds(*ANSWERS)
        place.store.release()
        place.store.release()
        await place.settle()
        place.store.release()
        await place.settle()
        assert pub.kinds(PUBREC) == [(PUBREC, 1), (PUBREC, 1)]
        assert len(away.session.queue) == 1


@pytest.mark.parametrize("how", ["lost", "taken over", "taken over clean", "goodbye"])
async def test_answers_of_a_connection_that_has_ended_go_nowhere(how: str) -> None:
    async with playing() as place:
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 5)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", b"x", qos=1)
        await pub.subscribe(("u", 1))
        if how == "lost":
            await pub.lose()
        elif how == "goodbye":
            await pub.leave()
        else:
            await pub.connect(clean=how.endswith("clean"))
        await let_all_through(place)
        assert [row[1] for row in place.store.tables["messages"].values() if row[9] == b"x"]
        session = pub.session
        if how == "taken over clean":
            assert session is None or not session.subscriptions
            assert not any(key[1] == "u" for key in place.store.tables["subscriptions"])
        else:
            assert set(session.subscriptions) == {"u"}
            assert any(key[1] == "u" for key in place.store.tables["subscriptions"])
