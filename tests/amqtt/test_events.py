"""The queue of events: what it costs, how it is bounded, and what broken or slow plugins do to the broker."""

import asyncio
import logging
from typing import Any
from unittest.mock import patch

import amqtt.session
import pytest
from amqtt.broker import BrokerContext
from amqtt.events import BrokerEvents, MQTTEvents
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin
from wardenmq.broker import amqtt_session, event_queue, events, pace
from wardenmq.broker.access import Accept, ConnectRequest
from wardenmq.broker.broker import Broker
from wardenmq.broker.event_queue import Callback, Event, EventQueue

from ..engine import wire
from ..engine.conditions import until
from .parties import OPEN, Party, running
from .plugins import Broken, EventRecorder, Gate, PacketRecorder, path_of


class Quick(BaseAuthPlugin):
    """Admit everybody through the engine's own contract, which needs none of amqtt's objects."""

    def authenticate_connect(self, request: ConnectRequest) -> Accept:
        return Accept()


QUIET = {path_of(Quick): {}}


async def _all_kinds_of_traffic(party: Party) -> None:
    subscriber = await party.connected("sub", clean=False)
    await subscriber.subscribe(("t", 2))
    publisher = await party.connected("pub", will=wire.Will("t", b"bye"))
    for qos in (0, 1, 2):
        await publisher.publish("t", b"%d" % qos, qos, retain=True)
    publisher.send(b"".join(wire.publish("t", b"%d" % number) for number in range(100)))
    assert len(await subscriber.messages(103)) == 103
    publisher.abort()
    assert (await subscriber.message()).payload == b"bye"
    await subscriber.unsubscribe("t")
    await subscriber.disconnect()


async def test_events_cost_nothing_while_nobody_listens() -> None:
    """No picture of a session is built, no event object, no packet is decoded, no callback or task is scheduled."""
    with (
        patch.object(amqtt_session, "SessionView", side_effect=AssertionError("a view was built")),
        patch.object(events, "Event", side_effect=AssertionError("an event was built")),
        patch.object(events, "PacketRun", side_effect=AssertionError("a packet was shown")),
        patch.object(events, "IncomingApplicationMessage", side_effect=AssertionError("a message was built")),
        patch.object(EventQueue, "add", side_effect=AssertionError("an event was queued")),
        patch.object(amqtt.session.Session, "__init__", side_effect=AssertionError("amqtt's session was built")),
    ):
        async with running(Broker, QUIET) as party:
            before = asyncio.all_tasks()
            await _all_kinds_of_traffic(party)
            assert isinstance(party.broker, Broker)
            assert all(session.view is None for session in party.broker.registry)
            assert asyncio.all_tasks() == before


async def test_only_what_somebody_listens_to_is_fired() -> None:
    """A plugin for subscriptions makes neither messages nor packets be shown."""

    async with running(Broker, {**QUIET, path_of(OnlySubscriptions): {}}) as party:
        with (
            patch.object(events, "PacketRun", side_effect=AssertionError("a packet was shown")),
            patch.object(events, "IncomingApplicationMessage", side_effect=AssertionError("a message was built")),
        ):
            await _all_kinds_of_traffic(party)
        await until(lambda: party.plugin(OnlySubscriptions).seen == ["t"])
        assert isinstance(party.broker, Broker)
        assert all(session.view is None for session in party.broker.registry)


class OnlySubscriptions(BasePlugin[BrokerContext]):
    """Listen to one event."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.seen: list[str] = []

    async def on_broker_client_subscribed(self, *, client_id: str, topic: str, qos: int) -> None:
        self.seen.append(topic)


async def test_broken_plugins_hurt_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Start, traffic and shutdown go on, other plugins see everything, and the log names each callback once."""
    plugins = {**OPEN, path_of(Broken): {}, path_of(EventRecorder): {}, path_of(PacketRecorder): {}}
    with caplog.at_level(logging.ERROR):
        async with running(Broker, plugins) as party:
            await _all_kinds_of_traffic(party)
            broker = party.broker
            assert isinstance(broker, Broker)
    seen = [event[0] for event in party.plugin(EventRecorder).events]
    assert seen.count("received") == seen.count("broadcast") == 103
    assert seen[0] == "pre_start" and seen[-1] == "post_shutdown"
    assert len(party.plugin(PacketRecorder).received) > 103
    assert broker.failed_callbacks > 400
    named = [record.getMessage().split(" ")[0] for record in caplog.records if "Broken." in record.getMessage()]
    assert sorted(named) == sorted(
        f"Broken.{name}"
        for name in (
            "on_broker_pre_start",
            "on_broker_post_start",
            "on_broker_client_connected",
            "on_broker_client_subscribed",
            "on_broker_message_received",
            "on_broker_message_broadcast",
            "on_broker_retained_message",
            "on_mqtt_packet_received",
            "on_mqtt_packet_sent",
            "on_broker_pre_shutdown",
            "on_broker_post_shutdown",
            "close",
        )
    )


async def test_a_slow_callback_delays_nobody_elses() -> None:
    """While one waits, later events are handled, as they would be by amqtt's tasks."""
    async with running(Broker, {**OPEN, path_of(Gate): {}, path_of(EventRecorder): {}}) as party:
        gate = party.plugin(Gate)
        client = await party.connected("c1")
        for number in range(3):
            await client.publish("held", b"held %d" % number, 1)
            await client.publish("free", b"free %d" % number, 1)
        await until(lambda: gate.waiting == 3 and len(gate.seen) == 3)
        assert gate.seen == [b"free 0", b"free 1", b"free 2"]
        recorded = [event[2:4] for event in party.plugin(EventRecorder).events if event[0] == "received"]
        assert recorded == [(topic, b"%s %d" % (topic.encode(), n)) for n in range(3) for topic in ("held", "free")]
        gate.open.set()
        await until(lambda: len(gate.seen) == 6)


async def test_a_full_queue_drops_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that never ends holds publishers up once and for a while; then its events are dropped, no others."""
    with (
        patch.object(event_queue, "PENDING_LIMIT", 20),
        patch.object(event_queue, "_WORKER_LIMIT", 5),
        patch.object(pace, "_PATIENCE", 0.05),
    ):
        async with running(Broker, {**OPEN, path_of(Gate): {}}) as party:
            gate, broker = party.plugin(Gate), party.broker
            assert isinstance(broker, Broker)
            client = await party.connected("c1")
            await client.subscribe(("held", 0))
            for number in range(40):
                await client.publish("held", b"%d" % number)
            assert await client.messages(40) == [b"%d" % number for number in range(40)]
            assert gate.waiting == 5
            assert broker.dropped_events == 40 - 5 - 20
            limits = broker.limits()
            assert limits["events_dropped"] == broker.dropped_events
            assert limits["publishers_held"] == limits["consumers_found_slow"] == 1
            gate.open.set()
            await until(lambda: len(gate.seen) == 25)
            await client.publish("free", b"again")
            await until(lambda: gate.seen[-1] == b"again")
    assert len([record for record in caplog.records if "too slow" in record.getMessage()]) == 1


class Listener:
    """Listen to one event; hold it until the test opens the gate, or see it at once."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.callback = Callback(self, "event", self._see)
        self.begun: list[int] = []
        self.seen: list[int] = []
        self._open = asyncio.Event()
        if not stuck:
            self.open()

    def open(self) -> None:
        self._open.set()

    async def _see(self, number: int) -> None:
        self.begun.append(number)
        await self._open.wait()
        self.seen.append(number)


async def test_a_callback_that_never_ends_starves_no_other() -> None:
    """However many events it lets pass: past its own bounds it loses its own, and the others see all of theirs."""
    queue = EventQueue()
    healthy, *stuck = Listener(), *(Listener(stuck=True) for _ in range(12))
    everybody = (*(one.callback for one in stuck), healthy.callback)
    with patch.object(event_queue, "PENDING_LIMIT", 500), patch.object(event_queue, "_WORKER_LIMIT", 10):
        for number in range(2_000):
            queue.add(Event(everybody, {"number": number}))
            if number % 100 == 99:
                await until(lambda number=number: len(healthy.seen) == number + 1)
        assert healthy.seen == [*range(2_000)]
        assert queue.dropped == 12 * (2_000 - 10 - 500)
        assert len(queue) == 12 * 500
        for one in stuck:
            assert one.callback.dropped == 2_000 - 10 - 500
            one.open()
        await queue.drain()
    assert [one.begun for one in stuck] == [sorted(one.seen) for one in stuck] == [[*range(510)]] * 12
    assert len(queue) == 0


async def test_a_callback_that_comes_back_sees_its_events_in_order() -> None:
    """Those that waited in its own line come before those that are added while it works them off."""
    queue, slow = EventQueue(), Listener(stuck=True)
    with patch.object(event_queue, "_WORKER_LIMIT", 3):
        for number in range(300):
            queue.add(Event((slow.callback,), {"number": number}))
        await until(lambda: slow.callback.running == 3)
        slow.open()
        for number in range(300, 900):
            queue.add(Event((slow.callback,), {"number": number}))
            if number % 50 == 0:
                await asyncio.sleep(0)
        await queue.drain()
    assert slow.begun == sorted(slow.seen) == [*range(900)]
    assert queue.dropped == slow.callback.dropped == 0


async def test_a_callback_that_never_ends_holds_publishers_up_once() -> None:
    """It is a slow consumer of its own; the others' events neither wait for it nor count with its."""
    queue, keeper = EventQueue(), pace.Pace(asyncio.get_running_loop())
    queue.keep_pace(keeper)
    stuck, healthy = Listener(stuck=True), Listener()
    with (
        patch.object(event_queue, "PENDING_LIMIT", 20),
        patch.object(event_queue, "_WORKER_LIMIT", 5),
        patch.object(pace, "_PATIENCE", 0.05),
    ):
        for number in range(100):
            queue.add(Event((stuck.callback, healthy.callback), {"number": number}))
            await until(lambda number=number: len(healthy.seen) == number + 1)
            assert bool(keeper._behind) is (keeper.given_up == 0 and number >= 5 + 10)
            if number == 20:
                await until(lambda: keeper.given_up == 1)
        assert keeper.episodes == 1
        await queue.clear()
    assert stuck.callback.running == 0
    assert queue.dropped == 100 - 5
    assert not keeper._behind


async def test_the_queue_is_bounded_in_bytes() -> None:
    with (
        patch.object(event_queue, "_PENDING_BYTES_LIMIT", 1_000_000),
        patch.object(event_queue, "_WORKER_LIMIT", 1),
        patch.object(pace, "_PATIENCE", 0.05),
    ):
        async with running(Broker, {**OPEN, path_of(Gate): {}}) as party:
            client = await party.connected("c1")
            for _ in range(10):
                await client.publish("held", b"x" * 300_000)
            assert isinstance(party.broker, Broker)
            assert party.broker.dropped_events == 10 - 1 - 3
            party.plugin(Gate).open.set()


async def test_publishers_at_full_speed_are_seen_whole() -> None:
    """Where plugins cannot keep up, publishers are held until they have: nothing is lost, each one's order holds."""
    async with running(Broker, {**OPEN, path_of(EventRecorder): {}, path_of(PacketRecorder): {}}) as party:
        clients = [await party.connected(f"c{number}") for number in range(4)]
        for client in clients:
            client.send(b"".join(wire.publish("t", b"%d" % number) for number in range(3_000)))
        for client in clients:
            await client.ping()
        recorder = party.plugin(EventRecorder)
        await until(lambda: len(recorder.events) == 2 + 4 + 4 * 2 * 3_000)
        assert isinstance(party.broker, Broker)
        assert party.broker.dropped_events == 0
        assert party.broker.limits()["publishers_held"] > 0
        for number in range(4):
            mine = [event[3] for event in recorder.events if event[:2] == ("received", f"c{number}")]
            assert mine == [b"%d" % n for n in range(3_000)]
        await until(lambda: len(party.plugin(PacketRecorder).received) == 4 * 3_002)


async def test_a_plugin_that_has_caught_up_is_waited_for_again() -> None:
    with (
        patch.object(event_queue, "PENDING_LIMIT", 20),
        patch.object(event_queue, "_WORKER_LIMIT", 1),
        patch.object(pace, "_PATIENCE", 0.05),
    ):
        async with running(Broker, {**OPEN, path_of(Gate): {}}) as party:
            gate, broker = party.plugin(Gate), party.broker
            assert isinstance(broker, Broker)
            client = await party.connected("c1")
            for episode in (1, 2):
                gate.open.clear()
                for number in range(15):
                    await client.publish("held", b"%d" % number)
                assert broker.limits()["publishers_held"] == episode
                gate.open.set()
                await until(lambda episode=episode: len(gate.seen) == 15 * episode)
            assert broker.dropped_events == 0


async def test_the_broker_goes_on_between_slices() -> None:
    """A long queue is worked off in pieces: what else is to be done has its turn in between."""
    queue = EventQueue()
    turns: list[str] = []

    async def callback() -> None:
        turns.append("event")

    for _ in range(1_000):
        queue.add(Event((Callback(None, "test", callback),), {}))
    ticking = asyncio.ensure_future(_tick(turns))
    await queue.drain()
    ticking.cancel()
    assert turns.count("event") == 1_000
    assert turns.index("tick") < 300


async def _tick(turns: list[str]) -> None:
    while True:
        await asyncio.sleep(0)
        turns.append("tick")


async def test_shutdown_waits_for_events_and_not_for_ever() -> None:
    """What was fired before is handled before `post_shutdown`; a callback that never ends is cancelled."""
    with patch.object(event_queue, "_DRAIN_TIMEOUT", 0.5):
        async with running(Broker, {**OPEN, path_of(Gate): {}, path_of(EventRecorder): {}}) as party:
            client = await party.connected("c1")
            await client.publish("held", b"1", 1)
            await client.publish("free", b"2", 1)
    seen = [event[0] for event in party.plugin(EventRecorder).events]
    assert seen[-3:] == ["pre_shutdown", "disconnected", "post_shutdown"]
    assert seen.count("received") == 2
    assert party.plugin(Gate).seen == [b"2"]


async def test_a_plugin_may_shut_the_broker_down() -> None:
    """From within an event: the shutdown does not wait for the callback that has called it."""
    broker = Broker({"listeners": {"default": {"bind": "127.0.0.1:0"}}, "plugins": {**OPEN, path_of(Ender): {}}})
    await broker.start()
    ender = broker.plugins_manager.get_plugin("Ender")
    assert isinstance(ender, Ender)
    client = await wire.Client.open(broker.addresses["default"])
    await client.connect("c1")
    client.send(wire.publish("end"))
    await asyncio.wait_for(ender.ended.wait(), 30)
    assert broker.transitions.is_stopped()
    client.abort()


class Ender(BasePlugin[BrokerContext]):
    """Shut the broker down when told to."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.ended = asyncio.Event()

    async def on_broker_message_received(self, **_: Any) -> None:
        await self.context._broker_instance.shutdown()
        self.ended.set()


async def test_amqtts_plugin_manager_fires_through_the_queue() -> None:
    """`fire_event` and `wait_fired_events`, for programs that hold the plugin manager."""
    async with running(Broker, {**OPEN, path_of(EventRecorder): {}}) as party:
        manager, recorder = party.broker.plugins_manager, party.plugin(EventRecorder)
        await manager.fire_event(BrokerEvents.CLIENT_UNSUBSCRIBED, client_id="c", topic="t")
        await manager.wait_fired_events()
        assert recorder.events[-1] == ("unsubscribed", "c", "t")
        await manager.fire_event(BrokerEvents.CLIENT_UNSUBSCRIBED, wait=True, client_id="d", topic="t")
        assert recorder.events[-1] == ("unsubscribed", "d", "t")
        await manager.fire_event(MQTTEvents.PACKET_SENT)
