"""The way of one accepted socket through the handshakes that a listener asks for: PROXY header, TLS, WebSocket.

It counts as a connection from the moment it is accepted, has one time limit for all handshakes together, and is cut off
when the listener stops. At the end the connection is put in its place, directly behind the transport.

Only public interfaces of the event loop are used, and in this order: the PROXY header is taken off the bare socket, to
the byte; `connect_accepted_socket` then makes the transport, with TLS where it is asked for. So a header never has to
be fed back into anything, and it works alike on asyncio's loop and uvloop's.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger
from typing import Any, cast

from ..connection import Connection, Door
from ..protocol.reason_codes import ReasonCode
from .announced_transport import AnnouncedTransport
from .certificate_names import certificate_username
from .limits import ListenerLimits
from .options import ListenerOptions
from .policy import ListenerPolicy
from .proxy_protocol import ProxyHeader, ProxyHeaderParser, ProxyProtocolError
from .tls import Certificates

_logger = getLogger(__name__)

_PEEK_BYTES = 4_096
_REFUSED_TIMEOUT = 5.0
"""Seconds for the handshakes of a client that is to be told that it is refused."""
_TLS_CLOSE_TIMEOUT = 5.0
"""Seconds that a peer has to answer the end of TLS."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What all sockets of one listener go through."""

    loop: asyncio.AbstractEventLoop
    door: Door
    """The listener, which counts the connections."""
    make_connection: Callable[[Door], Connection]
    limits: ListenerLimits
    options: ListenerOptions
    certificates: Certificates | None
    websocket: bool
    peer: tuple[str, int] | None
    """Who the peers are where they have no address of their own."""
    connect_timeout: float
    max_packet_size: int
    policy: ListenerPolicy

    @property
    def ambient(self) -> bool:
        """Tell whether a browser proves who its user is without the web page's doing: by a certificate."""
        return self.certificates is not None and self.certificates.asks_clients


class Arrival(asyncio.Protocol):
    """Take one socket through its handshakes, and be the door that its connection sees.

    `finished` is called once, when the handshakes are over, in whatever way.
    """

    def __init__(
        self,
        passage: Passage,
        accepted: socket.socket,
        peer: tuple[str, int] | None,
        refusal: ReasonCode | None,
        finished: Callable[["Arrival"], None],
    ) -> None:
        self.listener_id = passage.door.listener_id
        self._passage = passage
        self._socket = accepted
        self._peer = peer
        """For the log."""
        self._announced = passage.peer
        self._refusal = refusal
        self._finished: Callable[[Arrival], None] | None = finished
        self._handed_over = False
        """Whether the event loop has the socket."""
        self._transport: asyncio.Transport | None = None
        self._aborted = False
        self._counted = refusal is None
        if self._counted:
            passage.limits.enter()
        self._accepted_at = passage.loop.time()
        limit = passage.connect_timeout if refusal is None else min(passage.connect_timeout, _REFUSED_TIMEOUT)
        self._timer = passage.loop.call_later(limit, self._time_out)
        self._task = passage.loop.create_task(self._make_transport())
        self._task.add_done_callback(self._task_done)

    def abort(self) -> None:
        """End the connection at once."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()
            return
        self._task.cancel()
        # In the midst of TLS the socket is the event loop's, which may not look at it until a timeout of its own.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # -- what the connection calls

    def turn_away(self, peer_host: str) -> ReasonCode | None:
        """Give the reason that was found when the socket was accepted, or when its PROXY header had come."""
        return self._refusal

    def certificate_name(self, transport: asyncio.BaseTransport) -> str | None:
        """Give the user name in the client's certificate, where the listener takes it from there."""
        source = self._passage.options.certificate_username
        ssl_object = transport.get_extra_info("ssl_object") if source != "none" else None
        certificate = ssl_object.getpeercert() if ssl_object is not None else None
        if not certificate:
            return None
        name = certificate_username(certificate, source)
        # Whoever takes names from certificates and insists on one would otherwise let this one use any login's.
        return "" if name is None and self._passage.options.verify_client == "required" else name

    def time_left(self, connect_timeout: float) -> float:
        """Give the seconds that the handshakes have left of the time limit."""
        return max(0.0, self._accepted_at + connect_timeout - self._passage.loop.time())

    def entered(self, connection: Connection) -> None:
        """Count a connection in."""
        self._passage.door.entered(connection)

    def left(self, connection: Connection) -> None:
        """Count a connection out."""
        self._passage.door.left(connection)

    # -- the way

    async def _make_transport(self) -> None:
        passage = self._passage
        if passage.options.proxy_protocol:
            async with asyncio.timeout(passage.policy.proxy_timeout):
                header = await read_proxy_header(passage.loop, self._socket)
            self._take_header(header)
        tls: dict[str, Any] = {}
        if passage.certificates is not None:
            tls = {
                "ssl": passage.certificates.context,
                "ssl_handshake_timeout": passage.connect_timeout,
                "ssl_shutdown_timeout": _TLS_CLOSE_TIMEOUT,
            }
        self._handed_over = True
        await passage.loop.connect_accepted_socket(lambda: self, self._socket, **tls)

    def _take_header(self, header: ProxyHeader) -> None:
        if header.source is not None:
            self._announced = self._peer = header.source
        limits, now = self._passage.limits, self._passage.loop.time()
        if self._refusal is None and self._peer is not None:
            self._refusal = limits.check_address(self._peer[0], now)
            if self._refusal is not None and not limits.may_explain(now):
                raise ConnectionAbortedError("too many connections from this address")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport, which is through TLS, to its connection."""
        self._transport = real = cast("asyncio.Transport", transport)
        if self._aborted:
            real.abort()
            return
        seen = AnnouncedTransport(real, self._announced) if self._announced is not None else real
        protocol = self._make_websocket() if self._passage.websocket else self._make_connection()
        real.set_protocol(protocol)
        protocol.connection_made(seen)

    def _make_websocket(self) -> asyncio.Protocol:
        from .websocket import (  # their library is loaded only where a WebSocket listener exists
            PATHS,
            WebSocketProtocol,
            frame_bound,
        )

        passage = self._passage
        return WebSocketProtocol(
            self._make_connection,
            passage.loop,
            max_frame_size=frame_bound(passage.max_packet_size),
            handshake_timeout=passage.connect_timeout,
            origins=passage.options.origins,
            same_origin=passage.ambient,
            lost=self._finish,
            paths=PATHS if passage.policy.path is None else (passage.policy.path,),
        )

    def _make_connection(self) -> Connection:
        self._finish()  # from here on the connection counts itself
        return self._passage.make_connection(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of a connection that was aborted as it was made."""
        self._finish()

    # -- the end of the way

    def _time_out(self) -> None:
        _logger.info("listener %s: %s closed: no handshake in time", self.listener_id, _name(self._peer))
        self.abort()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not self._handed_over:
            self._socket.close()
        if self._transport is None:
            self._finish()
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ProxyProtocolError):
            _logger.info("listener %s: %s has a bad PROXY header: %s", self.listener_id, _name(self._peer), error)
        elif isinstance(error, OSError):
            _logger.info("listener %s: %s: no handshake: %s", self.listener_id, _name(self._peer), error)
        elif error is not None:
            _logger.error("listener %s: a handshake failed by a fault of ours", self.listener_id, exc_info=error)

    def _finish(self) -> None:
        finished, self._finished = self._finished, None
        if finished is None:
            return
        self._timer.cancel()
        if self._counted:
            self._passage.limits.leave()
        finished(self)


async def read_proxy_header(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> ProxyHeader:
    """Take a PROXY header off a socket and leave what follows it there.

    Raises ProxyProtocolError for anything else, ConnectionError where the peer hangs up before its end.
    """
    parser = ProxyHeaderParser()
    while parser.header is None:
        await _readable(loop, accepted)
        try:
            seen = accepted.recv(_PEEK_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            continue
        if not seen:
            raise ConnectionResetError("the peer hung up before its PROXY header was complete")
        accepted.recv(parser.receive_data(seen))
    return parser.header


async def _readable(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(accepted, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(accepted)


def _name(peer: tuple[str, int] | None) -> str:
    return f"{peer[0]}:{peer[1]}" if peer is not None else "a local client"
