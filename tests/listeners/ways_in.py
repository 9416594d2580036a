"""A broker with one listener, a plugin that writes down who came, and raw clients on TCP, TLS, WebSocket and Unix."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from amqtt.plugins.base import BaseAuthPlugin
from wardenmq.broker.access import Accept, ConnectRequest
from wardenmq.broker.broker import Broker
from wardenmq.broker.listeners.bound_listener import BoundListener
from wardenmq.broker.settings import MqttSettings

from ..clocks import ignore_stalls
from ..engine.wire import CONNACK, Client, connect
from .echoing import BINARY, TIME_LIMIT, frame, request


class Witness(BaseAuthPlugin):
    """Let everybody in and remember what was said of them."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.requests: list[ConnectRequest] = []

    def authenticate_connect(self, request: ConnectRequest) -> Accept:
        self.requests.append(request)
        return Accept()


class Stream:
    """A client's byte stream, through WebSocket frames where the listener speaks WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def rest(self, seconds: float = TIME_LIMIT) -> bytes:
        """Read until the server ends the stream, in whatever way."""
        data = b""
        try:
            async with asyncio.timeout(seconds):
                while part := await self.reader.read(65_536):
                    data += part
        except (ConnectionError, ssl.SSLError):
            pass
        return data


class WayIn:
    """One listener and the clients that a test sends there."""

    def __init__(self, broker: Broker, stack: AsyncExitStack) -> None:
        self.broker = broker
        self._stack = stack
        self._held: list[Stream] = []

    @property
    def listener(self) -> BoundListener:
        """The listener itself."""
        listener = self.broker._listeners.by_name["default"]
        assert isinstance(listener, BoundListener)
        return listener

    @property
    def requests(self) -> list[ConnectRequest]:
        """Who has sent a CONNECT."""
        plugin = self.broker.plugins_manager.get_plugin("Witness")
        assert plugin is not None
        return plugin.requests

    async def stream(self, tls: ssl.SSLContext | None = None, server_hostname: str = "127.0.0.1") -> Stream:
        """Open a connection, through TLS if a context is given."""
        host, port = self.broker.addresses["default"]
        options: dict[str, Any] = {} if tls is None else {"ssl": tls, "server_hostname": server_hostname}
        if host.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(host.removeprefix("unix:"), **options)
        else:
            reader, writer = await asyncio.open_connection(host, port, **options)
        self._stack.callback(writer.transport.abort)
        self._held.append(Stream(reader, writer))  # or the connection would end with the last reference to it
        return self._held[-1]

    async def client(self, *first: bytes, tls: ssl.SSLContext | None = None) -> Client:
        """Open a connection, send some bytes ahead, and speak MQTT on it."""
        stream = await self.stream(tls)
        if first:
            stream.writer.write(b"".join(first))
        return Client(stream.reader, stream.writer)

    async def connected(self, *first: bytes, tls: ssl.SSLContext | None = None, client_id: str = "c") -> ConnectRequest:
        """Connect a client and give what the authenticators were told of it."""
        client = await self.client(*first, tls=tls)
        await client.connect(client_id)
        return self.requests[-1]


@asynccontextmanager
async def listening(
    listener: Mapping[str, Any] | None = None, settings: MqttSettings | None = None, **keys: Any
) -> AsyncIterator[WayIn]:
    """Run a broker with one listener on a free port, configured by `keys`."""
    config = {
        "listeners": {"default": {"bind": "127.0.0.1:0", **(listener or {}), **keys}},
        "plugins": {"tests.listeners.ways_in.Witness": {}},
    }
    ignore_stalls()
    broker = Broker(config, settings=settings)
    await broker.start()
    try:
        async with AsyncExitStack() as stack:
            yield WayIn(broker, stack)
    finally:
        if broker.transitions.is_started():
            await broker.shutdown()


async def open_websocket(stream: Stream, *origins: str) -> str:
    """Send the opening request of a WebSocket and give the answer's head."""
    stream.writer.write(request(origins=origins))
    async with asyncio.timeout(30):
        return (await stream.reader.readuntil(b"\r\n\r\n")).decode()


async def connect_in_frames(stream: Stream, client_id: str = "c") -> bytes:
    """Send a CONNECT in a frame and give the CONNACK that comes in one."""
    stream.writer.write(frame(BINARY, connect(client_id)))
    async with asyncio.timeout(30):
        head = await stream.reader.readexactly(2)
        assert head[0] == 0x80 | BINARY
        answer = await stream.reader.readexactly(head[1])
    assert answer[0] >> 4 == CONNACK
    return answer


def proxied(source: str = "192.0.2.7", port: int = 4_711) -> bytes:
    """Write a PROXY header of version 1."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {'::1' if ':' in source else '127.0.0.1'} {port} 1883\r\n".encode()


def proxied2(
    family: int = 0x11, block: bytes | None = None, *, command: int = 0x21, tlv: bytes = b"", length: int | None = None
) -> bytes:
    """Write a PROXY header of version 2, by default for 192.0.2.7:4711."""
    if block is None:
        block = bytes((192, 0, 2, 7, 127, 0, 0, 1)) + struct.pack("!HH", 4_711, 1_883)
    body = block + tlv
    size = len(body) if length is None else length
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes((command, family)) + struct.pack("!H", size) + body
