"""The rows of the comparison that count messages or deliveries per second of the broker's CPU time."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from brokers import Endpoint, apart, client_context, cpu_seconds, running
from clients import connect, subscribe
from rows import RateRatio, Requirement, Row, Sample, take_turns
from streams import Chunk, FanIn, Load, Stream, gateway, same_sized, with_user_property
from windows import Window

OURS, ASYNCIO, MOSQUITTO, AEDES, AMQTT = "wardenmq", "wardenmq-asyncio", "mosquitto", "aedes", "amqtt"
ALL = (OURS, ASYNCIO, MOSQUITTO, AEDES, AMQTT)
TIMES_AMQTT = 40.0
ASYNCIO_SHARE = 1 / 1.5
"""What asyncio's own loop has to reach of uvloop's rate."""
FILTER = b"bench/+"
MANY = 50
WINDOW_BYTES = 262_144
"""How far a publisher may be ahead of its subscriber."""
MANY_WINDOW_BYTES = 65_536
"""The same of the slowest of many."""
SLOW = {AMQTT: 16, AEDES: 4}
"""By how much the windows are smaller for those that would take seconds to deliver one."""
LEAST_WINDOW = 8
"""Packets of which a window has room for, however large they are."""
WARM_UP_SECONDS = 0.3

ALL_WINDOWS_BYTES = 819_200
"""How far many publishers may be ahead together."""
OTHER_SUBSCRIPTIONS = 10_000
HELD_BY_ONE = 1_000
WITH_SUBSCRIPTIONS = f" + {OTHER_SUBSCRIPTIONS:,}"
MORE_TURNS = 5
"""How many times as many turns, of half the length, where a few hundredths are to be seen."""
WITHIN = 0.95
"""What has to be left of the rate of a pair beside many subscriptions."""

Opened = Callable[[ExitStack, Endpoint], Load]


def window_bytes(endpoint: Endpoint, whole: int, chunk: Chunk) -> int:
    """Give the window for a broker and packets of that size."""
    return max(whole // SLOW.get(endpoint.name, 1), LEAST_WINDOW * chunk.ends[0])


def open_stream(
    stack: ExitStack,
    endpoint: Endpoint,
    *,
    chunk: Chunk,
    subscribers: int = 1,
    window: int = WINDOW_BYTES,
    version: int = 4,
    tls: bool = False,
) -> Load:
    """Open one publisher and its subscribers at QoS 0."""
    context = client_context(endpoint) if tls else None
    names = ["bench-publisher", *(f"bench-subscriber-{n}" for n in range(subscribers))]
    publisher, *sockets = (
        stack.enter_context(connect(endpoint, name, version=version, context=context)) for name in names
    )
    for sock in sockets:
        subscribe(sock, FILTER, version=version)
    return Stream([(publisher, sockets, chunk)], window_bytes(endpoint, window, chunk))


def open_window(stack: ExitStack, endpoint: Endpoint, *, qos: int, subscribers: int = 1) -> Load:
    """Open one publisher and its subscribers at QoS 1 or 2."""
    names = ["bench-publisher", *(f"bench-subscriber-{n}" for n in range(subscribers))]
    publisher, *sockets = (stack.enter_context(connect(endpoint, name)) for name in names)
    for sock in sockets:
        subscribe(sock, FILTER, qos)
    return Window(publisher, sockets, qos)


def open_fan_in(stack: ExitStack, endpoint: Endpoint) -> Load:
    """Open many publishers, each with a topic of its own, and one subscriber to all of them."""
    subscriber = stack.enter_context(connect(endpoint, "bench-subscriber"))
    subscribe(subscriber, FILTER)
    publishers = [stack.enter_context(connect(endpoint, f"bench-publisher-{n}")) for n in range(MANY)]
    chunks = [same_sized(1, first_topic=n) for n in range(MANY)]
    return FanIn(
        list(zip(publishers, chunks, strict=True)), subscriber, window_bytes(endpoint, ALL_WINDOWS_BYTES, chunks[0])
    )


def open_pairs(stack: ExitStack, endpoint: Endpoint) -> Load:
    """Open many publishers, each with one subscriber to its topic."""
    flows = []
    for number in range(MANY):
        subscriber = stack.enter_context(connect(endpoint, f"bench-subscriber-{number}"))
        subscribe(subscriber, b"bench/%05d" % number)
        publisher = stack.enter_context(connect(endpoint, f"bench-publisher-{number}"))
        flows.append((publisher, [subscriber], same_sized(1, first_topic=number)))
    return Stream(flows, window_bytes(endpoint, ALL_WINDOWS_BYTES // MANY, flows[0][2]))


def hold_subscriptions(stack: ExitStack, endpoint: Endpoint, count: int) -> None:
    """Hold wildcard subscriptions that share levels with the pair's topic, and do not match it."""
    filters = [
        pattern % number
        for number in range(count // 4)
        for pattern in (b"bench/+/%d", b"bench/00000/+/%d", b"+/00000/%d/#", b"bench/%05d/x/#")
    ]
    for first in range(0, len(filters), HELD_BY_ONE):
        sock = stack.enter_context(connect(endpoint, f"bench-holder-{first}"))
        subscribe(sock, filters[first], 0, *filters[first + 1 : first + HELD_BY_ONE])


class Runner:
    """Load one broker by turns."""

    def __init__(self, load: Load, pid: int) -> None:
        self._load = load
        self._pid = pid
        with apart(pid):
            load.run(WARM_UP_SECONDS)
        load.check()

    def turn(self, seconds: float) -> Sample:
        """Run for so long and say what came of it."""
        load = self._load
        delivered, lost = load.delivered, load.lost
        with apart(self._pid):
            wall, own, cpu = time.monotonic(), time.process_time(), cpu_seconds(self._pid)
            load.run(seconds)
            cpu, own, wall = cpu_seconds(self._pid) - cpu, time.process_time() - own, time.monotonic() - wall
        load.check()
        missing = load.lost - lost or int(load.altered)
        extra = {"broker_share": cpu / wall, "generator_share": own / wall}
        return Sample(load.delivered - delivered, cpu, wall, missing, extra)


@dataclass(frozen=True, slots=True)
class Throughput:
    """A row in which each broker runs by itself and is loaded in the same way."""

    name: str
    opened: Opened
    times_mosquitto: float
    unit: str = "messages"
    contenders: tuple[str, ...] = ALL
    tls: bool = False

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached; amqtt's and asyncio's numbers are the same in all rows."""
        required = (
            RateRatio(OURS, MOSQUITTO, self.times_mosquitto),
            RateRatio(OURS, AMQTT, TIMES_AMQTT),
            RateRatio(ASYNCIO, OURS, ASYNCIO_SHARE),
        )
        return tuple(each for each in required if {each.of, each.to} <= {*self.contenders})

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Run the brokers side by side and load them by turns."""
        with ExitStack() as stack:
            turns: dict[str, Callable[[], Sample]] = {}
            for name in names:
                endpoint = stack.enter_context(running(name, tls=self.tls, no_delay=False))
                turns[name] = partial(Runner(self.opened(stack, endpoint), endpoint.pid).turn, seconds)
            return take_turns(turns, rounds)


@dataclass(frozen=True, slots=True)
class BesideSubscriptions:
    """A pair at QoS 0 in a broker that has nothing else to do, and in one that holds many wildcard subscriptions."""

    name: str = f"pair, QoS 0, beside {OTHER_SUBSCRIPTIONS:,} wildcard subscriptions"
    unit: str = "messages"
    contenders: tuple[str, ...] = (OURS, ASYNCIO, MOSQUITTO)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Hold wardenmq against itself."""
        return tuple(RateRatio(name + WITH_SUBSCRIPTIONS, name, WITHIN) for name in (OURS, ASYNCIO))

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Run each broker twice, side by side."""
        with ExitStack() as stack:
            turns: dict[str, Callable[[], Sample]] = {}
            for name in names:
                for label, others in ((name, 0), (name + WITH_SUBSCRIPTIONS, OTHER_SUBSCRIPTIONS)):
                    endpoint = stack.enter_context(running(name, no_delay=False))
                    hold_subscriptions(stack, endpoint, others)
                    load = open_stream(stack, endpoint, chunk=same_sized())
                    turns[label] = partial(Runner(load, endpoint.pid).turn, seconds / 2)
            return take_turns(turns, rounds * MORE_TURNS)


ROWS: tuple[Row, ...] = (
    Throughput("pair, QoS 0", partial(open_stream, chunk=same_sized()), 8),
    Throughput("pair, QoS 1, window 100", partial(open_window, qos=1), 6),
    Throughput("pair, QoS 2, window 100", partial(open_window, qos=2), 4),
    Throughput(
        f"fan-out 1 to {MANY}, QoS 0",
        partial(open_stream, chunk=same_sized(), subscribers=MANY, window=MANY_WINDOW_BYTES),
        25,
        "deliveries",
    ),
    Throughput(f"fan-out 1 to {MANY}, QoS 1", partial(open_window, qos=1, subscribers=MANY), 5, "deliveries"),
    Throughput(f"fan-in {MANY} to 1, QoS 0", open_fan_in, 6),
    Throughput(f"{MANY} pairs, QoS 0", open_pairs, 6),
    Throughput(
        "pair, QoS 0, MQTT 5 with a user property",
        partial(open_stream, chunk=with_user_property(), version=5),
        3,
        contenders=(OURS, ASYNCIO, MOSQUITTO),
    ),
    Throughput("gateway, 100 topics, 20 to 200 bytes, QoS 0", partial(open_stream, chunk=gateway()), 4),
    BesideSubscriptions(),
    Throughput("pair, QoS 0, 16 kB", partial(open_stream, chunk=same_sized(1, 16_384, 32)), 1),
    Throughput("pair, QoS 0, TLS", partial(open_stream, chunk=same_sized(), tls=True), 1, tls=True),
)
