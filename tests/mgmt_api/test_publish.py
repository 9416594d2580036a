from base64 import b64encode
from typing import Any

import pytest

from ..engine.conditions import until
from .callers import V5, Api

NOBODY = {"reason_code": 16, "message": "no_matching_subscribers"}
INVALID: list[tuple[dict[str, Any], int]] = [
    ({"topic": "t/+", "payload": "x"}, 144),
    ({"topic": "t/#", "payload": "x"}, 144),
    ({"topic": "", "payload": "x"}, 144),
    ({"topic": "a\0b", "payload": "x"}, 144),
    ({"topic": "t", "payload": "x" * 1_000}, 151),
    ({"topic": "t", "payload": "***", "payload_encoding": "base64"}, 131),
    ({"topic": "t", "payload": "é", "payload_encoding": "base64"}, 131),
]
ILL_TYPED: list[Any] = [
    {"topic": "t"},
    {"payload": "x"},
    {"topic": 1, "payload": "x"},
    {"topic": "t", "payload": {"a": 1}},
    {"topic": "t", "payload": "x", "qos": 3},
    {"topic": "t", "payload": "x", "qos": True},
    {"topic": "t", "payload": "x", "retain": "perhaps"},
    {"topic": "t", "payload": "x", "payload_encoding": "hex"},
    {"topic": "t", "payload": "x", "unknown": 1},
    {"topic": "t", "payload": "x", "properties": {"unknown": 1}},
    {"topic": "t", "payload": "x", "properties": {"user_properties": {"a": 1}}},
    {"topic": "\ud800", "payload": "x"},
]


async def test_a_message_reaches_its_subscriber(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t/+", 1))
    reply = await api.call("POST", f"{V5}/publish", {"topic": "t/1", "payload": "grüße", "qos": 2}, role="publisher")
    assert reply.status == 200
    assert set(reply.json) == {"id"}
    assert len(bytes.fromhex(reply.json["id"])) == 16
    assert reply.json["id"] == reply.json["id"].upper()
    message = await client.message()
    assert (message.topic, message.payload, message.qos) == ("t/1", "grüße".encode(), 1)


@pytest.mark.parametrize("key", ["payload_encoding", "encoding"])
async def test_a_binary_payload(api: Api, key: str) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 0))
    body = {"topic": "t", "payload": b64encode(b"\0\xff").decode(), key: "base64"}
    assert (await api.call("POST", f"{V5}/publish", body)).status == 200
    assert (await client.message()).payload == b"\0\xff"


async def test_everything_that_a_message_may_have(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 0))
    properties = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "response_topic": "r",
        "correlation_data": "c",
        "content_type": "text/plain",
        "user_properties": {"a": "b"},
    }
    body = {"topic": "t", "payload": "x", "qos": 1, "retain": True, "clientid": "me", "properties": properties}
    assert (await api.call("POST", f"{V5}/publish", body)).status == 200
    assert (await client.message()).payload == b"x"


async def test_a_message_that_nobody_wants_may_still_be_retained(api: Api) -> None:
    reply = await api.call("POST", f"{V5}/publish", {"topic": "t", "payload": "kept", "retain": True})
    assert (reply.status, reply.json) == (202, NOBODY)
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 0))
    message = await client.message()
    assert (message.payload, message.retain) == (b"kept", True)


async def test_an_absent_client_with_a_session_counts_as_a_subscriber(api: Api) -> None:
    client = await api.mqtt.connected("one", clean=False)
    await client.subscribe(("t", 1))
    client.abort()
    session = api.mqtt.broker.registry.get("one")
    assert session is not None
    await until(lambda: not session.connected)
    assert (await api.call("POST", f"{V5}/publish", {"topic": "t", "payload": "x", "qos": 1})).status == 200
    assert session.queue_length == 1


@pytest.mark.parametrize(("body", "reason_code"), INVALID)
async def test_messages_that_cannot_be_published(api: Api, body: dict[str, Any], reason_code: int) -> None:
    reply = await api.call("POST", f"{V5}/publish", body)
    assert reply.status == 400
    assert set(reply.json) == {"reason_code", "message"}
    assert reply.json["reason_code"] == reason_code
    assert reply.json["message"]


@pytest.mark.parametrize("body", ILL_TYPED)
async def test_messages_of_the_wrong_form(api: Api, body: Any) -> None:
    for path, sent in (("publish", body), ("publish/bulk", [body])):
        reply = await api.call("POST", f"{V5}/{path}", sent)
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_several_messages_in_order(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t/#", 0))
    messages = [{"topic": f"t/{number}", "payload": str(number)} for number in range(3)]
    reply = await api.call("POST", f"{V5}/publish/bulk", messages, role="publisher")
    assert reply.status == 200
    ids = [row["id"] for row in reply.json]
    assert ids == sorted(set(ids))
    assert [(await client.message()).payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_several_messages_one_of_which_nobody_wants(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 0))
    messages = [{"topic": topic, "payload": "x"} for topic in ("t", "unwanted", "t")]
    reply = await api.call("POST", f"{V5}/publish/bulk", messages)
    assert reply.status == 202
    assert [set(row) for row in reply.json] == [{"id"}, {"reason_code", "message"}, {"id"}]
    assert reply.json[1] == NOBODY


@pytest.mark.parametrize(("body", "reason_code"), INVALID)
async def test_of_several_messages_none_is_published_if_one_is_invalid(
    api: Api, body: dict[str, Any], reason_code: int
) -> None:
    reply = await api.call("POST", f"{V5}/publish/bulk", [{"topic": "t", "payload": "x", "retain": True}, body])
    assert (reply.status, reply.json["reason_code"]) == (400, reason_code)
    assert api.mqtt.broker.retained_messages == {}


async def test_no_messages_at_all(api: Api) -> None:
    reply = await api.call("POST", f"{V5}/publish/bulk", [])
    assert (reply.status, reply.json) == (200, [])


async def test_published_messages_are_counted(api: Api) -> None:
    await api.call("POST", f"{V5}/publish", {"topic": "t", "payload": "x", "qos": 1})
    counters = (await api.get("/metrics", aggregate="true")).json
    assert (counters["messages.received"], counters["messages.qos1.received"], counters["messages.publish"]) == (
        1,
        1,
        1,
    )
    assert counters["messages.dropped.no_subscribers"] == 1
