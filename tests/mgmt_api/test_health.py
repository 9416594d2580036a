"""`GET /health`: for load balancers and whoever else knows no credential, so it says little and nothing secret."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter
from wardenmq.broker.alarms import JOURNAL_NOT_WRITABLE, SESSIONS_SET_ASIDE
from wardenmq.mgmt_api.emqx.node.status import Health
from wardenmq.mgmt_api.emqx.table import ROOT

from .callers import V5, Api, Reply

SENTENCE = "Durable state cannot be written."
NOT_RUNNING = {"name": "broker_not_running", "message": "The broker is not running.", "since": None}


async def health(api: Api) -> Reply:
    """Ask without a credential; what every answer has in common is checked."""
    reply = await api.call("GET", "/health", role=None)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    understood = TypeAdapter(Health).validate_python(reply.json, strict=True)
    assert dict(understood) == reply.json
    assert (reply.status, reply.json["status"]) == ((503, "degraded") if reply.json["problems"] else (200, "ok"))
    return reply


async def test_all_is_well(api: Api) -> None:
    reply = await health(api)
    assert reply.status == 200
    assert reply.body == b'{"status":"ok","problems":[]}'


async def test_a_broker_that_does_not_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.mqtt.broker.transitions, "is_started", lambda: False)
    reply = await health(api)
    assert (reply.status, reply.json["problems"]) == (503, [NOT_RUNNING])


async def test_a_broker_that_has_stopped(api: Api) -> None:
    broker = api.mqtt.broker
    assert (await health(api)).status == 200
    await broker.shutdown()
    try:
        assert (await health(api)).json["problems"] == [NOT_RUNNING]
    finally:
        await broker.start()
    assert (await health(api)).status == 200


async def test_a_journal_that_cannot_be_written_and_can_again(api: Api) -> None:
    alarms = api.mqtt.broker.alarms
    alarms.activate(JOURNAL_NOT_WRITABLE, SENTENCE, {"reason": "no space in /var/lib/secret", "since": 1.5})
    reply = await health(api)
    [problem] = reply.json["problems"]
    since = datetime.fromisoformat(problem.pop("since"))
    assert abs((datetime.now(UTC) - since).total_seconds()) < 3_600
    assert problem == {"name": JOURNAL_NOT_WRITABLE, "message": SENTENCE}
    assert reply.status == 503
    assert (await health(api)).json == reply.json
    alarms.deactivate(JOURNAL_NOT_WRITABLE)
    assert (await health(api)).status == 200


async def test_an_outsider_learns_nothing_else(api: Api) -> None:
    """Neither the details of an alarm, nor the node's name or release, nor anything about clients."""
    await api.mqtt.connected("visitor")
    api.mqtt.broker.alarms.activate(JOURNAL_NOT_WRITABLE, SENTENCE, {"reason": "no space in /var/lib/secret"})
    reply = await health(api)
    for word in ("/var/lib", "details", "reason", "visitor", api.state.node, "emqx", "wardenmq"):
        assert word not in reply.body.decode()
    for header in reply.headers:
        assert header.lower() not in ("www-authenticate", "set-cookie")


async def test_what_does_not_concern_the_service_is_no_problem_of_outsiders(api: Api) -> None:
    """A balancer that took a broker away because of what was lost yesterday would lose the rest of it."""
    for name in (SESSIONS_SET_ASIDE, "something_else"):
        api.mqtt.broker.alarms.activate(name, "An operator should look.")
    assert (await health(api)).status == 200


async def test_several_problems(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.mqtt.broker.transitions, "is_started", lambda: False)
    api.mqtt.broker.alarms.activate(JOURNAL_NOT_WRITABLE, SENTENCE)
    names = [problem["name"] for problem in (await health(api)).json["problems"]]
    assert names == ["broker_not_running", JOURNAL_NOT_WRITABLE]


async def test_status_keeps_emqxs_words_while_an_alarm_is_active(api: Api) -> None:
    """Probes that were written for EMQX ask whether the broker runs, and no more."""
    api.mqtt.broker.alarms.activate(JOURNAL_NOT_WRITABLE, SENTENCE)
    for path in ("/status", f"{V5}/status"):
        reply = await api.call("GET", path, role=None)
        assert (reply.status, reply.body.decode()) == (200, f"Node {api.state.node} is started\nemqx is running")


async def test_a_wrong_credential_does_no_harm(api: Api) -> None:
    for credential in ("Basic bm9ib2R5OndoYXRldmVy", "nonsense"):
        reply = await api.call("GET", "/health", headers={"Authorization": credential}, role=None)
        assert reply.status == 200
    assert api.state.refused_callers == 0


async def test_it_stands_beside_the_prefix_and_takes_nothing(api: Api) -> None:
    assert (await api.call("GET", f"{V5}/health")).status == 404
    assert (await api.call("GET", "/health?format=text&page=0", role=None)).json == {"status": "ok", "problems": []}
    assert (await api.call("POST", "/health", {"status": "degraded"}, role=None)).status == 405


def test_what_is_asked_for_no_credential_is_known() -> None:
    """Whoever adds another one has to say so here."""
    pages = {"/api-docs", "/api-docs/index.html", "/api-docs/{file}", "/api-docs/swagger.json"}
    assert {route.path for route in ROOT.routes if route.public} == {"/status", "/health", *pages}
