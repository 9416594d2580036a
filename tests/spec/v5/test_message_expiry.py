"""Message Expiry Interval: what is left of it on delivery, and what is not delivered (MQTT 5.0, section 3.3.2.3.3)."""

import pytest

from ...clocks import WallClock
from ...engine.packets5 import P, Property
from ...engine.wire import PUBCOMP, PUBLISH, PUBREC, PUBREL
from ...engine.wire5 import Will5, acknowledge, publish, users
from .serving import KEPT, Clients5


def _expiring(seconds: int) -> list[Property]:
    return [*users(("before", "")), (P.MESSAGE_EXPIRY, seconds), *users(("after", ""))]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_at_once_all_is_left(clients: Clients5, qos: int) -> None:
    """[MQTT-3.3.2-6]: a message that did not wait has the interval that it came with."""
    publisher, subscriber = await clients.pair5(("t", 2))
    for seconds in (1, 60, 0xFFFFFFFF):
        await publisher.publish("t", b"x", qos, properties=_expiring(seconds))
        got = await subscriber.message()
        assert got.get(P.MESSAGE_EXPIRY) == seconds
        assert got.forwarded == users(("before", ""), ("after", ""))


async def test_a_message_without_an_interval_never_expires(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-5]: and gets none on its way."""
    await clients.away("c1", ("t", 1))
    await (await clients.connected5("publisher")).publish("t", b"x", 1)
    clock.advance(10**9)
    assert (await (await clients.back("c1")).message()).properties == ()


async def test_what_waited_has_less_left(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-6]: the interval minus the time in the queue."""
    await clients.away("c1", ("t", 2))
    publisher = await clients.connected5("publisher")
    for qos in (1, 2):
        await publisher.publish("t", b"x", qos, properties=_expiring(100))
    clock.advance(30)
    await publisher.publish("t", b"later", 1, properties=_expiring(100))
    clock.advance(30)
    client = await clients.back("c1")
    left = [(await client.message()).get(P.MESSAGE_EXPIRY) for _ in range(3)]
    assert left[0] in (39, 40) and left[1] in (39, 40) and left[2] in (69, 70), left


async def test_what_is_over_is_not_delivered(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-5]: the others in the queue are, in order, with what they have left."""
    await clients.away("c1", ("t", 2))
    publisher = await clients.connected5("publisher")
    for number, seconds in enumerate((10, 1_000, 20, None, 10)):
        properties = [] if seconds is None else _expiring(seconds)
        await publisher.publish("t", b"%d" % number, 1 + number % 2, properties=properties)
    clock.advance(50)
    client = await clients.back("c1")
    assert await client.messages(2) == [b"1", b"3"]
    await client.nothing_came()
    assert clients.session("c1").queue_length == 0


async def test_what_waits_for_the_window_expires_too(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-5]: the client is there, but its Receive Maximum holds the message until it is too late."""
    client = await clients.connected5("c1", properties=[(P.RECEIVE_MAXIMUM, 1)])
    await client.subscribe(("t", 1))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"held", 1)
    for number, seconds in enumerate((10, 100)):
        await publisher.publish("t", b"%d" % number, 1, properties=_expiring(seconds))
    held = await client.expect(PUBLISH)
    clock.advance(50)
    await client.complete(held)
    got = await client.message()
    assert got.payload == b"1" and got.get(P.MESSAGE_EXPIRY) in (49, 50)
    await client.nothing_came()


async def test_what_was_sent_does_not_expire(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-4.3.3-7] [MQTT-4.4.0-1]: an unfinished QoS 2 delivery is taken up however late."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", 2))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"x", 2, properties=_expiring(10))
    got = await client.expect(PUBLISH)
    client.abort()
    await clients.gone("c1")
    clock.advance(100)
    client = await clients.back("c1")
    again = await client.expect(PUBLISH)
    assert (again.packet_id, again.payload, again.dup) == (got.packet_id, b"x", True)
    await client.complete(again)
    await client.nothing_came()


async def test_the_handshake_is_finished_after_the_expiry(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-4.3.3-13]: of a QoS 2 message that expired between its PUBLISH and its PUBREL."""
    publisher = await clients.connected5("publisher", properties=KEPT)
    await clients.away("c1", ("t", 2))
    publisher.send(publish("t", b"x", 2, 7, properties=_expiring(10)))
    assert (await publisher.expect(PUBREC)).reason == 0
    clock.advance(100)
    publisher.send(publish("t", b"x", 2, 7, dup=True, properties=_expiring(10)))
    assert (await publisher.expect(PUBREC)).packet_id == 7
    publisher.send(acknowledge(PUBREL, 7))
    assert (await publisher.expect(PUBCOMP)).reason == 0
    await (await clients.back("c1")).nothing_came()


async def test_retained_messages_age(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-6] [MQTT-3.3.2-5] [MQTT-3.3.1-9]: what is left at the time of the subscription; then nothing."""
    publisher = await clients.connected5("publisher")
    await publisher.publish("r/1", b"x", 1, retain=True, properties=_expiring(100))
    await publisher.publish("r/2", b"kept", retain=True)
    clock.advance(40)
    first = await clients.subscribed5("first", ("r/1", 1))
    got = await first.message()
    assert got.retain and got.get(P.MESSAGE_EXPIRY) in (59, 60)
    assert got.forwarded == users(("before", ""), ("after", ""))
    clock.advance(61)
    second = await clients.subscribed5("second", ("r/#", 1))
    assert (await second.message()).topic == "r/2"
    await second.nothing_came()


async def test_a_retained_message_replaces_an_expired_one(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.2-5]: with its own interval, or none."""
    publisher = await clients.connected5("publisher")
    await publisher.publish("r", b"old", 1, retain=True, properties=_expiring(10))
    clock.advance(20)
    await publisher.publish("r", b"new", 1, retain=True)
    clock.advance(20)
    got = await (await clients.subscribed5("c1", ("r", 0))).message()
    assert (got.payload, got.properties) == (b"new", ())


async def test_a_will_that_expires(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6] [MQTT-3.1.2-8]: its interval begins when it is published."""
    await clients.away("c1", ("w", 1))
    watcher = await clients.subscribed5("watcher", ("w", 1))
    will = Will5("w", b"gone", 1, properties=_expiring(100))
    client = await clients.connected5("c2", will=will)
    clock.advance(1_000)
    client.abort()
    assert (await watcher.message()).get(P.MESSAGE_EXPIRY) in (99, 100)
    clock.advance(50)
    client = await clients.back("c1")
    got = await client.message()
    assert got.get(P.MESSAGE_EXPIRY) in (49, 50)
    assert got.forwarded == users(("before", ""), ("after", ""))


async def test_clients_of_311_lose_what_is_over_too(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-5]: the interval is the message's, whatever its receiver speaks."""
    old = await clients.connected("old", clean=False)
    await old.subscribe(("t", 1))
    await old.disconnect()
    await clients.gone("old")
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"over", 1, properties=_expiring(10))
    await publisher.publish("t", b"left", 1, properties=_expiring(1_000))
    clock.advance(100)
    old = await clients.open()
    assert await old.connect("old", clean=False)
    assert (await old.message()).payload == b"left"
    await old.nothing_came()


async def test_a_shared_message_expires(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]: in the queue of the member that was chosen."""
    await clients.away("c1", ("$share/g/t", 1))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"over", 1, properties=_expiring(10))
    await publisher.publish("t", b"left", 1, properties=_expiring(100))
    clock.advance(50)
    client = await clients.back("c1")
    got = await client.message()
    assert got.payload == b"left" and got.get(P.MESSAGE_EXPIRY) in (49, 50)
    await client.nothing_came()
