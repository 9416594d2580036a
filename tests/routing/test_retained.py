"""The retained messages against a plain dictionary, and walks over a store that changes."""

import gc
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from wardenmq.broker.routing.retained import SLICE_NODES, RetainedMessages
from wardenmq.broker.routing.topics import matches

from .strategies import topic_filters, topic_names


def filled(*topics: str) -> RetainedMessages[str]:
    retained = RetainedMessages[str]()
    for topic in topics:
        retained.store(topic, f"message of {topic}")
    return retained


def found(retained: RetainedMessages[str], topic_filter: str) -> Iterator[tuple[str, str]]:
    """Walk without the pauses."""
    return (item for item in retained.match(topic_filter) if item is not None)


class RetainedLifetime(RuleBasedStateMachine):
    """Store and discard at random, compare with a dictionary that is searched by brute force."""

    def __init__(self) -> None:
        super().__init__()
        self.retained = RetainedMessages[int](abs)
        self.model: dict[str, int] = {}

    @rule(topic=topic_names, message=st.integers())
    def store(self, topic: str, message: int) -> None:
        assert self.retained.store(topic, message) is (topic not in self.model)
        self.model[topic] = message

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        known = st.sampled_from(sorted(self.model)) if self.model else st.nothing()
        topic = data.draw(known | topic_names)
        assert self.retained.discard(topic) is (self.model.pop(topic, None) is not None)
        assert self.retained.get(topic) is None

    @rule(topic_filter=topic_filters())
    def match(self, topic_filter: str) -> None:
        expected = sorted((topic, message) for topic, message in self.model.items() if matches(topic_filter, topic))
        assert sorted(self.retained.match(topic_filter)) == expected

    @rule()
    def clear(self) -> None:
        self.retained.clear()
        self.model.clear()

    @invariant()
    def same_topics(self) -> None:
        assert len(self.retained) == len(self.model)
        assert self.retained.total_size == sum(map(abs, self.model.values()))
        assert list(self.retained.topics()) == list(self.model)
        for topic, message in self.model.items():
            assert self.retained.get(topic) == message


TestRetainedLifetime = RetainedLifetime.TestCase


@given(st.sets(topic_names, max_size=20), st.randoms())
def test_discarding_prunes_every_node(topics: set[str], random) -> None:
    retained = filled(*topics)
    shuffled = sorted(topics)
    random.shuffle(shuffled)
    for topic in shuffled:
        assert retained.discard(topic)
    assert retained._root.children is None
    assert retained._dollar.children is None
    assert len(retained) == 0


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("#", {"a", "a/b", "/"}),  # [MQTT-4.7.2-1]
        ("+/+", {"a/b", "/"}),
        ("+/#", {"a", "a/b", "/"}),
        ("a/#", {"a", "a/b"}),
        ("$SYS/#", {"$SYS", "$SYS/x"}),
        ("$SYS/+", {"$SYS/x"}),
        ("+", {"a"}),
        ("a", {"a"}),
        ("b", set()),
    ],
)
def test_matches_by_filter(topic_filter: str, expected: set[str]) -> None:
    retained = filled("a", "a/b", "/", "$SYS", "$SYS/x")
    assert dict(retained.match(topic_filter)) == {topic: f"message of {topic}" for topic in expected}


@given(
    st.sets(topic_names, min_size=1, max_size=15),
    topic_filters(),
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.tuples(st.booleans(), topic_names), max_size=4)), max_size=8),
)
def test_a_walk_survives_changes_between_slices(
    topics: set[str], topic_filter: str, steps: list[tuple[int, list[tuple[bool, str]]]]
) -> None:
    retained = filled(*topics)
    walk = retained.match(topic_filter)
    always, ever = set(topics), set(topics)
    seen: list[str] = []
    for count, changes in steps:
        for topic, message in islice(walk, count):  # too small a store for pauses
            assert retained.get(topic) == message
            seen.append(topic)
        for keep, topic in changes:
            if keep:
                retained.store(topic, "changed")
                ever.add(topic)
            else:
                retained.discard(topic)
                always.discard(topic)
    seen += [topic for topic, _ in walk]
    assert len(seen) == len(set(seen))
    assert {topic for topic in always if matches(topic_filter, topic)} <= set(seen)
    assert set(seen) <= {topic for topic in ever if matches(topic_filter, topic)}


def test_a_walk_yields_the_message_of_now() -> None:
    retained = filled("a/1", "a/2")
    walk = retained.match("a/+")
    first, _ = next(walk)
    (second,) = {"a/1", "a/2"} - {first}
    retained.store(second, "new")
    assert list(walk) == [(second, "new")]


def test_clear_ends_a_walk() -> None:
    retained = filled("a/1", "a/2", "a/3")
    walk = retained.match("#")
    next(walk)
    retained.clear()
    assert list(walk) == []
    assert len(retained) == 0
    assert retained.store("a/1", "again") is True
    assert list(retained.match("a/+")) == [("a/1", "again")]


def test_twenty_thousand_levels() -> None:
    """A topic may have 65,536 levels: nothing may recurse, the destruction of the trie included."""
    deep = "/".join("a" * 20_000)
    retained = filled(deep, f"{deep}/b")
    assert {topic for topic, _ in found(retained, "#")} == {deep, f"{deep}/b"}
    assert [topic for topic, _ in found(retained, "/".join("+" * 20_000))] == [deep]
    assert retained.discard(f"{deep}/b")
    assert [topic for topic, _ in found(retained, f"{deep}/#")] == [deep]
    assert retained.discard(deep)
    assert retained._root.children is None
    retained.store(deep, "again")
    del retained
    gc.collect()


def test_sizes_go_with_the_messages() -> None:
    retained = RetainedMessages[bytes](len)
    retained.store("a", b"12345")
    retained.store("b", b"123")
    assert retained.total_size == 8
    retained.store("a", b"1")
    assert retained.total_size == 4
    retained.discard("b")
    retained.discard("b")
    assert retained.total_size == 1
    retained.clear()
    assert retained.total_size == 0


def test_without_a_scale_nothing_has_a_size() -> None:
    assert filled("a", "b").total_size == 0


@pytest.mark.parametrize(("topic_filter", "in_vain"), [("+/rare", 20_000), ("a/+/b/+/c", 20_000), ("nowhere/#", 0)])
def test_a_walk_that_finds_little_pauses(topic_filter: str, in_vain: int) -> None:
    retained = filled(*(f"a/{n}/b/{n}" for n in range(10_000)), *(f"{n}/often" for n in range(20_000)))
    retained.store("777/rare", "found")
    pauses = [item for item in retained.match(topic_filter) if item is None]
    assert [item for item in retained.match(topic_filter) if item] == [("777/rare", "found")] * (topic_filter[0] == "+")
    assert in_vain / SLICE_NODES - 2 <= len(pauses) <= 3 * in_vain / SLICE_NODES


def test_a_walk_that_finds_much_does_not_pause() -> None:
    retained = filled(*(f"a/{n}" for n in range(5_000)))
    assert None not in list(retained.match("#"))


def test_wildcards_do_not_visit_dollar_topics() -> None:
    """Ten thousand `$SYS` topics must not cost a subscriber of `+` a walk past them [MQTT-4.7.2-1]."""
    retained = filled("a", *(f"${n}" for n in range(10_000)))
    assert list(retained.match("+")) == [("a", "message of a")]
