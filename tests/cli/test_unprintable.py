"""Standard output that takes nothing: said in a sentence, and no password is lost with it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wardenmq.cli import passwords

from .commands import TIME_LIMIT, Cli, Ended

FULL = "/dev/full"
pytestmark = pytest.mark.skipif(not Path(FULL).exists(), reason="needs a device that is full")


async def run(
    cli: Cli, *arguments: str, output: int, errors: int = subprocess.PIPE, code: tuple[str, ...] = ("-m", "wardenmq")
) -> Ended:
    """Run a command whose standard output is this descriptor."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *code, *arguments, "--data-dir", str(cli.data_dir)),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env={**os.environ, "WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096"},
    )
    async with asyncio.timeout(TIME_LIMIT):
        _, said = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, "", (said or b"").decode())


def full() -> int:
    return os.open(FULL, os.O_WRONLY)


def unread() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def for_reading() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def sentence(ended: Ended) -> str:
    assert ended.status == 2, ended
    (line,) = ended.errors.splitlines()
    assert line.startswith("wardenmq: ")
    return line


@pytest.mark.parametrize("take", [full, unread, for_reading])
@pytest.mark.parametrize(
    "arguments",
    [("user", "list"), ("user", "show", "mqtt", "--json"), ("acl", "explain", "c", "t"), ("role", "add", "r")],
)
async def test_an_answer_that_cannot_be_printed(
    stopped: Cli, arguments: tuple[str, ...], take: Callable[[], int]
) -> None:
    output = take()
    try:
        assert "tandard output" in sentence(await run(stopped, *arguments, output=output))
    finally:
        os.close(output)


@pytest.mark.parametrize("take", [full, unread, for_reading])
async def test_no_password_is_made_that_nobody_would_see(cli: Cli, take: Callable[[], int]) -> None:
    output = take()
    try:
        said = sentence(await run(cli, "user", "add", "alice", "--generate", output=output))
    finally:
        os.close(output)
    assert "nothing was changed" in said
    assert "not exist" in await cli.refused("user", "show", "alice")


async def test_nor_where_standard_output_is_closed(stopped: Cli) -> None:
    closed = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'wardenmq', *sys.argv[1:]])"
    ended = await run(stopped, "user", "add", "alice", "--generate", output=subprocess.DEVNULL, code=("-c", closed))
    assert "nothing was changed" in sentence(ended)
    assert "not exist" in await stopped.refused("user", "show", "alice")


@pytest.mark.parametrize("verb", ["add", "password"])
async def test_a_password_that_is_lost_all_the_same(stopped: Cli, verb: str) -> None:
    """The disk may fill up between the look and the print."""
    if verb == "password":
        await stopped.done("user", "add", "alice", "--no-password")
    blind = "from wardenmq.cli import main, passwords; passwords.check_shown = lambda: None; main()"
    assert hasattr(passwords, "check_shown")
    output = full()
    try:
        ended = await run(stopped, "user", verb, "alice", "--generate", output=output, code=("-c", blind))
    finally:
        os.close(output)
    said = sentence(ended)
    assert "set a new one" in said
    assert "alice" in said
    assert max(map(len, said.split())) < 24  # the one that was made up is no part of it
    assert "alice" in await stopped.done("user", "list")


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("config",), ("user", "--help")])
async def test_what_needs_no_data(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    output = full()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "wardenmq", *arguments), stdout=output, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(TIME_LIMIT):
            _, said = await process.communicate()
    finally:
        os.close(output)
    assert process.returncode is not None
    assert "tandard output" in sentence(Ended(process.returncode, "", said.decode()))


async def test_a_server_whose_first_lines_nobody_gets(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(0o700)
    output = full()
    ports = ("--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--api", "127.0.0.1:0", "--log-level", "error")
    try:
        ended = await run(Cli(tmp_path / "data"), "serve", *ports, output=output)
    finally:
        os.close(output)
    assert "tandard output" in sentence(ended)


async def test_errors_that_cannot_be_told(stopped: Cli) -> None:
    output = full()
    try:
        for arguments, status in ((("user", "show", "nobody"), 1), (("ban", "list"), 2), (("user", "list"), 2)):
            ended = await run(stopped, *arguments, output=output, errors=output)
            assert ended.status == status, arguments
    finally:
        os.close(output)
