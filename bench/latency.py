"""Rows about single messages: what one costs that cannot be batched, and how long it is on its way."""

import dataclasses
import functools
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from brokers import BROKERS, Endpoint, running
from crowd import allow_open_files, close_all, open_clients, open_sockets
from echo import ECHO, running_echo
from round_trips import RoundTrips, own_topic, percentile
from rows import FigureBound, FigureRatio, RateRatio, Requirement, Results, Row, Sample
from turns import Contest, metered

CLIENTS = 100
WARM_UP_SECONDS = 0.3
UNBATCHED_ROUNDS = 15
"""The least number of turns: one in a hundred of the times of a turn is not many."""
PACED_CLIENTS = 1_000
PACED_RATE = 10_000
PACED_SECONDS = 1.0
"""The least length of a turn: a client's turn comes ten times in it."""
PACED_ROUNDS = 5
"""Enough turns of that length."""
P99_RATIO = 1.2
P99_BOUND_MS = 5.0
ASYNCIO_SHARE = 1 / 1.5
"""What asyncio's own loop has to reach of uvloop's rate."""
OPEN_FILES = 8_192


def _milliseconds(nanoseconds: Sequence[int], share: float) -> float:
    return percentile(nanoseconds, share) / 1_000_000


class Turns:
    """Put a broker under a load by turns, and keep the times of all of them."""

    def __init__(self, endpoint: Endpoint, clients: RoundTrips, load: Callable[[float], None], seconds: float) -> None:
        self.nanoseconds = array("q")
        self._pid = endpoint.pid
        self._clients = clients
        self._load = load
        self._seconds = seconds
        self._lost = 0
        """What has been reported; what the warm-up lost is counted with the first turn."""
        with metered(self._pid):
            load(WARM_UP_SECONDS)

    def turn(self) -> Sample:
        """Load it and say what came of it."""
        clients = self._clients
        clients.clear()
        delivered = clients.delivered
        with metered(self._pid) as meter:
            self._load(self._seconds)
        times = clients.nanoseconds
        self.nanoseconds.extend(times)
        extra = {"p50_ms": _milliseconds(times, 0.5), "p99_ms": _milliseconds(times, 0.99)} | meter.shares
        if clients.late:
            extra["generator_late_p99_ms"] = _milliseconds(clients.late, 0.99)
        return Sample(clients.delivered - delivered, meter.cpu, meter.wall, self._wrong(), extra)

    def finish(self) -> int:
        """Look for what came late."""
        self._clients.settle()
        return self._wrong()

    def _wrong(self) -> int:
        before, self._lost = self._lost, self._clients.lost
        return abs(self._lost - before) or int(self._clients.altered)


def _with_pools(results: Results, contenders: Mapping[str, Turns]) -> Results:
    """Add the figure of all turns together, and the best and the worst turn's, to each turn."""
    samples: dict[str, list[Sample]] = {}
    for name, turns in results.samples.items():
        each = [turn.extra["p99_ms"] for turn in turns]
        pooled = {
            "p99_all_ms": _milliseconds(contenders[name].nanoseconds, 0.99),
            "p99_best_ms": min(each),
            "p99_worst_ms": max(each),
        }
        samples[name] = [dataclasses.replace(turn, extra={**turn.extra, **pooled}) for turn in turns]
    return dataclasses.replace(results, samples=samples)


@contextmanager
def _clients(endpoint: Endpoint, count: int, qos: int) -> Iterator[RoundTrips]:
    """Connect clients that subscribe to a topic of their own; sockets that only send, if it is no broker."""
    echo = endpoint.name == ECHO
    sockets = open_sockets(endpoint, count) if echo else open_clients(endpoint, count, filters=own_topic, qos=qos)
    clients = RoundTrips(sockets, qos)
    try:
        yield clients
    finally:
        clients.close()
        close_all(sockets)


@dataclass(frozen=True, slots=True)
class Unbatched:
    """A hundred clients, each with one message on its way to itself."""

    qos: int
    contenders: tuple[str, ...] = BROKERS
    unit: str = "messages"

    @property
    def name(self) -> str:
        """Say what is done."""
        return f"unbatched: {CLIENTS} clients, each one message to itself, QoS {self.qos}"

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached."""
        return (
            RateRatio("wardenmq", "mosquitto", 1.0),
            FigureRatio("wardenmq", "mosquitto", "p99_ms", P99_RATIO),
            RateRatio("wardenmq-asyncio", "wardenmq", ASYNCIO_SHARE),
        )

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let the brokers take turns."""
        opened: dict[str, Turns] = {}
        with Contest() as contest:
            for name in names:
                contest.enter(name, functools.partial(self._open, name, seconds, opened))
            return _with_pools(contest.run(max(rounds, UNBATCHED_ROUNDS)), opened)

    def _open(self, name: str, seconds: float, opened: dict[str, Turns], stack: ExitStack) -> Turns:
        endpoint = stack.enter_context(running(name))
        clients = stack.enter_context(_clients(endpoint, CLIENTS, self.qos))
        return opened.setdefault(name, Turns(endpoint, clients, clients.closed_loop, seconds))


@dataclass(frozen=True, slots=True)
class Paced:
    """A thousand clients that together publish at a fixed rate, each to itself; an echo server is the control.

    The echo server does nothing but return what it reads, on uvloop where that is installed. What is left of the
    latency there is that of the machine and of the load generator. All times of all turns are judged together.
    """

    name: str = f"paced: {PACED_RATE:,} messages/s over {PACED_CLIENTS:,} connections, QoS 0"
    unit: str = "messages"
    contenders: tuple[str, ...] = ("wardenmq", "wardenmq-asyncio", "mosquitto", "aedes")
    requirements: tuple[Requirement, ...] = (
        FigureBound("wardenmq", "p99_all_ms", at_most=P99_BOUND_MS),
        FigureBound("wardenmq-asyncio", "p99_all_ms", at_most=P99_BOUND_MS),
    )

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let the brokers and the echo server take turns."""
        allow_open_files(OPEN_FILES)
        opened: dict[str, Turns] = {}
        with Contest() as contest:
            for name in (*names, ECHO):
                contest.enter(name, functools.partial(self._open, name, max(seconds, PACED_SECONDS), opened))
            return _with_pools(contest.run(min(rounds, PACED_ROUNDS)), opened)

    def _open(self, name: str, seconds: float, opened: dict[str, Turns], stack: ExitStack) -> Turns:
        endpoint = stack.enter_context(running_echo() if name == ECHO else running(name))
        clients = stack.enter_context(_clients(endpoint, PACED_CLIENTS, 0))
        load = functools.partial(clients.paced, rate=PACED_RATE)
        return opened.setdefault(name, Turns(endpoint, clients, load, seconds))


ROWS: tuple[Row, ...] = (Unbatched(0), Unbatched(1), Paced())
