"""Topic rewrite, auto subscribe and topic metrics over HTTP, as clients feel them, and after a restart."""

from pathlib import Path
from typing import Any

import pytest
from wardenmq.broker.topic_metrics import MAX_TOPICS, Meter, TopicMetrics

from ..engine.conditions import until
from .callers import V5, Api
from .whole_server import whole_server

REWRITE = f"{V5}/mqtt/topic_rewrite"
AUTO = f"{V5}/mqtt/auto_subscribe"
METRICS = f"{V5}/mqtt/topic_metrics"
RULE: dict[str, Any] = {"action": "all", "source_topic": "old/#", "dest_topic": "new/$1", "re": "^old/(.+)$"}


async def test_rules_are_in_force_at_once_and_gone_with_the_list(api: Api) -> None:
    subscriber = await api.mqtt.connected("subscriber")
    publisher = await api.mqtt.connected("publisher")
    await subscriber.subscribe(("#", 1))
    await publisher.publish("old/1", b"before", 1)
    reply = await api.call("PUT", REWRITE, [RULE])
    assert (reply.status, reply.json) == (200, [RULE])
    await publisher.publish("old/1", b"while", 1)
    assert (await api.call("GET", REWRITE)).json == [RULE]
    assert (await api.call("PUT", REWRITE, [])).json == []
    await publisher.publish("old/1", b"after", 1)
    got = [await subscriber.message() for _ in range(3)]
    assert [(message.topic, message.payload) for message in got] == [
        ("old/1", b"before"),
        ("new/1", b"while"),
        ("old/1", b"after"),
    ]


async def test_lists_show_the_rewritten_subscription(api: Api) -> None:
    await api.call("PUT", REWRITE, [RULE])
    client = await api.mqtt.connected("one")
    await client.subscribe(("old/+", 1))
    reply = await api.call("GET", f"{V5}/clients/one/subscriptions")
    assert [row["topic"] for row in reply.json] == ["new/+"]


@pytest.mark.parametrize(
    "change",
    [
        {"re": "("},
        {"re": ""},
        {"source_topic": "a#"},
        {"source_topic": ""},
        {"dest_topic": "new/#"},
        {"dest_topic": "new/+", "action": "publish"},
        {"action": "receive"},
        {"unknown": 1},
        {"re": "(a{99}){99}{99}"},
    ],
)
async def test_what_is_no_rule_changes_nothing(api: Api, change: dict[str, Any]) -> None:
    await api.call("PUT", REWRITE, [RULE])
    reply = await api.call("PUT", REWRITE, [RULE, RULE | change])
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.call("GET", REWRITE)).json == [RULE]


async def test_a_subscription_may_be_led_to_a_wildcard(api: Api) -> None:
    rule = RULE | {"action": "subscribe", "dest_topic": "new/+"}
    assert (await api.call("PUT", REWRITE, [rule])).json == [rule]


async def test_nineteen_rules_are_the_most(api: Api) -> None:
    assert (await api.call("PUT", REWRITE, [RULE] * 19)).status == 200
    reply = await api.call("PUT", REWRITE, [RULE] * 20)
    assert (reply.status, reply.code, reply.json["message"]) == (413, "EXCEED_LIMIT", "Max rewrite rules count is 20")


async def test_an_expression_that_would_take_for_ever_holds_nobody(api: Api) -> None:
    await api.call("PUT", REWRITE, [RULE | {"source_topic": "#", "re": "^(a+)+$"}])
    client = await api.mqtt.connected("one")
    await client.subscribe(("#", 0))
    topic = "a" * 60 + "b"
    await client.publish(topic, b"x", 0)
    assert (await client.message()).topic == topic


async def test_rights_are_asked_about_the_topic_before_the_rewrite(tmp_path: Path) -> None:
    rules = "/authorization/sources/built_in_database/rules/users/mqtt"
    allowed = [{"topic": "old/#", "permission": "allow", "action": "all"}]
    async with whole_server(tmp_path / "data") as server:
        assert (await server.call("PUT", rules, {"username": "mqtt", "rules": allowed})).status == 204
        assert (await server.call("PUT", "/mqtt/topic_rewrite", [RULE])).status == 200
        client = await server.client("one", version=5)
        assert await client.subscribe(("old/#", 1)) == [1]
        await client.publish("old/1", b"x", 1)
        assert (await client.message()).topic == "new/1"
        # A change of rules has subscriptions looked through: the one that was asked for is allowed still.
        allowed.append({"topic": "other", "permission": "allow", "action": "all"})
        assert (await server.call("PUT", rules, {"username": "mqtt", "rules": allowed})).status == 204
        await client.publish("old/2", b"y", 1)
        assert (await client.message()).topic == "new/2"


async def test_auto_subscriptions_come_with_the_connection(api: Api) -> None:
    wanted = [{"topic": "to/${clientid}", "qos": 1, "rh": 0, "rap": 1, "nl": 0}]
    reply = await api.call("PUT", AUTO, [{"topic": "to/${clientid}", "qos": 1, "rap": 1}])
    assert (reply.status, reply.json) == (200, wanted)
    assert (await api.call("GET", AUTO)).json == wanted
    client = await api.mqtt.connected("one")
    await client.ping()
    rows = (await api.call("GET", f"{V5}/clients/one/subscriptions")).json
    assert [(row["topic"], row["qos"], row["rap"]) for row in rows] == [("to/one", 1, 1)]
    await (await api.mqtt.connected("two")).publish("to/one", b"x", 1)
    assert (await client.message()).payload == b"x"


async def test_auto_subscriptions_have_bounds(api: Api) -> None:
    assert (await api.call("PUT", AUTO, [{"topic": f"t/{n}"} for n in range(20)])).status == 200
    reply = await api.call("PUT", AUTO, [{"topic": "t"}] * 21)
    assert (reply.status, reply.code) == (409, "EXCEED_LIMIT")
    for wrong in ({"topic": ""}, {"topic": "a#"}, {"topic": "t", "qos": 3}, {"topic": "t", "nl": 2}, {}):
        assert (await api.call("PUT", AUTO, [wrong])).code == "BAD_REQUEST"


async def test_a_shared_auto_subscription(api: Api) -> None:
    await api.call("PUT", AUTO, [{"topic": "$share/g/t"}])
    client = await api.mqtt.connected("one")
    await (await api.mqtt.connected("other", clean=True)).publish("t", b"x", 0)
    await client.ping()
    rows = (await api.call("GET", f"{V5}/subscriptions?share_group=g")).rows
    assert sorted(row["clientid"] for row in rows) == ["one", "other"]


async def test_messages_on_a_topic_are_counted(api: Api) -> None:
    reply = await api.call("POST", METRICS, {"topic": "t/1"})
    assert (reply.status, reply.json["topic"]) == (200, "t/1")
    assert not any(reply.json["metrics"].values())
    publisher, subscriber = await api.mqtt.pair(("t/1", 2))
    for qos in range(3):
        await publisher.publish("t/1", b"x", qos)
    await publisher.publish("t/2", b"x", 0)
    await subscriber.messages(3)
    await subscriber.disconnect()
    await until(lambda: api.mqtt.broker.registry.get("subscriber") is None)
    await publisher.publish("t/1", b"x", 0)
    row = (await api.call("GET", f"{METRICS}/t%2F1")).json
    counts = {name.removesuffix(".count"): number for name, number in row["metrics"].items() if name.endswith("count")}
    assert counts == {
        "messages.in": 4,
        "messages.out": 3,
        "messages.qos0.in": 2,
        "messages.qos0.out": 1,
        "messages.qos1.in": 1,
        "messages.qos1.out": 1,
        "messages.qos2.in": 1,
        "messages.qos2.out": 1,
        "messages.dropped": 1,
    }
    assert (await api.call("GET", METRICS)).json[0]["metrics"]["messages.in.count"] == 4


async def test_counting_begins_anew(api: Api) -> None:
    for topic in ("a", "b"):
        await api.call("POST", METRICS, {"topic": topic})
        api.mqtt.broker.publish(topic, b"x")
    one = (await api.call("PUT", METRICS, {"action": "reset", "topic": "a"})).json
    assert (one["topic"], one["metrics"]["messages.in.count"], "reset_time" in one) == ("a", 0, True)
    rows = {row["topic"]: row for row in (await api.call("GET", METRICS)).json}
    assert rows["b"]["metrics"]["messages.in.count"] == 1
    assert "reset_time" not in rows["b"]
    both = (await api.call("PUT", METRICS, {"action": "reset"})).json
    assert [row["metrics"]["messages.in.count"] for row in both] == [0, 0]


async def test_topics_have_bounds(api: Api) -> None:
    for number in range(MAX_TOPICS):
        reply = await api.call("POST", METRICS, {"topic": f"t/{number}"})
        assert reply.status == 200
    reply = await api.call("POST", METRICS, {"topic": "one/more"})
    assert (reply.status, reply.code) == (409, "EXCEED_LIMIT")
    assert (await api.call("POST", METRICS, {"topic": "t/1"})).code == "BAD_TOPIC"
    assert (await api.call("DELETE", f"{METRICS}/t%2F1")).status == 204
    assert (await api.call("POST", METRICS, {"topic": "t/+"})).code == "BAD_TOPIC"
    assert (await api.call("POST", METRICS, {"topic": ""})).code == "BAD_REQUEST"
    assert (await api.call("PUT", METRICS, {"action": "forget"})).code == "BAD_REQUEST"
    assert (await api.call("PUT", METRICS, {"action": "reset", "topic": "t/1"})).code == "TOPIC_NOT_FOUND"
    assert (await api.call("GET", f"{METRICS}/t%2F1")).code == "TOPIC_NOT_FOUND"
    assert (await api.call("DELETE", f"{METRICS}/t%2F1")).code == "TOPIC_NOT_FOUND"


def test_a_rate_is_that_of_the_last_whole_seconds() -> None:
    meter = Meter()
    for second in range(10, 14):
        meter.add(10, second)
    assert meter.rate(13) == 30 / 5
    assert meter.rate(14) == 40 / 5
    assert meter.rate(16) == 30 / 5
    assert meter.rate(30) == 0.0
    assert meter.count == 40


async def test_rates_are_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = api.mqtt.broker.topic_metrics
    assert isinstance(metrics, TopicMetrics)
    seconds = [100.0]
    monkeypatch.setattr(metrics, "_steady_clock", lambda: seconds[0])
    await api.call("POST", METRICS, {"topic": "t"})
    for _ in range(8):
        api.mqtt.broker.publish("t", b"x")
    seconds[0] = 101.0
    row = (await api.call("GET", f"{METRICS}/t")).json
    assert (row["metrics"]["messages.in.rate"], row["metrics"]["messages.dropped.rate"]) == (1.6, 1.6)


async def test_all_of_it_is_there_again_after_a_restart(tmp_path: Path) -> None:
    async with whole_server(tmp_path / "data") as server:
        assert (await server.call("PUT", "/mqtt/topic_rewrite", [RULE])).status == 200
        assert (await server.call("PUT", "/mqtt/auto_subscribe", [{"topic": "new/#", "qos": 1}])).status == 200
        assert (await server.call("POST", "/mqtt/topic_metrics", {"topic": "new/1"})).status == 200
        await server.client("kept", clean=False)
    async with whole_server(tmp_path / "data") as server:
        session = server.broker.registry.get("kept")
        assert session is not None
        assert session.subscriptions["new/#"].asked is None, "it was the server that entered it"
        client = await server.client("one")
        await client.publish("old/1", b"x", 1)
        got = await client.message()
        assert (got.topic, got.payload) == ("new/1", b"x")
        rows = (await server.call("GET", "/mqtt/topic_metrics")).json
        assert [(row["topic"], row["metrics"]["messages.in.count"]) for row in rows] == [("new/1", 1)]
        assert (await server.call("PUT", "/mqtt/topic_rewrite", [])).status == 200
    async with whole_server(tmp_path / "data") as server:
        assert (await server.call("GET", "/mqtt/topic_rewrite")).json == []
        assert [row["topic"] for row in (await server.call("GET", "/mqtt/auto_subscribe")).json] == ["new/#"]
