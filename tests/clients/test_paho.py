"""paho-mqtt, the client most people start with, in a thread of its own as they run it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from wardenmq.broker.broker import Broker

from ..engine.conditions import until

VERSIONS = {"3.1": MQTTProtocolVersion.MQTTv31, "3.1.1": MQTTProtocolVersion.MQTTv311}


class PahoClient:
    """A paho client with what it has seen; its callbacks run in its own thread and only append."""

    def __init__(self, broker: Broker, client_id: str, **options: Any) -> None:
        self._address = broker.addresses["default"]
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, **options)
        self.connects: list[tuple[bool, str]] = []
        self.granted: list[list[int]] = []
        self.disconnects: list[str] = []
        self.messages: list[paho.MQTTMessage] = []
        self.published: list[int] = []
        self.client.on_connect = lambda _c, _u, flags, code, _p: self.connects.append(
            (bool(flags.session_present), str(code))
        )
        self.client.on_subscribe = lambda _c, _u, _mid, codes, _p: self.granted.append([code.value for code in codes])
        self.client.on_disconnect = lambda _c, _u, _f, code, _p: self.disconnects.append(str(code))
        self.client.on_message = lambda _c, _u, message: self.messages.append(message)
        self.client.on_publish = lambda _c, _u, mid, _code, _p: self.published.append(mid)

    async def connect(self, keep_alive: int = 60) -> None:
        await asyncio.to_thread(self.client.connect, *self._address, keep_alive)
        self.client.loop_start()
        await until(lambda: bool(self.connects))

    async def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        before = len(self.granted)
        self.client.subscribe(list(filters))
        await until(lambda: len(self.granted) > before)
        return self.granted[-1]

    async def publish_all(self, topic: str, payloads: list[bytes], qos: int, *, retain: bool = False) -> None:
        before = len(self.published)
        for payload in payloads:
            self.client.publish(topic, payload, qos, retain)
        await until(lambda: len(self.published) == before + len(payloads), 15)

    async def disconnect(self) -> None:
        self.client.disconnect()
        await until(lambda: bool(self.disconnects))
        await asyncio.to_thread(self.client.loop_stop)


Opener = Callable[..., Any]


@asynccontextmanager
async def _opened(broker: Broker) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:

        async def connected(client_id: str, keep_alive: int = 60, **options: Any) -> PahoClient:
            client = PahoClient(broker, client_id, **options)
            stack.callback(client.client.loop_stop)
            stack.callback(client.client.disconnect)
            await client.connect(keep_alive)
            return client

        yield connected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publish_and_subscribe(broker: Broker, version: str, qos: int) -> None:
    """[MQTT-4.6.0-6]: a hundred messages in both versions, complete and in order."""
    async with _opened(broker) as connected:
        subscriber = await connected("sub", protocol=VERSIONS[version])
        publisher = await connected("pub", protocol=VERSIONS[version])
        assert await subscriber.subscribe(("t/#", qos)) == [qos]
        payloads = [b"%d" % n for n in range(100)]
        await publisher.publish_all("t/x", payloads, qos)
        await until(lambda: len(subscriber.messages) >= 100)
        assert [m.payload for m in subscriber.messages] == payloads
        assert {m.qos for m in subscriber.messages} == {qos}
        sessions = {session.client_id: session.protocol_version for session in broker.registry}
        assert sessions == dict.fromkeys(("sub", "pub"), int(VERSIONS[version]))


async def test_retained_and_will(broker: Broker) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.1.2-8] [MQTT-3.1.2-17]."""
    async with _opened(broker) as connected:
        dying = PahoClient(broker, "dying")
        dying.client.will_set("state/dying", b"offline", 1, retain=True)
        await dying.connect()
        await dying.publish_all("state/dying", [b"online"], 1, retain=True)
        watcher = await connected("watcher")
        await watcher.subscribe(("state/#", 1))
        await until(lambda: len(watcher.messages) == 1)
        sock = dying.client.socket()
        assert sock is not None
        await asyncio.to_thread(dying.client.loop_stop)
        sock.close()
        await until(lambda: len(watcher.messages) == 2)
        late = await connected("late")
        await late.subscribe(("state/#", 1))
        await until(lambda: len(late.messages) == 1)
        assert [(m.payload, m.retain) for m in watcher.messages] == [(b"online", True), (b"offline", False)]
        assert [(m.payload, m.retain) for m in late.messages] == [(b"offline", True)]


async def test_a_persistent_session(broker: Broker) -> None:
    """[MQTT-3.2.2-2] [MQTT-4.1.0-1]: session present as the client sees it, and what was missed."""
    async with _opened(broker) as connected:
        device = await connected("device", clean_session=False)
        assert device.connects == [(False, "Success")]
        await device.subscribe(("t", 2))
        await device.disconnect()
        publisher = await connected("pub")
        await publisher.publish_all("t", [b"1", b"2", b"3"], 2)
        device = await connected("device", clean_session=False)
        assert device.connects == [(True, "Success")]
        await until(lambda: len(device.messages) == 3)
        assert [m.payload for m in device.messages] == [b"1", b"2", b"3"]


async def test_keep_alive_holds_an_idle_client(broker: Broker) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.12.4-1]: paho's own pings are answered and keep it connected."""
    async with _opened(broker) as connected:
        idle = await connected("idle", keep_alive=1)
        session = broker.registry.get("idle")
        assert session is not None
        before = session.traffic.packets_received_total
        await until(lambda: session.traffic.packets_received_total >= before + 3, 10)
        assert session.connected and not idle.disconnects


async def test_take_over_and_reconnect(broker: Broker) -> None:
    """[MQTT-3.1.4-2]: the old connection ends; paho in a reconnect loop would fight, so it is stopped first."""
    async with _opened(broker) as connected:
        old = await connected("same", reconnect_on_failure=False)
        await connected("same", reconnect_on_failure=False)
        await until(lambda: bool(old.disconnects))
        assert broker.registry.connected_count == 1


async def test_a_denied_subscription(broker: Broker) -> None:
    """[MQTT-4.7.1-2]: paho refuses such filters itself, so the filter is one that only the server can refuse."""
    async with _opened(broker) as connected:
        client = await connected("c1")
        levels = "/".join("x" * (broker.settings.max_topic_levels + 1))
        assert await client.subscribe(("good", 1), (levels, 1)) == [1, 128]


async def test_large_messages(broker: Broker) -> None:
    """[MQTT-3.3.2-1]: half a megabyte at each QoS."""
    async with _opened(broker) as connected:
        subscriber, publisher = await connected("sub"), await connected("pub")
        await subscriber.subscribe(("t", 2))
        payload = bytes(range(256)) * 2000
        for qos in (0, 1, 2):
            await publisher.publish_all("t", [payload], qos)
        await until(lambda: len(subscriber.messages) == 3)
        assert [(m.payload, m.qos) for m in subscriber.messages] == [(payload, 0), (payload, 1), (payload, 2)]
