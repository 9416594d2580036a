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
from .routing.topics import InvalidTopic, check_filter, check_name, split_share
from .session import Session, Subscription
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
        self.connects = 0
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
        if self.access.waits and session.view is not None:
            self.spawn(self._publish_will_when_allowed(session, message))
            return
        self._send_will(message)

    async def _publish_will_when_allowed(self, session: Session, message: Message) -> None:
        view = session.view
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
        """Send a new subscriber the retained messages that it may see, a slice at a time."""
        matches = self.retained.match(topic_filter)
        if self.access.waits and session.view is not None:
            self.spawn(self._replay_when_allowed(session, topic_filter, qos))
            return
        for _ in range(_SLICE):
            found = next(matches, None)
            if found is None:
                return
            self._replay_one(session, found[1], qos)
        self.spawn(self._replay_rest(session, topic_filter, matches, qos))

    async def _replay_rest(
        self, session: Session, topic_filter: str, matches: Iterator[tuple[str, Message]], qos: int
    ) -> None:
        for count, (_, message) in enumerate(matches, 1):
            if topic_filter not in session.subscriptions:
                return
            # Acknowledgements open the window; to signal each of them would cost the hot path.
            while session.link is not None and self._replay_must_wait(session):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self._replay_one(session, message, qos)
            if count % _SLICE == 0:
                await asyncio.sleep(0)

    async def _replay_when_allowed(self, session: Session, topic_filter: str, qos: int) -> None:
        view = session.view
        for topic, message in self.retained.match(topic_filter):
            if topic_filter not in session.subscriptions or view is None:
                return
            if await self.access.consult(view, Action.RECEIVE, topic):
                self._replay_one(session, message, qos)

    def _replay_must_wait(self, session: Session) -> bool:
        """Tell whether more replay would push waiting messages out of the queue or the socket."""
        link = session.link
        return (link is not None and link.congested) or bool(
            session.max_queue and len(session.queue) * 2 > session.max_queue
        )

    def _replay_one(self, session: Session, message: Message, qos: int) -> None:
        if self.router.may_receive(session, message.topic, qos):
            session.deliver(message, min(qos, message.qos), retain=True)  # [MQTT-3.3.1-8], [MQTT-3.8.4-6]

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Take a subscription out; False if there was none."""
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
        self.registry.add(session)
        self.counters.sessions_created += 1
        return session

    def detach(self, session: Session, *, graceful: bool) -> None:
        """Take a session off its connection: publish the will unless graceful, then keep or end the session."""
        session.link = None
        session.traffic = session.traffic.copy()  # the connection's own is added up when its socket has closed
        session.disconnected_at = time()
        self.registry.connected_count -= 1
        self.counters.disconnected += 1
        will, session.will = session.will, None
        if will is not None and not graceful:  # [MQTT-3.1.2-8], [MQTT-3.14.4-3]
            self._publish_will(session, will)
        self.events.fire(BrokerEvents.CLIENT_DISCONNECTED, client_id=session.client_id, client_session=session.view)
        if not session.persistent:
            self.end_session(session)
            self.counters.sessions_terminated += 1
        elif (expires_at := session.expires_at) is not None:
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
            self.detach(session, graceful=False)
            link.close(reason)

    def expire_sessions(self) -> None:
        """End the stored sessions whose time is over."""
        now = time()
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            session = self.registry.get(heappop(expiries)[1])
            if session is not None and session.expired:  # it may have come back and left again since
                self.end_session(session)
                self.counters.sessions_terminated += 1

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
        """Remove a session's subscriptions that are no longer allowed."""
        for topic_filter, subscription in list(session.subscriptions.items()):
            if not self.access.authorize(session.identity, SUBSCRIBE, topic_filter, subscription.qos, False):
                self.unsubscribe(session, topic_filter)
                _logger.info("client %r: subscription to %r is no longer allowed", session.client_id, topic_filter)

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
