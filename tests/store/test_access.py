"""The layers of a client: their order, what holds after them, what stays known, and why something was decided."""

import pytest
from wardenmq.store.acl.access import Layer
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.explanation import LayerAnswer
from wardenmq.store.acl.policy import Policy
from wardenmq.store.errors import Invalid
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Condition

from .layered import ALICE, access, acl, allow, deny, layer, role


def test_the_first_layer_with_an_answer_decides() -> None:
    layers = [
        layer("clientid", [allow("t/1")], "c1"),
        layer("username", [deny("t/1"), deny("t/2")], "alice"),
        layer("derived", [allow("t/2"), allow("t/3")], "alice"),
        layer("role", role(acl("publishClientSend", "t/3", allow=False), acl("publishClientSend", "t/4"))),
        layer("group", role(acl("publishClientSend", "t/4", allow=False), acl("publishClientSend", "t/5")), "g/role"),
        layer("all", [deny("t/5"), allow("t/6")]),
    ]
    client = access(*layers)
    answers = [client.decide(PUBLISH, f"t/{n}", 0, False) for n in range(1, 8)]
    assert answers == [True, False, True, True, True, True, False]
    decided_by = [client.explain(PUBLISH, f"t/{n}", 0, False).decided_by for n in range(1, 8)]
    assert decided_by == ["clientid", "username", "derived", "role", "group", "all", "default"]


def test_who_is_confined_has_neither_rules_for_all_nor_defaults() -> None:
    layers = [layer("derived", [allow("a/#")], "pub-1"), layer("all", [allow("#")])]
    client = access(*layers, no_match=True, confined=True)
    assert client.decide(PUBLISH, "a/x", 0, False)
    assert client.decide(SUBSCRIBE, "a/#", 0, False)
    assert client.decide(RECEIVE, "a/x", 0, False)
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        assert not client.decide(operation, "b", 0, False)
        assert client.explain(operation, "b", 0, False).decided_by == "confined"
    assert [asked.kind for asked in client.layers] == ["derived"]


def test_a_derived_rule_can_only_allow() -> None:
    with pytest.raises(ValueError, match="only allow"):
        Policy.of_derived([deny("a")])


def test_no_default_allows_a_control_topic() -> None:
    client = access(no_match=True)
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        assert not client.decide(operation, "$CONTROL/dynamic-security/v1", 0, False)
        assert client.explain(operation, "$CONTROL/dynamic-security/v1", 0, False).decided_by == "reserved"
        assert client.decide(operation, "$SYS/x", 0, False)
    assert access(layer("all", [allow("$CONTROL/#")])).decide(PUBLISH, "$CONTROL/x", 0, False)


@pytest.mark.parametrize(
    ("layers", "no_match", "receive", "confined", "checked"),
    [
        ([], False, True, False, False),
        ([], True, True, False, False),
        ([], True, False, False, True),
        ([], False, False, False, False),  # no subscription that could bring anything
        ([layer("all", [allow("a/#"), allow("eq #")])], False, False, False, False),
        ([layer("all", [allow("a/#")])], True, False, False, True),
        ([layer("derived", [allow("a/#")])], True, True, True, False),
        ([layer("derived", [allow("a/#")]), layer("username", [deny("a/x")])], True, True, True, True),
        ([layer("derived", [allow("a/#")]), layer("username", [deny("eq a/x")])], True, True, True, False),
        ([layer("derived", [allow("a/#")]), layer("role", role(acl("subscribePattern", "b")))], True, True, True, True),
    ],
)
def test_deliveries_are_checked_only_where_one_may_be_denied(
    layers: list[Layer], no_match: bool, receive: bool, confined: bool, checked: bool
) -> None:
    client = access(*layers, no_match=no_match, receive=receive, confined=confined)
    assert client.checks_delivery is checked


def test_a_deny_hides_only_from_those_for_whom_its_condition_holds() -> None:
    rules = [deny("t/secret", condition=Condition(ipaddr="10.0.0.0/8")), allow("t/#")]
    inside, outside = ClientFacts("c1", "alice", "10.1.2.3"), ClientFacts("c1", "alice", "192.0.2.1")
    assert access(layer("all", rules), facts=inside).checks_delivery
    assert not access(layer("all", rules), facts=inside).decide(RECEIVE, "t/secret", 0, False)
    assert not access(layer("all", rules), facts=outside).checks_delivery
    assert access(layer("all", rules), facts=outside).decide(RECEIVE, "t/secret", 0, False)


def test_deliveries_follow_emqx_to_the_letter_where_that_is_wanted() -> None:
    rules = layer("all", [deny("t/secret"), allow("t/#")])
    client = access(rules, enforce_on_delivery=False)
    assert not client.checks_delivery
    assert client.decide(RECEIVE, "t/secret", 0, False)
    assert not client.decide(SUBSCRIBE, "t/secret", 0, False)
    confined = access(rules, layer("username", [deny("x/y"), allow("x/#")]), confined=True, enforce_on_delivery=False)
    assert confined.decide(RECEIVE, "x/y", 0, False)
    assert not confined.decide(RECEIVE, "t/secret", 0, False)


def count_finds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    find = Policy.find

    def counting(policy: Policy, operation: int, topic: str, *others: object) -> object:
        asked.append(topic)
        return find(policy, operation, topic, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Policy, "find", counting)
    return asked


def test_a_decision_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_finds(monkeypatch)
    client = access(layer("all", [allow("a/#", "publish"), deny("a/#", "subscribe")]))
    for _ in range(3):
        assert client.decide(PUBLISH, "a/b", 0, False)
        assert client.decide(PUBLISH, "a/b", 2, True)
        assert not client.decide(SUBSCRIBE, "a/b", 0, False)
        assert not client.decide(RECEIVE, "a/b", 0, False)
    assert asked == ["a/b"] * 3


def test_a_layer_is_not_asked_about_what_it_never_speaks_of(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_finds(monkeypatch)
    client = access(
        layer("username", [allow("a", "publish")]),
        layer("role", role(acl("publishClientReceive", "a"))),
        layer("all", [allow("a", "subscribe")]),
    )
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        assert client.decide(operation, "a", 0, False)
    assert len(asked) == 3


def test_qos_and_retain_are_told_apart_only_where_a_rule_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_finds(monkeypatch)
    client = access(layer("all", [allow("a", "publish", qos=(1,), retain=False), allow("a", "subscribe")]))
    variants = [(qos, retain) for qos in range(3) for retain in (False, True)]
    for _ in range(2):
        assert [client.decide(PUBLISH, "a", *variant) for variant in variants] == [False, False, True] + [False] * 3
        assert all(client.decide(SUBSCRIBE, "a", qos, False) for qos in range(3))
    assert len(asked) == 7


def test_decisions_stay_known_while_the_same_policies_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    own, users = layer("clientid", [allow("a")], "c1"), layer("username", [allow("b")], "alice")
    before = access(own, users)
    assert before.decide(PUBLISH, "a", 0, False)
    asked = count_finds(monkeypatch)
    after = access(own, users, previous=before, generation=2)
    assert (before.generation, after.generation) == (1, 2)
    assert after.decide(PUBLISH, "a", 0, False)
    assert not asked
    others = [
        access(own, layer("username", [deny("b")], "alice"), previous=before),
        access(own, previous=before),
        access(users, own, previous=before),
        access(own, users, previous=before, no_match=True),
        access(own, users, previous=before, confined=True),
        access(own, users, previous=before, enforce_on_delivery=False),
        access(own, users, previous=before, facts=ClientFacts("c1", "alice", "192.0.2.1")),
    ]
    for other in others:
        asked.clear()
        assert other.decide(PUBLISH, "a", 0, False)
        assert asked
    assert before.decide(PUBLISH, "a", 0, False)


def test_the_same_defaults_under_another_object_keep_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    own = layer("clientid", [allow("a")], "c1")
    before = access(own)
    before.decide(PUBLISH, "a", 0, False)
    asked = count_finds(monkeypatch)
    assert access(own, previous=before).decide(PUBLISH, "a", 0, False)
    assert not asked


def test_conditions_are_worked_out_once_for_a_policy_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own = layer("clientid", [allow("a", condition=Condition(clientid_re="^c"))], "c1")
    before = access(own, layer("all", []))
    binding = before._asked[0][1]
    assert access(own, layer("all", [allow("b")]), previous=before)._asked[0][1] is binding
    assert access(own, previous=before, facts=ClientFacts("c2", None))._asked[0][1] is not binding


def test_an_explanation_names_the_rule_as_it_was_written() -> None:
    rules = [deny("x"), allow("a/#", "publish"), allow("a/b", "publish")]
    acls = [acl("publishClientSend", "z"), acl("subscribePattern", "b/#", allow=False, priority=7)]
    client = access(layer("clientid", [deny("q")], "c1"), layer("role", role(*acls, name="r")), layer("all", rules))
    said = client.explain(PUBLISH, "a/b", 0, False)
    assert (said.allowed, said.decided_by) == (True, "all")
    assert said.layers == (
        LayerAnswer("clientid", "c1", None),
        LayerAnswer("role", "r", None),
        LayerAnswer("all", "", True, rules[1], 1),
    )
    assert said.deciding == said.layers[-1]
    said = client.explain(SUBSCRIBE, "$share/g/b/c", 0, False)
    assert said.deciding == LayerAnswer("role", "r", False, acls[1], 1)
    said = client.explain(PUBLISH, "nothing", 0, False)
    assert (said.allowed, said.decided_by, said.deciding) == (False, "default", None)
    assert [answer.allowed for answer in said.layers] == [None, None, None]


def test_an_explanation_names_the_guard_against_wildcards() -> None:
    client = access(layer("role", role(acl("subscribePattern", "#"), name="r", wildcards=False)))
    said = client.explain(SUBSCRIBE, "a/+", 0, False)
    assert not said.allowed
    assert said.deciding == LayerAnswer("role", "r", False, wildcard_guard=True)


@pytest.mark.parametrize(
    ("operation", "topic"),
    [(PUBLISH, "a/#"), (RECEIVE, "+"), (PUBLISH, ""), (SUBSCRIBE, "a/#/b"), (SUBSCRIBE, "$share/g"), (SUBSCRIBE, "")],
)
def test_what_no_client_could_ask_is_not_explained(operation: int, topic: str) -> None:
    with pytest.raises(Invalid, match="cannot be decided on"):
        access(no_match=True).explain(operation, topic, 0, False)


def test_an_explanation_is_not_taken_from_what_is_known() -> None:
    client = access(layer("all", [allow("a")]), facts=ALICE)
    client._cache.keep(PUBLISH, "a", 0, False, 0.0)
    assert not client.decide(PUBLISH, "a", 0, False)
    assert client.explain(PUBLISH, "a", 0, False).allowed
