"""What a well-formed packet of 3.1 or 3.1.1 means, and what the server writes to such clients."""

import pytest
from wardenmq.broker.protocol.decode import decode_packet
from wardenmq.broker.protocol.encode import encode_connack, encode_suback, encode_unsuback
from wardenmq.broker.protocol.errors import MalformedPacket
from wardenmq.broker.protocol.packets import (
    Connect,
    Disconnect,
    Pingreq,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Will,
)
from wardenmq.broker.protocol.reason_codes import ReasonCode, connack_return_code


def test_a_full_connect() -> None:
    body = b"\x00\x04MQTT\x04\xf6\x01\x02\x00\x02id\x00\x04w/\xc3\xa9\x00\x02\xff\x00\x00\x01u\x00\x03\x00\xfep"
    assert decode_packet(0x10, body, 4) == Connect(
        "MQTT", 4, True, 258, "id", "u", b"\x00\xfep", Will("w/é", b"\xff\x00", 2, True)
    )


def test_a_connect_of_3_1() -> None:
    connect = decode_packet(0x10, b"\x00\x06MQIsdp\x03\x00\x00\x00\x00\x01a", 4)
    assert connect == Connect("MQIsdp", 3, False, 0, "a")


def test_a_connect_of_3_1_whose_flags_announce_what_is_not_there() -> None:
    """MQTT 3.1, section 3.1: the length of the packet takes precedence over the flags for user name and password."""
    head = b"\x00\x06MQIsdp\x03%c\x00\x00\x00\x01a"
    assert decode_packet(0x10, head % 0xC0, 4) == Connect("MQIsdp", 3, False, 0, "a")
    assert decode_packet(0x10, head % 0x80, 4) == Connect("MQIsdp", 3, False, 0, "a")
    assert decode_packet(0x10, head % 0xC0 + b"\x00\x01u", 4) == Connect("MQIsdp", 3, False, 0, "a", "u")
    full = Connect("MQIsdp", 3, False, 0, "a", "u", b"p")
    assert decode_packet(0x10, head % 0xC0 + b"\x00\x01u\x00\x01p", 4) == full


def test_a_long_client_id_of_3_1_is_accepted() -> None:
    """MQTT 3.1 limits what a client may send to 23 characters, [MQTT-3.1.3-5] lets a server accept more."""
    connect = decode_packet(0x10, b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x64" + b"x" * 100, 4)
    assert isinstance(connect, Connect)
    assert connect.client_id == "x" * 100


def test_requests_of_3_1_may_be_repeated_with_dup() -> None:
    """MQTT 3.1, sections 3.8 and 3.10; a flag that 3.1.1 took away [MQTT-3.8.1-1] [MQTT-3.10.1-1]."""
    assert decode_packet(0x8A, b"\x00\x01\x00\x01a\x01", 3) == Subscribe(1, (SubscribeRequest("a", 1),))
    assert decode_packet(0xAA, b"\x00\x01\x00\x01a", 3) == Unsubscribe(1, ("a",))
    for first, body in ((0x8A, b"\x00\x01\x00\x01a\x01"), (0xAA, b"\x00\x01\x00\x01a")):
        with pytest.raises(MalformedPacket):
            decode_packet(first, body, 4)


def test_a_password_is_not_in_the_representation() -> None:
    connect = decode_packet(0x10, b"\x00\x04MQTT\x04\xc2\x00\x00\x00\x01a\x00\x01u\x00\x06secret", 4)
    assert "secret" not in repr(connect)


def test_subscribe_and_unsubscribe_keep_order() -> None:
    """[MQTT-3.8.4-5]: codes go by position, so the requests keep theirs."""
    assert decode_packet(0x82, b"\x00\x0a\x00\x03a/b\x01\x00\x01#\x02\x00\x03a/b\x00", 4) == Subscribe(
        10, (SubscribeRequest("a/b", 1), SubscribeRequest("#", 2), SubscribeRequest("a/b", 0))
    )
    assert decode_packet(0xA2, b"\x01\x00\x00\x01b\x00\x01a", 4) == Unsubscribe(256, ("b", "a"))


def test_packets_without_a_body() -> None:
    assert decode_packet(0xC0, b"", 4) == Pingreq()
    assert decode_packet(0xE0, b"", 4) == Disconnect()


def test_a_byte_order_mark_is_kept() -> None:
    """[MQTT-1.5.3-3]"""
    packet = decode_packet(0xA2, b"\x00\x01\x00\x03\xef\xbb\xbf", 4)
    assert packet == Unsubscribe(1, ("\ufeff",))


def test_answers() -> None:
    assert encode_connack(True, 0) == b"\x20\x02\x01\x00"
    assert encode_connack(True, 5) == b"\x20\x02\x00\x05"  # [MQTT-3.2.2-4]
    assert encode_connack(False, 5) == b"\x20\x02\x00\x05"
    assert encode_suback(10, [0, 1, 2, 0x80]) == b"\x90\x06\x00\x0a\x00\x01\x02\x80"
    assert encode_suback(1, [0] * 200)[:3] == b"\x90\xca\x01"
    assert encode_unsuback(258) == b"\xb0\x02\x01\x02"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ReasonCode.SUCCESS, 0),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode.SERVER_UNAVAILABLE, 3),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode.NOT_AUTHORIZED, 5),
        (ReasonCode.BANNED, 5),
    ],
)
def test_connack_return_codes_of_3_1_1(reason: ReasonCode, code: int) -> None:
    """MQTT 3.1.1, table 3.1"""
    assert connack_return_code(reason) == code
