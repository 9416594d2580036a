"""`BrokerContext`, and what it calls on the broker: live pictures of the engine, and ways to change it."""

import asyncio
import copy
import pickle
from typing import Any

import amqtt.broker
import pytest
from amqtt.broker import BrokerContext, RetainedApplicationMessage
from amqtt.contexts import Action, BrokerConfig
from amqtt.errors import BrokerError
from amqtt.plugins.base import BasePlugin
from amqtt.session import Session
from wardenmq.broker.broker import Broker

from ..engine.conditions import until
from ..engine.wire import CONNACK, Will, connect
from .parties import BOTH, NAMES, OPEN, Party, running
from .plugins import Denials, EventRecorder, EverFaster, path_of

Kind = type[amqtt.broker.Broker]
KINDS = pytest.mark.parametrize("kind", BOTH, ids=[NAMES[kind] for kind in BOTH])


class Holder(BasePlugin[BrokerContext]):
    """Hand the test its context, as the broker gave it."""


HELD = {**OPEN, path_of(Holder): {}}


def _context(party: Party) -> BrokerContext:
    return party.plugin(Holder).context


@KINDS
async def test_what_a_context_holds(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        context = _context(party)
        assert isinstance(context, BrokerContext)
        assert context.loop is asyncio.get_running_loop()
        assert isinstance(context.config, Holder.Config)
        assert context.logger.name == "amqtt.broker.plugins.Holder"
        assert isinstance(party.broker.plugins_manager.context.config, BrokerConfig)
        assert list(context.sessions) == []
        assert context.get_session("nobody") is None
        assert context.subscriptions == {}
        assert context.retained_messages == {}


@KINDS
async def test_sessions(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        context = _context(party)
        client = await party.connected(
            "c1", username="u", password=b"p", keep_alive=30, will=Will("w", b"gone", 1, True)
        )
        session = context.get_session("c1")
        assert session is not None and list(context.sessions) == [session]
        assert isinstance(session, Session)
        assert (session.client_id, session.username, session.password, session.keep_alive) == ("c1", "u", "p", 30)
        assert (session.will_flag, session.will_topic, session.will_message) == (True, "w", b"gone")
        assert (session.will_qos, session.will_retain, session.clean_session) == (1, True, True)
        assert session.remote_address == "127.0.0.1" and session.ssl_object is None
        assert session.transitions.state == "connected" and session.transitions.is_connected()
        assert isinstance(session.last_connect_time, int) and session.last_disconnect_time is None
        assert repr(session).endswith("(clientId=c1, state=connected)")
        assert "c1" in party.broker.sessions and len(party.broker.sessions) == 1
        assert party.broker.sessions["c1"][0] is session
        await client.disconnect()
        await until(lambda: session.transitions.state == "disconnected")


@KINDS
async def test_counts_of_a_session(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        context = _context(party)
        device = await party.connected("device", clean=False, username="u")
        await device.subscribe(("t", 1))
        publisher = await party.connected("publisher")
        await publisher.publish("t", b"in flight", 1)
        session = context.get_session("device")
        assert session is not None
        await until(lambda: session.inflight_out_count == 1)
        (message,) = session.inflight_out.values()
        assert (message.topic, bytes(message.data), message.qos) == ("t", b"in flight", 1)
        await device.message()
        await until(lambda: session.inflight_out_count == 0)
        await device.disconnect()
        await until(lambda: session.transitions.is_disconnected())
        await publisher.publish("t", b"waits", 1)
        await until(lambda: session.retained_messages_count == 1)
        assert session.retained_messages.qsize() == 1
        again = await party.open()
        assert await again.connect("device", clean=False, username="u")
        assert (await again.message()).payload == b"waits"
        await until(lambda: session.retained_messages_count == 0)


@KINDS
async def test_what_plugins_note_on_a_session(kind: Kind) -> None:
    """`attributes` outlives the connection with the session, and no longer."""
    async with running(kind, HELD) as party:
        device = await party.connected("device", clean=False, username="u")
        session = _context(party).get_session("device")
        assert session is not None
        session.attributes["test.role"] = "sensor"
        await device.disconnect()
        await until(lambda: session.transitions.is_disconnected())
        await (await party.open()).connect("device", clean=False, username="u")
        resumed = _context(party).get_session("device")
        assert resumed is not None and resumed.attributes == {"test.role": "sensor"}
    async with running(kind, HELD) as party:
        await (await party.connected("device", username="u")).disconnect()
        await party.connected("device", username="u")
        begun = _context(party).get_session("device")
        assert begun is not None and begun.attributes == {}


@KINDS
async def test_a_session_can_be_copied_and_pickled(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        await party.connected("c1", username="u")
        session = _context(party).get_session("c1")
        assert session is not None
        assert copy.copy(session).username == "u"
        if kind is Broker:  # amqtt's holds a state machine that cannot be
            assert pickle.loads(pickle.dumps(session)).username == "u"


@KINDS
async def test_subscriptions(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        context = _context(party)
        one, two = await party.connected("c1"), await party.connected("c2")
        await one.subscribe(("a/#", 1), ("b", 0))
        await two.subscribe(("a/#", 2))
        subscriptions = context.subscriptions
        assert set(subscriptions) == {"a/#", "b"} and len(subscriptions) == 2
        subscribers = subscriptions["a/#"]
        assert len(subscribers) == 2
        assert [(session.client_id, qos) for session, qos in subscribers] == [("c1", 1), ("c2", 2)]
        session, qos = subscribers[0]
        assert (session, qos) == (context.get_session("c1"), 1)
        assert sum(len(found) for found in subscriptions.values()) == 3
        assert "a/1" not in subscriptions
        await two.unsubscribe("a/#")
        assert [session.client_id for session, _ in subscriptions["a/#"]] == ["c1"]


@KINDS
async def test_retained_messages(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        context = _context(party)
        publisher = await party.connected("c1")
        await publisher.publish("t/1", b"one", 1, retain=True)
        await until(lambda: "t/1" in context.retained_messages)
        message = context.retained_messages["t/1"]
        assert isinstance(message, RetainedApplicationMessage)
        assert (message.topic, bytes(message.data), message.qos, message.retain) == ("t/1", b"one", 1, True)
        assert message.source_session == context.get_session("c1")
        await context.retain_message("t/2", b"two", 2)
        assert sorted(context.retained_messages) == ["t/1", "t/2"]
        assert context.retained_messages["t/2"].source_session is None
        assert context.retained_messages.get("t/3") is None
        await context.retain_message("t/2", b"", 0)
        assert len(context.retained_messages) == 1


@KINDS
async def test_broadcast_without_a_qos(kind: Kind) -> None:
    """Each subscriber gets the message at the QoS that it asked for."""
    async with running(kind, HELD) as party:
        clients = [await party.connected(f"c{qos}") for qos in (0, 1, 2)]
        for qos, client in enumerate(clients):
            await client.subscribe(("t", qos))
        await _context(party).broadcast_message("t", b"x")
        for qos, client in enumerate(clients):
            got = await client.message()
            assert (got.payload, got.qos, got.retain) == (b"x", qos, False)


@KINDS
async def test_the_order_of_broadcasts(kind: Kind) -> None:
    """It holds while a topic plugin takes its time over each."""
    async with running(kind, {**HELD, path_of(EverFaster): {}}) as party:
        client = await party.connected("c1")
        await client.subscribe(("t", 0))
        for number in range(8):
            await _context(party).broadcast_message("t", b"%d" % number, 0)
        assert await client.messages(8) == [b"%d" % number for number in range(8)]


async def test_broadcast_with_a_qos() -> None:
    """[MQTT-3.8.4-6]: the lower of the two, where amqtt delivers at the one it was given."""
    async with running(Broker, HELD) as party:
        clients = [await party.connected(f"c{qos}") for qos in (0, 1, 2)]
        for qos, client in enumerate(clients):
            await client.subscribe(("t", qos))
        await _context(party).broadcast_message("t", b"x", 1)
        assert [(await client.message()).qos for client in clients] == [0, 1, 1]


@KINDS
async def test_retain_without_a_qos(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        await _context(party).retain_message("t", bytearray(b"kept"))
        late = await party.connected("late")
        await late.subscribe(("t", 1))
        got = await late.message()
        assert (got.payload, got.qos, got.retain) == (b"kept", 1, True)


@KINDS
async def test_add_subscription(kind: Kind) -> None:
    """A client that has never been there gets a session, and what comes meanwhile; no event tells of it."""
    async with running(kind, {**HELD, path_of(EventRecorder): {}}) as party:
        context = _context(party)
        await context.add_subscription("later", None, None)
        session = context.get_session("later")
        assert session is not None
        assert session.transitions.state == "disconnected"
        session.clean_session = False
        await context.add_subscription("later", "t/#", 1)
        await context.add_subscription("later", "bad/#/filter", 1)
        assert [(s.client_id, qos) for s, qos in context.subscriptions["t/#"]] == [("later", 1)]
        assert "bad/#/filter" not in context.subscriptions
        assert context.get_session("later") is session
        await context.broadcast_message("t/1", b"waits", 1)
        await until(lambda: session.retained_messages_count == 1)
        client = await party.open()
        assert await client.connect("later", clean=False)
        got = await client.message()
        assert (got.topic, got.payload, got.qos) == ("t/1", b"waits", 1)
        assert "subscribed" not in {event[0] for event in party.plugin(EventRecorder).events}


@KINDS
async def test_add_subscription_for_a_connected_client(kind: Kind) -> None:
    """No retained messages are sent for it."""
    async with running(kind, HELD) as party:
        context = _context(party)
        await context.retain_message("t", b"kept", 1)
        client = await party.connected("c1")
        await context.add_subscription("c1", "t", 1)
        await context.broadcast_message("t", b"live", 1)
        assert (await client.message()).payload == b"live"


@KINDS
async def test_add_subscription_asks_topic_plugins(kind: Kind) -> None:
    async with running(kind, {**HELD, path_of(Denials): {"subscribe": ["secret"]}}) as party:
        context = _context(party)
        await party.connected("c1")
        await context.add_subscription("c1", "secret", 1)
        await context.add_subscription("c1", "fine", 1)
        assert set(context.subscriptions) == {"fine"}
        asked = [entry for entry in party.plugin(Denials).asked if entry[2] == Action.SUBSCRIBE]
        assert asked == [("c1", "secret", Action.SUBSCRIBE), ("c1", "fine", Action.SUBSCRIBE)]


@KINDS
async def test_the_brokers_own_add_subscription(kind: Kind) -> None:
    async with running(kind, HELD) as party:
        await party.connected("c1")
        session = party.broker.sessions["c1"][0]
        assert await party.broker.add_subscription(("t", 2), session) == 2
        assert await party.broker.add_subscription(("t/#/x", 2), session) == 0x80
        assert await party.broker.add_subscription(("t+", 2), session) == 0x80


class Store(BasePlugin[BrokerContext]):
    """Restore what a session store would: the calls of `amqtt.contrib.persistence`, without its database."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.retained: list[Any] = []

    async def on_broker_post_start(self) -> None:
        assert len(self.context.subscriptions) == 0
        assert len(list(self.context.sessions)) == 0
        await self.context.add_subscription("device", None, None)
        await self.context.add_subscription("device", "a/#", 1)
        session = self.context.get_session("device")
        assert session is not None
        session.clean_session = False
        session.keep_alive = 30
        session.will_flag = True
        for number in range(2):
            message = RetainedApplicationMessage(None, f"a/{number}", b"%d" % number, 1)
            await session.retained_messages.put(message)
        retained = self.context.retained_messages
        retained["kept"] = RetainedApplicationMessage(None, "kept", b"state", 1)
        retained["gone"] = RetainedApplicationMessage(None, "gone", b"state", None)
        del retained["gone"]

    async def on_broker_retained_message(self, **arguments: object) -> None:
        self.retained.append(arguments)


@KINDS
async def test_a_plugin_that_restores_sessions(kind: Kind) -> None:
    async with running(kind, {**OPEN, path_of(Store): {}}) as party:
        session = party.broker.sessions["device"][0]
        assert (session.keep_alive, session.will_flag, session.retained_messages_count) == (30, True, 2)
        device = await party.open()
        assert await device.connect("device", clean=False, username="u")
        assert await device.messages(2) == [b"0", b"1"]
        reader = await party.connected("reader")
        await reader.subscribe(("kept", 1), ("gone", 1))
        assert (await reader.message()).payload == b"state"
        await reader.nothing_came()
        assert party.plugin(Store).retained == []


async def test_queued_messages_are_their_clients_alone() -> None:
    async with running(Broker, {**OPEN, path_of(Store): {}}) as party:
        with pytest.raises(BrokerError):
            party.broker.sessions["device"][0].retained_messages.get_nowait()
        assert party.broker.sessions["device"][0].retained_messages_count == 2


async def test_amqtts_own_context_around_our_broker() -> None:
    """As tests of plugins make it."""
    broker = Broker({"plugins": OPEN})
    context = BrokerContext(broker)
    await context.add_subscription("later", "t", 1)
    session = context.get_session("later")
    assert session is not None and list(context.sessions) == [session]
    assert [(s.client_id, qos) for s, qos in context.subscriptions["t"]] == [("later", 1)]


async def test_a_context_answers_a_plugin_that_waits_in_between() -> None:
    """Sessions may come and go while a plugin goes through them; amqtt's dictionary would not allow it."""
    async with running(Broker, HELD) as party:
        clients = [await party.connected(f"c{number}") for number in range(3)]
        seen = []
        for session in _context(party).sessions:
            seen.append(session.client_id)
            if len(seen) == 1:
                await clients[2].disconnect()
                await until(lambda: len(party.broker.sessions) == 2)
        assert seen == ["c0", "c1", "c2"]


async def test_an_exception_in_authenticate_refuses_the_client() -> None:
    class_path = path_of(RaisingAuth)
    async with running(Broker, {class_path: {}}) as party:
        client = await party.open()
        client.send(connect("c1"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            while (await client.read()).kind != CONNACK:
                pass
        assert len(party.broker.sessions) == 0


class RaisingAuth(amqtt.plugins.base.BaseAuthPlugin):  # type: ignore[name-defined]
    """Fail."""

    async def authenticate(self, *, session: Session) -> bool | None:
        raise RuntimeError("broken")
