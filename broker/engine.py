"""The state that all connections share, and what happens to it: publish, subscribe, end, expire.

The engine knows connections as `Link`s only. It is driven from the event loop's thread and does not await but where
a foreign plugin must be asked.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from logging import getLogger
from time import time
from typing import Any

from amqtt.contexts import Action
from amqtt.events import BrokerEvents

from .access import PUBLISH, SUBSCRIBE, Identity
from .access_control import AccessControl
from .delayed import Delayed
from .deliveries import Subscription
from .detours import Detours
from .events import Events
from .expiries import Expiries
from .journal.journal import Journal
from .journal.session import JournaledSession
from .message import Message
from .message_run import MessageRun
from .pace import Pace
from .protocol.errors import MalformedPacket
from .protocol.packets import SubscribeRequest
from .protocol.reason_codes import ReasonCode
from .rechecks import Rechecks
from .registry import SessionRegistry
from .replay import Replays
from .retention import Retention
from .router import Route, Router, weigh_filter
from .routing.topics import InvalidTopic, check_filter, check_name, has_wildcard, is_shared, split_share
from .session import Session
from .session_watch import DeliveryWatch, SessionWatch, word_for
from .settings import MqttSettings
from .sharing import Sharing
from .traffic import Traffic
from .validity import Validity
from .wills import Wills

_logger = getLogger(__name__)
_PLAIN_OPTIONS = (False, False, 0, None, "")
_PLAIN = tuple(Subscription(qos) for qos in range(3))
_MAX_TURNED_AWAY = 256
_MAX_LINGERING = 1_000
_UNDECIDED_LIMIT = 10_000


class EngineCounters:
    """Count what belongs to no single connection."""

    def __init__(self) -> None:
        self.auth_anonymous = 0
        self.auth_failure = 0
        self.auth_success = 0
        self.connections_refused = 0
        """Sockets that were turned away because of a limit or a rate."""
        self.connected = 0
        self.closed: Counter[ReasonCode] = Counter()
        """Connections that the server closed, by reason; refused CONNECTs are among them."""
        self.connects = 0
        self.connects_refused = 0
        self.disconnected = 0
        self.disconnected_for_rate = 0
        self.messages_published_by_api = 0
        self.messages_published_internally = 0
        self.no_subscribers = 0
        self.paused_for_rate = 0
        """How often a client was not read for a while because it sent too fast."""
        self.sessions_created = 0
        self.sessions_discarded = 0
        self.sessions_resumed = 0
        self.sessions_takenover = 0
        self.sessions_terminated = 0
        self.subscribe_denied = 0
        self.subscribed = 0
        self.undecided_dropped = 0
        """Messages of the server's own that foreign topic plugins were too slow for."""
        self.unsubscribed = 0
        self.api_messages_qos = [0, 0, 0]


class Engine:
    """Own sessions, routes and retained messages."""

    def __init__(self, settings: MqttSettings, access: AccessControl, events: Events, pace: Pace) -> None:
        self.settings = settings
        self.access = access
        self.events = events
        self.registry = SessionRegistry()
        self.pace = pace
        self.journal: Journal | None = None
        """What outlives the process; None where nothing does."""
        self.router = Router(access, settings.shared_subscription_strategy)
        self.detours = Detours(self.router.invalidate)
        self.session_watches: list[SessionWatch] = []
        """Told of what becomes of clients."""
        self.delivery_watch: DeliveryWatch | None = None
        """Told of acknowledgements."""
        self.admitted: Callable[[Session], None] | None = None
        """Called for each client that has been let in, before it gets what is queued."""
        self.retention = Retention(settings, events)
        self.retained = self.retention.messages  # [MQTT-3.1.2-7]
        self.delayed = Delayed(settings, self.publish, self.detours)
        self.sharing = Sharing(self.router)
        self.validity = Validity(
            self.registry, lambda session: self.close_link(session, ReasonCode.MAXIMUM_CONNECT_TIME)
        )
        self.rechecks = Rechecks(self)
        self.counters = EngineCounters()
        self.authentications: Mapping[str, str] = {}
        """What listeners ask of their clients that is not the usual, by listener id; see `ListenerPolicy`."""
        self.turned_away: set[object] = set()
        """Connections that wait to be told why they are not served."""
        self.lingering: set[object] = set()
        """Connections that are closed and wait for their peers to close, too."""
        self.ended = Traffic()
        """Sum of the traffic of all connections that have ended."""
        self.absent = Traffic()
        """What happened to sessions while no connection carried them."""
        self.wills = Wills(access, self.detours, self.publish, self.spawn)
        self.replays = Replays(self.router, access, self.retained, pace)
        self._expiries: Expiries[str] = Expiries()
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided: deque[tuple[Message, Route]] = deque()
        """Messages of the server's own that foreign topic plugins are being asked about, in their order."""

    def change_settings(self, settings: MqttSettings) -> None:
        """Keep to these limits from now on; what was decided on topics by the old ones is forgotten."""
        self.settings = self.retention.settings = settings
        self.router.use_strategy(settings.shared_subscription_strategy)
        self.router.invalidate()

    def may_linger(self, connection: object) -> bool:
        """Tell whether a connection that is closed may wait for its peer; only so many may."""
        if len(self.lingering) >= _MAX_LINGERING:
            return False
        self.lingering.add(connection)
        return True

    def may_explain(self, connection: object) -> bool:
        """Tell whether a client that is turned away may stay until it has been told why; only a few may."""
        if len(self.turned_away) >= _MAX_TURNED_AWAY:
            return False
        self.turned_away.add(connection)
        return True

    # -- publish

    def publish(self, message: Message) -> int:
        """Route a message of the server's own; return the number of sessions that it went to.

        Raises `InvalidTopic`.
        """
        check_name(message.topic, self.settings.max_topic_levels)
        if not message.published_at:
            message.published_at = time()
        if self.detours.delay_of(message.topic) is not None and self._delay(message):
            return 1
        if message.retain:
            self.retain(message)
            if not message.payload and not self.retention.forward_clearing:
                return 1
        route = self.router.route(message.topic, message.sender)
        if not message.topic.startswith("$SYS/"):  # what the server says of itself is no traffic
            self.counters.messages_published_internally += 1
            self.counters.no_subscribers += route.empty
        reached = self.deliver(message, route)
        for watch in self.detours.watching(message.topic, message.sender):
            watch.published(message, reached, message.sender)
        self.pace.met = False  # the server's own messages hold nobody
        return reached

    def _delay(self, message: Message) -> bool:
        """Keep a message for later under its real topic; False where it is not to be delayed."""
        delays = self.detours.delays
        found = None if delays is None else delays.read(message.topic)
        if delays is None or found is None:
            return False
        delay, topic = found
        check_name(topic, self.settings.max_topic_levels)
        delays.keep(message.under(topic), delay)
        return True

    def deliver(self, message: Message, route: Route) -> int:
        """Give a message of the server's own to its targets, after asking foreign plugins where there are any."""
        if not self.access.waits:
            return self.deliver_now(message, route)
        if not route.empty:
            self._undecided.append((message, route))
            if len(self._undecided) > _UNDECIDED_LIMIT:
                self._undecided.pop()
                self.counters.undecided_dropped += 1
            elif len(self._undecided) == 1:
                self.spawn(self._deliver_allowed())
        return len(route.targets) + len(route.groups)

    async def _deliver_allowed(self) -> None:
        """Ask about one message after the other, so that their order holds."""
        undecided = self._undecided
        try:
            while undecided:
                message, route = undecided[0]
                receivers = await self.consult_receivers(message.topic, route)
                undecided.popleft()
                # Who may receive it now, for asking took its time.
                self.deliver_now(message, self.router.route(message.topic, message.sender).only(receivers))
        finally:
            undecided.clear()

    async def consult_receivers(self, topic: str, route: Route) -> frozenset[Session]:
        """Ask foreign topic plugins which of those to whom a route leads may receive a message."""
        members = {session for group in route.groups for session in group.members}
        members |= {target.session for target in route.targets}
        if route.permitted is not None:
            members &= route.permitted | {target.session for target in route.targets}
        return frozenset(
            [
                session
                for session in members
                if session.view is not None and await self.access.consult(session.view, Action.RECEIVE, topic)
            ]
        )

    def deliver_now(self, message: Message, route: Route) -> int:
        """Give a message to its targets, each at the lower of the two QoS; return how many took it."""
        qos = message.qos
        retain = message.retain
        reached = 0
        for session, granted, retain_as_published, identifiers in route.targets:
            effective = qos if qos < granted else granted  # [MQTT-3.8.4-6], [MQTT5-3.8.4-8]
            if effective or session.link is not None:
                reached += 1
            # RETAIN is 0 on what is not replayed unless asked otherwise [MQTT5-3.3.1-12], [MQTT-3.3.1-13]
            # [MQTT-3.3.1-9], [MQTT-4.5.0-1]
            session.deliver(message, effective, retain and retain_as_published, identifiers)
        for group in route.groups:
            reached += self.sharing.deliver(message, route, group)
        if self.events.queues:
            self._show_queued(message, route)
        return reached

    def deliver_run(self, run: MessageRun, route: Route) -> int:
        """Do the same with a run of messages; the route must lead to no shared subscription."""
        qos = run.qos
        reached = 0
        for session, granted, _, identifiers in route.targets:
            effective = qos if qos < granted else granted  # [MQTT-3.8.4-6], [MQTT5-3.8.4-8]
            if effective or session.link is not None:
                reached += 1
            session.deliver_run(run, effective, identifiers)
        return reached

    def _show_queued(self, message: Message, route: Route) -> None:
        """Show amqtt's plugins what waits for clients that are not there."""
        for target in route.targets:
            effective = min(message.qos, target.qos)
            if effective and target.session.link is None:
                self.events.queued(target.session.client_id, message, effective)

    def retain(self, message: Message, *, silent: bool = False) -> bool:
        """Store, replace or with an empty payload clear a retained message; see `Retention.retain`."""
        return self.retention.retain(message, silent=silent)

    # -- subscribe

    def rewritten(self, session: Session, topic_filter: str) -> str:
        """Give the filter under which a client's subscription is entered and taken out."""
        rewriter = self.detours.rewriter
        return topic_filter if rewriter is None else rewriter.filter(topic_filter, session.client_id, session.username)

    def subscribe(
        self, session: Session, asked: SubscribeRequest, identifier: int | None = None, entered: str | None = None
    ) -> int:
        """Check and enter one subscription; return its SUBACK code. Retained messages are sent separately.

        `entered` is what the filter was rewritten to.
        """
        if self.settings.ignore_loop_deliver and session.protocol_version < 5 and not is_shared(asked.topic_filter):
            asked = replace(asked, no_local=True)
        request = asked if entered is None else replace(asked, topic_filter=entered)
        refusal = self._refuse_subscription(session, asked, request.topic_filter)
        granted = min(request.qos, self.settings.max_qos_allowed)  # [MQTT5-3.2.2-10]
        journal = self.journal
        if refusal is None and session.journaled and journal is not None and journal.fault is not None:
            known = session.subscriptions.get(request.topic_filter)
            wanted = _subscription(request, granted, identifier, "" if entered is None else asked.topic_filter)
            if known != wanted or session.is_pending((request.topic_filter,)):
                refusal = journal.fault  # it could not be kept
                journal.refused += 1
        if refusal is not None:
            self.counters.subscribe_denied += 1
            return refusal
        self.enter_subscription(
            session, request, granted, identifier, asked="" if entered is None else asked.topic_filter
        )
        return granted

    def _refuse_subscription(self, session: Session, request: SubscribeRequest, entered: str) -> ReasonCode | None:
        settings = self.settings
        topic_filter = request.topic_filter
        try:
            group, inner = split_share(topic_filter)
            check_filter(inner, settings.max_topic_levels, settings.max_topic_length)
        except InvalidTopic:
            return ReasonCode.TOPIC_FILTER_INVALID
        if group is not None and not settings.shared_subscription:
            return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not settings.wildcard_subscription and has_wildcard(inner):  # [MQTT-3.8.3-2]
            return ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
        if not self.access.authorize(session.identity, SUBSCRIBE, inner, request.qos, False):
            return ReasonCode.NOT_AUTHORIZED
        if entered in session.subscriptions:
            return None
        full = 0 < settings.max_subscriptions <= len(session.subscriptions)
        heavy = 0 < settings.max_subscription_bytes < session.subscription_bytes + weigh_filter(entered)
        return ReasonCode.QUOTA_EXCEEDED if full or heavy else None

    @staticmethod
    def check_filters(topic_filters: Iterable[str], version: int) -> None:
        """Raise `MalformedPacket` for a filter that is none; what is no share in 3.1.1 is only refused."""
        for topic_filter in topic_filters:
            if version < 5 and is_shared(topic_filter):
                continue
            try:
                # [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1], [MQTT5-4.7.1-1], [MQTT5-4.7.1-2]
                check_filter(split_share(topic_filter)[1])
            except InvalidTopic as error:
                raise MalformedPacket(str(error), ReasonCode.TOPIC_FILTER_INVALID) from None

    def enter_subscription(
        self,
        session: Session,
        request: SubscribeRequest,
        granted: int,
        identifier: int | None = None,
        *,
        asked: str | None = "",
    ) -> None:
        """Enter or replace a subscription that has been allowed; `asked` is that of `Subscription`."""
        subscription = _subscription(request, granted, identifier, asked)
        if session.subscriptions.get(request.topic_filter) != subscription:
            session.subscribed(request.topic_filter, subscription)
        is_new = self.router.subscribe(session, request.topic_filter, subscription)  # [MQTT-3.8.4-3]
        self.counters.subscribed += 1
        for watch in self.session_watches:
            watch.subscribed(session, request.topic_filter, subscription, is_new)

    def unsubscribe(self, session: Session, topic_filters: Iterable[str]) -> list[bool]:
        """Take subscriptions out; False for each that there was not."""
        results: list[bool] = []
        left: set[str] = set()
        for topic_filter in topic_filters:
            for qos in range(3):  # [MQTT-3.10.4-3]
                session.replays.pop((topic_filter, qos), None)
            removed = self.router.unsubscribe(session, topic_filter)  # [MQTT-3.10.4-1], [MQTT-3.10.4-2]
            if removed:
                session.subscribed(topic_filter, None)
                for watch in self.session_watches:
                    watch.unsubscribed(session, topic_filter)
                if is_shared(topic_filter):
                    left.add(topic_filter)
            results.append(removed)
            self.events.fire(BrokerEvents.CLIENT_UNSUBSCRIBED, client_id=session.client_id, topic=topic_filter)
        self.counters.unsubscribed += sum(results)
        if left:
            self.sharing.member_unsubscribed(session, left)
            self.pace.met = False
        return results

    # -- the beginning and end of sessions

    def create_session(self, client_id: str) -> Session:
        """Make a stored session for a client that is not there, on behalf of the server."""
        session = self.new_session(Identity(client_id, None, None, ""), Traffic(), persistent=True)
        session.clean_start = False
        session.expiry_interval = self.settings.session_expiry_interval or float("inf")
        session.disconnected_at = time()
        session.claimed = False
        self.registry.add(session)
        self.schedule_expiry(session)
        self.counters.sessions_created += 1
        session.touch()
        return session

    def keep_journal(self, journal: Journal) -> None:
        """Have sessions and retained messages outlive the process from now on."""
        self.journal = self.retention.journal = self.delayed.journal = journal

    def new_session(self, identity: Identity, traffic: Traffic, *, persistent: bool) -> Session:
        """Make a session, which is not entered anywhere yet; a persistent one is journaled if anything is."""
        journal = self.journal
        if journal is None or not persistent:
            return Session(identity, self.settings, self.absent, traffic)
        return JournaledSession(identity, self.settings, self.absent, traffic, journal, journal.new_key())

    def detach(self, session: Session, *, graceful: bool, reason: str = "normal") -> None:
        """Take a session off its connection: lay the will unless graceful, then keep or end the session.

        `reason` is EMQX's word for why.
        """
        session.link = None
        session.disconnected_at = time()
        if session.valid_until is not None:
            self.validity.set(session, None)
        self.registry.connected_count -= 1
        self.counters.disconnected += 1
        for watch in self.session_watches:
            watch.disconnected(session, reason)
        will, session.will = session.will, None  # [MQTT-3.1.2-10], [MQTT5-3.1.2-10]
        if session.persistent:  # [MQTT-4.1.0-1], [MQTT5-3.1.2-23]
            session.left()
            session.traffic = session.traffic.copy()  # the connection's own is added up when its socket has closed
            self.schedule_expiry(session)
            self.sharing.member_left(session)
            self.pace.met = False  # what is passed on holds nobody
            if self.access.waits:
                session.replays.clear()  # it holds messages, not a place in the store
        else:
            self.end_session(session)
            self.counters.sessions_terminated += 1
        # [MQTT-3.1.2-8], [MQTT-3.1.2-12], [MQTT-3.14.4-3], [MQTT5-3.1.2-8], [MQTT5-3.14.4-3]
        if will is not None and not graceful:
            self.wills.lay(session, will, self.registry.get(session.client_id) is session)
        self.events.fire(BrokerEvents.CLIENT_DISCONNECTED, client_id=session.client_id, client_session=session.view)
        if not session.persistent and (will is None or graceful):
            session.view = None  # it leads back to the session; plugins that were handed it keep it

    def schedule_expiry(self, session: Session) -> None:
        """See that a stored session ends when its time is over."""
        expires_at = session.expires_at
        if expires_at is not None:
            self._expiries.schedule(session.client_id, expires_at)

    def end_session(self, session: Session) -> None:
        """Forget a session: its subscriptions, messages and place in the registry; a delayed will is published."""
        self.registry.remove(session)
        self._expiries.cancel(session.client_id)
        self.sharing.member_ended(session)
        self.pace.met = False
        self.router.unsubscribe_all(session)
        session.discard_messages()
        self.wills.execute(session)
        for watch in self.session_watches:
            watch.session_ended(session)

    def leave_to_the_journal(self, session: Session) -> None:
        """Forget a session that the next broker finds in the journal."""
        self.registry.remove(session)
        self._expiries.cancel(session.client_id)
        self.router.unsubscribe_all(session)
        if session.will_timer is not None:
            session.will_timer.cancel()

    def close_session(self, session: Session, reason: ReasonCode) -> None:
        """End a session's connection and the session with it."""
        self.close_link(session, reason)
        if self.registry.get(session.client_id) is session:
            self.end_session(session)
            self.counters.sessions_terminated += 1

    def close_link(self, session: Session, reason: ReasonCode, word: str | None = None) -> None:
        """End a session's connection; its will is published. `word` is EMQX's for why, where the code has another."""
        link = session.link
        if link is not None:
            _logger.info("client %r: connection closed by the server: %s", session.client_id, reason.name)
            self.detach(session, graceful=False, reason=word or word_for(reason))
            link.close(reason)

    def expire_sessions(self) -> None:
        """End the stored sessions whose time is over."""
        for client_id in self._expiries.due(time()):
            session = self.registry.get(client_id)
            if session is None:
                continue
            if session.expired:  # [MQTT5-4.1.0-2]
                self.end_session(session)
                self.counters.sessions_terminated += 1
            else:
                self.schedule_expiry(session)  # it has come back and left again since

    # -- access

    def may_publish(self, identity: Identity, topic: str, qos: int, retain: bool) -> bool:
        """Tell whether a client may publish; `$` topics are the server's [MQTT-4.7.2-1]."""
        return not topic.startswith("$") and self.access.authorize(identity, PUBLISH, topic, qos, retain)

    def may_subscribe(self, session: Session, request: SubscribeRequest) -> bool:
        """Tell whether a client may subscribe to a filter; of what is no filter, that is not what is wrong."""
        try:
            inner = split_share(request.topic_filter)[1]
        except InvalidTopic:
            return True
        return self.access.authorize(session.identity, SUBSCRIBE, inner, request.qos, False)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the engine and keep it alive until it ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what still runs."""
        self.validity.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _subscription(
    request: SubscribeRequest, granted: int, identifier: int | None, asked: str | None = ""
) -> Subscription:
    options = (request.no_local, request.retain_as_published, request.retain_handling, identifier, asked)
    # Most are plain, and need no object of their own.
    return _PLAIN[granted] if options == _PLAIN_OPTIONS else Subscription(granted, *options)
