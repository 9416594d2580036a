"""The broker: amqtt's contract in front, wardenmq's engine behind it."""

import asyncio
import time
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Any, Protocol, cast

from amqtt.broker import DEFAULT_PORTS, RetainedApplicationMessage
from amqtt.broker import Broker as AmqttBroker
from amqtt.broker import BrokerContext as AmqttBrokerContext
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import BrokerError
from amqtt.events import BrokerEvents
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.manager import PluginManager
from amqtt.session import Session as AmqttSession
from transitions import MachineError

from .access import AccessChange
from .access_control import AccessControl
from .connection import Connection, Flusher
from .engine import Engine
from .events import Events, build_view
from .listeners.listener import Listener
from .message import Message
from .metrics import Gauges, collect_metrics
from .protocol.packets import SubscribeRequest
from .protocol.reason_codes import ReasonCode
from .registry import SessionRegistry
from .router import Router
from .routing.topics import check_name
from .session import Session
from .settings import MqttSettings

_logger = getLogger(__name__)
_HOUSEKEEPING_INTERVAL = 1.0
_CLOSE_TIMEOUT = 5.0


class AccessDirectory(Protocol):
    """The credential store, as far as the broker needs it."""

    def on_change(self, callback: Callable[[AccessChange], Awaitable[None]]) -> None:
        """Have a coroutine awaited after each write that changes somebody's access."""
        ...


class BrokerContext(AmqttBrokerContext):
    """What plugins see of the broker: amqtt's context and the credential store."""

    def __init__(self, broker: "Broker", directory: AccessDirectory | None) -> None:
        super().__init__(broker)
        self.directory = directory

    async def add_subscription(self, client_id: str, topic: str | None, qos: int | None) -> None:
        """Subscribe a client, with a session made for it if it has none; without a topic only make the session."""
        cast("Broker", self._broker_instance).subscribe_for(client_id, topic, qos)


class Broker(AmqttBroker):
    """Serve MQTT 3.1 and 3.1.1; a drop-in for `amqtt.broker.Broker`.

    `config` is amqtt's; `settings` are the engine's limits (without them, sessions are kept as amqtt keeps them: for
    `config.session_expiry_interval` seconds, or for ever). The caller owns `directory` and closes it.

    Raises amqtt's `BrokerError` and plugin errors.
    """

    def __init__(
        self,
        config: BrokerConfig | dict[str, Any] | None = None,
        loop: AbstractEventLoop | None = None,
        plugin_namespace: str | None = None,
        *,
        settings: MqttSettings | None = None,
        directory: AccessDirectory | None = None,
    ) -> None:
        # amqtt's own __init__ makes queues and a context for the engine that is replaced here, so it is not called.
        self.logger = _logger
        self.config = BrokerConfig.from_dict(dict(config)) if isinstance(config, dict) else config or BrokerConfig()
        self.listeners_config = self.config.listeners
        self._loop = loop or asyncio.get_running_loop()
        self._init_states()
        self.settings = settings or MqttSettings(session_expiry_interval=self.config.session_expiry_interval or 0)
        self.directory = directory
        self._access = AccessControl()
        self._events = Events()
        self._engine = Engine(self.settings, self._access, self._events)
        self._gauges = Gauges(self._engine)
        self._listeners: dict[str, Listener] = {}
        self._flusher = Flusher(self._loop)
        self._housekeeping: asyncio.TimerHandle | None = None
        self.started_at = 0.0
        """Seconds since the epoch."""
        context = BrokerContext(self, directory)
        context.config = self.config
        self.plugins_manager: PluginManager[AmqttBrokerContext] = PluginManager(
            plugin_namespace or "amqtt.broker.plugins", context, self._loop
        )
        # amqtt offers no public way to them; the pinned version and a test hold these names
        auth_plugins = self.plugins_manager._auth_plugins  # pyright: ignore[reportPrivateUsage]
        topic_plugins = self.plugins_manager._topic_plugins  # pyright: ignore[reportPrivateUsage]
        self._access.load(auth_plugins, topic_plugins)
        self._events.load(self.plugins_manager)
        if directory is not None:
            directory.on_change(self.apply_access_change)

    # -- lifecycle

    async def start(self) -> None:
        """Open the listeners; raises `BrokerError`, after which nothing listens."""
        try:
            self.transitions.start()
        except (MachineError, ValueError) as error:
            raise BrokerError(f"Broker instance can't be started: {error}") from error
        await self._events.fire_and_wait(BrokerEvents.PRE_START)
        try:
            await self._open_listeners()
        except (OSError, BrokerError, ValueError) as error:
            self._stop_listeners()
            self.transitions.starting_fail()
            raise BrokerError(f"Broker instance can't be started: {error}") from error
        self.started_at = time.time()
        self._housekeeping = self._loop.call_later(_HOUSEKEEPING_INTERVAL, self._keep_house)
        self.transitions.starting_success()
        await self._events.fire_and_wait(BrokerEvents.POST_START)

    async def shutdown(self) -> None:
        """Stop listening, close all connections and forget all sessions."""
        self.transitions.shutdown()
        await self._events.fire_and_wait(BrokerEvents.PRE_SHUTDOWN)
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        self._stop_listeners()
        for connection in self._connections():
            session = connection.session
            if session is not None and session.link is connection:
                self._engine.detach(session, graceful=True)  # the server leaves: no will speaks for a healthy client
            connection.close(ReasonCode.SERVER_SHUTTING_DOWN)
        await self._wait_for_connections()
        for session in list(self._engine.registry):
            self._engine.end_session(session)
        self._engine.retained.clear()
        await self._engine.close()
        await self._events.drain()
        await self._events.fire_and_wait(BrokerEvents.POST_SHUTDOWN)
        await self.plugins_manager.close()
        self.transitions.stopping_success()

    async def _wait_for_connections(self) -> None:
        emptied = [asyncio.ensure_future(listener.wait_empty()) for listener in self._listeners.values()]
        if emptied:
            _, late = await asyncio.wait(emptied, timeout=_CLOSE_TIMEOUT)
            for task in late:
                task.cancel()
        for connection in self._connections():
            connection.abort()

    async def _open_listeners(self) -> None:
        for name, config in self.listeners_config.items():
            if config.type == ListenerType.EXTERNAL or not config.bind:
                continue
            try:
                host, port = self._split_bindaddr_port(config.bind, DEFAULT_PORTS[config.type])
            except ValueError as error:
                raise BrokerError(f"Invalid port value in bind value: {config.bind}") from error
            context = self._create_ssl_context(config) if config.ssl else None
            listener = Listener(name, self._kind(config), _bare(host), port, max(0, config.max_connections))
            self._listeners[name] = listener
            try:
                await listener.open(self._loop, self._connection, context, self.settings.max_packet_size)
            except OSError as error:
                raise BrokerError(f"listener {name!r} cannot bind {config.bind}: {error.strerror or error}") from error
            _logger.info("listener %s at %s:%s", listener.listener_id, *listener.address)

    @staticmethod
    def _kind(config: ListenerConfig) -> str:
        if config.type == ListenerType.WS:
            return "wss" if config.ssl else "ws"
        return "ssl" if config.ssl else "tcp"

    def _connection(self, listener: Listener) -> Connection:
        return Connection(self._engine, listener, self._flusher, self._loop)

    def _stop_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.stop()

    def _connections(self) -> list[Connection]:
        return [connection for listener in self._listeners.values() for connection in listener.connections]

    def _keep_house(self) -> None:
        self._engine.expire_sessions()
        self._gauges.collect()
        self._housekeeping = self._loop.call_later(_HOUSEKEEPING_INTERVAL, self._keep_house)

    # -- what the management and the tests look at

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """The bound addresses by listener name."""
        return {name: listener.address for name, listener in self._listeners.items()}

    @property
    def registry(self) -> SessionRegistry:
        """All sessions, connected and stored."""
        return self._engine.registry

    @property
    def router(self) -> Router:
        """The subscriptions of all sessions."""
        return self._engine.router

    @property
    def live_connections(self) -> int:
        """Open sockets, those included that have not sent their CONNECT yet."""
        return sum(len(listener.connections) for listener in self._listeners.values())

    def metrics(self) -> dict[str, int]:
        """Return the counters since start under EMQX's metric names."""
        return collect_metrics(self._engine, [connection.traffic for connection in self._connections()])

    def stats(self) -> dict[str, int]:
        """Return the present sizes under EMQX's stats names, each with a `.max` twin."""
        return self._gauges.collect()

    # -- what the management does

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False, sender: str = "") -> int:
        """Publish for the server itself, without an ACL check; return the number of sessions that it went to.

        Raises `InvalidTopic`.
        """
        reached = self._engine.publish(Message(topic, payload, qos, retain, sender=sender))
        if sender:
            counters = self._engine.counters
            counters.messages_published_by_api += 1
            counters.api_messages_qos[qos] += 1
        return reached

    async def kick(self, client_id: str) -> bool:
        """Close a client's connection and end its session; False if there is none."""
        session = self._engine.registry.get(client_id)
        if session is None:
            return False
        self._engine.close_session(session, ReasonCode.ADMINISTRATIVE_ACTION)
        return True

    async def apply_access_change(self, change: AccessChange) -> None:
        """Close or re-check exactly the sessions that a write to the credential store concerns."""
        await self._engine.apply_access_change(change)

    def subscribe_for(self, client_id: str, topic: str | None, qos: int | None) -> None:
        """Subscribe a client without asking the ACL, with a stored session made for it if it has none."""
        engine = self._engine
        session = engine.registry.get(client_id)
        if session is None:
            session = self._stored_session(client_id)
        if topic is not None and qos is not None:
            engine.check_filters([topic])
            engine.enter_subscription(session, SubscribeRequest(topic, qos))
            engine.replay_retained(session, topic, qos)

    def _stored_session(self, client_id: str) -> Session:
        session = self._engine.create_session(client_id)
        session.view = _view_of(session)
        return session

    # -- amqtt's contract

    async def internal_message_broadcast(self, topic: str, data: bytes, qos: int | None = None) -> None:
        """Publish a message of the broker's own."""
        self._engine.publish(Message(topic, data, qos or 0))

    async def retain_message(
        self,
        source_session: AmqttSession | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Store a retained message, or clear it with empty data; nobody is sent it now."""
        if topic_name is not None:
            check_name(topic_name)
            sender = source_session.client_id if source_session is not None else None
            self._engine.retain(Message(topic_name, bytes(data or b""), qos or 0, True, sender=sender or ""))

    @property
    def sessions(self) -> dict[str, tuple[AmqttSession, BrokerProtocolHandler]]:
        """amqtt's picture of the sessions; made anew at each look, without handlers."""
        return {
            session.client_id: (_view_of(session), cast("BrokerProtocolHandler", None))
            for session in self._engine.registry
        }

    @property
    def subscriptions(self) -> dict[str, list[tuple[AmqttSession, int]]]:
        """amqtt's picture of the subscriptions, by filter; made anew at each look."""
        return {
            topic_filter: [
                (_view_of(session), subscription.qos)
                for session, subscription in self._engine.router.subscribers(topic_filter).items()
            ]
            for topic_filter in self._engine.router.filters()
        }

    @property
    def retained_messages(self) -> dict[str, RetainedApplicationMessage]:
        """amqtt's picture of the retained messages, by topic; made anew at each look."""
        return {
            topic: RetainedApplicationMessage(None, topic, message.payload, message.qos)
            for topic in self._engine.retained.topics()
            if (message := self._engine.retained.get(topic)) is not None
        }


def _bare(host: str | None) -> str | None:
    """Take the brackets off an IPv6 address."""
    return host[1:-1] if host is not None and host.startswith("[") else host


def _view_of(session: Session) -> AmqttSession:
    if session.view is None:
        session.view = build_view(
            client_id=session.client_id,
            username=session.username,
            password=None,
            clean_session=session.clean_start,
            keep_alive=session.keep_alive,
            peer_host=session.peer_host,
            peer_port=session.peer_port,
        )
    return session.view
