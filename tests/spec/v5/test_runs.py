"""Bursts of equal QoS 0 packets, which the broker passes on as slices, to subscribers that are all different."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS
from ...engine.packets5 import P, Properties, Property
from ...engine.wire import Client
from ...engine.wire import publish as publish4
from ...engine.wire5 import Client5, options, publish, users
from .serving import Clients5, serving5

TOPICS = ("run/a", "run/b")
Sent = tuple[str, bytes]
Build = Callable[[str, bytes], bytes]


@pytest.fixture(params=["at once", "foreign rules"])
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients5]:
    """Give clients of brokers that decide at once, and that must wait for a plugin of amqtt's."""
    plugins = {f"{access_plugins.__name__}.SlowRules": {}} if request.param == "foreign rules" else {}
    async with serving5(plugins={**ANONYMOUS, **plugins}) as opened:
        yield opened


def _burst(sizes: Sequence[tuple[int, int]]) -> list[Sent]:
    """Give runs of messages on one topic and of one payload length, numbered through."""
    number = 0
    sent: list[Sent] = []
    for turn, (count, padding) in enumerate(sizes):
        for _ in range(count):
            sent.append((TOPICS[turn % 2], b"%06d" % number + b"." * padding))
            number += 1
    return sent


BURST = _burst([(80, 0), (3, 0), (1, 0), (60, 300), (40, 5), (1, 5), (1, 5), (120, 0), (2, 1)])


@dataclass
class Publisher:
    """One way to publish: the packet for a message, and the properties that arrive with it."""

    build: Build
    arriving: list[Property] = field(default_factory=list)
    old: bool = False
    expiry: int | None = None


def _plain(properties: Properties = ()) -> Build:
    return lambda topic, payload: publish(topic, payload, properties=properties)


def _aliasing(properties: Sequence[Property] = ()) -> Build:
    """Name the topic with its alias the first time, the alias alone from then on."""
    known: set[str] = set()

    def build(topic: str, payload: bytes) -> bytes:
        alias: list[Property] = [(P.TOPIC_ALIAS, 1 + TOPICS.index(topic)), *properties]
        named, _ = topic not in known, known.add(topic)
        return publish(topic if named else "", payload, properties=alias)

    return build


PASSED_ON = [*users(("k", "v")), (P.CONTENT_TYPE, "text"), *users(("k", "v"))]
PUBLISHERS: dict[str, Callable[[], Publisher]] = {
    "3.1.1": lambda: Publisher(publish4, old=True),
    "5": lambda: Publisher(_plain()),
    "5 with properties": lambda: Publisher(_plain(PASSED_ON), PASSED_ON),
    "5 with an expiry": lambda: Publisher(_plain([(P.MESSAGE_EXPIRY, 500), *PASSED_ON]), PASSED_ON, expiry=500),
    "5 with aliases": lambda: Publisher(_aliasing()),
    "5 with all": lambda: Publisher(_aliasing([*PASSED_ON, (P.MESSAGE_EXPIRY, 500)]), PASSED_ON, expiry=500),
}


@pytest.fixture(params=PUBLISHERS)
def way(request: pytest.FixtureRequest) -> Publisher:
    return PUBLISHERS[request.param]()


async def _sender(clients: Clients5, way: Publisher) -> Client:
    return await (clients.connected("publisher") if way.old else clients.connected5("publisher"))


async def _send(client: Client, packets: list[bytes], dice: random.Random | None) -> None:
    """Send in one write; with dice in pieces that begin and end anywhere."""
    data = b"".join(packets)
    if dice is None:
        client.send(data)
        return
    at = 0
    while at < len(data):
        size = dice.choice((1, 2, 7, 50, 300, 2_000, 9_000))
        client.send(data[at : at + size])
        await client.drain()
        at += size


async def _all(client: Client, count: int) -> list[Sent]:
    got = [await client.message() for _ in range(count)]
    return [(one.topic, one.payload) for one in got]


@pytest.mark.parametrize("pieces", [False, True])
async def test_every_kind_of_subscriber_gets_a_burst(clients: Clients5, way: Publisher, pieces: bool) -> None:
    """All of it, once and in order, each with what it asked for; beside groups and clients that want none.

    [MQTT-4.6.0-5] [MQTT-3.3.4-3] [MQTT-3.1.2-26] [MQTT-3.1.2-24] [MQTT-3.8.3-3] [MQTT-4.8.2-1] [MQTT-3.3.2-18]
    """
    old = await clients.connected("old")
    await old.subscribe(("run/#", 2))
    oldest = await clients.connected("oldest", name="MQIsdp", level=3)
    await oldest.subscribe(("run/a", 0), ("run/+", 1))
    plain = await clients.subscribed5("plain", ("run/+", 0))
    exact = await clients.subscribed5("exact", ("run/b", 2), ("run/b/#", 0))
    marked = await clients.connected5("marked")
    await marked.subscribe(("run/#", 1), properties=[(P.SUBSCRIPTION_ID, 300)])
    await marked.subscribe(("run/a", 0), properties=[(P.SUBSCRIPTION_ID, 5)])
    aliased = await clients.subscribed5("aliased", ("run/#", 0), properties=[(P.TOPIC_ALIAS_MAXIMUM, 1)])
    small = await clients.subscribed5("small", ("run/#", 0), properties=[(P.MAXIMUM_PACKET_SIZE, 150)])
    members = [
        await clients.subscribed5("m5", ("$share/g/run/#", 0)),
        await clients.subscribed5("m5 small", ("$share/g/run/#", 0), properties=[(P.TOPIC_ALIAS_MAXIMUM, 2)]),
        await clients.connected("m3"),
    ]
    await members[2].subscribe(("$share/g/run/#", 0))
    publisher = await _sender(clients, way)
    if isinstance(publisher, Client5):
        await publisher.subscribe(("run/#", options(2, no_local=True)))
    bystander = await clients.subscribed5("bystander", ("other/#", 0))

    await _send(publisher, [way.build(*one) for one in BURST], random.Random(7) if pieces else None)

    assert await _all(old, len(BURST)) == BURST
    assert await _all(oldest, len(BURST)) == BURST
    for client in (plain, aliased, marked):
        got = [await client.message() for _ in BURST]
        assert [(one.topic, one.payload) for one in got] == BURST
        assert all(one.forwarded == way.arriving and one.qos == 0 and not one.retain for one in got)
        assert {one.get(P.MESSAGE_EXPIRY) for one in got} <= {way.expiry, way.expiry and way.expiry - 1}
        if client is marked:
            assert all(one.subscription_ids == ([5, 300] if one.topic == "run/a" else [300]) for one in got)
        if client is aliased:
            assert sum(one.wire_topic == "" for one in got) == sum(topic == BURST[0][0] for topic, _ in BURST) - 1
    assert await _all(exact, sum(topic == "run/b" for topic, _ in BURST)) == [one for one in BURST if one[0] == "run/b"]
    short = [one for one in BURST if len(one[1]) < 100]
    assert await _all(small, len(short)) == short
    await publisher.ping()
    shared: list[Sent] = []
    for member in members:
        await member.ping()
        share = await _all(member, len(member._waiting))
        assert share == sorted(share, key=lambda one: one[1])
        assert len(share) >= len(BURST) // 3
        shared += share
    assert sorted(shared) == sorted(BURST)
    for client in (publisher, bystander, old, oldest, plain, exact, marked, aliased, small, *members):
        await client.nothing_came()


async def test_a_burst_among_other_packets(clients: Clients5, way: Publisher) -> None:
    """[MQTT-4.6.0-5] [MQTT-3.3.1-5] [MQTT-3.3.1-13]: QoS 1, QoS 2 and retained messages between equal ones."""
    old = await clients.connected("old")
    await old.subscribe(("run/#", 2))
    new = await clients.subscribed5("new", ("run/#", options(2, retain_as_published=True)))
    publisher = await _sender(clients, way)
    make = publish4 if way.old else publish
    packets: list[bytes] = []
    for number, (topic, payload) in enumerate(BURST):
        packets.append(way.build(topic, payload))
        if number % 20 == 0:
            packets.append(make("run/a", b"one", 1, number + 1))
            packets.append(make("run/a", b"kept", 0, retain=True))
            packets.append(make("run/a", b"two", 2, number + 1_000))
    await _send(publisher, packets, None)
    extra = len(range(0, len(BURST), 20))
    for client in (old, new):
        got = [await client.message() for _ in range(len(BURST) + 3 * extra)]
        live = [(one.topic, one.payload) for one in got if one.payload not in (b"one", b"two", b"kept")]
        assert live == BURST
        assert [one.qos for one in got if one.payload == b"one"] == [1] * extra
        assert [one.qos for one in got if one.payload == b"two"] == [2] * extra
        kept = [one.retain for one in got if one.payload == b"kept"]
        assert kept == [client is new] * extra
    late = await clients.subscribed5("late", ("run/#", 0))
    assert (await late.message()).payload == b"kept"
    await late.nothing_came()


async def test_subscriptions_change_between_bursts(clients: Clients5, way: Publisher) -> None:
    """[MQTT-3.8.4-3] [MQTT-3.10.4-2]: what was remembered about a run does not outlive a change."""
    publisher = await _sender(clients, way)
    first, second = await clients.connected5("first"), await clients.connected5("second")
    old = await clients.connected("old")

    async def burst(payload: bytes) -> None:
        publisher.send(*(way.build("run/a", payload) for _ in range(30)))
        await publisher.ping()

    await burst(b"nobody")
    await first.subscribe(("run/a", 0))
    await burst(b"plain")
    assert await first.messages(30) == [b"plain"] * 30
    await first.subscribe(("run/a", 0), properties=[(P.SUBSCRIPTION_ID, 9)])
    await old.subscribe(("run/+", 0))
    await burst(b"marked")
    assert [(await first.message()).subscription_ids for _ in range(30)] == [[9]] * 30
    assert await old.messages(30) == [b"marked"] * 30
    await second.subscribe(("$share/g/run/a", 0))
    await old.unsubscribe("run/+")
    await burst(b"shared")
    assert await first.messages(30) == [b"shared"] * 30
    assert await second.messages(30) == [b"shared"] * 30
    await first.unsubscribe("run/a")
    await second.unsubscribe("$share/g/run/a")
    await burst(b"nobody")
    for client in (first, second, old):
        await client.nothing_came()


async def test_a_client_hears_its_own_burst(clients: Clients5, way: Publisher) -> None:
    """[MQTT-3.8.3-3]: without No Local; as one of several subscribers with it and without."""
    publisher = await _sender(clients, way)
    await publisher.subscribe(("run/a", 0))
    other = await clients.subscribed5("other", ("run/a", options(0, no_local=True)))
    publisher.send(*(way.build("run/a", b"%03d" % number) for number in range(100)))
    for client in (publisher, other):
        assert await client.messages(100) == [b"%03d" % number for number in range(100)]


@pytest.mark.parametrize("count", [1, 2, 3, 500])
async def test_packets_of_two_bytes_of_payload(clients: Clients5, way: Publisher, count: int) -> None:
    """[MQTT-4.6.0-5]: the smallest packets, whose payloads look like the beginning of a packet."""
    old, new = await clients.connected("old"), await clients.subscribed5("new", ("run/a", 0))
    await old.subscribe(("run/a", 0))
    publisher = await _sender(clients, way)
    payloads = [b"\x30\x0a", b"\x30\x09", b"\xe0\x00", b"\x00\x00"] * count
    publisher.send(*(way.build("run/a", payload) for payload in payloads))
    assert await old.messages(len(payloads)) == payloads
    assert await new.messages(len(payloads)) == payloads


async def test_a_run_cut_by_an_error(clients: Clients5) -> None:
    """[MQTT-4.13.1-1]: what came before it is delivered, what looks like it after the error is not."""
    new = await clients.subscribed5("new", ("run/a", 0))
    old = await clients.connected("old")
    await old.subscribe(("run/a", 0))
    publisher = await clients.connected5("publisher")
    good = [publish("run/a", b"%03d" % number) for number in range(50)]
    bad = bytearray(publish("run/a", b"bad"))
    bad[0] |= 0x06  # QoS 3
    publisher.send(*good, bytes(bad), *good)
    await publisher.disconnected(0x81)
    for client in (new, old):
        assert await client.messages(50) == [b"%03d" % number for number in range(50)]
        await client.nothing_came()


async def test_runs_of_many_publishers(clients: Clients5) -> None:
    """[MQTT-4.6.0-5]: at a time, of both versions; each one's order is kept for each subscriber."""
    new = await clients.subscribed5("new", ("run/#", 0))
    old = await clients.connected("old")
    await old.subscribe(("run/#", 0))
    ways = [make() for make in PUBLISHERS.values()]
    publishers = [
        await (clients.connected(f"p{n}") if way.old else clients.connected5(f"p{n}")) for n, way in enumerate(ways)
    ]
    for start in range(0, 200, 50):
        for name, (publisher, way) in enumerate(zip(publishers, ways, strict=True)):
            publisher.send(*(way.build("run/a", b"%d %04d" % (name, start + number)) for number in range(50)))
            await publisher.drain()
    for client in (new, old):
        got = await client.messages(200 * len(ways))
        for name in range(len(ways)):
            own = [payload for payload in got if payload.startswith(b"%d " % name)]
            assert own == [b"%d %04d" % (name, number) for number in range(200)]


async def test_lengths_around_the_steps(clients: Clients5, way: Publisher) -> None:
    """[MQTT-1.5.5-1]: where one version's packet needs a byte more for its length than the other's."""
    old = await clients.connected("old")
    await old.subscribe(("run/a", 0))
    new = await clients.subscribed5("new", ("run/a", 0))
    marked = await clients.connected5("marked", properties=[(P.TOPIC_ALIAS_MAXIMUM, 3)])
    await marked.subscribe(("run/a", 0), properties=[(P.SUBSCRIPTION_ID, 128)])
    publisher = await _sender(clients, way)
    sizes = [*range(60, 124), *range(16_310, 16_380)]
    publisher.send(*(way.build("run/a", bytes((size % 251,)) * size) for size in sizes for _ in range(2)))
    for client in (old, new, marked):
        assert await client.messages(2 * len(sizes)) == [bytes((s % 251,)) * s for s in sizes for _ in range(2)]


@pytest.mark.parametrize("length", [1, 127, 128, 511, 512, 513, 5_000])
async def test_topics_of_any_length(clients: Clients5, length: int) -> None:
    """[MQTT-4.7.3-3]: whether or not what was decided about one is remembered."""
    topic = "t" * length
    old = await clients.connected("old")
    await old.subscribe((topic, 0))
    new = await clients.subscribed5("new", (topic, 0))
    marked = await clients.connected5("marked")
    await marked.subscribe((topic, 0), properties=[(P.SUBSCRIPTION_ID, 1)])
    payloads = [b"%03d" % number for number in range(40)]
    for build, publisher in (
        (publish4, await clients.connected("p4")),
        (publish, await clients.connected5("p5")),
    ):
        publisher.send(*(build(topic, payload) for payload in payloads))
        for client in (old, new, marked):
            assert await _all(client, 40) == [(topic, payload) for payload in payloads]
