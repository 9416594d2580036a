"""Compare wardenmq with the other brokers, row by row: `make bench`.

In each row the brokers run side by side on loopback and take turns of a fraction of a second under the same load. What
is compared is work per second of the broker process's own CPU time (user and system, all threads). Exit status 1 if
wardenmq misses a required number, or lost or altered anything.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brokers import BROKERS, unavailable
from rows import Row, Sample, Samples, Verdict, median_rate, rate_ratio

MODULES = ("throughput", "latency", "connects", "memory", "growth")
ROUNDS, SECONDS = 7, 0.3
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.2
EXTRA_BROKERS = ("mosquitto-open",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that was run, or could not be."""

    row: Row
    samples: Samples
    verdicts: tuple[Verdict, ...]
    seconds: float
    fault: str = ""

    @property
    def lost(self) -> int:
        """What wardenmq lost, whichever way it was run."""
        ours = [samples for name, samples in self.samples.items() if name.startswith("wardenmq")]
        return sum(sample.lost for samples in ours for sample in samples)

    @property
    def missed(self) -> bool:
        """Tell whether something required was not reached."""
        return bool(self.fault or self.lost) or any(verdict.reached is False for verdict in self.verdicts)


def load_rows() -> list[Row]:
    """Collect the rows of all modules."""
    return [row for module in MODULES for row in importlib.import_module(module).ROWS]


def run_row(row: Row, brokers: Sequence[str], rounds: int, seconds: float) -> Outcome:
    """Measure one row and judge it."""
    begun = time.monotonic()
    names = [name for name in (*row.contenders, *EXTRA_BROKERS) if name in brokers]
    if not names:
        return Outcome(row, {}, (), 0.0)
    try:
        samples = row.measure(names, rounds, seconds)
    except (OSError, RuntimeError) as error:
        return Outcome(row, {}, (), time.monotonic() - begun, f"{type(error).__name__}: {error}")
    verdicts = tuple(requirement.judge(samples) for requirement in row.requirements)
    return Outcome(row, samples, verdicts, time.monotonic() - begun)


def describe(outcome: Outcome) -> str:
    """Put one row into lines."""
    first = next(iter(outcome.samples), "")
    lines = [f"{outcome.row.name}   ({outcome.row.unit} per second, {outcome.seconds:.0f} s)"]
    lines += [f"   {_line(outcome, name, samples, first)}" for name, samples in outcome.samples.items()]
    lines += [f"   {verdict.text}" for verdict in outcome.verdicts]
    if outcome.lost:
        lines.append(f"   wardenmq lost or altered {outcome.lost}: NOT REACHED")
    if outcome.fault:
        lines.append(f"   FAILED: {outcome.fault}")
    return "\n".join(lines)


def _line(outcome: Outcome, name: str, samples: Sequence[Sample], first: str) -> str:
    wall = sum(sample.work for sample in samples) / max(sum(sample.wall_seconds for sample in samples), 1e-9)
    work, lost = sum(sample.work for sample in samples), sum(sample.lost for sample in samples)
    ratio = rate_ratio(outcome.samples, first, name) if name != first else None
    parts = [f"{name:<24} {median_rate(samples):>12,.0f} per CPU-s {wall:>12,.0f} per s {work:>12,.0f} in all"]
    parts.append(f"{first} / {name} = {ratio:.2f}" if ratio is not None else "")
    parts.append(f"{lost} LOST" if lost else "")
    parts.append(figures(samples))
    return "  ".join(part for part in parts if part)


def figures(samples: Sequence[Sample]) -> str:
    """Put the medians of the other figures into words."""
    names = dict.fromkeys(name for sample in samples for name in sample.extra)
    values = {
        name: statistics.median(sample.extra[name] for sample in samples if name in sample.extra) for name in names
    }
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())


def markdown(outcomes: Sequence[Outcome], brokers: Sequence[str]) -> str:
    """Make the table for the documents: the rates in thousands, and what was required and found."""
    head = ["row", *brokers, "required", "found"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for outcome in outcomes:
        cells = [outcome.row.name]
        cells += [_rates(outcome.samples, name) for name in brokers]
        cells.append("<br>".join(requirement.text for requirement in outcome.row.requirements))
        found = [
            "-" if v.found is None else f"{v.found:,.2f}{'' if v.reached else ' **missed**'}" for v in outcome.verdicts
        ]
        cells.append("<br>".join(found))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rates(samples: Samples, name: str) -> str:
    """Give the rate of a broker, or, where it took part several times, each with what was different."""
    cells = [f"{median_rate(samples[name]):,.0f}"] if name in samples else []
    for label, found in samples.items():
        if label.startswith((f"{name},", f"{name} ")):
            cells.append(f"{label.removeprefix(name).strip(' ,')}: {median_rate(found):,.0f}")
    return "<br>".join(cells) or "-"


def _found(verdict: Verdict) -> str:
    if verdict.found is None:
        return "-"
    return f"{verdict.found:,.2f}{'' if verdict.reached else ' **missed**'}"


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Compare wardenmq with other brokers.")
    parser.add_argument("--row", action="append", help="only rows whose name has this in it; may be repeated [all]")
    parser.add_argument(
        "--broker", action="append", choices=[*BROKERS, *EXTRA_BROKERS], help="only this one; may be repeated [all]"
    )
    parser.add_argument("--rounds", type=int, help=f"turns of each broker in a row [{ROUNDS}]")
    parser.add_argument("--seconds", type=float, help=f"length of a turn [{SECONDS}]")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns, for a first look")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a table there, too")
    parser.add_argument("--list", action="store_true", help="name the rows and what they require, and run nothing")
    options = parser.parse_args()
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    if rounds < 1 or seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    rows = [row for row in load_rows() if not options.row or any(part in row.name for part in options.row)]
    if options.list:
        for row in rows:
            print(f"{row.name}: {'; '.join(requirement.text for requirement in row.requirements)}")
        return 0
    return compare(rows, options.broker or BROKERS, rounds, seconds, options.markdown)


def compare(rows: Sequence[Row], wanted: Sequence[str], rounds: int, seconds: float, table: Path | None) -> int:
    """Run the rows and give the exit status."""
    reasons = {name: unavailable(name) for name in wanted}
    brokers = [name for name in wanted if reasons[name] is None]
    for name, reason in reasons.items():
        if reason is not None:
            print(f"{name} is left out: {reason}")
    python = sys.version.split()[0]
    print(f"{rounds} turns of {seconds:g} s for each broker, {os.cpu_count()} processors, Python {python}\n")
    outcomes: list[Outcome] = []
    for row in rows:
        outcomes.append(run_row(row, brokers, rounds, seconds))
        print(describe(outcomes[-1]) + "\n", flush=True)
    if table is not None:
        table.write_text(markdown(outcomes, brokers), encoding="utf-8")
    missed = [outcome.row.name for outcome in outcomes if outcome.missed]
    print(f"not reached: {'; '.join(missed)}" if missed else "all that is required was reached")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
