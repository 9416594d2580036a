"""Clients that publish to themselves, and how long each message was on its way.

The time is taken from just before the write, or from when a paced message was due, to the moment at which the kernel
got the answer for the client's socket (SO_TIMESTAMPNS), not to when the load generator came to read it. So the
generator's own work after the arrival is not part of the figure; what it needs the processor for, while the broker
wants it too, is, and so is its being late with a paced message: a broker that stands still may make it so.
"""

import ctypes
import os
import select
import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Sequence

from crowd import no_collections
from streams import SETTLE_SECONDS, STALL_SECONDS
from wire import packet, text

PAYLOAD_BYTES = 64
PUBACK = 0x40
TICK_SECONDS = 0.001
RECEIVE_BYTES = 65_536
PUBACK_BYTES = 4
_SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h; Python has no name for it
_TIMESPEC = struct.Struct("qq")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)


def own_topic(number: int) -> bytes:
    """Name the topic that a client publishes and subscribes to."""
    return b"own/%05d" % number


def percentile(values: Sequence[int], share: float) -> float:
    """Return the value that a share of them does not exceed; 0 without any."""
    return float(sorted(values)[min(len(values) - 1, int(len(values) * share))]) if values else 0.0


class RoundTrips:
    """Let clients publish to themselves; every answer is compared with what was sent.

    Sockets are in the order of their topics. At QoS 1 a message is acknowledged at once, in a write of its own, as
    client libraries do.
    """

    def __init__(self, sockets: Sequence[socket.socket], qos: int = 0) -> None:
        self.sent = self.delivered = 0
        self.altered = False
        self.nanoseconds = array("q")
        """How long each message took that has arrived, with its PUBACK at QoS 1."""
        self.late = array("q")
        """How much later than due the paced messages were sent, in nanoseconds, one number for each tick."""
        self._qos = qos
        self._sockets = list(sockets)
        self._numbers = {sock.fileno(): number for number, sock in enumerate(sockets)}
        self._open: list[deque[tuple[bytes, int]]] = [deque() for _ in sockets]
        self._tails = [b""] * len(self._sockets)
        self._come = [0] * len(self._sockets)
        """Of each client's open messages how many have come back,"""
        self._acknowledged = [0] * len(self._sockets)
        """and for how many the PUBACK has. One is done when it has both."""
        self._poller = select.epoll()
        self._arrived = 0.0
        first, identifier = 0x30 | qos << 1, b"\x00\x01" if qos else b""
        self._heads = [
            packet(first, text(own_topic(number)) + identifier + bytes(PAYLOAD_BYTES))[:-PAYLOAD_BYTES]
            for number in range(len(self._sockets))
        ]
        for sock in self._sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._poller.register(sock, select.EPOLLIN)

    @property
    def lost(self) -> int:
        """Messages that are missing, or whose PUBACK is."""
        return self.sent - self.delivered

    def settle(self) -> None:
        """Take what comes though all has come: it counts as an alteration."""
        end = time.monotonic() + STALL_SECONDS
        while time.monotonic() < end and (events := self._poller.poll(SETTLE_SECONDS)):
            for descriptor, _ in events:
                self._take(self._numbers[descriptor])

    def clear(self) -> None:
        """Forget the times."""
        self.nanoseconds, self.late = array("q"), array("q")

    def close(self) -> None:
        """Close the poller; the sockets stay open."""
        self._poller.close()

    def closed_loop(self, seconds: float) -> None:
        """Let every client have one message on its way for so long, and wait for the last ones."""
        with no_collections():
            end = self._arrived = time.monotonic()
            end += seconds
            for number in range(len(self._sockets)):
                self._send(number)
            while self.lost:
                arrived = self._poll()
                if arrived is None:
                    return
                if time.monotonic() < end:
                    for number in arrived:
                        self._send(number)

    def round_robin(self, seconds: float, at_once: int) -> None:
        """Let `at_once` clients publish, wait for their messages, go on to the next ones, for so long."""
        count, position = len(self._sockets), 0
        with no_collections():
            end = self._arrived = time.monotonic()
            end += seconds
            while time.monotonic() < end:
                for number in range(position, position + at_once):
                    self._send(number % count)
                position = (position + at_once) % count
                while self.lost:
                    if self._poll() is None:
                        return

    def paced(self, seconds: float, rate: int) -> None:
        """Publish so many messages per second, evenly, for so long; the clients take turns."""
        each, count, due = round(rate * TICK_SECONDS), len(self._sockets), 0
        ticks = round(seconds / TICK_SECONDS)
        with no_collections(), Ticker(TICK_SECONDS) as ticker:
            self._poller.register(ticker.fileno(), select.EPOLLIN)
            self._arrived = time.monotonic()
            done = 0
            while done < ticks or self.lost:
                if self._poll(ticker) is None:
                    break
                while done < min(ticker.due, ticks):
                    done += 1
                    late = ticker.late(done)
                    self.late.append(late)
                    began = time.time_ns() - late
                    for number in range(due, due + each):
                        self._send(number % count, began)
                    due = (due + each) % count
            self._poller.unregister(ticker.fileno())

    def _send(self, number: int, began: int | None = None) -> None:
        """Publish one message, whose time runs from now or from an earlier moment, in nanoseconds."""
        self.sent += 1
        data = self._heads[number] + b"%0*d" % (PAYLOAD_BYTES, self.sent)
        self._open[number].append((data, began or time.time_ns()))
        # A packet of this size always fits: nothing else waits in the socket's buffer.
        self._sockets[number].send(data)

    def _poll(self, ticker: "Ticker | None" = None) -> list[int] | None:
        """Take what has arrived and tell whose; None if nothing came for too long."""
        arrived: list[int] = []
        for descriptor, _ in self._poller.poll(1.0):
            if ticker is not None and descriptor == ticker.fileno():
                ticker.take()
            elif self._take(number := self._numbers[descriptor]):
                arrived.append(number)
        now = time.monotonic()
        if arrived:
            self._arrived = now
        return None if now - self._arrived > STALL_SECONDS else arrived

    def _take(self, number: int) -> bool:
        """Read what one client got; tell whether a message is done."""
        data, ancillary, _, _ = self._sockets[number].recvmsg(RECEIVE_BYTES, _ANCILLARY_BYTES)
        if not data:
            raise RuntimeError("the broker closed a client's connection")
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
        data = self._take_packets(number, self._tails[number] + data)
        waiting, before = self._open[number], self.delivered
        while self._come[number] and (self._acknowledged[number] or not self._qos):
            self._come[number] -= 1
            self._acknowledged[number] -= self._qos
            self.delivered += 1
            self.nanoseconds.append(seconds * 1_000_000_000 + nanoseconds - waiting.popleft()[1])
        if data and not waiting:
            self.altered, data = True, b""  # nobody asked for it
        self._tails[number] = data
        return self.delivered > before

    def _take_packets(self, number: int, data: bytes) -> bytes:
        """Take the packets that have come in whole, and return the rest."""
        waiting = self._open[number]
        while data:
            if data[0] == PUBACK and self._qos:
                if len(data) < PUBACK_BYTES:
                    break
                self.altered |= data[:PUBACK_BYTES] != b"\x40\x02\x00\x01" or self._acknowledged[number] >= len(waiting)
                self._acknowledged[number] = min(self._acknowledged[number] + 1, len(waiting))
                data = data[PUBACK_BYTES:]
                continue
            size = len(self._heads[number]) + PAYLOAD_BYTES
            if len(data) < size:
                break
            if self._come[number] < len(waiting):
                self._take_message(number, waiting[self._come[number]][0], data[:size])
                self._come[number] += 1
            else:
                self.altered = True  # nobody asked for it
            data = data[size:]
        return data

    def _take_message(self, number: int, sent: bytes, data: bytes) -> None:
        if not self._qos:
            self.altered |= data != sent
            return
        at = len(self._heads[number]) - 2
        identifier = data[at : at + 2]
        self.altered |= data[:at] != sent[:at] or data[at + 2 :] != sent[at + 2 :] or identifier == b"\0\0"
        self._sockets[number].send(b"\x40\x02" + identifier)


class Ticker:
    """A timer of the kernel that becomes readable at each tick: a poller's own timeout knows milliseconds only."""

    def __init__(self, interval: float) -> None:
        self.due = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._interval = round(interval * 1_000_000_000)
        self._descriptor = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "there is no timer")
        timespecs = (ctypes.c_long * 4)(*divmod(self._interval, 1_000_000_000) * 2)
        self._began = time.monotonic_ns()
        if self._libc.timerfd_settime(self._descriptor, 0, timespecs, None) < 0:
            raise OSError(ctypes.get_errno(), "the timer does not start")

    def __enter__(self) -> "Ticker":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._descriptor

    def take(self) -> None:
        """Count the ticks since the last time."""
        self.due += int.from_bytes(os.read(self._descriptor, 8), "little")

    def late(self, tick: int) -> int:
        """Tell how many nanoseconds ago a tick was."""
        return time.monotonic_ns() - self._began - tick * self._interval
