"""The raw MQTT 5 client of the tests: against the broker's codec, which was written without it, and its strictness."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.protocol.decode import Cursor, decode_packet
from wardenmq.broker.protocol.encode import (
    encode_ack5,
    encode_auth,
    encode_connack5,
    encode_disconnect5,
    encode_publish_head5,
    encode_suback5,
    encode_unsuback5,
)
from wardenmq.broker.protocol.packets import Auth, Connect, Disconnect, PacketType, Subscribe, Unsubscribe
from wardenmq.broker.protocol.properties import decode_properties, decode_publish_properties, encode_properties

from .packets5 import (
    AUTH,
    BINARY,
    BYTES,
    FROM_SERVER,
    LONGS,
    SHORTS,
    STRINGS,
    P,
    Packet5,
    Property,
    encode_property,
    parse,
    property_block,
    shortest,
)
from .wire import CONNACK, DISCONNECT, PUBACK, PUBLISH, PUBREL, SUBACK, UNSUBACK
from .wire5 import Will5, acknowledge, auth, connect, disconnect, options, publish, subscribe, unsubscribe, users

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0#+"), max_size=20)


def _value(identifier: P) -> st.SearchStrategy[object]:
    if identifier is P.USER:
        return st.tuples(TEXT, TEXT)
    if identifier in STRINGS:
        return TEXT.filter(bool) if identifier is P.RESPONSE_TOPIC else TEXT
    if identifier in BINARY:
        return st.binary(max_size=20)
    if identifier in BYTES:
        return st.integers(0, 1)
    if identifier in SHORTS:
        return st.integers(1, 0xFFFF)
    if identifier in LONGS:
        return st.integers(1, 0xFFFFFFFF)
    return st.integers(1, 268_435_455)


def _properties(*identifiers: P) -> st.SearchStrategy[list[Property]]:
    """Give property lists without a repeated one but user properties, in any order."""
    single = st.lists(st.sampled_from(identifiers), unique=True).flatmap(
        lambda chosen: st.tuples(*(st.tuples(st.just(one), _value(one)) for one in chosen))
    )
    pairs = st.lists(st.tuples(st.just(P.USER), _value(P.USER)), max_size=3)
    return st.tuples(single, pairs).flatmap(lambda parts: st.permutations([*parts[0], *parts[1]]))


def _as_broker(properties: list[Property]) -> dict[int, object]:
    """Give properties as the broker keeps them."""
    kept: dict[int, object] = {int(identifier): value for identifier, value in properties if identifier != P.USER}
    if pairs := [value for identifier, value in properties if identifier == P.USER]:
        kept[int(P.USER)] = pairs
    return kept


def _read(data: bytes) -> Packet5:
    """Take one whole packet of the server apart."""
    end = 2
    while data[end - 1] >= 0x80:
        end += 1
    assert len(data) == end + shortest(data[1:end])
    return parse(data[0], data[end:], len(data))


CONNECT_PROPERTIES = (
    P.SESSION_EXPIRY,
    P.REQUEST_PROBLEM,
    P.REQUEST_RESPONSE,
    P.RECEIVE_MAXIMUM,
    P.TOPIC_ALIAS_MAXIMUM,
    P.MAXIMUM_PACKET_SIZE,
)
FORWARDED = (P.PAYLOAD_FORMAT, P.CONTENT_TYPE, P.RESPONSE_TOPIC, P.CORRELATION_DATA)


@given(_properties(*CONNECT_PROPERTIES))
def test_the_broker_reads_the_connect_that_is_written(properties: list[Property]) -> None:
    """With its properties and the will's."""
    will = Will5("w", b"gone", 2, True, [(P.WILL_DELAY, 7), *users(("k", "v")), (P.MESSAGE_EXPIRY, 9)])
    data = connect("c1", clean=False, keep_alive=9, properties=properties, will=will, username="u", password=b"p")
    read = decode_packet(data[0], data[len(data) - _body_length(data) :], 5)
    assert isinstance(read, Connect)
    assert read.properties == _as_broker(properties)
    assert (read.client_id, read.clean_start, read.keep_alive, read.username, read.password) == (
        "c1",
        False,
        9,
        "u",
        b"p",
    )
    assert read.will is not None
    assert (read.will.topic, read.will.payload, read.will.qos, read.will.retain) == ("w", b"gone", 2, True)
    assert (read.will.delay, read.will.message_expiry) == (7, 9)
    assert read.will.properties == encode_property(P.USER, ("k", "v"))


def _body_length(data: bytes) -> int:
    end = 2
    while data[end - 1] >= 0x80:
        end += 1
    return shortest(data[1:end])


def _decoded(data: bytes) -> object:
    return decode_packet(data[0], data[len(data) - _body_length(data) :], 5)


@given(_properties(*FORWARDED, P.MESSAGE_EXPIRY, P.TOPIC_ALIAS))
def test_the_broker_reads_the_publish_properties_that_are_written(properties: list[Property]) -> None:
    raw = b"".join(encode_property(*one) for one in properties)
    read = decode_publish_properties(raw)
    kept = _as_broker(properties)
    assert read.topic_alias == kept.get(P.TOPIC_ALIAS, 0)
    assert read.message_expiry == kept.get(P.MESSAGE_EXPIRY)
    own = (P.MESSAGE_EXPIRY, P.TOPIC_ALIAS)
    assert read.forwarded == b"".join(encode_property(*one) for one in properties if one[0] not in own)
    assert decode_properties(Cursor(property_block(properties)), PacketType.PUBLISH) == kept


def test_the_broker_reads_the_other_packets_that_are_written() -> None:
    """With each of their fields."""
    read = _decoded(
        subscribe(
            7, ("a/#", options(1, no_local=True, retain_handling=1)), ("b", 10), properties=[(P.SUBSCRIPTION_ID, 5)]
        )
    )
    assert isinstance(read, Subscribe)
    assert (read.packet_id, dict(read.properties)) == (7, {P.SUBSCRIPTION_ID: 5})
    first, second = read.requests
    assert (first.topic_filter, first.qos, first.no_local, first.retain_as_published, first.retain_handling) == (
        "a/#",
        1,
        True,
        False,
        1,
    )
    assert (second.topic_filter, second.qos, second.no_local, second.retain_as_published) == ("b", 2, False, True)
    read = _decoded(unsubscribe(7, "a", "b", properties=users(("k", "v"))))
    assert isinstance(read, Unsubscribe) and list(read.topic_filters) == ["a", "b"]
    read = _decoded(disconnect(0x04, [(P.SESSION_EXPIRY, 5)]))
    assert isinstance(read, Disconnect) and (read.reason, dict(read.properties)) == (4, {P.SESSION_EXPIRY: 5})
    assert isinstance(_decoded(disconnect()), Disconnect)
    read = _decoded(auth(0x18, [(P.AUTH_METHOD, "m"), (P.AUTH_DATA, b"d")]))
    assert isinstance(read, Auth)
    assert (read.reason, dict(read.properties)) == (0x18, {P.AUTH_METHOD: "m", P.AUTH_DATA: b"d"})


@given(st.sampled_from([CONNACK, DISCONNECT, AUTH, PUBACK, SUBACK, UNSUBACK]), st.data())
def test_what_the_broker_writes_is_read(kind: int, data: st.DataObject) -> None:
    """Every packet with every property that a server may send on it."""
    identifiers = sorted(FROM_SERVER[kind] - {P.USER})
    properties = data.draw(_properties(*identifiers))
    # The broker writes a repeated property in one place, so the order to expect is that of its dictionary.
    kept = _as_broker(properties)
    expected = [
        one for key, value in kept.items() for one in ([(key, v) for v in value] if key == P.USER else [(key, value)])
    ]  # type: ignore[attr-defined]
    block = encode_properties(kept)
    written = {
        CONNACK: lambda: encode_connack5(True, 0, kept),
        DISCONNECT: lambda: encode_disconnect5(0x82, kept),
        AUTH: lambda: encode_auth(0x18, kept),
        PUBACK: lambda: encode_ack5(0x40, b"\0\7", 0x10, block),
        SUBACK: lambda: encode_suback5(7, [0, 1, 0x87], block),
        UNSUBACK: lambda: encode_unsuback5(7, [0, 0x11], block),
    }[kind]()
    got = _read(written)
    assert (got.kind, got.size, list(got.properties)) == (kind, len(written), expected)
    assert got.reason == {CONNACK: 0, DISCONNECT: 0x82, AUTH: 0x18, PUBACK: 0x10}.get(kind, 0)
    assert got.codes == {SUBACK: (0, 1, 0x87), UNSUBACK: (0, 0x11)}.get(kind, ())
    assert got.packet_id == (7 if kind in (PUBACK, SUBACK, UNSUBACK) else 0)
    assert got.session_present is (kind == CONNACK)


@given(_properties(*FORWARDED, P.MESSAGE_EXPIRY, P.TOPIC_ALIAS), st.binary(max_size=200), st.integers(0, 2))
def test_a_publish_that_the_broker_writes_is_read(properties: list[Property], payload: bytes, qos: int) -> None:
    block = property_block(properties)
    identifier = b"\1\2" if qos else b""
    head = encode_publish_head5(0x31 | qos << 1, b"a/b", len(identifier) + len(block) + len(payload))
    got = _read(head + identifier + block + payload)
    assert (got.kind, got.qos, got.retain, got.dup, got.wire_topic) == (PUBLISH, qos, True, False, "a/b")
    assert (got.packet_id, got.payload, list(got.properties)) == (258 if qos else 0, payload, properties)
    assert got.forwarded == [one for one in properties if one[0] not in (P.MESSAGE_EXPIRY, P.TOPIC_ALIAS)]


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(b"\x40\x02\x00", id="truncated"),
        pytest.param(b"\x41\x02\x00\x07", id="flags"),
        pytest.param(b"\x60\x02\x00\x07", id="PUBREL without its flags"),
        pytest.param(b"\x40\x03\x00\x07\x11", id="a reason of another packet"),
        pytest.param(b"\x40\x05\x00\x07\x00\x00\x00", id="bytes left"),
        pytest.param(b"\x20\x03\x02\x00\x00", id="CONNACK flags"),
        pytest.param(b"\x20\x03\x01\x87\x00", id="session present in a refusal"),
        pytest.param(b"\x20\x05\x00\x00\x02\x21\x00", id="properties past the end"),
        pytest.param(b"\x20\x06\x00\x00\x03\x21\x00\x00", id="Receive Maximum 0"),
        pytest.param(b"\x20\x05\x00\x00\x02\x24\x02", id="Maximum QoS 2"),
        pytest.param(b"\x20\x05\x00\x00\x02\x17\x01", id="a property of CONNECT"),
        pytest.param(b"\x20\x07\x00\x00\x04\x24\x01\x24\x01", id="a property twice"),
        pytest.param(b"\xe0\x07\x00\x05\x11\0\0\0\1", id="Session Expiry Interval on DISCONNECT"),
        pytest.param(b"\x36\x06\x00\x01t\x00\x01\x00", id="QoS 3"),
        pytest.param(b"\x38\x04\x00\x01t\x00", id="DUP at QoS 0"),
        pytest.param(b"\x32\x06\x00\x01t\x00\x00\x00", id="packet identifier 0"),
        pytest.param(b"\x30\x04\x00\x01#\x00", id="wildcard"),
        pytest.param(b"\x30\x05\x00\x02\xc3\x28\x00", id="UTF-8"),
        pytest.param(b"\x30\x04\x00\x01\x00\x00", id="U+0000"),
        pytest.param(b"\x30\x05\x00\x01t\x80\x00", id="length not in its shortest form"),
        pytest.param(b"\x10\x00", id="CONNECT"),
        pytest.param(b"\x90\x04\x00\x07\x00\x03", id="SUBACK code"),
    ],
)
def test_what_no_server_may_send_is_refused(written: bytes) -> None:
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        _read(written)


def test_short_forms() -> None:
    """Of acknowledgements, DISCONNECT and AUTH, as they are written and read."""
    assert acknowledge(PUBACK, 7) == b"\x40\x02\x00\x07"
    assert acknowledge(PUBREL, 7, 0x92) == b"\x62\x03\x00\x07\x92"
    assert acknowledge(PUBACK, 7, 0, ()) == b"\x40\x04\x00\x07\x00\x00"
    assert disconnect() == b"\xe0\x00" and disconnect(0x04) == b"\xe0\x01\x04"
    assert publish("t", b"x", 1, 7, retain=True, dup=True) == b"\x3b\x07\x00\x01t\x00\x07\x00x"
    for written, reason in ((b"\xe0\x00", 0), (b"\xe0\x01\x8e", 0x8E), (b"\x40\x02\x00\x07", 0), (b"\xf0\x00", 0)):
        assert _read(written).reason == reason
    assert cast("object", _read(b"\xd0\x00").kind) == 13
