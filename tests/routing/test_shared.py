"""Shared groups: each strategy against a plain restatement of what it promises."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from wardenmq.broker.routing.shared import SharedGroup, Strategy

MEMBERS = st.sampled_from("stuvwxyz")


def group_of(members: str, strategy: Strategy = Strategy.ROUND_ROBIN, seed: int = 1) -> SharedGroup[str, int]:
    group = SharedGroup[str, int]("g", "a/+", strategy, Random(seed))
    for number, member in enumerate(members):
        group.add(member, number)
    return group


def anybody(_member: str) -> bool:
    return True


def picks(group: SharedGroup[str, int], count: int, usable: str | None = None) -> str:
    """Pick so many times and join the names, `-` for nobody."""
    chosen = [group.pick("a/b", "p", lambda who: usable is None or who in usable) for _ in range(count)]
    return "".join(who or "-" for who in chosen)


def turn(ring: list[str], usable: set[str]) -> str | None:
    """Choose the first usable of a ring and turn the ring so that it begins behind it."""
    chosen = next((who for who in ring if who in usable), None)
    if chosen is not None:
        place = ring.index(chosen) + 1
        ring[:] = ring[place:] + ring[:place]
    return chosen


class GroupLifetime(RuleBasedStateMachine):
    """Join, leave and pick at random: one group of each strategy with the same members, and a list for a ring."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = {strategy: group_of("", strategy) for strategy in Strategy}
        self.model: dict[str, int] = {}
        self.turns: list[str] = []
        self.sticky_turns: list[str] = []
        self.stuck: str | None = None

    @rule(member=MEMBERS, value=st.integers())
    def join(self, member: str, value: int) -> None:
        for group in self.groups.values():
            assert group.add(member, value) is (member not in self.model)
        if member not in self.model:
            self.turns.append(member)
            self.sticky_turns.append(member)
        self.model[member] = value

    @rule(member=MEMBERS)
    def leave(self, member: str) -> None:
        for group in self.groups.values():
            assert group.remove(member) is (member in self.model)
        if self.model.pop(member, None) is not None:
            self.turns.remove(member)
            self.sticky_turns.remove(member)
        if self.stuck == member:
            self.stuck = None

    @rule(usable=st.sets(MEMBERS), topic=st.sampled_from(["a/b", "a/ä"]), sender=st.text(max_size=3))
    def pick(self, usable: set[str], topic: str, sender: str) -> None:
        chosen: dict[Strategy, str | None] = {}
        for strategy, group in self.groups.items():
            asked: list[str] = []
            chosen[strategy] = who = group.pick(
                topic, sender, lambda who, asked=asked: asked.append(who) or who in usable
            )
            # a member that can take it while there is one, nobody else, and no member asked again and again
            assert (who in usable and who in self.model) if usable & self.model.keys() else who is None
            assert len(asked) <= len(self.model) + 1
        assert chosen[Strategy.ROUND_ROBIN] == turn(self.turns, usable)
        if self.stuck not in usable:
            self.stuck = turn(self.sticky_turns, usable) or self.stuck
            assert chosen[Strategy.STICKY] == (self.stuck if self.stuck in usable else None)
        assert chosen[Strategy.STICKY] in (self.stuck, None)
        by_topic, by_sender = self.groups[Strategy.HASH_TOPIC], self.groups[Strategy.HASH_CLIENTID]
        assert by_topic.pick(topic, "anybody", usable.__contains__) == chosen[Strategy.HASH_TOPIC]
        assert by_sender.pick("any/topic", sender, usable.__contains__) == chosen[Strategy.HASH_CLIENTID]

    @invariant()
    def same_members(self) -> None:
        for group in self.groups.values():
            assert list(group.members.items()) == list(self.model.items())


TestGroupLifetime = GroupLifetime.TestCase


def test_keeps_its_name_filter_and_values() -> None:
    group = group_of("xy")
    assert (group.name, group.topic_filter) == ("g", "a/+")
    assert group.add("x", 7) is False
    assert group.members == {"x": 7, "y": 1}
    with pytest.raises(TypeError):
        group.members["z"] = 1  # type: ignore[index]


@pytest.mark.parametrize("strategy", Strategy)
def test_nobody_there_and_nobody_usable(strategy: Strategy) -> None:
    assert picks(group_of("", strategy), 2) == "--"
    assert picks(group_of("xyz", strategy), 2, usable="") == "--"


@pytest.mark.parametrize("strategy", Strategy)
def test_one_member_gets_everything(strategy: Strategy) -> None:
    assert picks(group_of("x", strategy), 3) == "xxx"


@pytest.mark.parametrize("strategy", Strategy)
def test_everybody_usable_is_decided_at_the_first_look(strategy: Strategy) -> None:
    group = group_of("stuvwxyz", strategy)
    asked: list[str] = []
    for _ in range(50):
        group.pick("a/b", "p", lambda who: asked.append(who) or True)
    assert len(asked) == 50


def test_round_robin_takes_turns() -> None:
    group = group_of("xyz")
    assert picks(group, 7) == "xyzxyzx"
    assert picks(group, 4, usable="xz") == "zxzx"
    group.remove("z")
    group.add("w", 0)
    assert picks(group, 6) == "yxwyxw"


def test_round_robin_serves_everybody_alike_whoever_comes_and_goes() -> None:
    group = group_of("uvwxyz")
    served = Counter(picks(group, 3))
    group.remove("u")
    served += Counter(picks(group, 5 * 8 - 3))
    assert {served[who] for who in "vwxyz"} <= {7, 8, 9}


def test_sticky_stays_until_its_member_leaves_or_cannot() -> None:
    group = group_of("xyz", Strategy.STICKY)
    assert picks(group, 3) == "xxx"
    assert picks(group, 3, usable="yz") == "yyy"
    assert picks(group, 3) == "yyy"  # the first one coming back changes nothing
    assert picks(group, 1, usable="") == "-"
    assert picks(group, 2) == "yy"
    group.remove("y")
    assert picks(group, 3) == "zzz"
    group.add("y", 0)
    assert picks(group, 2) == "zz"


def test_random_is_fair_and_repeats_with_its_source() -> None:
    assert picks(group_of("xyz", Strategy.RANDOM, seed=5), 50) == picks(group_of("xyz", Strategy.RANDOM, seed=5), 50)
    counts = Counter(picks(group_of("wxyz", Strategy.RANDOM), 4_000))
    assert counts.keys() == set("wxyz")
    assert all(800 < count < 1_200 for count in counts.values())


def test_random_is_fair_among_those_that_are_usable() -> None:
    counts = Counter(picks(group_of("uvwxyz", Strategy.RANDOM), 3_000, usable="uxz"))
    assert counts.keys() == set("uxz")
    assert all(800 < count < 1_200 for count in counts.values())


def test_random_without_a_source_brings_its_own() -> None:
    group = SharedGroup[str, None]("g", "a", Strategy.RANDOM)
    group.add("x", None)
    group.add("y", None)
    assert {group.pick("a", "p", anybody) for _ in range(200)} == {"x", "y"}


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20), st.sets(st.sampled_from("uvwxyz"), max_size=5))
def test_a_hash_moves_only_what_belonged_to_the_unusable(texts: list[str], away: set[str]) -> None:
    by_sender = group_of("uvwxyz", Strategy.HASH_CLIENTID)
    by_topic = group_of("uvwxyz", Strategy.HASH_TOPIC)
    for text in texts:
        own = by_sender.pick("a", text, anybody)
        assert own == by_topic.pick(text, "p", anybody)
        now = by_sender.pick("b", text, lambda who: who not in away)
        assert now == by_topic.pick(text, "q", lambda who: who not in away)
        assert now == own if own not in away else now not in away


@pytest.mark.parametrize("strategy", [Strategy.HASH_CLIENTID, Strategy.HASH_TOPIC])
def test_a_hash_spreads(strategy: Strategy) -> None:
    group = group_of("wxyz", strategy)
    counts = Counter(group.pick(f"plant/{n}/state", f"sensor-{n}", anybody) for n in range(2_000))
    assert counts.keys() == set("wxyz")
    assert min(counts.values()) > 300


def test_a_hash_is_the_same_in_every_process() -> None:
    """A server that starts anew must not send a device's messages to another member."""
    group = group_of("wxyz", Strategy.HASH_CLIENTID)
    assert [group.pick("a", sender, anybody) for sender in ["sensor-1", "sensor-2", "ä"]] == ["z", "x", "z"]


def test_ten_thousand_members_leave_at_no_cost() -> None:
    for strategy in Strategy:
        group = SharedGroup[int, None]("g", "a", strategy, Random(1))
        for member in range(10_000):
            group.add(member, None)
        for member in range(10_000):
            assert group.remove(member)
            chosen = group.pick("a", "p", lambda _: True)
            assert chosen is None if member == 9_999 else chosen in group.members
