"""A whole server in the test's own process, on a data directory that the next one finds as it was left."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import aiohttp
from wardenmq.broker.broker import Broker
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN, Settings
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

    @property
    def broker(self) -> Broker:
        """What serves MQTT."""
        broker = self.server._broker  # pyright: ignore[reportPrivateUsage]
        assert broker is not None
        return broker

    async def call(self, method: str, path: str, body: Any = None, *, text: str | None = None) -> Reply:
        """Send one request; `path` is relative to the prefix and percent-encoded, `text` goes as it is."""
        url = URL(self.server.addresses["api"] + V5 + path, encoded=True)
        headers = basic(self.credentials["api_key"], self.credentials["api_secret"])
        async with self.http.request(method, url, json=body, data=text, headers=headers) as response:
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
async def whole_server(
    data_dir: Path, fixed: Mapping[str, Any] | None = None, **sections: Any
) -> AsyncIterator[WholeServer]:
    """Run a server to its clean end; `sections` are those of its configuration file, `fixed` is what flags say."""
    values: dict[str, Any] = {
        "data_dir": str(data_dir),
        "listeners": {"default": {"bind": "127.0.0.1:0"}},
        "api": {"bind": "127.0.0.1:0"},
        "plugins": {CREDENTIAL_PLUGIN: {"allow_anonymous": False}, TOPIC_ACL_PLUGIN: {}},
        **sections,
    }
    values["mqtt"] = {"scram_iterations": MIN_ITERATIONS, "shutdown_timeout": 0, **values.get("mqtt", {})}
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        server = Server(Settings.load(Path(file.name), fixed))
    await server.start(lambda _: None)
    try:
        credentials = json.loads((data_dir / "initial-credentials.json").read_text())
        async with aiohttp.ClientSession() as http, AsyncExitStack() as opened:
            yield WholeServer(server, http, credentials, opened)
    finally:
        await server.stop()
