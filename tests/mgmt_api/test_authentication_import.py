"""Users that are imported over HTTP, and who gets in then."""

import hashlib
import json
from typing import Any

import pytest
from wardenmq.config.settings import CREDENTIAL_PLUGIN
from wardenmq.store.directory import Directory

from ..engine.brokers import serving
from .callers import USERS, V5, Api, Reply, form

DATABASE = f"{V5}/authentication/password_based:built_in_database"
IMPORT = f"{DATABASE}/import_users"
SALT = "0123456789abcdef"
HASHED = "user_id,password_hash,salt,is_superuser\nbob,{0},{1},true\nann,{0},{1},false"
HASH = hashlib.sha256(f"{SALT}secret".encode()).hexdigest()


async def upload(api: Api, data: bytes, name: str = "users.csv", query: str = "type=plain") -> Reply:
    body, headers = form(name, data)
    return await api.call("POST", f"{IMPORT}?{query}", data=body, headers=headers)


async def users(api: Api) -> dict[str, bool]:
    return {row["user_id"]: row["is_superuser"] for row in (await api.call("GET", USERS)).rows}


@pytest.mark.parametrize(
    ("data", "name", "query"),
    [
        (b"user_id,password,is_superuser\nbob,secret,true\nann,secret,\n", "users.csv", "type=plain"),
        (b"is_superuser,password,user_id\r\ntrue,secret,bob\r\nfalse,secret,ann\r\n", "USERS.CSV", "type=plain"),
        (
            f"user_id,password_hash,salt,is_superuser\nbob,{HASH},{SALT},true\nann,{HASH},{SALT},false".encode(),
            "a.csv",
            "",
        ),
        (
            json.dumps(
                [
                    {"user_id": "bob", "password_hash": HASH, "salt": SALT, "is_superuser": True},
                    {"user_id": "ann", "password_hash": HASH, "salt": SALT},
                ]
            ).encode(),
            "users.json",
            "type=hash",
        ),
        (b"user_id,password\nbob,first\nann,secret\nbob,secret\n", "users.csv", "type=plain"),
    ],
)
async def test_files(api: Api, directory: Directory, data: bytes, name: str, query: str) -> None:
    reply = await upload(api, data, name, query)
    assert (reply.status, reply.body) == (204, b"")
    assert set(await users(api)) == {"bob", "ann"}
    assert (await users(api))["ann"] is False
    async with serving({CREDENTIAL_PLUGIN: {}}, directory=directory) as mqtt:
        for user in ("bob", "ann"):
            await mqtt.connected(user, username=user, password=b"secret")


async def test_an_array_without_a_file(api: Api) -> None:
    rows = [{"user_id": "user1", "password": "a", "is_superuser": True}, {"user_id": "user2", "password": "b"}]
    reply = await api.call("POST", f"{IMPORT}?type=plain", rows)
    assert reply.status == 204
    assert await users(api) == {"user1": True, "user2": False}


async def test_users_that_exist_are_overwritten(api: Api) -> None:
    await api.call("POST", USERS, {"user_id": "bob", "password": "x", "is_superuser": True})
    assert (await upload(api, b"user_id,password,is_superuser\nbob,y,false\n")).status == 204
    assert await users(api) == {"bob": False}


@pytest.mark.parametrize(
    ("algorithm", "kept"),
    [({"name": "sha512", "salt_position": "suffix"}, "sha512"), ({"name": "bcrypt", "salt_rounds": 5}, "bcrypt")],
)
async def test_passwords_are_hashed_as_it_is_set(api: Api, directory: Directory, algorithm: Any, kept: str) -> None:
    body = {"mechanism": "password_based", "backend": "built_in_database", "user_id_type": "clientid"}
    assert (await api.call("PUT", DATABASE, {**body, "password_hash_algorithm": algorithm})).status == 204
    assert (await upload(api, b"user_id,password\ndev,secret\n")).status == 204
    stored = directory._logins.find("clientid", "dev")
    assert stored is not None
    assert stored.secret is not None
    assert stored.secret.algo == kept
    async with serving({CREDENTIAL_PLUGIN: {}}, directory=directory) as mqtt:
        await mqtt.connected("dev", username="x", password=b"secret")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "users.csv"),
        (b"user_id,password\n", "users.csv"),
        (b"user_id,password\nbob,x\nann\n", "users.csv"),
        (b"user_id,password\nbob,x\n,y\n", "users.csv"),
        (b"user_id,password,is_superuser\nbob,x,perhaps\n", "users.csv"),
        (b"name,password\nbob,x\n", "users.csv"),
        (b"[]", "users.json"),
        (b"{}", "users.json"),
        (b"[1]", "users.json"),
        (b'[{"user_id": "bob"}]', "users.json"),
        (b"user_id,password\nbob,x\n", "users.txt"),
        (b"user_id,password\nbob,x\n", "users"),
        (b"\xff\xfe\x00", "users.csv"),
    ],
)
async def test_files_with_something_wrong_in_them(api: Api, data: bytes, name: str) -> None:
    reply = await upload(api, data, name)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert await users(api) == {}


@pytest.mark.parametrize("data", [b"", b"user_id,password", b"{}", b"--", b"--b\r\n", b"--b\r\n\r\n\r\n--b--\r\n"])
async def test_bodies_that_are_no_file(api: Api, data: bytes) -> None:
    reply = await api.call("POST", f"{IMPORT}?type=plain", data=data)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_another_kind_of_file(api: Api) -> None:
    assert (await upload(api, b"user_id,password\nbob,x\n", query="type=other")).status == 400


async def test_no_password_is_repeated(api: Api) -> None:
    reply = await upload(api, b"user_id,password\nbob,hunter2,hunter2\n")
    assert reply.status == 400
    assert b"hunter2" not in reply.body
