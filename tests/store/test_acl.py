"""Decisions one by one: the rules' own semantics, their order, and their cost."""

import pytest
from wardenmq.store import acl
from wardenmq.store.directory import Directory
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Action, Permission, Rule


def allow(topic: str, action: Action = "all", **conditions: object) -> Rule:
    return Rule(topic, "allow", action, **conditions)  # type: ignore[arg-type]


def deny(topic: str, action: Action = "all", **conditions: object) -> Rule:
    return Rule(topic, "deny", action, **conditions)  # type: ignore[arg-type]


async def decision(
    directory: Directory,
    rules: list[Rule],
    operation: int,
    topic: str,
    *,
    qos: int = 0,
    retain: bool = False,
    client_id: str = "c1",
    username: str | None = "alice",
) -> bool:
    await directory.set_rules("all", "", rules)
    return directory.access(client_id, username).decide(operation, topic, qos, retain)


async def test_nothing_is_allowed_at_first(directory: Directory) -> None:
    access = directory.access("c1", "alice")
    assert directory.no_match == "deny"
    assert not access.decide(PUBLISH, "a", 0, False)
    assert not access.decide(SUBSCRIBE, "a", 0, False)
    assert not access.checks_delivery
    await directory.set_no_match("allow")
    assert directory.no_match == "allow"
    access = directory.access("c1", "alice")
    assert access.decide(PUBLISH, "a", 0, False)
    assert access.decide(SUBSCRIBE, "a", 0, False)


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
async def test_subscribing(directory: Directory, rule_topic: str, requested: str, allowed: bool, denied: bool) -> None:
    assert await decision(directory, [allow(rule_topic)], SUBSCRIBE, requested) is allowed
    await directory.set_no_match("allow")
    assert await decision(directory, [deny(rule_topic)], SUBSCRIBE, requested) is not denied


async def test_a_loose_deny_counts_after_an_allow_that_does_not_cover(directory: Directory) -> None:
    await directory.set_no_match("allow")
    assert not await decision(directory, [allow("t/+"), deny("t/+")], SUBSCRIBE, "t/#")
    assert await decision(directory, [allow("t/+"), deny("t/+")], SUBSCRIBE, "t/+")


@pytest.mark.parametrize("requested", ["$share/g", "$share//a", "$share/+/a", "$queue/"])
async def test_a_malformed_share_is_denied(directory: Directory, requested: str) -> None:
    await directory.set_no_match("allow")
    assert not await decision(directory, [allow("#")], SUBSCRIBE, requested)


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
async def test_placeholders(
    directory: Directory, client_id: str, username: str | None, rule_topic: str, topic: str, expected: bool
) -> None:
    found = await decision(directory, [allow(rule_topic)], PUBLISH, topic, client_id=client_id, username=username)
    assert found is expected


async def test_the_first_rule_that_fits_decides(directory: Directory) -> None:
    rules = [allow("a/+/c"), deny("a/b/#"), allow("#"), deny("a/x")]
    for topic, expected in (("a/b/c", True), ("a/b/d", False), ("a/b", False), ("a/x", True)):
        assert await decision(directory, rules, PUBLISH, topic) is expected


async def test_layers_are_asked_in_order(directory: Directory) -> None:
    await directory.set_rules("all", "", [allow("t/#")])
    await directory.set_rules("username", "alice", [deny("t/1"), deny("t/2")])
    await directory.set_rules("clientid", "c1", [allow("t/1")])
    access = directory.access("c1", "alice")
    assert [access.decide(PUBLISH, f"t/{n}", 0, False) for n in (1, 2, 3)] == [True, False, True]
    # Another client, a client without a user name, and one whose name is another's client id.
    assert not directory.access("c2", "alice").decide(PUBLISH, "t/1", 0, False)
    assert directory.access("c2", None).decide(PUBLISH, "t/2", 0, False)
    assert directory.access("alice", "c1").decide(PUBLISH, "t/2", 0, False)


async def test_actions_qos_and_retain_are_conditions(directory: Directory) -> None:
    publish = [allow("t", "publish", qos=(1, 2), retain=True)]
    assert await decision(directory, publish, PUBLISH, "t", qos=1, retain=True)
    assert not await decision(directory, publish, PUBLISH, "t", qos=0, retain=True)
    assert not await decision(directory, publish, PUBLISH, "t", qos=1, retain=False)
    assert not await decision(directory, publish, SUBSCRIBE, "t", qos=1)
    subscribe = [allow("t", "subscribe", qos=(0,), retain=True)]
    assert await decision(directory, subscribe, SUBSCRIBE, "t", qos=0)  # retain means nothing here
    assert not await decision(directory, subscribe, SUBSCRIBE, "t", qos=1)
    assert not await decision(directory, subscribe, PUBLISH, "t", qos=0, retain=True)
    # One that does not fit is passed over in favour of a later one on the same topic.
    mixed = [deny("t", qos=(2,)), allow("t", retain=False), deny("t")]
    answers = [
        await decision(directory, mixed, PUBLISH, "t", qos=qos, retain=flag) for qos in (1, 2) for flag in (0, 1)
    ]
    assert answers == [True, False, False, False]


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
async def test_receiving(directory: Directory, rules: list[Rule], checked: bool, received: set[str]) -> None:
    await directory.set_rules("all", "", rules)
    access = directory.access("c1", "secret")
    assert access.checks_delivery is checked
    assert {topic for topic in ("t/open", "t/secret") if access.decide(RECEIVE, topic, 2, False)} == received


async def test_a_hole_in_a_deny_counts_when_receiving(directory: Directory) -> None:
    await directory.set_rules("clientid", "c1", [allow("t/secret", "subscribe")])
    await directory.set_rules("username", "alice", [deny("t/secret"), allow("t/#")])
    assert directory.access("c1", "alice").decide(RECEIVE, "t/secret", 0, False)
    assert not directory.access("c2", "alice").decide(RECEIVE, "t/secret", 0, False)


async def test_a_write_drops_only_what_was_compiled_from_it(directory: Directory) -> None:
    await directory.set_rules("username", "alice", [allow("a")])
    await directory.set_rules("username", "bob", [allow("b")])
    before = {name: directory.access("c1", name) for name in ("alice", "bob")}
    generation = directory.generation
    await directory.set_rules("username", "bob", [deny("b")])
    after = {name: directory.access("c1", name) for name in ("alice", "bob")}
    assert directory.generation == generation + 1 == after["alice"].generation
    assert after["alice"].layers[0][0] is before["alice"].layers[0][0]
    assert not after["bob"].decide(PUBLISH, "b", 0, False)


async def test_the_cost_is_the_topics_and_not_the_rules(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    better = acl._better

    def counting(best: acl.Entry | None, entries: list[acl.Entry], qos_bit: int, retain: bool) -> acl.Entry | None:
        looked_at.append(len(entries))
        return better(best, entries, qos_bit, retain)

    monkeypatch.setattr(acl, "_better", counting)

    async def cost(count: int) -> tuple[int, int]:
        looked_at.clear()
        conditions: list[tuple[Permission, tuple[int, ...]]] = [("deny", (2,)), ("allow", (0, 1, 2))]
        rules = [
            Rule(f"site/{n}/{level}/#", permission, "all", qos)
            for n in range(count // 4)
            for level in ("+", "${clientid}")
            for permission, qos in conditions
        ]
        assert await decision(directory, rules, PUBLISH, "site/1/c1/temperature")
        return len(looked_at), sum(looked_at)

    assert await cost(40) == await cost(8_000)


async def test_many_rules_on_one_topic_stay_cheap() -> None:
    rules = [deny("t", qos=(2,))] * 5_000 + [allow("t")]
    policy = acl.Policy(rules)
    assert policy.decide(PUBLISH, "t", 0, False, {}) is True
    assert len(policy._publish.root.words["t"].end) == 2


async def test_the_deepest_topic_is_decided(directory: Directory) -> None:
    topic = "/" * 65_535  # 65,536 levels
    assert await decision(directory, [allow("#")], PUBLISH, topic)
    assert await decision(directory, [allow(topic)], SUBSCRIBE, topic)
    assert not await decision(directory, [allow("/" * 65_534 + "x")], PUBLISH, topic)
