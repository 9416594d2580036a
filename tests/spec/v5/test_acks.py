"""PUBACK, PUBREC, PUBREL and PUBCOMP: forms, reasons, and identifiers that nobody knows (MQTT 5.0, 3.4 to 3.7)."""

from collections.abc import AsyncIterator

import pytest

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS
from ...engine.packets5 import P, Properties
from ...engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, packet
from ...engine.wire5 import acknowledge, publish, users
from .serving import KEPT, Clients5, serving5

RULES = {**ANONYMOUS, f"{access_plugins.__name__}.FastRules": {"publish": ["denied"]}}


@pytest.fixture(params=["FastRules", "SlowRules"])
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[Clients5]:
    """Give clients of a broker where nobody may publish on `denied`, by either kind of plugin."""
    plugins = {**ANONYMOUS, f"{access_plugins.__name__}.{request.param}": {"publish": ["denied"]}}
    async with serving5(plugins=plugins) as opened:
        yield opened


@pytest.mark.parametrize("qos", [1, 2])
async def test_no_matching_subscribers(clients: Clients5, qos: int) -> None:
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1]: 0x10 where nobody subscribes, 0 where somebody does."""
    publisher, _ = await clients.pair5(("t", 0))
    assert await publisher.publish("nobody", b"x", qos) == 0x10
    assert await publisher.publish("t", b"x", qos) == 0


async def test_the_handshake_goes_on_after_0x10(clients: Clients5) -> None:
    """[MQTT-4.3.3-10] [MQTT-4.3.3-11]: PUBREC 0x10 is a success; the identifier waits for its PUBREL."""
    publisher = await clients.connected5("publisher")
    for dup in (False, True):
        publisher.send(publish("nobody", b"x", 2, 7, dup=dup))
        assert (await publisher.expect(PUBREC)).reason in (0, 0x10)
    publisher.send(acknowledge(PUBREL, 7))
    assert (await publisher.expect(PUBCOMP)).reason == 0


async def test_a_subscriber_that_is_away_counts(clients: Clients5) -> None:
    """[MQTT-3.4.2-1]: a stored session is a matching subscriber."""
    await clients.away("c1", ("t", 1))
    assert await (await clients.connected5("publisher")).publish("t", b"x", 1) == 0


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_publish_that_is_not_authorized(guarded: Clients5, qos: int) -> None:
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.3.4-1]: 0x87, the message goes nowhere, the connection goes on."""
    publisher, subscriber = await guarded.pair5(("#", 0))
    assert await publisher.publish("denied", b"x", qos) == 0x87
    assert await publisher.publish("allowed", b"x", qos) == 0
    assert (await subscriber.message()).topic == "allowed"
    await subscriber.nothing_came()


async def test_a_qos_0_publish_that_is_not_authorized(guarded: Clients5) -> None:
    """[MQTT-3.3.4-1]: dropped without a word."""
    publisher, subscriber = await guarded.pair5(("#", 0))
    await publisher.publish("denied", b"x")
    await publisher.publish("allowed", b"x")
    assert (await subscriber.message()).topic == "allowed"


async def test_a_failed_pubrec_ends_the_handshake(guarded: Clients5) -> None:
    """[MQTT-4.3.3-9] [MQTT-3.7.2-1]: the identifier is free; a PUBREL for it gets PUBCOMP 0x92."""
    publisher, subscriber = await guarded.pair5(("#", 0))
    publisher.send(publish("denied", b"x", 2, 7))
    assert (await publisher.expect(PUBREC)).reason == 0x87
    publisher.send(publish("allowed", b"new", 2, 7))
    assert (await publisher.expect(PUBREC)).reason == 0
    publisher.send(acknowledge(PUBREL, 7))
    assert (await publisher.expect(PUBCOMP)).reason == 0
    assert (await subscriber.message()).payload == b"new"
    publisher.send(publish("denied", b"x", 2, 8))
    assert (await publisher.expect(PUBREC)).reason == 0x87
    publisher.send(acknowledge(PUBREL, 8))
    assert (await publisher.expect(PUBCOMP)).reason == 0x92


# Reason strings and Request Problem Information.


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_refusal_is_short(qos: int) -> None:
    """[MQTT-3.1.2-29] [MQTT-3.4.2-2] [MQTT-3.5.2-2]: the reason code says it all, whatever the client asks for."""
    async with serving5(plugins=RULES) as guarded:
        for asked in (None, 1, 0):
            properties: Properties = [] if asked is None else [(P.REQUEST_PROBLEM, asked)]
            publisher = await guarded.connected5("publisher", properties=properties)
            got = await publisher.puback("denied", b"x", qos)
            assert got is not None and got.reason == 0x87
            assert not got.properties, asked


@pytest.mark.parametrize("qos", [1, 2])
async def test_an_explanation_gives_way_to_the_packet_size(qos: int) -> None:
    """[MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]: the reason alone is sent."""
    async with serving5(plugins=RULES) as guarded:
        got = await (await guarded.connected5("c1")).puback("denied", b"x", qos)
        assert got is not None
        limit = max(30, got.size - 1)
        client = await guarded.connected5("c2", properties=[(P.MAXIMUM_PACKET_SIZE, limit)])
        short = await client.puback("denied", b"x", qos)
        assert short is not None and short.reason == 0x87
        assert short.get(P.REASON_STRING) is None or short.size <= limit


async def test_successes_are_not_explained(clients: Clients5) -> None:
    """[MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]: and are sent in their short form."""
    publisher, subscriber = await clients.pair5(("t", 2))
    publisher.send(publish("t", b"x", 2, 7))
    assert (await publisher.expect(PUBREC)).size == 4
    publisher.send(acknowledge(PUBREL, 7))
    assert (await publisher.expect(PUBCOMP)).size == 4
    got = await subscriber.expect(PUBLISH)
    subscriber.send(acknowledge(PUBREC, got.packet_id))
    assert (await subscriber.expect(PUBREL)).size == 4
    publisher.send(publish("t", b"x", 1, 7))
    assert (await publisher.expect(PUBACK)).size == 4


# What a client sends.

FORMS = [
    pytest.param(None, None, id="identifier alone"),
    pytest.param(0, None, id="with a reason"),
    pytest.param(0, (), id="with no properties"),
    pytest.param(0, [(P.REASON_STRING, "fine"), *users(("a", "1"), ("a", "1"))], id="with properties"),
]


@pytest.mark.parametrize(("reason", "properties"), FORMS)
async def test_every_form_of_an_acknowledgement(
    clients: Clients5, reason: int | None, properties: Properties | None
) -> None:
    """[MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5]: with and without reason and properties."""
    publisher, subscriber = await clients.pair5(("t", 2))
    session = clients.session("subscriber")
    await publisher.publish("t", b"x", 1)
    await publisher.publish("t", b"x", 2)
    one, two = await subscriber.expect(PUBLISH), await subscriber.expect(PUBLISH)
    subscriber.send(acknowledge(PUBACK, one.packet_id, reason, properties))
    subscriber.send(acknowledge(PUBREC, two.packet_id, reason, properties))
    assert (await subscriber.expect(PUBREL)).packet_id == two.packet_id
    assert session.in_flight_count == 1
    subscriber.send(acknowledge(PUBCOMP, two.packet_id, reason, properties))
    await subscriber.ping()
    assert session.in_flight_count == 0
    publisher.send(publish("t", b"x", 2, 9))
    await publisher.expect(PUBREC)
    publisher.send(acknowledge(PUBREL, 9, reason, properties))
    assert (await publisher.expect(PUBCOMP)).packet_id == 9


@pytest.mark.parametrize("reason", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
async def test_a_failure_acknowledges_too(clients: Clients5, reason: int) -> None:
    """[MQTT-4.4.0-2] [MQTT-4.3.3-4]: after PUBACK or PUBREC of 0x80 or more nothing follows, then or later."""
    client = await clients.connected5("c1", properties=KEPT)
    await client.subscribe(("t", 2))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t", b"x", 1)
    await publisher.publish("t", b"x", 2)
    one, two = await client.expect(PUBLISH), await client.expect(PUBLISH)
    client.send(acknowledge(PUBACK, one.packet_id, reason))
    client.send(acknowledge(PUBREC, two.packet_id, reason))
    await client.nothing_came()  # no PUBREL either
    assert clients.session("c1").in_flight_count == 0
    client.abort()
    await clients.gone("c1")
    await (await clients.back("c1")).nothing_came()


async def test_pubrec_0x10_is_no_failure(clients: Clients5) -> None:
    """[MQTT-4.3.3-4]: PUBREL follows any reason below 0x80."""
    publisher, subscriber = await clients.pair5(("t", 2))
    await publisher.publish("t", b"x", 2)
    got = await subscriber.expect(PUBLISH)
    subscriber.send(acknowledge(PUBREC, got.packet_id, 0x10))
    assert (await subscriber.expect(PUBREL)).reason == 0


async def test_a_pubrel_that_knows_no_identifier(clients: Clients5) -> None:
    """[MQTT-4.3.3-11]: PUBREL 0x92 is answered like any other."""
    publisher = await clients.connected5("publisher")
    publisher.send(publish("t", b"x", 2, 7))
    await publisher.expect(PUBREC)
    publisher.send(acknowledge(PUBREL, 7, 0x92))
    assert (await publisher.expect(PUBCOMP)).packet_id == 7


async def test_identifiers_that_nobody_knows(clients: Clients5) -> None:
    """0x92 where there is an answer, none where there is not; no reason to close. [MQTT-3.6.2-1] [MQTT-3.7.2-1]"""
    client = await clients.connected5("c1")
    client.send(acknowledge(PUBREL, 99))
    got = await client.expect(PUBCOMP)
    assert (got.packet_id, got.reason) == (99, 0x92)
    client.send(acknowledge(PUBREC, 99))
    got = await client.expect(PUBREL)
    assert (got.packet_id, got.reason) == (99, 0x92)
    client.send(acknowledge(PUBCOMP, 99, 0x92), acknowledge(PUBACK, 99), acknowledge(PUBREC, 99, 0x80))
    await client.nothing_came()


@pytest.mark.parametrize(("qos", "kind"), [(1, PUBREC), (1, PUBCOMP), (2, PUBACK), (2, PUBCOMP)])
async def test_the_wrong_acknowledgement_acknowledges_nothing(clients: Clients5, qos: int, kind: int) -> None:
    """PUBACK is none for QoS 2, PUBCOMP none before PUBREC, PUBREC none for QoS 1: a protocol error.

    [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.13.1-1]
    """
    publisher = await clients.connected5("publisher")
    subscriber = await clients.connected5("subscriber", properties=KEPT)
    await subscriber.subscribe(("t", 2))
    await publisher.publish("t", b"x", qos)
    got = await subscriber.expect(PUBLISH)
    subscriber.send(acknowledge(kind, got.packet_id))
    await subscriber.disconnected(0x82)
    assert set(clients.session("subscriber").in_flight) == {got.packet_id}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (PUBACK, 0x01),
        (PUBACK, 0x11),
        (PUBACK, 0x92),
        (PUBACK, 0xFF),
        (PUBREC, 0x02),
        (PUBREC, 0x8F),
        (PUBREC, 0x92),
        (PUBREL, 0x10),
        (PUBREL, 0x80),
        (PUBREL, 0x91),
        (PUBCOMP, 0x10),
        (PUBCOMP, 0x80),
        (PUBCOMP, 0x91),
    ],
)
async def test_a_reason_of_another_packet(clients: Clients5, kind: int, reason: int) -> None:
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-4.13.1-1]: an error, not a surprise."""
    client = await clients.connected5("c1")
    client.send(acknowledge(kind, 7, reason))
    await client.disconnected(0x81, 0x82)


@pytest.mark.parametrize("kind", [PUBACK, PUBREC, PUBREL, PUBCOMP])
@pytest.mark.parametrize(
    ("body", "flags"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"\0", None, id="half an identifier"),
        pytest.param(b"\0\7\0\5", None, id="properties longer than the packet"),
        pytest.param(b"\0\7\0\0\0", None, id="a byte too many"),
        pytest.param(b"\0\7\0\2\x1f\0", None, id="a property cut off"),
        pytest.param(b"\0\7", 1, id="reserved flags"),
        pytest.param(b"\0\7", 6, id="other reserved flags"),
    ],
)
async def test_a_malformed_acknowledgement(clients: Clients5, kind: int, body: bytes, flags: int | None) -> None:
    """[MQTT-3.6.1-1] [MQTT-2.1.3-1] [MQTT-4.13.1-1]: DISCONNECT 0x81."""
    client = await clients.connected5("c1")
    client.send(packet(kind, body, (2 if kind == PUBREL else 0) if flags is None else flags))
    await client.disconnected(0x81)


async def test_pubrel_needs_its_flags(clients: Clients5) -> None:
    """[MQTT-3.6.1-1]: 0010 and nothing else."""
    for flags in (0, 1, 3, 4, 8, 10, 15):
        client = await clients.connected5("c1")
        client.send(packet(PUBREL, b"\0\7", flags))
        await client.disconnected(0x81)


@pytest.mark.parametrize("kind", [PUBACK, PUBREC, PUBREL, PUBCOMP])
async def test_identifier_0_is_no_identifier(clients: Clients5, kind: int) -> None:
    """[MQTT-2.2.1-3] [MQTT-2.2.1-5]: an error, or an identifier that nobody knows; never a message acknowledged."""
    publisher, subscriber = await clients.pair5(("t", 2))
    await publisher.publish("t", b"x", 2)
    await subscriber.expect(PUBLISH)
    subscriber.send(acknowledge(kind, 0))
    await subscriber.disconnected(0x81, 0x82)
