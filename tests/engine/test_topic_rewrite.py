"""Topic rewrite as rules: which one counts, what it makes of a topic, and what it leaves alone."""

import re

import pytest
from wardenmq.broker.topic_rewrite import Action, Groups, RewriteRule, TopicRewrite


def rule(source: str, expression: str, destination: str, action: Action = "all") -> RewriteRule:
    def search(topic: str) -> Groups | None:
        found = re.search(expression, topic)
        return None if found is None else (found.group(), *found.groups())

    return RewriteRule(action, source, destination, search)


def rewriting(*rules: RewriteRule) -> TopicRewrite:
    rewrite = TopicRewrite()
    rewrite.set_rules(rules)
    return rewrite


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("x/1/t/2", "y/1/2"),
        ("x/1/t", "x/1/t"),  # the source matches, the expression does not
        ("y/1", "y/1"),
    ],
)
def test_groups_fill_the_destination(topic: str, expected: str) -> None:
    rewrite = rewriting(rule("x/#", r"^x/(\d+)/t/(\d+)$", "y/$1/$2"))
    assert rewrite.publish_topic(topic, "c", None) == expected
    assert rewrite.filter(topic, "c", None) == expected


def test_the_last_rule_whose_source_matches_decides() -> None:
    rewrite = rewriting(rule("x/#", "^x/(.+)$", "first/$1"), rule("x/y/#", "^x/y/(.+)$", "second/$1"))
    assert rewrite.publish_topic("x/y/1", "c", None) == "second/1"
    assert rewrite.publish_topic("x/1", "c", None) == "first/1"


def test_no_other_rule_is_tried_once_a_source_matched() -> None:
    rewrite = rewriting(rule("x/#", "^x/(.+)$", "first/$1"), rule("x/y/#", r"^x/y/(\d+)$", "second/$1"))
    assert rewrite.publish_topic("x/y/z", "c", None) == "x/y/z"


def test_a_result_is_not_rewritten_again() -> None:
    rewrite = rewriting(rule("b/#", "^b/(.+)$", "c/$1"), rule("a/#", "^a/(.+)$", "b/$1"))
    assert rewrite.publish_topic("a/1", "c", None) == "b/1"


@pytest.mark.parametrize(
    ("action", "published", "subscribed"), [("publish", "new/1", "old/1"), ("subscribe", "old/1", "new/1")]
)
def test_each_action_has_its_own_rules(action: Action, published: str, subscribed: str) -> None:
    rewrite = rewriting(rule("old/#", "^old/(.+)$", "new/$1", action))
    assert rewrite.publish_topic("old/1", "c", None) == published
    assert rewrite.filter("old/1", "c", None) == subscribed


@pytest.mark.parametrize(
    ("client_id", "username", "expected"),
    [
        ("c", "u", "by/c/u/1"),
        ("c", None, "t/1"),
        ("a/b", "u", "t/1"),
        ("+", "u", "t/1"),
        ("c", "#", "t/1"),
    ],
)
def test_names_fill_one_level_or_nothing(client_id: str, username: str | None, expected: str) -> None:
    rewrite = rewriting(rule("t/#", "^t/(.+)$", "by/${clientid}/${username}/$1"))
    assert rewrite.publish_topic("t/1", client_id, username) == expected
    assert rewrite.filter("t/1", client_id, username) == expected


def test_of_a_shared_subscription_only_what_is_shared_is_rewritten() -> None:
    rewrite = rewriting(rule("old/#", "^old/(.+)$", "new/$1"))
    assert rewrite.filter("$share/g/old/+", "c", None) == "$share/g/new/+"
    assert rewrite.filter("$queue/old/+", "c", None) == "$queue/new/+"
    assert rewrite.filter("$share/old/x", "c", None) == "$share/old/x"


def test_what_would_be_no_topic_is_left_alone() -> None:
    assert rewriting(rule("t/#", "^t/(.*)$", "$1")).publish_topic("t/", "c", None) == "t/"
    assert rewriting(rule("t/#", "^t/(.*)$", "$1")).publish_topic("t/$SYS/x", "c", None) == "t/$SYS/x"
    assert rewriting(rule("t/#", "^t/(.*)$", "x$1")).filter("t/#", "c", None) == "t/#"


@pytest.mark.parametrize("asked", ["x/$share/+/b", "x/$share/g/b", "x/$queue/b", "x/$SYS/#", "$SYS/$share/g/b"])
def test_nobody_comes_to_what_is_the_servers_or_shared_by_a_rewrite(asked: str) -> None:
    rewrite = rewriting(rule("#", "^x/(.*)$", "$1"), rule("$SYS/#", r"^\$SYS/(.*)$", "$1"))
    assert rewrite.filter(asked, "c", None) == asked
    shared = f"$share/group/{asked}"
    assert rewrite.filter(shared, "c", None) == shared


def test_a_group_that_is_not_there_stays_as_it_is_written() -> None:
    assert rewriting(rule("t/#", "^t/(.+)$", "n/$1/$2")).publish_topic("t/1", "c", None) == "n/1/$2"


def test_without_rules_nothing_happens() -> None:
    rewrite = rewriting()
    assert not rewrite.active
    assert rewrite.publish_topic("t", "c", None) == "t"
    assert rewrite.filter("t/#", "c", None) == "t/#"
