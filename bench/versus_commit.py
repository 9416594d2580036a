"""Compare two source trees of wardenmq in one run: messages per second of the broker's own CPU time.

    git archive COMMIT | tar -x -C DIR
    python bench/versus_commit.py --before DIR

Each tree runs in a process of its own on the same Python and the same packages. In a round both are loaded by turns, a
fraction of a second each, so that a busy machine hits both alike; each round has fresh processes. Four loads: one
publisher to one subscriber at QoS 0, the same with 100 topics taking turns, the same at QoS 1 with 100 messages on
their way, and one publisher to 50 subscribers at QoS 0.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brokers import Endpoint, apart, cpu_seconds, running, tree_environment, unavailable
from processes import end_on_signals
from streams import Load, same_sized
from throughput import MANY, MANY_WINDOW_BYTES, WARM_UP_SECONDS, open_stream, open_window
from windows import WINDOW

ROOT = Path(__file__).resolve().parent.parent
SLICE_SECONDS = 0.1

LOADS: dict[str, Callable[[ExitStack, Endpoint], Load]] = {
    "QoS 0 pair": partial(open_stream, chunk=same_sized()),
    "QoS 0, 100 topics": partial(open_stream, chunk=same_sized(100)),
    f"QoS 1, window {WINDOW}": partial(open_window, qos=1),
    f"fan-out to {MANY}": partial(open_stream, chunk=same_sized(), subscribers=MANY, window=MANY_WINDOW_BYTES),
}


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree and how to run it."""

    name: str
    environment: dict[str, str] | None


class Runner:
    """Load one broker by turns and add up what it delivered and the CPU time it took for that."""

    def __init__(self, stack: ExitStack, tree: Tree, load: str, broker: str) -> None:
        # With its default bounds: an older tree may not have all settings.
        target = stack.enter_context(running(broker, bounded=True, environment=tree.environment))
        self.name = tree.name
        self.load = LOADS[load](stack, target)
        self.messages = 0
        self.cpu_seconds = 0.0
        self._pid = target.pid
        self.load.run(WARM_UP_SECONDS)

    def turn(self) -> None:
        """Run for a slice of time."""
        messages, cpu = self.load.delivered, cpu_seconds(self._pid)
        with apart(self._pid):
            self.load.run(SLICE_SECONDS)
        self.messages += self.load.delivered - messages
        self.cpu_seconds += cpu_seconds(self._pid) - cpu

    @property
    def rate(self) -> float:
        """Messages per second of the broker's CPU time."""
        if not self.messages or self.cpu_seconds <= 0:
            raise RuntimeError("the broker delivered nothing")
        return self.messages / self.cpu_seconds


def run_round(trees: list[Tree], load: str, slices: int, broker: str) -> list[Runner]:
    """Run all trees side by side under one load; they take turns, and each turn begins with another one."""
    with ExitStack() as stack:
        runners = [Runner(stack, tree, load, broker) for tree in trees]
        for number in range(slices):
            for runner in runners if number % 2 else reversed(runners):
                runner.turn()
        return runners


def compare(trees: list[Tree], loads: list[str], rounds: int, slices: int, broker: str) -> int:
    """Print each round, the medians and their ratios; return 1 if anything was lost or altered."""
    spoiled = False
    rates: dict[tuple[str, str], list[float]] = {(load, tree.name): [] for load in loads for tree in trees}
    for number in range(1, rounds + 1):
        for load in loads:
            for runner in run_round(trees, load, slices, broker):
                lost, altered = runner.load.lost, runner.load.altered
                rates[load, runner.name].append(runner.rate)
                spoiled |= bool(lost or altered)
                print(
                    f"{number}  {load:<18} {runner.name:<7} {runner.rate:>12,.0f} msg/CPU-s  {runner.messages:>11,}"
                    f" messages  {runner.cpu_seconds:5.2f} CPU-s  {lost} lost{'  ALTERED' if altered else ''}",
                    flush=True,
                )
    print("\nmedian messages per CPU second of the broker process, and the median of the rounds' ratios")
    for load in loads:
        before, after = (rates[load, tree.name] for tree in trees)
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        medians = f"{statistics.median(before):>12,.0f} -> {statistics.median(after):>12,.0f}"
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"   {load:<18} {medians}   ratio {statistics.median(ratios):.2f}  ({span})")
    if spoiled:
        print("messages were lost or altered")
    return int(spoiled)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Compare the throughput of two source trees of wardenmq.")
    parser.add_argument("--before", type=Path, required=True, metavar="DIR", help="the older source tree")
    parser.add_argument("--after", type=Path, default=ROOT, metavar="DIR", help="the newer one [this one]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each load [5]")
    parser.add_argument("--seconds", type=float, default=3.0, help="time that each tree gets in a round [3]")
    parser.add_argument("--load", action="append", choices=list(LOADS), help="only this one; may be repeated [all]")
    parser.add_argument("--no-uvloop", action="store_true", help="run the brokers on asyncio's own loop")
    options = parser.parse_args()
    end_on_signals()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    broker = "wardenmq-asyncio" if options.no_uvloop or unavailable("wardenmq") else "wardenmq"
    with ExitStack() as stack:
        trees = [
            Tree(name, stack.enter_context(tree_environment(root)))
            for name, root in (("before", options.before), ("after", options.after))
        ]
        slices = max(1, round(options.seconds / SLICE_SECONDS))
        return compare(trees, options.load or list(LOADS), options.rounds, slices, broker)


if __name__ == "__main__":
    sys.exit(main())
