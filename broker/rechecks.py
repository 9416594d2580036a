"""What happens to live and stored sessions when somebody's access changes."""

import asyncio
from collections.abc import Callable
from logging import getLogger

from .access import SUBSCRIBE, AccessChange
from .access_control import AccessControl
from .protocol.reason_codes import ReasonCode
from .registry import SessionRegistry
from .router import Router
from .routing.subscriptions import SubscriptionIndex
from .routing.topics import split_share
from .session import Session

_logger = getLogger(__name__)
_SLICE = 2_000
"""Subscriptions that are checked in one turn of the loop."""


class Rechecks:
    """Close sessions or withdraw their subscriptions."""

    def __init__(
        self,
        access: AccessControl,
        registry: SessionRegistry,
        router: Router,
        unsubscribe: Callable[[Session, list[str]], list[bool]],
        close_link: Callable[[Session, ReasonCode], None],
    ) -> None:
        self._access = access
        self._registry = registry
        self._router = router
        self._unsubscribe = unsubscribe
        self._close_link = close_link
        self.generation = 0
        """Grows with each change of anybody's access."""

    async def apply(self, change: AccessChange) -> None:
        """Close or re-check exactly the sessions that a write to the credential store concerns."""
        self.generation += 1
        self._router.invalidate()
        registry = self._registry
        for principal in change.close_principals:
            for session in registry.of_principal(principal):
                self._close_link(session, ReasonCode.NOT_AUTHORIZED)
        if change.everyone:
            concerned = list(registry)
        else:
            concerned = [session for name in change.usernames for session in registry.of_username(name)]
            concerned += [session for name in change.client_ids if (session := registry.get(name)) is not None]
        done = 0
        for session in concerned:
            done += 1 + len(session.subscriptions) + session.queue_length
            self.recheck(session)
            if done >= _SLICE:
                done = 0
                await asyncio.sleep(0)

    def recheck(self, session: Session) -> None:
        """Remove a session's subscriptions that are no longer allowed, and what waits because of them."""
        session.access_generation = self.generation
        removed = [
            topic_filter
            for topic_filter, subscription in session.subscriptions.items()
            if not self._access.authorize(
                session.identity, SUBSCRIBE, split_share(topic_filter)[1], subscription.qos, False
            )
        ]
        if removed:
            self._unsubscribe(session, removed)
            _logger.info("client %r: %d subscriptions are no longer allowed", session.client_id, len(removed))
        if session.queue and (removed or self._access.checks_delivery(session.identity)):
            self._recheck_queue(session)

    def recheck_resumed(self, session: Session) -> None:
        """Do the same for a session that is taken up again, if access changed while it was stored."""
        if session.access_generation != self.generation:
            self.recheck(session)

    def _recheck_queue(self, session: Session) -> None:
        index: SubscriptionIndex[Session, None] = SubscriptionIndex()
        for topic_filter in session.subscriptions:
            index.add(split_share(topic_filter)[1], session, None)
        known: dict[tuple[str, int], bool] = {}

        def is_wanted(topic: str, qos: int) -> bool:
            wanted = known.get((topic, qos))
            if wanted is None:
                wanted = bool(index.match(topic)) and self._router.may_receive(session, topic, qos)
                known[topic, qos] = wanted
            return wanted

        session.keep_queued(lambda delivery, message: is_wanted(message.topic, delivery.qos))
