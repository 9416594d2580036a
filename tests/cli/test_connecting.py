"""Which way a command goes, and what it says where there is none."""

import asyncio
import time
from pathlib import Path

import pytest
from wardenmq.cli import connecting
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
    (tmp_path / LOCK_NAME).touch()
    cli = Cli(tmp_path, in_process=True)
    assert "start the server" in await cli.refused("user", "list", status=2)
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


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (b"", "gave no answer"),
        (b"SSH-2.0-x\r\n", "gave no answer"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "not this release"),
    ],
)
async def test_somebody_else_answers(stopped: Cli, answer: bytes, part: str) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    stopped.in_process = True
    lock = DataDirectoryLock.acquire(stopped.data_dir)
    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        lock.announce(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        sentence = await stopped.refused("user", "list", status=2)
        assert part in sentence
        assert "may have been made" not in sentence
        sentence = await stopped.refused("role", "add", "r", status=2)
        assert part in sentence
        assert ("may have been made" in sentence) is (part == "gave no answer")
    lock.release()


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
