"""Requests made up from the API's own document: no answer is a fault of the server, or one that the document lacks.

The server is a process of its own, for what is sent changes all that can be changed. What would reach beyond this
machine is turned back to it. `make fuzz` sends more.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from os import environ
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.mgmt_api.openapi import document
from wardenmq.mgmt_api.operator.address import MAX_TARGET

from ..processes import ANY_PORTS, START_SECONDS

FUZZING = not settings.default.derandomize
EXAMPLES = 40 if FUZZING else 5
# What is systematic beside what is random is a multiple of it: for `make fuzz`.
PHASES = {name: {"enabled": FUZZING} for name in ("examples", "coverage")}
LEFT_ALONE = {
    ("POST", "/logout"),  # the caller's own token
    ("POST", "/users/{username}/change_pwd"),
    ("DELETE", "/users/{username}"),
    ("PUT", "/users/{username}"),
}
NOWHERE = "http://127.0.0.1:9/"
"""Where nobody listens."""
CHECKED = [status_code_conformance, content_type_conformance, response_schema_conformance]

SCHEMA = schemathesis.openapi.from_dict(document(EMQX, "0"), config=schemathesis.Config.from_dict({"phases": PHASES}))


class Running:
    """A server, and what its calls need."""

    def __init__(self, data_dir: Path) -> None:
        self.errors = data_dir.parent / "errors"
        inherited = {name: value for name, value in environ.items() if not name.startswith("WARDENMQ_")}
        with self.errors.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wardenmq", "serve", "--data-dir", str(data_dir), *ANY_PORTS],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                cwd=data_dir.parent,
                env={**inherited, "WARDENMQ_MQTT__SCRAM_ITERATIONS": "4096"},
            )
        assert self.process.stdout is not None
        ready = next((line for line in self.process.stdout if line.startswith("wardenmq ready ")), None)
        assert ready is not None, self.errors.read_text()
        self.url = json.loads(ready.removeprefix("wardenmq ready "))["api"] + "/api/v5"
        credentials = json.loads((data_dir / "initial-credentials.json").read_text())
        self.headers = {"Authorization": f"Bearer {self._login(credentials)}"}

    def _login(self, credentials: dict[str, str]) -> str:
        body = {"username": credentials["dashboard_user"], "password": credentials["dashboard_password"]}
        request = urllib.request.Request(
            f"{self.url}/login", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
            return json.loads(answer.read())["token"]

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("server") / "data")
    yield server
    server.end()


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_request_finds_a_fault(case: schemathesis.Case, running: Running) -> None:
    if (case.method.upper(), case.operation.path) in LEFT_ALONE:
        return
    case.body = kept_here(case.body)
    response = case.call(base_url=running.url, headers=running.headers)
    if response.status_code >= 500:
        # EMQX's answers where a node of this name does not run, as there is but one here.
        assert json.loads(response.content)["code"] in ("NODE_DOWN", "BAD_NODE"), running.errors.read_text()[-4_000:]
    if len(response.request.url or "") > MAX_TARGET:
        assert response.status_code == 400  # before the API sees it
        return
    case.validate_response(response, checks=CHECKED)


def kept_here(body: Any) -> Any:
    """Turn back what would connect to, or listen for, somebody else."""
    if isinstance(body, list):
        return [kept_here(part) for part in body]
    if not isinstance(body, dict):
        return body
    turned = {name: kept_here(value) for name, value in body.items()}
    for name in ("url", "endpoint"):
        if name in turned:
            turned[name] = NOWHERE
    if "bind" in turned:
        turned["bind"] = "127.0.0.1:0"
    return turned
