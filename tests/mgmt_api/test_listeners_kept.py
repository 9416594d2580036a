"""What the API made of the listeners is there again after a restart; certificates that came as text; precedence."""

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN

from ..engine.wire import Client, connect
from ..listeners.certificates import Authority
from .whole_server import whole_server

ANONYMOUS = {CREDENTIAL_PLUGIN: {"allow_anonymous": True}, TOPIC_ACL_PLUGIN: {}}
NEW: dict[str, Any] = {"type": "tcp", "name": "demo", "bind": "127.0.0.1:0"}


async def test_listeners_survive_a_restart(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        assert (await server.call("POST", "/listeners", {**NEW, "max_connections": 9})).status == 200
        assert (await server.call("POST", "/listeners", {**NEW, "name": "gone"})).status == 200
        assert (await server.call("DELETE", "/listeners/tcp:gone")).status == 204
        assert (await server.call("POST", "/listeners/tcp:default/stop")).status == 200
    async with whole_server(tmp_path, plugins=ANONYMOUS) as server:
        rows = (await server.call("GET", "/listeners")).json
        states = {row["id"]: (row["enable"], row["status"]["running"]) for row in rows}
        assert states == {"tcp:default": (False, False), "tcp:demo": (True, True)}
        assert (await server.call("GET", "/listeners/tcp:demo")).json["max_connections"] == 9
        client = await Client.open(server.broker.addresses["tcp:demo"])
        await client.connect("c")
        client.abort()


async def test_one_of_the_configuration_stays_deleted(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        assert (await server.call("DELETE", "/listeners/tcp:default")).status == 204
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/listeners")).json == []
        assert server.broker.addresses == {}


async def test_a_port_that_is_taken_meanwhile_keeps_nobody_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with whole_server(tmp_path) as server:
        made = (await server.call("POST", "/listeners", NEW)).json
        await server.call("PUT", "/listeners/tcp:demo", {"bind": made["bind"].replace("127.0.0.1", "localhost")})
        made = (await server.call("GET", "/listeners/tcp:demo")).json
    port = int(made["bind"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), caplog.at_level(logging.ERROR):
        async with whole_server(tmp_path) as server:
            shown = (await server.call("GET", "/listeners/tcp:demo")).json
            assert (shown["enable"], shown["running"]) == (True, False)
            assert "tcp:demo stays closed" in caplog.text
            assert (await server.call("POST", "/listeners/tcp:demo/start")).status == 400


async def test_an_address_on_the_command_line_wins(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        reply = await server.call("PUT", "/listeners/tcp:default", {"bind": "localhost:0", "max_connections": 4})
        assert reply.status == 200
    async with whole_server(tmp_path, fixed={"listeners": {"default": {"bind": "127.0.0.1:0"}}}) as server:
        shown = (await server.call("GET", "/listeners/tcp:default")).json
        assert shown["bind"].startswith("127.0.0.1:")
        assert shown["max_connections"] == 4
        refused = await server.call("PUT", "/listeners/tcp:default", {"bind": "localhost:0"})
        assert (refused.status, refused.code) == (400, "BAD_REQUEST")
        assert (await server.call("PUT", "/listeners/tcp:default", {"max_connections": 5})).status == 200
        for text, status in (('bind = "localhost:0"', 400), ("bind = 1883", 400), ("max_connections = 6", 200)):
            reply = await server.call("PUT", "/configs", text=f"listeners.tcp.default.{text}")
            assert reply.status == status, text
        shown = (await server.call("GET", "/listeners/tcp:default")).json
        assert (shown["max_connections"], shown["bind"].rpartition(":")[0]) == (6, "127.0.0.1")


async def test_settings_survive_a_restart(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        assert (await server.call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 5}})).status == 200
        assert (await server.call("PUT", "/configs/broker", {"session_history_retain": "1h"})).status == 200
    async with whole_server(tmp_path) as server:
        assert server.broker.settings.max_inflight == 5
        assert server.broker.session_history.retained == 3_600
        assert (await server.call("GET", "/configs/global_zone")).json["mqtt"]["max_inflight"] == 5


async def test_the_file_decides_on_settings_that_were_never_changed(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        for text in ("mqtt { max_inflight = 5, max_topic_alias = 9 }", "mqtt.max_topic_alias = 64"):
            assert (await server.call("PUT", "/configs", text=text)).status == 200
    async with whole_server(tmp_path, mqtt={"max_inflight": 6, "max_mqueue_len": 7, "max_topic_alias": 8}) as server:
        settings = server.broker.settings
        assert (settings.max_inflight, settings.max_mqueue_len, settings.max_topic_alias) == (5, 7, 8)
        shown = (await server.call("GET", "/configs/global_zone")).json["mqtt"]
        assert (shown["max_inflight"], shown["max_mqueue_len"], shown["max_topic_alias"]) == (5, 7, 8)


async def test_settings_beyond_what_the_api_takes_are_shown_and_kept(tmp_path: Path) -> None:
    beyond = {"max_mqueue_len": 200_000_000, "max_subscriptions": 900_000_000, "keepalive_multiplier": 200.0}
    fixed = {"mqtt": {"connect_timeout": 5.2345678}}
    async with whole_server(tmp_path, fixed=fixed, mqtt=beyond) as server:
        shown = (await server.call("GET", "/configs/global_zone")).json
        assert shown["mqtt"]["max_mqueue_len"] == 100_000_000
        assert (await server.call("PUT", "/configs/global_zone", shown)).status == 200
        assert (await server.call("PUT", "/configs", text="mqtt.max_inflight = 5")).status == 200
        settings = server.broker.settings
        assert (settings.max_inflight, settings.max_mqueue_len, settings.connect_timeout) == (5, 200_000_000, 5.2345678)


async def test_what_the_command_line_says_cannot_be_changed(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        assert (await server.call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 5}})).status == 200
    fixed = {"mqtt": {"max_inflight": 32}, "log": {"level": "info"}}
    async with whole_server(tmp_path, fixed=fixed) as server:
        assert server.broker.settings.max_inflight == 32
        assert (await server.call("GET", "/configs/global_zone")).json["mqtt"]["max_inflight"] == 32
        refused = await server.call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 6}})
        assert (refused.status, refused.code) == (403, "UPDATE_FAILED")
        assert (await server.call("PUT", "/configs/global_zone", {"mqtt": {"max_mqueue_len": 6}})).status == 200
        assert server.broker.settings.max_mqueue_len == 6
        refused = await server.call("PUT", "/configs/log", {"console": {"level": "error"}})
        assert (refused.status, refused.code) == (403, "UPDATE_FAILED")


async def test_a_log_file_of_ours(tmp_path: Path) -> None:
    root = logging.getLogger()
    level, before = root.level, list(root.handlers)
    try:
        async with whole_server(tmp_path) as server:
            body = {"file": {"enable": True, "level": "error", "formatter": "json"}}
            assert (await server.call("PUT", "/configs/log", body)).status == 200
            logging.getLogger("wardenmq.test").error("something is wrong")
            file = tmp_path / "log" / "wardenmq.log"
            assert '"msg": "something is wrong"' in file.read_text()
            assert file.stat().st_mode & 0o077 == 0
            assert (await server.call("PUT", "/configs/log", {})).status == 200
            logging.getLogger("wardenmq.test").error("something else")
            assert "something else" not in file.read_text()
    finally:
        root.setLevel(level)
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            handler.close()


async def test_certificates_as_text(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    issued = authority.issue("localhost")
    texts = {"certfile": Path(issued.certfile).read_text(), "keyfile": Path(issued.keyfile).read_text()}
    async with whole_server(tmp_path, plugins=ANONYMOUS) as server:
        reply = await server.call("POST", "/listeners", {**NEW, "type": "ssl", "ssl_options": texts})
        assert reply.status == 200, reply.body
        made = reply.json
        kept = {Path(made["ssl_options"][field]) for field in texts}
        assert {path.parent for path in kept} == {tmp_path / "certs" / "listeners" / "ssl_demo"}
        assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
        context = ssl.create_default_context(cafile=authority.cafile)
        address = server.broker.addresses["ssl:demo"]
        reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="localhost")
        writer.write(connect("c"))
        assert (await reader.readexactly(4))[3] == 0
        writer.close()
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/listeners/ssl:demo")).json["running"] is True
        assert (await server.call("DELETE", "/listeners/ssl:demo")).status == 204
    assert not any(path.exists() for path in kept)


async def test_no_files_are_left_of_what_was_refused(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    issued, other = authority.issue("localhost"), authority.issue("localhost")
    texts = {"certfile": issued.certfile.read_text(), "keyfile": issued.keyfile.read_text()}
    folder = tmp_path / "certs" / "listeners" / "ssl_demo"
    async with whole_server(tmp_path) as server:
        body = {**NEW, "type": "ssl", "ssl_options": {**texts, "keyfile": other.keyfile.read_text()}}
        assert (await server.call("POST", "/listeners", body)).status == 400
        assert not folder.exists()
        assert (await server.call("POST", "/listeners", {**body, "ssl_options": texts})).status == 200
        kept = {file.name for file in folder.iterdir()}
        changed = {"ssl_options": {"certfile": other.certfile.read_text()}}
        assert (await server.call("PUT", "/listeners/ssl:demo", changed)).status == 400
        assert {file.name for file in folder.iterdir()} == kept


async def test_ids_lead_to_no_files_but_those_of_listeners(tmp_path: Path) -> None:
    (tmp_path / "certs" / "listeners" / "tcp_x").mkdir(parents=True)
    ours = tmp_path / "certs" / "precious"
    ours.write_text("")
    async with whole_server(tmp_path) as server:
        for listener_id in ("tcp:x%2F..%2F..", "tcp:x%2F..%2F..%2F..", "tcp:" + "x" * 300):
            for method in ("DELETE", "PUT"):
                assert (await server.call(method, f"/listeners/{listener_id}", {})).status == 404
    assert ours.exists()


async def test_a_listener_that_asks_for_no_proof(tmp_path: Path) -> None:
    plugins = {CREDENTIAL_PLUGIN: {"allow_anonymous": False}, TOPIC_ACL_PLUGIN: {}}
    async with whole_server(tmp_path, plugins=plugins) as server:
        await server.call("POST", "/listeners", {**NEW, "enable_authn": False})
        users = "/authentication/password_based:built_in_database/users"
        assert (await server.call("POST", users, {"user_id": "alice", "password": "right"})).status == 201
        guarded = await Client.open(server.broker.addresses["default"])
        assert await guarded.refused(connect("a", username="alice", password=b"wrong")) == 4
        client = await Client.open(server.broker.addresses["tcp:demo"])
        await client.connect("b", username="nobody", password=b"wrong")
        client.abort()
        # Who comes as somebody else has to be it: the rules of a name would be anybody's.
        stranger = await Client.open(server.broker.addresses["tcp:demo"])
        assert await stranger.refused(connect("c", username="alice", password=b"wrong")) == 4
        client = await Client.open(server.broker.addresses["tcp:demo"])
        await client.connect("d", username="alice", password=b"right")
        client.abort()
        assert (await server.call("POST", "/banned", {"as": "clientid", "who": "bad"})).status == 200
        banned = await Client.open(server.broker.addresses["tcp:demo"])
        assert await banned.refused(connect("bad")) == 5
