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
from .restarted import started

NEW: dict[str, Any] = {"type": "tcp", "name": "demo", "bind": "127.0.0.1:0"}


async def test_listeners_survive_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as (call, _):
        assert (await call("POST", "/listeners", {**NEW, "max_connections": 9}))[0] == 200
        assert (await call("POST", "/listeners", {**NEW, "name": "gone"}))[0] == 200
        assert (await call("DELETE", "/listeners/tcp:gone"))[0] == 204
        assert (await call("POST", "/listeners/tcp:default/stop"))[0] == 200
    async with started(tmp_path) as (call, broker):
        _, rows = await call("GET", "/listeners")
        states = {row["id"]: (row["enable"], row["status"]["running"]) for row in rows}
        assert states == {"tcp:default": (False, False), "tcp:demo": (True, True)}
        assert (await call("GET", "/listeners/tcp:demo"))[1]["max_connections"] == 9
        client = await Client.open(broker.addresses["tcp:demo"])
        await client.connect("c")
        client.abort()


async def test_one_of_the_configuration_stays_deleted(tmp_path: Path) -> None:
    async with started(tmp_path) as (call, _):
        assert (await call("DELETE", "/listeners/tcp:default"))[0] == 204
    async with started(tmp_path) as (call, broker):
        assert await call("GET", "/listeners") == (200, [])
        assert broker.addresses == {}


async def test_a_port_that_is_taken_meanwhile_keeps_nobody_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(tmp_path) as (call, _):
        _, made = await call("POST", "/listeners", NEW)
        await call("PUT", "/listeners/tcp:demo", {"bind": made["bind"].replace("127.0.0.1", "localhost")})
        _, made = await call("GET", "/listeners/tcp:demo")
    port = int(made["bind"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), caplog.at_level(logging.ERROR):
        async with started(tmp_path) as (call, _):
            _, shown = await call("GET", "/listeners/tcp:demo")
            assert (shown["enable"], shown["running"]) == (True, False)
            assert "tcp:demo stays closed" in caplog.text
            assert (await call("POST", "/listeners/tcp:demo/start"))[0] == 400


async def test_an_address_on_the_command_line_wins(tmp_path: Path) -> None:
    async with started(tmp_path) as (call, _):
        status, _ = await call("PUT", "/listeners/tcp:default", {"bind": "localhost:0", "max_connections": 4})
        assert status == 200
    async with started(tmp_path, fixed={"listeners": {"default": {"bind": "127.0.0.1:0"}}}) as (call, _):
        _, shown = await call("GET", "/listeners/tcp:default")
        assert shown["bind"].startswith("127.0.0.1:")
        assert shown["max_connections"] == 4
        status, error = await call("PUT", "/listeners/tcp:default", {"bind": "localhost:0"})
        assert (status, error["code"]) == (400, "BAD_REQUEST")
        assert (await call("PUT", "/listeners/tcp:default", {"max_connections": 5}))[0] == 200


async def test_settings_survive_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as (call, _):
        assert (await call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 5}}))[0] == 200
        assert (await call("PUT", "/configs/broker", {"session_history_retain": "1h"}))[0] == 200
    async with started(tmp_path) as (call, broker):
        assert broker.settings.max_inflight == 5
        assert broker.session_history.retained == 3_600
        assert (await call("GET", "/configs/global_zone"))[1]["mqtt"]["max_inflight"] == 5


async def test_what_the_command_line_says_cannot_be_changed(tmp_path: Path) -> None:
    async with started(tmp_path) as (call, _):
        assert (await call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 5}}))[0] == 200
    fixed = {"mqtt": {"max_inflight": 32}, "log": {"level": "info"}}
    async with started(tmp_path, fixed=fixed) as (call, broker):
        assert broker.settings.max_inflight == 32
        assert (await call("GET", "/configs/global_zone"))[1]["mqtt"]["max_inflight"] == 32
        status, error = await call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 6}})
        assert (status, error["code"]) == (403, "UPDATE_FAILED")
        assert (await call("PUT", "/configs/global_zone", {"mqtt": {"max_mqueue_len": 6}}))[0] == 200
        assert broker.settings.max_mqueue_len == 6
        status, error = await call("PUT", "/configs/log", {"console": {"level": "error"}})
        assert (status, error["code"]) == (403, "UPDATE_FAILED")


async def test_a_log_file_of_ours(tmp_path: Path) -> None:
    root = logging.getLogger()
    level, before = root.level, list(root.handlers)
    try:
        async with started(tmp_path) as (call, _):
            body = {"file": {"enable": True, "level": "error", "formatter": "json"}}
            assert (await call("PUT", "/configs/log", body))[0] == 200
            logging.getLogger("wardenmq.test").error("something is wrong")
            file = tmp_path / "log" / "wardenmq.log"
            assert '"msg": "something is wrong"' in file.read_text()
            assert file.stat().st_mode & 0o077 == 0
            assert (await call("PUT", "/configs/log", {}))[0] == 200
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
    async with started(tmp_path) as (call, broker):
        status, made = await call("POST", "/listeners", {**NEW, "type": "ssl", "ssl_options": texts})
        assert status == 200, made
        kept = {Path(made["ssl_options"][field]) for field in texts}
        assert {path.parent for path in kept} == {tmp_path / "certs" / "listeners" / "ssl_demo"}
        assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
        context = ssl.create_default_context(cafile=authority.cafile)
        address = broker.addresses["ssl:demo"]
        reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="localhost")
        writer.write(connect("c"))
        assert (await reader.readexactly(4))[3] == 0
        writer.close()
    async with started(tmp_path) as (call, broker):
        assert (await call("GET", "/listeners/ssl:demo"))[1]["running"] is True
        assert (await call("DELETE", "/listeners/ssl:demo"))[0] == 204
    assert not any(path.exists() for path in kept)


async def test_a_listener_that_asks_for_no_proof(tmp_path: Path) -> None:
    plugins = {CREDENTIAL_PLUGIN: {"allow_anonymous": False}, TOPIC_ACL_PLUGIN: {}}
    async with started(tmp_path, plugins=plugins) as (call, broker):
        await call("POST", "/listeners", {**NEW, "enable_authn": False})
        users = "/authentication/password_based:built_in_database/users"
        assert (await call("POST", users, {"user_id": "alice", "password": "right"}))[0] == 201
        guarded = await Client.open(broker.addresses["default"])
        assert await guarded.refused(connect("a", username="alice", password=b"wrong")) == 4
        client = await Client.open(broker.addresses["tcp:demo"])
        await client.connect("b", username="alice", password=b"wrong")
        client.abort()
        assert (await call("POST", "/banned", {"as": "clientid", "who": "bad"}))[0] == 200
        banned = await Client.open(broker.addresses["tcp:demo"])
        assert await banned.refused(connect("bad")) == 5
