"""Clients as sockets: connected, logged in and subscribed, in the state in which the load generators take them over."""

import socket
import ssl

from brokers import START_SECONDS, Endpoint
from wire import connect_packet, subscribe_packet, subscribed


def receive(sock: socket.socket, expected: bytes) -> None:
    """Wait for an answer; RuntimeError if it is another one."""
    data = _receive_bytes(sock, len(expected))
    if data != expected:
        raise RuntimeError(f"the broker answered {data.hex()}, not {expected.hex()}")


def connect(
    endpoint: Endpoint, client_id: str, *, version: int = 4, context: ssl.SSLContext | None = None
) -> socket.socket:
    """Open a clean session, over TLS if there is a context."""
    port = endpoint.port if context is None else endpoint.tls_port
    sock = socket.create_connection((endpoint.host, port), timeout=START_SECONDS)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=endpoint.host)
        sock.sendall(connect_packet(client_id, endpoint.username, endpoint.password, version))
        _receive_accepted(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def subscribe(sock: socket.socket, topic_filter: bytes, qos: int = 0, *others: bytes, version: int = 4) -> None:
    """Subscribe to one filter or several and be granted the QoS."""
    sock.sendall(subscribe_packet(topic_filter, qos, *others, version=version))
    receive(sock, subscribed(qos, 1 + len(others), version))


def _receive_accepted(sock: socket.socket) -> None:
    head = _receive_bytes(sock, 4)  # type, length (never more than 127 bytes), flags, code
    if head[0] != 0x20 or head[3]:
        raise RuntimeError(f"the broker answered {head.hex()} to a CONNECT")
    _receive_bytes(sock, head[1] - 2)


def _receive_bytes(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise RuntimeError("the broker closed the connection")
        data += part
    return data
