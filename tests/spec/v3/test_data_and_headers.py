"""Chapters 1.5 and 2: strings, the flags of the fixed header, packet identifiers."""

from collections.abc import Callable

import pytest

from ...engine.brokers import Clients
from ...engine.wire import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Client,
    Will,
    acknowledge,
    connect,
    packet,
    publish,
    string,
    subscribe,
    unsubscribe,
)

ILL_FORMED = {
    "a lone continuation byte": b"\x80",
    "a sequence cut short": b"\xe2\x82",
    "over-long": b"\xc0\xaf",
    "an over-long U+0000": b"\xc0\x80",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "no UTF-8 byte": b"\xff",
}
FIRST: dict[str, Callable[[bytes], bytes]] = {
    "client id": connect,
    "will topic": lambda text: connect("c1", will=Will(text)),
    "user name": lambda text: connect("c1", username=text),
}
LATER: dict[str, Callable[[bytes], bytes]] = {
    "topic name": publish,
    "topic name at QoS 2": lambda text: publish(text, b"x", 2, 1),
    "filter of SUBSCRIBE": lambda text: subscribe(1, (text, 0)),
    "second filter of SUBSCRIBE": lambda text: subscribe(1, ("a", 0), (text, 0)),
    "filter of UNSUBSCRIBE": lambda text: unsubscribe(1, text),
}


async def _refuses(clients: Clients, text: bytes) -> None:
    for build in FIRST.values():
        client = await clients.open()
        client.send(build(b"a" + text + b"b"))
        await client.hung_up()
    for build in LATER.values():
        client = await clients.connected()
        client.send(build(b"a" + text + b"b"))
        await client.hung_up()
    assert clients.broker.router.subscription_count == 0


@pytest.mark.parametrize("text", ILL_FORMED.values(), ids=ILL_FORMED.keys())
async def test_ill_formed_utf_8_in_any_string_closes_the_connection(clients: Clients, text: bytes) -> None:
    """[MQTT-1.5.3-1] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1]."""
    await _refuses(clients, text)


async def test_u_0000_in_any_string_closes_the_connection(clients: Clients) -> None:
    """[MQTT-1.5.3-2] [MQTT-4.7.3-2]."""
    await _refuses(clients, b"\x00")


async def test_u_feff_is_a_character_as_any_other(clients: Clients) -> None:
    """[MQTT-1.5.3-3] [MQTT-4.7.3-4]: it neither gets lost nor is it ignored in matching."""
    publisher, subscriber = await clients.pair(("\ufeffa", 1), ("b/+", 0))
    for topic in ("a", "\ufeffa", "b/\ufeff"):
        await publisher.publish(topic, b"x", 1)
    got = [(await subscriber.message()).body for _ in range(2)]
    assert got[0].startswith(b"\x00\x04\xef\xbb\xbfa")
    assert got[1] == string(b"b/\xef\xbb\xbf") + b"x"
    await subscriber.nothing_came()
    client = await clients.connected("\ufeffc1")
    await client.ping()
    assert clients.broker.registry.get("\ufeffc1") is not None
    assert clients.broker.registry.get("c1") is None


async def test_what_is_no_string_may_hold_anything(clients: Clients) -> None:
    """[MQTT-1.5.3-1]: will messages and payloads are bytes, to which the rules for strings do not apply."""
    anything = b"\x00\xff\xed\xa0\x80"
    publisher, subscriber = await clients.pair(("t", 0), ("will", 0))
    await publisher.publish("t", anything)
    assert (await subscriber.message()).payload == anything
    (await clients.connected("dying", will=Will("will", anything))).abort()
    assert (await subscriber.message()).payload == anything


async def test_flags_of_what_the_server_sends(clients: Clients) -> None:
    """[MQTT-2.2.2-1] [MQTT-3.6.1-1]: 0010 in PUBREL, 0 in all others that have none of their own."""
    client = await clients.open()
    seen: list[tuple[int, int]] = []

    async def took(kind: int) -> None:
        got = await client.read()
        assert got.kind == kind
        seen.append((got.kind, got.flags))

    for data, answer in (
        (connect("c1"), CONNACK),
        (subscribe(1, ("own", 2)), SUBACK),
        (publish("t", b"x", 1, 2), PUBACK),
        (publish("t", b"x", 2, 3), PUBREC),
        (acknowledge(PUBREL, 3), PUBCOMP),
        (packet(PINGREQ), PINGRESP),
    ):
        client.send(data)
        await took(answer)
    clients.broker.publish("own", b"x", qos=2)
    delivered = await client.read()
    client.send(acknowledge(PUBREC, delivered.packet_id))
    await took(PUBREL)
    client.send(acknowledge(PUBCOMP, delivered.packet_id), unsubscribe(4, "own"))
    await took(UNSUBACK)
    assert {kind: flags for kind, flags in seen if flags} == {PUBREL: 2}
    assert len({kind for kind, _ in seen}) == 8


FLAGS = {
    PUBACK: (b"\x00\x01", 0),
    PUBREC: (b"\x00\x01", 0),
    PUBREL: (b"\x00\x01", 2),
    PUBCOMP: (b"\x00\x01", 0),
    SUBSCRIBE: (b"\x00\x01\x00\x01a\x00", 2),
    UNSUBSCRIBE: (b"\x00\x01\x00\x01a", 2),
    PINGREQ: (b"", 0),
    DISCONNECT: (b"", 0),
}


@pytest.mark.parametrize("kind", FLAGS)
async def test_any_other_flags_close_the_connection(clients: Clients, kind: int) -> None:
    """[MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]."""
    body, right = FLAGS[kind]
    watcher = await clients.connected("watcher")
    await watcher.subscribe(("will", 0))
    for flags in set(range(16)) - {right}:
        client = await clients.connected("c1", will=Will("will", b"%d" % flags))
        client.send(packet(kind, body, flags), packet(PINGREQ))
        await client.hung_up()
        assert (await watcher.message()).payload == b"%d" % flags  # not taken for a DISCONNECT


async def test_any_flags_in_connect_close_the_connection(clients: Clients) -> None:
    """[MQTT-2.2.2-2] [MQTT-3.1.4-1]."""
    for flags in range(1, 16):
        client = await clients.open()
        client.send(packet(CONNECT, connect("c1")[2:], flags))
        await client.hung_up()


async def test_packet_identifier_0_is_refused(clients: Clients) -> None:
    """[MQTT-2.3.1-1] [MQTT-4.8.0-1]: in whatever has to have one."""
    for data in (publish("t", b"x", 1, 0), publish("t", b"x", 2, 0), subscribe(0, ("t", 0)), unsubscribe(0, "t")):
        client = await clients.connected()
        client.send(data)
        await client.hung_up()


async def test_qos_0_has_no_packet_identifier(clients: Clients) -> None:
    """[MQTT-2.3.1-5]: neither is one read, which would eat the payload, nor is one sent."""
    publisher, subscriber = await clients.pair(("t", 2))
    publisher.send(publish("t", b"\x00\x07"))
    assert (await subscriber.expect(PUBLISH)).body == string("t") + b"\x00\x07"
    publisher.send(publish("t", b""))
    assert (await subscriber.expect(PUBLISH)).body == string("t")


async def _one_of_each(client: Client, packet_id: int) -> list[bytes]:
    """Make a request of each kind with this identifier; give the bodies of the answers."""
    bodies: list[bytes] = []
    for data, answer in (
        (publish("elsewhere", b"x", 1, packet_id), PUBACK),
        (publish("elsewhere", b"x", 2, packet_id), PUBREC),
        (acknowledge(PUBREL, packet_id), PUBCOMP),
        (subscribe(packet_id, ("t", 1)), SUBACK),
        (unsubscribe(packet_id, "t"), UNSUBACK),
    ):
        client.send(data)
        bodies.append((await client.expect(answer)).body)
    return bodies


async def test_answers_have_the_identifier_of_the_request(clients: Clients) -> None:
    """[MQTT-2.3.1-6] [MQTT-2.3.1-7] [MQTT-3.8.4-2] [MQTT-3.10.4-4]: both bytes of it, at either end of the range."""
    client = await clients.connected()
    for packet_id in (1, 0x00FF, 0x0100, 0x1234, 0xFFFF):
        wanted = packet_id.to_bytes(2, "big")
        assert await _one_of_each(client, packet_id) == [wanted, wanted, wanted, wanted + b"\x01", wanted]


async def test_identifiers_of_both_directions_have_nothing_to_do_with_each_other(clients: Clients) -> None:
    """[MQTT-2.3.1-4]: the client uses the number of a delivery that it has not acknowledged yet."""
    publisher, subscriber = await clients.pair(("t", 1))
    await publisher.publish("t", b"x", 1)
    delivered = await subscriber.expect(PUBLISH)
    await _one_of_each(subscriber, delivered.packet_id)
    session = clients.broker.registry.get("subscriber")
    assert session is not None and session.in_flight_count == 1
    subscriber.send(acknowledge(PUBACK, delivered.packet_id))
    await subscriber.ping()
    assert session.in_flight_count == 0
