"""Retained messages."""

import pytest
from wardenmq.broker.settings import MqttSettings

from .brokers import Clients, serving
from .wire import Will


async def _late(clients: Clients, *filters: tuple[str, int]) -> list[tuple[str, bytes, int, bool]]:
    """Subscribe with a new client and give what it gets at once."""
    client = await clients.connected()
    await client.subscribe(*filters, ("the/end/of/it", 0))
    await client.publish("the/end/of/it", b"", 0)
    got = []
    while (message := await client.message()).topic != "the/end/of/it":
        got.append((message.topic, message.payload, message.qos, message.retain))
    await client.disconnect()
    return sorted(got)


async def test_stored_for_later_subscribers_with_the_retain_flag(clients: Clients) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]; delivered live without it [MQTT-3.3.1-9]."""
    publisher, subscriber = await clients.pair(("a/+", 1))
    await publisher.publish("a/b", b"v", 1, retain=True)
    live = await subscriber.message()
    assert (live.payload, live.retain) == (b"v", False)
    assert await _late(clients, ("a/+", 2)) == [("a/b", b"v", 1, True)]
    await subscriber.nothing_came()


async def test_replaced_by_the_next(clients: Clients) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-7]: also by one of a lower QoS."""
    publisher = await clients.connected()
    await publisher.publish("t", b"first", 1, retain=True)
    await publisher.publish("t", b"second", 0, retain=True)
    assert await _late(clients, ("t", 2)) == [("t", b"second", 0, True)]


async def test_cleared_by_an_empty_payload(clients: Clients) -> None:
    """[MQTT-3.3.1-10] [MQTT-3.3.1-11]: passed on live as any other message, not stored."""
    publisher, subscriber = await clients.pair(("t", 0))
    await publisher.publish("t", b"v", retain=True)
    await publisher.publish("t", b"", 1, retain=True)
    assert [(p.payload, p.retain) for p in (await subscriber.message(), await subscriber.message())] == [
        (b"v", False),
        (b"", False),
    ]
    assert await _late(clients, ("#", 0)) == []


async def test_not_touched_by_a_publish_without_the_flag(clients: Clients) -> None:
    """[MQTT-3.3.1-12]: neither a payload nor an empty one."""
    publisher = await clients.connected()
    await publisher.publish("t", b"kept", retain=True)
    await publisher.publish("t", b"live")
    await publisher.publish("t", b"")
    assert await _late(clients, ("t", 0)) == [("t", b"kept", 0, True)]


async def test_only_to_the_new_subscriber(clients: Clients) -> None:
    """[MQTT-3.3.1-6]: clients that hold the same or another subscription get nothing again."""
    publisher, subscriber = await clients.pair(("t/#", 0))
    await publisher.publish("t/a", b"v", retain=True)
    await subscriber.message()
    other = await clients.connected("other")
    await other.subscribe(("unrelated", 0))
    assert await _late(clients, ("t/#", 0)) == [("t/a", b"v", 0, True)]
    await subscriber.nothing_came()
    await other.nothing_came()


async def test_only_matching_ones(clients: Clients) -> None:
    """[MQTT-4.7.2-1] [MQTT-3.3.1-6]: the same matcher as for live messages."""
    publisher = await clients.connected()
    for topic in ("a", "a/b", "a/b/c", "a/", "b", "/a"):
        await publisher.publish(topic, b"v", retain=True)
    clients.broker.publish("$own/x", b"v", retain=True)
    expected = {
        "a": ["a"],
        "a/#": ["a", "a/", "a/b", "a/b/c"],
        "a/+": ["a/", "a/b"],
        "+": ["a", "b"],
        "#": ["/a", "a", "a/", "a/b", "a/b/c", "b"],
        "+/x": [],
        "$own/#": ["$own/x"],
        "A": [],
    }
    for topic_filter, topics in expected.items():
        assert [topic for topic, *_ in await _late(clients, (topic_filter, 0))] == sorted(topics), topic_filter


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
async def test_at_the_lower_qos(clients: Clients, granted: int, published: int) -> None:
    """[MQTT-3.8.4-6] [MQTT-3.3.1-5]: stored with the QoS it was published with."""
    await (await clients.connected()).publish("t", b"v", published, retain=True)
    assert await _late(clients, ("t", granted)) == [("t", b"v", min(granted, published), True)]


async def test_outlives_its_publisher(clients: Clients) -> None:
    """[MQTT-3.1.2-7]: no part of any session."""
    publisher = await clients.connected("publisher", clean=True)
    await publisher.publish("t", b"v", retain=True)
    await publisher.disconnect()
    await clients.connected("publisher", clean=True)
    assert await _late(clients, ("t", 0)) == [("t", b"v", 0, True)]


async def test_not_sent_again_on_reconnect(clients: Clients) -> None:
    """[MQTT-3.3.1-6]: a session that is resumed makes no new subscription."""
    publisher, subscriber = await clients.connected("p"), await clients.connected("s", clean=False)
    await publisher.publish("t", b"v", retain=True)
    await subscriber.subscribe(("t", 1))
    assert (await subscriber.message()).retain
    await subscriber.disconnect()
    subscriber = await clients.open()
    assert await subscriber.connect("s", clean=False)
    await subscriber.nothing_came()


async def test_retained_will(clients: Clients) -> None:
    """[MQTT-3.1.2-16] [MQTT-3.1.2-17]."""
    for retain in (True, False):
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe((f"will/{retain}", 1))
        dying = await clients.connected("dying", will=Will(f"will/{retain}", b"gone", 1, retain))
        dying.abort()
        got = await subscriber.message()
        assert (got.payload, got.retain, got.qos) == (b"gone", False, 1)
    assert await _late(clients, ("will/#", 1)) == [("will/True", b"gone", 1, True)]


async def test_hundreds_come_all(clients: Clients) -> None:
    """[MQTT-3.3.1-6]: more than the receive window holds, none missing, none twice."""
    publisher = await clients.connected()
    for n in range(300):
        await publisher.publish(f"many/{n:03}", b"%d" % n, 1, retain=True)
    got = await _late(clients, ("many/+", 0))
    assert got == [(f"many/{n:03}", b"%d" % n, 0, True) for n in range(300)]
    subscriber = await clients.connected()
    await subscriber.subscribe(("many/+", 1))
    topics = [(await subscriber.message()).topic for _ in range(300)]
    assert sorted(topics) == [f"many/{n:03}" for n in range(300)]
    await subscriber.nothing_came()


async def test_the_number_is_bounded() -> None:
    """`max_retained`: a new topic past it is delivered but not stored; known ones are replaced."""
    async with serving(settings=MqttSettings(max_retained=2)) as clients:
        publisher = await clients.connected()
        for topic, payload in (("a", b"1"), ("b", b"1"), ("c", b"1"), ("a", b"2")):
            await publisher.publish(topic, payload, retain=True)
        assert await _late(clients, ("#", 0)) == [("a", b"2", 0, True), ("b", b"1", 0, True)]
        await publisher.publish("b", b"", retain=True)
        await publisher.publish("c", b"3", retain=True)
        assert await _late(clients, ("#", 0)) == [("a", b"2", 0, True), ("c", b"3", 0, True)]
