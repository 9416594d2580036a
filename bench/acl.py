"""Measure access control: what a check costs, how a large store loads and is written, and storms of writes and logins.

    python bench/acl.py [PART ...]

The parts are cached, uncached, store, storm and reconnect; without one, all. Medians are printed beside what is
required of them, and the exit status is 1 if something is not reached. The machine should have nothing else to do.
"""

import argparse
import json
import random
import resource
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from acl_store import PASSWORD, WATCHERS_FROM, build_store, user
from brokers import cpu_seconds
from clients import receive
from wardenmq.broker.access import Identity
from wardenmq.broker.access_control import AccessControl
from wardenmq.plugins.topic_acl import TopicAclPlugin
from wardenmq.store.acl.access import ClientAccess, Layer, build_access
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.policy import Policy
from wardenmq.store.file_names import DATABASE_NAME
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Role, RoleAcl, Rule
from wire import CONNECTED, DISCONNECT, connect_packet, packet, text

FACTS = ClientFacts("device-1", "alice", "10.0.0.1", "tcp:default")
DEFAULTS = {PUBLISH: False, RECEIVE: True, SUBSCRIBE: False}

MAX_CACHED_EXTRA_US = 0.3
MAX_UNCACHED_US = 10.0
MAX_GROWTH = 1.5
"""How much more a check may cost at 10,000 rules than at 100."""
MAX_LOAD_SECONDS = 5.0
MAX_RSS_MB = 400.0
MAX_WRITE_MS = 20.0
MAX_STALL_MS = 50.0
MAX_RECONNECT_MS = 2.0
PRINCIPALS = RULES = 100_000
UNCACHED_TOPICS = 2_000
STORM_CLIENTS = 100
STORM_WATCHERS = 20
STORM_WRITES = 1_000
RECONNECTING = 1_000
FIRST_AT_ONCE = 50
NOT_AUTHORIZED = 0x87


@dataclass
class Report:
    """Print what was measured and remember whether it was enough."""

    failed: list[str] = field(default_factory=list)

    def line(self, what: str, value: float, unit: str, limit: float | None = None, note: str = "") -> None:
        """Print a figure; above its limit it is a failure."""
        required = "" if limit is None else f"  (at most {limit:g})"
        spoiled = limit is not None and value > limit
        if spoiled:
            self.failed.append(what)
        print(f"  {what:<58} {value:>10.3f} {unit:<4}{required}{'  NOT REACHED' if spoiled else ''}{note}", flush=True)


def microseconds(loop: Callable[[], None], calls: int) -> float:
    """Time a loop once, in microseconds of processor time a call."""
    begun = time.thread_time()
    loop()
    return (time.thread_time() - begun) / calls * 1e6


# -- one check


class StandIn:
    """Stand in for a plugin's context and for the directory: what a check asks of them, and nothing else."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.generation = 1
        self._access = build_access(1, layers, FACTS, DEFAULTS, confined=False)

    def access(self, *_: object, **__: object) -> ClientAccess:
        """Return the same access for whoever asks."""
        return self._access


def plugin(layers: Sequence[Layer]) -> TopicAclPlugin:
    """Make the server's ACL plugin without a directory behind it."""
    made = TopicAclPlugin.__new__(TopicAclPlugin)
    made._directory = StandIn(layers)  # type: ignore[assignment]
    return made


def rules_of_many_kinds(count: int) -> list[Rule]:
    """Give rules with words, wildcards and placeholders, of which the topics used below meet several."""
    kinds = (
        "site/{}/+/temperature",
        "site/{}/${{clientid}}/#",
        "+/{}/x/#",
        "eq site/{}/literal",
        "u/${{username}}/{}/#",
    )
    return [
        Rule(kinds[number % len(kinds)].format(number // len(kinds)), "allow" if number % 3 else "deny", "all")
        for number in range(count)
    ]


def layers_of(count: int) -> list[Layer]:
    """Spread rules over four layers, all of which are asked about a topic that none knows."""
    rules = rules_of_many_kinds(count)
    quarter = max(count // 4, 1)
    acls = tuple(
        RoleAcl(acltype, rule.topic.removeprefix("eq ").replace("${username}", "%u"), rule.permission == "allow")
        for rule in rules[2 * quarter : 3 * quarter]
        for acltype in ("publishClientSend", "subscribePattern")
    )
    return [
        Layer("clientid", FACTS.client_id, Policy.of_rules(rules[:quarter])),
        Layer("username", "alice", Policy.of_rules(rules[quarter : 2 * quarter])),
        Layer("role", "role", Policy.of_role(Role("role", "role", acls=acls))),
        Layer("all", "", Policy.of_rules(rules[3 * quarter :])),
    ]


def fresh(topics: Sequence[str], count: int) -> list[str]:
    """Give topics in turn, each a new object whose hash nobody knows, as if decoded from a packet."""
    return [topics[number % len(topics)].encode().decode() for number in range(count)]


def measure_cached(report: Report) -> None:
    """Compare a check whose answer is known with the same call where no plugin is loaded."""
    print("a check whose answer is known")
    layers = layers_of(10_000)
    client = Identity(FACTS.client_id, FACTS.username, "principal", FACTS.peer_host)
    with_plugin, without = AccessControl(), AccessControl()
    with_plugin.load([], [plugin(layers)])
    without.load([], [])
    access = build_access(1, layers, FACTS, DEFAULTS, confined=False)
    decide, count = access.decide, 20_000
    topics = [f"site/{number}/{FACTS.client_id}/temperature" for number in range(100)]

    def nothing(*_: object) -> None: ...

    def through(control: AccessControl, asked: list[str]) -> Callable[[], None]:
        authorize = control.authorize

        def loop() -> None:
            for topic in asked:
                authorize(client, PUBLISH, topic, 0, False)

        return loop

    def alone(asked: list[str], check: Callable[..., object]) -> Callable[[], None]:
        def loop() -> None:
            for topic in asked:
                check(PUBLISH, topic, 0, False)

        return loop

    for what, asked in (("one topic", [topics[0]] * count), ("100 topics, new text objects", None)):
        rounds = 15
        taken: list[list[float]] = []
        for _ in range(rounds):
            again = [asked or fresh(topics, count) for _ in range(4)]
            loops = (
                through(without, again[0]),
                through(with_plugin, again[1]),
                alone(again[2], nothing),
                alone(again[3], decide),
            )
            taken.append([microseconds(loop, count) for loop in loops])
        base, checked, empty, decided = (statistics.median(column) for column in zip(*taken, strict=True))
        report.line(f"{what}: AccessControl.authorize without a plugin", base, "us")
        report.line(f"{what}: with the ACL plugin", checked, "us")
        report.line(f"{what}: more than no check", checked - base, "us", MAX_CACHED_EXTRA_US)
        report.line(f"{what}: ClientAccess.decide more than an empty call", decided - empty, "us")


def measure_uncached(report: Report) -> None:
    """Ask about topics that were never asked before, over numbers of rules and over depths."""
    print("a check whose answer is not known, publish and subscribe by turns")
    numbers = (0, 100, 1_000, 10_000)
    of_device = [f"site/{n % 500}/{FACTS.client_id}/v{n}/temperature" for n in range(UNCACHED_TOPICS)]
    costs = uncached([(layers_of(rules), of_device) for rules in numbers])
    for rules, cost in zip(numbers, costs, strict=True):
        report.line(f"{rules:>6,} rules in four layers, 5 levels", cost, "us", MAX_UNCACHED_US)
    report.line("10,000 rules against 100", costs[3] / costs[1], "", MAX_GROWTH)
    depths = (2, 4, 8, 16, 32)
    by_depth = uncached([deep_layer(depth) for depth in depths])
    for depth, cost in zip(depths, by_depth, strict=True):
        report.line(f"10,000 rules in one layer, {depth:>2} levels", cost, "us")


def deep_layer(depth: int) -> tuple[list[Layer], list[str]]:
    """Give 10,000 rules of which four go along with the topics to their last level, and the topics."""
    words = [f"b{level}" for level in range(depth - 2)]
    rng = random.Random(depth)
    deep = [Rule("/".join(["a", *(rng.choice([word, "+"]) for word in words), "x"]), "allow", "all") for _ in range(4)]
    layers = [Layer("all", "", Policy.of_rules([*rules_of_many_kinds(10_000), *deep]))]
    return layers, ["/".join(["a", *words, str(number)]) for number in range(UNCACHED_TOPICS)]


def uncached(cases: Sequence[tuple[Sequence[Layer], Sequence[str]]]) -> list[float]:
    """Give the median cost, in microseconds, of a check on a topic that is new to the client, cases by turns."""

    def once(layers: Sequence[Layer], topics: Sequence[str]) -> float:
        decide = build_access(1, layers, FACTS, DEFAULTS, confined=False).decide

        def loop() -> None:
            for number, name in enumerate(topics):
                decide(SUBSCRIBE if number & 1 else PUBLISH, name, 0, False)

        return microseconds(loop, len(topics))

    taken = [[once(layers, topics) for layers, topics in cases] for _ in range(15)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


# -- a server process


class ServerProcess:
    """Run `acl_server.py` and give it orders."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        started = self._answer()
        self.seconds: float = started["seconds"]
        self.cpu_seconds: float = started["cpu"]
        self.rss_mb: float = started["rss"] / 1e6
        self.port: int = started["port"]
        self.watched = psutil.Process(started["pid"])

    def begin(self, *order: object) -> None:
        """Give an order; the answer is to be taken later."""
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError("the server process has no standard input")
        print(*order, file=stream, flush=True)

    def end(self) -> dict:  # type: ignore[type-arg]
        """Take the answer."""
        return self._answer()

    def answered(self) -> bool:
        """Tell whether an answer is there."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
            return bool(selector.select(0))

    def _answer(self) -> dict:  # type: ignore[type-arg]
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the server process has ended")
        return json.loads(line)

    def connect(self, client_id: str, username: str, *, version5: bool = False) -> socket.socket:
        """Log in and wait for the answer."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if version5:
            body = text(b"MQTT") + b"\x05\xc2" + struct.pack("!H", 0) + b"\0"
            body += b"".join(text(value.encode()) for value in (client_id, username, PASSWORD))
            sock.sendall(packet(0x10, body))
            head = sock.recv(2, socket.MSG_WAITALL)
            if head[0] != 0x20 or sock.recv(head[1], socket.MSG_WAITALL)[1]:
                raise RuntimeError("the server refused the login")
        else:
            sock.sendall(connect_packet(client_id, username, PASSWORD))
            receive(sock, CONNECTED)
        return sock


@contextmanager
def running(data: Path) -> Iterator[ServerProcess]:
    """Start a server process on a store and end it."""
    command = [sys.executable, str(Path(__file__).with_name("acl_server.py")), str(data)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield ServerProcess(process)
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure_store(report: Report, data: Path) -> None:
    """Open the large store in fresh processes, then write to it."""
    print(f"{PRINCIPALS:,} principals with argon2 passwords and SCRAM keys, {RULES:,} rules")
    seconds: list[float] = []
    processor: list[float] = []
    memory: list[float] = []
    for turn in range(3):
        with running(data) as server:
            seconds.append(server.seconds)
            processor.append(server.cpu_seconds)
            memory.append(server.rss_mb)
            if turn == 2:
                report.line("start of the server", statistics.median(seconds), "s", MAX_LOAD_SECONDS)
                report.line("start of the server, processor time", statistics.median(processor), "s")
                report.line("memory of the whole process", statistics.median(memory), "MB", MAX_RSS_MB)
                server.begin("writes", 100)
                for kind, taken in server.end().items():
                    worst = f"  (slowest {max(taken):.1f})"
                    report.line(f"write: {kind}", statistics.median(taken), "ms", MAX_WRITE_MS, worst)


# -- writes while clients publish and subscribe

Decided = tuple[float, float, bool]
"""When it was asked for, when the answer came, and whether it was allowed."""


@dataclass
class Publisher:
    """Publish at QoS 1, one message after the other, and keep when each was sent, answered, and how."""

    sock: socket.socket
    head: bytes
    """The message without the time at which it is sent."""
    sent_at: float = 0.0
    answers: list[Decided] = field(default_factory=list)

    def send(self) -> None:
        """Send the next one."""
        stamp = b"%032.9f" % time.monotonic()
        self.sent_at = float(stamp)
        self.sock.send(packet(0x32, self.head + stamp))

    def take(self) -> None:
        """Take the answer to the last one, a PUBACK of 4 bytes or, with a reason code, of 5 or 6; send the next."""
        data = self.sock.recv(64)
        if len(data) < 4 or data[0] != 0x40 or len(data) != data[1] + 2:
            raise RuntimeError(f"no PUBACK but {data.hex()}")
        reason = data[4] if len(data) > 4 else 0
        if reason not in (0, 0x10, NOT_AUTHORIZED):
            raise RuntimeError(f"a PUBACK with {reason:#x}")
        self.answers.append((self.sent_at, time.monotonic(), reason != NOT_AUTHORIZED))
        self.send()


@dataclass
class Watcher:
    """Subscribe to a publisher's topics for good, and again and again to a zone; keep what comes and the answers."""

    sock: socket.socket
    zone: bytes
    data: bytes = b""
    asked_at: float = 0.0
    answers: list[Decided] = field(default_factory=list)
    received: dict[float, float] = field(default_factory=dict)
    """When the messages came, by when they were sent."""

    def send(self) -> None:
        """Ask for the zone."""
        self.asked_at = time.monotonic()
        self.sock.send(packet(0x82, b"\x00\x01\x00" + text(self.zone) + b"\x00"))

    def take(self) -> None:
        """Take what is there of SUBACKs and messages, all shorter than 128 bytes; ask again once answered."""
        self.data += self.sock.recv(65_536)
        while len(self.data) >= 2 and len(self.data) >= (end := 2 + self.data[1]):
            taken, self.data = self.data[:end], self.data[end:]
            if taken[0] == 0x30:
                self.received[float(taken[-32:])] = time.monotonic()
            elif taken[0] == 0x90 and taken[-1] in (0, NOT_AUTHORIZED):
                self.answers.append((self.asked_at, time.monotonic(), taken[-1] == 0))
                self.send()
            else:
                raise RuntimeError(f"neither message nor SUBACK but {taken.hex()}")


def measure_storm(report: Report, data: Path) -> None:
    """Have clients publish and subscribe while rules are written, and hold what they get against those in force."""
    print(f"{STORM_WRITES:,} rule writes while {STORM_CLIENTS} clients publish and {STORM_WATCHERS} subscribe")
    with running(data) as server, ExitStack() as stack:
        server.begin("watchers", STORM_WATCHERS)
        server.end()
        publishers: list[Publisher] = []
        watchers: list[Watcher] = []
        for number in range(STORM_CLIENTS):
            sock = stack.enter_context(server.connect(f"storm-{number}", user(number), version5=True))
            publishers.append(Publisher(sock, text(f"site/{user(number)}/state".encode()) + b"\x00\x01\x00"))
        for number in range(STORM_WATCHERS):
            sock = stack.enter_context(server.connect(f"watch-{number}", user(WATCHERS_FROM + number), version5=True))
            sock.sendall(packet(0x82, b"\x00\x02\x00" + text(f"site/{user(number)}/#".encode()) + b"\x00"))
            receive(sock, b"\x90\x04\x00\x02\x00\x00")
            watchers.append(Watcher(sock, f"zone/{number}/#".encode()))
        with selectors.DefaultSelector() as selector:
            for client in (*publishers, *watchers):
                selector.register(client.sock, selectors.EVENT_READ, client)
                client.send()
            run(selector, until=after(0.5))
            cpu, begun = cpu_seconds(server.watched.pid), time.monotonic()
            server.begin("storm", STORM_CLIENTS, STORM_WATCHERS, STORM_WRITES)
            run(selector, until=server.answered)
            cpu, wall = cpu_seconds(server.watched.pid) - cpu, time.monotonic() - begun
            run(selector, until=after(0.2))
        told = server.end()
    report.line("writes", STORM_WRITES / wall, "/s", note=f"  ({cpu / wall:.0%} of a processor)")
    for kind, limit in (("one rule", MAX_WRITE_MS), ("whole list", None)):
        taken = told["taken"][kind]
        worst = f"  (slowest {max(taken):.1f})"
        report.line(f"write: {kind} of 9,700 for all", statistics.median(taken), "ms", limit, worst)
    subscribed = [deliveries(publishers[number], watcher) for number, watcher in enumerate(watchers)]
    for what, name, decided in (
        ("publishes", "publish", [publisher.answers for publisher in publishers]),
        ("subscriptions", "zone", [watcher.answers for watcher in watchers]),
        ("deliveries", "shown", subscribed),
    ):
        count = sum(map(len, decided))
        denied = sum(not allowed for each in decided for _, _, allowed in each)
        wrong = sum(
            wrong_answers(each, [entry for entry in told["timeline"] if entry[0] == f"{name} {number}"])
            for number, each in enumerate(decided)
        )
        report.line(f"{what} decided", count, "", note=f"  ({denied:,} denied)")
        report.line(f"{what}: wrong decisions", wrong, "", 0)
        if not denied or denied == count:
            report.failed.append(f"a storm that denies some {what} and allows some")
    report.line("longest stall of the loop", told["stall"] * 1_000, "ms", MAX_STALL_MS)
    report.line("longest turn of the loop, processor time", told["stall_cpu"] * 1_000, "ms", MAX_STALL_MS)


def deliveries(publisher: Publisher, watcher: Watcher) -> list[Decided]:
    """Tell of each message that was accepted whether it came: it was decided on until it came or was acknowledged."""
    return [
        (sent, max(answered, watcher.received.get(sent, 0.0)), sent in watcher.received)
        for sent, answered, allowed in publisher.answers
        if allowed
    ]


def after(seconds: float) -> Callable[[], bool]:
    """Give a condition that comes true after that time."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def run(selector: selectors.BaseSelector, until: Callable[[], bool]) -> None:
    """Have the clients take what comes, and go on."""
    looked = 0.0
    while True:
        for key, _ in selector.select(0.01):
            key.data.take()
        if (now := time.monotonic()) - looked > 0.005:
            looked = now
            if until():
                return


def wrong_answers(answers: Sequence[tuple[float, float, bool]], writes: Sequence[Sequence[float]]) -> int:
    """Count the answers that no state of the rules explains that was in force between question and answer."""
    # A state may hold from when its write began, and no longer once the next write has returned.
    states = [(0.0, True), *((begun, bool(allowed)) for _, allowed, begun, _ in writes)]
    ends = [*(returned for _, _, _, returned in writes), float("inf")]
    wrong = first = 0
    for sent, answered, allowed in answers:
        while ends[first] < sent:
            first += 1
        possible: set[bool] = set()
        for (begun, state), _ in zip(states[first:], ends[first:], strict=True):
            if begun > answered:
                break
            possible.add(state)
        wrong += allowed not in possible
    return wrong


# -- clients that come back


def measure_reconnect(report: Report, data: Path) -> None:
    """Let clients log in, leave, and come back all at once."""
    print(f"{RECONNECTING:,} clients with argon2 passwords")
    with running(data) as server:
        # In small parts: to hash all passwords takes longer than a client may take to connect.
        first = log_in(server, FIRST_AT_ONCE)
        report.line("the first time: processor time of the server, each", first, "ms")
        again = [log_in(server, RECONNECTING) for _ in range(5)]
        report.line("again: processor time of the server, each", statistics.median(again), "ms", MAX_RECONNECT_MS)


def log_in(server: ServerProcess, at_once: int) -> float:
    """Log all clients in and out and give the processor time that each cost the server, in milliseconds."""
    cpu = idle_cpu(server)
    for first in range(0, RECONNECTING, at_once):
        with ExitStack() as stack:
            socks: list[socket.socket] = []
            for number in range(first, min(first + at_once, RECONNECTING)):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=120))
                sock.sendall(connect_packet(f"back-{number}", user(number), PASSWORD))
                socks.append(sock)
            for sock in socks:
                receive(sock, CONNECTED)
            for sock in socks:
                sock.sendall(DISCONNECT)
    return (idle_cpu(server) - cpu) / RECONNECTING * 1_000


def idle_cpu(server: ServerProcess) -> float:
    """Wait until the server has nothing left to do and give its processor time so far."""
    used = cpu_seconds(server.watched.pid)
    while True:
        time.sleep(0.3)
        now = cpu_seconds(server.watched.pid)
        if now - used < 0.02:
            return now
        used = now


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Measure access control.")
    parts = ("cached", "uncached", "store", "storm", "reconnect")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(parts)} [all]")
    options = parser.parse_args()
    chosen = options.parts or parts
    if unknown := set(chosen) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    report = Report()
    if "cached" in chosen:
        measure_cached(report)
    if "uncached" in chosen:
        measure_uncached(report)
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        path = data / DATABASE_NAME
        if {"store", "storm", "reconnect"} & set(chosen):
            begun = time.perf_counter()
            build_store(path, PRINCIPALS, RULES, own_hashes=RECONNECTING if "reconnect" in chosen else 0)
            print(f"(built a store of {path.stat().st_size / 1e6:.0f} MB in {time.perf_counter() - begun:.0f} s)")
        if "store" in chosen:
            measure_store(report, data)
        if "storm" in chosen:
            measure_storm(report, data)
        if "reconnect" in chosen:
            measure_reconnect(report, data)
    print(f"not reached: {', '.join(report.failed)}" if report.failed else "all reached")
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
