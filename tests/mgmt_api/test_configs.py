"""The configuration over the API: what is shown in which form, what is refused, and what a change brings about."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from wardenmq.mgmt_api.emqx.settings.hocon import read_hocon
from wardenmq.store.errors import StoreError

from ..engine.conditions import until
from ..listeners.certificates import Authority
from .callers import V5, Api, Reply

TEXT = {"Content-Type": "text/plain"}


async def put(api: Api, text: str, query: str = "") -> Reply:
    return await api.call("PUT", f"{V5}/configs?{query}", data=text.encode(), headers=TEXT)


async def shown(api: Api, key: str) -> Any:
    return (await api.call("GET", f"{V5}/configs?key={key}", headers={"Accept": "application/json"})).json


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "text/html, text/plain;q=0.5", "application/json, */*"])
async def test_text_unless_json_alone_fits(api: Api, accept: str | None) -> None:
    reply = await api.call("GET", f"{V5}/configs", headers={} if accept is None else {"Accept": accept})
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert read_hocon(reply.body.decode())["mqtt"]["max_inflight"] == 32


async def test_json_and_text_say_the_same(api: Api) -> None:
    text = await api.call("GET", f"{V5}/configs")
    data = await api.call("GET", f"{V5}/configs", headers={"Accept": "application/json"})
    assert read_hocon(text.body.decode()) == data.json
    assert {"mqtt", "log", "listeners", "broker", "sysmon", "dashboard"} <= data.json.keys()
    assert data.json["listeners"]["tcp"]["default"]["enable"] is True


async def test_another_form_is_refused(api: Api) -> None:
    reply = await api.call("GET", f"{V5}/configs", headers={"Accept": "text/html"})
    assert (reply.status, reply.code) == (400, "INVALID_ACCEPT")


async def test_one_root(api: Api) -> None:
    assert (await shown(api, "mqtt"))["max_packet_size"] == "1000B"
    text = (await api.get("/configs", key="broker")).body.decode()
    assert list(read_hocon(text)) == ["broker"]


async def test_an_empty_text_changes_nothing(api: Api) -> None:
    before = (await api.get("/configs")).body
    reply = await put(api, "")
    assert (reply.status, reply.body) == (200, b"")
    assert (await api.get("/configs")).body == before


async def test_a_text_is_merged(api: Api) -> None:
    await put(api, "mqtt.max_mqueue_len = 7")
    assert (await put(api, "mqtt { max_inflight = 5 }")).status == 200
    mqtt = await shown(api, "mqtt")
    assert (mqtt["max_inflight"], mqtt["max_mqueue_len"]) == (5, 7)
    assert api.mqtt.broker.settings.max_inflight == 5


async def test_or_replaces(api: Api) -> None:
    await put(api, "mqtt.max_mqueue_len = 7")
    assert (await put(api, "mqtt.max_inflight = 5", "mode=replace")).status == 200
    mqtt = await shown(api, "mqtt")
    assert (mqtt["max_inflight"], mqtt["max_mqueue_len"]) == (5, 1000)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("a = ", {"type": "parse_error", "line": 1, "reason": "a value is missing"}),
        ("\n\nmqtt {", {"type": "parse_error", "line": 3, "reason": "an object is not closed"}),
        ('include "x"', {"type": "parse_error", "line": 1, "reason": "'include' is not supported"}),
        (
            "mqtt.response_information = ${PATH}",
            {"type": "parse_error", "line": 1, "reason": "substitutions are not supported"},
        ),
        ('mqtt = "x', {"type": "scan_error", "line": 1, "reason": "a string is not closed"}),
        ("node.name = x", "Cannot update read-only key 'node'"),
        ("nobody = 1", {"nobody": '{root_key_not_found,"unknown root"}'}),
        (
            "mqtt.none = 1",
            {"mqtt": {"kind": "validation_error", "path": "mqtt", "reason": "unknown_fields", "unknown": "none"}},
        ),
    ],
)
async def test_what_is_wrong_with_a_text(api: Api, text: str, errors: object) -> None:
    reply = await put(api, text)
    assert (reply.status, reply.json) == (400, {"errors": errors})


async def test_a_wrong_value_names_its_place_and_nothing_is_changed(api: Api) -> None:
    reply = await put(api, "mqtt.max_inflight = 5\nlog.console.level = loud")
    assert reply.status == 400
    assert reply.json["errors"]["log"]["kind"] == "validation_error"
    assert reply.json["errors"]["log"]["path"] == "log.console.level"
    assert (await shown(api, "mqtt"))["max_inflight"] == 32


async def test_read_only_roots_can_be_passed_over(api: Api) -> None:
    assert (await put(api, "node.name = x\nmqtt.max_inflight = 5", "ignore_readonly=true")).status == 200
    assert (await shown(api, "mqtt"))["max_inflight"] == 5


async def test_listeners_can_be_changed_as_a_text(api: Api) -> None:
    text = 'listeners.tcp.demo { bind = "127.0.0.1:0", max_connections = 3 }'
    assert (await put(api, text)).status == 200
    made = (await api.get("/listeners/tcp:demo")).json
    assert (made["running"], made["max_connections"]) == (True, 3)
    assert (await put(api, "listeners.tcp.demo.enable = false")).status == 200
    assert (await api.get("/listeners/tcp:demo")).json["running"] is False
    assert (await api.get("/listeners/tcp:default")).json["running"] is True
    assert (await put(api, "listeners.tcp.x.bind = nowhere")).json["errors"]["listeners"]["kind"] == "validation_error"


async def test_all_of_a_text_or_nothing(api: Api) -> None:
    before = (await api.get("/configs")).body
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f'mqtt.max_inflight = 7\nlisteners.tcp.z.bind = "127.0.0.1:{port}"\nalarm.size_limit = 77'
        reply = await put(api, text)
    assert (reply.status, list(reply.json["errors"])) == (400, ["listeners"])
    assert reply.json["errors"]["listeners"]["kind"] == "update_failed"
    assert (await api.get("/configs")).body == before
    assert api.mqtt.broker.settings.max_inflight == 32


async def test_what_was_changed_before_a_part_failed_is_undone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (await api.get("/configs")).body
    write = api.directory.configurations.put

    async def refuse_alarms(name: str, value: Any, **origin: Any) -> None:
        if name == "alarm":
            raise StoreError("the disk is full")
        await write(name, value, **origin)

    monkeypatch.setattr(api.directory.configurations, "put", refuse_alarms)
    text = 'mqtt.max_inflight = 7\nlisteners.tcp.z.bind = "127.0.0.1:0"\nauthentication = []\nalarm.size_limit = 77'
    assert (await put(api, text)).status >= 400
    monkeypatch.undo()
    assert (await api.get("/configs")).body == before
    assert api.mqtt.broker.settings.max_inflight == 32
    assert (await api.get("/listeners/tcp:z")).status == 404


async def test_a_password_that_is_shown_hidden_can_be_sent_back(api: Api, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    key, locked = load_pem_private_key(issued.keyfile.read_bytes(), None), tmp_path / "locked.pem"
    encryption = BestAvailableEncryption(b"not shown")
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    options = {"certfile": str(issued.certfile), "keyfile": str(locked), "password": "not shown"}
    body = {"type": "ssl", "name": "demo", "bind": "127.0.0.1:0", "ssl_options": options}
    assert (await api.call("POST", f"{V5}/listeners", body)).status == 200
    text = (await api.get("/configs", key="listeners")).body.decode()
    assert "not shown" not in text
    for mode in ("merge", "replace"):
        reply = await put(api, text, f"mode={mode}")
        assert (reply.status, reply.body) == (200, b""), mode
        assert (await api.call("POST", f"{V5}/listeners/ssl:demo/restart")).status == 200
    assert (await put(api, 'listeners.ssl.demo.ssl_options = "none"')).status == 400


async def test_changes_at_once_lose_nothing_of_each_other(api: Api) -> None:
    texts = ["mqtt.max_inflight = 7", "mqtt.max_mqueue_len = 8", "mqtt.max_topic_alias = 9"]
    replies = await asyncio.gather(*(put(api, text) for text in texts))
    assert {reply.status for reply in replies} == {200}
    mqtt = await shown(api, "mqtt")
    assert (mqtt["max_inflight"], mqtt["max_mqueue_len"], mqtt["max_topic_alias"]) == (7, 8, 9)


async def test_what_emqx_shows_of_what_is_switched_off_is_taken(api: Api) -> None:
    """Kept and shown, for it has no effect there either."""
    zone = {"durable_sessions": {"enable": False, "batch_size": 7}}
    assert (await api.call("PUT", f"{V5}/configs/global_zone", zone)).json["durable_sessions"]["batch_size"] == 7
    log = {"console": {"payload_encode": "text"}}
    assert (await api.call("PUT", f"{V5}/configs/log", log)).json["console"]["payload_encode"] == "text"


async def test_new_clients_keep_to_a_changed_zone(api: Api) -> None:
    body = {"mqtt": {"max_topic_alias": 3, "server_keepalive": 9, "max_packet_size": "2KB"}}
    reply = await api.call("PUT", f"{V5}/configs/global_zone", body)
    assert reply.status == 200
    assert reply.json["mqtt"]["max_packet_size"] == "2KB"
    settings = api.mqtt.broker.settings
    assert (settings.max_topic_alias, settings.server_keepalive, settings.max_packet_size) == (3, 9, 2048)


async def test_user_names_as_client_ids(api: Api) -> None:
    await put(api, "mqtt.use_username_as_clientid = true")
    await api.mqtt.connected("sent", username="alice")
    assert [row["clientid"] for row in (await api.get("/clients")).rows] == ["alice"]


async def test_clients_spared_their_own_messages(api: Api) -> None:
    await put(api, "mqtt.ignore_loop_deliver = true")
    client = await api.mqtt.connected("c")
    other = await api.mqtt.connected("other")
    await client.subscribe(("t", 0))
    await client.publish("t", b"own")
    await other.publish("t", b"other's")
    assert (await client.message()).payload == b"other's"


async def test_a_shared_subscription_follows_a_changed_strategy(api: Api) -> None:
    first, second = await api.mqtt.connected("first"), await api.mqtt.connected("second")
    publisher = await api.mqtt.connected("publisher")
    for client in (first, second):
        await client.subscribe(("$share/g/t", 1))
    await put(api, "mqtt.shared_subscription_strategy = sticky")
    for _ in range(4):
        await publisher.publish("t", b"x", 1)
    waiting = [(await api.get(f"/clients/{name}")).json["inflight_cnt"] for name in ("first", "second")]
    assert sorted(waiting) == [0, 4]


@pytest.mark.parametrize(
    "fields",
    [
        {"upgrade_qos": True},
        {"mqueue_store_qos0": True},
        {"strict_mode": True},
        {"exclusive_subscription": True},
        {"max_packet_size": "1B"},
        {"max_packet_size": "300MB"},
        {"idle_timeout": "0s"},
        {"max_inflight": 0},
        {"server_keepalive": 0},
        {"keepalive_multiplier": 0.5},
        {"session_expiry_interval": "0s"},
        {"unknown": 1},
    ],
)
async def test_a_value_that_cannot_hold_is_refused(api: Api, fields: dict[str, Any]) -> None:
    reply = await api.call("PUT", f"{V5}/configs/global_zone", {"mqtt": fields})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("part", ["force_shutdown", "force_gc", "durable_sessions"])
async def test_what_is_not_here_cannot_be_switched_on(api: Api, part: str) -> None:
    assert (await api.get("/configs/global_zone")).json[part]["enable"] is False
    assert (await api.call("PUT", f"{V5}/configs/global_zone", {part: {"enable": True}})).status == 400


async def test_what_is_shown_can_be_sent_back(api: Api) -> None:
    for name in ("sys_topics", "sysmon", "alarm", "dashboard", "broker", "log", "global_zone"):
        before = (await api.get(f"/configs/{name}")).json
        reply = await api.call("PUT", f"{V5}/configs/{name}", before)
        assert (reply.status, reply.json) == (200, before), name


async def test_one_value_is_set_back(api: Api) -> None:
    await api.call("PUT", f"{V5}/configs/broker", {"session_history_retain": "1h"})
    reply = await api.call("POST", f"{V5}/configs_reset/broker?conf_path=session_history_retain")
    assert (reply.status, reply.body) == (200, b"")
    assert (await api.get("/configs/broker")).json["session_history_retain"] == "0s"


@pytest.mark.parametrize("path", ["sysmon", "sysmon?conf_path=vm.none", "sysmon?conf_path=vm.busy_port.x"])
async def test_what_has_no_default(api: Api, path: str) -> None:
    reply = await api.call("POST", f"{V5}/configs_reset/{path}")
    assert (reply.status, reply.code) == (400, "NO_DEFAULT_VALUE")


async def test_who_comes_and_goes_all_the_time_is_banned(api: Api) -> None:
    body = {"flapping_detect": {"enable": True, "max_count": 3}}
    assert (await api.call("PUT", f"{V5}/configs/global_zone", body)).status == 200
    for count in range(3):
        assert (await api.get("/banned")).rows == [], count
        client = await api.mqtt.connected("restless")
        await client.disconnect()
    await until(lambda: bool(api.directory.bans.all()))
    (ban,) = (await api.get("/banned")).rows
    assert (ban["as"], ban["who"], ban["by"]) == ("clientid", "restless", "flapping detector")


async def test_nobody_is_counted_once_it_is_switched_off(api: Api) -> None:
    for enable in (True, False):
        body = {"flapping_detect": {"enable": enable, "max_count": 2}}
        assert (await api.call("PUT", f"{V5}/configs/global_zone", body)).status == 200
    for _ in range(3):
        await (await api.mqtt.connected("restless")).disconnect()
    assert api.mqtt.broker.flapping.counted == 0
    assert (await api.get("/banned")).rows == []


async def test_whoever_changes_who_may_do_what_is_in_the_audit_log(api: Api) -> None:
    chain = json.dumps([{"mechanism": "password_based", "backend": "built_in_database", "user_id_type": "clientid"}])
    text = f"authorization {{ no_match = allow }}\nauthentication = {chain}".encode()
    assert (await api.call("PUT", f"{V5}/configs", data=text, headers=TEXT)).status == 200
    entries = await api.directory.audit.entries()
    assert {entry.action.partition(".")[0] for entry in entries} >= {"authenticator", "authorization"}
    assert {(entry.actor, entry.facade) for entry in entries if not entry.action.startswith("api_key")} == {
        ("api_key:administrator", "emqx")
    }
