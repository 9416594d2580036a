"""Listeners over the API: made, changed, stopped and started in the running broker, and there again after a restart."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from wardenmq.broker.listeners import listeners as listeners_module

from ..engine.wire import Client, connect
from ..listeners.certificates import Authority
from .callers import V5, Api, Reply

FREE = "127.0.0.1:0"


async def make(api: Api, name: str = "demo", **fields: Any) -> dict[str, Any]:
    body = {"type": "tcp", "name": name, "bind": FREE, **fields}
    reply = await api.call("POST", f"{V5}/listeners", body)
    assert reply.status == 200, reply.body
    return reply.json


async def put(api: Api, listener_id: str, **fields: Any) -> Reply:
    return await api.call("PUT", f"{V5}/listeners/{listener_id}", fields)


def where(listener: dict[str, Any]) -> tuple[str, int]:
    host, _, port = listener["bind"].rpartition(":")
    return host, int(port)


async def connected(api: Api, listener: dict[str, Any], client_id: str = "c", **fields: Any) -> Client:
    client = await Client.open(where(listener))
    await client.connect(client_id, **fields)
    return client


async def refuses(address: tuple[str, int]) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_what_the_configuration_names_is_listed(api: Api) -> None:
    (row,) = (await api.get("/listeners")).json
    host, port = api.mqtt.broker.addresses["default"]
    status = {"running": True, "max_connections": "infinity", "current_connections": 0}
    assert row == {
        "id": "tcp:default",
        "type": "tcp",
        "name": "default",
        "enable": True,
        "number": 1,
        "bind": f"{host}:{port}",
        "acceptors": 16,
        "status": status,
        "node_status": [{"node": "wardenmq@127.0.0.1", "status": status}],
    }
    assert (await api.get("/listeners", type="ws")).json == []
    assert (await api.get("/listeners", type="quic")).json == []
    assert (await api.get("/listeners", type="udp")).code == "BAD_REQUEST"


async def test_one_shows_all_that_it_was_told(api: Api) -> None:
    shown = (await api.get("/listeners/tcp:default")).json
    assert shown["id"] == "tcp:default"
    assert shown["running"] is True
    assert shown["access_rules"] == ["allow all"]
    assert shown["enable_authn"] is True
    assert shown["tcp_options"]["backlog"] == 1024
    assert "ssl_options" not in shown
    assert "websocket" not in shown


@pytest.mark.parametrize("listener_id", ["default", "udp:default", ":default", "tcp:"])
async def test_what_is_no_id(api: Api, listener_id: str) -> None:
    reply = await api.get(f"/listeners/{listener_id}")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/stop"), ("POST", "/restart")],
)
async def test_one_that_is_not_there(api: Api, method: str, path: str) -> None:
    body = {} if method == "PUT" else None
    reply = await api.call(method, f"{V5}/listeners/tcp:nobody{path}", body)
    assert (reply.status, reply.code) == (404, "BAD_LISTENER_ID")


async def test_a_new_one_serves_clients_at_once(api: Api) -> None:
    made = await make(api, max_connections=5)
    assert made["id"] == "tcp:demo"
    assert made["running"] is True
    client = await connected(api, made)
    shown = (await api.get("/listeners/tcp:demo")).json
    assert shown["current_connections"] == 1
    assert shown["max_connections"] == 5
    assert (await api.get("/clients/c")).json["listener"] == "tcp:demo"
    client.abort()


async def test_id_and_running_in_a_new_one_are_ignored(api: Api) -> None:
    made = await make(api, id="tcp:other", running=False)
    assert (made["id"], made["running"]) == ("tcp:demo", True)


async def test_a_new_one_may_be_closed(api: Api) -> None:
    made = await make(api, enable=False, bind=f"127.0.0.1:{api.mqtt.broker.addresses['default'][1]}")
    assert (made["enable"], made["running"]) == (False, False)


async def test_there_is_only_one_of_an_id(api: Api) -> None:
    await make(api)
    for name in ("demo", "default"):
        reply = await api.call("POST", f"{V5}/listeners", {"type": "tcp", "name": name, "bind": FREE})
        assert (reply.status, reply.code) == (400, "BAD_LISTENER_ID")
    await make(api, type="ws")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "a b"}, "BAD_LISTENER_ID"),
        ({"name": "a/b"}, "BAD_LISTENER_ID"),
        ({"bind": "nowhere"}, "BAD_REQUEST"),
        ({"bind": ":"}, "BAD_REQUEST"),
        ({"bind": "127.0.0.1:"}, "BAD_REQUEST"),
        ({"bind": "[::1]:"}, "BAD_REQUEST"),
        ({"bind": "[::1]"}, "BAD_REQUEST"),
        ({"bind": ""}, "BAD_REQUEST"),
        ({"bind": "unix:/tmp/x"}, "BAD_REQUEST"),
        ({"bind": "127.0.0.1:70000"}, "BAD_REQUEST"),
        ({"bind": "192.0.2.1:0"}, "BAD_REQUEST"),
        ({"type": "quic"}, "BAD_REQUEST"),
        ({"zone": "other"}, "BAD_REQUEST"),
        ({"mountpoint": "m/"}, "BAD_REQUEST"),
        ({"max_connections": 0}, "BAD_REQUEST"),
        ({"max_conn_rate": "fast"}, "BAD_REQUEST"),
        ({"max_conn_rate": "0/s"}, "BAD_REQUEST"),
        ({"messages_rate": "10/s"}, "BAD_REQUEST"),
        ({"access_rules": ["permit all"]}, "BAD_REQUEST"),
        ({"access_rules": ["deny home"]}, "BAD_REQUEST"),
        ({"enable_authn": "maybe"}, "BAD_REQUEST"),
        ({"websocket": {}}, "BAD_REQUEST"),
        ({"ssl_options": {}}, "BAD_REQUEST"),
        ({"type": "ssl"}, "BAD_REQUEST"),
        ({"type": "ssl", "ssl_options": {"certfile": "/nowhere.pem", "keyfile": "/nowhere.pem"}}, "BAD_REQUEST"),
        ({"type": "ws", "websocket": {"mqtt_path": "mqtt"}}, "BAD_REQUEST"),
        ({"type": "ws", "websocket": {"compress": True}}, "BAD_REQUEST"),
        ({"unknown": 1}, "BAD_REQUEST"),
    ],
)
async def test_what_cannot_be_made(api: Api, fields: dict[str, Any], code: str) -> None:
    body = {"type": "tcp", "name": "demo", "bind": FREE, **fields}
    reply = await api.call("POST", f"{V5}/listeners", body)
    assert (reply.status, reply.code) == (400, code)
    assert [row["id"] for row in (await api.get("/listeners")).json] == ["tcp:default"]


async def test_a_port_in_use_changes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    bind = f"127.0.0.1:{taken.getsockname()[1]}"
    with taken:
        reply = await api.call("POST", f"{V5}/listeners", {"type": "tcp", "name": "demo", "bind": bind})
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")
        made = await make(api, "other")
        client = await connected(api, made)
        assert (await put(api, "tcp:other", bind=bind)).status == 400
    # Nor where the listener has to be closed for the change: two that cannot be both want its place.
    monkeypatch.setattr(listeners_module, "_BIND_ATTEMPTS", 2)
    present = {"bind": (await api.get("/listeners/tcp:default")).json["bind"]}
    two = {"tcp": {"default": present}, "ws": {name: {"bind": made["bind"]} for name in ("one", "two")}}
    data, text = json.dumps({"listeners": two}).encode(), {"Content-Type": "text/plain"}
    reply = await api.call("PUT", f"{V5}/configs?mode=replace", data=data, headers=text)
    assert reply.status == 400
    assert "in use" in reply.json["errors"]["listeners"]["reason"]
    shown = (await api.get("/listeners/tcp:other")).json
    assert (shown["running"], shown["bind"], shown["current_connections"]) == (True, made["bind"], 1)
    assert [row["id"] for row in (await api.get("/listeners")).json] == ["tcp:default", "tcp:other"]
    await client.ping()
    (await connected(api, made, "second")).abort()
    assert (await api.call("POST", f"{V5}/listeners/tcp:other/stop")).status == 200
    await client.hung_up()


async def test_stop_closes_the_connections_and_start_opens_again(api: Api) -> None:
    made = await make(api)
    client = await connected(api, made)
    for _ in range(2):
        reply = await api.call("POST", f"{V5}/listeners/tcp:demo/stop")
        assert (reply.status, reply.body) == (200, b"")
    await client.hung_up()
    assert await refuses(where(made))
    shown = (await api.get("/listeners/tcp:demo")).json
    assert (shown["enable"], shown["running"], shown["current_connections"]) == (False, False, 0)
    for _ in range(2):
        assert (await api.call("POST", f"{V5}/listeners/tcp:demo/start")).status == 200
    again = (await api.get("/listeners/tcp:demo")).json
    assert again["running"] is True
    (await connected(api, again)).abort()


async def test_stop_of_one_leaves_the_others_alone(api: Api) -> None:
    await make(api)
    other = await api.mqtt.connected("other")
    assert (await api.call("POST", f"{V5}/listeners/tcp:demo/stop")).status == 200
    await other.ping()


async def test_restart_closes_the_connections(api: Api) -> None:
    made = await make(api)
    client = await connected(api, made)
    assert (await api.call("POST", f"{V5}/listeners/tcp:demo/restart")).status == 200
    await client.hung_up()
    again = (await api.get("/listeners/tcp:demo")).json
    (await connected(api, again)).abort()


async def test_restart_opens_one_that_is_closed(api: Api) -> None:
    await make(api, enable=False)
    assert (await api.call("POST", f"{V5}/listeners/tcp:demo/restart")).status == 200
    assert (await api.get("/listeners/tcp:demo")).json["running"] is True


async def test_delete_closes_and_forgets(api: Api) -> None:
    made = await make(api)
    client = await connected(api, made)
    assert (await api.call("DELETE", f"{V5}/listeners/tcp:demo")).status == 204
    await client.hung_up()
    assert await refuses(where(made))
    assert (await api.get("/listeners/tcp:demo")).status == 404


async def test_one_of_the_configuration_can_be_deleted_and_made_anew(api: Api) -> None:
    assert (await api.call("DELETE", f"{V5}/listeners/tcp:default")).status == 204
    assert (await api.get("/listeners")).json == []
    made = await make(api, "default")
    (await connected(api, made)).abort()


async def test_a_change_that_needs_no_other_socket_leaves_clients_alone(api: Api) -> None:
    made = await make(api)
    client = await connected(api, made)
    reply = await put(api, "tcp:demo", max_connections=1, bind=made["bind"])
    assert reply.json["max_connections"] == 1
    assert reply.json["bind"] == made["bind"]
    await client.ping()
    second = await Client.open(where(made))
    with pytest.raises(AssertionError):
        await second.connect("second")
    second.abort()
    client.abort()


async def test_another_address_closes_the_connections(api: Api) -> None:
    made = await make(api)
    client = await connected(api, made)
    changed = (await put(api, "tcp:demo", bind="localhost:0")).json
    await client.hung_up()
    assert await refuses(where(made))
    assert changed["running"] is True


@pytest.mark.parametrize("fields", [{"id": "tcp:x"}, {"type": "ws"}, {"name": "x"}])
async def test_what_names_another_than_the_path(api: Api, fields: dict[str, Any]) -> None:
    await make(api)
    reply = await put(api, "tcp:demo", **fields)
    assert (reply.status, reply.code) == (400, "BAD_LISTENER_ID")


async def test_what_is_left_out_keeps_its_value(api: Api) -> None:
    await make(api, max_connections=7, tcp_options={"backlog": 5})
    changed = (await put(api, "tcp:demo", tcp_options={"active_n": 1})).json
    assert changed["max_connections"] == 7
    assert (changed["tcp_options"]["backlog"], changed["tcp_options"]["active_n"]) == (5, 1)


async def test_changes_at_once_lose_nothing_of_each_other(api: Api) -> None:
    await make(api, enable=False)
    parts: list[dict[str, Any]] = [
        {"max_connections": 7},
        {"max_conn_rate": "8/s"},
        {"proxy_protocol_timeout": "9s"},
        {"tcp_options": {"backlog": 5}},
    ]
    texts = ["listeners.tcp.demo.acceptors = 3", "listeners.tcp.demo.tcp_options.active_n = 4"]
    text = {"Content-Type": "text/plain"}
    replies = await asyncio.gather(
        *(put(api, "tcp:demo", **part) for part in parts),
        *(api.call("PUT", f"{V5}/configs", data=each.encode(), headers=text) for each in texts),
    )
    assert {reply.status for reply in replies} == {200}
    shown = (await api.get("/listeners/tcp:demo")).json
    assert (shown["max_connections"], shown["max_conn_rate"], shown["proxy_protocol_timeout"]) == (7, "8/s", "9s")
    assert (shown["acceptors"], shown["tcp_options"]["backlog"], shown["tcp_options"]["active_n"]) == (3, 5, 4)


async def test_what_emqx_shows_of_what_is_switched_off_is_taken(api: Api, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    ocsp = {"enable_ocsp_stapling": False, "refresh_interval": "5m", "refresh_http_timeout": "15s"}
    deflate = {"mem_level": 8, "strategy": "default", "server_max_window_bits": 15, "client_max_window_bits": 15}
    deflate |= {"server_context_takeover": "takeover", "client_context_takeover": "takeover"}
    options = {**issued.keys, "ocsp": ocsp}
    made = await make(api, type="wss", ssl_options=options, websocket={"compress": False, "deflate_opts": deflate})
    assert (made["ssl_options"]["ocsp"], made["websocket"]["deflate_opts"]) == (ocsp, deflate)
    for part in ({"ssl_options": {"ocsp": {"enable_ocsp_stapling": True}}}, {"websocket": {"compress": True}}):
        assert (await put(api, "wss:demo", **part)).status == 400


async def test_access_rules_keep_addresses_out(api: Api) -> None:
    made = await make(api, access_rules=["allow 192.0.2.0/24", "deny all"])
    client = await Client.open(where(made))
    with pytest.raises(AssertionError):
        await client.connect("c")
    client.abort()
    changed = (await put(api, "tcp:demo", access_rules=["deny 192.0.2.0/24"])).json
    (await connected(api, changed)).abort()


async def test_quick_deny_anonymous(api: Api) -> None:
    made = await make(api, enable_authn="quick_deny_anonymous")
    client = await Client.open(where(made))
    assert await client.refused(connect("c")) == 5
    (await connected(api, made, username="somebody")).abort()
    (await api.mqtt.connected("elsewhere")).abort()


async def test_types_summed_up(api: Api) -> None:
    await make(api, max_connections=5, enable=False)
    await make(api, type="ws")
    tcp, ws = (await api.get("/listeners_status")).json
    assert tcp["ids"] == ["tcp:default", "tcp:demo"]
    assert tcp["status"] == {"running": "inconsistent", "max_connections": "infinity", "current_connections": 0}
    assert (ws["type"], ws["enable"], ws["status"]["running"]) == ("ws", True, True)


async def test_many_at_once_are_taken_one_after_the_other(api: Api) -> None:
    replies = await asyncio.gather(
        *(api.call("POST", f"{V5}/listeners", {"type": "tcp", "name": "demo", "bind": FREE}) for _ in range(5))
    )
    assert sorted(reply.status for reply in replies) == [200, 400, 400, 400, 400]
    paths = ["stop", "start", "restart"] * 3
    replies = await asyncio.gather(*(api.call("POST", f"{V5}/listeners/tcp:demo/{path}") for path in paths))
    assert {reply.status for reply in replies} == {200}
    assert (await api.call("POST", f"{V5}/listeners/tcp:demo/start")).status == 200
    shown = (await api.get("/listeners/tcp:demo")).json
    (await connected(api, shown)).abort()
