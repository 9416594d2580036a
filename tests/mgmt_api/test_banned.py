"""Bans over HTTP: their forms, filters and bounds, and whom they keep out."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN
from wardenmq.mgmt_api.application import create_application
from wardenmq.store.directory import Directory

from ..engine.brokers import serving
from ..engine.conditions import until
from ..engine.wire import connect
from ..engine.wire5 import Client5
from ..engine.wire5 import connect as connect5
from .callers import V5, Api, Reply, basic

BANNED = f"{V5}/banned"
FUTURE = 4_102_444_800
"""The beginning of the year 2100."""
SHOWN_FUTURE = "2100-01-01T00:00:00+00:00"
BANNED5 = 0x8A
PLUGINS: dict[str, dict[str, Any]] = {CREDENTIAL_PLUGIN: {}, TOPIC_ACL_PLUGIN: {}}


@pytest_asyncio.fixture
async def guarded(directory: Directory) -> AsyncIterator[Api]:
    """Give the API of a broker that asks the directory who may connect."""
    async with (
        serving(PLUGINS, directory=directory) as mqtt,
        TestClient(TestServer(create_application(broker=mqtt.broker, directory=directory))) as http,
    ):
        key, secret = await directory.create_api_key("administrator", "administrator")
        yield Api(http, mqtt, directory, {"administrator": basic(key.api_key, secret)})


async def ban(api: Api, kind: str, who: str, **more: object) -> Reply:
    return await api.call("POST", BANNED, {"as": kind, "who": who, **more})


async def listed(api: Api, query: str = "") -> list[str]:
    return [f"{row['as']}:{row['who']}" for row in (await api.call("GET", f"{BANNED}?{query}")).rows]


def refused(reply: Reply, status: int = 400, code: str = "BAD_REQUEST") -> str:
    assert (reply.status, reply.code) == (status, code), reply.body
    return reply.json["message"]


async def test_a_ban_from_beginning_to_end(api: Api) -> None:
    made = await ban(api, "clientid", "evil", by="me", reason="why", at=1_700_000_000, until=FUTURE)
    expected = {
        "as": "clientid",
        "who": "evil",
        "by": "me",
        "reason": "why",
        "at": "2023-11-14T22:13:20+00:00",
        "until": SHOWN_FUTURE,
    }
    assert (made.status, made.json) == (200, expected)
    page = await api.call("GET", BANNED)
    assert page.rows == [expected]
    assert page.meta == {"page": 1, "limit": 100, "hasnext": False, "count": 1}
    again = await ban(api, "clientid", "evil")
    assert json.loads(refused(again, code="ALREADY_EXISTS")) == expected
    deleted = await api.call("DELETE", f"{BANNED}/clientid/evil")
    assert (deleted.status, deleted.body) == (204, b"")
    assert await listed(api) == []
    refused(await api.call("DELETE", f"{BANNED}/clientid/evil"), 404, "NOT_FOUND")


async def test_what_is_not_given(api: Api) -> None:
    before = int(datetime.now(UTC).timestamp())
    made = (await ban(api, "username", "u")).json
    assert (made["by"], made["reason"], made["until"]) == ("mgmt_api", "", "infinity")
    assert before <= datetime.fromisoformat(made["at"]).timestamp() <= datetime.now(UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "who", "shown"),
    [
        ("clientid", "a/b \u00e9", "a/b \u00e9"),
        ("username", "%2F", "%2F"),
        ("peerhost", "2001:DB8::0:1", "2001:db8::1"),
        ("peerhost", "::ffff:10.0.0.1", "10.0.0.1"),
        ("clientid_re", "^a|b$", "^a|b$"),
        ("username_re", "x+", "x+"),
        ("peerhost_net", "10.0.0.0/8", "10.0.0.0/8"),
        ("peerhost_net", "2001:db8::/32", "2001:db8::/32"),
    ],
)
async def test_every_kind(api: Api, kind: str, who: str, shown: str) -> None:
    assert (await ban(api, kind, who)).json["who"] == shown
    assert await listed(api) == [f"{kind}:{shown}"]
    assert (await api.call("DELETE", f"{BANNED}/{kind}/{quote(who, safe='')}")).status == 204
    assert await listed(api) == []


@pytest.mark.parametrize(
    "until_", [FUTURE, str(FUTURE), SHOWN_FUTURE, "2100-01-01T01:00:00+01:00", "2100-01-01T00:00:00Z"]
)
async def test_forms_of_a_time(api: Api, until_: object) -> None:
    assert (await ban(api, "clientid", "c", until=until_)).json["until"] == SHOWN_FUTURE


@pytest.mark.parametrize(
    "given",
    [
        {"as": "name"},
        {"as": None},
        {"who": ""},
        {"who": 1},
        {"who": "a\x00b"},
        {"until": 1_000},
        {"until": "2001-01-01T00:00:00Z"},
        {"until": "2100-01-01T00:00:00"},
        {"until": "never"},
        {"until": True},
        {"until": -1},
        {"until": 1e30},
        {"until": "9" * 40},
        {"at": "infinity"},
        {"at": 10**15},
        {"by": 1},
        {"reason": "x" * 10_001},
        {"unknown": 1},
        {"as": "peerhost", "who": "here"},
        {"as": "peerhost", "who": "10.0.0.0/8"},
        {"as": "peerhost_net", "who": "10.0.0.0/40"},
        {"as": "clientid_re", "who": "("},
        {"as": "username_re", "who": "((a{99}){99}){99}"},
    ],
)
async def test_bans_of_the_wrong_form(api: Api, given: dict[str, object]) -> None:
    refused(await api.call("POST", BANNED, {"as": "clientid", "who": "c"} | given))
    assert await listed(api) == []


async def test_what_must_be_given(api: Api) -> None:
    for body in ({}, {"as": "clientid"}, {"who": "c"}, []):
        refused(await api.call("POST", BANNED, body))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("clientid=dev-1", ["clientid:dev-1"]),
        ("clientid=dev", []),
        ("username=dev-1", ["username:dev-1"]),
        ("peerhost=10.0.0.1", ["peerhost:10.0.0.1"]),
        ("peerhost=%3A%3Affff%3A10.0.0.1", ["peerhost:10.0.0.1"]),
        ("like_clientid=dev", ["clientid:dev-1", "clientid:dev-22", "clientid_re:^dev"]),
        ("like_clientid=%5Edev-%5Cd%24", ["clientid:dev-1"]),
        ("like_username=1", ["username:dev-1"]),
        ("like_username=bot", ["username_re:bot"]),
        ("like_peerhost=%5E10", ["peerhost:10.0.0.1"]),
        ("like_peerhost_net=%5E10", ["peerhost_net:10.0.0.0/8"]),
        ("limit=2&page=2", ["username:dev-1", "peerhost:10.0.0.1"]),
        ("page=9", []),
    ],
)
async def test_filters(api: Api, query: str, expected: list[str]) -> None:
    for place, (kind, who) in enumerate(
        [
            ("clientid", "dev-1"),
            ("clientid", "dev-22"),
            ("username", "dev-1"),
            ("peerhost", "10.0.0.1"),
            ("clientid_re", "^dev"),
            ("username_re", "bot"),
            ("peerhost_net", "10.0.0.0/8"),
        ]
    ):
        assert (await ban(api, kind, who, at=1_000 + place)).status == 200
    assert await listed(api, query) == expected
    meta = (await api.call("GET", f"{BANNED}?{query}")).meta
    assert ("count" in meta) is ("like" not in query)


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("clientid=a&username=b", "too_many_filters"),
        ("like_clientid=a&clientid=a", "too_many_filters"),
        ("like_clientid=(", "not valid"),
        ("like_peerhost=" + "a" * 300, ""),
        ("like_username=", ""),
        ("peerhost=here", "not an IP address"),
        ("page=0", ""),
    ],
)
async def test_filters_that_are_none(api: Api, query: str, part: str) -> None:
    assert part in refused(await api.call("GET", f"{BANNED}?{query}"))


async def test_an_expression_that_takes_too_long_is_given_up(api: Api) -> None:
    await ban(api, "clientid", "x" * 1_000)
    assert "too long" in refused(await api.call("GET", f"{BANNED}?like_clientid=(x%2Bx%2B)%2By"))
    await ban(api, "clientid", "y" * 2_000)
    assert await listed(api, "like_clientid=y") == []  # longer than what is searched in


async def test_all_bans_are_lifted_at_once(api: Api) -> None:
    for name in "abc":
        await ban(api, "clientid", name)
    assert (await api.call("DELETE", BANNED)).status == 204
    assert await listed(api) == []
    assert (await api.call("DELETE", BANNED)).status == 204


@pytest.mark.parametrize("kind", ["", "name", "CLIENTID", "infinity"])
async def test_kinds_that_are_none(api: Api, kind: str) -> None:
    reply = await api.call("DELETE", f"{BANNED}/{kind or 'x'}/who")
    refused(reply)


async def test_viewers_read_and_do_not_write(api: Api) -> None:
    assert (await api.call("GET", BANNED, role="viewer")).status == 200
    for method, path in (("POST", BANNED), ("DELETE", BANNED), ("DELETE", f"{BANNED}/clientid/a")):
        refused(await api.call(method, path, role="viewer"), 403, "UNAUTHORIZED_ROLE")


async def test_an_ended_ban_may_be_made_anew(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await ban(api, "clientid", "c", until=FUTURE)
    bans = api.directory.bans
    monkeypatch.setattr(bans, "_clock", lambda: FUTURE + 1.0)
    monkeypatch.setattr(bans._writer, "_clock", lambda: FUTURE + 1.0)
    assert await listed(api) == []
    assert (await ban(api, "clientid", "c")).json["until"] == "infinity"


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("clientid", "evil"),
        ("username", "mallory"),
        ("peerhost", "127.0.0.1"),
        ("clientid_re", "^ev"),
        ("username_re", "y$"),
        ("peerhost_net", "127.0.0.0/8"),
    ],
)
async def test_whom_a_ban_keeps_out(guarded: Api, kind: str, who: str) -> None:
    api = guarded
    await api.directory.create_login("username", "mallory", "x")
    live = await api.mqtt.connected("evil", username="mallory", password=b"x")
    assert (await ban(api, kind, who)).status == 200
    await until(lambda: api.mqtt.broker.registry.get("evil") is None)
    live.abort()
    old = await api.mqtt.open()
    assert await old.refused(connect("evil", username="mallory", password=b"x")) == 5
    new = await Client5.open(api.mqtt.broker.addresses["default"])
    assert isinstance(new, Client5)
    assert await new.refused(connect5("evil", username="mallory", password=b"x")) == BANNED5
    new.abort()
    assert (await api.call("DELETE", f"{BANNED}/{kind}/{quote(who, safe='')}")).status == 204
    await api.mqtt.connected("evil", username="mallory", password=b"x")


async def test_bans_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.bans.create("username_re", "^x", by="mgmt_api", until=float(FUTURE))
    await directory.close()
    directory = await Directory.open(path)
    try:
        (kept,) = directory.bans.all()
        assert (kept.who_type, kept.who, kept.until) == ("username_re", "^x", FUTURE)
    finally:
        await directory.close()
