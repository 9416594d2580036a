from base64 import b64encode
from typing import Any

import pytest
from pydantic import ValidationError
from wardenmq.mgmt_api.emqx.clients.models_publish import MessageProperties

from ..engine.conditions import until
from ..engine.packets5 import P
from .callers import V5, Api

NOBODY = {"reason_code": 16, "message": "no_matching_subscribers"}
INVALID: list[tuple[dict[str, Any], int]] = [
    ({"topic": "t/+", "payload": "x"}, 144),
    ({"topic": "t/#", "payload": "x"}, 144),
    ({"topic": "", "payload": "x"}, 144),
    ({"topic": "a\0b", "payload": "x"}, 144),
    ({"topic": "t", "payload": "x" * 1_000}, 151),
    ({"topic": "t", "payload": "x" * 500, "properties": {"user_properties": {"a": "y" * 500}}}, 151),
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
    {"topic": "t", "payload": "x", "properties": {"user_properties": {"a": "b\0"}}},
    {"topic": "t", "payload": "x", "properties": {"user_properties": {"a\0": "b"}}},
    {"topic": "t", "payload": "x", "properties": {"user_properties": [["a", "b"]]}},
    {"topic": "t", "payload": "x", "properties": {"payload_format_indicator": 2}},
    {"topic": "t", "payload": "x", "properties": {"payload_format_indicator": True}},
    {"topic": "t", "payload": "x", "properties": {"message_expiry_interval": -1}},
    {"topic": "t", "payload": "x", "properties": {"message_expiry_interval": 2**32}},
    {"topic": "t", "payload": "x", "properties": {"message_expiry_interval": "60s"}},
    {"topic": "t", "payload": "x", "properties": {"response_topic": ""}},
    {"topic": "t", "payload": "x", "properties": {"response_topic": "r/+"}},
    {"topic": "t", "payload": "x", "properties": {"response_topic": "r\0"}},
    {"topic": "t", "payload": "x", "properties": {"content_type": "text\0"}},
    {"topic": "t", "payload": "x", "properties": {"content_type": "\ud800"}},
    {"topic": "t", "payload": "x", "properties": {"correlation_data": 5}},
    {"topic": "t", "payload": "x", "properties": {"topic_alias": 1}},
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


PROPERTIES = {
    "payload_format_indicator": 1,
    "message_expiry_interval": 60,
    "response_topic": "r/1",
    "correlation_data": "grün",
    "content_type": "text/plain",
    "user_properties": {"b": "1", "a": "grün", "": ""},
}
ON_THE_WIRE = [
    (P.PAYLOAD_FORMAT, 1),
    (P.CONTENT_TYPE, "text/plain"),
    (P.RESPONSE_TOPIC, "r/1"),
    (P.CORRELATION_DATA, "grün".encode()),
    (P.USER, ("b", "1")),
    (P.USER, ("a", "grün")),
    (P.USER, ("", "")),
]


@pytest.mark.parametrize("path", ["publish", "publish/bulk"])
async def test_everything_that_a_message_may_have(api: Api, path: str) -> None:
    old, new = await api.mqtt.connected("one"), await api.connected5("two")
    for client in (old, new):
        assert await client.subscribe(("t", 1)) == [1]
    body = {"topic": "t", "payload": "x", "qos": 1, "retain": True, "clientid": "me", "properties": PROPERTIES}
    assert (await api.call("POST", f"{V5}/{path}", body if path == "publish" else [body])).status == 200
    assert (await old.message()).payload == b"x"
    message = await new.message()
    assert (message.payload, message.qos, message.retain) == (b"x", 1, False)
    assert message.forwarded == ON_THE_WIRE
    assert message.get(P.MESSAGE_EXPIRY) == 60
    # The retained copy has all of it too.
    late = await api.connected5("three")
    await late.subscribe(("t", 0))
    kept = await late.message()
    assert (kept.retain, kept.forwarded) == (True, ON_THE_WIRE)


@pytest.mark.parametrize("properties", [None, {}, {"user_properties": {}}, {"content_type": None}])
async def test_a_message_without_properties(api: Api, properties: dict[str, Any] | None) -> None:
    client = await api.connected5("one")
    await client.subscribe(("t", 0))
    body = {"topic": "t", "payload": "x", "properties": properties}
    assert (await api.call("POST", f"{V5}/publish", body)).status == 200
    assert (await client.message()).properties == ()


@pytest.mark.parametrize(
    ("given", "on_the_wire"),
    [
        ({"payload_format_indicator": 0}, [(P.PAYLOAD_FORMAT, 0)]),
        ({"message_expiry_interval": 4_294_967_295}, []),
        ({"response_topic": "$r/ä"}, [(P.RESPONSE_TOPIC, "$r/ä")]),
        ({"correlation_data": ""}, [(P.CORRELATION_DATA, b"")]),
        ({"correlation_data": "\0"}, [(P.CORRELATION_DATA, b"\0")]),
        ({"content_type": ""}, [(P.CONTENT_TYPE, "")]),
    ],
)
async def test_properties_one_by_one(api: Api, given: dict[str, Any], on_the_wire: list[tuple[int, object]]) -> None:
    client = await api.connected5("one")
    await client.subscribe(("t", 0))
    body = {"topic": "t", "payload": "x", "properties": given}
    assert (await api.call("POST", f"{V5}/publish", body)).status == 200
    message = await client.message()
    assert message.forwarded == on_the_wire
    assert message.get(P.MESSAGE_EXPIRY) == given.get("message_expiry_interval")


def test_a_text_has_the_bounds_of_mqtt() -> None:
    longest = "é" * 32_767 + "x"
    accepted = MessageProperties.model_validate(
        {"content_type": longest, "correlation_data": longest, "user_properties": {longest: longest}}
    )
    assert accepted.content_type == longest
    for field in ("content_type", "correlation_data", "response_topic"):
        with pytest.raises(ValidationError, match="longer than 65535 bytes"):
            MessageProperties.model_validate({field: longest + "x"})
    for pair in ({longest + "x": ""}, {"": longest + "x"}):
        with pytest.raises(ValidationError, match="longer than 65535 bytes"):
            MessageProperties.model_validate({"user_properties": pair})


async def test_a_message_that_waited_too_long_is_not_delivered(api: Api) -> None:
    client = await api.connected5("one", clean=False, properties=[(P.SESSION_EXPIRY, 600)])
    await client.subscribe(("t", 1))
    client.abort()
    session = api.mqtt.broker.registry.get("one")
    assert session is not None
    await until(lambda: not session.connected)
    for expiry in (0, 600):
        body = {"topic": "t", "payload": str(expiry), "qos": 1, "properties": {"message_expiry_interval": expiry}}
        assert (await api.call("POST", f"{V5}/publish", body)).status == 200
    again = await api.connected5("one", clean=False, properties=[(P.SESSION_EXPIRY, 600)])
    message = await again.message()
    assert message.payload == b"600"
    left = message.get(P.MESSAGE_EXPIRY)
    assert isinstance(left, int)
    assert 0 < left <= 600
    assert (await api.get("/clients/one")).json["send_msg.dropped.expired"] == 1


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


@pytest.mark.parametrize("path", ["publish", "publish/bulk"])
async def test_the_id_is_that_of_the_message_in_the_lists(api: Api, path: str) -> None:
    client = await api.mqtt.connected("one", clean=False)
    await client.subscribe(("t", 1))
    client.abort()
    session = api.mqtt.broker.registry.get("one")
    assert session is not None
    await until(lambda: not session.connected)
    body = {"topic": "t", "payload": "x", "qos": 1, "retain": True}
    answer = (await api.call("POST", f"{V5}/{path}", body if path == "publish" else [body])).json
    message_id = answer["id"] if path == "publish" else answer[0]["id"]
    assert [row["msgid"] for row in (await api.get("/clients/one/mqueue_messages")).rows] == [message_id]
    assert [row["msgid"] for row in (await api.get("/mqtt/retainer/messages")).rows] == [message_id]


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


# -- delayed messages


@pytest.mark.parametrize(
    ("topic", "status"),
    [
        ("$delayed/3600/t", 200),
        ("$delayed/x/t", 400),
        ("$delayed/5", 400),
        ("$delayed/5/", 400),
        ("$delayed/5/t/+", 400),
    ],
)
async def test_delayed_messages(api: Api, topic: str, status: int) -> None:
    body = {"topic": topic, "payload": "x"}
    for path, sent in (("publish", body), ("publish/bulk", [body])):
        reply = await api.call("POST", f"{V5}/{path}", sent)
        assert reply.status == status
        if status == 400:
            assert reply.json == {"reason_code": 144, "message": "topic_name_invalid"}
    counters = (await api.get("/metrics", aggregate="true")).json
    assert counters["messages.delayed"] == (2 if status == 200 else 0)
    assert counters["messages.dropped.no_subscribers"] == 0


@pytest.mark.parametrize("path", ["publish", "publish/bulk"])
async def test_a_delayed_message_is_discarded_by_the_id_that_was_answered(api: Api, path: str) -> None:
    bodies = [{"topic": "$delayed/600/t", "payload": "x"}, {"topic": "$delayed/500/t", "payload": "x"}]
    if path == "publish":
        ids = [(await api.call("POST", f"{V5}/publish", body)).json["id"] for body in bodies]
    else:
        ids = [row["id"] for row in (await api.call("POST", f"{V5}/publish/bulk", bodies)).json]
    assert [row["msgid"] for row in (await api.get("/mqtt/delayed/messages")).rows] == ids[::-1]
    one = f"{V5}/mqtt/delayed/messages/{api.state.node}/{ids[0]}"
    assert (await api.call("DELETE", one)).status == 204
    assert (await api.call("DELETE", one)).status == 404
    assert [row["msgid"] for row in (await api.get("/mqtt/delayed/messages")).rows] == ids[1:]


async def test_a_message_that_is_not_delayed_for_want_of_room_has_no_other_ones_id(api: Api) -> None:
    await api.call("PUT", f"{V5}/mqtt/delayed", {"enable": True, "max_delayed_messages": 1})
    ids = [
        (await api.call("POST", f"{V5}/publish", {"topic": "$delayed/600/t", "payload": "x"})).json["id"]
        for _ in range(2)
    ]
    assert [row["msgid"] for row in (await api.get("/mqtt/delayed/messages")).rows] == ids[:1]
    assert ids[0] != ids[1]


async def test_a_delayed_message_comes(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 1))
    reply = await api.call("POST", f"{V5}/publish", {"topic": "$delayed/0/t", "payload": "x", "qos": 1})
    assert reply.status == 200
    message = await client.message()
    assert (message.topic, message.payload, message.qos) == ("t", b"x", 1)
