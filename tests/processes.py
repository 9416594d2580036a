"""Run `wardenmq serve` as a process of its own and read its ready line."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
ANY_PORTS = ("--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--api", "127.0.0.1:0")


@dataclass(frozen=True)
class Ended:
    """What a process left behind."""

    status: int
    output: str
    errors: str


class ServerProcess:
    """Own one server process; its standard error goes to a file, so that no pipe fills up."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path, data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.before_ready: list[str] = []
        self.ready: dict[str, Any] = {}
        self._errors = errors

    @classmethod
    async def launch(
        cls,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        python: tuple[str, ...] = ("-m", "wardenmq"),
    ) -> "ServerProcess":
        """Start the process without waiting for it."""
        errors = data_dir.parent / f"{data_dir.name}.{len(list(data_dir.parent.iterdir()))}.err"
        ours = ("WARDENMQ_", "API_KEY")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        cheap = {"WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096"}  # the first start waits for its login's keys
        with errors.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *python,
                "serve",
                "--data-dir",
                str(data_dir),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                env={**inherited, **cheap, **(environment or {})},
                cwd=data_dir.parent,
            )
        return cls(process, errors, data_dir)

    async def wait_ready(self) -> "ServerProcess":
        """Read up to the ready line; fails with what the process said where it ends before."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := (await self.process.stdout.readline()).decode():
                if line.startswith("wardenmq ready "):
                    self.ready = json.loads(line.removeprefix("wardenmq ready "))
                    return self
                self.before_ready.append(line.rstrip("\n"))
        raise AssertionError(f"no ready line; status {await self.process.wait()}: {self.errors}")

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text()

    @property
    def credentials(self) -> dict[str, str]:
        return json.loads((self.data_dir / "initial-credentials.json").read_text())

    @property
    def authorization(self) -> str:
        """The header that the first API key makes."""
        pair = f"{self.credentials['api_key']}:{self.credentials['api_secret']}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def address(self, name: str) -> tuple[str, int]:
        """Host and port of a listener."""
        host, _, port = self.ready[name].removeprefix("http://").rpartition(":")
        return host, int(port)

    async def ended(self) -> Ended:
        """Wait for the end."""
        async with asyncio.timeout(START_SECONDS):
            output, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, output.decode(), self.errors)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return await self.ended()

    async def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
