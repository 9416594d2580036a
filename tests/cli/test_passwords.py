"""Passwords come from anywhere but the arguments, and are shown only where nobody else has them."""

import asyncio
import fcntl
import inspect
import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import typer
from typer.main import get_command
from wardenmq.cli import app
from wardenmq.store.admission import Outcome
from wardenmq.store.directory import Directory

from .commands import TIME_LIMIT, Cli

SECRET = "  s3cret of ü  "


async def opens(cli: Cli, name: str, password: str) -> bool:
    """Tell whether a password lets in, asking the server or the directory."""
    if cli.server is not None:
        client = aiomqtt.Client(*cli.server.address("mqtt"), username=name, password=password, timeout=30)
        try:
            async with client:
                return True
        except aiomqtt.MqttError:
            return False
    directory = await Directory.open(cli.data_dir / "wardenmq.db")
    try:
        verdict: Any = directory.authenticate("c", name, password.encode())
        return (await verdict if inspect.isawaitable(verdict) else verdict).outcome is Outcome.ACCEPTED
    finally:
        await directory.close()


# -- where they come from


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
async def test_from_standard_input(cli: Cli, ending: str) -> None:
    given = f"{SECRET}{ending}".encode()
    added = await cli.done("user", "add", "alice", "--password-stdin", stdin=given)
    assert await opens(cli, "alice", SECRET)
    changed = await cli.done("user", "password", "alice", "--password-file", "-", stdin=b"other" + ending.encode())
    assert await opens(cli, "alice", "other")
    assert not await opens(cli, "alice", SECRET)
    assert "s3cret" not in added
    assert changed == "The password is changed.\n"


async def test_from_a_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    answer = await cli.json("user", "add", "alice", "--password-file", str(file))
    assert "password" not in answer
    assert await opens(cli, "alice", SECRET)
    answer = await cli.json("user", "password", "alice", "--password-file", str(file))
    assert (answer["login"], "password" in answer) == ("alice", False)


@pytest.mark.parametrize("verb", ["add", "password"])
async def test_made_up_and_shown_once(cli: Cli, verb: str) -> None:
    if verb == "password":
        await cli.done("user", "add", "alice", "--no-password")
    output = await cli.done("user", verb, "alice", "--generate")
    (line,) = [line for line in output.splitlines() if line.startswith("password (shown only now)")]
    password = line.split()[-1]
    assert len(password) >= 20
    assert output.count(password) == 1
    assert await opens(cli, "alice", password)
    answer = await cli.json("user", "password", "alice", "--generate")
    assert await opens(cli, "alice", answer["password"])
    for command in (("user", "list"), ("user", "show", "alice"), ("audit", "list")):
        assert answer["password"] not in await cli.done(*command, "--json")


async def test_none_at_all(cli: Cli) -> None:
    await cli.done("user", "add", "alice", "--no-password")
    assert not await opens(cli, "alice", "")


# -- from a terminal


def read_until(terminal: int, text: str) -> str:
    seen = ""
    while text not in seen:
        assert select.select([terminal], [], [], TIME_LIMIT)[0], seen
        seen += os.read(terminal, 1_000).decode()
    return seen


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Give both ends of a terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def at_terminal(cli: Cli, terminal: tuple[int, int], *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command whose terminal is the other end."""
    return subprocess.Popen(
        [sys.executable, "-m", "wardenmq", *arguments, "--data-dir", str(cli.data_dir)],
        stdin=terminal[1],
        stdout=subprocess.PIPE,
        stderr=terminal[1],
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (the only way to own a terminal)
        env={**os.environ, "WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096"},
    )


async def test_asked_for_twice_and_not_echoed(stopped: Cli, terminal: tuple[int, int]) -> None:
    process = at_terminal(stopped, terminal, "user", "add", "alice")

    def converse() -> tuple[str, bytes]:
        seen = ""
        for first, second in (("one", "another"), ("s3cret", "s3cret")):
            seen += read_until(terminal[0], "Password: ")
            os.write(terminal[0], f"{first}\n".encode())
            seen += read_until(terminal[0], "confirmation: ")
            os.write(terminal[0], f"{second}\n".encode())
        output, _ = process.communicate(timeout=TIME_LIMIT)
        return seen, output

    seen, output = await asyncio.to_thread(converse)
    assert process.returncode == 0
    assert b"alice" in output
    assert b"s3cret" not in output
    assert "s3cret" not in seen
    assert "do not match" in seen
    assert await opens(stopped, "alice", "s3cret")


async def test_a_question_can_be_answered(stopped: Cli, terminal: tuple[int, int]) -> None:
    await stopped.done("ban", "add", "clientid", "c")

    def converse(answer: str) -> int:
        process = at_terminal(stopped, terminal, "ban", "clear")
        read_until(terminal[0], "[y/N]:")
        os.write(terminal[0], f"{answer}\n".encode())
        process.communicate(timeout=TIME_LIMIT)
        return process.returncode

    assert await asyncio.to_thread(converse, "n") == 1
    assert len((await stopped.json("ban", "list"))["data"]) == 1
    assert await asyncio.to_thread(converse, "y") == 0
    assert (await stopped.json("ban", "list"))["data"] == []


# -- what cannot be one


@pytest.mark.parametrize(
    ("arguments", "given", "part"),
    [
        ([], b"s3cret\n", "no terminal"),
        (["--password-stdin"], b"", "empty"),
        (["--password-stdin"], b"\n", "empty"),
        (["--password-stdin"], b"\xff\n", "UTF-8"),
        (["--password-stdin"], b"x" * 70_000, "longer"),
        (["--password-stdin", "--generate"], b"s3cret", "one of"),
        (["--password-file", "nowhere"], b"", "cannot be read"),
        (["--password-file", "."], b"", "cannot be read"),
    ],
)
async def test_no_usable_password(stopped: Cli, arguments: list[str], given: bytes, part: str) -> None:
    stopped.in_process = True
    for verb in ("add", "password"):
        sentence = await stopped.refused("user", verb, "alice", *arguments, stdin=given, status=2)
        assert part in sentence
        assert "s3cret" not in sentence
    assert "not exist" in await stopped.refused("user", "show", "alice")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


def test_no_option_takes_a_password_as_its_value() -> None:
    assert isinstance(app, typer.Typer)
    seen: set[str] = set()
    for path, command in commands(get_command(app)):
        for option in command.params:
            names = [name for name in option.opts if "password" in name or "secret" in name or "token" in name]
            if names and not getattr(option, "is_flag", False):
                assert names == ["--password-file"], path
            seen.update(names)
    assert seen == {"--password-stdin", "--password-file", "--no-password"}
