"""What is remembered of clients' rights, and of sessions that have ended."""

from collections.abc import AsyncIterator, Callable
from time import time

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from wardenmq.broker import session_history
from wardenmq.broker.session_history import SessionHistory
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN
from wardenmq.mgmt_api.application import create_application
from wardenmq.store.directory import Directory

from ..clocks import show_to_the_broker
from ..engine.brokers import serving
from ..engine.conditions import until
from .callers import RULES, V5, Api, basic

ALLOWED = {"topic": "t/#", "action": "all", "permission": "allow"}
CACHE = "/clients/one/authorization/cache"


@pytest_asyncio.fixture
async def guarded(directory: Directory) -> AsyncIterator[Api]:
    """Give the API of a broker that asks the directory about topics."""
    plugins = {CREDENTIAL_PLUGIN: {"allow_anonymous": True}, TOPIC_ACL_PLUGIN: {}}
    async with serving(plugins, directory=directory) as mqtt:
        application = create_application(broker=mqtt.broker, directory=directory)
        async with TestClient(TestServer(application)) as http:
            key, secret = await directory.create_api_key("administrator", "administrator")
            yield Api(http, mqtt, directory, {"administrator": basic(key.api_key, secret)})


async def test_decisions_are_listed(guarded: Api) -> None:
    reply = await guarded.call("POST", f"{RULES}/all", {"rules": [ALLOWED]})
    assert reply.status == 204
    client = await guarded.mqtt.connected("one")
    assert await client.subscribe(("t/1", 1), ("denied", 0)) == [1, 0x80]
    await client.publish("t/2", b"x", 1)
    await client.publish("denied", b"x")
    rows = (await guarded.get(CACHE)).json
    found = {(row["access"]["action_type"], row["topic"]): row["result"] for row in rows}
    assert found == {
        ("subscribe", "t/1"): "allow",
        ("subscribe", "denied"): "deny",
        ("publish", "t/2"): "allow",
        ("publish", "denied"): "deny",
    }
    for row in rows:
        assert set(row) == {"access", "topic", "result", "updated_time"}
        assert set(row["access"]) == {"action_type", "qos"} | (
            {"retain"} if row["access"]["action_type"] == "publish" else set()
        )
        assert abs(row["updated_time"] / 1_000 - time()) < 600
    reply = await guarded.call("DELETE", V5 + CACHE)
    assert (reply.status, reply.body) == (204, b"")
    assert (await guarded.get(CACHE)).json == []
    await client.publish("t/2", b"x", 1)
    assert [row["topic"] for row in (await guarded.get(CACHE)).json] == ["t/2"]


async def test_nothing_is_remembered_where_nobody_asks(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.publish("t", b"x", 1)
    assert (await api.get(CACHE)).json == []
    assert (await api.call("DELETE", V5 + CACHE)).status == 204


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_cache_of_nobody(api: Api, method: str) -> None:
    reply = await api.call(method, f"{V5}/clients/nobody/authorization/cache")
    assert (reply.status, reply.code) == (404, "CLIENTID_NOT_FOUND")


# -- how many sessions there are


async def count(api: Api, query: str = "") -> int:
    reply = await api.call("GET", f"{V5}/sessions_count{query}")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert type(reply.json) is int
    return reply.json


async def test_sessions_are_counted(api: Api) -> None:
    assert await count(api) == 0
    one = await api.mqtt.connected("one")
    away = await api.mqtt.connected("two", clean=False)
    await away.disconnect()
    assert await count(api) == await count(api, "?since=0") == await count(api, f"?since={int(time())}") == 2
    await one.disconnect()
    assert await count(api) == 1  # nothing is remembered of those that ended, unless it is wanted


@pytest.mark.parametrize("since", ["-1", "x", "1.5", "", "9" * 20])
async def test_a_time_that_is_none(api: Api, since: str) -> None:
    reply = await api.get("/sessions_count", since=since)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_sessions_that_ended_are_counted_where_they_are_remembered(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = show_to_the_broker(monkeypatch)
    broker = api.mqtt.broker
    broker.session_history.retained = 100.0
    first = int(clock())
    for name in ("one", "two"):
        await (await api.mqtt.connected(name)).disconnect()
    assert await count(api) == 2
    clock.advance(50)
    await api.mqtt.connected("one")  # is back
    assert await count(api) == 2
    broker.end_client("one")
    assert await count(api, f"?since={first}") == 2
    assert await count(api, f"?since={first + 40}") == 1
    assert await count(api, f"?since={first + 1_000}") == 0
    clock.advance(51)
    assert await count(api) == 1  # the other end is too long ago
    clock.advance(50)
    assert await count(api) == 0
    await until(lambda: len(broker.registry) == 0)


async def test_so_many_ends_are_remembered_at_most(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_history, "_MOST", 3)
    history = api.mqtt.broker.session_history
    history.retained = 1_000.0
    for number in range(5):
        await (await api.mqtt.connected(f"c{number}")).disconnect()
    assert await count(api) == 3


def test_nothing_is_kept_unless_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    history = SessionHistory()
    ended: Callable[..., None] = history.session_ended
    ended(object())  # a session is not even looked at
    assert history.ended_since(0) == 0
