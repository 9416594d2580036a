"""`wardenmq doctor`: what it finds, what it puts right, and what its exit status says."""

import asyncio
import json
import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from aiohttp import web
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from wardenmq.cli.health import examine_health
from wardenmq.store.known_databases import SESSIONS
from wardenmq.store.lock import DataDirectoryLock

from ..conftest import Launch
from ..store.session_rows import delivery, layout, many_rows, message, read_rows, session, write_database, zero
from .commands import Cli

ROWS = many_rows(sessions=3, owed=200)


def by_check(answer: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["status"] for check in answer["checks"]}


def problems(answer: dict[str, Any]) -> list[str]:
    return [check["check"] for check in answer["checks"] if check["status"] == "problem"]


async def json_of(cli: Cli, *words: str) -> dict[str, Any]:
    """Run the doctor where it finds problems."""
    ended = await cli.run("doctor", *words, "--json")
    assert (ended.status, ended.errors) == (1, "")
    return json.loads(ended.output)


async def test_a_server_that_runs(running: Cli) -> None:
    assert running.server is not None
    answer = await running.json("doctor", "--full")
    assert answer["ok"] is True
    assert {*by_check(answer).values()} == {"ok"}
    assert list(by_check(answer)) == [
        *("data directory", "free space", "server", "wardenmq.db", "wardenmq.db rows"),
        *("sessions.db", "sessions.db rows", "history.db", "file modes", "health"),
    ]
    (server,) = (check["message"] for check in answer["checks"] if check["check"] == "server")
    assert f"process {running.server.ready['pid']}" in server
    assert running.server.ready["api"] in server
    printed = await running.done("doctor")
    assert printed.splitlines()[0].split() == ["STATUS", "CHECK", "WHAT", "WAS", "FOUND"]
    assert len(printed.splitlines()) == 1 + len(answer["checks"])


async def test_a_server_that_does_not_run(stopped: Cli) -> None:
    stopped.in_process = True
    answer = await stopped.json("doctor")
    assert (answer["ok"], answer["data_dir"]) == (True, str(stopped.data_dir))
    assert "health" not in by_check(answer)
    assert "repairs" not in answer
    assert not (stopped.data_dir / "wardenmq.lock").exists()


async def test_a_killed_server(launch: Launch) -> None:
    """What it left is as it should be."""
    server = await (await launch()).wait_ready()
    await server.kill()
    answer = await Cli(server.data_dir, in_process=True).json("doctor")
    assert {*by_check(answer).values()} == {"ok"}


async def test_what_a_server_writes_is_what_it_should_be(launch: Launch) -> None:
    """Of all kinds: wills, shared subscriptions, both QoS, single messages and runs, with and without properties."""
    server = await (await launch()).wait_ready()
    cli = Cli(server.data_dir, in_process=True)
    will_properties, properties = Properties(PacketTypes.WILLMESSAGE), Properties(PacketTypes.PUBLISH)
    will_properties.WillDelayInterval, will_properties.MessageExpiryInterval = 600, 60
    properties.MessageExpiryInterval, properties.ContentType = 600, "text/plain"
    keeping = Properties(PacketTypes.CONNECT)
    keeping.SessionExpiryInterval = 600
    host, port = server.address("mqtt")
    place: dict[str, Any] = {
        **{"hostname": host, "port": port, "timeout": 60, "username": server.credentials["mqtt_username"]},
        "password": server.credentials["mqtt_password"],
    }
    will = aiomqtt.Will("left/é", b"gone", qos=2, retain=True, properties=will_properties)
    five: dict[str, Any] = {"protocol": aiomqtt.ProtocolVersion.V5, "properties": keeping, "will": will}
    for name, more in (("three", {"clean_session": False}), ("five", {**five, "clean_start": True})):
        async with aiomqtt.Client(identifier=name, **place, **more) as client:
            await client.subscribe([("t/#", 2), ("$share/group/t/+", 1), ("$SYS/broker/uptime", 0)])
    async with (
        aiomqtt.Client(identifier="publisher", protocol=aiomqtt.ProtocolVersion.V5, **place) as publisher,
        aiomqtt.Client(identifier="lost", **place, **five, clean_start=True) as lost,
    ):
        await lost.subscribe("t/#", qos=1)
        for qos in (1, 2):
            await publisher.publish("t/single", b"kept", qos=qos, retain=True, properties=properties)
            await asyncio.gather(*(publisher.publish("t/run", b"x" * 20, qos=qos) for _ in range(50)))
        found = {check["check"]: check["message"] for check in (await cli.json("doctor", "--full"))["checks"]}
        assert found["sessions.db rows"] == "The rows of sessions.db fit each other."
        with closing(sqlite3.connect(server.data_dir / SESSIONS.name)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM sessions WHERE will_topic = 'left/é'").fetchone()
            assert count == 1
            for table in ("subscriptions", "messages", "deliveries", "retained"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0], table


async def test_warnings_are_no_failure(stopped: Cli) -> None:
    stopped.in_process = True
    (stopped.data_dir / "operator-token").chmod(0o640)
    (stopped.data_dir / "sessions.db.damaged-20261122T010203Z").touch(0o600)
    answer = await stopped.json("doctor")
    assert answer["ok"] is True
    assert by_check(answer)["file modes"] == by_check(answer)["set aside"] == "warning"
    assert "warning  file modes" in await stopped.done("doctor")


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "nowhere", in_process=True)
    assert problems(await json_of(cli)) == ["data directory"]
    assert await cli.refused("doctor", "--repair", status=2) == f"There is no directory {tmp_path}/nowhere."
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_without_anything(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    cli = Cli(tmp_path / "data", in_process=True)
    assert problems(await json_of(cli)) == ["wardenmq.db"]
    assert list((tmp_path / "data").iterdir()) == []


async def test_a_repair_needs_the_server_stopped(running: Cli) -> None:
    running.in_process = True
    assert "Stop the server first." in await running.refused("doctor", "--repair", status=2)


async def test_from_goes_with_repair(stopped: Cli) -> None:
    stopped.in_process = True
    assert "--repair" in await stopped.refused("doctor", "--from", "x", status=2)


# -- repairs


async def test_a_damaged_database_from_end_to_end(launch: Launch) -> None:
    """A server stops, a page of its sessions is lost, they are recovered, and a server goes on with them."""
    server = await (await launch()).wait_ready()
    await server.stop()
    cli = Cli(server.data_dir, in_process=True)
    path = server.data_dir / SESSIONS.name
    path.unlink()
    write_database(path, ROWS)
    page = [page for page in layout(path)["messages"] if not page.is_inner][3]
    zero(path, page.number)

    assert problems(await json_of(cli)) == ["sessions.db"]
    ended = await cli.run("doctor", "--repair")
    assert (ended.status, ended.errors) == (0, "")
    assert f"{600 - page.rows} rows of messages (1 damaged place)" in ended.output
    assert "warning  set aside" in ended.output
    assert problems(await cli.json("doctor", "--full")) == []

    server = await (await launch()).wait_ready()
    assert f"Restored 3 sessions, {600 - page.rows} messages" in server.errors
    await server.stop()


async def test_what_a_server_set_aside_is_recovered(launch: Launch) -> None:
    server = await (await launch()).wait_ready()
    await server.stop()
    path = server.data_dir / SESSIONS.name
    path.unlink()
    write_database(path, ROWS)
    zero(path, layout(path)["unreleased"][0].number)
    server = await (await launch()).wait_ready()
    assert "wardenmq doctor" in server.errors
    cli = Cli(server.data_dir, in_process=True)
    answer = await cli.json("doctor")
    assert by_check(answer)["set aside"] == "warning"
    await server.stop()
    (aside,) = (file for file in server.data_dir.iterdir() if file.name.startswith("sessions.db.damaged-"))
    repaired = await cli.json("doctor", "--repair", "--from", str(aside))
    assert aside.name in repaired["repairs"][0]
    assert repaired["failure"] is None
    assert read_rows(path)["messages"] == set(ROWS["messages"])
    server = await (await launch()).wait_ready()
    assert "Restored 3 sessions, 600 messages" in server.errors
    await server.stop()


async def test_rows_that_do_not_fit(stopped: Cli) -> None:
    stopped.in_process = True
    path = stopped.data_dir / SESSIONS.name
    rows = {"sessions": [session(1)], "messages": [message(1), message(2)]}
    write_database(path, {**rows, "deliveries": [delivery(1, 0, 1), delivery(1, 1, 9)]})
    assert problems(await json_of(stopped)) == ["sessions.db rows"]
    answer = await stopped.json("doctor", "--repair")
    assert "1 deliveries whose message is missing, 1 messages that nobody is owed" in answer["repairs"][0]
    assert read_rows(path)["deliveries"] == {delivery(1, 0, 1)}
    assert (await stopped.json("doctor", "--repair"))["repairs"] == []


async def test_rows_that_no_server_could_read(launch: Launch) -> None:
    """Nothing is set aside because of them once they are put away, and all others are there."""
    server = await (await launch()).wait_ready()
    await server.stop()
    cli = Cli(server.data_dir, in_process=True)
    path = server.data_dir / SESSIONS.name
    path.unlink()
    write_database(path, ROWS)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (
            "UPDATE messages SET topic = CAST(x'ff' AS TEXT) WHERE id = 1",
            "UPDATE retained SET topic = CAST(x'6bff' AS TEXT) WHERE topic = 'kept/1/0'",
            "UPDATE subscriptions SET topic_filter = 'a/#/b' WHERE topic_filter = 'sensors/1/room-0/#'",
            "UPDATE deliveries SET count = 1000000000 WHERE message_id = 2",
            "UPDATE deliveries SET qos = 7 WHERE message_id = 3",
            "UPDATE messages SET count = 3 WHERE id = 4",
        ):
            assert connection.execute(statement).rowcount == 1
    answer = await json_of(cli)
    assert problems(answer) == ["sessions.db rows"]
    assert "doctor --repair" in next(c["message"] for c in answer["checks"] if c["check"] == "sessions.db rows")
    repaired = await cli.json("doctor", "--repair")
    assert problems(repaired) == []
    assert repaired["failure"] is None

    server = await (await launch()).wait_ready()
    assert "Restored 3 sessions, 596 messages for them and 59 retained messages" in server.errors
    assert "make no sense" not in server.errors
    await server.stop()
    assert not list(server.data_dir.glob("sessions.db.damaged-*"))


async def test_what_cannot_be_repaired_is_said(stopped: Cli) -> None:
    stopped.in_process = True
    zero(stopped.data_dir / "wardenmq.db", 1)
    answer = await json_of(stopped, "--repair")
    assert answer["ok"] is False
    assert "its beginning" in answer["failure"]
    ended = await stopped.run("doctor", "--repair")
    assert ended.status == 1
    assert ended.errors.startswith("wardenmq: Nothing can be recovered")
    assert "problem  wardenmq.db" in ended.output


async def test_a_newer_release_is_left_alone(stopped: Cli) -> None:
    stopped.in_process = True
    with closing(sqlite3.connect(stopped.data_dir / "wardenmq.db")) as connection:
        connection.execute("PRAGMA user_version = 4711")
    answer = await json_of(stopped, "--repair")
    assert (problems(answer), answer["repairs"], answer["failure"]) == (["wardenmq.db"], [], None)


# -- health


@asynccontextmanager
async def answering(status: int, text: str) -> AsyncIterator[str]:
    """Answer whoever asks for the health."""

    async def answer(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(status=status, text=text, content_type="application/json")

    application = web.Application()
    application.router.add_get("/health", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "text", "found"),
    [
        (200, '{"status": "ok"}', [("ok", "The server says that it is well.")]),
        (503, '{"problems": [{"message": "The disk is full."}]}', [("problem", "The server says: The disk is full.")]),
        (503, '{"problems": [{"message": "A."}, {"message": "B."}]}', [("problem", ": A."), ("problem", ": B.")]),
        (503, '{"problems": []}', [("warning", "status 503")]),
        (503, "[" * 50_000, [("warning", "status 503")]),
        (404, "{}", [("warning", "status 404")]),
    ],
)  # fmt: skip
async def test_what_a_server_says_of_itself(status: int, text: str, found: list[tuple[str, str]]) -> None:
    async with answering(status, text) as url:
        findings = await asyncio.to_thread(examine_health, url)
    assert [finding.status for finding in findings] == [status for status, _ in found]
    for finding, (_, words) in zip(findings, found, strict=True):
        assert words in finding.message


async def test_a_server_that_does_not_answer(stopped: Cli, unused_port: int) -> None:
    stopped.in_process = True
    lock = DataDirectoryLock.acquire(stopped.data_dir)
    lock.announce(f"http://127.0.0.1:{unused_port}")
    try:
        answer = await json_of(stopped)
    finally:
        lock.release()
    assert problems(answer) == ["health"]
    assert by_check(answer)["server"] == "ok"


@pytest.fixture
def unused_port() -> int:
    """Give a port at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def test_an_address_of_all_interfaces_is_this_machine() -> None:
    (finding,) = examine_health("http://0.0.0.0:1")
    assert finding.status == "problem"
    assert os.strerror(111) in finding.message or "refused" in finding.message
