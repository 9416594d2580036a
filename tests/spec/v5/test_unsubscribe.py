"""UNSUBSCRIBE and UNSUBACK (MQTT 5.0, sections 3.10 and 3.11)."""

import pytest

from ...engine.packets5 import P
from ...engine.wire import PUBACK, PUBLISH, UNSUBACK, UNSUBSCRIBE, packet, string
from ...engine.wire5 import acknowledge, publish, unsubscribe, users
from .serving import KEPT, Clients5


async def test_each_filter_has_its_code(clients: Clients5) -> None:
    """One UNSUBACK with the identifier of the UNSUBSCRIBE; 0 or 0x11 for each filter, in order.

    [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [MQTT-2.2.1-6]
    """
    client = await clients.connected5("c1")
    await client.subscribe(("a", 0), ("b/#", 1), ("$share/g/c", 1))
    client.send(unsubscribe(65_535, "b/#", "nothing", "a", "a", "c", "$share/g/c"))
    got = await client.expect(UNSUBACK)
    assert (got.packet_id, got.codes, got.properties) == (65_535, (0, 0x11, 0, 0x11, 0x11, 0), ())
    assert not clients.session("c1").subscriptions
    assert await client.unsubscribe("nothing", "nothing/#") == [0x11, 0x11]


async def test_filters_are_compared_by_character(clients: Clients5) -> None:
    """[MQTT-3.10.4-1]: what another filter would match stays."""
    client = await clients.connected5("c1")
    await client.subscribe(("a/b", 1), ("a/+", 1))
    assert await client.unsubscribe("a/#", "#", "a/c", "A/b", "a/b/") == [0x11] * 5
    assert await client.unsubscribe("a/+") == [0]
    assert await client.publish("a/b", b"x", 1) == 0
    assert (await client.message()).topic == "a/b"
    assert await client.publish("a/c", b"x", 1) == 0x10


async def test_no_more_messages_after_it(clients: Clients5) -> None:
    """[MQTT-3.10.4-2]: none that came in after the UNSUBSCRIBE, none with an identifier of the old subscription."""
    publisher, client = await clients.connected5("publisher"), await clients.connected5("c1")
    await client.subscribe(("t", 1), properties=[(P.SUBSCRIPTION_ID, 1)])
    await client.subscribe(("#", 0), properties=[(P.SUBSCRIPTION_ID, 2)])
    assert await client.unsubscribe("t") == [0]
    await publisher.publish("t", b"x", 1)
    got = await client.message()
    assert (got.qos, got.subscription_ids) == (0, [2])
    await client.unsubscribe("#")
    assert await publisher.publish("t", b"x", 1) == 0x10
    await client.nothing_came()


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_on_its_way_is_completed(clients: Clients5, qos: int) -> None:
    """[MQTT-3.10.4-3]: also across a reconnect."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", qos))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"x", qos)
    got = await client.expect(PUBLISH)
    await client.unsubscribe("t")
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    again = await client.expect(PUBLISH)
    assert (again.packet_id, again.payload, again.dup) == (got.packet_id, b"x", True)
    await client.complete(again)
    await client.nothing_came()
    assert clients.session("c1").in_flight_count == 0


async def test_unsubscribing_stops_at_once_in_one_write(clients: Clients5) -> None:
    """[MQTT-3.10.4-2] [MQTT-3.10.4-4]: packets after the UNSUBSCRIBE in the same write find no subscription."""
    client = await clients.connected5("c1")
    await client.subscribe(("t", 0))
    client.send(publish("t", b"before"), unsubscribe(9, "t"), publish("t", b"after"), publish("t", b"after", 1, 10))
    assert (await client.expect(UNSUBACK)).codes == (0,)
    assert (await client.expect(PUBACK)).reason == 0x10
    assert (await client.message()).payload == b"before"
    await client.nothing_came()


@pytest.mark.parametrize("bad", ["x/#/y", "", "$share/g"])
async def test_an_invalid_filter_ends_the_connection(clients: Clients5, bad: str) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.7.3-1] [MQTT-4.8.2-2] [MQTT-4.13.1-1]: with the reason, and nothing is taken out."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("a", 0))
    client.send(unsubscribe(7, "a", bad))
    await client.disconnected(0x8F)
    assert set(clients.session("c1").subscriptions) == {"a"}


ONE = string("t")


@pytest.mark.parametrize(
    ("request_", "reasons"),
    [
        pytest.param(packet(UNSUBSCRIBE, b"\0\1\0" + ONE, 0), {0x81}, id="3.10.1-1: flags 0"),
        pytest.param(packet(UNSUBSCRIBE, b"\0\1\0" + ONE, 3), {0x81}, id="3.10.1-1: flags 3"),
        pytest.param(packet(UNSUBSCRIBE, b"\0\1\0" + ONE, 10), {0x81}, id="3.10.1-1: flags 10"),
        pytest.param(packet(UNSUBSCRIBE, b"\0\1\0", 2), {0x82}, id="3.10.3-2: no filter"),
        pytest.param(packet(UNSUBSCRIBE, b"\0\0\0" + ONE, 2), {0x81, 0x82}, id="2.2.1-3: identifier 0"),
        pytest.param(packet(UNSUBSCRIBE, b"\0\1", 2), {0x81}, id="2.2.2-1: no property length"),
        pytest.param(packet(UNSUBSCRIBE, b"\0\1\0\0\5t", 2), {0x81}, id="filter cut off"),
        pytest.param(unsubscribe(1, b"\xc3\x28"), {0x81}, id="3.10.3-1: not UTF-8"),
        pytest.param(unsubscribe(1, "a\0b"), {0x81}, id="4.7.3-2: U+0000"),
    ],
)
async def test_what_is_no_unsubscribe_ends_the_connection(
    clients: Clients5, request_: bytes, reasons: set[int]
) -> None:
    """DISCONNECT with the reason, and the subscriptions stay.

    [MQTT-3.10.1-1] [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT-2.1.3-1] [MQTT-2.2.1-3] [MQTT-4.7.3-2] [MQTT-4.13.1-1]
    """
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", 0))
    client.send(request_)
    await client.disconnected(*reasons)
    assert set(clients.session("c1").subscriptions) == {"t"}


async def test_user_properties_are_taken(clients: Clients5) -> None:
    """[MQTT-3.11.2-1] [MQTT-3.11.2-2]: and nothing of the kind comes back with a success."""
    client = await clients.connected5("c1", properties=[(P.MAXIMUM_PACKET_SIZE, 40)])
    await client.subscribe(("t", 0))
    client.send(unsubscribe(5, "t", *["nothing"] * 30, properties=users(("a", "1"), ("a", "1"))))
    got = await client.expect(UNSUBACK)
    assert (got.codes, got.properties) == ((0, *[0x11] * 30), ())


async def test_an_acknowledged_message_is_not_needed_for_it(clients: Clients5) -> None:
    """[MQTT-3.10.4-3] [MQTT-3.10.4-4]: the UNSUBACK does not wait for what is in flight."""
    publisher, subscriber = await clients.pair5(("t", 1))
    await publisher.publish("t", b"x", 1)
    got = await subscriber.expect(PUBLISH)
    assert await subscriber.unsubscribe("t") == [0]
    subscriber.send(acknowledge(PUBACK, got.packet_id))
    await subscriber.nothing_came()
    assert clients.session("subscriber").in_flight_count == 0
