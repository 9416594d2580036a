"""Clients of MQTT 5, 3.1.1 and 3.1 in one conversation: what each is sent is of its own version."""

import pytest

from ...clocks import WallClock
from ...engine.packets5 import P, Property
from ...engine.wire import PUBLISH
from ...engine.wire5 import options, users
from .serving import KEPT, Clients5

EVERYTHING: list[Property] = [
    (P.PAYLOAD_FORMAT, 1),
    (P.MESSAGE_EXPIRY, 600),
    (P.TOPIC_ALIAS, 3),
    (P.RESPONSE_TOPIC, "answers"),
    (P.CORRELATION_DATA, b"\0\1"),
    *users(("k", "v"), ("k", "v")),
    (P.CONTENT_TYPE, "text"),
]
OLD = [{}, {"name": "MQIsdp", "level": 3}]


@pytest.mark.parametrize("fields", OLD)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_from_5_to_older(clients: Clients5, fields: dict[str, object], qos: int, granted: int) -> None:
    """[MQTT-3.8.4-8] [MQTT-4.5.0-1]: topic and payload, without properties; an alias is resolved."""
    old = await clients.connected("old", **fields)
    await old.subscribe(("t/#", granted))
    publisher = await clients.connected5("publisher")
    for topic in ("t/1", ""):
        assert await publisher.publish(topic, b"\x05payload", qos, properties=EVERYTHING) == 0
        got = await old.message()
        assert (got.topic, got.payload, got.qos, got.retain, got.dup) == (
            "t/1",
            b"\x05payload",
            min(qos, granted),
            False,
            False,
        )
    await old.nothing_came()


@pytest.mark.parametrize("fields", OLD)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_from_older_to_5(clients: Clients5, fields: dict[str, object], qos: int) -> None:
    """[MQTT-2.2.2-1] [MQTT-3.8.4-8]: an empty property block, and the subscriber's own properties."""
    plain = await clients.subscribed5("plain", ("t/#", 2))
    asking = await clients.connected5("asking", properties=[(P.TOPIC_ALIAS_MAXIMUM, 1)])
    await asking.subscribe(("t/#", options(2, retain_as_published=True)), properties=[(P.SUBSCRIPTION_ID, 7)])
    old = await clients.connected("old", **fields)
    for payload in (b"", b"\x05payload"):
        await old.publish("t/1", payload, qos)
        got = await plain.message()
        assert (got.topic, got.payload, got.qos, got.properties) == ("t/1", payload, qos, ())
        got = await asking.message()
        assert (got.topic, got.payload, got.qos, got.subscription_ids) == ("t/1", payload, qos, [7])


async def test_retained_messages_go_between_versions(clients: Clients5) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-9]: stored by one, read by the other, replaced and cleared by either."""
    new, old = await clients.connected5("new"), await clients.connected("old")
    await new.publish("r", b"five", 1, retain=True, properties=EVERYTHING)
    await old.subscribe(("r", 1))
    got = await old.message()
    assert (got.payload, got.retain, got.qos) == (b"five", True, 1)
    late = await clients.subscribed5("late", ("r", 1))
    got5 = await late.message()
    assert got5.forwarded == [one for one in EVERYTHING if one[0] not in (P.MESSAGE_EXPIRY, P.TOPIC_ALIAS)]
    await old.publish("r", b"four", 1, retain=True)
    late = await clients.subscribed5("late", ("r", 1))
    got5 = await late.message()
    assert (got5.payload, got5.properties) == (b"four", ())
    await new.publish("r", b"", 1, retain=True)
    await (await clients.subscribed5("late", ("r", 1))).nothing_came()


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_queued_and_sent_again(clients: Clients5, qos: int) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1]: for an older client without properties, for a newer one with them."""
    old = await clients.connected("old", clean=False)
    await old.subscribe(("t", 2))
    new = await clients.connected5("new", properties=KEPT)
    await new.subscribe(("t", 2))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"in flight", qos, properties=users(("k", "v")))
    await old.expect(PUBLISH)
    await new.expect(PUBLISH)
    old.abort()
    new.abort()
    await clients.gone("old")
    await clients.gone("new")
    await publisher.publish("t", b"queued", qos, properties=users(("k", "w")))
    old = await clients.open()
    assert await old.connect("old", clean=False)
    got = [await old.message() for _ in range(2)]
    assert [(one.payload, one.dup, one.qos) for one in got] == [(b"in flight", True, qos), (b"queued", False, qos)]
    new = await clients.back("new")
    got5 = [await new.message() for _ in range(2)]
    assert [(one.payload, one.dup, one.forwarded) for one in got5] == [
        (b"in flight", True, users(("k", "v"))),
        (b"queued", False, users(("k", "w"))),
    ]


async def test_messages_of_the_server_itself(clients: Clients5) -> None:
    """[MQTT-2.2.2-1]: published by the broker, they look like any other to each version."""
    new, old = await clients.subscribed5("new", ("t", 2)), await clients.connected("old")
    await old.subscribe(("t", 2))
    for qos in range(3):
        clients.broker.publish("t", b"from the server", qos)
        got, got5 = await old.message(), await new.message()
        assert (got.payload, got.qos) == (got5.payload, got5.qos) == (b"from the server", qos)
        assert got5.properties == ()


async def test_an_expiring_message_is_sent_to_both(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-3.3.2-6]: one is told what is left, the other cannot be."""
    old = await clients.connected("old", clean=False)
    await old.subscribe(("t", 1))
    await old.disconnect()
    await clients.gone("old")
    await clients.away("new", ("t", 1))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"x", 1, properties=[(P.MESSAGE_EXPIRY, 100)])
    clock.advance(40)
    old = await clients.open()
    await old.connect("old", clean=False)
    assert (await old.message()).payload == b"x"
    assert (await (await clients.back("new")).message()).get(P.MESSAGE_EXPIRY) in (59, 60)


async def test_an_invalid_filter_by_version(clients: Clients5) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.13.1-1]: MQTT 5 has a reason for it, 3.1.1 has only the end of the connection."""
    new = await clients.connected5("new")
    new.send(b"\x82\x08\x00\x01\x00\x00\x02a#\x00")
    await new.disconnected(0x8F)
    old = await clients.connected("old")
    old.send(b"\x82\x07\x00\x01\x00\x02a#\x00")
    await old.hung_up()


async def test_an_acknowledgement_of_5_is_none_of_311(clients: Clients5) -> None:
    """[MQTT-4.13.1-1]: a PUBACK with a reason is malformed for a client of 3.1.1."""
    old = await clients.connected("old")
    old.send(b"\x40\x03\x00\x01\x00")
    await old.hung_up()


async def test_properties_do_not_reach_payloads(clients: Clients5) -> None:
    """[MQTT-2.2.2-1]: payloads that look like property blocks stay payloads, in every direction."""
    old, new = await clients.connected("old"), await clients.connected5("new")
    await old.subscribe(("t", 2))
    await new.subscribe(("t", 2))
    for qos in range(3):
        for payload in (b"\0", b"\x02\x01\x01", b"\x26\0\1k\0\1v"):
            await old.publish("t", payload, qos)
            assert (await old.message()).payload == payload
            got = await new.message()
            assert (got.payload, got.properties) == (payload, ())
            await new.publish("t", payload, qos, properties=users(("k", "v")))
            assert (await old.message()).payload == payload
            got = await new.message()
            assert (got.payload, list(got.properties)) == (payload, users(("k", "v")))
