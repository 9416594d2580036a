from urllib.parse import quote

import pytest

from ..engine.wire5 import options
from .callers import V5, Api, Reply


def found(reply: Reply) -> list[tuple[str, str]]:
    return sorted((row["clientid"], row["topic"]) for row in reply.rows)


async def open_some(api: Api) -> None:
    one = await api.mqtt.connected("one")
    await one.subscribe(("t/foo/bar", 0), ("t/+", 1), ("$SYS/x", 0))
    two = await api.mqtt.connected("two")
    await two.subscribe(("t/+", 2), ("other", 2))


ALL = [("one", "$SYS/x"), ("one", "t/+"), ("one", "t/foo/bar"), ("two", "other"), ("two", "t/+")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("clientid=one", ALL[:3]),
        ("clientid=nobody", []),
        ("qos=2", ALL[3:]),
        ("qos=2&clientid=one", []),
        ("topic=t/%2B", [ALL[1], ALL[4]]),
        ("topic=t/%23", []),
        ("match_topic=t/%23", [ALL[1], ALL[2], ALL[4]]),
        ("match_topic=%23", ALL[1:]),
        ("match_topic=t/foo/%2B", [ALL[2]]),
        ("share_group=g", []),
        ("durable=false", ALL),
        ("durable=true", []),
        ("node=wardenmq@127.0.0.1", ALL),
    ],
)
async def test_filters(api: Api, query: str, expected: list[tuple[str, str]]) -> None:
    await open_some(api)
    reply = await api.call("GET", f"{V5}/subscriptions?{query}")
    assert found(reply) == expected
    assert reply.meta.get("count") == (None if "match_topic" in query else len(expected))


@pytest.mark.parametrize(
    ("query", "status", "code", "message"),
    [
        ("match_topic=$share/g/t", 400, "INVALID_PARAMETER", "match_topic_invalid"),
        ("match_topic=a%23", 400, "INVALID_PARAMETER", "match_topic_invalid"),
        ("match_topic=", 400, "INVALID_PARAMETER", "match_topic_invalid"),
        ("node=other@127.0.0.1", 500, "NODE_DOWN", "Node other@127.0.0.1 is not running"),
    ],
)
async def test_filters_that_make_no_sense(api: Api, query: str, status: int, code: str, message: str) -> None:
    reply = await api.call("GET", f"{V5}/subscriptions?{query}")
    assert (reply.status, reply.code, reply.json["message"]) == (status, code, message)


@pytest.mark.parametrize("qos", ["3", "-1", "one", "1.5"])
async def test_qos_has_bounds(api: Api, qos: str) -> None:
    assert (await api.get("/subscriptions", qos=qos)).code == "BAD_REQUEST"


async def test_pages(api: Api) -> None:
    await open_some(api)
    pages = [await api.get("/subscriptions", page=page, limit=2) for page in (1, 2, 3)]
    assert sorted(row for page in pages for row in found(page)) == ALL
    assert [page.meta for page in pages] == [
        {"page": page, "limit": 2, "hasnext": page < 3, "count": 5} for page in (1, 2, 3)
    ]


async def test_shared_subscriptions_are_shown_in_full_and_found_without_their_prefix(api: Api) -> None:
    await api.mqtt.connected("one")
    for topic_filter in ("$share/g/t/+", "$queue/t/1"):
        api.mqtt.broker.subscribe_for("one", topic_filter, 1)
    both = [("one", "$queue/t/1"), ("one", "$share/g/t/+")]
    assert found(await api.get("/subscriptions")) == both
    assert found(await api.get("/subscriptions", topic="t/%2B")) == both[1:]
    assert found(await api.get("/subscriptions", share_group="g")) == both[1:]
    assert found(await api.get("/subscriptions", share_group="$queue")) == both[:1]
    assert found(await api.get("/subscriptions", match_topic="t/%23")) == both


async def test_the_options_of_mqtt_5(api: Api) -> None:
    client = await api.connected5("one")
    await client.subscribe(
        ("a", options(2, no_local=True, retain_as_published=True, retain_handling=2)),
        ("b", options(1, retain_handling=1)),
        ("$share/g/t/+", options(1, retain_as_published=True)),
    )
    shown = {
        row["topic"]: (row["qos"], row["nl"], row["rap"], row["rh"]) for row in (await api.get("/subscriptions")).rows
    }
    assert shown == {"a": (2, 1, 1, 2), "b": (1, 0, 0, 1), "$share/g/t/+": (1, 0, 1, 0)}
    rows = (await api.get("/clients/one/subscriptions")).json
    assert {row["topic"]: (row["qos"], row["nl"], row["rap"], row["rh"]) for row in rows} == shown


async def test_a_shared_subscription_of_several(api: Api) -> None:
    for name in ("one", "two"):
        client = await api.connected5(name)
        await client.subscribe(("$share/g/t/+", options(1)), ("t/+", options(0)))
    both = [("one", "$share/g/t/+"), ("two", "$share/g/t/+")]
    assert found(await api.get("/subscriptions", share_group="g")) == both
    assert found(await api.get("/subscriptions", share_group="g", clientid="two")) == both[1:]
    assert found(await api.get("/subscriptions", topic="t/%2B", qos=1)) == both
    assert found(await api.get("/subscriptions", share_group="h")) == []
    # One row for each distinct filter, however many have it.
    assert sorted(row["topic"] for row in (await api.get("/topics")).rows) == ["$share/g/t/+", "t/+"]
    assert (await api.get("/topics", topic="$share/g/t/%2B")).rows == [
        {"topic": "$share/g/t/+", "node": "wardenmq@127.0.0.1"}
    ]
    assert (await api.get(f"/topics/{quote('$share/g/t/+', safe='')}")).status == 200
    assert (await api.get(f"/topics/{quote('$share/h/t/+', safe='')}")).code == "TOPIC_NOT_FOUND"
    stats = (await api.get("/stats", aggregate="true")).json
    assert (stats["subscriptions.shared.count"], stats["subscriptions.count"], stats["topics.count"]) == (2, 4, 2)
    await client.unsubscribe("$share/g/t/+")
    stats = (await api.get("/stats", aggregate="true")).json
    assert (stats["subscriptions.shared.count"], stats["subscriptions.shared.max"]) == (1, 2)
    assert (stats["subscriptions.count"], stats["topics.count"]) == (3, 2)


async def test_topics_are_distinct_filters(api: Api) -> None:
    await open_some(api)
    reply = await api.get("/topics")
    assert sorted(row["topic"] for row in reply.rows) == ["$SYS/x", "other", "t/+", "t/foo/bar"]
    assert {row["node"] for row in reply.rows} == {"wardenmq@127.0.0.1"}
    assert reply.meta == {"page": 1, "limit": 100, "hasnext": False, "count": 4}
    assert [row["topic"] for row in (await api.get("/topics", topic="t/%2B")).rows] == ["t/+"]
    assert (await api.get("/topics", topic="t/x")).rows == []
    assert len((await api.get("/topics", page=2, limit=3)).rows) == 1


@pytest.mark.parametrize("topic", ["a%23", "", "$share/g"])
async def test_a_topic_filter_that_is_none(api: Api, topic: str) -> None:
    reply = await api.get("/topics", topic=topic)
    assert (reply.status, reply.code) == (400, "INVALID_PARAMTER")
    assert reply.json["message"] == "topic_filter_invalid"


@pytest.mark.parametrize("topic", ["a/b", "a/+/#", "/", "é/{x}", "a%2Fb"])
async def test_a_topic_in_the_path_is_decoded_once(api: Api, topic: str) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe((topic, 0))
    encoded = quote(topic, safe="")
    assert (await api.get(f"/topics/{encoded}")).json == [{"topic": topic, "node": "wardenmq@127.0.0.1"}]
    assert (await api.get(f"/topics/{quote(encoded, safe='')}")).code == "TOPIC_NOT_FOUND"


async def test_an_unknown_topic(api: Api) -> None:
    reply = await api.get("/topics/nobody%2Fwants%2Fthis")
    assert (reply.status, reply.code, reply.json["message"]) == (404, "TOPIC_NOT_FOUND", "Topic not found")
