"""Judge what slow consumers cost: 100 subscribers of which 5 never read, publishers at full speed, QoS 0 and QoS 1.

Run it as `python bench/slow_consumer.py` (or `make soak`). The messages carry sequence numbers, and every byte that the
healthy subscribers get is compared with what was published. Exit status 1 if one of them lost a message or got one
twice, changed or out of order, if the broker's memory grew past the bound, or if it served them much more slowly than
without the ones that never read. Broker, subscribers and publishers are a process each, and every wait is bounded.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from brokers import Endpoint, cpu_seconds, running, tree_environment, unavailable
from clients import receive
from wire import (
    CONNECTED,
    DISCONNECT,
    DUP,
    PUBACK_BYTES,
    Format,
    connect_packet,
    expected_pubacks,
    subscribe_packet,
    subscribed,
)

TOPIC = b"soak/"
FILTER = b"soak/+"
BLOCK_MESSAGES = 256
QOS1_WINDOW = 1_000
"""Unacknowledged messages of one publisher."""
SILENT_RECEIVE_BUFFER = 4_096
MAX_MISSING = 100_000
"""Sequence numbers that a subscriber remembers as missing, to tell a late message from a second one."""
START_SECONDS = 30.0
STALL_SECONDS = 15.0
"""A subscriber to which nothing comes for so long gets nothing any more: what it misses is lost."""
DRAIN_SECONDS = 90.0
"""After its time a publisher may take so long to hand over what it has begun."""


@dataclass(frozen=True, slots=True)
class Load:
    """One run: what the three processes have to know."""

    host: str
    port: int
    username: str
    password: str
    name: str
    qos: int
    seconds: float
    healthy: int
    silent: int
    publishers: int
    payload_bytes: int

    def format(self) -> Format:
        """Return how its messages look."""
        return Format(TOPIC, self.qos, self.payload_bytes)

    def hello(self, client_id: str) -> bytes:
        """Encode the CONNECT of one of its clients."""
        return connect_packet(f"{self.name}-{client_id}", self.username, self.password)


@dataclass(slots=True)
class Seen:
    """What one healthy subscriber got."""

    subscriber: str
    received: int = 0
    lost: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    altered: int = 0
    closed: bool = False

    @property
    def spoiled(self) -> bool:
        """Tell whether anything is wrong."""
        return bool(self.lost or self.out_of_order or self.duplicates or self.altered or self.closed)


# -- the subscribers


class Inspector:
    """Compare what one subscriber gets with what the publishers sent, whatever the order in which these take turns."""

    def __init__(self, name: str, layout: Format, publishers: int, expected: Callable[[int, int], bytes]) -> None:
        self.seen = Seen(name)
        self._layout = layout
        self._publishers = {b"%02d" % number: number for number in range(publishers)}
        self._expected = expected
        self._next = [0] * publishers
        self._missing: set[tuple[int, int]] = set()

    def inspect(self, data: bytes) -> None:
        """Look at whole packets whose packet identifiers have been stripped."""
        position, size = 0, self._layout.size
        while position < len(data):
            publisher = self._publishers.get(self._layout.publisher(data, position))
            count = 0 if publisher is None else self._matching(data, position, publisher)
            if publisher is None or not count:
                self._odd_one(data[position : position + size], publisher)
                count = 1
            else:
                self._next[publisher] += count
                self.seen.received += count
            position += count * size

    def complete(self, totals: list[int]) -> bool:
        """Tell whether the last message of every publisher has come."""
        return self._next == totals

    def finish(self, totals: list[int]) -> Seen:
        """Count what never came."""
        self.seen.lost += sum(max(0, total - got) for total, got in zip(totals, self._next, strict=True))
        return self.seen

    def _matching(self, data: bytes, position: int, publisher: int) -> int:
        """Count the packets from here that are the publisher's next ones, within one block."""
        size, number = self._layout.size, self._next[publisher]
        block = self._expected(publisher, number // BLOCK_MESSAGES)
        offset = number % BLOCK_MESSAGES * size
        high = min(len(data) - position, len(block) - offset) // size
        if data.startswith(block[offset : offset + high * size], position):
            return high
        low = 0
        while low < high:
            middle = (low + high + 1) // 2
            if data.startswith(block[offset : offset + middle * size], position):
                low = middle
            else:
                high = middle - 1
        return low

    def _odd_one(self, packet: bytes, publisher: int | None) -> None:
        seen, number = self.seen, -1
        with contextlib.suppress(ValueError):
            number = self._layout.number(packet, 0)
        plain = bytes((packet[0] & ~DUP,)) + packet[1:]
        if publisher is None or number < 0 or plain != self._layout.packet(publisher, number, b"\0\0"):
            seen.altered += 1
            return
        seen.received += 1
        due = self._next[publisher]
        if number >= due:
            seen.lost += number - due
            room = MAX_MISSING - len(self._missing)
            self._missing.update((publisher, missing) for missing in range(due, min(number, due + room)))
            self._next[publisher] = number + 1
        elif (publisher, number) in self._missing:
            self._missing.discard((publisher, number))
            seen.lost -= 1
            seen.out_of_order += 1
        else:
            seen.duplicates += 1


class Subscriber(asyncio.Protocol):
    """Read as fast as possible, acknowledge at once."""

    def __init__(self, load: Load, name: str, inspector: Inspector, layout: Format) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self.inspector = inspector
        self.last_arrival = time.monotonic()
        self._load = load
        self._name = name
        self._layout = layout
        self._tail = b""
        self._greetings = [(CONNECTED, subscribe_packet(FILTER, load.qos)), (subscribed(load.qos), b"")]
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = transport
        self._transport.write(self._load.hello(self._name))

    def data_received(self, data: bytes) -> None:
        """Take the answers first, then messages."""
        self.last_arrival = time.monotonic()
        if self._tail:
            data = self._tail + data
        while self._greetings and len(data) >= len(self._greetings[0][0]):
            answer, following = self._greetings.pop(0)
            if not data.startswith(answer):
                self.ready.set_exception(RuntimeError(f"{self._name} was answered {data[:8].hex()}"))
                return
            data = data[len(answer) :]
            self._transport.write(following)
            if not self._greetings:
                self.ready.set_result(None)
        whole = 0 if self._greetings else len(data) - len(data) % self._layout.size
        self._tail = data[whole:]
        if not whole:
            return
        data = data[:whole]
        if self._load.qos:
            data, answers = self._layout.strip_ids(data)
            self._transport.write(answers)
        self.inspector.inspect(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note: a healthy subscriber has done nothing to be closed for."""
        self.inspector.seen.closed = True
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(f"{self._name} was closed"))


def _open_silent(load: Load, number: int) -> socket.socket:
    """Subscribe and never read again."""
    sock = socket.socket()
    sock.settimeout(START_SECONDS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SILENT_RECEIVE_BUFFER)
    sock.connect((load.host, load.port))
    sock.sendall(load.hello(f"silent-{number}"))
    receive(sock, CONNECTED)
    sock.sendall(subscribe_packet(FILTER, load.qos))
    receive(sock, subscribed(load.qos))
    return sock


async def subscribe_all(load: Load) -> None:
    """Be all subscribers: print a line when they are there, read the totals, print what each healthy one got."""
    layout, loop = load.format(), asyncio.get_running_loop()

    @lru_cache(maxsize=2_048)
    def expected(publisher: int, block: int) -> bytes:
        return layout.expected(publisher, block * BLOCK_MESSAGES, BLOCK_MESSAGES)

    silent = [_open_silent(load, number) for number in range(load.silent)]
    subscribers: list[Subscriber] = []
    for number in range(load.healthy):
        name = f"healthy-{number}"
        subscriber = Subscriber(load, name, Inspector(name, layout, load.publishers, expected), layout)
        await loop.create_connection(lambda subscriber=subscriber: subscriber, load.host, load.port)
        await asyncio.wait_for(subscriber.ready, START_SECONDS)
        subscribers.append(subscriber)
    print(json.dumps("ready"), flush=True)
    totals = json.loads(await asyncio.to_thread(sys.stdin.readline))
    begin = time.monotonic()
    for subscriber in subscribers:
        while not subscriber.inspector.complete(totals) and not subscriber.inspector.seen.closed:
            if time.monotonic() - max(begin, subscriber.last_arrival) > STALL_SECONDS:
                break
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # a message too many would come now
    print(json.dumps([asdict(subscriber.inspector.finish(totals)) for subscriber in subscribers]), flush=True)
    for sock in silent:
        sock.close()


# -- the publishers


class Publisher(asyncio.Protocol):
    """Send numbered messages as fast as the broker takes them; at QoS 1 with a window."""

    def __init__(self, load: Load, number: int, layout: Format) -> None:
        self.sent = self.acknowledged = 0
        self.fault = ""
        self.connected = asyncio.get_running_loop().create_future()
        self._load = load
        self._number = number
        self._layout = layout
        self._end = 0.0
        self._paused = False
        self._scheduled = False
        self._tail = b""
        self._transport: Any = None

    @property
    def finished(self) -> bool:
        """Tell whether all has been handed over, and acknowledged where that is due."""
        if time.monotonic() < self._end and not self.fault:
            return False
        waits = self._load.qos and self.acknowledged < self.sent
        return bool(self.fault) or not (waits or self._transport.get_write_buffer_size())

    def start(self, end: float) -> None:
        """Begin to send, until that time."""
        self._end = end
        self._send()

    def leave(self) -> None:
        """Say goodbye."""
        self._transport.write(DISCONNECT)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = transport
        self._transport.write(self._load.hello(f"publisher-{self._number}"))

    def pause_writing(self) -> None:
        """Wait until the broker reads on."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._schedule()

    def data_received(self, data: bytes) -> None:
        """Count acknowledgements, which have to come in order."""
        data = self._tail + data
        if not self.connected.done():
            if len(data) < len(CONNECTED):
                self._tail = data
                return
            if not data.startswith(CONNECTED):
                self.connected.set_exception(RuntimeError(f"a publisher was answered {data[:4].hex()}"))
                return
            self.connected.set_result(None)
            data = data[len(CONNECTED) :]
        count, rest = divmod(len(data), PUBACK_BYTES)
        if data[: len(data) - rest] != expected_pubacks(self.acknowledged, count):  # [MQTT-4.6.0-2]
            self.fault = "acknowledgements that are not the next ones"
        self.acknowledged += count
        self._tail = data[len(data) - rest :]
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note if this comes before the end."""
        if not self.finished:
            self.fault = self.fault or "the broker closed the connection"

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        count = BLOCK_MESSAGES
        if self._load.qos:
            count = min(count, QOS1_WINDOW - (self.sent - self.acknowledged))
        if self._paused or self.fault or count <= 0 or time.monotonic() >= self._end:
            return
        self._transport.write(self._layout.sent(self._number, self.sent, count))
        self.sent += count
        self._schedule()


async def publish_all(load: Load) -> None:
    """Be all publishers, and print what each has sent."""
    loop, layout = asyncio.get_running_loop(), load.format()
    publishers: list[Publisher] = []
    for number in range(load.publishers):
        publisher = Publisher(load, number, layout)
        await loop.create_connection(lambda publisher=publisher: publisher, load.host, load.port)
        await asyncio.wait_for(publisher.connected, START_SECONDS)
        publishers.append(publisher)
    end = time.monotonic() + load.seconds
    for publisher in publishers:
        publisher.start(end)
    await asyncio.sleep(load.seconds)
    while not all(publisher.finished for publisher in publishers) and time.monotonic() < end + DRAIN_SECONDS:  # noqa: ASYNC110 - transports have no event for it
        await asyncio.sleep(0.02)
    seconds = time.monotonic() - end + load.seconds
    faults = {publisher.fault for publisher in publishers} - {""}
    if not all(publisher.finished for publisher in publishers):
        faults.add("a publisher could not hand over what it had begun")
    sent = [publisher.sent for publisher in publishers]
    print(json.dumps({"sent": sent, "seconds": seconds, "faults": sorted(faults)}), flush=True)
    for publisher in publishers:
        publisher.leave()
    await asyncio.sleep(0.1)


# -- the judge


@dataclass(slots=True)
class Outcome:
    """What came of one run."""

    load: Load
    sent: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: list[tuple[float, int]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    dropped: dict[str, int] | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages per second that were published."""
        return self.sent / self.seconds if self.seconds else 0.0

    @property
    def delivery_rate(self) -> float:
        """Messages per second that the healthy subscribers got, all together."""
        return sum(row.received for row in self.seen) / self.seconds if self.seconds else 0.0

    @property
    def peak(self) -> int:
        """The most memory that the broker was seen to have, in bytes."""
        return max((size for _, size in self.memory), default=0)


@contextmanager
def _role(role: str, load: Load) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--role", role, "--load", json.dumps(asdict(load))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(START_SECONDS)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Watch:
    """Sample the broker's memory while waiting for a line of another process."""

    def __init__(self, target: Endpoint, report: bool) -> None:
        self.memory: list[tuple[float, int]] = []
        self._process = psutil.Process(target.pid)
        self._begin = time.monotonic()
        self._report = report
        self._next_report = 0.0

    def await_line(self, process: subprocess.Popen[str], seconds: float) -> Any:
        """Return the JSON that a process prints next; RuntimeError if it does not in so many seconds."""
        deadline = time.monotonic() + seconds
        line = asyncio.run(self._read(process, deadline))
        if not line:
            raise RuntimeError("a process of the load ended or did not answer in time")
        return json.loads(line)

    async def _read(self, process: subprocess.Popen[str], deadline: float) -> str:
        if process.stdout is None:
            return ""
        reading = asyncio.ensure_future(asyncio.to_thread(process.stdout.readline))
        while time.monotonic() < deadline:
            self.sample()
            done, _ = await asyncio.wait([reading], timeout=0.25)
            if done:
                return reading.result()
        process.kill()  # ends the thread's wait
        await reading
        return ""

    def sample(self) -> None:
        """Read the memory now, and print it now and then."""
        elapsed = time.monotonic() - self._begin
        size = self._process.memory_info().rss
        self.memory.append((elapsed, size))
        if self._report and elapsed >= self._next_report:
            print(f"   {elapsed:6.1f} s   RSS {size / 1_048_576:7.1f} MiB", flush=True)
            self._next_report += 5.0


def run_load(target: Endpoint, load: Load, *, report: bool) -> Outcome:
    """Put one load on a broker and collect what the processes report."""
    outcome = Outcome(load)
    before = _drops(target)
    with _role("subscribers", load) as subscribers:
        watch = Watch(target, report)
        watch.await_line(subscribers, START_SECONDS * 2)
        cpu = cpu_seconds(target.pid)
        with _role("publishers", load) as publishers:
            published = watch.await_line(publishers, load.seconds + DRAIN_SECONDS + START_SECONDS)
        outcome.sent, outcome.seconds = sum(published["sent"]), published["seconds"]
        outcome.faults += published["faults"]
        if subscribers.stdin is None:
            raise RuntimeError("the subscribers cannot be told the totals")
        subscribers.stdin.write(json.dumps(published["sent"]) + "\n")
        subscribers.stdin.flush()
        outcome.seen = [Seen(**row) for row in watch.await_line(subscribers, DRAIN_SECONDS + load.seconds)]
        outcome.cpu_seconds = cpu_seconds(target.pid) - cpu
        after = _drops(target)
        outcome.memory = watch.memory
    if before is not None and after is not None:
        outcome.dropped = {name: count - before.get(name, 0) for name, count in after.items()}
    return outcome


def _drops(target: Endpoint) -> dict[str, int] | None:
    """Ask the broker how many messages it has dropped so far; None if it cannot say."""
    request = urllib.request.Request(f"{target.api}/api/v5/metrics?aggregate=true")
    key = base64.b64encode(f"{target.api_key}:{target.api_secret}".encode()).decode()
    request.add_header("Authorization", f"Basic {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            numbers = json.loads(answer.read())
    except (OSError, ValueError):
        return None
    return {name: count for name, count in numbers.items() if name.startswith("delivery.dropped")}


def judge(outcome: Outcome, control: Outcome, max_memory: int, min_share: float) -> list[str]:
    """Print one run and return what is wrong with it."""
    seen, load = outcome.seen, outcome.load
    published = f"{outcome.sent:,} messages in {outcome.seconds:.1f} s = {outcome.rate:,.0f} per second"
    print(f"   published   {published}")
    print(f"   delivered   {outcome.delivery_rate:,.0f} per second to the healthy ones")
    print(f"   broker      {outcome.cpu_seconds:.1f} CPU-s, RSS {_memory_line(outcome)}")
    share = outcome.delivery_rate / control.delivery_rate if control.delivery_rate else 0.0
    print(
        f"   compared    {control.rate:,.0f} published and {control.delivery_rate:,.0f} delivered per second"
        f" without the ones that never read; share kept {share:.2f}"
    )
    if outcome.dropped is None:
        print("   dropped     unknown: the broker has no metrics")
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in outcome.dropped.items() if count)
        print(f"   dropped     {counts or 'nothing'} (owed to those that never read: {outcome.sent * load.silent:,})")
    for row in [row for row in seen if row.spoiled][:10]:
        print(
            f"   {row.subscriber:<11} received {row.received:,}, lost {row.lost:,}, out of order {row.out_of_order:,},"
            f" duplicates {row.duplicates:,}, altered {row.altered:,}{', CLOSED by the broker' if row.closed else ''}"
        )
    spoiled = sum(row.spoiled for row in seen)
    lost = sum(row.lost for row in seen)
    print(f"   healthy     {len(seen)} subscribers, {spoiled} of them spoiled, {lost:,} messages lost", flush=True)
    wrong = list(outcome.faults)
    if not outcome.sent or len(seen) != load.healthy:
        wrong.append("nothing was published, or not everybody reported")
    if spoiled:
        wrong.append(f"{spoiled} healthy subscribers lost messages or got wrong ones")
    if outcome.peak > max_memory:
        wrong.append(f"the broker grew to {outcome.peak / 1_048_576:.0f} MiB")
    if share < min_share:
        wrong.append(f"the subscribers that never read left {share:.2f} of the rate, less than {min_share:.2f}")
    return wrong


def _memory_line(outcome: Outcome) -> str:
    rows = outcome.memory
    quarters = [rows[min(len(rows) - 1, len(rows) * n // 4)][1] for n in range(5)]
    return (
        " -> ".join(f"{size / 1_048_576:.0f}" for size in quarters) + f" MiB, peak {outcome.peak / 1_048_576:.0f} MiB"
    )


def soak(qos: int, options: argparse.Namespace) -> list[str]:
    """Run a fresh broker with and without silent subscribers, and return what is wrong."""
    broker = "wardenmq-asyncio" if options.no_uvloop or unavailable("wardenmq") else "wardenmq"
    healthy = options.subscribers - options.silent
    print(
        f"QoS {qos}: {healthy} subscribers read, {options.silent} never do, {options.publishers} publishers at full"
        f" speed for {options.seconds:g} s ({broker})",
        flush=True,
    )
    with (
        tree_environment(options.tree) as environment,
        running(broker, bounded=True, environment=environment) as target,
    ):
        where = (target.host, target.port, target.username, target.password)
        size = (options.publishers, options.payload)
        control = Load(*where, f"control{qos}", qos, max(2.0, min(10.0, options.seconds / 4)), healthy, 0, *size)
        load = Load(*where, f"soak{qos}", qos, options.seconds, healthy, options.silent, *size)
        alone = run_load(target, control, report=False)
        wrong = [f"without silent subscribers: {fault}" for fault in alone.faults]
        spoiled = sum(row.spoiled for row in alone.seen)
        if spoiled:
            lost = sum(row.lost for row in alone.seen)
            wrong.append(f"even without silent ones {spoiled} subscribers were spoiled, {lost:,} messages lost")
        wrong += judge(run_load(target, load, report=True), alone, options.max_rss * 1_048_576, options.min_share)
    return wrong


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Judge what subscribers that never read cost the others.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to publish, for each QoS [60]")
    parser.add_argument("--qos", type=int, choices=(0, 1), help="only this one [both]")
    parser.add_argument("--subscribers", type=int, default=100, help="all subscribers [100]")
    parser.add_argument("--silent", type=int, default=5, help="those of them that never read [5]")
    parser.add_argument("--publishers", type=int, default=4, help="[4]")
    parser.add_argument("--payload", type=int, default=64, help="bytes [64]")
    parser.add_argument("--max-rss", type=int, default=600, metavar="MIB", help="memory that the broker may use [600]")
    parser.add_argument(
        "--min-share", type=float, default=0.5, help="of the rate without silent ones, to be kept [0.5]"
    )
    parser.add_argument("--no-uvloop", action="store_true", help="run the broker on asyncio's own loop")
    parser.add_argument("--tree", type=Path, metavar="DIR", help="run the broker of another source tree")
    parser.add_argument("--role", choices=("subscribers", "publishers"), help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        work = subscribe_all if options.role == "subscribers" else publish_all
        asyncio.run(work(Load(**json.loads(options.load))))
        return 0
    if not 0 <= options.silent < options.subscribers or not 1 <= options.publishers <= 100 or options.seconds <= 0:
        parser.error("--silent must be less than --subscribers, --publishers between 1 and 100, --seconds positive")
    wrong: list[str] = []
    for qos in (0, 1) if options.qos is None else (options.qos,):
        wrong += [f"QoS {qos}: {fault}" for fault in soak(qos, options)]
    for fault in wrong:
        print(f"NOT REACHED  {fault}")
    if not wrong:
        print("ok: nothing was lost, and the memory stayed in bounds")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
