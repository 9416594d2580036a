"""A subscriber that keeps of its session what the standard has a client keep, and holds the server to its part."""

import asyncio
from collections import deque
from random import Random

from ..engine.packets5 import P, Packet5
from ..engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK
from .ledger import Audience, Key, Ledger, Reception
from .persistent_clients import PersistentClient, Place, wait_for

_MOST_IN_FLIGHT = 65_535


class Subscriber(PersistentClient):
    """Go on- and offline, and acknowledge what comes, at once or later but always in order."""

    def __init__(
        self,
        name: str,
        level: int,
        filters: dict[str, int],
        place: Place,
        ledger: Ledger,
        random: Random,
        *,
        group: str = "",
        identifier: int | None = None,
        receive_maximum: int = _MOST_IN_FLIGHT,
        hesitant: bool = False,
    ) -> None:
        """A member of a group subscribes to its filters as shared ones; one that is `hesitant` acknowledges late."""
        super().__init__(name, level, place, ledger, random)
        self.filters = filters
        self.audience: Audience = ledger.audience(group or name, filters, shared=bool(group))
        self.receive_maximum = receive_maximum
        if receive_maximum < _MOST_IN_FLIGHT:
            self.properties.append((P.RECEIVE_MAXIMUM, receive_maximum))
        self._group = group
        self._identifier = identifier
        self._hesitant = hesitant
        self.unreleased: dict[int, Key | None] = {}
        """QoS 2 messages given to the application whose PUBREL has not come, by packet identifier."""
        self._recorded: set[int] = set()
        """Those of them whose PUBREC was sent."""
        self._open: set[int] = set()
        """Packet identifiers that came in this connection and were not acknowledged to the end."""
        self._owed: deque[tuple[int, int]] = deque()
        """Acknowledgements, by packet type and identifier, that have not been sent."""
        self._flushing: asyncio.TimerHandle | None = None
        self._subscribed = asyncio.Event()
        self._asked: int | None = None
        """The packet identifier of the SUBSCRIBE or UNSUBSCRIBE on its way."""

    # -- what it does

    async def run(self) -> None:
        """Come and go until the test comes to its end and all that is owed has arrived."""
        while not self.place.finishing:
            await self.visit()
            await self.pause(self.random.uniform(0, 0.15))
        await self.finish()

    async def begin(self) -> None:
        """Connect for the first time and subscribe."""
        await self.connect()
        await self.subscribe()
        assert self.audience.since is not None, f"{self.client_id} could not subscribe"

    async def visit(self) -> None:
        """Connect, stay for a while, and go."""
        if not self.online:
            await self.connect()
        await self.stay(self.random.choice((0, 0.02, 0.1, 0.4)) * self.random.random())
        await self.go_offline()

    async def finish(self) -> None:
        """Stay until everything is there and every handshake has come to its end; reconnects where it must."""
        settled = False
        while not settled:
            if not self.online:
                await self.connect()
            await self._first(self._wait_settled(), f"the rest for {self.client_id}")
            if self.online:
                await self.ping()  # after which all has come that the server has to send again
                settled = self.settled

    @property
    def settled(self) -> bool:
        """Tell whether all that is owed has come and nothing is to be acknowledged any more."""
        return not (self.unreleased or self._open or self._owed or self.audience.lacking)

    async def _wait_settled(self) -> None:
        await wait_for(lambda: self.ledger.all_acknowledged, lambda: "the publishers")
        await wait_for(
            lambda: self.settled,
            lambda: (
                f"{self.client_id} to have all: {[*self.audience.lacking.values()][:3]} missing, "
                f"{self.unreleased} unreleased, {self._open} unacknowledged"
            ),
        )

    async def subscribe(self) -> None:
        """Subscribe, and wait for the SUBACK or the end of the connection."""
        self._subscribed.clear()
        self._asked = self.next_id()
        extra = {} if self._identifier is None else {"properties": [(P.SUBSCRIPTION_ID, self._identifier)]}
        packet = self.spoken.subscribe(self._asked, *self._full_filters(), **extra)
        self.audience.end_gap(self.ledger.tick())
        self.send(packet)
        await self._first(self._subscribed.wait(), f"the SUBACK of {self.client_id}")

    def _full_filters(self) -> list[tuple[str, int]]:
        prefix = f"$share/{self._group}/" if self._group else ""
        return [(f"{prefix}{name}", qos) for name, qos in self.filters.items()]

    # -- what comes

    def _begin(self, clean: bool) -> None:
        self._open.clear()
        self._owed.clear()  # the server sends again what was not acknowledged
        self._asked = None

    def take(self, packet: Packet5) -> None:
        """Take a packet: a message, a PUBREL, or an answer to a request."""
        if packet.kind == PUBLISH:
            assert packet.qos, f"{self.client_id}: {packet} at QoS 0"
            self._take_publish(packet)
            self._flush_soon()
        elif packet.kind == PUBREL:
            self._take_pubrel(packet.packet_id)
            self._flush_soon()
        else:
            assert packet.packet_id == self._asked, f"{self.client_id}: {packet}, not asked for"
            self._take_answer(packet)

    def _take_answer(self, packet: Packet5) -> None:
        assert packet.kind == SUBACK, packet
        assert list(packet.codes) == list(self.filters.values()), packet
        self.audience.subscribed(self.ledger.tick())
        self.present = True
        self._subscribed.set()

    def _take_publish(self, packet: Packet5) -> None:
        packet_id = packet.packet_id
        # [MQTT-4.4.0-1]: sent again in another connection only
        assert packet_id not in self._open, f"{self.client_id}: {packet_id} sent again in one connection"
        self._open.add(packet_id)
        # [MQTT-3.3.4-9]
        assert len(self._open) <= self.receive_maximum, f"{self.client_id}: {len(self._open)} unacknowledged"
        assert not packet.retain, f"{self.client_id}: {packet} is not for a new subscription"
        identifiers = [] if self._identifier is None else [self._identifier]
        assert packet.subscription_ids == identifiers, f"{self.client_id}: {packet}"  # [MQTT-3.3.4-3]
        if packet.qos == 1:
            self._give(packet)
            self._owed.append((PUBACK, packet_id))
            return
        if packet_id in self.unreleased:  # [MQTT-4.3.3-10]: not given away a second time
            key = self.unreleased[packet_id]
            same = self.ledger.publications[key].payload if key else b""
            assert packet.payload == same, f"{self.client_id}: {packet_id}, in use for {key}, given to another message"
            assert packet.dup, f"{self.client_id}: {key} sent again without DUP"  # [MQTT-3.3.1-1]
        else:
            self.unreleased[packet_id] = self._give(packet)
        self._owed.append((PUBREC, packet_id))

    def _give(self, packet: Packet5) -> Key | None:
        """Give a message to the application."""
        if not packet.payload:
            return None  # what deletes a retained message looks like any other that does
        reception = Reception(0, self.client_id, packet.packet_id, self.connections, packet.qos)
        key = self.ledger.receive(self.audience, packet.payload, packet.topic, reception)
        *earlier, _ = self.audience.receptions[key]
        if earlier and not self._group and not self.ledger.publications[key].sent_again:
            # Then it is one delivery, sent again: [MQTT-4.4.0-1], [MQTT-3.3.1-1]
            last = earlier[-1]
            assert last.connection < self.connections, f"{self.client_id} got {key} twice in a connection"
            assert last.packet_id == packet.packet_id, f"{self.client_id} got {key} as {last} and {reception}"
            assert packet.dup, f"{self.client_id} got {key} again without DUP"
        return key

    def _take_pubrel(self, packet_id: int) -> None:
        if packet_id in self.unreleased:
            assert packet_id in self._recorded, f"{self.client_id}: {packet_id} released before it was received"
            self._recorded.discard(packet_id)
            del self.unreleased[packet_id]
        self._owed.append((PUBCOMP, packet_id))

    # -- acknowledgements

    @property
    def _hesitates(self) -> bool:
        return self._hesitant and not self.place.finishing

    def _flush_soon(self) -> None:
        """Have the acknowledgements sent, in this turn of the loop or in a moment."""
        if self._flushing is None:
            late = self.random.uniform(0, 0.02) if self._hesitates else 0.0
            self._flushing = asyncio.get_running_loop().call_later(late, self._flush)

    def _flush(self) -> None:
        """Send the acknowledgements that are owed; one that hesitates keeps some back."""
        self._flushing = None
        count = len(self._owed)
        if self._hesitates:
            count = self.random.randint(1, count) if count else 0
        packets: list[bytes] = []
        for _ in range(count if self.online else 0):
            kind, packet_id = self._owed.popleft()
            packets.append(self.spoken.acknowledge(kind, packet_id))
            if kind == PUBREC:
                self._recorded.add(packet_id)
            else:
                self._open.discard(packet_id)
        if packets:
            self.send(*packets)
        if self._owed and self.online:
            self._flush_soon()


class FickleSubscriber(Subscriber):
    """Unsubscribe and subscribe anew, or have the session begin anew, a number of times between visits."""

    def __init__(self, *about: object, changes: int, **more: object) -> None:
        super().__init__(*about, **more)  # type: ignore[arg-type]
        self._changes = changes

    async def visit(self) -> None:
        """Connect, perhaps leave something behind, stay for a while, and go."""
        if not self.online:
            await self.connect()
        await self.renew()
        await super().visit()

    async def finish(self) -> None:
        """Be subscribed, for the little that still comes."""
        self._changes = 0
        while not self.online or self.audience.since is None:
            if not self.online:
                await self.connect()
            await self.renew()
        await super().finish()

    async def renew(self) -> None:
        """Change something, and be subscribed after it unless the connection is lost."""
        if self.audience.since is not None and self._changes and self.random.random() < 0.4:
            self._changes -= 1
            self.audience.left()
            await (self._unsubscribe() if self.random.random() < 0.5 else self._start_anew())
        if self.audience.since is None and self.online:
            await self.stay(self.random.uniform(0, 0.05))
            if self.online:
                await self.subscribe()

    async def _unsubscribe(self) -> None:
        self._subscribed.clear()
        self._asked = self.next_id()
        self.send(self.spoken.unsubscribe(self._asked, *(name for name, _ in self._full_filters())))
        await self._first(self._subscribed.wait(), f"the UNSUBACK of {self.client_id}")

    async def _start_anew(self) -> None:
        """Discard the session, as a client does that has lost its own part of it."""
        await self.go_offline()
        await self.connect(clean=True)
        if self.level == 4:
            await self.go_offline()
            await self.connect()

    def _begin(self, clean: bool) -> None:
        super()._begin(clean)
        if clean:
            self.unreleased.clear()
            self._recorded.clear()
            self.audience.born_at = self.ledger.tick()

    def resume(self, connack: Packet5) -> None:
        """Note where a new session begins, in which nothing is subscribed to."""
        if not connack.session_present:
            self.audience.begin_gap(self.ledger.tick())

    def _take_answer(self, packet: Packet5) -> None:
        if packet.kind != UNSUBACK:
            super()._take_answer(packet)
            return
        self.audience.begin_gap(self.ledger.tick())
        self._subscribed.set()
