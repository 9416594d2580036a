"""A server that is killed and started anew on the same data."""

import asyncio
import signal
from pathlib import Path
from random import Random

from ..processes import ANY_PORTS, ServerProcess
from .persistent_clients import Place

UNBOUNDED = {"WARDENMQ_MQTT__MAX_MQUEUE_LEN": "0", "WARDENMQ_MQTT__MAX_MQUEUE_BYTES": "0"}
"""Nothing is lost because a queue is full, which is a promise kept within the queue's bounds only."""


class CrashingServer:
    """Run one `wardenmq serve` after the other on one data directory, and say where it is."""

    def __init__(
        self,
        folder: Path,
        *,
        log_level: str = "info",
        python: tuple[str, ...] = ("-m", "wardenmq"),
        **environment: str,
    ) -> None:
        self.place = Place()
        self.python = python
        self._log_level = log_level
        self.starts = 0
        self.kills = 0
        self.process: ServerProcess | None = None
        self.data = folder / "data"
        self._environment = {**UNBOUNDED, **environment}
        self._logs: list[str] = []

    @property
    def log(self) -> str:
        """What all of them wrote to standard error."""
        return "\n".join([*self._logs, self.process.errors if self.process else ""])

    async def launch(self) -> ServerProcess:
        """Start a process without waiting for it."""
        options = (*ANY_PORTS, "--log-level", self._log_level)
        self.process = await ServerProcess.launch(
            self.data, *options, environment=self._environment, python=self.python
        )
        self.starts += 1
        return self.process

    async def start(self) -> None:
        """Start a process, and tell the clients once it is ready."""
        server = await (await self.launch()).wait_ready()
        credentials = server.credentials
        self.place.username = credentials["mqtt_username"]
        self.place.password = credentials["mqtt_password"].encode()
        self.place.address = server.address("mqtt")

    async def kill(self) -> None:
        """Send SIGKILL, which no process can do anything about, and wait until it is gone."""
        server = self.process
        assert server is not None
        assert server.process.returncode is None, f"the server ended by itself:\n{server.errors}"
        self.place.address = None
        await server.kill()
        self._forget(server)
        self.kills += 1

    async def stop(self) -> None:
        """Stop it as an operator does."""
        server = self.process
        assert server is not None
        self.place.address = None
        ended = await server.stop(signal.SIGTERM)
        self._forget(server)
        assert ended.status == 0, ended.errors

    def _forget(self, server: ServerProcess) -> None:
        self._logs.append(server.errors)
        self.process = None

    async def kill_at_start(self, random: Random, seconds: float) -> None:
        """Start a process and kill it within a time that may be enough for it to be ready."""
        await self.launch()
        await asyncio.sleep(random.uniform(0, seconds))
        await self.kill()

    async def end(self) -> None:
        """End what still runs."""
        if self.process is not None:
            await self.process.kill()
