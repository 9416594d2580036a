"""The subscription index against paho's matcher and against a plain dictionary."""

import gc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from paho.mqtt.matcher import MQTTMatcher
from wardenmq.broker.routing.subscriptions import SubscriptionIndex
from wardenmq.broker.routing.topics import matches

from .strategies import topic_filters, topic_names


@given(st.sets(topic_filters(), max_size=30), topic_names)
def test_finds_what_paho_finds(filters: set[str], topic: str) -> None:
    index = SubscriptionIndex[str, str]()
    oracle = MQTTMatcher()
    for topic_filter in filters:
        index.add(topic_filter, "client", topic_filter)
        oracle[topic_filter] = topic_filter
    found = Counter(value for _, value in index.match(topic))
    assert found == Counter(oracle.iter_match(topic))


class IndexLifetime(RuleBasedStateMachine):
    """Add and remove at random, compare with a dictionary that is searched by brute force."""

    def __init__(self) -> None:
        super().__init__()
        self.index = SubscriptionIndex[str, int]()
        self.model: dict[tuple[str, str], int] = {}

    @rule(topic_filter=topic_filters(), subscriber=st.sampled_from("xyz"), value=st.integers(0, 9))
    def add(self, topic_filter: str, subscriber: str, value: int) -> None:
        before = self.index.generation
        assert self.index.add(topic_filter, subscriber, value) is ((topic_filter, subscriber) not in self.model)
        assert self.index.generation > before
        self.model[topic_filter, subscriber] = value

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        known = st.sampled_from(sorted(self.model)) if self.model else st.nothing()
        topic_filter, subscriber = data.draw(known | st.tuples(topic_filters(), st.sampled_from("xyz")))
        before = self.index.generation
        was_there = self.model.pop((topic_filter, subscriber), None) is not None
        assert self.index.remove(topic_filter, subscriber) is was_there
        assert (self.index.generation > before) is was_there

    @rule(topic=topic_names)
    def match(self, topic: str) -> None:
        expected = Counter((who, value) for (text, who), value in self.model.items() if matches(text, topic))
        assert Counter(self.index.match(topic)) == expected

    @rule(topic_filter=topic_filters())
    def subscribers(self, topic_filter: str) -> None:
        expected = {who: value for (text, who), value in self.model.items() if text == topic_filter}
        assert self.index.subscribers(topic_filter) == expected

    @invariant()
    def counts(self) -> None:
        filters = {text for text, _ in self.model}
        assert set(self.index.filters()) == filters
        assert self.index.filter_count == len(filters)
        assert self.index.subscription_count == len(self.model)


TestIndexLifetime = IndexLifetime.TestCase


@given(st.lists(topic_filters(), max_size=20), st.randoms())
def test_removal_prunes_every_node(filters: list[str], random) -> None:
    index = SubscriptionIndex[int, None]()
    for number, topic_filter in enumerate(filters):
        index.add(topic_filter, number, None)
    numbered = list(enumerate(filters))
    random.shuffle(numbered)
    for number, topic_filter in numbered:
        assert index.remove(topic_filter, number)
    assert index._root.empty
    assert index.filter_count == index.subscription_count == 0


def test_filters_without_wildcard_stay_out_of_the_trie() -> None:
    index = SubscriptionIndex[str, None]()
    index.add("a/b", "x", None)
    assert index._root.empty
    assert index.match("a/b") == [("x", None)]


def test_one_row_for_each_matching_subscription() -> None:
    index = SubscriptionIndex[str, int]()
    for qos, topic_filter in enumerate(["a/b", "a/+", "a/#"]):
        index.add(topic_filter, "x", qos)
    assert sorted(index.match("a/b")) == [("x", 0), ("x", 1), ("x", 2)]  # the caller folds or repeats [MQTT-3.3.4-2]


def test_replacing_keeps_one_subscription() -> None:
    index = SubscriptionIndex[str, int]()
    assert index.add("a/+", "x", 0) is True
    assert index.add("a/+", "x", 2) is False  # [MQTT-3.8.4-3]
    assert index.match("a/b") == [("x", 2)]
    assert index.subscription_count == 1


def test_wildcards_at_the_first_level_leave_dollar_topics_alone() -> None:
    index = SubscriptionIndex[str, None]()
    for topic_filter in ["#", "+/x", "+/#", "$SYS/#", "$SYS/+", "$SYS/x", "+/+"]:
        index.add(topic_filter, topic_filter, None)
    assert {who for who, _ in index.match("$SYS/x")} == {"$SYS/#", "$SYS/+", "$SYS/x"}  # [MQTT-4.7.2-1]
    assert {who for who, _ in index.match("$SYS")} == {"$SYS/#"}
    assert index.match("$other/x") == []


def test_the_view_of_subscribers_is_read_only_and_filters_are_a_snapshot() -> None:
    index = SubscriptionIndex[str, int]()
    index.add("a", "x", 0)
    view = index.subscribers("a")
    with pytest.raises(TypeError):
        view["y"] = 1  # type: ignore[index]
    for topic_filter in index.filters():
        index.remove(topic_filter, "x")
    assert index.subscribers("a") == {}
    assert index.subscription_count == 0


@pytest.mark.parametrize("level", ["+", "a"])
def test_twenty_thousand_levels(level: str) -> None:
    """A topic may have 65,536 levels: nothing may recurse, the destruction of the trie included."""
    index = SubscriptionIndex[str, None]()
    deep = "/".join([level] * 20_000)
    index.add(f"{deep}/+", "x", None)
    index.add(f"{deep}/#", "y", None)
    topic = "/".join(["a"] * 20_000)
    assert [who for who, _ in index.match(topic)] == ["y"]
    assert sorted(who for who, _ in index.match(f"{topic}/b")) == ["x", "y"]
    assert index.match(f"{topic}/b/c/d") == [("y", None)]
    assert index.remove(f"{deep}/+", "x")
    assert [who for who, _ in index.match(f"{topic}/b")] == ["y"]
    assert index.remove(f"{deep}/#", "y")
    assert index._root.empty
    index.add(f"{deep}/#", "y", None)
    del index
    gc.collect()
