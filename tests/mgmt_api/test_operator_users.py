"""Users over the operator's API: what is written is what is shown, and what lets them in."""

from typing import Any

import pytest
from wardenmq.mgmt_api.operator.address import VIA_HEADER

from ..engine.wire import connect
from .operators import ODD_NAMES, Operator, segment

PLAIN: dict[str, Any] = {
    "login": "alice",
    "login_type": "username",
    "kind": "mqtt_client",
    "tenant": "default",
    "superuser": False,
    "disabled": False,
    "disabled_at": None,
    "paused_at": None,
    "expires_at": None,
    "secret_expires_at": None,
    "clientid": None,
    "clientid_mode": "any",
    "confined": False,
    "can_publish": True,
    "can_subscribe": True,
    "label": "",
    "description": "",
    "roles": [],
    "groups": [],
}


def without_times(user: dict[str, Any]) -> dict[str, Any]:
    assert user.pop("created_at").endswith("+00:00")
    return user


async def test_a_user_is_shown_as_created(operator: Operator) -> None:
    created = await operator.done("POST", "/users", {"login": "alice", "password": "s3cret"})
    assert without_times(dict(created)) == PLAIN
    assert await operator.done("GET", "/users/alice") == created


async def test_every_field_of_a_new_user(operator: Operator) -> None:
    for name in ("r", "s"):
        await operator.done("POST", "/roles", {"name": name})
    await operator.done("POST", "/groups", {"name": "g"})
    fields = {
        "superuser": False,
        "clientid": "c",
        "clientid_mode": "required",
        "confined": True,
        "can_publish": True,
        "can_subscribe": True,
        "label": "A",
        "description": "The first",
        "expires_at": "2100-01-01T02:00:00+02:00",
        "roles": [{"name": "r", "priority": 1}, {"name": "s", "priority": 5}],
        "groups": [{"name": "g"}],
    }
    created = await operator.done("POST", "/users", {"login": "alice", "password": "x", **fields})
    assert without_times(created) == PLAIN | fields | {
        "expires_at": "2100-01-01T00:00:00.000+00:00",
        "roles": [{"name": "s", "priority": 5}, {"name": "r", "priority": 1}],
        "groups": [{"name": "g", "priority": -1}],
    }


async def test_what_is_not_given_stays(operator: Operator) -> None:
    await operator.done(
        "POST",
        "/users",
        {"login": "alice", "password": "x", "label": "A", "clientid": "c", "expires_at": "2100-01-01T00:00:00Z"},
    )
    before = await operator.done("GET", "/users/alice")
    assert await operator.done("PATCH", "/users/alice", {}) == before
    assert await operator.done("PATCH", "/users/alice", {"label": "B"}) == before | {"label": "B"}
    changed = await operator.done("PATCH", "/users/alice", {"expires_at": None, "clientid": None})
    assert changed == before | {"label": "B", "expires_at": None, "clientid": None}


async def test_the_password_lets_in_and_the_switch_keeps_out(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "alice", "password": "s3cret"})
    client = await operator.mqtt.connected("one", username="alice", password=b"s3cret")
    shown = await operator.done("PATCH", "/users/alice", {"disabled": True})
    assert (shown["disabled"], shown["disabled_at"] is None) == (True, False)
    await client.hung_up()
    stranger = await operator.mqtt.open()
    assert await stranger.refused(connect("one", username="alice", password=b"s3cret")) == 5
    assert (await operator.done("PATCH", "/users/alice", {"disabled": False}))["disabled"] is False
    client = await operator.mqtt.connected("one", username="alice", password=b"s3cret")
    await operator.done("PATCH", "/users/alice", {"password": "other"})
    await client.hung_up()
    client = await operator.mqtt.connected("one", username="alice", password=b"other")
    await operator.done("DELETE", "/users/alice")
    await client.hung_up()


async def test_a_user_without_password_has_none(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "alice"})
    stranger = await operator.mqtt.open()
    assert await stranger.refused(connect("one", username="alice", password=b"")) == 4


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_any_name_fits_into_a_path(operator: Operator, name: str) -> None:
    await operator.done("POST", "/users", {"login": name, "password": "x"})
    path = f"/users/{segment(name)}"
    assert (await operator.done("GET", path))["login"] == name
    assert (await operator.done("PATCH", path, {"label": "x"}))["label"] == "x"
    await operator.done("POST", "/roles", {"name": name})
    await operator.done("PUT", f"{path}/roles/{segment(name)}", {})
    assert (await operator.done("GET", path))["roles"] == [{"name": name, "priority": -1}]
    await operator.done("DELETE", path)
    assert await operator.refused("GET", path) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {"login": ""},
        {"login": "a\u0007b"},
        {"login": "x" * 65_536},
        {"login": "a", "password": ""},
        {"login": "a", "label": "x" * 10_000},
        {"login": "a", "expires_at": "tomorrow"},
        {"login": "a", "expires_at": 5},
        {"login": "a", "clientid_mode": "required"},
        {"login": "a", "login_type": "email"},
        {"login": "a", "roles": [{"name": ""}]},
        {"login": "a", "roles": [{"name": "r"}] * 1_001},
        {"login": "a", "groups": [{"name": "r", "priority": 2**31}]},
        {"login": "a", "kind": "haltian_key"},
    ],
)
async def test_bad_input_is_refused(operator: Operator, body: dict[str, Any]) -> None:
    reply = await operator.call("POST", "/users", body)
    assert (reply.status, reply.code) in ((400, "BAD_REQUEST"), (413, "BAD_REQUEST"))
    assert (await operator.done("GET", "/users"))["data"] == []


async def test_an_unknown_role_or_group_leaves_nothing_behind(operator: Operator) -> None:
    for membership in ("roles", "groups"):
        body = {"login": "alice", "password": "x", membership: [{"name": "nothing"}]}
        assert await operator.refused("POST", "/users", body) == (400, "UNKNOWN_REFERENCE")
        assert await operator.refused("GET", "/users/alice") == (404, "NOT_FOUND")


async def test_lists_are_filtered_and_paged(operator: Operator) -> None:
    await operator.done("POST", "/roles", {"name": "r"})
    for number in range(5):
        roles = [{"name": "r"}] if number % 2 else []
        await operator.done("POST", "/users", {"login": f"u{number}", "superuser": number == 4, "roles": roles})

    async def names(query: str) -> list[str]:
        return [user["login"] for user in (await operator.done("GET", f"/users?{query}"))["data"]]

    assert await names("") == ["u0", "u1", "u2", "u3", "u4"]
    assert await names("role=r") == ["u1", "u3"]
    assert await names("superuser=true") == ["u4"]
    assert await names("like=3") == ["u3"]
    assert await names("disabled=true") == []
    assert await names("login_type=clientid") == []
    page = await operator.done("GET", "/users?limit=2&page=2")
    assert ([user["login"] for user in page["data"]], page["meta"]) == (
        ["u2", "u3"],
        {"page": 2, "limit": 2, "count": 5, "hasnext": True},
    )


async def test_no_answer_holds_a_password(operator: Operator) -> None:
    await operator.done("POST", "/users", {"login": "alice", "password": "s3cret-of-alice"})
    replies = [
        await operator.call("GET", "/users"),
        await operator.call("GET", "/users/alice"),
        await operator.call("PATCH", "/users/alice", {"password": "s3cret-of-alice", "label": 7}),
        await operator.call("POST", "/users", {"login": "bob", "password": ["s3cret-of-alice"]}),
        await operator.call("GET", "/audit"),
    ]
    assert not [reply for reply in replies if b"s3cret" in reply.body or b"argon2" in reply.body]


async def test_the_audit_log_says_who_and_by_which_way(operator: Operator) -> None:
    await operator.call("POST", "/users", {"login": "a"}, headers={VIA_HEADER: "cli"})
    await operator.call("POST", "/users", {"login": "b"}, headers={VIA_HEADER: "somebody else"})
    await operator.call("POST", "/users", {"login": "c"})
    rows = (await operator.done("GET", "/audit?action=login.create"))["data"]
    assert [(row["actor"], row["facade"], row["target"]) for row in rows] == [
        ("operator", "operator", "username:c"),
        ("operator", "operator", "username:b"),
        ("operator", "cli", "username:a"),
    ]


@pytest.mark.parametrize("switch", ["can_publish", "can_subscribe"])
async def test_a_switch_that_would_do_nothing_is_refused(operator: Operator, switch: str) -> None:
    assert await operator.refused("POST", "/users", {"login": "alice", switch: False}) == (400, "BAD_REQUEST")
    await operator.done("POST", "/users", {"login": "alice"})
    assert await operator.refused("PATCH", "/users/alice", {switch: False}) == (400, "BAD_REQUEST")
    assert (await operator.done("GET", "/users/alice"))[switch] is True
