"""Rows about growth: what a message costs with few and with many connections, subscriptions and rules.

A broker is compared with itself: two processes side by side, a small one and a large one, under the same load by turns.
mosquitto beside it shows how much of a growth is the machine's; so does, where the messages go round over all
connections, a server that only returns what it reads: of five hundred times as many sockets less is in the processor's
caches.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from brokers import Endpoint, running
from crowd import allow_open_files, close_all, open_clients, open_sockets, subscribe_many
from echo import ECHO, running_echo
from round_trips import RoundTrips, own_topic
from rows import RateRatio, Requirement, Results, Row
from streams import Chunk, Load, same_sized
from throughput import Runner, open_stream
from turns import Contest

OPEN_FILES = 16_384
FEW_CLIENTS, MANY_CLIENTS = 10, 5_000
FEW_FILTERS, MANY_FILTERS = 10, 100_000
MANY_RULES = 100_000
HOLDERS = 10
"""Clients that hold the subscriptions that match nothing."""
KNOWN_TOPICS = 100
NEW_TOPICS = 80_000
"""More than the broker keeps routes for, so that each is looked up anew when its turn comes again."""
FLAT = 1 / 1.1
SLICES = 3
"""Into so many each turn is cut: a tenth more or less shows only where the two sizes follow each other closely."""

Opened = Callable[[ExitStack, Endpoint, int], Load]


class RoundRobin:
    """Let ten clients at a time publish to themselves, all of them in turn."""

    def __init__(self, clients: RoundTrips) -> None:
        self._clients = clients

    @property
    def delivered(self) -> int:
        """Messages so far."""
        return self._clients.delivered

    @property
    def lost(self) -> int:
        """Messages that are missing."""
        return self._clients.lost

    @property
    def altered(self) -> bool:
        """Tell whether something else came than was sent."""
        return self._clients.altered

    def run(self, seconds: float) -> None:
        """Publish for so long."""
        self._clients.clear()
        self._clients.round_robin(seconds, FEW_CLIENTS)

    def settle(self) -> None:
        """Take what comes though all has come."""
        self._clients.settle()

    def check(self) -> None:
        """Do nothing: each message is looked at when it comes."""


def other_filters(count: int) -> Iterator[bytes]:
    """Give filters that match no topic of the load but share levels with them, one in two with a wildcard."""
    for number in range(count):
        kind, name = number % 4, b"%06d" % number
        if kind == 0:
            yield b"bench/" + name + b"/state"
        elif kind == 1:
            yield b"other/" + name
        elif kind == 2:
            yield b"bench/+/" + name
        else:
            yield b"+/" + name + b"/#"


def open_round_robin(stack: ExitStack, endpoint: Endpoint, size: int) -> Load:
    """Open clients that all take part."""
    echo = endpoint.name == ECHO
    sockets = open_sockets(endpoint, size) if echo else open_clients(endpoint, size, filters=own_topic)
    stack.callback(close_all, sockets)
    clients = RoundTrips(sockets)
    stack.callback(clients.close)
    return RoundRobin(clients)


def open_idle(stack: ExitStack, endpoint: Endpoint, size: int) -> Load:
    """Open a pair, and idle clients with a subscription each."""
    stack.callback(close_all, open_clients(endpoint, size, filters=own_topic))
    return open_stream(stack, endpoint, chunk=same_sized())


def open_subscribed(stack: ExitStack, endpoint: Endpoint, size: int, chunk: Callable[[], Chunk]) -> Load:
    """Open a pair of which one subscription matches each message, and holders of so many that do not."""
    holders = open_clients(endpoint, HOLDERS, "holder")
    stack.callback(close_all, holders)
    filters = list(other_filters(size))
    for number, holder in enumerate(holders):
        subscribe_many(holder, filters[number::HOLDERS])
    return open_stream(stack, endpoint, chunk=chunk())


def open_pair(stack: ExitStack, endpoint: Endpoint, _size: int, chunk: Callable[[], Chunk]) -> Load:
    """Open a pair."""
    return open_stream(stack, endpoint, chunk=chunk())


def known_topics() -> Chunk:
    """Give packets whose topics come again soon; no two in a row are alike."""
    return same_sized(KNOWN_TOPICS)


@functools.cache
def new_topics() -> Chunk:
    """Give packets whose topics have been forgotten when they come again."""
    return same_sized(NEW_TOPICS, messages=NEW_TOPICS)


@dataclass(frozen=True, slots=True)
class Growth:
    """The same load on two processes of a broker, of which one has more of something."""

    name: str
    noun: str
    small: int
    large: int
    opened: Opened
    contenders: tuple[str, ...] = ("wardenmq",)
    rules: bool = False
    """The sizes count ACL rules, which are written before the start."""
    control: bool = False
    """An echo server takes part."""
    unit: str = "messages"

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached: at most a tenth more for each message."""
        return (RateRatio(self._label("wardenmq", self.large), self._label("wardenmq", self.small), FLAT),)

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let both sizes of each broker take turns."""
        allow_open_files(OPEN_FILES)
        with Contest() as contest:
            for name in (*names, ECHO) if self.control else names:
                for size in (self.small, self.large):
                    contest.enter(self._label(name, size), functools.partial(self._open, name, size, seconds / SLICES))
            return contest.run(rounds * SLICES)

    def _open(self, name: str, size: int, seconds: float, stack: ExitStack) -> Runner:
        endpoint = stack.enter_context(self._running(name, size))
        return Runner(self.opened(stack, endpoint, size), endpoint.pid, seconds)

    def _running(self, name: str, size: int) -> AbstractContextManager[Endpoint]:
        return running_echo() if name == ECHO else running(name, rules=size if self.rules else 0)

    def _label(self, name: str, size: int) -> str:
        return f"{name}, {size:,} {self.noun}"


ROWS: tuple[Row, ...] = (
    Growth(
        "growth: connections that publish to themselves in turn, ten at a time",
        "connections",
        FEW_CLIENTS,
        MANY_CLIENTS,
        open_round_robin,
        ("wardenmq", "mosquitto"),
        control=True,
    ),
    Growth(
        "growth: idle connections beside a pair, QoS 0",
        "connections",
        FEW_CLIENTS,
        MANY_CLIENTS,
        open_idle,
        ("wardenmq", "mosquitto"),
    ),
    Growth(
        f"growth: subscriptions beside a pair, {KNOWN_TOPICS} topics",
        "subscriptions",
        FEW_FILTERS,
        MANY_FILTERS,
        functools.partial(open_subscribed, chunk=known_topics),
    ),
    Growth(
        "growth: subscriptions beside a pair, each topic new",
        "subscriptions",
        FEW_FILTERS,
        MANY_FILTERS,
        functools.partial(open_subscribed, chunk=new_topics),
        ("wardenmq", "mosquitto"),
    ),
    Growth(
        f"growth: rules, {KNOWN_TOPICS} topics",
        "rules",
        0,
        MANY_RULES,
        functools.partial(open_pair, chunk=known_topics),
        rules=True,
    ),
    Growth(
        "growth: rules, each topic new",
        "rules",
        0,
        MANY_RULES,
        functools.partial(open_pair, chunk=new_topics),
        ("wardenmq", "mosquitto"),
        rules=True,
    ),
)
