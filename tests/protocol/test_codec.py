"""What a well-formed packet means, and what the server writes."""

import pytest
from wardenmq.broker.message import Message
from wardenmq.broker.protocol.decode import decode_packet
from wardenmq.broker.protocol.encode import encode_connack, encode_suback, encode_unsuback
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
    assert decode_packet(0x10, body) == Connect(
        "MQTT", 4, True, 258, "id", "u", b"\x00\xfep", Will("w/é", b"\xff\x00", 2, True)
    )


def test_a_connect_of_3_1() -> None:
    connect = decode_packet(0x10, b"\x00\x06MQIsdp\x03\x00\x00\x00\x00\x01a")
    assert connect == Connect("MQIsdp", 3, False, 0, "a")


def test_a_password_is_not_in_the_representation() -> None:
    connect = decode_packet(0x10, b"\x00\x04MQTT\x04\xc2\x00\x00\x00\x01a\x00\x01u\x00\x06secret")
    assert "secret" not in repr(connect)


def test_subscribe_and_unsubscribe_keep_order() -> None:
    """[MQTT-3.8.4-5]: codes go by position, so the requests keep theirs."""
    assert decode_packet(0x82, b"\x00\x0a\x00\x03a/b\x01\x00\x01#\x02\x00\x03a/b\x00") == Subscribe(
        10, (SubscribeRequest("a/b", 1), SubscribeRequest("#", 2), SubscribeRequest("a/b", 0))
    )
    assert decode_packet(0xA2, b"\x01\x00\x00\x01b\x00\x01a") == Unsubscribe(256, ("b", "a"))


def test_packets_without_a_body() -> None:
    assert decode_packet(0xC0, b"") == Pingreq()
    assert decode_packet(0xE0, b"") == Disconnect()


def test_a_byte_order_mark_is_kept() -> None:
    """[MQTT-1.5.3-3]"""
    packet = decode_packet(0xA2, b"\x00\x01\x00\x03\xef\xbb\xbf")
    assert packet == Unsubscribe(1, ("\ufeff",))


def test_answers() -> None:
    assert encode_connack(True, 0) == b"\x20\x02\x01\x00"
    assert encode_connack(False, 5) == b"\x20\x02\x00\x05"
    assert encode_suback(10, [0, 1, 2, 0x80]) == b"\x90\x06\x00\x0a\x00\x01\x02\x80"
    assert encode_suback(1, [0] * 200)[:3] == b"\x90\xca\x01"
    assert encode_unsuback(258) == b"\xb0\x02\x01\x02"


def test_a_message_is_encoded_once_for_all_that_get_the_same() -> None:
    message = Message("a/b", b"xyz", 1)
    assert message.head(0x30) == b"\x30\x08\x00\x03a/b"
    assert message.head(0x32) == b"\x32\x0a\x00\x03a/b"
    assert message.head(0x32) is message.head(0x32)


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
