"""Limits that the settings put on clients, and the reason codes that say so (MQTT 5.0, section 2.4)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine.conditions import until
from ...engine.packets5 import P
from ...engine.wire import PUBACK, PUBREC
from ...engine.wire5 import connect, publish
from .serving import KEPT, serving5


async def test_connections_past_the_limit() -> None:
    """[MQTT-3.1.4-2] [MQTT-3.2.2-7]: CONNACK 0x97; once somebody has left there is room."""
    async with serving5(MqttSettings(max_connections=2)) as limited:
        first = await limited.connected5("c1")
        await limited.connected5("c2")
        assert await (await limited.open5()).refused(connect("c3")) == 0x97
        await first.disconnect()
        await until(lambda: limited.broker.live_connections == 1)
        await limited.connected5("c3")


async def test_sessions_past_the_limit() -> None:
    """[MQTT-3.1.4-2] [MQTT-3.2.2-7]: a new client is told 0x88 or 0x97; one that has a session comes in."""
    async with serving5(MqttSettings(max_sessions=2)) as limited:
        await limited.away("c1")
        await limited.connected5("c2")
        assert await (await limited.open5()).refused(connect("c3")) in (0x88, 0x97)
        await limited.back("c1")


async def test_connections_past_the_rate() -> None:
    """[MQTT-3.1.4-2] [MQTT-3.2.2-7]: CONNACK 0x9F."""
    async with serving5(MqttSettings(max_connect_rate=0.01)) as limited:
        reasons: set[int] = set()
        for number in range(10):
            client = await limited.open5()
            client.send(connect(f"c{number}"))
            reasons.add((await client.read()).reason)
            client.abort()
        assert 0x9F in reasons and reasons <= {0, 0x9F}


@pytest.mark.parametrize(
    ("settings", "size"), [(MqttSettings(max_message_rate=5), 1), (MqttSettings(max_byte_rate=1_000), 100)]
)
async def test_a_rate_that_is_not_to_be_exceeded(settings: MqttSettings, size: int) -> None:
    """[MQTT-4.13.2-1]: DISCONNECT 0x96 where the settings say so."""
    strict = MqttSettings(
        max_message_rate=settings.max_message_rate, max_byte_rate=settings.max_byte_rate, rate_exceeded="disconnect"
    )
    async with serving5(strict) as limited:
        client = await limited.connected5("c1")
        for _ in range(100):
            client.send(publish("t", b"x" * size))
        await client.disconnected(0x96)


async def test_a_rate_that_slows_down() -> None:
    """[MQTT-3.3.4-1]: all arrive, in order, only later; the client stays."""
    async with serving5(MqttSettings(max_message_rate=100)) as limited:
        publisher, subscriber = await limited.pair5(("t", 1))
        publisher.send(*(publish("t", b"%d" % number, 1, number + 1) for number in range(150)))
        assert await subscriber.messages(150) == [b"%d" % number for number in range(150)]
        for _ in range(150):
            await publisher.expect(PUBACK)


@pytest.mark.parametrize("topic", ["a/b/c/d", "x" * 21])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_topic_past_the_limits(topic: str, qos: int) -> None:
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1]: 0x90 in the acknowledgement or in a DISCONNECT, and it goes nowhere."""
    async with serving5(MqttSettings(max_topic_levels=3, max_topic_length=20)) as limited:
        watcher = await limited.subscribed5("watcher", ("#", 0))
        client = await limited.connected5("c1")
        await client.publish("a/b/c", b"x")
        await client.publish("x" * 20, b"x")
        client.send(publish(topic, b"x", qos, 7 if qos else None))
        client.send(b"\xc0\x00")
        got = await client.read()
        if got.kind == 14:
            assert got.reason == 0x90
        elif qos:
            assert (got.kind, got.packet_id, got.reason) == (PUBACK if qos == 1 else PUBREC, 7, 0x90)
        else:
            await client.publish("a", b"x")
        assert [(await watcher.message()).topic for _ in range(2)] == ["a/b/c", "x" * 20]
        assert topic not in [(await watcher.message()).topic for _ in watcher._waiting]


@pytest.mark.parametrize("drop", ["oldest", "newest"])
async def test_a_full_queue(drop: str) -> None:
    """[MQTT-4.1.0-1] [MQTT-4.5.0-1]: past `max_mqueue_len` one is dropped, the session is not."""
    async with serving5(MqttSettings(max_mqueue_len=5, mqueue_drop=drop)) as limited:
        await limited.away("c1", ("t", 1))
        publisher = await limited.connected5("publisher")
        for number in range(8):
            await publisher.publish("t", b"%d" % number, 1)
        client = await limited.back("c1")
        kept = range(5) if drop == "newest" else range(3, 8)
        assert await client.messages(5) == [b"%d" % number for number in kept]
        await client.nothing_came()


async def test_a_client_id_and_a_keep_alive_past_the_limits() -> None:
    """[MQTT-3.1.3-8] [MQTT-3.2.2-22]: one is refused, of the other the client is told the server's."""
    async with serving5(MqttSettings(max_clientid_len=5, max_keepalive=30)) as limited:
        assert await (await limited.open5()).refused(connect("toolong")) == 0x85
        connack = await (await limited.open5()).connect("short", keep_alive=31, properties=KEPT)
        assert connack.get(P.SERVER_KEEP_ALIVE) == 30
        assigned = await (await limited.open5()).connect("")
        assert assigned.get(P.ASSIGNED_CLIENT_ID)  # the server's own names are not bounded by the setting


async def test_a_refusal_is_no_larger_than_the_client_takes() -> None:
    """[MQTT-3.1.2-24] [MQTT-3.2.2-19]: also of one that is turned away because of a limit."""
    async with serving5(MqttSettings(max_connections=1)) as limited:
        await limited.connected5("c1")
        for limit in (5, 10, 200):
            client = await limited.open5()
            client.announce([(P.MAXIMUM_PACKET_SIZE, limit)])
            assert await client.refused(connect("c2", properties=[(P.MAXIMUM_PACKET_SIZE, limit)])) == 0x97
