"""What is done with messages beside routing: on every path by which a client publishes, and on those topics alone."""

from collections.abc import Iterable
from typing import cast

import pytest
from wardenmq.broker.auto_subscribe import AutoSubscription
from wardenmq.broker.detours import Detours, TopicWatch
from wardenmq.broker.engine import Engine
from wardenmq.broker.message import Message
from wardenmq.broker.session import Session
from wardenmq.broker.session_watch import SessionWatch
from wardenmq.broker.topic_rewrite import RewriteRule

from . import wire
from .brokers import Clients, serving
from .conditions import until
from .wire import Client
from .wire5 import Client5, Will5, publish

VERSIONS = pytest.mark.parametrize("version", [4, 5])
QOS = pytest.mark.parametrize("qos", [0, 1, 2])


class Watch:
    """See what comes on some topics."""

    def __init__(self, *topics: str) -> None:
        self.topics = set(topics)
        self.seen: list[tuple[str, bytes, int, int, str]] = []
        self.refused: list[tuple[str, int, str]] = []

    def watches(self, topic: str, sender: str) -> bool:
        return topic in self.topics

    def published(self, message: Message, reached: int, sender: str) -> None:
        self.seen.append((message.topic, message.payload, message.qos, reached, sender))

    def denied(self, topic: str, qos: int, sender: str) -> None:
        self.refused.append((topic, qos, sender))


def engine_of(clients: Clients) -> Engine:
    return clients.broker._engine  # pyright: ignore[reportPrivateUsage]


def detours_of(clients: Clients) -> Detours:
    return engine_of(clients).detours


def prefix_rule(action: str = "all") -> list[RewriteRule]:
    """Lead `old/...` to `new/...`."""
    return [
        RewriteRule(cast("object", action), "old/#", "new/$1", lambda topic: (topic, topic[4:]))  # type: ignore[arg-type]
    ]


async def publisher(clients: Clients, version: int) -> Client:
    return await (clients.connected("publisher") if version == 4 else connected5(clients, "publisher"))


async def connected5(clients: Clients, client_id: str, **fields: object) -> Client5:
    client = cast("Client5", await Client5.open(clients.broker.addresses["default"]))
    clients._stack.callback(client.abort)  # pyright: ignore[reportPrivateUsage]
    await client.connect(client_id, **fields)
    return client


@VERSIONS
@QOS
async def test_a_watch_sees_what_comes_on_its_topics(version: int, qos: int) -> None:
    async with serving() as clients:
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("#", 2))
        watch = Watch("seen", "nobody")
        client = await publisher(clients, version)
        for number in range(2):  # before and after the topic's route is remembered without the watch
            await client.publish("seen", b"%d" % number, qos)
            assert (await subscriber.message()).payload == b"%d" % number
            if not number:
                assert watch.seen == []
                detours_of(clients).add(watch)
                await subscriber.ping()
        await until(lambda: watch.seen)
        assert watch.seen == [("seen", b"1", qos, 1, "publisher")]
        detours_of(clients).remove(watch)
        await client.publish("seen", b"2", qos)
        assert (await subscriber.message()).payload == b"2"
        assert len(watch.seen) == 1


@VERSIONS
@QOS
async def test_a_watch_is_told_that_nobody_was_reached(version: int, qos: int) -> None:
    async with serving() as clients:
        watch = Watch("nobody")
        detours_of(clients).add(watch)
        client = await publisher(clients, version)
        await client.publish("nobody", b"x", qos)
        await client.ping()
        assert watch.seen == [("nobody", b"x", qos, 0, "publisher")]
        assert clients.broker.metrics()["messages.dropped.no_subscribers"] == 1


@VERSIONS
@QOS
async def test_runs_are_seen_message_by_message(version: int, qos: int) -> None:
    async with serving() as clients:
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("#", 2))
        watch = Watch("seen")
        detours_of(clients).add(watch)
        client = await publisher(clients, version)
        payloads = [b"%03d" % number for number in range(50)]
        build = wire.publish if version == 4 else publish
        client.send(
            *(build("seen", payload, qos, number if qos else None) for number, payload in enumerate(payloads, 1))
        )
        assert await subscriber.messages(50) == payloads
        await until(lambda: len(watch.seen) == 50)
        assert [payload for _, payload, *_ in watch.seen] == payloads


async def test_messages_of_the_server_are_seen() -> None:
    async with serving() as clients:
        watch = Watch("seen")
        detours_of(clients).add(watch)
        assert clients.broker.publish("seen", b"x", 1, sender="http_api") == 0
        assert watch.seen == [("seen", b"x", 1, 0, "http_api")]


async def test_wills_are_seen() -> None:
    async with serving() as clients:
        watch = Watch("gone")
        detours_of(clients).add(watch)
        client = await connected5(clients, "leaver", will=Will5("gone", b"bye", 1))
        client.abort()
        await until(lambda: watch.seen)
        assert watch.seen == [("gone", b"bye", 1, 0, "leaver")]


@VERSIONS
@QOS
async def test_a_rewritten_message_comes_under_its_new_topic(version: int, qos: int) -> None:
    async with serving() as clients:
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("new/#", 2), ("old/#", 2))
        clients.broker.rewrite_topics(prefix_rule("publish"))
        client = await publisher(clients, version)
        await client.publish("old/1", b"x", qos)
        await client.publish("other", b"x", qos)
        got = await subscriber.message()
        assert (got.topic, got.payload) == ("new/1", b"x")
        await subscriber.nothing_came()


async def test_a_rewritten_retained_message_is_kept_under_its_new_topic() -> None:
    async with serving() as clients:
        clients.broker.rewrite_topics(prefix_rule("publish"))
        client = await clients.connected("publisher")
        await client.publish("old/1", b"kept", 1, retain=True)
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("#", 1))
        got = await subscriber.message()
        assert (got.topic, got.payload, got.retain) == ("new/1", b"kept", True)


@VERSIONS
async def test_a_rewritten_subscription_is_granted_as_asked_and_entered_as_rewritten(version: int) -> None:
    async with serving() as clients:
        clients.broker.rewrite_topics(prefix_rule("subscribe"))
        client = await publisher(clients, version)
        assert await client.subscribe(("old/#", 1)) == [1]
        session = clients.broker.registry.get("publisher")
        assert session is not None
        assert [*session.subscriptions] == ["new/#"]
        assert session.subscriptions["new/#"].asked == "old/#"
        await client.publish("new/1", b"x", 0)
        assert (await client.message()).topic == "new/1"
        await client.unsubscribe("old/#")
        assert not session.subscriptions


async def test_retained_messages_come_for_the_rewritten_filter() -> None:
    async with serving() as clients:
        clients.broker.publish("new/1", b"kept", 0, retain=True)
        clients.broker.publish("old/1", b"other", 0, retain=True)
        clients.broker.rewrite_topics(prefix_rule("subscribe"))
        client = await clients.connected("subscriber")
        assert await client.subscribe(("old/+", 0)) == [0]
        assert (await client.message()).topic == "new/1"
        await client.nothing_came()


async def test_server_messages_are_not_rewritten() -> None:
    async with serving() as clients:
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("#", 0))
        clients.broker.rewrite_topics(prefix_rule())
        clients.broker.publish("old/1", b"x")
        assert (await subscriber.message()).topic == "old/1"


class Follower(SessionWatch):
    """Note what becomes of clients."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def connected(self, session: Session) -> None:
        self.events.append(("connected", session.client_id))

    def disconnected(self, session: Session, reason: str) -> None:
        self.events.append(("disconnected", session.client_id, reason))

    def subscribed(self, session: Session, topic_filter: str, subscription: object, is_new: bool) -> None:
        self.events.append(("subscribed", session.client_id, topic_filter, str(is_new)))

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        self.events.append(("unsubscribed", session.client_id, topic_filter))

    def session_ended(self, session: Session) -> None:
        self.events.append(("ended", session.client_id))


async def test_what_becomes_of_a_client_is_told() -> None:
    async with serving() as clients:
        follower = Follower()
        engine_of(clients).session_watches.append(follower)
        client = await clients.connected("one")
        await client.subscribe(("t", 0))
        await client.subscribe(("t", 1))
        await client.unsubscribe("t", "u")
        await client.disconnect()
        await until(lambda: ("ended", "one") in follower.events)
        assert follower.events == [
            ("connected", "one"),
            ("subscribed", "one", "t", "True"),
            ("subscribed", "one", "t", "False"),
            ("unsubscribed", "one", "t"),
            ("disconnected", "one", "normal"),
            ("ended", "one"),
        ]


async def ended_by(clients: Clients, follower: Follower) -> Iterable[str]:
    await until(lambda: any(event[0] == "disconnected" for event in follower.events))
    return [event[2] for event in follower.events if event[0] == "disconnected"]


@pytest.mark.parametrize(
    ("how", "word"), [("abort", "tcp_closed"), ("kick", "kicked"), ("again", "discarded"), ("resume", "takenover")]
)
async def test_why_a_client_left_is_told_in_emqx_words(how: str, word: str) -> None:
    async with serving() as clients:
        follower = Follower()
        engine_of(clients).session_watches.append(follower)
        client = await clients.connected("one", clean=how != "resume")
        if how == "abort":
            client.abort()
        elif how == "kick":
            await clients.broker.kick("one")
        else:
            await clients.connected("one", clean=how != "resume")
        assert await ended_by(clients, follower) == [word]


async def test_auto_subscriptions_are_there_before_the_first_message() -> None:
    async with serving() as clients:
        clients.broker.publish("for/one", b"kept", 1, retain=True)
        clients.broker.subscribe_everybody(
            [
                AutoSubscription("for/${clientid}", 1),
                AutoSubscription("user/${username}"),
                AutoSubscription("at/${host}"),
            ]
        )
        client = await clients.connected("one")
        got = await client.message()
        assert (got.topic, got.payload, got.retain) == ("for/one", b"kept", True)
        session = clients.broker.registry.get("one")
        assert session is not None
        assert {name: entry.qos for name, entry in session.subscriptions.items()} == {"for/one": 1, "at/127.0.0.1": 0}


@pytest.mark.parametrize("client_id", ["a/b", "+", "#"])
async def test_a_name_subscribes_to_no_more_than_its_level(client_id: str) -> None:
    async with serving() as clients:
        clients.broker.subscribe_everybody([AutoSubscription("for/${clientid}")])
        await clients.connected(client_id)
        session = clients.broker.registry.get(client_id)
        assert session is not None
        assert not session.subscriptions


def test_a_watch_is_what_the_detours_take() -> None:
    watch: TopicWatch = Watch()
    assert not watch.watches("t", "c")
