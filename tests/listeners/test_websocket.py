"""MQTT over WebSocket: the opening handshake, frames in and out, and every way to close."""

import asyncio
import logging
import ssl
import struct
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.listeners.websocket import CLOSE_TIMEOUT, HANDSHAKE_TIMEOUT
from wardenmq.broker.settings import MqttSettings
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from ..engine import wire
from .certificates import Authority
from .driving import driven
from .echoing import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Echo,
    RawClient,
    echoing,
    frame,
    opened,
    raw_client,
    request,
    until,
)
from .ways_in import connect_in_frames, listening, open_websocket

MQTT = [Subprotocol("mqtt")]


# The opening handshake.


@pytest.mark.parametrize(
    ("path", "offered", "selected"),
    [
        ("/mqtt", ["mqtt"], "mqtt"),
        ("/", ["mqtt"], "mqtt"),
        ("/mqtt?token=x", ["mqtt"], "mqtt"),
        ("/mqtt", ["mqttv3.1"], "mqttv3.1"),
        ("/mqtt", ["mqttv3.1", "other", "mqtt"], "mqtt"),  # [MQTT-6.0.0-4]
    ],
)
async def test_opens_and_echoes(path: str, offered: list[str], selected: str) -> None:
    async with echoing() as echoes:
        subprotocols = [Subprotocol(name) for name in offered]
        async with connect(f"ws://127.0.0.1:{echoes.port}{path}", subprotocols=subprotocols, proxy=None) as client:
            assert client.subprotocol == selected
            await client.send(b"hello")
            assert await client.recv() == b"hello"
        await until(lambda: echoes.made[0].calls == ["made", "data", "lost"])


@pytest.mark.parametrize(
    ("path", "offered", "status"),
    [
        ("/mqtt", None, 400),  # [MQTT-6.0.0-3]
        ("/mqtt", ["chat"], 400),
        ("/other", ["mqtt"], 404),
        ("/mqtt/", ["mqtt"], 404),
    ],
)
async def test_refuses_other_subprotocols_and_paths(path: str, offered: list[str] | None, status: int) -> None:
    async with echoing() as echoes:
        subprotocols = [Subprotocol(name) for name in offered] if offered else None
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{echoes.port}{path}", subprotocols=subprotocols, proxy=None)
        assert refused.value.response.status_code == status
        assert echoes.made == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n", 426, id="a browser"),
        pytest.param(b"POST /mqtt HTTP/1.1\r\n\r\n", 400, id="another method"),
        pytest.param(b"GET /mqtt HTTP/1.0\r\n\r\n", 400, id="HTTP 1.0"),
        pytest.param(b"GET nonsense\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", 400, id="bare MQTT"),
        pytest.param(request(padding=20), 431, id="too large"),
        pytest.param(request(padding=20)[:-4], 431, id="too large already"),
    ],
)
async def test_answers_what_is_no_opening_request(sent: bytes, status: int) -> None:
    async with echoing() as echoes, raw_client(echoes.port) as client:
        client.send(sent)
        assert (await client.response()).startswith(f"HTTP/1.1 {status} ")
        await client.rest()
        assert echoes.made == []


async def test_bounds_the_time_to_open() -> None:
    async with echoing(handshake_timeout=0.05) as echoes, raw_client(echoes.port) as client:
        client.send(request()[:-2])
        with suppress(ConnectionResetError):
            assert await client.rest() == b""
        assert echoes.made == []


def test_the_time_to_open_ends_with_the_handshake() -> None:
    with driven(Echo()) as (protocol, transport, loop):
        loop.forward(HANDSHAKE_TIMEOUT - 1)
        assert not transport.aborted
        protocol.data_received(request())
        loop.forward(HANDSHAKE_TIMEOUT + 1)
        assert not transport.aborted


async def test_frames_right_behind_the_request_are_answered_behind_the_response() -> None:
    async with echoing() as echoes, raw_client(echoes.port) as client:
        client.send(request(), frame(PING, b"p"), frame(BINARY, b"early"))
        assert (await client.response()).startswith("HTTP/1.1 101 ")
        assert await client.frame() == (PONG, b"p")
        assert await client.frame() == (BINARY, b"early")


# Frames in.


def stream(messages: Iterable[list[bytes]]) -> bytes:
    """Write messages, each as a list of fragments, with a ping after every fragment."""
    sent = request()
    for fragments in messages:
        for place, fragment in enumerate(fragments):
            sent += frame(BINARY if place == 0 else CONT, fragment, fin=place == len(fragments) - 1) + frame(PING, b"p")
    return sent


@given(
    st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(0, 2_000), max_size=12),
)
def test_any_split_gives_the_same_bytes(messages: list[list[bytes]], cuts: list[int]) -> None:
    """Frame boundaries and segment boundaries mean nothing [MQTT-6.0.0-2]."""
    echo = Echo()
    with driven(echo) as (protocol, transport, _):
        sent = stream(messages)
        edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
        for start, end in pairwise(edges):
            protocol.data_received(sent[start:end])
        assert bytes(echo.received) == b"".join(fragment for fragments in messages for fragment in fragments)
        assert transport.written.count(frame(PONG, b"p", masked=False)) >= sum(map(len, messages))


async def test_a_fragment_is_passed_on_before_its_message_is_complete() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"first", fin=False))
        assert await client.payload(5) == b"first"
        client.send(frame(PING, b"in between"))
        assert await client.frame() == (PONG, b"in between")
        client.send(frame(CONT, b"second"))
        assert await client.payload(6) == b"second"


async def test_frames_of_one_segment_are_passed_on_together() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"a"), frame(BINARY), frame(BINARY, b"b"))
        assert await client.payload(2) == b"ab"
        assert echoes.made[0].calls == ["made", "data"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(TEXT, b"text"), 1003, id="text"),  # [MQTT-6.0.0-1]
        pytest.param(frame(TEXT, b"te", fin=False) + frame(CONT, b"xt"), 1003, id="text in fragments"),
        pytest.param(frame(BINARY, b"x", masked=False), 1002, id="not masked"),
        pytest.param(frame(CONT, b"x"), 1002, id="continuation of nothing"),
        pytest.param(frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"), 1002, id="message within a message"),
        pytest.param(frame(3, b"x"), 1002, id="unknown opcode"),
        pytest.param(frame(BINARY, bytes(1_001)), 1009, id="too large"),
        pytest.param(frame(BINARY, b"x", fin=False) + frame(CONT, bytes(1_001)), 1009, id="too large a fragment"),
    ],
)
async def test_closes_on_what_it_must_not_take(sent: bytes, code: int) -> None:
    async with echoing(max_frame_size=1_000) as echoes, opened(echoes.port) as client:
        client.send(sent)
        opcode, payload = await client.frame()
        while opcode == BINARY:  # what was right before
            opcode, payload = await client.frame()
        assert (opcode, struct.unpack("!H", payload[:2])[0]) == (CLOSE, code)
        assert await client.rest() == b""
        client.writer.close()
        await until(lambda: echoes.made[0].calls[-1] == "lost")
        assert b"text" not in echoes.made[0].received


async def test_takes_frames_of_the_greatest_size_in_a_message_of_any() -> None:
    async with echoing(max_frame_size=1_000) as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, bytes(1_000), fin=False), *[frame(CONT, bytes(1_000), fin=False)] * 50)
        client.send(frame(CONT, bytes(1_000)), frame(BINARY, bytes(1_000)))
        assert await client.payload(53_000) == bytes(53_000)


async def test_a_frame_may_hold_more_packets_than_one_of_the_greatest_size() -> None:
    """Only the packets are bounded, by the MQTT reader [MQTT-6.0.0-2]."""
    async with listening(settings=MqttSettings(max_packet_size=1_000), type="ws") as way:
        stream = await way.stream()
        await open_websocket(stream)
        await connect_in_frames(stream)
        together = b"".join(wire.publish("t", b"x" * 400, qos=1, packet_id=number) for number in (1, 2, 3))
        stream.writer.write(frame(BINARY, together))
        client = RawClient(stream.reader, stream.writer)
        assert await client.payload(12) == b"".join(b"\x40\x02\x00" + bytes([number]) for number in (1, 2, 3))
        client.send(frame(BINARY, wire.publish("t", bytes(1_001), qos=1, packet_id=4)))
        assert (await client.frame())[0] == CLOSE


# Frames that bring nothing


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(PING), id="pings"),
        pytest.param(frame(PING, bytes(125)), id="long pings"),
        pytest.param(frame(PONG), id="pongs"),
        pytest.param(frame(BINARY), id="empty messages"),
        pytest.param(frame(BINARY, fin=False) + frame(CONT), id="empty messages in fragments"),
    ],
)
async def test_closes_on_too_many_frames_that_bring_nothing(sent: bytes) -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        client.send(sent * 40_000)
        answer, payload = await client.frame()
        pongs = 0
        while answer == PONG:
            answer, payload = await client.frame()
            pongs += 1
        assert pongs <= 201
        assert (answer, struct.unpack("!H", payload[:2])[0]) == (CLOSE, 1008)
        await until(lambda: echoes.made[0].calls[-1] == "lost")
        assert "data" not in echoes.made[0].calls


def test_empty_frames_cost_the_loop_little() -> None:
    """Whatever a segment holds, it is given up as soon as it is too much, and not worked through first."""
    echo = Echo()
    with driven(echo) as (protocol, transport, _):
        protocol.data_received(request())
        begin = len(transport.written)
        protocol.data_received(frame(PING) * 40_000)
        assert transport.ended
        assert len(transport.written) - begin < 600


def test_frames_that_bring_nothing_have_a_rate() -> None:
    echo = Echo()
    with driven(echo) as (protocol, transport, loop):
        protocol.data_received(request())
        for _ in range(10):
            protocol.data_received(frame(PING, b"p") * 200)
            loop.forward(10)
        assert not transport.ended
        assert transport.written.count(frame(PONG, b"p", masked=False)) == 2_000
        protocol.data_received(frame(PING, b"p") * 201)
        assert transport.ended


def test_an_empty_frame_at_the_end_of_a_message_is_no_waste() -> None:
    """So a library ends a message whose length it did not know."""
    echo = Echo()
    with driven(echo) as (protocol, transport, _):
        protocol.data_received(request() + (frame(BINARY, b"x", fin=False) + frame(CONT)) * 1_000)
        assert (bytes(echo.received), transport.ended) == (b"x" * 1_000, False)


def test_a_peer_that_does_not_read_is_owed_one_pong() -> None:
    echo = Echo()
    with driven(echo) as (protocol, transport, _):
        protocol.data_received(request())
        begin = len(transport.written)
        protocol.pause_writing()
        for payload in (b"1", b"2", b"3"):
            protocol.data_received(frame(PING, payload))
        assert len(transport.written) == begin
        protocol.resume_writing()
        assert transport.written[begin:] == frame(PONG, b"3", masked=False)
        protocol.pause_writing()
        protocol.resume_writing()
        assert transport.written[begin:] == frame(PONG, b"3", masked=False)
        assert echo.calls == ["made", "pause", "resume", "pause", "resume"]


async def test_a_pause_holds_back_what_has_come_already() -> None:
    async with echoing(lambda: Echo(pauses=True)) as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"1"))
        await until(lambda: bool(echoes.made and echoes.made[0].received))
        echo = echoes.made[0]
        assert not echo.transport.is_reading()
        client.send(frame(BINARY, b"2"), frame(BINARY, b"3"))
        await client.writer.drain()
        echo.pauses = False
        echo.transport.resume_reading()
        assert await client.payload(2) == b"23"
        assert echo.received == b"123"


def test_bytes_that_come_during_a_pause_wait_in_order() -> None:
    """A TLS transport may pass on what it had decrypted even after it was paused."""
    echo = Echo(pauses=True)
    with driven(echo) as (protocol, transport, loop):
        protocol.data_received(request() + frame(BINARY, b"1"))
        assert not transport.reading
        for payload in (b"2", b"3"):
            protocol.data_received(frame(BINARY, payload))
        assert echo.received == b"1"
        echo.transport.resume_reading()
        assert echo.received == b"1"  # never from within resume_reading
        loop.forward(0)
        assert echo.received == b"123"


# Frames out.


async def test_much_is_split_into_frames_that_any_client_takes() -> None:
    async with echoing() as echoes, connect(echoes.uri, subprotocols=MQTT, max_size=65_535, proxy=None) as client:
        data = bytes(range(256)) * 1_024
        echoes.made[0].transport.writelines([data[:100], bytearray(data[100:200]), memoryview(data)[200:]])
        received = b""
        while len(received) < len(data):
            part = await client.recv()
            assert isinstance(part, bytes)
            received += part
        assert received == data


async def test_writes_of_nothing_send_no_frame() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        echoes.made[0].transport.write(b"")
        echoes.made[0].transport.writelines([])
        echoes.made[0].transport.write(b"x")
        assert await client.frame() == (BINARY, b"x")


async def test_a_slow_reader_pauses_writing() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        echo = echoes.made[0]
        echo.transport.set_write_buffer_limits(high=10_000)
        assert echo.transport.get_write_buffer_limits() == (2_500, 10_000)
        sent = 0
        while "pause" not in echo.calls:
            echo.transport.write(bytes(60_000))
            sent += 60_000
        assert echo.transport.get_write_buffer_size() > 10_000
        assert await client.payload(sent) == bytes(sent)
        await until(lambda: echo.calls == ["made", "pause", "resume"])


async def test_extra_info_is_the_sockets() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        transport = echoes.made[0].transport
        assert transport.get_extra_info("peername") == client.writer.get_extra_info("sockname")
        assert transport.get_extra_info("sockname") == ("127.0.0.1", echoes.port)
        assert transport.get_extra_info("ssl_object", "none") == "none"
        assert transport.get_protocol() is echoes.made[0]


# Closing.


async def test_close_flushes_and_sends_1000() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        echo = echoes.made[0]
        echo.transport.write(bytes(3_000_000))
        echo.transport.close()
        echo.transport.close()
        echo.transport.write(b"too late")
        assert echo.transport.is_closing()
        assert await client.payload(3_000_000) == bytes(3_000_000)
        assert await client.frame() == (CLOSE, struct.pack("!H", 1000))
        client.send(frame(BINARY, b"not passed on"), frame(CLOSE, struct.pack("!H", 1000)))
        assert await client.rest() == b""
        client.writer.close()
        await until(lambda: echo.calls == ["made", "lost"])
        assert echo.lost_with is None
        with pytest.raises(RuntimeError):
            echo.transport.get_protocol()


async def test_the_clients_library_sees_an_orderly_close() -> None:
    async with echoing() as echoes, connect(echoes.uri, subprotocols=MQTT, proxy=None) as client:
        echoes.made[0].transport.close()
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize("pauses", [False, True])
async def test_close_waits_for_a_silent_peer_no_longer_than_it_may(pauses: bool) -> None:
    async with echoing(lambda: Echo(pauses=pauses), close_timeout=0.05) as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"x"))
        await until(lambda: bool(echoes.made and echoes.made[0].received))
        echoes.made[0].transport.close()
        await until(lambda: echoes.made[0].calls == ["made", "data", "lost"])


async def test_close_while_paused_still_sees_the_peers_answer() -> None:
    async with echoing(lambda: Echo(pauses=True), close_timeout=3_600) as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"x"))
        await until(lambda: bool(echoes.made and echoes.made[0].received))
        echoes.made[0].transport.close()
        assert await client.frame() == (CLOSE, struct.pack("!H", 1000))
        client.send(frame(CLOSE, struct.pack("!H", 1000)))
        assert await client.rest() == b""
        client.writer.close()
        await until(lambda: echoes.made[0].calls == ["made", "data", "lost"])


async def test_bytes_before_a_close_frame_are_taken_in_first() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"\xe0\x00"), frame(CLOSE, struct.pack("!H", 1001)))
        assert await client.frame() == (CLOSE, struct.pack("!H", 1001))
        assert await client.rest() == b""
        client.writer.close()
        await until(lambda: echoes.made[0].calls == ["made", "data", "lost"])
        assert echoes.made[0].received == b"\xe0\x00"


def test_a_close_frame_waits_while_the_bytes_before_it_are_worked_on() -> None:
    """The end of the stream comes after the bytes, so a pause puts it off as it does over TCP."""
    echo = Echo(pauses=True)
    with driven(echo) as (protocol, transport, loop):
        protocol.data_received(request() + frame(BINARY, b"slow") + frame(CLOSE))
        assert transport.written.endswith(frame(CLOSE, masked=False))
        assert echo.transport.is_closing()
        loop.forward(CLOSE_TIMEOUT + 1)
        assert not transport.ended
        assert not transport.aborted
        echo.transport.resume_reading()
        loop.forward(0)
        assert transport.ended
        assert not transport.aborted
        loop.forward(CLOSE_TIMEOUT + 1)  # the peer leaves its side open
        assert transport.aborted


async def test_a_lost_connection_is_passed_on() -> None:
    async with echoing() as echoes, opened(echoes.port) as client:
        client.writer.close()
        await until(lambda: echoes.made[0].calls == ["made", "eof", "lost"])


async def test_abort_sends_no_close_frame() -> None:
    async with echoing() as echoes, connect(echoes.uri, subprotocols=MQTT, proxy=None) as client:
        echoes.made[0].transport.abort()
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is None
        await until(lambda: echoes.made[0].calls == ["made", "lost"])


# The listener.


async def test_serves_over_tls(authority: Authority) -> None:
    files = authority.issue("127.0.0.1")
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(files.certfile, files.keyfile)
    async with echoing(tls=server_side) as echoes:
        uri = echoes.uri.replace("ws:", "wss:")
        async with connect(uri, subprotocols=MQTT, ssl=authority.client(), proxy=None) as client:
            await client.send(bytes(300_000))
            received = 0
            while received < 300_000:
                received += len(await client.recv())
            echo = echoes.made[0]
            assert echo.transport.get_extra_info("ssl_object") is not None
            echo.transport.close()
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1000
        await until(lambda: echo.calls[-1] == "lost")


APP, OTHER = "https://app.example", "https://other.example"


@pytest.mark.parametrize(
    ("options", "origins", "status"),
    [
        ({}, [], 101),
        ({}, [OTHER], 101),
        ({}, ["null"], 101),
        ({"origins": (APP,)}, [], 101),  # no browser
        ({"origins": (APP,)}, [APP], 101),
        ({"origins": (APP,)}, ["https://APP.example"], 101),
        ({"origins": (APP,)}, [OTHER], 403),
        ({"origins": (APP,)}, ["null"], 403),
        ({"origins": (APP,)}, [f"{APP}:8443"], 403),
        ({"origins": (APP,)}, ["http://app.example"], 403),
        ({"origins": (APP,)}, [APP, OTHER], 403),
        ({"origins": ()}, [APP], 403),
        ({"origins": ()}, [], 101),
        ({"same_origin": True}, [], 101),
        ({"same_origin": True}, ["https://localhost"], 101),
        ({"same_origin": True}, ["http://localhost"], 403),
        ({"same_origin": True}, [OTHER], 403),
        ({"same_origin": True}, ["null"], 403),
        ({"same_origin": True, "origins": (OTHER,)}, [OTHER], 101),
    ],
)
async def test_web_pages_that_may_connect(options: dict[str, Any], origins: list[str], status: int) -> None:
    async with echoing(**options) as echoes, raw_client(echoes.port) as client:
        client.send(request(origins=origins))
        assert (await client.response()).startswith(f"HTTP/1.1 {status} ")
        assert bool(echoes.made) is (status == 101)
        if status != 101:
            assert b"may not connect" in await client.rest()


async def test_the_listeners_origins_are_the_configured_ones() -> None:
    async with listening(type="ws", origins=["https://App.example/"]) as way:
        assert (await open_websocket(await way.stream(), APP)).startswith("HTTP/1.1 101 ")
        refused = await way.stream()
        assert (await open_websocket(refused, OTHER)).startswith("HTTP/1.1 403 ")
        refused.writer.close()
        await until(lambda: way.listener.handshaking == 0)


@pytest.mark.parametrize("keys", [{"certificate_username": "cn"}, {}, {"verify_client": "required"}])
async def test_a_page_of_another_host_cannot_use_the_browsers_certificate(
    authority: Authority, keys: dict[str, str]
) -> None:
    """Nor where no user name is taken from it: it opens the door by itself, and anonymous clients may be admitted."""
    files = {**authority.issue("127.0.0.1").keys, "cafile": authority.cafile}
    async with listening(type="ws", ssl=True, **files, **keys) as way:
        tls = authority.client(authority.issue("device", common_name="alice"))
        assert (await open_websocket(await way.stream(tls), OTHER)).startswith("HTTP/1.1 403 ")
        assert (await open_websocket(await way.stream(tls), "https://localhost")).startswith("HTTP/1.1 101 ")


async def test_without_certificates_of_clients_pages_of_any_host_may_connect(authority: Authority) -> None:
    async with listening(type="ws", ssl=True, **authority.issue("127.0.0.1").keys) as way:
        stream = await way.stream(authority.client())
        assert (await open_websocket(stream, OTHER)).startswith("HTTP/1.1 101 ")


async def test_mqtt_through_frames_of_every_size() -> None:
    """[MQTT-6.0.0-2] [MQTT-6.0.0-4]: a packet across frames, and several packets in one."""
    async with listening(type="ws") as way:
        stream = await way.stream()
        head = await open_websocket(stream)
        assert "sec-websocket-protocol: mqtt\r\n" in head.lower()
        packets = wire.connect("c") + wire.subscribe(1, ("t", 0)) + wire.publish("t", b"x" * 300) + wire.PING
        for size in (1, 7, len(packets)):
            sent = b"".join(frame(BINARY, packets[place : place + size]) for place in range(0, len(packets), size))
            stream.writer.write(sent)
            answer = b""
            while b"\xd0\x00" not in answer:
                answer += await asyncio.wait_for(stream.reader.read(65_536), 30)
            assert b"\x20\x02\x00\x00" in answer
            assert b"x" * 300 in answer
            stream = await way.stream()
            await open_websocket(stream)


async def test_a_text_frame_at_the_listener_is_closed_with_1003() -> None:
    """[MQTT-6.0.0-1]"""
    async with listening(type="ws") as way:
        stream = await way.stream()
        await open_websocket(stream)
        stream.writer.write(frame(TEXT, wire.connect("c")))
        assert (
            await asyncio.wait_for(stream.reader.readexactly(4), 30)
            == frame(CLOSE, struct.pack("!H", 1003) + b"MQTT needs binary frames", masked=False)[:4]
        )
        await stream.rest()
        stream.writer.close()
        await until(lambda: way.listener.limits.open == 0)
        assert way.requests == []


async def test_no_payload_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with echoing() as echoes, opened(echoes.port) as client:
        client.send(frame(BINARY, b"secret"))
        assert await client.payload(6) == b"secret"
        client.send(frame(BINARY, b"secret", masked=False))
        assert (await client.frame())[0] == CLOSE
        await client.rest()
    assert "secret" not in caplog.text
    assert b"secret".hex(" ") not in caplog.text
