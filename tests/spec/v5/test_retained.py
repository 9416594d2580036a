"""Retained messages and Retain Handling (MQTT 5.0, sections 3.3.1.3 and 3.8.3.1)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine.conditions import until
from ...engine.packets5 import P
from ...engine.wire5 import options, subscribe, users
from .serving import KEPT, Clients5, serving5


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_a_retained_message_awaits_subscribers(clients: Clients5, qos: int, granted: int) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-9] [MQTT-3.8.4-8]: with RETAIN 1, at the lower QoS, to each new subscriber."""
    publisher = await clients.connected5("publisher")
    await publisher.publish("r", b"old", 2, retain=True)
    await publisher.publish("r", b"kept", qos, retain=True, properties=users(("k", "v")))
    for client_id in ("a", "b"):
        late = await clients.subscribed5(client_id, ("r", granted))
        got = await late.message()
        assert (got.payload, got.retain, got.qos, got.dup) == (b"kept", True, min(qos, granted), False)
        assert got.properties == ((P.USER, ("k", "v")),)
        await late.nothing_came()


async def test_all_that_match_come_and_no_others(clients: Clients5) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.2-3] [MQTT-4.7.2-1]: by wildcard, to the one who subscribes alone."""
    publisher = await clients.connected5("publisher")
    topics = ["a", "a/b", "a/b/c", "b", "b/b", "/"]
    for topic in topics:
        await publisher.publish(topic, topic.encode(), 1, retain=True)
    clients.broker.publish("$SYS/x", b"system", retain=True)
    bystander = await clients.subscribed5("bystander", ("other", 0))
    for topic_filter, expected in (
        ("#", topics),
        ("+", ["a", "b"]),
        ("a/#", ["a", "a/b", "a/b/c"]),
        ("+/b", ["a/b", "b/b"]),
        ("+/+", ["a/b", "b/b", "/"]),
        ("$SYS/#", ["$SYS/x"]),
        ("nothing/#", []),
    ):
        late = await clients.connected5("late")
        await late.subscribe((topic_filter, 1))
        assert sorted([(await late.message()).topic for _ in expected]) == sorted(expected), topic_filter
        await late.nothing_came()
    await bystander.nothing_came()


async def test_an_empty_payload_clears(clients: Clients5) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-7]: live subscribers receive it, later ones nothing."""
    publisher, subscriber = await clients.pair5(("r", options(1, retain_as_published=True)))
    await publisher.publish("r", b"kept", 1, retain=True)
    await subscriber.message()
    for _ in range(2):
        await publisher.publish("r", b"", 1, retain=True)
        got = await subscriber.message()
        assert (got.payload, got.retain) == (b"", True)
    await (await clients.subscribed5("late", ("r", 1))).nothing_came()
    assert clients.broker.retained_messages == {}


async def test_an_ordinary_message_leaves_it_alone(clients: Clients5) -> None:
    """[MQTT-3.3.1-8]: neither stored nor clearing, even when empty."""
    publisher = await clients.connected5("publisher")
    await publisher.publish("r", b"kept", 1, retain=True)
    await publisher.publish("r", b"live", 1)
    await publisher.publish("r", b"", 1)
    await publisher.publish("other", b"live", 1)
    late = await clients.subscribed5("late", ("#", 1))
    assert (await late.message()).payload == b"kept"
    await late.nothing_came()


# Retain Handling.


@pytest.mark.parametrize("topic_filter", ["r", "+", "#"])
async def test_retain_handling(clients: Clients5, topic_filter: str) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]: 0 always, 1 for a new subscription, 2 never."""
    await (await clients.connected5("publisher")).publish("r", b"kept", 1, retain=True)
    client = await clients.connected5("c1")
    for handling, expected in ((2, 0), (0, 1), (0, 1), (1, 0), (2, 0), (0, 1)):
        await client.subscribe((topic_filter, options(1, retain_handling=handling)))
        got = [await client.message() for _ in range(expected)]
        assert all((one.payload, one.retain) == (b"kept", True) for one in got)
        await client.nothing_came()
    await client.unsubscribe(topic_filter)
    for expected in (1, 0):
        await client.subscribe((topic_filter, options(1, retain_handling=1)))
        assert await client.messages(expected) == [b"kept"] * expected
        await client.nothing_came()


async def test_handling_1_in_a_resumed_session(clients: Clients5) -> None:
    """[MQTT-3.3.1-10]: a subscription that the session has kept is not new."""
    await (await clients.connected5("publisher")).publish("r", b"kept", 1, retain=True)
    again = options(1, retain_handling=1)
    await clients.away("c1", ("r", options(1, retain_handling=2)))
    client = await clients.back("c1")
    await client.subscribe(("r", again))
    await client.nothing_came()
    client = await clients.connected5("c1", clean=True, properties=KEPT)
    await client.subscribe(("r", again))
    assert (await client.message()).payload == b"kept"


async def test_a_resumed_session_is_not_sent_them_again(clients: Clients5) -> None:
    """[MQTT-3.3.1-9]: only a SUBSCRIBE asks for them."""
    await (await clients.connected5("publisher")).publish("r", b"kept", 1, retain=True)
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("r", 1))
    assert (await client.message()).payload == b"kept"
    await client.disconnect()
    await clients.gone("c1")
    await (await clients.back("c1")).nothing_came()


async def test_each_filter_of_a_subscribe_has_its_own(clients: Clients5) -> None:
    """[MQTT-3.8.4-5] [MQTT-3.3.1-9] [MQTT-3.3.1-11]: handling is an option of the filter."""
    publisher = await clients.connected5("publisher")
    for topic in ("a", "b", "c"):
        await publisher.publish(topic, topic.encode(), 1, retain=True)
    client = await clients.connected5("c1")
    await client.subscribe(
        ("a", options(1, retain_handling=0)), ("b", options(1, retain_handling=2)), ("c", options(0, retain_handling=1))
    )
    got = sorted([await client.message() for _ in range(2)], key=lambda one: one.topic)
    assert [(one.topic, one.qos) for one in got] == [("a", 1), ("c", 0)]
    await client.nothing_came()


@pytest.mark.parametrize("retain_as_published", [False, True])
async def test_replayed_messages_are_marked(clients: Clients5, retain_as_published: bool) -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]: RETAIN 1 because of the SUBSCRIBE, whatever Retain As Published says."""
    await (await clients.connected5("publisher")).publish("r", b"kept", 1, retain=True)
    client = await clients.connected5("c1")
    await client.subscribe(("r", options(1, retain_as_published=retain_as_published)))
    assert (await client.message()).retain


async def test_replayed_messages_carry_the_identifier(clients: Clients5) -> None:
    """[MQTT-3.3.4-3]: that of the subscription that asked for them."""
    publisher = await clients.connected5("publisher")
    await publisher.publish("r/1", b"kept", 1, retain=True, properties=users(("k", "v")))
    client = await clients.connected5("c1")
    await client.subscribe(("#", options(1, retain_handling=2)), properties=[(P.SUBSCRIPTION_ID, 1)])
    await client.subscribe(("r/+", 1), properties=[(P.SUBSCRIPTION_ID, 300)])
    got = await client.message()
    assert 300 in got.subscription_ids and got.forwarded == users(("k", "v"))
    await client.nothing_came()


async def test_no_local_and_ones_own_retained_message(clients: Clients5) -> None:
    """[MQTT-3.8.3-3]: No Local holds what the client published itself back, retained or not; others' comes."""
    client, other = await clients.connected5("c1"), await clients.connected5("other")
    await client.publish("mine", b"x", 1, retain=True)
    await other.publish("theirs", b"y", 1, retain=True)
    await client.subscribe(("#", options(1, no_local=True)))
    assert (await client.message()).topic == "theirs"
    await client.nothing_came()


async def test_shared_subscriptions_are_not_sent_any(clients: Clients5) -> None:
    """[MQTT-3.3.1-9] (non-shared alone): 3.3.1.3 and 4.8.2 leave them out."""
    await (await clients.connected5("publisher")).publish("r", b"kept", 1, retain=True)
    for handling in (0, 1):
        client = await clients.connected5("c1")
        await client.subscribe(("$share/g/r", options(1, retain_handling=handling)))
        await client.nothing_came()


async def test_they_come_after_the_suback_or_before_but_once(clients: Clients5) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.8.4-1]: two SUBSCRIBEs in one write are two requests."""
    await (await clients.connected5("publisher")).publish("r", b"kept", 1, retain=True)
    client = await clients.connected5("c1")
    client.send(subscribe(1, ("r", 1)), subscribe(2, ("r", 1)))
    for packet_id in (1, 2):
        assert (await client.expect(9)).packet_id == packet_id
    assert await client.messages(2) == [b"kept", b"kept"]
    await client.nothing_came()


# Limits.


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_full_store(qos: int) -> None:
    """[MQTT-3.3.1-5]: a topic more is passed on as any message, and not stored; replacing and clearing go on."""
    async with serving5(MqttSettings(max_retained=2)) as limited:
        publisher = await limited.connected5("publisher")
        somebody = await limited.subscribed5("somebody", ("r/#", 0))
        assert [await publisher.publish(f"r/{number}", b"x", qos, retain=True) for number in range(3)] == [0, 0, 0]
        assert await somebody.messages(3) == [b"x"] * 3
        assert await publisher.publish("r/1", b"replaced", qos, retain=True) == 0
        late = await limited.subscribed5("late", ("r/#", 1))
        assert sorted(await late.messages(2)) == [b"replaced", b"x"]
        await late.nothing_came()
        assert await publisher.publish("r/0", b"", qos, retain=True) == 0
        assert await publisher.publish("r/2", b"x", qos, retain=True) == 0


async def test_a_store_full_of_bytes() -> None:
    """[MQTT-3.3.1-5]: with `max_retained_bytes` and `max_retained_payload` it is the same."""
    for settings in (MqttSettings(max_retained_bytes=1_000), MqttSettings(max_retained_payload=500)):
        async with serving5(settings) as limited:
            publisher = await limited.connected5("publisher")
            assert await publisher.publish("r/1", b"x" * 2_000, 1, retain=True) == 0x10
            assert await publisher.publish("r/1", b"x" * 100, 1, retain=True) == 0x10
            got = await (await limited.subscribed5("late", ("r/#", 1))).message()
            assert got.payload == b"x" * 100


async def test_many_retained_messages(clients: Clients5) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.4-9]: more than a window and a slice hold, each once, while others are served."""
    for number in range(3_000):
        clients.broker.publish(f"r/{number}", b"%d" % number, 1, retain=True)
    client = await clients.connected5("c1", properties=[(P.RECEIVE_MAXIMUM, 7), (P.TOPIC_ALIAS_MAXIMUM, 10)])
    other = await clients.connected5("other")
    await client.subscribe(("r/#", 1), properties=[(P.SUBSCRIPTION_ID, 4)])
    await other.ping()
    got = [await client.message() for _ in range(3_000)]
    assert {one.topic for one in got} == {f"r/{number}" for number in range(3_000)}
    assert all(one.retain and one.subscription_ids == [4] for one in got)
    await client.nothing_came()


async def test_a_live_message_meets_a_replay(clients: Clients5) -> None:
    """[MQTT-3.3.1-12] [MQTT-4.5.0-1]: published while the retained ones are being sent, it is not lost."""
    for number in range(500):
        clients.broker.publish(f"r/{number}", b"kept", 1, retain=True)
    client = await clients.connected5("c1")
    client.send(subscribe(1, ("r/#", 1)))
    await until(lambda: "r/#" in clients.session("c1").subscriptions)
    clients.broker.publish("r/live", b"live", 1)
    await client.expect(9)
    got = [await client.message() for _ in range(501)]
    assert [one.topic for one in got if not one.retain] == ["r/live"]


async def test_what_a_replay_still_owes_is_sent_after_a_reconnect(clients: Clients5) -> None:
    """[MQTT-3.3.1-9] [MQTT-4.1.0-1]: the session that asked for the retained messages is there still."""
    for number in range(600):
        clients.broker.publish(f"r/{number}", b"kept", 1, retain=True)
    client = await clients.connected5("c1", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 2)])
    await client.subscribe(("r/#", 1))
    topics = {(await client.message()).topic for _ in range(5)}
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    while len(topics) < 600:
        topics.add((await client.message()).topic)
