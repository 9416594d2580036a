"""Clean Start, Session Expiry Interval and what a session keeps (MQTT 5.0, sections 3.1.2.4, 3.1.2.11.2 and 4.1)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...clocks import WallClock
from ...engine.conditions import until
from ...engine.packets5 import P
from ...engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from ...engine.wire5 import acknowledge, disconnect, publish
from .serving import FOR_EVER, KEPT, Clients5, serving5


async def test_a_session_is_resumed(clients: Clients5) -> None:
    """[MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-4.5.0-1]: subscriptions and queued messages are there."""
    await clients.away("c1", ("t/#", 2))
    publisher = await clients.connected5("publisher")
    for number, qos in enumerate((1, 2, 1)):
        assert await publisher.publish(f"t/{number}", b"%d" % number, qos) == 0
    client = await clients.back("c1")
    assert [(got.topic, got.payload, got.qos, got.dup) for got in [await client.message() for _ in range(3)]] == [
        ("t/0", b"0", 1, False),
        ("t/1", b"1", 2, False),
        ("t/2", b"2", 1, False),
    ]
    await publisher.publish("t/live", b"live")
    assert (await client.message()).payload == b"live"
    await client.nothing_came()


async def test_clean_start_discards_what_was_there(clients: Clients5) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.4-4]: subscriptions and messages; the new session can be kept."""
    await clients.away("c1", ("t", 1))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"lost", 1)
    client = await clients.open5()
    assert not (await client.connect("c1", clean=True, properties=KEPT)).session_present
    assert await publisher.publish("t", b"nobody", 1) == 0x10
    await client.nothing_came()
    await client.subscribe(("u", 1))
    await client.disconnect()
    await publisher.publish("u", b"kept", 1)
    client = await clients.back("c1")
    assert (await client.message()).payload == b"kept"


async def test_without_a_session_a_new_one_is_made(clients: Clients5) -> None:
    """[MQTT-3.1.2-6]: Clean Start 0 is no error where nothing is stored."""
    client = await clients.back("c1", present=False)
    await client.subscribe(("t", 1))
    await client.disconnect()
    await clients.back("c1", present=True)


@pytest.mark.parametrize("properties", [(), [(P.SESSION_EXPIRY, 0)]])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("graceful", [True, False])
async def test_without_an_expiry_it_ends_with_the_connection(
    clients: Clients5, properties: list[tuple[int, object]], clean: bool, graceful: bool
) -> None:
    """[MQTT-4.1.0-2]: Session Expiry Interval 0 or absent, whatever Clean Start was and however it ended."""
    client = await clients.connected5("c1", clean=clean, properties=properties)
    await client.subscribe(("t", 1))
    if graceful:
        await client.disconnect()
    else:
        client.abort()
    await until(lambda: clients.broker.registry.get("c1") is None)
    assert clients.broker.router.subscription_count == 0


async def test_a_session_ends_when_its_time_is_over(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-4.1.0-2] [MQTT-3.1.2-23]: kept for the interval, then gone with its subscriptions."""
    await clients.away("c1", ("t", 1), properties=[(P.SESSION_EXPIRY, 100)])
    clock.advance(98)
    client = await clients.back("c1", properties=[(P.SESSION_EXPIRY, 100)])
    clock.advance(1_000)  # it does not run while the client is there [MQTT-4.1.0-1]
    await client.ping()
    await client.disconnect()
    await clients.gone("c1")
    clock.advance(101)
    await until(lambda: clients.broker.registry.get("c1") is None)
    assert clients.broker.router.subscription_count == 0


async def test_an_expired_session_is_not_resumed(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-4.1.0-2] [MQTT-3.2.2-3]: however soon after the end of its time the client comes."""
    await clients.away("c1", ("t", 1), properties=[(P.SESSION_EXPIRY, 100)])
    clock.advance(101)
    client = await clients.back("c1", present=False)
    assert await client.publish("t", b"x", 1) == 0x10


async def test_the_largest_interval_never_expires(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.1.2-23]: 0xFFFFFFFF, and the interval before it which is 136 years."""
    await clients.away("c1", ("t", 1), properties=[(P.SESSION_EXPIRY, FOR_EVER)])
    await clients.away("c2", ("t", 1), properties=[(P.SESSION_EXPIRY, FOR_EVER - 1)])
    clock.advance(FOR_EVER + 100)
    await until(lambda: clients.broker.registry.get("c2") is None)
    await clients.back("c1")


async def test_the_new_connection_sets_the_interval(clients: Clients5) -> None:
    """[MQTT-4.1.0-2]: what the last CONNECT said counts, not what an earlier one did."""
    await clients.away("c1", ("t", 1))
    client = await clients.back("c1", properties=())
    await client.disconnect()
    await until(lambda: clients.broker.registry.get("c1") is None)


async def test_disconnect_ends_the_session(clients: Clients5) -> None:
    """[MQTT-4.1.0-2]: Session Expiry Interval 0 on DISCONNECT."""
    client = await clients.connected5("c1", properties=KEPT)
    client.send(disconnect(0, [(P.SESSION_EXPIRY, 0)]))
    await client.hung_up()
    await until(lambda: clients.broker.registry.get("c1") is None)


async def test_disconnect_changes_the_interval(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-4.1.0-2] [MQTT-3.1.2-23]: longer or shorter than CONNECT said."""
    for client_id, connected, left in (("shorter", 1_000, 10), ("longer", 10, 1_000)):
        client = await clients.connected5(client_id, properties=[(P.SESSION_EXPIRY, connected)])
        client.send(disconnect(0, [(P.SESSION_EXPIRY, left)]))
        await client.hung_up()
        await clients.gone(client_id)
    clock.advance(100)
    await until(lambda: clients.broker.registry.get("shorter") is None)
    await clients.back("longer")


async def test_disconnect_may_not_make_a_session_lasting(clients: Clients5) -> None:
    """[MQTT-4.13.1-1] [MQTT-3.14.2-2]: an interval where CONNECT had 0 is a protocol error, and nothing is kept."""
    for properties in ((), [(P.SESSION_EXPIRY, 0)]):
        client = await clients.connected5("c1", properties=properties)
        client.send(disconnect(0, [(P.SESSION_EXPIRY, 100)]))
        await client.disconnected(0x82)
        await until(lambda: clients.broker.registry.get("c1") is None)
    client = await clients.connected5("c1")
    client.send(disconnect(0, [(P.SESSION_EXPIRY, 0)]))  # 0 again is none
    await client.hung_up()


async def test_disconnect_is_held_to_the_bound(clock: WallClock) -> None:
    """[MQTT-4.1.0-2]: `max_session_expiry_interval` holds on DISCONNECT too."""
    async with serving5(MqttSettings(max_session_expiry_interval=10)) as bounded:
        client = await bounded.connected5("c1", properties=[(P.SESSION_EXPIRY, 5)])
        client.send(disconnect(0, [(P.SESSION_EXPIRY, 1_000)]))
        await client.hung_up()
        await bounded.gone("c1")
        clock.advance(12)
        await until(lambda: bounded.broker.registry.get("c1") is None)


@pytest.mark.parametrize("qos", [1, 2])
async def test_unacknowledged_messages_come_again(clients: Clients5, qos: int) -> None:
    """With DUP, the same identifiers, the same order, the same properties.

    [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.1.0-1]
    """
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", qos), properties=[(P.SUBSCRIPTION_ID, 5)])
    publisher = await clients.connected5("publisher")
    for number in range(5):
        await publisher.publish("t", b"%d" % number, qos, properties=[(P.USER, ("n", str(number)))])
    first = [await client.expect(PUBLISH) for _ in range(5)]
    assert not any(got.dup for got in first)
    client.abort()
    client = await clients.back("c1")
    again = [await client.expect(PUBLISH) for _ in range(5)]
    assert [(g.packet_id, g.payload, g.dup, g.qos, g.properties) for g in again] == [
        (g.packet_id, g.payload, True, qos, g.properties) for g in first
    ]
    for got in again:
        await client.complete(got)
    await client.disconnect()
    await (await clients.back("c1")).nothing_came()


async def test_nothing_is_sent_again_while_connected(clients: Clients5) -> None:
    """[MQTT-4.4.0-1]: at no other time than after a reconnect; an unacknowledged message does not hold others."""
    publisher, subscriber = await clients.pair5(("t", 2))
    for qos in (1, 2):
        await publisher.publish("t", b"held", qos)
    held = [await subscriber.expect(PUBLISH) for _ in range(2)]
    await publisher.publish("t", b"next", 1)
    assert (await subscriber.message()).payload == b"next"
    await subscriber.nothing_came()
    for got in held:
        await subscriber.complete(got)
    await subscriber.nothing_came()


async def test_a_released_message_is_not_sent_again(clients: Clients5) -> None:
    """[MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1]: after PUBREC only the PUBREL comes again."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", 2))
    await (await clients.connected5("publisher")).publish("t", b"x", 2)
    got = await client.expect(PUBLISH)
    client.send(acknowledge(PUBREC, got.packet_id))
    assert (await client.expect(PUBREL)).packet_id == got.packet_id
    client.abort()
    client = await clients.back("c1")
    again = await client.read()
    assert (again.kind, again.packet_id, again.reason) == (PUBREL, got.packet_id, 0)
    client.send(acknowledge(PUBCOMP, got.packet_id))
    await client.disconnect()
    await (await clients.back("c1")).nothing_came()


async def test_a_repeated_publish_across_connections_is_delivered_once(clients: Clients5) -> None:
    """[MQTT-4.3.3-10] [MQTT-4.1.0-1]: QoS 2 identifiers that wait for PUBREL belong to the session."""
    watcher = await clients.subscribed5("watcher", ("t", 0))
    client = await clients.connected5("c1", properties=KEPT)
    client.send(publish("t", b"x", 2, 9))
    assert (await client.expect(PUBREC)).reason == 0
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    client.send(publish("t", b"x", 2, 9, dup=True))
    got = await client.expect(PUBREC)
    assert (got.packet_id, got.reason) == (9, 0)
    client.send(acknowledge(PUBREL, 9))
    done = await client.expect(PUBCOMP)
    assert (done.packet_id, done.reason) == (9, 0)
    assert (await watcher.message()).payload == b"x"
    await watcher.nothing_came()


async def test_a_new_session_forgets_identifiers(clients: Clients5) -> None:
    """[MQTT-4.3.3-12] [MQTT-3.1.2-4]: after Clean Start the identifier is free, and its PUBREL unknown."""
    watcher = await clients.subscribed5("watcher", ("t", 0))
    for turn in range(2):
        client = await clients.connected5("c1", clean=True, properties=KEPT)
        client.send(acknowledge(PUBREL, 9))
        assert (await client.expect(PUBCOMP)).reason == 0x92
        client.send(publish("t", b"%d" % turn, 2, 9))
        assert (await client.expect(PUBREC)).reason == 0
        client.abort()
    assert await watcher.messages(2) == [b"0", b"1"]


@pytest.mark.parametrize("kept", [True, False])
async def test_a_session_goes_between_versions(clients: Clients5, kept: bool) -> None:
    """[MQTT-3.1.2-5] [MQTT-3.1.2-6]: stored by a 3.1.1 client, taken up by an MQTT 5 client, and back."""
    old = await clients.connected("c1", clean=False)
    await old.subscribe(("t", 1))
    await old.disconnect()
    await clients.gone("c1")
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"first", 1, properties=[(P.USER, ("k", "v"))])
    new = await clients.back("c1", properties=KEPT if kept else ())
    got = await new.expect(PUBLISH)
    assert (got.payload, got.properties) == (b"first", ((P.USER, ("k", "v")),))
    new.send(acknowledge(PUBACK, got.packet_id))
    await new.disconnect()
    await clients.gone("c1")
    assert await publisher.publish("t", b"second", 1, properties=[(P.USER, ("k", "v"))]) == (0 if kept else 0x10)
    old = await clients.open()
    assert await old.connect("c1", clean=False) is kept
    if kept:
        assert (await old.message()).payload == b"second"


async def test_the_session_is_kept_however_the_connection_ends(clients: Clients5) -> None:
    """[MQTT-3.1.2-23] [MQTT-4.1.0-1]: broken, by a protocol error, or by DISCONNECT with an error."""
    for client_id, last in (("broken", None), ("error", b"\xf0\x00"), ("reason", disconnect(0x80))):
        client = await clients.connected5(client_id, properties=KEPT)
        await client.subscribe(("t", 1))
        if last is None:
            client.abort()
        else:
            client.send(last)
            await client.rest()
        await clients.gone(client_id)
        again = await clients.back(client_id)
        assert await again.publish("t", b"x", 1) == 0
        assert (await again.message()).payload == b"x"
        await again.unsubscribe("t")
