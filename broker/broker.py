"""The broker: amqtt's contract in front, wardenmq's engine behind it."""

import asyncio
import time
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import replace
from logging import getLogger
from typing import Any, cast

from amqtt.contexts import BrokerConfig
from amqtt.errors import BrokerError
from amqtt.events import BrokerEvents
from transitions import MachineError

from .access import AccessChange
from .access_control import AccessControl
from .alarms import SESSIONS_SET_ASIDE, Alarms
from .amqtt_broker import AccessDirectory, AmqttContract, BrokerContext
from .amqtt_session import view_of
from .auto_subscribe import AutoSubscribe, AutoSubscription
from .connection import Connection, Door
from .delayed_message import DelayedMessage
from .engine import Engine
from .events import BrokerPlugins, Events
from .flapping import FlappingDetector
from .journal.contract import JournalStore
from .journal.journal import Journal
from .journal.restoring import Restoring
from .keep_alives import KeepAlives
from .leaving import Leaving
from .listed import Listed, MessageListings, Part, read
from .listeners.configuration import read_config
from .listeners.definition import read_definitions
from .listeners.listeners import Listeners
from .listeners.options import ListenerOptions
from .message import Message
from .metrics import Gauges, collect_limits, collect_metrics, name_metrics
from .outgoing import Flusher
from .pace import Pace
from .protocol.packets import SubscribeRequest
from .protocol.reason_codes import ReasonCode
from .registry import SessionRegistry
from .retention import Retention, RetentionPolicy
from .router import Router
from .routing.topics import check_name
from .session import Session
from .session_history import SessionHistory
from .settings import MqttSettings
from .slow_subscriptions import SlowSubscriptions
from .sys_topics import SysTopics
from .system_watch import SystemWatch
from .topic_metrics import TopicMetrics
from .topic_rewrite import RewriteRule, TopicRewrite
from .totals import add_up
from .tracing.traces import Traces

_logger = getLogger(__name__)
_HOUSEKEEPING_INTERVAL = 1.0


class Broker(AmqttContract):
    """Serve MQTT 3.1, 3.1.1 and 5.0; a drop-in for `amqtt.broker.Broker`.

    `config` is amqtt's; `settings` are the engine's limits. Without them it is as in amqtt: sessions are kept for
    `config.session_expiry_interval` seconds or for ever, and a shutdown waits for no queue. The caller owns `directory`
    and `journal`, and closes them; without a journal nothing outlives the broker.

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
        journal: JournalStore | None = None,
    ) -> None:
        # amqtt's own __init__ makes queues and a context for the engine that is replaced here, so it is not called.
        self.logger = _logger
        if isinstance(config, dict):
            self.config, self._listener_options = read_config(config)
        else:
            self.config, self._listener_options = config or BrokerConfig(), dict[str, ListenerOptions]()
        self.listeners_config = self.config.listeners
        self._loop = loop or asyncio.get_running_loop()
        self._init_states()
        self.settings = settings or MqttSettings(
            session_expiry_interval=self.config.session_expiry_interval or 0, shutdown_timeout=0.0
        )
        self.directory = directory
        self._access = AccessControl()
        self._events = Events()
        self.alarms = Alarms()
        self._engine = Engine(self.settings, self._access, self._events, Pace(self._loop))
        self.delayed = self._engine.delayed
        """The messages that wait to be published."""
        self.retention: Retention = self._engine.retention
        """The retained messages."""
        self.topic_rewrite = TopicRewrite()
        """The rules by which topics are led to others; `rewrite_topics` sets them."""
        self.auto_subscribe = AutoSubscribe(self.subscribe_session)
        """What every client is subscribed to; `subscribe_everybody` sets it."""
        self.traces = Traces(self._engine)
        """What is written of single clients, topics and addresses."""
        self.slow_subscriptions = SlowSubscriptions(self._engine)
        """The subscriptions to which delivery takes long; nothing is measured until it is configured to."""
        self.topic_metrics = TopicMetrics(self._engine.detours)
        """What comes in and goes out on single topics."""
        self._journal_store = journal
        self._gauges = Gauges(self._engine)
        self._listings = MessageListings()
        self.flapping = FlappingDetector(self._engine)
        """Who bans clients that come and go all the time, if it is told to."""
        self.session_history = SessionHistory()
        self._engine.session_watches.append(self.session_history)
        self._listeners = Listeners(self.settings, self._loop, self._connection, self._close_for_listener)
        self._engine.authentications = self._listeners.authentications
        self.configured_listeners = read_definitions(self.listeners_config, self._listener_options)
        """The listeners of the configuration that the broker was made with, by name."""
        self._listeners.definitions = dict(self.configured_listeners)
        self._flusher = Flusher(self._loop)
        self._keep_alives = KeepAlives(self._loop)
        self._housekeeping: asyncio.TimerHandle | None = None
        self._house_due = 0.0
        self.sys_topics = SysTopics(self._engine, self.gather_metrics, self.stats)
        """Silent until it has been given a name; see `SysTopics.begin`."""
        self.alarms.announce = self.sys_topics.alarm_changed
        self.system_watch = SystemWatch(lambda: self.alarms, self._listeners.limits, self.sys_topics.tell)
        """Blind until it has been given something to read; see `SystemWatch.begin`."""
        self.started_at = 0.0
        """Seconds since the epoch."""
        self._fulfil_contract()
        context = BrokerContext(self, directory)
        context.config = self.config
        self.plugins_manager = BrokerPlugins(plugin_namespace or "amqtt.broker.plugins", context, self._loop)
        # amqtt offers no public way to them; the pinned version and a test hold these names
        auth_plugins = self.plugins_manager._auth_plugins  # pyright: ignore[reportPrivateUsage]
        topic_plugins = self.plugins_manager._topic_plugins  # pyright: ignore[reportPrivateUsage]
        # amqtt's old entry-point configuration loads topic plugins that it does not ask unless they are enabled
        self._access.load(auth_plugins, topic_plugins if self.plugins_manager.is_topic_filtering_enabled() else [])
        self._events.load(self.plugins_manager)
        self._unfollow: Callable[[], None] | None = None
        """What ends that the directory tells of its changes; None before the start and after the end."""

    # -- lifecycle

    async def start(self) -> None:
        """Restore what is journaled and open the listeners; raises `BrokerError` or what the journal's store raises.

        Then nothing listens.
        """
        try:
            self.transitions.start()
        except (MachineError, ValueError) as error:
            raise BrokerError(f"Broker instance can't be started: {error}") from error
        await self._events.fire_and_wait(BrokerEvents.PRE_START)
        self._follow(self.directory)
        try:
            await self._restore()
            await self._listeners.open()
        except BaseException as error:
            self._listeners.stop()
            self._follow(None)
            self.transitions.starting_fail()
            if self._engine.journal is not None:
                self._engine.journal.abandon()
            await self.traces.close()
            if isinstance(error, OSError | BrokerError | ValueError):
                raise BrokerError(f"Broker instance can't be started: {error}") from error
            raise
        self.started_at = time.time()
        self._house_due = self._loop.time() + _HOUSEKEEPING_INTERVAL
        self._housekeeping = self._loop.call_later(_HOUSEKEEPING_INTERVAL, self._keep_house)
        self.delayed.open()
        self.transitions.starting_success()
        await self._events.fire_and_wait(BrokerEvents.POST_START)

    async def _restore(self) -> None:
        """Have everything back that was written; nobody is let in before."""
        engine, store = self._engine, self._journal_store
        if store is None:
            return
        journal = Journal(store, self.settings, self.alarms, engine.pace, self._loop)
        engine.keep_journal(journal)
        await Restoring(engine, journal).restore()
        if store.problem is not None:
            self.alarms.activate(
                SESSIONS_SET_ASIDE,
                "Stored sessions were damaged and set aside; `wardenmq doctor` says what can be repaired.",
                {"reason": store.problem},
            )

    async def shutdown(self) -> None:
        """Stop listening, let queues empty for as long as the settings say, close all connections.

        Sessions are forgotten, but for those that are journaled: what they are owed is written.
        """
        self.transitions.shutdown()
        await self._events.fire_and_wait(BrokerEvents.PRE_SHUTDOWN)
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        await self.system_watch.end()
        self.delayed.close()
        self._listeners.stop()
        for connection in [*self._engine.turned_away, *self._engine.lingering]:
            cast("Connection", connection).out.abort()
        await Leaving(self._engine, self._listeners, self._loop, self.settings.shutdown_timeout).leave()
        for session in list(self._engine.registry):
            if session.journaled:
                self._engine.leave_to_the_journal(session)
            else:
                self._engine.end_session(session)
        self._engine.retained.clear()
        await self._engine.close()
        await self.traces.close()
        await self._events.drain()
        await self._events.fire_and_wait(BrokerEvents.POST_SHUTDOWN)
        await self.plugins_manager.close()
        self._follow(None)
        self.transitions.stopping_success()

    def _follow(self, directory: AccessDirectory | None) -> None:
        """Be told of the changes of this directory from now on, and of no other's."""
        if self._unfollow is not None:
            self._unfollow()
        self._unfollow = None if directory is None else directory.on_change(self.apply_access_change)

    def _close_for_listener(self, connection: Connection) -> None:
        """End a connection whose listener is stopped; a client that is in is told so, and its will speaks."""
        connection.end(ReasonCode.SERVER_SHUTTING_DOWN)

    def _connection(self, door: Door) -> Connection:
        connection = Connection(self._engine, door, self._flusher, self._keep_alives, self._loop)
        if self.traces.taps_connections:
            self.traces.opening(connection)
        return connection

    def _keep_house(self) -> None:
        # Before anything that may fail, so that one fault does not end it for good.
        self._housekeeping = self._loop.call_later(_HOUSEKEEPING_INTERVAL, self._keep_house)
        now = self._loop.time()
        late, self._house_due = now - self._house_due, now + _HOUSEKEEPING_INTERVAL
        self._engine.expire_sessions()
        self._engine.retention.expire()
        self.traces.tick()
        if self._engine.journal is not None:
            self._engine.journal.beat()
        self._gauges.collect()
        self._listeners.keep_house(now)
        bounds = [(listener.listener_id, listener.limits) for listener in self._listeners]
        self.system_watch.keep_house(now, late, bounds)
        self.sys_topics.keep_house(now)

    # -- what the management and the tests look at

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """The bound addresses by listener name; a Unix socket's is ("unix:/path", 0)."""
        return self._listeners.addresses

    @property
    def listeners(self) -> Listeners:
        """All listeners, open or not."""
        return self._listeners

    @property
    def registry(self) -> SessionRegistry:
        """All sessions, connected and stored."""
        return self._engine.registry

    @property
    def router(self) -> Router:
        """The subscriptions of all sessions."""
        return self._engine.router

    @property
    def authentication_plugins(self) -> tuple[str, ...]:
        """The classes of the plugins that decide on clients."""
        return self._access.authenticating

    @property
    def topic_plugins(self) -> tuple[str, ...]:
        """The classes of the plugins that decide on topics; with none everything is allowed."""
        return self._access.authorizing

    @property
    def durable(self) -> bool:
        """Tell whether sessions outlive the process."""
        return self._engine.journal is not None

    @property
    def live_connections(self) -> int:
        """Open sockets, those included that have not sent their CONNECT yet."""
        return self._listeners.limits.open

    def metrics(self) -> dict[str, int]:
        """Return the counters since start under EMQX's metric names."""
        return collect_metrics(self._engine, [connection.traffic for connection in self._listeners.connections])

    async def gather_metrics(self) -> dict[str, int]:
        """Return the same without holding the event loop, however many connections there are."""
        live = [connection.traffic for connection in self._listeners.connections]
        return name_metrics(self._engine, await add_up(self._engine, live))

    def stats(self) -> dict[str, int]:
        """Return the present sizes under EMQX's stats names, each with a `.max` twin."""
        return self._gauges.collect()

    async def queued(self, session: Session, after: int | None, limit: int) -> Part:
        """List the messages that wait for a client, the oldest first, behind a place that another list told."""
        return await self._listings.queued(session, after, limit)

    async def in_flight(self, session: Session, after: int | None, limit: int) -> Part:
        """List the messages that a client has been sent and has not acknowledged."""
        return await self._listings.in_flight(session, after, limit)

    def read(self, part: Part) -> AsyncIterator[Listed]:
        """Give the messages of such a list with what they carry, from the disk where they are there alone."""
        return read(part.entries, self._journal_store)

    # -- what the management does

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the engine until it ends, or the broker does."""
        self._engine.spawn(work)

    def change_settings(self, **changes: Any) -> None:
        """Have the engine keep to other limits, named as in `MqttSettings`; raises TypeError for what is none.

        Connections and sessions to come keep to all of them. To those that are there apply the limits on what they
        publish and subscribe, the retained messages' and the time until a session expires; what they were told or
        have been given at CONNECT, as the queue's length, stays.
        """
        self.settings = replace(self.settings, **changes)
        self._engine.change_settings(self.settings)
        self._listeners.change_settings(self.settings)

    def reload_certificates(self) -> list[str]:
        """Have new TLS connections get the certificates that are in the files now; those that are there stay.

        Returns a sentence for each listener that had to keep its old ones. Changed files are noticed without this, too.
        """
        return self._listeners.reload_certificates()

    async def change_retention(self, policy: RetentionPolicy) -> None:
        """Go by another policy of retained messages from now on."""
        replays = self._engine.replays
        replays.enabled, replays.rate = policy.enabled, policy.delivery_rate
        await self.retention.change(policy)

    def limits(self) -> dict[str, int]:
        """Return how often each limit and rate was met since start."""
        counts = collect_limits(self._engine, [connection.traffic for connection in self._listeners.connections])
        counts["connections_turned_away"] += self._listeners.limits.cut_off
        return counts

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        sender: str = "",
        *,
        properties: bytes = b"",
        message_expiry: int | None = None,
    ) -> int:
        """Publish for the server itself, without an ACL check; return the number of sessions that it went to.

        `properties` are encoded MQTT 5 properties without their length, for subscribers to get unchanged;
        `message_expiry` is in seconds. Raises `InvalidTopic`.
        """
        expires_at = None if message_expiry is None else time.time() + message_expiry
        message = Message(topic, payload, qos, retain, sender=sender, properties=properties, expires_at=expires_at)
        return self.publish_message(message)[0]

    def publish_message(self, message: Message) -> tuple[int, DelayedMessage | None]:
        """Do the same with a message; return that number, and what waits in its place where it is delayed.

        It has its `published_at` then. Raises `InvalidTopic`.
        """
        kept = self.delayed.kept
        reached = self._engine.publish(message)
        if message.sender:
            counters = self._engine.counters
            counters.messages_published_by_api += 1
            counters.api_messages_qos[message.qos] += 1
        return reached, None if self.delayed.kept == kept else self.delayed.newest

    def check_topic(self, topic: str) -> None:
        """Raise `InvalidTopic` for what `publish` takes no message on."""
        check_name(topic, self._engine.settings.max_topic_levels)
        delays = self._engine.detours.delay_of(topic)
        found = None if delays is None else delays.read(topic)
        if found is not None:
            check_name(found[1], self._engine.settings.max_topic_levels)

    async def written(self) -> bool:
        """Wait until all that was published, subscribed and ended up to now is written where it has to be.

        False where that cannot be for now: it will be as soon as the disk can be written again. True without a journal.
        """
        journal = self._engine.journal
        return journal is None or await journal.written()

    def must_write(self, topic: str, qos: int, retain: bool, sender: str = "") -> bool:
        """Tell whether a message that is published now would have to be written for somebody."""
        if self._engine.journal is None:
            return False
        if self._engine.detours.delay_of(topic) is not None:
            return True
        return retain or (qos > 0 and self._engine.router.route(topic, sender).durable)

    @property
    def journaled(self) -> bool:
        """Tell whether anything outlives the broker."""
        return self._journal_store is not None

    @property
    def writable(self) -> bool:
        """Tell whether what has to be written can be, as far as is known."""
        journal = self._engine.journal
        return journal is None or journal.fault is None

    async def kick(self, client_id: str) -> bool:
        """Close a client's connection and end its session; False if there is none."""
        if not self.end_client(client_id):
            return False
        await self.written()
        return True

    def end_client(self, client_id: str) -> bool:
        """Do the same without waiting until it is written."""
        session = self._engine.registry.get(client_id)
        if session is not None:
            self._engine.close_session(session, ReasonCode.ADMINISTRATIVE_ACTION)
        return session is not None

    async def apply_access_change(self, change: AccessChange) -> None:
        """Close or re-check exactly the sessions that a write to the credential store concerns."""
        await self._engine.rechecks.apply(change)
        if change.end_principals:
            await self.written()

    def subscribe_for(self, client_id: str, topic: str | None, qos: int | None) -> None:
        """Subscribe a client without asking the ACL, with a stored session made for it if it has none."""
        engine = self._engine
        session = engine.registry.get(client_id) or engine.create_session(client_id)
        if self._access.needs_view:
            view_of(session)
        if topic is not None and qos is not None:
            engine.check_filters([topic], 5)
            # amqtt's way: what a client may not have is taken out when it comes.
            self.subscribe_session(session, SubscribeRequest(topic, qos), asked="")

    def subscribe_session(self, session: Session, request: SubscribeRequest, *, asked: str | None = None) -> int:
        """Subscribe a client as the server, without asking the ACL; return the QoS that was granted.

        The filter must be valid. Retained messages are sent as the request wants them; where foreign plugins decide on
        them, a little later.
        """
        engine = self._engine
        granted = min(request.qos, engine.settings.max_qos_allowed)
        wanted = engine.replays.wanted(session, request)
        engine.enter_subscription(session, request, granted, asked=asked)
        if wanted and self._access.waits:
            engine.spawn(self._replay_allowed(session, request.topic_filter, granted))
        elif wanted:
            engine.replays.enter(session, request.topic_filter, granted)
            engine.replays.go_on(session)
            engine.pace.met = False  # no publisher is held for what is replayed
        return granted

    async def _replay_allowed(self, session: Session, topic_filter: str, qos: int) -> None:
        await self._engine.replays.enter_allowed(session, topic_filter, qos)
        self._engine.replays.go_on(session)
        self._engine.pace.met = False

    def rewrite_topics(self, rules: Iterable[RewriteRule]) -> None:
        """Lead topics to others from now on; subscriptions that are there stay as they are."""
        self.topic_rewrite.set_rules(rules)
        detours = self._engine.detours
        detours.rewriter = self.topic_rewrite if self.topic_rewrite.active else None
        detours.changed()

    def subscribe_everybody(self, wanted: Iterable[AutoSubscription]) -> None:
        """Subscribe each client that connects from now on."""
        self.auto_subscribe.set_wanted(wanted)
        self._engine.admitted = self.auto_subscribe.admitted if self.auto_subscribe.wanted else None

    def unsubscribe_for(self, client_id: str, topic_filters: Iterable[str]) -> bool:
        """Take subscriptions of a client out, those that it has; False if there is no such client."""
        session = self._engine.registry.get(client_id)
        if session is None:
            return False
        self._engine.unsubscribe(session, [name for name in topic_filters if name in session.subscriptions])
        return True

    def change_keep_alive(self, session: Session, seconds: int) -> None:
        """Have a client be silent for at most one and a half times this long from now on; 0 for any time."""
        session.keep_alive = seconds
        for connection in self._listeners.connections:
            if connection.session is session and session.link is not None:
                connection.keep_alive_changed()

    # -- for amqtt's contract

    def connection_through(self, listener_name: str) -> Connection | None:
        """Make a connection that belongs to a listener; None if there is none of this name."""
        listener = self._listeners.by_name.get(listener_name)
        return None if listener is None else self._connection(listener)
