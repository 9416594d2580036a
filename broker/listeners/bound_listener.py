"""A listener at an address: TCP, TLS, WebSocket or Unix socket."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from logging import getLogger
from typing import cast

from ..connection import Connection, Door
from ..protocol.reason_codes import ReasonCode
from ..settings import MqttSettings
from .acceptor import BACKLOG, Acceptor
from .addresses import Address, TcpAddress, UnixAddress
from .arrival import Arrival, Passage
from .limits import ListenerLimits
from .listener import Listener
from .options import ListenerOptions
from .sockets import SocketFile, bind
from .tls import CertificateError, Certificates

_logger = getLogger(__name__)


class BoundListener(Listener):
    """Accept connections at one address.

    A plain TCP connection has nothing in between itself and the event loop, and asks here whether there is room. Any
    other socket has an `Arrival` for its handshakes.

    Who accepts plain TCP depends on the loop. uvloop does it for half of what it costs here, and closes what it has no
    file for. asyncio's loop would try a thousand times in a row then, with a traceback each time, and is no faster: an
    `Acceptor` takes its place, as for all other sockets.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        limits: ListenerLimits,
        address: Address,
        options: ListenerOptions | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(name, kind, limits)
        self.certificates = certificates
        self._address = address
        self._options = options or ListenerOptions()
        self._arrivals: set[Arrival] = set()
        self._plain: set[asyncio.Task[tuple[asyncio.Transport, Connection]]] = set()
        """Plain TCP sockets that are accepted and have no transport yet."""
        self._stopped = False
        self._servers: list[asyncio.Server | Acceptor] = []
        self._bound: tuple[str, int] | None = None
        self._file: SocketFile | None = None
        self._passage: Passage | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """The address that is bound, which tells the port where 0 was asked for; a Unix socket's has no port."""
        return self._bound

    @property
    def place(self) -> Address:
        """Where it is to listen; once it has been open, where that was."""
        if isinstance(self._address, TcpAddress) and self._bound is not None:
            return replace(self._address, port=self._bound[1])
        return self._address

    @property
    def handshaking(self) -> int:
        """Sockets that are accepted and not through their handshakes yet."""
        return len(self._arrivals) + len(self._plain)

    async def open(
        self, loop: asyncio.AbstractEventLoop, make_connection: Callable[[Door], Connection], settings: MqttSettings
    ) -> None:
        """Bind and listen; what was stopped does so where it did. Raises OSError."""
        sockets = await bind(loop, self.place)
        self._stopped = False
        if isinstance(self._address, UnixAddress):
            self._file = SocketFile(self._address.path)
            self._bound = (str(self._address), 0)
        else:
            first = cast("tuple[str, int]", sockets[0].getsockname())
            self._bound = (first[0], first[1])
        self._passage = Passage(
            loop=loop,
            door=self,
            make_connection=make_connection,
            limits=self.limits,
            options=self._options,
            certificates=self.certificates,
            websocket=self.kind in ("ws", "wss"),
            peer=self._bound if self._file is not None else None,
            connect_timeout=settings.connect_timeout,
            max_packet_size=settings.max_packet_size,
            policy=self.limits.policy,
        )
        plain = self._plainly(self._options)
        by_loop = plain and not isinstance(loop, asyncio.SelectorEventLoop)
        # [MQTT-7.1.1-1], [MQTT-4.2.0-1]
        for place, bound in enumerate(sockets):
            try:
                if by_loop:
                    server = await loop.create_server(lambda: make_connection(self), sock=bound, backlog=BACKLOG)
                else:
                    server = Acceptor(loop, bound, self._accepted_plain if plain else self._accepted)
                    server.start()
            except BaseException:
                for unused in sockets[place:]:
                    unused.close()
                self.stop()
                raise
            self._servers.append(server)

    def _plainly(self, options: ListenerOptions) -> bool:
        return self.kind == "tcp" and not options.proxy_protocol

    def can_become(self, other: Listener) -> bool:
        """Tell whether the other one has the same address, and its sockets are accepted in the same way."""
        return (
            isinstance(other, BoundListener)
            and (self.kind, self._address) == (other.kind, other._address)
            and self._plainly(self._options) is other._plainly(other._options)
        )

    def become(self, other: Listener, settings: MqttSettings) -> None:
        """Take over what the other one would do."""
        if isinstance(other, BoundListener):
            self._options, self.certificates = other._options, other.certificates
            self.limits.change(other.limits.max_connections, other.limits.policy)
            self.change_settings(settings)

    def wants_place_of(self, other: Listener) -> bool:
        """Tell whether both are for the same port, though perhaps of different addresses, or for the same file."""
        if not isinstance(other, BoundListener):
            return False
        mine, others = self.place, other.place
        if isinstance(mine, UnixAddress) or isinstance(others, UnixAddress):
            return str(mine) == str(others)
        return mine.port == others.port != 0

    def change_settings(self, settings: MqttSettings) -> None:
        """Have connections to come keep to these limits."""
        self.limits.change(self.limits.max_connections, self.limits.policy)
        if self._passage is not None:
            self._passage = replace(
                self._passage,
                options=self._options,
                certificates=self.certificates,
                connect_timeout=settings.connect_timeout,
                max_packet_size=settings.max_packet_size,
                policy=self.limits.policy,
            )

    def stop(self) -> None:
        """Accept no more connections and cut off those in a handshake; connections that are there stay."""
        self._stopped = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for arrival in list(self._arrivals):
            arrival.abort()
        if self._file is not None:
            self._file.remove()
            self._file = None

    def reload_certificates(self) -> None:
        """Have new connections get the certificates as they are in their files now; raises CertificateError.

        Where that fails, the ones in use stay in use, and the log says so.
        """
        if self.certificates is None:
            return
        try:
            self.certificates.reload()
        except CertificateError as error:
            _logger.error("listener %s keeps its certificates: %s", self.listener_id, error)
            raise
        _logger.info("listener %s has new certificates", self.listener_id)

    # -- sockets of plain TCP, where the loop does not accept them

    def _accepted_plain(self, accepted: socket.socket, peer: object) -> None:
        passage = self._passage
        if passage is None:
            accepted.close()
            return
        made = passage.loop.create_task(
            passage.loop.connect_accepted_socket(lambda: passage.make_connection(self), accepted)
        )
        self._plain.add(made)
        self._empty.clear()
        made.add_done_callback(self._made_plain)

    def _made_plain(self, made: asyncio.Task[tuple[asyncio.Transport, Connection]]) -> None:
        self._plain.discard(made)
        if not made.cancelled():
            error = made.exception()
            if error is not None:
                _logger.info("listener %s: a connection was not made: %s", self.listener_id, error)
            elif self._stopped:  # it was accepted before, but too late for those that stop the listener to see it
                made.result()[0].abort()
        self._look_whether_empty()

    # -- sockets that need a handshake

    def _accepted(self, accepted: socket.socket, peer: object) -> None:
        passage = self._passage
        if passage is None:
            accepted.close()
            return
        address = cast("tuple[str, int]", peer)[:2] if isinstance(peer, tuple) else None
        if address is not None and self._options.proxy_protocol and not self._options.trusts_proxy(address[0]):
            _logger.info("listener %s: %s closed: it is no proxy's address", self.listener_id, address[0])
            self.limits.cut_off(ReasonCode.NOT_AUTHORIZED)
            accepted.close()
            return
        now = passage.loop.time()
        # Behind a proxy the client's address is not known yet; a Unix socket's peers have none.
        known = address is not None and not self._options.proxy_protocol
        refusal = self.limits.check(address[0], now) if known and address else self.limits.check_room(now)
        if refusal is not None and not self.limits.may_explain(now):
            accepted.close()
            return
        self._arrivals.add(Arrival(passage, accepted, address, refusal, self._arrived))
        self._empty.clear()

    def _arrived(self, arrival: Arrival) -> None:
        self._arrivals.discard(arrival)
        self._look_whether_empty()
