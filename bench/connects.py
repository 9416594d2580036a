"""Rows about coming and going: connect, CONNACK, DISCONNECT and the end, with a password that was seen before."""

import functools
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from brokers import START_SECONDS, Endpoint, client_context, running
from clients import receive
from rows import Comparable, FigureBound, RateRatio, Requirement, Results, Row, Sample
from turns import Contest, metered
from wire import CONNECTED, DISCONNECT, connect_packet

AT_ONCE = 10
"""Clients that come together; each step is taken with all of them before the next."""
WARM_UP_SECONDS = 0.3
ASYNCIO_SHARE = 1 / 1.5
"""What asyncio's own loop has to reach of uvloop's rate."""


class Connects:
    """Let clients come and go; each waits for the broker to close, so that all the work for it lies in the turn."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None = None) -> None:
        self.done = self.resumed = 0
        self._endpoint = endpoint
        self._context = context
        self._packets = [
            connect_packet(f"coming-{number}", endpoint.username, endpoint.password) for number in range(AT_ONCE)
        ]
        self._sessions: list[ssl.SSLSession | None] = [None] * AT_ONCE

    def run(self, seconds: float) -> None:
        """Come and go for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._come_and_go()

    def _come_and_go(self) -> None:
        sockets = [self._open(number) for number in range(AT_ONCE)]
        try:
            for sock, packet in zip(sockets, self._packets, strict=True):
                sock.sendall(packet)
            for sock in sockets:
                receive(sock, CONNECTED)
            for number, sock in enumerate(sockets):
                if isinstance(sock, ssl.SSLSocket):
                    self.resumed += bool(sock.session_reused)
                    self._sessions[number] = sock.session  # a newer ticket came with the CONNACK
                sock.sendall(DISCONNECT)
            for sock in sockets:
                _await_end(sock)
        finally:
            for sock in sockets:
                sock.close()
        self.done += AT_ONCE

    def _open(self, number: int) -> socket.socket:
        endpoint = self._endpoint
        port = endpoint.port if self._context is None else endpoint.tls_port
        sock = socket.create_connection((endpoint.host, port), timeout=START_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname=endpoint.host, session=self._sessions[number])


def _await_end(sock: socket.socket) -> None:
    try:
        if sock.recv(1):
            raise RuntimeError("the broker sent something after DISCONNECT")
    except ConnectionResetError:
        pass
    except ssl.SSLEOFError:  # closed without TLS's own farewell
        pass


class Turns:
    """Let clients come to a broker and go by turns."""

    def __init__(self, endpoint: Endpoint, connects: Connects, tls: bool, seconds: float) -> None:
        self._pid = endpoint.pid
        self._connects = connects
        self._tls = tls
        self._seconds = seconds
        with metered(self._pid):
            connects.run(WARM_UP_SECONDS)

    def turn(self) -> Sample:
        """Let them come and go, and say what came of it."""
        connects = self._connects
        done, resumed = connects.done, connects.resumed
        with metered(self._pid) as meter:
            connects.run(self._seconds)
        done = connects.done - done
        extra = {"cpu_us_each": meter.cpu / done * 1_000_000} | meter.shares
        if self._tls:
            extra["resumed_share"] = (connects.resumed - resumed) / done
        return Sample(done, meter.cpu, meter.wall, extra=extra)

    def finish(self) -> int:
        """Find nothing: each client has looked for itself until the broker closed."""
        return 0


@dataclass(frozen=True, slots=True)
class ConnectRow:
    """Clients that come and go, with or without TLS."""

    tls: bool
    ratio: float
    contenders: tuple[str, ...] = ("wardenmq", "wardenmq-asyncio", "mosquitto", "aedes")
    unit: str = "connects"

    @property
    def name(self) -> str:
        """Say what is done."""
        return "connect and leave, TLS 1.3 with session tickets" if self.tls else "connect and leave"

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Say what has to be reached; a ticket that is not taken would make the comparison another one."""
        ratio = RateRatio("wardenmq", "mosquitto", self.ratio)
        asyncio_ratio = RateRatio("wardenmq-asyncio", "wardenmq", ASYNCIO_SHARE)
        if not self.tls:
            return (ratio, asyncio_ratio)
        ours, theirs = (
            FigureBound(name, "resumed_share", at_least=1.0, always=True) for name in ("wardenmq", "mosquitto")
        )
        return (Comparable(ratio, theirs), asyncio_ratio, ours)

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Let the brokers take turns."""
        with Contest() as contest:
            for name in names:
                contest.enter(name, functools.partial(self._open, name, seconds))
            return contest.run(rounds)

    def _open(self, name: str, seconds: float, stack: ExitStack) -> Turns:
        endpoint = stack.enter_context(running(name, tls=self.tls))
        connects = Connects(endpoint, client_context(endpoint) if self.tls else None)
        return Turns(endpoint, connects, self.tls, seconds)


ROWS: tuple[Row, ...] = (ConnectRow(tls=False, ratio=0.7), ConnectRow(tls=True, ratio=1.0))
