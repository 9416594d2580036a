"""Compare wardenmq with stock amqtt: one publisher to one subscriber, QoS 0, 64 bytes, credentials and ACL on.

Run it as `python bench/quick.py`. What is compared is messages per second of the broker process's own CPU time (user
and system, all threads). Exit status 1 if wardenmq does not reach twenty times amqtt's figure, or if messages were
lost or altered. Every broker is a fresh process, the brokers take turns, and each run is bounded in time.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from wire import CONNECTED, connect_packet, packet, subscribe_packet, subscribed, text

REQUIRED_RATIO = 20.0
PAYLOAD_BYTES = 64
FILTER = b"bench/+"
CHUNK_MESSAGES = 2_000
WINDOW_BYTES = 262_144
"""How far the publisher may be ahead of the subscriber, so that no broker has a reason to drop."""
WARM_UP_SECONDS = 0.3
START_SECONDS = 20.0
STALL_SECONDS = 5.0
"""A run in which nothing arrives for so long is over; what is missing is lost."""


@dataclass(frozen=True, slots=True)
class Target:
    """A broker that runs: where it listens, how to log in, whose CPU time counts."""

    host: str
    port: int
    username: str
    password: str
    pid: int
    api: str = ""
    api_key: str = ""
    api_secret: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `messages` were delivered; `lost` of those sent were not; `altered` is False when the bytes agree."""

    messages: int
    cpu_seconds: float
    wall_seconds: float
    lost: int
    altered: bool

    @property
    def rate(self) -> float:
        """Messages per second of the broker's CPU time."""
        return self.messages / self.cpu_seconds


# -- the load


def build_chunk(topics: int) -> bytes:
    """Build a run of PUBLISH packets whose payloads all differ, the topics taking turns."""
    heads = [text(b"bench/%05d" % n) for n in range(topics)]
    return b"".join(packet(0x30, heads[n % topics] + b"%0*d" % (PAYLOAD_BYTES, n)) for n in range(CHUNK_MESSAGES))


def receive(sock: socket.socket, expected: bytes) -> None:
    """Wait for an answer; RuntimeError if it is another one."""
    data = b""
    while len(data) < len(expected):
        part = sock.recv(len(expected) - len(data))
        if not part:
            raise RuntimeError("the broker closed the connection")
        data += part
    if data != expected:
        raise RuntimeError(f"the broker answered {data.hex()}, not {expected.hex()}")


def connect(target: Target, client_id: str) -> socket.socket:
    """Open a clean session."""
    sock = socket.create_connection((target.host, target.port), timeout=START_SECONDS)
    sock.sendall(connect_packet(client_id, target.username, target.password))
    receive(sock, CONNECTED)
    return sock


def subscribe(sock: socket.socket, topic_filter: bytes, qos: int = 0) -> None:
    """Subscribe and be granted the QoS."""
    sock.sendall(subscribe_packet(topic_filter, qos))
    receive(sock, subscribed(qos))


class Load:
    """Send chunks on one socket and count what comes out of the other; whole chunks only, so that sums can agree."""

    def __init__(self, publisher: socket.socket, subscriber: socket.socket, chunk: bytes) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        self._chunk = memoryview(chunk)
        self._buffer = memoryview(bytearray(1_048_576))
        self.sent = self.received = self._sent_sum = self._received_sum = 0
        publisher.setblocking(False)
        subscriber.setblocking(False)

    @property
    def altered(self) -> bool:
        """Tell whether what arrived differs from what was sent."""
        return self._sent_sum != self._received_sum

    def run(self, seconds: float) -> None:
        """Send for so long, finish the chunk and wait for what is still on its way."""
        now = time.monotonic()
        end, last_arrival, offset = now + seconds, now, 0
        while True:
            now = time.monotonic()
            sending = offset > 0 or now < end
            if not sending and self.received >= self.sent:
                return
            if now - last_arrival > STALL_SECONDS:
                return
            may_send = sending and self.sent + offset - self.received < WINDOW_BYTES
            readable, writable, _ = select.select([self._subscriber], [self._publisher] if may_send else [], [], 0.1)
            if writable:
                offset = self._send(offset)
            if readable:
                self._take()
                last_arrival = now

    def _send(self, offset: int) -> int:
        room = WINDOW_BYTES - (self.sent + offset - self.received)
        offset += self._publisher.send(self._chunk[offset : offset + max(room, 1)])
        if offset < len(self._chunk):
            return offset
        self.sent += offset
        self._sent_sum = zlib.crc32(self._chunk, self._sent_sum)
        return 0

    def _take(self) -> None:
        count = self._subscriber.recv_into(self._buffer)
        if not count:
            raise RuntimeError("the broker closed the subscriber's connection")
        self.received += count
        self._received_sum = zlib.crc32(self._buffer[:count], self._received_sum)


def measure(target: Target, chunk: bytes, seconds: float) -> Result:
    """Load a broker for that long and read its CPU time before and after."""
    process = psutil.Process(target.pid)
    size = len(chunk) // CHUNK_MESSAGES
    with connect(target, "bench-subscriber") as subscriber, connect(target, "bench-publisher") as publisher:
        subscribe(subscriber, FILTER)
        load = Load(publisher, subscriber, chunk)
        load.run(WARM_UP_SECONDS)
        sent, received = load.sent, load.received
        cpu, wall = cpu_seconds(process), time.monotonic()
        load.run(seconds)
        cpu, wall = cpu_seconds(process) - cpu, time.monotonic() - wall
        lost = (load.sent - load.received) // size
        delivered = (load.received - received) // size
        if not delivered or sent == load.sent or cpu <= 0:
            raise RuntimeError("the broker delivered nothing")
        return Result(delivered, cpu, wall, lost, load.altered)


def cpu_seconds(process: psutil.Process) -> float:
    """Read the CPU time that a process has used so far, all threads."""
    times = process.cpu_times()
    return times.user + times.system


# -- the brokers


@contextmanager
def _running(command: list[str], ready: str, environment: dict[str, str] | None = None) -> Iterator[tuple[int, str]]:
    """Start a broker of ours, give its process id and the rest of its ready line, and end it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
        try:
            yield process.pid, _await_line(process, ready)
        except Exception:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _await_line(process: subprocess.Popen[bytes], ready: str) -> str:
    stream, text, deadline = process.stdout, b"", time.monotonic() + START_SECONDS
    if stream is None:
        raise RuntimeError("the broker has no standard output")
    while time.monotonic() < deadline:
        if not select.select([stream], [], [], 0.1)[0]:
            continue
        part = stream.read1(65_536)  # type: ignore[attr-defined]
        if not part:
            break
        text += part
        for line in text.decode(errors="replace").splitlines(keepends=True):
            if line.startswith(ready) and line.endswith("\n"):
                return line[len(ready) :].strip()
    raise RuntimeError(f"{process.args!r} did not become ready")


@contextmanager
def tree_environment(tree: Path | None) -> Iterator[dict[str, str] | None]:
    """Give the environment in which `wardenmq` is the given source tree; None, for our own, without one.

    The root of a tree is the package itself, so a directory in which it has that name goes ahead of all others.
    """
    if tree is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "wardenmq").symlink_to(tree.resolve(), target_is_directory=True)
        environment = {**os.environ, "PYTHONPATH": directory}
        program = "import wardenmq; print(wardenmq.__path__[0])"
        found = subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, cwd=directory)
        if Path(found.stdout.decode().strip()).resolve() != tree.resolve():
            raise RuntimeError(f"{tree} is no source tree of wardenmq")
        yield environment


@contextmanager
def running_wardenmq(*, uvloop: bool, environment: dict[str, str] | None = None) -> Iterator[Target]:
    """Run wardenmq as users do, with the login and the rule of its first start.

    An environment takes the place of this process's own.
    """
    # The server takes uvloop where it can be imported; the plain loop is had by making that impossible.
    hide = "" if uvloop else "sys.modules['uvloop'] = None; "
    program = f"import sys; {hide}sys.argv[0] = 'wardenmq'; from wardenmq.cli import main; main()"
    start = ["-m", "wardenmq"] if uvloop else ["-c", program]
    with tempfile.TemporaryDirectory() as data:
        options = ["serve", "--data-dir", data, "--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--api", "127.0.0.1:0"]
        command = [sys.executable, *start, *options, "--log-level", "warning"]
        with _running(command, "wardenmq ready ", environment) as (pid, line):
            where = json.loads(line)
            host, _, port = where["mqtt"].rpartition(":")
            first = json.loads((Path(data) / "initial-credentials.json").read_text(encoding="utf-8"))
            api = where["api"], first["api_key"], first["api_secret"]
            yield Target(host, int(port), first["mqtt_username"], first["mqtt_password"], pid, *api)


@contextmanager
def running_amqtt() -> Iterator[Target]:
    """Run stock amqtt with its own password file and topic ACL plugins."""
    with (
        tempfile.TemporaryDirectory() as data,
        _running([sys.executable, __file__, "--serve-amqtt", data], "amqtt ready ") as (pid, line),
    ):
        yield Target("127.0.0.1", int(line), "bench", "bench-password", pid)


async def _serve_amqtt(data: Path) -> None:
    from amqtt.broker import Broker
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    passwords = data / "passwords"
    passwords.write_text(f"bench:{PasswordHash((Argon2Hasher(),)).hash('bench-password')}\n", encoding="utf-8")
    rules = {"bench": ["#"]}
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
            "plugins": {
                "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)},
                "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {"publish_acl": rules, "acl": rules},
            },
        }
    )
    await broker.start()
    server = broker._servers["default"].instance  # amqtt has no public way to ask for the bound port
    print(f"amqtt ready {next(iter(server.sockets)).getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


# -- the comparison


def compare(rounds: int, seconds: float, topics: int) -> int:
    """Run the brokers in turn, print each result and the medians; give the exit status."""
    chunk = build_chunk(topics)
    contenders = {"wardenmq (asyncio)": lambda: running_wardenmq(uvloop=False), "amqtt": running_amqtt}
    if importlib.util.find_spec("uvloop") is not None:
        contenders = {"wardenmq (uvloop)": lambda: running_wardenmq(uvloop=True), **contenders}
    results: dict[str, list[Result]] = {name: [] for name in contenders}
    for turn in range(1, rounds + 1):
        for name, running in contenders.items():
            with running() as target:
                result = measure(target, chunk, seconds)
            results[name].append(result)
            print(
                f"{turn}  {name:<18} {result.rate:>12,.0f} msg/CPU-s  {result.messages:>10,} messages"
                f"  {result.cpu_seconds:5.2f} CPU-s  {result.wall_seconds:5.2f} s  {result.lost} lost"
                f"{'  ALTERED' if result.altered else ''}",
                flush=True,
            )
    return _judge(results)


def _judge(results: dict[str, list[Result]]) -> int:
    medians = {name: statistics.median(r.rate for r in runs) for name, runs in results.items()}
    print("\nmedian messages per CPU second of the broker process")
    for name, rate in medians.items():
        print(f"   {name:<18} {rate:>12,.0f}  ({rate / medians['amqtt']:.1f} times amqtt)")
    ratio = min(rate for name, rate in medians.items() if name != "amqtt") / medians["amqtt"]
    spoiled = [n for n, runs in results.items() if n != "amqtt" and any(r.lost or r.altered for r in runs)]
    if spoiled:
        print(f"messages were lost or altered by {', '.join(spoiled)}")
    print(f"ratio {ratio:.1f}, required {REQUIRED_RATIO:.0f}: {'ok' if ratio >= REQUIRED_RATIO else 'NOT REACHED'}")
    return int(ratio < REQUIRED_RATIO or bool(spoiled))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Compare wardenmq with stock amqtt.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each broker [3]")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run [2]")
    parser.add_argument("--topics", type=int, default=1, help="topics that the publisher uses in turn [1]")
    parser.add_argument("--serve-amqtt", metavar="DIR", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_amqtt is not None:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve_amqtt(options.serve_amqtt))
        return 0
    if options.rounds < 1 or options.seconds <= 0 or not 1 <= options.topics <= CHUNK_MESSAGES:
        parser.error(f"--rounds and --seconds must be positive, --topics between 1 and {CHUNK_MESSAGES}")
    return compare(options.rounds, options.seconds, options.topics)


if __name__ == "__main__":
    sys.exit(main())
