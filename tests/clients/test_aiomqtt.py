"""aiomqtt, the asyncio client most people use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiomqtt
import pytest
import pytest_asyncio
from wardenmq.broker.broker import Broker
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from ..engine.brokers import serving
from ..engine.conditions import until
from ..engine.test_rules import PLUGINS

LIMIT = 10.0


def _client(broker: Broker, identifier: str, **options: object) -> aiomqtt.Client:
    host, port = broker.addresses["default"]
    return aiomqtt.Client(host, port, identifier=identifier, **options)  # pyright: ignore[reportArgumentType]


async def _take(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    taken: list[aiomqtt.Message] = []
    async with asyncio.timeout(LIMIT):
        async for message in client.messages:
            taken.append(message)
            if len(taken) == count:
                break
    return taken


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publish_and_subscribe(broker: Broker, qos: int) -> None:
    """[MQTT-4.6.0-6]: a hundred messages, complete and in order."""
    async with _client(broker, "sub") as subscriber, _client(broker, "pub") as publisher:
        await subscriber.subscribe("room/+/temperature", qos=qos)
        for n in range(100):
            await publisher.publish("room/1/temperature", str(n), qos=qos)
        got = await _take(subscriber, 100)
    assert [bytes(m.payload) for m in got] == [b"%d" % n for n in range(100)]
    assert {m.qos for m in got} == {qos}


async def test_retained(broker: Broker) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-8]."""
    async with _client(broker, "pub") as publisher:
        await publisher.publish("state", b"on", qos=1, retain=True)
    async with _client(broker, "sub") as subscriber:
        await subscriber.subscribe("#")
        (message,) = await _take(subscriber, 1)
    assert (str(message.topic), message.payload, message.retain) == ("state", b"on", True)


async def test_a_persistent_session(broker: Broker) -> None:
    """[MQTT-3.1.2-4] [MQTT-4.1.0-1]."""
    async with _client(broker, "device", clean_session=False) as subscriber:
        await subscriber.subscribe("t", qos=1)
    async with _client(broker, "pub") as publisher:
        for n in range(3):
            await publisher.publish("t", str(n), qos=1)
    async with _client(broker, "device", clean_session=False) as subscriber:
        assert [m.payload for m in await _take(subscriber, 3)] == [b"0", b"1", b"2"]


async def test_many_clients(broker: Broker) -> None:
    """[MQTT-3.3.5-1]: each of twenty subscribers gets each of fifty messages."""
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(_client(broker, f"s{n}")) for n in range(20)]
        for subscriber in subscribers:
            await subscriber.subscribe("t", qos=1)
        publisher = await stack.enter_async_context(_client(broker, "pub"))
        receiving = [asyncio.create_task(_take(subscriber, 50)) for subscriber in subscribers]
        for n in range(50):
            await publisher.publish("t", str(n), qos=1)
        for messages in await asyncio.gather(*receiving):
            assert [bytes(m.payload) for m in messages] == [b"%d" % n for n in range(50)]


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[tuple[Broker, Directory]]:
    directory = await Directory.open(":memory:")
    try:
        await directory.create_login("username", "alice", "secret")
        await directory.set_rules("username", "alice", [Rule("own/#", "allow", "all")])
        async with serving(PLUGINS, directory=directory) as clients:
            yield clients.broker, directory
    finally:
        await directory.close()


async def test_credentials_and_rules(guarded: tuple[Broker, Directory]) -> None:
    """[MQTT-3.2.2-5] [MQTT-3.3.5-2] [MQTT-3.9.3-2]: as the client reports them."""
    broker, _ = guarded
    with pytest.raises(aiomqtt.MqttError):
        async with _client(broker, "c1", username="alice", password="wrong"):
            raise AssertionError("a wrong password was let in")
    async with _client(broker, "c1", username="alice", password="secret") as client:
        await client.subscribe("own/#", qos=1)
        await client.publish("other/x", b"denied, and yet acknowledged", qos=1)
        await client.publish("own/x", b"allowed", qos=1)
        (message,) = await _take(client, 1)
        assert message.payload == b"allowed"
        codes = await client.subscribe("other/#", qos=1)
        assert [getattr(code, "value", code) for code in codes] == [128]


async def test_a_kicked_client_learns_of_it(broker: Broker) -> None:
    """[MQTT-4.8.0-2] (non-normative): the connection ends and the client's loop with it."""
    with pytest.raises(aiomqtt.MqttError):
        async with _client(broker, "c1") as client:
            await client.subscribe("t")
            assert await broker.kick("c1")
            await _take(client, 1)
    await until(lambda: broker.registry.get("c1") is None)
