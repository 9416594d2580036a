"""A whole server in the test's own process, on a data directory that the next one finds as it was left."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from wardenmq.config.settings import CREDENTIAL_PLUGIN, Settings
from wardenmq.server import Server
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from yarl import URL

from ..engine.wire import Client
from ..engine.wire5 import Client5
from .callers import V5, Reply, basic


@dataclass(slots=True)
class WholeServer:
    """Call the API with the key of the first start, and open clients with its login."""

    server: Server
    http: aiohttp.ClientSession
    credentials: dict[str, str]
    opened: AsyncExitStack

    async def call(self, method: str, path: str, body: Any = None) -> Reply:
        """Send one request; `path` is relative to the prefix and percent-encoded."""
        url = URL(self.server.addresses["api"] + V5 + path, encoded=True)
        headers = basic(self.credentials["api_key"], self.credentials["api_secret"])
        async with self.http.request(method, url, json=body, headers=headers) as response:
            return Reply(response.status, response.headers, await response.read())

    async def client(self, client_id: str, *, version: int = 4, **fields: object) -> Client:
        """Connect a client that may do everything; `fields` are those of its CONNECT."""
        kind = Client if version == 4 else Client5
        host, port = self.server.addresses["mqtt"].rsplit(":", 1)
        client = await kind.open((host, int(port)))
        self.opened.callback(client.abort)
        fields = {
            "username": self.credentials["mqtt_username"],
            "password": self.credentials["mqtt_password"].encode(),
            **fields,
        }
        await client.connect(client_id, **fields)
        return client


@asynccontextmanager
async def whole_server(data_dir: Path, **sections: Any) -> AsyncIterator[WholeServer]:
    """Run a server to its clean end; `sections` are those of its configuration."""
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "listeners": {"default": {"bind": "127.0.0.1:0"}},
        "api": {"bind": "127.0.0.1:0"},
        "plugins": {CREDENTIAL_PLUGIN: {"allow_anonymous": False}},
        **sections,
    }
    values["mqtt"] = {"scram_iterations": MIN_ITERATIONS, "shutdown_timeout": 0, **values.get("mqtt", {})}
    server = Server(Settings.load(None, values))
    await server.start(lambda _: None)
    try:
        credentials = json.loads((data_dir / "initial-credentials.json").read_text())
        async with aiohttp.ClientSession() as http, AsyncExitStack() as opened:
            yield WholeServer(server, http, credentials, opened)
    finally:
        await server.stop()
