"""What a row of the comparison is: brokers that take turns under one load, and what is required of their figures."""

import statistics
from collections.abc import Mapping, Sequence
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
    """Pieces of work that never came, came changed, or came without having been asked for."""
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
class Results:
    """What became of a row: the turns by contender, of which a broker may be several, and why some ended early."""

    samples: Samples
    faults: Mapping[str, str] = field(default_factory=dict)
    """What went wrong with a contender; it took no turn any more."""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a requirement; `reached` is None where it could not be judged."""

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


def rate_ratios(samples: Samples, of: str, to: str) -> list[float]:
    """Give the ratio of two rates in each round in which both did something."""
    return [
        ours.rate / theirs.rate
        for ours, theirs in zip(samples.get(of, ()), samples.get(to, ()), strict=False)
        if theirs.rate > 0
    ]


def rate_ratio(samples: Samples, of: str, to: str) -> float | None:
    """Give the median of the turns' ratios of two rates; None where one is missing or did nothing."""
    ratios = rate_ratios(samples, of, to)
    return statistics.median(ratios) if ratios else None


def figures(samples: Samples, of: str, name: str) -> list[float]:
    """Give a figure of each turn in which it was measured."""
    return [sample.extra[name] for sample in samples.get(of, ()) if name in sample.extra]


def _verdict(found: float | None, at_least: float | None, at_most: float | None, text: str, more: str = "") -> Verdict:
    if found is None:
        return Verdict(None, None, f"{text}: not measured")
    reached = (at_least is None or found >= at_least) and (at_most is None or found <= at_most)
    return Verdict(found, reached, f"{text}: {found:,.2f}, {'ok' if reached else 'NOT REACHED'}{more}")


def _judge_ratios(ratios: Sequence[float], at_least: float | None, at_most: float | None, text: str) -> Verdict:
    if not ratios:
        return _verdict(None, at_least, at_most, text)
    spread = f" ({min(ratios):,.2f} to {max(ratios):,.2f} in {len(ratios)} rounds)"
    return _verdict(statistics.median(ratios), at_least, at_most, text, spread)


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
        return _judge_ratios(rate_ratios(samples, self.of, self.to), self.at_least, None, self.text)


@dataclass(frozen=True, slots=True)
class FigureBound:
    """A figure of a contender is not more, or not less, than a number."""

    of: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None
    always: bool = False
    """In every turn, and not in the median of the turns."""

    @property
    def text(self) -> str:
        """Say what is required."""
        bounds = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        bounds += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return f"{self.of} {self.figure} {' and '.join(bounds)}{' in every turn' if self.always else ''}"

    def judge(self, samples: Samples) -> Verdict:
        """Look at the median, or at the worst."""
        values = figures(samples, self.of, self.figure)
        if not values:
            return _verdict(None, self.at_least, self.at_most, self.text)
        worst = max(values) if self.at_most is not None else min(values)
        found = worst if self.always else statistics.median(values)
        return _verdict(found, self.at_least, self.at_most, self.text)


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
        """Compare the turns one by one, as rates are."""
        pairs = zip(figures(samples, self.of, self.figure), figures(samples, self.to, self.figure), strict=False)
        return _judge_ratios([ours / theirs for ours, theirs in pairs if theirs], None, self.at_most, self.text)


@dataclass(frozen=True, slots=True)
class Work:
    """A contender did so much in all turns together."""

    of: str
    unit: str
    at_least: float

    @property
    def text(self) -> str:
        """Say what is required."""
        return f"{self.of} at least {self.at_least:,.0f} {self.unit} in all"

    def judge(self, samples: Samples) -> Verdict:
        """Add up the turns."""
        turns = samples.get(self.of, ())
        return _verdict(sum(turn.work for turn in turns) if turns else None, self.at_least, None, self.text)


@dataclass(frozen=True, slots=True)
class Comparable:
    """A requirement that can be judged only where something holds of the other contender, too."""

    requirement: Requirement
    condition: Requirement

    @property
    def text(self) -> str:
        """Say what is required."""
        return self.requirement.text

    def judge(self, samples: Samples) -> Verdict:
        """Judge nothing where the condition does not hold."""
        condition = self.condition.judge(samples)
        if condition.reached is False:
            return Verdict(None, None, f"{self.text}: not comparable, because it takes {condition.text}")
        return self.requirement.judge(samples)


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

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let those brokers take turns of that length."""
        ...
