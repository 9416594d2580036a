"""Compare wardenmq with the other brokers, row by row: `make bench`.

In each row the brokers run side by side on loopback and take turns of a fraction of a second under the same load. What
is compared is work per second of the broker process's own CPU time (user and system, all threads).

Exit status 1 if wardenmq misses a required number, loses or alters anything, or fails; 2 if a required number could not
be measured, because a broker failed or is not installed (rows and brokers that were not asked for are no fault).
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import machine
from brokers import BROKERS, unavailable
from processes import end_on_signals
from rows import Row, Sample, Samples, Verdict, median_rate, rate_ratio

MODULES = ("throughput", "latency", "connects", "memory", "growth")
OURS = "wardenmq"
ROUNDS, SECONDS = 7, 0.3
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.2
EXTRA_BROKERS = ("mosquitto-open",)
MISSED, NOT_MEASURED = 1, 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that was run, or could not be."""

    row: Row
    samples: Samples = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    seconds: float = 0.0
    faults: Mapping[str, str] = field(default_factory=dict)
    """What went wrong, by contender."""
    notes: Sequence[str] = ()

    @property
    def lost(self) -> int:
        """What wardenmq lost, whichever way it was run."""
        ours = [samples for name, samples in self.samples.items() if name.startswith(OURS)]
        return sum(sample.lost for samples in ours for sample in samples)

    @property
    def reached(self) -> int:
        """Count the requirements that were reached."""
        return sum(verdict.reached is True for verdict in self.verdicts)

    @property
    def missed(self) -> int:
        """Count the requirements that were missed; that nothing is lost and nothing fails is one, too, when missed."""
        failed = any(name.startswith(OURS) for name in self.faults)
        return sum(verdict.reached is False for verdict in self.verdicts) + bool(self.lost) + failed

    @property
    def not_measured(self) -> int:
        """Count the requirements that could not be judged."""
        return sum(verdict.reached is None for verdict in self.verdicts)


def load_rows() -> list[Row]:
    """Collect the rows of all modules."""
    return [row for module in MODULES for row in importlib.import_module(module).ROWS]


def run_row(row: Row, brokers: Sequence[str], rounds: int, seconds: float) -> Outcome:
    """Measure one row and judge it."""
    begun = time.monotonic()
    names = [name for name in (*row.contenders, *EXTRA_BROKERS) if name in brokers]
    if not names:
        return Outcome(row, verdicts=tuple(requirement.judge({}) for requirement in row.requirements))
    try:
        results = row.measure(names, rounds, seconds)
    except Exception as error:  # the contenders' own faults have been held against them; this is the row's
        fault = f"{type(error).__name__}: {error}"
        verdicts = tuple(requirement.judge({}) for requirement in row.requirements)
        return Outcome(row, verdicts=verdicts, seconds=time.monotonic() - begun, faults=dict.fromkeys(names, fault))
    verdicts = tuple(requirement.judge(results.samples) for requirement in row.requirements)
    return Outcome(row, results.samples, verdicts, time.monotonic() - begun, results.faults, results.notes)


def describe(outcome: Outcome) -> str:
    """Put one row into lines."""
    lines = [f"{outcome.row.name}   ({outcome.row.unit} per second, {outcome.seconds:.0f} s)"]
    lines += [f"   {_line(outcome, name, samples)}" for name, samples in outcome.samples.items()]
    lines += [f"   {name} FAILED: {fault}" for name, fault in outcome.faults.items()]
    lines += [f"   {note}" for note in outcome.notes]
    lines += [f"   {verdict.text}" for verdict in outcome.verdicts]
    if outcome.lost:
        lines.append(f"   wardenmq lost or altered {outcome.lost}: NOT REACHED")
    return "\n".join(lines)


def _line(outcome: Outcome, name: str, samples: Sequence[Sample]) -> str:
    first, ratio, lost = next(iter(outcome.samples)), _ratio(outcome, name), _lost(samples)
    work = sum(sample.work for sample in samples)
    parts = [f"{name:<24} {median_rate(samples):>12,.0f} per CPU-s {_wall_rate(samples):>12,.0f} per s"]
    parts.append(f"{work:>12,.0f} in all")
    parts.append(f"{first} / {name} = {ratio:.2f}" if ratio is not None else "")
    parts.append(f"{lost} LOST OR ALTERED" if lost else "")
    parts.append(figures(samples))
    return "  ".join(part for part in parts if part)


def _ratio(outcome: Outcome, name: str) -> float | None:
    """Say how many times as much the first contender of a row does."""
    first = next(iter(outcome.samples))
    return rate_ratio(outcome.samples, first, name) if name != first else None


def _wall_rate(samples: Sequence[Sample]) -> float:
    return sum(sample.work for sample in samples) / max(sum(sample.wall_seconds for sample in samples), 1e-9)


def _lost(samples: Sequence[Sample]) -> int:
    return sum(sample.lost for sample in samples)


def figures(samples: Sequence[Sample]) -> str:
    """Put the medians of the other figures into words."""
    names = dict.fromkeys(name for sample in samples for name in sample.extra)
    values = {
        name: statistics.median(sample.extra[name] for sample in samples if name in sample.extra) for name in names
    }
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())


def summary(outcomes: Sequence[Outcome]) -> str:
    """Count what was reached, and name the rows in which something was not."""
    reached = sum(outcome.reached for outcome in outcomes)
    missed, unknown = (sum(counts) for counts in zip(*((o.missed, o.not_measured) for o in outcomes), strict=True))
    if reached and not missed and not unknown:
        return f"all that is required was reached ({reached})"
    lines = [f"reached {reached}, missed {missed}, not measured {unknown}"]
    lines += [f"   missed: {outcome.row.name}" for outcome in outcomes if outcome.missed]
    lines += [f"   not measured: {outcome.row.name}" for outcome in outcomes if outcome.not_measured]
    return "\n".join(lines)


def exit_status(outcomes: Sequence[Outcome], chosen: bool) -> int:
    """Give 1 for what was missed, 2 for what was not measured unless nobody asked for it."""
    if any(outcome.missed for outcome in outcomes):
        return MISSED
    if any(outcome.not_measured and (outcome.faults or not chosen) for outcome in outcomes):
        return NOT_MEASURED
    return 0


# -- for the documents


def markdown(outcomes: Sequence[Outcome], brokers: Sequence[str], conditions: Sequence[str]) -> str:
    """Make the tables: what was required and found, row by row; then all figures of each contender."""
    parts = [[f"- {line}" for line in conditions], list(_required_table(outcomes, brokers)), list(_figures(outcomes))]
    return "\n\n".join("\n".join(part) for part in [*parts, summary(outcomes).splitlines()] if part) + "\n"


def _required_table(outcomes: Sequence[Outcome], brokers: Sequence[str]) -> Iterator[str]:
    """Give work per second of CPU time, and how many times as much the first contender does."""
    head = ["row", *brokers, "required", "found"]
    yield _table_line(head)
    yield f"|{'---|' * len(head)}"
    for outcome in outcomes:
        cells = [outcome.row.name, *(_rates(outcome, name) for name in brokers)]
        cells.append("<br>".join(requirement.text for requirement in outcome.row.requirements))
        found = [_found(verdict) for verdict in outcome.verdicts]
        found += [f"{outcome.lost} lost or altered **missed**"] if outcome.lost else []
        found += [f"{name} failed{' **missed**' if name.startswith(OURS) else ''}" for name in outcome.faults]
        yield _table_line([*cells, "<br>".join(found)])


def _figures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield _table_line(["row", "contender", "per CPU-s", "per s", "in all", "ratio", "lost", "other figures"])
    yield f"|{'---|' * 8}"
    for outcome in outcomes:
        for name, samples in outcome.samples.items():
            ratio = _ratio(outcome, name)
            work = sum(sample.work for sample in samples)
            numbers = [f"{number:,.0f}" for number in (median_rate(samples), _wall_rate(samples), work)]
            share = f"{ratio:,.2f}" if ratio is not None else ""
            yield _table_line([outcome.row.name, name, *numbers, share, str(_lost(samples)), figures(samples)])
        for name, fault in outcome.faults.items():
            yield _table_line([outcome.row.name, name, *[""] * 5, f"failed: {fault}"])
        for note in outcome.notes:
            yield _table_line([outcome.row.name, *[""] * 6, note])


def _table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def _rates(outcome: Outcome, name: str) -> str:
    """Give the rate of a broker, or, where it took part several times, each with what was different."""
    cells = []
    for label, found in outcome.samples.items():
        if label == name or label.startswith((f"{name},", f"{name} ")):
            ratio, what = _ratio(outcome, label), label.removeprefix(name).strip(" ,")
            times = f" ({ratio:,.2f} x)" if ratio is not None else ""
            cells.append(f"{what}{': ' if what else ''}{median_rate(found):,.0f}{times}")
    return "<br>".join(cells) or "-"


def _found(verdict: Verdict) -> str:
    if verdict.found is None:
        return "not measured"
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
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write tables there, too")
    parser.add_argument("--list", action="store_true", help="name the rows and what they require, and run nothing")
    options = parser.parse_args()
    rounds = options.rounds if options.rounds is not None else QUICK_ROUNDS if options.quick else ROUNDS
    seconds = options.seconds if options.seconds is not None else QUICK_SECONDS if options.quick else SECONDS
    if rounds < 1 or seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    rows = load_rows()
    for part in options.row or ():
        if not any(part in row.name for row in rows):
            parser.error(f"no row has {part!r} in its name (--list names them)")
    rows = [row for row in rows if not options.row or any(part in row.name for part in options.row)]
    if options.list:
        for row in rows:
            print(f"{row.name}: {'; '.join(requirement.text for requirement in row.requirements)}")
        return 0
    end_on_signals()
    chosen = bool(options.row or options.broker)
    return compare(rows, options.broker or BROKERS, rounds, seconds, options.markdown, chosen)


def compare(
    rows: Sequence[Row], wanted: Sequence[str], rounds: int, seconds: float, table: Path | None, chosen: bool
) -> int:
    """Run the rows and give the exit status; the tables are written whatever happens."""
    begun = time.monotonic()
    reasons = {name: unavailable(name) for name in wanted}
    brokers = [name for name in wanted if reasons[name] is None]
    conditions = machine.describe(brokers)
    conditions += [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason is not None]
    conditions.append(f"{rounds} turns of {seconds:g} s for each broker, more or longer ones where a row needs them")
    print("\n".join(conditions) + "\n", flush=True)
    outcomes: list[Outcome] = []
    try:
        for row in rows:
            outcomes.append(run_row(row, brokers, rounds, seconds))
            print(describe(outcomes[-1]) + "\n", flush=True)
    finally:
        if len(outcomes) < len(rows):
            conditions.append(f"interrupted after {len(outcomes)} of {len(rows)} rows")
        conditions.append(f"took {(time.monotonic() - begun) / 60:.1f} minutes")
        if table is not None and outcomes:
            table.write_text(markdown(outcomes, brokers, conditions), encoding="utf-8")
    print(f"{conditions[-1]}\n{summary(outcomes)}")
    return exit_status(outcomes, chosen)


if __name__ == "__main__":
    sys.exit(main())
