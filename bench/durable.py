"""Measure what it costs that nothing acknowledged is lost: `python bench/durable.py`.

Messages at QoS 1 and 2 for sessions that outlive their connections, by wardenmq with each `durability` and by mosquitto
with its state on disk, side by side and by turns. What counts here is acknowledged messages per second by the clock on
the wall, because an acknowledgement waits for the disk; the broker's CPU time and what it wrote are printed beside it.
After each turn what was kept is fetched and compared with what was acknowledged, message by message.

Exit status 1 if a required number is missed or wardenmq loses or alters anything or fails, 2 if one was not measured.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import machine
from brokers import Endpoint, apart, cpu_seconds
from clients import subscribe
from compare import Outcome, exit_status, run_row, summary
from durable_brokers import CONTENDERS, MOSQUITTO, WARDENMQ, running, unavailable, written_bytes
from durable_loads import (
    TOPIC,
    Exchange,
    Publisher,
    Ring,
    Subscriber,
    await_first,
    drain,
    equal_sizes,
    open_session,
    round_trip_seconds,
    varied_sizes,
)
from durable_restart import RESTARTS
from processes import end_on_signals
from rows import Requirement, Results, Row, Sample, Samples, Verdict, figures
from turns import Contest, Meter

NONE, PROCESS, POWER = WARDENMQ
ROUNDS, SECONDS = 3, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.3
WARM_UP_SECONDS = 0.2
WINDOW = 1_000
ACKNOWLEDGED_PER_SECOND = 30_000
SHARE_OF_CLEAN = 0.5
MANY = 50
DEFAULT_QUEUE = 1_000
"""Messages that both brokers keep for a session by default."""
CLEAN, PERSISTENT = "clean", "persistent"
SHAPES: Mapping[str, Sequence[int]] = {"runs": equal_sizes(), "varied": varied_sizes()}


# -- what is required


def wall_rate(samples: Sequence[Sample]) -> float:
    """Give the median of the turns' rates by the clock on the wall."""
    return statistics.median(sample.wall_rate for sample in samples)


@dataclass(frozen=True, slots=True)
class WallRate:
    """A contender has so many messages acknowledged per second."""

    of: str
    at_least: float

    @property
    def text(self) -> str:
        """Say what is required."""
        return f"{self.of} at least {self.at_least:,.0f} acknowledged per second"

    def judge(self, samples: Samples) -> Verdict:
        """Look at the median of the turns."""
        return _verdict(self.text, wall_rate(samples[self.of]) if samples.get(self.of) else None, self.at_least, ",.0f")


@dataclass(frozen=True, slots=True)
class WallShare:
    """The rate of a contender is at least a share of another's, in the median of the rounds."""

    of: str
    to: str
    at_least: float

    @property
    def text(self) -> str:
        """Say what is required."""
        return f"{self.of} at least {self.at_least:g} x {self.to} by the clock on the wall"

    def judge(self, samples: Samples) -> Verdict:
        """Compare the turns one by one, because the machine's speed changes between them."""
        pairs = zip(samples.get(self.of, ()), samples.get(self.to, ()), strict=False)
        shares = [ours.wall_rate / theirs.wall_rate for ours, theirs in pairs if theirs.wall_rate > 0]
        return _verdict(self.text, statistics.median(shares) if shares else None, self.at_least, ".2f")


def _verdict(text: str, found: float | None, at_least: float, shape: str) -> Verdict:
    if found is None:
        return Verdict(None, None, f"{text}: not measured")
    reached = found >= at_least
    return Verdict(found, reached, f"{text}: {found:{shape}}, {'reached' if reached else 'MISSED'}")


# -- the turns


@contextmanager
def measured(pid: int) -> Iterator[Meter]:
    """Measure a turn; the broker has one processor for itself and the load the others.

    The journal's thread shares the broker's processor then, which is less than it has on an idle machine, and does not
    depend on where the system happens to put three busy threads on two processors.
    """
    meter = Meter()
    with apart(pid):
        wall, own, cpu = time.monotonic(), time.process_time(), cpu_seconds(pid)
        yield meter
        meter.cpu = cpu_seconds(pid) - cpu
        meter.own, meter.wall = time.process_time() - own, time.monotonic() - wall


class Turns:
    """Publish to sessions of which some are connected and some are not, and fetch what was kept for these."""

    def __init__(
        self,
        endpoint: Endpoint,
        stack: ExitStack,
        ring: Ring,
        *,
        seconds: float,
        window: int,
        live: int = 0,
        away: int = 0,
        clean: bool = False,
        bounded: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._ring = ring
        self._seconds = seconds
        self._bounded = bounded
        self._live = [Subscriber(ring) for _ in range(live)]
        self._away = {f"durable-away-{number}": Subscriber(ring) for number in range(away)}
        for number, subscriber in enumerate(self._live):
            sock = stack.enter_context(open_session(endpoint, f"durable-live-{number}", clean=clean))
            subscribe(sock, TOPIC, ring.qos)
            subscriber.attach(sock)
        for client_id, subscriber in self._away.items():
            subscriber.attach(open_session(endpoint, client_id))
            if subscriber.sock is not None:
                subscribe(subscriber.sock, TOPIC, ring.qos)
            subscriber.detach()
        publisher = Publisher(stack.enter_context(open_session(endpoint, "durable-publisher", clean=True)), ring)
        self._exchange = Exchange(publisher, self._live, window)
        self._lost = 0
        with apart(endpoint.pid):
            self._exchange.run(WARM_UP_SECONDS)
        self._fetch()

    def turn(self) -> Sample:
        """Publish, then fetch what was kept; only the first is measured."""
        pid, publisher = self._endpoint.pid, self._exchange.publisher
        before, written = publisher.acknowledged, written_bytes(pid)
        with measured(pid) as meter:
            self._exchange.run(self._seconds)
        acknowledged = publisher.acknowledged - before
        extra = {**meter.shares, "written_per_message": (written_bytes(pid) - written) / max(acknowledged, 1)}
        extra |= self._fetch()
        return Sample(acknowledged, meter.cpu, meter.wall, self._wrong(), extra)

    def finish(self) -> int:
        """Look for what came late."""
        self._exchange.settle()
        return self._wrong()

    def _fetch(self) -> Mapping[str, float]:
        """Let those that were away come back, take all that was kept for them, and leave again."""
        written, seconds, fetched = written_bytes(self._endpoint.pid), 0.0, 0
        total = self._exchange.publisher.acknowledged
        for client_id, subscriber in self._away.items():
            before = subscriber.delivered
            subscriber.attach(open_session(self._endpoint, client_id, present=True))
            if self._bounded:
                before = self._skip_dropped(subscriber, before)
                total = before + min(DEFAULT_QUEUE, total - before)
            seconds += drain(subscriber, total)
            fetched += subscriber.delivered - before
            self._lost += abs(total - subscriber.delivered) + subscriber.altered
            subscriber.detach()
            if self._bounded:
                subscriber.skip_to(self._exchange.publisher.acknowledged)
        if not fetched:
            return {}
        written = written_bytes(self._endpoint.pid) - written
        return {"fetched_per_s": fetched / max(seconds, 1e-9), "written_per_fetched": written / fetched}

    def _skip_dropped(self, subscriber: Subscriber, before: int) -> int:
        """Find where what was kept begins: a bounded queue keeps either its oldest messages or its newest."""
        total = self._exchange.publisher.acknowledged
        kept = min(DEFAULT_QUEUE, total - before)
        if await_first(subscriber) == (total - kept) % self._ring.count:
            before = total - kept
        subscriber.skip_to(before)
        subscriber.take(more=False)
        return before

    def _wrong(self) -> int:
        lost, self._lost = self._lost, 0
        return lost + self._exchange.wrong


class RoundTrips:
    """Publish one message after the other to a session that is away."""

    def __init__(self, endpoint: Endpoint, stack: ExitStack, ring: Ring, seconds: float) -> None:
        self._endpoint = endpoint
        self._ring = ring
        self._seconds = seconds
        self._subscriber = Subscriber(ring)
        self._subscriber.attach(open_session(endpoint, "durable-away"))
        if self._subscriber.sock is not None:
            subscribe(self._subscriber.sock, TOPIC, ring.qos)
        self._subscriber.detach()
        self._sock = stack.enter_context(open_session(endpoint, "durable-publisher", clean=True))
        self._sent = 0
        self._publish(WARM_UP_SECONDS)

    def turn(self) -> Sample:
        """Publish, then fetch what was kept."""
        before = self._sent
        with measured(self._endpoint.pid) as meter:
            found = self._publish(self._seconds)
        lost = self._fetch()
        return Sample(self._sent - before, meter.cpu, meter.wall, lost, {**meter.shares, **found})

    def finish(self) -> int:
        """Look at nothing: all was fetched after the last turn."""
        return 0

    def _publish(self, seconds: float) -> Mapping[str, float]:
        found, count = round_trip_seconds(self._sock, self._ring, self._sent, seconds)
        self._sent += count
        return found

    def _fetch(self) -> int:
        self._subscriber.attach(open_session(self._endpoint, "durable-away", present=True))
        drain(self._subscriber, self._sent)
        self._subscriber.detach()
        return abs(self._sent - self._subscriber.delivered) + self._subscriber.altered


# -- the rows


@dataclass(frozen=True, slots=True)
class Away:
    """Messages for sessions of which none, or not all, are connected."""

    name: str
    shape: str
    qos: int = 1
    bounded: bool = False
    required: bool = False
    live: int = 0
    away: int = 1
    unit: str = "messages"
    contenders: tuple[str, ...] = (*WARDENMQ, MOSQUITTO)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached."""
        return (WallRate(PROCESS, ACKNOWLEDGED_PER_SECOND),) if self.required else ()

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let the brokers take turns."""
        with Contest() as contest:
            for name in names:
                contest.enter(name, partial(self._open, name, seconds))
            return contest.run(rounds)

    def _open(self, name: str, seconds: float, stack: ExitStack) -> Turns:
        endpoint = stack.enter_context(running(name, bounded=self.bounded))
        ring = Ring(self.qos, SHAPES[self.shape])
        options = {"live": self.live, "away": self.away, "bounded": self.bounded}
        return Turns(endpoint, stack, ring, seconds=seconds, window=WINDOW, **options)


@dataclass(frozen=True, slots=True)
class Connected:
    """Messages for one session that is connected: a persistent one beside a clean one, in a broker each."""

    name: str
    shape: str
    window: int
    qos: int = 1
    bounded: bool = False
    required: bool = False
    unit: str = "messages"
    contenders: tuple[str, ...] = (*WARDENMQ, MOSQUITTO)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached."""
        to, of = (f"{PROCESS}, {kind}" for kind in (CLEAN, PERSISTENT))
        return (WallShare(of, to, SHARE_OF_CLEAN),) if self.required else ()

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Run each broker twice, side by side."""
        with Contest() as contest:
            for name in names:
                for kind in (CLEAN, PERSISTENT):
                    contest.enter(f"{name}, {kind}", partial(self._open, name, kind, seconds))
            return contest.run(rounds)

    def _open(self, name: str, kind: str, seconds: float, stack: ExitStack) -> Turns:
        endpoint = stack.enter_context(running(name, bounded=self.bounded))
        ring = Ring(self.qos, SHAPES[self.shape])
        return Turns(endpoint, stack, ring, seconds=seconds, window=self.window, live=1, clean=kind == CLEAN)


@dataclass(frozen=True, slots=True)
class Latency:
    """One message at a time for a session that is not connected."""

    name: str = "latency of one QoS 1 message to an offline session"
    unit: str = "messages"
    contenders: tuple[str, ...] = CONTENDERS
    requirements: tuple[Requirement, ...] = ()

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let the brokers take turns."""
        with Contest() as contest:
            for name in names:
                contest.enter(name, partial(self._open, name, seconds))
            return contest.run(rounds)

    def _open(self, name: str, seconds: float, stack: ExitStack) -> RoundTrips:
        return RoundTrips(stack.enter_context(running(name)), stack, Ring(1, SHAPES["runs"]), seconds)


ROWS: tuple[Row, ...] = (
    Away("offline, QoS 1, window 1000, runs", "runs", required=True, contenders=CONTENDERS),
    Away("offline, QoS 1, window 1000, varied", "varied", required=True),
    Away("offline, QoS 1, window 1000, runs, default bounds", "runs", bounded=True, required=True),
    Away("offline, QoS 1, window 1000, varied, default bounds", "varied", bounded=True, required=True),
    Connected("online, QoS 1, window 1000, runs", "runs", 1_000, required=True),
    Connected("online, QoS 1, window 1000, varied", "varied", 1_000, required=True),
    Connected("online, QoS 1, window 100, runs", "runs", 100, required=True),
    Connected("online, QoS 1, window 100, varied", "varied", 100, required=True),
    Connected("online, QoS 1, window 100, runs, default bounds", "runs", 100, bounded=True),
    Away("offline, QoS 2, window 1000, runs", "runs", qos=2),
    Connected("online, QoS 2, window 1000, runs", "runs", 1_000, qos=2),
    Away(f"fan-out, QoS 1, {MANY} persistent sessions, half of them offline", "runs", live=MANY // 2, away=MANY // 2),
    Latency(),
    *RESTARTS,
)


# -- the table


def describe(outcome: Outcome) -> str:
    """Put one row into lines."""
    lines = [f"{outcome.row.name}   ({outcome.seconds:.0f} s)"]
    lines += [f"   {line(name, samples)}" for name, samples in outcome.samples.items()]
    lines += [f"   {name} FAILED: {fault}" for name, fault in outcome.faults.items()]
    lines += [f"   {note}" for note in outcome.notes]
    lines += [f"   {verdict.text}" for verdict in outcome.verdicts]
    if outcome.lost:
        lines.append(f"   wardenmq lost or altered {outcome.lost}: MISSED")
    return "\n".join(lines)


def line(name: str, samples: Sequence[Sample]) -> str:
    """Put the turns of one contender into words: medians, and the span of what counts."""
    rates = sorted(sample.wall_rate for sample in samples)
    work, cpu = sum(sample.work for sample in samples), sum(sample.cpu_seconds for sample in samples)
    parts = [f"{name:<28} {statistics.median(rates):>10,.0f}/s ({rates[0]:,.0f} to {rates[-1]:,.0f})"]
    parts.append(f"{work / cpu if cpu else 0:,.0f} per CPU-s")
    names = dict.fromkeys(each for sample in samples for each in sample.extra)
    found = {each: statistics.median(figures({name: samples}, name, each)) for each in names}
    parts += [f"{each} {value:,.2f}" if value < 100 else f"{each} {value:,.0f}" for each, value in found.items()]
    lost = sum(sample.lost for sample in samples)
    parts.append(f"{lost} LOST OR ALTERED" if lost else "none lost")
    return "  ".join(parts)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Measure what durability costs.")
    parser.add_argument("--row", action="append", help="only rows whose name has this in it; may be repeated [all]")
    parser.add_argument("--broker", action="append", choices=CONTENDERS, help="only this one; may be repeated [all]")
    parser.add_argument("--rounds", type=int, help=f"turns of each broker in a row [{ROUNDS}]")
    parser.add_argument("--seconds", type=float, help=f"length of a turn [{SECONDS}]")
    parser.add_argument("--quick", action="store_true", help="shorter turns, and no restarts, for a first look")
    parser.add_argument("--list", action="store_true", help="name the rows and what they require, and run nothing")
    options = parser.parse_args()
    rounds = options.rounds if options.rounds is not None else QUICK_ROUNDS if options.quick else ROUNDS
    seconds = options.seconds if options.seconds is not None else QUICK_SECONDS if options.quick else SECONDS
    if rounds < 1 or seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    rows = [row for row in ROWS if not options.row or any(part in row.name for part in options.row)]
    rows = [row for row in rows if not (options.quick and row in RESTARTS)]
    if not rows:
        parser.error("no row has such a name (--list names them)")
    if options.list:
        for row in rows:
            print(f"{row.name}: {'; '.join(requirement.text for requirement in row.requirements)}")
        return 0
    end_on_signals()
    return run(rows, options.broker or CONTENDERS, rounds, seconds, bool(options.row or options.broker))


def run(rows: Sequence[Row], wanted: Sequence[str], rounds: int, seconds: float, chosen: bool) -> int:
    """Run the rows and give the exit status."""
    reasons = {name: unavailable(name) for name in wanted}
    brokers = [name for name in wanted if reasons[name] is None]
    conditions = machine.describe(sorted({name.partition(" ")[0] for name in brokers}))
    conditions += [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason is not None]
    conditions.append(f"{rounds} turns of {seconds:g} s for each broker; medians of the turns")
    conditions.append(
        f"load average before: {os.getloadavg()[0]:.1f}; by the clock, whatever else runs here is counted"
    )
    print("\n".join(conditions) + "\n", flush=True)
    outcomes: list[Outcome] = []
    for row in rows:
        outcomes.append(run_row(row, brokers, rounds, seconds))
        print(describe(outcomes[-1]) + "\n", flush=True)
    print(f"load average after: {os.getloadavg()[0]:.1f}\n{summary(outcomes)}")
    return exit_status(outcomes, chosen)


if __name__ == "__main__":
    sys.exit(main())
