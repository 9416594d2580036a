"""Roles and groups over the operator's API, down to what a live session may do."""

from typing import Any

import pytest

from .operators import ODD_NAMES, Operator, segment

ACL: dict[str, Any] = {"acltype": "publishClientSend", "topic": "t/#", "allow": True}


async def allowed(operator: Operator, client_id: str, topic: str, username: str, action: str = "publish") -> bool:
    query = f"clientid={client_id}&topic={segment(topic)}&username={username}&action={action}"
    return (await operator.done("GET", f"/acl/explain?{query}"))["allowed"]


async def test_a_role_from_creation_to_deletion(operator: Operator) -> None:
    acls = [{**ACL, "topic": "low", "priority": 1}, {**ACL, "topic": "high", "allow": False, "priority": 2}]
    created = await operator.done(
        "POST", "/roles", {"name": "r", "text_name": "R", "allow_wildcard_subs": False, "acls": acls}
    )
    assert created.pop("created_at").endswith("+00:00")
    assert created == {
        "name": "r",
        "text_name": "R",
        "text_description": "",
        "allow_wildcard_subs": False,
        "acl_count": 2,
        "acls": [acls[1], acls[0]],  # as they are read
    }
    row = (await operator.done("GET", "/roles"))["data"][0]
    assert (row["name"], row["acl_count"], "acls" in row) == ("r", 2, False)
    changed = await operator.done("PATCH", "/roles/r", {"acls": [], "text_description": "d"})
    assert (changed["acls"], changed["text_name"], changed["text_description"]) == ([], "R", "d")
    await operator.done("DELETE", "/roles/r")
    assert await operator.refused("DELETE", "/roles/r") == (404, "NOT_FOUND")


async def test_an_acl_is_there_once(operator: Operator) -> None:
    await operator.done("POST", "/roles", {"name": "r"})
    await operator.done("POST", "/roles/r/acls", ACL)
    assert await operator.refused("POST", "/roles/r/acls", {**ACL, "allow": False}) == (409, "ALREADY_EXISTS")
    assert await operator.refused("POST", "/roles/nothing/acls", ACL) == (404, "NOT_FOUND")
    left = await operator.done("DELETE", "/roles/r/acls/publishClientSend/t%2F%23")
    assert left["acls"] == []


@pytest.mark.parametrize("topic", ["/", "a//b", "+", "100%", "%2F", "what?", "a b", "$SYS/#"])
async def test_any_topic_of_an_acl_fits_into_a_path(operator: Operator, topic: str) -> None:
    await operator.done("POST", "/roles", {"name": "r", "acls": [{**ACL, "topic": topic}]})
    left = await operator.done("DELETE", f"/roles/r/acls/publishClientSend/{segment(topic)}")
    assert left["acls"] == []


@pytest.mark.parametrize(
    "acl",
    [
        {**ACL, "topic": "a/#/b"},
        {**ACL, "topic": ""},
        {**ACL, "acltype": "publish"},
        {**ACL, "priority": "high"},
        {**ACL, "priority": 2**31},
        {"acltype": "publishClientSend", "topic": "t"},
    ],
)
async def test_an_acl_that_cannot_be(operator: Operator, acl: dict[str, Any]) -> None:
    await operator.done("POST", "/roles", {"name": "r"})
    assert await operator.refused("POST", "/roles/r/acls", acl) == (400, "BAD_REQUEST")
    assert await operator.refused("PATCH", "/roles/r", {"acls": [ACL, acl]}) == (400, "BAD_REQUEST")
    assert (await operator.done("GET", "/roles/r"))["acls"] == []


async def test_roles_and_groups_decide_what_a_user_may_do(operator: Operator) -> None:
    await operator.done("POST", "/roles", {"name": "r", "acls": [ACL]})
    await operator.done("POST", "/groups", {"name": "g"})
    await operator.done("POST", "/users", {"login": "alice", "password": "x"})
    assert not await allowed(operator, "c", "t/1", "alice")
    await operator.done("PUT", "/users/alice/roles/r", {"priority": 3})
    assert await allowed(operator, "c", "t/1", "alice")
    await operator.done("DELETE", "/users/alice/roles/r")
    assert not await allowed(operator, "c", "t/1", "alice")
    await operator.done("PUT", "/groups/g/members/alice", {})
    await operator.done("PUT", "/groups/g/roles/r", {})
    assert await allowed(operator, "c", "t/1", "alice")
    await operator.done("DELETE", "/groups/g/members/alice")
    assert not await allowed(operator, "c", "t/1", "alice")
    assert not await allowed(operator, "c", "t/1", "")
    await operator.done("PUT", "/anonymous-group", {"group": "g"})
    assert await allowed(operator, "c", "t/1", "")


async def test_members_are_listed_apart(operator: Operator) -> None:
    await operator.done("POST", "/groups", {"name": "g"})
    for number in range(3):
        await operator.done("POST", "/users", {"login": f"u{number}", "groups": [{"name": "g", "priority": number}]})
    assert (await operator.done("GET", "/groups/g"))["member_count"] == 3
    page = await operator.done("GET", "/groups/g/members?limit=2")
    assert (len(page["data"]), page["meta"]["count"], page["meta"]["hasnext"]) == (2, 3, True)
    members = (await operator.done("GET", "/groups/g/members"))["data"]
    assert sorted((member["name"], member["priority"]) for member in members) == [("u0", 0), ("u1", 1), ("u2", 2)]
    assert (await operator.done("GET", "/users/u2"))["groups"] == [{"name": "g", "priority": 2}]


async def test_references_that_lead_nowhere(operator: Operator) -> None:
    await operator.done("POST", "/groups", {"name": "g"})
    await operator.done("POST", "/users", {"login": "alice"})
    unknown = (400, "UNKNOWN_REFERENCE")
    assert await operator.refused("PUT", "/groups/g/members/nobody", {}) == unknown
    assert await operator.refused("PUT", "/groups/g/roles/nothing", {}) == unknown
    assert await operator.refused("PUT", "/users/alice/roles/nothing", {}) == unknown
    assert await operator.refused("POST", "/groups", {"name": "h", "roles": [{"name": "nothing"}]}) == unknown
    assert await operator.refused("PUT", "/groups/nothing/members/alice", {}) == (404, "NOT_FOUND")
    assert await operator.refused("PUT", "/users/nobody/roles/nothing", {}) == (404, "NOT_FOUND")


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_any_name_fits_into_a_path(operator: Operator, name: str) -> None:
    await operator.done("POST", "/users", {"login": name})
    await operator.done("POST", "/roles", {"name": name})
    await operator.done("POST", "/groups", {"name": name})
    path = f"/groups/{segment(name)}"
    await operator.done("PUT", f"{path}/members/{segment(name)}", {})
    await operator.done("PUT", f"{path}/roles/{segment(name)}", {})
    shown = await operator.done("GET", path)
    assert (shown["name"], shown["roles"], shown["member_count"]) == (name, [{"name": name, "priority": -1}], 1)
    await operator.done("DELETE", f"{path}/members/{segment(name)}")
    await operator.done("DELETE", f"{path}/roles/{segment(name)}")
    await operator.done("DELETE", path)
    assert (await operator.done("PATCH", f"/roles/{segment(name)}", {"text_name": "x"}))["name"] == name
    await operator.done("DELETE", f"/roles/{segment(name)}")


@pytest.mark.parametrize("disconnect", [False, True])
async def test_live_sessions_are_checked_again_or_closed(operator: Operator, disconnect: bool) -> None:
    subscribe = {"acltype": "subscribePattern", "topic": "t/#", "allow": True}
    await operator.done("POST", "/roles", {"name": "r", "acls": [subscribe]})
    await operator.done("POST", "/users", {"login": "alice", "password": "x", "roles": [{"name": "r"}]})
    client = await operator.mqtt.connected("one", username="alice", password=b"x")
    assert await client.subscribe(("t/1", 0)) == [0]
    await operator.done("DELETE", f"/roles/r/acls/subscribePattern/t%2F%23?disconnect={str(disconnect).lower()}")
    if disconnect:
        await client.hung_up()
    else:
        session = operator.mqtt.broker.registry.get("one")
        assert session is not None
        assert (session.connected, list(session.subscriptions)) == (True, [])
