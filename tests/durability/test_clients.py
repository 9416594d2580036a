"""The crash tests' own clients: they do what the standard asks of clients, and see it when a server does not.

A scripted server says what no real one should. Before all, the clients and a real server get along without kills.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ..engine import wire5
from ..engine.packets5 import P, property_block
from ..engine.wire import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    acknowledge,
    packet,
    publish,
)
from .crashing_servers import CrashingServer
from .ledger import Key, Ledger, Reception
from .persistent_clients import wait_for
from .populations import Population
from .publishers import Publisher
from .scripted_servers import Peer, ScriptedServer, scripted_server
from .subscribers import FickleSubscriber, Subscriber


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as scripted:
        yield scripted


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def test_without_kills_everything_arrives(tmp_path: Path) -> None:
    """The whole population on a real server: what fails with kills is not the clients' fault."""
    server = CrashingServer(tmp_path)
    try:
        await server.start()
        ledger = Ledger()
        population = Population(server.place, ledger, Random(7))
        await population.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(population.run())
            await wait_for(lambda: ledger.acknowledged > 1_000, lambda: "1,000 acknowledgements")
            await population.check_retained()
            server.place.end.set()
        population.assert_kept()
        await population.check_quiet()
        await population.check_retained()
        assert all(audience.receptions for audience in ledger.audiences.values())
        await server.stop()
    finally:
        await server.end()


# -- publishers


def new_publisher(server: ScriptedServer, ledger: Ledger, qos: int, level: int = 4, **options: Any) -> Publisher:
    return Publisher(1, level, qos, server.place, ledger, Random(1), topics=["t"], rest=0, **options)


async def connected(client: Publisher | Subscriber, server: ScriptedServer, *, present: bool, **more: Any) -> Peer:
    """Let a client connect; give the server's end."""
    connecting = asyncio.create_task(client.connect())
    peer = await server.accepted(present=present, level=client.level, **more)
    await connecting
    return peer


async def lost(client: Publisher | Subscriber, peer: Peer) -> None:
    """Break a connection and wait until the client knows."""
    peer.abort()
    await wait_for(lambda: not client.online, lambda: "the end of the connection")


def publish_ids(client: Publisher, count: int) -> list[int]:
    """Have messages published; give their packet identifiers."""
    before = {*client.unacknowledged}
    client.send(*(client._publish("t", 40) for _ in range(count)))
    return [packet_id for packet_id in client.unacknowledged if packet_id not in before]


async def test_a_publisher_sends_again_what_was_not_acknowledged(server: ScriptedServer, ledger: Ledger) -> None:
    """With DUP, in order, with the same packet identifiers; PUBREL where there was a PUBREC."""
    client = new_publisher(server, ledger, qos=2)
    peer = await connected(client, server, present=False)
    first, second, third = publish_ids(client, 3)
    bodies = [(await peer.take(PUBLISH)) for _ in range(3)]
    peer.send(acknowledge(PUBREC, first))
    assert await peer.take(PUBREL) == first.to_bytes(2, "big")
    await lost(client, peer)

    peer = await connected(client, server, present=True)
    assert await peer.read() == (PUBREL, 2, first.to_bytes(2, "big"))
    for body in bodies[1:]:
        assert await peer.read() == (PUBLISH, 12, body)
    peer.send(acknowledge(PUBCOMP, first), acknowledge(PUBREC, second), acknowledge(PUBREC, third))
    await peer.take(PUBREL), await peer.take(PUBREL)
    await lost(client, peer)

    peer = await connected(client, server, present=True)
    assert [(await peer.take(PUBREL)) for _ in range(2)] == [second.to_bytes(2, "big"), third.to_bytes(2, "big")]
    peer.send(acknowledge(PUBCOMP, second), acknowledge(PUBCOMP, third))
    await wait_for(lambda: ledger.all_acknowledged, lambda: "the acknowledgements")
    assert not client.in_flight
    assert [one.sent_again for one in ledger.publications.values()] == [False, True, True]


async def test_a_publisher_keeps_to_the_receive_maximum(server: ScriptedServer, ledger: Ledger) -> None:
    client = new_publisher(server, ledger, qos=1, level=5, window=100)
    running = asyncio.create_task(client.run())
    peer = await server.accepted(present=False, level=5, properties=property_block([(P.RECEIVE_MAXIMUM, 4)]))
    for _ in range(20):
        await wait_for(lambda: client.in_flight == 4, lambda: "four messages in flight")
        while client.in_flight:
            body = await peer.take(PUBLISH)
            peer.send(acknowledge(PUBACK, int.from_bytes(body[3:5], "big")))
            await asyncio.sleep(0)
            assert client.in_flight <= 4
            if client.in_flight == 4:
                break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_packet_identifiers_are_used_again(server: ScriptedServer, ledger: Ledger) -> None:
    """At once by a publisher that takes the least free one: a server that has not forgotten it is found out."""
    client = new_publisher(server, ledger, qos=1, least_ids=True)
    peer = await connected(client, server, present=False)
    assert publish_ids(client, 3) == [1, 2, 3]
    peer.send(acknowledge(PUBACK, 2))
    await wait_for(lambda: client.in_flight == 2, lambda: "a PUBACK")
    assert publish_ids(client, 2) == [2, 4]


@pytest.mark.parametrize(
    ("qos", "answer"),
    [
        (1, acknowledge(PUBACK, 9)),
        (1, acknowledge(PUBREC, 1)),
        (2, acknowledge(PUBACK, 1)),
        (2, acknowledge(PUBCOMP, 1)),
    ],
)
async def test_a_publisher_refuses_what_it_did_not_ask_for(
    server: ScriptedServer, ledger: Ledger, qos: int, answer: bytes
) -> None:
    client = new_publisher(server, ledger, qos=qos, least_ids=True)
    peer = await connected(client, server, present=False)
    publish_ids(client, 1)
    peer.send(answer)
    await fails(client, "publisher-1: Packet5")


@pytest.mark.parametrize("reason", [0x83, 0x97])
async def test_a_publisher_refuses_an_error(server: ScriptedServer, ledger: Ledger, reason: int) -> None:
    client = new_publisher(server, ledger, qos=1, level=5, least_ids=True)
    peer = await connected(client, server, present=False)
    publish_ids(client, 1)
    peer.send(wire5.acknowledge(PUBACK, 1, reason))
    await fails(client, f"reason={reason}")


# -- subscribers


async def fails(client: Publisher | Subscriber, match: str) -> None:
    """Expect that the client gives its server up."""
    assert client._connection is not None
    with pytest.raises(AssertionError, match=match):
        await asyncio.wait_for(client._connection.wait_over(), 30)


class Subscribed:
    """A subscriber to `t` and the server's end of its connection, with messages that somebody published."""

    def __init__(self, server: ScriptedServer, ledger: Ledger, level: int = 4, **options: Any) -> None:
        self.server = server
        self.ledger = ledger
        self.client = Subscriber("s", level, {"t": 2}, server.place, ledger, Random(1), **options)

    async def begin(self) -> "Subscribed":
        beginning = asyncio.create_task(self.client.begin())
        self.peer = await self.server.accepted(present=False, level=self.client.level)
        body = await self.peer.take(SUBSCRIBE)
        self.peer.send(packet(SUBACK, body[:2] + (b"\0" if self.client.level == 5 else b"") + b"\2"))
        await beginning
        return self

    async def again(self) -> None:
        """Lose the connection and get a new one."""
        await lost(self.client, self.peer)
        self.peer = await connected(self.client, self.server, present=True)

    def message(self, number: int, qos: int, packet_id: int, *, dup: bool = False, properties: bytes = b"") -> bytes:
        """Give a PUBLISH of a message that was published once and acknowledged."""
        key = Key(1, number)
        one = self.ledger.publications.get(key)
        if one is None:
            one = self.ledger.publish(key, "t", 40, qos, retain=False)
            self.ledger.acknowledge(one)
        return publish("t", properties + one.payload, qos, packet_id, dup=dup)

    def times(self, number: int) -> int:
        """Count how often the application was given a message."""
        return len(self.client.audience.receptions.get(Key(1, number), ()))


Make = Callable[..., Awaitable[Subscribed]]


@pytest.fixture
def subscribed(server: ScriptedServer, ledger: Ledger) -> Make:
    async def make(level: int = 4, **options: Any) -> Subscribed:
        return await Subscribed(server, ledger, level, **options).begin()

    return make


async def test_qos_1_is_acknowledged_in_order(subscribed: Make) -> None:
    party = await subscribed()
    party.peer.send(party.message(1, 1, 9), party.message(2, 1, 3), party.message(3, 1, 7))
    assert [(await party.peer.take(PUBACK))[1] for _ in range(3)] == [9, 3, 7]
    assert party.client.settled


async def test_one_that_hesitates_acknowledges_in_order_too(subscribed: Make) -> None:
    party = await subscribed(hesitant=True)
    party.peer.send(*(party.message(number, 1, number) for number in range(1, 100)))
    assert [(await party.peer.take(PUBACK))[1] for _ in range(99)] == [*range(1, 100)]


async def test_qos_2_is_given_away_once_however_often_it_comes(subscribed: Make) -> None:
    """[MQTT-4.3.3-10]: until the PUBREL, in whatever connection; then the identifier may be another message's."""
    party = await subscribed()
    party.peer.send(party.message(1, 2, 5))
    assert await party.peer.take(PUBREC) == b"\0\5"
    for _ in range(2):
        await party.again()
        party.peer.send(party.message(1, 2, 5, dup=True))
        assert await party.peer.take(PUBREC) == b"\0\5"
    party.peer.send(acknowledge(PUBREL, 5))
    assert await party.peer.take(PUBCOMP) == b"\0\5"
    await party.again()
    party.peer.send(acknowledge(PUBREL, 5))  # the PUBCOMP was lost
    assert await party.peer.take(PUBCOMP) == b"\0\5"
    party.peer.send(party.message(2, 2, 5))
    await party.peer.take(PUBREC)
    assert (party.times(1), party.times(2)) == (1, 1)
    assert not party.client.settled
    party.peer.send(acknowledge(PUBREL, 5))
    await party.peer.take(PUBCOMP)
    assert party.client.settled


async def test_qos_1_that_comes_again_is_given_away_again(subscribed: Make) -> None:
    party = await subscribed()
    party.peer.send(party.message(1, 1, 5))
    await party.peer.take(PUBACK)
    await party.again()
    party.peer.send(party.message(1, 1, 5, dup=True))
    await party.peer.take(PUBACK)
    assert party.times(1) == 2


async def test_a_message_that_its_publisher_sent_twice_may_be_two(subscribed: Make, ledger: Ledger) -> None:
    party = await subscribed()
    message = party.message(1, 1, 5)
    ledger.publications[Key(1, 1)].sent_again = True
    party.peer.send(message, party.message(1, 1, 6))
    await party.peer.take(PUBACK), await party.peer.take(PUBACK)
    assert party.times(1) == 2


async def test_the_place_in_the_ledger_says_how_it_came(subscribed: Make) -> None:
    party = await subscribed()
    await party.again()
    party.peer.send(party.message(1, 1, 5))
    await party.peer.take(PUBACK)
    (reception,) = party.client.audience.receptions[Key(1, 1)]
    assert reception == Reception(reception.at, "s", 5, 2, 1, certain=True)


Wrong = Callable[[Subscribed], list[bytes]]
WRONG_AT_ONCE: dict[str, tuple[Wrong, str]] = {
    "twice": (lambda p: [p.message(1, 1, 5), p.message(1, 1, 5, dup=True)], "again in one connection"),
    "twice as another": (lambda p: [p.message(1, 1, 5), p.message(1, 1, 6, dup=True)], "twice in a connection"),
    "too many": (lambda p: [p.message(number, 1, number) for number in (1, 2, 3)], "3 unacknowledged"),
    "released too soon": (lambda p: [p.message(1, 2, 5), acknowledge(PUBREL, 5)], "before it was received"),
    "at QoS 0": (lambda p: [publish("t", b"x")], "at QoS 0"),
    "retained": (lambda p: [publish("t", b"x", 1, 1, retain=True)], "new subscription"),
    "never sent": (lambda p: [publish("t", b"0123456789", 1, 1)], "never sent"),
    "not subscribed to": (lambda p: [publish("u", b"0123456789", 1, 1)], "never sent"),
    "a SUBACK": (lambda p: [packet(SUBACK, b"\0\1\2")], "not asked for"),
    "a CONNACK": (lambda p: [packet(CONNACK, b"\0\0")], "second CONNACK"),
}
WRONG_LATER: dict[str, tuple[Wrong, Wrong, str]] = {
    "QoS 1 without DUP": (lambda p: [p.message(1, 1, 5)], lambda p: [p.message(1, 1, 5)], "without DUP"),
    "QoS 2 without DUP": (lambda p: [p.message(1, 2, 5)], lambda p: [p.message(1, 2, 5)], "without DUP"),
    "QoS 1 as another": (lambda p: [p.message(1, 1, 5)], lambda p: [p.message(1, 1, 6, dup=True)], "got Key"),
    "QoS 2 as another": (lambda p: [p.message(1, 2, 5)], lambda p: [p.message(1, 2, 6, dup=True)], "twice"),
    "the identifier for another": (
        lambda p: [p.message(1, 2, 5)],
        lambda p: [p.message(2, 2, 5, dup=True)],
        "given to another",
    ),
}


@pytest.mark.parametrize("what", WRONG_AT_ONCE)
async def test_a_subscriber_sees_what_may_not_come(subscribed: Make, what: str) -> None:
    wrong, match = WRONG_AT_ONCE[what]
    party = await subscribed(receive_maximum=2, hesitant=True)
    party.client._flush_soon = lambda: None  # type: ignore[method-assign]
    party.peer.send(*wrong(party))
    await fails(party.client, match)


@pytest.mark.parametrize("what", WRONG_LATER)
async def test_a_subscriber_sees_what_may_not_come_again(subscribed: Make, what: str) -> None:
    before, after, match = WRONG_LATER[what]
    party = await subscribed()
    party.peer.send(*before(party))
    await party.peer.read()
    await party.again()
    party.peer.send(*after(party))
    await fails(party.client, match)


async def test_a_message_carries_the_identifier_of_its_subscription(subscribed: Make) -> None:
    party = await subscribed(5, identifier=7)
    party.peer.send(party.message(1, 1, 5, properties=property_block([(P.SUBSCRIPTION_ID, 7)])))
    await party.peer.take(PUBACK)
    party.peer.send(party.message(2, 1, 6, properties=b"\0"))
    await fails(party.client, "s: Packet5")


async def test_a_server_that_ends_the_connection_must_have_a_reason(subscribed: Make) -> None:
    party = await subscribed(5)
    party.peer.send(packet(DISCONNECT, b"\x8b"), packet(DISCONNECT, b"\x8e"))
    await fails(party.client, "reason=142")


# -- sessions


async def test_a_session_is_not_there_before_the_first_connection(server: ScriptedServer, ledger: Ledger) -> None:
    connecting = asyncio.create_task(new_publisher(server, ledger, qos=1).connect())
    await (await server.next_peer()).accept(present=True)
    with pytest.raises(AssertionError, match="session present True"):
        await connecting


@pytest.mark.parametrize("kind", ["subscriber", "publisher"])
async def test_a_session_is_there_once_something_was_promised_in_it(
    server: ScriptedServer, ledger: Ledger, subscribed: Make, kind: str
) -> None:
    """Before that, the server may be killed with nothing written, and nothing lost."""
    if kind == "subscriber":
        party = await subscribed()
        client, peer = party.client, party.peer
    else:
        client = new_publisher(server, ledger, qos=1, least_ids=True)
        await lost(client, await connected(client, server, present=False))
        peer = await connected(client, server, present=False)
        publish_ids(client, 1)
        peer.send(acknowledge(PUBACK, 1))
        await wait_for(lambda: client.in_flight == 0, lambda: "the PUBACK")
    await lost(client, peer)
    peer = await connected(client, server, present=True)
    await lost(client, peer)
    connecting = asyncio.create_task(client.connect())
    await (await server.next_peer()).accept(present=False)
    with pytest.raises(AssertionError, match="session present False"):
        await connecting


async def test_nothing_comes_before_the_connack(server: ScriptedServer, ledger: Ledger) -> None:
    client = new_publisher(server, ledger, qos=1)
    connecting = asyncio.create_task(client.connect())
    (await server.next_peer()).send(acknowledge(PUBACK, 1))
    with pytest.raises(AssertionError, match="before the CONNACK"):
        await connecting


async def test_a_client_tries_until_the_server_is_there(server: ScriptedServer, ledger: Ledger) -> None:
    client = new_publisher(server, ledger, qos=1)
    address, server.place.address = server.place.address, None
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    assert not connecting.done()
    server.place.address = address
    (await server.next_peer()).abort()  # killed before it has answered
    await server.accepted(present=False)
    await connecting
    assert client.connections == 1


class Fickle:
    """A client that changes its mind and the server's end of its connection."""

    def __init__(self, server: ScriptedServer, ledger: Ledger, level: int) -> None:
        self.server = server
        self.client = FickleSubscriber("f", level, {"t": 1}, server.place, ledger, Random(1), changes=9)

    async def begin(self) -> Peer:
        beginning = asyncio.create_task(self.client.begin())
        peer = await self.server.accepted(present=False, level=self.client.level)
        await self.grant(peer)
        await beginning
        return peer

    async def grant(self, peer: Peer) -> None:
        body = await peer.take(SUBSCRIBE)
        peer.send(packet(SUBACK, body[:2] + (b"\0" if self.client.level == 5 else b"") + b"\1"))


async def test_what_is_sent_between_two_subscriptions_is_written_down(server: ScriptedServer, ledger: Ledger) -> None:
    fickle = Fickle(server, ledger, 4)
    peer = await fickle.begin()
    audience = fickle.client.audience
    audience.left()
    leaving = asyncio.create_task(fickle.client._unsubscribe())
    body = await peer.take(UNSUBSCRIBE)
    (before,) = audience.gaps
    assert before.end
    peer.send(packet(UNSUBACK, body[:2]))
    await leaving
    assert [gap.end for gap in audience.gaps] == [before.end, None]
    coming = asyncio.create_task(fickle.client.subscribe())
    await fickle.grant(peer)
    await coming
    _, gap = audience.gaps
    assert gap.begin < (gap.end or 0) < (audience.since or 0)


async def test_a_new_session_of_3_1_1_ends_with_its_connection(server: ScriptedServer, ledger: Ledger) -> None:
    """So there is a connection more, to have a session again that is kept; nobody may find the first one."""
    fickle = Fickle(server, ledger, 4)
    await fickle.begin()
    beginning = asyncio.create_task(fickle.client._start_anew())
    flags = [(await (await server.next_peer()).accept(present=False))[7] for _ in range(2)]
    await beginning
    assert [bits & 2 for bits in flags] == [2, 0]
    assert fickle.client.audience.born_at > (fickle.client.audience.since or 0)
    assert len(fickle.client.audience.gaps) == 3


async def test_a_new_session_of_5_stays(server: ScriptedServer, ledger: Ledger) -> None:
    fickle = Fickle(server, ledger, 5)
    await fickle.begin()
    beginning = asyncio.create_task(fickle.client._start_anew())
    peer = await server.next_peer()
    assert (await peer.accept(present=False, level=5))[7] & 2
    await beginning
    subscribing = asyncio.create_task(fickle.client.subscribe())
    await fickle.grant(peer)
    await subscribing
    assert fickle.client.present


async def test_an_old_session_in_place_of_a_new_one_is_seen(server: ScriptedServer, ledger: Ledger) -> None:
    fickle = Fickle(server, ledger, 5)
    await fickle.begin()
    beginning = asyncio.create_task(fickle.client._start_anew())
    await (await server.next_peer()).accept(present=True, level=5)
    with pytest.raises(AssertionError, match="wanted a new session"):
        await beginning
