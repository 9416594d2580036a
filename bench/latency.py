"""Rows about single messages: what one costs that cannot be batched, and how long it is on its way."""

import dataclasses
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from brokers import BROKERS, Endpoint, cpu_seconds, running
from crowd import allow_open_files, close_all, open_clients, open_sockets
from echo import ECHO, running_echo
from round_trips import RoundTrips, own_topic, percentile
from rows import FigureBound, FigureRatio, RateRatio, Requirement, Row, Sample, take_turns

CLIENTS = 100
WARM_UP_SECONDS = 0.3
PACED_CLIENTS = 1_000
PACED_RATE = 10_000
PACED_SECONDS = 1.0
"""The least length of a turn: a client's turn comes ten times in it."""
PACED_ROUNDS = 5
"""Enough turns of that length."""
LATE_MS = 1.0
"""A turn in which one in a hundred of the generator's own ticks was later is taken again: the machine was busy."""
ATTEMPTS = 3
P99_RATIO = 1.2
P99_BOUND_MS = 5.0
OPEN_FILES = 8_192


def _milliseconds(nanoseconds: Sequence[int], share: float) -> float:
    return percentile(nanoseconds, share) / 1_000_000


class _Pool:
    """The times of all turns of one contender."""

    def __init__(self) -> None:
        self.nanoseconds = array("q")


def _turn(endpoint: Endpoint, clients: RoundTrips, pool: _Pool, load: Callable[[], None]) -> Sample:
    """Put a broker under a load and read its CPU clock before and after."""
    clients.clear()
    delivered, lost = clients.delivered, clients.lost
    cpu, wall = cpu_seconds(endpoint.pid), time.monotonic()
    load()
    cpu, wall = cpu_seconds(endpoint.pid) - cpu, time.monotonic() - wall
    pool.nanoseconds.extend(clients.nanoseconds)
    extra = {
        "p50_ms": _milliseconds(clients.nanoseconds, 0.5),
        "p99_ms": _milliseconds(clients.nanoseconds, 0.99),
    }
    if clients.late:
        extra["generator_late_p99_ms"] = _milliseconds(clients.late, 0.99)
    missing = clients.lost - lost + int(clients.altered)
    return Sample(clients.delivered - delivered, cpu, wall, missing, extra)


def _with_pools(samples: dict[str, list[Sample]], pools: dict[str, _Pool]) -> dict[str, list[Sample]]:
    """Add the figure of all turns together to each turn.

    It is shown, but what is judged is the median of the turns: one turn in which something else had the processors
    for a tenth of a second makes the figure of all turns its own.
    """
    for name, turns in samples.items():
        times = pools[name].nanoseconds
        pooled = {"p99_all_ms": _milliseconds(times, 0.99)}
        samples[name] = [dataclasses.replace(turn, extra={**turn.extra, **pooled}) for turn in turns]
    return samples


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
        )

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Let the brokers take turns."""
        with ExitStack() as stack:
            turns: dict[str, Callable[[], Sample]] = {}
            pools = {name: _Pool() for name in names}
            endpoints = {name: stack.enter_context(running(name)) for name in names}
            for name, endpoint in endpoints.items():
                clients = stack.enter_context(_clients(endpoint, CLIENTS, self.qos))
                clients.closed_loop(WARM_UP_SECONDS)
                turns[name] = _closed_loop_turn(endpoint, clients, pools[name], seconds)
            return _with_pools(take_turns(turns, rounds), pools)


def _closed_loop_turn(endpoint: Endpoint, clients: RoundTrips, pool: _Pool, seconds: float) -> Callable[[], Sample]:
    return lambda: _turn(endpoint, clients, pool, lambda: clients.closed_loop(seconds))


@dataclass(frozen=True, slots=True)
class Paced:
    """A thousand clients that together publish at a fixed rate, each to itself; an echo server is the control.

    The echo server does nothing but return what it reads, on uvloop where that is installed. What is left of the
    latency there is that of the machine and of the load generator. `p99_all_ms` has the turns that were taken again,
    too.
    """

    name: str = f"paced: {PACED_RATE:,} messages/s over {PACED_CLIENTS:,} connections, QoS 0"
    unit: str = "messages"
    contenders: tuple[str, ...] = ("wardenmq", "wardenmq-asyncio", "mosquitto", "aedes")
    requirements: tuple[Requirement, ...] = (
        FigureBound("wardenmq", "p99_ms", at_most=P99_BOUND_MS),
        FigureBound("wardenmq-asyncio", "p99_ms", at_most=P99_BOUND_MS),
    )

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Let the brokers and the echo server take turns."""
        allow_open_files(OPEN_FILES)
        seconds = max(seconds, PACED_SECONDS)
        with ExitStack() as stack:
            turns: dict[str, Callable[[], Sample]] = {}
            pools = {name: _Pool() for name in (*names, ECHO)}
            endpoints = {name: stack.enter_context(running(name)) for name in names}
            for name, endpoint in {**endpoints, ECHO: stack.enter_context(running_echo())}.items():
                clients = stack.enter_context(_clients(endpoint, PACED_CLIENTS, 0))
                clients.paced(WARM_UP_SECONDS, PACED_RATE)
                turns[name] = _paced_turn(endpoint, clients, pools[name], seconds)
            return _with_pools(take_turns(turns, min(rounds, PACED_ROUNDS)), pools)


def _paced_turn(endpoint: Endpoint, clients: RoundTrips, pool: _Pool, seconds: float) -> Callable[[], Sample]:
    """Take a turn again if the generator was late, and keep that in which it was least so; losses count in any case."""

    def turn() -> Sample:
        attempts: list[Sample] = []
        while len(attempts) < ATTEMPTS and not any(_undisturbed(attempt) for attempt in attempts):
            attempts.append(_turn(endpoint, clients, pool, lambda: clients.paced(seconds, PACED_RATE)))
        best = min(attempts, key=lambda attempt: attempt.extra["generator_late_p99_ms"])
        return dataclasses.replace(best, lost=sum(attempt.lost for attempt in attempts))

    return turn


def _undisturbed(turn: Sample) -> bool:
    return turn.extra["generator_late_p99_ms"] <= LATE_MS


ROWS: tuple[Row, ...] = (Unbatched(0), Unbatched(1), Paced())
