"""Chapters 4.1 and 4.3 to 4.6: session state, the three handshakes, sending again, order."""

import pytest

from ...engine.brokers import Clients
from ...engine.conditions import until
from ...engine.wire import (
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    Client,
    acknowledge,
    publish,
)


async def _subscribed(clients: Clients, qos: int, client_id: str = "subscriber") -> Client:
    """Connect with a session that is kept and subscribe to t."""
    client = await clients.connected(client_id, clean=False)
    await client.subscribe(("t", qos))
    return client


async def _again(clients: Clients, broken: Client, client_id: str = "subscriber") -> Client:
    """Break a connection and take its session up on another one; nothing but CONNACK was read from that yet."""
    broken.abort()
    session = clients.broker.registry.get(client_id)
    assert session is not None
    await until(lambda: not session.connected)
    client = await clients.open()
    assert await client.connect(client_id, clean=False) is True
    return client


async def _complete_from(client: Client, got_id: int) -> None:
    """Go through the receiver's part of QoS 2 from its PUBREC."""
    client.send(acknowledge(PUBREC, got_id))
    assert (await client.expect(PUBREL)).packet_id == got_id
    client.send(acknowledge(PUBCOMP, got_id))


# 4.1


async def test_session_state_lasts_while_the_connection_does(clients: Clients) -> None:
    """[MQTT-4.1.0-1] [MQTT-4.1.0-2]: subscriptions and open handshakes, of a clean session too."""
    client = await clients.connected("c1", clean=True)
    await client.subscribe(("t", 2))
    client.send(publish("u", b"x", 2, 9))
    await client.expect(PUBREC)
    publisher = await clients.connected("publisher")
    await publisher.publish("t", b"first", 2)
    held = await client.expect(PUBLISH)
    for n in range(50):
        other = await clients.connected(f"other{n}")
        await other.publish("t", b"%d" % n, 1)
        assert (await client.message()).payload == b"%d" % n
        await other.disconnect()
    await _complete_from(client, held.packet_id)
    client.send(publish("u", b"x", 2, 9, dup=True), acknowledge(PUBREL, 9))
    await client.expect(PUBREC)
    await client.expect(PUBCOMP)
    await client.nothing_came()


# 4.3.1


async def test_qos_0_is_sent_once_and_waits_for_nothing(clients: Clients) -> None:
    """[MQTT-4.3.1-1]: QoS and DUP 0, not sent again after a reconnect."""
    subscriber = await _subscribed(clients, 0)
    publisher = await clients.connected("publisher")
    for qos in (0, 1, 2):
        await publisher.publish("t", b"x", qos)
    assert [(await subscriber.expect(PUBLISH)).flags for _ in range(3)] == [0, 0, 0]
    subscriber = await _again(clients, subscriber)
    await subscriber.nothing_came()


# 4.3.2


async def test_qos_1_sender(clients: Clients) -> None:
    """[MQTT-4.3.2-1] [MQTT-2.3.1-4]: an identifier that no other open message has, DUP 0, open until PUBACK."""
    subscriber = await _subscribed(clients, 1)
    publisher = await clients.connected("publisher")
    await publisher.publish_all("t", [b"%d" % n for n in range(10)], 1)
    first = [await subscriber.expect(PUBLISH) for _ in range(10)]
    assert {p.flags for p in first} == {2}
    assert len({p.packet_id for p in first} - {0}) == 10
    # What does not belong to it leaves a message open.
    unused = next(n for n in range(1, 100) if n not in {p.packet_id for p in first})
    subscriber.send(acknowledge(PUBACK, unused), acknowledge(PUBACK, first[3].packet_id))
    await subscriber.ping()
    subscriber = await _again(clients, subscriber)
    left = [p for n, p in enumerate(first) if n != 3]
    for expected in left:
        got = await subscriber.message()
        assert (got.packet_id, got.payload) == (expected.packet_id, expected.payload)
    await subscriber.nothing_came()
    subscriber = await _again(clients, subscriber)
    await subscriber.nothing_came()


async def test_qos_1_receiver(clients: Clients) -> None:
    """[MQTT-4.3.2-2]: PUBACK with the identifier; after it the identifier means a new message, whatever its DUP."""
    publisher, subscriber = await clients.pair(("t", 1))
    for n, dup in enumerate((False, True, False, True)):
        publisher.send(publish("t", b"%d" % n, 1, 0x1234, dup=dup))
        got = await publisher.read()
        assert (got.kind, got.body) == (PUBACK, b"\x12\x34")
    assert await subscriber.messages(4) == [b"0", b"1", b"2", b"3"]


# 4.3.3


async def test_qos_2_sender(clients: Clients) -> None:
    """[MQTT-4.3.3-1]: PUBLISH until PUBREC, from then on PUBREL until PUBCOMP, and never PUBLISH again."""
    subscriber = await _subscribed(clients, 2)
    publisher = await clients.connected("publisher")
    await publisher.publish_all("t", [b"a", b"b", b"c"], 2)
    first = [await subscriber.expect(PUBLISH) for _ in range(3)]
    assert {p.flags for p in first} == {4}
    a, b, c = (p.packet_id for p in first)
    assert len({a, b, c, 0}) == 4
    subscriber.send(acknowledge(PUBREC, b))
    got = await subscriber.read()
    assert (got.kind, got.flags, got.packet_id) == (PUBREL, 2, b)
    subscriber = await _again(clients, subscriber)
    got_again = [await subscriber.read() for _ in range(3)]
    assert sorted((p.kind, p.dup and p.kind == PUBLISH, p.packet_id) for p in got_again) == sorted(
        [(PUBLISH, True, a), (PUBREL, False, b), (PUBLISH, True, c)]
    )
    subscriber.send(acknowledge(PUBCOMP, b))
    await _complete_from(subscriber, a)
    subscriber = await _again(clients, subscriber)
    assert (await subscriber.expect(PUBLISH)).packet_id == c
    await _complete_from(subscriber, c)
    await subscriber.ping()
    subscriber = await _again(clients, subscriber)
    await subscriber.nothing_came()


async def test_qos_2_receiver(clients: Clients) -> None:
    """[MQTT-4.3.3-2]: PUBREC each time, delivered once until PUBREL, which PUBCOMP answers; then a new message."""
    publisher, subscriber = await clients.pair(("t", 2))
    for payload in (b"first", b"second"):
        for dup in (False, True, True):
            publisher.send(publish("t", payload, 2, 0x1234, dup=dup))
            got = await publisher.read()
            assert (got.kind, got.body) == (PUBREC, b"\x12\x34")
        for _ in range(2):
            publisher.send(acknowledge(PUBREL, 0x1234))
            got = await publisher.read()
            assert (got.kind, got.body) == (PUBCOMP, b"\x12\x34")
    assert await subscriber.messages(2) == [b"first", b"second"]
    await subscriber.nothing_came()


async def test_qos_2_receiver_across_connections(clients: Clients) -> None:
    """[MQTT-4.3.3-2] [MQTT-4.1.0-1]: which identifiers wait for PUBREL is part of the session."""
    publisher = await clients.connected("publisher", clean=False)
    subscriber = await clients.connected("subscriber")
    await subscriber.subscribe(("t", 2))
    publisher.send(publish("t", b"once", 2, 7))
    await publisher.expect(PUBREC)
    publisher = await _again(clients, publisher, "publisher")
    publisher.send(publish("t", b"once", 2, 7, dup=True))
    await publisher.expect(PUBREC)
    publisher.send(acknowledge(PUBREL, 7))
    await publisher.expect(PUBCOMP)
    publisher = await _again(clients, publisher, "publisher")
    publisher.send(acknowledge(PUBREL, 7))
    await publisher.expect(PUBCOMP)
    assert await subscriber.messages(1) == [b"once"]
    await subscriber.nothing_came()
    clean = await clients.connected("publisher", clean=True)
    clean.send(publish("t", b"new", 2, 7))
    await clean.expect(PUBREC)
    assert await subscriber.messages(1) == [b"new"]


# 4.4


async def test_what_is_open_is_sent_again_with_its_identifiers(clients: Clients) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1]: PUBLISH with DUP, in the first order, on every reconnect; never in between."""
    subscriber = await clients.connected("subscriber", clean=False)
    await subscriber.subscribe(("one", 1), ("two", 2))
    publisher = await clients.connected("publisher")
    for n in range(8):
        await publisher.publish(("one", "two")[n % 2], b"%d" % n, 2)
    first = [await subscriber.expect(PUBLISH) for _ in range(8)]
    await subscriber.nothing_came()
    for _ in range(3):
        subscriber = await _again(clients, subscriber)
        again = [await subscriber.expect(PUBLISH) for _ in range(8)]
        assert [(p.packet_id, p.payload, p.qos, p.dup) for p in again] == [
            (p.packet_id, p.payload, p.qos, True) for p in first
        ]
        await subscriber.nothing_came()


# 4.5


async def test_a_message_goes_to_every_session_that_subscribes(clients: Clients) -> None:
    """[MQTT-4.5.0-1]: connected or not, whoever published, and to no session that does not."""
    away = [await _subscribed(clients, 2, f"away{n}") for n in range(3)]
    for client in away:
        await client.disconnect()
    await until(lambda: clients.broker.registry.connected_count == 0)
    here = [await _subscribed(clients, qos, f"here{qos}") for qos in (1, 2)]
    unconcerned = await clients.connected("unconcerned", clean=False)
    await unconcerned.subscribe(("t/other", 2), ("T", 2))
    await here[0].publish("t", b"x", 2)  # from one that subscribes itself
    for client in here:
        assert (await client.message()).payload == b"x"
    for n in range(3):
        client = await clients.open()
        assert await client.connect(f"away{n}", clean=False) is True
        got = await client.message()
        assert (got.payload, got.qos) == (b"x", 2)
        await client.nothing_came()
    await unconcerned.nothing_came()


# 4.6


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_of_one_publisher_keep_their_order(clients: Clients, qos: int) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6]: towards each subscriber, whatever other publishers and topics come between."""
    subscribers = [await clients.connected(f"s{n}") for n in range(2)]
    for subscriber in subscribers:
        await subscriber.subscribe(("t/#", qos))
    publishers = [await clients.connected(f"p{n}") for n in range(2)]
    total = 60
    for n in range(total):
        for name, publisher in zip("ab", publishers, strict=True):
            # Segments that end within a packet, one that begins again with the same topic, and one that does not.
            data = publish(f"t/{n % 3 // 2}", b"%s%d" % (name.encode(), n), qos, n + 1 if qos else None)
            publisher.send(data[: n % 7])
            await publisher.drain()
            publisher.send(data[n % 7 :])
    if qos == 2:
        for publisher in publishers:
            assert [(await publisher.expect(PUBREC)).packet_id for _ in range(total)] == list(range(1, total + 1))
            publisher.send(*(acknowledge(PUBREL, n + 1) for n in range(total)))
    for subscriber in subscribers:
        got = await subscriber.messages(2 * total)
        for name in (b"a", b"b"):
            assert [int(payload[1:]) for payload in got if payload[:1] == name] == list(range(total))


async def test_order_holds_over_a_broken_connection(clients: Clients) -> None:
    """[MQTT-4.6.0-6]: what is open comes first, then what was queued, then what is live."""
    subscriber = await _subscribed(clients, 2)
    publisher = await clients.connected("publisher")
    await publisher.publish_all("t", [b"%d" % n for n in range(5)], 2)
    for _ in range(5):
        await subscriber.expect(PUBLISH)
    subscriber.abort()
    session = clients.broker.registry.get("subscriber")
    assert session is not None
    await until(lambda: not session.connected)
    await publisher.publish_all("t", [b"%d" % n for n in range(5, 100)], 2)
    subscriber = await clients.open()
    assert await subscriber.connect("subscriber", clean=False) is True
    await publisher.publish_all("t", [b"%d" % n for n in range(100, 105)], 2)
    assert await subscriber.messages(105) == [b"%d" % n for n in range(105)]


async def test_acknowledgements_keep_the_order_of_the_messages(clients: Clients) -> None:
    """[MQTT-4.6.0-6]: PUBACK and PUBREC as PUBLISH came, PUBREL as PUBREC came."""
    client = await clients.connected()
    client.send(*(publish("u", b"x", 1 + n % 2, n) for n in range(1, 41)), b"\xc0\x00")
    got = [await client.read() for _ in range(41)]
    assert [(p.kind, p.packet_id) for p in got[:40]] == [((PUBACK, PUBREC)[n % 2], n) for n in range(1, 41)]
    assert got[40].kind == PINGRESP
    publisher, subscriber = await clients.pair(("t", 2))
    await publisher.publish_all("t", [b"x"] * 10, 2)
    ids = [(await subscriber.expect(PUBLISH)).packet_id for _ in range(10)]
    subscriber.send(*(acknowledge(PUBREC, packet_id) for packet_id in ids))
    assert [(await subscriber.expect(PUBREL)).packet_id for _ in ids] == ids
