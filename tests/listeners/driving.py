"""Drive a WebSocketProtocol by hand: a transport that keeps what is written, a loop whose clock a test moves."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from wardenmq.broker.listeners.websocket import WebSocketProtocol


class HandLoop(asyncio.SelectorEventLoop):
    """Let time pass only when told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        """Move the clock and run what is due."""
        self.now += seconds
        self.run_until_complete(asyncio.sleep(0))


class WireTransport(asyncio.Transport):
    """Keep what is written, and what the protocol asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True
        self.ended = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@contextmanager
def driven(inner: asyncio.Protocol) -> Iterator[tuple[WebSocketProtocol, WireTransport, HandLoop]]:
    """Make a protocol that a transport was given to."""
    loop = HandLoop()
    try:
        protocol = WebSocketProtocol(lambda: inner, loop, max_frame_size=1_000)
        transport = WireTransport()
        protocol.connection_made(transport)
        yield protocol, transport, loop
        protocol.connection_lost(None)
    finally:
        loop.close()
