"""Properties of MQTT 5: what is written is read again, paho agrees, and a message keeps what goes on as it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from wardenmq.broker.protocol.cursor import Cursor
from wardenmq.broker.protocol.errors import MalformedPacket, MqttError, ProtocolError
from wardenmq.broker.protocol.packets import PacketType
from wardenmq.broker.protocol.properties import (
    Properties,
    PropertyId,
    decode_properties,
    decode_publish_properties,
    decode_will_properties,
    encode_properties,
    encode_property,
    parse_properties,
)
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.broker.protocol.variable_integer import decode_varint, encode_varint

from .packets5 import GOOD

P = PropertyId
WILL = PacketTypes.WILLMESSAGE
PAHO = PahoProperties(PacketTypes.PUBLISH)
PAHO_NAMES = {identifier: name.replace(" ", "") for name, identifier in PAHO.names.items()}
KINDS = {identifier: PAHO.types[kind] for identifier, (kind, _) in PAHO.properties.items()}
BELONGS = {identifier: set(packets) for identifier, (_, packets) in PAHO.properties.items()}
PACKETS = [kind for kind in PacketType if kind not in (PacketType.PINGREQ, PacketType.PINGRESP)]

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "Byte": st.integers(0, 1),
    "Two Byte Integer": st.integers(1, 65_535),
    "Four Byte Integer": st.integers(1, 0xFFFFFFFF),
    "Variable Byte Integer": st.integers(1, 268_435_455),
    "Binary Data": st.binary(max_size=20),
    "UTF-8 Encoded String": texts,
    "UTF-8 String Pair": st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
}


@st.composite
def properties(draw: st.DrawFn, packet: int) -> Properties:
    """Draw properties that a packet may have, in any order."""
    allowed = [identifier for identifier in P if packet in BELONGS[identifier]]
    if packet == PacketType.PUBLISH:
        allowed.remove(P.SUBSCRIPTION_IDENTIFIER)
    chosen = draw(st.permutations(allowed))[: draw(st.integers(0, len(allowed)))]
    values: Properties = {identifier: draw(VALUES[KINDS[identifier]]) for identifier in chosen}
    if P.RESPONSE_TOPIC in values:
        values[P.RESPONSE_TOPIC] = draw(st.sampled_from(["r", "a/b", "größe/x"]))
    return values


holders = st.sampled_from([*PACKETS, WILL])


@given(st.data(), holders)
def test_what_is_written_is_read(data: st.DataObject, packet: int) -> None:
    """[MQTT5-3.3.2-18]: order and all."""
    written = data.draw(properties(packet))
    cursor = Cursor(encode_properties(written) + b"rest")
    kind = PacketType.CONNECT if packet == WILL else PacketType(packet)
    found = decode_properties(cursor, kind, will=packet == WILL)
    assert list(found.items()) == list(written.items())
    assert cursor.take(4) == b"rest"
    assert cursor.at_end


@given(st.data(), holders)
def test_paho_reads_what_is_written(data: st.DataObject, packet: int) -> None:
    written = data.draw(properties(packet))
    if P.MAXIMUM_PACKET_SIZE in written:
        written[P.MAXIMUM_PACKET_SIZE] = 268_435_455  # the most that paho takes
    encoded = encode_properties(written)
    reader = PahoProperties(packet)
    assert reader.unpack(encoded)[1] == len(encoded)
    for identifier in P:
        found = getattr(reader, PAHO_NAMES[identifier], None)
        expected = written.get(identifier)
        assert found == ([expected] if identifier == P.SUBSCRIPTION_IDENTIFIER and expected else expected)


@given(st.data(), holders)
def test_what_paho_writes_is_read(data: st.DataObject, packet: int) -> None:
    written = data.draw(properties(packet))
    writer = PahoProperties(packet)
    if P.MAXIMUM_PACKET_SIZE in written:
        written[P.MAXIMUM_PACKET_SIZE] = 268_435_455  # the most that paho takes
    for identifier, value in written.items():
        setattr(writer, PAHO_NAMES[identifier], value)
    kind = PacketType.CONNECT if packet == WILL else PacketType(packet)
    assert decode_properties(Cursor(writer.pack()), kind, will=packet == WILL) == written


@pytest.mark.parametrize("packet", [*PACKETS, WILL])
def test_a_property_is_taken_where_it_belongs_and_nowhere_else(packet: int) -> None:
    """MQTT 5, table 2.4, as paho has it."""
    kind = PacketType.CONNECT if packet == WILL else PacketType(packet)
    taken: set[int] = set()
    for raw in GOOD.values():
        try:
            found = parse_properties(raw, kind, will=packet == WILL)
        except MalformedPacket:
            continue
        except ProtocolError:  # [MQTT5-3.3.4-6]: defined there, but only towards the client
            assert (packet, raw[0]) == (PacketType.PUBLISH, P.SUBSCRIPTION_IDENTIFIER)
            taken.add(raw[0])
            continue
        assert list(found) == [raw[0]]
        taken.add(raw[0])
    assert taken == {identifier for identifier in P if packet in BELONGS[identifier]}


def test_the_good_properties_are_one_of_each() -> None:
    assert sorted(raw[0] for raw in GOOD.values()) == sorted(P)


# -- the properties of a message


def outcome(raw: bytes, *, will: bool) -> object:
    """Read a message's properties by the table; a failure as kind and reason."""
    try:
        return parse_properties(raw, PacketType.CONNECT if will else PacketType.PUBLISH, will=will)
    except MqttError as error:
        return type(error), error.reason


def check_split(raw: bytes, *, will: bool) -> None:
    """Check that a message's properties read the same by the table and taken apart."""
    expected = outcome(raw, will=will)
    try:
        own, expiry, forwarded = decode_will_properties(raw) if will else decode_publish_properties(raw)
    except MqttError as error:
        assert (type(error), error.reason) == expected
        return
    assert isinstance(expected, dict)
    assert own == expected.pop(P.WILL_DELAY_INTERVAL if will else P.TOPIC_ALIAS, 0)
    assert expiry == expected.pop(P.MESSAGE_EXPIRY_INTERVAL, None)
    found = outcome(forwarded, will=will)
    assert isinstance(found, dict)
    assert list(found.items()) == list(expected.items())


@st.composite
def message_blocks(draw: st.DrawFn, packet: int) -> list[bytes]:
    """Draw encoded properties of a message, user properties among them in any place."""
    single = draw(properties(packet))
    single.pop(P.USER_PROPERTY, None)
    pairs = draw(st.lists(st.tuples(texts, texts), max_size=4))
    encoded = [encode_property(identifier, value) for identifier, value in single.items()]
    return draw(st.permutations(encoded + [encode_property(P.USER_PROPERTY, pair) for pair in pairs]))


@given(message_blocks(PacketType.PUBLISH))
def test_what_goes_on_is_kept_as_it_came(parts: list[bytes]) -> None:
    """[MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18] [MQTT5-3.3.2-20]"""
    found = decode_publish_properties(b"".join(parts))
    kept = [part for part in parts if part[0] not in (P.TOPIC_ALIAS, P.MESSAGE_EXPIRY_INTERVAL)]
    assert found.forwarded == b"".join(kept)
    check_split(b"".join(parts), will=False)


@given(message_blocks(WILL))
def test_a_will_keeps_what_goes_on_as_it_came(parts: list[bytes]) -> None:
    """[MQTT5-3.1.3-10]: the user properties in their order."""
    kept = [part for part in parts if part[0] not in (P.WILL_DELAY_INTERVAL, P.MESSAGE_EXPIRY_INTERVAL)]
    assert decode_will_properties(b"".join(parts))[2] == b"".join(kept)
    check_split(b"".join(parts), will=True)


changes = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3)


@given(st.one_of(message_blocks(PacketType.PUBLISH), message_blocks(WILL)), changes, st.booleans(), st.integers(0, 60))
def test_mutated_messages_read_alike_by_the_table_and_taken_apart(
    parts: list[bytes], changed: list[tuple[int, int]], will: bool, cut: int
) -> None:
    raw = bytearray(b"".join(parts))
    for at, value in changed:
        if raw:
            raw[at % len(raw)] = value
    check_split(bytes(raw), will=will)
    check_split(bytes(raw[:cut]), will=will)


@given(st.binary(max_size=40), st.booleans())
def test_random_messages_read_alike_by_the_table_and_taken_apart(raw: bytes, will: bool) -> None:
    check_split(raw, will=will)


def test_every_pair_of_properties_reads_alike_by_the_table_and_taken_apart() -> None:
    for first in GOOD.values():
        for second in GOOD.values():
            for cut in range(len(second) + 1):
                check_split(first + second[:cut], will=False)
                check_split(first + second[:cut], will=True)


def test_nothing_is_copied_where_everything_goes_on() -> None:
    raw = GOOD["user property"] + GOOD["content type"]
    assert decode_publish_properties(raw).forwarded is raw
    assert decode_publish_properties(b"") == (0, None, b"")


def test_a_topic_alias_of_0_has_a_reason_of_its_own() -> None:
    """[MQTT5-3.3.2-8]"""
    with pytest.raises(ProtocolError) as caught:
        decode_publish_properties(b"\x23\x00\x00")
    assert caught.value.reason == ReasonCode.TOPIC_ALIAS_INVALID


# -- values at their borders


def test_no_properties_are_a_length_of_0() -> None:
    """[MQTT5-2.2.2-1]"""
    assert encode_properties({}) == b"\x00"
    assert decode_properties(Cursor(b"\x00"), PacketType.CONNECT) == {}


def test_a_property_that_is_repeated() -> None:
    assert encode_property(P.SUBSCRIPTION_IDENTIFIER, [1, 200]) == b"\x0b\x01\x0b\xc8\x01"
    assert encode_properties({P.USER_PROPERTY: [("a", "b"), ("a", "")]}).hex() == "0d26000161000162260001610000"


def test_the_longest_text_and_what_is_longer() -> None:
    """[MQTT5-1.5.4-1]: a length takes two bytes."""
    longest = {P.REASON_STRING: "é" * 32_767 + "x"}
    assert decode_properties(Cursor(encode_properties(longest)), PacketType.PUBACK) == longest
    for value in ({P.REASON_STRING: "é" * 32_768}, {P.AUTHENTICATION_DATA: bytes(65_536)}):
        with pytest.raises(ValueError, match="65,535"):
            encode_properties(dict(value))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_variable_byte_integers_at_their_borders(value: int, encoded: str) -> None:
    """[MQTT5-1.5.5-1]: table 1.1 of the standard."""
    assert encode_varint(value).hex() == encoded
    assert decode_varint(b"x" + bytes.fromhex(encoded) + b"\xff", 1) == (value, 1 + len(encoded) // 2)


@given(st.integers(0, 268_435_455))
def test_variable_byte_integers(value: int) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded, 0) == (value, len(encoded))
    for cut in range(len(encoded)):
        with pytest.raises(MalformedPacket):
            decode_varint(encoded[:cut], 0)
    if len(encoded) < 4:  # [MQTT5-1.5.5-1]
        with pytest.raises(MalformedPacket):
            decode_varint(encoded[:-1] + bytes((encoded[-1] | 0x80, 0)), 0)
