from pathlib import Path

import pytest
import pytest_asyncio
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from wardenmq.store.first_run import first_run

from ..conftest import Launch
from .commands import Cli


@pytest_asyncio.fixture
async def running(launch: Launch) -> Cli:
    """Give the command line of a server that runs."""
    server = await (await launch()).wait_ready()
    return Cli(server.data_dir, server)


@pytest_asyncio.fixture
async def stopped(tmp_path: Path) -> Cli:
    """Give the command line of a server that ran once and does not now."""
    (tmp_path / "data").mkdir()
    await first_run(tmp_path / "data", scram_iterations=MIN_ITERATIONS)
    return Cli(tmp_path / "data")


@pytest.fixture(params=["running", "stopped"])
def cli(request: pytest.FixtureRequest) -> Cli:
    """Give the command line in either state; where no server runs, commands are carried out in this process."""
    cli: Cli = request.getfixturevalue(request.param)
    cli.in_process = cli.server is None
    return cli
