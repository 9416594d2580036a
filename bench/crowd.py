"""Crowds of clients on sockets of their own, opened a batch at a time."""

import gc
import resource
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from brokers import START_SECONDS, Endpoint
from clients import receive, subscribe
from wire import CONNECTED, connect_packet, subscribe_packet, subscribed

BATCH = 100
FILTERS_AT_ONCE = 200
"""Filters in one SUBSCRIBE, which must stay a small packet."""


@contextmanager
def no_collections() -> Iterator[None]:
    """Keep the garbage collector of the load generator from showing in its latencies."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def allow_open_files(count: int) -> None:
    """Raise this process's soft limit to at least so many open files; RuntimeError if the hard limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise RuntimeError(f"{count} open files are needed, the system allows {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def open_sockets(endpoint: Endpoint, count: int) -> list[socket.socket]:
    """Open connections on which nothing has been sent; writes are not delayed."""
    sockets = [socket.create_connection((endpoint.host, endpoint.port), timeout=START_SECONDS) for _ in range(count)]
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sockets


def open_clients(
    endpoint: Endpoint, count: int, prefix: str = "crowd", filters: Callable[[int], bytes] | None = None, qos: int = 0
) -> list[socket.socket]:
    """Open clean sessions, the n-th of them with a subscription to `filters(n)`."""
    clients: list[socket.socket] = []
    while len(clients) < count:
        numbers = range(len(clients), min(len(clients) + BATCH, count))
        batch = open_sockets(endpoint, len(numbers))
        clients += batch
        for sock, number in zip(batch, numbers, strict=True):
            sock.sendall(connect_packet(f"{prefix}-{number}", endpoint.username, endpoint.password))
        for sock in batch:
            receive(sock, CONNECTED)
        if filters is None:
            continue
        for sock, number in zip(batch, numbers, strict=True):
            sock.sendall(subscribe_packet(filters(number), qos))
        for sock in batch:
            receive(sock, subscribed(qos))
    return clients


def subscribe_many(sock: socket.socket, filters: Iterable[bytes]) -> None:
    """Subscribe to many filters at QoS 0."""
    remaining = iter(filters)
    while part := list(islice(remaining, FILTERS_AT_ONCE)):
        subscribe(sock, part[0], 0, *part[1:])


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close sockets with a reset, so that none of their ports stays in use."""
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
