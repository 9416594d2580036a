"""`/alarms`: what is wrong now, what was, and the same words as EMQX has for it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from wardenmq.broker.alarms import Alarms
from wardenmq.mgmt_api.emqx.node.alarms import AlarmRow
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.mgmt_api.openapi import document

from .callers import V5, Api
from .emqx_document import FILE as EMQX_DOCUMENT

NODE = "wardenmq@127.0.0.1"
PAST = 1_700_000_000.0625
"""2023-11-14T22:13:20.062 UTC."""


class Clock:
    """A clock that a test sets."""

    now = PAST

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(api: Api) -> Clock:
    """Have the alarms of the broker told the time by the test."""
    clock = Clock()
    api.mqtt.broker.alarms = Alarms(clock=clock)
    return clock


async def test_nothing_is_wrong(api: Api) -> None:
    for query in ({}, {"activated": "true"}, {"activated": "false"}):
        reply = await api.get("/alarms", **query)
        assert reply.rows == []
        assert reply.meta == {"page": 1, "limit": 100, "count": 0, "hasnext": False}


async def test_an_active_alarm(api: Api, clock: Clock) -> None:
    details = {"reason": "disk is full", "since": 1.5, "ways": ["ä", None, True]}
    api.mqtt.broker.alarms.activate("a", "Something is “wrong”.", details)
    [row] = (await api.get("/alarms")).rows
    assert type(row["duration"]) is int
    passed = (datetime.now(UTC) - datetime.fromtimestamp(PAST, UTC)) // timedelta(milliseconds=1)
    assert abs(passed - row.pop("duration")) < 3_600_000
    assert row == {
        "node": NODE,
        "name": "a",
        "message": "Something is “wrong”.",
        "details": details,
        "activate_at": "2023-11-14T22:13:20.062+00:00",
    }
    assert (await api.get("/alarms", activated="true")).rows[0]["name"] == "a"
    assert (await api.get("/alarms", activated="false")).rows == []


async def test_an_alarm_that_is_over(api: Api, clock: Clock) -> None:
    alarms = api.mqtt.broker.alarms
    alarms.activate("a", "Wrong.")
    clock.now += 297.056
    alarms.deactivate("a")
    assert (await api.get("/alarms")).rows == []
    reply = await api.get("/alarms", activated="false")
    assert reply.rows == [
        {
            "node": NODE,
            "name": "a",
            "message": "Wrong.",
            "details": {},
            "duration": 297_056,
            "activate_at": "2023-11-14T22:13:20.062+00:00",
            "deactivate_at": "2023-11-14T22:18:17.118+00:00",
        }
    ]
    assert reply.meta["count"] == 1


async def test_a_clock_that_was_set_back(api: Api, clock: Clock) -> None:
    """An alarm of the future lasts for no time yet; it does not last for less than none."""
    alarms = api.mqtt.broker.alarms
    clock.now = datetime.now(UTC).timestamp() + 86_400
    alarms.activate("a", "Wrong.")
    assert (await api.get("/alarms")).rows[0]["duration"] == 0
    clock.now = PAST
    alarms.deactivate("a")
    [row] = (await api.get("/alarms", activated="false")).rows
    assert row["duration"] == 0
    assert row["deactivate_at"] == row["activate_at"]


async def test_pages_and_their_order(api: Api) -> None:
    alarms = api.mqtt.broker.alarms
    for number in range(5):
        alarms.activate(str(number), "Wrong.")
    first = await api.get("/alarms", limit=2)
    assert [row["name"] for row in first.rows] == ["0", "1"]
    assert first.meta == {"page": 1, "limit": 2, "count": 5, "hasnext": True}
    last = await api.get("/alarms", limit=2, page=3, activated="true")
    assert [row["name"] for row in last.rows] == ["4"]
    assert last.meta == {"page": 3, "limit": 2, "count": 5, "hasnext": False}
    for number in range(5):
        alarms.deactivate(str(number))
    history = await api.get("/alarms", limit=2, page=2, activated="false")
    assert [row["name"] for row in history.rows] == ["2", "1"]
    assert history.meta == {"page": 2, "limit": 2, "count": 5, "hasnext": True}
    assert (await api.get("/alarms", page=9, activated="false")).rows == []


async def test_a_history_of_a_thousand_alarms(api: Api) -> None:
    alarms = api.mqtt.broker.alarms
    for number in range(1_200):
        alarms.activate("a", f"Number {number}.")
        alarms.deactivate("a")
    reply = await api.get("/alarms", activated="false", limit=10_000)
    assert [row["message"] for row in reply.rows] == [f"Number {number}." for number in range(1_199, 199, -1)]


@pytest.mark.parametrize("query", ["activated=soon", "activated=2", "activated=%FF"])
async def test_what_is_neither_true_nor_false(api: Api, query: str) -> None:
    reply = await api.call("GET", f"{V5}/alarms?{query}")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_forgetting_the_history_leaves_what_is_active(api: Api) -> None:
    alarms = api.mqtt.broker.alarms
    for name in ("over", "active"):
        alarms.activate(name, "Wrong.")
    alarms.deactivate("over")
    for _ in range(2):
        reply = await api.call("DELETE", f"{V5}/alarms")
        assert (reply.status, reply.body) == (204, b"")
    assert [row["name"] for row in (await api.get("/alarms")).rows] == ["active"]
    assert (await api.get("/alarms", activated="false")).rows == []


async def test_who_may_look_and_who_may_forget(api: Api) -> None:
    alarms = api.mqtt.broker.alarms
    alarms.activate("a", "Wrong.")
    alarms.deactivate("a")
    assert (await api.call("GET", f"{V5}/alarms", role="viewer")).status == 200
    for method, role, status in (("DELETE", "viewer", 403), ("GET", "publisher", 403), ("DELETE", None, 401)):
        assert (await api.call(method, f"{V5}/alarms", role=role)).status == status
    assert len(alarms.history()) == 1


@pytest.fixture(scope="module")
def emqx_document() -> dict[str, Any]:
    if not EMQX_DOCUMENT.exists():
        pytest.skip(f"EMQX's own document is not at {EMQX_DOCUMENT}, so there is nothing to compare with")
    return json.loads(EMQX_DOCUMENT.read_text())


def test_emqx_has_the_same_keys_with_the_same_types(emqx_document: dict[str, Any]) -> None:
    theirs = emqx_document["components"]["schemas"]["emqx_mgmt_api_alarms.alarm"]["properties"]
    ours = document(EMQX, "0")["components"]["schemas"]["AlarmRow"]["properties"]
    assert set(get_type_hints(AlarmRow)) == set(theirs)
    assert {key: value["type"] for key, value in ours.items()} == {key: value["type"] for key, value in theirs.items()}
