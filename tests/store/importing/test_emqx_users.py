"""EMQX's users: columns in any order, rows by their lines, and hashes as the authenticator made them."""

import hashlib
import json

import pytest
from wardenmq.store.credentials.password_formats import EmqxAlgorithm, from_emqx, from_plain
from wardenmq.store.errors import Invalid
from wardenmq.store.importing import emqx_users
from wardenmq.store.importing.emqx_users import QUOTES_NOTE, parse_emqx_users
from wardenmq.store.importing.records import ParsedUsers

SHA256 = EmqxAlgorithm()
SALT = "de1024f462fb83910fd13151bd4bd235"
HASH = hashlib.sha256((SALT + "correct horse").encode()).hexdigest()


def csv(text: str, kind: str = "hash", algorithm: EmqxAlgorithm = SHA256) -> ParsedUsers:
    return parse_emqx_users(text.encode(), form="csv", kind=kind, algorithm=algorithm)  # type: ignore[arg-type]


def of_json(rows: object, kind: str = "hash", algorithm: EmqxAlgorithm = SHA256) -> ParsedUsers:
    data = json.dumps(rows, indent=1).encode()
    return parse_emqx_users(data, form="json", kind=kind, algorithm=algorithm)  # type: ignore[arg-type]


def where(parsed: ParsedUsers) -> list[tuple[int, str]]:
    return [(skipped.line, skipped.what) for skipped in parsed.skipped]


def test_hashes_in_csv() -> None:
    parsed = csv(
        "user_id,password_hash,salt,is_superuser\n"
        f"alice,{HASH},{SALT},true\n"
        "\r\n"
        f" bob , {HASH.upper()} , {SALT},false\r\n"
        f"carol,{HASH},{SALT},\n"
    )
    stored = from_emqx(HASH, SALT, SHA256)
    assert [(user.line, user.name, user.secret, user.superuser) for user in parsed.users] == [
        (2, "alice", stored, True),
        (4, "bob", stored, False),
        (5, "carol", stored, False),
    ]
    assert parsed.skipped == parsed.notes == ()


def test_the_header_says_which_column_is_which() -> None:
    parsed = csv(
        f"\N{ZERO WIDTH NO-BREAK SPACE}salt, is_superuser ,user_id,password_hash,more\n{SALT},true,a,{HASH},x\n"
    )
    (user,) = parsed.users
    assert (user.name, user.secret, user.superuser) == ("a", from_emqx(HASH, SALT, SHA256), True)
    unsalted = csv(f"password_hash,user_id\n{HASH},a\n", algorithm=EmqxAlgorithm(salt_position="disable"))
    assert unsalted.users[0].secret == from_emqx(HASH, "", EmqxAlgorithm(salt_position="disable"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "user_id\n",
        "user_id,password\na,b\n",
        "user_id;password_hash\na;b\n",
        "user_id,password_hash,user_id\na,b,c\n",
        '"user_id,password_hash\n',
        "user_id,password_hash," + ",".join(map(str, range(100))),
    ],
)
def test_without_a_header_there_is_nothing_to_read(text: str) -> None:
    if text.strip():
        with pytest.raises(Invalid, match="first line"):
            csv(text)
    else:
        assert csv(text) == ParsedUsers(())


def test_an_unreadable_header_is_not_taken_from_the_next_line() -> None:
    data = b"\xff\nuser_id,password\na,b\n"
    with pytest.raises(Invalid, match="header"):
        parse_emqx_users(data, form="csv", kind="plain", algorithm=SHA256)


def test_each_malformed_row_is_named() -> None:
    parsed = csv(
        "user_id,password_hash,salt,is_superuser\n"
        f"few,{HASH},{SALT}\n"
        f"many,{HASH},{SALT},true,x\n"
        f",{HASH},{SALT},true\n"
        f"nohash,,{SALT},true\n"
        f"nohex,{HASH[:-1]}g,{SALT},true\n"
        f"short,{HASH[:-2]},{SALT},true\n"
        f"yes,{HASH},{SALT},yes\n"
        f"TRUE,{HASH},{SALT},TRUE\n"
        f'"open,{HASH},{SALT},true\n'
        f'"a"b,{HASH},{SALT},true\n'
        f"esc\x1b,{HASH},{SALT},true\n"
        f"good,{HASH},{SALT},true\n"
    )
    assert [user.name for user in parsed.users] == ["good"]
    assert where(parsed) == [
        (2, ""),
        (3, ""),
        (4, ""),
        (5, "nohash"),
        (6, "nohex"),
        (7, "short"),
        (8, "yes"),
        (9, "TRUE"),
        (10, ""),
        (11, ""),
        (12, "esc\N{REPLACEMENT CHARACTER}"),
    ]
    reasons = [skipped.reason for skipped in parsed.skipped]
    assert reasons[0] == "There are 3 fields and 4 columns."
    assert reasons[2] == "The user name must not be empty."
    assert reasons[3] == "There is no password_hash, or it is not text."
    assert reasons[6] == reasons[7] == "is_superuser must be true or false."
    assert reasons[8] == reasons[9] == "The quotation marks do not match."
    assert HASH[:-2] not in repr(parsed)


def test_the_later_of_two_rows_for_a_user_counts() -> None:
    parsed = csv(f"user_id,password_hash,is_superuser\na,{HASH},true\nb,{HASH},\na,{HASH},false\na,x,true\n")
    assert [(user.name, user.line, user.superuser) for user in parsed.users] == [("b", 3, False), ("a", 4, False)]
    assert where(parsed) == [(2, "a"), (5, "a")]


def test_quoted_fields_are_read_as_other_programs_write_them() -> None:
    parsed = csv(
        'user_id,password\nplain,o"ne\n"quo,ted","t""w,o"\nspaced, "three" \nlast,four\n"five"," 5 "\n', kind="plain"
    )
    assert [(user.name, user.secret) for user in parsed.users] == [
        ("plain", from_plain('o"ne')),
        ("quo,ted", from_plain('t"w,o')),
        ("last", from_plain("four")),
        ("five", from_plain(" 5 ")),
    ]
    assert where(parsed) == [(4, "")]
    assert parsed.notes == (QUOTES_NOTE,)
    assert csv('user_id,password\na,"b', kind="plain").notes == (QUOTES_NOTE,)


def test_passwords_in_plain_text_are_not_shown() -> None:
    for parsed in (
        csv("user_id,password\nalice,hunter2\nbob,hunter2,hunter2\n", kind="plain"),
        csv("user_id,password_hash\nalice,hunter2\n", algorithm=EmqxAlgorithm("plain", "disable")),
        of_json([{"user_id": "alice", "password": "hunter2"}], kind="plain"),
    ):
        assert [user.secret for user in parsed.users] == [from_plain("hunter2")]
        assert "hunter2" not in repr(parsed)


@pytest.mark.parametrize("password", ["", "x" * 5_000])
def test_a_password_that_cannot_be_one_is_refused(password: str) -> None:
    for parsed in (
        csv(f"user_id,password\nalice,{password}\n", kind="plain"),
        of_json([{"user_id": "alice", "password": password}], kind="plain"),
    ):
        assert parsed.users == ()
        assert [skipped.what for skipped in parsed.skipped] == ["alice"]


def test_json() -> None:
    rows = [
        {"user_id": "a", "password_hash": HASH, "salt": SALT, "is_superuser": True},
        {"user_id": "b", "password_hash": HASH, "salt": SALT, "is_superuser": "false", "other": [1]},
        {"user_id": "c", "password_hash": HASH, "is_superuser": None, "namespace": None},
    ]
    parsed = of_json(rows)
    assert [(user.line, user.name, user.secret, user.superuser) for user in parsed.users] == [
        (2, "a", from_emqx(HASH, SALT, SHA256), True),
        (8, "b", from_emqx(HASH, SALT, SHA256), False),
        (17, "c", from_emqx(HASH, "", SHA256), False),
    ]
    assert of_json([]) == ParsedUsers(())


def test_each_malformed_item_is_named() -> None:
    good = {"user_id": "good", "password_hash": HASH}
    rows: list[object] = [
        1,
        "x",
        [],
        {},
        {"password_hash": HASH},
        {**good, "user_id": 7},
        {**good, "user_id": "\ud800"},
        {**good, "user_id": "nohash", "password_hash": 7},
        {**good, "user_id": "nosalt", "salt": 7},
        {**good, "user_id": "badsalt", "salt": "\udfff"},
        {**good, "user_id": "one", "is_superuser": 1},
        {**good, "user_id": "list", "is_superuser": []},
        {**good, "user_id": "tenant", "namespace": "t"},
        good,
    ]
    parsed = of_json(rows)
    assert [user.name for user in parsed.users] == ["good"]
    assert [skipped.what for skipped in parsed.skipped] == [
        *[""] * 6,
        "\N{REPLACEMENT CHARACTER}",
        "nohash",
        "nosalt",
        "badsalt",
        "one",
        "list",
        "tenant",
    ]
    assert [skipped.line for skipped in parsed.skipped][:5] == [2, 3, 4, 5, 6]
    json.dumps([skipped.what for skipped in parsed.skipped], ensure_ascii=False).encode()


@pytest.mark.parametrize("data", [b'{"user_id": "a"}', b"user_id,password\na,b\n", b"", b"[{]"])
def test_what_is_no_array_is_refused_as_a_whole(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_emqx_users(data, form="json", kind="plain", algorithm=SHA256)


def test_the_authenticator_says_what_the_names_are() -> None:
    data = b"user_id,password\nsensor-1,x\n"
    parsed = parse_emqx_users(data, form="csv", kind="plain", algorithm=SHA256, login_type="clientid")
    assert [(user.login_type, user.name) for user in parsed.users] == [("clientid", "sensor-1")]
    parsed = parse_emqx_users(data + b",x\n", form="csv", kind="plain", algorithm=SHA256, login_type="clientid")
    assert parsed.skipped[0].reason == "The client id must not be empty."


def test_there_is_a_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emqx_users, "MAX_ROWS", 3)
    rows = [{"user_id": str(number), "password": "x"} for number in range(3)]
    assert len(of_json(rows, kind="plain").users) == 3
    with pytest.raises(Invalid, match="more than 3 users"):
        of_json([*rows, {}], kind="plain")
    with pytest.raises(Invalid, match="more than 3 users"):
        csv("user_id,password\n1,a\n2,b\n3,c\n4,d\n", kind="plain")
