"""The graceful end: who is still served, who is told what, and what the next broker finds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from wardenmq.broker.broker import Broker
from wardenmq.broker.settings import MqttSettings

from ...clocks import ignore_stalls
from .. import wire, wire5
from ..brokers import ANONYMOUS
from ..conditions import until
from ..packets5 import P
from ..wire import PUBACK, PUBREC, TIME_LIMIT, Client
from .memory_store import MemoryStore
from .places import KEPT, SETTINGS, Crash, Peer, Place, numbered, playing

pytestmark = pytest.mark.asyncio

CLEAN: dict[str, Any] = {"clean": True}
PATIENT = replace(SETTINGS, shutdown_timeout=TIME_LIMIT)
SHUTTING_DOWN = 0x8B


@asynccontextmanager
async def stopping(settings: MqttSettings = PATIENT, store: MemoryStore | None = None) -> AsyncIterator["Stopping"]:
    """Run a broker that the test stops."""
    async with playing(store, settings) as place:
        stop = Stopping(place)
        with_shutdown = place.broker.shutdown
        place.broker.shutdown = stop.end  # type: ignore[method-assign]
        stop.shutdown = with_shutdown
        yield stop


class Stopping:
    """The stop of a broker, which happens once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.shutdown: Any = None
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> asyncio.Task[None]:
        self.task = asyncio.ensure_future(self.shutdown())
        return self.task

    async def end(self) -> None:
        """Stop, and take in what the clients got."""
        await (self.task or self.begin())
        self.place.look()

    async def restart(self) -> Crash:
        """Stop, and give what the next broker begins with."""
        await self.end()
        return Crash.of(self.place)


async def until_seen(place: Place, peer: Peer, count: int) -> None:
    await until(lambda: place.look() or len(peer.messages) >= count)


async def test_clients_of_mqtt_5_are_told_and_all_connections_end() -> None:
    async with stopping() as stop:
        place = stop.place
        new = await place.connected("new", 5)
        old = await place.connected("old", 4)
        clean = await place.connected("clean", 5, **CLEAN)
        await stop.end()
        assert (new.goodbye, old.goodbye, clean.goodbye) == (SHUTTING_DOWN, None, SHUTTING_DOWN)
        assert not any(peer.connected for peer in (new, old, clean))


@asynccontextmanager
async def listening(store: MemoryStore, settings: MqttSettings = PATIENT) -> AsyncIterator[Broker]:
    """Run a broker with sockets that the test stops."""
    ignore_stalls()
    config = {"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}, "plugins": dict(ANONYMOUS)}
    broker = Broker(config, settings=settings, journal=store)
    await broker.start()
    try:
        yield broker
    finally:
        store.let_go()
        if broker.transitions.is_started():
            await broker.shutdown()


async def test_nobody_comes_in_any_more_while_others_are_waited_for() -> None:
    store = MemoryStore()
    async with listening(store) as broker:
        address = broker.addresses["default"]
        sub = await Client.open(address)
        await sub.connect("sub", clean=False)
        assert await sub.subscribe(("t", 1)) == [1]
        await sub.disconnect()
        other = await wire5.Client5.open(address)
        await other.connect("other")
        pub = await Client.open(address)
        await pub.connect("pub")
        store.blocked = True
        pub.send(wire.publish("t", b"x", 1, 1))
        await until(lambda: store.busy)
        stop = asyncio.ensure_future(broker.shutdown())
        await other.disconnected(SHUTTING_DOWN)  # which waits for nothing
        with pytest.raises(OSError):
            await Client.open(address)
        assert not stop.done()
        store.blocked = False
        store.release()
        assert (await pub.expect(PUBACK)).packet_id == 1
        await pub.hung_up()
        await stop
    assert [row[9] for row in store.tables["messages"].values()] == [b"x"]


async def test_the_queues_of_clients_whose_sessions_end_with_them_empty_first() -> None:
    async with stopping(replace(PATIENT, max_inflight=2)) as stop:
        place = stop.place
        clean = await place.connected("clean", 4, ("t", 1), **CLEAN)
        idle = await place.connected("idle", 5, **CLEAN)
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 9))
        task = stop.begin()
        await until(lambda: idle.port is not None and idle.port.closed)
        assert clean.connected and not task.done()
        while not task.done():
            place.look()
            if clean.answers and clean.connected:
                answers, clean.answers = clean.answers, []
                clean.send(b"".join([wire.acknowledge(*each) for each in answers]))
            await asyncio.sleep(0)
        place.look()
        assert clean.memory.first == numbered("a", 9)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
async def test_a_client_that_never_reads_is_not_waited_for_longer_than_the_settings_say(seconds: float) -> None:
    async with stopping(replace(PATIENT, max_inflight=2, shutdown_timeout=seconds)) as stop:
        place = stop.place
        clean = await place.connected("clean", 4, ("t", 1), **CLEAN)
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 9))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await stop.end()
        assert loop.time() - began >= seconds
        assert not clean.connected
        assert len(clean.messages) == 2


async def test_a_session_that_is_kept_is_not_waited_for_and_goes_on_in_the_next_broker() -> None:
    async with stopping(replace(PATIENT, max_inflight=2)) as stop:
        place = stop.place
        sub = await place.connected("sub", 5, ("t", 2))
        away = await place.connected("away", 4, ("t", 1))
        await away.lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 5), qos=2)
        await sub.answer(1)
        crash = await stop.restart()
        assert sub.goodbye == SHUTTING_DOWN
    async with crash.restarted() as place:
        for name in ("sub", "away", "pub"):
            assert (await place.peers[name].connect()).session_present
        sub = place.peers["sub"]
        assert [dup for _, _, dup, _ in sub.messages][:1] == [True]
        await place.answer_all()
        assert place.peers["pub"].memory.confirmed == numbered("a", 5)
        assert [payload for _, payload, _ in sub.memory.received] == numbered("a", 5)
        assert place.peers["away"].memory.first == numbered("a", 5)
        await place.end_all()
        assert place.left_over() == {}


async def test_sessions_expire_from_the_stop_on() -> None:
    async with stopping() as stop:
        place = stop.place
        await place.connected("brief", 5, properties=[(P.SESSION_EXPIRY, 10)])
        await place.connected("clean", 5, **CLEAN)
        place.clock.now += 100
        crash = await stop.restart()
        (row,) = place.store.tables["sessions"].values()
        assert row[18] == place.clock.now  # when it was disconnected
    crash.now += 9
    async with crash.restarted() as place:
        assert place.broker.registry.get("brief") is not None
    crash.now += 2
    async with crash.restarted() as place:
        assert place.broker.registry.get("brief") is None


async def test_no_will_is_published_by_the_stop_and_one_that_waits_is_kept() -> None:
    will = wire5.Will5("will", b"gone", 1, properties=[(P.WILL_DELAY, 100)])
    at_once = wire5.Will5("will", b"at once", 1)
    async with stopping() as stop:
        place = stop.place
        sub = await place.connected("sub", 4, ("will", 1))
        lost = await place.connected("lost", 5, will=will)
        await lost.lose()
        await place.connected("there", 5, will=will)
        await place.connected("there too", 4, will=wire.Will("will", b"at once", 1))
        await place.connected("clean", 5, clean=True, will=at_once)
        due = lost.session.will_due
        crash = await stop.restart()
        assert sub.memory.first == []
    async with crash.restarted() as place:
        sub = await place.peers["sub"].connect()
        assert place.peers["lost"].session.will_due == due
        for name in ("there", "there too"):
            assert place.peers[name].session.delayed_will is None
        assert sub.messages == []
        await place.peers["lost"].connect(clean=True)
        assert sub.payloads() == [b"gone"]


@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledgements_that_are_held_are_sent_before_the_end(qos: int) -> None:
    async with stopping() as stop:
        place = stop.place
        away = await place.connected("away", 4, ("t", 2))
        await away.lose()
        pub = await place.connected("pub", 5, properties=KEPT)
        await place.written()
        place.store.blocked = True
        await pub.publish("t", *numbered("a", 3), qos=qos)
        task = stop.begin()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done() and pub.connected
        place.store.blocked = False
        place.store.release()
        crash = await stop.restart()
        assert [kind for kind, _ in pub.kinds(PUBACK, PUBREC)] == [PUBACK if qos == 1 else PUBREC] * 3
        assert pub.goodbye == SHUTTING_DOWN
    async with crash.restarted() as place:
        for name in ("away", "pub"):
            await place.peers[name].connect()
        await place.answer_all()
        assert [payload for _, payload, _ in place.peers["away"].memory.received] == numbered("a", 3)


async def test_what_nobody_waits_for_is_written_before_the_end() -> None:
    async with stopping() as stop:
        place = stop.place
        sub = await place.connected("sub", 4, ("t", 1))
        pub = await place.connected("pub", 4)
        await pub.publish("t", *numbered("a", 3))
        await sub.answer()
        await stop.end()
        assert not place.store.tables["deliveries"] and not place.store.tables["messages"]
        assert all(row[18] is not None for row in place.store.tables["sessions"].values())


@pytest.mark.parametrize("kind", ["full", "error"])
async def test_a_stop_during_a_fault_is_bounded_and_loses_nothing_that_was_written(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardenmq.broker.leaving._CLOSING", 0.05)
    async with stopping(replace(PATIENT, shutdown_timeout=0.05)) as stop:
        place = stop.place
        away = await place.connected("away", 4, ("t", 1))
        await away.lose()
        pub = await place.connected("pub", 4)
        await pub.publish("t", b"written")
        place.store.fails = kind, "it does not work"
        await pub.publish("t", b"not written")
        began = monotonic()
        crash = await stop.restart()
        assert monotonic() - began < TIME_LIMIT
        assert pub.memory.confirmed == [b"written"]
        assert "What was not written to the disk by now is lost" in caplog.text
    async with crash.restarted() as place:
        away = await place.peers["away"].connect()
        await place.peers["pub"].connect()  # and sends it again
        await place.answer_all()
        assert away.memory.first == [b"written", b"not written"]


async def test_a_fault_that_ends_during_the_stop_is_made_good() -> None:
    async with stopping() as stop:
        place = stop.place
        away = await place.connected("away", 4, ("t", 1))
        await away.lose()
        pub = await place.connected("pub", 4)
        await place.written()
        place.store.fails = "full", "it does not work"
        await pub.publish("t", b"x")
        await until(lambda: place.journal.fault is not None)
        task = stop.begin()
        await asyncio.sleep(0)
        assert not task.done()
        place.store.fails = None
        await stop.end()
        assert pub.memory.confirmed == [b"x"]
        assert len(place.store.tables["deliveries"]) == 1


async def test_the_next_broker_finds_all_that_the_last_one_had_again_and_again() -> None:
    crash: Crash | None = None
    for number in range(4):
        store = crash.store if crash is not None else MemoryStore()
        async with playing(store.after_a_crash()) as place:
            for name, memory in (crash.memories if crash is not None else {}).items():
                place.peer(name, crash.versions[name] if crash is not None else 4, memory)
            sub = await place.connected("sub", 4, *((("t", 2),) if crash is None else ()))
            pub = await place.connected("pub", 4)
            await sub.answer(2)
            await pub.publish("t", *numbered("a", 3, 3 * number), qos=2)
            await pub.release()
            await sub.answer(3)
            place.store.on_commit = None
            await place.broker.shutdown()
            crash = Crash.of(place)
            place.broker.shutdown = _nothing  # type: ignore[method-assign]
    assert crash is not None
    async with crash.restarted() as place:
        for name in ("pub", "sub"):
            await place.peers[name].connect()
        await place.answer_all()
        sub = place.peers["sub"]
        assert [payload for _, payload, _ in sub.memory.received] == numbered("a", 12)
        await place.end_all()
        assert place.left_over() == {}


async def _nothing() -> None:
    """Stop a broker that has stopped."""
