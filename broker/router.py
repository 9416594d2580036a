"""From a topic to the sessions that want it, remembered until something changes."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from .access import RECEIVE
from .access_control import AccessControl
from .deliveries import Group, Subscription
from .protocol.encode import encode_varint
from .protocol.runs import Relay
from .routing.shared import SharedGroup, Strategy
from .routing.subscriptions import SubscriptionIndex
from .routing.topics import split_share
from .session import Session

_CACHE_LIMIT = 65_536
_CACHED_TOPIC_LIMIT = 512
_RELAY_LIMIT = 65_536
_CACHED_TARGETS = 1_000_000
"""Targets of all cached routes, at some 100 bytes each."""
_FILTER_WEIGHT = 300
_LEVEL_WEIGHT = 250
"""Bytes that a subscription and a level of its filter cost beside the text."""
_SUBSCRIPTION_IDENTIFIER = b"\x0b"


class Target(NamedTuple):
    """One session that receives a message, and how."""

    session: Session
    qos: int
    retain_as_published: bool
    identifiers: bytes
    """Encoded subscription identifiers."""


Targets: TypeAlias = tuple[Target, ...]


class Route:
    """Who receives messages on one topic: each session once, and one member of each shared subscription.

    For runs of equal QoS 0 packets the targets are sorted by the bytes that they take: sessions of 3.1 and 3.1.1,
    plain ones of MQTT 5, and `odd` ones that need something of their own.
    """

    __slots__ = ("durable", "empty", "groups", "mixed", "no_local", "odd", "permitted", "plain3", "plain5", "targets")

    def __init__(
        self,
        targets: Targets,
        groups: tuple[Group, ...] = (),
        no_local: frozenset[str] = frozenset(),
        permitted: frozenset[Session] | None = None,
    ) -> None:
        self.targets = targets
        self.groups = groups
        self.no_local = no_local
        """Client ids that do not want all of what they publish themselves."""
        self.permitted = permitted
        """The members of groups that may receive, where not all may."""
        self.plain3: tuple[Session, ...] = ()
        self.plain5: tuple[Session, ...] = ()
        self.odd: Targets = ()
        self.empty = not targets and not groups
        self.durable = False
        """Whether anything on it may have to be written before its publisher is answered."""
        self.mixed = False
        """Whether anybody but `plain3` receives."""
        if targets or groups:
            self._sort()

    def only(self, sessions: frozenset[Session]) -> "Route":
        """Give the part of the route that leads to these sessions."""
        permitted = sessions if self.permitted is None else sessions & self.permitted
        targets = tuple(target for target in self.targets if target.session in sessions)
        return Route(targets, self.groups, self.no_local, permitted)

    def _sort(self) -> None:
        plain3: list[Session] = []
        plain5: list[Session] = []
        odd: list[Target] = []
        if self.groups:
            self.durable = any(session.journaled for group in self.groups for session in group.members)
        for target in self.targets:
            session = target.session
            if session.journaled and target.qos:
                self.durable = True
            if session.protocol_version != 5:
                plain3.append(session)
            elif target.identifiers or session.limited:
                odd.append(target)
            else:
                plain5.append(session)
        self.plain3, self.plain5, self.odd = tuple(plain3), tuple(plain5), tuple(odd)
        self.mixed = bool(plain5 or odd or self.groups)


_NOWHERE = Route(())


class Router:
    """Own the subscription index, the shared subscriptions and the route cache."""

    def __init__(self, access: AccessControl, strategy: str = Strategy.ROUND_ROBIN) -> None:
        self._index: SubscriptionIndex[Session | Group, Subscription | None] = SubscriptionIndex()
        self._groups: dict[str, Group] = {}
        self._groups_on: Counter[str] = Counter()
        """How many groups share a filter."""
        self._shared_count = 0
        self._strategy = Strategy(strategy)
        self._routes: dict[str, Route] = {}
        self._relays: dict[tuple[Session, ...], Relay] = {}
        self._cached_targets = 0
        self._access = access
        self.generation = 0
        """Grows with whatever can change a route or a decision; what was derived from an older one is void."""

    @property
    def filter_count(self) -> int:
        """Distinct topic filters; those of shared subscriptions with their share name."""
        return self._index.filter_count + len(self._groups) - self._shared_only()

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all sessions."""
        return self._index.subscription_count - len(self._groups) + self._shared_count

    @property
    def shared_subscription_count(self) -> int:
        """Subscriptions to shared filters."""
        return self._shared_count

    def _shared_only(self) -> int:
        """Count the filters that stand in the index for shared subscriptions alone."""
        return sum(len(self._index.subscribers(inner)) == groups for inner, groups in self._groups_on.items())

    def _own_subscribers(self, topic_filter: str) -> dict[Session, Subscription]:
        return {
            session: subscription
            for session, subscription in self._index.subscribers(topic_filter).items()
            if isinstance(session, Session) and subscription is not None
        }

    def filters(self) -> Iterator[str]:
        """Iterate over the distinct topic filters, shared ones in their full form."""
        for topic_filter in self._index.filters():
            if self._own_subscribers(topic_filter):
                yield topic_filter
        yield from tuple(self._groups)

    def group(self, full_filter: str) -> Group | None:
        """Return the shared subscription of a filter in its full form."""
        return self._groups.get(full_filter)

    def has_filter(self, topic_filter: str) -> bool:
        """Tell whether anybody subscribes to exactly this filter."""
        return topic_filter in self._groups or bool(self._own_subscribers(topic_filter))

    def subscribers(self, topic_filter: str) -> dict[Session, Subscription]:
        """Return who subscribes to exactly this filter."""
        group = self._groups.get(topic_filter)
        return dict(group.members) if group is not None else self._own_subscribers(topic_filter)

    def subscribe(self, session: Session, topic_filter: str, subscription: Subscription) -> bool:
        """Enter or replace a subscription; True if it is new."""
        if topic_filter not in session.subscriptions:
            session.subscription_bytes += weigh_filter(topic_filter)
        session.subscriptions[topic_filter] = subscription
        self.invalidate()
        name, inner = split_share(topic_filter)
        if name is None:
            return self._index.add(topic_filter, session, subscription)
        group = self._groups.get(topic_filter)
        if group is None:
            group = self._groups[topic_filter] = SharedGroup(name, inner, self._strategy, full_filter=topic_filter)
            self._groups_on[inner] += 1
            self._index.add(inner, group, None)
        is_new = group.add(session, subscription)
        self._shared_count += is_new
        return is_new

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Take a subscription out; False if there was none."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        session.subscription_bytes -= weigh_filter(topic_filter)
        self.invalidate()
        group = self._groups.get(topic_filter)
        if group is None:
            return self._index.remove(topic_filter, session)
        group.remove(session)
        self._shared_count -= 1
        if not group.members:
            del self._groups[topic_filter]
            self._index.remove(group.topic_filter, group)
            self._groups_on[group.topic_filter] -= 1
            if not self._groups_on[group.topic_filter]:
                del self._groups_on[group.topic_filter]
        return True

    def unsubscribe_all(self, session: Session) -> None:
        """Take out all subscriptions of a session."""
        for topic_filter in list(session.subscriptions):
            self.unsubscribe(session, topic_filter)

    def use_strategy(self, strategy: str) -> None:
        """Choose among the members of shared subscriptions in this way."""
        if strategy == self._strategy:
            return
        self._strategy = Strategy(strategy)
        for group in self._groups.values():
            group.use_strategy(self._strategy)

    def invalidate(self) -> None:
        """Forget all routes and, through the generation, all decisions kept on connections."""
        self.generation += 1
        self._routes.clear()
        self._relays.clear()
        self._cached_targets = 0

    def relay(self, sessions: tuple[Session, ...]) -> Relay | None:
        """Give the one object that stands for these sessions until something changes; see `PacketSink.relays`.

        None where there are too many: two objects for the same sessions would mix up the order of what they get.
        """
        relay = self._relays.get(sessions)
        if relay is None and len(self._relays) < _RELAY_LIMIT:
            relay = self._relays[sessions] = Relay(sessions)
        return relay

    def route(self, topic: str, sender: str = "") -> Route:
        """Return who receives a message on this topic; `sender` is the client id of the publisher."""
        route = self._routes.get(topic)
        if route is None:
            route = self._find(topic, None)
            if len(topic) <= _CACHED_TOPIC_LIMIT:  # so that the cache is bounded in bytes too
                self._cached_targets += 1 + len(route.targets)
                if len(self._routes) >= _CACHE_LIMIT or self._cached_targets > _CACHED_TARGETS:
                    self._routes.clear()
                    self._cached_targets = 1 + len(route.targets)
                self._routes[topic] = route
        if sender and sender in route.no_local:
            return self._find(topic, sender)
        return route

    def reaches_any(self, topic: str) -> bool:
        """Tell whether anybody subscribes to a topic, and remember nothing: for topics that are made up in masses."""
        route = self._routes.get(topic)
        return bool(self._index.match(topic)) if route is None else not route.empty

    def _find(self, topic: str, sender: str | None) -> Route:
        """Match a topic; without a sender, No Local is only noted."""
        rows = self._index.match(topic)  # [MQTT-3.3.2-3], [MQTT-4.5.0-1]
        if not rows:
            return _NOWHERE
        merged: dict[Session, list[Subscription]] = {}
        groups: list[Group] = []
        no_local: set[str] = set()
        for subscriber, subscription in rows:
            if not isinstance(subscriber, Session):
                groups.append(subscriber)
            elif subscription is not None:
                if subscription.no_local:
                    no_local.add(subscriber.client_id)
                    if subscriber.client_id == sender:  # [MQTT5-3.8.3-3]
                        continue
                merged.setdefault(subscriber, []).append(subscription)
        targets = tuple(
            target
            for session, subscriptions in merged.items()
            if self.may_receive(session, topic, (target := _merge(session, subscriptions)).qos)
        )
        return Route(targets, tuple(groups), frozenset(no_local), self._permitted(topic, groups))

    def _permitted(self, topic: str, groups: list[Group]) -> frozenset[Session] | None:
        members = {session: subscription.qos for group in groups for session, subscription in group.members.items()}
        if not any(session.deliveries_checked for session in members):
            return None
        return frozenset(session for session, qos in members.items() if self.may_receive(session, topic, qos))

    def may_receive(self, session: Session, topic: str, qos: int) -> bool:
        """Tell whether a session may be sent messages on a topic to which it is subscribed."""
        if not session.deliveries_checked:
            return True
        return self._access.authorize(session.identity, RECEIVE, topic, qos, False)


def _merge(session: Session, subscriptions: list[Subscription]) -> Target:
    """Make one copy of overlapping subscriptions: the highest QoS, all identifiers [MQTT-3.3.4-2], [MQTT-3.3.4-3]."""
    identifiers = b"".join(
        encode_identifier(subscription.identifier)  # [MQTT5-3.3.4-4]
        for subscription in subscriptions
        if subscription.identifier is not None
    )
    return Target(
        session,
        max(subscription.qos for subscription in subscriptions),  # [MQTT-3.3.5-1], [MQTT5-3.3.4-2]
        any(subscription.retain_as_published for subscription in subscriptions),
        identifiers,
    )


def weigh_filter(topic_filter: str) -> int:
    """Count what a subscription may cost in memory, in bytes: as if no level were shared with another filter."""
    return 2 * len(topic_filter) + _FILTER_WEIGHT + _LEVEL_WEIGHT * (1 + topic_filter.count("/"))


def encode_identifier(identifier: int | None) -> bytes:
    """Encode a Subscription Identifier property; nothing where there is none."""
    return b"" if identifier is None else _SUBSCRIPTION_IDENTIFIER + encode_varint(identifier)
