"""The rows of the comparison that count messages or deliveries per second of the broker's CPU time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from brokers import Endpoint, client_context, running
from clients import connect, subscribe
from rows import RateRatio, Requirement, Results, Row, Sample, Work
from streams import Chunk, FanIn, Load, Stream, gateway, same_sized, with_user_property
from turns import Contest, metered
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
LEAST_WINDOW = 8
"""Packets of which a window has room for, however large they are."""
WARM_UP_SECONDS = 0.3
PAIR_MESSAGES = 200_000
"""What each broker delivers of a pair at QoS 0, unless that takes turns of more than `LONGEST_TURN_SECONDS`."""
LONGEST_TURN_SECONDS = 1.5
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
Divisors = Mapping[str, int]
"""By how much the windows are smaller for a broker which is faster then, or would take seconds to deliver a whole one.

Each is the one of 16, 4 and 1 at which the broker did most.
"""
WHOLE: Divisors = {}


def window_bytes(endpoint: Endpoint, whole: int, chunk: Chunk, divisors: Divisors) -> int:
    """Give the window for a broker and packets of that size."""
    return max(whole // divisors.get(endpoint.name, 1), LEAST_WINDOW * chunk.ends[0])


def open_stream(
    stack: ExitStack,
    endpoint: Endpoint,
    *,
    chunk: Chunk,
    subscribers: int = 1,
    window: int = WINDOW_BYTES,
    divisors: Divisors = WHOLE,
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
    return Stream([(publisher, sockets, chunk)], window_bytes(endpoint, window, chunk, divisors))


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
    window = window_bytes(endpoint, ALL_WINDOWS_BYTES, chunks[0], {AEDES: 4})
    return FanIn(list(zip(publishers, chunks, strict=True)), subscriber, window)


def open_pairs(stack: ExitStack, endpoint: Endpoint) -> Load:
    """Open many publishers, each with one subscriber to its topic."""
    flows = []
    for number in range(MANY):
        subscriber = stack.enter_context(connect(endpoint, f"bench-subscriber-{number}"))
        subscribe(subscriber, b"bench/%05d" % number)
        publisher = stack.enter_context(connect(endpoint, f"bench-publisher-{number}"))
        flows.append((publisher, [subscriber], same_sized(1, first_topic=number)))
    return Stream(flows, window_bytes(endpoint, ALL_WINDOWS_BYTES // MANY, flows[0][2], {AEDES: 4, AMQTT: 4}))


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
    """Load one broker by turns of so many seconds, longer ones if it would not deliver `least` in a turn otherwise."""

    def __init__(self, load: Load, pid: int, seconds: float, least: float = 0.0) -> None:
        self._load = load
        self._pid = pid
        self._lost = 0
        """What has been reported; what the warm-up lost is counted with the first turn."""
        with metered(pid) as meter:
            load.run(WARM_UP_SECONDS)
        load.check()
        rate = load.delivered / meter.wall
        self._seconds = max(seconds, min(least / rate, LONGEST_TURN_SECONDS)) if rate and least else seconds

    def turn(self) -> Sample:
        """Load it and say what came of it."""
        load, delivered = self._load, self._load.delivered
        with metered(self._pid) as meter:
            load.run(self._seconds)
        load.check()
        return Sample(load.delivered - delivered, meter.cpu, meter.wall, self._wrong(), meter.shares)

    def finish(self) -> int:
        """Look for what came late."""
        self._load.settle()
        self._load.check()
        return self._wrong()

    def _wrong(self) -> int:
        before, self._lost = self._lost, self._load.lost
        # What is missing in one turn and comes in the next one is wrong in both.
        return abs(self._lost - before) or int(self._load.altered)


@dataclass(frozen=True, slots=True)
class Throughput:
    """A row in which each broker runs by itself and is loaded in the same way."""

    name: str
    opened: Opened
    times_mosquitto: float | None
    """None requires nothing of that ratio."""
    unit: str = "messages"
    contenders: tuple[str, ...] = ALL
    tls: bool = False
    bounded: bool = False
    """Whether wardenmq keeps its default bounds."""
    least: int = 0
    """How much is to be delivered in all turns together, which are longer for the slower ones."""

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached; amqtt's and asyncio's numbers are the same in all rows."""
        required = (RateRatio(OURS, AMQTT, TIMES_AMQTT), RateRatio(ASYNCIO, OURS, ASYNCIO_SHARE))
        ratios = tuple(each for each in required if {each.of, each.to} <= {*self.contenders})
        first = (RateRatio(OURS, MOSQUITTO, self.times_mosquitto),) if self.times_mosquitto is not None else ()
        work = (Work(OURS, self.unit, self.least),) if self.least else ()
        return (*first, *ratios, *work)

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Run the brokers side by side and load them by turns."""
        with Contest() as contest:
            for name in names:
                contest.enter(name, partial(self._open, name, seconds, self.least / rounds))
            return contest.run(rounds)

    def _open(self, name: str, seconds: float, least: float, stack: ExitStack) -> Runner:
        bounded = self.bounded and name in (OURS, ASYNCIO)
        endpoint = stack.enter_context(running(name, tls=self.tls, no_delay=False, bounded=bounded))
        return Runner(self.opened(stack, endpoint), endpoint.pid, seconds, least)


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

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Run each broker twice, side by side."""
        with Contest() as contest:
            for name in names:
                for label, others in ((name, 0), (name + WITH_SUBSCRIPTIONS, OTHER_SUBSCRIPTIONS)):
                    contest.enter(label, partial(self._open, name, others, seconds / 2))
            return contest.run(rounds * MORE_TURNS)

    def _open(self, name: str, others: int, seconds: float, stack: ExitStack) -> Runner:
        endpoint = stack.enter_context(running(name, no_delay=False))
        hold_subscriptions(stack, endpoint, others)
        return Runner(open_stream(stack, endpoint, chunk=same_sized()), endpoint.pid, seconds)


ROWS: tuple[Row, ...] = (
    Throughput("pair, QoS 0", partial(open_stream, chunk=same_sized()), 8, least=PAIR_MESSAGES),
    Throughput("pair, QoS 1, window 100", partial(open_window, qos=1), 6),
    Throughput(
        "pair, QoS 1, window 100, wardenmq with its default bounds",
        partial(open_window, qos=1),
        1,
        contenders=(OURS, ASYNCIO, MOSQUITTO),
        bounded=True,
    ),
    Throughput("pair, QoS 2, window 100", partial(open_window, qos=2), 4),
    Throughput(
        f"fan-out 1 to {MANY}, QoS 0",
        partial(
            open_stream,
            chunk=same_sized(),
            subscribers=MANY,
            window=MANY_WINDOW_BYTES,
            divisors={AEDES: 16, AMQTT: 4},
        ),
        25,
        "deliveries",
    ),
    Throughput(f"fan-out 1 to {MANY}, QoS 1", partial(open_window, qos=1, subscribers=MANY), 5, "deliveries"),
    Throughput(f"fan-in {MANY} to 1, QoS 0", open_fan_in, 6),
    Throughput(f"{MANY} pairs, QoS 0", open_pairs, 6),
    Throughput(
        "pair, QoS 0, MQTT 5 with a user property that differs each time",
        partial(open_stream, chunk=with_user_property(b"sequence", lambda n: b"%06d" % n), version=5),
        3,
        contenders=(OURS, ASYNCIO, MOSQUITTO),
    ),
    Throughput(
        "pair, QoS 0, MQTT 5 with the same user property each time",
        partial(open_stream, chunk=with_user_property(b"unit", lambda _: b"celsius"), version=5),
        None,
        contenders=(OURS, ASYNCIO, MOSQUITTO),
    ),
    Throughput("gateway, 100 topics, 20 to 200 bytes, QoS 0", partial(open_stream, chunk=gateway()), 4),
    Throughput("gateway, 2,000 topics, 20 to 200 bytes, QoS 0", partial(open_stream, chunk=gateway(2_000)), 1),
    BesideSubscriptions(),
    Throughput("pair, QoS 0, 16 kB", partial(open_stream, chunk=same_sized(1, 16_384, 32)), 1),
    Throughput("pair, QoS 0, TLS", partial(open_stream, chunk=same_sized(), tls=True), 1, tls=True),
)
