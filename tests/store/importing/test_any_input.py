"""Whatever comes as a file: a parser's one failure is Invalid, and what it hands out can be stored and shown."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.acl.patterns import check_rule_topic
from wardenmq.store.credentials.password_formats import EmqxAlgorithm
from wardenmq.store.errors import Invalid
from wardenmq.store.importing.acl_file import parse_mosquitto_acl
from wardenmq.store.importing.dynsec import parse_dynsec
from wardenmq.store.importing.emqx_users import parse_emqx_users
from wardenmq.store.importing.password_files import parse_amqtt_passwords, parse_mosquitto_passwords
from wardenmq.store.importing.records import ParsedAccess, ParsedAcl, ParsedUsers
from wardenmq.store.names import check_identifier, check_object_name, check_text
from wardenmq.store.records import MAX_PRIORITY
from wardenmq.store.role_acls import check_acls

from . import test_acl_file, test_dynsec, test_emqx_users, test_password_files

Parsed = ParsedUsers | ParsedAcl | ParsedAccess

ALGORITHMS = [
    EmqxAlgorithm(),
    EmqxAlgorithm("sha512", "suffix"),
    EmqxAlgorithm("bcrypt"),
    EmqxAlgorithm("plain", "disable"),
    EmqxAlgorithm("pbkdf2", mac_fun="sha512", iterations=4_096, dk_length=64),
    EmqxAlgorithm("pbkdf2", mac_fun="none", iterations=-1),
]

PARSERS: dict[str, Callable[[bytes], Parsed]] = {
    "mosquitto passwords": parse_mosquitto_passwords,
    "amqtt passwords": parse_amqtt_passwords,
    "mosquitto acl": parse_mosquitto_acl,
    "dynsec": lambda data: parse_dynsec(data, other_users=frozenset({"alice"})),
    **{
        f"emqx {form} {kind} {number}": lambda data, form=form, kind=kind, algorithm=algorithm: parse_emqx_users(
            data, form=form, kind=kind, algorithm=algorithm
        )
        for form in ("csv", "json")
        for kind in ("hash", "plain")
        for number, algorithm in enumerate(ALGORITHMS)
    },
}

SALT, HASH = test_emqx_users.SALT, test_emqx_users.HASH
ROW = {"user_id": "alice", "password_hash": HASH, "password": "x", "salt": SALT, "is_superuser": True}
FILES = [
    test_password_files.MOSQUITTO_FILE.encode(),
    f"a:{test_password_files.ARGON2}\nb:{test_password_files.BCRYPT}\nc:{test_password_files.CRYPT}\n".encode(),
    test_acl_file.FILE.encode(),
    json.dumps(test_dynsec.FILE).encode(),
    f"user_id,password_hash,password,salt,is_superuser\nalice,{HASH},x,{SALT},true\nbob,{HASH},y,,\n".encode(),
    json.dumps([ROW, {**ROW, "user_id": "bob"}]).encode(),
]
PIECES = [
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"\t",
        b" ",
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\x1b[2J",
        b"\\ud800",
    ),
    *(b":", b"::", b"$", b"$$", b"$6$", b"$7$", b"$7$-1$", b"$7$1e9$", b"$2b$31$", b"$argon2id$v=19$m=1,t=1,p=1$$"),
    *(b"#", b"+", b"/", b"//", b"%c", b"%u", b"${", b"${clientid}", b"${$}", b"eq ", b"$share/g/", b"a" * 70_000),
    *(b"user", b"user ", b"topic", b"topic read ", b"topic deny ", b"pattern ", b"pattern deny %c/#"),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b"null",
        b"true",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"[" * 2_000,
        b'{"roles":' * 2_000,
    ),
    *(b'"username"', b'"username":1,', b'"roles":[],', b'"acls":[{}]', b'"priority":', b'"allow":', b'"data":'),
    *(b"user_id", b"password", b"password_hash", b"salt", b"is_superuser", b"true", b'"a,b"'),
]


def check(parsed: Parsed) -> None:
    """Hold that all of it can be stored and shown."""
    if isinstance(parsed, ParsedUsers | ParsedAccess):
        assert len({user.name for user in parsed.users}) == len(parsed.users)
        for user in parsed.users:
            check_identifier(user.name, "user name")
            check_text(user.label, "label", 1_000)
            check_text(user.description, "description", 10_000)
            if user.clientid is not None:
                check_identifier(user.clientid, "client id")
    if isinstance(parsed, ParsedAcl):
        for user in parsed.users:
            check_identifier(user.name, "user name")
        rules = [*parsed.patterns, *(rule for user in parsed.users for rule in user.rules)]
        for rule in rules:
            check_rule_topic(rule.topic)
        check_acls(parsed.anonymous)
    if isinstance(parsed, ParsedAccess):
        names = {role.name for role in parsed.roles}
        for role in parsed.roles:
            check_object_name(role.name, "role")
            check_acls(role.acls)
        for group in parsed.groups:
            check_object_name(group.name, "group")
            assert group.members.keys() <= {user.name for user in parsed.users} - {"alice"}
        for holder in (*parsed.users, *parsed.groups):
            assert holder.roles.keys() <= names
            assert all(abs(priority) <= MAX_PRIORITY for priority in holder.roles.values())
        assert parsed.anonymous_group in (None, *(group.name for group in parsed.groups))
    for skipped in parsed.skipped:
        assert skipped.line >= 0
        assert skipped.what.isprintable()
        assert skipped.reason.isprintable()
        assert len(skipped.what) + len(skipped.reason) < 1_000
    json.dumps([(skipped.what, skipped.reason) for skipped in parsed.skipped], ensure_ascii=False).encode()


def feed(parse: Callable[[bytes], Parsed], data: bytes) -> Parsed | None:
    try:
        parsed = parse(data)
    except Invalid as error:
        assert error.message.isprintable()
        assert len(error.message) < 300
        return None
    check(parsed)
    return parsed


@pytest.mark.parametrize("name", PARSERS)
def test_files_that_somebody_broke(name: str) -> None:
    randomness = random.Random(name)
    understood = 0
    for _ in range(300):
        data = randomness.choice(FILES)
        for _ in range(randomness.randrange(6)):
            cut, length = randomness.randrange(len(data) + 1), randomness.choice((0, 0, 1, 5, 50))
            piece = randomness.choice((*PIECES, bytes([randomness.randrange(256)])))
            data = data[:cut] + piece + data[cut + length :]
        understood += feed(PARSERS[name], data) is not None
    assert understood


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(name: str, data: bytes) -> None:
    feed(PARSERS[name], data)


KEYS = (
    *("username", "clientid", "textname", "textdescription", "disabled", "roles", "rolename", "priority", "password"),
    *("salt", "iterations", "encoded_password", "groups", "groupname", "clients", "acls", "acltype", "topic", "allow"),
    *("allowwildcardsubs", "defaultACLAccess", "anonymousGroup", "user_id", "password_hash", "is_superuser"),
)
keys = st.sampled_from(KEYS)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["alice", "r", "g", "#", "a/+", "publishClientSend", "subscribeLiteral", SALT, HASH, "true"])
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=8), max_leaves=20
)


@given(sections=st.fixed_dictionaries({name: st.lists(documents) for name in ("roles", "clients", "groups")}))
def test_any_configuration(sections: dict[str, Any]) -> None:
    data = json.dumps(sections).replace("Infinity", "1e999").encode()
    assert feed(PARSERS["dynsec"], data) is not None


@given(items=st.lists(documents))
def test_any_items(items: list[Any]) -> None:
    data = json.dumps(items, indent=0).replace("Infinity", "1e999").encode()
    for name in ("emqx json hash 0", "emqx json plain 3"):
        parsed = feed(PARSERS[name], data)
        assert parsed is not None
        assert isinstance(parsed, ParsedUsers)
        assert len(parsed.users) + len(parsed.skipped) == len(items)


lines = st.lists(
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(["", " ", "#", "alice", "bob ", "\x7f", "zwölf"]),
        st.sampled_from(["", ":", " : ", "::"]),
        st.sampled_from(["", "x", test_password_files.PBKDF2, test_password_files.CRYPT, " # "]),
        st.sampled_from(["", ":", " ", ":x"]),
    )
)


def count(parsed: ParsedUsers) -> int:
    return len(parsed.users) + len(parsed.skipped)


@given(lines=lines, end=st.sampled_from(["\n", "\r\n"]))
def test_each_line_of_a_password_file_is_a_user_or_is_named(lines: list[str], end: str) -> None:
    data = end.join(lines).encode()
    assert count(parse_mosquitto_passwords(data)) == sum(
        bool(line.strip()) and not line.startswith("#") for line in lines
    )
    assert count(parse_amqtt_passwords(data)) == sum(
        bool(line.strip()) and not line.strip().startswith("#") for line in lines
    )


acl_lines = st.lists(
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(["", " ", "\t"]),
        st.sampled_from(["topic", "pattern", "topic", "user", "Topic", "#", ""]),
        st.sampled_from([" ", "  ", "\t", ""]),
        st.sampled_from(["read ", "write ", "readwrite ", "deny ", "", "allow "]),
        st.sampled_from(["a", "a/#", "+/b", "#/a", "eq a", "%c", "b/%u/x", "${clientid}", "", "a b"]),
    )
)


def rules_and_acls(parsed: ParsedAcl) -> Iterator[object]:
    """Give one thing for each line that was kept."""
    yield from parsed.patterns
    for user in parsed.users:
        yield from user.rules
    yield from {(acl.topic, acl.allow) for acl in parsed.anonymous}


def is_header(line: str) -> bool:
    keyword, _, name = line.strip().partition(" ")
    return keyword == "user" and bool(name.strip())


@given(acl_lines)
def test_each_line_of_an_acl_file_is_a_rule_or_is_named(lines: list[str]) -> None:
    parsed = parse_mosquitto_acl("\n".join(lines).encode())
    content = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    accounted = len(list(rules_and_acls(parsed))) + len(parsed.skipped) + sum(map(is_header, content))
    if parsed.anonymous:
        # Lines that allow reading and writing the same topic are counted once.
        assert accounted <= len(content)
    else:
        assert accounted == len(content)
