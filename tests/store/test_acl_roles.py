"""Decisions by roles, as Mosquitto's dynamic security makes them."""

import pytest
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.patterns import check_acl_topic
from wardenmq.store.errors import Invalid
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, AclType

from .layered import ALICE, access, acl, layer, role

SEND: AclType = "publishClientSend"
RECEIVED: AclType = "publishClientReceive"
LITERAL: AclType = "subscribeLiteral"
PATTERN: AclType = "subscribePattern"


def test_each_type_is_about_its_own_operation() -> None:
    every: dict[AclType, set[int]] = {
        "publishClientSend": {PUBLISH},
        "publishClientReceive": {RECEIVE},
        "subscribeLiteral": {SUBSCRIBE},
        "subscribePattern": {SUBSCRIBE},
        "unsubscribeLiteral": set(),
        "unsubscribePattern": set(),
    }
    for acltype, operations in every.items():
        client = access(layer("role", role(acl(acltype, "a/b"))), receive=False)
        allowed = {
            operation for operation in (PUBLISH, RECEIVE, SUBSCRIBE) if client.decide(operation, "a/b", 0, False)
        }
        assert allowed == operations, acltype


def test_the_highest_priority_decides_and_then_who_came_first() -> None:
    send = role(
        acl(SEND, "a/#", allow=False, priority=-5),
        acl(SEND, "a/b", allow=True, priority=1),
        acl(SEND, "a/+", allow=False, priority=1),
        acl(SEND, "a/c", allow=True, priority=0),
    )
    client = access(layer("role", send), no_match=True)
    answers = {topic: client.decide(PUBLISH, topic, 0, False) for topic in ("a/b", "a/c", "a", "b")}
    assert answers == {"a/b": True, "a/c": False, "a": False, "b": True}


def test_literals_are_asked_before_patterns_whatever_their_priorities() -> None:
    both = role(acl(PATTERN, "t/#", allow=False, priority=100), acl(LITERAL, "t/#", priority=-100))
    client = access(layer("role", both))
    assert client.decide(SUBSCRIBE, "t/#", 0, False)
    assert not client.decide(SUBSCRIBE, "t/a", 0, False)
    # Nor does a literal mean anything to a delivery.
    assert access(layer("role", role(acl(LITERAL, "t/#"))), receive=False).decide(RECEIVE, "t/a", 0, False) is False


@pytest.mark.parametrize(
    ("pattern", "requested", "concerned"),
    [
        ("a/#", "a", True),
        ("a/#", "a/b", True),
        ("a/#", "a/+/c", True),
        ("a/#", "a/#", True),
        ("a/+", "a/b", True),
        ("a/+", "a/+", True),
        ("a/+", "a/#", False),
        ("#", "$SYS/#", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/broker", True),
        ("#", "$share/g/a", True),
    ],
)
def test_a_pattern_concerns_what_it_covers(pattern: str, requested: str, concerned: bool) -> None:
    assert access(layer("role", role(acl(PATTERN, pattern)))).decide(SUBSCRIBE, requested, 0, False) is concerned
    # A deny concerns no more than an allow: the plain comparison of EMQX's rules is not for roles.
    denied = access(layer("role", role(acl(PATTERN, pattern, allow=False))), no_match=True)
    assert denied.decide(SUBSCRIBE, requested, 0, False) is not concerned


@pytest.mark.parametrize("requested", ["#", "a/+", "a/#", "+/b", "$share/g/a/+"])
def test_a_role_without_wildcard_subscriptions_denies_them_all(requested: str) -> None:
    guard = role(acl(LITERAL, requested), acl(PATTERN, "#", priority=5), wildcards=False)
    client = access(layer("role", guard), layer("role", role(acl(PATTERN, "#"), name="next")), no_match=True)
    assert not client.decide(SUBSCRIBE, requested, 0, False)
    assert client.decide(SUBSCRIBE, "a/b", 0, False)
    # It is said even by a role whose ACLs are about something else, but not against publishes.
    other = access(layer("role", role(acl(SEND, "x"), wildcards=False)), no_match=True)
    assert not other.decide(SUBSCRIBE, requested, 0, False)
    assert other.decide(PUBLISH, "a/b", 0, False)


def test_the_guard_of_an_earlier_role_comes_first_and_of_a_later_one_too_late() -> None:
    guard = layer("role", role(name="guard", wildcards=False))
    grant = layer("role", role(acl(PATTERN, "a/#"), name="grant"))
    assert not access(guard, grant).decide(SUBSCRIBE, "a/#", 0, False)
    assert access(grant, guard).decide(SUBSCRIBE, "a/#", 0, False)


@pytest.mark.parametrize(
    ("topic", "asked", "expected"),
    [
        ("u/%u/up", "u/alice/up", True),
        ("u/%c/up", "u/c1/up", True),
        ("%u/#", "alice", True),
        ("${username}/${clientid}", "alice/c1", True),
        ("u/%u/up", "u/bob/up", False),
        ("u/x%u", "u/xalice", False),
        ("u/x%u", "u/x%u", True),
        ("%c%u", "c1alice", False),
    ],
)
def test_placeholders_are_whole_levels(topic: str, asked: str, expected: bool) -> None:
    for acltype, operation in ((SEND, PUBLISH), (RECEIVED, RECEIVE), (PATTERN, SUBSCRIBE)):
        client = access(layer("role", role(acl(acltype, topic))), receive=False)
        assert client.decide(operation, asked, 0, False) is expected
    literal = access(layer("role", role(acl(LITERAL, topic))))
    assert literal.decide(SUBSCRIBE, asked, 0, False) is (topic == asked)
    assert literal.decide(SUBSCRIBE, topic, 0, False)


@pytest.mark.parametrize("name", ["", "+", "#", "/", "a/b", "a+"])
def test_a_name_that_would_change_the_topic_matches_nothing(name: str) -> None:
    client = access(layer("role", role(acl(PATTERN, "u/%u"), acl(SEND, "u/%u"))), facts=ClientFacts("c1", name))
    for asked in ("u", "u/", "u/+", "u/#", "u//", "u/x", "u/a/b", f"u/{name}"):
        assert not client.decide(SUBSCRIBE, asked, 0, False)
        assert not client.decide(PUBLISH, asked, 0, False)
    nameless = access(layer("role", role(acl(SEND, "u/%u"))), facts=ClientFacts("c1", None))
    assert not nameless.decide(PUBLISH, "u/None", 0, False)


def test_deliveries_are_checked_where_a_role_may_hide_some() -> None:
    def checks(*acls: object, receive: bool = True, confined: bool = False) -> bool:
        return access(layer("role", role(*acls)), receive=receive, confined=confined).checks_delivery  # type: ignore[arg-type]

    assert not checks(acl(PATTERN, "a/#"), acl(RECEIVED, "a/#"))
    assert not checks(acl(PATTERN, "a/#", allow=False), acl(SEND, "a/#", allow=False))
    assert checks(acl(PATTERN, "a/#"), acl(RECEIVED, "a/x", allow=False))
    assert checks(acl(PATTERN, "a/#"), acl(RECEIVED, "a/+"), receive=False)
    assert checks(acl(PATTERN, "a/#"), acl(RECEIVED, "a/#", allow=False), receive=False)
    assert checks(acl(LITERAL, "a/#"), confined=True)
    assert checks(acl(LITERAL, "%u"), acl(RECEIVED, "%u"), receive=False)
    # What it allows to subscribe to, it allows to receive.
    assert not checks(acl(PATTERN, "a/#"), acl(RECEIVED, "a/#"), receive=False)
    assert not checks(acl(LITERAL, "a/#"), acl(RECEIVED, "a/#"), confined=True)
    # No default lets anybody receive control topics.
    assert checks(acl(PATTERN, "$CONTROL/#"))
    assert not checks(acl(PATTERN, "$CONTROL/#"), acl(RECEIVED, "$CONTROL/#"))
    assert not checks(acl(RECEIVED, "a/#"), receive=False)  # nothing can be subscribed to
    # What hides in dynamic security hides, whatever EMQX's rules are taken to mean.
    hiding = layer("role", role(acl(RECEIVED, "a", allow=False)))
    lenient = access(hiding, enforce_on_delivery=False)
    assert lenient.checks_delivery
    assert not lenient.decide(RECEIVE, "a", 0, False)


def test_the_shipped_admin_role() -> None:
    topics = ("$CONTROL/dynamic-security/#", "$SYS/#", "#")
    admin = role(
        acl(SEND, topics[0]), *(acl(RECEIVED, topic) for topic in topics), *(acl(PATTERN, topic) for topic in topics)
    )
    client = access(layer("role", admin), receive=False)
    assert client.decide(PUBLISH, "$CONTROL/dynamic-security/v1", 0, False)
    assert not client.decide(PUBLISH, "$CONTROL/broker/v1", 0, False)
    assert not client.decide(PUBLISH, "a", 0, False)
    for asked in ("#", "$SYS/#", "$CONTROL/dynamic-security/v1/response", "a/+/b"):
        assert client.decide(SUBSCRIBE, asked, 0, False)
    for topic in ("a", "$SYS/broker/uptime", "$CONTROL/dynamic-security/v1/response"):
        assert client.decide(RECEIVE, topic, 0, False)


@pytest.mark.parametrize("topic", ["", "a/#/b", "a#", "a+/b", "a\0b"])
def test_topics_of_acls_are_filters(topic: str) -> None:
    with pytest.raises(Invalid, match="of an ACL is not valid"):
        check_acl_topic(SEND, topic)


def test_a_placeholder_of_rules_inside_a_level_is_refused() -> None:
    for topic in ("dev-${clientid}/#", "a/${username}s", "${clientid}${username}"):
        with pytest.raises(Invalid, match="must be the whole level"):
            check_acl_topic(PATTERN, topic)
        check_acl_topic(LITERAL, topic)
    for topic in ("a/${username}/${clientid}/%u/%c", "50%clean", "${other}"):
        check_acl_topic(PATTERN, topic)


def test_acls_that_came_unsorted_are_read_by_priority() -> None:
    first = role(acl(SEND, "a", allow=False, priority=1), acl(SEND, "a/#", allow=True, priority=2))
    assert access(layer("role", first), facts=ALICE).decide(PUBLISH, "a", 0, False)
