"""CONNECT and CONNACK."""

import asyncio
import struct

import pytest
from wardenmq.broker.settings import MqttSettings

from .brokers import Clients, serving
from .conditions import until
from .wire import CONNACK, CONNECT, PING, PINGRESP, Will, connect, packet, publish, string, subscribe


async def test_accepts_with_connack_first_and_no_session(clients: Clients) -> None:
    """[MQTT-3.2.0-1] [MQTT-3.2.2-1] [MQTT-3.1.4-4]: the first packet back is CONNACK, return code 0."""
    client = await clients.open()
    client.send(connect("c1"), PING)
    first = await client.read()
    assert (first.kind, first.flags, first.body) == (CONNACK, 0, b"\x00\x00")
    assert (await client.read()).kind == PINGRESP  # [MQTT-3.12.4-1]


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 127, 128, 132, 255])
async def test_unknown_protocol_level_is_answered_1(clients: Clients, level: int) -> None:
    """[MQTT-3.1.2-2] [MQTT-3.2.2-5]."""
    assert await (await clients.open()).refused(connect("c1", level=level)) == 1


@pytest.mark.parametrize("name", ["mqtt", "MQTX", "", "MQTTT", "MQIsdpX", "MQTT "])
async def test_unknown_protocol_name_is_hung_up_on(clients: Clients, name: str) -> None:
    """[MQTT-3.1.2-1]: not processed any further; an answer of 1 is allowed, acceptance is not."""
    client = await clients.open()
    client.send(connect("c1", name=name))
    try:
        got = await client.read()
    except (EOFError, ConnectionError):
        return
    assert (got.kind, got.body) == (CONNACK, b"\x00\x01")
    await client.hung_up()


async def test_mqtt_3_1_is_spoken(clients: Clients) -> None:
    """MQTT 3.1: protocol name MQIsdp, level 3."""
    client = await clients.open()
    assert await client.connect("c1", name="MQIsdp", level=3) is False
    session = clients.broker.registry.get("c1")
    assert session is not None
    assert (session.protocol_version, session.protocol_name) == (3, "MQIsdp")


MALFORMED = {
    "[MQTT-3.1.2-3] reserved flag": connect("c1", flags=0x03),
    "[MQTT-3.1.2-14] will QoS 3": connect("c1", will=Will("w"), flags=0x02 | 4 | 3 << 3),
    "[MQTT-3.1.2-13] will QoS without will flag": connect("c1", flags=0x02 | 1 << 3),
    "[MQTT-3.1.2-15] will retain without will flag": connect("c1", flags=0x02 | 32),
    "[MQTT-3.1.2-9] will flag without will fields": connect("c1", flags=0x02 | 4),
    "[MQTT-3.1.2-19] user name flag without user name": connect("c1", flags=0x02 | 128),
    "[MQTT-3.1.2-21] password flag without password": connect("c1", username="u", flags=0x02 | 128 | 64),
    "[MQTT-3.1.2-22] password without user name": connect("c1", password=b"p"),
    "[MQTT-3.1.2-18] user name though the flag is 0": connect("c1", username="u", flags=0x02),
    "[MQTT-3.1.2-20] password though the flag is 0": connect("c1", username="u", password=b"p", flags=0x02 | 128),
    "[MQTT-3.1.2-11] will fields though the flag is 0": connect("c1", will=Will("w"), flags=0x02),
    "[MQTT-3.1.3-4] client id not UTF-8": connect(b"a\xff"),
    "[MQTT-1.5.3-1] client id a surrogate": connect(b"\xed\xa0\x80"),
    "[MQTT-1.5.3-2] client id with U+0000": connect(b"a\x00b"),
    "[MQTT-3.1.3-10] will topic not UTF-8": connect("c1", will=Will(b"\xc3\x28")),
    "[MQTT-3.1.3-10] will topic with U+0000": connect("c1", will=Will(b"a\x00")),
    "[MQTT-4.7.3-1] empty will topic": connect("c1", will=Will("")),
    "[MQTT-4.7.1-1] will topic with a wildcard": connect("c1", will=Will("a/#")),
    "[MQTT-3.1.3-11] user name not UTF-8": connect("c1", username=b"\xff\xfe"),
    "[MQTT-3.1.3-3] no client id": packet(CONNECT, string("MQTT") + b"\x04\x02\x00\x00"),
    "[MQTT-2.2.2-2] fixed header flags": packet(CONNECT, connect("c1")[2:], 1),
    "truncated before the flags": packet(CONNECT, string("MQTT") + b"\x04"),
    "bytes after the payload": packet(CONNECT, connect("c1")[2:] + b"x"),
    "client id longer than the packet": packet(CONNECT, string("MQTT") + b"\x04\x02\x00\x00" + b"\x00\x09abc"),
    "empty packet": packet(CONNECT),
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_connect_is_hung_up_on_without_connack(clients: Clients, request_bytes: bytes) -> None:
    """[MQTT-3.1.4-1] [MQTT-3.2.2-6]: no CONNACK, no session, and the next client is served."""
    client = await clients.open()
    client.send(request_bytes)
    await client.hung_up()
    assert len(clients.broker.registry) == 0
    await (await clients.connected("next")).ping()


FIRST_PACKETS = {
    "publish": publish("a", b"x"),
    "subscribe": subscribe(1, ("a", 0)),
    "pingreq": PING,
    "disconnect": b"\xe0\x00",
    "connack": b"\x20\x02\x00\x00",
    "reserved type 0": b"\x00\x00",
    "auth in 3.1.1": b"\xf0\x00",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("data", FIRST_PACKETS.values(), ids=FIRST_PACKETS.keys())
async def test_first_packet_must_be_connect(clients: Clients, data: bytes) -> None:
    """[MQTT-3.1.0-1]."""
    client = await clients.open()
    client.send(data)
    await client.hung_up()


async def test_second_connect_is_a_violation(clients: Clients) -> None:
    """[MQTT-3.1.0-2]."""
    client = await clients.connected("c1")
    client.send(connect("c1"))
    await client.hung_up()


async def test_client_ids_of_the_guaranteed_alphabet(clients: Clients) -> None:
    """[MQTT-3.1.3-5]; longer ones, other characters and U+FEFF [MQTT-1.5.3-3] are taken too."""
    for client_id in (
        "0123456789abcdefghijklm",
        "ABCDEFGHIJKLMNOPQRSTUVW",
        "nopqrstuvwxyzXYZ",
        "é/\ufeff🦊",
        "x" * 400,
    ):
        await clients.connected(client_id)
        assert clients.broker.registry.get(client_id) is not None
    assert len(clients.broker.registry) == 5


async def test_empty_client_id_gets_one_of_its_own(clients: Clients) -> None:
    """[MQTT-3.1.3-6]: each is unique."""
    first, second = await clients.connected(""), await clients.connected("")
    await first.ping()
    await second.ping()
    ids = {session.client_id for session in clients.broker.registry}
    assert len(ids) == 2
    assert "" not in ids


async def test_empty_client_id_with_a_kept_session_is_answered_2(clients: Clients) -> None:
    """[MQTT-3.1.3-7] [MQTT-3.1.3-8]."""
    assert await (await clients.open()).refused(connect("", clean=False)) == 2


async def test_too_long_client_id_is_answered_2() -> None:
    """[MQTT-3.1.3-9]: the limit is the configured one."""
    async with serving(settings=MqttSettings(max_clientid_len=23)) as clients:
        assert await (await clients.open()).refused(connect("x" * 24)) == 2
        await clients.connected("x" * 23)


async def test_session_present(clients: Clients) -> None:
    """[MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]."""
    expected = [("clean", True, False), ("kept", False, False), ("kept", False, True), ("kept", True, False)]
    expected += [("kept", False, False), ("kept", False, True)]
    for client_id, clean, present in expected:
        client = await clients.open()
        assert await client.connect(client_id, clean=clean) is present, (client_id, clean)
        await client.disconnect()


async def test_keep_alive_is_enforced_at_one_and_a_half(clients: Clients) -> None:
    """[MQTT-3.1.2-24]: silent for 1.5 times the keep-alive; a packet in time keeps the connection."""
    loop = asyncio.get_running_loop()
    client = await clients.connected("c1", keep_alive=1)
    begin = loop.time()
    await client.hung_up()
    assert 1.4 <= loop.time() - begin < 3


async def test_any_packet_renews_the_keep_alive(clients: Clients) -> None:
    """[MQTT-3.1.2-24]: PINGREQ as well as PUBLISH; deliveries to the client do not count."""
    talker, silent = await clients.connected("talker", keep_alive=1), await clients.connected("silent", keep_alive=1)
    await silent.subscribe(("t", 0))
    loop = asyncio.get_running_loop()
    end = loop.time() + 2.5
    while loop.time() < end:
        await talker.publish("t", b"x")
        await asyncio.sleep(0.1)  # the interval between two packets, not a wait for a result
    await talker.ping()
    assert clients.broker.registry.get("silent") is None
    session = clients.broker.registry.get("talker")
    assert session is not None and session.connected


async def test_keep_alive_zero_is_never_enforced(clients: Clients) -> None:
    """[MQTT-3.1.2-24]: beside a client whose keep-alive ran out, one without stays."""
    lasting, short = await clients.connected("lasting", keep_alive=0), await clients.connected("short", keep_alive=1)
    await short.hung_up()
    await lasting.ping()


async def test_connect_timeout() -> None:
    """No CONNECT within the limit, or half of one, is hung up on."""
    async with serving(settings=MqttSettings(connect_timeout=0.5)) as clients:
        silent, half = await clients.open(), await clients.open()
        half.send(connect("c1")[:-1])
        await silent.hung_up()
        await half.hung_up()
        await (await clients.connected("c2")).ping()


async def test_a_connected_client_outlives_the_connect_timeout() -> None:
    """The timer ends with the CONNECT."""
    async with serving(settings=MqttSettings(connect_timeout=0.5)) as clients:
        early = await clients.connected("c1")
        late = await clients.open()
        await late.hung_up()
        await early.ping()


async def test_take_over_closes_the_old_connection(clients: Clients) -> None:
    """[MQTT-3.1.4-2]: the old socket is closed and gets nothing more."""
    publisher, old = await clients.pair(("t", 0))
    new = await clients.connected("subscriber", clean=False)
    await new.subscribe(("t", 0))
    await publisher.publish("t", b"to the new one")
    await old.hung_up()
    assert (await new.message()).payload == b"to the new one"
    assert clients.broker.registry.connected_count == 2


async def test_take_over_keeps_the_session(clients: Clients) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.1.4-2]: session present, subscriptions and what was in flight included."""
    old = await clients.connected("c1", clean=False)
    await old.subscribe(("t", 1))
    publisher = await clients.connected("publisher")
    await publisher.publish("t", b"unacknowledged", 1)
    before = await old.expect(3)
    new = await clients.open()
    assert await new.connect("c1", clean=False) is True
    again = await new.message()
    assert (again.payload, again.packet_id, again.dup) == (b"unacknowledged", before.packet_id, True)
    await old.hung_up()
    await publisher.publish("t", b"next", 1)
    assert (await new.message()).payload == b"next"


async def test_packets_behind_connect_are_served(clients: Clients) -> None:
    """A client need not wait for CONNACK (section 3.1.4)."""
    client = await clients.open()
    client.send(connect("c1"), subscribe(7, ("t", 1)), publish("t", b"x"))
    assert (await client.expect(CONNACK)).body == b"\x00\x00"
    assert (await client.expect(9)).body == struct.pack("!HB", 7, 1)
    assert (await client.message()).payload == b"x"


async def test_disconnect_forgets_what_follows(clients: Clients) -> None:
    """[MQTT-3.14.4-2]: bytes behind DISCONNECT are not processed."""
    publisher, subscriber = await clients.pair(("t", 0))
    publisher.send(b"\xe0\x00", publish("t", b"too late"))
    await publisher.hung_up()
    await until(lambda: clients.broker.registry.get("publisher") is None)
    await subscriber.nothing_came()


async def test_connections_past_the_limit_are_closed() -> None:
    """`max_connections`: refused at once, served again when there is room."""
    async with serving(settings=MqttSettings(max_connections=2)) as clients:
        first, second = await clients.connected("c1"), await clients.connected("c2")
        await (await clients.open()).hung_up()
        await first.disconnect()
        await until(lambda: clients.broker.registry.connected_count == 1)
        await (await clients.connected("c3")).ping()
        await second.ping()
