"""Those who may log in, over HTTP."""

import asyncio

import pytest

from .callers import V5, Api, Reply

PASSWORD = "secret-12"


async def call(api: Api, method: str, path: str, body: object = None, role: str = "administrator") -> Reply:
    return await api.call(method, f"{V5}{path}", body, headers=await api.bearer(role), role=None)


async def names(api: Api) -> list[str]:
    return [user["username"] for user in (await call(api, "GET", "/users")).json]


async def test_a_user_is_created_shown_changed_and_deleted(api: Api) -> None:
    made = await call(api, "POST", "/users", {"username": "ann", "password": PASSWORD, "description": "first"})
    shown = {"username": "ann", "role": "administrator", "description": "first", "backend": "local"}
    assert (made.status, made.json) == (200, shown)
    assert shown in (await call(api, "GET", "/users")).json
    changed = await call(api, "PUT", "/users/ann", {"description": "second", "role": "viewer"})
    assert (changed.status, changed.json) == (200, shown | {"description": "second", "role": "viewer"})
    # what is not said stays: who changes a description makes nobody an administrator
    same = await call(api, "PUT", "/users/ann", {"description": "third"})
    assert same.json == shown | {"description": "third", "role": "viewer"}
    assert (await call(api, "DELETE", "/users/ann")).status == 204
    assert "ann" not in await names(api)


@pytest.mark.parametrize("name", ["", "a-b", "a b", "é", "x" * 101, "a\n", "a/b"])
async def test_names_that_are_refused(api: Api, name: str) -> None:
    reply = await call(api, "POST", "/users", {"username": name, "password": PASSWORD})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("password", "taken"),
    [
        ("", False),
        ("short-1", False),
        ("x1" * 32 + "x", False),
        ("x1" * 32, True),
        ("onlyletters", False),
        ("1234567890", False),
        ("--------", False),
        ("letters1", True),
        ("letters-", True),
        ("12345678 ", True),
        ("pässword1", False),
        ("tab\tand12", False),
    ],
)
async def test_the_rule_of_passwords(api: Api, password: str, taken: bool) -> None:
    reply = await call(api, "POST", "/users", {"username": "ann", "password": password})
    assert reply.status == (200 if taken else 400)
    if not taken:
        assert reply.code == "BAD_REQUEST"
        assert not password or password.encode() not in reply.body


async def test_a_name_is_taken_once(api: Api) -> None:
    body = {"username": "ann", "password": PASSWORD}
    assert (await call(api, "POST", "/users", body)).status == 200
    again = await call(api, "POST", "/users", body)
    assert (again.status, again.json) == (400, {"code": "BAD_REQUEST", "message": "username_already_exists"})


@pytest.mark.parametrize("role", ["publisher", "root", "", None, 1])
async def test_roles_that_no_user_has(api: Api, role: object) -> None:
    body = {"username": "ann", "password": PASSWORD, "role": role}
    assert (await call(api, "POST", "/users", body)).code == "BAD_REQUEST"


async def test_the_first_administrator_stays_one(api: Api) -> None:
    await api.directory.create_dashboard_user("admin", PASSWORD)
    demoted = await call(api, "PUT", "/users/admin", {"role": "viewer", "description": ""})
    assert (demoted.status, demoted.code) == (400, "NOT_ALLOWED")
    deleted = await call(api, "DELETE", "/users/admin")
    assert (deleted.status, deleted.code) == (400, "NOT_ALLOWED")
    described = await call(api, "PUT", "/users/admin", {"role": "administrator", "description": "x"})
    assert (described.status, described.json["description"]) == (200, "x")


async def test_nobody_deletes_himself_or_the_last_administrator(api: Api) -> None:
    myself = await call(api, "DELETE", "/users/administrator")
    assert (myself.status, myself.json) == (400, {"code": "NOT_ALLOWED", "message": "Cannot delete self"})
    demoted = await call(api, "PUT", "/users/administrator", {"role": "viewer"})
    assert (demoted.status, demoted.code) == (400, "NOT_ALLOWED")
    assert await names(api) == ["administrator"]


async def test_who_is_not_there(api: Api) -> None:
    for method, path, body in (
        ("PUT", "/users/nobody", {"description": ""}),
        ("DELETE", "/users/nobody", None),
        ("POST", "/users/nobody/change_pwd", {"old_pwd": PASSWORD, "new_pwd": "secret-13"}),
    ):
        reply = await call(api, method, path, body)
        assert (reply.status, reply.code) == (404, "USER_NOT_FOUND")


async def change(api: Api, name: str, old: str, new: str, headers: dict[str, str]) -> Reply:
    body = {"old_pwd": old, "new_pwd": new}
    return await api.call("POST", f"{V5}/users/{name}/change_pwd", body, headers=headers, role=None)


async def test_a_password_is_changed_by_whoever_knows_it(api: Api) -> None:
    await api.directory.dashboard_users.create("ann", PASSWORD)
    ann = {"username": "ann", "password": PASSWORD}
    token = (await api.call("POST", f"{V5}/login", ann, role=None)).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    wrong = await change(api, "ann", "secret-11", "secret-13", headers)
    assert (wrong.status, wrong.json) == (
        400,
        {"code": "ERROR_PWD_NOT_MATCH", "message": "Old password not match"},
    )
    for weak in ("", "weak", "onlyletters"):
        refused = await change(api, "ann", PASSWORD, weak, headers)
        assert (refused.status, refused.code) == (400, "BAD_REQUEST")
    assert (await change(api, "ann", PASSWORD, "secret-13", headers)).status == 204
    assert (await api.call("GET", f"{V5}/users", headers=headers, role=None)).code == "BAD_TOKEN"
    assert (await api.call("POST", f"{V5}/login", ann, role=None)).status == 401
    assert (await api.call("POST", f"{V5}/login", ann | {"password": "secret-13"}, role=None)).status == 200


async def test_who_only_views_changes_his_own_password_alone(api: Api) -> None:
    users = api.directory.dashboard_users
    await users.create("ann", PASSWORD)
    await users.create("viewer", PASSWORD, "viewer")
    headers = await api.bearer("viewer")
    for name in ("ann", "nobody"):
        reply = await change(api, name, PASSWORD, "secret-13", headers)
        assert (reply.status, reply.code) == (403, "UNAUTHORIZED_ROLE")
    assert (await call(api, "PUT", "/users/viewer", {"description": "x"}, "viewer")).status == 403
    assert (await change(api, "viewer", PASSWORD, "secret-13", headers)).status == 204


async def test_an_api_key_opens_none_of_it(api: Api) -> None:
    for method, path in (
        ("GET", "/users"),
        ("POST", "/users"),
        ("PUT", "/users/x"),
        ("DELETE", "/users/x"),
        ("POST", "/users/x/change_pwd"),
        ("POST", "/logout"),
        ("GET", "/api_key"),
        ("DELETE", "/api_key/administrator"),
    ):
        for headers in (api.keys["administrator"], {"Authorization": "Basic !"}):
            reply = await api.call(method, f"{V5}{path}", headers=headers, role=None)
            assert (reply.status, reply.code) == (401, "API_KEY_NOT_ALLOW")
            assert path.split("/")[1] in reply.json["message"]
            assert reply.headers["WWW-Authenticate"] == 'Basic Realm="emqx-dashboard"'


async def test_of_changes_at_the_same_time_one_counts(api: Api) -> None:
    await call(api, "POST", "/users", {"username": "ann", "password": PASSWORD})
    headers = await api.bearer()
    wanted = [f"secret-{number}" for number in (21, 22, 23)]
    replies = await asyncio.gather(
        *(
            api.call(
                "POST",
                f"{V5}/users/ann/change_pwd",
                {"old_pwd": PASSWORD, "new_pwd": password},
                headers=headers,
                role=None,
            )
            for password in wanted
        )
    )
    assert sorted(reply.status for reply in replies) == [204, 400, 400]
    (changed,) = [password for password, reply in zip(wanted, replies, strict=True) if reply.status == 204]
    assert await api.directory.dashboard_users.check("ann", changed, "127.0.0.1") is not None
