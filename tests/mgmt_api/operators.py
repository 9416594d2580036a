"""Call the operator's API over a real socket."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp.test_utils import TestClient
from wardenmq.mgmt_api.operator.address import PREFIX
from wardenmq.mgmt_api.state import STATE, ApiState
from wardenmq.store.directory import Directory
from yarl import URL

from ..engine.brokers import Clients
from .callers import Reply

ODD_NAMES = [
    "alice",
    "a/b",
    "100%",
    "%2F",
    "what?",
    "#",
    "a#b",
    "name with spaces",
    "ünï",
    "{brace}",
    "a;b&c=d",
    "..",
    ".",
]
"""Names that a path has to carry unharmed."""


@dataclass(slots=True)
class Operator:
    """Call the API with the operator token unless told otherwise."""

    http: TestClient[Any, Any]
    mqtt: Clients
    directory: Directory
    token: str

    @property
    def state(self) -> ApiState:
        assert self.http.app is not None
        return self.http.app[STATE]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = "",
    ) -> Reply:
        """Send one request to a path below the prefix, as it is written; `token=None` sends none."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token}"
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        url = URL(f"http://{self.http.host}:{self.http.port}{PREFIX}{path}", encoded=True)
        async with self.http.session.request(method, url, data=data, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def done(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed and return its JSON."""
        reply = await self.call(method, path, body)
        assert reply.status < 300, reply.body
        return reply.json if reply.body else None

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Send a request that must fail and return its status and code."""
        reply = await self.call(method, path, body)
        return reply.status, reply.code


def segment(name: str) -> str:
    """Write a name as a segment of a path."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
