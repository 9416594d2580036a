"""Rows about memory: what an idle connection holds, and whether it comes back from connections that left."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from brokers import Endpoint, cpu_seconds, resident_bytes, running
from clients import receive
from crowd import allow_open_files, close_all, open_clients
from rows import FigureBound, Requirement, Results, Row, Sample
from turns import Contest
from wire import DISCONNECT, packet, text

OPEN_FILES = 8_192
IDLE_CLIENTS = 5_000
FIRST_CLIENTS = 10
"""Come and go before the first look at the memory, because the first ones load code."""
BYTES_PER_CLIENT = 12_000
WARM_UP_VISITORS = 2_000
VISITORS = 20_000
VISITORS_AT_ONCE = 1_000
GROWTH_BOUND = 1.1
SETTLE_SECONDS = 1.0
PAYLOAD = b"%064d"


def own_filter(number: int) -> bytes:
    """Name what a client subscribes to; the topics that devices have are not much shorter."""
    return b"site/%d/device/%05d/state" % (number % 10, number)


def settled_bytes(endpoint: Endpoint) -> int:
    """Read the resident memory after the broker has had time for what it puts off."""
    time.sleep(SETTLE_SECONDS)
    return resident_bytes(endpoint.pid)


@dataclass(frozen=True, slots=True)
class Once:
    """One turn, in a fresh process that ends with it: memory does not depend on what else the machine does."""

    measured: Callable[[], Sample]

    def turn(self) -> Sample:
        """Start a broker, measure and end it."""
        return self.measured()

    def finish(self) -> int:
        """Find nothing: the broker is gone."""
        return 0


def _once(measured: Callable[[str], Sample], names: Sequence[str]) -> Results:
    allow_open_files(OPEN_FILES)
    with Contest() as contest:
        for name in names:
            contest.enter(name, partial(_opened, partial(measured, name)))
        return contest.run(1)


def _opened(measured: Callable[[], Sample], _stack: ExitStack) -> Once:
    return Once(measured)


@dataclass(frozen=True, slots=True)
class Idle:
    """Connections that subscribe to one topic and do nothing."""

    name: str = f"memory of {IDLE_CLIENTS:,} idle connections, one subscription each"
    unit: str = "connections"
    contenders: tuple[str, ...] = ("wardenmq", "wardenmq-asyncio", "mosquitto", "aedes")
    requirements: tuple[Requirement, ...] = (FigureBound("wardenmq", "resident_bytes_each", at_most=BYTES_PER_CLIENT),)

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Measure once for each broker."""
        return _once(self._measure, names)

    def _measure(self, name: str) -> Sample:
        with running(name) as endpoint:
            close_all(open_clients(endpoint, FIRST_CLIENTS, "first", own_filter))
            before, cpu, wall = settled_bytes(endpoint), cpu_seconds(endpoint.pid), time.monotonic()
            clients = open_clients(endpoint, IDLE_CLIENTS, filters=own_filter)
            cpu, wall = cpu_seconds(endpoint.pid) - cpu, time.monotonic() - wall
            each = (settled_bytes(endpoint) - before) / IDLE_CLIENTS
            close_all(clients)
        return Sample(IDLE_CLIENTS, cpu, wall, extra={"resident_bytes_each": each, "resident_before_mb": before / 1e6})


@dataclass(frozen=True, slots=True)
class Visitors:
    """Clients that come, subscribe, publish to themselves and go, a thousand at a time, each with another client id."""

    name: str = f"memory after {VISITORS:,} connections came and went"
    unit: str = "connections"
    contenders: tuple[str, ...] = ("wardenmq", "wardenmq-asyncio", "mosquitto")
    requirements: tuple[Requirement, ...] = (
        FigureBound("wardenmq", "times_warmed_up", at_most=GROWTH_BOUND),
        FigureBound("wardenmq-asyncio", "times_warmed_up", at_most=GROWTH_BOUND),
    )

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Measure once for each broker."""
        return _once(self._measure, names)

    def _measure(self, name: str) -> Sample:
        with running(name) as endpoint:
            _visit(endpoint, "warm-up", WARM_UP_VISITORS)
            warm, cpu, wall = settled_bytes(endpoint), cpu_seconds(endpoint.pid), time.monotonic()
            _visit(endpoint, "visitor", VISITORS)
            cpu, wall = cpu_seconds(endpoint.pid) - cpu, time.monotonic() - wall
            after = settled_bytes(endpoint)
        extra = {"times_warmed_up": after / warm, "warmed_up_mb": warm / 1e6, "after_mb": after / 1e6}
        return Sample(VISITORS, cpu, wall, extra=extra)


def _visit(endpoint: Endpoint, prefix: str, count: int) -> None:
    """Let clients come and go; every other batch goes without DISCONNECT. RuntimeError if a message does not come."""
    for batch in range(count // VISITORS_AT_ONCE):
        topics = [own_filter(batch * VISITORS_AT_ONCE + number) for number in range(VISITORS_AT_ONCE)]
        clients = open_clients(endpoint, VISITORS_AT_ONCE, f"{prefix}-{batch}", topics.__getitem__)
        messages = [packet(0x30, text(topic) + PAYLOAD % number) for number, topic in enumerate(topics)]
        for sock, message in zip(clients, messages, strict=True):
            sock.sendall(message)
        for sock, message in zip(clients, messages, strict=True):
            receive(sock, message)
        if batch % 2:
            for sock in clients:
                sock.sendall(DISCONNECT)
        close_all(clients)


ROWS: tuple[Row, ...] = (Idle(), Visitors())
