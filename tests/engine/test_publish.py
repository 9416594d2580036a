"""PUBLISH and its handshakes, both ways."""

import pytest
from wardenmq.broker.settings import MqttSettings

from .brokers import Clients, serving
from .wire import (
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    acknowledge,
    connect,
    packet,
    publish,
    remaining_length,
    string,
    subscribe,
)

MALFORMED = {
    "[MQTT-3.3.1-4] QoS 3": publish("t", b"x", 3, 1),
    "[MQTT-3.3.1-2] DUP with QoS 0": publish("t", b"x", dup=True),
    "[MQTT-2.3.1-1] QoS 1 with packet id 0": publish("t", b"x", 1, 0),
    "[MQTT-2.3.1-1] QoS 2 with packet id 0": publish("t", b"x", 2, 0),
    "[MQTT-3.3.2-2] # in the topic": publish("a/#", b"x"),
    "[MQTT-3.3.2-2] + in the topic": publish("a/+/b", b"x"),
    "[MQTT-3.3.2-2] # inside a level": publish("a#b", b"x", 1, 5),
    "[MQTT-4.7.3-1] empty topic": publish("", b"x"),
    "[MQTT-3.3.2-1] topic not UTF-8": publish(b"\xff", b"x"),
    "[MQTT-1.5.3-1] topic with a surrogate": publish(b"a\xed\xa0\x80", b"x"),
    "[MQTT-4.7.3-2] topic with U+0000": publish(b"a\x00b", b"x"),
    "topic longer than the packet": packet(PUBLISH, b"\x00\x09abc"),
    "no topic": packet(PUBLISH, b"\x00"),
    "no packet id": packet(PUBLISH, string("t"), 2),
    "half a packet id": packet(PUBLISH, string("t") + b"\x01", 2),
    "remaining length of five bytes": b"\x30\x80\x80\x80\x80\x01",
    "[MQTT-3.6.1-1] PUBREL flags": packet(PUBREL, b"\x00\x01", 0),
    "[MQTT-2.2.2-2] PUBACK flags": packet(PUBACK, b"\x00\x01", 2),
    "[MQTT-2.2.2-2] PINGREQ flags": b"\xc1\x00",
    "[MQTT-3.14.1-1] DISCONNECT flags": b"\xe1\x00",
    "PUBACK too short": packet(PUBACK, b"\x01"),
    "PUBACK with packet id 0": acknowledge(PUBACK, 0),
    "PUBACK too long": packet(PUBACK, b"\x00\x01\x00"),
    "PINGREQ with a body": b"\xc0\x01\x00",
    "reserved packet type 0": b"\x00\x00",
    "reserved packet type 15": b"\xf0\x00",
    "CONNACK from a client": b"\x20\x02\x00\x00",
    "SUBACK from a client": packet(SUBACK, b"\x00\x01\x00"),
    "PINGRESP from a client": b"\xd0\x00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_packets_close_that_connection_alone(clients: Clients, data: bytes) -> None:
    """[MQTT-4.8.0-1] [MQTT-2.2.2-2]: what came before is served, what comes behind is not, others do not notice."""
    publisher, subscriber = await clients.pair(("#", 0))
    publisher.send(publish("t", b"before"), data, publish("t", b"behind"))
    await publisher.hung_up()
    assert (await subscriber.message()).payload == b"before"
    await subscriber.nothing_came()
    await (await clients.connected("next")).ping()


async def test_qos_1_is_acknowledged_with_its_id(clients: Clients) -> None:
    """[MQTT-2.3.1-6] [MQTT-3.3.4-1] [MQTT-4.3.2-2]: in the order of the messages."""
    client = await clients.connected()
    client.send(*(publish("t", b"x", 1, packet_id) for packet_id in (65_535, 1, 300)))
    got = [await client.expect(PUBACK) for _ in range(3)]
    assert [(p.flags, p.packet_id, len(p.body)) for p in got] == [(0, 65_535, 2), (0, 1, 2), (0, 300, 2)]


async def test_qos_2_handshake(clients: Clients) -> None:
    """[MQTT-4.3.3-2] [MQTT-2.3.1-6]."""
    client = await clients.connected()
    client.send(publish("t", b"x", 2, 4711))
    assert (await client.expect(PUBREC)).body == b"\x12\x67"
    client.send(acknowledge(PUBREL, 4711))
    assert (await client.expect(PUBCOMP)).body == b"\x12\x67"


async def test_qos_2_is_delivered_once_whatever_is_repeated(clients: Clients) -> None:
    """[MQTT-4.3.3-2] [MQTT-3.3.1-3]: before PUBREL the same id is the same message, with DUP or without."""
    publisher, subscriber = await clients.pair(("t", 2))
    for dup in (False, True, False, True):
        publisher.send(publish("t", b"once", 2, 7, dup=dup))
        assert (await publisher.expect(PUBREC)).packet_id == 7
    for _ in range(3):
        publisher.send(acknowledge(PUBREL, 7))
        assert (await publisher.expect(PUBCOMP)).packet_id == 7
    got = await subscriber.message()
    assert (got.payload, got.dup) == (b"once", False)
    await subscriber.nothing_came()
    publisher.send(publish("t", b"again", 2, 7))
    assert (await publisher.expect(PUBREC)).packet_id == 7
    publisher.send(acknowledge(PUBREL, 7))
    assert (await publisher.expect(PUBCOMP)).packet_id == 7
    assert (await subscriber.message()).payload == b"again"


async def test_qos_2_is_delivered_once_across_a_reconnect(clients: Clients) -> None:
    """[MQTT-4.1.0-1] [MQTT-4.3.3-2]: the ids that wait for PUBREL belong to the session."""
    subscriber = await clients.connected("subscriber")
    await subscriber.subscribe(("t", 2))
    publisher = await clients.connected("publisher", clean=False)
    publisher.send(publish("t", b"once", 2, 7))
    await publisher.expect(PUBREC)
    publisher.abort()
    publisher = await clients.connected("publisher", clean=False)
    publisher.send(publish("t", b"once", 2, 7, dup=True))
    await publisher.expect(PUBREC)
    publisher.send(acknowledge(PUBREL, 7))
    await publisher.expect(PUBCOMP)
    assert (await subscriber.message()).payload == b"once"
    await subscriber.nothing_came()


async def test_pubrel_of_an_unknown_id_is_completed(clients: Clients) -> None:
    """[MQTT-4.3.3-2]: the sender may repeat its PUBREL after the PUBCOMP was lost."""
    client = await clients.connected()
    client.send(acknowledge(PUBREL, 99))
    assert (await client.expect(PUBCOMP)).packet_id == 99


async def test_acknowledgements_of_unknown_ids_do_no_harm(clients: Clients) -> None:
    """Stray PUBACK and PUBCOMP are ignored."""
    client = await clients.connected()
    client.send(acknowledge(PUBACK, 99), acknowledge(PUBCOMP, 98))
    await client.nothing_came()


async def test_dup_is_not_passed_on(clients: Clients) -> None:
    """[MQTT-3.3.1-3]: a publish with DUP reaches the subscriber as a first delivery."""
    publisher, subscriber = await clients.pair(("t", 1))
    publisher.send(publish("t", b"x", 1, 3, dup=True))
    await publisher.expect(PUBACK)
    assert not (await subscriber.message()).dup


async def test_deliveries_have_ids_of_their_own(clients: Clients) -> None:
    """[MQTT-2.3.1-1] [MQTT-2.3.1-4] [MQTT-2.3.1-5]: non-zero and unused while unacknowledged; none at QoS 0."""
    publisher, subscriber = await clients.pair(("one", 1), ("two", 2), ("zero", 0))
    for topic, qos in (("one", 1), ("two", 2), ("one", 1), ("two", 2)):
        await publisher.publish(topic, b"x", qos)
    held = [await subscriber.expect(PUBLISH) for _ in range(4)]
    assert len({p.packet_id for p in held}) == 4
    assert 0 not in {p.packet_id for p in held}
    await publisher.publish("zero", b"", 0)
    assert (await subscriber.message()).body == string("zero")


async def test_packet_ids_wrap_past_65535(clients: Clients) -> None:
    """[MQTT-2.3.1-1] [MQTT-2.3.1-4]: an id that is held over the wrap is skipped, and 0 is never used."""
    publisher, subscriber = await clients.pair(("t", 1))
    await publisher.publish("t", b"held", 1)
    held = await subscriber.expect(PUBLISH)
    total, batch = 65_600, 20
    delivery = len(publish("t", b"x", 1, 1))
    seen: set[int] = set()
    for _ in range(total // batch):
        publisher.send(*(publish("t", b"x", 1, n + 1) for n in range(batch)))
        got = await subscriber.raw(delivery * batch)
        ids = [int.from_bytes(got[n + 5 : n + 7]) for n in range(0, len(got), delivery)]
        subscriber.send(*(acknowledge(PUBACK, packet_id) for packet_id in ids))
        seen.update(ids)
        await publisher.raw(4 * batch)
    assert held.packet_id not in seen
    assert 0 not in seen
    assert len(seen) == 65_534


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_order_is_kept(clients: Clients, qos: int) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6]: per publisher and topic, whatever else is going on."""
    publisher, subscriber = await clients.pair(("t/#", qos))
    payloads = [b"%d" % n for n in range(200)]
    for n, payload in enumerate(payloads):
        if qos == 2:
            await publisher.publish("t/x", payload, 2)
        else:
            publisher.send(publish("t/x", payload, qos, n + 1 if qos else None))
    assert await subscriber.messages(200) == payloads


async def test_qos_2_messages_keep_the_order_of_their_first_publish(clients: Clients) -> None:
    """[MQTT-4.6.0-6]: PUBREC and PUBCOMP come in order too."""
    publisher, subscriber = await clients.pair(("t", 2))
    publisher.send(*(publish("t", b"%d" % n, 2, n) for n in range(1, 21)))
    assert [(await publisher.expect(PUBREC)).packet_id for _ in range(20)] == list(range(1, 21))
    publisher.send(*(acknowledge(PUBREL, n) for n in range(1, 21)))
    assert [(await publisher.expect(PUBCOMP)).packet_id for _ in range(20)] == list(range(1, 21))
    assert await subscriber.messages(20) == [b"%d" % n for n in range(1, 21)]


@pytest.mark.parametrize("size", [0, 1, 121, 122, 123, 16_377, 16_378, 16_379, 300_000])
@pytest.mark.parametrize("qos", [0, 1])
async def test_payloads_arrive_unchanged(clients: Clients, size: int, qos: int) -> None:
    """A payload is the application's own; sizes are around each width of the remaining length."""
    payload = bytes(n * 7 % 256 for n in range(size))
    publisher, subscriber = await clients.pair(("t", qos))
    await publisher.publish("t", payload, qos)
    got = await subscriber.message()
    assert (got.topic, got.payload, got.qos) == ("t", payload, qos)


async def test_largest_packet() -> None:
    """`max_packet_size`: the limit itself passes, one byte more closes the connection before the payload is read."""
    async with serving(settings=MqttSettings(max_packet_size=1000)) as clients:
        publisher, subscriber = await clients.pair(("t", 0))
        largest = publish("t", b"x" * (1000 - 3 - 3))
        assert len(largest) == 1000
        publisher.send(largest)
        assert len((await subscriber.message()).payload) == 994
        publisher.send(b"\x30" + remaining_length(998))
        await publisher.hung_up()
        await subscriber.nothing_came()


STREAM = (
    connect("c1", clean=True, keep_alive=60),
    subscribe(1, ("t/#", 2), ("u", 0)),
    publish("t/a", b"zero"),
    publish("t/b", b"one", 1, 2),
    publish("t/c", b"two", 2, 3),
    acknowledge(PUBREL, 3),
    publish("u", b"y" * 300),
    publish("elsewhere", b"", 1, 4),
    b"\xc0\x00",
)


async def _answers(clients: Clients, chunks: list[bytes]) -> list[tuple[int, int, bytes]]:
    client = await clients.open()
    for chunk in chunks:
        client.send(chunk)
        await client.drain()
    got = []
    while not got or got[-1][0] != 13:
        answer = await client.read()
        got.append((answer.kind, answer.flags, answer.body))
    await client.disconnect()
    return sorted(got)


async def test_any_split_of_the_stream_gives_the_same_answers(clients: Clients) -> None:
    """[MQTT-7.1.1-1]: one segment, byte by byte, and cuts within each packet."""
    stream = b"".join(STREAM)
    whole = await _answers(clients, [stream])
    assert [kind for kind, _, _ in whole] == sorted([2, 9, 3, 4, 3, 5, 7, 3, 3, 4, 13])
    assert await _answers(clients, [stream[n : n + 1] for n in range(len(stream))]) == whole
    for size in (2, 3, 5, 7, 11, 64, 127):
        assert await _answers(clients, [stream[n : n + size] for n in range(0, len(stream), size)]) == whole


async def test_many_packets_in_one_segment(clients: Clients) -> None:
    """A run of equal topics, broken by others: nothing is lost, doubled or moved."""
    publisher, subscriber = await clients.pair(("a", 0), ("b", 1), ("c/#", 0))
    sent = [(("a", "a", "a", "b", "a", "nobody", "c/d", "c/d")[n % 8], b"%05d" % n) for n in range(4000)]
    publisher.send(*(publish(topic, payload) for topic, payload in sent))
    for topic, payload in sent:
        if topic != "nobody":
            got = await subscriber.message()
            assert (got.topic, got.payload) == (topic, payload)
    await subscriber.nothing_came()


async def test_a_run_of_retained_and_other_flags_in_one_segment(clients: Clients) -> None:
    """Equal topics with unlike fixed headers must not be taken for a run."""
    publisher, subscriber = await clients.pair(("t", 1))
    publisher.send(
        publish("t", b"1"), publish("t", b"2"), publish("t", b"3", retain=True), publish("t", b"4"),
        publish("t", b"", 1, 9), publish("t", b"5"), publish("t", b"66"), publish("t", b"7"),
    )  # fmt: skip
    got = [await subscriber.message() for _ in range(8)]
    assert [(p.payload, p.qos, p.retain) for p in got] == [
        (b"1", 0, False), (b"2", 0, False), (b"3", 0, False), (b"4", 0, False),
        (b"", 1, False), (b"5", 0, False), (b"66", 0, False), (b"7", 0, False),
    ]  # fmt: skip
    late = await clients.connected("late")
    await late.subscribe(("t", 0))
    assert (await late.message()).payload == b"3"
