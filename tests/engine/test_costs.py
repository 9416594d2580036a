"""What one client may cost the others: their time, their messages and the broker's memory."""

import asyncio
import gc
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import patch

import pytest
import pytest_asyncio
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session as AmqttSession
from wardenmq.broker import incoming, pace
from wardenmq.broker.access import SUBSCRIBE, Accept, ConnectRequest, Identity, Refuse
from wardenmq.broker.broker import Broker
from wardenmq.broker.connection import Connection
from wardenmq.broker.expiries import Expiries
from wardenmq.broker.read_gate import Hold
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.records import Change

from ..spec.v5.serving import KEPT, Clients5, serving5
from . import access_plugins, wire, wire5
from .access_plugins import FastRules
from .brokers import ANONYMOUS
from .conditions import until
from .packets5 import P
from .wire import DISCONNECT, PING, PUBACK, PUBLISH, PUBREC, SUBACK, Client, Will, acknowledge
from .wire5 import Client5, users

PLUGINS = access_plugins.__name__
FOR_GOOD = 1e6
"""Seconds of patience that no test outlives."""
STALE = 300
"""Entries that may be left of expiries that are settled."""
QUOTA_EXCEEDED = 0x97


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients5]:
    """Give clients of a broker that lets anonymous clients do everything."""
    async with serving5() as opened:
        yield opened


def _connection(clients: Clients5, client_id: str) -> Connection:
    """Give the broker's end of a client's socket."""
    session = clients.session(client_id)
    return next(found for found in clients.broker._listeners.connections if found.session is session)


def _is_held(clients: Clients5, client_id: str) -> Callable[[], bool]:
    connection = _connection(clients, client_id)
    return lambda: connection._gate.holds(Hold.PACE)


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Have consumers that are behind waited for this long, whether or not they take something."""
    with patch.object(pace, "_PATIENCE", seconds), patch.object(pace, "_STILL", seconds):
        yield


async def _client(clients: Clients5, version: int, client_id: str, **fields: object) -> Client:
    """Connect a client of a version."""
    return await (clients.connected5 if version == 5 else clients.connected)(client_id, **fields)


async def _acknowledged(publisher: Client, packet_ids: Iterable[int], kind: int = PUBACK) -> None:
    """Expect an acknowledgement of each, in their order, and nothing else than that to be handled."""
    for packet_id in packet_ids:
        assert (await publisher.expect(kind)).packet_id == packet_id
    await publisher.ping()


def _module(version: int):
    return wire5 if version == 5 else wire


# -- holding publishers


class TestHoldingPublishers:
    """Who publishes to a consumer that is behind waits for it, and nobody else does."""

    SMALL = MqttSettings(max_inflight=1, max_mqueue_len=10)

    @pytest.mark.parametrize("qos", [1, 2])
    @pytest.mark.parametrize("version", [4, 5])
    async def test_only_publishers_of_a_topic_wait_for_its_consumer(self, version: int, qos: int) -> None:
        """A consumer does not acknowledge: its publisher is held, another pair goes on, and nothing is lost."""
        with _patience(FOR_GOOD):
            async with serving5(settings=self.SMALL) as clients:
                stuck = await clients.connected("stuck")
                await stuck.subscribe(("stuck", qos))
                quick = await _client(clients, version, "quick")
                await quick.subscribe(("quick", 1))
                held = await _client(clients, version, "held")
                free = await _client(clients, version, "free")
                publish = _module(version).publish
                held.send(*(publish("stuck", b"%d" % n, qos, n) for n in range(1, 31)))
                await until(_is_held(clients, "held"))
                for round_ in range(5):
                    for other in (0, 1, 2):
                        await free.publish("quick", b"%d" % round_, other)
                    assert await quick.messages(3) == [b"%d" % round_] * 3
                await free.ping()
                assert _is_held(clients, "held")()
                assert not _is_held(clients, "free")()
                assert await stuck.messages(30) == [b"%d" % n for n in range(1, 31)]
                await until(lambda: not _is_held(clients, "held")())
                assert clients.broker.limits()["queued_dropped"] == 0
                assert clients.broker.limits()["consumers_found_slow"] == 0

    @pytest.mark.parametrize("consumer", [4, 5])
    @pytest.mark.parametrize("version", [4, 5])
    async def test_only_publishers_of_a_topic_wait_for_its_reader(self, version: int, consumer: int) -> None:
        """The same for QoS 0 and a socket that takes no more; runs go to all versions."""
        with _patience(FOR_GOOD):
            async with serving5(settings=MqttSettings(max_outgoing_bytes=65_536)) as clients:
                stuck = await _client(clients, consumer, "stuck")
                await stuck.subscribe(("stuck", 0))
                quick, quick5 = await clients.connected("quick"), await clients.connected5("quick5")
                for one in (quick, quick5):
                    await one.subscribe(("quick", 1))
                held, free = await _client(clients, version, "held"), await _client(clients, version, "free")
                publish = _module(version).publish
                consumer_end = _connection(clients, "stuck")
                consumer_end.pause_writing()
                for _ in range(40):
                    held.send(*(publish("stuck", b"x" * 100) for _ in range(20)))
                    await asyncio.sleep(0)
                await until(_is_held(clients, "held"))
                for _ in range(5):
                    free.send(*(publish("quick", b"y") for _ in range(5)))
                    for one in (quick, quick5):
                        assert await one.messages(5) == [b"y"] * 5
                await free.ping()
                assert _is_held(clients, "held")()
                consumer_end.resume_writing()
                for _ in range(800):
                    await stuck.message()
                await held.ping()
                assert clients.broker.limits()["qos0_dropped_for_backlog"] == 0

    async def test_a_publisher_of_both_topics_waits(self) -> None:
        """What goes elsewhere does not free somebody who is held, and order is kept."""
        with _patience(FOR_GOOD):
            async with serving5(settings=self.SMALL) as clients:
                stuck, quick = await clients.connected("stuck"), await clients.connected("quick")
                await stuck.subscribe(("stuck", 1))
                await quick.subscribe(("quick", 1))
                held = await clients.connected("held")
                held.send(*(wire.publish("stuck", b"%d" % n, 1, n) for n in range(1, 31)))
                await until(_is_held(clients, "held"))
                held.send(wire.publish("quick", b"after", 1, 31))
                await quick.nothing_came()
                assert await stuck.messages(30) == [b"%d" % n for n in range(1, 31)]
                assert (await quick.message()).payload == b"after"

    async def test_a_consumer_that_is_gone_is_not_waited_for(self) -> None:
        with _patience(FOR_GOOD):
            async with serving5(settings=self.SMALL) as clients:
                stuck = await clients.connected("stuck")
                await stuck.subscribe(("stuck", 1))
                held = await clients.connected("held")
                held.send(*(wire.publish("stuck", b"%d" % n, 1, n) for n in range(1, 31)))
                await until(_is_held(clients, "held"))
                stuck.abort()
                await _acknowledged(held, range(1, 31))

    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("version", [4, 5])
    async def test_nobody_is_held_for_what_is_over(self, version: int, qos: int) -> None:
        """A consumer that was met and has caught up since would free nobody."""
        async with serving5() as clients:
            publisher = await _client(clients, version, "publisher")
            subscriber = await clients.connected5("subscriber")
            await subscriber.subscribe(("t", 2))
            for _ in range(3):
                clients.broker._engine.pace.met = True
                await publisher.publish("t", b"x", qos)
                await publisher.ping()
            assert not _is_held(clients, "publisher")()

    async def test_what_a_consumer_takes_is_what_left_for_it_and_what_it_acknowledged(self, clients: Clients5) -> None:
        """What still waits in the transport has not been taken; an acknowledgement is a sign of life without bytes."""
        consumer = await clients.connected("consumer")
        await consumer.subscribe(("t", 1))
        consumer_end = _connection(clients, "consumer")
        for _ in range(3):
            clients.broker.publish("t", b"x", 1)
        got = [await consumer.expect(PUBLISH) for _ in range(3)]
        before = consumer_end.out.taken
        consumer_end.pause_writing()
        for number, packet in enumerate(got, 1):
            await consumer.complete(packet)
            await until(lambda number=number: consumer_end.traffic.acked == number)
            assert consumer_end.out.taken == before + number
        consumer_end.resume_writing()
        before = consumer_end.out.taken
        unread = Unread(cast("asyncio.Transport", consumer_end.out.transport))
        consumer_end.out.transport = cast("asyncio.Transport", unread)
        clients.broker.publish("t", b"x" * 500, 1)
        await until(lambda: not consumer_end.out._size)
        assert consumer_end.out.taken == before
        clients.broker.publish("t", b"y" * 500, 1)
        await until(lambda: not consumer_end.out._size)
        assert consumer_end.out.taken == before
        unread.take(300)
        assert consumer_end.out.taken == before + 300

    async def test_a_consumer_found_slow_holds_again_once_it_has_caught_up(self) -> None:
        """It acknowledges late and its socket is never full: the next time it is waited for, and loses nothing."""
        async with serving5(settings=MqttSettings(max_inflight=1, max_mqueue_len=20)) as clients:
            late, publisher = await clients.connected("late"), await clients.connected("publisher")
            await late.subscribe(("t", 1))
            link = _connection(clients, "late").out
            with _patience(0.05):
                publisher.send(*(wire.publish("t", b"lost", 1, n) for n in range(1, 61)))
                await _acknowledged(publisher, range(1, 61))
            limits = clients.broker.limits()
            assert (limits["consumers_found_slow"], limits["publishers_held"]) == (1, 1)
            dropped = limits["queued_dropped"]
            assert dropped > 0, "a slow consumer loses what its bounds say"
            for _ in range(60 - dropped):
                await late.message()
            await until(lambda: not link.slow)
            with _patience(FOR_GOOD):
                publisher.send(*(wire.publish("t", b"%d" % n, 1, n) for n in range(61, 121)))
                await until(_is_held(clients, "publisher"))
                assert await late.messages(60) == [b"%d" % n for n in range(61, 121)]
                await _acknowledged(publisher, range(61, 121))
            limits = clients.broker.limits()
            assert limits["queued_dropped"] == dropped
            assert limits["consumers_found_slow"] == 1

    async def test_the_servers_own_messages_hold_nobody(self) -> None:
        """Nor does a will: who happens to publish next does not wait for somebody else's topic."""
        with _patience(FOR_GOOD):
            async with serving5(settings=self.SMALL) as clients:
                stuck, quick = await clients.connected("stuck"), await clients.connected("quick")
                await stuck.subscribe(("stuck", 1))
                await quick.subscribe(("quick", 1))
                free = await clients.connected("free")
                for number in range(8):
                    clients.broker.publish("stuck", b"%d" % number, 1)
                assert not clients.broker._engine.pace.nobody_behind
                await free.publish("quick", b"x", 1)
                await free.ping()
                dying = await clients.connected("dying", will=Will("stuck", b"gone", 1))
                dying.abort()
                await until(lambda: clients.broker.registry.get("dying") is None)
                await free.publish("quick", b"y", 1)
                await free.ping()
                assert await quick.messages(2) == [b"x", b"y"]
                assert await stuck.messages(9) == [*(b"%d" % number for number in range(8)), b"gone"]

    @pytest.mark.parametrize("version", [4, 5])
    async def test_a_run_delivered_in_turns_holds_nobody_else(self, version: int) -> None:
        """Who has a turn in between, or comes after it, publishes elsewhere and is not held for it."""
        with _patience(FOR_GOOD), patch.object(incoming, "_WORK", 20):
            async with serving5(settings=MqttSettings(max_outgoing_bytes=65_536)) as clients:
                stuck, quick = await clients.connected("stuck"), await clients.connected("quick")
                await stuck.subscribe(*((f"$share/g{number}/stuck", 0) for number in range(20)))
                await quick.subscribe(("quick", 1))
                source, free = await _client(clients, version, "source"), await clients.connected("free")
                consumer_end = _connection(clients, "stuck")
                consumer_end.pause_writing()
                source.send(*(_module(version).publish("stuck", b"x") for _ in range(13)))
                await until(lambda: not clients.broker._engine.pace.nobody_behind)
                await until(lambda: not _connection(clients, "source")._gate.holds(Hold.TASK))
                await free.publish("quick", b"y", 1)
                assert not _is_held(clients, "free")()
                assert (await quick.message()).payload == b"y"
                consumer_end.resume_writing()
                assert await stuck.messages(260) == [b"x"] * 260

    @pytest.mark.parametrize("version", [4, 5])
    async def test_runs_delivered_in_turns_wait_for_their_consumer(self, version: int) -> None:
        """Many runs, each too large for one turn: their publisher is held, and the consumer loses nothing."""
        with _patience(FOR_GOOD), patch.object(incoming, "_WORK", 20):
            async with serving5(settings=MqttSettings(max_outgoing_bytes=65_536)) as clients:
                stuck, source = await clients.connected("stuck"), await _client(clients, version, "source")
                await stuck.subscribe(*((f"$share/g{number}/stuck", 0) for number in range(20)))
                consumer_end, reading = _connection(clients, "stuck"), _connection(clients, "source")
                consumer_end.pause_writing()
                for _ in range(10):
                    source.send(*(_module(version).publish("stuck", b"x") for _ in range(5)))
                    seen = reading.traffic.reads
                    await until(lambda seen=seen: reading.traffic.reads > seen or bool(reading._gate._held))
                    await until(lambda: not reading._gate.holds(Hold.TASK))
                assert reading._gate.holds(Hold.PACE)
                consumer_end.resume_writing()
                assert await stuck.messages(1_000) == [b"x"] * 1_000
                await source.ping()
                assert clients.broker.limits()["qos0_dropped_for_backlog"] == 0

    async def test_what_a_consumer_takes_from_its_queue_holds_nobody_else(self) -> None:
        """A client that acknowledges and does not read is behind; who publishes elsewhere has no part in it."""
        with _patience(FOR_GOOD):
            async with serving5(settings=MqttSettings(max_outgoing_bytes=65_536, max_inflight=200)) as clients:
                stuck, quick = await clients.connected("stuck"), await clients.connected("quick")
                await stuck.subscribe(("stuck", 1))
                await quick.subscribe(("quick", 1))
                free = await clients.connected("free")
                for number in range(500):
                    clients.broker.publish("stuck", b"%03d" % number * 100, 1)
                consumer_end = _connection(clients, "stuck")
                await until(lambda: not consumer_end.out._size)
                consumer_end.pause_writing()
                stuck.send(*(acknowledge(PUBACK, number) for number in range(1, 201)))
                await until(lambda: consumer_end.out.traffic.acked == 200)
                assert not clients.broker._engine.pace.nobody_behind
                await free.publish("quick", b"y", 1)
                assert not _is_held(clients, "free")()
                assert (await quick.message()).payload == b"y"
                consumer_end.resume_writing()


# -- turns


class TestTurns:
    """What one client asks for in one packet does not keep the others waiting."""

    LIMITED = MqttSettings(max_filters=5)

    @pytest.mark.parametrize("plugins", [ANONYMOUS, {**ANONYMOUS, f"{PLUGINS}.SlowRules": {}}], ids=["fast", "slow"])
    @pytest.mark.parametrize("what", ["subscribe", "unsubscribe"])
    async def test_too_many_filters_at_once_end_the_connection(self, what: str, plugins: dict) -> None:  # type: ignore[type-arg]
        """`max_filters`: MQTT 5 is told why [MQTT5-4.13.1-1], 3.1.1 and 3.1 are closed; fewer are served."""
        async with serving5(self.LIMITED, plugins) as clients:
            filters = [f"f/{number}" for number in range(6)]

            def request(version: int, count: int) -> bytes:
                asked: list = [(name, 0) for name in filters[:count]] if what == "subscribe" else filters[:count]  # type: ignore[type-arg]
                return getattr(_module(version), what)(9, *asked)

            five = await clients.connected5("five")
            five.send(request(5, 5))
            assert len((await five.read()).codes) == 5
            five.send(request(5, 6))
            await five.disconnected(QUOTA_EXCEEDED)
            assert clients.broker.limits()["closed.quota_exceeded"] == 1
            await until(lambda: clients.broker.registry.get("five") is None)
            assert clients.broker.router.subscription_count == 0
            for name, level in (("MQTT", 4), ("MQIsdp", 3)):
                three = await clients.connected("three", name=name, level=level)
                three.send(request(4, 5))
                await three.read()
                three.send(request(4, 6))
                await three.hung_up()
                await until(lambda: clients.broker.registry.get("three") is None)
            assert clients.broker.router.subscription_count == 0

    async def test_no_bound_on_filters_where_none_is_set(self) -> None:
        async with serving5(settings=MqttSettings(max_filters=0)) as clients:
            client = await clients.connected("c")
            assert await client.subscribe(*((f"f/{number}", 0) for number in range(300))) == [0] * 300

    async def test_searches_for_many_filters_are_made_in_turns(self, clients: Clients5) -> None:
        """Nothing is found by any of them, and another client is answered before the last one is done."""
        for number in range(3_000):
            clients.broker.publish(f"r/{number}", b"kept", retain=True)
        greedy, other = await clients.connected("greedy"), await clients.connected("other")
        session = clients.session("greedy")
        assert await greedy.subscribe(*((f"+/+/{number}", 0) for number in range(300))) == [0] * 300
        assert session.replays
        await other.ping()
        assert session.replays, "all were searched for in one turn"
        await until(lambda: not session.replays and not session.replay_scheduled)
        await greedy.nothing_came()

    async def test_retained_messages_of_many_filters_are_sent_in_turns(self, clients: Clients5) -> None:
        """Each filter brings its messages, all of them and once, and another client is answered in between."""
        for number in range(100):
            clients.broker.publish(f"r/{number}", b"kept", retain=True)
        greedy, other = await clients.connected("greedy"), await clients.connected("other")
        session = clients.session("greedy")
        filters = ["#", "+/+", "+/#", "r/#", "r/+", "r/+/#", *(f"r/{number}" for number in range(100))]
        greedy.send(wire.subscribe(1, *((name, 0) for name in filters)))
        other.send(PING)
        await other.expect(wire.PINGRESP)
        assert (await greedy.expect(SUBACK)).body[2:] == bytes(len(filters))
        topics = [(await greedy.message()).topic for _ in range(700)]
        assert sorted(topics) == sorted(f"r/{number}" for number in range(100) for _ in range(7))
        await greedy.nothing_came()
        assert not session.replays

    @pytest.mark.parametrize("version", [4, 5])
    async def test_a_run_to_many_shared_groups_is_delivered_in_turns(self, version: int) -> None:
        """In order, none lost, what follows comes after, and another client is answered before all are out."""
        groups, count = 50, 200
        with patch.object(incoming, "_WORK", groups):
            async with serving5() as clients:
                members = [await _client(clients, kind, f"member {kind}") for kind in (4, 5)]
                for index in range(groups):
                    assert await members[index % 2].subscribe((f"$share/g{index}/t", 0)) == [0]
                publisher = await _client(clients, version, "publisher")
                other = await clients.connected("other")
                traffic = clients.session("member 4").traffic
                publish = _module(version).publish
                publisher.send(
                    *(publish("t", b"%03d" % number) for number in range(count)), publish("t", b"last", 1, 1)
                )
                await until(lambda: traffic.messages_sent_qos[0] > 0)
                await other.ping()
                assert traffic.messages_sent_qos[0] < groups // 2 * count, "all in one turn"
                expected = [b"%03d" % number for number in range(count) for _ in range(groups // 2)]
                for member in members:
                    assert await member.messages(len(expected)) == expected
                    assert await member.messages(groups // 2) == [b"last"] * (groups // 2)
                assert (await publisher.expect(PUBACK)).packet_id == 1

    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("version", [4, 5])
    async def test_many_messages_to_many_groups_are_delivered_in_turns(self, version: int, qos: int) -> None:
        """What each single one costs adds up."""
        groups, count = 50, 200
        with patch.object(incoming, "_WORK", groups):
            async with serving5(settings=MqttSettings(max_awaiting_rel=count)) as clients:
                member, other = await clients.connected("member"), await clients.connected("other")
                await member.subscribe(*((f"$share/g{number}/t", 0) for number in range(groups)))
                publisher = await _client(clients, version, "publisher")
                traffic = clients.session("member").traffic
                publish = _module(version).publish
                payloads = [
                    b"%03d" % number + b"." * (number % 2) for number in range(count)
                ]  # of which no run is made
                publisher.send(*(publish("t", text, qos, n if qos else None) for n, text in enumerate(payloads, 1)))
                await until(lambda: traffic.messages_sent_qos[0] > 0)
                await other.ping()
                assert traffic.messages_sent_qos[0] < groups * count, "all in one turn"
                assert await member.messages(groups * count) == [text for text in payloads for _ in range(groups)]
                await _acknowledged(publisher, range(1, count + 1 if qos else 1), PUBACK if qos == 1 else PUBREC)


async def test_a_small_message_does_not_wait_for_the_one_before_to_arrive(clients: Clients5) -> None:
    """What is written is sent at once: without this a second message follows the first after 40 ms and not sooner."""
    await clients.connected("c")
    used = cast("asyncio.Transport", _connection(clients, "c").out.transport).get_extra_info("socket")
    assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -- memory


def _is_settled(expiries: Expiries[str]) -> bool:
    """Tell whether nothing is to be looked at any more and next to nothing is kept."""
    return not expiries._at and len(expiries) <= STALE


class TestMemory:
    """What is counted against a bound is what it holds in memory; what is over leaves nothing."""

    async def test_a_retained_message_that_is_cleared_leaves_no_expiry(self, clients: Clients5) -> None:
        """Neither one that is cleared, nor one that another without an end takes the place of."""
        publisher = await clients.connected5("p")
        retention = clients.broker._engine.retention
        for number in range(400):
            publisher.send(
                wire5.publish(f"r/{number}", b"x", retain=True, properties=[(P.MESSAGE_EXPIRY, 1_000)]),
                wire5.publish(f"s/{number}", b"x", retain=True, properties=[(P.MESSAGE_EXPIRY, 1_000)]),
            )
        await publisher.ping()
        assert len(retention._expiries) == 800
        for number in range(400):
            publisher.send(
                wire5.publish(f"r/{number}", b"", retain=True), wire5.publish(f"s/{number}", b"y", retain=True)
            )
        await publisher.ping()
        assert len(clients.broker._engine.retained) == 400
        assert _is_settled(retention._expiries)

    async def test_setting_and_clearing_a_retained_message_again_and_again_is_bounded(self, clients: Clients5) -> None:
        publisher = await clients.connected5("p")
        for number in range(1_000):
            publisher.send(
                wire5.publish(f"r/{number}", b"x", retain=True, properties=[(P.MESSAGE_EXPIRY, 1_000)]),
                wire5.publish(f"r/{number}", b"", retain=True),
            )
        await publisher.ping()
        assert _is_settled(clients.broker._engine.retention._expiries)
        assert len(clients.broker._engine.retained) == clients.broker._engine.retained.total_size == 0

    async def test_a_retained_message_that_no_room_is_left_for_leaves_no_expiry(self) -> None:
        async with serving5(settings=MqttSettings(max_retained_payload=10)) as clients:
            publisher = await clients.connected5("p")
            await publisher.publish("t", b"x", retain=True, properties=[(P.MESSAGE_EXPIRY, 1_000)])
            await publisher.publish("t", b"x" * 11, retain=True, properties=[(P.MESSAGE_EXPIRY, 1_000)])
            assert len(clients.broker._engine.retained) == 0
            assert _is_settled(clients.broker._engine.retention._expiries)

    async def test_a_session_that_has_ended_leaves_no_expiry(self, clients: Clients5) -> None:
        """Ended by its own client, or by somebody who kicks it."""
        for number in range(20):
            client = await clients.connected5(f"c{number}", properties=[(P.SESSION_EXPIRY, 1_000)])
            client.send(wire5.disconnect())
            await client.hung_up()
        assert len(clients.broker._engine._expiries._at) == 20
        for number in range(20):
            if number % 2:
                assert await clients.broker.kick(f"c{number}")
            else:
                client = await clients.connected5(f"c{number}", clean=True)
                client.send(wire5.disconnect())
                await client.hung_up()
        await until(lambda: len(clients.broker.registry) == 0)
        assert _is_settled(clients.broker._engine._expiries)

    @pytest.mark.parametrize("where", ["properties", "topic", "payload"])
    @pytest.mark.parametrize("drop", ["oldest", "newest"])
    async def test_a_queue_is_bounded_by_all_that_it_holds(self, where: str, drop: str) -> None:
        """`max_mqueue_bytes`: a client that keeps its payloads empty queues no more than another."""
        async with serving5(settings=MqttSettings(max_mqueue_bytes=20_000, mqueue_drop=drop)) as clients:
            await clients.away("away", ("#", 1))
            session = clients.session("away")
            publisher = await clients.connected5("p")
            big = "x" * 1_000
            for number in range(100):
                name, value = (f"t/{number}/{big}", "") if where == "topic" else (f"t/{number}", big)
                await publisher.publish(
                    name,
                    value.encode() if where == "payload" else b"",
                    1,
                    properties=users(("k", value)) if where == "properties" else (),
                )
            assert 10 <= session.queue_length <= 20
            assert 10_000 <= session.queued_bytes <= 20_000
            assert clients.broker.limits()["queued_dropped"] == 100 - session.queue_length
            kept = session.queue_length
            back = await clients.connected5("away", clean=False, properties=KEPT)
            got = [int((await back.message()).topic.split("/")[1]) for _ in range(kept)]
            assert got == (list(range(100 - kept, 100)) if drop == "oldest" else list(range(kept)))
            await back.nothing_came()
            assert (session.queue_length, session.queued_bytes) == (0, 0)

    async def test_a_message_that_weighs_nothing_still_costs_its_entry(self) -> None:
        async with serving5(settings=MqttSettings(max_mqueue_bytes=5_000, max_mqueue_len=0)) as clients:
            await clients.away("away", ("t", 1))
            for _ in range(1_000):
                clients.broker.publish("t", b"", 1)
            assert 0 < clients.session("away").queue_length < 200

    @pytest.mark.parametrize("where", ["properties", "levels", "payload"])
    async def test_retained_messages_are_bounded_by_all_that_they_hold(self, where: str) -> None:
        """`max_retained_bytes`: 30 messages of some 10,000 bytes each are not 30 bytes."""
        limit = 100_000
        async with serving5(settings=MqttSettings(max_retained_bytes=limit)) as clients:
            publisher = await clients.connected5("p")
            names = [f"t/{number}" + ("/x" * 40 if where == "levels" else "") for number in range(30)]
            for name in names:
                await publisher.publish(
                    name,
                    b"x" * 9_000 if where == "payload" else b"x",
                    retain=True,
                    properties=users(("k", "x" * 9_000)) if where == "properties" else (),
                )
            retained = clients.broker._engine.retained
            assert 5 <= len(retained) <= 11
            assert 50_000 <= retained.total_size <= limit
            assert clients.broker.limits()["retained_refused"] == 30 - len(retained)
            for name in names:
                await publisher.publish(name, b"", retain=True)
            assert len(retained) == retained.total_size == 0

    async def test_a_retained_message_that_is_replaced_needs_no_room_of_its_own(self) -> None:
        async with serving5(settings=MqttSettings(max_retained_bytes=15_000)) as clients:
            publisher = await clients.connected5("p")
            for number in range(10):
                assert await publisher.publish("t", b"%d" % number * 10_000, 1, retain=True) == 0x10
            kept = clients.broker._engine.retained.get("t")
            assert kept is not None and kept.payload == b"9" * 10_000

    async def test_subscriptions_are_bounded_by_what_they_cost(self) -> None:
        """`max_subscription_bytes`: 0x97 or 0x80 for one too many; what is there can be changed and makes room."""
        async with serving5(settings=MqttSettings(max_subscription_bytes=50_000)) as clients:
            client = await clients.connected5("c")
            deep = [f"{number}" + "/x" * 100 for number in range(10)]
            codes = await client.subscribe(*((name, 0) for name in deep))
            granted = codes.count(0)
            assert 1 <= granted <= 2
            assert codes == [0] * granted + [QUOTA_EXCEEDED] * (10 - granted)
            assert clients.broker.limits()["subscriptions_refused"] == 10 - granted
            assert await client.subscribe((deep[0], 1)) == [1]
            assert await client.subscribe(("x" * 30_000, 0)) == [QUOTA_EXCEEDED]
            assert await client.unsubscribe(deep[0]) == [0]
            assert await client.subscribe((deep[granted], 0), (deep[0], 0)) == [0, QUOTA_EXCEEDED]
            assert await client.unsubscribe(*deep) == [
                0 if name in (*deep[1:granted], deep[granted]) else 0x11 for name in deep
            ]
            assert clients.session("c").subscription_bytes == 0
            three = await clients.connected("three")
            answers = await three.subscribe(*((name, 0) for name in deep))
            assert answers == [0] * granted + [0x80] * (10 - granted)

    async def test_shared_subscriptions_are_counted_too(self) -> None:
        async with serving5(settings=MqttSettings(max_subscription_bytes=50_000)) as clients:
            client = await clients.connected5("c")
            codes = await client.subscribe(*((f"$share/g{number}/a/b/c", 0) for number in range(200)))
            assert 0 < codes.count(0) < 100
            assert codes.count(0) + codes.count(QUOTA_EXCEEDED) == 200

    @pytest.mark.parametrize("version", [4, 5])
    async def test_an_open_connection_keeps_nothing_of_its_connect(self, version: int) -> None:
        """Neither the password nor, in MQTT 5, the properties; the client id, which is needed, is found."""
        password, value = "correct horse battery staple", "some value of the client's own"
        plugins = {f"{PLUGINS}.FastPasswords": {"users": {"alice": password}}}
        async with serving5(plugins=plugins) as clients:
            fields = {"properties": users(("key", value))} if version == 5 else {}
            client = await _client(
                clients, version, "client of alice", username="alice", password=password.encode(), **fields
            )
            await client.ping()
            found = list(_reachable(clients.broker))
            texts = [one for one in found if isinstance(one, str)]
            assert "client of alice" in texts
            raw = [bytes(one) for one in found if isinstance(one, bytes | bytearray)]
            assert [one for one in raw if password.encode() in one] == []
            assert [one for one in texts if value in one] == []
            assert [one for one in raw if value.encode() in one] == []


def _reachable(broker: Broker) -> Iterator[object]:
    """Walk over what the broker's own objects hold, from the engine, its sessions and its connections."""
    waiting: deque[object] = deque([broker._engine, *broker.registry, *broker._listeners.connections])
    assert len(waiting) > 2
    seen: set[int] = set()
    plain = (dict, list, tuple, set, frozenset, deque, str, bytes, bytearray)
    while waiting:
        found = waiting.popleft()
        if id(found) in seen:
            continue
        seen.add(id(found))
        ours = type(found).__module__.startswith("wardenmq.broker")
        bound = callable(found) and hasattr(found, "__closure__")
        if not (ours or bound or isinstance(found, plain) or hasattr(found, "__func__")) or isinstance(found, type):
            continue
        yield found
        if bound:
            waiting.extend(cell.cell_contents for cell in getattr(found, "__closure__", None) or ())
        else:
            waiting.extend(gc.get_referents(found))


# -- access


class Counting(FastRules):
    """Count what the engine asks."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.asked: list[tuple[str, str]] = []

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
        if operation == SUBSCRIBE:
            self.asked.append((client.client_id, topic))
        return super().authorize(client, operation, topic, qos, retain)


class SubscribeGate(BaseTopicPlugin):
    """Let a subscription pass only once the test has opened the gate."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.gate = asyncio.Event()
        self.waiting: list[str] = []

    async def topic_filtering(
        self, *, session: AmqttSession | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        if action is Action.SUBSCRIBE and not self.gate.is_set():
            self.waiting.append(topic or "")
            await self.gate.wait()
        return True


HERE = __name__


async def _leave(clients: Clients5, client: Client, client_id: str) -> None:
    await client.disconnect()
    await clients.gone(client_id)


class OnePrincipal(BaseAuthPlugin):
    """Take every user name for one of the same principal's."""

    async def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | None:
        return Accept(principal="the only one")


class TestRechecks:
    """Subscriptions are checked again when access has changed, and only then."""

    FILTERS = tuple(f"a/{number}" for number in range(5))

    @pytest_asyncio.fixture
    async def counting(self) -> AsyncIterator[tuple[Clients5, Counting]]:
        async with serving5(plugins={**ANONYMOUS, f"{HERE}.Counting": {}}) as clients:
            yield clients, cast("Counting", clients.broker.plugins_manager.get_plugin("Counting"))

    async def test_a_session_is_taken_up_without_asking_while_nothing_changed(
        self, counting: tuple[Clients5, Counting]
    ) -> None:
        clients, plugin = counting
        client = await clients.connected("c", clean=False)
        await client.subscribe(*((name, 1) for name in self.FILTERS))
        assert len(plugin.asked) == 5
        for _ in range(3):
            await _leave(clients, client, "c")
            client = await clients.open()
            assert await client.connect("c", clean=False) is True
        assert len(plugin.asked) == 5
        assert tuple(clients.session("c").subscriptions) == self.FILTERS

    async def test_a_session_is_checked_once_for_each_change(self, counting: tuple[Clients5, Counting]) -> None:
        """Whether it was concerned and checked while it was away, or not and is checked when it is back."""
        clients, plugin = counting
        client = await clients.connected("c", clean=False)
        await client.subscribe(*((name, 1) for name in self.FILTERS))
        for change in (
            Change(everyone=True),
            Change(client_ids=frozenset({"c"})),
            Change(usernames=frozenset({"somebody else"})),
        ):
            for _ in range(2):
                await _leave(clients, client, "c")
                plugin.asked.clear()
                await clients.broker.apply_access_change(change)
                client = await clients.connected("c", clean=False)
                assert plugin.asked == [("c", name) for name in self.FILTERS]
                await _leave(clients, client, "c")
                client = await clients.connected("c", clean=False)
                assert len(plugin.asked) == 5

    async def test_a_session_is_checked_for_another_user_name_of_its_principal(self) -> None:
        """The rules of the other name are others, though nobody changed any."""
        async with serving5(plugins={f"{HERE}.OnePrincipal": {}, f"{HERE}.Counting": {}}) as clients:
            plugin = cast("Counting", clients.broker.plugins_manager.get_plugin("Counting"))
            client = await clients.connected("c", clean=False, username="alice")
            await client.subscribe(("a", 1))
            for username, asked in (("alice", 1), ("bob", 2), ("bob", 2), ("alice", 3)):
                await _leave(clients, client, "c")
                client = await clients.open()
                assert await client.connect("c", clean=False, username=username) is True
                assert plugin.asked == [("c", "a")] * asked

    async def test_a_session_that_is_new_is_not_checked_for_what_changed_before(
        self, counting: tuple[Clients5, Counting]
    ) -> None:
        clients, plugin = counting
        await clients.broker.apply_access_change(Change(everyone=True))
        client = await clients.connected("c", clean=False)
        await client.subscribe(("a", 1))
        await _leave(clients, client, "c")
        await clients.connected("c", clean=False)
        assert plugin.asked == [("c", "a")]

    async def test_a_withdrawn_rule_reaches_what_waits_for_a_session_that_is_taken_up(
        self, counting: tuple[Clients5, Counting]
    ) -> None:
        clients, plugin = counting
        client = await clients.connected("c", clean=False)
        await client.subscribe(("secret/#", 1), ("open/#", 1))
        await _leave(clients, client, "c")
        for number in range(3):
            clients.broker.publish("secret/x", b"secret", 1)
            clients.broker.publish("open/x", b"%d" % number, 1)
        session = clients.session("c")
        assert session.queue_length == 6
        plugin.config.subscribe.append("secret/#")
        await clients.broker.apply_access_change(Change(usernames=frozenset({"somebody else"})))
        client = await clients.connected("c", clean=False)
        assert await client.messages(3) == [b"0", b"1", b"2"]
        await client.nothing_came()
        assert list(session.subscriptions) == ["open/#"]
        clients.broker.publish("secret/x", b"secret", 1)
        await client.nothing_came()

    async def test_a_withdrawn_topic_reaches_what_waits_under_a_wider_filter(self) -> None:
        """The subscription stays, and messages on the topic are taken out of the queue."""
        async with serving5(plugins={**ANONYMOUS, f"{HERE}.Counting": {"receive": ["nothing"]}}) as clients:
            plugin = cast("Counting", clients.broker.plugins_manager.get_plugin("Counting"))
            client = await clients.connected("c", clean=False)
            await client.subscribe(("#", 1))
            await _leave(clients, client, "c")
            for topic in ("secret", "open"):
                clients.broker.publish(topic, topic.encode(), 1)
            plugin.config.receive.append("secret")
            await clients.broker.apply_access_change(Change(usernames=frozenset({"somebody else"})))
            client = await clients.connected("c", clean=False)
            assert (await client.message()).payload == b"open"
            await client.nothing_came()


class Unread:
    """A transport that keeps what is written to it until the test takes it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._kept = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._kept += len(data)

    def get_write_buffer_size(self) -> int:
        return self._kept

    def take(self, count: int) -> None:
        self._kept -= count


class Unclosing:
    """A transport whose peer does not take what is waiting for it, so that closing it takes its time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.closing = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def close(self) -> None:
        self.closing = True

    def write_eof(self) -> None:
        self.closing = True


@pytest.mark.parametrize("version", [4, 5])
async def test_a_take_over_in_the_middle_of_a_subscribe_enters_nothing(version: int) -> None:
    """The plugin decides when the session has ended: no subscription may outlive it, in no session."""
    async with serving5(plugins={**ANONYMOUS, f"{HERE}.SubscribeGate": {}}) as clients:
        plugin = cast("SubscribeGate", clients.broker.plugins_manager.get_plugin("SubscribeGate"))
        client = await _client(clients, version, "c")
        ended = clients.session("c")
        connection = _connection(clients, "c")
        transport = Unclosing(cast("asyncio.Transport", connection.out.transport))
        connection.out.transport = cast("asyncio.Transport", transport)
        client.send(_module(version).subscribe(1, ("a/#", 1), ("b", 1), ("$share/g/b", 1)))
        await until(lambda: plugin.waiting == ["a/#"])
        clients.broker.publish("a/1", b"kept", 1, retain=True)
        task = connection._task
        assert task is not None
        again = await _client(clients, version, "c")
        assert transport.closing
        assert clients.session("c") is not ended
        plugin.gate.set()
        await asyncio.wait_for(task, wire.TIME_LIMIT)
        assert ended.subscriptions == clients.session("c").subscriptions == {}
        assert clients.broker.router.subscription_count == clients.broker.router.shared_subscription_count == 0
        assert ended.replays == {}
        for topic in ("a/1", "b"):
            assert clients.broker.publish(topic, b"x", 1) == 0
        await again.nothing_came()
        assert await again.subscribe(("b", 1)) == [1]


# -- shared subscriptions


class TestLeavingASharedSubscription:
    """Who unsubscribes keeps what was sent and leaves what waits to the others."""

    ONE_AT_A_TIME = MqttSettings(max_inflight=1)

    @pytest.mark.parametrize("qos", [1, 2])
    async def test_what_waits_goes_to_the_other_member(self, qos: int) -> None:
        async with serving5(settings=self.ONE_AT_A_TIME) as clients:
            leaving, publisher = await clients.connected("leaving"), await clients.connected("publisher")
            await leaving.subscribe(("$share/g/t", qos), ("other", 1))
            await publisher.publish_all("t", [b"1", b"2", b"3", b"4"], qos)
            await publisher.publish("other", b"own", 1)
            first = await leaving.expect(PUBLISH)
            session = clients.session("leaving")
            assert (first.payload, session.in_flight_count, session.queue_length) == (b"1", 1, 4)
            staying = await clients.connected("staying")
            await staying.subscribe(("$share/g/t", qos))
            await leaving.unsubscribe("$share/g/t")
            assert (session.in_flight_count, session.queue_length) == (1, 1)
            assert await staying.messages(3) == [b"2", b"3", b"4"]
            await leaving.complete(first)
            assert (await leaving.message()).payload == b"own"
            await leaving.nothing_came()
            await staying.nothing_came()
            assert session.in_flight_count == session.queue_length == session.queued_bytes == 0

    async def test_another_group_of_the_same_client_keeps_its_messages(self) -> None:
        async with serving5(settings=self.ONE_AT_A_TIME) as clients:
            leaving, publisher = await clients.connected("leaving"), await clients.connected("publisher")
            await leaving.subscribe(("$share/g/t", 1), ("$share/h/t", 1))
            await publisher.publish_all("t", [b"1", b"2", b"3"], 1)
            staying = await clients.connected("staying")
            await staying.subscribe(("$share/g/t", 1), ("$share/h/t", 1))
            first = await leaving.expect(PUBLISH)
            await leaving.unsubscribe("$share/g/t")
            await leaving.complete(first)
            taken = [first.payload]
            while len(taken) < 4:
                packet = await leaving.expect(PUBLISH)
                taken.append(packet.payload)
                await leaving.complete(packet)
                if clients.session("leaving").queue_length == 0 and clients.session("leaving").in_flight_count == 0:
                    break
            got = await staying.messages(6 - len(taken))
            assert sorted(taken + got) == [b"1", b"1", b"2", b"2", b"3", b"3"]
            assert taken[1:] == sorted(taken[1:])
            assert taken.count(b"2") == taken.count(b"3") == got.count(b"2") == got.count(b"3") == 1
            await leaving.nothing_came()
            await staying.nothing_came()

    async def test_a_member_that_is_away_gets_what_waits(self) -> None:
        async with serving5(settings=self.ONE_AT_A_TIME) as clients:
            away = await clients.connected("away", clean=False)
            await away.subscribe(("$share/g/t", 1))
            await _leave(clients, away, "away")
            leaving = await clients.connected("leaving")
            await leaving.subscribe(("$share/g/t", 1))
            for number in range(1, 5):
                clients.broker.publish("t", b"%d" % number, 1)
            first = await leaving.expect(PUBLISH)
            assert first.payload == b"1"
            await leaving.unsubscribe("$share/g/t")
            away = await clients.connected("away", clean=False)
            assert await away.messages(3) == [b"2", b"3", b"4"]
            await leaving.complete(first)
            await leaving.nothing_came()

    async def test_the_last_member_loses_nothing(self) -> None:
        """With nobody to take them, its messages stay with it."""
        async with serving5(settings=self.ONE_AT_A_TIME) as clients:
            leaving = await clients.connected("leaving")
            await leaving.subscribe(("$share/g/t", 1))
            for number in range(4):
                clients.broker.publish("t", b"%d" % number, 1)
            await leaving.unsubscribe("$share/g/t")
            assert await leaving.messages(4) == [b"0", b"1", b"2", b"3"]
            await leaving.nothing_came()
            assert clients.broker.publish("t", b"late", 1) == 0


# -- retained messages over a limit


class TestNoRoomToRetain:
    """Messages are delivered all the same, as EMQX's are: subscribers pay for no bound but their own."""

    LIMITED = MqttSettings(max_retained_payload=10)

    async def _kept(self, clients: Clients5) -> list[bytes]:
        late = await clients.connected()
        await late.subscribe(("t", 0), ("the/end", 0))
        await late.publish("the/end", b"end", 0)
        found = []
        while (message := await late.message()).topic != "the/end":
            found.append(message.payload)
        await late.disconnect()
        return found

    @pytest.mark.parametrize("version", [4, 5])
    @pytest.mark.parametrize("qos", [0, 1, 2])
    async def test_delivered_and_not_retained(self, version: int, qos: int) -> None:
        async with serving5(settings=self.LIMITED) as clients:
            subscriber = await clients.connected("subscriber")
            await subscriber.subscribe(("t", 2))
            publisher = await _client(clients, version, "publisher")
            await publisher.publish("t", b"old", 1, retain=True)
            assert not await publisher.publish("t", b"x" * 11, qos, retain=True)
            assert await subscriber.messages(2) == [b"old", b"x" * 11]
            assert await self._kept(clients) == []
            assert clients.broker.limits()["retained_refused"] == 1


# -- the ends of connections


@pytest.mark.parametrize("version", [4, 5])
async def test_bytes_that_make_no_packet_keep_nobody_alive(version: int) -> None:
    """[MQTT-3.1.2-24] [MQTT5-3.1.2-22]: the keep-alive is about control packets; whole ones, however cut, do count."""
    async with serving5(settings=MqttSettings(keepalive_multiplier=0.5)) as clients:
        trickle = await _client(clients, version, "trickle", keep_alive=1)
        whole = await _client(clients, version, "whole", keep_alive=1)
        trickle.send(b"\x30\xff\x7f\x00\x01t")
        whole.send(PING[:1])
        pieces = 0

        def drip() -> bool:
            nonlocal pieces
            if clients.broker.registry.get("trickle") is None:
                return True
            trickle.send(b"x")
            whole.send(PING[1:] + PING[:1])  # the end of one and the beginning of the next
            pieces += 1
            return False

        await until(drip)
        assert clients.session("whole").connected
        assert pieces > 1
        assert clients.broker.limits()["closed.keep_alive_timeout"] == 1
        if version == 5:
            assert isinstance(trickle, Client5)
            await trickle.disconnected(0x8D)


class BrokenTransport:
    """A transport that cannot be written to."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        raise RuntimeError("this transport is broken")


class TestFaultsOfOneConnection:
    """A fault of the broker's own, met on behalf of one client, ends that client's connection alone."""

    @staticmethod
    def _break(clients: Clients5, client_id: str, what: str) -> None:
        out = _connection(clients, client_id).out
        if what == "transport":
            out.transport = cast("asyncio.Transport", BrokenTransport(cast("asyncio.Transport", out.transport)))
        else:
            out.tap = _broken_tap

    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("what", ["transport", "tap"])
    async def test_a_subscriber_that_cannot_be_written_to(
        self, clients: Clients5, caplog: pytest.LogCaptureFixture, what: str, qos: int
    ) -> None:
        subscribers = [await clients.connected(f"s{number}") for number in range(3)]
        for subscriber in subscribers:
            await subscriber.subscribe(("t", qos))
        publisher = await clients.connected("publisher")
        self._break(clients, "s1", what)
        payloads = [b"%d" % number for number in range(5)]
        publisher.send(*(wire.publish("t", payload, qos, n if qos else None) for n, payload in enumerate(payloads, 1)))
        for subscriber in (subscribers[0], subscribers[2]):
            assert await subscriber.messages(5) == payloads
        await until(lambda: clients.broker.registry.get("s1") is None)
        if qos:
            await _acknowledged(publisher, range(1, 6), PUBACK if qos == 1 else PUBREC)
        await publisher.ping()
        assert clients.broker.registry.connected_count == 3
        assert "is broken" in caplog.text

    @pytest.mark.parametrize("what", ["transport", "tap"])
    async def test_a_subscriber_that_cannot_be_written_to_in_the_middle_of_a_turn(
        self, caplog: pytest.LogCaptureFixture, what: str
    ) -> None:
        """So much in one turn that it is written before the turn is over: the publisher has no part in the fault."""
        async with serving5(settings=MqttSettings(max_outgoing_bytes=65_536)) as clients:
            subscribers = [await clients.connected(f"s{number}") for number in range(3)]
            for subscriber in subscribers:
                await subscriber.subscribe(("t", 0))
            publisher = await clients.connected("publisher")
            self._break(clients, "s1", what)
            payloads = [b"x" * (100 + number % 2) for number in range(400)]  # no two of a length in a row: no runs
            publisher.send(*(wire.publish("t", payload) for payload in payloads))
            for subscriber in (subscribers[0], subscribers[2]):
                assert await subscriber.messages(400) == payloads
            await until(lambda: clients.broker.registry.get("s1") is None)
            await publisher.ping()
            assert "is broken" in caplog.text

    @pytest.mark.parametrize("what", ["transport", "tap"])
    async def test_a_message_of_the_servers_own_reaches_the_others(
        self, clients: Clients5, caplog: pytest.LogCaptureFixture, what: str
    ) -> None:
        subscribers = [await clients.connected(f"s{number}") for number in range(3)]
        for subscriber in subscribers:
            await subscriber.subscribe(("t", 0))
        self._break(clients, "s1", what)
        for _ in range(5):
            clients.broker.publish("t", b"x" * 300_000)
        for subscriber in (subscribers[0], subscribers[2]):
            assert len(await subscriber.messages(5)) == 5
        await until(lambda: clients.broker.registry.get("s1") is None)
        assert "is broken" in caplog.text

    @pytest.mark.parametrize("what", ["transport", "tap"])
    async def test_a_client_that_takes_over_a_broken_connection_gets_in(
        self, clients: Clients5, caplog: pytest.LogCaptureFixture, what: str
    ) -> None:
        """The last words to the old connection fail; the new one has no part in it."""
        await clients.connected5("c")
        self._break(clients, "c", what)
        again = await clients.connected5("c")
        await again.ping()
        await until(lambda: clients.broker.live_connections == 1)
        assert "is broken" in caplog.text

    @pytest.mark.parametrize("what", ["transport", "queue"])
    async def test_a_socket_that_fails_when_it_takes_more_again(
        self, clients: Clients5, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        broken, other = await clients.connected("broken"), await clients.connected("other")
        for subscriber in (broken, other):
            await subscriber.subscribe(("t", 0))
        connection = _connection(clients, "broken")
        connection.pause_writing()
        clients.broker.publish("t", b"x")
        if what == "transport":
            self._break(clients, "broken", what)
        else:
            monkeypatch.setattr(Session, "drain", _broken_queue)  # of this one alone: the other never waits
        connection.resume_writing()
        await until(lambda: clients.broker.registry.get("broken") is None)
        assert (await other.message()).payload == b"x"
        await other.ping()
        assert "is broken" in caplog.text

    async def test_a_tap_on_what_comes_in(self, clients: Clients5, caplog: pytest.LogCaptureFixture) -> None:
        broken, other = await clients.connected("broken"), await clients.connected("other")
        await other.subscribe(("t", 0))
        _connection(clients, "broken")._reader.tap = _broken_tap
        broken.send(wire.publish("t", b"x"))
        await until(lambda: clients.broker.registry.get("broken") is None)
        await other.ping()
        assert "is broken" in caplog.text


def _broken_tap(packet: bytes) -> None:
    raise RuntimeError("this tap is broken")


def _broken_queue(session: Session) -> None:
    raise RuntimeError("this queue is broken")


class TestCounting:
    """`Broker.limits` tells why connections were closed."""

    async def test_connections_that_do_not_open_in_time(self) -> None:
        async with serving5(settings=MqttSettings(connect_timeout=0.5)) as clients:
            silent, slow = await clients.open(), await clients.open()
            slow.send(wire.connect("c")[:5])
            for client in (silent, slow):
                await client.hung_up()
            assert clients.broker.limits()["closed.keep_alive_timeout"] == 2
            opened = await clients.connected("opened")
            await until(lambda: clients.broker.live_connections == 1)
            await opened.ping()
            assert clients.broker.limits()["closed.keep_alive_timeout"] == 2

    async def test_refused_connects(self) -> None:
        async with serving5(plugins={f"{PLUGINS}.FastPasswords": {}}) as clients:
            for _ in range(2):
                refused = await clients.open()
                assert await refused.refused(wire.connect("c", username="alice", password=b"wrong")) == 4
            refused = await clients.open5()
            assert await refused.refused(wire5.connect("c", username="alice", password=b"wrong")) == 0x86
            await clients.connected("c", username="alice", password=b"secret")
            limits = clients.broker.limits()
            assert limits["closed.bad_user_name_or_password"] == limits["connects_refused"] == 3
            assert [name for name in limits if name.startswith("closed.")] == ["closed.bad_user_name_or_password"]

    async def test_connections_that_there_is_no_room_for(self) -> None:
        async with serving5(settings=MqttSettings(max_connections=1)) as clients:
            await clients.connected("in")
            refused = await clients.open5()
            assert await refused.refused(wire5.connect("out")) == QUOTA_EXCEEDED
            limits = clients.broker.limits()
            assert limits["connections_turned_away"] == limits["closed.quota_exceeded"] == 1

    async def test_each_reason_is_counted_by_itself(self, clients: Clients5) -> None:
        """A client that leaves on its own account is not among them."""
        leaving = await clients.connected("leaving")
        await leaving.disconnect()
        kicked, rude = await clients.connected5("kicked"), await clients.connected5("rude")
        old = await clients.connected5("twice")
        new = await clients.connected5("twice")
        await clients.broker.kick("kicked")
        rude.send(b"\xf1\x00")
        for client in (old, kicked, rude):
            await client.expect(DISCONNECT)
        await new.ping()
        limits = clients.broker.limits()
        assert {name: count for name, count in limits.items() if name.startswith("closed.")} == {
            "closed.session_taken_over": 1,
            "closed.administrative_action": 1,
            "closed.malformed_packet": 1,
        }
