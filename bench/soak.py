"""Eight to ten minutes of mixed load by 2,000 connections: is the memory flat, and does everything arrive?

Clients of MQTT 3.1.1 and 5.0, with clean and with persistent sessions, publish and subscribe at QoS 0, 1 and 2, by
exact filters and by wildcards; hundreds come and go all the time, half of these without a DISCONNECT, some with a
will; topics with retained messages change. The load settles in the first minute so that the broker has a third of a
processor. Every message that comes is compared with what was published.

Exit status 1 if the mean memory of the last minute is more than 5 % above that of the third, or if a message at QoS 1
or 2, a will or a retained message was lost, came twice or was altered. It ends by itself.
"""

import argparse
import os
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from brokers import Endpoint, cpu_seconds, resident_bytes, running, unavailable
from crowd import allow_open_files
from durable_brokers import DURABILITIES, knows_durability, written_bytes
from processes import end_on_signals
from soak_clients import KEEP_ALIVE, Client, Counts, Source, Will, Wish, World

SECONDS, MINUTE = 600.0, 60.0
CONNECTIONS = 2_000
AWAY = 0.1
"""So many more clients are away at any time."""
COMERS = 0.4
"""So many of the clients come and go."""
PUBLISHERS, COMING_PUBLISHERS, RETAINING, WATCHERS = 0.075, 0.03, 0.015, 0.004
GROUP = 4
"""Publishers under one topic, which wildcards match together."""
SWAPS = 0.01
"""So many of the connections end in a second, and as many begin."""
BULK, BURST = 10, 10
"""Each so-manieth publisher sends so many messages of one size in one write."""
WITH_WILL = 0.3
ABRUPTLY, DEAF_SECONDS = 0.5, 0.5
"""So many connections end without a DISCONNECT, after their client has not read for a while."""
CONNECT_BATCH = 50
READY_SECONDS = 60.0
TARGET_SHARE = 0.33
FIRST_RATE, LEAST_RATE = 0.15, 0.01
"""Messages published per second, for each connection."""
MOST_RATE = 0.6
"""The same: more, and a session that is away for ten seconds would be owed more than a queue holds by default."""
GENERATOR_SHARE = 0.7
"""More than that of a processor, and the load would measure itself."""
STALL_SECONDS = 1.0
"""After such a pause nobody comes back before those that left are known to have left."""
REST_SECONDS = 4.0
"""So long a client stays away at least; longer than a will is delayed."""
DRAIN_SECONDS, SILENCE_SECONDS, LATE_SECONDS = 60.0, 15.0, 1.0
FLAT = 1.05
MEBIBYTE = 1_048_576


# -- who takes part


@dataclass(slots=True)
class Population:
    """All clients, by what they do."""

    steady: list[Client] = field(default_factory=list[Client])
    comers: list[Client] = field(default_factory=list[Client])
    publishers: list[Client] = field(default_factory=list[Client])
    """Those of both that publish."""

    @property
    def everybody(self) -> list[Client]:
        """All of them."""
        return self.steady + self.comers


class Founding:
    """Make a population out of a seed."""

    def __init__(self, world: World, connections: int, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._connections = connections
        self._population = Population()
        self._groups: list[list[Source]] = []
        self._retained: list[Source] = []

    def found(self) -> Population:
        """Make everybody: first who publishes, because the others subscribe to that."""
        count, population = self._connections, self._population
        comers, steady = round(count * COMERS), count + round(count * AWAY) - round(count * COMERS)
        coming_publishers = max(1, round(count * COMING_PUBLISHERS))
        for number in range(max(GROUP, round(count * PUBLISHERS))):
            population.steady.append(self._publisher(f"publisher-{number}", self._chance.choice((0, 1, 2))))
        for number in range(coming_publishers):
            # At QoS 1 what is sent again may come twice; at QoS 2 it may not.
            population.comers.append(self._publisher(f"coming-publisher-{number}", 2, persistent=True))
        for number in range(max(1, round(count * RETAINING))):
            population.steady.append(self._retaining(number))
        for number in range(comers - coming_publishers):
            population.comers.append(self._coming_subscriber(number))
        for number in range(max(2, round(count * WATCHERS))):
            population.steady.append(self._watcher(number))
        for number in range(max(0, steady - len(population.steady))):
            population.steady.append(self._subscriber(f"subscriber-{number}", persistent=self._chance.random() < 0.5))
        self._chance.shuffle(population.comers)
        population.publishers = [client for client in population.everybody if client.source is not None]
        return population

    def _version(self) -> int:
        return self._chance.choice((4, 5))

    def _publisher(self, name: str, qos: int, *, persistent: bool | None = None) -> Client:
        number = len(self._world.sources)
        if number % GROUP == 0:
            self._groups.append([])
        topic = b"soak/%d/%d" % (len(self._groups) - 1, number)
        source = self._add(Source(topic, qos, seed=number, equal=number % BULK == 0))
        self._groups[-1].append(source)
        if persistent is None:
            persistent = self._chance.random() < 0.5
        return Client(self._world, name, self._version(), persistent=persistent, source=source)

    def _retaining(self, number: int) -> Client:
        source = self._add(Source(b"soak/retained/%d" % number, 1, seed=number, retain=True))
        self._retained.append(source)
        return Client(self._world, f"retaining-{number}", self._version(), persistent=False, source=source)

    def _subscriber(self, name: str, *, persistent: bool) -> Client:
        topic_filter, sources = self._some_filter()
        wishes = [Wish(topic_filter, self._chance.choice((0, 1, 2)))]
        client = Client(self._world, name, self._version(), persistent=persistent, wishes=wishes)
        client.owe(sources)
        return client

    def _coming_subscriber(self, number: int) -> Client:
        topic_filter, sources = self._some_filter()
        name, qos, will = f"coming-{number}", self._chance.choice((0, 1, 2)), None
        if self._chance.random() < WITH_WILL:
            will = Will(b"soak/will/%d" % number)
            self._world.wills[will.topic] = will
        if self._chance.random() < 0.5:
            wishes = [Wish(topic_filter, qos)]
            client = Client(self._world, name, self._version(), persistent=True, wishes=wishes, will=will)
            client.owe(sources)
            return client
        qos = max(1, qos)  # a retained message has to come, which is not said of QoS 0
        wishes = [Wish(topic_filter, qos), Wish(self._chance.choice(self._retained).topic, qos)]
        return Client(self._world, name, self._version(), persistent=False, wishes=wishes, will=will)

    def _watcher(self, number: int) -> Client:
        wishes = [Wish(b"soak/will/+", 1 + number % 2)]
        client = Client(self._world, f"watcher-{number}", self._version(), persistent=True, wishes=wishes)
        client.expect_wills()
        return client

    def _some_filter(self) -> tuple[bytes, Sequence[Source]]:
        group = self._chance.randrange(len(self._groups))
        sources = self._groups[group]
        kind = self._chance.random()
        if kind < 0.6:
            source = self._chance.choice(sources)
            return source.topic, [source]
        return (b"soak/%d/+" if kind < 0.8 else b"soak/%d/#") % group, sources

    def _add(self, source: Source) -> Source:
        self._world.sources[source.topic] = source
        return source


# -- the load


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read each second."""

    at: float
    """Seconds since the load began."""
    resident: int
    broker_cpu: float
    own_cpu: float
    published: int
    delivered: int
    connects: int
    connections: int


class Load:
    """Keep everybody publishing, coming and going at a rate."""

    def __init__(self, world: World, population: Population, connections: int, rate: float, seed: int) -> None:
        self.rate = rate
        """Messages published per second."""
        self._world = world
        self._steady = population.steady
        self._publishers = deque(population.publishers)
        self._here = deque(population.comers)
        self._away: deque[Client] = deque()
        self._chance = random.Random(seed)
        self.least_rate, self.most_rate = connections * LEAST_RATE, connections * MOST_RATE
        self._swap_seconds = 1 / max(1.0, connections * SWAPS)
        self._everybody = population.everybody
        self._next_ping, self._pings = 0, 0.0
        self._deaf: deque[tuple[float, Client]] = deque()
        """Those that read nothing any more, and since when."""
        self._last = self._next_swap = time.monotonic()
        self._owed = 0.0
        """Messages that are to be published now."""

    def begin(self, away: int) -> None:
        """Connect everybody, and let so many go again."""
        for first in range(0, len(self._everybody), CONNECT_BATCH):
            batch = self._everybody[first : first + CONNECT_BATCH]
            for client in batch:
                client.connect()
            self._await_ready(batch)
        for _ in range(away):
            client = self._here.popleft()
            client.leave(abruptly=False)
            self._away.append(client)
        self._last = time.monotonic()
        self._next_swap = self._last + REST_SECONDS

    def turn(self) -> None:
        """Do what is due, and take what has come."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        if passed > STALL_SECONDS:
            self._next_swap = now + REST_SECONDS
        self._owed = min(self._owed + passed * self.rate, self.rate)
        self._publish()
        self._ping(passed)
        while self._deaf and now - self._deaf[0][0] > DEAF_SECONDS:
            self._end_abruptly(self._deaf.popleft()[1])
        if now >= self._next_swap:
            self._swap()
            self._next_swap = max(self._next_swap + self._swap_seconds, now - STALL_SECONDS)
        self._world.poll(0.005)

    def finish(self) -> None:
        """Let all come back, and wait until each has what is owed to it, or nothing comes any more."""
        while self._deaf:
            self._end_abruptly(self._deaf.popleft()[1])
        self._rest(REST_SECONDS)
        while self._away:
            batch = [self._away.popleft() for _ in range(min(CONNECT_BATCH, len(self._away)))]
            for client in batch:
                client.connect()
            self._await_ready(batch)
        begun = quiet = time.monotonic()
        arrived = -1
        while self.missing and time.monotonic() - begun < DRAIN_SECONDS:
            if self._world.arrived != arrived:
                arrived, quiet = self._world.arrived, time.monotonic()
            elif time.monotonic() - quiet > SILENCE_SECONDS:
                break
            self._rest(0.2)
        self._rest(LATE_SECONDS)  # a message too many would come now

    @property
    def missing(self) -> int:
        """Count what is owed to somebody, or has not been acknowledged."""
        return sum(client.missing + len(client.unacknowledged) for client in self._everybody)

    @property
    def connections(self) -> int:
        """Count those who are connected."""
        return sum(client.connected for client in self._everybody)

    def _publish(self) -> None:
        for _ in range(len(self._publishers)):
            if self._owed < 1:
                return
            client = self._publishers[0]
            self._publishers.rotate(-1)
            self._owed -= client.publish(BURST if client.source is not None and client.source.equal else 1)

    def _swap(self) -> None:
        """Let the one leave that is here longest, and the one come back that is away longest."""
        leaving, coming = self._here[0], self._away[0]
        self._here.rotate(-1)
        if not leaving.may_leave:
            return
        self._here.pop()
        if self._chance.random() < ABRUPTLY:
            leaving.publish(BURST)
            leaving.stop_reading()
            self._deaf.append((self._last, leaving))
        else:
            leaving.leave(abruptly=False)
            self._away.append(leaving)
        self._away.popleft()
        coming.connect()
        self._here.append(coming)

    def _end_abruptly(self, client: Client) -> None:
        client.leave(abruptly=True)
        self._away.append(client)

    def _ping(self, passed: float) -> None:
        """Ask so many that everybody steady is asked three times in the keep-alive interval."""
        self._pings += passed * 3 * len(self._steady) / KEEP_ALIVE
        while self._pings >= 1:
            self._pings -= 1
            client = self._steady[self._next_ping % len(self._steady)]
            self._next_ping += 1
            if client.ready:
                client.ping()

    def _await_ready(self, clients: Sequence[Client]) -> None:
        end = time.monotonic() + READY_SECONDS
        while not all(client.ready for client in clients):
            if time.monotonic() > end:
                late = [client.name for client in clients if not client.ready]
                raise RuntimeError(f"not ready after {READY_SECONDS:.0f} s: {', '.join(late[:5])}")
            self._world.poll(0.1)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._world.poll(0.05)


class Watch:
    """Read memory and processor time each second, print a line each minute, and settle the rate in the first."""

    def __init__(self, endpoint: Endpoint, load: Load, counts: Counts, minute: float) -> None:
        self.readings: list[Reading] = []
        self._pid = endpoint.pid
        self._load = load
        self._counts = counts
        self._minute = minute
        self._begun = time.monotonic()
        self._interval = min(1.0, minute / 10)
        self._read()

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._begun

    def look(self, settle: bool) -> None:
        """Read if it is time to."""
        last = self.readings[-1]
        if self.elapsed < last.at + self._interval:
            return
        self._read()
        now = self.readings[-1]
        if settle and now.at < self._minute:
            self._settle(last, now)
        if now.at // self._minute > last.at // self._minute:
            print(minute_line(self.readings, int(last.at // self._minute), self._minute, self._counts), flush=True)

    def _read(self) -> None:
        pid, counts = self._pid, self._counts
        cpu, own = cpu_seconds(pid), time.process_time()
        seen = (counts.published, counts.delivered, counts.connects)
        self.readings.append(Reading(self.elapsed, resident_bytes(pid), cpu, own, *seen, self._load.connections))

    def _settle(self, before: Reading, now: Reading) -> None:
        """Bring the rate nearer to where the broker has its share, a bit at a time because the share jumps."""
        passed = now.at - before.at
        broker, own = (now.broker_cpu - before.broker_cpu) / passed, (now.own_cpu - before.own_cpu) / passed
        wanted = min(TARGET_SHARE / max(broker, 0.01), GENERATOR_SHARE / max(own, 0.01))
        self._load.rate *= min(1.3, max(0.75, wanted)) ** 0.5
        self._load.rate = min(self._load.most_rate, max(self._load.least_rate, self._load.rate))


HEAD = (
    "minute  connections  published/s  delivered/s  broker   load  RSS MiB    most  connects"
    "     wills  retained   again  missed    lost  twice  altered  faults"
)


def within(readings: Sequence[Reading], number: int, minute: float) -> list[Reading]:
    """Give the readings of a minute, the first one being 0."""
    return [reading for reading in readings if number * minute <= reading.at < (number + 1) * minute]


def mean_resident(readings: Sequence[Reading], number: int, minute: float) -> float:
    """Give the mean memory of a minute, in bytes."""
    return statistics.fmean(reading.resident for reading in within(readings, number, minute))


def minute_line(readings: Sequence[Reading], number: int, minute: float, counts: Counts) -> str:
    """Put a minute into a line: rates and shares of that minute, counts since the beginning."""
    found = within(readings, number, minute)
    first, last = found[0], found[-1]
    passed = max(last.at - first.at, 1e-9)
    resident = [reading.resident / MEBIBYTE for reading in found]
    return (
        f"{number + 1:>6}  {last.connections:>11,}  {(last.published - first.published) / passed:>11,.0f}"
        f"  {(last.delivered - first.delivered) / passed:>11,.0f}"
        f"  {(last.broker_cpu - first.broker_cpu) / passed:>6.2f} {(last.own_cpu - first.own_cpu) / passed:>6.2f}"
        f"  {statistics.fmean(resident):>7.1f} {max(resident):>7.1f}  {counts.connects:>8,}  {counts.wills:>8,}"
        f"  {counts.retained:>8,}  {counts.redelivered:>6,}  {counts.missed:>6,}  {counts.lost:>6,}"
        f"  {counts.out_of_turn:>5,}  {counts.altered:>7,}  {counts.faults.total():>6,}"
    )


# -- the judge


def judge(readings: Sequence[Reading], minutes: int, minute: float, counts: Counts, missing: int) -> list[str]:
    """Print what came of it and return what is wrong with it."""
    wrong = [f"{count:,} x {fault}" for fault, count in counts.faults.most_common(20)]
    for count, what in (
        (counts.lost, "lost"),
        (counts.out_of_turn, "twice or out of order"),
        (counts.altered, "altered"),
    ):
        if count:
            wrong.append(f"{count:,} messages {what}")
    if missing:
        wrong.append(f"{missing:,} messages or acknowledgements never came")
    if not counts.delivered or not counts.wills or not counts.retained or not counts.redelivered:
        wrong.append("a part of the load did nothing: no messages, wills, retained messages, or none sent again")
    third, last = (mean_resident(readings, number, minute) for number in (2, minutes - 1))
    print(
        f"memory: {third / MEBIBYTE:,.1f} MiB in the third minute, {last / MEBIBYTE:,.1f} MiB in the last, "
        f"{last / third - 1:+.1%}; at most {max(reading.resident for reading in readings) / MEBIBYTE:,.1f} MiB"
    )
    if last > third * FLAT:
        wrong.append(f"the memory of the last minute is {last / third:.3f} times that of the third")
    return wrong


def soak(options: argparse.Namespace) -> int:
    """Run a fresh broker under the load and return the exit status."""
    broker = "wardenmq-asyncio" if options.no_uvloop or unavailable("wardenmq") else "wardenmq"
    minutes = max(4, round(options.seconds / MINUTE))
    minute = options.seconds / minutes
    environment = None
    if options.durability and knows_durability():
        environment = {**os.environ, "WARDENMQ_DURABILITY": options.durability}
    allow_open_files(2 * options.connections + 100)
    print(
        f"{options.connections:,} connections, {minutes} minutes of {minute:g} s, seed {options.seed}"
        f" ({broker}, durability {options.durability or 'as by default'})",
        flush=True,
    )
    with running(broker, bounded=True, environment=environment) as endpoint:
        world = World(endpoint.host, endpoint.port, endpoint.username, endpoint.password)
        population = Founding(world, options.connections, options.seed).found()
        load = Load(
            world, population, options.connections, options.rate or FIRST_RATE * options.connections, options.seed
        )
        begun = time.monotonic()
        load.begin(round(options.connections * AWAY))
        print(f"everybody connected after {time.monotonic() - begun:.1f} s\n{HEAD}", flush=True)
        watch = Watch(endpoint, load, world.counts, minute)
        while watch.elapsed < options.seconds:
            load.turn()
            watch.look(settle=not options.rate)
        load.finish()
        watch.look(settle=False)
        print(f"written to the disk: {written_bytes(endpoint.pid) / MEBIBYTE:,.0f} MiB")
        wrong = judge(watch.readings, minutes, minute, world.counts, load.missing)
    for fault in wrong:
        print(f"MISSED  {fault}")
    if not wrong:
        print("ok: the memory is flat, and nothing was lost, came twice or was altered")
    return int(bool(wrong))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Load a broker with 2,000 mixed connections, and look at its memory.")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of load; a shorter run has shorter minutes [600]"
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="[2000]")
    parser.add_argument("--rate", type=float, help="messages published per second [a third of a processor]")
    parser.add_argument("--durability", choices=DURABILITIES, help="[the server's default]")
    parser.add_argument("--no-uvloop", action="store_true", help="run the broker on asyncio's own loop")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    options = parser.parse_args()
    if options.seconds < 20 or options.connections < 50 or (options.rate is not None and options.rate <= 0):
        parser.error("--seconds must be 20 at least, --connections 50, and --rate positive")
    end_on_signals()
    return soak(options)


if __name__ == "__main__":
    sys.exit(main())
