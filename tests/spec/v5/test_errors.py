"""Malformed packets and protocol errors that no packet's own tests name (MQTT 5.0, section 4.13)."""

import random

import pytest

from ...engine.packets5 import AUTH, P
from ...engine.wire import (
    CONNACK,
    PING,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    PUBREC,
    SUBACK,
    UNSUBACK,
    packet,
    remaining_length,
    string,
)
from ...engine.wire5 import Client5, connect, options, publish, subscribe, unsubscribe
from .serving import KEPT, Clients5

ERRORS = [
    pytest.param(packet(0), {0x81, 0x82}, id="packet type 0"),
    pytest.param(packet(0, b"abc", 15), {0x81, 0x82}, id="packet type 0 with a body"),
    pytest.param(packet(CONNACK, b"\0\0\0"), {0x81, 0x82}, id="CONNACK from a client"),
    pytest.param(packet(SUBACK, b"\0\1\0\0"), {0x81, 0x82}, id="SUBACK from a client"),
    pytest.param(packet(UNSUBACK, b"\0\1\0\0"), {0x81, 0x82}, id="UNSUBACK from a client"),
    pytest.param(packet(PINGRESP), {0x81, 0x82}, id="PINGRESP from a client"),
    pytest.param(packet(AUTH), {0x82}, id="AUTH without a method"),
    pytest.param(b"\x30\xff\xff\xff\xff\x01", {0x81}, id="remaining length of five bytes"),
    pytest.param(b"\xc0\xff\xff\xff\xff", {0x81}, id="remaining length that does not end"),
    pytest.param(packet(PINGREQ, b"\0"), {0x81}, id="PINGREQ with a body"),
    pytest.param(publish("a/#", b"x"), {0x81, 0x82, 0x90}, id="wildcard in a topic"),
    pytest.param(publish("", b"x"), {0x82}, id="no topic"),
    pytest.param(publish("t", b"x", 3, 1), {0x81}, id="QoS 3"),
    pytest.param(publish("t", b"x", properties=[(P.TOPIC_ALIAS, 0)]), {0x94}, id="alias 0"),
    pytest.param(publish("t", b"x", properties=[(P.SUBSCRIPTION_ID, 1)]), {0x82}, id="subscription identifier"),
    pytest.param(publish("t", b"x", properties=b"\x7f"), {0x81}, id="unknown property"),
    pytest.param(subscribe(1, ("$share/g/t", options(0, no_local=True))), {0x82}, id="No Local on a shared filter"),
    pytest.param(subscribe(1, ("t", 0x40)), {0x81}, id="reserved options"),
    pytest.param(subscribe(1), {0x82}, id="SUBSCRIBE to nothing"),
    pytest.param(unsubscribe(1), {0x82}, id="UNSUBSCRIBE from nothing"),
    pytest.param(connect("c1"), {0x82}, id="a second CONNECT"),
]


@pytest.mark.parametrize(("request_", "reasons"), ERRORS)
async def test_an_error_ends_one_connection(clients: Clients5, request_: bytes, reasons: set[int]) -> None:
    """DISCONNECT with the reason and the end, at once; nothing after it counts, and nobody else notices.

    [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2]
    """
    watcher = await clients.subscribed5("watcher", ("after", 0))
    client = await clients.connected5("c1", properties=KEPT)
    client.send(request_, publish("after", b"x"))
    await client.disconnected(*reasons)
    await watcher.nothing_came()
    await (await clients.connected5("c1")).ping()


@pytest.mark.parametrize(("request_", "reasons"), ERRORS)
async def test_an_error_that_comes_in_pieces(clients: Clients5, request_: bytes, reasons: set[int]) -> None:
    """[MQTT-4.13.1-1]: any split of the same bytes gives the same reason."""
    client = await clients.connected5("c1")
    await client.publish("warm", b"up")
    client.send(publish("t", b"x"), request_[:1])
    for number in range(1, len(request_)):
        await client.drain()
        client.send(request_[number : number + 1])
    client.send(PING)
    await client.disconnected(*reasons)


async def test_what_came_before_the_error_is_done(clients: Clients5) -> None:
    """[MQTT-4.13.1-1]: in the same write; acknowledged and delivered."""
    watcher = await clients.subscribed5("watcher", ("t", 2))
    client = await clients.connected5("c1")
    client.send(publish("t", b"0"), publish("t", b"1", 1, 1), publish("t", b"2", 2, 2), packet(0))
    assert (await client.expect(PUBACK)).packet_id == 1
    assert (await client.expect(PUBREC)).packet_id == 2
    await client.disconnected(0x81, 0x82)
    assert await watcher.messages(3) == [b"0", b"1", b"2"]


async def test_random_bytes_harm_nobody(clients: Clients5) -> None:
    """[MQTT-4.13.1-1]: noise from accepted clients ends their connections, each with a DISCONNECT that parses."""
    bystander = await clients.connected5("bystander")
    dice = random.Random(5)
    for _ in range(100):
        client = await clients.connected5("noisy")
        # every packet type but the ones that may end politely or wait for more
        client.send(bytes((dice.choice((0x00, 0x20, 0x36, 0x41, 0x62, 0x82, 0xA2, 0xC0, 0xF0)),)) + b"\x20")
        client.send(dice.randbytes(200))
        rest = await _until_closed(client)
        assert rest in (None, *range(0x80, 0xA3)), rest
    await bystander.ping()


async def _until_closed(client: Client5) -> int | None:
    """Read packets to the end; give the reason of the DISCONNECT."""
    client.send(packet(0) * 3)
    reason = None
    try:
        while True:
            got = await client.read()
            reason = got.reason if got.kind == 14 else reason
    except (EOFError, ConnectionError):
        return reason


async def test_a_length_in_a_longer_form_is_no_other_length(clients: Clients5) -> None:
    """[MQTT-1.5.5-1]: refused as malformed, or read as the number that it is."""
    body = string("t") + b"\0" + b"payload"
    short = remaining_length(len(body))
    for count in (1, 50):
        publisher, subscriber = await clients.pair5(("t", 0))
        publisher.send((bytes((PUBLISH << 4,)) + bytes((short[0] | 0x80, 0)) + body) * count)
        publisher.send(PING)
        got = await publisher.read()
        if got.kind == PINGRESP:
            for _ in range(count):
                assert (await subscriber.message()).payload == b"payload"  # which checks the form
        else:
            assert got.reason == 0x81
            await subscriber.nothing_came()
