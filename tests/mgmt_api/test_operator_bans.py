"""Bans and the audit log over the operator's API."""

from typing import Any

import pytest

from ..engine.wire import connect
from .operators import ODD_NAMES, Operator, segment

BANS = [
    ("clientid", "one"),
    ("username", "alice"),
    ("peerhost", "192.0.2.1"),
    ("peerhost_net", "2001:db8::/32"),
    ("clientid_re", "^dev-[0-9]+$"),
    ("username_re", "a/b?c#"),
]


@pytest.mark.parametrize(("who_type", "who"), [*BANS, *(("clientid", name) for name in ODD_NAMES)])
async def test_a_ban_from_creation_to_deletion(operator: Operator, who_type: str, who: str) -> None:
    body = {"who_type": who_type, "who": who, "by": "me", "reason": "noise", "until": "2100-01-01T00:00:00+01:00"}
    created = await operator.done("POST", "/bans", body)
    assert created.pop("at").endswith("+00:00")
    assert created == body | {"until": "2099-12-31T23:00:00.000+00:00"}
    path = f"/bans/{who_type}/{segment(who)}"
    assert (await operator.done("GET", path))["reason"] == "noise"
    assert await operator.refused("POST", "/bans", body) == (409, "ALREADY_EXISTS")
    await operator.done("DELETE", path)
    assert await operator.refused("GET", path) == (404, "NOT_FOUND")
    assert await operator.refused("DELETE", path) == (404, "NOT_FOUND")


async def test_a_ban_closes_and_keeps_out(operator: Operator) -> None:
    client = await operator.mqtt.connected("one")
    other = await operator.mqtt.connected("two")
    await operator.done("POST", "/bans", {"who_type": "clientid", "who": "one"})
    await client.hung_up()
    stranger = await operator.mqtt.open()
    assert await stranger.refused(connect("one")) == 5
    await other.ping()
    await operator.done("DELETE", "/bans")
    await operator.mqtt.connected("one")


async def test_bans_are_filtered_and_paged(operator: Operator) -> None:
    for who_type, who in BANS:
        await operator.done("POST", "/bans", {"who_type": who_type, "who": who})

    async def listed(query: str) -> list[str]:
        return [ban["who"] for ban in (await operator.done("GET", f"/bans?{query}"))["data"]]

    assert sorted(await listed("")) == sorted(who for _, who in BANS)
    assert await listed("who_type=username") == ["alice"]
    assert await listed("like=192") == ["192.0.2.1"]
    assert len(await listed("limit=4&page=2")) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"who_type": "clientid", "who": ""},
        {"who_type": "everybody", "who": "x"},
        {"who_type": "peerhost", "who": "nowhere"},
        {"who_type": "peerhost_net", "who": "192.0.2.0/99"},
        {"who_type": "clientid_re", "who": "("},
        {"who_type": "clientid", "who": "x", "until": "2000-01-01T00:00:00Z"},
        {"who_type": "clientid", "who": "x", "until": "soon"},
    ],
)
async def test_a_ban_that_cannot_be(operator: Operator, body: dict[str, Any]) -> None:
    assert await operator.refused("POST", "/bans", body) == (400, "BAD_REQUEST")
    assert (await operator.done("GET", "/bans"))["data"] == []


async def test_an_unknown_type_in_a_path(operator: Operator) -> None:
    for method in ("GET", "DELETE"):
        assert await operator.refused(method, "/bans/everybody/x") == (400, "BAD_REQUEST")


async def audit(operator: Operator, query: str) -> tuple[list[str], bool]:
    page = await operator.done("GET", f"/audit?{query}")
    return [row["target"] for row in page["data"]], page["meta"]["hasnext"]


async def test_the_audit_log_is_read_backwards(operator: Operator) -> None:
    for number in range(5):
        await operator.done("POST", "/roles", {"name": f"r{number}"})
    assert await audit(operator, "action=role.create") == (["r4", "r3", "r2", "r1", "r0"], False)
    assert await audit(operator, "action=role.create&limit=5") == (["r4", "r3", "r2", "r1", "r0"], False)
    assert await audit(operator, "action=role.create&limit=2") == (["r4", "r3"], True)
    rows = (await operator.done("GET", "/audit?action=role.*&limit=2"))["data"]
    assert await audit(operator, f"action=role.*&limit=3&before={rows[-1]['id']}") == (["r2", "r1", "r0"], False)
    assert await audit(operator, "target=r3") == (["r3"], False)
    assert await audit(operator, "facade=operator&actor=nobody") == ([], False)
    assert await audit(operator, "until=2000-01-01T00:00:00Z") == ([], False)
    moment = segment(rows[0]["at"])
    assert (await audit(operator, f"since={moment}&action=role.create"))[0][0] == "r4"
    detail = rows[0]["detail"]
    assert isinstance(detail, dict)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "before=0", "before=x", "since=yesterday", f"before={2**63}"]
)
async def test_bounds_of_the_audit_log(operator: Operator, query: str) -> None:
    assert await operator.refused("GET", f"/audit?{query}") == (400, "BAD_REQUEST")
