"""Topic names and filters: what is valid, what matches, what covers."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.matcher import MQTTMatcher
from wardenmq.broker.routing.topics import InvalidTopic, check_filter, check_name, covers, matches, split_share

from .strategies import topic_filters, topic_names


@pytest.mark.parametrize("topic", ["a", "/", "//", " ", "a/b", "/a", "a/", "$SYS/x", "$share", "ä/☃/😀", "a" * 65_535])
def test_accepts_topic_names(topic: str) -> None:
    check_name(topic)
    check_filter(topic)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("", "empty"),  # [MQTT-4.7.3-1]
        ("a/\0/b", r"U\+0000"),  # [MQTT-4.7.3-2]
        ("a" * 65_536, "65535 bytes"),  # [MQTT-4.7.3-3]
        ("ä" * 32_768, "65535 bytes"),
        ("a/\ud800", "surrogates"),  # [MQTT-1.5.4-1]
    ],
)
def test_refuses_text_that_is_neither_name_nor_filter(topic: str, reason: str) -> None:
    with pytest.raises(InvalidTopic, match=reason):
        check_name(topic)
    with pytest.raises(InvalidTopic, match=reason):
        check_filter(topic)


@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+/b", "a+", "a#b"])
def test_refuses_wildcards_in_names(topic: str) -> None:
    with pytest.raises(InvalidTopic, match="wildcards"):  # [MQTT-3.3.2-2] [MQTT-4.7.0-1]
        check_name(topic)


@pytest.mark.parametrize("topic_filter", ["#", "+", "/#", "+/+", "a/+/#", "+/a/#", "/+/", "$SYS/#", "a/+"])
def test_accepts_wildcards_that_are_whole_levels(topic_filter: str) -> None:
    check_filter(topic_filter)


@pytest.mark.parametrize("topic_filter", ["a#", "#/a", "a/#/b", "##", "#/#", "a/b#", "#a", "a/#a"])
def test_refuses_a_hash_that_is_not_the_whole_last_level(topic_filter: str) -> None:
    with pytest.raises(InvalidTopic, match="# must be"):  # [MQTT-4.7.1-1]
        check_filter(topic_filter)


@pytest.mark.parametrize("topic_filter", ["a+", "+a", "a/b+/c", "++", "a/+b/#"])
def test_refuses_a_plus_that_is_not_a_whole_level(topic_filter: str) -> None:
    with pytest.raises(InvalidTopic, match=r"\+ must be"):  # [MQTT-4.7.1-2]
        check_filter(topic_filter)


@pytest.mark.parametrize("check", [check_name, check_filter])
def test_bounds_the_levels(check) -> None:
    check("a/b/c", 3)
    check("/" * 60_000, 0)
    with pytest.raises(InvalidTopic, match="more than 3 levels"):
        check("a/b/c/", 3)


@pytest.mark.parametrize("check", [check_name, check_filter])
def test_bounds_the_bytes(check) -> None:
    check("a/bcd", 0, 5)
    check("a/ää", max_bytes=6)
    for topic in ["a/bcde", "a/ää"]:
        with pytest.raises(InvalidTopic, match="longer than 5 bytes"):
            check(topic, max_bytes=5)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("sport/#", "sport", True),  # 4.7.1.2: the parent level too
        ("sport/#", "sport/tennis/player1", True),
        ("sport/#", "sports", False),
        ("sport/+", "sport", False),  # 4.7.1.3
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("a/+/c", "a//c", True),
        ("a/b", "A/b", False),  # 4.7.3: case sensitive
        ("#", "$SYS/x", False),  # [MQTT-4.7.2-1]
        ("+/x", "$SYS/x", False),
        ("+/#", "$SYS", False),
        ("$SYS/#", "$SYS/x", True),
        ("$SYS/+", "$SYS/x", True),
        ("a/+", "a/$x", True),
        ("a/#", "a/$x", True),
        ("\u0041\u030a", "\u00c5", False),  # [MQTT-4.7.3-4]: no normalisation
    ],
)
def test_matches_as_the_specification_says(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


@given(topic_filters(), topic_names)
def test_matches_what_paho_matches(topic_filter: str, topic: str) -> None:
    oracle = MQTTMatcher()
    oracle[topic_filter] = True
    assert matches(topic_filter, topic) is any(oracle.iter_match(topic))


# Every topic of up to four levels; no filter below names "c", so it stands for any other name.
UNIVERSE = [
    topic
    for size in range(1, 5)
    for levels in product(["", "a", "c", "$a"], repeat=size)
    if (topic := "/".join(levels))
]
SMALL_FILTERS = [
    text
    for size in range(1, 4)
    for levels in product(["", "a", "$a", "+", "#"], repeat=size)
    if "#" not in levels[:-1] and (text := "/".join(levels))
]


def test_covers_exactly_where_no_topic_escapes() -> None:
    """Restate `covers` by its meaning: subset of matched topics, for every pair of filters of up to three levels."""
    matched = {text: {topic for topic in UNIVERSE if matches(text, topic)} for text in SMALL_FILTERS}
    for rule, asked in product(SMALL_FILTERS, repeat=2):
        assert covers(rule, asked) is (matched[asked] <= matched[rule]), (rule, asked)


@pytest.mark.parametrize(
    ("rule", "asked", "expected"),
    [
        ("t/+", "t/#", False),
        ("t/#", "t/+", True),
        ("t/#", "t", True),
        ("t/+/#", "t/#", False),
        ("+/#", "#", True),
        ("#", "$SYS/#", False),  # [MQTT-4.7.2-1]
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/+/x", True),
        ("a", "+", False),
    ],
)
def test_covers(rule: str, asked: str, expected: bool) -> None:
    assert covers(rule, asked) is expected


@given(topic_filters(), topic_filters(), topic_names)
def test_what_a_covered_filter_matches_the_rule_matches(rule: str, asked: str, topic: str) -> None:
    if covers(rule, asked) and matches(asked, topic):
        assert matches(rule, topic)


@given(topic_filters(), topic_names)
def test_covers_a_name_exactly_if_it_matches_it(rule: str, topic: str) -> None:
    assert covers(rule, topic) is matches(rule, topic)


def test_twenty_thousand_levels() -> None:
    topic = "/".join("a" * 20_000)
    assert matches("/".join("+" * 20_000), topic)
    assert covers("/".join("+" * 20_000) + "/#", topic + "/#")
    assert not matches("/".join("+" * 19_999), topic)


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("a/b", (None, "a/b")),
        ("$share", (None, "$share")),
        ("$shared/g/f", (None, "$shared/g/f")),
        ("$SYS/#", (None, "$SYS/#")),
        ("$share/g/f", ("g", "f")),
        ("$share/g//f", ("g", "/f")),
        ("$share/g/#", ("g", "#")),
        ("$share/g/$SYS/#", ("g", "$SYS/#")),
        ("$queue/f/+", ("$queue", "f/+")),
        ("$queue", (None, "$queue")),
    ],
)
def test_splits_shared_subscriptions(topic_filter: str, expected: tuple[str | None, str]) -> None:
    assert split_share(topic_filter) == expected


@pytest.mark.parametrize(
    "topic_filter",
    [
        "$share/",  # [MQTT-4.8.2-1]
        "$share//f",
        "$share/g",  # [MQTT-4.8.2-2]
        "$share/g/",
        "$share/+/f",
        "$share/g#/f",
        "$queue/",
        "$share/g/$share/h/f",
        "$queue/$share/g/f",
        "$share/g/$queue/f",
    ],
)
def test_refuses_malformed_shares(topic_filter: str) -> None:
    with pytest.raises(InvalidTopic):
        split_share(topic_filter)


@given(st.text(alphabet="a/+#$\0é", max_size=12), st.integers(0, 4))
def test_a_valid_name_is_a_valid_filter(text: str, max_levels: int) -> None:
    try:
        check_name(text, max_levels)
    except InvalidTopic:
        return
    check_filter(text, max_levels)
    assert matches(text, text)
