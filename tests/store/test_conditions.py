"""Conditions of rules, and the bounds of regular expressions."""

import logging
import time

import pytest
from wardenmq.store.acl import conditions
from wardenmq.store.acl.binding import Binding
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.conditions import (
    MAX_EXPRESSIONS,
    Circumstances,
    CompiledCondition,
    check_condition,
    check_conditions,
)
from wardenmq.store.acl.regular_expressions import MAX_LENGTH, MAX_TEXT, RegularExpression
from wardenmq.store.errors import Invalid
from wardenmq.store.records import PUBLISH, SUBSCRIBE, Condition

from .layered import ALICE, access, access_by, allow, deny, layer

SLOW = "(x+x+)+y"
LONG_X = ClientFacts("x" * 1_000, "alice")


@pytest.mark.parametrize(
    ("condition", "facts", "expected"),
    [
        (Condition(), ALICE, True),
        (Condition(ipaddr="10.1.2.3"), ALICE, True),
        (Condition(ipaddr="10.0.0.0/8"), ALICE, True),
        (Condition(ipaddr="10.1.2.9/24"), ALICE, True),
        (Condition(ipaddr="10.1.3.0/24"), ALICE, False),
        (Condition(ipaddr="2001:db8::/32"), ALICE, False),
        (Condition(ipaddr="10.0.0.0/8"), ClientFacts("c1", None, "::ffff:10.1.2.3"), True),
        (Condition(ipaddr="::ffff:10.0.0.0/104"), ALICE, True),
        (Condition(ipaddr="2001:db8::/32"), ClientFacts("c1", None, "2001:db8::1%eth0"), True),
        (Condition(ipaddr="0.0.0.0/0"), ClientFacts("c1", None, ""), False),
        (Condition(ipaddr="0.0.0.0/0"), ClientFacts("c1", None, "/run/socket"), False),
        (Condition(clientid_re="^c[0-9]$"), ALICE, True),
        (Condition(clientid_re="1"), ALICE, True),  # anywhere, as in EMQX
        (Condition(clientid_re="^1"), ALICE, False),
        (Condition(username_re="^al"), ALICE, True),
        (Condition(username_re=""), ClientFacts("c1", None), False),
        (Condition(listener="tcp:default"), ALICE, True),
        (Condition(listener="default"), ALICE, True),
        (Condition(listener="tcp"), ALICE, False),
        (Condition(listener="ssl:default"), ALICE, False),
        (Condition(listener="default"), ClientFacts("c1", None), False),
        (Condition(listener_re="^tcp:"), ALICE, True),
        (Condition(listener_re="^ws:"), ALICE, False),
        (Condition(zone="default"), ALICE, True),
        (Condition(zone="other"), ALICE, False),
        (Condition(zone_re="^def"), ALICE, True),
        (Condition(zone_re="^other"), ALICE, False),
        (Condition(ipaddr="10.0.0.0/8", clientid_re="c", username_re="bob"), ALICE, False),
        (Condition(ipaddr="10.0.0.0/8", clientid_re="c", username_re="ali", listener="default"), ALICE, True),
    ],
)
def test_all_that_is_set_must_hold(condition: Condition, facts: ClientFacts, expected: bool) -> None:
    assert CompiledCondition(condition).holds(Circumstances(facts)) is expected
    client = access_by([deny("a", condition=condition), allow("a")], facts)
    assert client.decide(PUBLISH, "a", 0, False) is not expected
    assert client.decide(SUBSCRIBE, "a", 0, False) is not expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition(ipaddr="10.0.0.256"), "not a network"),
        (Condition(ipaddr="10.0.0.0/33"), "out of range"),
        (Condition(ipaddr=""), "not a network"),
        (Condition(clientid_re="("), "not valid"),
        (Condition(username_re="x" * (MAX_LENGTH + 1)), "longer than"),
        (Condition(zone_re="((a{90}){90}){90}"), "repeats too much"),
        (Condition(listener_re="[z-a]"), "not valid"),
        (Condition(listener=""), "1 to 256"),
        (Condition(zone="z" * 257), "1 to 256"),
        (Condition(listener="\ud800"), r"U\+D800"),
        (Condition(listener="a\0"), r"U\+0000"),
        (Condition(zone="a\n"), r"U\+000A"),
        (Condition(clientid_re="\ud800"), r"U\+D800"),
        (Condition(username_re="\udfff"), r"U\+DFFF"),
    ],
)
def test_what_cannot_be_asked_is_refused(condition: Condition, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_condition(condition)


def test_a_list_has_a_bounded_number_of_expressions() -> None:
    many = [Condition(clientid_re=f"^{number}$") for number in range(MAX_EXPRESSIONS)]
    check_conditions([*many, *many, Condition(username_re="^7$"), Condition(ipaddr="10.0.0.1")])
    with pytest.raises(Invalid, match="more than 1000 different"):
        check_conditions([*many, Condition(zone_re="one more")])
    with pytest.raises(Invalid, match="not valid"):
        check_conditions([*many[:5], Condition(listener_re="(")])


@pytest.mark.parametrize(
    "text",
    [
        "(a{1000}){1000}",
        "(((a{100}){100}){100}){100}",
        "(?:a{99}+b){1000}",
        "[)]a{99999}",
        r"(\(a{999}){999}",
        "a{99999999999999999999}",
        "(?:(?:x{100}){1,2}){101,}",
    ],
)
def test_repeats_that_would_fill_the_memory_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="repeats too much"):
        RegularExpression(text)


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("^dev-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", "dev-00000000-1111-2222-333333333333"),
        ("^(?:[0-9]{1,3}\\.){3}[0-9]{1,3}$", "10.0.0.1"),
        ("a{0,5000}b", "aab"),
        ("[]{99999}]+$", "{9}]"),
        ("x\\{99999}", "x{99999}"),
    ],
)
def test_ordinary_repeats_are_not(text: str, matching: str) -> None:
    assert RegularExpression(text).search(matching, 1.0) is True


def test_an_expression_is_given_up_after_its_time() -> None:
    expression = RegularExpression(SLOW)
    begun = time.thread_time()
    assert expression.search("x" * 1_000, 0.005) is None
    assert time.thread_time() - begun < 1.0
    assert expression.search("x" * 60, 0.0) is None
    assert expression.search("y" * (MAX_TEXT + 1), 1.0) is None
    assert expression.search("xxxy", 1.0) is True


def test_who_cannot_be_told_apart_in_time_is_denied(caplog: pytest.LogCaptureFixture) -> None:
    slow = Condition(clientid_re=SLOW)
    with caplog.at_level(logging.WARNING):
        denied = access_by([deny("a", condition=slow), allow("a")], LONG_X)
        assert not denied.decide(PUBLISH, "a", 0, False)
        assert denied.checks_delivery
        assert not access_by([allow("a", condition=slow)], LONG_X).decide(PUBLISH, "a", 0, False)
        # What is known to fail decides, however slow the rest.
        known = Condition(clientid_re=SLOW, username_re="^bob$")
        assert access_by([deny("a", condition=known), allow("a")], LONG_X).decide(PUBLISH, "a", 0, False)
    assert "takes too long" in caplog.text
    assert LONG_X.client_id not in caplog.text


def test_a_slow_condition_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    rules = layer("all", [deny("a", condition=Condition(clientid_re=SLOW))])
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            access(rules, facts=ClientFacts(f"{LONG_X.client_id}{number}", None)).decide(PUBLISH, "a", 0, False)
    assert len(caplog.records) == 1


def test_all_expressions_together_have_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(step / 1_000 for step in range(10_000))
    monkeypatch.setattr(conditions.time, "thread_time", lambda: next(clock))
    seconds: list[float] = []

    class Slow:
        text = "slow"

        def search(self, text: str, limit: float) -> bool | None:
            seconds.append(limit)
            next(clock), next(clock), next(clock)
            return False if limit > 0 else None

    circumstances = Circumstances(ALICE)
    answers = [circumstances.search(Slow(), "x") for _ in range(10)]  # type: ignore[arg-type]
    assert answers == [False] * 3 + [None] * 7
    assert seconds[0] == 0.005
    assert seconds[-1] <= 0


def test_conditions_are_worked_out_once_and_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    holds = CompiledCondition.holds

    def counting(condition: CompiledCondition, circumstances: Circumstances) -> bool | None:
        asked.append(condition)
        return holds(condition, circumstances)

    monkeypatch.setattr(CompiledCondition, "holds", counting)
    first, second = Condition(clientid_re="^c"), Condition(clientid_re="^d")
    client = access_by([allow("a/+", condition=first), allow("a/#", condition=first), allow("b", condition=second)])
    for topic in ("a/1", "a/2", "a/3/4"):
        assert client.decide(PUBLISH, topic, 0, False)
    assert len(asked) == 1
    assert not client.decide(PUBLISH, "b", 0, False)
    assert len(asked) == 2


def test_many_conditions_on_one_filter_stay_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [
        allow("#", condition=Condition(ipaddr=f"192.0.{number >> 8}.{number & 255}"), qos=(number % 3,))
        for number in range(5_000)
    ]
    policy = layer("all", [*rules, deny("#", condition=Condition(ipaddr="10.0.0.0/8"))])
    client = access(policy, no_match=True)
    assert not client.decide(PUBLISH, "a", 0, False)
    looked_at: list[int] = []
    usable = Binding.usable

    def counting(binding: Binding, entries: list[object]) -> list[object]:
        found = usable(binding, entries)  # type: ignore[arg-type]
        looked_at.append(len(found))
        return found  # type: ignore[return-value]

    monkeypatch.setattr(Binding, "usable", counting)
    monkeypatch.setattr(Binding, "holds", lambda *_: pytest.fail("a condition was asked again"))
    assert not client.decide(PUBLISH, "b", 0, False)
    assert looked_at == [1]


def test_rules_of_each_kind_stay_when_conditions_are_many() -> None:
    inside, outside = Condition(ipaddr="10.0.0.0/8"), Condition(ipaddr="192.0.2.0/24")
    rules = [deny("a", condition=outside)] * 10
    rules += [deny("a", qos=(2,), condition=inside), allow("a", retain=False, condition=inside)]
    rules += [deny("a", "publish", condition=Condition(listener=str(number))) for number in range(10)]
    rules += [allow("a", condition=inside)]
    client = access_by(rules)
    assert not client.decide(PUBLISH, "a", 2, True)
    assert not client.decide(PUBLISH, "a", 2, False)
    assert client.decide(PUBLISH, "a", 0, True)
    assert client.explain(PUBLISH, "a", 0, False).layers[0].position == 11
    assert client.explain(PUBLISH, "a", 0, True).layers[0].position == 22


def test_an_expression_that_another_release_refuses_denies(caplog: pytest.LogCaptureFixture) -> None:
    broken = Condition(clientid_re="(")
    assert not access_by([deny("a", condition=broken), allow("a")]).decide(PUBLISH, "a", 0, False)
    assert not access_by([allow("a", condition=broken)]).decide(PUBLISH, "a", 0, False)
    assert "cannot be asked any more" in caplog.text
