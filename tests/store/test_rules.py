"""Rule lists: what may stand in them, how they are replaced, and that they come back as they were written."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from wardenmq.store.acl.conditions import MAX_EXPRESSIONS
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound
from wardenmq.store.records import PUBLISH, SUBSCRIBE, Change, Condition, Rule
from wardenmq.store.rules import MAX_RULES

ALLOW = Rule("a/#", "allow", "all")
DENY = Rule("a/#", "deny", "all")

VARIED = (
    Rule("eq t/#", "deny", "subscribe"),
    Rule("t/${clientid}/+", "allow", "all", (0, 1), None),
    Rule("dev-${username}", "allow", "publish", (2,), True),
    Rule("t", "deny", "publish", (0, 2), False),
    Rule("t", "deny", "publish", (0, 2), False),
    Rule("#", "allow", "subscribe", (1,), True),
)


async def test_no_record_and_an_empty_one_are_two_things(directory: Directory) -> None:
    assert directory.rules("username", "alice") is None
    assert directory.rules("all") is None
    await directory.set_rules("username", "alice", [])
    await directory.set_rules("all", "", [])
    assert directory.rules("username", "alice") == ()
    assert directory.rules("all") == ()
    assert directory.rules("clientid", "alice") is None
    assert directory.rule_subjects("username") == ["alice"]
    await directory.delete_rules("username", "alice")
    assert directory.rules("username", "alice") is None


async def test_setting_replaces_the_whole_list(directory: Directory) -> None:
    await directory.set_rules("username", "alice", [ALLOW, DENY])
    await directory.set_rules("username", "alice", VARIED)
    assert directory.rules("username", "alice") == VARIED
    assert not directory.access("c", "alice").decide(SUBSCRIBE, "a/b", 0, False)


async def test_subjects_are_created_all_or_none(directory: Directory) -> None:
    await directory.create_rules("clientid", [("c2", [ALLOW]), ("c1", [DENY])])
    assert directory.rule_subjects("clientid") == ["c1", "c2"]
    for entries in ([("c3", [ALLOW]), ("c1", [ALLOW])], [("c3", [ALLOW]), ("c3", [DENY])]):
        with pytest.raises(AlreadyExists):
            await directory.create_rules("clientid", entries)
    with pytest.raises(Invalid):
        await directory.create_rules("clientid", [("c3", [ALLOW]), ("c4", [replace(ALLOW, topic="a/#/b")])])
    assert directory.rule_subjects("clientid") == ["c1", "c2"]
    assert directory.rules("clientid", "c1") == (DENY,)


async def test_deleting(directory: Directory) -> None:
    await directory.set_rules("username", "alice", [ALLOW])
    await directory.set_rules("clientid", "c", [ALLOW])
    await directory.set_rules("all", "", [ALLOW])
    for subject_type, subject in (("username", "bob"), ("username", ""), ("clientid", "alice")):
        with pytest.raises(NotFound):
            await directory.delete_rules(subject_type, subject)
    await directory.delete_rules("all")
    assert directory.rules("all") is None
    await directory.delete_all_rules()
    assert directory.rule_subjects("username") == directory.rule_subjects("clientid") == []
    assert not directory.access("c", "alice").decide(PUBLISH, "a/b", 0, False)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "eq ",
        "a/#/b",
        "a+",
        "#/a",
        "a\0b",
        "\ud800",
        "x" * 65_536,
        "${cert_subject}",
        "a/${clientid",
        "${}",
        "${a${$}",
        "${" + "a" * 9_999 + "}",
        "a" * 9_999 + "${",
        "$share/#",
        "$share/g/t",
        "eq $share/g/t",
        "$queue/t",
        "${$}share/g/t",
        "$share/${username}/t",
    ],
)
async def test_a_bad_topic_is_refused(directory: Directory, topic: str) -> None:
    with pytest.raises(Invalid) as caught:
        await directory.set_rules("all", "", [ALLOW, replace(ALLOW, topic=topic)])
    assert len(caught.value.message) < 500
    assert directory.rules("all") is None


@pytest.mark.parametrize(
    "change", [{"permission": "maybe"}, {"action": "receive"}, {"qos": ()}, {"qos": (3,)}, {"qos": (0, -1)}]
)
async def test_a_bad_rule_is_refused(directory: Directory, change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await directory.set_rules("all", "", [replace(ALLOW, **change)])  # type: ignore[arg-type]
    assert directory.rules("all") is None


@pytest.mark.parametrize(
    ("subject_type", "subject"), [("role", "r"), ("username", ""), ("clientid", "a\0"), ("all", "alice")]
)
async def test_a_bad_subject_is_refused(directory: Directory, subject_type: str, subject: str) -> None:
    with pytest.raises(Invalid):
        await directory.set_rules(subject_type, subject, [ALLOW])
    assert directory.generation == 0


async def test_lists_are_bounded(directory: Directory) -> None:
    with pytest.raises(Invalid, match="more than"):
        await directory.set_rules("all", "", [ALLOW] * (MAX_RULES + 1))


async def test_changes_name_those_concerned(directory: Directory) -> None:
    changes: list[Change] = []

    async def record(change: Change) -> None:
        changes.append(change)

    directory.on_change(record)
    await directory.create_rules("username", [("alice", [ALLOW]), ("bob", [])])
    await directory.set_rules("clientid", "c", [ALLOW])
    await directory.delete_rules("username", "alice")
    await directory.set_rules("all", "", [ALLOW])
    await directory.set_no_match("allow")
    await directory.delete_all_rules()
    assert changes == [
        Change(usernames=frozenset({"alice", "bob"})),
        Change(client_ids=frozenset({"c"})),
        Change(usernames=frozenset({"alice"})),
        *[Change(everyone=True)] * 3,
    ]


async def test_rules_and_decisions_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.set_rules("username", "alice", [*VARIED, Rule("unsorted", "allow", "all", (2, 0, 2))])
    await directory.set_rules("username", "empty", [])
    await directory.set_rules("clientid", "c", [DENY, ALLOW])
    await directory.set_rules("clientid", "gone", [ALLOW])
    await directory.set_rules("all", "", [ALLOW])
    await directory.delete_rules("clientid", "gone")
    await directory.set_no_match("allow")

    def state(opened: Directory) -> list[object]:
        requests = [
            (operation, topic, qos, retain)
            for operation in (PUBLISH, SUBSCRIBE)
            for topic in ("t", "t/c/x", "t/d/x", "dev-alice", "a", "a/b", "unsorted", "elsewhere")
            for qos in range(3)
            for retain in (False, True)
        ]
        clients = [("c", "alice"), ("d", "alice"), ("gone", None), ("c", "empty")]
        decisions = [opened.access(*client).decide(*request) for client in clients for request in requests]
        assert {True, False} <= set(decisions)
        types = ("username", "clientid", "all")
        lists = [(kind, name, opened.rules(kind, name)) for kind in types for name in opened.rule_subjects(kind)]
        return [lists, opened.no_match, decisions]

    before = state(directory)
    await directory.close()
    again = await Directory.open(path)
    assert state(again) == before
    assert (again.rules("username", "alice") or ())[:-1] == VARIED
    await again.close()


async def test_rules_that_are_added_at_once_are_all_there(directory: Directory) -> None:
    rules = [Rule(f"t/{number}", "allow", "publish") for number in range(20)]
    await asyncio.gather(
        *(directory.add_rule("username", "alice", rule) for rule in rules),
        directory.set_rules("username", "alice", [Rule("set", "allow", "publish")]),
    )
    stored = directory.rules("username", "alice")
    assert stored is not None
    # Some were written before the list was set anew, but none that came after it has taken another one away.
    assert stored[0] == Rule("set", "allow", "publish") and len(stored) == len(set(stored))
    before = len(stored)
    await directory.add_rule("username", "alice", Rule("first", "deny", "all"), first=True)
    stored = directory.rules("username", "alice")
    assert stored is not None and (stored[0].topic, len(stored)) == ("first", before + 1)
    assert await directory.add_rule("all", "", rules[0]) == (rules[0],)


async def test_one_more_rule_of_many_touches_one_row_and_only_its_own_subject(tmp_path: Path) -> None:
    directory = await Directory.open(tmp_path / "wardenmq.db")
    many = [Rule(f"t/{number}", "allow", "publish") for number in range(500)]
    await directory.set_rules("all", "", many)
    before = await directory._database.read("SELECT id, ord FROM acl_rule ORDER BY id")
    access = directory.access("c", None)
    for number in range(3):
        await directory.add_rule("all", "", Rule(f"last/{number}", "allow", "all"))
        await directory.add_rule("all", "", Rule(f"first/{number}", "deny", "all"), first=True)
    after = await directory._database.read("SELECT id, ord FROM acl_rule ORDER BY id")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 6
    assert not access.decide(PUBLISH, "last/0", 0, False)  # for those who hold what was, it stays
    assert directory.access("c", None).decide(PUBLISH, "last/0", 0, False)
    rules = directory.rules("all")
    assert rules is not None
    topics = [rule.topic for rule in rules]
    assert topics[:4] == ["first/2", "first/1", "first/0", "t/0"]
    assert topics[-4:] == ["t/499", "last/0", "last/1", "last/2"]
    said = directory.access("c", None).explain(PUBLISH, "first/1", 0, False)
    assert said.layers[-1].position == 1
    await directory.close()
    again = await Directory.open(tmp_path / "wardenmq.db")
    assert again.rules("all") == rules
    await again.close()


async def test_one_more_rule_is_bounded_and_checked_as_all_are(directory: Directory) -> None:
    expressions = [replace(ALLOW, condition=Condition(username_re=f"u{number}")) for number in range(MAX_EXPRESSIONS)]
    await directory.set_rules("username", "alice", expressions)
    await directory.set_rules("all", "", [ALLOW] * MAX_RULES)
    generation = directory.generation
    for subject_type, subject, rule in (
        ("all", "", DENY),
        ("username", "alice", replace(ALLOW, condition=Condition(username_re="one more"))),
        ("username", "alice", replace(ALLOW, condition=Condition(username_re="("))),
        ("username", "alice", replace(ALLOW, topic="a/#/b")),
        ("all", "somebody", ALLOW),
        ("username", "", ALLOW),
    ):
        with pytest.raises(Invalid):
            await directory.add_rule(subject_type, subject, rule)
    assert directory.generation == generation
    known = replace(ALLOW, topic="b", condition=Condition(username_re="u1"))
    assert (await directory.add_rule("username", "alice", known))[-1] == known
