"""A real server: what it has sampled survives a kill, it speaks under `$SYS`, and it can be scraped."""

import time
from pathlib import Path
from typing import Any

import aiohttp
from wardenmq.store.file_names import HISTORY_NAME
from wardenmq.store.history import HistoryStore
from wardenmq.store.history.monitor_samples import COUNTS, GAUGES, MonitorSamples

from ..conftest import Launch
from ..engine.wire import Client
from ..processes import ServerProcess
from .whole_server import whole_server

NODE = "wardenmq@127.0.0.1"


async def get(server: ServerProcess, path: str, *, known: bool = True) -> Any:
    headers = {"Authorization": server.authorization} if known else {}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{server.ready['api']}/api/v5{path}") as response,
    ):
        assert response.status == 200
        return await response.json() if response.content_type == "application/json" else await response.text()


async def test_samples_survive_a_kill(launch: Launch) -> None:
    server = await (await launch()).wait_ready()
    assert (server.data_dir / HISTORY_NAME).stat().st_mode & 0o777 == 0o600
    assert (await get(server, "/monitor_current"))["connections"] == 0
    await server.kill()
    store = await HistoryStore.open(server.data_dir / HISTORY_NAME)
    at = int(time.time()) // 10 * 10 - 3_000
    await MonitorSamples(store).add(at, {**dict.fromkeys(GAUGES, 3), **dict.fromkeys(COUNTS, 4)})
    await store.close()
    for _ in range(2):
        server = await (await launch()).wait_ready()
        first = (await get(server, "/monitor"))[0]
        assert (first["time_stamp"], first["connections"], first["received"]) == (at * 1_000, 3, 4)
        await server.kill()


async def test_a_damaged_history_keeps_no_server_from_starting(launch: Launch) -> None:
    server = await (await launch()).wait_ready()
    await server.stop()
    (server.data_dir / HISTORY_NAME).write_bytes(b"no database" * 1_000)
    server = await (await launch()).wait_ready()
    assert list(server.data_dir.glob(f"{HISTORY_NAME}.damaged-*"))
    assert "was set aside" in server.errors


async def test_a_history_that_cannot_be_used_keeps_no_server_from_running(tmp_path: Path) -> None:
    (tmp_path / HISTORY_NAME).mkdir()
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/monitor_current")).status == 200
        assert (tmp_path / HISTORY_NAME).is_dir()


async def test_it_speaks_and_can_be_scraped(server: ServerProcess) -> None:
    text = await get(server, "/prometheus/stats", known=False)
    assert "\nemqx_cluster_nodes_running 1\n" in text
    client = await Client.open(server.address("mqtt"))
    made = server.credentials
    await client.connect("watcher", username=made["mqtt_username"], password=made["mqtt_password"].encode())
    await client.subscribe(("$SYS/brokers", 0))
    message = await client.message()  # retained, or said within a second
    assert (message.topic, message.payload) == ("$SYS/brokers", NODE.encode())
    client.abort()
