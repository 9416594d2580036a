"""The watch over the machine: what raises an alarm, what ends it, how often it looks. The tests own the readings."""

import asyncio
from typing import Any

import psutil
import pytest
from wardenmq.broker.alarms import Alarms
from wardenmq.broker.listeners.limits import BrokerLimits, ListenerLimits
from wardenmq.broker.settings import MqttSettings
from wardenmq.broker.system_watch import (
    DISK_INTERVAL,
    DISK_NEARLY_FULL,
    HIGH_CPU_USAGE,
    HIGH_PROCESS_MEMORY_USAGE,
    HIGH_SYSTEM_MEMORY_USAGE,
    TOO_MANY_CONNECTIONS,
    SystemWatch,
    SystemWatchSettings,
)

from .conditions import until

GIGABYTE = 1 << 30


class Machine:
    """Readings that the test sets."""

    def __init__(self) -> None:
        self.usage: float | None = 0.1
        self.total = 16 * GIGABYTE
        self.used = GIGABYTE
        self.process: int | None = 100 << 20
        self.size, self.free = 100 * GIGABYTE, 50 * GIGABYTE
        self.looks = {"cpu": 0, "memory": 0, "disk": 0}
        self.fails = False

    def cpu(self) -> float | None:
        self.looks["cpu"] += 1
        return self.usage

    def memory(self) -> tuple[int, int] | None:
        self.looks["memory"] += 1
        return self.total, self.used

    def process_memory(self) -> int | None:
        return self.process

    def disk(self) -> tuple[int, int] | None:
        self.looks["disk"] += 1
        if self.fails:
            raise OSError("gone")
        return self.size, self.free


class Watched:
    """A watch, what it reads and what it says."""

    def __init__(self, max_connections: int = 100) -> None:
        self.alarms = Alarms()
        self.limits = BrokerLimits(MqttSettings(max_connections=max_connections))
        self.machine = Machine()
        self.told: list[tuple[str, str]] = []
        self.watch = SystemWatch(lambda: self.alarms, self.limits, lambda event, text: self.told.append((event, text)))
        self.watch.begin(self.machine)
        self.now = 1_000.0
        self.listeners: list[tuple[str, ListenerLimits]] = []

    def look(self, later: float = 0.0, late: float = 0.0) -> list[str]:
        """Let time pass, look, and name the alarms that are active then."""
        self.now += later
        self.watch.keep_house(self.now, late, self.listeners)
        return [alarm.name for alarm in self.alarms.active()]

    async def look_at_disk(self) -> list[str]:
        before = self.machine.looks["disk"]
        self.look(DISK_INTERVAL)
        await until(lambda: self.machine.looks["disk"] > before and self.watch._disk_check is None)
        return [alarm.name for alarm in self.alarms.active()]


@pytest.fixture
async def watched() -> Any:
    found = Watched()
    yield found
    await found.watch.end()


async def test_nothing_is_wrong(watched: Watched) -> None:
    for _ in range(5):
        assert watched.look(60) == []
    assert watched.told == []


async def test_a_busy_processor(watched: Watched) -> None:
    watched.machine.usage = 0.9
    assert watched.look() == []  # a usage of no time at all says nothing
    assert watched.look(59) == []
    assert watched.look(1) == [HIGH_CPU_USAGE]
    (alarm,) = watched.alarms.active()
    assert alarm.details == {"usage": "90%", "high_watermark": "80%", "low_watermark": "60%"}
    assert alarm.message == "90% cpu usage"
    watched.machine.usage = 0.7  # between the marks nothing changes
    assert watched.look(60) == [HIGH_CPU_USAGE]
    watched.machine.usage = None
    assert watched.look(60) == [HIGH_CPU_USAGE]
    watched.machine.usage = 0.6
    assert watched.look(60) == []
    watched.machine.usage = 0.7
    assert watched.look(60) == []


async def test_how_often_is_looked(watched: Watched) -> None:
    watched.watch.configure(SystemWatchSettings(cpu_interval=10, memory_interval=None))
    for _ in range(31):
        watched.look(1)
    assert watched.machine.looks["cpu"] == 4
    assert watched.machine.looks["memory"] == 0
    watched.watch.configure(SystemWatchSettings(memory_interval=5))
    for _ in range(11):
        watched.look(1)
    assert watched.machine.looks["memory"] == 3


async def test_a_change_of_marks_is_looked_at_at_once(watched: Watched) -> None:
    assert watched.look() == []
    watched.watch.configure(SystemWatchSettings(system_memory_high=0.01))
    assert watched.look(1) == [HIGH_SYSTEM_MEMORY_USAGE]
    watched.watch.configure(SystemWatchSettings())
    assert watched.look(1) == []


async def test_little_memory(watched: Watched) -> None:
    watched.machine.used = int(watched.machine.total * 0.71)
    assert watched.look() == [HIGH_SYSTEM_MEMORY_USAGE]
    (alarm,) = watched.alarms.active()
    assert alarm.message == "System memory usage is higher than 70%"
    assert alarm.details["high_watermark"] == "70%"
    watched.machine.used = int(watched.machine.total * 0.69)
    assert watched.look(60) == []


async def test_a_large_process(watched: Watched) -> None:
    watched.machine.process = int(watched.machine.total * 0.051)
    assert watched.look() == [HIGH_PROCESS_MEMORY_USAGE]
    watched.machine.process = int(watched.machine.total * 0.049)
    assert watched.look(60) == []
    watched.machine.process = None
    assert watched.look(60) == []


async def test_a_small_machine_is_no_reason_for_an_alarm(watched: Watched) -> None:
    watched.machine.total, watched.machine.used, watched.machine.process = GIGABYTE, GIGABYTE // 4, 100 << 20
    assert watched.look() == []


async def test_too_many_connections(watched: Watched) -> None:
    for count, raised in ((0, False), (89, False), (90, True), (85, True), (80, True), (79, False), (100, True)):
        watched.limits.open = count
        assert watched.look(1) == ([TOO_MANY_CONNECTIONS] if raised else []), count
    (alarm,) = watched.alarms.active()
    assert alarm.details == {"connections": 100, "max_connections": 100}
    watched.limits.max_connections = 0
    assert watched.look(1) == []


async def test_one_listener_that_is_full(watched: Watched) -> None:
    limits = ListenerLimits(1, watched.limits)
    watched.listeners = [("tcp:small", limits), ("tcp:large", ListenerLimits(0, watched.limits))]
    assert watched.look() == []
    limits.open = 1
    assert watched.look(1) == [f"{TOO_MANY_CONNECTIONS}/tcp:small"]
    watched.listeners = []  # it was deleted
    assert watched.look(1) == []


async def test_a_disk_that_fills(watched: Watched) -> None:
    assert await watched.look_at_disk() == []
    for free, raised in ((2 * GIGABYTE - 1, True), (2 * GIGABYTE, True), (3 * GIGABYTE, False), (0, True)):
        watched.machine.free = free
        assert await watched.look_at_disk() == ([DISK_NEARLY_FULL] if raised else []), free
    watched.machine.fails = True
    assert await watched.look_at_disk() == [DISK_NEARLY_FULL]
    watched.machine.fails = False
    watched.machine.size, watched.machine.free = GIGABYTE, 200 << 20  # a small disk may be used for longer
    assert await watched.look_at_disk() == []


async def test_a_loop_that_is_late(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.look(1, late=0.2)
    assert watched.told == []
    watched.look(1, late=0.5)
    watched.look(1, late=3.0)  # not again at once
    assert watched.told == [("long_schedule", "The event loop was 500 ms late.")]
    watched.look(60, late=1.0)
    assert len(watched.told) == 2
    watched.watch.configure(SystemWatchSettings(long_schedule=None))
    watched.look(60, late=9.0)
    assert len(watched.told) == 2
    assert caplog.text.count("ms late") == 2


async def test_a_watch_that_is_blind() -> None:
    watched = Watched()
    await watched.watch.end()
    watched.limits.open, watched.machine.used = 100, watched.machine.total
    assert watched.look() == []
    assert watched.machine.looks == {"cpu": 0, "memory": 0, "disk": 0}


async def test_an_end_does_not_wait_for_a_disk_that_does_not_answer() -> None:
    import threading

    watched, answered = Watched(), threading.Event()

    def block() -> Any:
        answered.wait(60)
        return None

    watched.machine.disk = block  # type: ignore[method-assign]
    watched.look()
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(30):  # the disk takes twice as long
            await watched.watch.end()
    finally:
        answered.set()


def test_real_readings_are_plausible(tmp_path: Any) -> None:
    from wardenmq.mgmt_api.emqx.node.readings import MachineReadings

    readings = MachineReadings(tmp_path)
    memory, disk, process = readings.memory(), readings.disk(), readings.process_memory()
    assert memory is not None
    assert 0 < memory[1] <= memory[0]
    assert disk is not None
    assert 0 < disk[1] <= disk[0]
    assert process is not None
    assert 1 << 20 < process < memory[0]
    usage = readings.cpu()
    assert usage is None or 0 <= usage <= 1
    assert readings.run_queue() >= 0
    assert MachineReadings().disk() is None


@pytest.mark.parametrize("error", [OSError(24, "too many open files"), psutil.AccessDenied()])
def test_what_cannot_be_read_is_not_known(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    from wardenmq.mgmt_api.emqx.node.readings import MachineReadings

    before = MachineReadings()

    def fail(*_: object) -> Any:
        raise error

    for name in ("cpu_times", "virtual_memory", "Process"):
        monkeypatch.setattr(psutil, name, fail)
    for readings in (before, MachineReadings()):
        assert (readings.cpu(), readings.memory(), readings.process_memory()) == (None, None, None)
    monkeypatch.undo()
    assert before.memory() is not None
