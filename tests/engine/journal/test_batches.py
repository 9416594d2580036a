"""Batches: what is gathered, merged after failures and told; the tables are what each change by itself would make."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wardenmq.broker.access import Identity
from wardenmq.broker.alarms import Alarms
from wardenmq.broker.deliveries import Group, Subscription
from wardenmq.broker.journal.batch import Batch, merge
from wardenmq.broker.journal.journal import Journal
from wardenmq.broker.journal.records import Owed
from wardenmq.broker.journal.rows import content_of, pack_bits, unpack_bits
from wardenmq.broker.journal.session import JournaledSession
from wardenmq.broker.message import Message
from wardenmq.broker.message_run import MessageRun
from wardenmq.broker.pace import Pace
from wardenmq.broker.routing.shared import SharedGroup, Strategy
from wardenmq.broker.settings import MqttSettings
from wardenmq.broker.traffic import Traffic

from ..conditions import until
from .memory_store import OF_SESSIONS, TABLES, MemoryStore

SETTINGS = MqttSettings()
ONE = Subscription(1)
TWO = Subscription(2, True, True, 2, 7)


class Waiting:
    """Wait for batches, and note in a list that all share what was heard."""

    waits = True

    def __init__(self, name: object, told: list[tuple[object, int]]) -> None:
        self.name = name
        self.told = told
        self.stalls = 0

    def written(self, committed: int) -> None:
        self.told.append((self.name, committed))

    def stalled(self) -> None:
        self.stalls += 1


class Desk:
    """A journal on a store in memory, without a broker."""

    def __init__(self, store: MemoryStore, mqtt: MqttSettings) -> None:
        self.store = store
        self.settings = mqtt
        self.alarms = Alarms()
        loop = asyncio.get_running_loop()
        self.journal = Journal(store, mqtt, self.alarms, Pace(loop), loop)
        self.told: list[tuple[object, int]] = []

    def session(self, name: str) -> JournaledSession:
        """Make a session that is journaled."""
        identity = Identity(name, "user", None, "10.0.0.1", "default")
        session = JournaledSession(identity, self.settings, Traffic(), Traffic(), self.journal, self.journal.new_key())
        session.expiry_interval = 60.0
        session.touch()
        return session

    def owe(self, session: JournaledSession, content: Message | MessageRun, qos: int = 1, **more: Any) -> Owed:
        owed = self.journal.owe(session, content, session.position, qos, **more)
        session.position += owed.count
        return owed

    async def written(self) -> None:
        async with asyncio.timeout(30):
            assert await self.journal.written()

    def wait(self, name: object) -> int:
        return self.journal.wait(Waiting(name, self.told))

    @property
    def tables(self) -> dict[str, dict[Any, Any]]:
        return self.store.tables

    def rows(self) -> dict[str, list[Any]]:
        """Give the keys of what is written, but for the state."""
        return {name: sorted(rows) for name, rows in self.tables.items() if rows and name != "state"}


@asynccontextmanager
async def desk(mqtt: MqttSettings = SETTINGS) -> AsyncIterator[Desk]:
    found = Desk(MemoryStore(), mqtt)
    try:
        yield found
    finally:
        found.store.let_go()
        await found.journal.close(5.0)


def message(payload: bytes = b"x", topic: str = "t") -> Message:
    return Message(topic, payload, 2, False, "pub", None, b"", None)


def run(count: int, size: int = 3) -> MessageRun:
    """Make a run as it comes from a publisher."""
    packets = [b"\x32\x08\0\1t\0\0" + b"%0*d" % (size, number) for number in range(count)]
    return MessageRun("t", b"t", "pub", 1, b"".join(packets), count, 5, 7)


def group(name: str = "$share/g/t") -> Group:
    return SharedGroup("g", "t", Strategy.ROUND_ROBIN, full_filter=name)


# -- rows


@pytest.mark.parametrize("bits", [0, 1, 0b1000_0000, 0b1_0000_0000, (1 << 256) - 1, 1 << 255])
def test_bit_fields_are_written_in_their_shortest_form(bits: int) -> None:
    packed = pack_bits(bits)
    assert unpack_bits(packed) == bits
    assert not packed or packed[-1]
    assert [packed[at >> 3] >> (at & 7) & 1 for at in range(8 * len(packed))] == [
        bits >> at & 1 for at in range(8 * len(packed))
    ]


async def test_messages_and_runs_come_back_as_they_were() -> None:
    async with desk() as found:
        session = found.session("a")
        single = Message("t/ä", b"\0\xff", 1, True, "pub", None, b"\x26\0\1a\0\1b", 1234.5)
        found.owe(session, single)
        found.owe(session, run(4))
        found.owe(session, Message("empty", b""))
        await found.written()
        one, several, empty = (content_of(row) for _, row in sorted(found.tables["messages"].items()))
        assert isinstance(one, Message) and isinstance(several, MessageRun) and isinstance(empty, Message)
        for name in ("topic", "payload", "qos", "retain", "sender", "topic_bytes", "properties", "expires_at"):
            assert getattr(one, name) == getattr(single, name)
        assert several.payloads == run(4).payloads
        assert (several.count, several.sender, several.weight) == (4, "pub", run(4).weight)
        assert empty.payload == b""


async def test_keys_are_those_of_the_tables() -> None:
    async with desk() as found:
        a, b = found.session("a"), found.session("b")
        a.subscribed("t/#", TWO)
        shared = group()
        content = run(3)
        found.owe(a, content, 2, identifiers=b"\x0b\7", group=shared)
        found.owe(b, content)
        a.hold_back((7, 9))
        found.journal.retain("r", Message("r", b"kept", 1, True, "pub", published_at=5.25))
        await found.written()
        assert found.rows() == {
            "sessions": [1, 2],
            "subscriptions": [(1, "t/#")],
            "messages": [1],
            "deliveries": [(1, 0), (2, 0)],
            "unreleased": [(1, 7), (1, 9)],
            "retained": ["r"],
        }
        assert found.tables["subscriptions"][1, "t/#"] == (1, "t/#", 2, 1, 1, 2, 7, "")
        assert found.tables["deliveries"][1, 0] == (1, 0, 1, 0, 3, 2, 0, b"\x0b\7", "$share/g/t", b"", b"")
        assert found.tables["unreleased"][1, 7] == (1, 7)
        assert found.tables["retained"]["r"] == ("r", b"kept", 1, "pub", b"", None, 5.25)


# -- what came and went


async def test_what_is_settled_before_it_is_written_never_is() -> None:
    async with desk() as found:
        session = found.session("a")
        await found.written()
        before = len(found.store.submitted)
        owed = found.owe(session, message())
        found.journal.settle(owed, 0)
        several = found.owe(session, run(5))
        found.journal.settle_some(several, 0b11111, 5)
        found.wait("somebody")
        await until(lambda: len(found.told) > 0)
        assert not [changes for _, changes in found.store.submitted[before:] if changes]


async def test_what_is_settled_while_it_is_being_written_goes_with_the_next_batch() -> None:
    async with desk() as found:
        session = found.session("a")
        await found.written()
        found.store.blocked = True
        owed = found.owe(session, message())
        found.wait("somebody")
        await until(lambda: found.store.busy)
        found.journal.settle(owed, 0)
        found.store.release()
        assert found.rows()["deliveries"] == [(1, 0)]
        found.store.blocked = False
        await found.written()
        assert "deliveries" not in found.rows() and "messages" not in found.rows()


async def test_the_bits_of_a_run_are_those_of_what_is_done_and_received() -> None:
    async with desk() as found:
        session = found.session("a")
        owed = found.owe(session, run(10), 2)
        found.journal.settle(owed, 1)
        await found.written()
        assert found.tables["deliveries"][1, 0][9:] == (b"\2", b"")
        found.journal.receive(owed, 0b10_0000_0000)
        found.journal.settle_some(owed, 0b1100, 2)
        await found.written()
        assert found.tables["deliveries"][1, 0][9:] == (b"\x0e", b"\0\2")
        assert owed.left == 7


async def test_a_record_goes_with_the_last_that_is_owed_it_and_not_before() -> None:
    async with desk() as found:
        sessions = [found.session(name) for name in "abc"]
        content = message()
        owed = [found.owe(session, content) for session in sessions]
        await found.written()
        assert found.rows()["messages"] == [1]
        for number, each in enumerate(owed):
            found.journal.settle(each, 0)
            await found.written()
            assert found.rows().get("messages", []) == ([1] if number < 2 else [])
            assert len(found.rows().get("deliveries", [])) == 2 - number


async def test_a_message_that_is_owed_again_in_a_later_batch_has_a_record_of_its_own() -> None:
    async with desk() as found:
        a, b = found.session("a"), found.session("b")
        content = message()
        first = found.owe(a, content)
        await found.written()
        found.owe(b, content)
        await found.written()
        assert found.rows()["messages"] == [1, 2]
        found.journal.settle(first, 0)
        await found.written()
        assert found.rows()["messages"] == [2]


async def test_a_message_whose_record_went_before_it_was_written_gets_another() -> None:
    async with desk() as found:
        a, b = found.session("a"), found.session("b")
        content = message()
        found.journal.settle(found.owe(a, content), 0)
        found.owe(b, content)
        await found.written()
        assert len(found.rows()["messages"]) == 1
        (row,) = found.tables["deliveries"].values()
        assert row[2] == found.rows()["messages"][0]


# -- sessions that end


def drop(found: Desk, session: JournaledSession, *owed: Owed) -> None:
    """End a session as the engine does."""
    for each in owed:
        found.journal.forget(each)
    found.journal.end(session)
    session.touch()  # a will that goes with it does that


Case = Callable[[Desk], tuple[JournaledSession, tuple[Owed, ...]]]


def everything(found: Desk) -> tuple[JournaledSession, tuple[Owed, ...]]:
    session = found.session("a")
    session.subscribed("t", ONE)
    session.subscribed("$share/g/t", TWO)
    session.hold_back((1, 2))
    return session, (found.owe(session, message()), found.owe(session, run(4), 2, group=group()))


@pytest.mark.parametrize("end_in", ["the same batch", "the next batch", "the batch after a failed one", "two failed"])
async def test_an_ended_session_leaves_nothing_behind(end_in: str) -> None:
    async with desk() as found:
        other = found.session("other")
        other.subscribed("t", ONE)
        await found.written()
        kept = found.rows()
        session, owed = everything(found)
        if end_in == "the next batch":
            await found.written()
        elif end_in != "the same batch":
            found.store.fails = "full", "it is full"
            found.wait("somebody")
            await until(lambda: found.journal.fault is not None)
        if end_in == "two failed":
            found.journal.settle(owed[1], 2)
            session.subscribed("u", ONE)
            session.hold_back((3,))
            tried = len(found.store.submitted)
            await until(lambda: len(found.store.submitted) > tried)
        session.subscribed("t", ONE)
        drop(found, session, *owed)
        found.store.fails = None
        await until(lambda: found.journal.fault is None)
        await found.written()
        assert found.rows() == kept


async def test_a_client_id_can_be_used_anew_in_the_same_batch() -> None:
    async with desk() as found:
        first, owed = everything(found)
        await found.written()
        found.store.fails = "full", "it is full"
        drop(found, first, *owed)
        second = found.session("a")
        second.subscribed("t", TWO)
        found.wait("somebody")
        await until(lambda: found.journal.fault is not None)
        found.owe(second, message())
        found.store.fails = None
        await until(lambda: found.journal.fault is None)
        await found.written()
        assert found.rows() == {
            "sessions": [second.key],
            "subscriptions": [(second.key, "t")],
            "messages": found.rows()["messages"],
            "deliveries": [(second.key, 0)],
        }


def test_what_a_newer_batch_says_counts() -> None:
    older = {
        "sessions": {1: ("a",), 2: ("b",)},
        "deliveries": {(1, 0): (1,), (2, 0): (2,)},
        "retained": {"r": ("old",)},
    }
    newer = {"ended": {1: None}, "deliveries": {(2, 0): None, (2, 1): (3,)}, "retained": {"r": ("new",), "s": None}}
    assert merge(older, newer) == {
        "ended": {1: None},
        "sessions": {2: ("b",)},
        "deliveries": {(2, 0): None, (2, 1): (3,)},
        "retained": {"r": ("new",), "s": None},
    }
    assert older["deliveries"] == {(1, 0): (1,), (2, 0): (2,)}  # which may be under way


def test_merging_is_writing_one_after_the_other() -> None:
    chance = random.Random(1)
    for _ in range(300):
        batches = [some_changes(chance) for _ in range(4)]
        apart, together = MemoryStore(), MemoryStore()
        merged: Any = {}
        for each in batches:
            apart._apply(each)
            merged = merge(merged, each) if merged else each
        together._apply(merged)
        assert together.tables == apart.tables


def some_changes(chance: random.Random) -> dict[str, dict[Any, Any]]:
    """Make a batch as the broker might: ended sessions have no other rows in it."""
    ended = {key for key in range(4) if chance.random() < 0.2}
    tables: dict[str, dict[Any, Any]] = {"ended": dict.fromkeys(ended)}
    for name in TABLES[1:]:
        rows: dict[Any, Any] = {}
        for _ in range(chance.randrange(6)):
            session, number = chance.randrange(4), chance.randrange(3)
            key: Any = (session, number) if name in OF_SESSIONS else session
            gone = chance.random() < 0.4
            if session in ended and name != "messages" and name != "retained" and not gone:
                continue
            rows[key] = None if gone else (key, f"client {session}", chance.random())
        if rows:
            tables[name] = rows
    return tables


def test_an_empty_batch_changes_nothing() -> None:
    batch = Batch(1)
    assert batch.changes_nothing and batch.changes() == {}
    batch.retained["r"] = None
    assert not batch.changes_nothing


# -- who waits


async def test_who_waits_is_told_once_in_order_and_not_before_it_is_written() -> None:
    async with desk() as found:
        session = found.session("a")
        await found.written()
        found.store.blocked = True
        numbers: list[int] = []
        for name in range(3):
            found.owe(session, message(b"%d" % name), 2)
            numbers.append(found.wait(name))
            numbers.append(found.wait(f"{name} too"))
            await until(lambda: found.store.busy)
        assert numbers[0] == numbers[1] < numbers[2] == numbers[3] == numbers[4]
        assert found.told == []
        found.store.release()
        assert found.told == [(0, numbers[0]), ("0 too", numbers[0])]
        await until(lambda: found.store.busy)
        found.store.release()
        assert [name for name, _ in found.told] == [0, "0 too", 1, "1 too", 2, "2 too"]
        assert all(committed >= number for (_, committed), number in zip(found.told, numbers, strict=True))


async def test_who_waits_for_a_batch_that_fails_is_told_when_it_is_written_at_last() -> None:
    async with desk() as found:
        session = found.session("a")
        await found.written()
        found.store.fails = "error", "it does not work"
        found.owe(session, message(b"1"))
        first = Waiting("first", found.told)
        number = found.journal.wait(first)
        await until(lambda: len(found.store.submitted) > 3)
        found.owe(session, message(b"2"))
        found.wait("second")
        tried = len(found.store.submitted)
        await until(lambda: len(found.store.submitted) > tried + 1)
        assert found.told == [] and found.journal.committed < number
        assert first.stalls == 1
        found.store.fails = None
        await until(lambda: len(found.told) == 2)
        assert [name for name, _ in found.told] == ["first", "second"]
        assert len(found.rows()["messages"]) == 2


async def test_nobody_waits_where_there_is_nothing_to_write() -> None:
    async with desk() as found:
        await found.written()
        for name in range(3):
            found.wait(name)
            await until(lambda name=name: len(found.told) == name + 1)  # type: ignore[misc]
        committed = [number for _, number in found.told]
        assert committed == sorted(set(committed))


async def test_what_waits_for_the_disk_is_counted_and_publishers_are_freed() -> None:
    freed: list[str] = []

    class Publisher:
        def go_on_writing(self) -> None:
            freed.append("freed")

    async with desk(replace(SETTINGS, max_unwritten_bytes=1_000)) as found:
        session = found.session("a")
        await found.written()
        found.store.blocked = True
        found.owe(session, message(bytes(600)), 2)
        found.wait("somebody")
        await until(lambda: found.store.busy)
        assert not found.journal.congested
        owed = found.owe(session, message(bytes(600)), 2)
        assert found.journal.congested
        found.journal.hold(Publisher())
        found.journal.settle(owed, 0)
        assert not found.journal.congested
        found.owe(session, message(bytes(600)), 2)
        assert found.journal.congested and not freed
        found.store.blocked = False
        found.store.release()
        await found.written()
        await until(lambda: len(freed) == 1)
        assert not found.journal.congested


async def test_after_the_end_nothing_is_submitted() -> None:
    async with desk() as found:
        session = found.session("a")
        found.owe(session, message())
        await found.journal.close(5.0)
        assert found.rows()["deliveries"] == [(1, 0)]
        submitted = len(found.store.submitted)
        found.owe(session, message())
        session.touch()
        session.subscribed("t", ONE)
        session.hold_back((1,))
        found.journal.retain("r", message())
        found.journal.end(session)
        assert await found.journal.written()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(found.store.submitted) == submitted
        await found.journal.close(5.0)


async def test_the_time_is_written_now_and_then() -> None:
    async with desk() as found:
        await found.written()
        submitted = len(found.store.submitted)
        found.journal.beat()
        assert len(found.store.submitted) <= submitted + 1
        submitted = len(found.store.submitted)
        await until(lambda: not found.store.busy)
        found.journal._last_beat -= 11.0
        found.journal.beat()
        assert len(found.store.submitted) == submitted + 1
        await until(lambda: not found.store.busy)


async def test_a_fault_that_only_the_beat_met_ends_too() -> None:
    async with desk() as found:
        await found.written()
        await until(lambda: not found.store.busy)
        found.store.fails = "full", "it is full"
        found.journal._last_beat -= 11.0
        found.journal.beat()
        await until(lambda: found.journal.fault is not None)
        found.store.fails = None
        await until(lambda: found.journal.fault is None)


# -- anything, in any order, against a model that applies each change at once


class Model:
    """What the tables must hold when all is written."""

    def __init__(self) -> None:
        self.sessions: set[int] = set()
        self.subscriptions: dict[tuple[int, str], int] = {}
        self.owed: dict[tuple[int, int], tuple[object, int, int, int, str]] = {}
        """Payload or run, count, done bits, received bits, shared filter."""
        self.unreleased: set[tuple[int, int]] = set()
        self.retained: dict[str, bytes] = {}

    def end(self, key: int) -> None:
        self.sessions.discard(key)
        for table in (self.subscriptions, self.owed):
            for each in [each for each in table if each[0] == key]:
                del table[each]  # type: ignore[arg-type]
        self.unreleased = {each for each in self.unreleased if each[0] != key}

    def check(self, tables: dict[str, dict[Any, Any]]) -> None:
        assert set(tables["sessions"]) == self.sessions
        assert {key: row[2] for key, row in tables["subscriptions"].items()} == self.subscriptions
        assert set(tables["unreleased"]) == self.unreleased
        assert {topic: row[1] for topic, row in tables["retained"].items()} == self.retained
        messages = tables["messages"]
        found = {
            key: (messages[row[2]][9], row[4], unpack_bits(row[9]), unpack_bits(row[10]), row[8])
            for key, row in tables["deliveries"].items()
        }
        assert found == self.owed
        assert set(messages) == {row[2] for row in tables["deliveries"].values()}  # no record that nobody is owed


class Acting:
    """Do at random what sessions do, at the journal and at the model."""

    def __init__(self, found: Desk, chance: random.Random) -> None:
        self.found = found
        self.chance = chance
        self.model = Model()
        self.sessions: dict[JournaledSession, list[Owed]] = {}
        self.group = group()
        self.made = 0
        self.waits: list[tuple[int, int]] = []
        """Who waits, with the batch."""

    def act(self) -> None:
        """Do one thing."""
        names = (
            "begin",
            "owe",
            "owe",
            "owe",
            "settle",
            "settle",
            "receive",
            "subscribe",
            "unsubscribe",
            "hold",
            "retain",
        )
        getattr(self, self.chance.choice((*names, "end", "wait")))()

    def pick(self) -> JournaledSession | None:
        return self.chance.choice(list(self.sessions)) if self.sessions else None

    def begin(self) -> None:
        if len(self.sessions) < 5:
            self.made += 1
            session = self.found.session(f"client {self.made}")
            self.sessions[session] = []
            self.model.sessions.add(session.key)

    def owe(self) -> None:
        chance = self.chance
        self.made += 1
        content = message(b"%d" % self.made) if chance.random() < 0.5 else run(chance.randint(2, 20))
        shared = self.group if isinstance(content, Message) and chance.random() < 0.3 else None
        data = content.payload if isinstance(content, Message) else content.stored[0]
        for session in chance.sample(list(self.sessions), chance.randint(0, len(self.sessions))):
            owed = self.found.owe(session, content, chance.choice((1, 2)), group=shared)
            self.sessions[session].append(owed)
            name = "" if shared is None else shared.full_filter
            self.model.owed[session.key, owed.position] = (data, owed.count, 0, 0, name)

    def _some(self) -> tuple[JournaledSession, Owed, list[int]] | None:
        session = self.pick()
        if session is None or not self.sessions[session]:
            return None
        owed = self.chance.choice(self.sessions[session])
        left = [offset for offset in range(owed.count) if not owed.done >> offset & 1]
        return session, owed, self.chance.sample(left, self.chance.randint(1, len(left)))

    def settle(self) -> None:
        some = self._some()
        if some is None:
            return
        session, owed, offsets = some
        if self.chance.random() < 0.5:
            offsets = offsets[:1]
            self.found.journal.settle(owed, offsets[0])
        else:
            self.found.journal.settle_some(owed, sum(1 << offset for offset in offsets), len(offsets))
        key = session.key, owed.position
        data, count, done, received, name = self.model.owed[key]
        done |= sum(1 << offset for offset in offsets)
        if done == (1 << count) - 1:
            del self.model.owed[key]
            self.sessions[session].remove(owed)
        else:
            self.model.owed[key] = (data, count, done, received, name)

    def receive(self) -> None:
        some = self._some()
        if some is None or some[1].qos != 2:
            return
        session, owed, offsets = some
        bits = sum(1 << offset for offset in offsets)
        self.found.journal.receive(owed, bits)
        data, count, done, received, name = self.model.owed[session.key, owed.position]
        self.model.owed[session.key, owed.position] = (data, count, done, received | bits, name)

    def subscribe(self) -> None:
        session = self.pick()
        if session is not None:
            topic_filter, chosen = self.chance.choice(("t", "u", "$share/g/t")), self.chance.choice((ONE, TWO))
            session.subscribed(topic_filter, chosen)
            self.model.subscriptions[session.key, topic_filter] = chosen.qos

    def unsubscribe(self) -> None:
        session = self.pick()
        if session is not None:
            topic_filter = self.chance.choice(("t", "u", "$share/g/t"))
            session.subscribed(topic_filter, None)
            self.model.subscriptions.pop((session.key, topic_filter), None)

    def hold(self) -> None:
        session = self.pick()
        if session is None:
            return
        number = self.chance.randint(1, 4)
        if self.chance.random() < 0.5:
            session.hold_back((number,))
            self.model.unreleased.add((session.key, number))
        else:
            assert session.let_go((number,)) is ((session.key, number) in self.model.unreleased)
            self.model.unreleased.discard((session.key, number))

    def retain(self) -> None:
        topic, payload = self.chance.choice(("r", "s")), b"%d" % self.made
        if self.chance.random() < 0.6:
            self.found.journal.retain(topic, Message(topic, payload, 1, True, "pub"))
            self.model.retained[topic] = payload
        else:
            self.found.journal.retain(topic, None)
            self.model.retained.pop(topic, None)

    def end(self) -> None:
        session = self.pick()
        if session is not None and self.chance.random() < 0.4:
            drop(self.found, session, *self.sessions.pop(session))
            self.model.end(session.key)

    def wait(self) -> None:
        name = len(self.waits)
        self.waits.append((name, self.found.wait(name)))


async def act_at_random(seed: int) -> None:
    chance = random.Random(seed)
    async with desk() as found:
        acting = Acting(found, chance)
        for _ in range(chance.randint(1, 120)):
            acting.act()
            match chance.randrange(8):
                case 0:
                    found.store.blocked = not found.store.blocked
                case 1:
                    found.store.fails = chance.choice((None, None, ("full", "it is full"), ("error", "it is broken")))
                case 2:
                    found.store.release()
                case 3:
                    await asyncio.sleep(0.003)
                case 4:
                    await asyncio.sleep(0)
                case _:
                    pass
            waited = dict(acting.waits)
            assert all(committed >= waited[name] for name, committed in found.told)  # type: ignore[index]
        found.store.let_go()
        await until(lambda: found.journal.fault is None)
        await found.written()
        await until(lambda: len(found.told) == len(acting.waits))
        assert [name for name, _ in found.told] == [name for name, _ in acting.waits]
        acting.model.check(found.tables)
        for session, owed in list(acting.sessions.items()):
            drop(found, session, *owed)
        found.journal.retain("r", None)
        found.journal.retain("s", None)
        await found.written()
        assert found.rows() == {}


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_the_tables_are_what_each_change_by_itself_would_make(seed: int) -> None:
    asyncio.run(act_at_random(seed))
