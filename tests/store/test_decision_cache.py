"""The decisions that are kept: how many, how long ones, and that what is kept is what was put in."""

import random

from wardenmq.store.acl.decision_cache import MAX_BYTES, MAX_DECISIONS, DecisionCache
from wardenmq.store.records import PUBLISH, SUBSCRIBE


def size(cache: DecisionCache) -> int:
    return sum(topic.__sizeof__() for decisions in cache.decisions for topic in decisions)


def test_the_number_of_decisions_is_bounded() -> None:
    cache = DecisionCache()
    for number in range(2_000):
        cache.keep(PUBLISH, f"t/{number}", number % 2 == 0)
        cache.keep_variant(SUBSCRIBE, f"t/{number}", number % 6, number % 3 == 0)
        assert len(cache) == sum(map(len, cache.decisions)) <= MAX_DECISIONS
        assert cache.decisions[SUBSCRIBE][f"t/{number}"] == {number % 6: number % 3 == 0}
    assert len(cache) == MAX_DECISIONS
    for topic, allowed in cache.decisions[PUBLISH].items():
        assert allowed is (int(topic[2:]) % 2 == 0)


def test_the_bytes_are_bounded() -> None:
    cache = DecisionCache()
    for number in range(500):
        cache.keep(PUBLISH, f"{number}/" + "x" * 1_000, True)
        assert size(cache) <= MAX_BYTES
    assert len(cache) > 50
    for sign in ("x", "\u20ac", "\U0001f600"):
        cache.keep(PUBLISH, sign * 60_000, True)
        cache.keep_variant(SUBSCRIBE, sign * 60_000, 0, True)
    assert all(len(topic) < 60_000 for decisions in cache.decisions for topic in decisions)
    assert len(cache) > 50


def test_variants_are_kept_side_by_side() -> None:
    cache = DecisionCache()
    cache.keep_variant(PUBLISH, "a", 0, True)
    cache.keep_variant(PUBLISH, "a", 5, False)
    assert cache.decisions[PUBLISH] == {"a": {0: True, 5: False}}
    assert len(cache) == 1


def test_a_topic_in_use_mostly_stays_and_a_round_of_too_many_is_mostly_found() -> None:
    cache = DecisionCache()
    cache.keep(PUBLISH, "hot", True)
    kept = cache.decisions[PUBLISH]
    missed = 0
    for number in range(5_000):
        if "hot" not in kept:
            missed += 1
            cache.keep(PUBLISH, "hot", True)
        cache.keep(PUBLISH, f"cold/{number}", True)
    assert missed < 50
    order = [f"round/{number}" for number in range(600)]
    random.Random(7).shuffle(order)
    found = 0
    for _ in range(10):
        for topic in order:
            if topic in kept:
                found += 1
            else:
                cache.keep(PUBLISH, topic, True)
    assert found > 3_000
