"""One script of clients, run on stock amqtt and on ours: plugins see the same events with the same arguments.

What differs on purpose is in `test_differences.py` and in docs/amqtt.md, nowhere else.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import amqtt.broker
import pytest
from amqtt.plugins.topic_checking import TopicTabooPlugin

from ..engine import wire
from ..engine.conditions import until
from .parties import BOTH, OPEN, STOCK, Party, running
from .plugins import EventRecorder, PacketRecorder, path_of

CORRECTED = {
    # what was queued for an absent client is no retained message [MQTT-3.3.1-9], though amqtt marks it as one
    wire.publish("q/1", b"later", 1, 1, retain=True): wire.publish("q/1", b"later", 1, 1),
}
"""Packets of amqtt that ours writes differently."""

RECORDED = {**OPEN, path_of(EventRecorder): {}, path_of(PacketRecorder): {}}
FILTERED = {**RECORDED, path_of(TopicTabooPlugin): {}}

Script = Callable[[Party], Awaitable[None]]


async def seen(party: Party, name: str, *rest: object) -> None:
    """Wait until an event that begins so has come."""
    events = party.plugin(EventRecorder).events
    await until(lambda: any(event[: 1 + len(rest)] == (name, *rest) for event in events))


async def a_client_comes_and_goes(party: Party) -> None:
    client = await party.connected("c1", username="u", password=b"secret", keep_alive=60)
    await seen(party, "connected", "c1")
    await client.ping()
    await client.disconnect()
    await seen(party, "disconnected", "c1")


async def a_client_vanishes(party: Party) -> None:
    client = await party.connected("c1", keep_alive=10)
    await seen(party, "connected", "c1")
    client.abort()
    await seen(party, "disconnected", "c1")


async def subscriptions(party: Party) -> None:
    client = await party.connected("c1")
    await client.subscribe(("a/+", 0), ("b/#", 1), ("prohibited", 1), ("c", 2))  # one is refused by the topic plugin
    await seen(party, "subscribed", "c1", "c")
    await client.subscribe(("c", 2))
    await client.unsubscribe("a/+", "never/subscribed")
    await seen(party, "unsubscribed", "c1", "never/subscribed")
    await client.disconnect()
    await seen(party, "disconnected", "c1")


async def messages(party: Party) -> None:
    subscriber = await party.connected("sub")
    await subscriber.subscribe(("t/#", 1))
    await seen(party, "subscribed", "sub")
    publisher = await party.connected("pub")
    for qos in (1, 2):
        await publisher.publish(f"t/{qos}", b"payload %d" % qos, qos)
        await seen(party, "broadcast", "pub", f"t/{qos}")
        got = await subscriber.message()
        assert (got.topic, got.payload) == (f"t/{qos}", b"payload %d" % qos)
    await publisher.publish("nobody/listens", b"", 0)
    await seen(party, "broadcast", "pub", "nobody/listens")
    await publisher.publish("prohibited", b"denied", 1)
    await seen(party, "received", "pub", "prohibited")
    await publisher.disconnect()
    await seen(party, "disconnected", "pub")
    await subscriber.disconnect()
    await seen(party, "disconnected", "sub")


async def retained_messages(party: Party) -> None:
    publisher = await party.connected("pub")
    await publisher.publish("r/1", b"one", 1, retain=True)
    await seen(party, "retained", None, "pub", "r/1", b"one")
    await publisher.publish("r/1", b"two", 1, retain=True)
    await seen(party, "retained", None, "pub", "r/1", b"two")
    subscriber = await party.connected("sub")
    await subscriber.subscribe(("r/+", 1))
    got = await subscriber.message()
    assert (got.topic, got.payload, got.retain) == ("r/1", b"two", True)
    await subscriber.disconnect()
    await seen(party, "disconnected", "sub")
    await publisher.publish("r/1", b"", 1, retain=True)
    await seen(party, "retained", None, "pub", "r/1", b"")
    await publisher.publish("r/none", b"", 1, retain=True)
    await seen(party, "broadcast", "pub", "r/none")
    await publisher.disconnect()
    await seen(party, "disconnected", "pub")


async def a_will(party: Party) -> None:
    """No message event tells of a will, only that it is retained."""
    watcher = await party.connected("watcher")
    await watcher.subscribe(("gone/#", 1))
    client = await party.connected("c1", clean=False, username="u", will=wire.Will("gone/c1", b"bye", 1, True))
    await seen(party, "connected", "c1")
    client.abort()
    got = await watcher.message()
    assert (got.topic, got.payload, got.qos, got.retain) == ("gone/c1", b"bye", 1, False)
    await seen(party, "disconnected", "c1")
    await watcher.disconnect()
    await seen(party, "disconnected", "watcher")


async def an_absent_client(party: Party) -> None:
    """What waits for a client is told as a retained message with its client id."""
    client = await party.connected("c1", clean=False, username="u")
    await client.subscribe(("q/#", 1))
    await seen(party, "subscribed", "c1")
    await client.disconnect()
    await seen(party, "disconnected", "c1")
    publisher = await party.connected("pub")
    await publisher.publish("q/1", b"later", 1)
    await seen(party, "retained", "c1")
    await publisher.disconnect()
    await seen(party, "disconnected", "pub")
    again = await party.open()
    assert await again.connect("c1", clean=False, username="u")
    await until(lambda: len([e for e in party.plugin(EventRecorder).events if e[:2] == ("connected", "c1")]) == 2)


async def the_servers_own_messages(party: Party) -> None:
    """Fire no event but for what is retained."""
    client = await party.connected("c1")
    await client.subscribe(("s/#", 1))
    await seen(party, "subscribed", "c1")
    await party.broker.internal_message_broadcast("s/1", b"hello", 1)
    await client.message()
    await party.broker.retain_message(None, "s/2", b"kept", 1)
    await seen(party, "retained", None, None, "s/2", b"kept")
    await party.broker.retain_message(None, "s/2", b"", 1)
    await seen(party, "retained", None, None, "s/2", b"")
    await client.disconnect()
    await seen(party, "disconnected", "c1")


SCRIPTS: tuple[Script, ...] = (
    a_client_comes_and_goes,
    a_client_vanishes,
    subscriptions,
    messages,
    retained_messages,
    a_will,
    an_absent_client,
    the_servers_own_messages,
)


async def _run(
    kind: type[amqtt.broker.Broker], script: Script, plugins: Mapping[str, Any]
) -> tuple[list[Any], dict[Any, Any]]:
    """Give the broker's events in their order, and the packets of each client and direction in theirs."""
    async with running(kind, plugins) as party:
        await script(party)
    recorder = party.plugin(PacketRecorder)
    packets: dict[Any, Any] = {}
    for direction, found in (("received", recorder.received), ("sent", recorder.sent)):
        for client_id, name, data in found:
            shown = CORRECTED.get(data, data) if kind is STOCK else data
            packets.setdefault((direction, client_id), []).append((name, shown))
    return party.plugin(EventRecorder).events, packets


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_the_same_events_and_packets(script: Script) -> None:
    stock, ours = [await _run(kind, script, RECORDED) for kind in BOTH]
    assert ours[0] == stock[0]
    assert ours[1] == stock[1]


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s is not a_will], ids=lambda script: script.__name__)
async def test_the_same_with_a_topic_plugin(script: Script) -> None:
    """Where a topic plugin must be asked first, the order stays; a will is not compared, for amqtt asks about none."""
    stock, ours = [await _run(kind, script, FILTERED) for kind in BOTH]
    assert ours[0] == stock[0]
    assert ours[1] == stock[1]
