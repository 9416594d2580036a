"""The sources of rules and the settings of authorization, seen over HTTP and by clients that are there."""

from asyncio import IncompleteReadError
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN
from wardenmq.mgmt_api.application import create_application
from wardenmq.mgmt_api.emqx.access.authorization_root import AUTHORIZATION
from wardenmq.mgmt_api.emqx.access.models_sources import AuthorizationConfig
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from ..engine.brokers import serving
from ..engine.conditions import until
from .callers import Api, Reply, basic

AUTHZ = "/api/v5/authorization"
SOURCES = f"{AUTHZ}/sources"
SETTINGS = f"{AUTHZ}/settings"
EVERYTHING = {"no_match": "deny", "deny_action": "ignore"}
CACHE = {"enable": True, "max_size": 512, "ttl": "1m", "excludes": []}
REFUSED, REFUSED5 = 0x80, 0x87
PLUGINS: dict[str, dict[str, Any]] = {CREDENTIAL_PLUGIN: {"allow_anonymous": True}, TOPIC_ACL_PLUGIN: {}}


@pytest_asyncio.fixture
async def guarded(directory: Directory) -> AsyncIterator[Api]:
    """Give the API of a broker that holds its clients to the directory, and lets anonymous ones in."""
    async with (
        serving(PLUGINS, directory=directory) as mqtt,
        TestClient(TestServer(create_application(broker=mqtt.broker, directory=directory))) as http,
    ):
        key, secret = await directory.create_api_key("administrator", "administrator")
        caller = Api(http, mqtt, directory, {"administrator": basic(key.api_key, secret)})
        yield caller
        for client in caller.opened:
            client.abort()


def file(rules: str, **more: object) -> dict[str, object]:
    return {"type": "file", "rules": rules, **more}


async def done(api: Api, method: str, path: str, body: object = None) -> None:
    reply = await api.call(method, path, body)
    assert reply.status == 204, reply.body
    assert reply.body == b""


async def put_file(api: Api, rules: str, **more: object) -> None:
    await done(api, "PUT", f"{SOURCES}/file", file(rules, **more))


def refused(reply: Reply, status: int = 400, code: str = "BAD_REQUEST") -> str:
    assert (reply.status, reply.code) == (status, code), reply.body
    return reply.json["message"]


async def order(api: Api) -> list[str]:
    return [source["type"] for source in (await api.call("GET", SOURCES)).json["sources"]]


async def counts(api: Api, kind: str) -> dict[str, Any]:
    return (await api.call("GET", f"{SOURCES}/{kind}/status")).json["metrics"]


async def test_sources_at_first(api: Api) -> None:
    first = (await api.call("GET", SOURCES)).json
    assert [source["type"] for source in first["sources"]] == ["file", "built_in_database"]
    assert (await api.call("GET", f"{SOURCES}/file")).json == first["sources"][0]
    assert first["sources"][1] == {"type": "built_in_database", "enable": True, "max_rules": 5}


async def test_the_file_is_shown_as_it_was_sent(api: Api) -> None:
    rules = '%% h\u00e9\n{allow, all, subscribe, ["t/#"]}.\r\n'
    await put_file(api, rules, enable=False)
    assert (await api.call("GET", f"{SOURCES}/file")).json == file(rules, enable=False)
    message = refused(await api.call("PUT", f"{SOURCES}/file", file("\n\n{allow, nobody}.")))
    assert "line 3" in message
    assert (await api.call("GET", f"{SOURCES}/file")).json == file(rules, enable=False)


async def test_sources_are_added_in_front(api: Api) -> None:
    await done(api, "DELETE", f"{SOURCES}/file")
    assert await order(api) == ["built_in_database"]
    refused(await api.call("GET", f"{SOURCES}/file"), 404, "NOT_FOUND")
    refused(await api.call("GET", f"{SOURCES}/file/status"), 404, "NOT_FOUND")
    refused(await api.call("PUT", f"{SOURCES}/file", file("")), 404, "NOT_FOUND")
    refused(await api.call("DELETE", f"{SOURCES}/file"), 404, "NOT_FOUND")
    refused(await api.call("POST", f"{SOURCES}/file/move", {"position": "front"}), 404, "NOT_FOUND")
    await done(api, "DELETE", f"{SOURCES}/built_in_database")
    await done(api, "POST", SOURCES, file("{allow, all}."))
    await done(api, "POST", SOURCES, {"type": "built_in_database"})
    assert await order(api) == ["built_in_database", "file"]
    assert "already" in refused(await api.call("POST", SOURCES, file("")))


@pytest.mark.parametrize(
    ("position", "expected"),
    [("front", True), ("rear", False), ("before:built_in_database", True), ("after:built_in_database", False)],
)
async def test_a_source_is_moved(api: Api, position: str, expected: bool) -> None:
    for before in ("front", "rear"):
        await done(api, "POST", f"{SOURCES}/file/move", {"position": before})
        await done(api, "POST", f"{SOURCES}/file/move", {"position": position})
        assert ((await order(api))[0] == "file") is expected


async def test_sources_are_put_in_order(api: Api) -> None:
    await done(api, "PUT", f"{SOURCES}/order", [{"type": "built_in_database"}, {"type": "file"}])
    assert await order(api) == ["built_in_database", "file"]
    for wrong in ([], ["file"], ["file", "file"], ["file", "http"], ["file", "built_in_database", "http"]):
        refused(await api.call("PUT", f"{SOURCES}/order", [{"type": kind} for kind in wrong]))
    assert await order(api) == ["built_in_database", "file"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "file"},
        {"type": "file", "rules": 1},
        {"type": "file", "rules": "", "unknown": 1},
        {"type": "built_in_database", "max_rules": 0},
        {"type": "built_in_database", "max_rules": 10_001},
        {"type": "built_in_database", "enable": "perhaps"},
        {"type": "http", "url": "http://127.0.0.1/"},
        {"type": "redis"},
        {"type": "oracle"},
        {"type": ["file"]},
        [],
        "file",
    ],
)
async def test_bodies_that_are_no_source(api: Api, body: object) -> None:
    for kind in ("file", "built_in_database"):
        await done(api, "DELETE", f"{SOURCES}/{kind}")
    refused(await api.call("POST", SOURCES, body))
    assert await order(api) == []


async def test_the_type_in_the_body_is_that_of_the_path(api: Api) -> None:
    assert "mismatch" in refused(await api.call("PUT", f"{SOURCES}/file", {"type": "built_in_database"}))
    for path in ("oracle", "oracle/status"):
        refused(await api.call("GET", f"{SOURCES}/{path}"))
    assert "not offered" in refused(await api.call("POST", SOURCES, {"type": "mysql"}))


# -- in force


async def test_the_file_decides_for_clients_that_are_there(guarded: Api) -> None:
    client = await guarded.mqtt.connected("one")
    other = await guarded.mqtt.connected("two")
    assert await client.subscribe(("t", 0)) == [REFUSED]
    await put_file(guarded, '{allow, {clientid, "one"}, all, ["t"]}. {allow, all, publish, ["t"]}.')
    assert await client.subscribe(("t", 0)) == [0]
    assert await other.subscribe(("t", 0)) == [REFUSED]
    await other.publish("t", b"first")
    assert (await client.read()).payload == b"first"
    await put_file(guarded, '{deny, all, all, ["t"]}.')
    await until(lambda: not guarded.mqtt.broker.registry.get("one").subscriptions)  # type: ignore[union-attr]


async def test_the_order_of_sources_decides(guarded: Api) -> None:
    await guarded.directory.set_rules("all", "", [Rule("t", "allow", "all")])
    client = await guarded.mqtt.connected("one")
    await put_file(guarded, "{deny, all}.")
    assert await client.subscribe(("t", 0)) == [REFUSED]
    await done(guarded, "POST", f"{SOURCES}/file/move", {"position": "rear"})
    assert await client.subscribe(("t", 0)) == [0]
    await done(guarded, "PUT", f"{SOURCES}/built_in_database", {"type": "built_in_database", "enable": False})
    await until(lambda: not guarded.mqtt.broker.registry.get("one").subscriptions)  # type: ignore[union-attr]
    assert await client.subscribe(("t", 0)) == [REFUSED]


async def test_what_holds_where_no_rule_fits(guarded: Api) -> None:
    client = await guarded.mqtt.connected("one")
    assert await client.subscribe(("t", 0)) == [REFUSED]
    changed = await guarded.call("PUT", SETTINGS, EVERYTHING | {"no_match": "allow"})
    assert (changed.status, changed.json["no_match"]) == (200, "allow")
    assert await client.subscribe(("t", 0)) == [0]


async def test_whoever_does_what_it_may_not_can_be_disconnected(guarded: Api) -> None:
    quiet = await guarded.mqtt.connected("quiet")
    assert await quiet.subscribe(("t", 0)) == [REFUSED]
    assert (await guarded.call("PUT", SETTINGS, EVERYTHING | {"deny_action": "disconnect"})).status == 200
    loud = await guarded.mqtt.connected("loud")
    with pytest.raises(IncompleteReadError):
        await loud.publish("t", b"x")
    with pytest.raises(IncompleteReadError):
        await quiet.subscribe(("t", 0))
    await guarded.directory.set_rules("clientid", "kept", [Rule("mine", "allow", "all")])
    kept = await guarded.mqtt.connected("kept", clean=False)
    with pytest.raises(IncompleteReadError):
        await kept.subscribe(("mine", 1), ("t", 0))
    session = guarded.mqtt.broker.registry.get("kept")
    assert session is not None
    assert not session.subscriptions, "of what is not answered nothing holds"
    assert (await guarded.call("PUT", SETTINGS, EVERYTHING)).status == 200
    again = await guarded.mqtt.connected("loud")
    await again.publish("t", b"x")
    assert await again.subscribe(("t", 0)) == [REFUSED]


async def test_status_counts_what_was_decided(guarded: Api) -> None:
    await guarded.directory.set_rules("clientid", "one", [Rule("mine", "allow", "all")])
    await put_file(guarded, '{deny, all, subscribe, ["no"]}. {allow, all, subscribe, ["yes"]}.')
    client = await guarded.mqtt.connected("one")
    assert await client.subscribe(("no", 0), ("yes", 0), ("mine", 0), ("else", 0)) == [REFUSED, 0, 0, REFUSED]
    file_counts, built_in = await counts(guarded, "file"), await counts(guarded, "built_in_database")
    assert {key: file_counts[key] for key in ("total", "allow", "deny", "nomatch", "ignore")} == {
        "total": 4,
        "allow": 1,
        "deny": 1,
        "nomatch": 2,
        "ignore": 0,
    }
    assert (built_in["total"], built_in["allow"], built_in["deny"], built_in["nomatch"]) == (2, 1, 0, 1)
    assert file_counts["rate_max"] > 0
    names = ("matched.allow", "matched.deny", "nomatch", "superuser", "allow", "deny")

    def metrics() -> list[int]:
        found = guarded.mqtt.broker.metrics()
        return [found[f"authorization.{name}"] for name in names]

    assert metrics() == [2, 1, 1, 0, 2, 2]
    session = guarded.mqtt.broker.registry.get("one")
    assert session is not None
    session.identity.superuser = True
    assert await client.subscribe(("no", 0)) == [0]
    assert metrics() == [2, 1, 1, 1, 3, 2]
    status = (await guarded.call("GET", f"{SOURCES}/file/status")).json
    assert status["status"] == "connected"
    assert status["node_status"] == [{"node": guarded.state.node, "status": "connected"}]
    assert status["node_metrics"][0]["metrics"]["total"] == 4
    await done(guarded, "DELETE", f"{SOURCES}/file")
    assert metrics()[:3] == [2, 1, 1], "what has been counted stays"


# -- settings and cache


def kept(api: Api, client_id: str) -> list[tuple[str, bool]]:
    session = api.mqtt.broker.registry.get(client_id)
    assert session is not None
    policy = session.identity.policy
    return [(row.topic, row.allowed) for row in policy.kept()] if isinstance(policy, ClientAccess) else []


async def test_settings_are_answered_as_they_were_set(api: Api) -> None:
    assert (await api.call("GET", SETTINGS)).json == EVERYTHING | {"cache": CACHE}
    new = {
        "no_match": "allow",
        "deny_action": "disconnect",
        "cache": {"enable": False, "max_size": 3, "ttl": "1m30s", "excludes": ["a/#"]},
    }
    assert (await api.call("PUT", SETTINGS, new)).json == new
    assert (await api.call("GET", SETTINGS)).json == new
    assert (await api.call("PUT", SETTINGS, EVERYTHING)).json == EVERYTHING | {"cache": new["cache"]}
    assert (await api.call("PUT", SETTINGS, EVERYTHING | {"cache": {"enable": True}})).json["cache"] == CACHE
    assert (await api.call("PUT", SETTINGS, EVERYTHING | {"cache": {"enable": True, "ttl": 1500}})).status == 200
    assert (await api.call("GET", SETTINGS)).json["cache"]["ttl"] == "1500ms"


@pytest.mark.parametrize(
    "given",
    [
        {"no_match": "ignore"},
        {"deny_action": "kick"},
        {"unknown": 1},
        {"cache": {}},
        {"cache": {"enable": True, "max_size": 0}},
        {"cache": {"enable": True, "max_size": 1_048_577}},
        {"cache": {"enable": True, "ttl": "soon"}},
        {"cache": {"enable": True, "ttl": "500d500d500d500d500d500d500d500d"}},
        {"cache": {"enable": True, "excludes": ["a/#/b"]}},
        {"cache": {"enable": True, "excludes": [""]}},
        {"cache": {"enable": True, "unknown": 1}},
    ],
)
async def test_settings_of_the_wrong_form(api: Api, given: dict[str, object]) -> None:
    refused(await api.call("PUT", SETTINGS, EVERYTHING | given))
    for key in EVERYTHING:
        refused(await api.call("PUT", SETTINGS, {other: value for other, value in EVERYTHING.items() if other != key}))
    assert (await api.call("GET", SETTINGS)).json == EVERYTHING | {"cache": CACHE}


async def test_decisions_are_kept_as_the_settings_say_and_forgotten(guarded: Api) -> None:
    client = await guarded.mqtt.connected("one")
    await client.subscribe(("a", 0), ("b/c", 1))
    assert kept(guarded, "one") == [("a", False), ("b/c", False)]
    await done(guarded, "DELETE", f"{AUTHZ}/cache")
    assert kept(guarded, "one") == []
    await client.subscribe(("a", 0))
    assert kept(guarded, "one") == [("a", False)]

    limited = EVERYTHING | {"cache": {"enable": True, "max_size": 2, "excludes": ["b/#"]}}
    assert (await guarded.call("PUT", SETTINGS, limited)).status == 200
    await client.subscribe(*((f"{name}", 0) for name in ("a", "b/c", "d", "e", "f")))
    topics = [topic for topic, _ in kept(guarded, "one")]
    assert len(topics) == 2
    assert "b/c" not in topics

    assert (await guarded.call("PUT", SETTINGS, EVERYTHING | {"cache": {"enable": False}})).status == 200
    await client.subscribe(("a", 0))
    assert kept(guarded, "one") == []


async def test_the_configuration_shows_what_is_in_force_and_changes_it(guarded: Api) -> None:
    configuration = guarded.state.configuration
    shown = configuration.as_json(AUTHORIZATION)
    assert [source["type"] for source in shown["sources"]] == ["file", "built_in_database"]
    assert shown["cache"] == CACHE
    value = AuthorizationConfig.model_validate(
        {
            "no_match": "allow",
            "deny_action": "disconnect",
            "cache": {"enable": False},
            "sources": [{"type": "file", "rules": '{deny, all, all, ["t"]}.'}],
        }
    )
    await configuration.put(AUTHORIZATION, value)
    assert await order(guarded) == ["file"]
    assert (await guarded.call("GET", SETTINGS)).json["deny_action"] == "disconnect"
    await done(guarded, "POST", SOURCES, {"type": "built_in_database"})
    shown = configuration.as_json(AUTHORIZATION)
    assert [source["type"] for source in shown["sources"]] == ["built_in_database", "file"]


async def test_the_sources_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    expected: list[object] = []
    for life in range(2):
        directory = await Directory.open(path)
        try:
            async with (
                serving(PLUGINS, directory=directory) as mqtt,
                TestClient(TestServer(create_application(broker=mqtt.broker, directory=directory))) as http,
            ):
                key, secret = await directory.create_api_key(f"k{life}", "administrator")
                api = Api(http, mqtt, directory, {"administrator": basic(key.api_key, secret)})
                if life == 0:
                    await put_file(api, '{allow, {user, "u"}, subscribe, ["t"]}. {allow, all, subscribe, ["u"]}.')
                    await done(api, "POST", f"{SOURCES}/file/move", {"position": "rear"})
                    settings = EVERYTHING | {"deny_action": "disconnect", "cache": {"enable": True, "ttl": "2m"}}
                    assert (await api.call("PUT", SETTINGS, settings)).status == 200
                expected.append(((await api.call("GET", SOURCES)).json, (await api.call("GET", SETTINGS)).json))
                client = await mqtt.connected("one")
                assert await client.subscribe(("u", 0)) == [0]
        finally:
            await directory.close()
    assert expected[0] == expected[1]
