"""Topic aliases both ways (MQTT 5.0, sections 3.3.2.3.4 and 3.1.2.11.5)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS
from ...engine.packets5 import P, Property
from ...engine.wire import PUBACK, PUBLISH, PUBREC
from ...engine.wire5 import Client5, publish
from .serving import KEPT, Clients5, serving5


def _alias(number: int) -> list[Property]:
    return [(P.TOPIC_ALIAS, number)]


async def _aliasing(clients: Clients5, most: int, *filters: str, client_id: str = "c1") -> Client5:
    client = await clients.connected5(client_id, properties=[*KEPT, (P.TOPIC_ALIAS_MAXIMUM, most)])
    await client.subscribe(*((topic_filter, 2) for topic_filter in filters))
    return client


# From the client.


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_an_alias_stands_for_its_topic(clients: Clients5, qos: int) -> None:
    """[MQTT-3.3.2-12] [MQTT-3.3.2-1]: from the packet that names both."""
    publisher, subscriber = await clients.pair5(("#", 2))
    for topic, alias in (("a/b", 1), ("", 1), ("c", 64), ("", 64), ("", 1), ("d", 0)):
        await publisher.publish(topic, b"x", qos, properties=_alias(alias) if alias else ())
    got = [await subscriber.message() for _ in range(6)]
    assert [one.topic for one in got] == ["a/b", "a/b", "c", "c", "a/b", "d"]
    assert all(one.properties == () for one in got)


async def test_an_alias_is_given_to_another_topic(clients: Clients5) -> None:
    """[MQTT-3.3.2-12]: the latest counts; one topic may have several."""
    publisher, subscriber = await clients.pair5(("#", 0))
    for topic, alias in (("a", 1), ("b", 1), ("", 1), ("b", 2), ("a", 2), ("", 1), ("", 2)):
        await publisher.publish(topic, b"x", properties=_alias(alias))
    assert [(await subscriber.message()).topic for _ in range(7)] == ["a", "b", "b", "b", "a", "b", "a"]


async def test_every_alias_up_to_the_maximum(clients: Clients5) -> None:
    """[MQTT-3.3.2-12] [MQTT-3.2.2-17]: all at a time, each for itself."""
    publisher, subscriber = await clients.pair5(("#", 0))
    most = clients.broker.settings.max_topic_alias
    publisher.send(*(publish(f"t/{number}", b"x", properties=_alias(number)) for number in range(1, most + 1)))
    publisher.send(*(publish("", b"y", properties=_alias(number)) for number in range(most, 0, -1)))
    numbers = [*range(1, most + 1), *range(most, 0, -1)]
    assert [(await subscriber.message()).topic for _ in numbers] == [f"t/{number}" for number in numbers]


@pytest.mark.parametrize(
    ("settings", "alias", "reason"),
    [
        pytest.param(MqttSettings(), 0, 0x94, id="3.3.2-8: alias 0"),
        pytest.param(MqttSettings(), 65, 0x94, id="3.3.2-9: past the maximum"),
        pytest.param(MqttSettings(), 65_535, 0x94, id="3.3.2-9: far past it"),
        pytest.param(MqttSettings(max_topic_alias=3), 4, 0x94, id="3.2.2-17: past another maximum"),
        pytest.param(MqttSettings(max_topic_alias=0), 1, 0x94, id="3.2.2-18: where there are none"),
    ],
)
@pytest.mark.parametrize("qos", [0, 1])
async def test_an_alias_that_is_not_allowed(settings: MqttSettings, alias: int, reason: int, qos: int) -> None:
    """[MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-4.13.1-1]: DISCONNECT 0x94."""
    async with serving5(settings) as strict:
        client = await strict.connected5("c1")
        client.send(publish("t", b"x", qos, 7 if qos else None, properties=_alias(alias)))
        await client.disconnected(reason)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_an_alias_that_stands_for_nothing(clients: Clients5, qos: int) -> None:
    """[MQTT-4.13.1-1]: a protocol error; also one that another client has set."""
    other = await clients.connected5("other")
    await other.publish("t", b"x", properties=_alias(1))
    client = await clients.connected5("c1")
    client.send(publish("", b"x", qos, 7 if qos else None, properties=_alias(1)))
    await client.disconnected(0x82)
    await other.publish("", b"x", properties=_alias(1))


async def test_aliases_end_with_the_connection(clients: Clients5) -> None:
    """[MQTT-3.3.2-7]: the session is resumed, its aliases are not."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.publish("t", b"x", properties=_alias(1))
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    client.send(publish("", b"x", properties=_alias(1)))
    await client.disconnected(0x82)


async def test_a_topic_with_an_alias_is_checked_like_any(clients: Clients5) -> None:
    """[MQTT-3.3.2-2]: an alias excuses no wildcard, and an ill-formed topic sets none."""
    for topic in ("a/#", "+"):
        client = await clients.connected5("c1")
        client.send(publish(topic, b"x", properties=_alias(1)))
        await client.disconnected(0x81, 0x82, 0x90)


async def test_an_alias_of_a_publish_that_goes_nowhere(clients: Clients5) -> None:
    """[MQTT-3.3.2-12]: it is set all the same, by QoS 2 repeats too."""
    publisher, subscriber = await clients.pair5(("t", 0))
    assert await publisher.publish("nobody", b"x", 1, properties=_alias(1)) == 0x10
    assert await publisher.publish("", b"x", 1, properties=_alias(1)) == 0x10
    publisher.send(publish("t", b"1", 2, 50, properties=_alias(1)))
    await publisher.expect(PUBREC)
    publisher.send(publish("t", b"1", 2, 50, dup=True, properties=_alias(2)))  # a repeat, not delivered
    await publisher.expect(PUBREC)
    for number in (1, 2):
        await publisher.publish("", b"%d" % (number + 1), 1, properties=_alias(number))
    assert await subscriber.messages(3) == [b"1", b"2", b"3"]


async def test_retained_by_alias(clients: Clients5) -> None:
    """[MQTT-3.3.2-12]: a retained message is stored under its topic, and its alias is not."""
    publisher = await clients.connected5("publisher")
    await publisher.publish("r", b"one", 1, properties=_alias(1))
    await publisher.publish("", b"kept", 1, retain=True, properties=_alias(1))
    late = await clients.subscribed5("late", ("r", 1))
    got = await late.message()
    assert (got.topic, got.payload, got.retain, got.properties) == ("r", b"kept", True, ())


# Towards the client.


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_server_sets_aliases(clients: Clients5, qos: int) -> None:
    """[MQTT-3.1.2-26] [MQTT-3.3.2-11] [MQTT-3.3.2-8]: first with the topic, then without; as many as are allowed."""
    client = await _aliasing(clients, 2, "#")
    publisher = await clients.connected5("publisher")
    topics = ["a/long/topic", "b", "c", "a/long/topic", "b", "c", "a/long/topic"]
    for topic in topics:
        await publisher.publish(topic, b"x", qos)
    got = [await client.message() for _ in topics]  # resolves the aliases
    assert [one.topic for one in got] == topics
    assert [one.wire_topic for one in got] == ["a/long/topic", "b", "c", "", "", "c", ""]
    assert [one.get(P.TOPIC_ALIAS) is not None for one in got] == [True, True, False, True, True, False, True]


@pytest.mark.parametrize("announced", [None, 0])
async def test_no_alias_for_a_client_that_takes_none(clients: Clients5, announced: int | None) -> None:
    """[MQTT-3.1.2-27]: absent or 0."""
    properties = [] if announced is None else [(P.TOPIC_ALIAS_MAXIMUM, announced)]
    client = await clients.subscribed5("c1", ("t", 1), properties=properties)
    publisher = await clients.connected5("publisher")
    for qos in (0, 1, 0):
        await publisher.publish("t", b"x", qos, properties=_alias(1))
        got = await client.message()
        assert (got.wire_topic, got.properties) == ("t", ())


async def test_the_servers_aliases_end_with_the_connection(clients: Clients5) -> None:
    """[MQTT-3.3.2-7]: on the next connection the topic is named again; also by what is sent again."""
    client = await _aliasing(clients, 5, "t")
    publisher = await clients.connected5("publisher")
    for number in range(3):
        await publisher.publish("t", b"%d" % number, 1)
    assert [(await client.expect(PUBLISH)).topic for _ in range(3)] == ["t"] * 3
    client.abort()
    await clients.gone("c1")
    await publisher.publish("t", b"3", 1)
    client = await clients.back("c1", properties=[*KEPT, (P.TOPIC_ALIAS_MAXIMUM, 5)])
    got = [await client.message() for _ in range(4)]
    assert [(one.topic, one.payload) for one in got] == [("t", b"%d" % number) for number in range(4)]
    assert got[0].wire_topic == "t"
    client.abort()
    await clients.gone("c1")
    await publisher.publish("t", b"4", 1)
    client = await clients.back("c1")  # which takes none now
    got = [await client.message()]
    assert (got[0].wire_topic, got[0].properties) == ("t", ())


async def test_each_subscriber_has_its_own(clients: Clients5) -> None:
    """[MQTT-3.1.2-26] [MQTT-3.1.2-27]: many that allow different numbers, one that allows none, one of 3.1.1."""
    several = [await _aliasing(clients, most, "#", client_id=f"c{most}") for most in (0, 1, 3, 65_535)]
    old = await clients.connected("old")
    await old.subscribe(("#", 2))
    publisher = await clients.connected5("publisher")
    topics = [f"t/{number % 5}" for number in range(20)]
    for number, topic in enumerate(topics):
        await publisher.publish(topic, b"x", number % 3, properties=_alias(1))
    for client in (*several, old):
        assert [(await client.message()).topic for _ in topics] == topics


async def test_the_server_sets_no_more_than_its_own_setting() -> None:
    """[MQTT-3.3.2-11]: `max_topic_alias` bounds what is kept for a client that would allow 65,535; 0 is none."""
    for most in (0, 2):
        async with serving5(MqttSettings(max_topic_alias=most)) as frugal:
            client = await _aliasing(frugal, 65_535, "#")
            publisher = await frugal.connected5("publisher")
            for number in range(6):
                await publisher.publish(f"t/{number}", b"x")
            aliases = {(await client.message()).get(P.TOPIC_ALIAS) for _ in range(6)} - {None}
            assert len(aliases) <= most


async def test_aliases_and_retained_messages(clients: Clients5) -> None:
    """[MQTT-3.1.2-26]: what is replayed may be aliased too, and is told apart from live messages by RETAIN."""
    publisher = await clients.connected5("publisher")
    for number in range(5):
        await publisher.publish(f"r/{number}", b"%d" % number, 1, retain=True)
    client = await _aliasing(clients, 3, "r/#")
    got = sorted([await client.message() for _ in range(5)], key=lambda one: one.topic)
    assert [(one.topic, one.payload, one.retain) for one in got] == [(f"r/{n}", b"%d" % n, True) for n in range(5)]
    for number in range(5):
        await publisher.publish(f"r/{number}", b"live")
        live = await client.message()
        assert (live.topic, live.retain) == (f"r/{number}", False)


async def test_an_alias_of_a_topic_that_is_denied() -> None:
    """[MQTT-3.3.2-12]: it is set although the message goes nowhere, so that the next one is judged by its topic."""
    for rules in ("FastRules", "SlowRules"):
        plugins = {**ANONYMOUS, f"{access_plugins.__name__}.{rules}": {"publish": ["denied"]}}
        async with serving5(plugins=plugins) as guarded:
            publisher, subscriber = await guarded.pair5(("#", 0))
            for topic, alias in (("denied", 1), ("allowed", 2), ("", 1), ("", 2), ("allowed", 1), ("", 1)):
                publisher.send(publish(topic, b"x", properties=_alias(alias)))
            publisher.send(publish("denied", b"x", 1, 9, properties=_alias(3)))
            assert (await publisher.expect(PUBACK)).reason == 0x87
            publisher.send(publish("", b"x", 1, 9, properties=_alias(3)))
            assert (await publisher.expect(PUBACK)).reason == 0x87
            assert [(await subscriber.message()).topic for _ in range(4)] == ["allowed"] * 4
            await subscriber.nothing_came()
