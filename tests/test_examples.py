"""The scripts of examples/emqx against a running server, as they are."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from .engine.wire import Client
from .processes import ServerProcess

EXAMPLES = Path(__file__).parent.parent / "examples" / "emqx"
SECONDS = 60.0


def environment(server: ServerProcess) -> Mapping[str, str]:
    credentials = json.loads((server.data_dir / "initial-credentials.json").read_text())
    return {
        **os.environ,
        "EMQX_API": f"{server.ready['api']}/api/v5",
        "EMQX_API_KEY": credentials["api_key"],
        "EMQX_API_SECRET": credentials["api_secret"],
    }


async def run(server: ServerProcess, *command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(server), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_publish_with_curl(server: ServerProcess) -> None:
    credentials = json.loads((server.data_dir / "initial-credentials.json").read_text())
    host, port = server.ready["mqtt"].rsplit(":", 1)
    client = await Client.open((host, int(port)))
    await client.connect("door", username="mqtt", password=credentials["mqtt_password"].encode())
    await client.subscribe(("office/#", 1))
    status, output = await run(server, EXAMPLES / "publish.sh", "office/door", 'wide "open"')
    assert status == 0, output
    assert (await client.message()).payload == b'wide "open"'
    parts = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert parts[1]["topic"] == "office/door"
    assert parts[2]["data"] == [{"clientid": "door", "username": "mqtt", "ip_address": "127.0.0.1"}]
    client.abort()


async def test_publish_says_what_is_wrong(server: ServerProcess) -> None:
    status, output = await run(server, EXAMPLES / "publish.sh", "office/#", "x")
    assert status != 0
    assert "topic_name_invalid" in output


async def test_a_fleet_comes_and_goes(server: ServerProcess) -> None:
    fleet = (sys.executable, EXAMPLES / "fleet.py", "--count", "3")
    status, output = await run(server, *fleet)
    assert status == 0, output
    lines = output.splitlines()
    passwords = [line.rpartition(" ")[2] for line in lines if ": password " in line]
    assert len(passwords) == 3
    assert [line for line in lines if line.endswith("rules")] == [f"device-000{n}: 3 rules" for n in (1, 2, 3)]
    assert "banned: device-0003 (an example) until infinity" in lines
    host, port = server.ready["mqtt"].rsplit(":", 1)
    client = await Client.open((host, int(port)))
    await client.connect("one", username="device-0001", password=passwords[0].encode())
    assert await client.subscribe(("fleet/#", 1), ("other", 1)) == [1, 0x80]
    client.abort()
    status, output = await run(server, *fleet)  # again: nothing is there twice
    assert (status, output.count("was there already")) == (0, 3)
    status, output = await run(server, *fleet, "--remove")
    assert (status, output) == (0, "removed 3\n")


async def test_every_job_of_the_scrape_configuration_finds_its_metrics(server: ServerProcess) -> None:
    configuration = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    expected = {
        "emqx_stats": {"emqx_connections_count", "emqx_messages_received", "emqx_packets_connect"},
        "emqx_auth": {"emqx_authn_enable", "emqx_authz_total", "emqx_banned_count"},
        "emqx_data_integration": {"emqx_rules_count", "emqx_connectors_count"},
    }
    address = server.ready["api"].removeprefix("http://")
    async with aiohttp.ClientSession() as http:
        for job in configuration["scrape_configs"]:
            (target,) = job["static_configs"][0]["targets"]
            assert target == "127.0.0.1:18083"  # the server's default; this one has another port
            query = {name: values[0] for name, values in job.get("params", {}).items()}
            async with http.get(f"http://{address}{job['metrics_path']}", params=query) as response:
                assert response.status == 200
                text = await response.text()
            found = {name for family in text_string_to_metric_families(text) for name in (family.name,)}
            found |= {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
            assert expected[job["job_name"]] <= found
        assert {job["job_name"] for job in configuration["scrape_configs"]} == set(expected)
