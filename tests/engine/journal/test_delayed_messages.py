"""Delayed messages outlive the process: kept once their publisher is answered, owed once when they are due."""

from collections import Counter
from typing import Any

import pytest
from wardenmq.broker.message import Message
from wardenmq.broker.message_run import MessageRun

from ..wire import PUBACK
from .memory_store import MemoryStore
from .places import KEPT, Crash, Place, numbered, playing


async def due(place: Place, seconds: float = 60.0) -> None:
    """Let so much time pass, and whatever comes of it be written."""
    place.clock.now += seconds
    place.broker.delayed._release()
    await place.written()


def waiting(place: Place) -> list[bytes]:
    return [each.message.payload for each in place.broker.delayed.from_place(0)]


def rows(store: MemoryStore) -> list[bytes]:
    return [row[4] for row in store.tables["delayed"].values()]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_publisher_is_answered_once_it_is_written(qos: int) -> None:
    async with playing() as place:
        publisher = await place.connected("p")
        place.store.blocked = True
        await publisher.publish("$delayed/60/t", b"x", qos=qos)
        assert publisher.memory.confirmed == []
        assert not publisher.kinds(PUBACK)
        assert rows(place.store) == []
        place.store.let_go()
        await place.written()
        await place.answer_all()
        assert publisher.memory.confirmed == [b"x"]
        assert rows(place.store) == [b"x"]


async def test_all_of_a_message_comes_back() -> None:
    async with playing() as place:
        message = Message("t", b"\0x", 2, True, "p", None, b"\x01\x01", place.clock.now + 500, b"", 1_234.5)
        assert place.broker.delayed.keep(message, 90.0)
        await place.written()
        (row,) = place.store.tables["delayed"].values()
        assert row == (1, 1_000_090.0, 90.0, "t", b"\0x", 2, 1, "p", b"\x01\x01", 1_000_500.0, 1_234.5)
        crash = Crash.of(place)
    async with crash.restarted() as place:
        (found,) = place.broker.delayed.from_place(0)
        assert (found.number, found.due, found.delay) == (1, 1_000_090.0, 90.0)
        for name in ("topic", "payload", "qos", "retain", "sender", "properties", "expires_at", "published_at"):
            assert getattr(found.message, name) == getattr(message, name)
        place.broker.delayed.keep(Message("u", b"later"), 1.0)
        assert [each.number for each in place.broker.delayed.from_place(0)] == [2, 1]


async def test_what_became_due_while_nothing_ran_is_published_at_the_start() -> None:
    async with playing() as place:
        await place.connected("s", 4, ("t/#", 1))
        publisher = await place.connected("p")
        for number, payload in enumerate(numbered("a", 20)):
            await publisher.publish(f"$delayed/{100 - number}/t/1", payload, qos=1)
        await place.written()
        crash = Crash.of(place)
    crash.now += 90.5
    async with crash.restarted() as place:
        await place.written()
        subscriber = await place.connected("s")
        await place.answer_all(subscriber)
        assert subscriber.memory.first == numbered("a", 20)[:9:-1]
        assert waiting(place) == numbered("a", 20)[9::-1]
        await due(place)
        await place.answer_all(subscriber)
        assert sorted(subscriber.memory.first) == numbered("a", 20)
        await place.written()
        assert rows(place.store) == []
        assert place.left_over().get("messages") is None


@pytest.mark.parametrize("qos", [1, 2])
async def test_whenever_the_process_dies_a_persistent_session_is_owed_it_once(qos: int) -> None:
    """Each commit shows what a crash leaves: what waits and what is owed are never both there, nor both missing."""
    crashes: list[Crash] = []
    payloads = numbered("x", 5)
    async with playing() as place:
        subscriber = await place.connected("s", 5, ("t", qos), properties=KEPT)
        await subscriber.leave()
        publisher = await place.connected("p")
        for payload in payloads:
            await publisher.publish("$delayed/60/t", payload, qos=qos)
        await place.written()
        await place.answer_all(publisher)
        assert publisher.memory.confirmed == payloads
        place.store.on_commit = lambda: crashes.append(Crash.of(place))
        await due(place)
        await place.connected("s", 5, properties=KEPT)
        await place.answer_all(place.peers["s"])
        await place.written()
    assert len(crashes) > 2
    for crash in crashes:
        async with crash.restarted() as place:
            await due(place)
            await place.connected("s", 5, properties=KEPT)
            await place.answer_all(place.peers["s"])
            received = Counter(payload for _, payload, _ in place.peers["s"].memory.received)
            assert set(received) == set(payloads)
            if qos == 2:
                assert set(received.values()) == {1}
            await place.written()
            assert rows(place.store) == []


async def test_what_was_discarded_stays_so() -> None:
    async with playing() as place:
        for payload in (b"a", b"b", b"c"):
            place.broker.delayed.keep(Message("t", payload), 50.0)
        await place.written()
        assert place.broker.delayed.discard(place.broker.delayed.all()[1])
        await place.written()
        crash = Crash.of(place)
    async with crash.restarted() as place:
        assert waiting(place) == [b"a", b"c"]
        await place.broker.delayed.configure(False, 0)
        await place.written()
        assert rows(place.store) == []


async def test_what_comes_and_goes_within_a_batch_is_never_written() -> None:
    async with playing() as place:
        place.store.submitted.clear()
        place.broker.delayed.keep(Message("t", b"x"), 50.0)
        before = place.journal._open.size
        assert before > 0
        place.broker.delayed.discard(place.broker.delayed.all()[0])
        assert place.journal._open.size == 0
        await place.written()
        assert all("delayed" not in changes for _, changes in place.store.submitted)


async def test_a_disk_that_cannot_be_written_keeps_the_rest_in_order() -> None:
    """What was kept and released while nothing could be written leaves nothing behind."""
    async with playing() as place:
        place.store.fails = ("error", "the disk is gone")
        place.broker.delayed.keep(Message("t", b"goes"), 10.0)
        place.broker.delayed.keep(Message("t", b"stays"), 900.0)
        await place.settle()
        place.clock.now += 20
        place.broker.delayed._release()
        place.store.let_go()
        place.journal._write()
        await place.written()
        assert rows(place.store) == [b"stays"]
        crash = Crash.of(place)
    async with crash.restarted() as place:
        assert waiting(place) == [b"stays"]


async def test_rows_that_make_no_sense_are_left_out() -> None:
    sound = (1, 1_000_050.0, 5.0, "t", b"x", 1, 0, "p", b"", None, 7.5)
    odd: list[dict[int, Any]] = [{3: "a/#"}, {3: ""}, {5: 3}]
    store = MemoryStore()
    for number, changed in enumerate([{}, *odd], 1):
        row = [*sound]
        row[0] = number
        for at, value in changed.items():
            row[at] = value
        store.tables["delayed"][number] = tuple(row)
    async with playing(store) as place:
        assert waiting(place) == [b"x"]


async def test_releasing_waits_while_too_much_waits_for_the_disk() -> None:
    async with playing() as place:
        place.journal._most_unwritten = 1
        await place.connected("s", 4, ("t", 1))
        for payload in numbered("x", 3):
            place.broker.delayed.keep(Message("t", payload, 1), 10.0)
        place.store.blocked = True
        await place.settle()
        place.clock.now += 20
        place.broker.delayed._release()
        place.broker.delayed._release()
        assert waiting(place) == numbered("x", 3)
        assert len(place.journal._held) == 1
        place.store.let_go()
        await place.written()
        for _ in range(10):
            await place.written()
        await place.answer_all()
        assert place.peers["s"].memory.first == numbered("x", 3)


# -- when messages were published


async def test_the_time_of_publishing_comes_back() -> None:
    async with playing() as place:
        subscriber = await place.connected("s", 5, ("t/#", 1), properties=KEPT)
        await subscriber.leave()
        publisher = await place.connected("p")
        place.broker._engine.publish(Message("t/1", b"one", 1, sender="p", published_at=77.25))
        place.broker._engine.publish(Message("t/2", b"kept", 1, True, sender="p", published_at=88.5))
        run = MessageRun("t/3", b"t/3", "p", 1, _packets(3), 3, 5, 7, b"", None, None, 99.75)
        place.broker._engine.deliver_run(run, place.broker.router.route("t/3", "p"))
        await place.written()
        await publisher.leave()
        crash = Crash.of(place)
    async with crash.restarted() as place:
        kept = place.broker.retention.messages.get("t/2")
        assert kept is not None
        assert kept.published_at == 88.5
        session = place.broker.registry.get("s")
        assert session is not None
        owed = [part.owed for part in session.queue]  # pyright: ignore[reportAttributeAccessIssue]
        assert place.journal.contents.load_now(owed)
        assert [each.message(0).published_at for each in dict.fromkeys(owed)] == [77.25, 88.5, 99.75]


def _packets(count: int) -> bytes:
    return b"".join(b"\x32\x08\0\x03t/3\0\0%d" % number for number in range(count))
