"""What one publisher's topics come to, decided once and remembered until something changes."""

from .detours import Delays, TopicWatch
from .message import Message
from .protocol.reason_codes import ReasonCode
from .protocol.runs import Relay
from .router import Route

_HEAVY = 4
"""Receivers from which on deliveries are counted; up to there finding the packets is most of the work."""
_LIMIT = 4_096
"""Topics, each with the flags that it was published with."""
_TURNED_AWAY = 65_536
"""Routes that are not kept for want of room before those that are kept give way."""
_TOPIC_LIMIT = 512
"""Bytes; longer topics are decided each time, so that what is remembered is bounded in bytes too."""


class PublishRoute:
    """What one publisher's messages on one topic with the same flags come to."""

    __slots__ = (
        "allowed",
        "detour",
        "durable",
        "generation",
        "head",
        "heavy",
        "in_runs",
        "payload_length",
        "plain3",
        "refusal",
        "rest",
        "route",
        "sender",
        "topic",
        "topic_bytes",
        "work",
    )

    def __init__(
        self,
        generation: int,
        topic: str,
        topic_bytes: bytes,
        sender: str,
        allowed: bool,
        route: Route,
        detour: "Detour | None" = None,
    ) -> None:
        self.generation = generation
        self.topic = topic
        self.topic_bytes = topic_bytes
        self.sender = sender
        """The publisher's client id."""
        self.allowed = allowed
        self.route = route
        self.detour = detour
        """What is done with the messages beside routing them; the route is empty then, and the real one is there."""
        self.refusal = ReasonCode.NOT_AUTHORIZED
        """What a client is told that may not publish."""
        self.durable = route.durable
        self.plain3 = route.plain3
        self.payload_length = -1
        self.head = b""
        """The beginning of a PUBLISH of 3.1.1 with a payload of that length: mostly the next one is of the same."""
        work = len(route.targets) + len(route.groups)
        self.work = 1 + work
        """What one message counts for, so that nobody keeps the others from having their turn."""
        self.heavy = work if work > _HEAVY else 0
        """Deliveries of one message, where they are so many that they are counted."""
        self.in_runs = bool(route.targets) and not route.groups
        """Whether QoS 1 and 2 messages may be delivered in runs."""
        self.rest = route.mixed or route.empty or work > _HEAVY
        """Whether there is more to do for a run of 3.1 or 3.1.1 packets than to relay it to `plain3`."""


class Detour:
    """Stand beside the empty route of a topic that is concerned."""

    __slots__ = ("asked", "delays", "known", "topic", "watches")

    def __init__(
        self, topic: str, asked: str, known: PublishRoute, delays: Delays | None, watches: tuple[TopicWatch, ...]
    ) -> None:
        self.topic = topic
        """As published."""
        self.asked = asked
        """What rights are asked about: of a delayed message the real topic, before any rewrite."""
        self.known = known
        """What the messages come to in the end, under the topic that they have then."""
        self.delays = delays
        """What keeps them for a while; None where they go on at once."""
        self.watches = watches

    def published(self, message: Message, reached: int, sender: str) -> None:
        """Tell those who watch."""
        for watch in self.watches:
            watch.published(message, reached, sender)

    def denied(self, qos: int, sender: str) -> None:
        """Tell those who watch."""
        for watch in self.watches:
            watch.denied(self.known.topic, qos, sender)


_NONE: dict[bytes, PublishRoute] = {}
_NO_RELAYS: dict[bytes, Relay] = {}
"""What connections have that never published: always empty."""


class PublishRoutes:
    """Remember one publisher's routes.

    Once there are too many, new ones are not kept: topics that come round again and again find at least the first of
    them, where forgetting the oldest would find none. After many that were not kept all are forgotten, as the publisher
    has turned to other topics.
    """

    __slots__ = ("_count", "_turned_away", "by_flags", "generation", "relays")

    def __init__(self) -> None:
        self.by_flags: list[dict[bytes, PublishRoute]] = [_NONE] * 8
        """Routes by topic, for each value of a packet's flags without DUP."""
        self.relays: dict[bytes, Relay] = _NO_RELAYS
        """To whom plain packets of QoS 0 on a topic go as they come, and to nobody else."""
        self.generation = 0
        """The router's generation that all of them belong to."""
        self._count = 0
        self._turned_away = 0

    def clear(self) -> None:
        """Forget them all."""
        self.by_flags[:] = [_NONE] * 8
        self.relays = _NO_RELAYS
        self._count = self._turned_away = 0

    def remember(self, flags: int, route: PublishRoute, relay: Relay | None) -> None:
        """Keep a route, and the relay of its topic if it has one, in place of those of an older generation."""
        if self.generation != route.generation:
            self.generation = route.generation
            self.clear()
        if len(route.topic_bytes) > _TOPIC_LIMIT:
            return
        if self._count >= _LIMIT:
            self._turned_away += 1
            if self._turned_away < _TURNED_AWAY:
                return
            self.clear()
        routes = self.by_flags[flags]
        if routes is _NONE:
            routes = self.by_flags[flags] = {}
        routes[route.topic_bytes] = route
        self._count += 1
        if relay is not None:
            if self.relays is _NO_RELAYS:
                self.relays = {}
            self.relays[route.topic_bytes] = relay
