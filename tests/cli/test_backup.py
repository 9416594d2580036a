"""`wardenmq backup` and `wardenmq restore`, while a server runs and while none does; and what docs/backup.md shows."""

import json
import re
import shlex
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import aiomqtt
import pytest
from wardenmq.store.lock import DataDirectoryLock

from ..conftest import Launch
from ..processes import ANY_PORTS, ServerProcess
from ..store.session_rows import many_rows, write_database
from .commands import Cli

NAMES = ["history.db", "sessions.db", "wardenmq.db", "operator-token", "initial-credentials.json"]
PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")


def client(server: ServerProcess, identifier: str, *, clean: bool = False) -> aiomqtt.Client:
    host, port = server.address("mqtt")
    credentials = server.credentials
    return aiomqtt.Client(
        host,
        port,
        identifier=identifier,
        username=credentials["mqtt_username"],
        password=credentials["mqtt_password"],
        clean_session=clean,
        timeout=30,
    )


async def test_a_server_that_runs_is_backed_up_and_comes_back_elsewhere(running: Cli, tmp_path: Path) -> None:
    """With what an absent subscriber is owed, the retained message and the login that there were at that time."""
    assert running.server is not None
    async with client(running.server, "keeper") as keeper:
        await keeper.subscribe("t/#", qos=1)
    async with client(running.server, "publisher", clean=True) as publisher:
        for number in range(5):
            await publisher.publish(f"t/{number}", f"message {number}", qos=1)
        await publisher.publish("kept", "retained", qos=1, retain=True)
    await running.done("user", "add", "alice", "--no-password")

    path = tmp_path / "backup.tar.gz"
    answer = await running.json("backup", str(path))
    assert (answer["file"], answer["size"]) == (str(path), path.stat().st_size)
    assert [entry["name"] for entry in answer["files"]] == NAMES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    await running.done("user", "add", "bob", "--no-password")
    async with client(running.server, "publisher", clean=True) as publisher:
        await publisher.publish("t/late", "after the backup", qos=1)
    other = Cli(tmp_path / "other")
    printed = await other.done("restore", str(path))
    assert printed.startswith(f"{other.data_dir} holds history.db, sessions.db, wardenmq.db, ")
    assert [login["login"] for login in (await other.json("user", "list"))["data"]] == ["mqtt", "alice"]

    server = await ServerProcess.launch(other.data_dir, *ANY_PORTS)
    try:
        await server.wait_ready()
        async with client(server, "keeper") as keeper:
            await keeper.subscribe("kept", qos=1)
            received: list[tuple[str, bytes]] = []
            async for message in keeper.messages:
                assert isinstance(message.payload, bytes)
                received.append((str(message.topic), message.payload))
                if message.topic.value == "kept":
                    break
        owed = [(topic, payload) for topic, payload in received if topic != "kept"]
        assert owed == [(f"t/{number}", f"message {number}".encode()) for number in range(5)]
        assert received[-1] == ("kept", b"retained")
    finally:
        await server.kill()


async def test_back_and_forth(stopped: Cli, tmp_path: Path) -> None:
    stopped.in_process = True
    path = tmp_path / "backup"
    said = await stopped.done("backup", str(path))
    assert said.splitlines()[0].startswith(f"{path} holds wardenmq.db, operator-token, initial-credentials.json (")
    assert "secrets" in said
    await stopped.done("user", "add", "alice", "--no-password")
    answer = await stopped.json("restore", str(path))
    assert answer["data_dir"] == str(stopped.data_dir)
    assert re.fullmatch(rf"{re.escape(str(stopped.data_dir))}/before-restore-\d{{8}}T\d{{6}}Z", answer["kept"])
    assert [login["login"] for login in (await stopped.json("user", "list"))["data"]] == ["mqtt"]
    # What was there before can be had back.
    for file in Path(answer["kept"]).iterdir():
        file.replace(stopped.data_dir / file.name)
    assert [login["login"] for login in (await stopped.json("user", "list"))["data"]] == ["mqtt", "alice"]


async def test_a_file_that_exists(stopped: Cli, tmp_path: Path) -> None:
    stopped.in_process = True
    path = tmp_path / "backup"
    path.write_text("precious")
    assert await stopped.refused("backup", str(path)) == (
        f"{path} exists; it was left as it is. Use --force to write over it."
    )
    assert path.read_text() == "precious"
    await stopped.done("backup", str(path), "--force")
    await stopped.done("restore", str(path))


async def test_no_backup_of_what_is_not_there(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "nowhere", in_process=True)
    sentence = await cli.refused("backup", str(tmp_path / "backup"), status=2)
    assert sentence == f"There is no database in {tmp_path}/nowhere: start the server there once."
    assert list(tmp_path.iterdir()) == []


async def test_a_server_has_to_be_stopped_for_a_restore(running: Cli, tmp_path: Path) -> None:
    assert running.server is not None
    running.in_process = True
    await running.done("backup", str(tmp_path / "backup"))
    before = {path.name for path in running.data_dir.iterdir()}
    sentence = await running.refused("restore", str(tmp_path / "backup"), status=2)
    assert f"in use by process {running.server.ready['pid']}. Stop the server first." in sentence
    assert {path.name for path in running.data_dir.iterdir()} == before


async def test_another_command_is_waited_for(stopped: Cli, tmp_path: Path) -> None:
    """Whoever has no management API may be about to end."""
    await stopped.done("backup", str(tmp_path / "backup"))
    lock = DataDirectoryLock.acquire(stopped.data_dir)
    sentence = await stopped.refused("restore", str(tmp_path / "backup"), status=2)
    assert "Stop the server first" in sentence
    lock.release()
    await stopped.done("restore", str(tmp_path / "backup"))


@pytest.mark.parametrize(
    ("content", "status"), [(None, 2), (b"", 1), (b"no backup", 1), (b"\x1f\x8b\x08\x00" + bytes(20), 1)]
)
async def test_what_is_no_backup(stopped: Cli, tmp_path: Path, content: bytes | None, status: int) -> None:
    stopped.in_process = True
    path = tmp_path / "backup"
    if content is not None:
        path.write_bytes(content)
    sentence = await stopped.refused("restore", str(path), status=status)
    assert sentence.endswith("Nothing was changed." if status == 1 else "No such file or directory.")
    assert {login["login"] for login in (await stopped.json("user", "list"))["data"]} == {"mqtt"}


@pytest.mark.parametrize(("content", "status"), [(None, 2), (b"no backup", 1)])
async def test_what_is_no_backup_makes_no_directory(tmp_path: Path, content: bytes | None, status: int) -> None:
    path = tmp_path / "backup"
    if content is not None:
        path.write_bytes(content)
    before = list(tmp_path.iterdir())
    await Cli(tmp_path / "new", in_process=True).refused("restore", str(path), status=status)
    assert list(tmp_path.iterdir()) == before


async def test_the_directory_may_be_named_by_the_configuration(stopped: Cli, tmp_path: Path) -> None:
    (tmp_path / "wardenmq.yaml").write_text(json.dumps({"data_dir": str(stopped.data_dir)}))
    place = ["--config", str(tmp_path / "wardenmq.yaml")]
    for words in (["backup", str(tmp_path / "backup")], ["restore", str(tmp_path / "backup")]):
        ended = await stopped.run(*words, place=place)
        assert (ended.status, ended.errors) == (0, "")
        assert str(tmp_path) in ended.output


async def test_a_name_that_a_terminal_would_obey(stopped: Cli, tmp_path: Path) -> None:
    stopped.in_process = True
    path = tmp_path / "a\x1b[2Jb"
    assert r"a\x1b[2Jb" in await stopped.done("backup", str(path))
    assert r"a\x1b[2Jb exists" in await stopped.refused("backup", str(path))


async def test_a_killed_server_is_backed_up_whole(launch: Launch, tmp_path: Path) -> None:
    """Its last writes are in the logs only, and the next server still finds them there."""
    server = await (await launch()).wait_ready()
    async with client(server, "keeper") as keeper:
        await keeper.subscribe("t", qos=1)
    async with client(server, "publisher", clean=True) as publisher:
        await publisher.publish("t", "owed", qos=1)
    await server.kill()
    assert (server.data_dir / "sessions.db-wal").stat().st_size > 0
    cli = Cli(server.data_dir, in_process=True)
    await cli.done("backup", str(tmp_path / "backup"))
    assert (server.data_dir / "sessions.db-wal").stat().st_size > 0
    other = Cli(tmp_path / "other", in_process=True)
    await other.done("restore", str(tmp_path / "backup"))
    for data_dir in (other.data_dir, server.data_dir):
        with closing(sqlite3.connect(data_dir / "sessions.db")) as connection:
            assert connection.execute("SELECT topic, data FROM messages").fetchall() == [("t", b"owed")]


# -- the page


async def test_the_commands_of_the_page_work(stopped: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped.in_process = True
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
    assert {shlex.split(command)[1] for command in commands} == {"backup", "restore", "doctor"}
    for name in ("sessions.db", "sessions.db.damaged-20261122T010203Z"):
        write_database(stopped.data_dir / name, many_rows(sessions=1, owed=5))
    for command in commands:
        words = shlex.split(command)[1:]
        assert words[words.index("--data-dir") + 1] == "/var/lib/wardenmq"
        words = [word.replace("/var/lib/wardenmq", str(stopped.data_dir)) for word in words]
        ended = await stopped.run(*words, place=[])
        assert (ended.status, ended.errors) == (0, ""), (command, ended)


def test_the_page_names_what_is_in_a_backup() -> None:
    for name in (*NAMES, "jwt-key.pem", "manifest.json"):
        assert f"`{name}`" in PAGE
