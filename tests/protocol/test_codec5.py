"""What a well-formed packet of MQTT 5 means, and what the server writes to such clients."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions
from wardenmq.broker.protocol.decode import decode_packet
from wardenmq.broker.protocol.encode import (
    encode_ack5,
    encode_auth,
    encode_connack5,
    encode_disconnect5,
    encode_publish_head5,
    encode_suback5,
    encode_unsuback5,
)
from wardenmq.broker.protocol.packets import (
    Auth,
    Connect,
    Disconnect,
    Pingreq,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Will,
)
from wardenmq.broker.protocol.properties import Properties, PropertyId, encode_properties
from wardenmq.broker.protocol.reason_codes import ReasonCode

from .build import block, connect, field, packet
from .packets5 import GOOD, HOLDERS_FIRST, HOLDERS_LATER, USER
from .recorder import CONNECT, read

CONNECT5 = connect(5, b"\x00")


def decode5(data: bytes) -> object:
    """Decode one packet whose remaining length takes one byte."""
    assert data[1] == len(data) - 2
    return decode_packet(data[0], data[2:], 5)


def test_a_full_connect() -> None:
    """[MQTT-3.1.3-1]: client id, will properties, will topic, will payload, user name, password."""
    properties = block(GOOD["session expiry"], USER, GOOD["receive maximum"], b"\x26\x00\x01k\x00\x01w")
    forwarded = USER + GOOD["content type"] + GOOD["payload format"] + b"\x26\x00\x01k\x00\x00"
    will = block(
        USER,
        GOOD["will delay"],
        GOOD["content type"],
        GOOD["payload format"],
        b"\x02\x00\x00\x00\x09",
        b"\x26\x00\x01k\x00\x00",
    )
    payload = field(b"id") + will + field("w/é".encode()) + field(b"\xff\x00") + field(b"u") + field(b"\x00\xfe")
    assert decode5(connect(5, properties, payload, flags=0xF6)) == Connect(
        "MQTT",
        5,
        True,
        60,
        "id",
        "u",
        b"\x00\xfe",
        Will("w/é", b"\xff\x00", 2, True, delay=5, message_expiry=9, properties=forwarded),
        {
            PropertyId.SESSION_EXPIRY_INTERVAL: 3600,
            PropertyId.USER_PROPERTY: [("k", "v"), ("k", "w")],
            PropertyId.RECEIVE_MAXIMUM: 20,
        },
    )


def test_a_small_connect() -> None:
    assert decode5(connect(5, b"\x00", field(b""), flags=0)) == Connect("MQTT", 5, False, 60, "")


def test_a_password_without_a_user_name() -> None:
    """MQTT 5 allows what [MQTT-3.1.2-22] forbids."""
    found = decode5(connect(5, b"\x00", field(b"a") + field(b"secret"), flags=0x42))
    assert found == Connect("MQTT", 5, True, 60, "a", None, b"secret")
    assert "secret" not in repr(found)


def test_authentication_data_are_not_in_the_representation() -> None:
    properties = block(GOOD["authentication method"], b"\x16\x00\x06secret")
    for data in (connect(5, properties), packet(0xF0, b"\x18" + properties)):
        assert "secret" not in repr(decode5(data))


def test_a_will_without_properties() -> None:
    found = decode5(connect(5, b"\x00", field(b"a") + b"\x00" + field(b"w") + field(b""), flags=0x04))
    assert found == Connect("MQTT", 5, False, 60, "a", will=Will("w", b""))


def test_subscribe_options() -> None:
    """[MQTT-3.8.3-3] [MQTT-3.8.3-4]: No Local, Retain As Published, Retain Handling, in the order of the filters."""
    filters = (
        field(b"a") + b"\x2d" + field(b"#") + b"\x12" + field(b"$share/g/a") + b"\x0a" + field(b"$share") + b"\x04"
    )
    assert decode5(packet(0x82, b"\x01\x02" + block(b"\x0b\xff\x7f", USER) + filters)) == Subscribe(
        258,
        (
            SubscribeRequest("a", 1, True, True, 2),
            SubscribeRequest("#", 2, False, False, 1),
            SubscribeRequest("$share/g/a", 2, False, True, 0),
            SubscribeRequest("$share", 0, True),
        ),
        {PropertyId.SUBSCRIPTION_IDENTIFIER: 16_383, PropertyId.USER_PROPERTY: [("k", "v")]},
    )


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("handling", [0, 1, 2])
@pytest.mark.parametrize("flags", [(False, False), (False, True), (True, False), (True, True)])
def test_subscribe_options_as_paho_packs_them(qos: int, handling: int, flags: tuple[bool, bool]) -> None:
    options = SubscribeOptions(qos, flags[0], flags[1], handling).pack()
    found = decode5(packet(0x82, b"\x00\x01\x00" + field(b"a") + options))
    assert found == Subscribe(1, (SubscribeRequest("a", qos, flags[0], flags[1], handling),))


def test_unsubscribe() -> None:
    found = decode5(packet(0xA2, b"\x01\x00" + block(USER) + field(b"b") + field(b"a")))
    assert found == Unsubscribe(256, ("b", "a"), {PropertyId.USER_PROPERTY: [("k", "v")]})


def test_a_byte_order_mark_is_kept() -> None:
    """[MQTT5-1.5.4-3]"""
    assert decode5(packet(0xA2, b"\x00\x01\x00" + field(b"\xef\xbb\xbfa"))) == Unsubscribe(1, ("\ufeffa",))


def test_pingreq_and_disconnect() -> None:
    """A DISCONNECT may end before its reason, and before its properties."""
    expiry = {PropertyId.SESSION_EXPIRY_INTERVAL: 3600}
    assert decode5(b"\xc0\x00") == Pingreq()
    assert decode5(b"\xe0\x00") == Disconnect()
    assert decode5(b"\xe0\x01\x04") == Disconnect(ReasonCode.DISCONNECT_WITH_WILL)
    assert decode5(b"\xe0\x02\x80\x00") == Disconnect(ReasonCode.UNSPECIFIED_ERROR)
    assert decode5(packet(0xE0, b"\x00" + block(GOOD["session expiry"]))) == Disconnect(ReasonCode.SUCCESS, expiry)


CLIENT_DISCONNECTS = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}


@pytest.mark.parametrize(
    ("first", "start", "allowed"),
    [
        pytest.param(
            0x40, b"\x00\x01", {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, id="PUBACK [MQTT-3.4.2-1]"
        ),
        pytest.param(
            0x50, b"\x00\x01", {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, id="PUBREC [MQTT-3.5.2-1]"
        ),
        pytest.param(0x62, b"\x00\x01", {0, 0x92}, id="PUBREL [MQTT-3.6.2-1]"),
        pytest.param(0x70, b"\x00\x01", {0, 0x92}, id="PUBCOMP [MQTT-3.7.2-1]"),
        pytest.param(0xE0, b"", CLIENT_DISCONNECTS, id="DISCONNECT [MQTT-3.14.2-1]"),
    ],
)
def test_reasons_that_a_client_may_give(first: int, start: bytes, allowed: set[int]) -> None:
    for reason in range(256):
        for end in (b"", b"\x00", block(GOOD["reason string"])):
            sink = read([CONNECT5 + packet(first, start + bytes((reason,)) + end)])
            assert (sink.failure is None) == (reason in allowed)
            assert len(sink.found) == (2 if reason in allowed else 1)


def test_reasons_of_auth() -> None:
    """[MQTT-3.15.2-1]: a client continues or begins anew, it never declares success."""
    method = {PropertyId.AUTHENTICATION_METHOD: "PLAIN"}
    for reason in range(256):
        sink = read([CONNECT5 + packet(0xF0, bytes((reason,)) + block(GOOD["authentication method"]))])
        allowed = reason in (0x18, 0x19)
        assert (sink.failure is None) == allowed
        assert sink.found[1:] == ([Auth(ReasonCode(reason), method)] if allowed else [])


def test_acknowledgements_of_each_length() -> None:
    """A PUBACK may end before its reason, and before its properties, which are checked and dropped."""
    data = [
        b"\x40\x02\x00\x01",
        b"\x50\x03\x00\x02\x10",
        b"\x62\x04\x00\x03\x92\x00",
        packet(0x70, b"\x00\x04\x00" + block(USER)),
    ]
    assert read([CONNECT5, *data]).found[1:] == [
        ("acknowledgement", 4, b"\x00\x01", 0),
        ("acknowledgement", 5, b"\x00\x02", 0x10),
        ("acknowledgement", 6, b"\x00\x03", 0x92),
        ("acknowledgement", 7, b"\x00\x04", 0),
    ]


@pytest.mark.parametrize("name", [*HOLDERS_FIRST, *HOLDERS_LATER])
def test_every_property_is_taken_where_it_belongs(name: str) -> None:
    """The counterpart of the tables of what is refused."""
    holder, allowed = {**HOLDERS_FIRST, **HOLDERS_LATER}[name]
    start = CONNECT5 if name in HOLDERS_LATER else b""
    for kind in [*allowed, "user property"]:
        # authentication data stand beside their method, and AUTH always names it
        needs_method = name == "AUTH" or kind == "authentication data"
        method = GOOD["authentication method"] if needs_method and kind != "authentication method" else b""
        sink = read([start + holder(block(USER, method, GOOD[kind], USER))])
        assert sink.failure is None
        assert len(sink.found) == (2 if start else 1)


# -- what the server writes


def properties_of(kind: int, data: bytes) -> dict[str, object]:
    """Let paho read a block of properties."""
    properties = PahoProperties(kind)
    _, length = properties.unpack(data)
    assert length == len(data)
    return properties.json()


def test_connack() -> None:
    """[MQTT-3.2.2-1] [MQTT-3.2.2-6]"""
    assert encode_connack5(True, 0, {}) == b"\x20\x03\x01\x00\x00"
    assert encode_connack5(False, 0, {}) == b"\x20\x03\x00\x00\x00"
    assert encode_connack5(True, 0x87, {}) == b"\x20\x03\x00\x87\x00"
    properties: Properties = {
        PropertyId.ASSIGNED_CLIENT_IDENTIFIER: "é" * 100,
        PropertyId.SERVER_KEEP_ALIVE: 30,
        PropertyId.MAXIMUM_PACKET_SIZE: 1_048_576,
        PropertyId.RETAIN_AVAILABLE: 0,
        PropertyId.AUTHENTICATION_DATA: b"\x00\xff",
        PropertyId.USER_PROPERTY: [("a", "1"), ("b", "2"), ("a", "3")],
    }
    data = encode_connack5(True, 0, properties)
    assert data[:3] == b"\x20\xf3\x01"
    assert data[3:5] == b"\x01\x00"
    assert len(data) == 3 + 0xF3
    assert properties_of(PacketTypes.CONNACK, data[5:]) == {
        "AssignedClientIdentifier": "é" * 100,
        "ServerKeepAlive": 30,
        "MaximumPacketSize": 1_048_576,
        "RetainAvailable": 0,
        "AuthenticationData": b"\x00\xff",
        "UserProperty": [("a", "1"), ("b", "2"), ("a", "3")],
    }


def test_acknowledgements() -> None:
    """Nothing is written that may be left out; a reason string comes with its block."""
    why = encode_properties({PropertyId.REASON_STRING: "no"})
    assert encode_ack5(0x40, b"\x01\x02", 0) == b"\x40\x02\x01\x02"
    assert encode_ack5(0x50, b"\x01\x02", 0x10) == b"\x50\x03\x01\x02\x10"
    assert encode_ack5(0x62, b"\x01\x02", 0x92, b"\x00") == b"\x62\x03\x01\x02\x92"
    assert encode_ack5(0x70, b"\x01\x02", 0x92, why) == b"\x70\x09\x01\x02\x92\x05\x1f\x00\x02no"
    assert encode_ack5(0x40, b"\x01\x02", 0, why) == b"\x40\x09\x01\x02\x00\x05\x1f\x00\x02no"


def test_suback_and_unsuback() -> None:
    """[MQTT-3.9.3-1] [MQTT-3.11.3-1]"""
    why = encode_properties({PropertyId.REASON_STRING: "no"})
    assert encode_suback5(258, [0, 2, 0x87]) == b"\x90\x06\x01\x02\x00\x00\x02\x87"
    assert encode_suback5(1, [0x97], why) == b"\x90\x09\x00\x01\x05\x1f\x00\x02no\x97"
    assert encode_suback5(1, [0] * 200)[:3] == b"\x90\xcb\x01"
    assert encode_unsuback5(258, [0, 0x11]) == b"\xb0\x05\x01\x02\x00\x00\x11"
    assert encode_unsuback5(1, [0x80], why) == b"\xb0\x09\x00\x01\x05\x1f\x00\x02no\x80"


def test_disconnect_and_auth() -> None:
    assert encode_disconnect5(0, {}) == b"\xe0\x00"
    assert encode_disconnect5(0x8E, {}) == b"\xe0\x01\x8e"
    found = encode_disconnect5(0x9D, {PropertyId.SERVER_REFERENCE: "other:1883", PropertyId.REASON_STRING: "x"})
    assert found[:3] == b"\xe0\x13\x9d"
    assert properties_of(PacketTypes.DISCONNECT, found[3:]) == {"ServerReference": "other:1883", "ReasonString": "x"}
    found = encode_auth(0x18, {PropertyId.AUTHENTICATION_METHOD: "S", PropertyId.AUTHENTICATION_DATA: b"\x00"})
    assert found == b"\xf0\x0a\x18\x08\x15\x00\x01S\x16\x00\x01\x00"
    assert encode_auth(0, {}) == b"\xf0\x00"
    assert encode_auth(0x18, {}) == b"\xf0\x02\x18\x00"


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 100, 70_000])
def test_publish_head(qos: int, size: int) -> None:
    """[MQTT-2.2.1-2]: what follows the head is counted by the caller, a packet identifier above QoS 0 included."""
    rest = (b"\x00\x07" if qos else b"") + block(GOOD["message expiry"], USER) + b"x" * size
    data = encode_publish_head5(0x31 | qos << 1, "tö/a".encode(), len(rest)) + rest
    [found] = read([CONNECT5 + data]).found[1:]
    assert found == ("publish", 1 | qos << 1, "tö/a", b"\x00\x07" if qos else b"", b"x" * size, 0, 60, USER)


def test_a_connect_of_each_version_sets_the_version() -> None:
    for level, data in ((3, connect(3)), (4, CONNECT), (5, CONNECT5)):
        [found] = read([data]).found
        assert isinstance(found, Connect)
        assert found.protocol_version == level
