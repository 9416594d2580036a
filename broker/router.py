"""From a topic to the sessions that want it, remembered until something changes."""

from collections.abc import Iterator
from typing import TypeAlias

from .access import RECEIVE
from .access_control import AccessControl
from .routing.subscriptions import SubscriptionIndex
from .session import Session, Subscription

Targets: TypeAlias = tuple[tuple[Session, Subscription], ...]

_CACHE_LIMIT = 65_536
_CACHED_TOPIC_LIMIT = 512


class Router:
    """Own the subscription index and the route cache."""

    def __init__(self, access: AccessControl) -> None:
        self._index: SubscriptionIndex[Session, Subscription] = SubscriptionIndex()
        self._routes: dict[str, Targets] = {}
        self._access = access
        self.generation = 0
        """Grows with whatever can change a route or a decision; what was derived from an older one is void."""

    @property
    def filter_count(self) -> int:
        """Distinct topic filters."""
        return self._index.filter_count

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all sessions."""
        return self._index.subscription_count

    def filters(self) -> Iterator[str]:
        """Iterate over the distinct topic filters."""
        return self._index.filters()

    def has_filter(self, topic_filter: str) -> bool:
        """Tell whether anybody subscribes to exactly this filter."""
        return bool(self._index.subscribers(topic_filter))

    def subscribers(self, topic_filter: str) -> dict[Session, Subscription]:
        """Return who subscribes to exactly this filter."""
        return dict(self._index.subscribers(topic_filter))

    def subscribe(self, session: Session, topic_filter: str, subscription: Subscription) -> bool:
        """Enter or replace a subscription; True if it is new."""
        session.subscriptions[topic_filter] = subscription
        self.invalidate()
        return self._index.add(topic_filter, session, subscription)

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Take a subscription out; False if there was none."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        self.invalidate()
        return self._index.remove(topic_filter, session)

    def unsubscribe_all(self, session: Session) -> None:
        """Take out all subscriptions of a session."""
        for topic_filter in list(session.subscriptions):
            self.unsubscribe(session, topic_filter)

    def invalidate(self) -> None:
        """Forget all routes and, through the generation, all decisions kept on connections."""
        self.generation += 1
        self._routes.clear()

    def route(self, topic: str) -> Targets:
        """Return who receives a message on this topic, each session once with its highest QoS."""
        targets = self._routes.get(topic)
        if targets is None:
            targets = self._find(topic)
            if len(topic) <= _CACHED_TOPIC_LIMIT:  # so that the cache is bounded in bytes too
                if len(self._routes) >= _CACHE_LIMIT:
                    self._routes.clear()
                self._routes[topic] = targets
        return targets

    def _find(self, topic: str) -> Targets:
        merged: dict[Session, Subscription] = {}
        for session, subscription in self._index.match(topic):
            known = merged.get(session)
            if known is None or known.qos < subscription.qos:  # [MQTT-3.3.5-1]: one copy at the highest QoS
                merged[session] = subscription
        return tuple(
            (session, subscription)
            for session, subscription in merged.items()
            if self.may_receive(session, topic, subscription.qos)
        )

    def may_receive(self, session: Session, topic: str, qos: int) -> bool:
        """Tell whether a session may be sent messages on a topic to which it is subscribed."""
        access = self._access
        identity = session.identity
        return not access.checks_delivery(identity) or access.authorize(identity, RECEIVE, topic, qos, False)
