"""Receive Maximum both ways and Maximum Packet Size both ways (MQTT 5.0, sections 4.9, 3.1.2.11.3 and 3.1.2.11.4)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine.packets5 import P
from ...engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK
from ...engine.wire5 import Client5, acknowledge, publish, subscribe, users
from .serving import KEPT, Clients5, serving5


async def _window(clients: Clients5, size: int, client_id: str = "c1") -> Client5:
    client = await clients.connected5(client_id, properties=[*KEPT, (P.RECEIVE_MAXIMUM, size)])
    await client.subscribe(("t", 2))
    return client


# Towards the client.


@pytest.mark.parametrize("qos", [1, 2])
async def test_no_more_than_the_client_can_take(clients: Clients5, qos: int) -> None:
    """[MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]: the rest comes as the client acknowledges, in order."""
    client = await _window(clients, 2)
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t", b"%d" % number, qos)
    got = [await client.expect(PUBLISH), await client.expect(PUBLISH)]
    await client.nothing_came()
    await client.complete(got[0])
    got.append(await client.expect(PUBLISH))
    await client.nothing_came()
    await client.complete(got[2])
    await client.complete(got[1])
    got += [await client.expect(PUBLISH), await client.expect(PUBLISH)]
    await client.nothing_came()
    await client.complete(got[4])
    await client.complete(got[3])
    got.append(await client.expect(PUBLISH))
    assert [one.payload for one in got] == [b"%d" % number for number in range(6)]


async def test_qos_2_holds_its_place_until_pubcomp(clients: Clients5) -> None:
    """[MQTT-4.9.0-2]: PUBREC makes no room, PUBCOMP does, and so does a PUBREC of 0x80 or more."""
    client = await _window(clients, 1)
    publisher = await clients.connected5("publisher")
    for number in range(3):
        await publisher.publish("t", b"%d" % number, 2)
    got = await client.expect(PUBLISH)
    client.send(acknowledge(PUBREC, got.packet_id))
    await client.expect(PUBREL)
    await client.nothing_came()
    client.send(acknowledge(PUBCOMP, got.packet_id))
    got = await client.expect(PUBLISH)
    assert got.payload == b"1"
    client.send(acknowledge(PUBREC, got.packet_id, 0x80))
    assert (await client.expect(PUBLISH)).payload == b"2"


async def test_acknowledgements_of_nothing_make_no_room(clients: Clients5) -> None:
    """[MQTT-4.9.0-1] [MQTT-4.9.0-2]: the quota never grows past the Receive Maximum."""
    client = await _window(clients, 1)
    publisher = await clients.connected5("publisher")
    client.send(*(acknowledge(PUBACK, number) for number in range(1_000, 1_010)), acknowledge(PUBCOMP, 1_000))
    await client.ping()
    for number in range(3):
        await publisher.publish("t", b"%d" % number, 1)
    got = await client.expect(PUBLISH)
    await client.nothing_came()
    client.send(acknowledge(PUBACK, got.packet_id), acknowledge(PUBACK, got.packet_id))
    await client.expect(PUBLISH)
    await client.nothing_came()


async def test_everything_else_goes_on_at_zero(clients: Clients5) -> None:
    """[MQTT-3.3.4-10] [MQTT-4.9.0-3]: QoS 0 messages, and the answers to all that the client sends."""
    client = await _window(clients, 1)
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"held", 1)
    await publisher.publish("t", b"waits", 1)
    held = await client.expect(PUBLISH)
    await publisher.publish("t", b"passes")
    assert (await client.expect(PUBLISH)).payload == b"passes"
    await client.ping()
    assert await client.publish("other", b"", 1) == 0x10
    assert await client.publish("other", b"", 2) == 0x10
    client.send(subscribe(900, ("u", 0)))
    assert (await client.expect(SUBACK)).codes == (0,)
    assert await client.unsubscribe("u") == [0]
    client.send(acknowledge(PUBACK, held.packet_id))
    assert (await client.expect(PUBLISH)).payload == b"waits"


async def test_what_is_sent_again_counts(clients: Clients5) -> None:
    """[MQTT-4.9.0-2] [MQTT-4.4.0-1]: the new connection's Receive Maximum holds for the old messages too."""
    client = await _window(clients, 4)
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t", b"%d" % number, 1)
    first = [await client.expect(PUBLISH) for _ in range(4)]
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 2)])
    got = [await client.expect(PUBLISH), await client.expect(PUBLISH)]
    assert [one.packet_id for one in got] == [one.packet_id for one in first[:2]]
    await client.nothing_came()
    for one in got:
        client.send(acknowledge(PUBACK, one.packet_id))
    assert [(one.payload, one.dup) for one in [await client.message() for _ in range(4)]] == [
        (b"2", True),
        (b"3", True),
        (b"4", False),
        (b"5", False),
    ]


async def test_a_new_connection_has_a_new_window(clients: Clients5) -> None:
    """[MQTT-4.9.0-1]: a larger Receive Maximum takes effect with the CONNECT that has it."""
    client = await _window(clients, 1)
    publisher = await clients.connected5("publisher")
    for number in range(5):
        await publisher.publish("t", b"%d" % number, 1)
    await client.expect(PUBLISH)
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    assert [(await client.expect(PUBLISH)).payload for _ in range(5)] == [b"%d" % number for number in range(5)]


# From the client.


async def test_more_than_the_server_can_take() -> None:
    """[MQTT-3.3.4-7] [MQTT-4.9.0-2]: QoS 2 messages without their PUBREL; one too many is DISCONNECT 0x93."""
    async with serving5(MqttSettings(max_awaiting_rel=3)) as limited:
        client = await limited.open5()
        assert (await client.connect("c1")).get(P.RECEIVE_MAXIMUM) == 3
        client.send(*(publish("t", b"x", 2, number) for number in (1, 2, 3)))
        for number in (1, 2, 3):
            assert (await client.expect(PUBREC)).packet_id == number
        client.send(publish("t", b"x", 2, 2, dup=True))  # one of the three
        assert (await client.expect(PUBREC)).packet_id == 2
        client.send(acknowledge(PUBREL, 1))
        await client.expect(PUBCOMP)
        client.send(publish("t", b"x", 2, 4))
        assert (await client.expect(PUBREC)).packet_id == 4
        await client.publish("t", b"QoS 0 and 1 are no more")
        assert await client.publish("t", b"x", 1) == 0x10
        client.send(publish("t", b"x", 2, 5))
        await client.disconnected(0x93)


async def test_a_client_within_the_maximum_is_served_for_ever() -> None:
    """[MQTT-3.3.4-7]: each PUBREL, each PUBREC with an error and each PUBACK gives a place back."""
    async with serving5(MqttSettings(max_awaiting_rel=2)) as limited:
        client = await limited.connected5("c1")
        for start in range(1, 40, 2):
            client.send(publish("t", b"x", 2, start), publish("t", b"x", 2, start + 1))
            await client.expect(PUBREC)
            await client.expect(PUBREC)
            client.send(acknowledge(PUBREL, start), acknowledge(PUBREL, start + 1))
            await client.expect(PUBCOMP)
            await client.expect(PUBCOMP)
        client.send(*(publish("t", b"x", 1, number) for number in range(1, 50)))
        for number in range(1, 50):
            assert (await client.expect(PUBACK)).packet_id == number


# Maximum Packet Size.


def _size(payload: int, qos: int, properties: list[tuple[int, object]] = []) -> int:  # noqa: B006 - not changed
    return len(publish("t", b"x" * payload, qos, 1 if qos else None, properties=properties))


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_message_too_large_for_the_client(clients: Clients5, qos: int) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]: left out as if delivered; one of exactly the maximum arrives."""
    limit = _size(50, qos)
    client = await clients.connected5("c1", properties=[(P.MAXIMUM_PACKET_SIZE, limit), (P.RECEIVE_MAXIMUM, 1)])
    await client.subscribe(("t", 2))
    other = await clients.subscribed5("other", ("t", 2))
    publisher = await clients.connected5("publisher")
    for size in (50, 51, 49, 5_000, 50):
        assert await publisher.publish("t", b"x" * size, qos) == 0
        assert len((await other.message()).payload) == size
    assert [len(payload) for payload in await client.messages(3)] == [50, 49, 50]
    await client.nothing_came()
    assert clients.session("c1").in_flight_count == 0


async def test_the_whole_packet_counts(clients: Clients5) -> None:
    """[MQTT-3.1.2-24]: properties, subscription identifier and topic, not the payload alone."""
    properties = users(("k", "v" * 40))
    limit = _size(20, 0, properties)
    client = await clients.connected5("c1", properties=[(P.MAXIMUM_PACKET_SIZE, limit)])
    await client.subscribe(("t", 1))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"x" * 20, 0, properties=properties)
    assert (await client.message()).size == limit
    await publisher.publish("t", b"x" * 20, 1, properties=properties)  # two more for the packet identifier
    await client.nothing_came()
    await client.subscribe(("t", 1), properties=[(P.SUBSCRIPTION_ID, 1)])
    await publisher.publish("t", b"x" * 20, 0, properties=properties)
    await client.nothing_came()
    await publisher.publish("t", b"x" * 18, 0, properties=properties)
    assert (await client.message()).size == limit


@pytest.mark.parametrize("room", range(5))
async def test_an_alias_does_not_go_past_it(clients: Clients5, room: int) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-26]: a message that fits without the alias is sent, with one only if that fits."""
    limit = _size(50, 0) + room
    announced = [(P.MAXIMUM_PACKET_SIZE, limit), (P.TOPIC_ALIAS_MAXIMUM, 5)]
    client = await clients.connected5("c1", properties=announced)
    await client.subscribe(("t", 0))
    publisher = await clients.connected5("publisher")
    for _ in range(3):
        await publisher.publish("t", b"x" * 50)
        got = await client.message()  # checks the size
        assert (got.topic, len(got.payload)) == ("t", 50)


async def test_a_queued_message_too_large_for_the_next_connection(clients: Clients5) -> None:
    """[MQTT-3.1.2-25]: what is queued, in flight and retained is measured by the connection that is there."""
    client = await clients.connected5("c1", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 1)])
    await client.subscribe(("t", 1))
    publisher = await clients.connected5("publisher")
    for size in (200, 300, 10, 400, 20):
        await publisher.publish("t", b"x" * size, 1)
    await client.expect(PUBLISH)
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1", properties=[*KEPT, (P.MAXIMUM_PACKET_SIZE, 100), (P.RECEIVE_MAXIMUM, 1)])
    assert [len(payload) for payload in await client.messages(2)] == [10, 20]
    await client.nothing_came()
    await publisher.publish("r", b"x" * 200, 1, retain=True)
    assert await client.subscribe(("r", 1)) == [1]
    await client.nothing_came()
    assert clients.session("c1").in_flight_count == 0


async def test_a_packet_too_large_for_the_server() -> None:
    """[MQTT-3.2.2-15] [MQTT-4.13.1-1]: DISCONNECT 0x95, before the rest of it has come; at the maximum it is served."""
    async with serving5(MqttSettings(max_packet_size=1_000)) as limited:
        client = await limited.connected5("c1")
        head = len(publish("t", b"", 1, 1)) + 1  # the remaining length takes two bytes
        assert await client.publish("t", b"x" * (1_000 - head), 1) == 0x10
        client.send(publish("t", b"x" * (1_001 - head), 1, 9))
        await client.disconnected(0x95)
        client = await limited.connected5("c1")
        client.send(b"\x30\xff\xff\xff\x7f")
        await client.disconnected(0x95)


async def test_the_limits_of_one_client_are_not_those_of_another(clients: Clients5) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.3.4-9]: a small window and a small packet size beside clients without any."""
    small = await clients.connected5("small", properties=[(P.MAXIMUM_PACKET_SIZE, 60), (P.RECEIVE_MAXIMUM, 1)])
    await small.subscribe(("t", 1))
    big = await clients.subscribed5("big", ("t", 1))
    old = await clients.connected("old")
    await old.subscribe(("t", 1))
    publisher = await clients.connected5("publisher")
    for number in range(10):
        await publisher.publish("t", b"%d" % number * (100 if number % 2 else 1), 1)
    assert len([await big.message() for _ in range(10)]) == 10
    assert len(await old.messages(10)) == 10
    assert await small.messages(5) == [b"0", b"2", b"4", b"6", b"8"]


async def test_a_burst_goes_through_a_window_of_one(clients: Clients5) -> None:
    """[MQTT-3.3.4-9] [MQTT-4.6.0-5]: 200 messages in one write, one at a time, in order."""
    client = await _window(clients, 1)
    publisher = await clients.connected5("publisher")
    publisher.send(*(publish("t", b"%d" % number, 1, number + 1) for number in range(200)))
    assert await client.messages(200) == [b"%d" % number for number in range(200)]
    for _ in range(200):
        await publisher.expect(PUBACK)
