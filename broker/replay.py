"""Retained messages on their way to new subscribers, in slices that neither stall the loop nor fill a queue."""

import asyncio
from collections.abc import Iterator
from time import time

from amqtt.contexts import Action

from .access_control import AccessControl
from .deliveries import Replay
from .message import Message
from .pace import Pace
from .protocol.packets import SubscribeRequest
from .router import Router, encode_identifier
from .routing.retained import RetainedMessages
from .routing.topics import is_shared
from .session import Session

_SLICE = 500
"""Messages that are looked at in one turn of the loop."""
_SEARCHES = 3
"""How often the store may be searched in vain in one turn."""


class Replays:
    """Send subscribers the retained messages that they may see."""

    def __init__(self, router: Router, access: AccessControl, retained: RetainedMessages[Message], pace: Pace) -> None:
        self._pace = pace
        self._router = router
        self._access = access
        self._retained = retained
        self.enabled = True
        """Whether subscribers are sent retained messages at all."""
        self.rate = 0.0
        """Messages per second for all subscribers together; 0 for no bound."""
        self._allowance = 0.0
        self._counted_at = 0.0

    @staticmethod
    def wanted(session: Session, request: SubscribeRequest) -> bool:
        """Tell whether a subscription that is about to be made will be sent retained messages."""
        if is_shared(request.topic_filter) or request.retain_handling == 2:  # [MQTT5-3.3.1-11]
            return False
        # [MQTT5-3.3.1-9], [MQTT5-3.3.1-10]
        return request.retain_handling == 0 or request.topic_filter not in session.subscriptions

    def enter(self, session: Session, topic_filter: str, qos: int) -> None:
        """Have what matches a subscription that was granted a QoS sent by `go_on`; a repeated request begins anew."""
        matching = (None if found is None else found[1] for found in self._retained.match(topic_filter))
        self._enter(session, topic_filter, qos, matching)

    async def enter_allowed(self, session: Session, topic_filter: str, qos: int) -> None:
        """Do the same where foreign topic plugins must be asked about each message."""
        view = session.view
        if view is None:
            return
        allowed: list[str] = []
        for match in self._retained.match(topic_filter):
            if match is None:
                await asyncio.sleep(0)
            elif await self._access.consult(view, Action.RECEIVE, match[0]):
                allowed.append(match[0])
            if session.link is None:
                return
        # The message of then is sent, not the one of now, which may have been replaced meanwhile.
        self._enter(session, topic_filter, qos, (self._retained.get(topic) for topic in allowed))

    def _enter(self, session: Session, topic_filter: str, qos: int, messages: Iterator[Message | None]) -> None:
        subscription = session.subscriptions.get(topic_filter)
        if subscription is not None and self.enabled:
            identifiers = encode_identifier(subscription.identifier)
            session.replays[topic_filter, qos] = Replay(messages, qos, identifiers, subscription.no_local)

    def go_on(self, session: Session) -> None:
        """Send a slice, as far as the client's queue and socket have room.

        Called again by acknowledgements and by the socket when it can take more, so that nothing polls and a replay
        never pushes a live message out of the queue.
        """
        replays = session.replays
        now = time()
        searched = 0
        for _ in range(_SLICE):
            if not replays or session.link is None or self._must_wait(session):
                return
            if self.rate and (wait := self._wait_for_rate()):
                if not session.replay_scheduled:
                    session.replay_scheduled = True
                    asyncio.get_running_loop().call_later(wait, self._next_slice, session)
                return
            key, replay = next(iter(replays.items()))
            try:
                message = next(replay.messages)
            except StopIteration:
                del replays[key]
                if not replays:
                    replays.clear()  # which gives back the memory that an empty dictionary keeps
                continue
            if message is None:
                searched += 1
                if searched > _SEARCHES:
                    break  # much was searched and nothing found: others have their turn
                continue
            if message.expired(now) or (replay.no_local and message.sender == session.client_id):  # [MQTT5-3.8.3-3]
                continue
            if self._router.may_receive(session, message.topic, replay.qos):
                # [MQTT-3.3.1-8], [MQTT-3.8.4-6], [MQTT5-3.8.4-8]
                session.deliver(message, min(replay.qos, message.qos), True, replay.identifiers)
                self._allowance -= 1
        if not session.replay_scheduled:
            session.replay_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_slice, session)

    def _wait_for_rate(self) -> float:
        """Give the seconds until the next message may be sent; as many as go in a second may go at once."""
        now = asyncio.get_running_loop().time()
        gained = (now - self._counted_at) * self.rate
        self._allowance = min(max(1.0, self.rate), max(0.0, self._allowance) + gained)
        self._counted_at = now
        return 0.0 if self._allowance >= 1 else (1 - self._allowance) / self.rate

    def _next_slice(self, session: Session) -> None:
        session.replay_scheduled = False
        self.go_on(session)
        self._pace.met = False  # no publisher is held for what is replayed

    @staticmethod
    def _must_wait(session: Session) -> bool:
        """Leave most of the queue to live messages, so that a replay holds no publisher up either."""
        link = session.link
        room = session.max_queue // 4 if session.max_queue else _SLICE
        full = 0 < session.max_queued_bytes < 4 * session.queued_bytes
        return (link is not None and link.congested) or len(session.queue) > room or full
