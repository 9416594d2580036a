"""The decisions that are kept: how many, how long ones, and that what is kept is what was put in."""

import random

from wardenmq.store.acl.decision_cache import MAX_BYTES, MAX_DECISIONS, CacheLimits, DecisionCache, KeptDecision
from wardenmq.store.records import PUBLISH, SUBSCRIBE

NOW = 1_000.0


def size(cache: DecisionCache) -> int:
    return sum(topic.__sizeof__() for decisions in cache.decisions for topic in decisions)


def test_the_number_of_decisions_is_bounded() -> None:
    cache = DecisionCache()
    for number in range(2_000):
        cache.keep(PUBLISH, f"t/{number}", 0, number % 2 == 0, NOW)
        cache.keep_variant(SUBSCRIBE, f"t/{number}", number % 6, number % 3 == 0, NOW)
        assert len(cache) == sum(map(len, cache.decisions)) <= MAX_DECISIONS
        assert cache.decisions[SUBSCRIBE][f"t/{number}"] == {number % 6: number % 3 == 0}
    assert len(cache) == MAX_DECISIONS
    for topic, allowed in cache.decisions[PUBLISH].items():
        assert allowed is (int(topic[2:]) % 2 == 0)


def test_the_bytes_are_bounded() -> None:
    cache = DecisionCache()
    for number in range(500):
        cache.keep(PUBLISH, f"{number}/" + "x" * 1_000, 0, True, NOW)
        assert size(cache) <= MAX_BYTES
    assert len(cache) > 50
    for sign in ("x", "\u20ac", "\U0001f600"):
        cache.keep(PUBLISH, sign * 60_000, 0, True, NOW)
        cache.keep_variant(SUBSCRIBE, sign * 60_000, 0, True, NOW)
    assert all(len(topic) < 60_000 for decisions in cache.decisions for topic in decisions)
    assert len(cache) > 50


def test_variants_are_kept_side_by_side() -> None:
    cache = DecisionCache()
    cache.keep_variant(PUBLISH, "a", 0, True, NOW)
    cache.keep_variant(PUBLISH, "a", 5, False, NOW)
    assert cache.decisions[PUBLISH] == {"a": {0: True, 5: False}}
    assert len(cache) == 1


def test_a_topic_in_use_mostly_stays_and_a_round_of_too_many_is_mostly_found() -> None:
    cache = DecisionCache()
    cache.keep(PUBLISH, "hot", 0, True, NOW)
    kept = cache.decisions[PUBLISH]
    missed = 0
    for number in range(5_000):
        if "hot" not in kept:
            missed += 1
            cache.keep(PUBLISH, "hot", 0, True, NOW)
        cache.keep(PUBLISH, f"cold/{number}", 0, True, NOW)
    assert missed < 50
    order = [f"round/{number}" for number in range(600)]
    random.Random(7).shuffle(order)
    found = 0
    for _ in range(10):
        for topic in order:
            if topic in kept:
                found += 1
            else:
                cache.keep(PUBLISH, topic, 0, True, NOW)
    assert found > 3_000


class Clock:
    """Stand still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_limits_that_were_set_hold() -> None:
    cache = DecisionCache(CacheLimits(max_decisions=3))
    for number in range(10):
        cache.keep(PUBLISH, f"t/{number}", 0, True, NOW)
        assert len(cache) == min(number + 1, 3)
    off = DecisionCache(CacheLimits(enabled=False))
    off.keep(PUBLISH, "t", 0, True, NOW)
    off.keep_variant(PUBLISH, "u", 1, True, NOW)
    assert len(off) == 0
    assert not any(off.decisions)


def test_more_decisions_may_have_more_bytes() -> None:
    cache = DecisionCache(CacheLimits(max_decisions=4_000))
    for number in range(4_000):
        cache.keep(PUBLISH, f"some/topic/{number}", 0, True, NOW)
    assert len(cache) == 4_000
    assert size(cache) > MAX_BYTES


def test_what_is_excluded_is_not_kept() -> None:
    cache = DecisionCache(CacheLimits(excludes=("a/+/#", "b", "$SYS/#")))
    for topic in ("a/x", "a/x/y", "b", "$SYS/x"):
        cache.keep(PUBLISH, topic, 0, True, NOW)
        cache.keep_variant(SUBSCRIBE, topic, 1, True, NOW)
    assert len(cache) == 0
    for topic in ("a", "b/c", "c", "$SYSTEM"):
        cache.keep(PUBLISH, topic, 0, True, NOW)
    assert len(cache) == 4


def test_old_decisions_go() -> None:
    clock = Clock()
    cache = DecisionCache(CacheLimits(ttl=60.0, clock=clock))
    cache.keep(PUBLISH, "old", 0, True, clock.now)
    clock.now += 30
    cache.keep_variant(SUBSCRIBE, "young", 2, False, clock.now)
    clock.now += 40
    assert [row.topic for row in cache.all()] == ["young"]
    cache.keep(PUBLISH, "new", 0, True, clock.now)
    assert cache.decisions[PUBLISH] == {"new": True}
    assert cache.decisions[SUBSCRIBE] == {"young": {2: False}}
    assert size(cache) == cache._bytes
    clock.now = 10.0  # it was set back
    cache.keep(PUBLISH, "newest", 0, True, clock.now)
    assert cache.decisions[PUBLISH] == {"newest": True}
    assert len(cache) == 1


def test_decisions_are_listed_and_forgotten() -> None:
    clock = Clock()
    cache = DecisionCache(CacheLimits(clock=clock))
    cache.keep(PUBLISH, "a", 3, True, clock.now)
    clock.now += 1
    cache.keep_variant(SUBSCRIBE, "b", 4, False, clock.now)
    cache.keep_variant(SUBSCRIBE, "b", 0, True, clock.now)
    assert cache.all() == [
        KeptDecision(PUBLISH, "a", 1, True, True, 1_000.0),
        KeptDecision(SUBSCRIBE, "b", 2, False, False, 1_001.0),
        KeptDecision(SUBSCRIBE, "b", 0, False, True, 1_001.0),
    ]
    reading = cache.decisions
    cache.clear()
    assert cache.all() == []
    assert not any(reading)  # whoever reads it knows nothing any more
    cache.keep(PUBLISH, "a", 0, False, clock.now)
    assert reading[PUBLISH] == {"a": False}
