"""The README's quick start, run as it stands there.

Its `sh` blocks go to one shell, in order; a `text` block says what has to be seen before the next one. Only the ports
are replaced, by free ones, and where the mosquitto tools are missing, `examples/paho_tools.py` takes their names.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .processes import START_SECONDS, ServerProcess

ROOT = Path(__file__).parent.parent
STEP_SECONDS = 30.0
END_OF_STEP = "end-of-step"
START_COMMAND = "make run"

Block = tuple[str, str]


def quick_start() -> list[Block]:
    """Give the section's fenced blocks: language and text."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Quick start\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Lay out a directory that looks like a checkout which is set up, but with its own `data`.

    What is the same is linked; the stamp says to make that the environment is up to date.
    """
    root = tmp_path / "checkout"
    environment = root / ".venv"
    environment.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    for entry in Path(sys.prefix).iterdir():
        (environment / entry.name).symlink_to(entry)
    stamp = environment / "run.stamp"
    stamp.unlink(missing_ok=True)
    stamp.touch()
    return root


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Make a directory with the mosquitto tools that the machine does not have."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for role in ("pub", "sub"):
        if shutil.which(f"mosquitto_{role}") is None:
            tool = directory / f"mosquitto_{role}"
            tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/examples/paho_tools.py" {role} "$@"\n')
            tool.chmod(0o755)
    return directory


class Shell:
    """Feed one shell step by step and collect what it and its background jobs say."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.heard = ""

    async def run(self, script: str) -> None:
        """Run a block up to its end; fails where a command of it does."""
        assert self.process.stdin is not None
        self.heard = ""
        # What a background job says may stand before the mark on the same line.
        self.process.stdin.write(f"{script}\necho {END_OF_STEP}\n".encode())
        await self.hear(f"{END_OF_STEP}\n", script)

    async def hear(self, text: str, after: str) -> None:
        """Wait until a text was seen since the block began."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while text not in self.heard:
                    piece = await self.process.stdout.read(4096)
                    assert piece, f"the shell ended in\n{after}\n{self.heard}"
                    self.heard += piece.decode()
        except TimeoutError:
            pytest.fail(f"{text!r} did not come after\n{after}\n{self.heard}")


@pytest.fixture
async def server(checkout: Path) -> AsyncIterator[ServerProcess]:
    """Start the server with the README's command, on free ports."""
    variables = {
        "WARDENMQ_LISTENERS__DEFAULT__BIND": "127.0.0.1:0",
        "WARDENMQ_LISTENERS__WS__BIND": "127.0.0.1:0",
        "WARDENMQ_API__BIND": "127.0.0.1:0",
    }
    errors = checkout / "server.err"
    with errors.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *START_COMMAND.split(),
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            cwd=checkout,
            env=os.environ | variables,
        )
    running = ServerProcess(process, errors, checkout / "data")
    try:
        await running.wait_ready()
        yield running
    finally:
        # make passes no signal on, so the server itself is told, by the number in its ready line.
        if running.ready:
            os.kill(running.ready["pid"], signal.SIGTERM)
        async with asyncio.timeout(START_SECONDS):
            await process.wait()
    assert process.returncode == 0, running.errors


@pytest.fixture
async def shell(checkout: Path, tools: Path) -> AsyncIterator[Shell]:
    """Open the second terminal."""
    # Unbuffered, Python writes a line in several pieces, and others come in between.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-e",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=checkout,
        env=variables | {"PATH": f"{tools}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    try:
        yield Shell(process)
    finally:
        # The shell, and what it left in the background where a step failed.
        os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def test_the_quick_start_works_word_for_word(server: ServerProcess, shell: Shell) -> None:
    first, *blocks = quick_start()
    assert first == ("sh", f"{START_COMMAND}\n")
    assert len(blocks) >= 12
    ports = {"18083": str(server.address("api")[1]), "1883": str(server.address("mqtt")[1])}
    script = ""
    for language, text in blocks:
        if language == "sh":
            script = re.sub(r"\b(18083|1883)\b", lambda found: ports[found[0]], text)
            await shell.run(script)
        else:
            for line in text.splitlines():
                await shell.hear(line, script)


def test_every_flag_and_variable_of_the_table_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command_line = (ROOT / "cli" / "serving.py").read_text(encoding="utf-8")
    from wardenmq.config.settings import Settings

    for flag in set(re.findall(r"`(--[a-z-]+)`", readme)):
        assert f"{flag.removeprefix('--').replace('-', '_')}:" in command_line, flag
    for section in set(re.findall(r"`WARDENMQ_([A-Z]+?)(?:__[A-Z_<>]+)?`", readme)) - {"DATA_DIR"}:
        assert section.lower() in Settings.model_fields, section


def test_the_targets_that_are_named_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make (\w+)`", readme))
    assert {"test", "check", "help", "quickstart"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make check", "make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


async def test_the_quick_start_script_ends_well(tools: Path, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        ROOT / "examples" / "quickstart.sh",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "quickstart: ok", output.decode()
    assert process.returncode == 0
