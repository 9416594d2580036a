"""SUBSCRIBE: reason codes, options, identifiers, overlaps (MQTT 5.0, sections 3.8, 3.9 and 3.3.4)."""

from itertools import pairwise

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS
from ...engine.packets5 import P
from ...engine.wire import PINGREQ, PUBACK, PUBLISH, SUBACK, SUBSCRIBE, packet, string
from ...engine.wire5 import options, subscribe, users
from .serving import KEPT, Clients5, serving5

RULES = {**ANONYMOUS, f"{access_plugins.__name__}.FastRules": {"subscribe": ["denied", "denied/#"]}}


async def test_each_filter_has_its_code(clients: Clients5) -> None:
    """One SUBACK with the identifier of the SUBSCRIBE and a code for each filter, in order.

    [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
    [MQTT-2.2.1-6]
    """
    client = await clients.connected5("c1")
    client.send(subscribe(65_535, ("a", 2), ("b", 0), ("c/#", 1), ("+", 2), ("/", 0)))
    got = await client.expect(SUBACK)
    assert (got.packet_id, got.codes, got.properties) == (65_535, (2, 0, 1, 2, 0), ())


async def test_several_filters_are_as_several_packets(clients: Clients5) -> None:
    """[MQTT-3.8.4-5] [MQTT-3.8.4-3]: also where a filter comes twice, the later one counts."""
    publisher = await clients.connected5("publisher")
    client = await clients.connected5("c1")
    assert await client.subscribe(("t", 2), ("u", 1), ("t", 0)) == [2, 1, 0]
    assert set(clients.session("c1").subscriptions) == {"t", "u"}
    await publisher.publish("t", b"x", 2)
    await publisher.publish("u", b"y", 2)
    assert [(await client.message()).qos for _ in range(2)] == [0, 1]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a/#/b",
        "#a",
        "a#",
        "a/b#",
        "##",
        "#/",
        "+a",
        "a+",
        "a/+b",
        "a/b+/c",
        "++",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//t",
        "$share/g+/t",
        "$share/g#/t",
        "$share/+/t",
        "$share/#/t",
        "$share/g/a#",
        "$share/g/+a",
    ],
)
async def test_an_invalid_filter_ends_the_connection(clients: Clients5, bad: str) -> None:
    """With the reason, and nothing else in the packet is served.

    [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-4.13.1-1]
    """
    client = await clients.connected5("c1", properties=KEPT)
    client.send(subscribe(7, ("first", 1), (bad, 0), ("last", 2)))
    await client.disconnected(0x8F)
    assert not clients.session("c1").subscriptions


async def test_valid_filters_are_granted(clients: Clients5) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.0-1] [MQTT-4.8.2-1]: every place where a wildcard may stand."""
    client = await clients.connected5("c1")
    filters = ["#", "+", "/#", "/+", "+/", "+/+", "a/#", "a/+", "a/+/#", "+/a/#", "a/+/b", "/", "//", "a//b", "a/ /b"]
    filters += ["$SYS/#", "$share/g/#", "$share/g/+/a", "$share/$x y/ ", "$share/g//", "$shared/x", "$share", "\ufeff"]
    assert await client.subscribe(*((topic_filter, 0) for topic_filter in filters)) == [0] * len(filters)


async def test_a_subscription_that_is_not_authorized() -> None:
    """[MQTT-3.8.4-7] [MQTT-3.9.3-2]: 0x87 for it alone, with a Reason String unless the client wants none."""
    async with serving5(plugins=RULES) as guarded:
        for asked, explained in ((1, True), (0, False)):
            client = await guarded.connected5("c1", properties=[(P.REQUEST_PROBLEM, asked)])
            got = await client.suback(("a", 1), ("denied", 1), ("denied/#", 2), ("b", 2))
            assert got.codes == (1, 0x87, 0x87, 2)
            assert (got.get(P.REASON_STRING) is not None) is explained


async def test_an_explanation_gives_way_to_the_packet_size() -> None:
    """[MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.1.2-24]: the SUBACK is sent without it."""
    async with serving5(plugins=RULES) as guarded:
        got = await (await guarded.connected5("c1")).suback(("denied", 1))
        limit = max(30, got.size - 1)
        client = await guarded.connected5("c2", properties=[(P.MAXIMUM_PACKET_SIZE, limit)])
        filters = [("denied", 1)] * 20  # 20 codes leave 6 bytes
        assert (await client.suback(*filters)).codes == (0x87,) * 20


async def test_subscriptions_past_the_limit() -> None:
    """[MQTT-3.8.4-7]: 0x97 for those that are too many; a replacement is none more."""
    async with serving5(MqttSettings(max_subscriptions=2)) as limited:
        client = await limited.connected5("c1")
        assert await client.subscribe(("a", 1), ("b", 1), ("c", 1), ("a", 2)) == [1, 1, 0x97, 2]
        await client.unsubscribe("b")
        assert await client.subscribe(("c", 1), ("d", 1)) == [1, 0x97]


async def test_filters_past_the_limits() -> None:
    """[MQTT-4.7.3-3]: more levels or bytes than the settings allow are 0x8F."""
    async with serving5(MqttSettings(max_topic_levels=3, max_topic_length=20)) as limited:
        client = await limited.connected5("c1")
        assert await client.subscribe(("a/b/c", 0), ("a/b/c/d", 0), ("x" * 20, 0), ("x" * 21, 0)) == [0, 0x8F, 0, 0x8F]


async def test_the_longest_topic(clients: Clients5) -> None:
    """[MQTT-4.7.3-3] [MQTT-3.8.3-1]: 65,535 bytes as a filter and as a name."""
    topic = "x" * 65_535
    publisher, subscriber = await clients.pair5((topic, 1))
    assert await publisher.publish(topic, b"x", 1) == 0
    assert (await subscriber.message()).topic == topic


# Replacing a subscription.


async def test_a_subscription_is_replaced(clients: Clients5) -> None:
    """[MQTT-3.8.4-3]: one delivery, by the new options and the new identifier."""
    publisher = await clients.connected5("publisher")
    client = await clients.connected5("c1")
    await client.subscribe(("t", 0), properties=[(P.SUBSCRIPTION_ID, 1)])
    await client.subscribe(("t", 2), properties=[(P.SUBSCRIPTION_ID, 2)])
    await publisher.publish("t", b"x", 2)
    got = await client.message()
    assert (got.qos, got.subscription_ids) == (2, [2])
    await client.subscribe(("t", 1))
    await publisher.publish("t", b"y", 2)
    got = await client.message()
    assert (got.qos, got.subscription_ids) == (1, [])
    await client.nothing_came()


async def test_nothing_is_lost_while_it_is_replaced(clients: Clients5) -> None:
    """[MQTT-3.8.4-4]: with messages before, between and after in the same turn of the server."""
    publisher, subscriber = await clients.pair5(("t", 1))
    for number in range(20):
        publisher.send(packet(PUBLISH, string("t") + bytes((0, number + 1)) + b"\0" + b"%d" % number, 2))
        subscriber.send(subscribe(100 + number, ("t", 1 + number % 2)))
    for _ in range(20):
        assert (await publisher.expect(PUBACK)).reason == 0
    got: list[bytes] = []
    while len(got) < 20:
        received = await subscriber.read()
        if received.kind == PUBLISH:
            got.append(received.payload)
            await subscriber.complete(received)
    assert got == [b"%d" % number for number in range(20)]


# Subscription options.


async def test_no_local(clients: Clients5) -> None:
    """[MQTT-3.8.3-3]: nothing that this client id published itself, on this connection or an earlier one."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", options(2, no_local=True)))
    for qos in (0, 1, 2):
        await client.publish("t", b"own", qos)
        await publisher.publish("t", b"%d" % qos, qos)
    assert await client.messages(3) == [b"0", b"1", b"2"]
    await client.nothing_came()
    await client.publish("t", b"own", 1)
    await client.disconnect()
    await clients.gone("c1")
    client = await clients.back("c1")
    await client.publish("t", b"own", 1)
    await client.nothing_came()


async def test_no_local_is_of_one_subscription(clients: Clients5) -> None:
    """[MQTT-3.8.3-3] [MQTT-3.3.4-4]: another filter without it delivers, with its own QoS and identifier alone."""
    client = await clients.connected5("c1")
    await client.subscribe(("t/#", options(2, no_local=True)), properties=[(P.SUBSCRIPTION_ID, 1)])
    await client.subscribe(("t/1", 1), properties=[(P.SUBSCRIPTION_ID, 2)])
    await client.publish("t/1", b"x", 2)
    got = await client.message()
    assert (got.qos, got.subscription_ids) == (1, [2])
    await client.publish("t/2", b"x", 2)
    await client.nothing_came()


async def test_retain_as_published(clients: Clients5) -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]: the flag as it came, or 0."""
    publisher = await clients.connected5("publisher")
    plain = await clients.subscribed5("plain", ("t", 2))
    asking = await clients.subscribed5("asking", ("t", options(2, retain_as_published=True)))
    for qos in (0, 1, 2):
        for retain in (True, False):
            await publisher.publish("t", b"x", qos, retain=retain)
            assert (await plain.message()).retain is False
            got = await asking.message()
            assert (got.retain, got.qos) == (retain, qos)


async def test_retain_as_published_where_subscriptions_overlap(clients: Clients5) -> None:
    """[MQTT-3.3.1-13] [MQTT-3.3.4-2]: the flag goes with one copy; the QoS is the highest."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1")
    await client.subscribe(("t", options(2, retain_as_published=True)), ("#", 0))
    await publisher.publish("t", b"x", 2, retain=True)
    got = await client.message()
    assert (got.qos, got.retain) == (2, True)
    await client.nothing_came()


@pytest.mark.parametrize(
    ("byte", "reasons"),
    [
        pytest.param(0x03, {0x81, 0x82}, id="QoS 3"),
        pytest.param(0x30, {0x81, 0x82}, id="Retain Handling 3"),
        pytest.param(0x40, {0x81}, id="reserved bit 6"),
        pytest.param(0x80, {0x81}, id="reserved bit 7"),
        pytest.param(0xC1, {0x81}, id="both reserved bits"),
    ],
)
async def test_options_that_nothing_means(clients: Clients5, byte: int, reasons: set[int]) -> None:
    """[MQTT-3.8.3-5] [MQTT-4.13.1-1]: DISCONNECT, and none of the packet's filters is subscribed."""
    client = await clients.connected5("c1", properties=KEPT)
    client.send(subscribe(1, ("a", 0), ("b", byte)))
    await client.disconnected(*reasons)
    assert not clients.session("c1").subscriptions


async def test_no_local_is_not_for_shared_subscriptions(clients: Clients5) -> None:
    """[MQTT-3.8.3-4]: a protocol error."""
    client = await clients.connected5("c1")
    client.send(subscribe(1, ("$share/g/t", options(1, no_local=True))))
    await client.disconnected(0x82)


# Subscription identifiers and overlapping subscriptions.


async def test_a_subscription_identifier_comes_with_the_message(clients: Clients5) -> None:
    """[MQTT-3.3.4-3]: from 1 to 268,435,455, whatever the QoS."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1")
    for identifier in (1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455):
        await client.subscribe(("t", 2), properties=[(P.SUBSCRIPTION_ID, identifier)])
        for qos in (0, 1, 2):
            await publisher.publish("t", b"x", qos)
            assert (await client.message()).properties == ((P.SUBSCRIPTION_ID, identifier),)


async def test_one_identifier_for_several_filters(clients: Clients5) -> None:
    """[MQTT-3.3.4-3]: an identifier belongs to every filter of its SUBSCRIBE."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1")
    await client.subscribe(("a", 0), ("b", 0), properties=[(P.SUBSCRIPTION_ID, 9)])
    await client.subscribe(("c", 0))
    for topic in "abc":
        await publisher.publish(topic, b"x")
    assert [(await client.message()).subscription_ids for _ in range(3)] == [[9], [9], []]


async def test_overlapping_subscriptions(clients: Clients5) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]: one copy, the highest QoS, the identifiers of all that match."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1")
    for number, (topic_filter, qos) in enumerate((("a/b", 0), ("a/+", 2), ("#", 1), ("a/#", 0), ("x", 2)), 1):
        await client.subscribe((topic_filter, qos), properties=[(P.SUBSCRIPTION_ID, number)])
    await client.subscribe(("+/b", 1))
    for qos in (0, 1, 2):
        await publisher.publish("a/b", b"x", qos, properties=users(("k", "v")))
        got = await client.message()
        assert (got.qos, got.subscription_ids) == (qos, [1, 2, 3, 4])
        assert got.forwarded == users(("k", "v"))
    await publisher.publish("other", b"x", 2)
    got = await client.message()
    assert (got.qos, got.subscription_ids) == (1, [3])
    await client.nothing_came()


async def test_each_subscriber_has_its_own_identifiers(clients: Clients5) -> None:
    """[MQTT-3.3.4-3] [MQTT-3.3.4-5]: what goes to one says nothing of the others."""
    publisher = await clients.connected5("publisher")
    subscribers = [await clients.connected5(f"s{number}") for number in range(4)]
    for number, client in enumerate(subscribers):
        await client.subscribe(("t", 1), properties=[(P.SUBSCRIPTION_ID, number)] if number else ())
    for qos in (0, 1):
        await publisher.publish("t", b"x", qos)
        for number, client in enumerate(subscribers):
            assert (await client.message()).subscription_ids == ([number] if number else [])


async def test_identifiers_are_kept_with_the_session(clients: Clients5) -> None:
    """[MQTT-3.3.4-3] [MQTT-4.1.0-1]: in the queue and after a reconnect."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", 1), properties=[(P.SUBSCRIPTION_ID, 77)])
    await client.subscribe(("#", 1), properties=[(P.SUBSCRIPTION_ID, 300)])
    await client.disconnect()
    await clients.gone("c1")
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"queued", 1)
    client = await clients.back("c1")
    assert (await client.message()).subscription_ids == [77, 300]
    await publisher.publish("t", b"live", 0)
    assert (await client.message()).subscription_ids == [77, 300]


# What is no SUBSCRIBE.

ONE = string("t") + b"\0"


@pytest.mark.parametrize(
    ("request_", "reasons"),
    [
        pytest.param(packet(SUBSCRIBE, b"\0\1\0" + ONE, 0), {0x81}, id="3.8.1-1: flags 0"),
        pytest.param(packet(SUBSCRIBE, b"\0\1\0" + ONE, 3), {0x81}, id="3.8.1-1: flags 3"),
        pytest.param(packet(SUBSCRIBE, b"\0\1\0" + ONE, 10), {0x81}, id="3.8.1-1: flags 10"),
        pytest.param(packet(SUBSCRIBE, b"\0\1\0", 2), {0x82}, id="3.8.3-2: no filter"),
        pytest.param(packet(SUBSCRIBE, b"\0\0\0" + ONE, 2), {0x81, 0x82}, id="2.2.1-3: identifier 0"),
        pytest.param(packet(SUBSCRIBE, b"", 2), {0x81}, id="empty"),
        pytest.param(packet(SUBSCRIBE, b"\0\1", 2), {0x81}, id="2.2.2-1: no property length"),
        pytest.param(packet(SUBSCRIBE, b"\0\1\0" + string("t"), 2), {0x81}, id="no options"),
        pytest.param(packet(SUBSCRIBE, b"\0\1\0" + ONE + b"\0\x09t", 2), {0x81}, id="second filter cut off"),
        pytest.param(subscribe(1, (b"\xc3\x28", 0)), {0x81}, id="3.8.3-1: not UTF-8"),
        pytest.param(subscribe(1, ("a\0b", 0)), {0x81}, id="4.7.3-2: U+0000"),
        pytest.param(subscribe(1, ("t", 0), properties=[(P.SUBSCRIPTION_ID, 0)]), {0x82}, id="identifier 0"),
        pytest.param(
            subscribe(1, ("t", 0), properties=[(P.SUBSCRIPTION_ID, 1), (P.SUBSCRIPTION_ID, 2)]),
            {0x82},
            id="two subscription identifiers",
        ),
        pytest.param(
            subscribe(1, ("t", 0), properties=b"\x0b\xff\xff\xff\xff\x01"), {0x81}, id="identifier of five bytes"
        ),
    ],
)
async def test_what_is_no_subscribe_ends_the_connection(clients: Clients5, request_: bytes, reasons: set[int]) -> None:
    """DISCONNECT with the reason, and nothing is subscribed.

    [MQTT-3.8.1-1] [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-2.1.3-1] [MQTT-2.2.1-3] [MQTT-2.2.2-1] [MQTT-4.7.3-2]
    [MQTT-4.13.1-1]
    """
    client = await clients.connected5("c1", properties=KEPT)
    client.send(request_)
    await client.disconnected(*reasons)
    assert not clients.session("c1").subscriptions


async def test_user_properties_are_taken(clients: Clients5) -> None:
    """[MQTT-2.2.2-1]: on SUBSCRIBE they mean nothing to the server and are no error."""
    client = await clients.connected5("c1")
    got = await client.suback(("t", 1), properties=[*users(("a", "1"), ("a", "1")), (P.SUBSCRIPTION_ID, 3)])
    assert (got.codes, got.properties) == ((1,), ())


async def test_subacks_and_pings_come_in_order(clients: Clients5) -> None:
    """[MQTT-3.8.4-1] [MQTT-3.12.4-1]: many in one write."""
    client = await clients.connected5("c1")
    client.send(*(subscribe(number, (f"t/{number}", 0)) for number in range(1, 51)), packet(PINGREQ))
    ids = [(await client.expect(SUBACK)).packet_id for _ in range(50)]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert (await client.read()).kind == 13


async def test_one_identifier_on_overlapping_filters(clients: Clients5) -> None:
    """[MQTT-3.3.4-4]: comes once for each subscription that matches (3.3.4), at every QoS."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1")
    await client.subscribe(("a/b", 1), ("a/+", 2), properties=[(P.SUBSCRIPTION_ID, 9)])
    for qos in range(3):
        await publisher.publish("a/b", b"x", qos)
        assert (await client.message()).subscription_ids == [9, 9]


async def test_options_are_kept_with_the_session(clients: Clients5) -> None:
    """[MQTT-3.3.1-13] [MQTT-3.8.3-3] [MQTT-4.1.0-1]: across connections."""
    await clients.away("c1", ("t", options(1, no_local=True, retain_as_published=True)))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"queued", 1, retain=True)
    client = await clients.back("c1")
    await client.publish("t", b"own", 1)
    await publisher.publish("t", b"live", 1, retain=True)
    got = [await client.message() for _ in range(2)]
    assert [(one.payload, one.retain) for one in got] == [(b"queued", True), (b"live", True)]
    await client.nothing_came()
