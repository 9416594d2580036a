"""A policy to which rules were added one by one against the one that is compiled of the whole list."""

import random
from pathlib import Path

import pytest
from wardenmq.store.acl.access import ClientAccess, Layer, build_access
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.policy import Policy
from wardenmq.store.directory import Directory
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Role, Rule

from .layered import defaults
from .test_acl_linear import FIRST_TOPIC_WORDS, TOPIC_WORDS, pattern, rules

LISTS = 1_500
QUERIES = 40
FACTS = [
    ClientFacts("a", "b", "10.1.2.3", "tcp:default"),
    ClientFacts("b", None, "192.0.2.1", "tcp:other"),
    ClientFacts("b", "a", "10.0.0.1", "tcp:default"),
]


def access(policy: Policy, facts: ClientFacts) -> ClientAccess:
    return build_access(1, [Layer("all", "", policy)], facts, defaults(), confined=False)


def queries(rng: random.Random) -> list[tuple[int, str, int, bool]]:
    asked: list[tuple[int, str, int, bool]] = []
    for _ in range(QUERIES):
        operation = rng.choice([PUBLISH, SUBSCRIBE, RECEIVE])
        words = [rng.choice(FIRST_TOPIC_WORDS), *(rng.choice(TOPIC_WORDS) for _ in range(rng.randint(0, 3)))]
        topic = pattern(rng, [*words, "+"], [*words, "+"]) if operation == SUBSCRIBE else "/".join(words) or "a"
        asked.append((operation, topic, rng.randrange(3), rng.random() < 0.5))
    return asked


@pytest.mark.parametrize("seed", range(4))
def test_it_decides_as_the_whole_list_does(seed: int) -> None:
    rng = random.Random(seed)
    decided = 0
    for _ in range(LISTS // 4):
        whole = rules(rng)
        begin = rng.randint(0, len(whole))
        end = rng.randint(begin, len(whole))
        grown = Policy.of_rules(tuple(whole[begin:end]))
        kept: list[tuple[Policy, int, int]] = []
        while begin or end < len(whole):
            kept.append((grown, begin, end))
            first = begin > 0 and (end == len(whole) or rng.random() < 0.5)
            grown = grown.with_rule(whole[begin - 1] if first else whole[end], first=first)
            begin, end = begin - first, end + (not first)
        asked = queries(rng)
        # The one that has grown, and one that others were made from.
        for policy, first_place, last_place in [(grown, 0, len(whole)), *rng.sample(kept, min(1, len(kept)))]:
            compiled = Policy.of_rules(tuple(whole[first_place:last_place]))
            assert (policy.depth, policy.operations, policy.sensitive) == (
                compiled.depth,
                compiled.operations,
                compiled.sensitive,
            )
            facts = rng.choice(FACTS)
            one, other = access(policy, facts), access(compiled, facts)
            assert one.checks_delivery == other.checks_delivery
            for query in asked:
                said = one.explain(*query)
                assert said == other.explain(*query), (whole, query)
                assert one.decide(*query) == said.allowed
                decided += said.deciding is not None
    assert decided > LISTS // 4 * QUERIES // 10


def test_what_was_before_is_neither_altered_nor_copied() -> None:
    """Sessions know by a policy being the same that what they decided still holds."""
    before = Policy.of_rules([Rule(f"t/{number}/#", "allow", "all") for number in range(50)])
    after = before.with_rule(Rule("t/7/x", "deny", "publish"), first=True)
    assert after is not before
    facts = FACTS[0]
    assert access(before, facts).decide(PUBLISH, "t/7/x", 0, False)
    assert not access(after, facts).decide(PUBLISH, "t/7/x", 0, False)
    old, new = (policy._trie._root.words or {} for policy in (before, after))
    olds, news = old["t"].words or {}, new["t"].words or {}
    assert [word for word in olds if olds[word] is not news[word]] == ["7"]


def test_a_rule_of_very_many_levels_is_added() -> None:
    policy = Policy.of_rules([]).with_rule(Rule("a/" * 30_000 + "b", "allow", "publish"), first=False)
    assert access(policy, FACTS[0]).decide(PUBLISH, "a/" * 30_000 + "b", 0, False)


def test_a_role_grows_in_no_such_way() -> None:
    with pytest.raises(ValueError, match="no list"):
        Policy.of_role(Role("r", "r")).with_rule(Rule("a", "allow", "all"), first=False)


async def test_what_is_added_is_decided_the_same_after_a_restart(tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = [rule for _ in range(20) for rule in rules(rng)]
    directory = await Directory.open(tmp_path / "wardenmq.db")
    for rule in whole:
        await directory.add_rule("username", "b", rule, first=rng.random() < 0.5)
        if rng.random() < 0.1:
            directory.access("a", "b").decide(PUBLISH, "a", 0, False)
    stored = directory.rules("username", "b")
    asked = queries(rng)
    said = [directory.access("a", "b").explain(*query) for query in asked]
    await directory.close()
    again = await Directory.open(tmp_path / "wardenmq.db")
    assert again.rules("username", "b") == stored
    assert [again.access("a", "b").explain(*query) for query in asked] == said
    await again.close()
