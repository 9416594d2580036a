"""Compiled decisions against the linear reading: 100,000 random cases for each order, and for all orders at once."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from wardenmq.broker.routing.topics import matches
from wardenmq.store.acl.access import ClientAccess, build_access
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, AclType, Condition, Role, RoleAcl, Rule

from .layered import defaults, layer
from .linear_access import Subject, decide

CASES = 100_000
QUERIES = 100
"""Cases for one set of layers."""

WORDS = ["a", "b", "c", "", "dev-b", "bc"]
LEVELS = [
    *WORDS, "+", "+", "+", "${clientid}", "${username}", "dev-${clientid}", "${clientid}${username}", "x${$}",
]  # fmt: skip
FIRST_LEVELS = [*LEVELS, "$SYS", "${$}SYS", "$CONTROL"]
ACL_LEVELS = [*WORDS, "+", "+", "+", "%c", "%u", "${clientid}", "${username}", "dev-%c"]
FIRST_ACL_LEVELS = [*ACL_LEVELS, "$SYS", "$CONTROL"]
TOPIC_WORDS = [*WORDS, "x$"]
FIRST_TOPIC_WORDS = [*TOPIC_WORDS, "$SYS", "$CONTROL"]
ACL_TYPES: list[AclType] = [
    "publishClientSend",
    "publishClientReceive",
    "subscribeLiteral",
    "subscribePattern",
    "subscribePattern",
    "unsubscribeLiteral",
    "unsubscribePattern",
]
CONDITIONS = [
    Condition(),
    Condition(ipaddr="10.0.0.0/8"),
    Condition(ipaddr="10.1.2.3"),
    Condition(clientid_re="^[ab]"),
    Condition(username_re="a|c"),
    Condition(listener="default", clientid_re="b"),
    Condition(listener="tcp:other"),
]

Subjects = list[Subject]


def pattern(rng: random.Random, first: Sequence[str], others: Sequence[str]) -> str:
    levels = [rng.choice(first), *(rng.choice(others) for _ in range(rng.choice([0, 1, 1, 2, 3])))]
    if rng.random() < 0.4:
        levels[rng.randint(0, len(levels)) :] = ["#"]
    return "/".join(levels) or "a"


def rules(rng: random.Random, permissions: Sequence[str] = ("allow", "deny")) -> list[Rule]:
    made: list[Rule] = []
    for _ in range(rng.choice([0, 1, 3, 10, 20])):
        topic = pattern(rng, FIRST_LEVELS, LEVELS)
        if made and rng.random() < 0.3:  # some stand on the same topic with another answer or other limits
            topic = rng.choice(made).topic.removeprefix("eq ")
        made.append(
            Rule(
                "eq " + topic if rng.random() < 0.15 else topic,
                rng.choice(permissions),  # type: ignore[arg-type]
                rng.choice(["publish", "subscribe", "all"]),
                rng.choice([(0, 1, 2), (0, 1, 2), (0, 1, 2), (0,), (1, 2), (2,)]),
                rng.choice([None, None, True, False]),
                rng.choice(CONDITIONS) if rng.random() < 0.2 else None,
            )
        )
    if made and rng.random() < 0.1:  # many conditions on one filter
        made += [replace(rng.choice(made), condition=rng.choice(CONDITIONS), topic=made[0].topic) for _ in range(20)]
    return made


def role(rng: random.Random, name: str) -> Role:
    acls: dict[tuple[str, str], RoleAcl] = {}
    for _ in range(rng.choice([0, 1, 3, 10, 20])):
        acltype, topic = rng.choice(ACL_TYPES), pattern(rng, FIRST_ACL_LEVELS, ACL_LEVELS)
        acls[acltype, topic] = RoleAcl(acltype, topic, rng.random() < 0.5, rng.choice([-1, 0, 0, 5]))
    ordered = sorted(acls.values(), key=lambda acl: -acl.priority)
    return Role(name, name, allow_wildcard_subs=rng.random() < 0.9, acls=tuple(ordered))


def one_list(rng: random.Random, facts: ClientFacts) -> Subjects:
    return [Subject("all", "", rules(rng))]


def roles_only(rng: random.Random, facts: ClientFacts) -> Subjects:
    own = [Subject("role", name, role(rng, name)) for name in ("r1", "r2")[: rng.randint(0, 2)]]
    return own + [Subject("group", f"g/{name}", role(rng, name)) for name in ("r1", "r3")[: rng.randint(0, 2)]]


def emqx_layers(rng: random.Random, facts: ClientFacts) -> Subjects:
    subjects = [Subject("clientid", facts.client_id, rules(rng))]
    if facts.username is not None:
        subjects.append(Subject("username", facts.username, rules(rng)))
    return [*subjects, Subject("all", "", rules(rng))]


def all_layers(rng: random.Random, facts: ClientFacts) -> Subjects:
    *own, everybody = emqx_layers(rng, facts)
    derived = Subject("derived", "login", rules(rng, ["allow"]))
    subjects = [*own, derived, *roles_only(rng, facts), everybody]
    return [subject for subject in subjects if rng.random() < 0.6]


def topics(rng: random.Random) -> list[tuple[int, str]]:
    """Give a few topic names to publish or receive, and filters to subscribe to; each will come more than once."""
    asked: list[tuple[int, str]] = []
    for _ in range(10):
        words = [rng.choice(FIRST_TOPIC_WORDS), *(rng.choice(TOPIC_WORDS) for _ in range(rng.randint(0, 3)))]
        name = "/".join(words) or "a"
        asked += [(PUBLISH, name), (RECEIVE, name)]
    for _ in range(20):
        levels = [
            rng.choice([*(TOPIC_WORDS if place else FIRST_TOPIC_WORDS), "+"]) for place in range(rng.randint(0, 4))
        ]
        if not levels or rng.random() < 0.4:
            levels.append("#")
        topic_filter = "/".join(levels) or "+"
        asked.append((SUBSCRIBE, f"$share/g/{topic_filter}" if rng.random() < 0.1 else topic_filter))
    return asked


def client(rng: random.Random) -> ClientFacts:
    return ClientFacts(
        rng.choice(["a", "b", "b", "c", "$SYS", "a/b", "+", "#", "x$"]),
        rng.choice(["a", "b", "c", "c", "$SYS", "", "a+", None]),
        rng.choice(["10.1.2.3", "10.9.9.9", "192.0.2.1", "2001:db8::1"]),
        rng.choice(["tcp:default", "tcp:other"]),
    )


def check_deliveries(found: ClientAccess, asked: list[tuple[int, str]]) -> None:
    """What is not checked on delivery must be allowed: whatever a permitted subscription brings."""
    names = {topic for operation, topic in asked if operation == RECEIVE}
    for operation, topic_filter in asked:
        if operation != SUBSCRIBE or not any(found.decide(SUBSCRIBE, topic_filter, qos, False) for qos in range(3)):
            continue
        plain = topic_filter.removeprefix("$share/g/")
        for name in names:
            if matches(plain, name):
                assert found.decide(RECEIVE, name, 0, False), (topic_filter, name)


@pytest.mark.parametrize(
    ("order", "may_be_confined"),
    [(one_list, False), (roles_only, False), (emqx_layers, False), (all_layers, True)],
    ids=["first match", "dynamic security", "emqx layers", "all layers"],
)
def test_compiled_rules_decide_as_those_read_one_by_one(
    order: Callable[[random.Random, ClientFacts], Subjects], may_be_confined: bool
) -> None:
    rng = random.Random(20_261_121)
    seen: Counter[tuple[int, bool]] = Counter()
    deciders: Counter[str] = Counter()
    unchecked = 0
    for _ in range(CASES // QUERIES):
        facts = client(rng)
        subjects = order(rng, facts)
        confined = may_be_confined and rng.random() < 0.3
        fallback = defaults(rng.random() < 0.5, rng.random() < 0.7, rng.random() < 0.5)
        layers = [layer(subject.kind, subject.content, subject.name) for subject in subjects]  # type: ignore[arg-type]
        access = build_access(1, layers, facts, fallback, confined=confined)
        asked = topics(rng)
        for _ in range(QUERIES):
            operation, topic = rng.choice(asked)
            qos, retain = rng.randint(0, 2), rng.random() < 0.5
            expected = decide(subjects, fallback, confined, facts, operation, topic, qos, retain)
            case = (subjects, fallback, confined, facts, operation, topic, qos, retain, expected)
            assert access.decide(operation, topic, qos, retain) is expected.allowed, case
            said = access.explain(operation, topic, qos, retain)
            assert (said.allowed, said.decided_by) == (expected.allowed, expected.decided_by), case
            if expected.layer is not None:
                assert len(said.layers) == expected.layer + 1, case
                assert (said.layers[-1].position, said.layers[-1].rule) == (expected.place, expected.rule), case
            seen[operation, expected.allowed] += 1
            deciders[expected.decided_by] += 1
        if not access.checks_delivery:
            unchecked += 1
            check_deliveries(access, asked)

    # The cases are worth something only if all answers, all layers and both kinds of deliveries come up.
    assert seen.total() == CASES
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        allowed, denied = seen[operation, True], seen[operation, False]
        assert min(allowed, denied) > 0.1 * (allowed + denied), seen
    kinds = {subject.kind for _ in range(100) for subject in order(rng, ClientFacts("a", "a"))}
    assert min(deciders[kind] for kind in kinds) > 0.02 * CASES, deciders
    assert unchecked > 0.05 * CASES / QUERIES
