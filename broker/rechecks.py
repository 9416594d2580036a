"""What happens to live and stored sessions when somebody's access changes, before whoever changed it is answered.

Three things remember decisions: a connection, what its client may publish; the router, who may receive what; a session,
what it is subscribed to, what waits for it and whether its deliveries are checked. A change voids the first for the
clients concerned, the second only if one of these has its deliveries checked one by one, and looks through the third.
Nobody else's are touched.

By the time this is told of a change the credential store decides by it, so whatever is asked from then on is answered
rightly, and what is done here may be spread over many turns of the loop. A session whose client's standing is what it
was when it was looked at is left alone.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from logging import getLogger
from typing import Any, Protocol, TypeVar

from .access import SUBSCRIBE, AccessChange, BanTest, Identity
from .access_control import AccessControl
from .protocol.reason_codes import ReasonCode
from .registry import SessionRegistry
from .router import Router
from .routing.subscriptions import SubscriptionIndex
from .routing.topics import split_share
from .session import Session
from .validity import Validity

T = TypeVar("T")

_logger = getLogger(__name__)
_TURN = 0.005
"""Seconds after which others have their turn."""
_STEP = 50
"""Subscriptions or messages that are looked at between two looks at the clock."""
_AT_ONCE = 200
"""Subscriptions and messages of one client that are looked through without giving others their turn."""


class SessionHost(Protocol):
    """What holds the sessions, and ends them."""

    access: AccessControl
    registry: SessionRegistry
    router: Router
    validity: Validity

    def unsubscribe(self, session: Session, topic_filters: Iterable[str]) -> list[bool]:
        """Take subscriptions out."""
        ...

    def close_link(self, session: Session, reason: ReasonCode) -> None:
        """End a session's connection; its will is published."""
        ...

    def close_session(self, session: Session, reason: ReasonCode) -> None:
        """End a session's connection and the session with it."""
        ...


class Rechecks:
    """Close sessions, or have decided anew what was decided for them."""

    def __init__(self, host: SessionHost) -> None:
        self._host = host
        self._turn = asyncio.Lock()
        self._generation = 0
        """Grows with each change of anybody's access."""

    async def apply(self, change: AccessChange) -> None:
        """Close or re-check exactly the sessions that a write to the credential store concerns."""
        self._generation += 1
        await self._take_turns(self._effects(change))

    async def _take_turns(self, steps: Iterator[None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._turn:  # however many changes there are at a time, they share one turn
                ends = loop.time() + _TURN
                for _ in steps:
                    if loop.time() >= ends:
                        break
                else:
                    return
                await asyncio.sleep(0)

    def enter(self, session: Session) -> None:
        """Note what a new session, which holds nothing yet, is decided by."""
        access, identity = self._host.access, session.identity
        session.decided_by = session.checked_by = self._standing(identity)
        session.deliveries_checked = access.checks_delivery(identity)

    def recheck(self, session: Session, *, renewed: bool = False) -> Coroutine[Any, Any, None] | None:
        """Have everything decided anew for one session, unless it stands as it did; the rest of it is to be awaited.

        What its client publishes, and what is routed to it, is decided rightly when this returns. It may hold
        subscriptions and messages that are not allowed until the answer has been awaited. `renewed` is whether the
        client has proved anew who it is, which may mean anything to authorizers that cannot tell how it stands.
        """
        if renewed and self._host.access.standing(session.identity) is None:
            session.decided_by = session.checked_by = None
        self._void(session)
        if self._is_checked(session):
            return None
        steps = self._look_through(session)
        if len(session.subscriptions) + len(session.queue) > _AT_ONCE:
            return self._take_turns(steps)
        for _ in steps:
            pass
        return None

    # -- the steps of a change

    def _effects(self, change: AccessChange) -> Iterator[None]:
        yield from self._end(change)
        yield from self._close(change)
        if change.banned is not None:
            yield from self._close_banned(change.banned)
        yield from self._set_ends(change)
        yield from self._recheck_all(change)

    def _end(self, change: AccessChange) -> Iterator[None]:
        """End the sessions of principals that are no more."""
        host = self._host
        for principal in change.end_principals:
            for session in host.registry.of_principal(principal):
                host.access.renew(session.identity)  # so that a will is decided on as of now
                host.close_session(session, ReasonCode.ADMINISTRATIVE_ACTION)
                yield

    def _close(self, change: AccessChange) -> Iterator[None]:
        """Close the connections of those who must prove anew who they are, or may not any more."""
        host = self._host
        registry = host.registry
        refused = [registry.of_principal(principal) for principal in change.close_principals]
        if change.close_anonymous:
            refused.append(registry.of_username(None))
        banned = [registry.of_username(username) for username in change.banned_usernames]
        banned.append([session for name in change.banned_client_ids if (session := registry.get(name)) is not None])
        for client_id, owner in change.reserved_client_ids.items():
            session = registry.get(client_id)
            if session is not None and session.identity.principal != owner:
                banned.append([session])
        for principal, client_id in change.required_client_ids.items():
            refused.append([each for each in registry.of_principal(principal) if each.client_id != client_id])
        closing = [
            (session, session.link, reason)
            for reason, found in ((ReasonCode.ADMINISTRATIVE_ACTION, banned), (ReasonCode.NOT_AUTHORIZED, refused))
            for session in chain.from_iterable(found)
        ]
        for session, link, reason in closing:
            # Who comes back under another connection, while this goes on, was admitted as of now.
            if session.link is link:
                host.access.renew(session.identity)  # of a stored session too: it may have a will that waits
                if link is not None:
                    host.close_link(session, reason)
                yield

    def _close_banned(self, is_banned: BanTest) -> Iterator[None]:
        host = self._host
        for session in list(host.registry):
            identity = session.identity
            if session.link is not None and is_banned(identity.client_id, identity.username, identity.peer_host):
                host.close_link(session, ReasonCode.ADMINISTRATIVE_ACTION)
            yield

    def _set_ends(self, change: AccessChange) -> Iterator[None]:
        """Let live sessions end at another time, at once where it is over."""
        host = self._host
        for principal, until in change.valid_until.items():
            for session in host.registry.of_principal(principal):
                if session.link is not None:
                    host.validity.set(session, until)
                    host.validity.enforce(session)
                yield

    def _recheck_all(self, change: AccessChange) -> Iterator[None]:
        """Void what was decided for those concerned, which is soon done; then look through what they hold."""
        concerned = self._concerned(change)
        if change.everyone:
            self._host.router.invalidate()  # all connections' decisions at once, and the routes
        for session in concerned:
            self._void(session)
            yield
        for session in concerned:
            if not self._is_checked(session):
                yield from self._look_through(session)

    def _concerned(self, change: AccessChange) -> list[Session]:
        """List each session once, and those that were closed too, for they may be stored.

        What the server made for clients that never came is theirs to be checked for.
        """
        registry = self._host.registry
        if change.everyone:
            return [session for session in registry if session.claimed]
        found = [registry.of_principal(principal) for principal in (*change.close_principals, *change.principals)]
        found += [registry.of_username(username) for username in change.usernames]
        found.append([session for name in change.client_ids if (session := registry.get(name)) is not None])
        if change.anonymous or change.close_anonymous:
            found.append(registry.of_username(None))
        return [session for session in dict.fromkeys(chain.from_iterable(found)) if session.claimed]

    # -- one session

    def _void(self, session: Session) -> None:
        """Forget what was decided on a session's publishes, and routes if they may hold decisions on its deliveries.

        They may if its deliveries were checked one by one, or will be and were not. Each time they do, for what has
        been routed since another session was dealt with went by what was known of this one.
        """
        access, identity, link = self._host.access, session.identity, session.link
        access.renew(identity)
        standing = self._standing(identity)
        if standing == session.decided_by:
            return
        if link is not None:
            link.forget_decisions()
        before, session.deliveries_checked = session.deliveries_checked, access.checks_delivery(identity)
        session.decided_by = standing
        if (before or session.deliveries_checked) and session.subscriptions:
            self._host.router.invalidate()

    def _is_checked(self, session: Session) -> bool:
        """Tell whether what a session holds was looked through under the standing that its client has now."""
        return self._standing(session.identity) == session.checked_by

    def _standing(self, identity: Identity) -> tuple[object, ...]:
        """Give what stays equal as long as all decisions on a client stay the same.

        Where its authorizers cannot tell, that is as long as nobody's access was changed.
        """
        standing = self._host.access.standing(identity)
        return standing if standing is not None else (self._generation, replace(identity, policy=None))

    def _look_through(self, session: Session) -> Iterator[None]:
        """Remove a session's subscriptions that are no longer allowed, and what waits because of them."""
        # As of the beginning: where it changes meanwhile, that change has the session looked through again.
        standing, removed = self._standing(session.identity), 0
        for some in _batches(list(session.subscriptions)):
            refused = [topic_filter for topic_filter in some if not self._may_subscribe(session, topic_filter)]
            if refused:
                self._host.unsubscribe(session, refused)
                removed += len(refused)
            yield
        if removed:
            _logger.info("client %r: %d subscriptions are no longer allowed", session.client_id, removed)
        if session.queue and (removed or session.deliveries_checked):
            yield from self._look_through_queue(session)
        session.checked_by = standing

    def _may_subscribe(self, session: Session, topic_filter: str) -> bool:
        subscription = session.subscriptions.get(topic_filter)
        if subscription is None or subscription.asked is None:
            return True
        asked = split_share(subscription.asked or topic_filter)[1]
        return self._host.access.authorize(session.identity, SUBSCRIBE, asked, subscription.qos, False)

    def _look_through_queue(self, session: Session) -> Iterator[None]:
        """Drop what waits and is not wanted any more; what comes meanwhile is routed as of now, and stays."""
        waiting, subscriptions = list(session.queue), list(session.subscriptions)
        index: SubscriptionIndex[Session, None] = SubscriptionIndex()
        for some in _batches(subscriptions):
            for topic_filter in some:
                index.add(split_share(topic_filter)[1], session, None)
            yield
        known: dict[tuple[str, int], bool] = {}
        unwanted: set[int] = set()
        for some in _batches(waiting):
            for delivery in some:
                key = (delivery.topic, delivery.qos)
                wanted = known.get(key)
                if wanted is None:
                    wanted = bool(index.match(delivery.topic)) and self._host.router.may_receive(session, *key)
                    known[key] = wanted
                if not wanted:
                    unwanted.add(id(delivery))
            yield
        if unwanted:
            session.keep_queued(lambda delivery: id(delivery) not in unwanted)


def _batches(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), _STEP):
        yield items[start : start + _STEP]
