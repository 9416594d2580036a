"""The state that all connections share, and what happens to it: publish, subscribe, end, expire.

The engine knows connections as `Link`s only. It is driven from the event loop's thread and does not await but where
a foreign plugin must be asked.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from heapq import heappop, heappush
from logging import getLogger
from time import time
from typing import Any

from amqtt.contexts import Action
from amqtt.events import BrokerEvents
from amqtt.session import Session as AmqttSession

from .access import PUBLISH, SUBSCRIBE, AccessChange, Identity
from .access_control import AccessControl
from .events import Events
from .message import Message
from .protocol.encode import SUBACK_FAILURE
from .protocol.errors import MalformedPacket
from .protocol.packets import SubscribeRequest, Will
from .protocol.reason_codes import ReasonCode
from .registry import SessionRegistry
from .router import Router, Targets
from .routing.retained import RetainedMessages
from .routing.topics import InvalidTopic, check_filter, check_name, matches, split_share
from .session import Replay, Session, Subscription
from .settings import MqttSettings
from .traffic import Traffic

_logger = getLogger(__name__)
_SLICE = 500


class EngineCounters:
    """Count what belongs to no single connection."""

    def __init__(self) -> None:
        self.auth_anonymous = 0
        self.auth_failure = 0
        self.auth_success = 0
        self.connections_refused = 0
        self.connected = 0
        self.connects = 0
        self.connects_refused = 0
        self.disconnected = 0
        self.messages_published_by_api = 0
        self.messages_published_internally = 0
        self.no_subscribers = 0
        self.retained_refused = 0
        self.sessions_created = 0
        self.sessions_discarded = 0
        self.sessions_resumed = 0
        self.sessions_takenover = 0
        self.sessions_terminated = 0
        self.subscribe_denied = 0
        self.subscribed = 0
        self.unsubscribed = 0
        self.wills_denied = 0
        self.wills_published = 0
        self.api_messages_qos = [0, 0, 0]


class Engine:
    """Own sessions, routes and retained messages."""

    def __init__(self, settings: MqttSettings, access: AccessControl, events: Events) -> None:
        self.settings = settings
        self.access = access
        self.events = events
        self.registry = SessionRegistry()
        self.router = Router(access)
        self.retained: RetainedMessages[Message] = RetainedMessages()
        self.counters = EngineCounters()
        self.connection_count = 0
        """Open sockets."""
        self.ended = Traffic()
        """Sum of the traffic of all connections that have ended."""
        self.absent = Traffic()
        """What happened to sessions while no connection carried them."""
        self._expiries: list[tuple[float, str]] = []
        self._expiring: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- publish

    def publish(self, message: Message) -> int:
        """Route a message of the server's own; return the number of sessions that it went to.

        Raises `InvalidTopic`.
        """
        check_name(message.topic, self.settings.max_topic_levels)
        if message.retain:
            self.retain(message)
        targets = self.router.route(message.topic)
        self.counters.messages_published_internally += 1
        if not targets:
            self.counters.no_subscribers += not message.topic.startswith("$SYS/")
        return self.deliver(message, targets)

    def deliver(self, message: Message, targets: Targets) -> int:
        """Give a message of the server's own to its targets, after asking foreign plugins where there are any."""
        if not self.access.waits:
            return self.deliver_now(message, targets)
        if targets:
            self.spawn(self._deliver_allowed(message, targets))
        return len(targets)

    async def _deliver_allowed(self, message: Message, targets: Targets) -> None:
        self.deliver_now(message, await self.allowed_targets(message.topic, targets))

    async def allowed_targets(self, topic: str, targets: Targets) -> Targets:
        """Ask foreign topic plugins which of the targets may receive a message."""
        return tuple(
            [
                (session, subscription)
                for session, subscription in targets
                if session.view is not None and await self.access.consult(session.view, Action.RECEIVE, topic)
            ]
        )

    def deliver_now(self, message: Message, targets: Targets) -> int:
        """Give a message to its targets, each at the lower of the two QoS; return how many took it."""
        qos = message.qos
        reached = 0
        for session, subscription in targets:
            granted = subscription.qos
            effective = qos if qos < granted else granted  # [MQTT-3.8.4-6]
            if effective or session.link is not None:
                reached += 1
            session.deliver(message, effective)  # RETAIN is 0 on what is not replayed, [MQTT-3.3.1-9]
        return reached

    def retain(self, message: Message) -> None:
        """Store, replace or with an empty payload clear a retained message."""
        if not message.payload:  # [MQTT-3.3.1-10], [MQTT-3.3.1-11]
            self.retained.discard(message.topic)
            return
        limit = self.settings.max_retained
        if limit and len(self.retained) >= limit and self.retained.get(message.topic) is None:
            self.counters.retained_refused += 1
            if self.counters.retained_refused == 1:
                _logger.warning("%d messages are retained, the limit; no more topics are retained", limit)
            return
        self.retained.store(message.topic, message)
        self.events.retained(message)

    def _publish_will(self, session: Session, will: Will) -> None:
        identity = session.identity
        if will.topic.startswith("$") or not self.access.authorize(
            identity, PUBLISH, will.topic, will.qos, will.retain
        ):
            self.counters.wills_denied += 1
            _logger.info("will of client %r not published: %r is denied", identity.client_id, will.topic)
            return
        message = Message(will.topic, will.payload, will.qos, will.retain, sender=identity.client_id)
        if self.access.waits:
            self.spawn(self._publish_will_when_allowed(session.view, message))  # the next connection's is another
        else:
            self._send_will(message)

    async def _publish_will_when_allowed(self, view: AmqttSession | None, message: Message) -> None:
        if view is not None and await self.access.consult(view, Action.PUBLISH, message.topic):
            self._send_will(message)
        else:
            self.counters.wills_denied += 1

    def _send_will(self, message: Message) -> None:
        try:
            self.publish(message)
        except InvalidTopic as error:
            _logger.info("will of client %r not published: %s", message.sender, error)
            return
        self.counters.wills_published += 1

    # -- subscribe

    def subscribe(self, session: Session, request: SubscribeRequest) -> int:
        """Check and enter one subscription; return its SUBACK code. Retained messages are sent separately.

        The filter's syntax has been checked by `check_filters`.
        """
        topic_filter = request.topic_filter
        limit = self.settings.max_subscriptions
        try:
            check_filter(topic_filter, self.settings.max_topic_levels)
            shared, _ = split_share(topic_filter)
        except InvalidTopic as error:
            _logger.info("client %r: subscription refused: %s", session.client_id, error)
            return SUBACK_FAILURE
        full = limit and len(session.subscriptions) >= limit and topic_filter not in session.subscriptions
        if (
            shared is not None
            or full
            or not self.access.authorize(session.identity, SUBSCRIBE, topic_filter, request.qos, False)
        ):
            self.counters.subscribe_denied += 1
            _logger.info("client %r: subscription to %r denied", session.client_id, topic_filter)
            return SUBACK_FAILURE
        self.enter_subscription(session, request)
        return request.qos

    @staticmethod
    def check_filters(topic_filters: Iterable[str]) -> None:
        """Raise `MalformedPacket` for a filter that is none."""
        for topic_filter in topic_filters:
            try:
                check_filter(topic_filter)  # [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1]
            except InvalidTopic as error:
                raise MalformedPacket(str(error), ReasonCode.TOPIC_FILTER_INVALID) from None

    def enter_subscription(self, session: Session, request: SubscribeRequest) -> None:
        """Enter or replace a subscription that has been allowed."""
        subscription = Subscription(request.qos, request.no_local, request.retain_as_published, request.retain_handling)
        self.router.subscribe(session, request.topic_filter, subscription)  # [MQTT-3.8.4-3]
        self.counters.subscribed += 1
        self.events.fire(
            BrokerEvents.CLIENT_SUBSCRIBED, client_id=session.client_id, topic=request.topic_filter, qos=request.qos
        )

    def replay_retained(self, session: Session, topic_filter: str, qos: int) -> None:
        """Begin to send a new subscriber the retained messages that it may see; a repeated request begins anew."""
        self._begin_replay(session, topic_filter, qos, (message for _, message in self.retained.match(topic_filter)))

    async def replay_allowed(self, session: Session, topic_filter: str, qos: int) -> None:
        """Do the same where foreign topic plugins must be asked about each message."""
        view = session.view
        if view is None:
            return
        found = list(self.retained.match(topic_filter))
        allowed = [message for topic, message in found if await self.access.consult(view, Action.RECEIVE, topic)]
        self._begin_replay(session, topic_filter, qos, iter(allowed))

    def _begin_replay(self, session: Session, topic_filter: str, qos: int, messages: Iterator[Message]) -> None:
        session.replays[topic_filter] = Replay(messages, qos)
        self.continue_replays(session)

    def continue_replays(self, session: Session) -> None:
        """Send a slice of what is being replayed, as far as the client's queue and socket have room.

        Called again by acknowledgements and by the socket when it can take more, so that nothing polls and a replay
        never pushes a live message out of the queue.
        """
        replays = session.replays
        for _ in range(_SLICE):
            if not replays or session.link is None or self._replay_must_wait(session):
                return
            topic_filter, replay = next(iter(replays.items()))
            message = next(replay.messages, None)
            if message is None:
                del replays[topic_filter]
            elif self.router.may_receive(session, message.topic, replay.qos):
                # [MQTT-3.3.1-8], [MQTT-3.8.4-6]
                session.deliver(message, min(replay.qos, message.qos), retain=True)
        if not session.replay_scheduled:
            session.replay_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_slice, session)

    def _next_slice(self, session: Session) -> None:
        session.replay_scheduled = False
        self.continue_replays(session)

    @staticmethod
    def _replay_must_wait(session: Session) -> bool:
        link = session.link
        room = session.max_queue // 2 if session.max_queue else _SLICE
        return (link is not None and link.congested) or len(session.queue) > room

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Take a subscription out; False if there was none."""
        session.replays.pop(topic_filter, None)
        removed = self.router.unsubscribe(session, topic_filter)
        if removed:
            self.counters.unsubscribed += 1
            self.events.fire(BrokerEvents.CLIENT_UNSUBSCRIBED, client_id=session.client_id, topic=topic_filter)
        return removed

    # -- the beginning and end of sessions

    def create_session(self, client_id: str) -> Session:
        """Make a stored session for a client that is not there, on behalf of the server."""
        session = Session(Identity(client_id, None, None, ""), self.settings, self.absent)
        session.clean_start = False
        session.expiry_interval = self.settings.session_expiry_interval or float("inf")
        session.disconnected_at = time()
        session.claimed = False
        self.registry.add(session)
        self._schedule_expiry(session)
        self.counters.sessions_created += 1
        return session

    def detach(self, session: Session, *, graceful: bool) -> None:
        """Take a session off its connection: publish the will unless graceful, then keep or end the session."""
        session.link = None
        session.traffic = session.traffic.copy()  # the connection's own is added up when its socket has closed
        session.disconnected_at = time()
        self.registry.connected_count -= 1
        self.counters.disconnected += 1
        session.replays.clear()
        self.events.fire(BrokerEvents.CLIENT_DISCONNECTED, client_id=session.client_id, client_session=session.view)
        will, session.will = session.will, None
        if session.persistent:
            self._schedule_expiry(session)
        else:
            self.end_session(session)
            self.counters.sessions_terminated += 1
        if will is not None and not graceful:  # [MQTT-3.1.2-8], [MQTT-3.14.4-3]
            self._publish_will(session, will)

    def _schedule_expiry(self, session: Session) -> None:
        """Remember when to look at a stored session; one entry for each client id, however often it comes and goes."""
        expires_at = session.expires_at
        if expires_at is not None and session.client_id not in self._expiring:
            self._expiring.add(session.client_id)
            heappush(self._expiries, (expires_at, session.client_id))

    def end_session(self, session: Session) -> None:
        """Forget a session: its subscriptions, messages and place in the registry."""
        self.router.unsubscribe_all(session)
        session.discard_messages()
        self.registry.remove(session)

    def close_session(self, session: Session, reason: ReasonCode) -> None:
        """End a session's connection and the session with it."""
        self.close_link(session, reason)
        if self.registry.get(session.client_id) is session:
            self.end_session(session)
            self.counters.sessions_terminated += 1

    def close_link(self, session: Session, reason: ReasonCode) -> None:
        """End a session's connection; its will is published."""
        link = session.link
        if link is not None:
            _logger.info("client %r: connection closed by the server: %s", session.client_id, reason.name)
            self.detach(session, graceful=False)
            link.close(reason)

    def expire_sessions(self) -> None:
        """End the stored sessions whose time is over."""
        now = time()
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            _, client_id = heappop(expiries)
            self._expiring.discard(client_id)
            session = self.registry.get(client_id)
            if session is None:
                continue
            if session.expired:
                self.end_session(session)
                self.counters.sessions_terminated += 1
            else:
                self._schedule_expiry(session)  # it has come back and left again since

    # -- changes of access

    async def apply_access_change(self, change: AccessChange) -> None:
        """Close or re-check exactly the sessions that a write to the credential store concerns."""
        self.router.invalidate()
        for principal in change.close_principals:
            for session in self.registry.of_principal(principal):
                self.close_link(session, ReasonCode.NOT_AUTHORIZED)
        if change.everyone:
            concerned = list(self.registry)
        else:
            concerned = [session for name in change.usernames for session in self.registry.of_username(name)]
            concerned += [session for name in change.client_ids if (session := self.registry.get(name)) is not None]
        for index, session in enumerate(concerned, 1):
            self.recheck_subscriptions(session)
            if index % _SLICE == 0:
                await asyncio.sleep(0)

    def recheck_subscriptions(self, session: Session) -> None:
        """Remove a session's subscriptions that are no longer allowed, and what waits because of them."""
        removed = False
        for topic_filter, subscription in list(session.subscriptions.items()):
            if not self.access.authorize(session.identity, SUBSCRIBE, topic_filter, subscription.qos, False):
                self.unsubscribe(session, topic_filter)
                removed = True
                _logger.info("client %r: subscription to %r is no longer allowed", session.client_id, topic_filter)
        if session.queue and (removed or self.access.checks_delivery(session.identity)):
            session.keep_queued(lambda message, qos: self._still_wanted(session, message.topic, qos))

    def _still_wanted(self, session: Session, topic: str, qos: int) -> bool:
        return any(matches(topic_filter, topic) for topic_filter in session.subscriptions) and (
            self.router.may_receive(session, topic, qos)
        )

    def may_publish(self, identity: Identity, topic: str, qos: int, retain: bool) -> bool:
        """Tell whether a client may publish; `$` topics are the server's [MQTT-4.7.2-1]."""
        return not topic.startswith("$") and self.access.authorize(identity, PUBLISH, topic, qos, retain)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the engine and keep it alive until it ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
