"""Who takes part in a crash test: publishers and subscribers of every kind, on one ledger."""

import asyncio
from random import Random

from ..engine.wire import PING, PINGRESP, PUBLISH, Client, subscribe
from .ledger import Ledger
from .persistent_clients import WAIT_SECONDS, Place, wait_for
from .publishers import Publisher
from .subscribers import FickleSubscriber, Subscriber

_KINDS = ((4, 1), (5, 1), (4, 2), (5, 2))
"""The publishers' protocol levels and QoS."""
_EXACT = [f"t/{publisher}/{line}" for publisher in range(len(_KINDS)) for line in range(2)]


class Population:
    """Run publishers and subscribers on one ledger."""

    def __init__(self, place: Place, ledger: Ledger, random: Random, *, changes: int = 12) -> None:
        self.place = place
        self.ledger = ledger
        self.publishers = [
            Publisher(
                number,
                level,
                qos,
                place,
                ledger,
                Random(random.random()),
                topics=[f"t/{number}/{line}" for line in range(3)] + [f"g/{number}"],
                retained=[f"r/{number}/{line}" for line in range(2)],
                least_ids=number % 3 == 0,
                window=random.choice((5, 40, 120)),
            )
            for number, (level, qos) in enumerate(_KINDS)
        ]
        parties = (place, ledger)
        self.subscribers = [
            Subscriber(
                "exact", 4, {f"t/{n}/{line}": 2 for n in range(4) for line in range(2)}, *parties, _fork(random)
            ),
            Subscriber("levels", 4, {"t/+/0": 1, "t/+/1": 1}, *parties, _fork(random), hesitant=True),
            Subscriber("all", 5, {"#": 2}, *parties, _fork(random), identifier=7),
            Subscriber("slow", 5, {"t/+/2": 2, "t/+/1": 1}, *parties, _fork(random), receive_maximum=3, hesitant=True),
            *(
                Subscriber(f"member-{n}", 5, {"g/#": 2}, *parties, _fork(random), group="group", hesitant=n == 1)
                for n in range(2)
            ),
            FickleSubscriber("fickle-4", 4, {"t/0/#": 1, "t/2/#": 2}, *parties, _fork(random), changes=changes),
            FickleSubscriber("fickle-5", 5, {"t/1/#": 2, "t/3/#": 2}, *parties, _fork(random), changes=changes),
        ]

    async def begin(self) -> None:
        """Let everybody subscribe, and then publish: everything has somebody to go to."""
        await asyncio.gather(*(subscriber.begin() for subscriber in self.subscribers))
        await asyncio.gather(*(publisher.begin() for publisher in self.publishers))

    async def run(self) -> None:
        """Publish and receive until the place says that it is time to finish, and all that is owed is there."""
        async with asyncio.TaskGroup() as tasks:
            for client in (*self.publishers, *self.subscribers):
                tasks.create_task(client.run(), name=client.client_id)

    async def publishing(self) -> None:
        """Wait until all publishers are connected at once, or have been since this was called."""
        before = {publisher: publisher.connections for publisher in self.publishers}
        await wait_for(
            lambda: all(one.online or one.connections > before[one] for one in self.publishers),
            lambda: f"{[one.client_id for one in self.publishers if not one.online]} to be connected",
        )

    async def check_quiet(self) -> None:
        """Assert that the server owes nobody anything; everybody connects and stays."""
        self.ledger.close()
        for client in (*self.publishers, *self.subscribers):
            if not client.online:
                await client.connect()
        for client in (*self.publishers, *self.subscribers):
            await client.ping()

    async def check_retained(self) -> None:
        """Assert that a new client gets of each topic what was retained last, or will be."""
        auditor = await Client.open(await self.place.reachable())
        await auditor.connect("", username=self.place.username, password=self.place.password)
        at = self.ledger.tick()
        auditor.send(subscribe(1, ("r/#", 0)), PING)
        found: dict[str, bytes] = {}
        while (packet := await auditor.read(WAIT_SECONDS)).kind != PINGRESP:
            if packet.kind == PUBLISH and packet.retain:
                assert packet.topic not in found
                found[packet.topic] = packet.payload
        auditor.abort()
        assert found.keys() <= self.ledger.retained.keys()
        for topic in [*self.ledger.retained]:
            self.ledger.check_retained(topic, found.get(topic), at)

    def assert_kept(self) -> None:
        """Assert that nothing acknowledged was lost, and that no handshake is left halfway."""
        self.ledger.assert_kept()
        for publisher in self.publishers:
            assert not publisher.in_flight
        for subscriber in self.subscribers:
            assert subscriber.settled


def _fork(random: Random) -> Random:
    return Random(random.random())
