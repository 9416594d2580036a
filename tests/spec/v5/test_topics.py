"""Topic names, filters and their matching (MQTT 5.0, section 4.7)."""

import pytest

from .serving import Clients5


@pytest.mark.parametrize(
    ("topic_filter", "yes", "no"),
    [
        ("#", ["a", "a/b", "/", "/a", "a/", "a//b"], []),
        ("+", ["a", " "], ["a/b", "/a", "a/", "/"]),
        ("a/#", ["a", "a/", "a/b", "a/b/c", "a//"], ["ab", "A", "b/a"]),
        ("a/+", ["a/b", "a/", "a/ "], ["a", "a/b/c", "a/b/"]),
        ("+/+", ["a/b", "/", "/a", "a/"], ["a", "a/b/c"]),
        ("/+", ["/a", "/"], ["a", "a/b", "//a"]),
        ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/b/c"]),
        ("+/b/#", ["a/b", "a/b/c", "/b", "/b/c/d"], ["b", "a/c/b"]),
        ("a/b", ["a/b"], ["a/B", "A/b", "a/b/", "/a/b", "a /b"]),
        ("Ä/\u00e9", ["Ä/\u00e9"], ["Ä/e\u0301", "ä/\u00e9"]),
        ("a\u0001b", ["a\u0001b"], ["ab"]),
    ],
)
async def test_matching(clients: Clients5, topic_filter: str, yes: list[str], no: list[str]) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4] [MQTT-4.7.0-1] [MQTT-3.3.2-3]: by level and by code point."""
    publisher, subscriber = await clients.pair5((topic_filter, 0))
    for topic in yes:
        assert await publisher.publish(topic, b"x", 1) == 0, topic
        assert (await subscriber.message()).topic == topic
    for topic in no:
        assert await publisher.publish(topic, b"x", 1) == 0x10, topic
    await subscriber.nothing_came()


async def test_topics_of_the_server(clients: Clients5) -> None:
    """[MQTT-4.7.2-1]: a filter that begins with a wildcard matches no name that begins with $."""
    wild = await clients.subscribed5("wild", ("#", 0), ("+/x", 0), ("+/#", 0), ("$share/g/#", 0), ("$share/g/+/x", 0))
    named = await clients.subscribed5("named", ("$SYS/#", 0))
    exact = await clients.subscribed5("exact", ("$SYS/x", 0))
    level = await clients.subscribed5("level", ("$SYS/+", 0))
    clients.broker.publish("$SYS/x", b"system")
    for client in (named, exact, level):
        assert (await client.message()).topic == "$SYS/x"
    await wild.nothing_came()
    clients.broker.publish("a$/$x", b"ordinary")
    assert (await wild.message()).topic == "a$/$x"


async def test_a_client_does_not_speak_for_the_server(clients: Clients5) -> None:
    """[MQTT-4.7.2-1]: what a client publishes on a $ topic reaches no wildcard either, and no other client."""
    watcher = await clients.subscribed5("watcher", ("#", 0), ("+/x", 0), ("$SYS/#", 0))
    client = await clients.connected5("c1")
    await client.publish("$SYS/x", b"forged")
    assert await client.publish("$SYS/x", b"forged", 1) in (0x10, 0x87, 0x90)
    await watcher.nothing_came()


async def test_names_that_look_like_shared_filters(clients: Clients5) -> None:
    """[MQTT-4.8.2-1]: only `$share/` is special; a name like it in an ordinary place is a name."""
    publisher, subscriber = await clients.pair5(("share/g/t", 0), ("a/$share/g", 0))
    for topic in ("share/g/t", "a/$share/g"):
        assert await publisher.publish(topic, b"x", 1) == 0
        assert (await subscriber.message()).topic == topic


async def test_deep_topics(clients: Clients5) -> None:
    """[MQTT-4.7.3-3]: 128 levels, by name and by wildcards."""
    topic = "/".join(["l"] * 128)
    publisher = await clients.connected5("publisher")
    for topic_filter in (topic, "/".join(["+"] * 128), "/".join(["+"] * 127) + "/#", "#"):
        client = await clients.subscribed5("c1", (topic_filter, 0))
        assert await publisher.publish(topic, b"x", 1) == 0
        assert (await client.message()).topic == topic
