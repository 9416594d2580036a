from typing import Any
from urllib.parse import quote

import pytest
from wardenmq.plugins.credentials import CredentialAuthPlugin
from wardenmq.store.directory import Directory

from ..engine.brokers import serving
from ..engine.wire import connect
from .callers import USERS, V5, Api

ALICE = {"user_id": "alice", "password": "secret-of-alice"}


async def test_a_user_from_creation_to_deletion(api: Api) -> None:
    created = await api.call("POST", USERS, ALICE)
    assert (created.status, created.json) == (201, {"user_id": "alice", "is_superuser": False})

    shown = await api.call("GET", f"{USERS}/alice")
    assert (shown.status, shown.json) == (200, {"user_id": "alice", "is_superuser": False})

    changed = await api.call("PUT", f"{USERS}/alice", {"password": "new", "is_superuser": True})
    assert (changed.status, changed.json) == (200, {"user_id": "alice", "is_superuser": True})

    kept = await api.call("PUT", f"{USERS}/alice", {"password": "newer"})
    assert kept.json == {"user_id": "alice", "is_superuser": True}

    deleted = await api.call("DELETE", f"{USERS}/alice")
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await api.call("GET", f"{USERS}/alice")).status == 404


async def test_the_password_is_the_one_that_lets_the_user_in(directory: Directory, api: Api) -> None:
    plugin = f"{CredentialAuthPlugin.__module__}.{CredentialAuthPlugin.__qualname__}"
    async with serving({plugin: {}}, directory=directory) as mqtt:
        await api.call("POST", USERS, ALICE)
        client = await mqtt.connected("one", username="alice", password=b"secret-of-alice")
        await api.call("PUT", f"{USERS}/alice", {"password": "new"})
        await client.hung_up()
        stranger = await mqtt.open()
        assert await stranger.refused(connect("one", username="alice", password=b"secret-of-alice")) == 4
        client = await mqtt.connected("one", username="alice", password=b"new")
        await api.call("DELETE", f"{USERS}/alice")
        await client.hung_up()


async def test_a_name_is_taken_once(api: Api) -> None:
    assert (await api.call("POST", USERS, ALICE)).status == 201
    again = await api.call("POST", USERS, ALICE)
    assert (again.status, again.code, again.json["message"]) == (409, "ALREADY_EXISTS", "User already exists")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/nobody", None), ("PUT", "/nobody", {"password": "x"}), ("DELETE", "/nobody", None)],
)
async def test_an_unknown_user(api: Api, method: str, path: str, body: Any) -> None:
    reply = await api.call(method, USERS + path, body)
    assert (reply.status, reply.code, reply.json["message"]) == (404, "NOT_FOUND", "User not found")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("POST", "", ALICE),
        ("GET", "/alice", None),
        ("PUT", "/alice", {"password": "x"}),
        ("DELETE", "/alice", None),
    ],
)
@pytest.mark.parametrize("authenticator", ["password_based:mysql", "jwt", "password_based"])
async def test_an_unknown_authenticator(api: Api, method: str, path: str, body: Any, authenticator: str) -> None:
    await api.call("POST", USERS, ALICE)
    reply = await api.call(method, f"{V5}/authentication/{authenticator}/users{path}", body)
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert authenticator in reply.json["message"]
    assert (await api.call("GET", f"{USERS}/alice")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": "alice"},
        {"password": "x"},
        {"user_id": "", "password": "x"},
        {"user_id": "alice", "password": ""},
        {"user_id": "alice", "password": 7},
        {"user_id": "alice", "password": "x", "is_superuser": "perhaps"},
        {"user_id": "alice", "password": "x", "unknown": 1},
        {"user_id": "a\0b", "password": "x"},
        [],
    ],
)
async def test_users_of_the_wrong_form(api: Api, body: Any) -> None:
    reply = await api.call("POST", USERS, body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.call("GET", USERS)).rows == []


@pytest.mark.parametrize("body", [{}, {"password": ""}, {"user_id": "alice", "password": "x"}, {"is_superuser": True}])
async def test_changes_of_the_wrong_form(api: Api, body: Any) -> None:
    await api.call("POST", USERS, ALICE)
    reply = await api.call("PUT", f"{USERS}/alice", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_what_was_sent_is_never_repeated_in_an_error(api: Api) -> None:
    for body in ({"user_id": 1, "password": "hunter2"}, {"user_id": "a", "password": ["hunter2"]}):
        assert b"hunter2" not in (await api.call("POST", USERS, body)).body


@pytest.mark.parametrize(
    ("query", "expected", "counted"),
    [
        ("", ["ann", "bob", "joanna"], True),
        ("like_user_id=ann", ["ann", "joanna"], False),
        ("like_user_id=ANN", [], False),
        ("is_superuser=true", ["bob"], True),
        ("is_superuser=false", ["ann", "joanna"], True),
        ("is_superuser=false&like_user_id=jo", ["joanna"], False),
        ("limit=2", ["ann", "bob"], True),
        ("limit=2&page=2", ["joanna"], True),
    ],
)
async def test_lists(api: Api, query: str, expected: list[str], counted: bool) -> None:
    for name in ("ann", "bob", "joanna"):
        await api.call("POST", USERS, {"user_id": name, "password": "x", "is_superuser": name == "bob"})
    reply = await api.call("GET", f"{USERS}?{query}")
    assert [row["user_id"] for row in reply.rows] == expected
    assert all(set(row) == {"user_id", "is_superuser"} for row in reply.rows)
    assert ("count" in reply.meta) is counted


@pytest.mark.parametrize("name", ["a/b", "{é}", "a%2Fb", "..", "x y+z"])
async def test_user_ids_are_decoded_once(api: Api, name: str) -> None:
    encoded = quote(name, safe="").replace(".", "%2E")
    await api.call("POST", USERS, {"user_id": name, "password": "x"})
    path = f"{V5}/authentication/password_based%3Abuilt_in_database/users/{encoded}"
    assert (await api.call("GET", path)).json["user_id"] == name
    assert (await api.call("DELETE", path)).status == 204


async def test_writes_are_signed_with_the_name_of_the_key(api: Api, directory: Directory) -> None:
    await api.call("POST", USERS, ALICE)
    rows = await directory._database.read("SELECT actor, facade FROM audit_log WHERE action = 'login.create'")
    assert [tuple(row) for row in rows] == [("api_key:administrator", "emqx")]
