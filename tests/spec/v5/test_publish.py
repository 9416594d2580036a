"""PUBLISH: the three handshakes, order, and what a PUBLISH may not be (MQTT 5.0, sections 3.3 and 4.3 to 4.6)."""

import pytest

from ...engine.packets5 import P
from ...engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet, string
from ...engine.wire5 import acknowledge, publish
from .serving import KEPT, Clients5


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_qos_arrives(clients: Clients5, qos: int) -> None:
    """Each QoS with its handshake, both ways.

    [MQTT-3.3.4-1] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.2-4] [MQTT-4.3.3-2] [MQTT-4.3.3-4] [MQTT-4.3.3-8]
    [MQTT-4.3.3-11] [MQTT-2.2.1-2] [MQTT-2.2.1-4] [MQTT-2.2.1-5] [MQTT-4.5.0-1] [MQTT-3.3.2-1]
    """
    publisher, subscriber = await clients.pair5(("a/b", 2))
    assert await publisher.publish("a/b", b"payload", qos) == 0
    got = await subscriber.expect(PUBLISH)
    assert (got.topic, got.payload, got.qos, got.dup, got.retain) == ("a/b", b"payload", qos, False, False)
    assert got.properties == ()
    await subscriber.complete(got)
    await subscriber.nothing_came()
    assert clients.session("subscriber").in_flight_count == 0


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_the_lower_qos_is_used(clients: Clients5, published: int, granted: int) -> None:
    """[MQTT-3.8.4-8]: of the two."""
    publisher, subscriber = await clients.pair5(("t", granted))
    await publisher.publish("t", b"x", published)
    assert (await subscriber.message()).qos == min(published, granted)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\xff\xfe", bytes(range(256)) * 300])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_payloads_are_not_looked_at(clients: Clients5, payload: bytes, qos: int) -> None:
    """Empty, binary and long payloads arrive as they are. [MQTT-3.3.4-1]"""
    publisher, subscriber = await clients.pair5(("t", 2))
    await publisher.publish("t", payload, qos, properties=[(P.PAYLOAD_FORMAT, 0)])
    assert (await subscriber.message()).payload == payload


@pytest.mark.parametrize("size", [0, 1, 110, 118, 119, 120, 121, 122, 123, 16_360, 16_373, 16_374, 16_375, 16_380])
async def test_lengths_around_the_steps(clients: Clients5, size: int) -> None:
    """[MQTT-1.5.5-1]: where remaining length and property length need a byte more; the client checks their form."""
    publisher, subscriber = await clients.pair5(("t", 1))
    for qos in (0, 1):
        await publisher.publish("t", b"x" * size, qos)
        assert len((await subscriber.message()).payload) == size
        await publisher.publish("t", b"x", qos, properties=[(P.USER, ("k", "v" * size))])
        assert (await subscriber.message()).properties == ((P.USER, ("k", "v" * size)),)


async def test_packet_identifiers(clients: Clients5) -> None:
    """[MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]: not 0 and not in use, each direction on its own."""
    publisher, subscriber = await clients.pair5(("t", 2))
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1 + number % 2)
    got = [await subscriber.expect(PUBLISH) for _ in range(10)]
    assert len({packet_.packet_id for packet_ in got}) == 10
    subscriber.send(publish("other", b"", 2, got[0].packet_id))  # the same number in the other direction
    assert (await subscriber.expect(PUBREC)).packet_id == got[0].packet_id
    for packet_ in got:
        await subscriber.complete(packet_)
    await subscriber.nothing_came()


async def test_identifiers_go_round_past_those_in_use(clients: Clients5) -> None:
    """[MQTT-2.2.1-4]: one that stays unacknowledged is not given again when the numbers begin anew."""
    publisher, subscriber = await clients.pair5(("t", 1))
    await publisher.publish("t", b"held", 1)
    held = (await subscriber.expect(PUBLISH)).packet_id
    clients.session("subscriber")._last_packet_id = 65_520  # as after as many messages
    ids: list[int] = []
    for start in range(1, 61, 20):
        publisher.send(*(publish("t", b"x", 1, number) for number in range(start, start + 20)))
        for _ in range(20):
            got = await subscriber.expect(PUBLISH)
            ids.append(got.packet_id)
            subscriber.send(acknowledge(PUBACK, got.packet_id))
            await publisher.expect(PUBACK)
    assert max(ids) == 65_535 and len(set(ids)) == 60
    assert not {0, held} & set(ids)


# The receiver's side of QoS 1 and 2.


async def test_qos_1_identifiers_are_free_after_puback(clients: Clients5) -> None:
    """[MQTT-4.3.2-5]: the same identifier again is a new message, with DUP or without."""
    publisher, subscriber = await clients.pair5(("t", 1))
    for number, dup in enumerate((False, False, True)):
        publisher.send(publish("t", b"%d" % number, 1, 7, dup=dup))
        assert (await publisher.expect(PUBACK)).packet_id == 7
    assert await subscriber.messages(3) == [b"0", b"1", b"2"]


async def test_dup_is_not_passed_on(clients: Clients5) -> None:
    """[MQTT-3.3.1-3]: DUP of the incoming packet says nothing about the outgoing one."""
    publisher, subscriber = await clients.pair5(("t", 2))
    for qos in (1, 2):
        publisher.send(publish("t", b"x", qos, 7, dup=True))
        got = await subscriber.message()
        assert (got.qos, got.dup) == (qos, False)
    await publisher.expect(PUBACK)


async def test_a_repeated_qos_2_publish_is_delivered_once(clients: Clients5) -> None:
    """[MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12]: until its PUBREL; after that the identifier is free."""
    publisher, subscriber = await clients.pair5(("t", 2))
    for payload in (b"first", b"second"):
        for dup in (False, True, True):
            publisher.send(publish("t", payload, 2, 7, dup=dup))
            got = await publisher.expect(PUBREC)
            assert (got.packet_id, got.reason) == (7, 0)
        publisher.send(acknowledge(PUBREL, 7))
        got = await publisher.expect(PUBCOMP)
        assert (got.packet_id, got.reason) == (7, 0)
        publisher.send(acknowledge(PUBREL, 7))
        got = await publisher.expect(PUBCOMP)
        assert (got.packet_id, got.reason) == (7, 0x92)
    assert await subscriber.messages(2) == [b"first", b"second"]
    await subscriber.nothing_came()


async def test_acknowledgements_come_in_order(clients: Clients5) -> None:
    """[MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]: one each, with the identifier of its packet, in turn."""
    publisher = await clients.connected5("publisher")
    ids = [5, 3, 65_535, 1, 1_000]
    publisher.send(*(publish("t", b"", 1, number) for number in ids))
    assert [(await publisher.expect(PUBACK)).packet_id for _ in ids] == ids
    publisher.send(*(publish("t", b"", 2, number) for number in ids))
    assert [(await publisher.expect(PUBREC)).packet_id for _ in ids] == ids
    publisher.send(*(acknowledge(PUBREL, number) for number in ids))
    assert [(await publisher.expect(PUBCOMP)).packet_id for _ in ids] == ids


# The sender's side.


async def test_qos_2_towards_the_subscriber(clients: Clients5) -> None:
    """[MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-3]: PUBREL answers PUBREC, and a repeated PUBREC too."""
    publisher, subscriber = await clients.pair5(("t", 2))
    await publisher.publish("t", b"x", 2)
    got = await subscriber.expect(PUBLISH)
    assert clients.session("subscriber").in_flight_count == 1
    for _ in range(2):
        subscriber.send(acknowledge(PUBREC, got.packet_id))
        released = await subscriber.expect(PUBREL)
        assert (released.packet_id, released.reason) == (got.packet_id, 0)
    assert clients.session("subscriber").in_flight_count == 1
    subscriber.send(acknowledge(PUBCOMP, got.packet_id))
    await subscriber.nothing_came()
    assert clients.session("subscriber").in_flight_count == 0


# Order.


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_order_of_one_topic(clients: Clients5, qos: int) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6]: as published, through the window, the queue and a slow reader."""
    publisher, subscriber = await clients.pair5(("t", 2))
    payloads = [b"%d" % number for number in range(300)]
    for start in range(0, 300, 50):
        publisher.send(
            *(publish("t", payloads[n], qos, n + 1 if qos else None) for n in range(start, start + 50)),
        )
    assert await subscriber.messages(300) == payloads


async def test_order_survives_a_reconnect(clients: Clients5) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.4.0-1]: what was in flight, then what was queued, then what is new."""
    client = await clients.connected5("c1", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 3)])
    await client.subscribe(("t", 1))
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t", b"%d" % number, 1)
    first = [await client.expect(PUBLISH) for _ in range(3)]
    client.send(acknowledge(PUBACK, first[1].packet_id))
    assert (await client.expect(PUBLISH)).payload == b"3"
    client.abort()
    await clients.gone("c1")
    for number in (6, 7):
        await publisher.publish("t", b"%d" % number, 1)
    client = await clients.back("c1", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 3)])
    assert await client.messages(7) == [b"0", b"2", b"3", b"4", b"5", b"6", b"7"]


async def test_mixed_qos_keeps_the_order_of_each(clients: Clients5) -> None:
    """[MQTT-4.6.0-5]: per topic and QoS."""
    publisher, subscriber = await clients.pair5(("t/#", 2))
    for number in range(60):
        publisher.send(publish(f"t/{number % 2}", b"%d" % number, number % 3, number + 1 if number % 3 else None))
    got = [await subscriber.message() for _ in range(60)]
    for topic in ("t/0", "t/1"):
        for qos in range(3):
            numbers = [int(one.payload) for one in got if one.topic == topic and one.qos == qos]
            assert numbers == sorted(numbers) and len(numbers) == 10


# What is no PUBLISH.


@pytest.mark.parametrize(
    ("request_", "reasons"),
    [
        pytest.param(publish("t", b"x", 3, 7), {0x81}, id="3.3.1-4: QoS 3"),
        pytest.param(publish("t", b"x", dup=True), {0x81, 0x82}, id="3.3.1-2: DUP at QoS 0"),
        pytest.param(publish("a/+", b"x"), {0x81, 0x82, 0x90}, id="3.3.2-2: +"),
        pytest.param(publish("a/#", b"x", 1, 7), {0x81, 0x82, 0x90}, id="3.3.2-2: #"),
        pytest.param(publish("#", b"x", 2, 7), {0x81, 0x82, 0x90}, id="4.7.0-1: # alone"),
        pytest.param(publish("", b"x"), {0x82}, id="4.7.3-1: no topic"),
        pytest.param(publish("", b"x", 1, 7), {0x82}, id="4.7.3-1: no topic, QoS 1"),
        pytest.param(publish("a\0", b"x"), {0x81}, id="4.7.3-2: U+0000"),
        pytest.param(publish(b"\xc3\x28", b"x"), {0x81}, id="3.3.2-1: not UTF-8"),
        pytest.param(publish(b"a\xed\xbf\xbf", b"x", 1, 7), {0x81}, id="1.5.4-1: surrogate"),
        pytest.param(publish("t", b"x", 1, 0), {0x81, 0x82}, id="2.2.1-3: packet identifier 0"),
        pytest.param(publish("t", b"x", 2, 0), {0x81, 0x82}, id="2.2.1-3: packet identifier 0, QoS 2"),
        pytest.param(packet(PUBLISH, b"\0"), {0x81}, id="cut off in the topic's length"),
        pytest.param(packet(PUBLISH, b"\0\x05ab"), {0x81}, id="cut off in the topic"),
        pytest.param(packet(PUBLISH, string("t")), {0x81}, id="2.2.2-1: no property length"),
        pytest.param(packet(PUBLISH, string("t") + b"\0", 2), {0x81}, id="no packet identifier"),
        pytest.param(packet(PUBLISH, string("t") + b"\0\7", 2), {0x81}, id="2.2.2-1: no property length, QoS 1"),
        pytest.param(packet(PUBLISH, string("t") + b"\5\1\0"), {0x81}, id="properties longer than the packet"),
    ],
)
async def test_what_is_no_publish_ends_the_connection(clients: Clients5, request_: bytes, reasons: set[int]) -> None:
    """DISCONNECT with the reason, and nobody receives it; the connection of others goes on.

    [MQTT-4.13.1-1] [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1]
    [MQTT-4.7.3-2] [MQTT-2.2.1-3] [MQTT-2.2.2-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    """
    watcher = await clients.subscribed5("watcher", ("#", 0), ("+/+", 0))
    client = await clients.connected5("c1")
    client.send(publish("before", b"1"), request_)
    await client.disconnected(*reasons)
    assert (await watcher.message()).topic == "before"
    await watcher.nothing_came()


async def test_no_answer_to_qos_0(clients: Clients5) -> None:
    """[MQTT-3.3.4-1]: none, whether anybody subscribes or not."""
    publisher, subscriber = await clients.pair5(("t", 0))
    publisher.send(publish("t", b"x"), publish("nobody", b"x"))
    await publisher.nothing_came()
    assert (await subscriber.message()).payload == b"x"


async def test_a_message_on_its_own_topic_only(clients: Clients5) -> None:
    """[MQTT-3.3.2-3] [MQTT-4.7.3-4]: the topic is passed on as it is, and goes to filters that match it alone."""
    publisher, subscriber = await clients.pair5(("a/+", 1))
    for topic in ("A/b", "a", "a/b/c", "/a/b", "a/b/", "b/a"):
        assert await publisher.publish(topic, b"x", 1) == 0x10, topic
    for topic in ("a/", "a/b", "a/ b", "a/\u00e9", "a/e\u0301"):
        assert await publisher.publish(topic, b"x", 1) == 0
        assert (await subscriber.message()).topic == topic
    await subscriber.nothing_came()
