"""Shared subscriptions: which member of a group gets the next message.

A group is what the subscription index holds in place of its members, so a publish finds it once and asks it for one of
them. Who is asked next is the strategy's business; who can take a message now (online, window open) is the caller's,
who says so through `usable`. A strategy never passes over a usable member because another one is not.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar
from zlib import crc32

S = TypeVar("S", bound=Hashable)
V = TypeVar("V")


class Strategy(StrEnum):
    """How a group chooses."""

    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    STICKY = "sticky"
    """The same member until it leaves or cannot take a message."""
    HASH_CLIENTID = "hash_clientid"
    """One member for each publisher."""
    HASH_TOPIC = "hash_topic"
    """One member for each topic, so that the order within a topic outlives the sharing."""


class _Choice(Protocol[S]):
    """What a strategy keeps about the members."""

    def add(self, member: S) -> None: ...

    def remove(self, member: S) -> None: ...

    def pick(self, topic: str, sender: str, usable: Callable[[S], bool]) -> S | None: ...


class SharedGroup(Generic[S, V]):
    """Hold the members of one share name and filter, each with a value of the caller's, and choose among them."""

    __slots__ = ("_choice", "_members", "full_filter", "members", "name", "topic_filter")

    def __init__(
        self,
        name: str,
        topic_filter: str,
        strategy: Strategy = Strategy.ROUND_ROBIN,
        random: Random | None = None,
        *,
        full_filter: str = "",
    ) -> None:
        self.name = name
        self.topic_filter = topic_filter
        """The filter behind `$share/name/`."""
        self.full_filter = full_filter or f"$share/{name}/{topic_filter}"
        """As it was subscribed to."""
        self._members: dict[S, V] = {}
        self.members: Mapping[S, V] = MappingProxyType(self._members)
        """Who has joined, oldest first: a live, read-only view."""
        self._choice = self._make_choice(strategy, random)

    def use_strategy(self, strategy: Strategy) -> None:
        """Choose in another way from now on; what the old one had in mind is forgotten."""
        self._choice = self._make_choice(strategy, None)
        for member in self._members:
            self._choice.add(member)

    @staticmethod
    def _make_choice(strategy: Strategy, random: Random | None) -> "_Choice[S]":
        match strategy:
            case Strategy.ROUND_ROBIN:
                return _Ring[S]()
            case Strategy.STICKY:
                return _Sticky[S]()
            case Strategy.RANDOM:
                return _Random[S](random or Random())  # noqa: S311 - balances load, keeps no secret
            case Strategy.HASH_CLIENTID:
                return _Hash[S](by_topic=False)
            case Strategy.HASH_TOPIC:
                return _Hash[S](by_topic=True)

    def add(self, member: S, value: V) -> bool:
        """Let a member join, or replace the value of one that has; True if it is new."""
        is_new = member not in self._members
        self._members[member] = value
        if is_new:
            self._choice.add(member)
        return is_new

    def remove(self, member: S) -> bool:
        """Let a member leave; False if it never joined."""
        if member not in self._members:
            return False
        del self._members[member]
        self._choice.remove(member)
        return True

    def pick(self, topic: str, sender: str, usable: Callable[[S], bool]) -> S | None:
        """Choose the member for a message on `topic` from the client `sender`; None if no member is usable.

        The choice counts as made: the next call goes on from it. `usable` must not change the group.
        """
        return self._choice.pick(topic, sender, usable)


class _Ring(Generic[S]):
    """Take turns: who was asked goes to the end, usable or not, so that a pick looks at each member once at most."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: OrderedDict[S, None] = OrderedDict()  # the first entry of a plain dict is not found in O(1)

    def add(self, member: S) -> None:
        self._turns[member] = None

    def remove(self, member: S) -> None:
        del self._turns[member]

    def pick(self, topic: str, sender: str, usable: Callable[[S], bool]) -> S | None:
        turns = self._turns
        for _ in range(len(turns)):
            member = next(iter(turns))
            turns.move_to_end(member)
            if usable(member):
                return member
        return None


class _Sticky(_Ring[S]):
    """Stay with one; the next in the ring follows when it leaves or cannot take a message."""

    __slots__ = ("_chosen",)

    def __init__(self) -> None:
        super().__init__()
        self._chosen: S | None = None

    def remove(self, member: S) -> None:
        super().remove(member)
        if self._chosen == member:
            self._chosen = None

    def pick(self, topic: str, sender: str, usable: Callable[[S], bool]) -> S | None:
        if self._chosen is not None and usable(self._chosen):
            return self._chosen
        found = super().pick(topic, sender, usable)
        if found is not None:
            self._chosen = found
        return found


class _Row(Generic[S]):
    """Keep the members at numbered places; the last one moves to the place of one that leaves."""

    __slots__ = ("_places", "_row")

    def __init__(self) -> None:
        self._row: list[S] = []
        self._places: dict[S, int] = {}

    def add(self, member: S) -> None:
        self._places[member] = len(self._row)
        self._row.append(member)

    def remove(self, member: S) -> None:
        place = self._places.pop(member)
        last = self._row.pop()
        if place < len(self._row):
            self._row[place] = last
            self._places[last] = place


class _Random(_Row[S]):
    """Shuffle the row as far as needed: the first usable member of a fair permutation is a fair choice of them."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def pick(self, topic: str, sender: str, usable: Callable[[S], bool]) -> S | None:
        row, places = self._row, self._places
        for here in range(len(row)):
            there = self._random.randrange(here, len(row))
            member, other = row[there], row[here]
            row[here], row[there] = member, other
            places[member], places[other] = here, there
            if usable(member):
                return member
        return None


class _Hash(_Row[S]):
    """Go by a text; where its member is not usable the next in the row stands in, and the others keep theirs."""

    __slots__ = ("_by_topic",)

    def __init__(self, *, by_topic: bool) -> None:
        super().__init__()
        self._by_topic = by_topic

    def pick(self, topic: str, sender: str, usable: Callable[[S], bool]) -> S | None:
        row = self._row
        if not row:
            return None
        # Not hash(): that differs from one start of the server to the next.
        place = crc32((topic if self._by_topic else sender).encode()) % len(row)
        for _ in range(len(row)):
            member = row[place]
            if usable(member):
                return member
            place = place + 1 if place + 1 < len(row) else 0
        return None
