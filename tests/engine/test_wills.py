"""Will messages."""

import pytest

from .access_plugins import SlowPasswords
from .brokers import Clients, serving
from .conditions import until
from .wire import Client, Will, connect, publish, subscribe


async def _watching(clients: Clients) -> Client:
    watcher = await clients.connected("watcher")
    await watcher.subscribe(("will", 2))
    return watcher


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_published_when_the_connection_breaks(clients: Clients, qos: int) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-14]: at its own QoS, once."""
    watcher = await _watching(clients)
    (await clients.connected("dying", will=Will("will", b"gone", qos))).abort()
    got = await watcher.message()
    assert (got.topic, got.payload, got.qos, got.retain) == ("will", b"gone", qos, False)
    await watcher.nothing_came()


async def test_published_when_the_client_closes_without_disconnect(clients: Clients) -> None:
    """[MQTT-3.1.2-8]: an orderly close of the socket is no DISCONNECT."""
    watcher = await _watching(clients)
    (await clients.connected("dying", will=Will("will"))).close()
    assert (await watcher.message()).payload == b"gone"


async def test_not_published_after_disconnect(clients: Clients) -> None:
    """[MQTT-3.1.2-10] [MQTT-3.14.4-3]."""
    watcher = await _watching(clients)
    await (await clients.connected("leaving", will=Will("will"))).disconnect()
    await until(lambda: clients.broker.registry.get("leaving") is None)
    await watcher.nothing_came()


async def test_gone_with_its_connection(clients: Clients) -> None:
    """[MQTT-3.1.2-10]: a later connection of the same session without a will has none."""
    watcher = await _watching(clients)
    await (await clients.connected("c1", clean=False, will=Will("will"))).disconnect()
    (await clients.connected("c1", clean=False)).abort()
    session = clients.broker.registry.get("c1")
    assert session is not None
    await until(lambda: not session.connected)
    await watcher.nothing_came()


async def test_published_when_the_keep_alive_runs_out(clients: Clients) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-24]."""
    watcher = await _watching(clients)
    dying = await clients.connected("dying", keep_alive=1, will=Will("will"))
    assert (await watcher.message()).payload == b"gone"
    await dying.hung_up()


@pytest.mark.parametrize("data", [b"\x00\x00", publish("a/#"), subscribe(0, ("a", 0)), b"\x30\xff\xff\xff\xff\x01"])
async def test_published_after_a_protocol_error(clients: Clients, data: bytes) -> None:
    """[MQTT-3.1.2-8] [MQTT-4.8.0-1]."""
    watcher = await _watching(clients)
    dying = await clients.connected("dying", will=Will("will"))
    dying.send(data)
    await dying.hung_up()
    assert (await watcher.message()).payload == b"gone"


async def test_published_on_take_over(clients: Clients) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.4-2]: the server closed the old connection without a DISCONNECT."""
    watcher = await _watching(clients)
    old = await clients.connected("c1", will=Will("will", b"old"))
    new = await clients.connected("c1", will=Will("will", b"new"))
    await old.hung_up()
    assert (await watcher.message()).payload == b"old"
    await new.ping()
    await watcher.nothing_came()


async def test_published_on_kick(clients: Clients) -> None:
    """[MQTT-3.1.2-8]: an administrator's kick is no DISCONNECT either."""
    watcher = await _watching(clients)
    dying = await clients.connected("dying", will=Will("will"))
    assert await clients.broker.kick("dying") is True
    await dying.hung_up()
    assert (await watcher.message()).payload == b"gone"


async def test_empty_will_payload(clients: Clients) -> None:
    """A will message of no bytes is published as such."""
    watcher = await _watching(clients)
    (await clients.connected("dying", will=Will("will", b""))).abort()
    assert (await watcher.message()).payload == b""


async def test_refused_client_leaves_no_will() -> None:
    """[MQTT-3.1.4-5]: a CONNECT that was refused publishes nothing."""
    async with serving({f"{SlowPasswords.__module__}.SlowPasswords": {}}) as clients:
        watcher = await clients.connected("watcher", username="alice", password=b"secret")
        await watcher.subscribe(("will", 0))
        refused = await clients.open()
        code = await refused.refused(connect("x", will=Will("will"), username="alice", password=b"no"))
        assert code in (4, 5)
        await watcher.nothing_came()
