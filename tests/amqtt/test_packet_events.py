"""The packets that plugins are shown: amqtt's classes, and for MQTT 5 the 3.1.1 packet that says most of the same."""

import struct

import pytest
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.packet import MQTTPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.subscribe import SubscribePacket
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.amqtt_session import SessionView
from wardenmq.broker.broker import Broker
from wardenmq.broker.packet_events import PacketRun

from ..engine import packets5, wire, wire5
from ..engine.conditions import until
from ..engine.packets5 import P
from ..engine.wire import CONNACK, CONNECT, PUBREC, PUBREL, SUBACK, UNSUBACK, packet
from ..engine.wire5 import Client5, Will5, users
from .parties import OPEN, Party, running
from .plugins import PacketRecorder, path_of

USERS = users(("a", "1"), ("a", "2"))
EMPTY = packets5.property_block(())


def _shown(data: bytes, version: int, view: SessionView | None = None, *, outgoing: bool = False) -> list[MQTTPacket]:  # type: ignore[type-arg]
    """Take all packets that a run comes to."""
    run = PacketRun(view, data, version, outgoing=outgoing)
    found = []
    while not run.finished:
        shown = run.next_packet()
        if shown is not None:
            found.append(shown)
    return found


VERSION_3 = {
    "connect": wire.connect("c1", will=wire.Will("w", b"gone", 1, True), username="u", password=b"p", keep_alive=60),
    "connect 3.1": wire.connect("c1", name="MQIsdp", level=3),
    "connack": packet(CONNACK, b"\x01\x00"),
    "publish": wire.publish("t", b"x", 2, 7, retain=True, dup=True),
    "publish qos 0": wire.publish("t/ä", b""),
    "large publish": wire.publish("t", b"x" * 20_000, 1, 65_535),
    "puback": wire.acknowledge(wire.PUBACK, 1),
    "pubrec": wire.acknowledge(PUBREC, 2),
    "pubrel": wire.acknowledge(PUBREL, 3),
    "pubcomp": wire.acknowledge(wire.PUBCOMP, 4),
    "subscribe": wire.subscribe(5, ("a/#", 2), ("b", 0)),
    "suback": packet(SUBACK, b"\x00\x05\x02\x80"),
    "unsubscribe": wire.unsubscribe(6, "a/#", "b"),
    "unsuback": packet(UNSUBACK, b"\x00\x06"),
    "pingreq": wire.PING,
    "pingresp": packet(wire.PINGRESP),
    "disconnect": wire.GOODBYE,
}


@pytest.mark.parametrize("name", VERSION_3)
def test_packets_of_3_1_1(name: str) -> None:
    """amqtt's object of it is the same bytes."""
    (shown,) = _shown(VERSION_3[name], 4)
    assert shown.to_bytes() == VERSION_3[name]
    assert type(shown).__name__.lower() == name.removeprefix("large ").split()[0] + "packet"
    assert shown.protocol_ts is not None


def _level_5(connect: bytes) -> bytes:
    return connect.replace(b"MQTT\x04", b"MQTT\x05")


MANY: list[packets5.Property] = [
    (P.PAYLOAD_FORMAT, 1),
    (P.MESSAGE_EXPIRY, 10),
    (P.CONTENT_TYPE, "text"),
    (P.RESPONSE_TOPIC, "r"),
    (P.CORRELATION_DATA, b"\x00\x01"),
    *USERS,
]

VERSION_5 = {
    "connect": (
        wire5.connect(
            "c1",
            properties=[(P.SESSION_EXPIRY, 60), *USERS],
            will=Will5("w", b"gone", 1, True, [(P.WILL_DELAY, 5), *USERS]),
            username="u",
            password=b"p",
            keep_alive=60,
        ),
        _level_5(VERSION_3["connect"]),
    ),
    "connect without a will": (wire5.connect("c1"), _level_5(wire.connect("c1"))),
    "connect with a password alone": (wire5.connect("c1", password=b"p"), _level_5(wire.connect("c1", password=b"p"))),
    "connack": (packet(CONNACK, b"\x01\x00" + packets5.property_block(USERS)), packet(CONNACK, b"\x01\x00")),
    "connack wrong password": (packet(CONNACK, b"\x00\x86" + EMPTY), packet(CONNACK, b"\x00\x04")),
    "connack banned": (packet(CONNACK, b"\x00\x8a" + EMPTY), packet(CONNACK, b"\x00\x05")),
    "publish": (
        wire5.publish("t", b"x", 2, 7, retain=True, dup=True, properties=MANY),
        wire.publish("t", b"x", 2, 7, retain=True, dup=True),
    ),
    "publish qos 0": (wire5.publish("t", b"x"), wire.publish("t", b"x")),
    "publish with subscription identifiers": (
        wire5.publish("t", b"x", properties=[(P.SUBSCRIPTION_ID, 268_435_455), (P.SUBSCRIPTION_ID, 1)]),
        wire.publish("t", b"x"),
    ),
    "large publish": (
        wire5.publish("t", b"x" * 20_000, 1, 1, properties=USERS),
        wire.publish("t", b"x" * 20_000, 1, 1),
    ),
    "puback": (wire5.acknowledge(wire.PUBACK, 1), VERSION_3["puback"]),
    "puback with a reason": (wire5.acknowledge(wire.PUBACK, 1, 0x87), VERSION_3["puback"]),
    "pubrec": (wire5.acknowledge(PUBREC, 2, 0x10, USERS), VERSION_3["pubrec"]),
    "pubrel": (wire5.acknowledge(PUBREL, 3, 0x92), VERSION_3["pubrel"]),
    "pubcomp": (wire5.acknowledge(wire.PUBCOMP, 4, 0, USERS), VERSION_3["pubcomp"]),
    "subscribe": (
        wire5.subscribe(
            5,
            ("a/#", wire5.options(2, no_local=True, retain_handling=2)),
            ("b", 0),
            properties=[(P.SUBSCRIPTION_ID, 9)],
        ),
        VERSION_3["subscribe"],
    ),
    "suback": (packet(SUBACK, b"\x00\x05" + packets5.property_block(USERS) + b"\x02\x87"), VERSION_3["suback"]),
    "unsubscribe": (wire5.unsubscribe(6, "a/#", "b", properties=USERS), VERSION_3["unsubscribe"]),
    "unsuback": (packet(UNSUBACK, b"\x00\x06" + EMPTY + b"\x00\x11"), VERSION_3["unsuback"]),
    "pingreq": (wire.PING, wire.PING),
    "disconnect": (wire5.disconnect(), wire.GOODBYE),
    "disconnect with a reason": (wire5.disconnect(0x8E, USERS), wire.GOODBYE),
}


@pytest.mark.parametrize("name", VERSION_5)
def test_packets_of_5(name: str) -> None:
    """What 3.1.1 has for it: no properties, return codes for reason codes."""
    data, expected = VERSION_5[name]
    (shown,) = _shown(data, 5)
    assert shown.to_bytes() == expected


def test_an_auth_is_not_shown() -> None:
    assert _shown(wire5.auth(0x18, [(P.AUTH_METHOD, "m")]) + wire.PING, 5)[0].to_bytes() == wire.PING


def test_a_connect_tells_its_own_version() -> None:
    """It comes before the connection knows which version it speaks."""
    (shown,) = _shown(wire5.connect("c1", properties=USERS), 4)
    assert isinstance(shown, ConnectPacket)
    assert (shown.proto_level, shown.client_id) == (5, "c1")


def test_several_packets_in_one_run() -> None:
    shown = _shown(b"".join(VERSION_3.values()), 4)
    assert [one.to_bytes() for one in shown] == list(VERSION_3.values())


def test_what_amqtt_cannot_read_is_left_out() -> None:
    """A topic with a wildcard, and a packet type that does not exist; what follows is shown."""
    shown = _shown(wire.publish("a/#", b"x") + packet(0) + packet(15) + wire.PING, 4)
    assert [one.to_bytes() for one in shown] == [wire.PING]


@given(st.binary(max_size=200), st.sampled_from([3, 4, 5]))
def test_any_bytes(data: bytes, version: int) -> None:
    """Nothing escapes and the end is reached, whatever somebody sends."""
    run = PacketRun(SessionView(), data, version, outgoing=False)
    for _ in range(len(data) + 1):
        if run.finished:
            break
        run.next_packet()
    assert run.finished


@given(st.data())
def test_packets_with_bytes_changed(data: st.DataObject) -> None:
    original = bytearray(data.draw(st.sampled_from([found for found, _ in VERSION_5.values() if len(found) < 1_000])))
    for _ in range(data.draw(st.integers(1, 3))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    run = PacketRun(SessionView(), bytes(original), 5, outgoing=True)
    while not run.finished:
        run.next_packet()


def test_topic_aliases() -> None:
    """An alias is shown as the topic that it stands for, for each direction and connection on its own."""
    view, other = SessionView(), SessionView()
    sets, uses = [(P.TOPIC_ALIAS, 3), *USERS], [*USERS, (P.TOPIC_ALIAS, 3)]
    data = wire5.publish("room/ä", b"1", properties=sets) + wire5.publish("", b"2", 1, 9, properties=uses)
    first, second = _shown(data, 5, view)
    assert (first.to_bytes(), second.to_bytes()) == (wire.publish("room/ä", b"1"), wire.publish("room/ä", b"2", 1, 9))
    unknown = wire5.publish("", b"2", properties=uses)
    assert _shown(unknown, 5, view, outgoing=True)[0].to_bytes() == wire.publish("", b"2")
    assert _shown(unknown, 5, other)[0].to_bytes() == wire.publish("", b"2")
    assert _shown(unknown, 5, None)[0].to_bytes() == wire.publish("", b"2")


async def test_an_mqtt_5_client() -> None:
    """On the wire: a client of MQTT 5, and what a plugin written for 3.1.1 sees of it."""
    async with running(Broker, {**OPEN, path_of(PacketRecorder): {}}) as party:
        client = await _client5(party)
        await client.connect("c1", properties=[(P.TOPIC_ALIAS_MAXIMUM, 10), (P.SESSION_EXPIRY, 5), *USERS])
        await client.subscribe(("t/#", wire5.options(1)), properties=[(P.SUBSCRIPTION_ID, 7)])
        for payload in (b"1", b"2"):
            await client.publish("t/long/topic", payload, 1, properties=USERS)
            assert (await client.message()).payload == payload
        await client.unsubscribe("t/#")
        client.send(wire5.disconnect(0x04))
        await client.hung_up()
        recorder = party.plugin(PacketRecorder)
        await until(lambda: recorder.received[-1][1] == "DisconnectPacket")
    assert [name for _, name, _ in recorder.received] == [
        "ConnectPacket",
        "SubscribePacket",
        *["PublishPacket", "PubackPacket"] * 2,
        "UnsubscribePacket",
        "DisconnectPacket",
    ]
    sent: dict[str, list[bytes]] = {}
    for _, name, data in recorder.sent:
        sent.setdefault(name, []).append(data)
    assert sent["ConnackPacket"] == [packet(CONNACK, b"\x00\x00")]
    assert sent["SubackPacket"] == [packet(SUBACK, b"\x00\x01\x01")]
    assert sent["PublishPacket"] == [wire.publish("t/long/topic", b"1", 1, 1), wire.publish("t/long/topic", b"2", 1, 2)]
    assert len(sent["PubackPacket"]) == 2
    assert len(sent["UnsubackPacket"]) == 1
    assert {client_id for client_id, name, _ in recorder.sent} == {"c1"}
    connect = next(shown for shown in recorder.packets if isinstance(shown, ConnectPacket))
    assert connect.proto_level == 5
    kinds = {type(shown) for shown in recorder.packets}
    assert {ConnackPacket, PublishPacket, SubscribePacket, SubackPacket} <= kinds


async def test_a_refused_client() -> None:
    """Its CONNACK is shown too, with the return code that 3.1.1 has for the reason."""
    async with running(Broker, {path_of(PacketRecorder): {}}) as party:  # nobody authenticates
        old = await party.open()
        assert await old.refused(wire.connect("c1")) == 5
        new = await _client5(party)
        assert await new.refused(wire5.connect("c2")) == 0x87
        recorder = party.plugin(PacketRecorder)
        await until(lambda: len(recorder.sent) == 2)
    assert [data for _, _, data in recorder.sent] == [packet(CONNACK, struct.pack("BB", 0, 5))] * 2
    assert [data[0] >> 4 for _, _, data in recorder.received] == [CONNECT, CONNECT]


async def _client5(party: Party) -> Client5:
    client = await Client5.open(party.address)
    assert isinstance(client, Client5)
    return client
