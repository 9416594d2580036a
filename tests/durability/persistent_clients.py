"""What publishers and subscribers of a crash test share: a session that outlives connections and servers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from ..engine import wire, wire5
from ..engine.packets5 import P, Packet5, Property
from ..engine.wire import CONNACK, DISCONNECT, PINGRESP
from .connections import Connection
from .ledger import Ledger

WAIT_SECONDS = 60.0
"""What anything that must happen may take; far more than it does, for a machine that stalls."""
FOR_EVER = 0xFFFFFFFF
SHUTTING_DOWN = 0x8B


async def wait_for(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Return once the condition holds; AssertionError that says what did not come to be."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():  # noqa: ASYNC110 - any state of any client may be the condition
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {WAIT_SECONDS} s in vain for {what()}") from None


@dataclass
class Place:
    """Where the server is, as all clients know it; it comes and goes."""

    username: str | None = None
    password: bytes | None = None
    address: tuple[str, int] | None = None
    """None while there is no server."""
    end: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the test comes to its end: publishers send nothing new, subscribers stay."""

    @property
    def finishing(self) -> bool:
        """Tell whether the test comes to its end."""
        return self.end.is_set()

    async def reachable(self) -> tuple[str, int]:
        """Wait until there is a server."""
        await wait_for(lambda: self.address is not None, lambda: "a server")
        assert self.address is not None
        return self.address


class PersistentClient:
    """Connect to one session again and again, as 3.1.1 or 5 has it."""

    def __init__(self, client_id: str, level: int, place: Place, ledger: Ledger, random: Random) -> None:
        self.client_id = client_id
        self.level = level
        self.place = place
        self.ledger = ledger
        self.random = random
        self.connections = 0
        """Connections that the server has accepted."""
        self.present: bool | None = False
        """Whether the server must have the session; None where it may have lost it, with nothing promised in it yet."""
        self.spoken = wire5 if level == 5 else wire
        self.properties: list[Property] = [(P.SESSION_EXPIRY, FOR_EVER)] if level == 5 else []
        self._connection: Connection | None = None
        self._clean = False
        self._accepted = asyncio.Event()
        self._answered = asyncio.Event()
        self._last_id = 0

    @property
    def online(self) -> bool:
        """Tell whether a connection is up that the server has accepted."""
        connection = self._connection
        return connection is not None and self._accepted.is_set() and not connection.over.is_set()

    async def connect(self, *, clean: bool = False) -> None:
        """Connect, and try anew for as long as the server is killed over it."""
        while True:
            try:
                return await self._connect_once(clean)
            except OSError:
                await asyncio.sleep(0.005)

    async def _connect_once(self, clean: bool) -> None:
        assert not self.online
        self._accepted.clear()
        address = await self.place.reachable()
        self._connection = connection = await Connection.open(address, self.level, self._take)
        self._begin(clean)
        fields = {"properties": self.properties} if self.level == 5 else {}
        place = self.place
        self._clean = clean
        if clean:
            self.present = None
        connection.send(
            self.spoken.connect(self.client_id, clean=clean, username=place.username, password=place.password, **fields)
        )
        await self._first(self._accepted.wait(), f"the CONNACK of {self.client_id}")
        if not self._accepted.is_set():
            await connection.wait_over()
            raise ConnectionResetError

    async def _first(self, something: Awaitable[object], what: str) -> None:
        """Wait for something, or for the end of the connection; raises what handling a packet raised."""
        connection = self._connection
        assert connection is not None
        waits = [asyncio.ensure_future(something), asyncio.ensure_future(connection.over.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=2 * WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            assert done, f"waited {2 * WAIT_SECONDS} s in vain for {what}"
        finally:
            for wait in waits:
                wait.cancel()
            first, _ = await asyncio.gather(*waits, return_exceptions=True)
        if connection.failure is not None:
            raise connection.failure
        if isinstance(first, Exception):
            raise first

    async def go_offline(self) -> None:
        """End the connection, with a DISCONNECT or without."""
        connection = self._connection
        if connection is None:
            return
        if self.random.random() < 0.5:
            connection.send(wire.GOODBYE)
            connection.transport.close()
        else:
            connection.abort()
        await self._first(connection.over.wait(), f"the end of a connection of {self.client_id}")

    async def pause(self, seconds: float) -> None:
        """Wait for a while, for less where the test comes to its end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.place.end.wait(), seconds)

    async def stay(self, seconds: float) -> None:
        """Stay connected for a while, for less where the connection or the test comes to its end."""
        await self._first(self.pause(seconds), "the end of a pause")

    async def ping(self) -> None:
        """Wait until the server has handled all that was sent, and has sent what it then had to send."""
        self._answered.clear()
        self.send(wire.PING)
        await self._first(self._answered.wait(), f"the PINGRESP of {self.client_id}")
        assert self._answered.is_set(), f"{self.client_id} lost its connection"

    def send(self, *packets: bytes) -> None:
        """Send packets in one write."""
        assert self._connection is not None
        self._connection.send(*packets)

    def next_id(self) -> int:
        """Give the packet identifier of a SUBSCRIBE or UNSUBSCRIBE: none that a publish uses."""
        self._last_id = self._last_id % 1_000 + 1
        return 60_000 + self._last_id

    def _take(self, packet: Packet5) -> None:
        if self._accepted.is_set():
            if packet.kind == PINGRESP:
                self._answered.set()
            elif packet.kind == DISCONNECT:
                assert packet.reason == SHUTTING_DOWN, f"{self.client_id}: {packet}"
            else:
                assert packet.kind != CONNACK, "a second CONNACK"
                self.take(packet)
            return
        assert packet.kind == CONNACK, f"{self.client_id}: {packet} before the CONNACK"  # [MQTT-3.2.0-1]
        assert packet.reason == 0, f"{self.client_id} refused: {packet}"
        if self._clean:
            assert not packet.session_present, f"{self.client_id} wanted a new session"  # [MQTT-3.2.2-2]
        elif self.present is not None:
            assert packet.session_present is self.present, f"{self.client_id}: session present {not self.present}"
        self.connections += 1
        self._accepted.set()
        self.resume(packet)
        if self._clean and self.level == 4:
            self.present = False  # in 3.1.1 a clean session ends with its connection
        else:
            self.present = packet.session_present or None

    # -- for those who know what the session is for

    def _begin(self, clean: bool) -> None:
        """Forget what belonged to the last connection; the CONNECT follows."""

    def resume(self, connack: Packet5) -> None:
        """Go on where the session was left, before any other packet is read."""

    def take(self, packet: Packet5) -> None:
        """Take a packet that is about messages or subscriptions."""
        raise NotImplementedError
