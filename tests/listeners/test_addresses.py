"""Where a listener listens: amqtt's forms of an address, IPv6, host names, and Unix sockets."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from amqtt.errors import BrokerError
from wardenmq.broker.broker import Broker
from wardenmq.broker.listeners.addresses import Address, TcpAddress, UnixAddress, read_address
from wardenmq.broker.listeners.sockets import bind

from ..engine.brokers import ANONYMOUS
from ..engine.wire import Client
from .ways_in import connect_in_frames, listening, open_websocket


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", TcpAddress(None, 1883)),
        ("1884", TcpAddress(None, 1884)),
        (":1884", TcpAddress(None, 1884)),
        ("0.0.0.0:1884", TcpAddress("0.0.0.0", 1884)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("localhost", TcpAddress("localhost", 1883)),
        ("localhost:", TcpAddress("localhost", 1883)),
        ("[::1]:1884", TcpAddress("::1", 1884)),
        ("[::]:65535", TcpAddress("::", 65_535)),
        ("[::1]", TcpAddress("::1", 1883)),
        ("unix:/run/mqtt.sock", UnixAddress("/run/mqtt.sock", 0o600)),
    ],
)
def test_the_forms_of_an_address(text: str, address: Address) -> None:
    assert read_address(text, 1883, 0o600) == address


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (TcpAddress("::1", 1883), "[::1]:1883"),
        (TcpAddress("localhost", 0), "localhost:0"),
        (TcpAddress(None, 1), ":1"),
        (UnixAddress("/a", 0), "unix:/a"),
    ],
)
def test_an_address_is_written_as_it_is_read(address: Address, text: str) -> None:
    assert str(address) == text


NO_PORT = ["a:65536", "a:-1", "a:b", ":b", "a: 1", "a:\N{ARABIC-INDIC DIGIT ONE}"]
NO_HOST = ["[::1:1883", "[::1]1883", "::1", "::1:1883", "a:b:1", "[]:1", "a b:1", "a\n:1"]
NO_PATH = ["unix:", "unix:a/b", "unix:/a/", "unix:/a\n"]


@pytest.mark.parametrize("text", [*NO_PORT, *NO_HOST, *NO_PATH])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        read_address(text, 1883, 0o600)


@pytest.mark.parametrize("text", ["a:b", "unix:relative"])
async def test_the_listener_is_named_that_cannot_be_bound(text: str) -> None:
    with pytest.raises(BrokerError, match=f"listener 'default' cannot bind {text}"):
        async with listening(bind=text):
            pass


# TCP


@pytest.mark.parametrize(
    ("address", "peer"),
    [("[::1]:0", "::1"), ("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")],
)
@pytest.mark.parametrize("keys", [{}, {"type": "ws"}], ids=["tcp", "ws"])
async def test_serves_at(address: str, peer: str, keys: dict[str, str]) -> None:
    async with listening(bind=address, **keys) as way:
        _, port = way.broker.addresses["default"]
        reader, writer = await asyncio.open_connection(peer, port)
        if keys:
            from .ways_in import Stream

            stream = Stream(reader, writer)
            assert (await open_websocket(stream)).startswith("HTTP/1.1 101 ")
            await connect_in_frames(stream)
        else:
            await Client(reader, writer).connect("c")
        assert way.requests[0].peer_host == peer
        writer.transport.abort()


@pytest.mark.parametrize("address", ["localhost:0", ":0"])
@pytest.mark.parametrize("keys", [{}, {"type": "ws"}], ids=["tcp", "ws"])
async def test_a_name_is_served_at_all_its_addresses_at_one_port(address: str, keys: dict[str, str]) -> None:
    async with listening(bind=address, **keys) as way:
        _, port = way.broker.addresses["default"]
        found = {place[4][0] for place in socket.getaddrinfo("localhost", None)}
        reached = {"127.0.0.1", "::1"} if address.startswith(":") else found
        for peer in reached:
            _, writer = await asyncio.open_connection(peer, port)
            writer.transport.abort()


async def test_the_two_wildcards_do_not_collide() -> None:
    async with listening(bind="0.0.0.0:0") as first:
        _, port = first.broker.addresses["default"]
        async with listening(bind=f"[::]:{port}") as second:
            assert second.broker.addresses["default"] == ("::", port)


@pytest.mark.parametrize("keys", [{}, {"proxy_protocol": True}], ids=["direct", "with handshake"])
async def test_a_port_in_use_is_refused_and_free_again_after_the_end(keys: dict[str, bool]) -> None:
    async with listening(**keys) as way:
        host, port = way.broker.addresses["default"]
        with pytest.raises(BrokerError, match=r"cannot bind 127\.0\.0\.1:\d+: [Aa]ddress already in use"):
            async with listening(bind=f"{host}:{port}", **keys):
                pass
        await way.broker.shutdown()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(host, port)
    async with listening(bind=f"{host}:{port}", **keys):
        pass


async def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(BrokerError, match="cannot bind nowhere.invalid:1"):
        async with listening(bind="nowhere.invalid:1"):
            pass


async def test_a_name_of_which_one_address_cannot_be_had() -> None:
    """A machine's name may stand for addresses that it does not have, such as an IPv6 one where that is off."""
    loop = asyncio.get_running_loop()
    original = loop.getaddrinfo

    class Resolver:
        async def getaddrinfo(self, *arguments: object, **options: object) -> list[tuple[object, ...]]:
            found = await original("127.0.0.1", 0, type=socket.SOCK_STREAM)
            return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)), *found]

    bound = await bind(Resolver(), TcpAddress("both.example", 0))  # type: ignore[arg-type]
    assert [one.getsockname()[0] for one in bound] == ["127.0.0.1"]
    bound[0].close()


# Unix sockets


async def test_a_unix_socket_serves_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    async with listening(bind=f"unix:{path}") as way:
        assert way.broker.addresses["default"] == (f"unix:{path}", 0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        client = await way.client()
        await client.connect("c")
        assert (way.requests[0].peer_host, way.requests[0].listener) == (f"unix:{path}", "unix:default")
        await client.subscribe(("t", 2))
        await client.publish("t", bytes(500_000), 2)
        assert len((await client.message()).payload) == 500_000
    assert not path.exists()


async def test_a_websocket_and_a_proxy_header_over_a_unix_socket(tmp_path: Path) -> None:
    from .ways_in import proxied

    async with listening(type="ws", bind=f"unix:{tmp_path}/ws.sock", proxy_protocol=True) as way:
        stream = await way.stream()
        stream.writer.write(proxied())
        assert (await open_websocket(stream)).startswith("HTTP/1.1 101 ")
        await connect_in_frames(stream)
        assert (way.requests[0].peer_host, way.requests[0].listener) == ("192.0.2.7", "ws:default")


@pytest.mark.parametrize("mode", ["0600", "666"])
async def test_the_mode_is_the_configured_one(tmp_path: Path, mode: str) -> None:
    before = os.umask(0o077)
    try:
        async with listening(bind=f"unix:{tmp_path}/mqtt.sock", socket_mode=mode):
            assert stat.S_IMODE((tmp_path / "mqtt.sock").stat().st_mode) == int(mode, 8)
    finally:
        os.umask(before)


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    async with listening(bind=f"unix:{path}") as way:
        await way.connected()


async def test_a_socket_that_is_in_use_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    async with listening(bind=f"unix:{path}") as way:
        with pytest.raises(BrokerError, match="Address already in use"):
            async with listening(bind=f"unix:{path}"):
                pass
        await way.connected()


async def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BrokerError, match="the file exists and is no socket"):
        async with listening(bind=f"unix:{path}"):
            pass
    assert path.read_text() == "data"


async def test_a_later_servers_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    async with listening(bind=f"unix:{path}") as first:
        path.unlink()
        async with listening(bind=f"unix:{path}") as second:
            await first.broker.shutdown()
            await second.connected()


async def test_a_path_that_is_too_long_or_not_there_is_said(tmp_path: Path) -> None:
    for path in (f"{tmp_path}/{'x' * 200}", f"{tmp_path}/none/mqtt.sock"):
        with pytest.raises(BrokerError, match="listener 'default' cannot bind unix:/"):
            async with listening(bind=f"unix:{path}"):
                pass


async def test_a_broker_that_cannot_open_all_its_listeners_opens_none(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    listeners = {"default": {"bind": f"unix:{path}"}, "second": {"bind": "127.0.0.1:99999"}}
    with pytest.raises(BrokerError, match="listener 'second'"):
        await Broker({"listeners": listeners, "plugins": dict(ANONYMOUS)}).start()
    assert not path.exists()
