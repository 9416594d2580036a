"""The broker on each event loop that the server may run on."""

import asyncio
from collections.abc import Callable

import pytest

from .brokers import serving
from .wire import Will


def _uvloop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, _uvloop], ids=["asyncio", "uvloop"])
def test_serves_on(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """[MQTT-4.3.3-2] [MQTT-3.1.2-8] [MQTT-3.1.4-2]: publish at every QoS, take-over and will; then a clean end."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_conversation())


async def _conversation() -> None:
    async with serving() as clients:
        publisher, subscriber = await clients.pair(("t/#", 2), ("will", 1))
        for qos in (0, 1, 2):
            await publisher.publish("t/x", b"%d" % qos * 100_000, qos)
        assert await subscriber.messages(3) == [b"%d" % qos * 100_000 for qos in (0, 1, 2)]
        old = await clients.connected("same", will=Will("will", b"gone"))
        new = await clients.connected("same")
        await old.hung_up()
        await new.ping()
        assert (await subscriber.message()).payload == b"gone"
        session = clients.broker.registry.get("subscriber")
        assert session is not None and session.peer_host == "127.0.0.1"
