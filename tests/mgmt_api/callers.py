"""Call the management API over a real socket, with paths sent exactly as they are written."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp.test_utils import TestClient
from wardenmq.mgmt_api.emqx.dashboard.login_tokens import TOKENS
from wardenmq.mgmt_api.state import STATE, ApiState
from wardenmq.store.credentials.stored_secrets import NO_SECRET
from wardenmq.store.directory import Directory
from yarl import URL

from ..engine.brokers import Clients
from ..engine.wire5 import Client5

V5 = "/api/v5"
USERS = f"{V5}/authentication/password_based:built_in_database/users"
RULES = f"{V5}/authorization/sources/built_in_database/rules"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error; its shape is checked on the way."""
        answer = self.json
        assert set(answer) == {"code", "message"}, answer
        assert isinstance(answer["message"], str)
        assert answer["message"]
        return answer["code"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a page."""
        assert self.status == 200, self.body
        answer = self.json
        assert set(answer) == {"data", "meta"}
        return answer["data"]

    @property
    def meta(self) -> dict[str, Any]:
        return self.json["meta"]


def basic(api_key: str, secret: str) -> dict[str, str]:
    """Build the header that EMQX's clients send."""
    return {"Authorization": "Basic " + b64encode(f"{api_key}:{secret}".encode()).decode()}


def form(file_name: str, data: bytes, field_name: str = "filename") -> tuple[bytes, dict[str, str]]:
    """Write a form with one file; returns body and headers."""
    head = f'--cut\r\nContent-Disposition: form-data; name="{field_name}"; filename="{file_name}"\r\n'
    body = head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--cut--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=cut"}


@dataclass(slots=True)
class Api:
    """Call the API as an administrator unless told otherwise."""

    http: TestClient[Any, Any]
    mqtt: Clients
    directory: Directory
    keys: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """The Authorization header of each role."""
    opened: list[Client5] = field(default_factory=list[Client5])

    async def bearer(self, role: str = "administrator") -> dict[str, str]:
        """Return the header of a dashboard user of this role, who is called like it and has just logged in."""
        users = self.directory.dashboard_users
        user = users.get(role) or await users.put(role, NO_SECRET, role, "")
        return {"Authorization": f"Bearer {self.state.part(TOKENS).create(user)}"}

    @property
    def state(self) -> ApiState:
        assert self.http.app is not None
        return self.http.app[STATE]

    async def connected5(self, client_id: str, **fields: object) -> Client5:
        """Connect a client that speaks MQTT 5; it is broken at the end of the test."""
        client = await Client5.open(self.mqtt.broker.addresses["default"])
        assert isinstance(client, Client5)
        self.opened.append(client)
        await client.connect(client_id, **fields)
        return client

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        role: str | None = "administrator",
    ) -> Reply:
        """Send one request; `body` goes as JSON, `data` as it is."""
        sent = dict(headers or {})
        if role is not None:
            sent |= self.keys[role]
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        url = URL(f"http://{self.http.host}:{self.http.port}{path}", encoded=True)
        async with self.http.session.request(method, url, data=data, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **query: str | int) -> Reply:
        """Get a path under the prefix."""
        text = "&".join(f"{key}={value}" for key, value in query.items())
        return await self.call("GET", f"{V5}{path}" + (f"?{text}" if text else ""))
