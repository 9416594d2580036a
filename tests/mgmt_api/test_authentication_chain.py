"""The chain of authenticators over HTTP, and what it means for clients that connect."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN
from wardenmq.mgmt_api.configuration import Configuration, Governed
from wardenmq.mgmt_api.emqx.access.authentication_root import AUTHENTICATION
from wardenmq.mgmt_api.emqx.access.key_fetcher import fetch_keys
from wardenmq.mgmt_api.errors import ApiError
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from ..engine.brokers import Clients, serving
from ..engine.conditions import until
from ..engine.packets5 import P
from ..engine.wire import connect
from ..store.authenticators.signing import SECRET, jwk, pem, rsa_key, signed
from .callers import USERS, V5, Api, Reply
from .whole_server import whole_server

CHAIN = f"{V5}/authentication"
DATABASE_ID = "password_based:built_in_database"
DATABASE = {"mechanism": "password_based", "backend": "built_in_database", "user_id_type": "username"}
JWT = {"mechanism": "jwt", "algorithm": "hmac-based", "secret": SECRET}
SCRAM = {"mechanism": "scram", "backend": "built_in_database"}


@pytest.fixture
async def mqtt(directory: Directory) -> AsyncIterator[Clients]:
    """Give a broker that asks the chain."""
    async with serving({CREDENTIAL_PLUGIN: {}, TOPIC_ACL_PLUGIN: {}}, directory=directory) as clients:
        yield clients


async def create(api: Api, body: Any) -> dict[str, Any]:
    reply = await api.call("POST", CHAIN, body)
    assert reply.status == 200, reply.body
    return reply.json


async def ids(api: Api) -> list[str]:
    return [row["id"] for row in (await api.call("GET", CHAIN)).json]


async def metrics(api: Api, authenticator: str) -> dict[str, Any]:
    reply = await api.call("GET", f"{CHAIN}/{authenticator}/status")
    assert reply.status == 200
    return reply.json["metrics"]


async def refused(mqtt: Clients, client_id: str = "c", **fields: Any) -> int:
    stranger = await mqtt.open()
    return await stranger.refused(connect(client_id, **fields))


def subscriptions(mqtt: Clients, client_id: str) -> set[str]:
    session = mqtt.broker.registry.get(client_id)
    assert session is not None
    return {*session.subscriptions}


async def test_the_first_state(api: Api) -> None:
    expected = {"id": DATABASE_ID, **DATABASE, "enable": True, "bootstrap_type": "plain"}
    assert (await api.call("GET", CHAIN)).json == [expected]
    assert (await api.call("GET", f"{CHAIN}/password_based%3Abuilt_in_database")).json == expected
    status = (await api.call("GET", f"{CHAIN}/{DATABASE_ID}/status")).json
    assert (status["status"], status["node_error"]) == ("connected", [])
    assert status["node_metrics"][0]["metrics"] == status["metrics"]


async def test_what_is_shown_can_be_sent_back(api: Api) -> None:
    for body in (JWT, SCRAM):
        await create(api, body)
    before = (await api.call("GET", CHAIN)).json
    for row in before:
        sent = {key: value for key, value in row.items() if key != "id"}
        assert (await api.call("PUT", f"{CHAIN}/{row['id']}", sent)).status == 204
    assert (await api.call("GET", CHAIN)).json == before


async def test_tokens_let_clients_in(api: Api, mqtt: Clients) -> None:
    token = signed({"username": "bob"})
    assert await refused(mqtt, username="bob", password=token) == 4
    shown = await create(api, {**JWT, "verify_claims": [{"name": "username", "value": "${username}"}]})
    assert shown["secret"] == "******"
    assert shown["verify_claims"] == {"username": "${username}"}
    await mqtt.connected("one", username="bob", password=token)
    assert await refused(mqtt, username="eve", password=token) == 4
    assert await refused(mqtt, username="bob", password=signed({"username": "bob", "exp": 1})) == 4
    assert await refused(mqtt, username="bob", password=signed({"username": "bob"}, "other")) == 4
    found = await metrics(api, "jwt")
    assert {key: found[key] for key in ("total", "success", "failed", "nomatch")} == {
        "total": 4,
        "success": 1,
        "failed": 2,
        "nomatch": 1,
    }
    hidden = {**JWT, "secret": "******"}
    assert (await api.call("PUT", f"{CHAIN}/jwt", hidden)).status == 204
    await mqtt.connected("two", username="eve", password=token)
    assert (await metrics(api, "jwt"))["total"] == 1


async def test_a_session_ends_with_its_token(api: Api, mqtt: Clients, directory: Directory) -> None:
    await create(api, JWT)
    until_then = directory._clock() + 1
    client = await mqtt.connected("one", username="bob", password=signed({"exp": until_then}))
    await client.hung_up()
    assert directory._clock() >= until_then


async def test_the_rules_of_a_token_are_asked_first(api: Api, mqtt: Clients, directory: Directory) -> None:
    await directory.set_rules("all", "", [Rule("open/#", "allow", "all")])
    await create(api, JWT)
    new = [{"permission": "allow", "action": "subscribe", "topic": "mine/${username}"}]
    new.append({"permission": "deny", "action": "subscribe", "topic": "open/closed"})
    client = await mqtt.connected("one", username="bob", password=signed({"acl": new}))
    asked = [("mine/bob", 0), ("mine/eve", 0), ("open/x", 0), ("open/closed", 0)]
    assert await client.subscribe(*asked) == [0, 128, 0, 128]
    old = {"sub": ["mine/${clientid}"]}
    client = await mqtt.connected("two", username="bob", password=signed({"acl": old}))
    assert await client.subscribe(("mine/two", 1), ("open/x", 0)) == [1, 128]
    client = await mqtt.connected("three", username="bob", password=signed({"is_superuser": True}))
    assert await client.subscribe(("anything", 2)) == [2]
    assert await refused(mqtt, username="bob", password=signed({"acl": {"sub": "x"}})) == 4


@pytest.mark.parametrize("takes_over", [False, True])
async def test_a_session_is_taken_up_with_the_rights_of_the_new_token(
    api: Api, mqtt: Clients, *, takes_over: bool
) -> None:
    await create(api, JWT)
    first: dict[str, Any] = {"acl": {"all": ["al/#", "both"]}}
    client = await mqtt.connected("dev", username="bob", password=signed(first), clean=False)
    assert await client.subscribe(("al/#", 1), ("both", 1)) == [1, 1]
    if not takes_over:
        await client.disconnect()
        mqtt.broker.publish("al/secret", b"not for mallory", 1)
    second: dict[str, Any] = {"acl": {"all": ["m/#", "both"]}}
    client = await mqtt.connected("dev", username="bob", password=signed(second), clean=False)
    assert subscriptions(mqtt, "dev") == {"both"}
    assert await client.subscribe(("m/#", 1), ("al/new", 1)) == [1, 128]
    mqtt.broker.publish("al/later", b"not for mallory", 1)
    await client.publish("al/x", b"denied", 1)
    await client.publish("both", b"allowed", 1)
    assert (await client.message()).payload == b"allowed"
    # A token of a superuser is not what the next one is.
    every = await mqtt.connected("dev", username="bob", password=signed({"is_superuser": True}), clean=False)
    assert await every.subscribe(("everything/#", 1)) == [1]
    await mqtt.connected("dev", username="bob", password=signed(second), clean=False)
    assert subscriptions(mqtt, "dev") == {"both", "m/#"}


async def test_a_public_key(api: Api, mqtt: Clients, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem(rsa_key()))
    body = {"mechanism": "jwt", "algorithm": "public-key", "public_key": str(file)}
    await create(api, body)
    await mqtt.connected("one", username="bob", password=signed({}, rsa_key(), "RS256"))
    assert await refused(mqtt, username="bob", password=signed({}, pem(rsa_key()), "HS256")) == 4
    for wrong in ("/nowhere", str(tmp_path), "-----BEGIN PUBLIC KEY-----"):
        reply = await api.call("PUT", f"{CHAIN}/jwt", {**body, "public_key": wrong})
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    file.write_text("hunter2")
    reply = await api.call("PUT", f"{CHAIN}/jwt", body)
    assert reply.status == 400
    assert b"hunter2" not in reply.body


async def test_keys_that_are_published(api: Api, mqtt: Clients, directory: Directory) -> None:
    published = [jwk(rsa_key(), kid="old")]
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return web.json_response({"keys": published}, status=200 if published else 500)

    application = web.Application()
    application.router.add_get("/keys", answer)
    directory.authenticators.use_fetcher(fetch_keys)
    async with TestServer(application) as server:
        endpoint = str(server.make_url("/keys"))
        body = {
            "mechanism": "jwt",
            "use_jwks": True,
            "endpoint": endpoint,
            "refresh_interval": 1,
            "headers": {"Authorization": "Bearer x"},
        }
        shown = await create(api, body)
        assert shown["headers"] == {"Authorization": "******"}
        assert await state(api) in ("connecting", "connected")
        await until(lambda: _state_of(directory) == "connected")
        await mqtt.connected("one", username="bob", password=signed({}, rsa_key(), "RS256", kid="old"))
        new = signed({}, rsa_key(1), "RS256", kid="new")
        assert await refused(mqtt, username="bob", password=new) == 4
        published[:] = [jwk(rsa_key(1), kid="new")]
        count = len(asked)
        await until(lambda: len(asked) >= count + 2)
        await mqtt.connected("two", username="bob", password=new)
        published.clear()
        await until(lambda: _state_of(directory) == "disconnected")
        assert await state(api) == "disconnected"
        await mqtt.connected("three", username="bob", password=new)
        assert set(asked) == {"Bearer x"}


def _state_of(directory: Directory) -> str:
    report = directory.authenticators.report_of("jwt")
    assert report is not None
    return report.status


async def state(api: Api) -> str:
    return (await api.call("GET", f"{CHAIN}/jwt/status")).json["status"]


async def test_who_is_asked_first(api: Api) -> None:
    await create(api, JWT)
    await create(api, SCRAM)
    scram = "scram:built_in_database"
    assert await ids(api) == [DATABASE_ID, "jwt", scram]
    assert (await api.call("PUT", f"{CHAIN}/{scram}/position/before%3Ajwt")).status == 204
    assert await ids(api) == [DATABASE_ID, scram, "jwt"]
    order = [{"id": "jwt"}, {"id": scram}, {"id": DATABASE_ID}]
    assert (await api.call("PUT", f"{CHAIN}/order", order)).status == 204
    assert await ids(api) == ["jwt", scram, DATABASE_ID]


async def test_the_database_goes_with_its_users_and_their_sessions(api: Api, mqtt: Clients) -> None:
    await api.call("POST", USERS, {"user_id": "alice", "password": "x"})
    client = await mqtt.connected("one", username="alice", password=b"x")
    assert (await api.call("DELETE", f"{CHAIN}/{DATABASE_ID}")).status == 204
    await client.hung_up()
    assert await ids(api) == []
    assert (await api.call("GET", USERS)).status == 404
    assert await refused(mqtt, username="alice", password=b"x") == 4
    await create(api, DATABASE)
    assert (await api.call("GET", USERS)).rows == []
    assert (await api.call("DELETE", f"{CHAIN}/nobody")).status == 204


async def test_users_by_client_id(api: Api, mqtt: Clients) -> None:
    body = {**DATABASE, "user_id_type": "clientid", "password_hash_algorithm": {"name": "bcrypt", "salt_rounds": 5}}
    assert (await api.call("PUT", f"{CHAIN}/{DATABASE_ID}", body)).status == 204
    assert (await api.call("POST", USERS, {"user_id": "dev", "password": "x"})).status == 201
    assert (await api.call("POST", USERS, {"user_id": "dev", "password": "x"})).status == 409
    await mqtt.connected("dev", username="whoever", password=b"x")
    assert await refused(mqtt, "dev", username="whoever", password=b"y") == 4
    assert await refused(mqtt, "other", username="dev", password=b"x") == 4
    assert (await api.call("PUT", f"{USERS}/dev", {"password": "y"})).status == 200
    await mqtt.connected("dev", username="whoever", password=b"y")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"mechanism": "jwt"},
        {"mechanism": "password_based"},
        {"mechanism": "password_based", "backend": "mysql"},
        {"mechanism": "password_based", "backend": "http", "method": "post", "url": "http://127.0.0.1/"},
        {"mechanism": ["jwt"], "backend": {}},
        {**JWT, "unknown": 1},
        {**JWT, "secret": ""},
        {**JWT, "secret": "******"},
        {**JWT, "secret": "%%%", "secret_base64_encoded": True},
        {**JWT, "algorithm": "none"},
        {**JWT, "from": "client_id"},
        {**JWT, "verify_claims": [{"name": 1}]},
        {"mechanism": "jwt", "use_jwks": True, "endpoint": "ftp://127.0.0.1/"},
        {"mechanism": "jwt", "use_jwks": True, "endpoint": "/nowhere"},
        {"mechanism": "jwt", "use_jwks": True, "endpoint": "http://127.0.0.1:1/", "refresh_interval": 0},
        {**SCRAM, "algorithm": "sha512"},
        {**SCRAM, "iteration_count": 1},
        {**SCRAM, "iteration_count": 0},
    ],
)
async def test_authenticators_that_are_none(api: Api, body: Any) -> None:
    reply = await api.call("POST", CHAIN, body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert await ids(api) == [DATABASE_ID]


@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "sha3"},
        {"name": "sha256", "salt_position": "middle"},
        {"name": "bcrypt", "salt_rounds": 11},
        {"name": "pbkdf2"},
        {"name": "pbkdf2", "mac_fun": "ripemd160", "iterations": 1},
        {"name": "sha256", "iterations": 1},
        "sha256",
    ],
)
async def test_algorithms_that_are_none(api: Api, algorithm: Any) -> None:
    reply = await api.call("PUT", f"{CHAIN}/{DATABASE_ID}", {**DATABASE, "password_hash_algorithm": algorithm})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "status"), [(JWT, 400), (SCRAM, 400), (DATABASE | {"mechanism": "scram"}, 400), (DATABASE, 204)]
)
async def test_an_authenticator_stays_what_it_is(api: Api, body: Any, status: int) -> None:
    assert (await api.call("PUT", f"{CHAIN}/{DATABASE_ID}", body)).status == status


async def test_no_secret_is_repeated_or_listed(api: Api, directory: Directory) -> None:
    replies: list[Reply] = [await api.call("POST", CHAIN, {**JWT, "secret": ["hunter2"]})]
    replies.append(await api.call("POST", CHAIN, {**JWT, "secret": "hunter2", "from": "x"}))
    replies.append(await api.call("POST", CHAIN, {**JWT, "secret": "hunter2"}))
    replies.append(await api.call("GET", CHAIN))
    assert all(b"hunter2" not in reply.body for reply in replies)
    audit = await directory._database.read("SELECT action, target, detail FROM audit_log")
    assert "hunter2" not in str([tuple(row) for row in audit])
    assert [row[1] for row in audit if row[0] == "authenticator.create"] == ["jwt"]


async def test_a_bootstrap_file(api: Api, mqtt: Clients, tmp_path: Path) -> None:
    await api.call("POST", USERS, {"user_id": "alice", "password": "kept"})
    file = tmp_path / "users.csv"
    file.write_text("user_id,password,is_superuser\nalice,changed,true\nbob,secret,true\n")
    body = {**DATABASE, "bootstrap_file": str(file), "bootstrap_type": "plain"}
    assert (await api.call("PUT", f"{CHAIN}/{DATABASE_ID}", body)).status == 204
    assert [(row["user_id"], row["is_superuser"]) for row in (await api.call("GET", USERS)).rows] == [
        ("alice", False),
        ("bob", True),
    ]
    await mqtt.connected("one", username="alice", password=b"kept")
    await mqtt.connected("two", username="bob", password=b"secret")
    file.write_text("user_id,password\nbob\n")
    for wrong in (str(file), str(tmp_path / "nowhere.csv")):
        again = {**body, "bootstrap_file": wrong, "bootstrap_type": "hash"}
        assert (await api.call("PUT", f"{CHAIN}/{DATABASE_ID}", again)).status == 400


async def test_the_chain_as_one_value(api: Api, directory: Directory) -> None:
    configuration = Configuration(Governed(api.mqtt.broker, directory), (AUTHENTICATION,))
    await create(api, JWT)
    shown = configuration.as_json(AUTHENTICATION)
    assert [entry["mechanism"] for entry in shown] == ["password_based", "jwt"]
    assert SECRET not in json.dumps(shown)
    assert SECRET in json.dumps(configuration.as_json(AUTHENTICATION, masked=False))
    adapter = configuration._adapters["authentication"]
    await configuration.put(AUTHENTICATION, adapter.validate_python([shown[1]]))
    assert await ids(api) == ["jwt"]
    assert SECRET in json.dumps(configuration.as_json(AUTHENTICATION, masked=False))
    with pytest.raises(ApiError):
        await configuration.put(AUTHENTICATION, adapter.validate_python([shown[1], shown[1]]))
    assert await ids(api) == ["jwt"]


async def test_the_session_of_a_token_outlives_the_server(tmp_path: Path) -> None:
    """What it was owed, and what the token says it may do, whoever is let in without one."""
    sections = {"plugins": {CREDENTIAL_PLUGIN: {"allow_anonymous": True}, TOPIC_ACL_PLUGIN: {}}}
    rules = [{"permission": "allow", "action": "all", "topic": "mine/#"}]
    token = {"username": "bob", "password": signed({"acl": rules})}
    nameless = {"username": None, "password": signed({"acl": {"sub": ["mine/#"]}})}
    kept = {"version": 5, "clean": False, "properties": [(P.SESSION_EXPIRY, 1_000)]}
    async with whole_server(tmp_path, **sections) as server:
        assert (await server.call("POST", "/authentication", JWT)).status == 200
        for name, who in (("one", token), ("two", nameless)):
            client = await server.client(name, **kept, **who)
            assert await client.subscribe(("mine/1", 1)) == [1]
            await client.disconnect()
        assert (await server.call("POST", "/publish", {"topic": "mine/1", "qos": 1, "payload": "x"})).status == 200
    async with whole_server(tmp_path, **sections) as server:
        # What the rules of everybody are, is looked at anew for all, and changes nothing here.
        source = "/authorization/sources/built_in_database/rules/all"
        changed = await server.call("POST", source, {"rules": [{"topic": "a", "permission": "deny", "action": "all"}]})
        assert changed.status == 204
        client = await server.client("one", **kept, **token)
        assert (await client.message()).payload == b"x"
        await server.client("two", **kept, username=None, password=None)
        counted = (await server.call("GET", "/metrics?aggregate=true")).json
        assert (counted["session.resumed"], counted["session.discarded"]) == (1, 1)
