"""What the broker says under `$SYS/brokers`: words, payloads, when, and to whom it is worth a thought."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from wardenmq.broker.alarms import AlarmSettings
from wardenmq.broker.sys_topics import SysTopics, SysTopicsSettings

from .brokers import Clients
from .wire5 import Client5

NODE = "n@127.0.0.1"
P = f"$SYS/brokers/{NODE}"
METRICS = ("messages.qos1.received", "packets.connect.received", "bytes.sent")
STARTED = 1_900_000_000.0


@pytest.fixture
def topics(clients: Clients) -> SysTopics:
    topics = clients.broker.sys_topics
    topics.begin(NODE, "1.2.3", METRICS, clients.broker.started_at)
    # what is said by itself would be said at any time
    topics.configure(SysTopicsSettings(message_interval=None, heartbeat_interval=None))
    return topics


async def said(client: Any, count: int) -> dict[str, bytes]:
    """Give what the next messages say, by topic."""
    found: dict[str, bytes] = {}
    for _ in range(count):
        message = await client.message()
        assert message.qos == 0
        found[message.topic] = message.payload
    return found


async def test_heartbeat(clients: Clients, topics: SysTopics) -> None:
    client = await clients.connected("watcher")
    await client.subscribe(("$SYS/brokers", 1), (f"{P}/+", 1))
    topics.configure(SysTopicsSettings(message_interval=None, heartbeat_interval=30.0))
    topics.keep_house(100.0)
    found = await said(client, 3)
    assert set(found) == {"$SYS/brokers", f"{P}/uptime", f"{P}/datetime"}
    assert found["$SYS/brokers"] == NODE.encode()
    assert 0 <= int(found[f"{P}/uptime"]) < 3_600_000
    assert datetime.fromisoformat(found[f"{P}/datetime"].decode()).tzinfo is not None
    topics.keep_house(129.0)
    await client.nothing_came()
    topics.keep_house(130.0)
    assert len(await said(client, 3)) == 3


async def test_version_and_description_are_retained(clients: Clients, topics: SysTopics) -> None:
    topics.configure(SysTopicsSettings(message_interval=60.0, heartbeat_interval=30.0))
    topics.keep_house(100.0)
    late = await clients.connected("late")
    await late.subscribe(("$SYS/brokers", 0), (f"{P}/#", 0))
    got = [await late.message() for _ in range(3)]
    assert all(message.retain for message in got)
    assert {message.topic: message.payload for message in got} == {
        "$SYS/brokers": NODE.encode(),
        f"{P}/version": b"1.2.3",
        f"{P}/sysdescr": b"wardenmq",
    }
    assert clients.broker.stats()["retained.count"] == 0
    topics.end()
    later = await clients.connected("later")
    await later.subscribe(("$SYS/#", 0))
    await later.nothing_came()


async def test_numbers(clients: Clients, topics: SysTopics) -> None:
    client = await clients.connected("watcher")
    await client.subscribe((f"{P}/stats/#", 0), (f"{P}/metrics/#", 0))
    topics.configure(SysTopicsSettings(message_interval=60.0, heartbeat_interval=None))
    topics.keep_house(100.0)
    found = await said(client, 24 + len(METRICS))
    assert found[f"{P}/stats/connections/count"] == b"1"
    assert found[f"{P}/stats/subscriptions/shared/max"] == b"0"
    assert found[f"{P}/metrics/packets/connect/received"] == b"1"
    assert found[f"{P}/metrics/messages/qos1/received"] == b"0"
    assert int(found[f"{P}/metrics/bytes/sent"]) > 0


async def test_nothing_is_added_up_for_nobody(clients: Clients, topics: SysTopics) -> None:
    asked: list[str] = []

    async def measure() -> Mapping[str, int]:
        asked.append("metrics")
        return {}

    topics._measure = measure
    client = await clients.connected("watcher")
    await client.subscribe((f"{P}/stats/topics/count", 0))
    topics.configure(SysTopicsSettings(message_interval=60.0, heartbeat_interval=None))
    topics.keep_house(100.0)
    assert await said(client, 1) == {f"{P}/stats/topics/count": b"1"}
    await client.subscribe((f"{P}/metrics/bytes/sent", 0))
    topics.keep_house(200.0)
    assert set(await said(client, 2)) == {f"{P}/stats/topics/count", f"{P}/metrics/bytes/sent"}
    assert asked == ["metrics"]


async def test_a_wildcard_at_the_first_level_gets_none_of_it(clients: Clients, topics: SysTopics) -> None:
    client = await clients.connected("watcher")
    await client.subscribe(("#", 0), ("+/brokers", 0))
    topics.configure(SysTopicsSettings())
    topics.keep_house(100.0)
    await clients.connected("other")
    await client.nothing_came()


async def test_it_counts_as_nobody_s_message(clients: Clients, topics: SysTopics) -> None:
    before = clients.broker.metrics()
    topics.configure(SysTopicsSettings())
    topics.keep_house(100.0)
    after = clients.broker.metrics()
    for name in ("messages.publish", "messages.received", "messages.dropped"):
        assert after[name] == before[name]


async def test_a_client_that_comes_and_goes(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/clients/+/connected", 0), (f"{P}/clients/+/disconnected", 0))
    client = await clients.connected("one", username="alice", keep_alive=30)
    message = await watcher.message()
    assert message.topic == f"{P}/clients/one/connected"
    body = json.loads(message.payload)
    port = body.pop("sockport")
    assert 0 < port < 65_536
    assert body["connected_at"] <= body.pop("ts")
    assert isinstance(body.pop("connected_at"), int)
    assert body == {
        "clientid": "one",
        "username": "alice",
        "ipaddress": "127.0.0.1",
        "protocol": "mqtt",
        "proto_name": "MQTT",
        "proto_ver": 4,
        "keepalive": 30,
        "clean_start": True,
        "expiry_interval": 0,
    }
    await client.disconnect()
    message = await watcher.message()
    assert message.topic == f"{P}/clients/one/disconnected"
    body = json.loads(message.payload)
    assert (body["clientid"], body["username"], body["sockport"]) == ("one", "alice", port)
    assert body["reason"] == "normal"
    assert body["connected_at"] <= body["disconnected_at"] <= body["ts"]


async def test_why_a_connection_ended(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/clients/+/disconnected", 0))
    await clients.connected("kicked")
    await clients.broker.kick("kicked")
    await clients.connected("again", clean=False)
    await clients.connected("again", clean=False)
    reasons: dict[str, str] = {}
    for _ in range(2):
        body = json.loads((await watcher.message()).payload)
        reasons[body["clientid"]] = body["reason"]
    assert reasons == {"kicked": "kicked", "again": "takenover"}


async def test_subscriptions_are_told_where_that_is_wanted(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/clients/one/#", 0))
    client = await Client5.open(clients.broker.addresses["default"])
    await client.connect("one")
    assert (await watcher.message()).topic == f"{P}/clients/one/connected"
    await client.subscribe(("quiet", 1))
    topics.configure(
        SysTopicsSettings(None, None, client_connected=False, client_subscribed=True, client_unsubscribed=True)
    )
    for is_new in (True, False):
        await client.subscribe(("t/+", 1))
        message = await watcher.message()
        body = json.loads(message.payload)
        assert message.topic == f"{P}/clients/one/subscribed"
        assert (body["clientid"], body["topic"], body["protocol"]) == ("one", "t/+", "mqtt")
        assert body["subopts"] == {"qos": 1, "nl": 0, "rap": 0, "rh": 0, "is_new": is_new, "sub_props": {}}
    await client.unsubscribe("t/+")
    message = await watcher.message()
    body = json.loads(message.payload)
    assert (message.topic, body["topic"]) == (f"{P}/clients/one/unsubscribed", "t/+")
    client.abort()


async def test_events_that_are_switched_off(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/clients/#", 0))
    topics.configure(SysTopicsSettings(None, None, client_connected=False, client_disconnected=False))
    await (await clients.connected("one")).disconnect()
    await watcher.nothing_came()


@pytest.mark.parametrize(
    ("client_id", "topic"),
    [("a/b", "a/b"), ("a+b", "a%2Bb"), ("#", "%23"), ("ü", "ü")],
)
async def test_any_client_id_makes_a_topic(clients: Clients, topics: SysTopics, client_id: str, topic: str) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/clients/#", 0))
    await clients.connected(client_id)
    message = await watcher.message()
    assert message.topic == f"{P}/clients/{topic}/connected"
    assert json.loads(message.payload)["clientid"] == client_id


async def test_a_client_id_of_too_many_levels_is_not_told(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/clients/#", 0))
    await clients.connected("/" * 200)
    await clients.connected("one")
    assert (await watcher.message()).topic == f"{P}/clients/one/connected"


async def test_topics_of_clients_are_not_remembered(clients: Clients, topics: SysTopics) -> None:
    """Or a storm of clients would drive the routes of everybody else out."""
    before = len(clients.broker.router._routes)
    for number in range(10):
        await (await clients.connected(f"client{number}")).disconnect()
    assert len(clients.broker.router._routes) == before


async def test_alarms(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/alarms/+", 0))
    alarms = clients.broker.alarms
    alarms.activate("a", "Wrong.", {"since": 1})
    alarms.deactivate("a")
    raised, over = await watcher.message(), await watcher.message()
    assert (raised.topic, over.topic) == (f"{P}/alarms/activate", f"{P}/alarms/deactivate")
    body = json.loads(raised.payload)
    at = body.pop("activate_at")
    assert at > 1_700_000_000_000_000
    assert body == {
        "name": "a",
        "message": "Wrong.",
        "details": {"since": 1},
        "deactivate_at": "infinity",
        "activated": True,
    }
    body = json.loads(over.payload)
    assert (body["activate_at"], body["activated"]) == (at, False)
    assert body["deactivate_at"] >= at
    alarms.configure(AlarmSettings(publish=False))
    alarms.activate("b", "Wrong.")
    await watcher.nothing_came()


async def test_a_broker_without_a_name_is_silent(clients: Clients) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe(("$SYS/#", 0))
    topics = clients.broker.sys_topics
    topics.keep_house(100.0)
    clients.broker.alarms.activate("a", "Wrong.")
    topics.tell("long_schedule", "late")
    await clients.connected("one")
    await watcher.nothing_came()
    assert topics.node == ""


async def test_what_the_watch_notices(clients: Clients, topics: SysTopics) -> None:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((f"{P}/sysmon/#", 0))
    topics.tell("long_schedule", "late")
    assert await said(watcher, 1) == {f"{P}/sysmon/long_schedule": b"late"}
