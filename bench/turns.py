"""Contenders that take turns: each round gives each of them one, and one that fails is out without ending the row."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Protocol

from brokers import apart, cpu_seconds
from rows import Results, Sample
from streams import STALL_SECONDS

ROW_SECONDS = 120.0
"""No round begins after so long."""
STALLS = 3
"""In so many turns a broker may be silent for longer than is waited for it; then it is out."""


class Contender(Protocol):
    """A broker that is ready, with its load."""

    def turn(self) -> Sample:
        """Load it for a while and say what came of it."""
        ...

    def finish(self) -> int:
        """Look once more after the last turn, and count what is wrong: what came late came twice, or in vain."""
        ...


@dataclasses.dataclass(slots=True)
class Meter:
    """What a turn took, in seconds: of the broker's CPU time, of this process's, and by the clock on the wall."""

    cpu: float = 0.0
    own: float = 0.0
    wall: float = 0.0

    @property
    def shares(self) -> dict[str, float]:
        """Say how much of a processor both had; the load has room to spare while it has less than the broker."""
        wall = max(self.wall, 1e-9)
        return {"broker_share": self.cpu / wall, "generator_share": self.own / wall}


@contextmanager
def metered(pid: int) -> Iterator[Meter]:
    """Measure a turn of a broker, on a processor of its own."""
    meter = Meter()
    with apart(pid):
        wall, own, cpu = time.monotonic(), time.process_time(), cpu_seconds(pid)
        yield meter
        meter.cpu = cpu_seconds(pid) - cpu
        meter.own, meter.wall = time.process_time() - own, time.monotonic() - wall


class Contest:
    """The contenders of one row. Leaving its context ends all of them."""

    def __init__(self) -> None:
        self._contenders: dict[str, Contender] = {}
        self._stacks: dict[str, ExitStack] = {}
        self._samples: dict[str, list[Sample]] = {}
        self._faults: dict[str, str] = {}
        self._notes: list[str] = []

    def __enter__(self) -> "Contest":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stacks = ExitStack()
        for stack in self._stacks.values():
            stacks.push(stack)
        stacks.__exit__(kind, error, traceback)

    def enter(self, name: str, opened: Callable[[ExitStack], Contender]) -> None:
        """Open a contender; what it puts on the stack ends with it."""
        stack = self._stacks[name] = ExitStack()
        with self._held_against(name):
            self._contenders[name] = opened(stack)

    def run(self, rounds: int) -> Results:
        """Let all have their turn in each round; every other round begins at the other end."""
        self._samples = {name: [] for name in self._contenders}
        begun = time.monotonic()
        for number in range(rounds):
            if number and time.monotonic() - begun > ROW_SECONDS:
                self._notes.append(f"ended after {number} of {rounds} rounds and {ROW_SECONDS:.0f} s")
                break
            names = list(self._contenders)
            for name in names if number % 2 == 0 else reversed(names):
                with self._held_against(name):
                    self._take_turn(name)
        for name in list(self._contenders):
            with self._held_against(name):
                self._count_late(name, self._contenders[name].finish())
        samples = {name: found for name, found in self._samples.items() if found}
        return Results(samples, dict(self._faults), tuple(self._notes))

    def _take_turn(self, name: str) -> None:
        samples = self._samples[name]
        samples.append(self._contenders[name].turn())
        stalled = sum(sample.wall_seconds > STALL_SECONDS for sample in samples)
        if stalled >= STALLS and any(sample.lost for sample in samples):
            raise RuntimeError(f"something was lost, and nothing came for {STALL_SECONDS:.0f} s, in {stalled} turns")

    def _count_late(self, name: str, wrong: int) -> None:
        if wrong:
            last = self._samples[name].pop()
            self._samples[name].append(dataclasses.replace(last, lost=last.lost + wrong))

    @contextmanager
    def _held_against(self, name: str) -> Iterator[None]:
        """Put a contender out that fails. Whatever it is: one broker's end says nothing of the others."""
        try:
            yield
        except Exception as error:
            self._faults[name] = f"{type(error).__name__}: {error}"
            self._contenders.pop(name, None)
            try:
                with self._stacks.pop(name):
                    raise  # through the broker's context, which then shows the end of its log
            except Exception as failed:
                if failed is not error:
                    self._notes.append(f"{name} could not be ended: {type(failed).__name__}: {failed}")
