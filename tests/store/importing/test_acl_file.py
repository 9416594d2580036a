"""Mosquitto's ACL file: whose lines they are, in which order they are asked, and what is left out and why."""

import pytest
from wardenmq.store.acl.patterns import check_rule_topic
from wardenmq.store.errors import Invalid
from wardenmq.store.importing import acl_file
from wardenmq.store.importing.acl_file import (
    DOLLAR_NOTE,
    NAMES_NOTE,
    PART_NOTE,
    SUBSCRIBE_NOTE,
    parse_mosquitto_acl,
)
from wardenmq.store.importing.records import ImportedRules, ParsedAcl
from wardenmq.store.records import RoleAcl, Rule
from wardenmq.store.role_acls import check_acls

FILE = """# Clients without user name.
topic read $SYS/broker/uptime
topic deny public/private/#
topic public/#

user roger
topic foo/bar
topic write house/+/light/set
topic deny foo/secret
topic read  house/#
# All clients.
pattern write $SYS/broker/connection/%c/state
pattern readwrite devices/%u/%c/#
pattern deny devices/+/+/firmware

user zwölf ümlaute
topic read with space/#
user roger
topic readwrite last/#
"""


def parse(*lines: str) -> ParsedAcl:
    return parse_mosquitto_acl("\n".join(lines).encode())


def where(parsed: ParsedAcl) -> list[tuple[int, str, bool]]:
    return [(skipped.line, skipped.what, skipped.may_deny) for skipped in parsed.skipped]


def allow(topic: str, action: str = "all") -> Rule:
    return Rule(topic, "allow", action)  # type: ignore[arg-type]


def deny(topic: str) -> Rule:
    return Rule(topic, "deny", "all")


@pytest.mark.parametrize("text", [FILE, FILE.replace("\n", "\r\n"), "\N{ZERO WIDTH NO-BREAK SPACE}" + FILE])
def test_a_file_as_it_may_be(text: str) -> None:
    parsed = parse_mosquitto_acl(text.encode())
    assert parsed.users == (
        ImportedRules(
            "roger",
            (
                deny("foo/secret"),
                allow("foo/bar"),
                allow("house/+/light/set", "publish"),
                allow("house/#", "subscribe"),
                allow("last/#"),
            ),
            6,
        ),
        ImportedRules("zwölf ümlaute", (allow("with space/#", "subscribe"),), 16),
    )
    assert parsed.patterns == (
        deny("devices/+/+/firmware"),
        allow("$SYS/broker/connection/${clientid}/state", "publish"),
        allow("devices/${username}/${clientid}/#"),
    )
    assert parsed.anonymous == (
        RoleAcl("publishClientSend", "public/private/#", False, 1),
        RoleAcl("subscribePattern", "public/private/#", False, 1),
        RoleAcl("publishClientReceive", "public/private/#", False, 1),
        RoleAcl("subscribePattern", "$SYS/broker/uptime", True),
        RoleAcl("publishClientReceive", "$SYS/broker/uptime", True),
        RoleAcl("publishClientSend", "public/#", True),
        RoleAcl("subscribePattern", "public/#", True),
        RoleAcl("publishClientReceive", "public/#", True),
    )
    assert parsed.skipped == ()
    assert parsed.notes == (SUBSCRIBE_NOTE, DOLLAR_NOTE)


def test_nothing_allows_nothing() -> None:
    assert parse("# nothing", "", "  # here", "user nobody") == ParsedAcl()


def test_words_are_taken_as_mosquitto_takes_them() -> None:
    parsed = parse(
        "user   a b  ",
        "  topic   write    x y  ",
        "topic read",
        "topic deny",
        "topic readwrite",
        "topic read write",
        "topic /",
        "topic write read/x",
    )
    assert parsed.users == (
        ImportedRules(
            "a b",
            (
                allow("x y", "publish"),
                allow("read"),
                allow("deny"),
                allow("readwrite"),
                allow("write", "subscribe"),
                allow("/"),
                allow("read/x", "publish"),
            ),
            1,
        ),
    )
    assert parsed.skipped == ()


def test_each_malformed_line_is_named() -> None:
    parsed = parse(
        "user a",
        "topic",
        "topic read a/#/b",
        "topic deny a+",
        "topic write read it",
        "topic dény it",
        "topic reed it",
        "topic\tread it",
        "user a",
        "topic deny\tit",
        "topic read " + "x" * 65_536,
        "topic read " + "/" * 201,
        "topic read " + "/" * 200,
        "topic read good # comment",
        "pattern",
        "pattern read #/x",
        "pattern  %u",
    )
    assert [(user.name, len(user.rules)) for user in parsed.users] == [("a", 2)]
    assert parsed.patterns == (allow("${username}"),)
    assert where(parsed) == [
        (2, "topic ", False),
        (3, "read a/#/b", False),
        (4, "deny a+", True),
        (6, "topic dény it", True),
        (7, "topic reed it", True),
        (8, "topic\N{REPLACEMENT CHARACTER}read it", True),
        (10, "topic deny\N{REPLACEMENT CHARACTER}it", True),
        (11, "read " + "x" * 95 + "...", False),
        (12, "read " + "/" * 95 + "...", False),
        (14, "read good # comment", False),
        (15, "pattern ", False),
        (16, "read #/x", False),
    ]
    assert parsed.skipped[1].reason == ("The topic is not valid: # must be the whole last level of a topic filter.")
    assert all(skipped.reason.endswith(".") for skipped in parsed.skipped)


def test_no_password_of_another_kind_of_file_is_shown() -> None:
    parsed = parse("alice:hunter2 plain", "bob:$7$101$abc$def", " carol hunter3", "topics read a")
    assert where(parsed) == [(number, "", True) for number in range(1, 5)]


@pytest.mark.parametrize(
    ("header", "denies", "matters"),
    [
        (b"User bob", True, True),
        (b"usr bob", True, True),
        (b"user\tbob", True, True),
        (b"user", False, True),
        (b"user b\x7fb", False, False),
        (b"user \xff", True, True),
        (b"user b\0b", True, True),
        (b"user " + b"b" * 65_536, False, False),
        (b"user " + b"b" * 70_000, True, True),
    ],
)
def test_the_lines_of_a_user_who_was_left_out_fall_to_nobody_else(header: bytes, denies: bool, matters: bool) -> None:
    lines = [b"topic read anonymous", b"user alice", b"topic read alice", header, b"topic read bob", b"topic deny bob"]
    for before in (0, 1, 3):
        some = lines[:before] + lines[3:]
        parsed = parse_mosquitto_acl(b"\n".join([*some, b"pattern read all", b"user carol", b"topic read carol"]))
        assert parsed.patterns == (allow("all", "subscribe"),)
        assert {acl.topic for acl in parsed.anonymous} == ({"anonymous"} if before else set())
        assert {(user.name, rule.topic) for user in parsed.users for rule in user.rules} == {
            ("carol", "carol"),
            *([("alice", "alice")] if before == 3 else []),
        }
        number = before + 1
        assert [(line, denies) for line, _, denies in where(parsed)] == [
            (number, denies),
            (number + 1, False),
            (number + 2, matters),
        ]


def test_a_repeated_line_is_named_once_for_each_time() -> None:
    parsed = parse("pattern read x", "user a", "topic x", "topic readwrite x", "topic read x", "user a", "topic x")
    assert parsed.users[0].rules == (allow("x"), allow("x", "subscribe"))
    assert [(skipped.line, skipped.reason) for skipped in parsed.skipped] == [
        (4, "It repeats line 3."),
        (7, "It repeats line 3."),
    ]


def test_nothing_in_a_topic_is_a_placeholder_but_in_patterns() -> None:
    parsed = parse(
        "user a",
        "topic read %c/%u",
        "topic read ${clientid}/x",
        "topic read ${nonsense",
        "topic read $${username}",
        "pattern read ${username}/%u",
        "pattern read $%c",
    )
    assert [rule.topic for rule in parsed.users[0].rules] == [
        "%c/%u",
        "${$}{clientid}/x",
        "${$}{nonsense",
        "$${$}{username}",
    ]
    assert [rule.topic for rule in parsed.patterns] == ["${$}{username}/${username}", "$${clientid}"]
    for rule in (*parsed.users[0].rules, *parsed.patterns):
        check_rule_topic(rule.topic)


def test_what_would_have_another_meaning_here_is_left_out() -> None:
    parsed = parse(
        "topic read %c/x",
        "topic deny a/%u",
        "topic read a/${clientid}",
        "topic read %c-x",
        "user a",
        "topic read eq x",
        "topic deny eq +/x",
        "pattern deny eq %c",
        "topic read equal",
    )
    assert parsed.anonymous == (
        RoleAcl("subscribePattern", "%c-x", True),
        RoleAcl("publishClientReceive", "%c-x", True),
    )
    assert parsed.users[0].rules == (allow("equal", "subscribe"),)
    assert parsed.patterns == ()
    assert where(parsed) == [
        (1, "read %c/x", False),
        (2, "deny a/%u", True),
        (3, "read a/${clientid}", False),
        (6, "read eq x", False),
        (7, "deny eq +/x", True),
        (8, "deny eq %c", True),
    ]


def test_of_a_role_each_type_has_a_topic_once() -> None:
    parsed = parse(
        "topic read a", "topic a", "topic write b", "topic deny b", "topic read b", "topic write c", "topic c"
    )
    check_acls(parsed.anonymous)
    assert {(acl.acltype, acl.topic, acl.allow) for acl in parsed.anonymous} == {
        ("subscribePattern", "a", True),
        ("publishClientReceive", "a", True),
        ("publishClientSend", "a", True),
        ("subscribePattern", "b", False),
        ("publishClientReceive", "b", False),
        ("publishClientSend", "b", False),
        ("subscribePattern", "c", True),
        ("publishClientReceive", "c", True),
        ("publishClientSend", "c", True),
    }
    assert [(skipped.line, skipped.reason) for skipped in parsed.skipped] == [
        (3, "Line 4 denies the topic."),
        (5, "Line 4 denies the topic."),
    ]


def test_lists_have_an_end_and_what_denies_comes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_file, "MAX_RULES", 2)
    monkeypatch.setattr(acl_file, "MAX_ACLS", 6)
    lines = ["topic a", "topic b", "topic c", "topic deny d"]
    parsed = parse(*lines, "user u", *lines, *(f"pattern deny {number}" for number in range(3)))
    assert [rule.topic for rule in parsed.users[0].rules] == ["d", "a"]
    assert {acl.topic for acl in parsed.anonymous} == {"d", "a"}
    assert [rule.topic for rule in parsed.patterns] == ["0", "1"]
    assert where(parsed) == [
        (2, "readwrite b", False),
        (3, "readwrite c", False),
        (7, "readwrite b", False),
        (8, "readwrite c", False),
        (12, "deny 2", True),
    ]


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        ("topic write a", ()),
        ("topic deny a", ()),
        ("topic read a", (SUBSCRIBE_NOTE,)),
        ("topic $a", (SUBSCRIBE_NOTE, DOLLAR_NOTE)),
        ("topic deny $a", ()),
        ("topic write %c-", ()),
        ("pattern write %c", ()),
        ("pattern write a/x%c", (PART_NOTE,)),
        ("pattern deny %u%c", (PART_NOTE,)),
        ("pattern write a", (NAMES_NOTE,)),
        ("pattern deny a", ()),
    ],
)
def test_differences_are_noted_where_they_matter(line: str, notes: tuple[str, ...]) -> None:
    assert parse("user a", line).notes == notes
    assert parse(line).notes == notes


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(Invalid):
        parse_mosquitto_acl(FILE.encode("utf-16"))


def test_a_shared_subscription_is_named_and_may_deny() -> None:
    parsed = parse_mosquitto_acl(b"user u\ntopic deny $share/#\ntopic read $share/g/t\ntopic read t\n")
    assert [(skipped.line, skipped.may_deny) for skipped in parsed.skipped] == [(2, True), (3, False)]
    assert [rule.topic for rule in parsed.users[0].rules] == ["t"]
