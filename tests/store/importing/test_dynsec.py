"""`dynamic-security.json`: read as Mosquitto does, and said what of it was left out."""

import json
from typing import Any

import pytest
from wardenmq.store.credentials.password_formats import from_mosquitto
from wardenmq.store.errors import Invalid
from wardenmq.store.importing import dynsec
from wardenmq.store.importing.dynsec import NO_DEFAULTS_NOTE, UNSUBSCRIBE_NOTE, parse_dynsec
from wardenmq.store.importing.records import ImportedUser, ParsedAccess
from wardenmq.store.records import Group, Role, RoleAcl

KEY = "lp0Cm29zl+CI/RXyXDKvLye7OxM3OuE6RMzgXTX/f3imS/pFh2Ur7yarLDpKRUKpB0tOj6l0UrRv41zqxmD4tg=="
SALT = "AAECAwQFBgcICQoL"
SECRET = from_mosquitto(f"$7$101${SALT}${KEY}")
DEFAULTS = {"publishClientSend": False, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}

FILE: dict[str, Any] = {
    "changeIndex": 12,
    "defaultACLAccess": DEFAULTS,
    "clients": [
        {
            "username": "alice",
            "clientid": "c1",
            "textName": "Alice",
            "textDescription": "First",
            "roles": [{"rolename": "sensor", "priority": 5}, {"rolename": "admin"}],
            "password": KEY,
            "salt": SALT,
            "iterations": 101,
        },
        {"username": "bob", "disabled": True, "encoded_password": f"$7$101${SALT}${KEY}", "salt": "x"},
        {"username": "carol", "roles": []},
    ],
    "groups": [
        {
            "groupname": "people",
            "textname": "People",
            "roles": [{"rolename": "admin", "priority": 200_000}],
            "clients": [{"username": "carol", "priority": 3}, {"username": "alice"}],
        },
        {"groupname": "unauthenticated"},
    ],
    "roles": [
        {
            "rolename": "sensor",
            "allowwildcardsubs": False,
            "acls": [
                {"acltype": "publishClientSend", "topic": "sensors/%u/#", "priority": 10, "allow": True},
                {"acltype": "SUBSCRIBEPATTERN", "topic": "#", "priority": -1},
                {"acltype": "unsubscribePattern", "topic": "#", "allow": True},
            ],
        },
        {"rolename": "admin", "textname": "Administrators", "textdescription": "All of them", "acls": []},
    ],
    "anonymousGroup": "unauthenticated",
}


def parse(document: object, **options: Any) -> ParsedAccess:
    return parse_dynsec(json.dumps(document).encode(), **options)


def where(parsed: ParsedAccess) -> list[tuple[str, bool]]:
    assert {skipped.line for skipped in parsed.skipped} <= {0}
    return [(skipped.what, skipped.may_deny) for skipped in parsed.skipped]


def test_a_whole_configuration() -> None:
    assert parse(FILE) == ParsedAccess(
        users=(
            ImportedUser(
                "alice",
                secret=SECRET,
                clientid="c1",
                label="Alice",
                description="First",
                roles={"sensor": 5, "admin": -1},
            ),
            ImportedUser("bob", secret=SECRET, disabled=True),
            ImportedUser("carol"),
        ),
        roles=(
            Role(
                "",
                "sensor",
                allow_wildcard_subs=False,
                acls=(
                    RoleAcl("publishClientSend", "sensors/%u/#", True, 10),
                    RoleAcl("subscribePattern", "#", False, -1),
                    RoleAcl("unsubscribePattern", "#", True, 0),
                ),
            ),
            Role("", "admin", "Administrators", "All of them"),
        ),
        groups=(
            Group("", "people", "People", "", {"admin": 100_000}, {"carol": 3, "alice": -1}),
            Group("", "unauthenticated"),
        ),
        anonymous_group="unauthenticated",
        default_access={"publish": False, "receive": True, "subscribe": False, "unsubscribe": True},
        notes=(UNSUBSCRIBE_NOTE,),
    )


def test_the_case_of_keys_does_not_matter_and_that_of_names_does() -> None:
    def upper(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key).upper(): upper(inner) for key, inner in value.items()}
        return [upper(inner) for inner in value] if isinstance(value, list) else value

    assert parse(upper(FILE)) == parse(FILE)
    parsed = parse({"roles": [{"rolename": "a"}, {"rolename": "A"}], "defaultACLAccess": DEFAULTS})
    assert [role.name for role in parsed.roles] == ["a", "A"]


def test_what_bunkerms_api_answered_is_taken_too() -> None:
    assert parse({"success": True, "data": FILE}) == parse(FILE)


@pytest.mark.parametrize("document", [[], {}, {"data": []}, {"data": {}}, {"users": []}, {"data": {"data": FILE}}, "x"])
def test_what_is_no_configuration_is_refused(document: object) -> None:
    with pytest.raises(Invalid):
        parse(document)


@pytest.mark.parametrize("section", ["clients", "groups", "roles"])
@pytest.mark.parametrize("value", [{}, "x", 1, True])
def test_a_section_that_is_no_array_is_refused(section: str, value: object) -> None:
    with pytest.raises(Invalid, match=section):
        parse({**FILE, section: value})


def test_missing_sections_are_empty_and_missing_defaults_deny() -> None:
    parsed = parse({"clients": []})
    assert parsed == ParsedAccess(
        default_access={"publish": False, "receive": False, "subscribe": False, "unsubscribe": False},
        notes=(NO_DEFAULTS_NOTE,),
    )
    assert parse({"clients": None, "defaultACLAccess": {"subscribe": True}}).default_access == {
        "publish": False,
        "receive": False,
        "subscribe": True,
        "unsubscribe": False,
    }


def test_each_item_that_cannot_be_used_is_named() -> None:
    long_name = "r" * 1_001
    parsed = parse(
        {
            "defaultACLAccess": {**DEFAULTS, "subscribe": "yes"},
            "roles": [
                7,
                {},
                {"rolename": ""},
                {"rolename": long_name},
                {"rolename": "r", "textname": 7, "allowwildcardsubs": "false", "acls": {}},
                {"rolename": "r", "textname": "again"},
                {"rolename": "s\n"},
                {
                    "rolename": "t",
                    "textdescription": "x" * 10_001,
                    "acls": [
                        None,
                        {},
                        {"acltype": "publish", "topic": "a"},
                        {"acltype": 1, "topic": "a"},
                        {"acltype": "publishClientSend"},
                        {"acltype": "publishClientSend", "topic": ""},
                        {"acltype": "publishClientSend", "topic": "x/#/y"},
                        {"acltype": "publishClientSend", "topic": "x/#/z", "allow": True},
                        {"acltype": "publishClientSend", "topic": "a", "allow": 1, "priority": "7"},
                        {"acltype": "publishclientsend", "topic": "a", "allow": True},
                        {"acltype": "publishClientReceive", "topic": "a", "priority": 7.9, "allow": True},
                        {"acltype": "publishClientReceive", "topic": "b", "priority": -1e300},
                    ],
                },
            ],
        }
    )
    assert [role.name for role in parsed.roles] == ["r", "t"]
    assert parsed.roles[0] == Role("", "r", allow_wildcard_subs=False)
    assert parsed.roles[1].acls == (
        RoleAcl("publishClientSend", "a", False, 0),
        RoleAcl("publishClientReceive", "a", True, 7),
        RoleAcl("publishClientReceive", "b", False, -100_000),
    )
    assert not parsed.default_access["subscribe"]
    assert where(parsed) == [
        ("defaultACLAccess subscribe", False),
        ("roles[0]", False),
        ("roles[1]", False),
        ("roles[2]", False),
        (f"roles[3] {long_name}"[:100] + "...", True),
        ("roles[4] r textname", False),
        ("roles[4] r allowwildcardsubs", False),
        ("roles[4] r acls", False),
        ("roles[5] r", False),
        ("roles[6] s\N{REPLACEMENT CHARACTER}", True),
        ("roles[7] t textdescription", False),
        ("roles[7] t acls[0]", False),
        ("roles[7] t acls[1]", False),
        ("roles[7] t acls[2]", False),
        ("roles[7] t acls[3]", False),
        ("roles[7] t acls[4]", False),
        ("roles[7] t acls[5]", False),
        ("roles[7] t acls[6] x/#/y", True),
        ("roles[7] t acls[7] x/#/z", False),
        ("roles[7] t acls[8] allow", False),
        ("roles[7] t acls[8] priority", False),
        ("roles[7] t acls[9] a", False),
    ]
    assert all(skipped.reason.endswith(".") for skipped in parsed.skipped)


def test_each_user_and_reference_that_cannot_be_used_is_named() -> None:
    parsed = parse(
        {
            "defaultACLAccess": DEFAULTS,
            "roles": [{"rolename": "r"}],
            "clients": [
                "alice",
                {"username": 7},
                {"username": "tab\t"},
                {"username": "number", "clientid": 7},
                {"username": "control", "clientid": "\x00"},
                {"username": "free", "clientid": "", "textname": "x" * 1_001},
                {"username": "portal"},
                {"username": "off", "disabled": "true"},
                {"username": "plain", "encoded_password": "hunter2"},
                {"username": "half", "password": "hunter2"},
                {
                    "username": "roles",
                    "roles": [
                        {"rolename": "r", "priority": True},
                        {"rolename": "r", "priority": 7},
                        {"rolename": "q"},
                        {"rolename": 1},
                        "r",
                    ],
                },
                {"username": "roles", "roles": [{"rolename": "r"}]},
            ],
            "groups": [
                {
                    "groupname": "g",
                    "roles": [{"rolename": "q"}],
                    "clients": [{"username": "x"}, {"username": "portal"}],
                },
                {"groupname": "g", "clients": [{"username": "off"}]},
                {"groupname": "h", "clients": [{"username": "off"}, {"username": "off"}], "roles": 1},
                {"groupname": "h\N{DELETE}"},
                {"textname": "none"},
            ],
            "anonymousGroup": "i",
        },
        other_users=frozenset({"portal"}),
    )
    assert parsed.users == (
        ImportedUser("free"),
        ImportedUser("off", disabled=True),
        ImportedUser("plain"),
        ImportedUser("half"),
        ImportedUser("roles", roles={"r": -1}),
    )
    assert parsed.groups == (
        Group("", "g"),
        Group("", "h", members={"off": -1}),
    )
    assert parsed.anonymous_group is None
    assert where(parsed) == [
        ("clients[0]", False),
        ("clients[1]", False),
        ("clients[2] tab\N{REPLACEMENT CHARACTER}", False),
        ("clients[3] number", False),
        ("clients[4] control", False),
        ("clients[5] free textname", False),
        ("clients[6] portal", False),
        ("clients[7] off disabled", False),
        ("clients[8] plain password", False),
        ("clients[9] half password", False),
        ("clients[10] roles roles[1] r", False),
        ("clients[10] roles roles[2] q", False),
        ("clients[10] roles roles[3]", False),
        ("clients[10] roles roles[4]", False),
        ("clients[10] roles role r priority", False),
        ("clients[11] roles", False),
        ("groups[0] g roles[0] q", False),
        ("groups[0] g clients[0] x", False),
        ("groups[0] g clients[1] portal", False),
        ("groups[1] g", False),
        ("groups[2] h roles", False),
        ("groups[2] h clients[1] off", False),
        ("groups[3] h\N{REPLACEMENT CHARACTER}", True),
        ("groups[4]", False),
        ("anonymousGroup", False),
    ]
    assert "hunter2" not in repr(parsed)


def test_sections_and_lists_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_ROLES", "MAX_CLIENTS", "MAX_GROUPS", "MAX_ACLS"):
        monkeypatch.setattr(dynsec, name, 2)
    acls = [{"acltype": "publishClientSend", "topic": topic, "allow": topic == "c"} for topic in "abcd"]
    parsed = parse({"roles": [{"rolename": "r", "acls": acls}], "defaultACLAccess": DEFAULTS})
    assert [acl.topic for acl in parsed.roles[0].acls] == ["a", "b"]
    assert where(parsed) == [("roles[0] r acls[2] c", False), ("roles[0] r acls[3] d", True)]
    for section in ("roles", "clients", "groups"):
        with pytest.raises(Invalid, match=f"'{section}' must not have more than 2 items"):
            parse({section: [{}, {}, {}]})


def test_an_acl_of_a_shared_subscription_is_named_and_may_deny() -> None:
    """It would never fit, so that a deny of it would silently do nothing."""
    acls = [
        {"acltype": "subscribePattern", "topic": "$share/#", "allow": False},
        {"acltype": "subscribeLiteral", "topic": "$share/g/t", "allow": True},
        {"acltype": "unsubscribePattern", "topic": "$share/#", "allow": False},
    ]
    parsed = parse_dynsec(json.dumps({"roles": [{"rolename": "r", "acls": acls}]}).encode())
    assert [skipped.may_deny for skipped in parsed.skipped] == [True, False]
    assert [acl.acltype for acl in parsed.roles[0].acls] == ["unsubscribePattern"]
