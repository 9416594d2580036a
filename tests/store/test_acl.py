"""Decisions by lists of rules, one by one: the rules' own semantics, their order, and their cost."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from wardenmq.store.acl import policy as acl
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Permission, Rule

from .layered import ALICE, access, access_by, allow, deny, layer


def decision(
    rules: list[Rule],
    operation: int,
    topic: str,
    *,
    qos: int = 0,
    retain: bool = False,
    facts: ClientFacts = ALICE,
    no_match: bool = False,
) -> bool:
    return access_by(rules, facts, no_match).decide(operation, topic, qos, retain)


def test_nothing_is_allowed_at_first() -> None:
    strict = access()
    assert not strict.decide(PUBLISH, "a", 0, False)
    assert not strict.decide(SUBSCRIBE, "a", 0, False)
    assert not strict.checks_delivery
    lenient = access(no_match=True)
    assert lenient.decide(PUBLISH, "a", 0, False)
    assert lenient.decide(SUBSCRIBE, "a", 0, False)


@pytest.mark.parametrize(
    ("rule_topic", "requested", "allowed", "denied"),
    [
        # rule, requested filter, whether an allow rule concerns it, whether a deny rule does
        ("t/#", "t/#", True, True),
        ("t/#", "t/+", True, True),
        ("t/#", "t/a/b", True, True),
        ("t/#", "t", True, True),
        ("t/+", "t/+", True, True),
        ("t/+", "t/a", True, True),
        ("t/+", "t/#", False, True),
        ("t/+/#", "t/#", False, True),
        ("t/+/x", "t/#", False, False),
        ("t/1", "t/#", False, False),
        ("t/1", "t/+", False, False),
        ("+", "#", False, True),
        ("+/#", "#", True, True),
        ("/+/#", "/#", True, True),
        ("#", "#", True, True),
        ("#", "$SYS/#", False, False),
        ("+/x", "$SYS/x", False, False),
        ("$SYS/#", "$SYS/broker", True, True),
        ("#", "$share/group/a/b", True, True),
        ("a/b", "$share/group/a/b", True, True),
        ("a/b", "$queue/a/b", True, True),
        ("$share/group/a", "$share/group/a", False, False),
        ("eq t/#", "t/#", True, True),
        ("eq t/#", "t/a", False, False),
        ("eq ${clientid}", "c1", False, False),
        ("eq ${clientid}", "${clientid}", True, True),
    ],
)
def test_subscribing(rule_topic: str, requested: str, allowed: bool, denied: bool) -> None:
    assert decision([allow(rule_topic)], SUBSCRIBE, requested) is allowed
    assert decision([deny(rule_topic)], SUBSCRIBE, requested, no_match=True) is not denied


def test_a_loose_deny_counts_after_an_allow_that_does_not_cover() -> None:
    rules = [allow("t/+"), deny("t/+")]
    assert not decision(rules, SUBSCRIBE, "t/#", no_match=True)
    assert decision(rules, SUBSCRIBE, "t/+", no_match=True)


@pytest.mark.parametrize("requested", ["$share/g", "$share//a", "$share/+/a", "$queue/"])
def test_a_malformed_share_is_denied(requested: str) -> None:
    assert not decision([allow("#")], SUBSCRIBE, requested, no_match=True)


@pytest.mark.parametrize(
    ("client_id", "username", "rule_topic", "topic", "expected"),
    [
        ("c1", "alice", "${clientid}/up", "c1/up", True),
        ("c1", "alice", "${clientid}/up", "c2/up", False),
        ("c1", "alice", "u/${username}/#", "u/alice", True),
        ("c1", None, "u/${username}/#", "u/alice", False),
        ("c1", None, "u/${username}/#", "u/None", False),
        ("c1", "alice", "dev-${clientid}/${username}s", "dev-c1/alices", True),
        ("c1", "alice", "dev-${clientid}", "dev-c12", False),
        ("c1", "c1", "${clientid}-${username}", "c1-c1", True),
        ("+", "alice", "u/${clientid}", "u/x", False),
        ("#", "alice", "u/${clientid}", "u/x", False),
        ("a/b", "alice", "u/${clientid}", "u/a/b", False),
        ("", "alice", "u/${clientid}", "u/", False),
        ("", "alice", "u/x${clientid}", "u/x", False),
        ("${username}", "alice", "u/${clientid}", "u/alice", False),
        ("${username}", "alice", "u/${clientid}", "u/${username}", True),
        ("c1", "alice", "${$}{clientid}/x", "${clientid}/x", True),
        ("c1", "alice", "a${$}b", "a$b", True),
        ("$SYS", "alice", "${clientid}/x", "$SYS/x", False),
        ("SYS", "alice", "${$}${clientid}/x", "$SYS/x", True),
        ("$x", "alice", "u/${clientid}", "u/$x", True),
    ],
)
def test_placeholders(client_id: str, username: str | None, rule_topic: str, topic: str, expected: bool) -> None:
    assert decision([allow(rule_topic)], PUBLISH, topic, facts=ClientFacts(client_id, username)) is expected


def test_the_first_rule_that_fits_decides() -> None:
    rules = [allow("a/+/c"), deny("a/b/#"), allow("#"), deny("a/x")]
    for topic, expected in (("a/b/c", True), ("a/b/d", False), ("a/b", False), ("a/x", True)):
        assert decision(rules, PUBLISH, topic) is expected


def test_actions_qos_and_retain_limit_a_rule() -> None:
    publish = [allow("t", "publish", qos=(1, 2), retain=True)]
    assert decision(publish, PUBLISH, "t", qos=1, retain=True)
    assert not decision(publish, PUBLISH, "t", qos=0, retain=True)
    assert not decision(publish, PUBLISH, "t", qos=1, retain=False)
    assert not decision(publish, SUBSCRIBE, "t", qos=1)
    subscribe = [allow("t", "subscribe", qos=(0,), retain=True)]
    assert decision(subscribe, SUBSCRIBE, "t", qos=0)  # retain means nothing here
    assert not decision(subscribe, SUBSCRIBE, "t", qos=1)
    assert not decision(subscribe, PUBLISH, "t", qos=0, retain=True)
    # One that does not fit is passed over in favour of a later one on the same topic.
    mixed = [deny("t", qos=(2,)), allow("t", retain=False), deny("t")]
    answers = [decision(mixed, PUBLISH, "t", qos=qos, retain=flag) for qos in (1, 2) for flag in (False, True)]
    assert answers == [True, False, False, False]


def test_a_literal_rule_for_all_actions_compares_publishes_and_subscriptions_but_covers_deliveries() -> None:
    client = access_by([allow("eq t/+"), deny("t/#")])
    assert client.decide(SUBSCRIBE, "t/+", 0, False)
    assert not client.decide(SUBSCRIBE, "t/1", 0, False)
    assert not client.decide(PUBLISH, "t/1", 0, False)
    assert client.decide(RECEIVE, "t/1", 0, False)


@pytest.mark.parametrize(
    ("rules", "checked", "received"),
    [
        # rules, whether deliveries are checked, topics that are delivered of t/open, t/secret
        ([allow("t/#")], False, {"t/open", "t/secret"}),
        ([deny("t/secret"), allow("t/#")], True, {"t/open"}),
        ([deny("t/secret", "publish"), allow("t/#")], False, {"t/open", "t/secret"}),
        ([deny("eq t/#"), allow("t/#")], False, {"t/open", "t/secret"}),
        ([deny("t/secret", qos=(2,)), allow("t/#")], False, {"t/open", "t/secret"}),
        ([deny("t/secret"), deny("eq #"), allow("t/#")], True, {"t/open"}),
        ([allow("eq t/#"), deny("#")], True, {"t/open", "t/secret"}),
        ([allow("t/open", qos=(0,)), deny("t/#")], True, {"t/open"}),
        ([deny("t/${username}")], True, {"t/open"}),
    ],
)
def test_receiving(rules: list[Rule], checked: bool, received: set[str]) -> None:
    client = access_by(rules, ClientFacts("c1", "secret"))
    assert client.checks_delivery is checked
    assert {topic for topic in ("t/open", "t/secret") if client.decide(RECEIVE, topic, 2, False)} == received


def test_a_hole_in_a_deny_counts_when_receiving() -> None:
    own = layer("clientid", [allow("t/secret", "subscribe")])
    users = layer("username", [deny("t/secret"), allow("t/#")])
    assert access(own, users).decide(RECEIVE, "t/secret", 0, False)
    assert not access(users).decide(RECEIVE, "t/secret", 0, False)


def lines_run(client: ClientAccess, operation: int, topic: str) -> int:
    """Count the lines that one decision runs, which no other load on the machine can change."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        client.decide(operation, topic, 0, False)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("operation", [PUBLISH, SUBSCRIBE, RECEIVE])
def test_the_cost_is_the_topics_and_not_the_rules(operation: int) -> None:
    def cost(count: int, topic: str = "site/1/c1/temperature") -> int:
        limits: list[tuple[Permission, tuple[int, ...]]] = [("deny", (2,)), ("allow", (0, 1, 2))]
        rules = [
            Rule(f"site/{n}/{level}/#", permission, "all", qos)
            for n in range(count // 4)
            for level in ("+", "${clientid}")
            for permission, qos in limits
        ]
        client = access_by(rules)
        assert client.decide(operation, "site/1/c1/other", 0, False)
        return lines_run(client, operation, topic)

    assert cost(40) == cost(8_000) > 20
    # What lies deeper than any rule is not even looked at.
    assert cost(40, "site/1/c1/a/b") >= cost(40, "site/1/c1/a/b" + "/x" * 10_000)


def test_many_rules_on_one_topic_stay_cheap() -> None:
    policy = acl.Policy.of_rules([deny("t", qos=(2,))] * 5_000 + [allow("t")])
    binding = policy.bind(ALICE)
    found = policy.find(PUBLISH, "t", ["t"], 0, False, binding)
    assert found is not None
    assert found.allow
    assert policy.written(found) == (5_000, allow("t"))
    assert [len(entries) for entries in policy._trie.matching("t", ["t"], {})] == [3]


def test_the_deepest_topic_is_decided() -> None:
    topic = "/" * 65_535  # 65,536 levels
    assert decision([allow("#")], PUBLISH, topic)
    assert decision([allow(topic)], SUBSCRIBE, topic)
    assert not decision([allow("/" * 65_534 + "x")], PUBLISH, topic)
    assert not decision([allow("/" * 65_534)], PUBLISH, topic)
    assert decision([allow("/" * 65_533 + "#")], SUBSCRIBE, "/" * 65_533 + "+/#")
