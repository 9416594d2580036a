"""Sessions, counters and metrics as the management API reads them."""

import time

from wardenmq.broker.settings import MqttSettings

from .brokers import Clients, serving
from .conditions import until
from .wire import PUBLISH


async def test_a_session_describes_its_client(clients: Clients) -> None:
    before = time.time()
    client = await clients.connected("c1", clean=False, keep_alive=30, username="u", password=b"p")
    await client.subscribe(("a/#", 1), ("b", 0))
    session = clients.broker.registry.get("c1")
    assert session is not None
    assert (session.client_id, session.username, session.connected) == ("c1", "u", True)
    assert (session.protocol_version, session.protocol_name, session.keep_alive) == (4, "MQTT", 30)
    assert session.clean_start is False
    assert session.listener == "tcp:default"
    assert session.peer_host == "127.0.0.1" and session.peer_port > 0
    assert before <= session.created_at <= session.connected_at <= time.time()
    assert session.disconnected_at is None
    assert {f: s.qos for f, s in session.subscriptions.items()} == {"a/#": 1, "b": 0}
    await client.disconnect()
    await until(lambda: not session.connected)
    assert session.disconnected_at is not None and session.disconnected_at >= session.connected_at
    assert clients.broker.registry.connected_count == 0
    assert [s.client_id for s in clients.broker.registry] == ["c1"]
    assert clients.broker.registry.of_username("u") == [session]


async def test_traffic_is_counted_exactly(clients: Clients) -> None:
    publisher, subscriber = await clients.pair(("t", 2))
    for qos, count in ((0, 3), (1, 2), (2, 1)):
        for _ in range(count):
            await publisher.publish("t", b"x", qos)
    await subscriber.messages(6)
    await subscriber.ping()
    sent = clients.broker.registry.get("publisher")
    received = clients.broker.registry.get("subscriber")
    assert sent is not None and received is not None
    assert sent.traffic.messages_received_qos == [3, 2, 1]
    assert received.traffic.messages_sent_qos == [3, 2, 1]
    # CONNECT, six PUBLISH, one PUBREL, three PINGREQ that follow the QoS 0 publishes.
    assert sent.traffic.packets_received_total == 1 + 6 + 1 + 3
    assert sent.traffic.packets_sent_total == 1 + 2 + 2 + 3
    assert (received.in_flight_count, received.queue_length) == (0, 0)


async def test_bytes_are_counted_exactly(clients: Clients) -> None:
    client = await clients.connected("c1")  # CONNECT 16 bytes, CONNACK 4
    await client.publish("t", b"x" * 200)  # PUBLISH 3 + 3 + 200, PINGREQ 2, PINGRESP 2
    session = clients.broker.registry.get("c1")
    assert session is not None
    assert session.traffic.bytes_received == 16 + 206 + 2
    await until(lambda: session.traffic.bytes_sent == 4 + 2)


async def test_metrics_and_stats(clients: Clients) -> None:
    """EMQX's names; counters of clients that have left are kept."""
    publisher, subscriber = await clients.pair(("a/#", 1), ("b", 1))
    await publisher.publish("a/x", b"1", 1, retain=True)
    await publisher.publish("nobody", b"2", 1)
    await subscriber.message()
    assert clients.broker.stats()["connections.count"] == 2
    await publisher.disconnect()
    await until(lambda: clients.broker.registry.connected_count == 1)
    metrics, stats = clients.broker.metrics(), clients.broker.stats()
    assert metrics["messages.received"] == 2
    assert metrics["messages.qos1.received"] == 2
    assert metrics["messages.sent"] == 1
    assert metrics["packets.publish.received"] == 2
    assert metrics["packets.connect.received"] == 2
    assert metrics["client.connected"] == 2
    assert metrics["client.disconnected"] == 1
    assert (stats["connections.count"], stats["connections.max"]) == (1, 2)
    assert (stats["subscriptions.count"], stats["topics.count"], stats["retained.count"]) == (2, 2, 1)
    assert clients.broker.router.has_filter("a/#")
    assert not clients.broker.router.has_filter("a/x")


async def test_in_flight_and_queue_are_visible(clients: Clients) -> None:
    publisher, subscriber = await clients.pair(("t", 1))
    for _ in range(40):
        await publisher.publish("t", b"x", 1)
    session = clients.broker.registry.get("subscriber")
    assert session is not None
    held = [await subscriber.expect(PUBLISH) for _ in range(32)]
    assert (session.in_flight_count, session.queue_length, len(held)) == (32, 8, 32)


async def test_what_was_dropped_for_an_absent_client_stays_counted() -> None:
    """The broker's counter neither forgets the drops when the client comes back nor counts them twice."""
    async with serving(settings=MqttSettings(max_mqueue_len=3)) as clients:
        device = await clients.connected("device", clean=False)
        await device.subscribe(("t", 1))
        await device.disconnect()
        publisher = await clients.connected("publisher")
        await publisher.publish_all("t", [b"x"] * 10, 1)
        assert clients.broker.metrics()["delivery.dropped.queue_full"] == 7
        device = await clients.connected("device", clean=False)
        await device.messages(3)
        assert clients.broker.metrics()["delivery.dropped.queue_full"] == 7
        await device.disconnect()
        await until(lambda: clients.broker.registry.connected_count == 1)
        assert clients.broker.metrics()["delivery.dropped.queue_full"] == 7
