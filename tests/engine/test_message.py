"""A message on its way out: encoded once for all receivers that get the same bytes, and encoded right."""

import pytest
from wardenmq.broker.message import Message

from . import wire, wire5
from .packets5 import P, encode_property, parse

SIZES = (0, 1, 100, 120, 121, 122, 123, 124, 125, 126, 127, 128, 16_370, 16_383, 16_384)
"""Payloads whose packets are about as long as one, two and three bytes of a remaining length can tell."""
USER = encode_property(P.USER, ("name", "value"))
IDENTIFIER = encode_property(P.SUBSCRIPTION_ID, 7)


def _head3(message: Message, qos: int, packet_id: int | None, *, retain: bool = False, dup: bool = False) -> bytes:
    """Put a 3.1.1 PUBLISH together as a connection does."""
    identifier = b"" if packet_id is None else packet_id.to_bytes(2, "big")
    return message.head(0x30 | qos << 1 | retain | dup << 3) + identifier + message.payload


def _whole5(message: Message, first_byte: int, extra: bytes, packet_id: int | None) -> bytes:
    """Put an MQTT 5 PUBLISH together as a connection does."""
    head, block = message.head5(first_byte, extra)
    return head + (b"" if packet_id is None else packet_id.to_bytes(2, "big")) + block + message.payload


@pytest.mark.parametrize("topic", ["t", "a/ä/€", "x" * 300])
@pytest.mark.parametrize("size", SIZES)
def test_a_packet_of_any_length_is_as_built_by_hand(size: int, topic: str) -> None:
    """[MQTT-2.2.2-1]: for one message in every form that its receivers take it in, one after the other."""
    message = Message(topic, b"x" * size)
    for qos, packet_id in ((0, None), (1, 1), (2, 65_535), (0, None)):
        for retain in (False, True):
            for dup in (False, True) if qos else (False,):
                expected = wire.publish(topic, message.payload, qos, packet_id, retain=retain, dup=dup)
                assert _head3(message, qos, packet_id, retain=retain, dup=dup) == expected


def test_the_head_is_encoded_once_for_the_same_flags() -> None:
    message = Message("t", b"x" * 1_000)
    first = message.head(0x32)
    assert all(message.head(0x32) is first for _ in range(3))
    assert message.head(0x30) != first
    assert message.head(0x32) == first


def test_the_topic_is_encoded_once() -> None:
    """What came from the wire is not encoded again."""
    raw = "a/ä".encode()
    assert Message("a/ä", b"", topic_bytes=raw).topic_bytes is raw
    assert Message("a/ä", b"").topic_bytes == raw


@pytest.mark.parametrize("topic", ["t", "x" * 300])
@pytest.mark.parametrize("size", SIZES)
def test_an_mqtt_5_packet_of_any_length_is_as_built_by_hand(size: int, topic: str) -> None:
    message = Message(topic, b"x" * size, properties=USER)
    for qos, packet_id in ((0, None), (1, 1), (2, 65_535)):
        for extra, properties in ((b"", []), (IDENTIFIER, [(P.SUBSCRIPTION_ID, 7)])):
            expected = wire5.publish(
                topic, message.payload, qos, packet_id, properties=[*properties, (P.USER, ("name", "value"))]
            )
            assert _whole5(message, 0x30 | qos << 1, extra, packet_id) == expected


def test_the_mqtt_5_head_is_encoded_once_for_the_same_flags_and_properties() -> None:
    message = Message("t", b"x", properties=USER)
    first = message.head5(0x32, b"")
    assert all(message.head5(0x32, b"") is first for _ in range(3))
    assert message.head5(0x32, IDENTIFIER) != first
    assert message.head5(0x32, b"") == first
    assert message.head5(0x34, b"")[0][0] == 0x34
    assert message.head5(0x32, b"") == first


def test_the_heads_of_the_two_versions_do_not_mix() -> None:
    message = Message("t", b"x")
    three = message.head(0x32)
    five = message.head5(0x32, b"")
    assert message.head(0x32) is three
    assert message.head5(0x32, b"") is five
    assert three + b"\0\1" + b"x" == wire.publish("t", b"x", 1, 1)
    assert five[0] + b"\0\1" + five[1] + b"x" == wire5.publish("t", b"x", 1, 1)


def test_a_known_alias_takes_the_place_of_the_topic() -> None:
    """One receiver's alias is not sent to another."""
    message = Message("a/long/topic", b"x", properties=USER)
    alias = encode_property(P.TOPIC_ALIAS, 3)
    before = message.head5(0x30, b"")
    head, block = message.aliased_head5(0x30, alias)
    expected = wire5.publish("", b"x", properties=[(P.TOPIC_ALIAS, 3), (P.USER, ("name", "value"))])
    assert head + block + b"x" == expected
    assert message.head5(0x30, b"") is before


@pytest.mark.parametrize(
    ("left", "told"),
    [(10.0, 10), (9.9999, 10), (9.5, 10), (9.0, 9), (0.5, 1), (0.0, 0), (-5.0, 0), (4e9, 4_000_000_000)],
)
def test_what_is_left_of_a_life_is_told_in_whole_seconds(left: float, told: int) -> None:
    """[MQTT-3.3.2-6]: what waited costs its time, what has just come does not."""
    message = Message("t", b"x", expires_at=1_000.0 + left)
    assert message.expiry_property(1_000.0) == encode_property(P.MESSAGE_EXPIRY, told)
    head, block = message.head5(0x30, message.expiry_property(1_000.0))
    packet = head + block + message.payload
    parsed = parse(packet[0], packet[2:], len(packet))
    assert (parsed.topic, parsed.get(P.MESSAGE_EXPIRY), parsed.payload) == ("t", told, b"x")


def test_a_moment_that_has_passed_since_costs_no_second() -> None:
    """A message that came with 10 seconds and goes on at once still has 10, not 11 and not 9."""
    message = Message("t", b"x", expires_at=1_010.0)
    assert message.expiry_property(1_000.0) == encode_property(P.MESSAGE_EXPIRY, 10)
    assert message.expiry_property(1_000.0004) == encode_property(P.MESSAGE_EXPIRY, 10)
    assert Message("t", b"x", expires_at=1_010.0004).expiry_property(1_000.0) == encode_property(P.MESSAGE_EXPIRY, 10)


def test_a_message_without_an_end_never_expires() -> None:
    message = Message("t", b"x")
    assert message.expiry_property(1e12) == b""
    assert not message.expired(1e12)
    assert Message("t", b"x", expires_at=5.0).expired(5.0)
    assert not Message("t", b"x", expires_at=5.0).expired(4.9)
