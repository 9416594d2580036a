"""Chapters 3.8 to 3.11 and 4.7: SUBSCRIBE, UNSUBSCRIBE, topic names and filters."""

import asyncio

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS, Clients, serving
from ...engine.wire import (
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    packet,
    publish,
    string,
    subscribe,
    unsubscribe,
)

# 3.8.3


async def test_wildcards_can_be_switched_off() -> None:
    """[MQTT-3.8.3-2]: then each filter that has one is refused, and no other."""
    async with serving(settings=MqttSettings(wildcard_subscription=False)) as clients:
        client = await clients.connected()
        requests = ("a", 1), ("a/#", 1), ("b", 0), ("+", 2), ("#", 0), ("a/+/c", 1), ("c", 2)
        assert await client.subscribe(*requests) == [1, 0x80, 0, 0x80, 0x80, 0x80, 2]
        await client.publish("a/x", b"nobody")
        await client.publish("a", b"x", 1)
        assert (await client.message()).topic == "a"


@pytest.mark.parametrize("body", [b"", b"\x00\x01"])
async def test_a_request_without_a_filter_closes_the_connection(clients: Clients, body: bytes) -> None:
    """[MQTT-3.8.3-3] [MQTT-3.10.3-2] [MQTT-4.8.0-1]."""
    for kind in (SUBSCRIBE, UNSUBSCRIBE):
        client = await clients.connected()
        client.send(packet(kind, body, 2))
        await client.hung_up()


async def test_only_0_1_and_2_can_be_requested(clients: Clients) -> None:
    """[MQTT-3.8.3-4]: each other value of that byte closes the connection, wherever in the packet it stands."""
    for requested in [*range(3, 256, 9), 3, 4, 0x80, 0xFF]:
        for filters in ((("t", requested),), (("t", 0), ("u", requested)), (("u", requested), ("t", 0))):
            client = await clients.connected()
            client.send(subscribe(1, *filters))
            await client.hung_up()
    assert clients.broker.router.subscription_count == 0


# 3.8.4 and 3.9


async def test_subscribe_is_answered_with_suback_of_its_identifier(clients: Clients) -> None:
    """[MQTT-3.8.4-1] [MQTT-3.8.4-2]: one for each, in turn, before a PINGREQ behind it is answered."""
    client = await clients.connected()
    ids = (0x0102, 1, 0xFFFF, 0x0100)
    client.send(*(subscribe(packet_id, ("t", 1)) for packet_id in ids))
    got = [await client.read() for _ in ids]
    assert [(p.kind, p.packet_id) for p in got] == [(SUBACK, packet_id) for packet_id in ids]


async def test_subscribing_again_replaces_and_interrupts_nothing(clients: Clients) -> None:
    """[MQTT-3.8.4-3]: no message of a publisher that goes on meanwhile is lost or doubled; retained ones come again."""
    publisher, subscriber = await clients.pair(("t/#", 1))
    await publisher.publish("t/kept", b"kept", 1, retain=True)
    assert not (await subscriber.message()).retain
    total = 100

    async def publish_on() -> None:
        for n in range(total):
            publisher.send(publish("t/live", b"%d" % n, 1, n + 1))
            assert (await publisher.expect(PUBACK)).packet_id == n + 1

    publishing = asyncio.create_task(publish_on())
    for n in range(20):
        assert await subscriber.subscribe(("t/#", 1 + n % 2)) == [1 + n % 2]
    await publishing
    got = [await subscriber.message() for _ in range(total + 20)]
    assert [p.payload for p in got if not p.retain] == [b"%d" % n for n in range(total)]
    assert [p.payload for p in got if p.retain] == [b"kept"] * 20
    await subscriber.nothing_came()
    assert clients.broker.router.subscription_count == 1


async def test_the_new_qos_holds(clients: Clients) -> None:
    """[MQTT-3.8.4-3]: up as well as down."""
    publisher, subscriber = await clients.pair(("t", 0))
    for qos in (2, 1, 0, 1):
        assert await subscriber.subscribe(("t", qos)) == [qos]
        await publisher.publish("t", b"x", 2)
        assert (await subscriber.message()).qos == qos
    await subscriber.nothing_came()


async def test_several_filters_act_like_several_requests(clients: Clients) -> None:
    """[MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1]: one answer, and each filter gets its retained messages."""
    publisher = await clients.connected()
    for topic in ("a", "b"):
        await publisher.publish(topic, topic.encode(), 2, retain=True)

    async def outcome(*requests: tuple[tuple[str, int], ...]) -> tuple[list[int], list[tuple[str, int]]]:
        client = await clients.connected()
        codes = [code for filters in requests for code in await client.subscribe(*filters)]
        await client.subscribe(("the/end", 0))
        await client.publish("the/end")
        got = []
        while (message := await client.message()).topic != "the/end":
            got.append((message.topic, message.qos))
        return codes, sorted(got)

    filters = ("a", 2), ("b", 0), ("+", 1), ("c", 2)
    together = await outcome(filters)
    assert together == await outcome(*((one,) for one in filters))
    assert together == ([2, 0, 1, 2], [("a", 1), ("a", 2), ("b", 0), ("b", 1)])


@pytest.mark.parametrize("plugin", ["FastRules", "SlowRules"])
async def test_a_return_code_for_each_filter(plugin: str) -> None:
    """[MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]: the granted QoS or 0x80, in the order of the filters."""
    denied = {"subscribe": ["no", "no/#"]}
    async with serving({**ANONYMOUS, f"{access_plugins.__name__}.{plugin}": denied}) as clients:
        client = await clients.connected()
        requests = ("a", 2), ("no", 2), ("b", 1), ("no/#", 0), ("no", 1), ("c", 0)
        assert await client.subscribe(*requests) == [2, 0x80, 1, 0x80, 0x80, 0]
        assert await client.subscribe(("no", 2)) == [0x80]
        await client.publish("no", b"nobody", 1)
        await client.nothing_came()


async def test_the_granted_qos_can_be_lower_than_the_requested_one() -> None:
    """[MQTT-3.8.4-5] [MQTT-3.8.4-6]: with `max_qos_allowed`, and then no delivery is above it."""
    async with serving(settings=MqttSettings(max_qos_allowed=1)) as clients:
        publisher, subscriber = await clients.connected("publisher"), await clients.connected("subscriber")
        assert await subscriber.subscribe(("a", 2), ("b", 1), ("c", 0)) == [1, 1, 0]
        await publisher.publish("a", b"x", 1)
        assert (await subscriber.message()).qos == 1


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
async def test_a_message_is_delivered_at_the_lower_qos(clients: Clients, granted: int, published: int) -> None:
    """[MQTT-3.8.4-6]: live, and retained."""
    publisher, subscriber = await clients.pair(("t", granted))
    await publisher.publish("t", b"x", published, retain=True)
    assert (await subscriber.message()).qos == min(granted, published)
    await subscriber.subscribe(("t", granted))
    assert (await subscriber.message()).qos == min(granted, published)
    await subscriber.nothing_came()


# 3.10 and 3.11


async def test_unsubscribe_takes_exactly_the_same_filter_out(clients: Clients) -> None:
    """[MQTT-3.10.4-1] [MQTT-3.10.4-2]: a filter that matches, or looks alike, is not the same."""
    publisher, subscriber = await clients.pair(("a/+", 0))
    for other in ("a/b", "a/#", "#", "A/+", "a/+/", "/a/+", "a/+/+", "a/ +"[:3]):
        await subscriber.unsubscribe(other)
        await publisher.publish("a/b", other.encode())
        assert (await subscriber.message()).payload == other.encode()
    await subscriber.unsubscribe("a/+")
    for qos in (0, 1, 2):
        await publisher.publish("a/b", b"x", qos)
    await subscriber.nothing_came()
    assert clients.broker.router.subscription_count == 0


async def test_deliveries_that_began_are_completed_after_unsubscribe(clients: Clients) -> None:
    """[MQTT-3.10.4-2] [MQTT-3.10.4-3]: QoS 1 and 2, also over a broken connection; nothing new is added to them."""
    publisher = await clients.connected("publisher")
    subscriber = await clients.connected("subscriber", clean=False)
    await subscriber.subscribe(("one", 1), ("two", 2))
    await publisher.publish("one", b"1", 1)
    await publisher.publish("two", b"2", 2)
    first = [await subscriber.expect(PUBLISH) for _ in range(2)]
    await subscriber.unsubscribe("one", "two")
    await publisher.publish("one", b"new", 1)
    await publisher.publish("two", b"new", 2)
    await subscriber.nothing_came()
    subscriber.abort()
    subscriber = await clients.connected("subscriber", clean=False)
    again = [await subscriber.expect(PUBLISH) for _ in range(2)]
    assert [(p.packet_id, p.payload) for p in again] == [(p.packet_id, p.payload) for p in first]
    for got in again:
        await subscriber.complete(got)
    await subscriber.nothing_came()


async def test_unsubscribe_is_answered_whatever_it_took_out(clients: Clients) -> None:
    """[MQTT-3.10.4-4] [MQTT-3.10.4-5]: with its identifier and nothing else."""
    client = await clients.connected()
    await client.subscribe(("a", 0))
    for packet_id, topic_filter in ((0x0203, "a"), (0x0203, "a"), (1, "never/#"), (0xFFFF, "+")):
        client.send(unsubscribe(packet_id, topic_filter))
        got = await client.read()
        assert (got.kind, got.body) == (UNSUBACK, packet_id.to_bytes(2, "big"))


async def test_several_filters_are_taken_out_with_one_answer(clients: Clients) -> None:
    """[MQTT-3.10.4-6]: those that are subscribed, beside those that are not."""
    publisher, subscriber = await clients.pair(("a", 0), ("b/#", 1), ("c", 2), ("stays", 0))
    subscriber.send(unsubscribe(5, "a", "never", "b/#", "a", "c"), b"\xc0\x00")
    assert (await subscriber.read()).body == b"\x00\x05"
    assert (await subscriber.read()).kind == 13
    for topic in ("a", "b/x", "c", "stays"):
        await publisher.publish(topic, b"x", 1)
    assert (await subscriber.message()).topic == "stays"
    await subscriber.nothing_came()


# 4.7

VALID = [
    "#",
    "+",
    "/",
    "//",
    "a/#",
    "/#",
    "+/#",
    "a/+",
    "+/a",
    "a/+/b",
    "+/+/+",
    "/+",
    "+/",
    "a//b",
    " ",
    "$a/#",
    "a/$b",
    "\u00e9",
]
MISPLACED_HASH = ["a#", "#a", "a/#/b", "##", "#/", "#/#", "a/b#", "a/#b", "+#", "#+"]
MISPLACED_PLUS = ["a+", "+a", "++", "a/+b", "a/b+", "a/b+/c", "+a/b", "a/++"]


async def test_valid_filters_are_taken(clients: Clients) -> None:
    """[MQTT-4.7.1-2] [MQTT-4.7.1-3]: wildcards at every level where they may stand."""
    client = await clients.connected()
    assert await client.subscribe(*((topic_filter, 0) for topic_filter in VALID)) == [0] * len(VALID)
    assert clients.broker.router.subscription_count == len(VALID)


@pytest.mark.parametrize("topic_filter", [*MISPLACED_HASH, *MISPLACED_PLUS, ""])
async def test_invalid_filters_close_the_connection(clients: Clients, topic_filter: str) -> None:
    """[MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] [MQTT-4.8.0-1]."""
    for request in (subscribe(1, (topic_filter, 0)), unsubscribe(1, topic_filter)):
        client = await clients.connected()
        client.send(request)
        await client.hung_up()
    assert clients.broker.router.subscription_count == 0


async def test_an_empty_topic_name_closes_the_connection(clients: Clients) -> None:
    """[MQTT-4.7.3-1]."""
    for qos in (0, 1, 2):
        client = await clients.connected()
        client.send(publish("", b"x", qos, 1 if qos else None))
        await client.hung_up()


async def test_a_leading_wildcard_takes_in_no_dollar_topic(clients: Clients) -> None:
    """[MQTT-4.7.2-1]: live or retained; a filter that begins with the same level does, and the dollar inside a topic
    means nothing."""
    _, subscriber = await clients.pair(("#", 0), ("+/a", 0), ("+/#", 0))
    exact = await clients.connected("exact")
    await exact.subscribe(("$own/#", 0), ("$own/+", 0))
    for topic in ("$own/a", "$SYS/a", "$", "a/$own", "a/a"):
        clients.broker.publish(topic, topic.encode(), retain=True)
    assert [(await subscriber.message()).topic for _ in range(2)] == ["a/$own", "a/a"]
    await subscriber.nothing_came()
    assert (await exact.message()).topic == "$own/a"
    await exact.nothing_came()
    late = await clients.connected("late")
    await late.subscribe(("#", 0))
    assert {(await late.message()).topic for _ in range(2)} == {"a/$own", "a/a"}
    await late.nothing_came()


async def test_the_longest_string(clients: Clients) -> None:
    """[MQTT-4.7.3-3]: 65,535 bytes, as filter, as topic name, with the limits on both as wide as they go."""
    async with serving(settings=MqttSettings(max_topic_levels=0)) as wide:
        for topic in ("x" * 65_535, "é" * 32_767 + "x", "/" * 65_535):
            publisher, subscriber = await wide.pair((topic, 1))
            publisher.send(packet(PUBLISH, string(topic) + b"payload"))
            got = await subscriber.message()
            assert (got.topic, got.payload) == (topic, b"payload")


async def test_nothing_is_normalised(clients: Clients) -> None:
    """[MQTT-4.7.3-4]: case, composition, width, blanks, empty levels, dots and escapes all count."""
    alike = [
        "é",
        "e\u0301",
        "É",
        "a",
        "A",
        "\uff21",
        "a/b",
        "a//b",
        "/a/b",
        "a/b/",
        "a/./b",
        "a%2fb",
        "a/b ",
        "a\\b",
        "\ufeffa",
    ]
    alike += ["\u2126", "\u03a9", "\u0085", "\ufffd", "\ufdd0", "\U0001f98a"]
    publisher = await clients.connected("publisher")
    subscribers = {topic: await clients.connected(f"s{n}") for n, topic in enumerate(alike)}
    for topic, subscriber in subscribers.items():
        await subscriber.subscribe((topic, 0))
    for topic in alike:
        await publisher.publish(topic, topic.encode())
    for topic, subscriber in subscribers.items():
        got = await subscriber.message()
        assert (got.topic, got.payload) == (topic, topic.encode())
        await subscriber.nothing_came()
