"""What one client can cost the broker, and what a change of rules reaches."""

import asyncio

import pytest
from wardenmq.broker.access import Identity
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.records import Rule

from .brokers import Clients, serving
from .conditions import until
from .test_rules import Guarded, guarded  # noqa: F401 - a fixture
from .wire import Will, subscribe


def _retain(clients: Clients, count: int) -> None:
    for number in range(count):
        clients.broker.publish(f"r/{number}", b"kept", 1, retain=True)


async def test_a_long_replay_arrives_whole_and_once(clients: Clients) -> None:
    """[MQTT-3.3.1-6]: more retained messages than the queue holds, sent as the client acknowledges."""
    _retain(clients, 2_500)
    subscriber = await clients.connected("s")
    await subscriber.subscribe(("r/#", 1))
    topics = [(await subscriber.message()).topic for _ in range(2_500)]
    assert sorted(topics) == sorted(f"r/{number}" for number in range(2_500))
    await subscriber.nothing_came()


async def test_a_replay_pushes_no_live_message_out(clients: Clients) -> None:
    _retain(clients, 1_500)
    subscriber = await clients.connected("s")
    await subscriber.subscribe(("live", 1))
    for number in range(100):
        clients.broker.publish("live", b"%d" % number, 1)
    for packet_id in (7, 8, 9):
        subscriber.send(subscribe(packet_id, ("r/#", 1)))
    session = clients.broker.registry.get("s")
    assert session is not None
    await until(lambda: "r/#" in session.subscriptions)
    live = {b"%d" % number for number in range(100)}
    while live:
        packet = await subscriber.read()
        if packet.kind == 3:
            await subscriber.complete(packet)
            live.discard(packet.payload)
    assert session.traffic.dropped_queue_full == 0


async def test_repeated_subscriptions_leave_nothing_running(clients: Clients) -> None:
    """A client that asks again and again and never reads starts no work that outlives it."""
    _retain(clients, 1_200)
    before = len(asyncio.all_tasks())
    greedy = await clients.connected("g")
    for packet_id in range(1, 200):
        greedy.send(subscribe(packet_id, ("r/#", 1)))
    session = clients.broker.registry.get("g")
    assert session is not None
    await until(lambda: session.queue_length > 0)
    await until(lambda: not session.replay_scheduled)
    assert len(session.replays) == 1
    assert len(asyncio.all_tasks()) == before
    greedy.abort()
    await until(lambda: clients.broker.registry.get("g") is None)
    assert not session.replays


async def test_long_topics_are_not_remembered(clients: Clients) -> None:
    publisher = await clients.connected("p")
    for number in range(50):
        await publisher.publish("x" * 5_000 + str(number), b"", 0)
    await publisher.ping()
    session = clients.broker.registry.get("p")
    assert session is not None
    connection = next(found for found in clients.broker._listeners.connections if found.session is session)
    routes = connection._incoming._routes
    assert sum(len(topic) for cache in routes for topic in cache) < 1_000
    assert not any(len(topic) > 512 for topic in clients.broker.router._routes)


async def test_a_rule_reaches_what_is_queued_for_an_absent_client(guarded: Guarded) -> None:  # noqa: F811
    """A message that waits is not delivered once its topic is forbidden."""
    allowed = [Rule(topic="a/#", permission="allow", action="subscribe"), Rule("b", "allow", "subscribe")]
    await guarded.directory.set_rules("username", "alice", allowed)
    alice = await guarded.connected("alice", clean=False)
    await alice.subscribe(("a/#", 1), ("b", 1))
    await alice.disconnect()
    await until(lambda: guarded.clients.broker.registry.connected_count == 0)
    guarded.clients.broker.publish("a/1", b"secret", 1)
    guarded.clients.broker.publish("b", b"open", 1)
    await guarded.directory.set_rules("username", "alice", allowed[1:])
    alice = await guarded.connected("alice", clean=False)
    assert (await alice.message()).payload == b"open"
    await alice.nothing_came()


async def test_coming_and_going_keeps_one_expiry_entry() -> None:
    async with serving(settings=MqttSettings(session_expiry_interval=600)) as clients:
        for _ in range(20):
            client = await clients.connected("c", clean=False)
            await client.disconnect()
            await until(lambda: clients.broker.registry.connected_count == 0)
        assert len(clients.broker._engine._expiries) == 1


async def test_a_session_that_was_made_for_a_client_is_taken_up(clients: Clients) -> None:
    """amqtt's `add_subscription`: what came before the client is there when it connects."""
    clients.broker.subscribe_for("later", "news", 1)
    assert clients.broker.publish("news", b"old", 1) == 1
    later = await clients.open()
    assert await later.connect("later", clean=False) is True
    assert (await later.message()).payload == b"old"


async def test_an_authorizer_that_raises_denies_and_leaves_no_session(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
            raise RuntimeError("broken")

        def checks_delivery(self, client: Identity) -> bool:
            return False

    clients.broker._access.load([], [Broken()])  # pyright: ignore
    client = await clients.connected("c", will=Will("w", b"x"))
    assert await client.subscribe(("a", 0)) == [0x80]
    await client.publish("a", b"1", 1)
    client.abort()
    await until(lambda: clients.broker.registry.get("c") is None)
    assert "Broken failed" in caplog.text
