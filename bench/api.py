"""The management API under load: what a listing and a publish cost, and what MQTT traffic feels of 50 calls a second.

    python bench/api.py [--quick]

One server with its default bounds and 10,000 sessions, most of them idle connections. Every figure is the median of
turns; the broker's own CPU time is printed beside the time by the clock on the wall.
"""

import argparse
import json
import multiprocessing
import socket
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from statistics import median

from brokers import Endpoint, apart, cpu_seconds, running
from clients import connect, subscribe
from crowd import allow_open_files, close_all, no_collections, open_clients
from round_trips import RoundTrips, own_topic, percentile

SESSIONS = 10_000
TALKING = 200
"""Sessions that publish to themselves while the API is called."""
MESSAGE_RATE = 2_000
CALL_RATE = 50
OPEN_FILES = 16_384
LISTING_MS = 20.0
PUBLISH_RATE = 3_000.0
P99_GROWTH_MS = 5.0
MIXED = (
    "/clients?limit=100",
    "/clients?limit=100&like_clientid=99",
    "/clients?limit=1000&page=3",
    "/clients?conn_state=disconnected",
    "/subscriptions?limit=100",
    "/subscriptions?match_topic=own/%23&limit=100",
    "/topics?limit=100&page=5",
    "/nodes",
    "/stats",
    "/metrics",
    "/clients/crowd-77",
    "/alarms",
)
"""What is called in turn while MQTT traffic is measured."""


class Http:
    """One keep-alive connection, one request after the other, with as little work as there can be."""

    def __init__(self, endpoint: Endpoint) -> None:
        host, _, port = endpoint.api.removeprefix("http://").rstrip("/").rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        token = b64encode(f"{endpoint.api_key}:{endpoint.api_secret}".encode()).decode()
        self._head = f"Host: {host}:{port}\r\nAuthorization: Basic {token}\r\n"
        self._rest = b""

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Build a request."""
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} /api/v5{path} HTTP/1.1\r\n{self._head}{more}\r\n".encode() + body

    def call(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its whole answer: status and body."""
        self._socket.sendall(request)
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        head = data[:end].lower()
        found = head.find(b"content-length:")
        length = 0 if found < 0 else int(head[found + 15 :].split(b"\r\n", 1)[0])
        parts, size = [data[end + 4 :]], len(data) - end - 4
        while size < length:
            parts.append(self._receive())
            size += len(parts[-1])
        body = b"".join(parts)
        self._rest = body[length:]
        return int(head[9:12]), body[:length]

    def _receive(self) -> bytes:
        part = self._socket.recv(262_144)
        if not part:
            raise RuntimeError("the server closed the connection")
        return part

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, with what is required of it."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def reached(self) -> bool:
        """Tell whether it is what is required."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        wanted = "" if self.bound is None else f"  {sign} {self.bound:g}: {'reached' if self.reached else 'MISSED'}"
        return f"{self.name:55} {self.value:10.2f} {self.unit}{wanted}  {self.note}"


def measure_calls(endpoint: Endpoint, http: Http, path: str, turns: int, bound: float | None = None) -> Figure:
    """Call one path again and again: the median of the times by the clock on the wall."""
    request = http.request("GET", path)
    walls: list[float] = []
    size = 0
    with apart(endpoint.pid):
        for _ in range(3):
            http.call(request)
        cpu = cpu_seconds(endpoint.pid)
        for _ in range(turns):
            begin = time.perf_counter()
            status, body = http.call(request)
            walls.append(time.perf_counter() - begin)
            size = len(body)
            if status != 200:
                raise RuntimeError(f"{path} was answered with {status}: {body[:200]!r}")
        cpu = cpu_seconds(endpoint.pid) - cpu
    note = f"cpu {cpu / turns * 1_000:.2f} ms, p90 {percentile_of(walls, 0.9) * 1_000:.2f} ms, {size} bytes"
    return Figure(f"GET {path}", median(walls) * 1_000, "ms", bound, note=note)


def percentile_of(values: Sequence[float], share: float) -> float:
    """Return the value that a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure_publishes(
    endpoint: Endpoint, http: Http, name: str, body: dict[str, object], status: int, turns: int, seconds: float
) -> Figure:
    """Publish one message after the other on one connection: the median of the turns' rates."""
    request = http.request("POST", "/publish", json.dumps(body).encode())
    rates: list[float] = []
    costs: list[float] = []
    with apart(endpoint.pid), no_collections():
        for turn in range(turns + 1):
            cpu, begin = cpu_seconds(endpoint.pid), time.perf_counter()
            count, end = 0, begin + seconds
            while time.perf_counter() < end:
                got, answer = http.call(request)
                if got != status:
                    raise RuntimeError(f"a publish was answered with {got}: {answer!r}")
                count += 1
            if turn:  # the first one warms up
                rates.append(count / (time.perf_counter() - begin))
                costs.append((cpu_seconds(endpoint.pid) - cpu) / count)
    note = f"cpu {median(costs) * 1e6:.0f} us each, slowest turn {min(rates):.0f}/s"
    return Figure(f"POST /publish, {name}", median(rates), "/s", PUBLISH_RATE, at_least=True, note=note)


class Drain:
    """Read whatever comes, so that a subscriber holds nobody up, and count it."""

    def __init__(self, sock: socket.socket) -> None:
        self.received = 0
        self._socket = sock
        self._socket.settimeout(None)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while part := self._socket.recv(262_144):
                self.received += len(part)
        except OSError:
            return


class Caller:
    """Call the API at a steady rate, one request after the other, in a process of its own.

    In a thread it would hold the interpreter while the messages of the load are due.
    """

    def __init__(self, endpoint: Endpoint, rate: float) -> None:
        context = multiprocessing.get_context("fork")
        self._stop = context.Event()
        self._said, said = context.Pipe(duplex=False)
        self._process = context.Process(target=_call_steadily, args=(endpoint, rate, self._stop, said), daemon=True)
        self._process.start()
        said.close()

    def stop(self) -> tuple[int, int]:
        """End it, and give the calls that were answered and those that took longer than there was time between two."""
        self._stop.set()
        try:
            calls, slow, fault = self._said.recv()
        except EOFError:
            calls, slow, fault = 0, 0, "the process ended"
        self._process.join()
        if fault:
            raise RuntimeError(f"a call failed: {fault}")
        return calls, slow


def _call_steadily(endpoint: Endpoint, rate: float, stop: Event, said: Connection) -> None:
    calls = slow = 0
    fault = ""
    try:
        http = Http(endpoint)
        requests = [http.request("GET", path) for path in MIXED]
        due = time.monotonic()
        while not stop.is_set():
            began = time.monotonic()
            status, body = http.call(requests[calls % len(requests)])
            if status != 200:
                raise RuntimeError(f"{MIXED[calls % len(MIXED)]}: {status} {body[:200]!r}")
            calls += 1
            slow += time.monotonic() - began > 1 / rate
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
    except (OSError, RuntimeError) as error:
        fault = str(error) or type(error).__name__
    said.send((calls, slow, fault))


def measure_traffic(endpoint: Endpoint, trips: RoundTrips, turns: int, seconds: float) -> list[Figure]:
    """Send paced messages with and without calls to the API, by turns, and compare the p99 of their times."""
    alone: list[float] = []
    beside: list[float] = []
    medians: dict[bool, list[float]] = {False: [], True: []}
    calls = slow = 0
    with apart(endpoint.pid):
        trips.paced(seconds, MESSAGE_RATE)
        for turn in range(2 * turns):
            called = turn % 2 == 1
            trips.clear()
            caller = Caller(endpoint, CALL_RATE) if called else None
            trips.paced(seconds, MESSAGE_RATE)
            if caller is not None:
                answered, late = caller.stop()
                calls, slow = calls + answered, slow + late
            p99 = percentile(trips.nanoseconds, 0.99) / 1e6
            medians[called].append(percentile(trips.nanoseconds, 0.5) / 1e6)
            (beside if called else alone).append(p99)
    if trips.lost or trips.altered:
        raise RuntimeError(f"messages were lost or altered: {trips.lost}")
    growth = median(b - a for a, b in zip(alone, beside, strict=True))
    return [
        Figure("MQTT p99 alone", median(alone), "ms", note=f"median {median(medians[False]):.2f} ms"),
        Figure(
            f"MQTT p99 beside {CALL_RATE} calls a second",
            median(beside),
            "ms",
            note=f"median {median(medians[True]):.2f} ms, {calls / (turns * seconds):.1f} calls/s, {slow} slow",
        ),
        Figure("growth of the p99", growth, "ms", P99_GROWTH_MS, note=f"worst turn {max(beside):.1f} ms"),
    ]


def main() -> int:
    """Measure everything; 1 where a number is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    parser.add_argument("--only", choices=("listings", "publish", "traffic"), help="measure this part alone")
    arguments = parser.parse_args()
    turns, seconds = (3, 1.0) if arguments.quick else (9, 3.0)
    allow_open_files(OPEN_FILES)
    figures: list[Figure] = []

    def show(figure: Figure) -> None:
        figures.append(figure)
        print(figure, flush=True)

    parts: dict[str, Callable[[Endpoint, ExitStack], None]] = {
        "publish": lambda endpoint, stack: _publish(endpoint, stack, turns, seconds, show),
        "listings": lambda endpoint, stack: _listings(endpoint, stack, turns, show),
        "traffic": lambda endpoint, stack: _traffic(endpoint, stack, turns, seconds, show),
    }
    with running("wardenmq", bounded=True) as endpoint, ExitStack() as stack:
        idle = open_clients(endpoint, SESSIONS - TALKING, filters=lambda number: b"idle/%d" % number)
        stack.callback(close_all, idle)
        for name, part in parts.items():
            if arguments.only in (None, name):
                part(endpoint, stack)
    return 0 if all(figure.reached for figure in figures) else 1


def _publish(endpoint: Endpoint, stack: ExitStack, turns: int, seconds: float, show: Callable[[Figure], None]) -> None:
    http = Http(endpoint)
    stack.callback(http.close)
    message: dict[str, object] = {"topic": "bench/api", "payload": "x" * 64}
    show(measure_publishes(endpoint, http, "nobody subscribed", message, 202, turns, seconds))
    subscriber = connect(endpoint, "api-subscriber")
    stack.callback(subscriber.close)
    subscribe(subscriber, b"bench/#")
    Drain(subscriber)
    show(measure_publishes(endpoint, http, "one subscriber", message, 200, turns, seconds))


def _listings(endpoint: Endpoint, stack: ExitStack, turns: int, show: Callable[[Figure], None]) -> None:
    http = Http(endpoint)
    stack.callback(http.close)
    show(measure_calls(endpoint, http, "/clients?limit=100", 10 * turns, LISTING_MS))
    for path in (*MIXED[1:], "/clients?limit=10000"):
        show(measure_calls(endpoint, http, path, turns))


def _traffic(endpoint: Endpoint, stack: ExitStack, turns: int, seconds: float, show: Callable[[Figure], None]) -> None:
    talking = open_clients(endpoint, TALKING, "talking", own_topic)
    stack.callback(close_all, talking)
    trips = RoundTrips(talking)
    stack.callback(trips.close)
    for figure in measure_traffic(endpoint, trips, turns, seconds):
        show(figure)


if __name__ == "__main__":
    sys.exit(main())
