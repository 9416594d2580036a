"""Who gets in after a start: users that were made, keys out of a file, the key out of the environment."""

import json
from pathlib import Path
from typing import Any

import aiohttp
from wardenmq.store.directory import Directory

from .conftest import Launch
from .mgmt_api.callers import basic
from .processes import ServerProcess

PASSWORD = "secret-12"


async def call(server: ServerProcess, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    url = f"{server.ready['api']}/api/v5{path}"
    async with aiohttp.ClientSession(headers=headers) as http, http.request(method, url, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


async def bearer(server: ServerProcess, username: str, password: str) -> dict[str, str]:
    status, login = await call(server, "POST", "/login", {"username": username, "password": password})
    assert status == 200, login
    return {"Authorization": f"Bearer {login['token']}"}


async def test_users_and_settings_outlive_the_server_and_tokens_do_not(launch: Launch) -> None:
    server = await (await launch()).wait_ready()
    credentials = server.credentials
    first = await bearer(server, credentials["dashboard_user"], credentials["dashboard_password"])
    made = {"username": "ann", "password": PASSWORD, "role": "viewer", "description": "x"}
    assert (await call(server, "POST", "/users", made, **first))[0] == 200
    _, key = await call(server, "POST", "/api_key", {"name": "mine"}, **first)
    await server.stop()

    again = await (await launch()).wait_ready()
    assert (await call(again, "GET", "/users", **first))[0] == 401
    token = await bearer(again, "ann", PASSWORD)
    _, users = await call(again, "GET", "/users", **token)
    assert users[-1] == {"username": "ann", "role": "viewer", "description": "x", "backend": "local"}
    assert (await call(again, "GET", "/nodes", **basic(key["api_key"], key["api_secret"])))[0] == 200


async def test_keys_come_from_the_environment(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("app:top-secret:viewer\n\nwrong\n")
    environment = {"WARDENMQ_BOOTSTRAP_FILE": str(file), "API_KEY": "chosen-key"}
    server = await (await launch(environment=environment)).wait_ready()
    assert server.credentials["bunkerm_api_key"] == "chosen-key"
    app = basic("app", "top-secret")
    assert (await call(server, "GET", "/nodes", **app))[0] == 200
    assert (await call(server, "DELETE", "/alarms", **app))[0] == 403
    ended = await server.stop()
    assert "Line 3 of the bootstrap file" in ended.errors
    assert "top-secret" not in ended.errors
    assert "chosen-key" not in ended.errors

    again = await (await launch(environment={"API_KEY": "another-key"})).wait_ready()
    assert (await call(again, "GET", "/nodes", **app))[0] == 200
    await again.stop()
    directory = await Directory.open(again.data_dir / "wardenmq.db")
    assert directory.verify_bunkerm_key("another-key")
    assert not directory.verify_bunkerm_key("chosen-key")
    await directory.close()
