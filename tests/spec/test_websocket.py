"""Chapter 6 of both standards: MQTT over WebSocket, with the broker itself behind the listener."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from wardenmq.broker.broker import Broker

from ..clocks import ignore_stalls
from ..engine import wire, wire5
from ..engine.brokers import ANONYMOUS
from ..engine.wire import CONNACK, PING, PINGRESP, PUBLISH, SUBACK
from ..listeners.echoing import BINARY, CLOSE, CONT, TEXT, RawClient, frame, opened, raw_client, request


@dataclass(frozen=True)
class Version:
    """How a version writes the packets of these tests."""

    connect: bytes
    subscribe: bytes
    publish: Callable[[bytes], bytes]
    goodbye: bytes = b"\xe0\x00"


VERSIONS = {
    "3.1.1": Version(wire.connect("c1"), wire.subscribe(1, ("t", 0)), lambda payload: wire.publish("t", payload)),
    "5.0": Version(wire5.connect("c1"), wire5.subscribe(1, ("t", 0)), lambda payload: wire5.publish("t", payload)),
}
in_each_version = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())


@asynccontextmanager
async def _listening() -> AsyncIterator[int]:
    ignore_stalls()
    broker = Broker({"listeners": {"default": {"type": "ws", "bind": "127.0.0.1:0"}}, "plugins": dict(ANONYMOUS)})
    await broker.start()
    try:
        yield broker.addresses["default"][1]
    finally:
        await broker.shutdown()


class Packets:
    """Take packets out of the binary frames of one connection."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._bytes = b""

    async def take(self, size: int) -> bytes:
        while len(self._bytes) < size:
            opcode, data = await self._client.frame()
            assert opcode == BINARY
            self._bytes += data
        taken, self._bytes = self._bytes[:size], self._bytes[size:]
        return taken

    async def next(self) -> tuple[int, bytes]:
        """Give the type of the next packet and the whole of it."""
        head = await self.take(2)
        while head[-1] & 0x80:
            head += await self.take(1)
        length = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(head[1:]))
        return head[0] >> 4, head + await self.take(length)


async def _closed(client: RawClient) -> None:
    """Expect that the server ends the WebSocket connection, agree, and expect the end of the TCP connection."""
    while (got := await client.frame())[0] != CLOSE:
        assert got[0] == BINARY
    client.send(frame(CLOSE, got[1]))
    assert await client.reader.read() == b""


@in_each_version
async def test_packets_come_in_binary_frames(version: Version) -> None:
    """[MQTT-6.0.0-1] [MQTT5-6.0.0-1]: from the server too; how many packets a frame holds is its own affair."""
    large = version.publish(b"x" * 70_000)
    async with _listening() as port, opened(port) as client:
        packets = Packets(client)
        client.send(frame(BINARY, version.connect))
        assert (await packets.next())[0] == CONNACK
        client.send(frame(BINARY, version.subscribe), frame(BINARY, large))
        assert (await packets.next())[0] == SUBACK
        assert await packets.next() == (PUBLISH, large)


@in_each_version
@pytest.mark.parametrize("split", [False, True], ids=["whole", "fragmented"])
async def test_a_text_frame_ends_the_connection(version: Version, split: bool) -> None:
    """[MQTT-6.0.0-1] [MQTT5-6.0.0-1]: first of all or later, though what it holds would be a packet."""
    first = version.connect
    text = [frame(TEXT, first[:1], fin=False), frame(CONT, first[1:])] if split else [frame(TEXT, first)]
    async with _listening() as port:
        async with opened(port) as client:
            client.send(*text, frame(BINARY, first))
            assert (await client.frame())[0] == CLOSE
        async with opened(port) as client:
            client.send(frame(BINARY, first))
            assert (await Packets(client).next())[0] == CONNACK
            client.send(*(frame(TEXT, PING[:1], fin=False), frame(CONT, PING[1:])) if split else (frame(TEXT, PING),))
            await _closed(client)


@in_each_version
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("fragments", [False, True], ids=["frames", "fragments"])
async def test_packets_are_not_aligned_to_frames(version: Version, size: int, fragments: bool) -> None:
    """[MQTT-6.0.0-2] [MQTT5-6.0.0-2]: cut anywhere into frames, or fragments of one; empty ones in between."""
    stream = version.connect + version.subscribe + version.publish(b"payload") + PING
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    frames = [frame(BINARY, b"", fin=not fragments)]
    for n, piece in enumerate(pieces):
        last = n == len(pieces) - 1
        frames += [frame(CONT, piece, fin=last)] if fragments else [frame(BINARY, piece), frame(BINARY, b"")]
    async with _listening() as port, opened(port) as client:
        client.send(*frames)
        packets = Packets(client)
        got = [await packets.next() for _ in range(4)]
        assert [kind for kind, _ in got] == [CONNACK, SUBACK, PUBLISH, PINGRESP]
        assert got[2][1] == version.publish(b"payload")
        client.send(frame(BINARY, version.goodbye))
        await _closed(client)


async def test_the_sub_protocol_is_mqtt() -> None:
    """[MQTT-6.0.0-4] [MQTT5-6.0.0-4]: selected where it is offered, among others too; without it there is no MQTT."""
    async with _listening() as port:
        for offered in ("mqtt", "mqtt, mqttv3.1", "chat, mqtt", "mqttv3.1, mqtt"):
            async with raw_client(port) as client:
                client.send(request(subprotocol=offered))
                lines = (await client.response()).lower().split("\r\n")
                assert "sec-websocket-protocol: mqtt" in lines
        for offered in (None, "chat", "MQTT5"):
            async with raw_client(port) as client:
                client.send(request(subprotocol=offered))
                assert not (await client.response()).startswith("HTTP/1.1 101")
