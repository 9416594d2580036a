"""DISCONNECT both ways, and PINGREQ with the keep-alive (MQTT 5.0, sections 3.12 to 3.14 and 3.1.2.10)."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.records import Change

from ...clocks import WallClock
from ...engine.brokers import running_broker
from ...engine.conditions import until
from ...engine.packets5 import P, Properties
from ...engine.wire import DISCONNECT, PING, PINGREQ, PINGRESP, PUBACK, packet
from ...engine.wire5 import disconnect, publish, users
from . import plugins
from .serving import KEPT, Clients5, serving5

# From the client.


@pytest.mark.parametrize(
    ("reason", "properties"),
    [
        (None, None),
        (0, None),
        (0, ()),
        (0, [(P.REASON_STRING, "done"), (P.SESSION_EXPIRY, 5), *users(("a", "1"), ("a", "1"))]),
        *((reason, None) for reason in (0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99)),
    ],
)
async def test_a_client_says_goodbye(clients: Clients5, reason: int | None, properties: Properties | None) -> None:
    """[MQTT-3.14.2-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2]: the server closes and sends nothing more."""
    client = await clients.connected5("c1", properties=KEPT)
    client.send(disconnect(reason, properties))
    await client.hung_up()
    await clients.gone("c1")


async def test_nothing_after_it_is_processed(clients: Clients5) -> None:
    """[MQTT-3.14.4-1]: what a client sends after its DISCONNECT has no effect, not even an answer."""
    watcher = await clients.subscribed5("watcher", ("t", 0))
    client = await clients.connected5("c1")
    client.send(publish("t", b"before"), disconnect(), publish("t", b"after"), publish("t", b"after", 1, 1), PING)
    await client.hung_up()
    assert (await watcher.message()).payload == b"before"
    await watcher.nothing_came()


@pytest.mark.parametrize("reason", [0x01, 0x10, 0x7F, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0xA2, 0xFF])
async def test_a_reason_that_is_not_the_clients(clients: Clients5, reason: int) -> None:
    """[MQTT-3.14.2-1] [MQTT-4.13.1-1]: not defined, or a server's alone."""
    client = await clients.connected5("c1")
    client.send(disconnect(reason))
    await client.disconnected(0x81, 0x82)


@pytest.mark.parametrize("flags", [1, 2, 4, 8, 15])
async def test_reserved_flags(clients: Clients5, flags: int) -> None:
    """[MQTT-3.14.1-1] [MQTT-2.1.3-1]: DISCONNECT 0x81."""
    client = await clients.connected5("c1")
    client.send(disconnect(flags=flags))
    await client.disconnected(0x81)


@pytest.mark.parametrize(
    "body", [b"\0\5", b"\0\0\0", b"\0\2\x1f\0", b"\0\5\x11\0\0\0", b"\0\3\x1f\0\5", b"\0\x80\x80\x80\x80\1"]
)
async def test_a_malformed_disconnect(clients: Clients5, body: bytes) -> None:
    """[MQTT-4.13.1-1]: DISCONNECT 0x81."""
    client = await clients.connected5("c1")
    client.send(packet(DISCONNECT, body))
    await client.disconnected(0x81)


# From the server.


async def test_an_administrator_ends_the_connection(clients: Clients5) -> None:
    """[MQTT-3.14.2-1] [MQTT-3.14.4-2]: DISCONNECT 0x98, after what was waiting for the client."""
    publisher, subscriber = await clients.pair5(("t", 0))
    publisher.send(*(publish("t", b"%d" % number) for number in range(100)))
    await publisher.ping()
    assert await clients.broker.kick("subscriber")
    for number in range(100):
        assert (await subscriber.message()).payload == b"%d" % number
    await subscriber.disconnected(0x98)
    assert not await clients.broker.kick("subscriber")


async def test_the_server_shuts_down() -> None:
    """[MQTT-3.14.2-1] [MQTT-3.14.4-2]: DISCONNECT 0x8B for every client."""
    async with AsyncExitStack() as stack:
        async with running_broker() as broker:
            closing = Clients5(broker, stack)
            several = [await closing.connected5(f"c{number}") for number in range(3)]
            old, waiting = await closing.connected("old"), await closing.open5()
            await until(lambda: broker.live_connections == 5)
        for client in several:
            await client.disconnected(0x8B)
        await old.hung_up()
        await waiting.hung_up()  # [MQTT-3.14.0-1]: no DISCONNECT before a CONNACK


@pytest.mark.parametrize("problem", [None, 0, 1])
async def test_a_disconnect_may_explain_itself(clients: Clients5, problem: int | None) -> None:
    """[MQTT-3.14.2-2] [MQTT-3.1.2-29]: with a Reason String, never with a Session Expiry Interval."""
    properties = [*KEPT, *([] if problem is None else [(P.REQUEST_PROBLEM, problem)])]
    client = await clients.connected5("c1", properties=properties)
    client.send(publish("", b"x"))
    got = await client.disconnected(0x82)
    assert problem == 0 or got.get(P.REASON_STRING)


async def test_an_explanation_gives_way_to_the_packet_size(clients: Clients5) -> None:
    """[MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.1.2-24]: the reason alone is sent."""
    client = await clients.connected5("c1")
    client.send(publish("", b"x"))
    size = (await client.disconnected(0x82)).size
    client = await clients.connected5("c1", properties=[(P.MAXIMUM_PACKET_SIZE, max(24, size - 1))])
    client.send(publish("", b"x"))
    assert (await client.disconnected(0x82)).size < max(24, size)


async def test_an_error_loses_nothing_sent_before_it(clients: Clients5) -> None:
    """[MQTT-4.13.2-1] [MQTT-3.14.4-2]: answers to what came before the error, then DISCONNECT, then the end."""
    client = await clients.connected5("c1")
    client.send(publish("t", b"x", 1, 1), PING, publish("t", b"x", 1, 2), b"\x00\x00", publish("t", b"x", 1, 3))
    assert (await client.read()).kind == PUBACK
    assert (await client.read()).kind == PINGRESP
    assert (await client.read()).packet_id == 2
    await client.disconnected(0x81, 0x82)


# Keep-alive.


async def test_each_ping_is_answered(clients: Clients5) -> None:
    """[MQTT-3.12.4-1]: one PINGRESP each."""
    client = await clients.connected5("c1", keep_alive=60)
    client.send(PING * 5)
    assert [(await client.read()).kind for _ in range(5)] == [PINGRESP] * 5
    await client.nothing_came()


@pytest.mark.parametrize("request_", [packet(PINGREQ, flags=1), packet(PINGREQ, flags=8), packet(PINGREQ, b"x")])
async def test_a_malformed_ping(clients: Clients5, request_: bytes) -> None:
    """[MQTT-2.1.3-1] [MQTT-4.13.1-1]: DISCONNECT 0x81."""
    client = await clients.connected5("c1")
    client.send(request_)
    await client.disconnected(0x81)


async def test_silence_past_the_keep_alive(clients: Clients5) -> None:
    """[MQTT-3.1.2-22]: DISCONNECT 0x8D and the end after one and a half times the interval, not before."""
    client = await clients.connected5("c1", keep_alive=1)
    begin = time.monotonic()
    await client.disconnected(0x8D)
    assert time.monotonic() - begin >= 1.4


async def test_any_packet_keeps_the_connection() -> None:
    """[MQTT-3.1.2-22]: not PINGREQ alone; and 0 is no limit."""
    async with serving5(MqttSettings(keepalive_multiplier=1.0)) as hasty:
        for_ever = await hasty.connected5("for-ever", keep_alive=0)
        client = await hasty.connected5("c1", keep_alive=1)
        silent = await hasty.connected5("silent", keep_alive=1)
        for turn in range(5):
            await asyncio.sleep(0.3)  # the interval itself is what is tested
            client.send(publish("t", b"x") if turn % 2 else PING)
        await silent.disconnected(0x8D)
        await client.ping()
        await for_ever.ping()


async def test_the_server_keep_alive_is_what_counts() -> None:
    """[MQTT-3.2.2-21] [MQTT-3.1.2-22] [MQTT-3.2.2-22]: a client that asked for none is closed by the server's."""
    async with serving5(MqttSettings(max_keepalive=1, keepalive_multiplier=0.3)) as strict:
        client = await strict.open5()
        assert (await client.connect("c1", keep_alive=0)).get(P.SERVER_KEEP_ALIVE) == 1
        await client.disconnected(0x8D)
        await until(lambda: strict.broker.registry.get("c1") is None)


async def test_access_that_is_taken_away() -> None:
    """[MQTT-3.14.2-1] [MQTT-3.14.4-2]: DISCONNECT 0x87 for the principal's clients alone."""
    async with serving5(plugins={f"{plugins.__name__}.BackToFront": {}}) as guarded:
        alice = await guarded.connected5("c1", username="alice")
        bob = await guarded.connected5("c2", username="bob")
        await guarded.broker.apply_access_change(Change(close_principals=frozenset({"alice"})))
        await alice.disconnected(0x87)
        await bob.ping()


async def test_a_credential_that_ends(clock: WallClock) -> None:
    """[MQTT-3.14.2-1] [MQTT-3.14.4-2]: DISCONNECT 0xA0 when its time is over."""
    async with serving5(plugins={f"{plugins.__name__}.BackToFront": {"valid_for": 3_600}}) as guarded:
        client = await guarded.connected5("c1", username="alice")
        clock.advance(3_601)
        await client.disconnected(0xA0)
