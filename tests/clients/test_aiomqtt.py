"""aiomqtt as its documentation shows it: a context manager and a loop over messages."""

import asyncio
from contextlib import AsyncExitStack

import aiomqtt
import pytest
from wardenmq.broker.broker import Broker

from ..engine.conditions import until

LIMIT = 30.0


def _client(broker: Broker, identifier: str, version: aiomqtt.ProtocolVersion) -> aiomqtt.Client:
    host, port = broker.addresses["default"]
    return aiomqtt.Client(host, port, identifier=identifier, protocol=version, timeout=LIMIT)


async def _take(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    taken: list[aiomqtt.Message] = []
    async with asyncio.timeout(LIMIT):
        async for message in client.messages:
            taken.append(message)
            if len(taken) == count:
                break
    return taken


@pytest.mark.parametrize("version", list(aiomqtt.ProtocolVersion))
async def test_many_clients(broker: Broker, version: aiomqtt.ProtocolVersion) -> None:
    """[MQTT-3.3.5-1]: each of twenty subscribers gets each of fifty messages."""
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(_client(broker, f"s{n}", version)) for n in range(20)]
        for subscriber in subscribers:
            await subscriber.subscribe("t", qos=1)
        publisher = await stack.enter_async_context(_client(broker, "pub", version))
        receiving = [asyncio.create_task(_take(subscriber, 50)) for subscriber in subscribers]
        for n in range(50):
            await publisher.publish("t", str(n), qos=1)
        for messages in await asyncio.gather(*receiving):
            assert [bytes(m.payload) for m in messages] == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("version", list(aiomqtt.ProtocolVersion))
async def test_a_kicked_client_learns_of_it(broker: Broker, version: aiomqtt.ProtocolVersion) -> None:
    """(4.8) The connection ends, and the client's loop with it."""
    with pytest.raises(aiomqtt.MqttError):
        async with _client(broker, "c1", version) as client:
            await client.subscribe("t")
            assert await broker.kick("c1")
            await _take(client, 1)
    await until(lambda: broker.registry.get("c1") is None)
