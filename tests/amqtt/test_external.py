"""`external_connected`: connections that somebody else has accepted, over amqtt's adapters."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import amqtt.broker
import pytest
import websockets
from aiohttp import web
from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.client import MQTTClient
from amqtt.errors import BrokerError
from wardenmq.broker.broker import Broker

from ..engine import wire
from ..engine.conditions import until
from ..engine.wire import CONNACK, PUBACK, PUBLISH, Client
from .adapters import Line, WebSocketReader, WebSocketWriter
from .parties import BOTH, NAMES, OPEN, Party, running
from .plugins import Denials, EventRecorder, path_of

Kind = type[amqtt.broker.Broker]
KINDS = pytest.mark.parametrize("kind", BOTH, ids=[NAMES[kind] for kind in BOTH])
LISTENERS: dict[str, Any] = {
    "default": {"type": "tcp", "bind": "127.0.0.1:0"},
    "outside": {"type": "external"},
}


@asynccontextmanager
async def _running(kind: Kind, plugins: dict[str, Any] | None = None, **outside: Any) -> AsyncIterator[Party]:
    listeners = {**LISTENERS, "outside": {**LISTENERS["outside"], **outside}}
    async with running(kind, plugins, listeners=listeners) as party:
        yield party


def _connected(party: Party, line: Line) -> "asyncio.Task[None]":
    return asyncio.ensure_future(party.broker.external_connected(line.reader, line.writer, "outside"))


async def _introduce(party: Party, line: Line, client_id: str, **fields: Any) -> "asyncio.Task[None]":
    served = _connected(party, line)
    line.feed(wire.connect(client_id, **fields))
    assert (await line.read()).body == b"\x00\x00"
    return served


@KINDS
async def test_a_client_in_memory(kind: Kind) -> None:
    """Packets go both ways, and the call returns when the client has gone."""
    async with _running(kind) as party:
        line = Line()
        served = await _introduce(party, line, "c1", username="u")
        session = party.broker.sessions["c1"][0]
        assert (session.remote_address, session.remote_port) == ("192.0.2.1", 4_711)
        line.feed(wire.subscribe(1, ("t/#", 1)))
        assert (await line.read()).body == b"\x00\x01\x01"
        other = await party.connected("other")
        await other.publish("t/1", b"x" * 300_000, 1)
        got = await line.read()
        assert (got.kind, got.topic, got.payload) == (PUBLISH, "t/1", b"x" * 300_000)
        line.feed(wire.acknowledge(PUBACK, got.packet_id), wire.PING)
        assert (await line.read()).kind == wire.PINGRESP
        line.feed(wire.GOODBYE)
        await asyncio.wait_for(served, 30)
        assert line.writer.closed


@KINDS
async def test_byte_by_byte_and_many_at_once(kind: Kind) -> None:
    async with _running(kind) as party:
        line = Line()
        await _introduce(party, line, "c1")
        watcher = await party.connected("watcher")
        await watcher.subscribe(("#", 0))
        for byte in wire.publish("slow", b"y" * 200, 0):
            line.feed(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await watcher.message()).payload == b"y" * 200
        line.feed(*(wire.publish("fast", b"%d" % number, 0) for number in range(100)))
        assert await watcher.messages(100) == [b"%d" % number for number in range(100)]
        line.feed(wire.publish("large", b"z" * 700_000, 0))
        assert (await watcher.message()).payload == b"z" * 700_000


@KINDS
@pytest.mark.parametrize("end", [Line.hang_up, Line.break_off], ids=["end of stream", "exception"])
async def test_a_line_that_ends_publishes_the_will(kind: Kind, end: Callable[[Line], None]) -> None:
    async with _running(kind) as party:
        watcher = await party.connected("watcher")
        await watcher.subscribe(("gone", 1))
        line = Line()
        served = await _introduce(party, line, "c1", will=wire.Will("gone", b"bye", 1))
        line.feed(wire.PING)
        assert (await line.read()).kind == wire.PINGRESP
        end(line)
        assert (await watcher.message()).payload == b"bye"
        await asyncio.wait_for(served, 30)


async def test_a_cancelled_call_is_a_lost_connection() -> None:
    """As when an HTTP server cancels the handler of a request whose client has gone."""
    async with _running(Broker) as party:
        watcher = await party.connected("watcher")
        await watcher.subscribe(("gone", 1))
        line = Line()
        served = await _introduce(party, line, "c1", will=wire.Will("gone", b"bye", 1))
        served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await served
        assert (await watcher.message()).payload == b"bye"
        assert line.writer.closed
        await until(lambda: "c1" not in party.broker.sessions)


@KINDS
async def test_a_name_that_is_no_listeners(kind: Kind) -> None:
    line = Line()
    async with _running(kind) as party:
        with pytest.raises(BrokerError):
            await party.broker.external_connected(line.reader, line.writer, "elsewhere")


async def test_only_while_the_broker_runs() -> None:
    broker = Broker({"listeners": LISTENERS, "plugins": OPEN})
    line = Line()
    with pytest.raises(BrokerError):
        await broker.external_connected(line.reader, line.writer, "outside")
    await broker.start()
    await broker.shutdown()
    with pytest.raises(BrokerError):
        await broker.external_connected(line.reader, line.writer, "outside")


@KINDS
async def test_a_peer_without_an_address(kind: Kind) -> None:
    async with _running(kind) as party:
        line = Line(peer=None)
        await asyncio.wait_for(_connected(party, line), 30)
        assert line.writer.closed


async def test_a_shutdown_ends_the_call() -> None:
    line = Line()
    async with _running(Broker, {**OPEN, path_of(EventRecorder): {}}) as party:
        served = await _introduce(party, line, "c1")
    await asyncio.wait_for(served, 30)
    assert line.writer.closed
    assert "disconnected" in [event[0] for event in party.plugin(EventRecorder).events]


async def test_an_external_listener_has_no_address() -> None:
    async with _running(Broker) as party:
        assert isinstance(party.broker, Broker)
        assert set(party.broker.addresses) == {"default"}


async def test_max_connections() -> None:
    """One more client is told that there is no room."""
    async with _running(Broker, max_connections=1) as party:
        first, second = Line(), Line()
        served = await _introduce(party, first, "c1")
        refused = _connected(party, second)
        second.feed(wire.connect("c2"))
        got = await second.read()
        assert (got.kind, got.body) == (CONNACK, b"\x00\x03")
        await asyncio.wait_for(refused, 30)
        assert second.writer.closed
        first.feed(wire.GOODBYE)
        await asyncio.wait_for(served, 30)
        await _introduce(party, Line(), "c3")


async def test_a_packet_too_large_is_not_read() -> None:
    """What its length alone condemns is refused before its body has come."""
    async with _running(Broker) as party:
        line = Line()
        served = await _introduce(party, line, "c1")
        line.feed(b"\x30\xff\xff\xff\x7f")
        await asyncio.wait_for(served, 30)


async def test_a_length_that_is_none() -> None:
    async with _running(Broker) as party:
        line = Line()
        served = await _introduce(party, line, "c1")
        line.feed(b"\x30\xff\xff\xff\xff")
        await asyncio.wait_for(served, 30)


async def test_a_writer_that_does_not_drain() -> None:
    """A slow consumer is bounded: QoS 0 is dropped, QoS 1 waits, everybody else is served, and it goes on later."""
    async with _running(Broker) as party:
        line = Line()
        await _introduce(party, line, "slow")
        line.feed(wire.subscribe(1, ("flood", 0), ("important", 1)))
        await line.read()
        line.writer.gate.clear()
        publisher = await party.connected("publisher")
        reader = await party.connected("reader")
        await reader.subscribe(("flood", 0))
        for _ in range(30):
            await publisher.publish("flood", b"x" * 500_000)
            await reader.message()
        await publisher.publish("important", b"kept", 1)
        assert line.writer.size < 10_000_000
        traffic = party.broker.registry.get("slow").traffic  # type: ignore[attr-defined]
        assert traffic.dropped_qos0 > 0
        line.writer.gate.set()
        while (got := await line.read()).topic != "important":
            assert got.topic == "flood"
        assert got.payload == b"kept"


async def test_a_writer_that_fails() -> None:
    async with _running(Broker) as party:
        line = Line()
        served = await _introduce(party, line, "c1")
        line.writer.fails = True
        line.feed(wire.PING)
        await asyncio.wait_for(served, 30)
        await until(lambda: "c1" not in party.broker.sessions)


async def test_order_while_a_plugin_decides() -> None:
    """A packet that came behind one which must wait is not read ahead of it, nor is the end of the stream."""
    async with _running(Broker, {**OPEN, path_of(Denials): {}}) as party:
        watcher = await party.connected("watcher")
        await watcher.subscribe(("t", 1))
        line = Line()
        served = await _introduce(party, line, "c1")
        line.feed(*(wire.publish("t", b"%d" % number, 1, number + 1) for number in range(20)))
        line.hang_up()
        assert await watcher.messages(20) == [b"%d" % number for number in range(20)]
        await asyncio.wait_for(served, 30)


# -- over real transports, with real clients


async def _exchange(uri: str) -> None:
    """Have amqtt's own client send itself a message."""
    client = MQTTClient(config={"auto_reconnect": False, "plugins": {}})
    async with asyncio.timeout(30):
        await client.connect(uri)
        await client.subscribe([("t", 1)])
        await client.publish("t", b"x" * 10_000, 1)
        message = await client.deliver_message()
        assert message is not None and bytes(message.data) == b"x" * 10_000
        await client.disconnect()


@KINDS
async def test_streams(kind: Kind) -> None:
    """`stream_connected`, which amqtt's own listeners call."""
    async with _running(kind) as party:
        serve = partial(party.broker.stream_connected, listener_name="outside")
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            await _exchange(f"mqtt://{host}:{port}/")


@KINDS
async def test_a_unix_socket(kind: Kind, tmp_path: Path) -> None:
    async with _running(kind) as party:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            class Named(StreamWriterAdapter):
                def get_peer_info(self) -> tuple[str, int] | None:
                    return str(tmp_path), 0

            await party.broker.external_connected(StreamReaderAdapter(reader), Named(writer), "outside")

        async with await asyncio.start_unix_server(serve, tmp_path / "socket"):
            client = Client(*await asyncio.open_unix_connection(tmp_path / "socket"))
            await client.connect("c1")
            await client.subscribe(("t", 1))
            await client.publish("t", b"x", 1)
            assert (await client.message()).payload == b"x"
            await client.disconnect()


@KINDS
async def test_the_websockets_library(kind: Kind) -> None:
    """`ws_connected`."""
    async with _running(kind) as party:
        serve = partial(party.broker.ws_connected, listener_name="outside")
        protocol = websockets.Subprotocol("mqtt")
        async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=[protocol]) as server:
            host, port = next(iter(server.sockets)).getsockname()
            await _exchange(f"ws://{host}:{port}/")


@KINDS
async def test_inside_an_aiohttp_application(kind: Kind) -> None:
    """The integration that amqtt documents: a WebSocket route of somebody's web application."""
    async with _running(kind) as party:

        async def mqtt(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(protocols=["mqtt"])
            await socket.prepare(request)
            reader, writer = WebSocketReader(socket), WebSocketWriter(socket, request)
            if kind is not Broker:  # amqtt asks each writer for TLS
                writer.get_ssl_info = lambda: None  # type: ignore[method-assign]
            await party.broker.external_connected(reader, writer, "outside")
            return socket

        app = web.Application()
        app.router.add_get("/mqtt", mqtt)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        try:
            await _exchange(f"ws://{host}:{port}/mqtt")
        finally:
            await runner.cleanup()
