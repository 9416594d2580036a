"""One way in and the connections that came through it."""

import asyncio
from collections import Counter

from ..connection import Connection
from ..protocol.reason_codes import ReasonCode
from ..settings import MqttSettings
from .limits import ListenerLimits


class Listener:
    """Count connections in and out, and tell those that come whether there is room."""

    def __init__(self, name: str, kind: str, limits: ListenerLimits) -> None:
        self.name = name
        self.kind = kind
        self.listener_id = f"{kind}:{name}"
        self.limits = limits
        self.connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def address(self) -> tuple[str, int] | None:
        """The address that is bound, if one is."""
        return None

    @property
    def handshaking(self) -> int:
        """Sockets that are accepted and not through their handshakes yet."""
        return 0

    @property
    def turned_away(self) -> Counter[ReasonCode]:
        """Connections that were refused at the door, by reason."""
        return self.limits.turned_away

    def turn_away(self, peer_host: str) -> ReasonCode | None:
        """Give the reason for not serving another client from this address now, None where there is none."""
        return self.limits.check(peer_host, asyncio.get_running_loop().time())

    def certificate_name(self, transport: asyncio.BaseTransport) -> str | None:
        """Give None: no user name is taken from a certificate here."""
        return None

    def time_left(self, connect_timeout: float) -> float:
        """Give all of it: here a connection is made as soon as its socket is accepted."""
        return connect_timeout

    def entered(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)
        self.limits.enter()
        self._empty.clear()

    def left(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        self.limits.leave()
        self._look_whether_empty()

    def can_become(self, other: "Listener") -> bool:
        """Tell whether this can be what another listener, which is not open, would be, with the sockets it has."""
        return False

    def become(self, other: "Listener", settings: MqttSettings) -> None:
        """Be that for all connections to come; those that are there notice nothing."""

    def wants_place_of(self, other: "Listener") -> bool:
        """Tell whether this cannot be opened as long as the other one is."""
        return False

    def stop(self) -> None:
        """Accept no more connections; those that are there stay."""

    async def wait_empty(self) -> None:
        """Wait until no connection is left, and none in a handshake."""
        await self._empty.wait()

    def _look_whether_empty(self) -> None:
        if not self.connections and not self.handshaking:
            self._empty.set()
