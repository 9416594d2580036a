"""amqtt's side of the broker: what programs and plugins written for amqtt call, carried over to the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, cast

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker as AmqttBroker
from amqtt.broker import BrokerContext as AmqttBrokerContext
from amqtt.contexts import Action
from amqtt.errors import BrokerError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session as AmqttSession

from .access import AccessChange
from .access_control import AccessControl
from .amqtt_session import SUBSCRIBED_QOS, view_of
from .amqtt_views import Retained, Sessions, Subscriptions, show_retained
from .connection import Connection
from .engine import Engine
from .events import Events
from .listeners.external import serve_adapters
from .message import Message
from .protocol.packets import SubscribeRequest
from .routing.topics import InvalidTopic, check_filter, check_name, split_share

_SUBSCRIPTION_FAILED = 0x80


class AccessDirectory(Protocol):
    """The credential store, as far as the broker needs it."""

    def on_change(self, callback: Callable[[AccessChange], Awaitable[None]]) -> Callable[[], None]:
        """Have a coroutine awaited after each write that changes somebody's access; return what ends that."""
        ...


class AmqttContract(AmqttBroker):
    """Offer what `amqtt.broker.Broker` offers, but for its lifecycle.

    The dictionaries that amqtt keeps are live views here: `sessions`, `subscriptions` and `retained_messages` look at
    the engine whenever they are asked.
    """

    _engine: Engine
    _access: AccessControl
    _events: Events

    def _fulfil_contract(self) -> None:
        """Set up what amqtt's own `__init__` would have."""
        engine = self._engine
        self._sessions = cast("dict[str, tuple[AmqttSession, BrokerProtocolHandler]]", Sessions(engine))
        self._subscriptions = cast("dict[str, list[tuple[AmqttSession, int]]]", Subscriptions(engine))
        self._retained_messages = cast("dict[str, Any]", Retained(engine))
        self._events.keep_pace(engine.pace)
        self._events.show_retained = lambda message: show_retained(engine, message)

    @property
    def dropped_events(self) -> int:
        """Events that plugins were too slow for; groups of packets count once."""
        return self._events.dropped

    @property
    def failed_callbacks(self) -> int:
        """How often a plugin's method for an event ended with an exception."""
        return self._events.failed

    # -- messages

    async def internal_message_broadcast(self, topic: str, data: bytes, qos: int | None = None) -> None:
        """Publish a message of the broker's own; without a QoS, at the one that each subscriber asked for.

        Raises `InvalidTopic`.
        """
        self._engine.publish(Message(topic, bytes(data), SUBSCRIBED_QOS if qos is None else qos))

    async def retain_message(
        self,
        source_session: AmqttSession | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Store a retained message, or clear it with empty data; nobody is sent it now. Raises `InvalidTopic`."""
        if topic_name is None:
            return
        settings = self._engine.settings
        check_name(topic_name, settings.max_topic_levels)
        sender = (source_session.client_id or "") if source_session is not None else ""
        effective = SUBSCRIBED_QOS if qos is None else qos
        self._engine.retain(Message(topic_name, bytes(data or b""), effective, True, sender=sender))

    # -- sessions and subscriptions

    def create_offline_session(self, client_id: str) -> tuple[BrokerProtocolHandler, AmqttSession]:
        """Make a session for a client that is not there, unless it has one; in place of amqtt's handler stands None."""
        session = self._engine.registry.get(client_id) or self._engine.create_session(client_id)
        return cast("BrokerProtocolHandler", None), view_of(session)

    async def add_subscription(self, subscription: tuple[str, int], session: AmqttSession) -> int:
        """Subscribe a client as the server; return the granted QoS or 0x80.

        amqtt's topic plugins are asked, as they are by amqtt. No retained message is sent and no event is fired.
        """
        topic_filter, qos = subscription
        engine = self._engine
        settings = engine.settings
        try:
            check_filter(split_share(topic_filter)[1], settings.max_topic_levels)
        except InvalidTopic:
            return _SUBSCRIPTION_FAILED
        if self._access.waits and not await self._access.consult(session, Action.SUBSCRIBE, topic_filter):
            return _SUBSCRIPTION_FAILED
        subscriber = engine.registry.get(session.client_id or "")
        if subscriber is None:
            return _SUBSCRIPTION_FAILED
        granted = min(qos, settings.max_qos_allowed)
        engine.enter_subscription(subscriber, SubscribeRequest(topic_filter, qos), granted)
        return granted

    # -- connections that somebody else has accepted

    def connection_through(self, listener_name: str) -> Connection | None:
        """Make a connection that belongs to a listener; None if there is none of this name."""
        raise NotImplementedError

    async def _client_connected(self, listener_name: str, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        """Serve a connection until it ends: what `external_connected`, `stream_connected` and `ws_connected` come to.

        Raises BrokerError for a name that is no listener's. Cancelled, the connection is lost.
        """
        connection = self.connection_through(listener_name) if self.transitions.is_started() else None
        if connection is None:
            raise BrokerError(f"Invalid listener name '{listener_name}'")
        await serve_adapters(asyncio.get_running_loop(), connection, reader, writer)


class BrokerContext(AmqttBrokerContext):
    """What plugins see of the broker: amqtt's context and the credential store."""

    def __init__(self, broker: AmqttContract, directory: AccessDirectory | None = None) -> None:
        super().__init__(broker)
        self.directory = directory

    @property
    def sessions(self) -> Generator[AmqttSession]:
        """All sessions, connected and stored; those of now, whatever changes while they are looked at."""
        for session, _ in list(self._broker_instance.sessions.values()):
            yield session

    async def add_subscription(self, client_id: str, topic: str | None, qos: int | None) -> None:
        """Subscribe a client, with a session made for it if it has none; without a topic only make the session."""
        _, session = self._broker_instance.create_offline_session(client_id)
        if topic is not None and qos is not None:
            await self._broker_instance.add_subscription((topic, qos), session)
