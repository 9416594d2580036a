"""Shared subscriptions: who of the members gets a message, and who gets what a member left behind (MQTT 5.0, 4.8.2)."""

from collections.abc import Callable, Collection

from .deliveries import Group, Offer
from .message import Message
from .router import Route, Router, encode_identifier
from .routing.topics import is_shared
from .session import Session


class Sharing:
    """Deliver to shared subscriptions."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def deliver(self, message: Message, route: Route, group: Group) -> bool:
        """Give a message to one member; False if there is none that can have it."""
        session = _choose(route, group, message.topic, message.sender)
        if session is None:
            return False
        subscription = group.members[session]
        effective = min(message.qos, subscription.qos)  # [MQTT-4.8.2-3]
        if session.link is None and not effective:
            return False
        retain = message.retain and subscription.retain_as_published
        # [MQTT-3.3.4-5]
        session.deliver(message, effective, retain, encode_identifier(subscription.identifier), group)
        return True

    def member_left(self, session: Session) -> None:
        """Let connected members have what is owed to one that is stored now; it keeps what nobody takes."""
        session.pass_on_shared(lambda offer: self._pass_on(offer, to_stored=False))

    def member_ended(self, session: Session) -> None:
        """Leave all shared subscriptions, and let other members have what this session was chosen for."""
        for topic_filter in [name for name in session.subscriptions if is_shared(name)]:
            self._router.unsubscribe(session, topic_filter)
        if session.in_flight or session.queue:
            session.pass_on_shared(lambda offer: self._pass_on(offer, to_stored=True))

    def member_unsubscribed(self, session: Session, left: Collection[str]) -> None:
        """Let other members have what waits for one that has just unsubscribed; what was sent stays with it."""
        session.pass_on_shared(
            lambda offer: (
                offer.group is not None and offer.group.full_filter in left and self._pass_on(offer, to_stored=True)
            ),
            sent_too=False,
        )

    def _pass_on(self, offer: Offer, *, to_stored: bool) -> bool:
        if offer.group is None:
            return False
        group = self._router.group(offer.group.full_filter) or offer.group  # left by all and made anew, maybe
        other = _choose(self._router.route(offer.topic), group, offer.topic, offer.sender)
        if other is None or (other.link is None and not to_stored):
            return False
        subscription = group.members[other]
        effective = min(offer.qos, subscription.qos)
        if not effective and other.link is None:
            return True
        return offer.give(other, effective, encode_identifier(subscription.identifier), group)


def _choose(route: Route, group: Group, topic: str, sender: str) -> Session | None:
    """Choose a member with room, else one that is connected, else a stored one."""
    permitted = route.permitted
    for wanted in (_has_room, _is_connected, _is_stored):
        session = group.pick(topic, sender, wanted if permitted is None else _only(permitted, wanted))
        if session is not None:
            return session
    return None


def _only(permitted: frozenset[Session], wanted: Callable[[Session], bool]) -> Callable[[Session], bool]:
    return lambda session: session in permitted and wanted(session)


def _has_room(session: Session) -> bool:
    link = session.link
    return link is not None and not link.congested and not session.queue_filling


def _is_connected(session: Session) -> bool:
    return session.link is not None


def _is_stored(session: Session) -> bool:
    return session.link is None
