"""What our broker does otherwise than stock amqtt, on purpose: each is shown on both and listed in docs/amqtt.md.

Where amqtt contradicts the standard, the standard wins.
"""

import asyncio
from typing import Any

import amqtt.broker
import pytest
from amqtt.plugins.authentication import AnonymousAuthPlugin
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session
from wardenmq.broker.broker import Broker

from ..engine import wire
from ..engine.conditions import until
from ..engine.wire import CONNACK, PUBREC, SUBACK, Client
from .parties import BOTH, NAMES, OPEN, STOCK, running
from .plugins import Denials, EventRecorder, PacketRecorder, path_of

Kind = type[amqtt.broker.Broker]
KINDS = pytest.mark.parametrize("kind", BOTH, ids=[NAMES[kind] for kind in BOTH])


async def _is_open(client: Client) -> bool:
    """Tell whether the server still answers."""
    try:
        await client.ping()
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


@KINDS
async def test_quality_of_service(kind: Kind) -> None:
    """[MQTT-3.8.4-6]: delivered at the lower of the two; amqtt takes the subscription's."""
    async with running(kind) as party:
        client = await party.connected("c1")
        await client.subscribe(("t", 1))
        await client.publish("t", b"x", 0)
        assert (await client.message()).qos == (1 if kind is STOCK else 0)


@KINDS
async def test_other_peoples_retained_messages(kind: Kind) -> None:
    """[MQTT-3.3.1-6]: sent to who subscribes; amqtt sends a new client what matches anybody's subscription."""
    async with running(kind) as party:
        owner = await party.connected("owner")
        await owner.subscribe(("private", 0))
        await owner.publish("private", b"secret", 1, retain=True)
        await until(lambda: "private" in party.broker.retained_messages)
        stranger = await party.connected("stranger")
        if kind is STOCK:
            assert (await stranger.message()).payload == b"secret"
        else:
            await stranger.nothing_came()


@KINDS
async def test_take_over(kind: Kind) -> None:
    """[MQTT-3.1.4-2]: the old connection is closed; amqtt leaves it open where the new session is clean."""
    async with running(kind) as party:
        old = await party.connected("c1")
        await old.ping()
        await party.connected("c1")
        assert await _is_open(old) is (kind is STOCK)


class Password(BaseAuthPlugin):
    """Know one password."""

    async def authenticate(self, *, session: Session) -> bool | None:
        return session.password == "right"


@KINDS
async def test_a_wrong_password(kind: Kind) -> None:
    """The client id alone gives no power over a session; the return code says what was wrong."""
    async with running(kind, {path_of(Password): {}}) as party:
        device = await party.connected("device", clean=False, username="u", password=b"right")
        await device.subscribe(("t", 1))
        await until(lambda: "t" in party.broker.subscriptions)
        await device.disconnect()
        await until(lambda: party.broker.sessions["device"][0].transitions.is_disconnected())
        stranger = await party.open()
        stranger.send(wire.connect("device", username="u", password=b"wrong"))
        got = await stranger.expect(CONNACK)
        assert got.body[1] == (5 if kind is STOCK else 4)
        remaining = [s.client_id for s, _ in party.broker.subscriptions.get("t", [])]
        assert remaining == ([] if kind is STOCK else ["device"])


@KINDS
async def test_protocol_versions(kind: Kind) -> None:
    """amqtt speaks 3.1.1 alone, and hangs up on 3.1."""
    async with running(kind) as party:
        old = await party.open()
        old.send(wire.connect("c1", name="MQIsdp", level=3))
        new = await party.open()
        new.send(
            wire.connect("c2", level=5) if kind is STOCK else b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x02c2"
        )
        if kind is STOCK:
            await old.hung_up()
            assert (await new.expect(CONNACK)).body[1] == 1
        else:
            assert (await old.expect(CONNACK)).body[1] == 0
            assert (await new.expect(CONNACK)).body[1] == 0


@KINDS
async def test_an_anonymous_client_keeps_its_session(kind: Kind) -> None:
    """[MQTT-3.1.2-4]; amqtt's plugin calls all clients anonymous, and its broker then keeps nothing for them."""
    async with running(kind, {path_of(AnonymousAuthPlugin): {}}) as party:
        device = await party.connected("device", clean=False, username="u")
        await device.subscribe(("t", 1))
        await device.disconnect()
        await until(lambda: party.broker.sessions["device"][0].transitions.is_disconnected())
        publisher = await party.connected("publisher")
        await publisher.publish("t", b"later", 1)
        await publisher.disconnect()
        device = await party.open()
        await device.connect("device", clean=False, username="u")
        if kind is STOCK:
            await device.nothing_came()
        else:
            assert (await device.message()).payload == b"later"


@KINDS
async def test_a_will_needs_permission(kind: Kind) -> None:
    """Topic plugins are asked about wills too; amqtt publishes them unasked."""
    async with running(kind, {**OPEN, path_of(Denials): {"publish": ["forbidden"]}}) as party:
        watcher = await party.connected("watcher")
        await watcher.subscribe(("forbidden", 0))
        client = await party.connected("c1", will=wire.Will("forbidden", b"bye"))
        await client.ping()
        client.abort()
        await until(lambda: party.broker.sessions.get("c1", (None,))[0] is None or kind is STOCK)
        if kind is STOCK:
            assert (await watcher.message()).payload == b"bye"
        else:
            await watcher.nothing_came()


@KINDS
async def test_retained_messages_need_permission(kind: Kind) -> None:
    """A plugin's RECEIVE decision holds for retained messages too."""
    async with running(kind, {**OPEN, path_of(Denials): {"receive": ["secret"]}}) as party:
        await party.broker.retain_message(None, "secret", b"kept", 0)
        client = await party.connected("c1")
        await client.subscribe(("secret", 0))
        if kind is STOCK:
            assert (await client.message()).payload == b"kept"
        else:
            await client.nothing_came()


@KINDS
async def test_a_dollar_topic_from_a_client(kind: Kind) -> None:
    """The message is dropped (and told of as received, for plugins); amqtt stops listening to the client altogether."""
    async with running(kind, {**OPEN, path_of(EventRecorder): {}}) as party:
        client = await party.connected("c1")
        client.send(wire.publish("$test/1", b"x"))
        events = party.plugin(EventRecorder).events
        await until(lambda: ("received", "c1", "$test/1") in [event[:3] for event in events])
        client.send(wire.publish("t", b"x"), wire.publish("t2", b"x"))
        await client.ping()
        if kind is not STOCK:
            await until(lambda: ("broadcast", "c1", "t2") in [event[:3] for event in events])
    broadcast = [event[2] for event in events if event[0] == "broadcast"]
    assert broadcast == ([] if kind is STOCK else ["t", "t2"])


@KINDS
async def test_a_repeated_subscription(kind: Kind) -> None:
    """[MQTT-3.8.4-3]: replaces the one there was; amqtt keeps its QoS."""
    async with running(kind) as party:
        client = await party.connected("c1")
        await client.subscribe(("t", 0))
        await client.subscribe(("t", 1))
        assert [qos for _, qos in party.broker.subscriptions["t"]] == [0 if kind is STOCK else 1]


@KINDS
async def test_overlapping_subscriptions(kind: Kind) -> None:
    """[MQTT-3.3.5-1]: one copy at the highest QoS; amqtt sends one for each filter."""
    async with running(kind) as party:
        client = await party.connected("c1")
        await client.subscribe(("t/#", 0), ("t/+", 1))
        await client.publish("t/1", b"x", 1)
        await client.publish("t/end", b"y", 1)
        got = [await client.message() for _ in range(4 if kind is STOCK else 2)]
        assert sorted({message.payload for message in got}) == [b"x", b"y"]
        if kind is not STOCK:
            assert [message.qos for message in got] == [1, 1]


@KINDS
async def test_a_filter_that_is_none(kind: Kind) -> None:
    """[MQTT-4.7.1-2] [MQTT-4.8.0-1]: a protocol violation of a 3.1.1 client; amqtt answers 0x80."""
    async with running(kind) as party:
        client = await party.connected("c1")
        client.send(wire.subscribe(1, ("a/#/b", 0)))
        if kind is STOCK:
            assert (await client.expect(SUBACK)).body == b"\x00\x01\x80"
        else:
            await client.hung_up()


@KINDS
async def test_what_is_left_of_a_subscription(kind: Kind) -> None:
    """amqtt keeps an empty list under each filter that somebody has unsubscribed from."""
    async with running(kind) as party:
        client = await party.connected("c1")
        await client.subscribe(("t", 0))
        held = party.broker.subscriptions["t"]
        await client.unsubscribe("t")
        assert len(held) == 0 and held == []
        assert ("t" in party.broker.subscriptions) is (kind is STOCK)


@KINDS
async def test_the_source_of_a_retained_message(kind: Kind) -> None:
    """Known as long as its session is; amqtt keeps the session object for good."""
    async with running(kind) as party:
        client = await party.connected("c1")
        await client.publish("t", b"x", 1, retain=True)
        await until(lambda: "t" in party.broker.retained_messages)
        await client.disconnect()
        await until(lambda: "c1" not in party.broker.sessions)
        source = party.broker.retained_messages["t"].source_session
        assert (source is not None) is (kind is STOCK)


@KINDS
async def test_the_moment_of_a_qos_2_message(kind: Kind) -> None:
    """Passed on when it comes, which the standard leaves open; amqtt waits for the PUBREL."""
    async with running(kind, {**OPEN, path_of(EventRecorder): {}}) as party:
        client = await party.connected("c1")
        client.send(wire.publish("t", b"x", 2, 1))
        assert (await client.expect(PUBREC)).packet_id == 1
        await client.ping()
        await party.broker.plugins_manager.wait_fired_events()
        seen = [event[0] for event in party.plugin(EventRecorder).events]
        assert seen.count("received") == (0 if kind is STOCK else 1)


@KINDS
async def test_the_session_of_a_refused_client(kind: Kind) -> None:
    """There is none, so the packet event of its CONNACK has no `session`; amqtt has made one before it asked."""
    async with running(kind, {path_of(PacketRecorder): {}}) as party:
        client = await party.open()
        client.send(wire.connect("c1"))
        await client.expect(CONNACK)
        recorder = party.plugin(PacketRecorder)
        await until(lambda: len(recorder.sent) == 1)
        assert recorder.sent[0][0] == ("c1" if kind is STOCK else None)
        assert ("c1" in party.broker.sessions) is (kind is STOCK)


class Raising(BaseTopicPlugin):
    """Fail at one topic."""

    async def topic_filtering(self, *, topic: str | None = None, **_: Any) -> bool | None:
        if topic == "bad":
            raise RuntimeError("broken")
        return True


@KINDS
async def test_a_topic_plugin_that_fails(kind: Kind) -> None:
    """Denies what it was asked for, and the client is served on; amqtt stops listening to the client."""
    async with running(kind, {**OPEN, path_of(Raising): {}}) as party:
        watcher = await party.connected("watcher")
        await watcher.subscribe(("#", 0))
        client = await party.connected("c1")
        client.send(wire.publish("bad", b"x"), wire.publish("good", b"y"))
        await _is_open(client)
        if kind is STOCK:
            await watcher.nothing_came()
        else:
            assert (await watcher.message()).topic == "good"


@KINDS
async def test_handlers_of_sessions(kind: Kind) -> None:
    """`sessions` gives None where amqtt has a protocol handler: its methods are the engine's business."""
    async with running(kind) as party:
        await party.connected("c1")
        _, handler = party.broker.sessions["c1"]
        assert (handler is None) is (kind is Broker)


@KINDS
async def test_wills_at_shutdown(kind: Kind) -> None:
    """The server leaves, not the client: its will is not published; amqtt publishes it."""
    async with running(kind, {**OPEN, path_of(EventRecorder): {}}) as party:
        client = await party.connected("c1", will=wire.Will("gone", b"bye", 0, True))
        await client.ping()
        recorder = party.plugin(EventRecorder)
        await party.broker.shutdown()
        assert ("retained" in [event[0] for event in recorder.events]) is (kind is STOCK)
        await party.broker.start()
