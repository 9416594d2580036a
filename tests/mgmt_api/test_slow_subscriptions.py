"""`/slow_subscriptions`: which deliveries take long, by each way to measure, and what becomes of the rows."""

from pathlib import Path
from time import time
from typing import Any

import pytest
from wardenmq.broker.slow_subscriptions import SlowSettings, SlowSubscriptions

from ..clocks import show_to_the_broker
from ..engine import wire
from ..engine.conditions import until
from .callers import V5, Api
from .whole_server import whole_server

NODE = "wardenmq@127.0.0.1"
SETTINGS = f"{V5}/slow_subscriptions/settings"
DEFAULT = {"enable": False, "threshold": "500ms", "expire_interval": "300s", "top_k_num": 10, "stats_type": "whole"}


async def switch_on(api: Api, **options: Any) -> None:
    reply = await api.call("PUT", SETTINGS, {"enable": True, **options})
    assert reply.status == 200, reply.body
    assert reply.json == {**DEFAULT, "enable": True, **options}


async def rows(api: Api, **query: int) -> list[dict[str, Any]]:
    reply = await api.get("/slow_subscriptions", **query)
    assert reply.status == 200
    assert set(reply.json) == {"data"}
    return reply.json["data"]


def slow(api: Api) -> SlowSubscriptions:
    return api.mqtt.broker.slow_subscriptions


async def test_off_nothing_is_measured(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    assert (await api.get("/slow_subscriptions/settings")).json == DEFAULT
    publisher, subscriber = await api.mqtt.pair(("t", 1))
    await publisher.publish("t", b"x", 1)
    got = await subscriber.expect(wire.PUBLISH)
    clock.advance(60)
    await subscriber.complete(got)
    await subscriber.ping()
    assert await rows(api) == []
    assert api.mqtt.broker._engine.delivery_watch is None  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("qos", [1, 2])
async def test_the_time_to_the_acknowledgement(api: Api, monkeypatch: pytest.MonkeyPatch, qos: int) -> None:
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api)
    publisher, subscriber = await api.mqtt.pair(("t/#", qos))
    await publisher.publish("t/quick", b"x", qos)
    await subscriber.message()
    await publisher.publish("t/slow", b"x", qos)
    got = await subscriber.expect(wire.PUBLISH)
    clock.advance(2)
    await subscriber.complete(got)
    await subscriber.ping()
    [row] = await rows(api)
    updated = row.pop("last_update_time")
    assert abs(updated - clock() * 1_000) < 60_000
    assert 2_000 <= row.pop("timespan") < 60_000
    assert row == {"clientid": "subscriber", "node": NODE, "topic": "t/slow"}


async def test_a_run_of_messages(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that are sent and acknowledged together are measured, too."""
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api, threshold="100s")
    publisher, subscriber = await api.mqtt.pair(("t", 1))
    publisher.send(*[wire.publish("t", b"x", 1, number + 1) for number in range(10)])
    got = [await subscriber.expect(wire.PUBLISH) for _ in range(10)]
    clock.advance(200)
    subscriber.send(*[wire.acknowledge(wire.PUBACK, packet.packet_id) for packet in got])
    await subscriber.ping()
    [row] = await rows(api)
    assert row["timespan"] >= 200_000


async def test_qos2_counts_to_its_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api, threshold="100s")
    publisher, subscriber = await api.mqtt.pair(("t", 2))
    await publisher.publish("t", b"x", 2)
    got = await subscriber.expect(wire.PUBLISH)
    subscriber.send(wire.acknowledge(wire.PUBREC, got.packet_id))
    await subscriber.expect(wire.PUBREL)
    assert await rows(api) == []
    clock.advance(200)
    subscriber.send(wire.acknowledge(wire.PUBCOMP, got.packet_id))
    await subscriber.ping()
    assert [row["topic"] for row in await rows(api)] == ["t"]


async def _wait_in_the_queue(api: Api, clock: Any) -> tuple[wire.Client, wire.Client]:
    """Have a message wait 100 s for room in the window, and 1,000 s for its acknowledgement."""
    publisher, subscriber = await api.mqtt.pair(("t/#", 1))
    session = api.mqtt.broker.registry.get("subscriber")
    assert session is not None
    session.max_inflight = 1
    await publisher.publish("t/first", b"x", 1)
    await publisher.publish("t/second", b"x", 1)
    first = await subscriber.expect(wire.PUBLISH)
    clock.advance(100)
    await subscriber.complete(first)
    second = await subscriber.expect(wire.PUBLISH)
    clock.advance(1_000)
    await subscriber.complete(second)
    await subscriber.ping()
    return publisher, subscriber


@pytest.mark.parametrize(
    ("stats_type", "expected"),
    [
        ("whole", {"t/first": 100, "t/second": 1_100}),
        ("internal", {"t/second": 100}),
        ("response", {"t/first": 100, "t/second": 1_000}),
    ],
)
async def test_what_is_measured(
    api: Api, monkeypatch: pytest.MonkeyPatch, stats_type: str, expected: dict[str, int]
) -> None:
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api, threshold="50s", expire_interval="2h", stats_type=stats_type)
    await _wait_in_the_queue(api, clock)
    found = {row["topic"]: row["timespan"] / 1_000 for row in await rows(api)}
    assert set(found) == set(expected)
    for topic, seconds in expected.items():
        assert seconds <= found[topic] < seconds + 45


async def test_clients_that_were_there_before_are_timed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    publisher, subscriber = await api.mqtt.pair(("t", 1))
    await switch_on(api, stats_type="response", threshold="50s")
    watches = slow(api)._watches  # pyright: ignore[reportPrivateUsage]
    await until(lambda: len(watches) == 2)
    await publisher.publish("t", b"x", 1)
    got = await subscriber.expect(wire.PUBLISH)
    clock.advance(60)
    await subscriber.complete(got)
    await subscriber.ping()
    assert len(await rows(api)) == 1
    publisher.abort()
    await until(lambda: len(watches) == 1)
    reply = await api.call("PUT", SETTINGS, {})
    assert reply.json == DEFAULT
    assert await rows(api) == [], "switched off, it forgets"
    assert len(watches) == 0


async def test_what_is_older_than_the_session_is_not_slow(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retained message may be years old."""
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api)
    publisher = await api.mqtt.connected("publisher")
    await publisher.publish("t", b"x", 1, retain=True)
    clock.advance(3_600)
    subscriber = await api.mqtt.connected("subscriber")
    await subscriber.subscribe(("t", 1))
    await subscriber.message()
    await subscriber.ping()
    assert await rows(api) == []


async def test_the_absent_are_slow(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api, threshold="1000s")
    publisher = await api.mqtt.connected("publisher")
    away = await api.mqtt.connected("away", clean=False)
    await away.subscribe(("t", 1))
    await away.disconnect()
    await publisher.publish("t", b"x", 1)
    clock.advance(2_000)
    away = await api.mqtt.connected("away", clean=False)
    await away.message()
    await away.ping()
    [row] = await rows(api)
    assert row["clientid"] == "away"
    assert row["timespan"] >= 2_000_000


async def test_rows_in_their_order_and_their_pages(api: Api) -> None:
    await switch_on(api, top_k_num=3)
    now = time()
    for number, seconds in enumerate((2.0, 5.0, 1.0, 4.0, 0.4, 3.0)):
        slow(api).measured(f"c{number}", "t", seconds, now)
    assert [row["timespan"] for row in await rows(api)] == [5_000, 4_000, 3_000]
    assert [row["clientid"] for row in await rows(api, page=2, limit=2)] == ["c5"]
    slow(api).measured("c1", "t", 0.6, now)
    assert [row["timespan"] for row in await rows(api)] == [4_000, 3_000, 600], "the newest of each counts"
    slow(api).measured("c1", "t", 0.1, now)
    assert len(await rows(api)) == 3, "what was quick changes nothing"
    await switch_on(api, top_k_num=1)
    assert [row["timespan"] for row in await rows(api)] == [4_000]


async def test_rows_expire_and_are_cleared(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch)
    await switch_on(api, expire_interval="2h")
    slow(api).measured("c", "old", 1, clock())
    clock.advance(3_600)
    slow(api).measured("c", "new", 1, clock())
    assert len(await rows(api)) == 2
    clock.advance(5_400)
    assert [row["topic"] for row in await rows(api)] == ["new"]
    assert (await api.call("DELETE", f"{V5}/slow_subscriptions")).status == 204
    assert await rows(api) == []
    slow(api).measured("c", "again", 1, clock())
    assert len(await rows(api)) == 1
    await switch_on(api, stats_type="internal")
    assert await rows(api) == [], "measured otherwise, it begins anew"


@pytest.mark.parametrize(
    "body",
    [
        {"enable": "perhaps"},
        {"threshold": "soon"},
        {"threshold": 0},
        {"threshold": -5},
        {"expire_interval": "0s"},
        {"top_k_num": 0},
        {"top_k_num": 1_001},
        {"stats_type": "none"},
        {"unknown": 1},
    ],
)
async def test_what_is_refused(api: Api, body: dict[str, Any]) -> None:
    reply = await api.call("PUT", SETTINGS, body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.get("/slow_subscriptions/settings")).json == DEFAULT
    assert slow(api).settings == SlowSettings()


async def test_who_may_look_and_who_may_change(api: Api) -> None:
    assert (await api.call("GET", f"{V5}/slow_subscriptions", role="viewer")).status == 200
    for method, path in (("DELETE", ""), ("PUT", "/settings")):
        assert (await api.call(method, f"{V5}/slow_subscriptions{path}", role="viewer")).status == 403


async def test_settings_survive(tmp_path: Path) -> None:
    wanted = {**DEFAULT, "enable": True, "threshold": "1m30s", "top_k_num": 7, "stats_type": "response"}
    async with whole_server(tmp_path) as server:
        assert (await server.call("PUT", "/slow_subscriptions/settings", wanted)).status == 200
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/slow_subscriptions/settings")).json == wanted
        broker = server.server._broker  # pyright: ignore[reportPrivateUsage]
        assert broker is not None
        assert broker.slow_subscriptions.settings == SlowSettings(True, 90.0, 300.0, 7, "response")
