"""Subscriptions and keep-alives that the API changes."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from wardenmq.broker.keep_alives import KeepAlives
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings

from ..clocks import WallClock
from ..durability.lives import Lives, living
from ..engine.conditions import until
from ..engine.wire5 import options
from .callers import V5, Api
from .served import over

Subscribing = Callable[..., Any]


def session_of(api: Api, client_id: str) -> Session:
    session = api.mqtt.broker.registry.get(client_id)
    assert session is not None
    return session


async def subscribe(api: Api, client_id: str, **body: Any) -> Any:
    reply = await api.call("POST", f"{V5}/clients/{client_id}/subscribe", body)
    assert reply.status == 200, reply.body
    return reply.json


async def publish(api: Api, topic: str, payload: str, **more: Any) -> None:
    reply = await api.call("POST", f"{V5}/publish", {"topic": topic, "payload": payload, **more})
    assert reply.status in (200, 202), reply.body


async def test_a_subscription_is_answered_and_shown(api: Api) -> None:
    client = await api.connected5("one")
    answer = await subscribe(api, "one", topic="t/+", qos=1, nl=1, rap=1, rh=2)
    made = {"clientid": "one", "topic": "t/+", "node": api.state.node, "qos": 1, "nl": 1, "rap": 1, "rh": 2}
    assert answer == made
    assert (await api.get("/clients/one/subscriptions")).json == [made | {"durable": False}]
    await client.nothing_came()  # no SUBACK either
    await publish(api, "t/1", "x", qos=2)
    message = await client.message()
    assert (message.topic, message.payload, message.qos) == ("t/1", b"x", 1)


@pytest.mark.parametrize("version", [3, 4, 5])
async def test_messages_reach_clients_of_all_versions(api: Api, version: int) -> None:
    if version == 5:
        client = await api.connected5("one")
    elif version == 4:
        client = await api.mqtt.connected("one")
    else:
        client = await api.mqtt.connected("one", name="MQIsdp", level=3)
    assert (await subscribe(api, "one", topic="t"))["qos"] == 0
    await publish(api, "t", "x")
    assert (await client.message()).payload == b"x"
    assert (await api.call("POST", f"{V5}/clients/one/unsubscribe", {"topic": "t"})).status == 204
    await publish(api, "t", "y")
    await client.nothing_came()


async def test_no_local_holds_for_a_client_of_3_1_1_too(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await subscribe(api, "one", topic="t", nl=1)
    await client.publish("t", b"own", 1)
    await publish(api, "t", "another's")
    assert (await client.message()).payload == b"another's"


@pytest.mark.parametrize(("rh", "first", "again"), [(0, True, True), (1, True, False), (2, False, False)])
async def test_retained_messages_are_sent_as_wanted(api: Api, rh: int, first: bool, again: bool) -> None:
    await publish(api, "t/1", "kept", retain=True)
    client = await api.mqtt.connected("one")
    for expected in (first, again):
        await subscribe(api, "one", topic="t/+", rh=rh)
        if expected:
            message = await client.message()
            assert (message.payload, message.retain) == (b"kept", True)
        await client.nothing_came()


async def test_retain_as_published(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await subscribe(api, "one", topic="plain")
    await subscribe(api, "one", topic="kept", rap=1)
    for topic in ("plain", "kept"):
        await publish(api, topic, "x", retain=True)
        assert (await client.message()).retain == (topic == "kept")


async def test_a_shared_subscription(api: Api) -> None:
    clients = {name: await api.mqtt.connected(name) for name in ("one", "two")}
    for name in clients:
        await subscribe(api, name, topic="$share/g/t", qos=1)
    await publish(api, "t", "x", qos=1)
    await publish(api, "t", "y", qos=1)
    got = [(await client.message()).payload for client in clients.values()]
    assert sorted(got) == [b"x", b"y"]
    unwanted = {"topic": "$share/g/t"}
    assert (await api.call("POST", f"{V5}/clients/one/unsubscribe", unwanted)).status == 204
    assert list(session_of(api, "one").subscriptions) == []
    await publish(api, "t", "z", qos=1)
    assert (await clients["two"].message()).payload == b"z"


async def test_a_client_that_is_away(api: Api) -> None:
    away = await api.mqtt.connected("one", clean=False)
    await away.disconnect()
    await subscribe(api, "one", topic="t", qos=1)
    await publish(api, "t", "x", qos=1)
    back = await api.mqtt.connected("one", clean=False)
    assert (await back.message()).payload == b"x"


async def test_the_options_of_a_subscription_are_replaced(api: Api) -> None:
    client = await api.connected5("one")
    await client.subscribe(("t", options(2, no_local=True)))
    await subscribe(api, "one", topic="t", qos=1, rap=1)
    [row] = (await api.get("/clients/one/subscriptions")).json
    assert (row["qos"], row["nl"], row["rap"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "BAD_REQUEST"),
        ({"topic": "a#"}, "BAD_REQUEST"),
        ({"topic": ""}, "BAD_REQUEST"),
        ({"topic": "$share/g"}, "BAD_REQUEST"),
        ({"topic": "a\0"}, "BAD_REQUEST"),
        ({"topic": "t", "qos": 3}, "BAD_REQUEST"),
        ({"topic": "t", "qos": "1"}, "BAD_REQUEST"),
        ({"topic": "t", "nl": True}, "BAD_REQUEST"),
        ({"topic": "t", "nl": 2}, "BAD_REQUEST"),
        ({"topic": "t", "rap": -1}, "BAD_REQUEST"),
        ({"topic": "t", "rh": 3}, "BAD_REQUEST"),
        ({"topic": "t", "more": 1}, "BAD_REQUEST"),
        ({"topic": "$share/g/t", "nl": 1}, "INVALID_PARAMETER"),
        ({"topic": "/".join("a" * 200)}, "INVALID_PARAMETER"),
    ],
)
async def test_what_cannot_be_subscribed_to(api: Api, body: dict[str, Any], code: str) -> None:
    await api.mqtt.connected("one")
    for path, sent in (("subscribe", body), ("subscribe/bulk", [{"topic": "fine"}, body])):
        reply = await api.call("POST", f"{V5}/clients/one/{path}", sent)
        assert (reply.status, reply.code) == (400, code)
    assert session_of(api, "one").subscriptions == {}  # of several none is made where one cannot be


async def test_a_client_has_so_many_subscriptions_at_most(api: Api) -> None:
    await api.mqtt.connected("one")
    most = api.mqtt.broker.settings.max_subscriptions
    wanted = [{"topic": f"t/{number}"} for number in range(most // 20)]
    for start in range(19):
        bodies = [{"topic": f"{start}/{body['topic']}"} for body in wanted]
        assert (await api.call("POST", f"{V5}/clients/one/subscribe/bulk", bodies)).status == 200
    assert (await api.call("POST", f"{V5}/clients/one/subscribe/bulk", wanted)).status == 200
    assert len(session_of(api, "one").subscriptions) == most
    reply = await api.call("POST", f"{V5}/clients/one/subscribe", {"topic": "more"})
    assert (reply.status, reply.code) == (400, "EXCEED_LIMIT")
    assert (await api.call("POST", f"{V5}/clients/one/subscribe", {"topic": "t/1", "qos": 1})).status == 200


async def test_many_at_once(api: Api) -> None:
    client = await api.mqtt.connected("one")
    bodies = [{"topic": f"t/{number}", "qos": number % 3} for number in range(50)]
    answer = (await api.call("POST", f"{V5}/clients/one/subscribe/bulk", bodies)).json
    assert [(row["topic"], row["qos"]) for row in answer] == [(body["topic"], body["qos"]) for body in bodies]
    await publish(api, "t/49", "x")
    assert (await client.message()).payload == b"x"
    gone = [{"topic": f"t/{number}"} for number in range(1, 100)]
    reply = await api.call("POST", f"{V5}/clients/one/unsubscribe/bulk", gone)
    assert (reply.status, reply.body) == (204, b"")
    assert list(session_of(api, "one").subscriptions) == ["t/0"]


async def test_unsubscribing_counts_what_was_there_alone(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 0))
    for _ in range(2):
        assert (await api.call("POST", f"{V5}/clients/one/unsubscribe", {"topic": "t"})).status == 204
    assert (await api.get("/metrics", aggregate="true")).json["client.unsubscribe"] == 1


@pytest.mark.parametrize("path", ["subscribe", "subscribe/bulk", "unsubscribe", "unsubscribe/bulk"])
async def test_a_client_that_there_is_not(api: Api, path: str) -> None:
    body = {"topic": "t"}
    reply = await api.call("POST", f"{V5}/clients/nobody/{path}", [body] if path.endswith("bulk") else body)
    assert (reply.status, reply.code) == (404, "CLIENTID_NOT_FOUND")
    assert api.mqtt.broker.registry.get("nobody") is None


@pytest.mark.parametrize("role", ["viewer", "publisher"])
async def test_administrators_alone_change_clients(api: Api, role: str) -> None:
    await api.mqtt.connected("one")
    assert (await api.call("POST", f"{V5}/clients/one/subscribe", {"topic": "t"}, role=role)).status == 403
    assert (await api.call("PUT", f"{V5}/clients/one/keepalive", {"interval": 5}, role=role)).status == 403
    assert session_of(api, "one").subscriptions == {}


# -- keep-alive


async def test_a_keep_alive_is_changed(api: Api) -> None:
    await api.mqtt.connected("one", keep_alive=30)
    reply = await api.call("PUT", f"{V5}/clients/one/keepalive", {"interval": 90})
    assert (reply.status, reply.json["keepalive"]) == (200, 90)
    assert (await api.get("/clients/one")).json["keepalive"] == 90


async def test_who_is_silent_for_longer_than_the_new_keep_alive_is_closed(api: Api) -> None:
    client = await api.mqtt.connected("one")  # it may be silent for ever
    assert (await api.call("PUT", f"{V5}/clients/one/keepalive", {"interval": 1})).status == 200
    await client.hung_up()


async def test_nobody_is_watched_whose_keep_alive_is_taken_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await api.mqtt.connected("one", keep_alive=30)
    forgotten: list[int] = []
    forget = KeepAlives.forget
    monkeypatch.setattr(KeepAlives, "forget", lambda own, who, turn: (forgotten.append(turn), forget(own, who, turn)))
    assert (await api.call("PUT", f"{V5}/clients/one/keepalive", {"interval": 0})).json["keepalive"] == 0
    assert len(forgotten) == 1
    await client.ping()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "BAD_REQUEST"),
        ({"interval": "5"}, "BAD_REQUEST"),
        ({"interval": True}, "BAD_REQUEST"),
        ({"interval": -1}, "PARAM_ERROR"),
        ({"interval": 65_536}, "PARAM_ERROR"),
    ],
)
async def test_a_keep_alive_that_is_none(api: Api, body: dict[str, Any], code: str) -> None:
    await api.mqtt.connected("one", keep_alive=30)
    reply = await api.call("PUT", f"{V5}/clients/one/keepalive", body)
    assert (reply.status, reply.code) == (400, code)
    assert session_of(api, "one").keep_alive == 30


async def test_the_keep_alive_of_nobody(api: Api) -> None:
    reply = await api.call("PUT", f"{V5}/clients/nobody/keepalive", {"interval": 5})
    assert (reply.status, reply.code) == (404, "CLIENTID_NOT_FOUND")


# -- what is written


@pytest.fixture(params=["stopped", "crashed"])
async def lives(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Lives]:
    async with living(tmp_path, request.param, WallClock(), MqttSettings(session_expiry_interval=7_200)) as lives:
        yield lives


async def test_subscriptions_are_there_after_a_restart(lives: Lives) -> None:
    client = await lives.connected("one")
    await client.subscribe(("old", 1))
    async with over(lives.broker) as caller:
        body = {"topic": "t/+", "qos": 1, "rap": 1}
        assert (await caller("POST", "/clients/one/subscribe", body))[0] == 200
        assert (await caller("POST", "/clients/one/unsubscribe", {"topic": "old"}))[0] == 204
    await lives.restart()
    subscriptions = lives.session("one").subscriptions
    assert {name: (each.qos, each.retain_as_published) for name, each in subscriptions.items()} == {"t/+": (1, True)}
    await lives.publish("t/1", b"x")
    assert (await (await lives.back("one")).message()).payload == b"x"


async def test_nothing_is_promised_that_cannot_be_written(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    await lives.connected("one")
    monkeypatch.setattr(type(lives.broker), "writable", False)
    async with over(lives.broker) as caller:
        status, answer = await caller("POST", "/clients/one/subscribe", {"topic": "t"})
    assert (status, answer["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert lives.session("one").subscriptions == {}


async def test_a_session_that_ends_while_many_are_entered(api: Api) -> None:
    client = await api.mqtt.connected("one")
    broker = api.mqtt.broker
    subscribed = broker.subscribe_session
    entered: list[str] = []

    def enter(session: Session, request: Any) -> int:
        entered.append(request.topic_filter)
        if len(entered) == 3:
            broker.end_client("one")
        return subscribed(session, request) if len(entered) < 3 else 0

    broker.subscribe_session = enter  # type: ignore[method-assign]
    reply = await api.call("POST", f"{V5}/clients/one/subscribe/bulk", [{"topic": str(n)} for n in range(9)])
    assert (reply.status, reply.code) == (404, "CLIENTID_NOT_FOUND")
    assert len(entered) == 3
    await client.hung_up()
    await until(lambda: not list(broker.router.filters()))
