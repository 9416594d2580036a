"""Retained messages on their way to new subscribers, in slices that neither stall the loop nor fill a queue."""

import asyncio
from collections.abc import Iterator
from time import time

from amqtt.contexts import Action

from .access_control import AccessControl
from .message import Message
from .protocol.packets import SubscribeRequest
from .router import Router, encode_identifier
from .routing.retained import RetainedMessages
from .routing.topics import is_shared
from .session import Replay, Session

_SLICE = 500
"""Messages that are looked at in one turn of the loop."""


class Replays:
    """Send subscribers the retained messages that they may see."""

    def __init__(self, router: Router, access: AccessControl, retained: RetainedMessages[Message]) -> None:
        self._router = router
        self._access = access
        self._retained = retained

    @staticmethod
    def wanted(session: Session, request: SubscribeRequest) -> bool:
        """Tell whether a subscription that is about to be made will be sent retained messages."""
        if is_shared(request.topic_filter) or request.retain_handling == 2:  # [MQTT5-3.3.1-11]
            return False
        # [MQTT5-3.3.1-9], [MQTT5-3.3.1-10]
        return request.retain_handling == 0 or request.topic_filter not in session.subscriptions

    def begin(self, session: Session, topic_filter: str, qos: int) -> None:
        """Begin to send what matches a subscription that was granted a QoS; a repeated request begins anew."""
        matching = (None if found is None else found[1] for found in self._retained.match(topic_filter))
        self._begin(session, topic_filter, qos, matching)

    async def begin_allowed(self, session: Session, topic_filter: str, qos: int) -> None:
        """Do the same where foreign topic plugins must be asked about each message."""
        view = session.view
        if view is None:
            return
        found = [match for match in self._retained.match(topic_filter) if match is not None]
        allowed = [message for topic, message in found if await self._access.consult(view, Action.RECEIVE, topic)]
        self._begin(session, topic_filter, qos, iter(allowed))

    def _begin(self, session: Session, topic_filter: str, qos: int, messages: Iterator[Message | None]) -> None:
        subscription = session.subscriptions.get(topic_filter)
        if subscription is not None:
            identifiers = encode_identifier(subscription.identifier)
            session.replays[topic_filter] = Replay(messages, qos, identifiers, subscription.no_local)
            self.go_on(session)

    def go_on(self, session: Session) -> None:
        """Send a slice, as far as the client's queue and socket have room.

        Called again by acknowledgements and by the socket when it can take more, so that nothing polls and a replay
        never pushes a live message out of the queue.
        """
        replays = session.replays
        now = time()
        for _ in range(_SLICE):
            if not replays or session.link is None or self._must_wait(session):
                return
            topic_filter, replay = next(iter(replays.items()))
            try:
                message = next(replay.messages)
            except StopIteration:
                del replays[topic_filter]
                continue
            if message is None:
                break  # much was searched and nothing found: others have their turn
            if message.expired(now) or (replay.no_local and message.sender == session.client_id):  # [MQTT5-3.8.3-3]
                continue
            if self._router.may_receive(session, message.topic, replay.qos):
                # [MQTT-3.3.1-8], [MQTT-3.8.4-6], [MQTT5-3.8.4-8]
                session.deliver(message, min(replay.qos, message.qos), True, replay.identifiers)
        if not session.replay_scheduled:
            session.replay_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_slice, session)

    def _next_slice(self, session: Session) -> None:
        session.replay_scheduled = False
        self.go_on(session)

    @staticmethod
    def _must_wait(session: Session) -> bool:
        """Leave most of the queue to live messages, so that a replay holds no publisher up either."""
        link = session.link
        room = session.max_queue // 4 if session.max_queue else _SLICE
        full = 0 < session.max_queued_bytes < 4 * session.queued_bytes
        return (link is not None and link.congested) or len(session.queue) > room or full
