"""Rules, defaults and explanations over the operator's API."""

import asyncio
from typing import Any

import pytest

from .operators import ODD_NAMES, Operator, segment

RULE: dict[str, Any] = {"topic": "t", "permission": "allow", "action": "publish"}
FILLED_IN = {"qos": [0, 1, 2], "retain": "all", "condition": None}
CONDITION = {
    "ipaddr": "192.0.2.0/24",
    "clientid_re": "^c",
    "username_re": "^a",
    "listener": "tcp:default",
    "listener_re": "tcp",
    "zone": "default",
    "zone_re": "d",
}


async def explained(operator: Operator, **query: object) -> dict[str, Any]:
    text = "&".join(f"{key}={segment(str(value)) if value != '' else ''}" for key, value in query.items())
    return await operator.done("GET", f"/acl/explain?{text}")


@pytest.mark.parametrize("subject_type", ["username", "clientid"])
@pytest.mark.parametrize("name", ODD_NAMES)
async def test_rules_of_any_name(operator: Operator, subject_type: str, name: str) -> None:
    path = f"/rules/{subject_type}/{segment(name)}"
    assert await operator.refused("GET", path) == (404, "NOT_FOUND")
    expected = {"subject_type": subject_type, "subject": name, "rules": [RULE | FILLED_IN]}
    assert await operator.done("PUT", path, {"rules": [RULE]}) == expected
    assert await operator.done("GET", path) == expected
    listed = (await operator.done("GET", "/rules"))["data"]
    assert listed == [{"subject_type": subject_type, "subject": name, "rule_count": 1}]
    await operator.done("DELETE", path)
    assert await operator.refused("DELETE", path) == (404, "NOT_FOUND")


async def test_an_empty_list_is_a_record(operator: Operator) -> None:
    await operator.done("PUT", "/rules/username/alice", {"rules": []})
    assert (await operator.done("GET", "/rules/username/alice"))["rules"] == []
    assert (await operator.done("GET", "/rules/all"))["rules"] == []


async def test_every_part_of_a_rule_comes_back(operator: Operator) -> None:
    rule = {"topic": "eq t/#", "permission": "deny", "action": "all", "qos": [2], "retain": True}
    for path in ("/rules/all", "/rules/clientid/c"):
        answer = await operator.done("PUT", path, {"rules": [{**rule, "condition": CONDITION}]})
        assert answer["rules"] == [{**rule, "condition": CONDITION}]
        assert (await operator.done("GET", path))["rules"] == answer["rules"]


@pytest.mark.parametrize(
    "rule",
    [
        {**RULE, "topic": "a/#/b"},
        {**RULE, "permission": "maybe"},
        {**RULE, "action": "receive"},
        {**RULE, "qos": 3},
        {**RULE, "condition": {"ipaddr": "nowhere"}},
        {**RULE, "condition": {"clientid_re": "("}},
        {**RULE, "condition": {"nonsense": "x"}},
        {**RULE, "condition": {"zone": ""}},
    ],
)
async def test_a_rule_that_cannot_be(operator: Operator, rule: dict[str, Any]) -> None:
    for method, path, body in (
        ("PUT", "/rules/all", {"rules": [RULE, rule]}),
        ("POST", "/rules/all", rule),
        ("PUT", "/rules/username/a", {"rules": [rule]}),
        ("POST", "/rules/username/a", rule),
    ):
        assert await operator.refused(method, path, body) == (400, "BAD_REQUEST")
    assert (await operator.done("GET", "/rules"))["data"] == []


async def test_rules_are_added_at_either_end(operator: Operator) -> None:
    for path in ("/rules/username/alice", "/rules/all"):
        await operator.done("POST", path, {**RULE, "topic": "b"})
        await operator.done("POST", path, {**RULE, "topic": "c"})
        answer = await operator.done("POST", f"{path}?first", {**RULE, "topic": "a"})
        assert [rule["topic"] for rule in answer["rules"]] == ["a", "b", "c"]


async def test_of_many_additions_at_once_none_is_lost(operator: Operator) -> None:
    topics = [f"t/{number}" for number in range(50)]
    await asyncio.gather(*(operator.done("POST", "/rules/all", {**RULE, "topic": topic}) for topic in topics))
    rules = (await operator.done("GET", "/rules/all"))["rules"]
    assert sorted(rule["topic"] for rule in rules) == sorted(topics)


async def test_subjects_are_filtered_and_paged(operator: Operator) -> None:
    for path in ("/rules/username/alice", "/rules/username/bob", "/rules/clientid/alice", "/rules/all"):
        await operator.done("PUT", path, {"rules": [RULE, RULE]})

    async def listed(query: str) -> list[tuple[str, str]]:
        rows = (await operator.done("GET", f"/rules?{query}"))["data"]
        assert all(row["rule_count"] == 2 for row in rows)
        return [(row["subject_type"], row["subject"]) for row in rows]

    everybody = [("username", "alice"), ("username", "bob"), ("clientid", "alice"), ("all", "")]
    assert await listed("") == everybody
    assert await listed("limit=2&page=2") == everybody[2:]
    assert await listed("subject_type=clientid") == [("clientid", "alice")]
    assert await listed("subject_type=all") == [("all", "")]
    assert await listed("like=lic") == [("username", "alice"), ("clientid", "alice")]


async def test_defaults(operator: Operator) -> None:
    first = {"publish": "deny", "receive": "allow", "subscribe": "deny", "unsubscribe": "allow"}
    assert await operator.done("GET", "/defaults") == first
    assert await operator.done("PATCH", "/defaults", {}) == first
    assert await operator.done("PATCH", "/defaults", {"receive": "deny"}) == first | {"receive": "deny"}
    assert await operator.refused("PATCH", "/defaults", {"publish": True}) == (400, "BAD_REQUEST")
    rows = (await operator.done("GET", "/audit?action=default_access.*"))["data"]
    assert len(rows) == 1


# -- explanations


async def test_a_client_that_is_not_there_is_judged_by_what_is_given(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "alice"})
    await operator.done("PUT", "/rules/clientid/one", {"rules": [RULE]})
    await operator.done(
        "PUT",
        "/rules/username/alice",
        {"rules": [{**RULE, "topic": "x"}, {**RULE, "topic": "u", "condition": {"ipaddr": "192.0.2.0/24"}}]},
    )
    answer = await explained(operator, clientid="one", topic="u", username="alice", address="192.0.2.7")
    assert answer == {
        "allowed": True,
        "decided_by": "username",
        "client": {
            "clientid": "one",
            "username": "alice",
            "login": "alice",
            "login_type": "username",
            "superuser": False,
            "address": "192.0.2.7",
            "listener": "",
            "session": False,
            "connected": False,
        },
        "layers": [
            {
                "kind": "clientid",
                "name": "one",
                "allowed": None,
                "rule": None,
                "position": None,
                "wildcard_guard": False,
            },
            {
                "kind": "username",
                "name": "alice",
                "allowed": True,
                "rule": {
                    **RULE,
                    **FILLED_IN,
                    "topic": "u",
                    "condition": dict.fromkeys(CONDITION) | {"ipaddr": "192.0.2.0/24"},
                },
                "position": 2,
                "wildcard_guard": False,
            },
        ],
        "remarks": [],
    }
    elsewhere = await explained(operator, clientid="one", topic="u", username="alice", address="198.51.100.1")
    assert (elsewhere["allowed"], elsewhere["decided_by"]) == (False, "default")


async def test_a_live_session_is_judged_as_it_is(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "alice", "password": "x"})
    await operator.mqtt.connected("one", username="alice", password=b"x")
    rule = {**RULE, "condition": {"ipaddr": "127.0.0.0/8", "listener": "default"}}
    await operator.done("PUT", "/rules/username/alice", {"rules": [rule]})
    answer = await explained(operator, clientid="one", topic="t")
    assert (answer["allowed"], answer["decided_by"]) == (True, "username")
    client = answer["client"]
    assert (client["username"], client["address"], client["listener"]) == ("alice", "127.0.0.1", "tcp:default")
    assert (client["session"], client["connected"]) == (True, True)
    assert not (await explained(operator, clientid="one", topic="t", address="192.0.2.1"))["allowed"]
    assert not (await explained(operator, clientid="one", topic="t", listener="ws:ws"))["allowed"]
    other = await explained(operator, clientid="one", topic="t", username="bob")
    assert (other["allowed"], other["client"]["login"], other["client"]["address"]) == (False, None, "127.0.0.1")
    assert other["remarks"]


async def test_who_is_asked_about_no_rule(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "root", "superuser": True})
    answer = await explained(operator, clientid="one", topic="t", username="root")
    assert (answer["allowed"], answer["decided_by"], answer["layers"]) == (True, "superuser", [])
    answer = await explained(operator, clientid="one", topic="$SYS/x", username="root")
    assert (answer["allowed"], answer["decided_by"], len(answer["remarks"])) == (False, "system_topic", 1)
    await operator.done("POST", "/users", {"login": "tenant", "confined": True})
    await operator.done("PUT", "/rules/all", {"rules": [{**RULE, "topic": "#"}]})
    answer = await explained(operator, clientid="one", topic="t", username="tenant")
    assert (answer["allowed"], answer["decided_by"]) == (False, "confined")


async def test_roles_say_which_acl(operator: Operator) -> None:
    acls = [{"acltype": "subscribePattern", "topic": "t/#", "allow": True, "priority": 4}]
    await operator.done("POST", "/roles", {"name": "r", "acls": acls, "allow_wildcard_subs": False})
    await operator.done("POST", "/groups", {"name": "g", "roles": [{"name": "r"}]})
    await operator.done("POST", "/users", {"login": "alice", "groups": [{"name": "g"}]})
    answer = await explained(operator, clientid="c", topic="t/1", username="alice", action="subscribe")
    (layer,) = answer["layers"]
    assert (layer["kind"], layer["name"], layer["rule"], layer["position"]) == ("group", "g/r", acls[0], 1)
    answer = await explained(operator, clientid="c", topic="t/#", username="alice", action="subscribe")
    (layer,) = answer["layers"]
    assert (answer["allowed"], layer["wildcard_guard"], layer["rule"]) == (False, True, None)


async def test_an_empty_username_asks_about_an_anonymous_client(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "alice", "password": "x"})
    await operator.mqtt.connected("one", username="alice", password=b"x")
    answer = await explained(operator, clientid="one", topic="t", username="")
    assert (answer["client"]["username"], answer["client"]["login"]) == (None, None)
