"""`$delayed/SECONDS/TOPIC`: kept until its time has come, by the wall clock, within bounds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wardenmq.broker import delayed as delayed_module
from wardenmq.broker.delayed import MOST_SECONDS, Delayed
from wardenmq.broker.detours import Detours
from wardenmq.broker.message import Message
from wardenmq.broker.routing.topics import InvalidTopic
from wardenmq.broker.settings import MqttSettings
from wardenmq.broker.topic_rewrite import RewriteRule

from ..clocks import WallClock, show_to_the_broker
from . import access_plugins
from .brokers import ANONYMOUS, Clients, serving
from .conditions import until
from .wire import Will, publish

NOW = 1_700_000_000.0


def note(topic: str, payload: bytes = b"x", **fields: Any) -> Message:
    return Message(topic, payload, **fields)


class Heard:
    """What was published, for whoever needs no broker."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.reached = 1
        self.refuses = False

    def __call__(self, message: Message) -> int:
        if self.refuses:
            raise InvalidTopic("no topic")
        self.topics.append(message.topic)
        return self.reached


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(delayed_module, "time", clock)
    return clock


def make(heard: Heard, **settings: int) -> Delayed:
    return Delayed(MqttSettings(**settings), heard, Detours(lambda: None))  # pyright: ignore[reportArgumentType]


# -- topics


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        ("$delayed/15/t", (15.0, "t")),
        ("$delayed/0/t", (0.0, "t")),
        ("$delayed/1/a/b/c", (1.0, "a/b/c")),
        ("$delayed/1//", (1.0, "/")),
        ("$delayed/007/t", (7.0, "t")),
        (f"$delayed/{MOST_SECONDS}/t", (float(MOST_SECONDS), "t")),
        (f"$delayed/{int(NOW) + 60}/t", (60.0, "t")),
        ("$delayed/5/$delayed/6/t", (5.0, "$delayed/6/t")),
        ("t", None),
        ("$delayed", None),
        ("$SYS/x", None),
    ],
)
def test_topics_are_read(clock: Clock, topic: str, wanted: tuple[float, str] | None) -> None:
    assert make(Heard()).read(topic) == wanted


@pytest.mark.parametrize(
    "topic",
    [
        "$delayed/t",
        "$delayed/15",
        "$delayed/15/",
        "$delayed//t",
        "$delayed/-1/t",
        "$delayed/+1/t",
        "$delayed/1.5/t",
        "$delayed/ 1/t",
        "$delayed/1s/t",
        "$delayed/१/t",
        "$delayed/²/t",
        "$delayed/" + "9" * 5_000 + "/t",
        f"$delayed/{MOST_SECONDS + 1}/t",
        f"$delayed/{int(NOW) - 1}/t",
        f"$delayed/{int(NOW) + MOST_SECONDS + 1}/t",
    ],
)
def test_malformed_topics_are_refused(clock: Clock, topic: str) -> None:
    with pytest.raises(InvalidTopic):
        make(Heard()).read(topic)


async def test_nothing_is_read_where_nothing_is_delayed(clock: Clock) -> None:
    delayed = make(Heard())
    await delayed.configure(False, 0)
    assert delayed.read("$delayed/15/t") is None
    assert delayed.read("$delayed/x/t") is None


# -- what is kept


async def test_it_is_published_when_it_is_due_in_order(clock: Clock) -> None:
    heard = Heard()
    delayed = make(heard)
    delayed.open()
    for name, delay in (("c", 30.0), ("a", 10.0), ("b1", 20.0), ("b2", 20.0)):
        assert delayed.keep(note(name, b"x"), delay)
    clock.now += 9.9
    delayed._release()
    assert heard.topics == []
    clock.now += 10.1
    delayed._release()
    assert heard.topics == ["a", "b1", "b2"]
    clock.now -= 100  # the clock is set back
    delayed._release()
    assert heard.topics == ["a", "b1", "b2"]
    clock.now += 200
    delayed._release()
    assert heard.topics == ["a", "b1", "b2", "c"]
    assert (len(delayed), delayed.size, delayed.kept) == (0, 0, 4)


async def test_nothing_is_published_before_it_is_open_or_after_it_is_closed(clock: Clock) -> None:
    heard = Heard()
    delayed = make(heard)
    delayed.keep(note("a"), 0)
    await asyncio.sleep(0)
    delayed._release()
    assert heard.topics == []
    delayed.open()
    await until(lambda: heard.topics == ["a"])
    delayed.keep(note("b"), 0)
    delayed.close()
    delayed._release()
    assert heard.topics == ["a"]
    assert (len(delayed), delayed.size) == (0, 0)


async def test_numbers_and_sizes_are_bounded(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    delayed = make(Heard())
    delayed.max_messages = 2
    assert [delayed.keep(note("a"), 5) for _ in range(4)] == [True, True, False, False]
    assert (len(delayed), delayed.kept, delayed.dropped) == (2, 2, 2)
    assert caplog.text.count("for want of room") == 1
    small = make(Heard(), max_delayed_bytes=5_000)
    results = [small.keep(note("a", bytes(1_000)), 5) for _ in range(6)]
    assert results == [True] * 3 + [False] * 3
    first = small.all()[0]
    assert small.discard(first)
    assert not small.discard(first)
    assert small.keep(note("a", bytes(1_000)), 5)
    assert small.size <= 5_000


async def test_many_that_are_due_at_once_give_others_their_turn(clock: Clock) -> None:
    heard = Heard()
    delayed = make(heard)
    for number in range(3_000):
        delayed.keep(note(str(number)), 5)
    clock.now += 5
    delayed.open()
    turns: list[int] = []
    while delayed:
        await asyncio.sleep(0)
        turns.append(len(heard.topics))
    assert heard.topics == [str(number) for number in range(3_000)]
    assert max(after - before for before, after in zip([0, *turns], turns, strict=False)) <= delayed_module._WORK


async def test_what_reaches_many_counts_as_much(clock: Clock) -> None:
    heard = Heard()
    heard.reached = 10_000
    delayed = make(heard)
    for number in range(5):
        delayed.keep(note(str(number)), 5)
    clock.now += 5
    delayed._opened = True
    delayed._release()
    assert heard.topics == ["0"]
    await until(lambda: not delayed)


async def test_a_fault_holds_up_no_other(clock: Clock) -> None:
    heard = Heard()
    heard.refuses = True
    delayed = make(heard)
    delayed.keep(note("a"), 1)
    clock.now += 1
    delayed.open()
    await until(lambda: not delayed)
    heard.refuses = False
    delayed.keep(note("b"), 0)
    await until(lambda: heard.topics == ["b"])


async def test_its_own_time_counts_from_when_it_was_published(clock: Clock) -> None:
    heard = Heard()
    delayed = make(heard)
    delayed.open()
    delayed.keep(note("short", expires_at=NOW + 5), 10)
    delayed.keep(note("long", expires_at=NOW + 15), 10)
    clock.now += 10
    delayed._release()
    assert heard.topics == ["long"]
    assert delayed.expired == 1


async def test_a_banned_client_is_not_heard(clock: Clock) -> None:
    heard = Heard()
    delayed = make(heard)
    delayed.open()
    delayed.is_banned = lambda client_id: client_id == "bad"
    for sender in ("bad", "good"):
        delayed.keep(note(sender, sender=sender), 1)
    clock.now += 1
    delayed._release()
    assert heard.topics == ["good"]
    assert delayed.discarded_of_banned == 1


async def test_without_it_all_that_waits_is_discarded(clock: Clock) -> None:
    heard = Heard()
    detours = Detours(lambda: None)
    delayed = Delayed(MqttSettings(), heard, detours)
    delayed.open()
    for _ in range(1_200):
        delayed.keep(note("a"), 1)
    await delayed.configure(False, 7)
    assert (len(delayed), delayed.size, detours.delays, delayed.max_messages) == (0, 0, None, 7)
    await delayed.configure(True, 0)
    clock.now += 10
    delayed._release()
    assert heard.topics == []
    assert detours.delays is delayed


# -- with clients


@asynccontextmanager
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Clients, WallClock]]:
    clock = show_to_the_broker(monkeypatch)
    async with serving() as clients:
        yield clients, clock


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_client_gets_it_when_it_is_due(monkeypatch: pytest.MonkeyPatch, qos: int) -> None:
    async with watched(monkeypatch) as (clients, clock):
        publisher, subscriber = await clients.pair(("t/#", 2))
        await publisher.publish("$delayed/3600/t/1", b"later", qos)
        await publisher.publish("t/2", b"now", 1)
        assert (await subscriber.message()).payload == b"now"
        await subscriber.nothing_came()
        assert len(clients.broker.delayed) == 1
        clock.advance(3_600)
        got = await subscriber.message()
        assert (got.topic, got.payload, got.qos, got.retain) == ("t/1", b"later", qos, False)
        await until(lambda: len(clients.broker.delayed) == 0)
        assert clients.broker.metrics()["messages.delayed"] == 1
        assert clients.broker.stats()["delayed.max"] == 1


async def test_other_plugins_are_asked_about_the_real_topic() -> None:
    plugins = {**ANONYMOUS, f"{access_plugins.__name__}.SlowRules": {"publish": ["secret"]}}
    async with serving(plugins) as clients:
        publisher, subscriber = await clients.pair(("#", 1))
        for topic in ("secret", "$delayed/0/secret", "$delayed/0/open"):
            await publisher.publish(topic, b"x", 1)
        assert (await subscriber.message()).topic == "open"
        await subscriber.nothing_came()


async def test_a_run_is_kept_message_by_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as (clients, clock):
        publisher, subscriber = await clients.pair(("t", 1))
        payloads = [b"%04d" % number for number in range(300)]
        for qos in (0, 1):
            publisher.send(
                *(
                    publish("$delayed/60/t", payload, qos, number + 1 if qos else None)
                    for number, payload in enumerate(payloads)
                )
            )
        await until(lambda: len(clients.broker.delayed) == 600)
        clock.advance(60)
        assert await subscriber.messages(600) == payloads * 2


async def test_it_is_retained_when_it_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as (clients, clock):
        publisher = await clients.connected("publisher")
        await publisher.publish("$delayed/60/t", b"kept", 1, retain=True)
        early = await clients.connected("early")
        await early.subscribe(("t", 1))
        await early.nothing_came()
        clock.advance(61)
        assert (await early.message()).retain is False
        late = await clients.connected("late")
        await late.subscribe(("t", 1))
        assert (await late.message()).retain is True


async def test_a_malformed_topic_is_dropped_and_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as (clients, clock):
        publisher, subscriber = await clients.pair(("#", 1), ("$delayed/#", 1))
        for topic in ("$delayed/x/t", "$delayed/5", "$delayed/5/", "$delayed/1/$SYS/x"):
            await publisher.publish(topic, b"x", 1)
        assert len(clients.broker.delayed) == 0
        clock.advance(10)
        await subscriber.nothing_came()


async def test_a_moment_that_passes_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same topic is published again when its moment has gone by: dropped, and the connection stays."""
    async with watched(monkeypatch) as (clients, clock):
        publisher, subscriber = await clients.pair(("t", 1))
        topic = f"$delayed/{int(time.time()) + 60}/t"
        await publisher.publish(topic, b"early", 1)
        clock.advance(100)
        assert (await subscriber.message()).payload == b"early"
        await publisher.publish(topic, b"late", 1)
        await publisher.publish("t", b"now", 1)
        assert (await subscriber.message()).payload == b"now"


async def test_the_server_s_own_are_delayed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as (clients, clock):
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("t", 0))
        assert clients.broker.publish("$delayed/30/t", b"x", sender="http_api") == 1
        await subscriber.nothing_came()
        clock.advance(31)
        assert (await subscriber.message()).payload == b"x"
        with pytest.raises(InvalidTopic):
            clients.broker.publish("$delayed/x/t", b"x")


async def test_wills_are_delayed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their client is asked about under the topic that they have in the end, and they are rewritten under it."""
    async with watched(monkeypatch) as (clients, clock):
        broker = clients.broker
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("#", 1), ("$delayed/#", 1))
        for topic in ("$delayed/x/t", "$delayed/5", "$delayed/1/$SYS/x", "$delayed/1/", "$delayed/30/t/1"):
            (await clients.connected(f"dying {topic}", will=Will(topic))).abort()
        await until(lambda: len(broker.delayed) == 1)
        broker.rewrite_topics([RewriteRule("publish", "t/#", "new/$1", lambda topic: (topic, topic[2:]))])
        (await clients.connected("dying", will=Will("$delayed/30/t/2"))).abort()
        await until(lambda: len(broker.delayed) == 2)
        (await clients.connected("dying", will=Will("t/3"))).abort()
        assert (await subscriber.message()).topic == "new/3"
        clock.advance(31)
        assert [(await subscriber.message()).topic for _ in range(2)] == ["t/1", "new/2"]
        await subscriber.nothing_came()


async def test_without_it_the_topic_is_like_any_other_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as (clients, _):
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("$delayed/#", 0))
        await clients.broker.delayed.configure(False, 0)
        clients.broker.publish("$delayed/30/t", b"x")
        assert (await subscriber.message()).topic == "$delayed/30/t"
