"""Compare two source trees of wardenmq in one run: messages per second of the broker's own CPU time.

    git archive COMMIT | tar -x -C DIR
    python bench/versus_commit.py --before DIR

Each tree runs in a process of its own on the same Python and the same packages. In a round both are loaded by turns, a
fraction of a second each, so that a busy machine hits both alike; each round has fresh processes. Four loads: one
publisher to one subscriber at QoS 0, the same with 100 topics taking turns, the same at QoS 1 with 100 messages on
their way, and one publisher to 50 subscribers at QoS 0.
"""

import argparse
import importlib.util
import select
import socket
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quick import (
    CHUNK_MESSAGES,
    FILTER,
    PAYLOAD_BYTES,
    STALL_SECONDS,
    WARM_UP_SECONDS,
    WINDOW_BYTES,
    Target,
    build_chunk,
    connect,
    running_wardenmq,
    subscribe,
    tree_environment,
)
from wire import PUBACK_BYTES, Format, expected_pubacks

ROOT = Path(__file__).resolve().parent.parent
RECEIVE_BYTES = 1_048_576
FAN_OUT_WINDOW_BYTES = 65_536
"""How far the publisher may be ahead of the slowest of many subscribers."""
FAN_OUT_SUBSCRIBERS = 50
QOS1_WINDOW = 100
"""Messages that have not reached the subscriber, or whose acknowledgement has not reached the publisher."""
SLICE_SECONDS = 0.1


class Load(Protocol):
    """What one broker is loaded with."""

    @property
    def delivered(self) -> int:
        """Messages so far, each as often as it was delivered."""
        ...

    @property
    def lost(self) -> int:
        """Deliveries that are missing."""
        ...

    @property
    def altered(self) -> bool:
        """Tell whether something else came than was sent."""
        ...

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        ...


class Stream:
    """Send QoS 0 messages in chunks on one socket and count what comes out of one or many."""

    def __init__(self, publisher: socket.socket, subscribers: list[socket.socket], chunk: bytes, window: int) -> None:
        self._sent = self._sent_sum = 0
        self._received = dict.fromkeys(subscribers, 0)
        self._sums = dict.fromkeys(subscribers, 0)
        self._publisher = publisher
        self._chunk = memoryview(chunk)
        self._window = window
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        for sock in (publisher, *subscribers):
            sock.setblocking(False)

    @property
    def delivered(self) -> int:
        """Messages so far, each as often as it was delivered."""
        return sum(self._received.values()) * CHUNK_MESSAGES // len(self._chunk)

    @property
    def lost(self) -> int:
        """Deliveries that are missing."""
        return self._sent * len(self._received) * CHUNK_MESSAGES // len(self._chunk) - self.delivered

    @property
    def altered(self) -> bool:
        """Tell whether a subscriber got other bytes than were sent."""
        return any(found != self._sent_sum for found in self._sums.values())

    def run(self, seconds: float) -> None:
        """Send for so long, finish the chunk and wait for what is still on its way."""
        now = time.monotonic()
        end, last_arrival, offset = now + seconds, now, 0
        while True:
            now = time.monotonic()
            behind = min(self._received.values())
            sending = offset > 0 or now < end
            if (not sending and behind >= self._sent) or now - last_arrival > STALL_SECONDS:
                return
            room = self._window - (self._sent + offset - behind) if sending else 0
            writing = [self._publisher] if room > 0 else []
            readable, writable, _ = select.select(list(self._received), writing, [], 0.1)
            if writable:
                offset += self._publisher.send(self._chunk[offset : offset + room])
                if offset == len(self._chunk):
                    self._sent += offset
                    self._sent_sum = zlib.crc32(self._chunk, self._sent_sum)
                    offset = 0
            for sock in readable:
                count = sock.recv_into(self._buffer)
                if not count:
                    raise RuntimeError("the broker closed a subscriber's connection")
                self._received[sock] += count
                self._sums[sock] = zlib.crc32(self._buffer[:count], self._sums[sock])
                last_arrival = now


class Window:
    """Keep a window of QoS 1 messages in flight from one socket to another; both ends are acknowledged and checked."""

    def __init__(self, publisher: socket.socket, subscriber: socket.socket) -> None:
        self.delivered = self._sent = self._acknowledged = 0
        self.altered = False
        self._layout = Format(FILTER[:-1], 1, PAYLOAD_BYTES)
        self._publisher = publisher
        self._subscriber = subscriber
        self._acks = self._tail = b""
        for sock in (publisher, subscriber):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def lost(self) -> int:
        """Messages that are missing."""
        return self._sent - self.delivered

    @property
    def _open(self) -> int:
        return self._sent - min(self._acknowledged, self.delivered)

    def run(self, seconds: float) -> None:
        """Send for so long and wait for what is still on its way."""
        last_arrival = time.monotonic()
        end = last_arrival + seconds
        while True:
            now = time.monotonic()
            if now < end and (room := QOS1_WINDOW - self._open):
                self._publisher.sendall(self._layout.sent(0, self._sent, room))
                self._sent += room
            if now >= end and not self._open:
                return
            if now - last_arrival > STALL_SECONDS:
                return
            readable, _, _ = select.select([self._publisher, self._subscriber], [], [], 0.1)
            if readable:
                last_arrival = now
            if self._subscriber in readable:
                self._take()
            if self._publisher in readable:
                self._take_acknowledgements()

    def _take(self) -> None:
        data = self._tail + self._subscriber.recv(RECEIVE_BYTES)
        whole = len(data) - len(data) % self._layout.size
        self._tail = data[whole:]
        if whole:
            packets, answers = self._layout.strip_ids(data[:whole])
            count = whole // self._layout.size
            self.altered |= packets != self._layout.expected(0, self.delivered, count)
            self.delivered += count
            self._subscriber.sendall(answers)

    def _take_acknowledgements(self) -> None:
        data = self._acks + self._publisher.recv(RECEIVE_BYTES)
        count, rest = divmod(len(data), PUBACK_BYTES)
        self._acks = data[len(data) - rest :]
        self.altered |= data[: len(data) - rest] != expected_pubacks(self._acknowledged, count)
        self._acknowledged += count


def _stream(stack: ExitStack, target: Target, topics: int, subscribers: int, window: int) -> Load:
    sockets = [stack.enter_context(connect(target, f"bench-subscriber-{n}")) for n in range(subscribers)]
    for sock in sockets:
        subscribe(sock, FILTER)
    return Stream(stack.enter_context(connect(target, "bench-publisher")), sockets, build_chunk(topics), window)


def _window(stack: ExitStack, target: Target) -> Load:
    subscriber = stack.enter_context(connect(target, "bench-subscriber"))
    subscribe(subscriber, FILTER, 1)
    return Window(stack.enter_context(connect(target, "bench-publisher")), subscriber)


LOADS: dict[str, Callable[[ExitStack, Target], Load]] = {
    "QoS 0 pair": lambda stack, target: _stream(stack, target, 1, 1, WINDOW_BYTES),
    "QoS 0, 100 topics": lambda stack, target: _stream(stack, target, 100, 1, WINDOW_BYTES),
    f"QoS 1, window {QOS1_WINDOW}": _window,
    f"fan-out to {FAN_OUT_SUBSCRIBERS}": lambda stack, target: _stream(
        stack, target, 1, FAN_OUT_SUBSCRIBERS, FAN_OUT_WINDOW_BYTES
    ),
}


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree and how to run it."""

    name: str
    environment: dict[str, str] | None


class Runner:
    """Load one broker by turns and add up what it delivered and the CPU time it took for that."""

    def __init__(self, stack: ExitStack, tree: Tree, load: str, *, uvloop: bool) -> None:
        target = stack.enter_context(running_wardenmq(uvloop=uvloop, environment=tree.environment))
        self.name = tree.name
        self.load = LOADS[load](stack, target)
        self.messages = 0
        self.cpu_seconds = 0.0
        self._pid = target.pid
        self.load.run(WARM_UP_SECONDS)

    def turn(self) -> None:
        """Run for a slice of time."""
        messages, cpu = self.load.delivered, _cpu_seconds(self._pid)
        self.load.run(SLICE_SECONDS)
        self.messages += self.load.delivered - messages
        self.cpu_seconds += _cpu_seconds(self._pid) - cpu

    @property
    def rate(self) -> float:
        """Messages per second of the broker's CPU time."""
        if not self.messages or self.cpu_seconds <= 0:
            raise RuntimeError("the broker delivered nothing")
        return self.messages / self.cpu_seconds


def _cpu_seconds(pid: int) -> float:
    """Read a process's CPU time, all threads; /proc counts in hundredths of a second, too coarse for a slice."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of a process id on Linux


def run_round(trees: list[Tree], load: str, slices: int, *, uvloop: bool) -> list[Runner]:
    """Run all trees side by side under one load; they take turns, and each turn begins with another one."""
    with ExitStack() as stack:
        runners = [Runner(stack, tree, load, uvloop=uvloop) for tree in trees]
        for number in range(slices):
            for runner in runners if number % 2 else reversed(runners):
                runner.turn()
        return runners


def compare(trees: list[Tree], loads: list[str], rounds: int, slices: int, *, uvloop: bool) -> int:
    """Print each round, the medians and their ratios; return 1 if anything was lost or altered."""
    spoiled = False
    rates: dict[tuple[str, str], list[float]] = {(load, tree.name): [] for load in loads for tree in trees}
    for number in range(1, rounds + 1):
        for load in loads:
            for runner in run_round(trees, load, slices, uvloop=uvloop):
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
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    uvloop = importlib.util.find_spec("uvloop") is not None and not options.no_uvloop
    with ExitStack() as stack:
        trees = [
            Tree(name, stack.enter_context(tree_environment(root)))
            for name, root in (("before", options.before), ("after", options.after))
        ]
        slices = max(1, round(options.seconds / SLICE_SECONDS))
        return compare(trees, options.load or list(LOADS), options.rounds, slices, uvloop=uvloop)


if __name__ == "__main__":
    sys.exit(main())
