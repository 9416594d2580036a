"""`/monitor` and `/monitor_current`: what is sampled, how it is shown, what survives."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from wardenmq.mgmt_api.application import create_application
from wardenmq.mgmt_api.emqx.node import monitor
from wardenmq.mgmt_api.emqx.node.monitoring import MONITORING
from wardenmq.mgmt_api.emqx.node.sampling import Sampler
from wardenmq.mgmt_api.state import STATE
from wardenmq.store.errors import DatabaseUnavailable
from wardenmq.store.history import HistoryStore
from wardenmq.store.history.monitor_samples import COUNTS, GAUGES

from .callers import V5, Api
from .emqx_document import FILE as EMQX_DOCUMENT

NODE = "wardenmq@127.0.0.1"
NOW = 1_900_000_200


class Steady:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    """Have the API look at the series as of `NOW`, and give the clock by which rates are worked out."""
    monkeypatch.setattr(monitor, "time", lambda: NOW + 0.5)
    return Steady()


@pytest.fixture
async def sampler(api: Api, steady: Steady) -> Sampler:
    """Give a sampler that takes samples when the test wants, in place of the one that runs by itself."""
    monitoring = api.state.part(MONITORING)
    await monitoring.stop_sampling()
    monitoring.take_over(Sampler(api.mqtt.broker, monitoring.samples, steady_clock=steady))
    return monitoring.sampler


async def test_nothing_was_sampled_yet(api: Api, sampler: Sampler) -> None:
    assert (await api.get("/monitor")).json == []
    assert (await api.get("/monitor", latest=10)).json == []


async def test_samples_of_what_happened(api: Api, sampler: Sampler) -> None:
    publisher, subscriber = await api.mqtt.pair(("t/+", 0), ("other", 0))
    for _ in range(3):
        await publisher.publish("t/1", b"x")
    await publisher.publish("nobody/wants", b"x")
    await publisher.ping()
    assert await subscriber.messages(3) == [b"x"] * 3
    await sampler.take(NOW - 10)
    await publisher.publish("t/1", b"x")
    await publisher.ping()
    assert await subscriber.messages(1) == [b"x"]
    await sampler.take(NOW)
    first, second = (await api.get("/monitor")).json
    assert all(type(value) is int for row in (first, second) for value in row.values())
    assert first == {
        **dict.fromkeys((*GAUGES, *COUNTS), 0),
        "time_stamp": (NOW - 10) * 1_000,
        "connections": 2,
        "live_connections": 2,
        "topics": 2,
        "subscriptions": 2,
        "received": 4,
        "sent": 3,
        "dropped": 1,
    }
    assert second == {**first, "time_stamp": NOW * 1_000, "received": 1, "sent": 1, "dropped": 0}


async def test_a_session_that_is_away_is_a_connection_that_is_not_live(api: Api, sampler: Sampler) -> None:
    away = await api.mqtt.connected("away", clean=False)
    await away.disconnect()
    await api.mqtt.connected("here")
    await sampler.take(NOW)
    (row,) = (await api.get("/monitor")).json
    assert (row["connections"], row["live_connections"]) == (2, 1)
    # nothing outlives the process without a journal
    assert (row["disconnected_durable_sessions"], row["subscriptions_durable"]) == (0, 0)


async def test_holes_are_filled(api: Api, sampler: Sampler) -> None:
    await api.mqtt.connected("one")
    await sampler.take(NOW - 40)
    await sampler.take(NOW)
    rows = (await api.get("/monitor")).json
    assert [row["time_stamp"] for row in rows] == [(NOW - back) * 1_000 for back in (40, 30, 20, 10, 0)]
    assert [row["connections"] for row in rows] == [1, 0, 0, 0, 1]


@pytest.mark.parametrize(("latest", "count"), [(1, 1), (9, 1), (10, 2), (25, 3), (10**12, 4)])
async def test_how_far_back(api: Api, sampler: Sampler, latest: int, count: int) -> None:
    for back in (30, 20, 10, 0):
        await sampler.take(NOW - back)
    assert len((await api.get("/monitor", latest=latest)).json) == count
    assert len((await api.get(f"/monitor/nodes/{NODE}", latest=latest)).json) == count


@pytest.mark.parametrize("latest", ["0", "-1", "soon", "1.5", ""])
async def test_latest_must_be_a_number_of_seconds(api: Api, latest: str) -> None:
    for path in ("/monitor", f"/monitor/nodes/{NODE}"):
        reply = await api.get(path, latest=latest)
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("path", ["/monitor/nodes/other", "/monitor_current/nodes/other"])
async def test_another_node(api: Api, path: str) -> None:
    reply = await api.get(path)
    assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_rates_are_whole_numbers_of_the_last_interval(api: Api, sampler: Sampler, steady: Steady) -> None:
    publisher, subscriber = await api.mqtt.pair(("t", 0))
    before = (await api.get("/monitor_current")).json
    assert all(type(value) is int for value in before.values())
    assert (before["received_msg_rate"], before["connections"], before["live_connections"]) == (0, 2, 2)
    for _ in range(25):
        await publisher.publish("t", b"x")
    await publisher.publish("nobody/wants", b"x")
    await publisher.ping()
    await subscriber.messages(25)
    steady.now += 10
    await sampler.take(NOW)
    current = (await api.get("/monitor_current")).json
    assert (current["received_msg_rate"], current["sent_msg_rate"], current["dropped_msg_rate"]) == (3, 3, 0)
    steady.now += 10
    await sampler.take(NOW + 10)
    assert (await api.get("/monitor_current")).json["received_msg_rate"] == 0


async def test_sizes_of_now(api: Api, sampler: Sampler) -> None:
    """They are not those of the last sample."""
    client = await api.mqtt.connected("one")
    await client.subscribe(("t/1", 0), ("$share/g/t/2", 0))
    await client.publish("kept", b"x", retain=True)
    await client.ping()
    current = (await api.get(f"/monitor_current/nodes/{NODE}")).json
    assert current.pop("node_uptime") >= 0
    assert current == (await api.get("/monitor_current")).json
    assert (current["topics"], current["subscriptions"], current["shared_subscriptions"]) == (2, 2, 1)
    assert (current["retained_msg_count"], current["cluster_sessions"]) == (1, 1)


async def test_what_is_retained_under_sys_is_no_retained_message(api: Api) -> None:
    broker = api.mqtt.broker
    broker.sys_topics.keep_house(0.0)
    retained = {row["topic"] for row in (await api.get("/topics")).rows}
    assert retained == set()
    assert (await api.get("/monitor_current")).json["retained_msg_count"] == 0
    assert (await api.get("/stats", aggregate="true")).json["retained.count"] == 0


async def test_forgetting_the_samples(api: Api, sampler: Sampler) -> None:
    await sampler.take(NOW)
    assert (await api.call("DELETE", f"{V5}/monitor", role="viewer")).status == 403
    assert len((await api.get("/monitor")).json) == 1
    reply = await api.call("DELETE", f"{V5}/monitor")
    assert (reply.status, reply.body) == (204, b"")
    assert (await api.get("/monitor")).json == []


async def test_who_may_look(api: Api) -> None:
    for path in ("/monitor", "/monitor_current"):
        for role, status in (("viewer", 200), ("publisher", 403), (None, 401)):
            assert (await api.call("GET", V5 + path, role=role)).status == status


async def test_what_cannot_be_stored_is_in_the_next_sample(
    api: Api, sampler: Sampler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = await api.mqtt.connected("one")
    samples = api.state.part(MONITORING).samples
    add = samples.add

    async def fail(time: int, values: object) -> None:
        raise DatabaseUnavailable("disk full")

    monkeypatch.setattr(samples, "add", fail)
    for at in (NOW - 20, NOW - 10):
        await client.publish("nobody/wants", b"x")
        await client.ping()
        await sampler.take(at)
    monkeypatch.setattr(samples, "add", add)
    await sampler.take(NOW)
    (row,) = (await api.get("/monitor")).json
    assert (row["time_stamp"], row["received"]) == (NOW * 1_000, 2)
    said = [record.getMessage() for record in caplog.records if "not stored" in record.getMessage()]
    assert said == ["Samples of how busy the broker is are not stored: disk full"]


async def test_a_long_series_is_thinned_out(api: Api, sampler: Sampler) -> None:
    samples = api.state.part(MONITORING).samples
    for back in range(0, 7_200, 10):
        values = {**dict.fromkeys(GAUGES, back), **dict.fromkeys(COUNTS, 1)}
        await samples.add(NOW - back, values)
    rows = (await api.get("/monitor")).json
    first = rows[0]["time_stamp"]
    assert [row["time_stamp"] for row in rows] == [first + 60_000 * place for place in range(len(rows))]
    assert {row["received"] for row in rows[1:-1]} == {6}
    assert sum(row["received"] for row in rows) == 720
    assert len((await api.get("/monitor", latest=600)).json) == 61


async def test_a_restart_keeps_the_series(api: Api, sampler: Sampler, tmp_path: Path) -> None:
    """Another application on the same file goes on where the first one stopped."""
    for round_, at in enumerate((NOW - 10, NOW), 1):
        history = await HistoryStore.open(tmp_path / "history.db")
        application = create_application(broker=api.mqtt.broker, directory=api.directory, history=history)
        async with TestClient(TestServer(application)) as http:
            await application[STATE].part(MONITORING).sampler.take(at)
            async with http.get(f"{V5}/monitor", headers=api.keys["viewer"]) as response:
                assert len(await response.json()) == round_
        await history.close()


async def test_the_sampler_runs_by_itself_at_multiples_of_ten(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sleeps until the next multiple, and a little too early or too late is the same sample."""
    slept: list[float] = []
    taken: list[int] = []
    moments = iter([NOW + 3.0, NOW + 9.999, NOW + 10.2, NOW + 21.0, NOW + 21.0])

    class Ended(Exception):
        pass

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 2:
            raise Ended

    async def take(at: int) -> None:
        taken.append(at)

    nowhere = api.state.part(MONITORING).samples
    sampler = Sampler(api.mqtt.broker, nowhere, clock=lambda: next(moments), sleep=sleep)
    monkeypatch.setattr(sampler, "take", take)
    with pytest.raises(Ended):
        await sampler.run()
    assert taken == [NOW + 10, NOW + 20]
    assert slept == [pytest.approx(7.0), pytest.approx(9.8), pytest.approx(9.0)]


@pytest.mark.parametrize(
    ("theirs", "ours", "more"),
    [
        ("sampler", monitor.Sample, set[str]()),
        ("sampler_current", monitor.Current, {"cluster_sessions"}),
        ("sampler_current_node", monitor.NodeCurrent, {"cluster_sessions"}),
    ],
)
def test_emqx_has_the_same_keys(theirs: str, ours: Any, more: set[str]) -> None:
    if not EMQX_DOCUMENT.exists():
        pytest.skip(f"EMQX's own document is not at {EMQX_DOCUMENT}, so there is nothing to compare with")
    schemas = json.loads(EMQX_DOCUMENT.read_text())["components"]["schemas"]
    properties = schemas[f"emqx_dashboard_monitor_api.{theirs}"]["properties"]
    assert set(ours.__annotations__) | set(monitor.Current.__annotations__ if more else ()) == set(properties) | more
    assert {value["type"] for value in properties.values()} == {"integer"}
