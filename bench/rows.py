"""What a row of the comparison is: brokers that take turns under one load, and what is required of their figures."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Samples = Mapping[str, Sequence["Sample"]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one contender: what it did, and the CPU time that the broker's process took for it."""

    work: float
    cpu_seconds: float
    wall_seconds: float
    lost: int = 0
    """Pieces of work that never came, or came changed."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """Other figures of the turn by name, such as `p99_ms`."""

    @property
    def rate(self) -> float:
        """Work per second of the broker's CPU time."""
        return self.work / self.cpu_seconds if self.cpu_seconds > 0 else 0.0

    @property
    def wall_rate(self) -> float:
        """Work per second of the clock on the wall."""
        return self.work / self.wall_seconds if self.wall_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a requirement; `reached` is None where one of those concerned was not there."""

    found: float | None
    reached: bool | None
    text: str


class Requirement(Protocol):
    """A number that has to be reached."""

    @property
    def text(self) -> str:
        """Say what is required."""
        ...

    def judge(self, samples: Samples) -> Verdict:
        """Hold it against what was measured."""
        ...


def median_rate(samples: Sequence[Sample]) -> float:
    """Give the median of the turns' rates."""
    return statistics.median(sample.rate for sample in samples)


def rate_ratio(samples: Samples, of: str, to: str) -> float | None:
    """Give the median of the turns' ratios of two rates; None where one is missing or did nothing."""
    ratios = [
        ours.rate / theirs.rate
        for ours, theirs in zip(samples.get(of, ()), samples.get(to, ()), strict=False)
        if theirs.rate > 0
    ]
    return statistics.median(ratios) if ratios else None


def figure(samples: Samples, of: str, name: str) -> float | None:
    """Give the median of a figure; None where it was not measured."""
    values = [sample.extra[name] for sample in samples.get(of, ()) if name in sample.extra]
    return statistics.median(values) if values else None


def _verdict(found: float | None, at_least: float | None, at_most: float | None, text: str) -> Verdict:
    if found is None:
        return Verdict(None, None, f"{text}: not measured")
    reached = (at_least is None or found >= at_least) and (at_most is None or found <= at_most)
    return Verdict(found, reached, f"{text}: {found:,.2f}, {'ok' if reached else 'NOT REACHED'}")


@dataclass(frozen=True, slots=True)
class RateRatio:
    """The rate of one contender, in CPU time, is so many times another's."""

    of: str
    to: str
    at_least: float

    @property
    def text(self) -> str:
        """Say what is required."""
        return f"{self.of} at least {self.at_least:.3g} x {self.to}"

    def judge(self, samples: Samples) -> Verdict:
        """Compare the turns one by one, because the machine's speed changes between them."""
        return _verdict(rate_ratio(samples, self.of, self.to), self.at_least, None, self.text)


@dataclass(frozen=True, slots=True)
class FigureBound:
    """A figure of a contender is not more, or not less, than a number."""

    of: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def text(self) -> str:
        """Say what is required."""
        bounds = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        bounds += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return f"{self.of} {self.figure} {' and '.join(bounds)}"

    def judge(self, samples: Samples) -> Verdict:
        """Look at the median."""
        return _verdict(figure(samples, self.of, self.figure), self.at_least, self.at_most, self.text)


@dataclass(frozen=True, slots=True)
class FigureRatio:
    """A figure of one contender is at most so many times the same figure of another."""

    of: str
    to: str
    figure: str
    at_most: float

    @property
    def text(self) -> str:
        """Say what is required."""
        return f"{self.of} {self.figure} at most {self.at_most:g} x {self.to}"

    def judge(self, samples: Samples) -> Verdict:
        """Compare the medians."""
        ours, theirs = (figure(samples, name, self.figure) for name in (self.of, self.to))
        found = ours / theirs if ours is not None and theirs else None
        return _verdict(found, None, self.at_most, self.text)


class Row(Protocol):
    """One line of the comparison."""

    @property
    def name(self) -> str:
        """Say what is done."""
        ...

    @property
    def unit(self) -> str:
        """Name what is counted, such as `messages`."""
        ...

    @property
    def contenders(self) -> tuple[str, ...]:
        """Name the brokers that can take part; the first is the one that the others are held against."""
        ...

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached."""
        ...

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Let those brokers take turns of that length; the samples by contender, of which a broker may be several."""
        ...


def take_turns(turns: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Let all have their turn in each round; every other round begins at the other end."""
    samples: dict[str, list[Sample]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            samples[name].append(turns[name]())
    return samples
