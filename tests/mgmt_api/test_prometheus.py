"""Prometheus: names, forms and who may scrape; settings in both forms; pushes that are really made."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from re import MULTILINE, findall
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from wardenmq.mgmt_api.configuration import Configuration
from wardenmq.mgmt_api.emqx.node.certificate_dates import CertificateDates
from wardenmq.mgmt_api.emqx.node.exposition import Family, as_object, as_rows, write_text
from wardenmq.mgmt_api.emqx.node.metrics import METRICS, STATS
from wardenmq.mgmt_api.emqx.node.prometheus_settings import PROMETHEUS, PushGateway
from wardenmq.mgmt_api.emqx.node.push_gateway import Pusher, target_of
from wardenmq.mgmt_api.roots import ROOTS

from ..engine.conditions import until
from .callers import V5, Api, Reply

NODE = "wardenmq@127.0.0.1"
DEFAULTS: dict[str, Any] = {
    "enable_basic_auth": False,
    "push_gateway": {
        "enable": False,
        "url": "http://127.0.0.1:9091",
        "interval": "15s",
        "headers": {},
        "job_name": "${name}/instance/${name}~${host}",
    },
    "collectors": dict.fromkeys(
        ("vm_dist", "mnesia", "vm_statistics", "vm_system_info", "vm_memory", "vm_msacc"), "disabled"
    ),
}
DASHBOARDS = """
emqx_bytes_received emqx_bytes_sent emqx_client_auth_anonymous emqx_client_authenticate emqx_client_authorize
emqx_client_connected emqx_client_disconnected emqx_client_subscribe emqx_client_unsubscribe emqx_cluster_nodes_running
emqx_cluster_nodes_stopped emqx_connections_count emqx_live_connections_count emqx_sessions_count emqx_suboptions_count
emqx_messages_received emqx_messages_sent emqx_messages_dropped emqx_messages_qos0_received emqx_messages_qos1_received
emqx_messages_qos2_received emqx_packets_connect emqx_packets_connack_sent emqx_packets_connack_error
emqx_packets_connack_auth_error emqx_packets_disconnect_received emqx_packets_disconnect_sent
emqx_packets_publish_received emqx_packets_publish_sent emqx_packets_publish_error emqx_packets_publish_auth_error
emqx_packets_publish_dropped emqx_packets_subscribe_received emqx_packets_subscribe_error
emqx_packets_subscribe_auth_error emqx_packets_suback_sent emqx_packets_unsubscribe_received
emqx_packets_unsubscribe_error emqx_vm_cpu_use emqx_vm_cpu_idle emqx_vm_run_queue emqx_vm_total_memory
emqx_vm_used_memory emqx_messages_dropped_expired emqx_retained_count emqx_retained_max
""".split()  # noqa: SIM905
"""What the dashboards for EMQX ask for."""


def samples(reply: Reply) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Read the text as Prometheus does: values by name and labels."""
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "text/plain"
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    written = set(findall(r"^(emqx_\w+)", reply.body.decode(), MULTILINE))
    for family in text_string_to_metric_families(reply.body.decode()):
        assert family.type in ("counter", "gauge"), family
        assert family.documentation
        for sample in family.samples:
            # the parser puts an ending behind the names of counters that have none
            name = sample.name if sample.name in written else sample.name.removesuffix("_total")
            assert name in written
            by_labels = found.setdefault(name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in by_labels, sample
            by_labels[labels] = sample.value
    return found


async def scrape(api: Api, path: str, **query: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    text = "&".join(f"{key}={value}" for key, value in query.items())
    return samples(await api.call("GET", f"{V5}/prometheus/{path}?{text}", role=None))


async def test_all_names_are_there(api: Api) -> None:
    found = await scrape(api, "stats")
    assert set(DASHBOARDS) <= set(found)
    left_out = {name for name in METRICS if name.startswith(("messages.validation", "messages.transformation"))}
    left_out |= {"messages.persisted", "packets.connect.received", "messages.dropped.await_pubrel_timeout"}
    for key in {*METRICS, *STATS} - left_out:
        assert "emqx_" + key.replace(".", "_") in found, key
    for key in left_out:
        assert "emqx_" + key.replace(".", "_") not in found, key
    assert all(list(values) == [()] for values in found.values())


async def test_the_types_are_told(api: Api) -> None:
    reply = await api.call("GET", f"{V5}/prometheus/stats", role=None)
    lines = reply.body.decode().splitlines()
    assert "# TYPE emqx_messages_received counter" in lines
    assert "# TYPE emqx_connections_count gauge" in lines
    assert "# TYPE emqx_packets_connect counter" in lines
    kinds = [line.partition("# TYPE ")[2].split()[0] for line in lines if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds)) > 100


async def test_the_numbers_are_the_broker_s(api: Api) -> None:
    publisher, subscriber = await api.mqtt.pair(("t", 1))
    for _ in range(3):
        await publisher.publish("t", b"x", 1)
    await subscriber.messages(3)
    await publisher.publish("nobody", b"x")
    await publisher.ping()
    found = {name: values[()] for name, values in (await scrape(api, "stats")).items()}
    assert (found["emqx_messages_received"], found["emqx_messages_qos1_received"]) == (4, 3)
    assert (found["emqx_messages_sent"], found["emqx_messages_dropped"]) == (3, 1)
    assert (found["emqx_packets_connect"], found["emqx_client_connected"]) == (2, 2)
    assert (found["emqx_live_connections_count"], found["emqx_subscriptions_count"]) == (2, 1)
    assert (found["emqx_cluster_nodes_running"], found["emqx_cluster_nodes_stopped"]) == (1, 0)
    assert 0 <= found["emqx_vm_cpu_use"] <= 100
    assert found["emqx_vm_cpu_use"] + found["emqx_vm_cpu_idle"] == pytest.approx(100)
    assert 0 < found["emqx_vm_used_memory"] < found["emqx_vm_total_memory"]


@pytest.mark.parametrize("mode", ["node", "all_nodes_aggregated", "all_nodes_unaggregated"])
async def test_modes(api: Api, mode: str) -> None:
    found = await scrape(api, "stats", mode=mode)
    node = (("node", NODE),) if mode == "all_nodes_unaggregated" else ()
    for name in ("emqx_messages_received", "emqx_connections_count", "emqx_vm_cpu_use"):
        assert list(found[name]) == [node]
    for name in ("emqx_topics_count", "emqx_retained_max", "emqx_cluster_nodes_running", "emqx_cluster_sessions_count"):
        assert list(found[name]) == [()]
    ids = (await scrape(api, "auth", mode=mode))["emqx_authn_enable"]
    assert list(ids) == [(("id", "password_based:built_in_database"), *node)]


@pytest.mark.parametrize("path", ["stats", "auth", "data_integration"])
async def test_an_unknown_mode(api: Api, path: str) -> None:
    reply = await api.call("GET", f"{V5}/prometheus/{path}?mode=some", role=None)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_what_decides_on_clients(api: Api) -> None:
    found = await scrape(api, "auth")
    id_ = (("id", "password_based:built_in_database"),)
    for name in ("enable", "status", "nomatch", "total", "success", "failed", "users_count"):
        assert list(found[f"emqx_authn_{name}"]) == [id_]
    for name in ("enable", "status", "nomatch", "total", "allow", "deny", "rules_count"):
        assert {labels[0] for labels in found[f"emqx_authz_{name}"]} == {
            ("type", "file"),
            ("type", "built_in_database"),
        }
    assert found["emqx_authn_enable"][id_] == 1
    assert found["emqx_authn_users_count"][id_] == 0
    assert found["emqx_banned_count"][()] == 0
    users = f"{V5}/authentication/password_based:built_in_database/users"
    assert (await api.call("POST", users, {"user_id": "alice", "password": "x"})).status == 201
    assert (await scrape(api, "auth"))["emqx_authn_users_count"][id_] == 1


async def test_there_is_no_data_integration(api: Api) -> None:
    assert await scrape(api, "data_integration") == {
        f"emqx_{name}_count": {(): 0.0} for name in ("rules", "connectors", "actions")
    }


async def test_the_form_for_programs(api: Api) -> None:
    accept = {"Accept": "application/json"}
    reply = await api.call("GET", f"{V5}/prometheus/stats", headers=accept, role=None)
    assert reply.headers["Content-Type"] == "application/json"
    found = reply.json
    assert set(found) == {
        *("stats", "metrics", "packets", "messages", "delivery", "client", "session", "olp", "acl", "authn"),
        *("cluster", "certs"),
    }
    assert found["packets"]["emqx_packets_connect"] == 0
    assert found["packets"]["emqx_bytes_received"] == 0
    assert found["cluster"] == {"emqx_cluster_nodes_running": 1, "emqx_cluster_nodes_stopped": 0}
    assert found["certs"] == []
    told = (await api.call("GET", f"{V5}/prometheus/auth", headers=accept, role=None)).json
    assert told["emqx_banned"] == {"emqx_banned_count": 0}
    assert told["emqx_authn"][0]["id"] == "password_based:built_in_database"
    assert told["emqx_authn"][0]["emqx_authn_enable"] == 1
    assert {row["type"] for row in told["emqx_authz"]} == {"file", "built_in_database"}
    more = {"Accept": "text/plain;version=0.0.4, application/json;q=0.5"}
    assert (await api.call("GET", f"{V5}/prometheus/stats", headers=more, role=None)).headers[
        "Content-Type"
    ] == "text/plain"
    rows = (await api.call("GET", f"{V5}/prometheus/stats?mode=all_nodes_unaggregated", headers=accept, role=None)).json
    assert rows["messages"][0]["node"] == NODE


async def test_a_credential_is_asked_for_where_that_is_wanted(api: Api) -> None:
    assert (await api.call("PUT", f"{V5}/prometheus", {"enable_basic_auth": True})).status == 200
    for path in ("stats", "auth", "data_integration"):
        for role, status in ((None, 401), ("publisher", 403), ("viewer", 200), ("administrator", 200)):
            assert (await api.call("GET", f"{V5}/prometheus/{path}", role=role)).status == status
    assert (await api.call("PUT", f"{V5}/prometheus", {})).status == 200
    assert (await api.call("GET", f"{V5}/prometheus/stats", role=None)).status == 200


async def test_the_settings(api: Api) -> None:
    assert (await api.get("/prometheus")).json == DEFAULTS
    wanted = {"push_gateway": {"interval": "1m30s", "headers": {"Authorization": "Basic eA=="}, "url": "https://g:1/a"}}
    reply = await api.call("PUT", f"{V5}/prometheus", wanted)
    shown = {**wanted["push_gateway"], "headers": {"Authorization": "******"}}
    assert (reply.status, reply.json) == (200, {**DEFAULTS, "push_gateway": {**DEFAULTS["push_gateway"], **shown}})
    assert (await api.get("/prometheus")).json == reply.json
    assert (await api.call("PUT", f"{V5}/prometheus", wanted, role="viewer")).status == 403
    assert (await api.call("GET", f"{V5}/prometheus", role=None)).status == 401


SECRETS = {
    "url": "https://user:sekrit@g:1/a?b=c",
    "headers": {"Authorization": "Basic hush", "X-Api-Key": "hush", "X-Scope": "shown"},
}


async def test_what_opens_the_gateway_is_shown_to_nobody(api: Api) -> None:
    assert (await api.call("PUT", f"{V5}/prometheus", {"push_gateway": SECRETS})).status == 200
    for role in ("administrator", "viewer"):
        for path in ("/prometheus", "/configs?key=prometheus", "/configs"):
            for accept in ("application/json", "text/plain"):
                reply = await api.call("GET", V5 + path, headers={"Accept": accept}, role=role)
                assert reply.status in (200, 403)
                assert b"hush" not in reply.body
                assert b"sekrit" not in reply.body
    shown = (await api.get("/prometheus")).json["push_gateway"]
    assert shown["url"] == "https://user:******@g:1/a?b=c"
    assert shown["headers"] == {"Authorization": "******", "X-Api-Key": "******", "X-Scope": "shown"}


@pytest.mark.parametrize("way", ["own", "all"])
async def test_what_is_shown_may_be_sent_back(api: Api, way: str) -> None:
    await api.call("PUT", f"{V5}/prometheus", {"push_gateway": SECRETS})
    changed = (await api.get("/prometheus")).json
    changed["push_gateway"] |= {"interval": "2m"}
    if way == "own":
        reply = await api.call("PUT", f"{V5}/prometheus", changed)
    else:
        text = json.dumps({"prometheus": changed}).encode()
        reply = await api.call("PUT", f"{V5}/configs", data=text, headers={"Content-Type": "text/plain"})
    assert reply.status == 200, reply.body
    kept = api.state.configuration.get(PROMETHEUS).push_gateway
    assert (kept.interval, kept.url, kept.headers) == ("2m", SECRETS["url"], SECRETS["headers"])


@pytest.mark.parametrize(
    "gateway",
    [
        {"headers": {"Authorization": "******"}},
        {"url": "https://user:******@g:1"},
        {**SECRETS, "url": "https://user:******@elsewhere:1/a?b=c"},
        {**SECRETS, "headers": {"X-Other-Key": "******"}},
    ],
)
async def test_asterisks_that_stand_for_nothing(api: Api, gateway: dict[str, Any]) -> None:
    await api.call("PUT", f"{V5}/prometheus", {"push_gateway": SECRETS if len(gateway) == 2 else {}})
    reply = await api.call("PUT", f"{V5}/prometheus", {"push_gateway": gateway})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_the_settings_survive_a_restart(api: Api) -> None:
    await api.call("PUT", f"{V5}/prometheus", {"enable_basic_auth": True, "push_gateway": {"job_name": "a/b"}})
    again = Configuration(api.state.configuration.governed, ROOTS)
    await again.load()
    value = again.get(PROMETHEUS)
    assert (value.enable_basic_auth, value.push_gateway.job_name) == (True, "a/b")


async def test_the_flat_form_of_old(api: Api) -> None:
    flat = {
        "push_gateway_server": "http://gateway:9091",
        "interval": "20s",
        "headers": {"X-A": "b"},
        "job_name": "old",
        "enable": False,
        **{f"{name}_collector": "disabled" for name in DEFAULTS["collectors"]},
        "vm_dist_collector": "enabled",
    }
    reply = await api.call("PUT", f"{V5}/prometheus", flat)
    assert reply.status == 200, reply.body
    assert reply.json["push_gateway"] == {
        "enable": False,
        "url": "http://gateway:9091",
        "interval": "20s",
        "headers": {"X-A": "b"},
        "job_name": "old",
    }
    assert reply.json["collectors"] == {**DEFAULTS["collectors"], "vm_dist": "enabled"}


@pytest.mark.parametrize(
    "body",
    [
        {"unknown": 1},
        {"enable_basic_auth": "perhaps"},
        {"push_gateway": {"url": "gateway:9091"}},
        {"push_gateway": {"url": "file:///etc/passwd"}},
        {"push_gateway": {"url": "http://"}},
        {"push_gateway": {"interval": "0s"}},
        {"push_gateway": {"interval": "soon"}},
        {"push_gateway": {"headers": {"X-A": "b\r\nX-C: d"}}},
        {"push_gateway": {"headers": {"X A": "b"}}},
        {"push_gateway": {"headers": {f"X-{number}": "" for number in range(51)}}},
        {"push_gateway": {"job_name": ""}},
        {"push_gateway": {"job_name": "a?b"}},
        {"collectors": {"vm_dist": "on"}},
        {"enable": True, "push_gateway": {}},
        {"vm_dist_collector": "enabled", "unknown": 1},
        [],
    ],
)
async def test_settings_that_are_none(api: Api, body: object) -> None:
    reply = await api.call("PUT", f"{V5}/prometheus", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.get("/prometheus")).json == DEFAULTS


class Gateway:
    """A push gateway that takes note of what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str], str]] = []
        self.status = 202
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.got.append((request.method, request.path, dict(request.headers), text))
        headers = {"Location": f"{self.url}/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, headers=headers)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", gateway.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield gateway
    await runner.cleanup()


async def test_numbers_are_pushed(api: Api, gateway: Gateway) -> None:
    """Whoever switches it on waits for no restart."""
    settings = {"enable": True, "url": gateway.url, "interval": "1h", "headers": {"Authorization": "Basic eA=="}}
    assert (await api.call("PUT", f"{V5}/prometheus", {"push_gateway": settings})).status == 200
    await until(lambda: bool(gateway.got))
    method, path, headers, text = gateway.got[0]
    assert (method, path) == ("POST", "/metrics/job/wardenmq/instance/wardenmq~127.0.0.1")
    assert headers["Authorization"] == "Basic eA=="
    assert headers["Content-Type"].startswith("text/plain")
    assert "emqx_messages_received" in {family.name for family in text_string_to_metric_families(text)}


def pusher_of(gateway: Gateway, **fields: Any) -> Pusher:
    settings = PushGateway(enable=True, url=gateway.url, **fields)

    async def expose() -> str:
        return "emqx_a 1\n"

    return Pusher("a@b", lambda: settings, expose, look=0.01)


async def test_numbers_are_pushed_again_and_again(gateway: Gateway) -> None:
    running = asyncio.ensure_future(pusher_of(gateway, interval="10ms").run())
    await until(lambda: len(gateway.got) >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert {(path, text) for _, path, _, text in gateway.got} == {("/metrics/job/a/instance/a~b", "emqx_a 1\n")}


async def test_a_gateway_that_fails_is_told_of_once(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    secret = {"Authorization": "Bearer very-secret"}
    settings = PushGateway(enable=True, url=gateway.url.replace("http://", "http://user:very-secret@"), headers=secret)
    pusher = pusher_of(gateway)
    async with aiohttp.ClientSession() as http:
        for status in (500, 403, 302, 202, 202, 500):
            gateway.status = status
            await pusher.push(http, settings)
    said = [record.getMessage() for record in caplog.records if "pushed" in record.getMessage()]
    assert [text.rpartition(" ")[2] for text in said] == ["500", "again", "500"]
    assert "very-secret" not in caplog.text
    assert [path for _, path, _, _ in gateway.got] == ["/metrics/job/a/instance/a~b"] * 6  # no redirection is followed


async def test_a_gateway_that_is_not_there(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = PushGateway(enable=True, url="http://127.0.0.1:1")
    pusher = pusher_of(gateway)
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            await pusher.push(http, nowhere)
    assert len([record for record in caplog.records if "cannot be pushed" in record.getMessage()]) == 1


async def test_a_gateway_that_does_not_answer(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as http:
        await pusher_of(gateway).push(http, PushGateway(enable=True, url=f"http://127.0.0.1:{port}"))
    assert "takes too long" in caplog.text
    server.close()


@pytest.mark.parametrize(
    ("url", "job", "target"),
    [
        ("http://g:1", "x", "http://g:1/metrics/job/x"),
        ("http://g:1/", "/x/instance/${host}/", "http://g:1/metrics/job/x/instance/h.example"),
        ("https://g/base?token=1", "${name}", "https://g/base/metrics/job/n?token=1"),
        ("http://[::1]:9091", "a b", "http://[::1]:9091/metrics/job/a%20b"),
    ],
)
def test_where_to(url: str, job: str, target: str) -> None:
    assert str(target_of(PushGateway(url=url, job_name=job), "n@h.example")) == target


async def test_when_certificates_expire(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"

    def write(days: int) -> int:
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        trustme.CA().issue_cert("localhost", not_after=expires).cert_chain_pems[0].write_to_path(path)
        return int(expires.timestamp())

    def definition(kind: str, name: str, certfile: str | None) -> SimpleNamespace:
        config = SimpleNamespace(ssl=certfile is not None, certfile=certfile)
        return SimpleNamespace(kind=kind, name=name, config=config)

    definitions = [
        definition("tcp", "default", None),
        definition("ssl", "default", str(path)),
        definition("wss", "gone", str(tmp_path / "missing.pem")),
        definition("wss", "web", str(path)),
    ]
    broker: Any = SimpleNamespace(listeners=SimpleNamespace(definitions=dict(enumerate(definitions))))
    dates = CertificateDates()
    for days in (30, 60):
        at = write(days)
        for _ in range(2):
            assert await dates.of_listeners(broker) == [("ssl", "default", at), ("wss", "web", at)]
    path.write_text("nothing of the kind")
    assert await dates.of_listeners(broker) == []


def test_text_is_written_so_that_it_can_be_read() -> None:
    odd = 'a"b\\c\nd'
    families = [
        Family("emqx_a", "gauge", "One\nline \\", [((), 1), ((("x", odd),), 2.5)]),
        Family("emqx_b", "counter", "Nothing"),
    ]
    text = write_text(families)
    assert text.endswith("\n")
    (read,) = text_string_to_metric_families(text)
    assert [(sample.labels, sample.value) for sample in read.samples] == [({}, 1.0), ({"x": odd}, 2.5)]
    assert write_text([]) == ""


def test_rows_are_put_together_by_their_labels() -> None:
    one, two = (("id", "1"),), (("id", "2"),)
    families = [Family("a", "gauge", "", [(one, 1), (two, 2)]), Family("b", "gauge", "", [(two, 3)])]
    assert as_rows(families) == [{"id": "1", "a": 1}, {"id": "2", "a": 2, "b": 3}]
    assert as_object([Family("a", "gauge", "", [((), 1)])]) == {"a": 1}
