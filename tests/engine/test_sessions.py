"""Sessions that outlive their connection; the queue, the window and redelivery."""

import pytest
from wardenmq.broker.routing.topics import InvalidTopic
from wardenmq.broker.settings import MqttSettings

from ..clocks import WallClock
from .brokers import Clients, serving
from .conditions import until
from .wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, acknowledge, connect, publish, subscribe


async def _away(clients: Clients, *filters: tuple[str, int], client_id: str = "c1") -> None:
    """Leave a session with these subscriptions behind."""
    client = await clients.connected(client_id, clean=False)
    await client.subscribe(*filters)
    await client.disconnect()
    session = clients.broker.registry.get(client_id)
    assert session is not None
    await until(lambda: not session.connected)


async def _back(clients: Clients, client_id: str = "c1") -> Client:
    client = await clients.open()
    assert await client.connect(client_id, clean=False) is True
    return client


async def test_queues_qos_1_and_2_while_away(clients: Clients) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-4.1.0-1]: in order, first delivery without DUP; QoS 0 is not queued."""
    await _away(clients, ("t/#", 2))
    publisher = await clients.connected("publisher")
    for n, qos in enumerate((1, 0, 2, 1, 0, 2)):
        await publisher.publish(f"t/{n}", b"%d" % n, qos)
    client = await _back(clients)
    got = [await client.message() for _ in range(4)]
    assert [(p.topic, p.payload, p.qos, p.dup, p.retain) for p in got] == [
        ("t/0", b"0", 1, False, False),
        ("t/2", b"2", 2, False, False),
        ("t/3", b"3", 1, False, False),
        ("t/5", b"5", 2, False, False),
    ]
    await publisher.publish("t/live", b"live")
    assert (await client.message()).payload == b"live"
    await client.nothing_came()


async def test_does_not_queue_for_a_qos_0_subscription(clients: Clients) -> None:
    """[MQTT-3.1.2-5] (QoS 0 need not be stored): min(2, 0) is 0."""
    await _away(clients, ("t", 0))
    await (await clients.connected("publisher")).publish("t", b"x", 2)
    await (await _back(clients)).nothing_came()


async def test_clean_session_discards(clients: Clients) -> None:
    """[MQTT-3.1.2-6] [MQTT-3.1.4-3]: subscriptions and queue; nothing of it comes back later."""
    await _away(clients, ("t", 1))
    publisher = await clients.connected("publisher")
    await publisher.publish("t", b"lost", 1)
    client = await clients.open()
    assert await client.connect("c1", clean=True) is False
    await publisher.publish("t", b"nobody", 1)
    await client.nothing_came()
    await client.disconnect()
    client = await clients.open()
    assert await client.connect("c1", clean=False) is False
    await client.nothing_came()


async def test_a_clean_session_ends_with_its_connection(clients: Clients) -> None:
    """[MQTT-3.1.2-6]: whichever way the connection ended."""
    client = await clients.connected("c1", clean=True)
    await client.subscribe(("t", 1))
    client.abort()
    await until(lambda: clients.broker.registry.get("c1") is None)
    assert clients.broker.router.subscription_count == 0


@pytest.mark.parametrize("qos", [1, 2])
async def test_unacknowledged_messages_come_again(clients: Clients, qos: int) -> None:
    """[MQTT-2.3.1-4] [MQTT-4.4.0-1] [MQTT-3.3.1-1]: with DUP, the same id, in the same order."""
    client = await clients.connected("c1", clean=False)
    await client.subscribe(("t", qos))
    publisher = await clients.connected("publisher")
    for n in range(5):
        await publisher.publish("t", b"%d" % n, qos)
    first = [await client.expect(PUBLISH) for _ in range(5)]
    assert not any(p.dup for p in first)
    client.abort()
    client = await _back(clients)
    again = [await client.expect(PUBLISH) for _ in range(5)]
    assert [(p.packet_id, p.payload, p.dup, p.qos) for p in again] == [
        (p.packet_id, p.payload, True, qos) for p in first
    ]
    for got in again:
        await client.complete(got)
    await client.disconnect()
    await (await _back(clients)).nothing_came()


async def test_nothing_is_repeated_while_connected(clients: Clients) -> None:
    """[MQTT-4.4.0-1]: an unacknowledged message is neither sent again nor dropped by a timer; others pass it."""
    publisher, subscriber = await clients.pair(("t", 1))
    await publisher.publish("t", b"held", 1)
    held = await subscriber.expect(PUBLISH)
    await publisher.publish("t", b"next", 1)
    assert (await subscriber.message()).payload == b"next"
    await subscriber.nothing_came()
    session = clients.broker.registry.get("subscriber")
    assert session is not None and session.in_flight_count == 1
    subscriber.send(acknowledge(PUBACK, held.packet_id))
    await subscriber.ping()
    assert session.in_flight_count == 0


async def test_acknowledged_messages_do_not_come_again(clients: Clients) -> None:
    """[MQTT-4.3.2-1]: of five the second and the fourth are left."""
    client = await clients.connected("c1", clean=False)
    await client.subscribe(("t", 1))
    publisher = await clients.connected("publisher")
    for n in range(5):
        await publisher.publish("t", b"%d" % n, 1)
    got = [await client.expect(PUBLISH) for _ in range(5)]
    client.send(*(acknowledge(PUBACK, got[n].packet_id) for n in (4, 0, 2)))
    await client.ping()
    client.abort()
    client = await _back(clients)
    assert await client.messages(2) == [b"1", b"3"]
    await client.nothing_came()


async def test_pubrel_is_sent_again(clients: Clients) -> None:
    """[MQTT-2.3.1-6] [MQTT-4.3.3-1] [MQTT-4.4.0-1]: after PUBREC the message itself never comes again."""
    client = await clients.connected("c1", clean=False)
    await client.subscribe(("t", 2))
    publisher = await clients.connected("publisher")
    await publisher.publish("t", b"x", 2)
    got = await client.expect(PUBLISH)
    client.send(acknowledge(PUBREC, got.packet_id))
    assert (await client.expect(PUBREL)).packet_id == got.packet_id
    client.abort()
    client = await _back(clients)
    again = await client.read()
    assert (again.kind, again.flags, again.packet_id) == (PUBREL, 2, got.packet_id)
    client.send(acknowledge(PUBCOMP, got.packet_id))
    await client.disconnect()
    await (await _back(clients)).nothing_came()


async def test_a_repeated_pubrec_is_answered(clients: Clients) -> None:
    """[MQTT-4.3.3-1]: PUBREL again, one delivery."""
    publisher, subscriber = await clients.pair(("t", 2))
    await publisher.publish("t", b"x", 2)
    got = await subscriber.expect(PUBLISH)
    for _ in range(2):
        subscriber.send(acknowledge(PUBREC, got.packet_id))
        assert (await subscriber.expect(PUBREL)).packet_id == got.packet_id
    subscriber.send(acknowledge(PUBCOMP, got.packet_id))
    await subscriber.nothing_came()


async def test_the_window_is_respected_and_drained_in_order() -> None:
    """`max_inflight`: never more unacknowledged, the rest in order on acks."""
    async with serving(settings=MqttSettings(max_inflight=3)) as clients:
        publisher, subscriber = await clients.pair(("t", 1))
        for n in range(10):
            await publisher.publish("t", b"%d" % n, 1)
        held = [await subscriber.expect(PUBLISH) for _ in range(3)]
        await subscriber.nothing_came()
        session = clients.broker.registry.get("subscriber")
        assert session is not None
        assert (session.in_flight_count, session.max_inflight, session.queue_length) == (3, 3, 7)
        subscriber.send(acknowledge(PUBACK, held[1].packet_id))
        held.append(await subscriber.expect(PUBLISH))
        await subscriber.nothing_came()
        subscriber.send(acknowledge(PUBACK, held[0].packet_id), acknowledge(PUBACK, held[2].packet_id))
        await subscriber.complete(held[3])
        assert [p.payload for p in held] == [b"0", b"1", b"2", b"3"]
        assert await subscriber.messages(6) == [b"%d" % n for n in range(4, 10)]


async def test_qos_2_leaves_the_window_with_pubcomp() -> None:
    """[MQTT-4.3.3-1]: the id stays in use until PUBCOMP."""
    async with serving(settings=MqttSettings(max_inflight=1)) as clients:
        publisher, subscriber = await clients.pair(("t", 2))
        await publisher.publish("t", b"first", 2)
        await publisher.publish("t", b"second", 2)
        first = await subscriber.expect(PUBLISH)
        subscriber.send(acknowledge(PUBREC, first.packet_id))
        await subscriber.expect(PUBREL)
        await subscriber.nothing_came()
        subscriber.send(acknowledge(PUBCOMP, first.packet_id))
        assert (await subscriber.message()).payload == b"second"


async def test_qos_0_passes_a_full_window() -> None:
    """[MQTT-4.3.1-1]: QoS 0 needs no place in the window."""
    async with serving(settings=MqttSettings(max_inflight=1)) as clients:
        publisher, subscriber = await clients.pair(("t", 1))
        await publisher.publish("t", b"held", 1)
        await publisher.publish("t", b"queued", 1)
        await publisher.publish("t", b"passing", 0)
        held = await subscriber.expect(PUBLISH)
        assert (await subscriber.expect(PUBLISH)).payload == b"passing"
        await subscriber.complete(held)
        assert (await subscriber.message()).payload == b"queued"


async def test_a_full_queue_drops_the_oldest_and_counts() -> None:
    """`max_mqueue_len`: bounded while away, the newest survive."""
    async with serving(settings=MqttSettings(max_mqueue_len=3)) as clients:
        await _away(clients, ("t", 1))
        publisher = await clients.connected("publisher")
        for n in range(10):
            await publisher.publish("t", b"%d" % n, 1)
        session = clients.broker.registry.get("c1")
        assert session is not None
        assert (session.queue_length, session.max_queue, session.traffic.dropped_queue_full) == (3, 3, 7)
        client = await _back(clients)
        assert await client.messages(3) == [b"7", b"8", b"9"]
        await client.nothing_came()


async def test_more_than_the_window_was_queued(clients: Clients) -> None:
    """[MQTT-4.6.0-6]: a backlog of several windows arrives complete and in order, QoS 1 and 2 mixed."""
    await _away(clients, ("t", 2))
    publisher = await clients.connected("publisher")
    for n in range(200):
        await publisher.publish("t", b"%d" % n, 1 + n % 2)
    client = await _back(clients)
    assert await client.messages(200) == [b"%d" % n for n in range(200)]
    await client.nothing_came()


async def test_live_messages_stay_behind_the_backlog() -> None:
    """[MQTT-4.6.0-6]: what is published after the reconnect follows what was queued before it."""
    async with serving(settings=MqttSettings(max_inflight=2)) as clients:
        await _away(clients, ("t", 1))
        publisher = await clients.connected("publisher")
        await publisher.publish_all("t", [b"%d" % n for n in range(6)], 1)
        client = await _back(clients)
        await publisher.publish_all("t", [b"6", b"7"], 1)
        assert await client.messages(8) == [b"%d" % n for n in range(8)]


async def test_too_many_open_qos_2_publishes_close_the_connection() -> None:
    """`max_awaiting_rel`: what a client may leave without PUBREL is bounded."""
    async with serving(settings=MqttSettings(max_awaiting_rel=3)) as clients:
        client = await clients.connected("c1")
        client.send(*(publish("t", b"x", 2, n) for n in (1, 2, 3)))
        for _ in range(3):
            await client.expect(PUBREC)
        client.send(publish("t", b"x", 2, 1, dup=True))
        assert (await client.expect(PUBREC)).packet_id == 1
        client.send(publish("t", b"x", 2, 4))
        await client.hung_up()


async def test_a_session_expires(clock: WallClock) -> None:
    """After `session_expiry_interval` it is gone (section 4.1 allows it)."""
    async with serving(settings=MqttSettings(session_expiry_interval=3_600)) as clients:
        await _away(clients, ("t", 1))
        clock.advance(3_601)
        await until(lambda: clients.broker.registry.get("c1") is None)
        assert clients.broker.router.subscription_count == 0
        client = await clients.open()
        assert await client.connect("c1", clean=False) is False


async def test_a_session_in_use_does_not_expire(clock: WallClock) -> None:
    """[MQTT-4.1.0-2]: the interval runs while the client is away only."""
    async with serving(settings=MqttSettings(session_expiry_interval=3_600)) as clients:
        await _away(clients, ("a", 1), client_id="gone")
        await _away(clients, ("a", 1), client_id="stays")
        client = await _back(clients, "stays")
        clock.advance(3_601)
        await until(lambda: clients.broker.registry.get("gone") is None)
        await client.ping()
        assert clients.broker.registry.get("stays") is not None


async def test_stored_sessions_are_bounded() -> None:
    """`max_sessions`: a new client is answered 3, a known one is let in."""
    async with serving(settings=MqttSettings(max_sessions=2)) as clients:
        await _away(clients, ("t", 1), client_id="a")
        await _away(clients, ("t", 1), client_id="b")
        assert await (await clients.open()).refused(connect("c", clean=False)) == 3
        await (await _back(clients, "a")).ping()


async def test_kick_ends_the_session(clients: Clients) -> None:
    """`Broker.kick`: connection closed, session gone; unknown ids are told apart."""
    client = await clients.connected("c1", clean=False)
    await client.subscribe(("t", 1))
    assert await clients.broker.kick("c1") is True
    await client.hung_up()
    assert clients.broker.registry.get("c1") is None
    assert await clients.broker.kick("c1") is False
    client = await clients.open()
    assert await client.connect("c1", clean=False) is False
    await _away(clients, ("t", 1), client_id="away")
    assert await clients.broker.kick("away") is True
    assert clients.broker.router.subscription_count == 0


async def test_publish_from_the_server(clients: Clients) -> None:
    """`Broker.publish` gives the number of sessions reached, those away with a QoS that is kept included."""
    await _away(clients, ("t", 1), client_id="away")
    subscriber = await clients.connected("here")
    await subscriber.subscribe(("t", 2), ("#", 0))
    assert clients.broker.publish("t", b"x", qos=1) == 2
    assert clients.broker.publish("other", b"y", retain=True) == 1
    assert clients.broker.publish("$SYS/x", b"z") == 0
    first, second = await subscriber.message(), await subscriber.message()
    assert [(p.topic, p.payload, p.qos, p.retain) for p in (first, second)] == [
        ("t", b"x", 1, False),
        ("other", b"y", 0, False),
    ]
    assert (await (await _back(clients, "away")).message()).payload == b"x"
    for topic in ("", "a/#", "+", "a\0b"):
        with pytest.raises(InvalidTopic):
            clients.broker.publish(topic, b"")


async def test_a_slow_consumer_loses_qos_0_and_harms_nobody() -> None:
    """`max_outgoing_bytes`: past it QoS 0 is dropped and counted; other subscribers lose nothing."""
    async with serving(settings=MqttSettings(max_outgoing_bytes=65_536)) as clients:
        slow = await clients.open(read_limit=1024)
        await slow.connect("slow")
        await slow.subscribe(("t", 0))
        publisher, quick = await clients.pair(("t", 0))
        payload, count = b"x" * 4096, 6000
        for _ in range(count // 50):
            publisher.send(*(publish("t", payload) for _ in range(50)))
            for _ in range(50):
                await quick.expect(PUBLISH)
        await publisher.ping()
        session = clients.broker.registry.get("slow")
        assert session is not None
        assert session.traffic.dropped_qos0 > 0
        received = 0
        slow.send(b"\xc0\x00")
        while (got := await slow.read()).kind == PUBLISH:
            assert got.payload == payload
            received += 1
        assert received + session.traffic.dropped_qos0 == count


async def test_connections_of_one_client_do_not_starve_the_next(clients: Clients) -> None:
    """A client that floods lets others be answered."""
    flood, other = await clients.connected("flood"), await clients.connected("other")
    await flood.subscribe(("nothing", 0))
    flood.send(*(publish("t", b"x" * 50) for _ in range(20_000)))
    await other.ping()
    await flood.ping()
    other.send(subscribe(5, ("t", 0)))
    await other.expect(9)
