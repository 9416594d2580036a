from typing import Any
from urllib.parse import quote

import pytest
from wardenmq.store.records import Rule

from .callers import RULES, Api

RULE = {"topic": "t/#", "permission": "allow", "action": "publish"}
SHOWN = RULE | {"qos": [0, 1, 2], "retain": "all"}
KINDS = [("users", "username"), ("clients", "clientid")]


@pytest.mark.parametrize(("path", "key"), KINDS)
async def test_rules_from_creation_to_deletion(api: Api, path: str, key: str) -> None:
    created = await api.call("POST", f"{RULES}/{path}", [{key: "a", "rules": [RULE]}, {key: "b", "rules": []}])
    assert (created.status, created.body) == (204, b"")
    assert (await api.call("GET", f"{RULES}/{path}/a")).json == {key: "a", "rules": [SHOWN]}
    assert (await api.call("GET", f"{RULES}/{path}/b")).json == {key: "b", "rules": []}

    changed = [RULE | {"permission": "deny", "qos": [1], "retain": True}, RULE]
    assert (await api.call("PUT", f"{RULES}/{path}/a", {key: "a", "rules": changed})).status == 204
    assert (await api.call("GET", f"{RULES}/{path}/a")).json["rules"] == [changed[0], SHOWN]

    assert (await api.call("DELETE", f"{RULES}/{path}/a")).status == 204
    gone = await api.call("GET", f"{RULES}/{path}/a")
    assert (gone.status, gone.code, gone.json["message"]) == (404, "NOT_FOUND", "Not Found")


@pytest.mark.parametrize(("path", "key"), KINDS)
async def test_put_creates_what_is_missing(api: Api, path: str, key: str) -> None:
    assert (await api.call("PUT", f"{RULES}/{path}/new", {key: "new", "rules": [RULE]})).status == 204
    assert (await api.call("GET", f"{RULES}/{path}/new")).json["rules"] == [SHOWN]


@pytest.mark.parametrize(("path", "key"), KINDS)
async def test_the_body_names_whom_the_path_names(api: Api, path: str, key: str) -> None:
    reply = await api.call("PUT", f"{RULES}/{path}/one", {key: "other", "rules": [RULE]})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.call("GET", f"{RULES}/{path}")).rows == []


@pytest.mark.parametrize(("path", "key", "who"), [("users", "username", "User"), ("clients", "clientid", "Client")])
@pytest.mark.parametrize("names", [["new", "old"], ["twice", "twice"]])
async def test_of_several_none_is_created_if_one_exists(
    api: Api, path: str, key: str, who: str, names: list[str]
) -> None:
    await api.call("POST", f"{RULES}/{path}", [{key: "old", "rules": []}])
    reply = await api.call("POST", f"{RULES}/{path}", [{key: name, "rules": [RULE]} for name in names])
    assert (reply.status, reply.code) == (409, "ALREADY_EXISTS")
    assert reply.json["message"] == f"{who} '{names[-1]}' already exist"
    assert (await api.call("GET", f"{RULES}/{path}")).rows == [{key: "old", "rules": []}]


@pytest.mark.parametrize(("path", "message"), [("users", "Username Not Found"), ("clients", "ClientID Not Found")])
async def test_deleting_what_is_not_there(api: Api, path: str, message: str) -> None:
    reply = await api.call("DELETE", f"{RULES}/{path}/nobody")
    assert (reply.status, reply.code, reply.json["message"]) == (404, "NOT_FOUND", message)


async def test_the_rules_for_all(api: Api) -> None:
    assert (await api.call("GET", f"{RULES}/all")).json == {"rules": []}
    assert (await api.call("DELETE", f"{RULES}/all")).status == 204
    assert (await api.call("POST", f"{RULES}/all", {"rules": [RULE, RULE]})).status == 204
    assert (await api.call("POST", f"{RULES}/all", {"rules": [RULE]})).status == 204
    assert (await api.call("GET", f"{RULES}/all")).json == {"rules": [SHOWN]}
    assert (await api.call("DELETE", f"{RULES}/all")).status == 204
    assert (await api.call("GET", f"{RULES}/all")).json == {"rules": []}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"action": "pub"}, Rule("t", "allow", "publish")),
        ({"action": "sub"}, Rule("t", "allow", "subscribe")),
        ({"action": "all", "permission": "deny"}, Rule("t", "deny", "all")),
        ({"qos": 1}, Rule("t", "allow", "publish", (1,))),
        ({"qos": "0,2"}, Rule("t", "allow", "publish", (0, 2))),
        ({"qos": [2, 0]}, Rule("t", "allow", "publish", (0, 2))),
        ({"retain": True}, Rule("t", "allow", "publish", retain=True)),
        ({"retain": "true"}, Rule("t", "allow", "publish", retain=True)),
        ({"retain": "false"}, Rule("t", "allow", "publish", retain=False)),
        ({"retain": False}, Rule("t", "allow", "publish", retain=False)),
        ({"retain": "all"}, Rule("t", "allow", "publish")),
        ({"topic": "eq t/#"}, Rule("eq t/#", "allow", "publish")),
        ({"topic": "t/${clientid}/${username}"}, Rule("t/${clientid}/${username}", "allow", "publish")),
    ],
)
async def test_the_forms_of_a_rule(api: Api, given: dict[str, Any], stored: Rule) -> None:
    reply = await api.call("POST", f"{RULES}/all", {"rules": [RULE | {"topic": "t"} | given]})
    assert reply.status == 204, reply.body
    assert api.directory.rules("all") == (stored,)


@pytest.mark.parametrize(
    "given",
    [
        {"action": "read"},
        {"permission": "perhaps"},
        {"qos": [3]},
        {"qos": []},
        {"qos": "0,x"},
        {"qos": True},
        {"qos": [True]},
        {"retain": "some"},
        {"retain": "no"},
        {"retain": "True"},
        {"retain": 1},
        {"retain": None},
        {"topic": ""},
        {"topic": "a/#/b"},
        {"topic": 1},
        {"unknown": 1},
    ],
)
async def test_rules_of_the_wrong_form(api: Api, given: dict[str, Any]) -> None:
    rules = {"rules": [RULE, RULE | given]}
    for method, path, body in (
        ("POST", "all", rules),
        ("POST", "users", [{"username": "a", **rules}]),
        ("PUT", "clients/a", {"clientid": "a", **rules}),
    ):
        reply = await api.call(method, f"{RULES}/{path}", body)
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert api.directory.rules("all") is None
    assert api.directory.rule_subjects("username") == api.directory.rule_subjects("clientid") == []


async def test_lists_have_a_greatest_length(api: Api) -> None:
    limit = api.state.settings.max_rules
    assert (await api.call("POST", f"{RULES}/all", {"rules": [RULE] * limit})).status == 204
    reply = await api.call("POST", f"{RULES}/all", {"rules": [RULE] * (limit + 1)})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert len(api.directory.rules("all") or ()) == limit


@pytest.mark.parametrize(("path", "key"), KINDS)
@pytest.mark.parametrize(
    ("query", "expected"),
    [("", ["ann", "bob", "joanna"]), ("like=ann", ["ann", "joanna"]), ("limit=2&page=2", ["joanna"]), ("page=9", [])],
)
async def test_lists(api: Api, path: str, key: str, query: str, expected: list[str]) -> None:
    await api.call("POST", f"{RULES}/{path}", [{key: name, "rules": [RULE]} for name in ("bob", "ann", "joanna")])
    reply = await api.call("GET", f"{RULES}/{path}?{query.replace('like', f'like_{key}')}")
    assert reply.rows == [{key: name, "rules": [SHOWN]} for name in expected]
    assert reply.meta.get("count") == (None if "like" in query else 3)


@pytest.mark.parametrize(("path", "key"), KINDS)
@pytest.mark.parametrize("name", ["a/b", "{é}", "a%2Fb", ".."])
async def test_names_are_decoded_once(api: Api, path: str, key: str, name: str) -> None:
    encoded = quote(name, safe="").replace(".", "%2E")
    assert (await api.call("PUT", f"{RULES}/{path}/{encoded}", {key: name, "rules": []})).status == 204
    assert (await api.call("GET", f"{RULES}/{path}/{encoded}")).json == {key: name, "rules": []}


async def test_everything_can_be_purged_only_while_it_is_not_in_force(api: Api) -> None:
    for path, key in KINDS:
        await api.call("POST", f"{RULES}/{path}", [{key: "a", "rules": [RULE]}])
    await api.call("POST", f"{RULES}/all", {"rules": [RULE]})

    refused = await api.call("DELETE", RULES)
    assert (refused.status, refused.code) == (400, "BAD_REQUEST")
    assert "disabled before purge" in refused.json["message"]
    assert api.directory.rules("all")

    source = "/api/v5/authorization/sources/built_in_database"
    assert (await api.call("PUT", source, {"type": "built_in_database", "enable": False})).status == 204
    assert (await api.call("DELETE", RULES)).status == 204
    assert api.directory.rules("all") is None
    assert api.directory.rule_subjects("username") == api.directory.rule_subjects("clientid") == []


async def test_a_rule_that_is_read_and_written_back_keeps_its_condition(api: Api) -> None:
    """Or it would be for everybody from then on."""
    limited = SHOWN | {"ipaddr": "192.0.2.0/24", "clientid_re": "^dev-"}
    assert (await api.call("POST", f"{RULES}/all", {"rules": [limited, RULE]})).status == 204
    shown = (await api.call("GET", f"{RULES}/all")).json
    assert shown["rules"] == [limited, SHOWN]
    assert (await api.call("POST", f"{RULES}/all", shown)).status == 204
    assert (await api.call("GET", f"{RULES}/all")).json == shown
    refused = await api.call("POST", f"{RULES}/all", {"rules": [limited | {"ipaddr": "nowhere"}]})
    assert (refused.status, refused.code) == (400, "BAD_REQUEST")


async def test_without_their_source_rules_are_not_found(api: Api) -> None:
    body = {"rules": [RULE]}
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/all", None),
        ("POST", "/all", body),
        ("DELETE", "/all", None),
        ("DELETE", "", None),
    ]
    for path, key in KINDS:
        named = {key: "a", **body}
        assert (await api.call("POST", f"{RULES}/{path}", [named])).status == 204
        calls += [
            ("GET", f"/{path}", None),
            ("POST", f"/{path}", [named]),
            ("GET", f"/{path}/a", None),
            ("PUT", f"/{path}/a", named),
            ("DELETE", f"/{path}/a", None),
        ]
    source = "/api/v5/authorization/sources/built_in_database"
    assert (await api.call("DELETE", source)).status == 204
    for method, path, sent in calls:
        reply = await api.call(method, f"{RULES}{path}", sent)
        assert (reply.status, reply.code) == (404, "NOT_FOUND"), (method, path)
    created = await api.call("POST", "/api/v5/authorization/sources", {"type": "built_in_database"})
    assert created.status == 204
    assert (await api.call("GET", f"{RULES}/users/a")).json == {"username": "a", "rules": [SHOWN]}


async def test_the_source_says_how_many_rules_there_may_be(api: Api) -> None:
    source = "/api/v5/authorization/sources/built_in_database"
    assert (await api.call("GET", source)).json["max_rules"] == api.state.settings.max_rules == 5
    assert (await api.call("PUT", source, {"type": "built_in_database", "max_rules": 7})).status == 204
    assert (await api.call("POST", f"{RULES}/all", {"rules": [RULE] * 7})).status == 204
    for method, path, body in (
        ("POST", "/all", {"rules": [RULE] * 8}),
        ("POST", "/users", [{"username": "a", "rules": [RULE] * 8}]),
        ("PUT", "/clients/a", {"clientid": "a", "rules": [RULE] * 8}),
    ):
        reply = await api.call(method, f"{RULES}{path}", body)
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.call("PUT", source, {"type": "built_in_database", "enable": False})).status == 204
    assert (await api.call("GET", source)).json["max_rules"] == 7
