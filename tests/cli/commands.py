"""Run `wardenmq NOUN VERB` as a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner
from wardenmq.cli import app

from ..processes import ServerProcess

TIME_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    status: int
    output: str
    errors: str


@dataclass(slots=True)
class Cli:
    """Run commands against one data directory."""

    data_dir: Path
    server: ServerProcess | None = None
    """None where none runs."""
    in_process: bool = False
    """Whether commands run in this process: a row of fifty would start Python as often."""

    async def run(
        self,
        *arguments: str | bytes,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        place: Sequence[str] | None = None,
    ) -> Ended:
        """Run one command to its end; standard input is never a terminal. `place` stands for `--data-dir DIR`."""
        where = ["--data-dir", str(self.data_dir)] if place is None else place
        if self.in_process:
            return await asyncio.to_thread(self._invoke, [*map(str, arguments), *where], stdin)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WARDENMQ_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "wardenmq", *arguments, *where),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**inherited, "WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096", **(environment or {})},
            cwd=self.data_dir.parent,
        )
        async with asyncio.timeout(TIME_LIMIT):
            output, errors = await process.communicate(stdin)
        assert process.returncode is not None
        assert b"Traceback" not in errors, errors
        return Ended(process.returncode, output.decode(), errors.decode())

    def _invoke(self, arguments: list[str], stdin: bytes) -> Ended:
        result = CliRunner().invoke(
            app,
            arguments,
            input=stdin,
            env={"WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096"},
            catch_exceptions=False,
        )
        return Ended(result.exit_code, result.stdout, result.stderr)

    async def done(self, *arguments: str | bytes, stdin: bytes = b"") -> str:
        """Run a command that must succeed without a complaint, and return what it printed."""
        ended = await self.run(*arguments, stdin=stdin)
        assert (ended.status, ended.errors) == (0, ""), ended
        return ended.output

    async def json(self, *arguments: str | bytes, stdin: bytes = b"") -> Any:
        """Run a command with `--json`, and return what it printed."""
        return json.loads(await self.done(*arguments, "--json", stdin=stdin))

    async def refused(self, *arguments: str | bytes, status: int = 1, **options: Any) -> str:
        """Run a command that must fail, and return the one sentence that it says."""
        ended = await self.run(*arguments, **options)
        assert (ended.status, ended.output) == (status, ""), ended
        (sentence,) = ended.errors.splitlines()
        assert sentence.startswith("wardenmq: "), ended
        return sentence.removeprefix("wardenmq: ")
