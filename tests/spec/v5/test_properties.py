"""Properties: which packet takes which, what is refused, what is passed on (MQTT 5.0, sections 2.2.2 and 3.3.2.3)."""

import asyncio
from collections.abc import Callable

import pytest

from ...engine.packets5 import P, Properties, Property, encode_property, property_block
from ...engine.wire import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from ...engine.wire5 import (
    Client5,
    Will5,
    acknowledge,
    auth,
    connect,
    disconnect,
    publish,
    subscribe,
    unsubscribe,
    users,
)
from .serving import Clients5

VALUES: dict[P, object] = {
    P.PAYLOAD_FORMAT: 1,
    P.MESSAGE_EXPIRY: 60,
    P.CONTENT_TYPE: "text/plain",
    P.RESPONSE_TOPIC: "answers",
    P.CORRELATION_DATA: b"\0\xff",
    P.SUBSCRIPTION_ID: 5,
    P.SESSION_EXPIRY: 60,
    P.ASSIGNED_CLIENT_ID: "given",
    P.SERVER_KEEP_ALIVE: 60,
    P.AUTH_METHOD: "method",
    P.AUTH_DATA: b"data",
    P.REQUEST_PROBLEM: 1,
    P.WILL_DELAY: 60,
    P.REQUEST_RESPONSE: 1,
    P.RESPONSE_INFORMATION: "info",
    P.SERVER_REFERENCE: "elsewhere",
    P.REASON_STRING: "because",
    P.RECEIVE_MAXIMUM: 10,
    P.TOPIC_ALIAS_MAXIMUM: 10,
    P.TOPIC_ALIAS: 1,
    P.MAXIMUM_QOS: 1,
    P.RETAIN_AVAILABLE: 1,
    P.USER: ("k", "v"),
    P.MAXIMUM_PACKET_SIZE: 100_000,
    P.WILDCARD_AVAILABLE: 1,
    P.SUBSCRIPTION_ID_AVAILABLE: 1,
    P.SHARED_AVAILABLE: 1,
}

EXPLAINED = {P.REASON_STRING, P.USER}
FORWARDED = {
    P.PAYLOAD_FORMAT,
    P.MESSAGE_EXPIRY,
    P.CONTENT_TYPE,
    P.RESPONSE_TOPIC,
    P.CORRELATION_DATA,
    P.USER,
}
ALLOWED: dict[str, set[P]] = {
    "CONNECT": {
        P.SESSION_EXPIRY,
        P.AUTH_METHOD,
        P.AUTH_DATA,
        P.REQUEST_PROBLEM,
        P.REQUEST_RESPONSE,
        P.RECEIVE_MAXIMUM,
        P.TOPIC_ALIAS_MAXIMUM,
        P.USER,
        P.MAXIMUM_PACKET_SIZE,
    },
    "will": FORWARDED | {P.WILL_DELAY},
    "PUBLISH": FORWARDED | {P.TOPIC_ALIAS, P.SUBSCRIPTION_ID},  # the latter from a server alone
    "PUBACK": EXPLAINED,
    "PUBREC": EXPLAINED,
    "PUBREL": EXPLAINED,
    "PUBCOMP": EXPLAINED,
    "SUBSCRIBE": {P.SUBSCRIPTION_ID, P.USER},
    "UNSUBSCRIBE": {P.USER},
    "DISCONNECT": EXPLAINED | {P.SESSION_EXPIRY, P.SERVER_REFERENCE},
    "AUTH": EXPLAINED | {P.AUTH_METHOD, P.AUTH_DATA},
}
"""What a client may send on each packet, MQTT 5.0 table 2-4."""

BUILD: dict[str, Callable[[Properties], bytes]] = {
    "CONNECT": lambda properties: connect("c1", properties=properties),
    "will": lambda properties: connect("c1", will=Will5("w", properties=properties)),
    "PUBLISH": lambda properties: publish("t", b"x", properties=properties),
    "PUBACK": lambda properties: acknowledge(PUBACK, 7, 0, properties),
    "PUBREC": lambda properties: acknowledge(PUBREC, 7, 0, properties),
    "PUBREL": lambda properties: acknowledge(PUBREL, 7, 0, properties),
    "PUBCOMP": lambda properties: acknowledge(PUBCOMP, 7, 0, properties),
    "SUBSCRIBE": lambda properties: subscribe(7, ("t", 0), properties=properties),
    "UNSUBSCRIBE": lambda properties: unsubscribe(7, "t", properties=properties),
    "DISCONNECT": lambda properties: disconnect(0, properties),
    "AUTH": lambda properties: auth(0x18, properties),
}


async def _answer(clients: Clients5, kind: str, properties: Properties) -> int | None:
    """Send such a packet with these properties and give the reason of the refusal, None if it was taken."""
    client = await clients.open5()
    if kind not in ("CONNECT", "will"):
        await client.connect("c1", properties=[(P.SESSION_EXPIRY, 60)])
    client.send(BUILD[kind](properties))
    if kind in ("CONNECT", "will"):
        got = await client.expect(CONNACK)
        if got.reason == 0:
            client.abort()
            await clients.gone("c1")
            return None
        await client.hung_up()
        return got.reason
    return await _reason(client, kind)


async def _reason(client: Client5, kind: str) -> int | None:
    if kind != "DISCONNECT":
        client.send(b"\xc0\x00")
    try:
        while True:
            got = await client.read()
            if got.kind == 13:
                client.abort()
                return None
            if got.kind == 14:
                await client.hung_up()
                return got.reason
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


@pytest.mark.parametrize("kind", BUILD)
async def test_a_property_on_a_packet_that_does_not_take_it(clients: Clients5, kind: str) -> None:
    """[MQTT-4.13.1-1] [MQTT-2.2.2-1]: 0x81 for each property that the standard does not give to this packet."""
    reasons = {
        identifier: await _answer(clients, kind, [(identifier, VALUES[identifier])])
        for identifier in P
        if identifier not in ALLOWED[kind]
    }
    assert reasons and set(reasons.values()) == {0x81}, reasons


@pytest.mark.parametrize("kind", BUILD)
async def test_an_identifier_that_no_property_has(clients: Clients5, kind: str) -> None:
    """[MQTT-4.13.1-1]: 0x81, for identifiers of one byte and of two."""
    for raw in (b"\x00\0", b"\x04\0\0\0\0", b"\x2b\1", b"\x7f\1", b"\xa6\1\0\0\0\0", b"\xff\xff\xff\x7f"):
        assert await _answer(clients, kind, raw) == 0x81, raw.hex()


@pytest.mark.parametrize("kind", [kind for kind in BUILD if kind != "AUTH"])
async def test_a_property_that_is_taken(clients: Clients5, kind: str) -> None:
    """[MQTT-2.2.2-1]: each property on each packet that has it, alone."""
    skipped = {P.SUBSCRIPTION_ID} if kind == "PUBLISH" else {P.AUTH_METHOD, P.AUTH_DATA}
    if kind == "DISCONNECT":
        skipped.add(P.SERVER_REFERENCE)  # a server's
    for identifier in ALLOWED[kind] - skipped:
        answer = await _answer(clients, kind, [(identifier, VALUES[identifier])])
        assert answer is None, f"{identifier!r}: {answer:#04x}"


@pytest.mark.parametrize("kind", BUILD)
async def test_a_property_twice(clients: Clients5, kind: str) -> None:
    """[MQTT-4.13.1-1]: a protocol error for all but user properties, the same value or another."""
    method: list[Property] = [(P.AUTH_METHOD, "m")]
    for identifier in ALLOWED[kind] - {P.USER, P.SERVER_REFERENCE}:
        twice: list[Property] = [(identifier, VALUES[identifier])] * 2
        if identifier == P.AUTH_DATA:
            twice = method + twice
        assert await _answer(clients, kind, twice) == 0x82, identifier


@pytest.mark.parametrize("kind", [kind for kind in BUILD if kind != "AUTH"])
async def test_user_properties_come_as_often_as_they_like(clients: Clients5, kind: str) -> None:
    """[MQTT-1.5.7-1]: also with the same name, with none, and with no value."""
    pairs = users(("k", "v"), ("k", "v"), ("", ""), ("k", ""), ("", "v"), ("é", "\U0001f600"))
    assert await _answer(clients, kind, pairs) is None


FORBIDDEN: list[tuple[str, P, object, set[int]]] = [
    ("CONNECT", P.RECEIVE_MAXIMUM, 0, {0x82}),
    ("CONNECT", P.MAXIMUM_PACKET_SIZE, 0, {0x82}),
    ("CONNECT", P.REQUEST_PROBLEM, 2, {0x82}),
    ("CONNECT", P.REQUEST_RESPONSE, 255, {0x82}),
    ("CONNECT", P.AUTH_DATA, b"data", {0x82}),
    ("will", P.PAYLOAD_FORMAT, 2, {0x81, 0x82}),
    ("will", P.RESPONSE_TOPIC, "a/#", {0x81, 0x82, 0x90}),
    ("PUBLISH", P.PAYLOAD_FORMAT, 2, {0x81, 0x82}),
    ("PUBLISH", P.RESPONSE_TOPIC, "a/+", {0x81, 0x82, 0x90}),
    ("PUBLISH", P.RESPONSE_TOPIC, "#", {0x81, 0x82, 0x90}),
    ("PUBLISH", P.TOPIC_ALIAS, 0, {0x94}),
    ("PUBLISH", P.SUBSCRIPTION_ID, 1, {0x82}),
    ("PUBLISH", P.SUBSCRIPTION_ID, 268_435_455, {0x82}),
    ("SUBSCRIBE", P.SUBSCRIPTION_ID, 0, {0x82}),
]


@pytest.mark.parametrize(("kind", "identifier", "value", "reasons"), FORBIDDEN)
async def test_a_value_that_is_not_allowed(
    clients: Clients5, kind: str, identifier: P, value: object, reasons: set[int]
) -> None:
    """[MQTT-4.13.1-1] [MQTT-3.3.2-8] [MQTT-3.3.2-14] [MQTT-3.3.4-6]: each with its reason."""
    assert await _answer(clients, kind, [(identifier, value)]) in reasons


STRINGS = [
    ("CONNECT", P.AUTH_METHOD),
    ("will", P.CONTENT_TYPE),
    ("will", P.RESPONSE_TOPIC),
    ("PUBLISH", P.CONTENT_TYPE),
    ("PUBLISH", P.RESPONSE_TOPIC),
    ("PUBACK", P.REASON_STRING),
    ("DISCONNECT", P.REASON_STRING),
]


@pytest.mark.parametrize(("kind", "identifier"), STRINGS)
@pytest.mark.parametrize("text", [b"\xc3\x28", b"\xed\xa0\x80", b"a\0b", b"\xff", b"\xf4\x90\x80\x80", b"\xc0\x80"])
async def test_a_string_that_is_none(clients: Clients5, kind: str, identifier: P, text: bytes) -> None:
    """[MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.2-13] [MQTT-3.3.2-19]: ill-formed UTF-8, surrogates, U+0000."""
    assert await _answer(clients, kind, [(identifier, text)]) == 0x81


@pytest.mark.parametrize("kind", BUILD)
async def test_a_pair_that_is_none(clients: Clients5, kind: str) -> None:
    """[MQTT-1.5.7-1]: both its strings are strings, and both are there."""
    for name, value in ((b"\xc3\x28", b"v"), (b"k", b"\xc3\x28"), (b"k\0", b"v"), (b"k", b"\xed\xbf\xbf")):
        assert await _answer(clients, kind, [(P.USER, (name, value))]) == 0x81, (name, value)
    for raw in (b"\x26", b"\x26\0", b"\x26\0\1", b"\x26\0\1k", b"\x26\0\1k\0", b"\x26\0\1k\0\2v"):
        assert await _answer(clients, kind, raw) == 0x81, raw


@pytest.mark.parametrize("kind", BUILD)
async def test_properties_that_are_cut_off(clients: Clients5, kind: str) -> None:
    """[MQTT-4.13.1-1]: at every byte of every property that the packet takes, 0x81."""
    for identifier in ALLOWED[kind] - {P.SUBSCRIPTION_ID, P.AUTH_DATA}:
        whole = encode_property(identifier, VALUES[identifier])
        for length in range(1, len(whole)):
            answer = await _answer(clients, kind, whole[:length])
            assert answer == 0x81, (identifier, length, answer)


async def test_the_bytes_ef_bb_bf(clients: Clients5) -> None:
    """[MQTT-1.5.4-3]: U+FEFF is a character like any other, wherever it stands."""
    publisher, subscriber = await clients.pair5(("\ufeff/+", 1))
    properties = [(P.CONTENT_TYPE, "\ufefftext"), *users(("\ufeffk", "v\ufeff"))]
    assert await publisher.publish("\ufeff/a\ufeff", b"\xef\xbb\xbfx", 1, properties=properties) == 0
    got = await subscriber.message()
    assert (got.topic, got.payload, list(got.properties)) == ("\ufeff/a\ufeff", b"\xef\xbb\xbfx", properties)
    assert await publisher.publish("/a", b"x", 1) == 0x10


# What is passed on.

PASSED_ON: list[Property] = [
    (P.USER, ("z", "1")),
    (P.CORRELATION_DATA, b"\0\1\2\xff"),
    (P.USER, ("a", "2")),
    (P.RESPONSE_TOPIC, "answers/Ä"),
    (P.USER, ("z", "1")),
    (P.PAYLOAD_FORMAT, 1),
    (P.CONTENT_TYPE, "text/plain; charset=utf-8"),
    (P.USER, ("", "")),
]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
async def test_properties_arrive_unchanged_and_in_order(clients: Clients5, qos: int, retain: bool) -> None:
    """Live, from the queue and from the retained store.

    [MQTT-3.3.2-4] [MQTT-3.3.2-13] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-19]
    [MQTT-3.3.2-20]
    """
    await clients.away("away", ("t", 2))
    publisher, subscriber = await clients.pair5(("t", 2))
    for properties in (PASSED_ON, PASSED_ON[::-1], PASSED_ON[2:5]):
        await publisher.publish("t", b"x", qos, retain=retain, properties=properties)
        assert list((await subscriber.message()).properties) == properties
    if retain:
        late = await clients.subscribed5("late", ("t", 2))
        assert list((await late.message()).properties) == PASSED_ON[2:5]
    if qos:
        back = await clients.back("away")
        for properties in (PASSED_ON, PASSED_ON[::-1], PASSED_ON[2:5]):
            assert list((await back.message()).properties) == properties


@pytest.mark.parametrize(
    "properties",
    [
        [(P.PAYLOAD_FORMAT, 0)],
        [(P.PAYLOAD_FORMAT, 1)],
        [(P.CONTENT_TYPE, "")],
        [(P.CORRELATION_DATA, b"")],
        [(P.CORRELATION_DATA, bytes(range(256)) * 255)],
        [(P.RESPONSE_TOPIC, "a//b/$c")],
        users(*((f"k{n}", "v" * n) for n in range(300))),
        [(P.USER, ("k" * 65_535, "v" * 65_535))],
    ],
)
async def test_each_value_arrives_as_it_was(clients: Clients5, properties: list[Property]) -> None:
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20]: empty, long and many."""
    publisher, subscriber = await clients.pair5(("t", 1))
    for qos in (0, 1):
        await publisher.publish("t", b"x", qos, properties=properties)
        assert list((await subscriber.message()).properties) == properties


async def test_the_servers_own_properties_stand_beside_the_publishers(clients: Clients5) -> None:
    """[MQTT-3.3.2-18] [MQTT-3.3.4-3]: subscription identifier and alias are added, the rest stays as it came."""
    publisher = await clients.connected5("publisher")
    client = await clients.connected5("c1", properties=[(P.TOPIC_ALIAS_MAXIMUM, 5)])
    await client.subscribe(("t", 1), properties=[(P.SUBSCRIPTION_ID, 200)])
    for qos in (0, 1, 0):
        await publisher.publish("t", b"x", qos, properties=[*PASSED_ON, (P.TOPIC_ALIAS, 3), (P.MESSAGE_EXPIRY, 90)])
        got = await client.message()
        assert got.forwarded == PASSED_ON
        assert (got.topic, got.subscription_ids) == ("t", [200])
        assert got.get(P.MESSAGE_EXPIRY) in (89, 90)


async def test_payload_format_of_text_that_is_none(clients: Clients5) -> None:
    """[MQTT-3.3.2-4]: the server may check the payload (0x99); a message that it accepts is passed on unchanged."""
    publisher, subscriber = await clients.pair5(("t", 1))
    reason = await publisher.publish("t", b"\xff\xfe", 1, properties=[(P.PAYLOAD_FORMAT, 1)])
    assert reason in (0, 0x99)
    if reason == 0:
        got = await subscriber.message()
        assert (got.payload, got.properties) == (b"\xff\xfe", ((P.PAYLOAD_FORMAT, 1),))


async def test_a_property_length_in_a_longer_form(clients: Clients5) -> None:
    """[MQTT-1.5.5-1]: an empty block that pretends to be longer is malformed, or empty; it is not passed on so."""
    for count in (1, 50):
        publisher, subscriber = await clients.pair5(("t", 0))
        publisher.send(b"\x30\x06\x00\x01t\x80\x00x" * count)
        publisher.send(b"\xc0\x00")
        got = await publisher.read()
        assert got.kind == 13 or (got.kind == 14 and got.reason == 0x81)
        if got.kind == 13:
            for _ in range(count):
                assert (await subscriber.message()).payload == b"x"  # which checks the form
        else:
            await subscriber.nothing_came()


def test_the_table_is_whole() -> None:
    """[MQTT-2.2.2-1]: these tests know a value for every property, and write its block as the standard has it."""
    assert set(VALUES) == set(P)
    assert property_block([(P.SUBSCRIPTION_ID, 200), (P.USER, ("a", "b"))]) == b"\x0a\x0b\xc8\x01\x26\x00\x01a\x00\x01b"
    assert publish("t", b"x", properties=[(P.PAYLOAD_FORMAT, 1)])[0] >> 4 == PUBLISH
