"""The rule file: what is read out of it, what is refused and on which line, and that it decides as it says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.erlang_terms import MAX_DEPTH
from wardenmq.store.acl.file_rules import MAX_EXPRESSIONS, MAX_PARTS, MAX_RULES, MAX_SIZE, FileRule, read_rules
from wardenmq.store.acl.who import AllOf, AnyOf, From, HasAttribute, Like, Named, Who
from wardenmq.store.errors import Invalid
from wardenmq.store.records import PUBLISH, SUBSCRIBE
from wardenmq.store.sources import FIRST_FILE

from .layered import ALICE, access, layer

EMQX_FILE = """
%% Comments begin with a percent sign. %% So they go on.
{allow, {username, {re, "^dashboard$"}}, subscribe, ["$SYS/#"]}.

{allow, {ipaddr, "127.0.0.1"}, all, ["$SYS/#", "#"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, {eq, "+/#"}]}.  % and on
{allow, all}.
"""


def decides(text: str, facts: ClientFacts = ALICE, *, no_match: bool = False) -> ClientAccess:
    return access(layer("file", read_rules(text)), facts=facts, no_match=no_match)


def who_of(text: str) -> Who | None:
    (rule,) = read_rules(f'{{allow, {text}, all, ["t"]}}.')
    return rule.who


def test_the_file_that_emqx_comes_with() -> None:
    rules = read_rules(EMQX_FILE)
    assert rules == (
        FileRule("$SYS/#", "allow", "subscribe", who=Like("username", "^dashboard$"), line=3),
        FileRule("$SYS/#", "allow", "all", who=From(("127.0.0.1",)), line=5),
        FileRule("#", "allow", "all", who=From(("127.0.0.1",)), line=5),
        FileRule("$SYS/#", "deny", "subscribe", line=6),
        FileRule("eq #", "deny", "subscribe", line=6),
        FileRule("eq +/#", "deny", "subscribe", line=6),
        FileRule("#", "allow", "all", line=7),
    )
    outside, inside = decides(EMQX_FILE), decides(EMQX_FILE, ALICE._replace(peer_host="127.0.0.1"))
    assert not outside.decide(SUBSCRIBE, "$SYS/#", 0, False)
    assert not outside.decide(SUBSCRIBE, "#", 0, False)
    assert outside.decide(SUBSCRIBE, "a/#", 0, False)
    assert inside.decide(SUBSCRIBE, "$SYS/#", 0, False)
    assert inside.decide(SUBSCRIBE, "#", 0, False)
    assert decides(EMQX_FILE, ALICE._replace(username="dashboard")).decide(SUBSCRIBE, "$SYS/#", 0, False)
    assert not decides(EMQX_FILE, ALICE._replace(username="dashboards")).decide(SUBSCRIBE, "$SYS/#", 0, False)


def test_the_first_file_allows_nothing_but_system_topics() -> None:
    assert {rule.topic for rule in read_rules(FIRST_FILE)} == {"$SYS/#"}
    near = decides(FIRST_FILE, ALICE._replace(peer_host="::1"))
    assert near.decide(SUBSCRIBE, "$SYS/broker", 0, False)
    assert not near.decide(SUBSCRIBE, "t", 0, False)
    assert not decides(FIRST_FILE, no_match=True).decide(SUBSCRIBE, "$SYS/broker", 0, False)


def test_the_first_file_makes_no_delivery_a_decision_of_its_own() -> None:
    """It would cost every subscriber of a new server some microseconds a message."""
    assert not decides(FIRST_FILE).checks_delivery
    assert not decides(FIRST_FILE, no_match=True).checks_delivery
    for hiding in ('"t/secret"', '"t/#"', '"$SYS/broker"', '"$SYS/+"', '"$SYS/a/#"'):
        assert decides(f"{{deny, all, subscribe, [{hiding}]}}. {{allow, all}}.").checks_delivery, hiding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", None),
        ('{username, "u"}', Named("username", "u")),
        ('{user, "u"}', Named("username", "u")),
        ("{user, u}", Named("username", "u")),
        ('{clientid, <<"c">>}', Named("clientid", "c")),
        ('{client, "c"}', Named("clientid", "c")),
        ('{clientid, {re, "^c[0-9]"}}', Like("clientid", "^c[0-9]")),
        ('{listener, "tcp:default"}', Named("listener", "tcp:default")),
        ('{zone, "default"}', Named("zone", "default")),
        ('{ipaddr, "10.0.0.0/8"}', From(("10.0.0.0/8",))),
        ('{ipaddrs, ["10.0.0.1", "::1"]}', From(("10.0.0.1", "::1"))),
        ('{client_attr, "site", "a"}', HasAttribute("site", "a")),
        ('{client_attr, "site", {re, "a+"}}', HasAttribute("site", "a+", is_expression=True)),
        ("{'and', [all, {user, \"u\"}]}", AllOf((AllOf(()), Named("username", "u")))),
        ("{or, [{user, \"u\"}, {'and', []}]}", AnyOf((Named("username", "u"), AllOf(())))),
    ],
)
def test_whom_a_rule_is_about(text: str, expected: Who | None) -> None:
    assert who_of(text) == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{username, "alice"}', True),
        ('{username, "Alice"}', False),
        ('{clientid, {re, "1$"}}', True),
        ('{clientid, {re, "^1"}}', False),
        ('{ipaddr, "10.1.0.0/16"}', True),
        ('{ipaddr, "10.1.2.4"}', False),
        ('{ipaddrs, ["192.0.2.1", "10.1.2.3"]}', True),
        ('{listener, "default"}', True),
        ('{listener, "tcp:default"}', True),
        ('{listener, "ssl:default"}', False),
        ('{zone, "default"}', True),
        ('{zone, "other"}', False),
        ('{client_attr, "a", "b"}', False),
        ("{'and', []}", True),
        ("{'or', []}", False),
        ('{\'and\', [{user, "alice"}, {client, "c1"}]}', True),
        ('{\'and\', [{user, "alice"}, {client, "c2"}]}', False),
        ('{\'or\', [{user, "bob"}, {client, "c1"}]}', True),
        ('{\'or\', [{user, "bob"}, {\'and\', [{client, "c1"}, {ipaddr, "::1"}]}]}', False),
    ],
)
def test_who_is_meant(text: str, meant: bool) -> None:
    for permission in ("allow", "deny"):
        asked = decides(f'{{{permission}, {text}, all, ["t"]}}.', no_match=permission == "deny")
        assert asked.decide(PUBLISH, "t", 0, False) is (meant if permission == "allow" else not meant)


def test_who_has_no_name_is_nobody_by_name() -> None:
    nobody = ClientFacts("c1", None, "")
    assert not decides('{allow, {user, ""}, all, ["t"]}.', nobody).decide(PUBLISH, "t", 0, False)
    assert not decides('{allow, {user, {re, ".*"}}, all, ["t"]}.', nobody).decide(PUBLISH, "t", 0, False)
    assert not decides('{allow, {ipaddr, "0.0.0.0/0"}, all, ["t"]}.', nobody).decide(PUBLISH, "t", 0, False)


def test_an_expression_that_takes_too_long_denies_and_does_not_allow() -> None:
    costly = ClientFacts("x" * 1_000, "alice")
    slow = '{clientid, {re, "(x+x+)+y"}}'
    assert not decides(f'{{allow, {slow}, all, ["t"]}}.', costly).decide(PUBLISH, "t", 0, False)
    assert not decides(f'{{deny, {slow}, all, ["t"]}}.', costly, no_match=True).decide(PUBLISH, "t", 0, False)
    either = f"{{'or', [{slow}, {{user, \"alice\"}}]}}"
    assert decides(f'{{allow, {either}, all, ["t"]}}.', costly).decide(PUBLISH, "t", 0, False)
    both = f"{{'and', [{slow}, {{user, \"bob\"}}]}}"
    assert decides(f'{{deny, {both}, all, ["t"]}}.', costly, no_match=True).decide(PUBLISH, "t", 0, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publish", ("publish", (0, 1, 2), None)),
        ("subscribe", ("subscribe", (0, 1, 2), None)),
        ("all", ("all", (0, 1, 2), None)),
        ("{publish, [{qos, 1}]}", ("publish", (1,), None)),
        ("{publish, [{qos, [2, 0]}, {retain, true}]}", ("publish", (0, 2), True)),
        ("{all, [{retain, false}]}", ("all", (0, 1, 2), False)),
        ("{publish, [{retain, all}]}", ("publish", (0, 1, 2), None)),
        ("{subscribe, [{qos, 0}]}", ("subscribe", (0,), None)),
    ],
)
def test_what_a_rule_is_about(text: str, expected: tuple[object, ...]) -> None:
    (rule,) = read_rules(f'{{deny, all, {text}, ["t"]}}.')
    assert (rule.action, rule.qos, rule.retain) == expected


def test_short_forms() -> None:
    assert [rule.topic for rule in read_rules("{allow, all}. {deny, {user, u}}. {allow, all, publish}.")] == ["#"] * 3
    assert [rule.topic for rule in read_rules("{allow, all, publish, all}.")] == ["#"]
    assert read_rules("{allow, all, publish, []}.") == ()
    assert read_rules(" % nothing\n") == read_rules("") == ()


def test_placeholders_are_the_clients_own_values() -> None:
    asked = decides('{allow, all, all, ["${clientid}/x", "u/${username}", "eq ${clientid}", "${$}a"]}.')
    for topic in ("c1/x", "u/alice", "${clientid}", "$a"):
        assert asked.decide(SUBSCRIBE, topic, 0, False), topic
    assert not asked.decide(SUBSCRIBE, "c1", 0, False)


def test_escapes_in_strings_and_atoms() -> None:
    (rule,) = read_rules(r"""{allow, {'user\x6eame', "a\"b\\c\x{e9}\101"}, all, ["t"]}.""")
    assert rule.who == Named("username", 'a"b\\c\u00e9A')


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("{allow, all", 1, "the text ends"),
        ("\n{allow, all}", 2, "the text ends"),
        ("{allow, all}.\n\n{allow all}.", 3, "where , or } should be"),
        ("{allow, all}}.", 1, "where a dot should"),
        ("{allow, all}, {allow, all}.", 1, "where a dot should"),
        ("allow.", 1, "it must be"),
        ("{allow}.", 1, "it must be"),
        ("[allow, all].", 1, "it must be"),
        ("{allow, all, all, [], all}.", 1, "it must be"),
        ("{grant, all}.", 1, "allow or deny"),
        ('{"allow", all}.', 1, "allow or deny"),
        ("{allow, everyone}.", 1, "whom the rule"),
        ("{allow, [user, u]}.", 1, "whom the rule"),
        ("{allow, {user, 1}}.", 1, "must be a string"),
        ('{allow, {ipaddr, "here"}}.', 1, "'here'"),
        ('{allow, {ipaddrs, "::1"}}.', 1, "whom the rule"),
        ('{allow, {user, {re, "("}}}.', 1, "regular expression"),
        ('{allow, {client_attr, "a", {re, "("}}}.', 1, "regular expression"),
        ('{allow, {user, {re, "' + "x" * 300 + '"}}}.', 1, "regular expression"),
        ("{allow, all, read, all}.", 1, "the action"),
        ("{allow, all, {publish, [{qos, 3}]}, all}.", 1, "a QoS"),
        ("{allow, all, {publish, [{qos, []}]}, all}.", 1, "a QoS"),
        ("{allow, all, {subscribe, [{retain, true}]}, all}.", 1, "a condition"),
        ("{allow, all, {publish, [{dup, true}]}, all}.", 1, "a condition"),
        ('\n\n{allow, all, publish,\n ["a/#/b"]}.', 3, "a/#/b"),
        ('{allow, all, publish, ["$share/g/t"]}.', 1, "shared"),
        ('{allow, all, publish, ["${cert}"]}.', 1, "placeholder"),
        ("{allow, all, publish, [t]}.", 1, "a topic must be"),
        ('{allow, all, publish, "t"}.', 1, "the topics must be"),
        ('{allow, {user, "\\x{110000}"}}.', 1, "no character"),
        ('{allow, {user, "a\x00b"}}.', 1, "U+0000"),
        ("{Allow, all}.", 1, "cannot be read"),
        ("{allow, #{}}.", 1, "cannot be read"),
        ("{allow, 99999999999999999}.", 1, "too long"),
        ("{" * (MAX_DEPTH + 1), 1, "within each other"),
    ],
)
def test_what_is_refused_and_where(text: str, line: int, part: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_rules(text)
    assert f"line {line}: " in refused.value.message
    assert part in refused.value.message


def test_bounds() -> None:
    topic = '"t",'
    with pytest.raises(Invalid, match=f"more than {MAX_RULES} topics"):
        read_rules('{allow, all, publish, ["t"]}.\n' * (MAX_RULES + 1))
    with pytest.raises(Invalid, match=f"more than {MAX_RULES} topics"):
        read_rules(f'{{allow, all, publish, [{topic * MAX_RULES}"t"]}}.')
    with pytest.raises(Invalid, match="descriptions"):
        read_rules("{allow, {'or', [" + "all," * MAX_PARTS + "all]}}.")
    with pytest.raises(Invalid, match="regular expressions"):
        read_rules("".join(f'{{allow, {{user, {{re, "{number}"}}}}}}.' for number in range(MAX_EXPRESSIONS + 1)))
    with pytest.raises(Invalid, match="bytes"):
        read_rules("%" * (MAX_SIZE + 1))
    with pytest.raises(Invalid, match="bytes"):
        read_rules("%" + "\u20ac" * (MAX_SIZE // 2))


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), min_size=1, max_size=8)
fields = st.sampled_from(["clientid", "username", "listener", "zone"])
whos = st.recursive(
    st.builds(Named, fields, names)
    | st.builds(Like, fields, st.sampled_from(["^a", r"\d+$", 'x"y']))
    | st.just(From(("10.0.0.0/8", "::1")))
    | st.builds(HasAttribute, names, names),
    lambda parts: (
        st.builds(AllOf, st.lists(parts, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(parts, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
rules = st.builds(
    FileRule,
    st.sampled_from(["t", "t/+/#", "eq a/#", "${clientid}/x", "\u20ac/b"]),
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["publish", "subscribe", "all"]),
    st.sampled_from([(0,), (1, 2), (0, 1, 2)]),
    st.none(),
    st.none(),
    st.none() | whos,
)


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_who(who: Who | None) -> str:
    match who:
        case None:
            return "all"
        case Named(field, text):
            return f"{{{field}, {quote(text)}}}"
        case Like(field, expression):
            return f"{{{field}, {{re, {quote(expression)}}}}}"
        case From(networks):
            return f"{{ipaddrs, [{', '.join(map(quote, networks))}]}}"
        case HasAttribute(name, text):
            return f"{{client_attr, {quote(name)}, {quote(text)}}}"
        case AllOf(parts):
            return f"{{'and', [{', '.join(map(write_who, parts))}]}}"
        case AnyOf(parts):
            return f"{{'or',[{','.join(map(write_who, parts))}]}}"


def write(rule: FileRule) -> str:
    literal = rule.topic.startswith("eq ")
    topic = f"{{eq, {quote(rule.topic[3:])}}}" if literal else quote(rule.topic)
    action = f"{{{rule.action}, [{{qos, [{', '.join(map(str, rule.qos))}]}}]}}"
    return f"{{{rule.permission}, {write_who(rule.who)}, {action}, [{topic}]}}."


@given(st.lists(rules, max_size=5))
def test_what_was_written_is_read(written: list[FileRule]) -> None:
    read = read_rules("\n".join(write(rule) for rule in written))
    assert [(rule.topic, rule.permission, rule.action, rule.qos, rule.who) for rule in read] == [
        (rule.topic, rule.permission, rule.action, rule.qos, rule.who) for rule in written
    ]
    assert [rule.line for rule in read] == list(range(1, len(written) + 1))


pieces = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ".",
        "allow",
        "all",
        "'and'",
        '"t/#"',
        "'",
        '"',
        "\\",
        "re",
        "ipaddr",
        "%",
        "\n",
        " ",
        "1",
        "<<",
    ]
)


@given(st.lists(pieces, max_size=40).map("".join) | st.text(max_size=60))
@example('<<"t')
@example('{allow, {user, {re, "\\')
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        read_rules(text)
    except Invalid as error:
        assert "line" in error.message
