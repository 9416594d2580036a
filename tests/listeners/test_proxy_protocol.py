"""The PROXY protocol: its header's two versions byte by byte, and what the broker then believes of the client."""

import asyncio
import socket
import struct
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.listeners.arrival import read_proxy_header
from wardenmq.broker.listeners.options import ListenerOptions
from wardenmq.broker.listeners.proxy_protocol import ProxyHeaderParser, ProxyProtocolError
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.broker.settings import MqttSettings

from ..engine.conditions import until
from ..engine.wire import connect
from .certificates import Authority
from .ways_in import connect_in_frames, listening, open_websocket, proxied, proxied2

SOURCE = ("192.0.2.7", 4_711)
IPV6 = ip_address("2001:db8::7").packed + ip_address("::1").packed + struct.pack("!HH", 4_711, 1_883)
MAPPED = ip_address("::ffff:192.0.2.7").packed * 2 + struct.pack("!HH", 4_711, 1_883)
UNIX = b"/run/proxy.sock".ljust(108, b"\0") + bytes(108)
TLV = b"\x20\x00\x03\x01\x02\x03" + b"\x04\x00\x00" + b"\xee\xff"  # the last is cut off, which is nothing to us

HEADERS = {
    "1, IPv4": (proxied(), SOURCE),
    "1, IPv6": (proxied("2001:db8::7"), ("2001:db8::7", 4_711)),
    "1, IPv4 in IPv6": (proxied("::ffff:192.0.2.7"), SOURCE),
    "1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "1, unknown with addresses": (b"PROXY UNKNOWN ::1 ::1 1 2\r\n", None),
    "1, longest": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    "2, IPv4": (proxied2(), SOURCE),
    "2, IPv6": (proxied2(0x21, IPV6), ("2001:db8::7", 4_711)),
    "2, IPv4 in IPv6": (proxied2(0x21, MAPPED), SOURCE),
    "2, Unix": (proxied2(0x31, UNIX), ("unix:/run/proxy.sock", 0)),
    "2, with fields": (proxied2(tlv=TLV), SOURCE),
    "2, longest": (proxied2(tlv=bytes(65_523)), SOURCE),
    "2, local": (proxied2(0x00, b"", command=0x20), None),
    "2, local with addresses": (proxied2(command=0x20, tlv=TLV), None),
    "2, local of a family to come": (proxied2(0x7F, b"abc", command=0x20), None),
    "2, unspecified": (proxied2(0x00, b""), None),
    "2, datagrams": (proxied2(0x12), None),
}


@pytest.mark.parametrize(("header", "source"), HEADERS.values(), ids=HEADERS)
def test_whole_and_byte_by_byte(header: bytes, source: tuple[str, int] | None) -> None:
    whole = ProxyHeaderParser()
    assert whole.receive_data(header + b"\x10\x0e") == len(header)
    assert whole.header is not None
    assert whole.header.source == source
    assert whole.receive_data(b"more") == 0
    split = ProxyHeaderParser()
    for place in range(len(header)):
        assert split.header is None
        assert split.receive_data(header[place : place + 1]) == 1
    assert split.header == whole.header


@given(
    st.sampled_from([header for header, _ in HEADERS.values()]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_any_cut_takes_the_header_and_nothing_else(header: bytes, behind: bytes, cuts: list[int]) -> None:
    parser, sent, taken = ProxyHeaderParser(), header + behind, 0
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    for start, end in pairwise(edges):
        taken += parser.receive_data(sent[start:end])
        if parser.header is not None:
            break
    assert taken == len(header)
    assert parser.header is not None


BAD = {
    "MQTT": connect("c"),
    "TLS": b"\x16\x03\x01\x02\x00",
    "nearly 1": b"PROXX",
    "nearly 2": b"\r\n\r\n\0\r\nQUIX",
    "1 without end": b"PROXY TCP4 " + b"1" * 107,
    "1 too long by one": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "1 ends in a line feed": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    "1 of a protocol to come": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "1 says nothing": b"PROXY \r\n",
    "1 without ports": b"PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
    "1 with more": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    "1 with two spaces": b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
    "1 of another family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "1 of mixed families": b"PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
    "1 with a name": b"PROXY TCP4 localhost 1.2.3.4 1 2\r\n",
    "1 with a scope": b"PROXY TCP6 fe80::1%\x1b[31m ::1 1 2\r\n",
    "1 beyond ASCII": b"PROXY TCP4 \xff.2.3.4 1.2.3.4 1 2\r\n",
    "1 with a great port": b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
    "1 with a negative port": b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
    "2 of version 1": proxied2(command=0x11),
    "2 with an unknown command": proxied2(command=0x22),
    "2 with an unknown family": proxied2(0x41),
    "2 with an unknown transport": proxied2(0x13),
    "2 too short for IPv4": proxied2(length=11),
    "2 too short for IPv6": proxied2(0x21),
    "2 too short for Unix": proxied2(0x31),
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_anything_else_is_refused_as_soon_as_it_can_be_told(sent: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        ProxyHeaderParser().receive_data(sent)
    split = ProxyHeaderParser()
    with pytest.raises(ProxyProtocolError):
        for place in range(len(sent)):
            split.receive_data(sent[place : place + 1])


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"]))
def test_any_bytes_are_a_header_or_refused(sent: bytes, before: bytes) -> None:
    parser = ProxyHeaderParser()
    try:
        taken = parser.receive_data(before + sent)
    except ProxyProtocolError:
        return
    assert taken <= len(before + sent)
    assert parser.header is not None or taken == len(before + sent)


async def test_not_one_byte_more_is_taken_off_the_socket() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for header, source in HEADERS.values():
            if len(header) > 4_096:
                continue
            theirs.sendall(header + b"behind")
            assert (await read_proxy_header(loop, ours)).source == source
            assert ours.recv(100) == b"behind"


# At a listener


@pytest.mark.parametrize("header", [proxied(), proxied2(tlv=TLV)], ids=["version 1", "version 2"])
async def test_the_announced_address_is_the_peers_everywhere(header: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with listening(proxy_protocol=True) as way:
        client = await way.client(header)
        await client.connect("c")
        (request,) = way.requests
        assert (request.peer_host, request.peer_port, request.listener) == (*SOURCE, "tcp:default")
        session = way.broker.registry.get("c")
        assert session is not None
        assert (session.peer_host, session.peer_port) == SOURCE
        (connection,) = way.listener.connections
        assert (connection.peer_host, connection.peer_port) == SOURCE
        view = way.broker.sessions["c"][0]
        assert (view.remote_address, view.remote_port) == SOURCE
        assert "192.0.2.7:4711" in caplog.text
        await client.subscribe(("t", 1))
        await client.publish("t", bytes(1_000_000), 1)
        assert len((await client.message()).payload) == 1_000_000


async def test_header_and_connect_may_come_in_any_pieces() -> None:
    async with listening(proxy_protocol=True) as way:
        stream = await way.stream()
        for place in range(len(sent := proxied() + connect("c"))):
            stream.writer.write(sent[place : place + 1])
            await asyncio.sleep(0)
        assert await stream.reader.readexactly(4) == b"\x20\x02\x00\x00"
        assert way.requests[0].peer_host == SOURCE[0]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", proxied2(0, b"", command=0x20), proxied2(0, b"")])
async def test_without_an_announced_address_the_sockets_own_counts(header: bytes) -> None:
    async with listening(proxy_protocol=True) as way:
        assert (await way.connected(header)).peer_host == "127.0.0.1"


@pytest.mark.parametrize("sent", [connect("c"), b"PROXY TCP4 nowhere\r\n", proxied2(command=0x11)])
async def test_a_bad_header_is_closed(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with listening(proxy_protocol=True) as way:
        stream = await way.stream()
        stream.writer.write(sent)
        assert await stream.rest() == b""
        await until(lambda: way.listener.limits.open == 0)
        assert "bad PROXY header" in caplog.text
        assert (await way.connected(proxied())).peer_host == SOURCE[0]


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 192.0", proxied2()[:20]])
async def test_a_header_that_does_not_come_in_time_is_closed(sent: bytes) -> None:
    async with listening(proxy_protocol=True, settings=MqttSettings(connect_timeout=0.1)) as way:
        stream = await way.stream()
        stream.writer.write(sent)
        assert await stream.rest() == b""
        await until(lambda: way.listener.handshaking == way.listener.limits.open == 0)


async def test_who_hangs_up_before_the_end_of_the_header_is_forgotten() -> None:
    async with listening(proxy_protocol=True) as way:
        stream = await way.stream()
        stream.writer.write(b"PROXY ")
        await until(lambda: way.listener.handshaking == 1)
        stream.writer.close()
        await until(lambda: way.listener.handshaking == way.listener.limits.open == 0)


async def test_a_header_counts_only_from_a_proxys_network(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever else connects is closed before a byte of his is read."""
    caplog.set_level("INFO")
    async with listening(proxy_protocol=True, proxy_networks=["192.0.2.0/24", "2001:db8::1"]) as way:
        stream = await way.stream()
        stream.writer.write(proxied())
        assert await stream.rest() == b""
        await until(lambda: way.broker.limits()["connections_turned_away"] == 1)
        assert way.listener.turned_away == {ReasonCode.NOT_AUTHORIZED: 1}
        assert (way.broker.live_connections, way.listener.handshaking) == (0, 0)
        assert "127.0.0.1" in caplog.text and "no proxy's" in caplog.text


async def test_a_proxy_may_come_through_a_unix_socket(tmp_path: Path) -> None:
    """Whoever may open its file is trusted."""
    async with listening(bind=f"unix:{tmp_path / 's'}", proxy_protocol=True, proxy_networks=["192.0.2.0/24"]) as way:
        assert (await way.connected(proxied())).peer_host == "192.0.2.7"


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("169.254.1.1", True),
        ("fd00::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:10.0.0.1", True),
        ("198.51.100.1", False),
        ("172.32.0.1", False),
        ("2001:db8::1", False),
        ("::ffff:198.51.100.1", False),
    ],
)
def test_a_proxy_is_by_default_on_the_same_machine_or_in_a_private_network(address: str, trusted: bool) -> None:
    assert ListenerOptions().trusts_proxy(address) is trusted


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", proxied2(command=0x20)], ids=["UNKNOWN", "LOCAL"])
async def test_who_announces_nobody_has_the_rate_of_the_sockets_address(header: bytes) -> None:
    async with listening(proxy_protocol=True, settings=MqttSettings(max_connect_rate_per_address=0.001)) as way:
        await way.connected(header)
        again = await way.client(header)
        assert await again.refused(connect("d")) == 3


async def test_without_the_option_a_header_is_no_packet() -> None:
    async with listening() as way:
        stream = await way.stream()
        stream.writer.write(proxied() + connect("c"))
        assert await stream.rest() == b""
        assert way.requests == []


# Before the other handshakes


async def test_before_tls(authority: Authority) -> None:
    """The header comes in the clear, in one segment with the first bytes of TLS or not."""
    keys = authority.issue("127.0.0.1").keys
    async with listening(ssl=True, proxy_protocol=True, **keys) as way:
        host, port = way.broker.addresses["default"]
        raw = socket.create_connection((host, port), timeout=30)
        raw.sendall(proxied())
        raw.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=raw, ssl=authority.client(), server_hostname="127.0.0.1")
        writer.write(connect("c"))
        assert await asyncio.wait_for(reader.readexactly(4), 30) == b"\x20\x02\x00\x00"
        assert way.requests[0].peer_host == SOURCE[0]
        assert way.requests[0].listener == "ssl:default"
        writer.transport.abort()


async def test_in_one_segment_with_the_hello_of_tls(authority: Authority) -> None:
    import ssl

    async with listening(ssl=True, proxy_protocol=True, **authority.issue("127.0.0.1").keys) as way:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        stream = await way.stream()
        first = proxied()
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                stream.writer.write(first + outgoing.read())
                first = b""
                incoming.write(await asyncio.wait_for(stream.reader.read(65_536), 30))
        tls.write(connect("c"))
        stream.writer.write(outgoing.read())
        await until(lambda: [request.peer_host for request in way.requests] == [SOURCE[0]])


async def test_before_a_websocket() -> None:
    async with listening(type="ws", proxy_protocol=True) as way:
        stream = await way.stream()
        stream.writer.write(proxied2())
        assert (await open_websocket(stream)).startswith("HTTP/1.1 101 ")
        assert await connect_in_frames(stream) == b"\x20\x02\x00\x00"
        assert (way.requests[0].peer_host, way.requests[0].listener) == (SOURCE[0], "ws:default")


async def test_before_a_secure_websocket(authority: Authority) -> None:
    async with listening(type="ws", ssl=True, proxy_protocol=True, **authority.issue("127.0.0.1").keys) as way:
        raw = socket.create_connection(way.broker.addresses["default"], timeout=30)
        raw.sendall(proxied2(0x21, IPV6))
        raw.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=raw, ssl=authority.client(), server_hostname="127.0.0.1")
        from .ways_in import Stream

        stream = Stream(reader, writer)
        assert (await open_websocket(stream)).startswith("HTTP/1.1 101 ")
        assert await connect_in_frames(stream) == b"\x20\x02\x00\x00"
        assert (way.requests[0].peer_host, way.requests[0].listener) == ("2001:db8::7", "wss:default")
        writer.transport.abort()
