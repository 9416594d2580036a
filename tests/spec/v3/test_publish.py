"""Chapter 3.3: PUBLISH, retained messages, and who gets what."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS, Clients, serving
from ...engine.wire import (
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    acknowledge,
    packet,
    publish,
    string,
    subscribe,
)


async def _retained(clients: Clients, *filters: tuple[str, int]) -> list[tuple[str, bytes, int, bool]]:
    """Subscribe with a client of its own and give what it is sent for that, in alphabetical order."""
    client = await clients.connected()
    await client.subscribe(*filters, ("the/end", 0))
    await client.publish("the/end")
    got = []
    while (message := await client.message()).topic != "the/end":
        got.append((message.topic, message.payload, message.qos, message.retain))
    await client.disconnect()
    return sorted(got)


# 3.3.1: DUP and QoS


async def test_dup_with_qos_0_is_refused_and_never_sent(clients: Clients) -> None:
    """[MQTT-3.3.1-2] [MQTT-4.3.1-1]: retained or not; and deliveries at QoS 0 have all flags clear."""
    publisher, subscriber = await clients.pair(("t", 0))
    for retain in (False, True):
        client = await clients.connected()
        client.send(publish("t", b"x", dup=True, retain=retain))
        await client.hung_up()
    for qos, dup in ((0, False), (1, False), (1, True), (2, True)):
        publisher.send(publish("t", b"%d" % qos, qos, 7 if qos else None, dup=dup))
        got = await subscriber.expect(PUBLISH)
        assert (got.flags, got.body) == (0, string("t") + b"%d" % qos)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("dup", [False, True])
async def test_dup_is_no_business_of_the_subscriber(clients: Clients, dup: bool, qos: int) -> None:
    """[MQTT-3.3.1-3] [MQTT-3.3.1-1]: clear on a first delivery, set on the second, whatever the publisher set."""
    subscriber = await clients.connected("subscriber", clean=False)
    await subscriber.subscribe(("t", qos))
    publisher = await clients.connected("publisher")
    publisher.send(publish("t", b"x", qos, 7, dup=dup))
    first = await subscriber.expect(PUBLISH)
    assert not first.dup
    subscriber.abort()
    again = await clients.connected("subscriber", clean=False)
    second = await again.expect(PUBLISH)
    assert (second.dup, second.packet_id, second.body) == (True, first.packet_id, first.body)


async def test_qos_3_closes_the_connection(clients: Clients) -> None:
    """[MQTT-3.3.1-4]: with a packet identifier or without, whatever the other flags."""
    for flags in (6, 7, 14, 15):
        for body in (string("t") + b"\x00\x01x", string("t")):
            client = await clients.connected()
            client.send(packet(PUBLISH, body, flags))
            await client.hung_up()


# 3.3.1: RETAIN


async def test_a_retained_message_is_kept_with_its_qos(clients: Clients) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]: the last of each topic, for every later subscription."""
    publisher = await clients.connected()
    for topic, payload, qos in (("a", b"old", 2), ("a", b"new", 1), ("b/c", b"x", 2), ("d", b"y", 0)):
        await publisher.publish(topic, payload, qos, retain=True)
    everything = [("a", b"new", 1, True), ("b/c", b"x", 2, True), ("d", b"y", 0, True)]
    assert await _retained(clients, ("#", 2)) == everything
    assert await _retained(clients, ("#", 2)) == everything
    assert await _retained(clients, ("#", 1)) == [("a", b"new", 1, True), ("b/c", b"x", 1, True), ("d", b"y", 0, True)]
    assert await _retained(clients, ("+", 2)) == [("a", b"new", 1, True), ("d", b"y", 0, True)]
    assert await _retained(clients, ("b/c", 2), ("e", 2)) == [("b/c", b"x", 2, True)]


async def test_a_retained_message_of_qos_0_takes_the_place_of_the_old_one(clients: Clients) -> None:
    """[MQTT-3.3.1-7]: which is never seen again."""
    publisher = await clients.connected()
    await publisher.publish("t", b"old", 2, retain=True)
    await publisher.publish("t", b"new", 0, retain=True)
    assert await _retained(clients, ("t", 2)) == [("t", b"new", 0, True)]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_retained_message_that_there_is_no_room_for_still_ends_the_old_one(qos: int) -> None:
    """[MQTT-3.3.1-7]: the server may choose not to keep the new one, and then none is kept for that topic."""
    async with serving(settings=MqttSettings(max_retained_payload=10)) as clients:
        publisher, subscriber = await clients.pair(("t", 0))
        for payload in (b"old", b"x" * 11):
            await publisher.publish("t", payload, qos, retain=True)
            assert (await subscriber.message()).payload == payload
        assert await _retained(clients, ("t", 2)) == []


async def test_a_standing_subscription_gets_it_without_the_flag(clients: Clients) -> None:
    """[MQTT-3.3.1-9]: at every QoS."""
    publisher, subscriber = await clients.pair(("t", 2))
    for qos in (0, 1, 2):
        await publisher.publish("t", b"%d" % qos, qos, retain=True)
    got = [await subscriber.message() for _ in range(3)]
    assert [(p.payload, p.qos, p.retain) for p in got] == [(b"0", 0, False), (b"1", 1, False), (b"2", 2, False)]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_an_empty_payload_clears_and_is_delivered(clients: Clients, qos: int) -> None:
    """[MQTT-3.3.1-10] [MQTT-3.3.1-11]: also where nothing was retained."""
    publisher, subscriber = await clients.pair(("#", 2))
    await publisher.publish("t", b"kept", 1, retain=True)
    await subscriber.message()
    for topic in ("t", "t", "never"):
        await publisher.publish(topic, b"", qos, retain=True)
        got = await subscriber.message()
        assert (got.topic, got.payload, got.retain) == (topic, b"", False)
    assert await _retained(clients, ("#", 2)) == []


async def test_without_the_flag_nothing_is_kept_replaced_or_cleared(clients: Clients) -> None:
    """[MQTT-3.3.1-12]."""
    publisher = await clients.connected()
    await publisher.publish("kept", b"x", 1, retain=True)
    for topic in ("kept", "other"):
        for payload in (b"y", b""):
            for qos in (0, 1, 2):
                await publisher.publish(topic, payload, qos)
    assert await _retained(clients, ("#", 2)) == [("kept", b"x", 1, True)]


# 3.3.2


async def test_the_topic_name_is_the_first_field(clients: Clients) -> None:
    """[MQTT-3.3.2-1]: in front of the packet identifier, in what is sent as in what is read."""
    publisher, subscriber = await clients.pair(("é/\x01", 1))
    publisher.send(packet(PUBLISH, string("é/\x01") + b"\x00\x07payload", 2))
    assert (await publisher.expect(PUBACK)).body == b"\x00\x07"
    got = await subscriber.expect(PUBLISH)
    assert got.body == b"\x00\x04\xc3\xa9/\x01" + got.packet_id.to_bytes(2, "big") + b"payload"


@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+/b", "+/a", "a#", "a+b", "#/a", "$SYS/#"])
async def test_wildcards_in_a_topic_name_close_the_connection(clients: Clients, topic: str) -> None:
    """[MQTT-3.3.2-2] [MQTT-4.7.1-1]: nobody gets the message, retained or live."""
    watcher = await clients.connected("watcher")
    await watcher.subscribe(("#", 0), ("$SYS/+", 0))
    for qos in (0, 1):
        client = await clients.connected()
        client.send(publish(topic, b"x", qos, 1 if qos else None, retain=True))
        await client.hung_up()
    await watcher.nothing_came()
    assert await _retained(clients, ("#", 0)) == []


async def test_a_delivery_has_the_topic_of_the_message(clients: Clients) -> None:
    """[MQTT-3.3.2-3]: not the filter; and it matches one of the client's subscriptions."""
    publisher, subscriber = await clients.pair(("a/+", 0), ("b/#", 1), ("c", 2))
    for topic in ("a", "a/x", "a/x/y", "b", "b/x/y", "c", "c/x", "d"):
        await publisher.publish(topic, topic.encode(), 2)
    got = [await subscriber.message() for _ in range(4)]
    assert [p.topic for p in got] == [p.payload.decode() for p in got] == ["a/x", "b", "b/x/y", "c"]
    await subscriber.nothing_came()


# 3.3.4 and 3.3.5


async def test_the_answer_goes_by_the_qos(clients: Clients) -> None:
    """[MQTT-3.3.4-1]: none, PUBACK, PUBREC; also where nobody subscribes."""
    client = await clients.connected()
    for topic in ("nobody", "own"):
        client.send(publish(topic, b"x"), b"\xc0\x00")
        assert (await client.read()).kind == PINGRESP
        client.send(publish(topic, b"x", 1, 5))
        got = await client.read()
        assert (got.kind, got.body) == (PUBACK, b"\x00\x05")
        client.send(publish(topic, b"x", 2, 6))
        got = await client.read()
        assert (got.kind, got.body) == (PUBREC, b"\x00\x06")
        client.send(acknowledge(PUBREL, 6))
        got = await client.read()
        assert (got.kind, got.body) == (PUBCOMP, b"\x00\x06")
        other = await clients.connected("other")
        await other.subscribe(("own", 0))


@pytest.mark.parametrize(
    ("filters", "published", "delivered"),
    [
        ((("a/b", 0), ("a/#", 2)), 2, 2),
        ((("a/#", 2), ("a/b", 0)), 2, 2),
        ((("a/+", 1), ("#", 0), ("+/b", 0)), 2, 1),
        ((("a/+", 1), ("#", 2), ("+/b", 0)), 1, 1),
        ((("a/b", 0), ("+/+", 0)), 2, 0),
    ],
)
async def test_overlapping_subscriptions_deliver_at_the_highest_qos(
    clients: Clients, filters: tuple[tuple[str, int], ...], published: int, delivered: int
) -> None:
    """[MQTT-3.3.5-1]: once, whichever of them came first."""
    publisher, subscriber = await clients.pair(*filters)
    await publisher.publish("a/b", b"x", published)
    assert (await subscriber.message()).qos == delivered
    await subscriber.nothing_came()


@pytest.mark.parametrize("plugin", ["FastRules", "SlowRules"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_publish_that_is_not_allowed_is_acknowledged_as_any_other(plugin: str, qos: int) -> None:
    """[MQTT-3.3.5-2]: and goes nowhere."""
    async with serving({**ANONYMOUS, f"{access_plugins.__name__}.{plugin}": {"publish": ["no"]}}) as clients:
        publisher, subscriber = await clients.pair(("#", 2))
        await publisher.publish("no", b"x", qos, retain=True)
        await publisher.publish("yes", b"y", qos)
        assert (await subscriber.message()).topic == "yes"
        await subscriber.nothing_came()
        late = await clients.connected("late")
        late.send(subscribe(1, ("no", 0)))
        await late.expect(9)
        await late.nothing_came()
