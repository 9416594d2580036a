"""Retained messages over HTTP: settings with effect, lists in the order of publishing, gone when deleted."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from wardenmq.broker.settings import MqttSettings
from wardenmq.mgmt_api.emqx.messaging import retainer
from wardenmq.mgmt_api.emqx.messaging.retainer import RetainerSettings, rate
from wardenmq.mgmt_api.quantities import size

from ..clocks import show_to_the_broker
from ..engine.conditions import until
from .callers import V5, Api
from .whole_server import whole_server

MESSAGES = "/mqtt/retainer/messages"
MESSAGE = "/mqtt/retainer/message"
KEYS = {"msgid", "topic", "qos", "publish_at", "from_clientid", "from_username"}


async def put(api: Api, **changes: Any) -> Any:
    reply = await api.call("PUT", f"{V5}/mqtt/retainer", changes)
    assert reply.status == 200, reply.body
    return reply.json


async def topics(api: Api, **query: str | int) -> list[str]:
    return [row["topic"] for row in (await api.get(MESSAGES, **query)).rows]


# -- settings


async def test_the_settings_at_first_are_those_of_the_broker(api: Api) -> None:
    assert (await api.get("/mqtt/retainer")).json == {
        "enable": True,
        "msg_expiry_interval": "0s",
        "msg_clear_interval": "0s",
        "max_payload_size": "1MB",
        "stop_publish_clear_msg": False,
        "delivery_rate": "infinity",
        "backend": {
            "type": "built_in_database",
            "storage_type": "ram",
            "max_retained_messages": 100_000,
            "index_specs": [[1, 2, 3], [1, 3], [2, 3], [3]],
            "enable": True,
        },
    }


@pytest.mark.parametrize(
    "body",
    [
        {"enable": "perhaps"},
        {"msg_expiry_interval": "soon"},
        {"msg_clear_interval": -1},
        {"max_payload_size": "big"},
        {"delivery_rate": "fast"},
        {"delivery_rate": "0/s"},
        {"delivery_rate": "1/0s"},
        {"backend": {"type": "mnesia"}},
        {"backend": {"storage_type": "disc_only"}},
        {"backend": {"max_retained_messages": -1}},
        {"backend": {"index_specs": [[0]]}},
        {"backend": {"more": 1}},
        {"more": 1},
    ],
)
async def test_what_makes_no_sense_is_refused(api: Api, body: Any) -> None:
    before = (await api.get("/mqtt/retainer")).json
    reply = await api.call("PUT", f"{V5}/mqtt/retainer", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.get("/mqtt/retainer")).json == before


@pytest.mark.parametrize(
    ("text", "wanted"), [("infinity", 0.0), ("1000/s", 1_000.0), ("10/1m", 10 / 60), ("5", 5.0), ("3/500ms", 6.0)]
)
def test_rates(text: str, wanted: float) -> None:
    assert rate(text) == pytest.approx(wanted)


def test_defaults_are_those_of_the_broker() -> None:
    """Who leaves something out loses no message by it."""
    defaults, settings = RetainerSettings.model_validate({}), MqttSettings()
    assert defaults.backend.storage_type == "disc"
    assert defaults.backend.max_retained_messages == settings.max_retained
    assert size(defaults.max_payload_size) == settings.max_retained_payload


async def test_switched_off_nothing_is_stored_or_replayed(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.publish("t/1", b"kept", 1, retain=True)
    await put(api, enable=False)
    await client.subscribe(("t/#", 1))
    await client.nothing_came()
    await client.publish("t/2", b"passes", 1, retain=True)
    assert (await client.message()).payload == b"passes"
    await client.publish("t/1", b"", 1, retain=True)
    assert (await client.message()).payload == b""
    await put(api, enable=True)
    assert await topics(api) == ["t/1"]
    other = await api.mqtt.connected("two")
    await other.subscribe(("t/#", 1))
    assert (await other.message()).payload == b"kept"


async def test_messages_expire(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch, "wardenmq.mgmt_api.emqx.messaging")
    client = await api.connected5("five")
    await client.publish("before", b"x", 1, retain=True)
    await put(api, msg_expiry_interval="1m")
    await client.publish("after", b"x", 1, retain=True)
    api.mqtt.broker.publish("own", b"x", 1, True, "someone", message_expiry=500)
    assert sorted(await topics(api)) == ["after", "before", "own"]
    clock.advance(61)
    assert sorted(await topics(api)) == ["before", "own"]  # what a message says itself prevails
    await until(lambda: api.mqtt.broker.retention.expired == 1)
    assert (await api.get(f"{MESSAGE}/after")).status == 404


async def test_bounds(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await put(api, max_payload_size="10B", backend={"max_retained_messages": 2})
    for topic, payload in (("a", b"x" * 11), ("b", b"x"), ("c", b"x"), ("d", b"x"), ("b", b"y")):
        await client.publish(topic, payload, 1, retain=True)
    assert await topics(api) == ["c", "b"]
    await put(api, max_payload_size=0, backend={"max_retained_messages": 0})
    await client.publish("a", b"x" * 900, 1, retain=True)
    assert await topics(api) == ["c", "b", "a"]


@pytest.mark.parametrize("stops", [True, False])
async def test_the_message_that_clears(api: Api, *, stops: bool) -> None:
    await put(api, stop_publish_clear_msg=stops)
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 1))
    await client.publish("t", b"x", 1, retain=True)
    assert (await client.message()).payload == b"x"
    await client.publish("t", b"", 1, retain=True)
    await client.publish("t", b"end", 1)
    assert (await client.message()).payload == (b"end" if stops else b"")
    assert await topics(api) == []


async def test_a_rate_slows_replays(api: Api) -> None:
    await put(api, delivery_rate="20/s")
    for number in range(60):
        api.mqtt.broker.publish(f"t/{number}", b"x", 0, True)
    replays = api.mqtt.broker._engine.replays
    clock = [1_000.0]

    class Loop:
        def time(self) -> float:
            return clock[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wardenmq.broker.replay.asyncio.get_running_loop", Loop)
        sent = 0
        while replays._wait_for_rate() == 0:
            replays._allowance -= 1
            sent += 1
        assert sent == 20
        clock[0] += 0.5
        while replays._wait_for_rate() == 0:
            replays._allowance -= 1
            sent += 1
        assert sent == 30
        assert 0 < replays._wait_for_rate() <= 0.05
    await put(api, delivery_rate="1000/s")
    client = await api.mqtt.connected("one")
    await client.subscribe(("t/#", 0))
    assert await client.messages(60) == [b"x"] * 60


# -- messages


async def test_messages_are_listed_in_the_order_of_publishing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch, "wardenmq.mgmt_api.emqx.messaging")
    client = await api.mqtt.connected("one", username="alice")
    for topic in ("z", "a/1", "m", "a/2", "z"):
        clock.advance(1)
        await client.publish(topic, b"x", 1, retain=True)
    api.mqtt.broker.publish("$SYS/uptime", b"1", retain=True)
    reply = await api.get(MESSAGES)
    assert [row["topic"] for row in reply.rows] == ["a/1", "m", "a/2", "z"]
    assert reply.meta == {"page": 1, "limit": 100, "hasnext": False, "count": 4}
    for row in reply.rows:
        assert set(row) == KEYS
        assert (row["qos"], row["from_clientid"], row["from_username"]) == (1, "one", "alice")
        assert len(bytes.fromhex(row["msgid"])) == 16
    assert (await api.get(MESSAGES)).rows == reply.rows
    filtered = await api.get(MESSAGES, topic="a/%2B")
    assert [row["topic"] for row in filtered.rows] == ["a/1", "a/2"]
    assert filtered.meta == {"page": 1, "limit": 100, "hasnext": False}
    assert await topics(api, topic="m") == ["m"]
    assert await topics(api, topic="%23", page=2, limit=3) == ["z"]
    assert (await api.get(MESSAGES, page=2, limit=2)).meta["hasnext"] is False
    assert (await api.get(MESSAGES, page=1, limit=3)).meta["hasnext"] is True
    assert await topics(api, page=9) == []
    assert await topics(api, topic="$SYS/%23") == []
    assert (await api.get(f"{MESSAGE}/$SYS%2Fuptime")).status == 404


@pytest.mark.parametrize("query", [{"page": 0}, {"limit": 0}, {"limit": 10_001}, {"topic": "a/%23/b"}])
async def test_bad_questions(api: Api, query: dict[str, Any]) -> None:
    assert (await api.get(MESSAGES, **query)).code == "BAD_REQUEST"


async def test_a_long_list_is_in_order(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retainer, "_RUN", 7)
    for number in range(50):
        api.mqtt.broker.publish(f"t/{(number * 37) % 50}", b"x", 0, True)
        found = api.mqtt.broker.retention.messages.get(f"t/{(number * 37) % 50}")
        assert found is not None
        found.published_at = 1_000.0 + (number * 13) % 50
    wanted = [f"t/{(number * 37) % 50}" for number in sorted(range(50), key=lambda number: (number * 13) % 50)]
    assert await topics(api) == wanted
    assert await topics(api, topic="t/%23", page=3, limit=11) == wanted[22:33]


async def test_one_is_shown(api: Api) -> None:
    api.mqtt.broker.publish("a/1", b"\0\xff", 2, True, "someone")
    api.mqtt.broker.publish("a/2", bytes(1_048_576), 0, True)
    await put(api, max_payload_size="2MB")
    api.mqtt.broker.publish("big", bytes(1_048_577), 0, True)
    found = (await api.get(f"{MESSAGE}/a%2F1")).json
    assert set(found) == KEYS | {"payload"}
    assert (found["payload"], found["qos"], found["from_clientid"]) == (b64encode(b"\0\xff").decode(), 2, "someone")
    assert len((await api.get(f"{MESSAGE}/a%2F2")).json["payload"]) == 1_398_104
    assert set((await api.get(f"{MESSAGE}/big")).json) == KEYS
    assert (await api.get(f"{MESSAGE}/a%2F%2B")).json["topic"] in ("a/1", "a/2")
    reply = await api.get(f"{MESSAGE}/nothing")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert (await api.get(f"{MESSAGE}/a%2F%23%2Fb")).code == "BAD_REQUEST"


async def test_senders_are_not_taken_for_others(api: Api) -> None:
    first = await api.mqtt.connected("one", username="alice")
    await first.publish("t", b"x", 1, retain=True)
    await first.publish("$delayed/60/t", b"x", 1)
    paths = (MESSAGES, "/mqtt/delayed/messages")
    for path in paths:
        assert [row["from_username"] for row in (await api.get(path)).rows] == ["alice"], path
    await first.disconnect()
    await until(lambda: api.mqtt.broker.registry.get("one") is None)
    second = await api.mqtt.connected("one", username="eve")
    for path in paths:
        [row] = (await api.get(path)).rows
        assert (row["from_clientid"], row["from_username"]) == ("one", None), path
    await second.publish("t", b"x", 1, retain=True)
    assert (await api.get(f"{MESSAGE}/t")).json["from_username"] == "eve"


async def test_they_are_deleted(api: Api) -> None:
    for topic in ("a/1", "a/2", "a/2/x", "b", "c", "$SYS/x"):
        api.mqtt.broker.publish(topic, b"x", 0, True)
    delete = f"{V5}{MESSAGE}"
    assert (await api.call("DELETE", f"{delete}/b")).status == 204
    assert (await api.call("DELETE", f"{delete}/b")).code == "NOT_FOUND"
    assert (await api.call("DELETE", f"{delete}/a%2F%2B")).status == 204
    assert sorted(await topics(api)) == ["a/2/x", "c"]
    assert (await api.call("DELETE", f"{V5}{MESSAGES}", role="viewer")).status == 403
    assert (await api.call("DELETE", f"{V5}{MESSAGES}")).status == 204
    assert await topics(api) == []
    assert api.mqtt.broker.retention.messages.get("$SYS/x") is not None
    client = await api.mqtt.connected("one")
    await client.subscribe(("#", 0))
    await client.nothing_came()


async def test_all_is_there_after_a_restart(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/mqtt/retainer")).json["backend"]["storage_type"] == "disc"
        client = await server.client("one")
        for topic in ("z", "y", "x"):
            await client.publish(topic, b"kept", 1, retain=True)
        before = (await server.call("GET", MESSAGES)).rows
        assert [row["topic"] for row in before] == ["z", "y", "x"]
        shown = (await server.call("PUT", "/mqtt/retainer", {"max_payload_size": "3B"})).json
        assert shown["backend"]["storage_type"] == "disc"
        assert (await server.call("DELETE", f"{MESSAGE}/y")).status == 204
    async with whole_server(tmp_path) as server:
        after = (await server.call("GET", MESSAGES)).rows
        assert [(row["topic"], row["msgid"], row["publish_at"]) for row in after] == [
            (row["topic"], row["msgid"], row["publish_at"]) for row in before if row["topic"] != "y"
        ]
        assert (await server.call("GET", "/mqtt/retainer")).json == shown
        client = await server.client("one")
        await client.publish("long", b"four", 1, retain=True)
        await client.publish("short", b"333", 1, retain=True)
        assert [row["topic"] for row in (await server.call("GET", MESSAGES)).rows] == ["z", "x", "short"]
        # in memory alone from now on
        assert (await server.call("PUT", "/mqtt/retainer", {"backend": {"storage_type": "ram"}})).status == 200
        assert len((await server.call("GET", MESSAGES)).rows) == 3
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", MESSAGES)).rows == []
        client = await server.client("one")
        await client.publish("again", b"x", 1, retain=True)
        assert (await server.call("PUT", "/mqtt/retainer", {"backend": {"storage_type": "disc"}})).status == 200
    async with whole_server(tmp_path) as server:
        assert [row["topic"] for row in (await server.call("GET", MESSAGES)).rows] == ["again"]
