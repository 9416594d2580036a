"""What all tests share: real server processes that never outlive their test."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from wardenmq.store.directory import Directory

from .processes import ANY_PORTS, ServerProcess

# The same inputs each time, so that a change is to blame when a test fails, and not how fast the machine made them.
settings.register_profile("test", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("test")
# `make fuzz` looks for longer; what it finds is replayed by later runs from Hypothesis's own directory.
settings.register_profile("fuzz", max_examples=4_000, deadline=None, suppress_health_check=list(HealthCheck))

Launch = Callable[..., Awaitable[ServerProcess]]


def pytest_collection_finish() -> None:
    """Look through thousands of collected tests for garbage once, not after every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def cheap_scram_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SCRAM keys cost as little as the standard allows, so that a login is not a fifth of a second."""
    defaults = Directory.open.__kwdefaults__
    assert defaults["scram_iterations"] > MIN_ITERATIONS
    monkeypatch.setitem(defaults, "scram_iterations", MIN_ITERATIONS)


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Start `wardenmq serve` on free ports with the data directory `data` in the test's directory."""
    started: list[ServerProcess] = []

    async def start(*arguments: str, **options: object) -> ServerProcess:
        server = await ServerProcess.launch(tmp_path / "data", *ANY_PORTS, *arguments, **options)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        await server.kill()


@pytest.fixture
async def server(launch: Launch) -> ServerProcess:
    """Run a server that is ready."""
    return await (await launch()).wait_ready()
