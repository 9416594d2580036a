"""A server of its own process on a faulty disk, and clients to it; a restart finds the same directory."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from ...engine.packets5 import P
from ...engine.wire import Client
from ...engine.wire5 import Client5
from ...processes import ANY_PORTS, ServerProcess
from .disk import TIME_LIMIT, Connector, Disk

ROOT = Path(__file__).parent.parent.parent.parent
OPEN = {
    "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}, "ws": {"type": "ws", "bind": "127.0.0.1:0"}},
    "plugins": {"wardenmq.plugins.credentials.CredentialAuthPlugin": {"allow_anonymous": True}},
}
"""Anonymous clients may do everything."""
LIVES_ON = [(P.SESSION_EXPIRY, 0xFFFFFFFF)]
NOT_WRITABLE = "journal_not_writable"
NOT_READABLE = "journal_not_readable"


class Served:
    """Own one server at a time, its disk and the clients to it."""

    def __init__(self, directory: Path, stack: AsyncExitStack, **settings: Any) -> None:
        self.data_dir = directory / "data"
        self.process: ServerProcess
        self.disk: Disk
        self._synced = directory / "synced"
        self._synced.mkdir()
        self._settings = settings
        self._stack = stack

    async def start(self) -> "Served":
        """Start the server and wait until it is ready."""
        await (await self.launch()).wait_ready()
        return self

    async def launch(self, **failing: str) -> ServerProcess:
        """Start the server on a disk that fails so from the first, without waiting for it."""
        config = self.data_dir.parent / "open.yaml"
        config.write_text(json.dumps({**OPEN, **self._settings}))
        connector = Connector(self._synced, **failing)
        errors = self.data_dir.parent / f"{len(list(self.data_dir.parent.glob('*.err')))}.err"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WARDENMQ_")}
        with errors.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.durability.faults.faulty_server", "serve"),
                *("--config", str(config), "--data-dir", str(self.data_dir), *ANY_PORTS),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                pass_fds=connector.inherited,
                env={**inherited, **connector.environment, "WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096"},
                cwd=ROOT,
            )
        self.process = ServerProcess(process, errors, self.data_dir)
        self._stack.push_async_callback(self.process.kill)
        self.disk = await connector.disk()
        self._stack.callback(self.disk.close)
        return self.process

    async def kill_and_restart(self) -> None:
        """Kill the server at once and start it again on a disk that is whole."""
        await self.process.kill()
        await self.start()

    async def lose_power_and_restart(self) -> None:
        """Kill the server, leave of its files what the disk had got for certain, and start it again."""
        await self.process.kill()
        self.disk.lose_power(self.data_dir)
        await self.start()

    async def stop(self) -> str:
        """End the server as an operator would, and give what it has logged."""
        ended = await self.process.stop(signal.SIGTERM)
        assert ended.status == 0, ended.errors
        return ended.errors

    # -- clients

    async def client(self, client_id: str = "", *, clean: bool = True) -> Client:
        """Connect a client of MQTT 3.1.1."""
        client = await Client.open(self.process.address("mqtt"))
        self._stack.callback(client.abort)
        await client.connect(client_id, clean=clean)
        return client

    async def client5(self, client_id: str = "", *, clean: bool = True) -> Client5:
        """Connect a client of MQTT 5, whose session lives on for ever unless it is to be clean."""
        client = await Client5.open(self.process.address("mqtt"))
        assert isinstance(client, Client5)
        self._stack.callback(client.abort)
        await client.connect(client_id, clean=clean, properties=() if clean else LIVES_ON)
        return client

    async def absent(self, client_id: str, *filters: tuple[str, int], five: bool = False) -> None:
        """Leave a persistent session with these subscriptions behind."""
        client = await (self.client5 if five else self.client)(client_id, clean=False)
        assert await client.subscribe(*filters) == [qos for _, qos in filters]
        if five:
            client.send(b"\xe0\x00")
            await client.hung_up()
        else:
            await client.disconnect()

    # -- what the server says of itself

    async def alarms(self, name: str = NOT_WRITABLE, *, activated: bool = True) -> list[dict[str, Any]]:
        """List the alarms of that name, active or over."""
        _, answer = await self._get(f"/api/v5/alarms?activated={str(activated).lower()}")
        return [alarm for alarm in answer["data"] if alarm["name"] == name]

    async def health(self) -> tuple[int, dict[str, Any]]:
        """Ask for the health, without a credential."""
        return await self._get("/health", authorization=None)

    async def whole_again(self) -> None:
        """Wait until the server says that it can write."""
        await self._until_health(200)

    async def failing(self) -> None:
        """Wait until the server says that it cannot write."""
        await self._until_health(503)

    async def _until_health(self, status: int) -> None:
        async with asyncio.timeout(TIME_LIMIT):
            while (await self.health())[0] != status:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.05)

    async def _get(self, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        headers = {} if "authorization" in options else {"Authorization": self.process.authorization}
        async with (
            aiohttp.ClientSession(self.process.ready["api"], headers=headers) as http,
            http.get(path) as answer,
        ):
            return answer.status, await answer.json()


@asynccontextmanager
async def serving(directory: Path, **settings: Any) -> AsyncIterator[Served]:
    """Run a server on a disk that is whole, with its data under this directory."""
    async with AsyncExitStack() as stack:
        served = Served(directory, stack, **settings)
        yield await served.start()
