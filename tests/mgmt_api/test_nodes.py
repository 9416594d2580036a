import pytest
from wardenmq.mgmt_api.emqx.node.metrics import METRICS, STATS

from ..engine.conditions import until
from ..engine.wire5 import publish
from .callers import V5, Api

NODE = "wardenmq@127.0.0.1"
NOT_COUNTED = {
    # of features that this broker does not have
    *(name for name in METRICS if name.startswith(("overload_protection.", "messages.validation_"))),
    *(name for name in METRICS if name.startswith("messages.transformation_")),
    "messages.forward",
    "messages.persisted",
    "messages.dropped.await_pubrel_timeout",
    "delivery.dropped.no_local",
    # packets that end the connection, or drops that have a counter of their own
    "packets.publish.inuse",
    "packets.publish.error",
    "packets.puback.inuse",
    "packets.pubrec.inuse",
    "packets.pubcomp.inuse",
    "packets.subscribe.error",
    "packets.unsubscribe.error",
}


@pytest.mark.parametrize("path", ["/status", f"{V5}/status"])
async def test_status(api: Api, path: str) -> None:
    for query in ("", "?format=text", "?format=yaml"):
        text = await api.call("GET", path + query, role=None)
        assert (text.status, text.headers["Content-Type"]) == (200, "text/plain")
        assert text.body.decode() == f"Node {NODE} is started\nemqx is running"
        assert text.headers["Retry-After"] == "15"
    answer = await api.call("GET", f"{path}?format=json", role=None)
    assert answer.json == {
        "node_name": NODE,
        "cluster": "wardenmq",
        "rel_vsn": api.state.version,
        "broker_status": "started",
        "app_status": "running",
    }
    assert answer.headers["Retry-After"] == "15"


@pytest.mark.parametrize("query", ["", "?format", "?format=text", "?format=x", "?format=true", "?other"])
async def test_status_is_text_unless_json_is_wanted(api: Api, query: str) -> None:
    reply = await api.call("GET", f"/status{query}", role=None)
    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")


async def test_status_of_a_broker_that_does_not_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.mqtt.broker.transitions, "is_started", lambda: False)
    text = await api.call("GET", "/status", role=None)
    assert (text.status, text.body.decode()) == (503, f"Node {NODE} is stopped\nemqx is not_running")
    answer = await api.call("GET", "/status?format=json", role=None)
    assert (answer.status, answer.json["broker_status"], answer.json["app_status"]) == (503, "stopped", "not_running")
    assert (await api.get("/nodes")).json[0]["node_status"] == "stopped"


async def test_nodes(api: Api) -> None:
    client = await api.mqtt.connected("gone", clean=False)
    await client.disconnect()
    await api.mqtt.connected("here")
    [node] = (await api.get("/nodes")).json
    assert (node["node"], node["node_status"], node["edition"], node["role"]) == (NODE, "running", "Opensource", "core")
    assert (node["connections"], node["live_connections"], node["cluster_sessions"]) == (2, 1, 2)
    assert type(node["uptime"]) is int
    assert 0 <= node["uptime"] < 600_000
    assert node["max_fds"] > 0
    assert node["memory_total"][-1] in "KMGT"
    again = (await api.get(f"/nodes/{NODE}")).json
    assert set(again) == set(node)
    assert again["version"] == node["version"] == api.state.version


@pytest.mark.parametrize("path", ["", "/metrics", "/stats"])
async def test_an_unknown_node(api: Api, path: str) -> None:
    reply = await api.get(f"/nodes/other@127.0.0.1{path}")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert reply.json["message"] == "Node not found: other@127.0.0.1"


async def test_metrics(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 1))
    await client.publish("t", b"x", 1)
    await client.message()
    await client.ping()
    [of_node] = (await api.get("/metrics")).json
    assert set(of_node) == {*METRICS, "node"}
    assert of_node["node"] == NODE
    total = (await api.get("/metrics", aggregate="true")).json
    assert set(total) == set(METRICS)
    assert total == (await api.get(f"/nodes/{NODE}/metrics")).json
    expected = {
        "packets.connect.received": 1,
        "packets.subscribe.received": 1,
        "packets.publish.received": 1,
        "packets.publish.sent": 1,
        "packets.puback.sent": 1,
        "packets.pingreq.received": 1,
        "messages.qos1.received": 1,
        "messages.qos1.sent": 1,
        "session.created": 1,
        "client.connected": 1,
    }
    assert {name: total[name] for name in expected} == expected
    assert total["bytes.received"] > 0


async def test_metrics_of_one_node(api: Api) -> None:
    assert [row["node"] for row in (await api.get("/metrics", node=NODE)).json] == [NODE]
    assert (await api.get("/metrics", node="other@127.0.0.1")).json == []


async def test_the_engine_counts_all_that_it_can(api: Api) -> None:
    assert set(METRICS) - set(api.mqtt.broker.metrics()) <= NOT_COUNTED


async def test_qos_2_messages_that_are_too_many_are_counted(api: Api) -> None:
    client = await api.connected5("one")
    most = api.mqtt.broker.settings.max_awaiting_rel
    client.send(*[publish("t", b"", 2, number, properties=()) for number in range(1, most + 2)])
    await until(lambda: api.mqtt.broker.registry.get("one") is None)
    assert (await api.get("/metrics", aggregate="true")).json["packets.publish.dropped"] == 1


async def test_stats(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("t", 1))
    await client.publish("kept", b"x", retain=True)
    [of_node] = (await api.get("/stats")).json
    assert set(of_node) == {*STATS, "node"}
    total = (await api.get("/stats", aggregate="true")).json
    assert set(total) == set(STATS)
    assert total == (await api.get(f"/nodes/{NODE}/stats")).json
    expected = ("sessions.count", "live_connections.count", "topics.count", "subscriptions.count", "retained.count")
    assert {name: total[name] for name in expected} == dict.fromkeys(expected, 1)
    await client.unsubscribe("t")
    total = (await api.get("/stats", aggregate="true")).json
    assert (total["topics.count"], total["topics.max"]) == (0, 1)
