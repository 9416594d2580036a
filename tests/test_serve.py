"""`wardenmq serve` as scripts see it: the ready line, the first credentials, the signals, the exit statuses."""

import asyncio
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import ssl
import stat
import textwrap
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import aiomqtt
import pytest
import trustme

from .conftest import Launch
from .engine.wire import connect
from .processes import Ended, ServerProcess

CREDENTIAL_KEYS = [
    "api_key",
    "api_secret",
    "dashboard_user",
    "dashboard_password",
    "bunkerm_api_key",
    "operator_token",
    "mqtt_username",
    "mqtt_password",
]


def assert_refused(ended: Ended, *parts: str, shown: bool = False) -> None:
    """Expect exit status 2 and one sentence, with nothing else on either stream but log lines."""
    assert ended.status == 2, ended.errors
    # A first start shows its credentials even if it fails further on: there is no other time to show them.
    assert ("mqtt_password" in ended.output) is shown
    assert shown or ended.output == ""
    sentences = [line for line in ended.errors.splitlines() if line.startswith("wardenmq: ")]
    assert len(sentences) == 1, ended.errors
    assert sentences[0].endswith((".", "?"))
    assert all(part in sentences[0] for part in parts), sentences[0]
    assert "Traceback" not in ended.errors


def first_login(server: ServerProcess) -> aiomqtt.Client:
    credentials = server.credentials
    host, port = server.address("mqtt")
    return aiomqtt.Client(
        host, port, username=credentials["mqtt_username"], password=credentials["mqtt_password"], timeout=30
    )


async def assert_usable(server: ServerProcess) -> None:
    """Expect that the credentials file opens both MQTT and the API."""
    async with first_login(server) as client:
        await client.subscribe("any/+/where", qos=1)
        await client.publish("any/topic/where", b"heard", qos=1)
        message = await asyncio.wait_for(anext(aiter(client.messages)), 30)
        assert message.payload == b"heard"
    async with (
        aiohttp.ClientSession(headers={"Authorization": server.authorization}) as http,
        http.get(f"{server.ready['api']}/api/v5/nodes") as answer,
    ):
        assert answer.status == 200


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- the first start and those after it


async def test_the_ready_line_says_what_is_bound(server: ServerProcess) -> None:
    assert list(server.ready) == ["mqtt", "ws", "api", "pid"]
    assert server.ready["pid"] == server.process.pid
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.ready["api"])
    for name in ("mqtt", "ws", "api"):
        host, port = server.address(name)
        assert (host, port > 0) == ("127.0.0.1", True)
        socket.create_connection((host, port), timeout=30).close()


async def test_the_first_start_writes_credentials_for_the_owner_alone(server: ServerProcess) -> None:
    assert list(server.credentials) == CREDENTIAL_KEYS
    assert all(server.credentials.values())
    assert (server.credentials["dashboard_user"], server.credentials["mqtt_username"]) == ("admin", "mqtt")
    assert mode(server.data_dir) == 0o700
    for name in ("initial-credentials.json", "operator-token", "wardenmq.db", "wardenmq.lock"):
        assert mode(server.data_dir / name) == 0o600, name
    assert (server.data_dir / "operator-token").read_text() == server.credentials["operator_token"] + "\n"
    assert not (server.data_dir / ".first-run").exists()


async def test_each_credential_is_shown_once_and_never_logged(launch: Launch) -> None:
    server = await (await launch("--log-level", "debug")).wait_ready()
    await assert_usable(server)
    shown = "\n".join(server.before_ready)
    for name, value in server.credentials.items():
        assert len(re.findall(rf"^  {name} +{re.escape(value)}$", shown, re.MULTILINE)) == 1
    secrets = [server.credentials[name] for name in CREDENTIAL_KEYS if name not in ("dashboard_user", "mqtt_username")]
    ended = await server.stop()
    assert "DEBUG" in ended.errors
    assert not [secret for secret in secrets if secret in ended.errors or secret in ended.output]
    assert "$argon2" not in ended.errors


async def test_the_first_credentials_open_mqtt_and_the_api(server: ServerProcess) -> None:
    await assert_usable(server)


async def test_the_first_login_has_a_rule_of_its_own(server: ServerProcess) -> None:
    rules = f"{server.ready['api']}/api/v5/authorization/sources/built_in_database/rules/users/mqtt"
    async with aiohttp.ClientSession(headers={"Authorization": server.authorization}) as http:
        async with http.get(rules) as answer:
            (rule,) = (await answer.json())["rules"]
            assert (rule["topic"], rule["permission"], rule["action"]) == ("#", "allow", "all")
        async with http.delete(rules) as answer:
            assert answer.status == 204
    async with first_login(server) as client:
        with pytest.raises(aiomqtt.MqttError):
            granted = await client.subscribe("a")
            # paho hands a refused subscription over as a code, not as an error.
            raise aiomqtt.MqttError(granted) if granted[0].is_failure else AssertionError(granted)


async def test_a_second_start_keeps_everything(server: ServerProcess, launch: Launch) -> None:
    before = (server.data_dir / "initial-credentials.json").read_bytes()
    assert (await server.stop()).status == 0
    again = await (await launch()).wait_ready()
    assert again.before_ready == []
    assert (again.data_dir / "initial-credentials.json").read_bytes() == before
    await assert_usable(again)


async def test_the_credentials_file_may_be_deleted(server: ServerProcess, launch: Launch) -> None:
    await server.stop()
    (server.data_dir / "initial-credentials.json").unlink()
    again = await (await launch()).wait_ready()
    assert again.before_ready == []
    assert not (again.data_dir / "initial-credentials.json").exists()


@pytest.mark.parametrize(
    "reached", [".first-run", ".first-run/wardenmq.db", ".first-run/wardenmq.db-wal", "operator-token", "wardenmq.db"]
)
async def test_a_first_start_killed_at_any_point_is_made_up_for(launch: Launch, reached: str) -> None:
    killed = await launch()
    # The database comes last; what is there for a moment only may be missed.
    points = [killed.data_dir / name for name in (reached, "wardenmq.db")]
    async with asyncio.timeout(30):
        while not any(point.exists() for point in points) and killed.process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await killed.kill()
    again = await (await launch()).wait_ready()
    assert list(again.credentials) == CREDENTIAL_KEYS
    await assert_usable(again)


# -- who gets in


async def test_anonymous_clients_are_refused_unless_switched_on(server: ServerProcess, launch: Launch) -> None:
    host, port = server.address("mqtt")
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client(host, port, timeout=30):
            pass
    await server.stop()
    open_server = await (await launch("--allow-anonymous")).wait_ready()
    assert "no rule allows them any topic" in open_server.errors
    host, port = open_server.address("mqtt")
    async with aiomqtt.Client(host, port, timeout=30):
        pass
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client(host, port, username="mqtt", password="wrong", timeout=30):
            pass


async def test_the_readmes_open_broker_is_open(tmp_path: Path, launch: Launch) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^    listeners: .*\n(?:    .*\n)+", readme, re.MULTILINE)
    (tmp_path / "open.yaml").write_text(textwrap.dedent(example))
    server = await (await launch("--config", str(tmp_path / "open.yaml"))).wait_ready()
    assert "no rule" not in server.errors
    async with aiomqtt.Client(*server.address("mqtt"), timeout=30) as client:
        await client.subscribe("any/topic", qos=1)
        await client.publish("any/topic", b"heard", qos=1)
        assert (await asyncio.wait_for(anext(aiter(client.messages)), 30)).payload == b"heard"


# -- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_with_a_client_connected(server: ServerProcess, number: signal.Signals) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with first_login(server) as client:
            await client.subscribe("a")
            ended = await server.stop(number)
            await asyncio.wait_for(anext(aiter(client.messages)), 30)
    assert (ended.status, ended.output) == (0, "")
    assert "Traceback" not in ended.errors
    # The write-ahead log is folded in, so that the one file is all there is to copy.
    assert not (server.data_dir / "wardenmq.db-wal").exists()


async def test_a_hang_up_signal_has_the_certificates_read_again(tmp_path: Path, launch: Launch) -> None:
    authority = trustme.CA()
    pem = tmp_path / "server.pem"

    def issue(name: str) -> None:
        """Write a certificate that looks like the one before, so that only the signal gives it away."""
        text = authority.issue_cert(name).private_key_and_cert_chain_pem.bytes()
        with pem.open("r+b" if pem.exists() else "wb") as file:
            file.write(text.ljust(8_192, b"\n"))
        os.utime(pem, (1, 1))

    issue("before.example")
    default = {"type": "tcp", "bind": "127.0.0.1:0", "ssl": True, "certfile": str(pem), "keyfile": str(pem)}
    listeners = {"default": default, "ws": {"type": "ws", "bind": "127.0.0.1:0", "ssl": False}}
    (tmp_path / "c.yaml").write_text(json.dumps({"listeners": listeners}))
    server = await (await launch("--config", str(tmp_path / "c.yaml"))).wait_ready()
    client = ssl.create_default_context()
    authority.configure_trust(client)

    async def served(name: str) -> bool:
        try:
            _, writer = await asyncio.open_connection(*server.address("mqtt"), ssl=client, server_hostname=name)
        except ssl.SSLError:
            return False
        writer.transport.abort()
        return True

    assert await served("before.example")
    issue("after.example")
    server.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(30):
        while not await served("after.example"):
            pass
    assert not await served("before.example")


FEW_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
sys.argv[0] = "wardenmq"
runpy.run_module("wardenmq", run_name="__main__", alter_sys=True)
"""


def file_limits(pid: int) -> tuple[int, int]:
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)


async def test_as_many_files_as_the_system_allows(launch: Launch) -> None:
    python = ("-c", FEW_FILES.format(soft=256, hard=8_192))
    server = await (await launch(python=python, environment={"WARDENMQ_MQTT__MAX_CONNECTIONS": "5000"})).wait_ready()
    assert file_limits(server.ready["pid"]) == (8_192, 8_192)
    assert "connections instead of" not in server.errors


async def test_no_more_connections_than_there_are_files_for(launch: Launch) -> None:
    """Who is too many is told so, and nobody hangs."""
    server = await (await launch("--allow-anonymous", python=("-c", FEW_FILES.format(soft=100, hard=100)))).wait_ready()
    assert "At most 50 connections instead of 50000: the process may open only 100 files" in server.errors
    answers: list[bytes] = []
    with ExitStack() as stack:
        for number in range(60):
            client = stack.enter_context(socket.create_connection(server.address("mqtt"), timeout=30))
            client.sendall(connect(f"c{number}"))
            answers.append(await asyncio.to_thread(client.recv, 4))
    assert answers == [b"\x20\x02\0\0"] * 50 + [b"\x20\x02\0\x03"] * 10
    assert "Traceback" not in server.errors


async def test_a_data_directory_has_one_owner(server: ServerProcess, launch: Launch) -> None:
    ended = await (await launch()).ended()
    assert_refused(ended, "in use by process", str(server.process.pid))
    await assert_usable(server)


async def test_a_killed_owner_leaves_no_lock(server: ServerProcess, launch: Launch) -> None:
    await server.kill()
    await assert_usable(await (await launch()).wait_ready())


# -- bad input: a sentence, exit status 2, nothing overwritten


@pytest.mark.parametrize("flag", ["--mqtt", "--ws", "--api"])
async def test_a_port_in_use(launch: Launch, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = await (await launch(flag, address)).ended()
        assert_refused(ended, address, "Address already in use", shown=True)
    await assert_usable(await (await launch()).wait_ready())


BAD_CONFIGURATIONS = {
    "unknown key": ("mqtt: {max_inflght: 3}", "'mqtt.max_inflght'", "did you mean 'max_inflight'?"),
    "no YAML": ("mqtt: [", "line 1"),
    "no such plugin": ("plugins: {wardenmq.plugins.nothing.Nothing: {}}", "wardenmq.plugins.nothing"),
    "unknown plugin option": (
        "plugins: {wardenmq.plugins.credentials.CredentialAuthPlugin: {allow_anonymus: true}}",
        "CredentialAuthPlugin",
        "did you mean 'allow_anonymous'?",
    ),
    "plugin option of a wrong type": (
        "plugins: {wardenmq.plugins.credentials.CredentialAuthPlugin: {allow_anonymous: perhaps}}",
        "allow_anonymous",
        "bool",
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGURATIONS)
async def test_a_bad_configuration(launch: Launch, tmp_path: Path, case: str) -> None:
    text, *parts = BAD_CONFIGURATIONS[case]
    file = tmp_path / "wardenmq.yaml"
    file.write_text(text)
    # The launcher's own flags would put a section right that the file got wrong.
    server = await ServerProcess.launch(tmp_path / "data", "--config", str(file))
    try:
        # A plugin checks the types of its own options, when the broker loads it; all else is seen before the store.
        assert_refused(await server.ended(), *parts, shown=case == "plugin option of a wrong type")
    finally:
        await server.kill()


@pytest.mark.parametrize("kind", ["missing", "directory"])
async def test_an_unreadable_configuration(launch: Launch, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "wardenmq.yaml"
    if kind == "directory":
        file.mkdir()
    ended = await (await launch("--config", str(file))).ended()
    assert_refused(ended, str(file), "cannot be read")
    assert not (tmp_path / "data").exists()


async def test_an_unknown_environment_variable(launch: Launch) -> None:
    ended = await (await launch(environment={"WARDENMQ_MQT__MAX_INFLIGHT": "3"})).ended()
    assert_refused(ended, "WARDENMQ_MQT__MAX_INFLIGHT", "did you mean 'mqtt'?")


async def test_a_bad_flag(launch: Launch) -> None:
    assert_refused(await (await launch("--log-level", "loud")).ended(), "'log.level'", "on the command line", "debug")


def _overwrite_start(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[:100] = b"not a database, or not any more".ljust(100)
    database.write_bytes(content)


def _overwrite_pages(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:20480] = os.urandom(16384)
    database.write_bytes(content)


def _truncate(database: Path) -> None:
    os.truncate(database, 50)


def _make_newer(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()


@pytest.mark.parametrize("harm", [_overwrite_start, _overwrite_pages, _truncate, _make_newer])
async def test_a_damaged_or_newer_database_is_left_alone(
    server: ServerProcess, launch: Launch, harm: Callable[[Path], None]
) -> None:
    await server.stop()
    database = server.data_dir / "wardenmq.db"
    harm(database)
    before = {path.name: path.read_bytes() for path in server.data_dir.iterdir() if path.name != "wardenmq.lock"}
    assert_refused(await (await launch()).ended(), "database")
    after = {path.name: path.read_bytes() for path in server.data_dir.iterdir() if path.name != "wardenmq.lock"}
    assert {name: after[name] for name in before} == before


async def test_a_log_without_its_database_is_not_thrown_away(server: ServerProcess, launch: Launch) -> None:
    await server.kill()
    (server.data_dir / "wardenmq.db").rename(server.data_dir / "elsewhere")
    log = server.data_dir / "wardenmq.db-wal"
    log.write_bytes(before := log.read_bytes() or b"somebody's last writes")
    assert_refused(await (await launch()).ended(), "wardenmq.db-wal")
    assert log.read_bytes() == before


async def test_a_data_directory_that_cannot_be_made(tmp_path: Path, launch: Launch) -> None:
    (tmp_path / "data").write_text("a file")
    assert_refused(await (await launch()).ended(), str(tmp_path / "data"))
    assert (tmp_path / "data").read_text() == "a file"


# -- settings reach the parts


async def test_environment_over_file_and_flags_over_both(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "wardenmq.yaml"
    file.write_text("listeners: {default: {bind: '127.0.0.2:0'}}\napi: {bind: '127.0.0.2:0', node_name: a@b}")
    server = await ServerProcess.launch(
        tmp_path / "data",
        *("--config", str(file), "--api", "127.0.0.4:0"),
        environment={"WARDENMQ_LISTENERS__DEFAULT__BIND": "127.0.0.3:0", "WARDENMQ_API__BIND": "127.0.0.3:0"},
    )
    try:
        await server.wait_ready()
        assert server.address("mqtt")[0] == "127.0.0.3"
        assert server.address("api")[0] == "127.0.0.4"
        assert server.ready["ws"] is None  # the file's section replaces the default listeners
        async with aiohttp.ClientSession() as http, http.get(f"{server.ready['api']}/status") as answer:
            assert "a@b" in await answer.text()
    finally:
        await server.kill()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_either_event_loop_serves(launch: Launch, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    block = "import sys; sys.modules['uvloop'] = None; " if loop == "asyncio" else ""
    server = await launch(python=("-c", f"{block}from wardenmq.cli import main; main()"))
    await assert_usable(await server.wait_ready())


async def test_websocket_clients_are_served(server: ServerProcess) -> None:
    host, port = server.address("ws")
    credentials = server.credentials
    async with aiomqtt.Client(
        host,
        port,
        username=credentials["mqtt_username"],
        password=credentials["mqtt_password"],
        transport="websockets",
        websocket_path="/mqtt",
        timeout=30,
    ) as client:
        await client.subscribe("a", qos=1)
        await client.publish("a", json.dumps({"over": "ws"}), qos=1)
        message = await asyncio.wait_for(anext(aiter(client.messages)), 30)
        assert json.loads(bytes(message.payload)) == {"over": "ws"}
