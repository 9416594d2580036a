"""Which way a command goes, and what it says where there is none."""

import asyncio
import json
import os
import re
import socket
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from wardenmq.cli import connecting
from wardenmq.config.address import split_address
from wardenmq.config.settings import Settings
from wardenmq.server import Server
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from wardenmq.store.lock import LOCK_NAME, DataDirectoryLock

from ..conftest import Launch
from .commands import Cli


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in this process give up soon."""
    monkeypatch.setattr(connecting, "PATIENCE", 0.2)


# -- no data


@pytest.mark.parametrize("verb", [("user", "list"), ("role", "add", "r")])
async def test_a_directory_without_data(tmp_path: Path, verb: tuple[str, ...]) -> None:
    sentence = await Cli(tmp_path / "mistyped").refused(*verb, status=2)
    assert str(tmp_path / "mistyped") in sentence
    assert not (tmp_path / "mistyped").exists()


async def test_a_directory_whose_first_start_was_not_completed(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("left behind\n")
    cli = Cli(tmp_path, in_process=True)
    assert "start the server" in await cli.refused("user", "list", status=2)
    assert (tmp_path / LOCK_NAME).read_text() == "left behind\n"
    assert [file.name for file in tmp_path.iterdir()] == [LOCK_NAME]
    DataDirectoryLock.acquire(tmp_path).release()


async def test_a_damaged_database_is_left_as_it_is(stopped: Cli) -> None:
    database = stopped.data_dir / "wardenmq.db"
    database.write_bytes(b"not a database" * 1_000)
    assert "wardenmq.db" in await stopped.refused("user", "list", status=2)
    assert database.read_bytes() == b"not a database" * 1_000


# -- somebody holds the lock


@pytest.mark.usefixtures("impatient")
async def test_an_owner_without_an_api(stopped: Cli) -> None:
    stopped.in_process = True
    lock = DataDirectoryLock.acquire(stopped.data_dir)
    sentence = await stopped.refused("user", "list", status=2)
    assert "in use by process" in sentence
    assert "no management API" in sentence
    lock.release()
    assert "mqtt" in await stopped.done("user", "list")


@pytest.mark.usefixtures("impatient")
async def test_an_owner_that_cannot_be_reached(stopped: Cli, unused_tcp_port: int) -> None:
    stopped.in_process = True
    lock = DataDirectoryLock.acquire(stopped.data_dir)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    lock.announce(url)
    sentence = await stopped.refused("user", "list", status=2)
    assert f"{url} cannot be reached: Connection refused" in sentence
    lock.release()


async def test_a_command_waits_for_another_one_to_end(stopped: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped.in_process = True
    lock = DataDirectoryLock.acquire(stopped.data_dir)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        lock.release()

    monkeypatch.setattr(time, "sleep", sleep)
    assert "mqtt" in await stopped.done("user", "list")
    assert len(waited) == 1


async def test_commands_at_the_same_time_all_come_through(stopped: Cli) -> None:
    await asyncio.gather(*(stopped.done("role", "add", f"r{number}") for number in range(3)))
    assert [role["name"] for role in (await stopped.json("role", "list"))["data"]] == ["r0", "r1", "r2"]


async def test_after_a_crash_the_address_that_was_left_behind_is_not_asked(running: Cli) -> None:
    assert running.server is not None
    await running.server.kill()
    assert running.server.ready["api"] in (running.data_dir / LOCK_NAME).read_text()
    assert "mqtt" in await running.done("user", "list")


async def test_a_server_that_ends_takes_its_address_back(running: Cli) -> None:
    assert running.server is not None
    await running.server.stop()
    assert (running.data_dir / LOCK_NAME).read_text() == ""


# -- the token


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"isr_mqtt_platform_rest_of-another-server\n", "does not take the operator token"),
        (b"", "no operator token"),
        (b"\xff", "no operator token"),
        (b"a b\n", "no operator token"),
        (b"a\r\nX: y\n", "no operator token"),
        (None, "No such file"),
    ],
)
async def test_a_token_that_does_not_open(running: Cli, content: bytes | None, part: str) -> None:
    running.in_process = True
    token = running.data_dir / "operator-token"
    if content is None:
        token.unlink()
    else:
        token.write_bytes(content)
    sentence = await running.refused("user", "list", status=2)
    assert part in sentence
    assert str(token) in sentence
    assert "of-another-server" not in sentence


# -- who answers


HTML = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"


def in_json(value: object, headers: str = "") -> bytes:
    body = json.dumps(value).encode()
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
        + body
    )


@dataclass
class Peer:
    """Listen at the address in the lock file, and answer requests in turn: the first with a proof, if it has one."""

    lock: DataDirectoryLock
    answers: Sequence[bytes]
    proves: Callable[[int], bool]
    """Whether it can, on its connection of this number."""
    received: bytes = b""
    connections: int = 0

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        answers = iter(self.answers[number:])
        with suppress(ConnectionError, asyncio.IncompleteReadError, StopIteration):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                self.received += request
                asked = re.match(rb"GET /api/wardenmq/v1/identity\?challenge=(\S+) ", request)
                if asked and self.proves(number):
                    writer.write(in_json({"proof": self.lock.prove(asked[1].decode())}))
                else:
                    writer.write(next(answers))
                    break
        writer.close()


@asynccontextmanager
async def listening(cli: Cli, *answers: bytes, proves: Callable[[int], bool] = lambda _: True) -> AsyncGenerator[Peer]:
    cli.in_process = True
    lock = DataDirectoryLock.acquire(cli.data_dir)
    peer = Peer(lock, answers, proves)
    async with await asyncio.start_server(peer.respond, "127.0.0.1", 0) as server:
        lock.announce(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield peer
    lock.release()


def token_of(cli: Cli) -> bytes:
    return (cli.data_dir / "operator-token").read_bytes().strip()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (b"", "gave no answer"),
        (b"SSH-2.0-x\r\n", "gave no answer"),
        (HTML, "not the owner"),
        (in_json({"proof": "0" * 64}), "not the owner"),
        (in_json({"proof": 0}), "not the owner"),
        (in_json([]), "not the owner"),
        (in_json({"proof": "0" * 64}).replace(b"{", b"{{"), "not the owner"),
        (in_json({"data": [], "meta": {"hasnext": False}}), "not the owner"),
        (in_json("x" * 100_000), "not the owner"),
    ],
)
async def test_a_stranger_never_gets_the_token(stopped: Cli, answer: bytes, part: str) -> None:
    async with listening(stopped, *[answer] * 1_000, proves=lambda _: False) as peer:
        for verb in (("user", "list"), ("role", "add", "r")):
            sentence = await stopped.refused(*verb, status=2)
            assert part in sentence
            assert "may have been made" not in sentence
        assert b"/identity?challenge=" in peer.received
        assert b"uthorization" not in peer.received
        assert token_of(stopped) not in peer.received


async def test_whoever_takes_over_a_connection_that_was_lost_has_to_prove_itself(stopped: Cli) -> None:
    page = in_json({"data": [], "meta": {"hasnext": True}}, "Connection: close\r\n")
    async with listening(stopped, page, page, proves=lambda number: number == 0) as peer:
        sentence = await stopped.refused("user", "list", status=2)
        assert "not the owner" in sentence
        assert (peer.connections, peer.received.count(token_of(stopped))) == (2, 1)


async def test_an_address_that_a_crashed_server_left_is_no_way_to_the_token(stopped: Cli) -> None:
    async with listening(stopped, *[b""] * 1_000) as peer:
        file = stopped.data_dir / LOCK_NAME
        file.write_text(re.sub(r"[0-9a-f]{64}", "0" * 64, file.read_text()))  # the key of the one before
        connecting.PATIENCE, patience = 0.2, connecting.PATIENCE
        try:
            assert "not the owner" in await stopped.refused("user", "list", status=2)
        finally:
            connecting.PATIENCE = patience
        assert token_of(stopped) not in peer.received


@pytest.mark.parametrize(
    ("answer", "part"), [(b"", "gave no answer"), (b"SSH-2.0-x\r\n", "gave no answer"), (HTML, "not this release")]
)
async def test_an_owner_that_breaks_off(stopped: Cli, answer: bytes, part: str) -> None:
    async with listening(stopped, answer, answer):
        sentence = await stopped.refused("user", "list", status=2)
        assert part in sentence
        assert "may have been made" not in sentence
    async with listening(stopped, answer, answer):
        sentence = await stopped.refused("role", "add", "r", status=2)
        assert ("may have been made" in sentence) is (part == "gave no answer")


async def test_a_server_takes_its_address_back_before_it_stops_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdrawn: list[tuple[str, bool]] = []
    withdraw = DataDirectoryLock.withdraw

    def watch(lock: DataDirectoryLock) -> None:
        withdraw(lock)
        host, port = split_address(server.addresses["api"].removeprefix("http://"))
        with socket.socket() as probe:
            listens = probe.connect_ex((host, port)) == 0
        withdrawn.append(((tmp_path / "data" / LOCK_NAME).read_text(), listens))

    monkeypatch.setattr(DataDirectoryLock, "withdraw", watch)
    listeners = {"default": {"bind": "127.0.0.1:0"}}
    values = {"data_dir": tmp_path / "data", "listeners": listeners, "api": {"bind": "127.0.0.1:0"}}
    server = Server(Settings.load(None, {**values, "mqtt": {"scram_iterations": MIN_ITERATIONS}}))
    await server.start(lambda _: None)
    assert server.addresses["api"] in (tmp_path / "data" / LOCK_NAME).read_text()
    await server.stop()
    assert withdrawn == [(f"{os.getpid()}\n", True)]


async def test_no_proxy_gets_to_see_the_token(running: Cli, unused_tcp_port: int) -> None:
    proxy = f"http://127.0.0.1:{unused_tcp_port}"
    ended = await running.run("user", "list", environment={"http_proxy": proxy, "HTTP_PROXY": proxy})
    assert (ended.status, "mqtt" in ended.output) == (0, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::1]", "[::]", "localhost"])
async def test_wherever_the_api_listens(launch: Launch, host: str) -> None:
    server = await (await launch("--api", f"{host}:0")).wait_ready()
    assert "mqtt" in await Cli(server.data_dir, server, in_process=True).done("user", "list")


# -- where the data is


async def test_the_configuration_says_where_the_data_is(cli: Cli, tmp_path: Path) -> None:
    cli.in_process = True
    file = tmp_path / "wardenmq.yaml"
    file.write_text(f"data_dir: {cli.data_dir}")
    ended = await cli.run("user", "list", place=["--config", str(file)])
    assert (ended.status, "mqtt" in ended.output) == (0, True)
    file.write_text("data_dirr: x")
    sentence = await cli.refused("user", "list", place=["--config", str(file)], status=2)
    assert "data_dirr" in sentence


async def test_the_environment_and_the_default_say_so_too(stopped: Cli, tmp_path: Path) -> None:
    elsewhere = await stopped.run("user", "list", place=[], environment={"WARDENMQ_DATA_DIR": "nowhere"})
    assert (elsewhere.status, "nowhere" in elsewhere.errors) == (2, True)
    ended = await stopped.run("user", "list", place=[])  # ./data
    assert (ended.status, "mqtt" in ended.output) == (0, True)


async def test_a_list_longer_than_a_page_is_gathered(cli: Cli, tmp_path: Path) -> None:
    cli.in_process = True
    users = tmp_path / "users.csv"
    rows = [f"u{number},{'0' * 64},salt,false" for number in range(2_500)]
    users.write_text("\n".join(["user_id,password_hash,salt,is_superuser", *rows]))
    assert "created 2500" in await cli.done("user", "import", str(users), "--from", "emqx-csv")
    listed = await cli.json("user", "list", "--like", "u")
    assert [user["login"] for user in listed["data"]] == [f"u{number}" for number in range(2_500)]
    assert listed["meta"] == {"page": 1, "limit": 2_500, "hasnext": False, "count": 2_500}


# -- a long way


async def test_as_long_a_topic_as_mqtt_knows(cli: Cli) -> None:
    cli.in_process = True
    topic = "/" + "ü" * 32_767
    assert len(topic.encode()) == 65_535
    await cli.done("role", "add", "r")
    await cli.done("role", "allow", "r", "publishClientSend", topic)
    await cli.done("user", "add", "alice", "--no-password", "--role", "r")
    explained = await cli.json("acl", "explain", "c", topic, "--username", "alice")
    assert (explained["allowed"], explained["decided_by"]) == (True, "role")
    assert (await cli.json("role", "remove", "r", "publishClientSend", topic))["acls"] == []


async def test_names_that_are_too_long_together_are_refused_in_either_state(cli: Cli) -> None:
    cli.in_process = True
    name = "/" * 50_000
    sentence = await cli.refused("user", "grant", name, name)
    assert "too long" in sentence
    assert len(sentence) < 200


# -- with no server about


async def test_a_command_leaves_the_servers_history_and_log_alone(stopped: Cli) -> None:
    file = stopped.data_dir / "wardenmq.db"
    entry = "INSERT INTO audit_log (at, actor, facade, action, target, detail) VALUES (1, '', '', 'a', 't', '{}')"
    with closing(sqlite3.connect(file)) as database:
        database.execute(entry)
        database.commit()
    await stopped.done("user", "list")
    await stopped.done("role", "add", "r")
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM audit_log WHERE at = 1").fetchone() == (1,)


async def test_other_iterations_than_the_servers_are_no_news(stopped: Cli) -> None:
    """The store would warn that one login's keys take another number of iterations; to the command that is nothing."""
    ended = await stopped.run("user", "list", environment={"WARDENMQ_MQTT__SCRAM_ITERATIONS": "5000"})
    assert (ended.status, ended.errors) == (0, "")
    assert "mqtt" in ended.output


async def test_a_lock_file_that_leads_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / LOCK_NAME).symlink_to(victim)
    assert LOCK_NAME in await Cli(tmp_path / "data", in_process=True).refused("user", "list", status=2)
    assert victim.read_text() == "precious"
