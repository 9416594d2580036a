"""Messages that wait for a client, page by page."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.mgmt_api.emqx.clients import queues

from ..clocks import WallClock
from ..durability.lives import Lives, living
from ..engine.conditions import until
from ..engine.packets5 import P
from ..engine.wire import PUBACK, PUBCOMP, PUBREC, PUBREL, Client, acknowledge, publish
from .callers import V5, Api
from .served import Caller, over

WINDOW = 3
PATHS = ("mqueue_messages", "inflight_messages")


def session_of(api: Api, client_id: str = "one") -> Session:
    session = api.mqtt.broker.registry.get(client_id)
    assert session is not None
    return session


async def listed(api: Api, kind: str, **query: str | int) -> dict[str, Any]:
    reply = await api.get(f"/clients/one/{kind}", **query)
    assert reply.status == 200, reply.body
    return reply.json


def payloads(answer: dict[str, Any]) -> list[bytes]:
    return [b64decode(row["payload"]) for row in answer["data"]]


async def send(api: Api, *texts: str, qos: int = 1) -> None:
    for text in texts:
        reply = await api.call("POST", f"{V5}/publish", {"topic": "t", "payload": text, "qos": qos})
        assert reply.status == 200


async def away(api: Api, qos: int = 1) -> None:
    """Have a client that is not there, with a session."""
    client = await api.mqtt.connected("one", clean=False)
    await client.subscribe(("t", qos))
    await client.disconnect()


async def slow(api: Api, qos: int = 1) -> Client:
    """Have a client that acknowledges nothing and takes three messages at a time."""
    client = await api.connected5("one", properties=[(P.RECEIVE_MAXIMUM, WINDOW)])
    await client.subscribe(("t", qos))
    return client


async def test_a_message_that_waits(api: Api) -> None:
    await away(api)
    client = await api.mqtt.connected("two", username="alice")
    await client.publish("t", b"\0\xff", 2)
    answer = await listed(api, "mqueue_messages")
    [row] = answer["data"]
    assert set(row) == {
        *("msgid", "topic", "qos", "publish_at", "from_clientid", "from_username", "payload", "inserted_at"),
        "mqueue_priority",
    }
    assert (row["topic"], row["qos"], row["mqueue_priority"]) == ("t", 1, 0)
    assert (row["from_clientid"], row["from_username"]) == ("two", "alice")
    assert row["payload"] == b64encode(b"\0\xff").decode()
    assert len(bytes.fromhex(row["msgid"])) == 16
    assert row["msgid"] == row["msgid"].upper()
    session = session_of(api)
    assert session.created_at * 1_000 - 1 <= row["publish_at"] < session.created_at * 1_000 + 600_000
    assert int(row["inserted_at"]) // 1_000_000 == row["publish_at"]
    assert answer["meta"]["start"] == answer["meta"]["position"] != "none"
    assert await listed(api, "mqueue_messages") == answer


async def test_a_message_in_flight(api: Api) -> None:
    client = await slow(api)
    await send(api, "x")
    answer = await listed(api, "inflight_messages")
    [row] = answer["data"]
    assert (row["topic"], row["qos"], row["from_clientid"], row["from_username"]) == ("t", 1, "http_api", None)
    assert "mqueue_priority" not in row
    assert payloads(answer) == [b"x"]
    await client.message()
    await until(lambda: not session_of(api).in_flight)
    assert await listed(api, "inflight_messages") == {"data": [], "meta": {"start": "none", "position": "none"}}


@pytest.mark.parametrize("kind", PATHS)
async def test_nothing_waits(api: Api, kind: str) -> None:
    await away(api)
    assert await listed(api, kind) == {"data": [], "meta": {"start": "none", "position": "none"}}


async def test_what_is_sent_and_what_waits_are_listed_apart(api: Api) -> None:
    await slow(api)
    await send(api, *"abcde")
    assert payloads(await listed(api, "inflight_messages")) == [b"a", b"b", b"c"]
    assert payloads(await listed(api, "mqueue_messages")) == [b"d", b"e"]


async def test_a_run_of_messages_is_listed_one_by_one(api: Api) -> None:
    """What a publisher sends in bulk is kept as one."""
    await slow(api)
    sender = await api.mqtt.connected("two")
    sender.send(*[publish("t", bytes((65 + number,)), 1, number + 1) for number in range(20)])
    for _ in range(20):
        await sender.expect(PUBACK)
    assert payloads(await listed(api, "inflight_messages")) == [b"A", b"B", b"C"]
    queued = await listed(api, "mqueue_messages", limit=9)
    assert payloads(queued) == [bytes((65 + number,)) for number in range(3, 12)]
    rest = await listed(api, "mqueue_messages", position=queued["meta"]["position"])
    assert payloads(rest) == [bytes((65 + number,)) for number in range(12, 20)]


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("limit", [1, 2, 5, 7])
async def test_pages(api: Api, kind: str, limit: int) -> None:
    sent = [str(number) for number in range(5)]
    if kind == "mqueue_messages":
        await away(api)
    else:
        client = await api.mqtt.connected("one")
        await client.subscribe(("t", 1))
    await send(api, *sent)
    found: list[bytes] = []
    starts: set[str] = set()
    position = "none"
    while (page := await listed(api, kind, position=position, limit=limit))["data"]:
        assert len(page["data"]) <= limit
        found += payloads(page)
        starts.add(page["meta"]["start"])
        position = page["meta"]["position"]
    assert found == [text.encode() for text in sent]
    assert len(starts) == 1
    assert page["meta"] == {"start": starts.pop(), "position": position}  # past the end it stays where it is


async def test_a_page_goes_on_where_the_last_one_ended_though_messages_come_and_go(api: Api) -> None:
    client = await slow(api)
    await send(api, *"abcdefgh")
    page = await listed(api, "mqueue_messages", limit=2)
    assert payloads(page) == [b"d", b"e"]
    for _ in range(3):
        await client.message()  # d and e among what is sent now
    await until(lambda: session_of(api).queue_length == 2)
    await send(api, "i")
    rest = await listed(api, "mqueue_messages", position=page["meta"]["position"])
    assert payloads(rest) == [b"g", b"h", b"i"]
    assert rest["meta"]["start"] != page["meta"]["start"]
    again = await listed(api, "mqueue_messages", position=page["meta"]["start"])
    assert payloads(again) == payloads(rest)


async def test_what_was_in_flight_is_passed_over_when_it_was_acknowledged(api: Api) -> None:
    client = await slow(api)
    await send(api, *"abcdef")
    page = await listed(api, "inflight_messages", limit=1)
    assert payloads(page) == [b"a"]
    await client.message()
    await until(lambda: session_of(api).queue_length == 2)
    rest = await listed(api, "inflight_messages", position=page["meta"]["position"])
    assert payloads(rest) == [b"b", b"c", b"d"]


async def test_positions_hold_when_packet_identifiers_begin_anew(api: Api) -> None:
    client = await slow(api)
    session = session_of(api)
    session._last_packet_id = 65_533  # pyright: ignore[reportPrivateUsage]
    await send(api, *"abc")
    assert list(session.in_flight) == [65_534, 65_535, 1]
    first = await listed(api, "inflight_messages", limit=2)
    assert payloads(first) == [b"a", b"b"]
    rest = await listed(api, "inflight_messages", position=first["meta"]["position"])
    assert payloads(rest) == [b"c"]
    await client.messages(2)
    await until(lambda: len(session.in_flight) == 1)
    rest = await listed(api, "inflight_messages", position=first["meta"]["position"])
    assert payloads(rest) == [b"c"]


async def test_a_message_that_was_received_is_in_flight_no_more(api: Api) -> None:
    """At QoS 2 only its PUBREL is owed then."""
    client = await slow(api, qos=2)
    await send(api, "x", "y", qos=2)
    first = await client.expect(3)
    client.send(acknowledge(PUBREC, first.packet_id))
    await client.expect(PUBREL)
    assert payloads(await listed(api, "inflight_messages")) == [b"y"]
    assert session_of(api).in_flight_count == 2
    client.send(acknowledge(PUBCOMP, first.packet_id))


async def test_payload_modes(api: Api) -> None:
    await away(api)
    await send(api, "grün")
    [row] = (await listed(api, "mqueue_messages", payload="plain"))["data"]
    assert row["payload"] == "grün"
    [row] = (await listed(api, "mqueue_messages", payload="base64"))["data"]
    assert b64decode(row["payload"]).decode() == "grün"
    [row] = (await listed(api, "mqueue_messages", payload="none"))["data"]
    assert "payload" not in row
    client = await api.mqtt.connected("two")
    await client.publish("t", b"\xff", 1)
    reply = await api.get("/clients/one/mqueue_messages", payload="plain")
    assert (reply.status, reply.code) == (400, "INVALID_PARAMETER")
    assert len((await listed(api, "mqueue_messages", payload="none"))["data"]) == 2
    assert len((await listed(api, "mqueue_messages", payload="plain", limit=1))["data"]) == 1


@pytest.mark.parametrize(
    ("mode", "budget", "shown"),
    [
        ("base64", "1", 1),
        ("base64", "7B", 1),
        ("base64", "8", 2),
        ("base64", "15", 2),
        ("base64", "16", 3),
        ("base64", "1MB", 3),
        ("base64", "9999GB", 3),
        ("base64", "1kb", 3),
        ("plain", "5", 1),
        ("plain", "6", 2),
        ("plain", "9", 2),
        ("plain", "10", 3),
        ("none", "1", 3),
    ],
)
async def test_the_budget_of_a_page(api: Api, mode: str, budget: str, shown: int) -> None:
    await away(api)
    await send(api, "abc", "äb", "defg")  # 3, 3 and 4 bytes: 4, 4 and 8 in base64
    whole = await listed(api, "mqueue_messages", payload="none")
    page = await listed(api, "mqueue_messages", payload=mode, max_payload_bytes=budget)
    assert len(page["data"]) == shown
    assert page["meta"] == whole["meta"]  # what is left out lies before the next page all the same


async def test_an_empty_first_message_does_not_let_another_exceed_the_budget(api: Api) -> None:
    await away(api)
    client = await api.mqtt.connected("two")
    await client.publish_all("t", [b"", b"xxxx"], 1)
    assert payloads(await listed(api, "mqueue_messages", max_payload_bytes="2")) == [b""]


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("payload=hex", "INVALID_PARAMETER"),
        ("max_payload_bytes=0", "INVALID_PARAMETER"),
        ("max_payload_bytes=0KB", "INVALID_PARAMETER"),
        ("max_payload_bytes=-1", "INVALID_PARAMETER"),
        ("max_payload_bytes=some", "INVALID_PARAMETER"),
        ("position=", "INVALID_PARAMETER"),
        ("position=abc", "INVALID_PARAMETER"),
        ("position=1_2_3", "INVALID_PARAMETER"),
        ("position=-1", "INVALID_PARAMETER"),
        ("position=%D9%A3", "INVALID_PARAMETER"),
        ("position=" + "9" * 60, "INVALID_PARAMETER"),
        ("limit=0", "BAD_REQUEST"),
        ("limit=10001", "BAD_REQUEST"),
        ("limit=all", "BAD_REQUEST"),
        ("position=" + "9" * 65, "BAD_REQUEST"),
    ],
)
async def test_questions_that_make_no_sense(api: Api, kind: str, query: str, code: str) -> None:
    await away(api)
    reply = await api.call("GET", f"{V5}/clients/one/{kind}?{query}")
    assert (reply.status, reply.code) == (400, code)


@pytest.mark.parametrize(("kind", "position"), [("mqueue_messages", "17"), ("inflight_messages", "17_0")])
async def test_the_positions_of_the_other_list(api: Api, kind: str, position: str) -> None:
    await away(api)
    assert (await api.get(f"/clients/one/{kind}", position=position)).code == "INVALID_PARAMETER"


@pytest.mark.parametrize("kind", PATHS)
async def test_the_messages_of_nobody(api: Api, kind: str) -> None:
    assert (await api.get(f"/clients/nobody/{kind}")).code == "CLIENTID_NOT_FOUND"


async def test_a_client_that_goes_while_its_messages_are_listed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "SLICE", 2)
    await away(api)
    await send(api, *"abcde")
    row = queues._row  # pyright: ignore[reportPrivateUsage]

    def last(*arguments: Any) -> Any:
        api.mqtt.broker.end_client("one")
        return row(*arguments)

    monkeypatch.setattr(queues, "_row", last)
    reply = await api.get("/clients/one/mqueue_messages")
    assert (reply.status, reply.code) == (404, "CLIENT_SHUTDOWN")


# -- what is on the disk


@pytest.fixture(params=["stopped", "crashed"])
async def lives(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Lives]:
    limits = MqttSettings(session_expiry_interval=7_200, max_queued_memory=1)
    async with living(tmp_path, request.param, WallClock(), limits) as lives:
        yield lives


async def all_of(call: Caller, kind: str, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    position = "none"
    while True:
        status, page = await call("GET", f"/clients/one/{kind}?limit={limit}&position={position}&payload=plain")
        assert status == 200, page
        if not page["data"]:
            return rows
        rows += page["data"]
        position = page["meta"]["position"]


async def test_messages_that_are_on_the_disk_alone(lives: Lives) -> None:
    client = await lives.connected("one")
    await client.subscribe(("t/#", 2))
    await lives.leave(client, "one")
    sender = await lives.connected("two", username="alice")
    sender.send(*[publish("t/run", str(number).encode(), 1, number + 1) for number in range(10, 30)])
    for _ in range(20):
        await sender.expect(PUBACK)
    for number in range(5):
        await lives.publish(f"t/{number}", str(number).encode(), 2)
    async with over(lives.broker) as call:
        before = await all_of(call, "mqueue_messages", 3)
    expected = [str(number) for number in (*range(10, 30), *range(5))]
    assert [row["payload"] for row in before] == expected
    assert {row["from_username"] for row in before[:20]} == {"alice"}
    await lives.restart()
    async with over(lives.broker) as call:
        first = (await call("GET", "/clients/one/mqueue_messages?limit=7&payload=plain"))[1]
        after = await all_of(call, "mqueue_messages", 4)
        assert await all_of(call, "inflight_messages", 4) == []
    shown = ("topic", "qos", "payload", "from_clientid")
    assert [[row[key] for key in shown] for row in after] == [[row[key] for key in shown] for row in before]
    assert [row["payload"] for row in first["data"]] == expected[:7]


async def test_positions_hold_after_a_restart(lives: Lives) -> None:
    client = await lives.connected("one")
    await client.subscribe(("t", 1))
    await lives.leave(client, "one")
    for number in range(6):
        await lives.publish("t", str(number).encode())
    async with over(lives.broker) as call:
        page = (await call("GET", "/clients/one/mqueue_messages?limit=2&payload=plain"))[1]
    await lives.restart()
    async with over(lives.broker) as call:
        path = f"/clients/one/mqueue_messages?payload=plain&position={page['meta']['position']}"
        rest = (await call("GET", path))[1]
    assert [row["payload"] for row in rest["data"]] == ["2", "3", "4", "5"]
    assert rest["meta"]["start"] == page["meta"]["start"]


async def test_messages_in_flight_of_a_session_that_is_kept(lives: Lives) -> None:
    client = await lives.connected("one")
    await client.subscribe(("t", 2))
    for number in range(4):
        await lives.publish("t", str(number).encode(), 1 + number % 2)
    first, second = await client.expect(3), await client.expect(3)
    client.send(acknowledge(PUBACK, first.packet_id), acknowledge(PUBREC, second.packet_id))
    await client.expect(PUBREL)
    async with over(lives.broker) as call:
        rows = await all_of(call, "inflight_messages", 1)
    assert [row["payload"] for row in rows] == ["2", "3"]


async def test_what_the_store_has_no_more_is_left_out(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await lives.connected("one")
    await client.subscribe(("t", 1))
    await lives.leave(client, "one")
    for number in range(5):
        await lives.publish("t", str(number).encode())
    await lives.restart()
    store = lives.broker._journal_store  # pyright: ignore[reportPrivateUsage]
    assert store is not None
    load, asked = store.load, []

    async def lossy(numbers: Any) -> Any:
        asked.append(list(numbers))
        return [row for row in await load(numbers) if row[9] != b"2"]

    monkeypatch.setattr(store, "load", lossy)
    async with over(lives.broker) as call:
        rows = await all_of(call, "mqueue_messages", 10)
    assert [row["payload"] for row in rows] == ["0", "1", "3", "4"]
    assert len(asked) <= 3
