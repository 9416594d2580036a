"""Nothing acknowledged is lost, whenever the server is killed: real sockets, real processes, SIGKILL."""

import asyncio
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from .crashing_servers import CrashingServer
from .ledger import Ledger
from .populations import Population

_LONGEST_LIFE = 0.3
"""Seconds from the moment when all publishers have connected to the kill, at most."""
_AT_START = 0.25
"""How often it is the start that is cut short."""
_LITTLE_MEMORY = {"WARDENMQ_MQTT__MAX_QUEUED_MEMORY": "20000"}
"""Lets most of what is queued be on the disk alone."""


class CrashTest:
    """Kill the server under its clients, a number of times, and find out what was lost."""

    def __init__(self, folder: Path, seed: int, kills: int, environment: dict[str, str]) -> None:
        self.seed = seed
        self.kills = kills
        self.random = Random(seed)
        self.server = CrashingServer(folder, **environment)
        self.ledger = Ledger()
        self.population = Population(self.server.place, self.ledger, Random(seed + 1))
        self.start_seconds = 0.0

    async def run(self) -> None:
        """Do all of it; what fails says how to do it again."""
        try:
            await self._start()
            await self.population.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.population.run())
                await self._crash()
                self.server.place.end.set()
            self.population.assert_kept()
            await self._check_what_is_left()
        except BaseException as failure:
            failure.add_note(
                f"seed {self.seed}, after {self.server.kills} kills; the log ends\n{self.server.log[-4000:]}"
            )
            raise
        finally:
            await self.server.end()
        assert "Traceback" not in self.server.log, self.server.log

    async def _start(self) -> None:
        began = monotonic()
        await self.server.start()
        self.start_seconds = monotonic() - began

    async def _crash(self) -> None:
        await self._live_and_die()
        while self.server.kills < self.kills:
            if self.random.random() < _AT_START:
                await self.server.kill_at_start(self.random, 1.2 * self.start_seconds)
                continue
            await self._start()
            if self.random.random() < 0.3:
                await self.population.check_retained()
            await self._live_and_die()
        await self._start()

    async def _live_and_die(self) -> None:
        await self.population.publishing()
        await asyncio.sleep(self.random.uniform(0, _LONGEST_LIFE))
        await self.server.kill()

    async def _check_what_is_left(self) -> None:
        """Assert that the server knows that nothing is left to do, after a kill and after a regular stop."""
        await self.population.check_retained()
        await self.server.stop()
        await self.server.start()
        await self.population.check_quiet()
        await self.population.check_retained()
        await self.server.stop()


@pytest.mark.parametrize(
    ("seed", "kills", "environment"),
    [(1, 26, {}), (2, 26, {"WARDENMQ_DURABILITY": "power", **_LITTLE_MEMORY})],
    ids=["process", "power"],
)
async def test_nothing_acknowledged_is_lost(seed: int, kills: int, environment: dict[str, str], tmp_path: Path) -> None:
    """[MQTT-4.1.0-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.4.0-1] [MQTT-4.6.0-6]: of what all of them promise."""
    test = CrashTest(tmp_path, seed, kills, environment)
    await test.run()
    assert test.server.kills == kills
    assert test.ledger.acknowledged > kills * 10
