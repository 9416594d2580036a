"""Rows about coming and going: connect, CONNACK, DISCONNECT and the end, with a password that was seen before."""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from brokers import START_SECONDS, Endpoint, client_context, cpu_seconds, running
from clients import receive
from rows import FigureBound, RateRatio, Requirement, Row, Sample, take_turns
from wire import CONNECTED, DISCONNECT, connect_packet

AT_ONCE = 10
"""Clients that come together; each step is taken with all of them before the next."""
WARM_UP_SECONDS = 0.3


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
        return (ratio, FigureBound("wardenmq", "resumed_share", at_least=1.0)) if self.tls else (ratio,)

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Let the brokers take turns."""
        with ExitStack() as stack:
            turns: dict[str, Callable[[], Sample]] = {}
            for name in names:
                endpoint = stack.enter_context(running(name, tls=self.tls))
                connects = Connects(endpoint, client_context(endpoint) if self.tls else None)
                connects.run(WARM_UP_SECONDS)
                turns[name] = self._turn(endpoint, connects, seconds)
            return take_turns(turns, rounds)

    def _turn(self, endpoint: Endpoint, connects: Connects, seconds: float) -> Callable[[], Sample]:
        def turn() -> Sample:
            done, resumed = connects.done, connects.resumed
            cpu, wall = cpu_seconds(endpoint.pid), time.monotonic()
            connects.run(seconds)
            cpu, wall = cpu_seconds(endpoint.pid) - cpu, time.monotonic() - wall
            done = connects.done - done
            extra = {"cpu_us_each": cpu / done * 1_000_000}
            if self.tls:
                extra["resumed_share"] = (connects.resumed - resumed) / done
            return Sample(done, cpu, wall, extra=extra)

        return turn


ROWS: tuple[Row, ...] = (ConnectRow(tls=False, ratio=0.7), ConnectRow(tls=True, ratio=1.0))
