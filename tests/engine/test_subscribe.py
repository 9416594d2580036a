"""SUBSCRIBE, UNSUBSCRIBE and which topics a filter takes in."""

import struct

import pytest
from wardenmq.broker.settings import MqttSettings

from .brokers import Clients, serving
from .wire import SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, packet, publish, string, subscribe, unsubscribe


async def test_a_return_code_for_each_filter_in_order(clients: Clients) -> None:
    """[MQTT-2.3.1-7] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]."""
    client = await clients.connected()
    client.send(subscribe(0xFFFE, ("a", 2), ("b/+", 0), ("c/#", 1)))
    got = await client.expect(SUBACK)
    assert (got.flags, got.packet_id, list(got.body[2:])) == (0, 0xFFFE, [2, 0, 1])


MALFORMED = {
    "[MQTT-3.8.1-1] subscribe flags 0": subscribe(1, ("a", 0), flags=0),
    "[MQTT-3.8.1-1] subscribe flags 3": subscribe(1, ("a", 0), flags=3),
    "[MQTT-3.8.3-3] subscribe without a filter": subscribe(1),
    "[MQTT-3.8.3-4] requested QoS 3": subscribe(1, ("a", 3)),
    "[MQTT-3.8.3-4] reserved bits of the QoS": subscribe(1, ("a", 4)),
    "[MQTT-3.8.3-4] reserved top bits of the QoS": subscribe(1, ("a", 0x81)),
    "[MQTT-2.3.1-1] subscribe with packet id 0": subscribe(0, ("a", 0)),
    "[MQTT-3.8.3-1] filter not UTF-8": subscribe(1, (b"a\xff", 0)),
    "[MQTT-4.7.3-2] filter with U+0000": subscribe(1, (b"a\x00", 0)),
    "subscribe without a QoS": packet(SUBSCRIBE, b"\x00\x01" + string("a"), 2),
    "subscribe with a truncated filter": packet(SUBSCRIBE, b"\x00\x01\x00\x05ab", 2),
    "subscribe without a packet id": packet(SUBSCRIBE, b"\x00", 2),
    "[MQTT-3.10.1-1] unsubscribe flags": unsubscribe(1, "a", flags=0),
    "[MQTT-3.10.3-2] unsubscribe without a filter": unsubscribe(1),
    "[MQTT-2.3.1-1] unsubscribe with packet id 0": unsubscribe(0, "a"),
    "[MQTT-3.10.3-1] unsubscribe filter not UTF-8": unsubscribe(1, b"\xc0\xaf"),
    "unsubscribe with a truncated filter": packet(UNSUBSCRIBE, b"\x00\x01\x00\x05ab", 2),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_requests_close_that_connection_alone(clients: Clients, data: bytes) -> None:
    """[MQTT-4.8.0-1]: no acknowledgement, nothing subscribed, others are served."""
    other = await clients.connected("other")
    client = await clients.connected("c1")
    client.send(data)
    await client.hung_up()
    await other.ping()
    assert clients.broker.router.subscription_count == 0


@pytest.mark.parametrize("invalid", ["a/#/b", "a#", "#a", "a/b#", "a+", "+a", "a/+b/c", "##", "++", ""])
async def test_invalid_filters_close_the_connection(clients: Clients, invalid: str) -> None:
    """[MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] [MQTT-4.8.0-1]: a good filter beside it is not entered either."""
    for request in (subscribe(1, ("good", 0), (invalid, 0)), unsubscribe(1, "good", invalid)):
        client = await clients.connected()
        client.send(request)
        await client.hung_up()
        assert clients.broker.router.subscription_count == 0


MATCHES = [
    (
        "sport/tennis/player1/#",
        ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/a/b"],
        [],
    ),
    ("sport/#", ["sport", "sport/"], ["sports", "Sport", "/sport"]),
    ("#", ["a", "/a", "a/b/c", "/"], ["$SYSTEM/x", "$a"]),
    ("sport/tennis/+", ["sport/tennis/player1", "sport/tennis/"], ["sport/tennis", "sport/tennis/player1/ranking"]),
    ("sport/+", ["sport/"], ["sport"]),
    ("+/+", ["/finance", "a/b"], ["finance", "$x/finance"]),
    ("/+", ["/finance"], ["finance", "a/finance"]),
    ("+", ["finance", "ACCOUNTS"], ["/finance", "$finance"]),
    ("+/tennis/#", ["sport/tennis", "sport/tennis/x"], ["$a/tennis", "tennis"]),
    ("ACCOUNTS", ["ACCOUNTS"], ["Accounts", "/ACCOUNTS"]),
    ("Accounts payable", ["Accounts payable"], ["Accountspayable"]),
    ("é", ["é"], ["e\u0301", "e"]),
    ("$other/#", ["$other/x"], ["other/x"]),
    ("a//b", ["a//b"], ["a/b"]),
    ("a/+/b", ["a//b", "a/x/b"], ["a/b"]),
]


@pytest.mark.parametrize(("topic_filter", "taken", "left"), MATCHES, ids=[m[0] for m in MATCHES])
async def test_matching(clients: Clients, topic_filter: str, taken: list[str], left: list[str]) -> None:
    """[MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT-3.3.2-3]."""
    publisher, subscriber = await clients.pair((topic_filter, 0), ("the end", 0))
    for topic in [*left, *taken, "the end"]:
        if topic.startswith("$"):
            clients.broker.publish(topic, b"x")
        else:
            await publisher.publish(topic, b"x")
    got = [(await subscriber.message()).topic for _ in [*taken, "the end"]]
    assert got == [*taken, "the end"]


async def test_longest_topic(clients: Clients) -> None:
    """[MQTT-4.7.3-3]: 65,535 bytes are the most, and are served."""
    topic = "é" * 32_767 + "x"
    publisher, subscriber = await clients.pair((topic, 0))
    await publisher.publish(topic, b"x")
    got = await subscriber.message()
    assert (got.topic, got.payload) == (topic, b"x")


async def test_too_many_levels_are_not_granted() -> None:
    """`max_topic_levels`: neither for a filter nor for a publish."""
    async with serving(settings=MqttSettings(max_topic_levels=3)) as clients:
        client = await clients.connected()
        assert await client.subscribe(("a/b/c", 1)) == [1]
        assert await client.subscribe(("a/b/c/d", 1)) == [0x80]
        client.send(publish("a/b/c/d", b"x"))
        await client.hung_up()


async def test_resubscribing_replaces(clients: Clients) -> None:
    """[MQTT-3.8.4-3]: one subscription, with the new QoS; the retained messages come again."""
    publisher, subscriber = await clients.pair(("t", 0))
    await publisher.publish("t", b"kept", 1, retain=True)
    assert not (await subscriber.message()).retain
    assert await subscriber.subscribe(("t", 1)) == [1]
    again = await subscriber.message()
    assert (again.payload, again.retain, again.qos) == (b"kept", True, 1)
    await publisher.publish("t", b"live", 1)
    live = await subscriber.message()
    assert (live.payload, live.qos) == (b"live", 1)
    await subscriber.nothing_came()
    assert clients.broker.router.subscription_count == 1


async def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos(clients: Clients) -> None:
    """[MQTT-3.3.5-1]."""
    publisher, subscriber = await clients.pair(("a/#", 0), ("a/+", 2), ("a/b", 1))
    await publisher.publish("a/b", b"one", 2)
    got = await subscriber.message()
    assert (got.payload, got.qos) == (b"one", 2)
    await subscriber.nothing_came()


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
async def test_delivery_at_the_lower_qos(clients: Clients, granted: int, published: int) -> None:
    """[MQTT-3.8.4-6]."""
    publisher, subscriber = await clients.pair(("t", granted))
    await publisher.publish("t", b"x", published)
    assert (await subscriber.message()).qos == min(granted, published)
    await subscriber.nothing_came()


async def test_two_clients_with_their_own_qos(clients: Clients) -> None:
    """[MQTT-3.8.4-6]: one message, a copy for each client at its own QoS."""
    publisher, first = await clients.pair(("t", 0))
    second = await clients.connected("second")
    await second.subscribe(("t", 2))
    await publisher.publish("t", b"x", 2)
    assert ((await first.message()).qos, (await second.message()).qos) == (0, 2)


async def test_a_publisher_gets_its_own_message(clients: Clients) -> None:
    """3.1.1 knows no exception for the publisher."""
    client = await clients.connected()
    await client.subscribe(("t", 1))
    await client.publish("t", b"x", 1)
    assert (await client.message()).payload == b"x"


async def test_unsubscribe_stops_deliveries(clients: Clients) -> None:
    """[MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4]: compared character by character."""
    publisher, subscriber = await clients.pair(("a/+", 0), ("a/b", 0))
    await subscriber.unsubscribe("a/b")
    await publisher.publish("a/b", b"by the wildcard")
    assert (await subscriber.message()).payload == b"by the wildcard"
    await subscriber.unsubscribe("a/+")
    await publisher.publish("a/b", b"nobody")
    await subscriber.nothing_came()
    assert clients.broker.router.filter_count == 0


async def test_unsubscribe_of_what_was_never_subscribed(clients: Clients) -> None:
    """[MQTT-2.3.1-7] [MQTT-3.10.4-5] [MQTT-3.10.4-6]: acknowledged once, whatever the list."""
    client = await clients.connected()
    client.send(unsubscribe(77, "never", "a/#", "never"))
    got = await client.expect(UNSUBACK)
    assert (got.flags, got.body) == (0, struct.pack("!H", 77))
    await client.nothing_came()


async def test_unsubscribe_lets_what_is_in_flight_finish(clients: Clients) -> None:
    """[MQTT-3.10.4-3]: a QoS 2 delivery that began is completed."""
    publisher, subscriber = await clients.pair(("t", 2))
    await publisher.publish("t", b"x", 2)
    got = await subscriber.expect(3)
    await subscriber.unsubscribe("t")
    await subscriber.complete(got)
    await subscriber.nothing_came()


async def test_clients_cannot_publish_into_sys(clients: Clients) -> None:
    """[MQTT-4.7.2-1]: $SYS belongs to the server; the handshake is completed, nobody gets the message."""
    client = await clients.connected()
    assert await client.subscribe(("$SYS/#", 1), ("$SYS/broker/x", 0)) == [1, 0]
    other = await clients.connected()
    await other.publish("$SYS/broker/x", b"forged", 1)
    await other.publish("$SYS/broker/x", b"forged", 1, retain=True)
    await client.nothing_came()
    late = await clients.connected()
    await late.subscribe(("$SYS/#", 0))
    await late.nothing_came()


async def test_subscriptions_per_session_are_bounded() -> None:
    """`max_subscriptions`: the next is refused, replacing an old one is not."""
    async with serving(settings=MqttSettings(max_subscriptions=2)) as clients:
        client = await clients.connected()
        assert await client.subscribe(("a", 0), ("b", 0), ("c", 0)) == [0, 0, 0x80]
        assert await client.subscribe(("b", 1)) == [1]
        await client.unsubscribe("a")
        assert await client.subscribe(("c", 2)) == [2]
