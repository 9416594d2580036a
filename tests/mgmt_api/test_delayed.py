"""Delayed publish over HTTP: listed by when it is due, shown, discarded, switched off, there after a restart."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from ..clocks import show_to_the_broker
from .callers import V5, Api
from .whole_server import whole_server

MESSAGES = "/mqtt/delayed/messages"
NODE = "wardenmq@127.0.0.1"
KEYS = {
    *("msgid", "node", "publish_at", "delayed_interval", "delayed_remaining", "expected_at", "topic", "qos"),
    *("from_clientid", "from_username"),
}


async def listed(api: Api, **query: int) -> list[dict[str, Any]]:
    return (await api.get(MESSAGES, **query)).rows


async def delay(api: Api, seconds: int, topic: str, payload: str = "x", **fields: Any) -> None:
    body = {"topic": f"$delayed/{seconds}/{topic}", "payload": payload, **fields}
    assert (await api.call("POST", f"{V5}/publish", body)).status == 200


async def test_messages_are_listed_by_when_they_are_due(api: Api) -> None:
    client = await api.mqtt.connected("one", username="alice")
    await client.publish("$delayed/300/t/1", b"x", 1)
    await client.publish("$delayed/100/t/2", b"x", 2)
    await delay(api, 200, "t/3")
    rows = await listed(api)
    assert [(row["topic"], row["qos"], row["from_clientid"], row["from_username"]) for row in rows] == [
        ("t/2", 2, "one", "alice"),
        ("t/3", 0, "http_api", None),
        ("t/1", 1, "one", "alice"),
    ]
    for row, seconds in zip(rows, (100, 200, 300), strict=True):
        assert set(row) == KEYS
        assert row["node"] == NODE
        assert row["delayed_interval"] == seconds
        assert 0 < row["delayed_remaining"] <= seconds
        assert row["publish_at"] < row["expected_at"]
        assert len(bytes.fromhex(row["msgid"])) == 16
    assert len({row["msgid"] for row in rows}) == 3
    assert [row["msgid"] for row in rows] == [row["msgid"] for row in await listed(api)]


async def test_pages(api: Api) -> None:
    for number in range(7):
        await delay(api, 1_000 - number, str(number))
    assert [row["topic"] for row in await listed(api, page=2, limit=3)] == ["3", "2", "1"]
    metas = [(await api.get(MESSAGES, page=page, limit=3)).meta for page in (1, 2, 3, 4)]
    assert [meta["hasnext"] for meta in metas] == [True, True, False, False]
    assert metas[3] == {"page": 4, "limit": 3, "hasnext": False, "count": 7}
    assert (await listed(api, page=4, limit=3)) == []
    for query in ({"page": 0}, {"limit": 10_001}):
        assert (await api.get(MESSAGES, **query)).code == "BAD_REQUEST"


async def test_one_is_shown_with_its_payload(api: Api) -> None:
    await delay(api, 60, "t", "grüße")
    api.mqtt.broker.publish("$delayed/70/t", b"x" * 2_048)
    api.mqtt.broker.publish("$delayed/80/t", b"x" * 2_049)
    rows = await listed(api)
    found = [(await api.get(f"{MESSAGES}/{NODE}/{row['msgid']}")).json for row in rows]
    assert [each["payload"] for each in found] == [
        b64encode("grüße".encode()).decode(),
        b64encode(b"x" * 2_048).decode(),
        "PAYLOAD_TOO_LARGE",
    ]
    assert set(found[0]) == KEYS | {"payload"}
    lower = await api.get(f"{MESSAGES}/{NODE}/{rows[0]['msgid'].lower()}")
    assert lower.status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_wrong_names(api: Api, method: str) -> None:
    await delay(api, 60, "t")
    (row,) = await listed(api)
    other = f"{int(row['msgid'], 16) ^ 1 << 70:032X}"
    for node, message_id, status, code in (
        (NODE, "x", 400, "MESSAGE_ID_SCHEMA_ERROR"),
        (NODE, "G" * 32, 400, "MESSAGE_ID_SCHEMA_ERROR"),
        (NODE, "0" * 33, 400, "MESSAGE_ID_SCHEMA_ERROR"),
        (NODE, "0_" * 16, 400, "MESSAGE_ID_SCHEMA_ERROR"),
        (NODE, "0" * 32, 404, "MESSAGE_ID_NOT_FOUND"),
        (NODE, other, 404, "MESSAGE_ID_NOT_FOUND"),
        ("else@1", row["msgid"], 400, "INVALID_NODE"),
    ):
        reply = await api.call(method, f"{V5}{MESSAGES}/{node}/{message_id}")
        assert (reply.status, reply.code) == (status, code)
    assert len(await listed(api)) == 1


async def test_messages_are_discarded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    client = await api.mqtt.connected("one")
    await client.subscribe(("#", 0))
    for topic in ("a/b", "a/b", "a/c", "a/d"):
        await delay(api, 60, topic)
    rows = await listed(api)
    (chosen,) = [row for row in rows if row["topic"] == "a/d"]
    assert (await api.call("DELETE", f"{V5}{MESSAGES}/{NODE}/{chosen['msgid']}")).status == 204
    assert (await api.call("DELETE", f"{V5}{MESSAGES}/{NODE}/{chosen['msgid']}")).status == 404
    assert (await api.call("DELETE", f"{V5}{MESSAGES}/a%2Fb")).status == 204
    assert (await api.call("DELETE", f"{V5}{MESSAGES}/a%2Fb")).code == "MESSAGE_NOT_FOUND"
    for topic in ("a%2F%23", "%2B", "a%2Fb%00"):
        reply = await api.call("DELETE", f"{V5}{MESSAGES}/{topic}")
        assert (reply.status, reply.code) == (400, "INVALID_TOPIC_NAME")
    clock.advance(100)
    assert (await client.message()).topic == "a/c"
    await client.nothing_came()
    assert await listed(api) == []


async def test_settings(api: Api) -> None:
    assert (await api.get("/mqtt/delayed")).json == {"enable": True, "max_delayed_messages": 0}
    wanted = {"enable": True, "max_delayed_messages": 2}
    assert (await api.call("PUT", f"{V5}/mqtt/delayed", wanted)).json == wanted
    assert (await api.get("/mqtt/delayed")).json == wanted
    client = await api.mqtt.connected("one")
    for _ in range(4):
        await client.publish("$delayed/60/t", b"x", 1)  # acknowledged though it is dropped
    assert len(await listed(api)) == 2
    for body in ({"max_delayed_messages": -1}, {"enable": "perhaps"}, {"max_delayed_messages": "x"}, {"more": 1}):
        assert (await api.call("PUT", f"{V5}/mqtt/delayed", body)).code == "BAD_REQUEST"
    assert (await api.call("PUT", f"{V5}/mqtt/delayed", wanted, role="viewer")).status == 403


async def test_switched_off_all_is_discarded_and_topics_are_literal(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("$delayed/#", 0))
    await delay(api, 60, "t")
    assert (await api.call("PUT", f"{V5}/mqtt/delayed", {"enable": False})).json["enable"] is False
    assert await listed(api) == []
    await delay(api, 60, "t")
    assert (await client.message()).topic == "$delayed/60/t"
    assert await listed(api) == []
    assert (await api.call("PUT", f"{V5}/mqtt/delayed", {"enable": True})).status == 200
    await delay(api, 60, "t")
    assert len(await listed(api)) == 1


async def test_they_are_there_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    async with whole_server(tmp_path) as server:
        client = await server.client("one")
        await client.publish("$delayed/3600/t/1", b"first", 1)
        await client.publish("$delayed/7200/t/2", b"second", 1)
        assert (await server.call("PUT", "/mqtt/delayed", {"max_delayed_messages": 5})).status == 200
        before = (await server.call("GET", MESSAGES)).rows
    async with whole_server(tmp_path) as server:
        after = (await server.call("GET", MESSAGES)).rows
        assert [row["msgid"] for row in after] == [row["msgid"] for row in before]
        assert [row["publish_at"] for row in after] == [row["publish_at"] for row in before]
        assert (await server.call("GET", "/mqtt/delayed")).json == {"enable": True, "max_delayed_messages": 5}
        client = await server.client("two")
        await client.subscribe(("t/#", 1))
        clock.advance(3_700)
        assert (await client.message()).payload == b"first"
        assert len((await server.call("GET", MESSAGES)).rows) == 1
        await client.disconnect()
    clock.advance(7_200)
    async with whole_server(tmp_path) as server:
        client = await server.client("three")
        await client.subscribe(("t/#", 1))
        await server.call("POST", "/publish", {"topic": "$delayed/0/t/3", "payload": "behind"})
        while (await client.message()).payload != b"behind":  # the other one may have been published before
            pass
        assert (await server.call("PUT", "/mqtt/delayed", {"enable": False})).status == 200
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/mqtt/delayed")).json["enable"] is False
        await server.call("POST", "/publish", {"topic": "$delayed/5/t", "payload": "x"})
        assert (await server.call("GET", MESSAGES)).rows == []
