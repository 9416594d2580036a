"""A publisher that sends every message until it is acknowledged, as sections 4.3 and 4.4 of the standard ask."""

import asyncio
from collections.abc import Sequence
from random import Random

from ..engine.packets5 import P, Packet5
from ..engine.wire import PUBACK, PUBCOMP, PUBREC, PUBREL
from .ledger import SMALLEST, Key, Ledger, Publication
from .persistent_clients import PersistentClient, Place, wait_for

SIZES = (SMALLEST, 40, 100, 1_000, 20_000)
_WEIGHTS = (4, 4, 4, 2, 0.3)
_LONGEST_RUN = 40
_OFTEN = 0.5
"""How often a burst is a run of messages of one size on one topic."""


class Publisher(PersistentClient):
    """Publish at one QoS, single messages and runs in one write, within a window."""

    def __init__(
        self,
        number: int,
        level: int,
        qos: int,
        place: Place,
        ledger: Ledger,
        random: Random,
        *,
        topics: Sequence[str],
        retained: Sequence[str] = (),
        least_ids: bool = False,
        window: int = 100,
        rest: float = 0.01,
    ) -> None:
        """`least_ids` uses a packet identifier again as soon as it is free; `rest` is in seconds, between bursts."""
        super().__init__(f"publisher-{number}", level, place, ledger, random)
        self.number = number
        self.qos = qos
        self.topics = topics
        self.retained = retained
        self.least_ids = least_ids
        self.window = self._room = window
        self.rest = rest
        self.unacknowledged: dict[int, Publication] = {}
        """Sent, without PUBACK or PUBREC, by packet identifier and in the order of sending."""
        self.released: dict[int, Publication] = {}
        """With PUBREC and without PUBCOMP, in the order of the PUBRECs."""
        self._sent = 0
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Publish until the test comes to its end and everything is acknowledged."""
        while True:
            if not self.online:
                await self.connect()
            left = self.random.randrange(50, 600)
            while self.online and not self.place.finishing and left > 0:
                left -= self._burst()
                await self._first(self._wait_progress(), f"an acknowledgement to {self.client_id}")
            if self.place.finishing:
                await self._first(self._wait_finished(), f"the last acknowledgements to {self.client_id}")
                if not self.in_flight:
                    return
            else:
                await self.stay(self.random.uniform(0, 0.1))
            await self.go_offline()

    async def begin(self) -> None:
        """Connect for the first time, and have one message acknowledged: so the server has promised something."""
        await self.connect()
        self.send(self._publish(self.topics[0], SMALLEST))
        await self._first(self._wait_finished(), f"the first acknowledgement to {self.client_id}")
        assert self.present, f"{self.client_id} could not publish"

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged to the end."""
        return len(self.unacknowledged) + len(self.released)

    async def _wait_progress(self) -> None:
        """Wait until there is room in the window, and for a moment."""
        await asyncio.sleep(self.random.uniform(0, self.rest))
        while self.in_flight >= self._room:
            self._progress.clear()
            await self._progress.wait()

    async def _wait_finished(self) -> None:
        await wait_for(lambda: not self.in_flight, lambda: f"{self.unacknowledged} and {self.released}")

    def _burst(self) -> int:
        """Send one message, some of all sorts, or a run; give their number."""
        random = self.random
        room = max(0, self._room - self.in_flight)
        count = min(room, random.choice((1, 3, random.randrange(1, _LONGEST_RUN))))
        alike = random.random() < _OFTEN
        topic, size = self._choose()
        packets: list[bytes] = []
        for _ in range(count):
            packets.append(self._publish(topic, size))
            if not alike:
                topic, size = self._choose()
        self.send(*packets)
        return count

    def _choose(self) -> tuple[str, int]:
        random = self.random
        topic = random.choice([*self.topics, *self.retained])
        if topic in self.retained and random.random() < 0.2:
            return topic, 0  # deletes it
        (size,) = random.choices(SIZES, _WEIGHTS)
        return topic, size

    def _publish(self, topic: str, size: int) -> bytes:
        self._sent += 1
        packet_id = self._free_id()
        publication = self.ledger.publish(
            Key(self.number, self._sent), topic, size, self.qos, retain=topic in self.retained
        )
        self.unacknowledged[packet_id] = publication
        return self._encode(packet_id, publication)

    def _encode(self, packet_id: int, publication: Publication, dup: bool = False) -> bytes:
        one = publication
        return self.spoken.publish(one.topic, one.payload, self.qos, packet_id, retain=one.retain, dup=dup)

    def _free_id(self) -> int:
        packet_id = 1 if self.least_ids else self._sent % 50_000 + 1
        while packet_id in self.unacknowledged or packet_id in self.released:
            packet_id += 1
        return packet_id

    def resume(self, connack: Packet5) -> None:
        """Send again what was not acknowledged, with the same packet identifiers, and the PUBRELs that are owed."""
        most = connack.get(P.RECEIVE_MAXIMUM)
        self._room = min(self.window, most) if isinstance(most, int) else self.window
        for publication in self.unacknowledged.values():
            publication.sent_again = True
        self.send(
            *(self.spoken.acknowledge(PUBREL, packet_id) for packet_id in self.released),
            *(self._encode(packet_id, one, dup=True) for packet_id, one in self.unacknowledged.items()),
        )  # [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]

    def take(self, packet: Packet5) -> None:
        """Take an acknowledgement; none may come that was not asked for."""
        packet_id, what = packet.packet_id, f"{self.client_id}: {packet}"
        assert packet.reason in (0, 0x10) or packet.kind == PUBCOMP, what
        if packet.kind == PUBREC and self.qos == 2:
            assert packet_id in self.unacknowledged, what
            self.released[packet_id] = self.unacknowledged.pop(packet_id)
            self.send(self.spoken.acknowledge(PUBREL, packet_id))
        else:
            waiting = self.unacknowledged if self.qos == 1 else self.released
            assert packet.kind == (PUBACK if self.qos == 1 else PUBCOMP) and packet_id in waiting, what
            self.ledger.acknowledge(waiting.pop(packet_id))
            self.present = True
        self._progress.set()
