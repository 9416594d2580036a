"""How many connections come in and how fast, on every kind of listener; and sockets that are still in a handshake."""

import asyncio
import errno
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from wardenmq.broker.listeners.acceptor import Acceptor
from wardenmq.broker.listeners.limits import BrokerLimits, ListenerLimits
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.broker.settings import MqttSettings

from ..engine.conditions import until
from ..engine.wire import Client, connect
from ..engine.wire5 import Client5
from ..engine.wire5 import connect as connect5
from .certificates import Authority
from .ways_in import Stream, WayIn, connect_in_frames, listening, open_websocket, proxied

QUOTA, RATE = ReasonCode.QUOTA_EXCEEDED, ReasonCode.CONNECTION_RATE_EXCEEDED
SLOW = 0.001
"""Connections per second: the first one is let in, and no other while a test runs."""


# The bounds themselves, with time as a number


def limits(max_connections: int = 0, **settings: Any) -> ListenerLimits:
    return ListenerLimits(max_connections, BrokerLimits(MqttSettings(**settings)))


def test_a_listener_is_full_with_its_own_number_or_the_brokers() -> None:
    broker = BrokerLimits(MqttSettings(max_connections=3))
    small, large = ListenerLimits(2, broker), ListenerLimits(0, broker)
    for listener in (small, small, large):
        assert listener.check("192.0.2.1", 0.0) is None
        listener.enter()
        assert small.full or listener is small
    assert (small.full, large.full, broker.open) == (True, True, 3)
    assert large.check("192.0.2.1", 0.0) is QUOTA
    small.leave()
    assert (small.full, large.full) == (False, False)
    assert large.turned_away == {QUOTA: 1}


def test_a_listeners_rate_with_its_burst() -> None:
    door = limits(max_connect_rate=10.0)
    assert [door.check_room(0.0) for _ in range(20)] == [None] * 20
    assert door.check_room(0.0) is RATE
    assert door.check_room(0.1) is None
    assert door.check_room(0.1) is RATE
    assert door.turned_away[RATE] == 2


def test_an_addresss_rate_takes_nothing_from_others() -> None:
    door = limits(max_connect_rate=100.0, max_connect_rate_per_address=1.0)
    assert [door.check("192.0.2.1", 0.0) for _ in range(5)] == [None] * 5
    assert {door.check("192.0.2.1", 0.0) for _ in range(1_000)} == {RATE}
    assert door.check("192.0.2.2", 0.0) is None
    assert door.check("192.0.2.1", 1.0) is None


def test_one_ipv6_subscriber_is_one_address() -> None:
    door = limits(max_connect_rate_per_address=SLOW)
    assert door.check("2001:db8:0:1::1", 0.0) is None
    assert door.check("2001:db8:0:1:ffff::2", 0.0) is RATE
    assert door.check("2001:db8:0:2::1", 0.0) is None
    assert door.check("unix:/run/a", 0.0) is None


def test_the_addresses_rate_holds_over_all_listeners() -> None:
    broker = BrokerLimits(MqttSettings(max_connect_rate_per_address=SLOW))
    assert ListenerLimits(0, broker).check("192.0.2.1", 0.0) is None
    assert ListenerLimits(0, broker).check("192.0.2.1", 0.0) is RATE


def test_zero_is_no_bound() -> None:
    settings = MqttSettings(max_connections=0, max_connect_rate=0.0, max_connect_rate_per_address=0.0)
    door = ListenerLimits(0, BrokerLimits(settings))
    for _ in range(100_000):
        assert door.check("192.0.2.1", 0.0) is None
        door.enter()


def test_only_so_many_refusals_are_explained() -> None:
    door = limits()
    assert [door.may_explain(0.0) for _ in range(101)] == [True] * 100 + [False]
    assert door.broker.cut_off == 1


# At listeners: who is too many is told so


class Kind:
    """One kind of listener, and how a client gets as far as MQTT there."""

    def __init__(self, name: str, authority: Authority) -> None:
        self.name = name
        secure = {"ssl": True, **authority.issue("127.0.0.1").keys}
        self.keys: dict[str, Any] = {
            "tcp": {},
            "ssl": secure,
            "ws": {"type": "ws"},
            "wss": {"type": "ws", **secure},
            "proxy": {"proxy_protocol": True},
        }[name]
        self.tls = authority.client() if "ssl" in self.keys else None
        self.streams: list[Stream] = []

    async def answer(self, way: WayIn, client_id: str = "c") -> bytes:
        """Connect with MQTT 3.1.1 and give the CONNACK, or what came instead."""
        try:
            stream = await way.stream(self.tls)
            self.streams.append(stream)
            if self.name == "proxy":
                stream.writer.write(proxied())
            if self.name in ("ws", "wss"):
                assert (await open_websocket(stream)).startswith("HTTP/1.1 101 ")
                return await connect_in_frames(stream, client_id)
            stream.writer.write(connect(client_id))
            return await asyncio.wait_for(stream.reader.readexactly(4), 30)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return b""


KINDS = ["tcp", "ssl", "ws", "wss", "proxy"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, authority: Authority) -> Kind:
    return Kind(request.param, authority)


@pytest.mark.parametrize("where", ["listener", "broker"])
async def test_a_full_listener_answers_and_serves_again_when_there_is_room(kind: Kind, where: str) -> None:
    own = {"max_connections": 1} if where == "listener" else {}
    settings = MqttSettings(max_connections=0 if own else 1)
    async with listening(kind.keys, settings, **own) as way:
        assert await kind.answer(way, "first") == b"\x20\x02\x00\x00"
        refused = await kind.answer(way, "second")
        assert refused == b"\x20\x02\x00\x03"  # server unavailable
        assert way.broker.registry.get("second") is None
        kind.streams[0].writer.transport.abort()
        await until(lambda: way.listener.limits.open == 0)
        assert await kind.answer(way, "third") == b"\x20\x02\x00\x00"


async def test_a_listeners_rate_is_answered(kind: Kind) -> None:
    async with listening(kind.keys, MqttSettings(max_connect_rate=SLOW)) as way:
        assert await kind.answer(way) == b"\x20\x02\x00\x00"
        assert await kind.answer(way) == b"\x20\x02\x00\x03"
        assert way.listener.turned_away == {RATE: 1}


async def test_an_addresss_rate_is_answered(kind: Kind) -> None:
    async with listening(kind.keys, MqttSettings(max_connect_rate_per_address=SLOW)) as way:
        assert await kind.answer(way) == b"\x20\x02\x00\x00"
        assert await kind.answer(way) == b"\x20\x02\x00\x03"
        assert way.listener.turned_away == {RATE: 1}
        assert way.listener.limits.open == 1


async def test_mqtt_5_is_told_the_reason() -> None:
    for settings, reason in ((MqttSettings(max_connect_rate=SLOW), RATE), (MqttSettings(max_connections=1), QUOTA)):
        async with listening(settings=settings) as way:
            await way.connected()
            stream = await way.stream()
            refusal = await Client5(stream.reader, stream.writer).refusal(connect5("d"))
            assert refusal.reason == reason


async def test_behind_a_proxy_the_announced_address_has_the_rate() -> None:
    async with listening(proxy_protocol=True, settings=MqttSettings(max_connect_rate_per_address=SLOW)) as way:
        for source in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            assert (await way.connected(proxied(source), client_id=source)).peer_host == source
        again = await way.client(proxied("192.0.2.2"))
        assert await again.refused(connect("d")) == 3


async def test_too_many_to_be_told_are_cut_off(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardenmq.broker.listeners.limits._EXPLANATIONS", SLOW)
    monkeypatch.setattr("wardenmq.broker.listeners.limits._ADDRESS_BURST", 1 / SLOW)
    kind = Kind("ssl", authority)
    async with listening(kind.keys, MqttSettings(max_connections=1)) as way:
        assert await kind.answer(way, "first") == b"\x20\x02\x00\x00"
        assert await kind.answer(way, "told") == b"\x20\x02\x00\x03"
        assert await kind.answer(way, "cut off") == b""
        assert way.listener.limits.broker.cut_off == 1
        assert way.listener.turned_away == {QUOTA: 2}


# In a handshake

BEGINNINGS = {"ssl": b"\x16\x03\x01", "ws": b"GET /mqtt HTTP/1.1\r\n", "wss": b"\x16\x03\x01", "proxy": b"PROXY TCP4"}


@pytest.fixture(params=BEGINNINGS)
def slow_kind(request: pytest.FixtureRequest, authority: Authority) -> Kind:
    return Kind(request.param, authority)


async def begin(way: WayIn, kind: Kind) -> Stream:
    """Open a connection that gets no further than the beginning of its handshake."""
    before = way.listener.handshaking
    stream = await way.stream()
    stream.writer.write(BEGINNINGS[kind.name])
    await until(lambda: way.listener.handshaking == before + 1)
    return stream


async def test_a_socket_in_a_handshake_counts(slow_kind: Kind) -> None:
    async with listening(slow_kind.keys, max_connections=2) as way:
        stream = await begin(way, slow_kind)
        assert (way.broker.live_connections, len(way.listener.connections)) == (1, 0)
        assert await slow_kind.answer(way, "second") == b"\x20\x02\x00\x00"
        assert await slow_kind.answer(way, "third") == b"\x20\x02\x00\x03"
        stream.writer.transport.abort()
        await until(lambda: way.broker.live_connections == 1)
        assert await slow_kind.answer(way, "fourth") == b"\x20\x02\x00\x00"


async def test_a_socket_in_a_handshake_has_a_time_limit(slow_kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with listening(slow_kind.keys, MqttSettings(connect_timeout=0.2)) as way:
        stream = await way.stream()
        stream.writer.write(BEGINNINGS[slow_kind.name])
        await stream.rest()
        await until(lambda: way.listener.handshaking == way.broker.live_connections == 0)
        assert "no handshake in time" in caplog.text


async def test_handshakes_and_connect_have_one_time_limit_together(
    slow_kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """What the handshakes take is not given once more to the CONNECT."""
    caplog.set_level("INFO")
    limit = 3_600.0
    async with listening(slow_kind.keys, MqttSettings(connect_timeout=limit)) as way:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        stream = await way.stream()
        await until(lambda: way.listener.handshaking == 1)
        accepted = loop.time()
        await until(lambda: loop.time() - accepted > 0.3)
        if slow_kind.name == "proxy":
            stream.writer.write(proxied())
        else:
            if slow_kind.tls is not None:
                await stream.writer.start_tls(slow_kind.tls, server_hostname="127.0.0.1")
            if slow_kind.name != "ssl":
                await open_websocket(stream)
        await until(lambda: len(way.listener.connections) == 1)
        (connection,) = way.listener.connections
        timer = connection._opening_timer
        assert timer is not None
        assert begun + limit - 0.1 < timer.when() < accepted + limit + 0.1  # uvloop looks at its clock now and then
        connection._connect_timed_out()
        assert "not connected in time" in caplog.text
        await stream.rest()


async def test_a_socket_in_a_handshake_does_not_outlive_the_broker(slow_kind: Kind) -> None:
    async with listening(slow_kind.keys, MqttSettings(connect_timeout=3_600)) as way:
        streams = [await begin(way, slow_kind) for _ in range(3)]
        async with asyncio.timeout(30):
            await way.broker.shutdown()
        assert (way.listener.handshaking, way.broker.live_connections) == (0, 0)
        for stream in streams:
            await stream.rest()


async def test_sockets_accepted_in_the_very_moment_of_the_end(slow_kind: Kind) -> None:
    """Their tasks have not taken a step yet."""
    async with listening(slow_kind.keys, MqttSettings(connect_timeout=3_600)) as way:
        host, port = way.broker.addresses["default"]
        with socket.create_connection((host, port), timeout=30) as client:
            client.sendall(BEGINNINGS[slow_kind.name])
            (acceptor,) = way.listener._servers
            acceptor._accept()  # pyright: ignore
            assert way.listener.handshaking == 1
            async with asyncio.timeout(30):
                await way.broker.shutdown()
            assert (way.listener.handshaking, way.broker.live_connections) == (0, 0)
            with suppress(ConnectionError):
                assert client.recv(1) == b""


async def test_a_connection_that_is_there_survives_other_handshakes(slow_kind: Kind) -> None:
    async with listening(slow_kind.keys, MqttSettings(connect_timeout=0.5)) as way:
        while await slow_kind.answer(way) != b"\x20\x02\x00\x00":
            pass  # the machine stalled, and the time was over
        stream = await way.stream()
        stream.writer.write(BEGINNINGS[slow_kind.name])
        await stream.rest()
        session = way.broker.registry.get("c")
        assert session is not None and session.link is not None


async def test_running_out_of_files_pauses_accepting(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wardenmq.broker.listeners.acceptor._PAUSE", 0.01)
    async with listening(proxy_protocol=True) as way:
        (acceptor,) = way.listener._servers
        real = acceptor._socket  # pyright: ignore

        class Exhausted:
            failures = 2

            def accept(self) -> Any:
                if self.failures:
                    self.failures -= 1
                    raise OSError(errno.EMFILE, "Too many open files")
                acceptor._socket = real  # pyright: ignore
                return real.accept()

            def fileno(self) -> int:
                return real.fileno()

            def close(self) -> None:
                real.close()

        acceptor._socket = Exhausted()  # pyright: ignore
        client = await way.client(proxied())
        await client.connect("c")
        assert acceptor._socket is real  # pyright: ignore
        assert caplog.text.count("accepting connections pauses: Too many open files") == 1


async def test_plain_tcp_without_files_neither_hangs_nor_floods_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio's own server tries again at once then, as often as its backlog is long, with a traceback each time."""
    monkeypatch.setattr("wardenmq.broker.listeners.acceptor._PAUSE", 0.01)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with listening() as way:
        address = way.broker.addresses["default"]
        with socket.create_connection(address, timeout=30) as waiting, no_more_files():
            waiting.setblocking(False)
            # uvloop's library closes those that there is no file for, asyncio's loop has them wait
            await until(lambda: "accepting connections pauses" in caplog.text or has_ended(waiting))
        await (await way.client()).connect("c")
    assert faults == []
    assert caplog.text.count("accepting connections pauses: Too many open files") <= 1
    assert "Traceback" not in caplog.text


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def has_ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_a_plain_socket_accepted_in_the_very_moment_of_the_end() -> None:
    async with listening() as way:
        (acceptor,) = way.listener._servers
        if not isinstance(acceptor, Acceptor):
            return  # uvloop's own, which has no such moment
        with socket.create_connection(way.broker.addresses["default"], timeout=30) as client:
            acceptor._accept()  # pyright: ignore
            assert way.listener.handshaking == 1
            async with asyncio.timeout(30):
                await way.broker.shutdown()
            assert (way.listener.handshaking, way.broker.live_connections) == (0, 0)
            with suppress(ConnectionError):
                assert client.recv(1) == b""


async def test_plain_tcp_has_nothing_in_between() -> None:
    """The fast path: the loop's own transport calls the connection, which writes to it."""
    async with listening() as way:
        await way.connected()
        (connection,) = way.listener.connections
        assert connection._transport is not None
        assert connection._transport.get_protocol() is connection
        assert type(connection._transport).__module__ in ("asyncio.selector_events", "uvloop.loop")


async def test_tls_has_nothing_in_between_once_it_is_there(authority: Authority) -> None:
    async with listening(ssl=True, **authority.issue("127.0.0.1").keys) as way:
        stream = await way.stream(authority.client())
        await Client(stream.reader, stream.writer).connect("c")
        (connection,) = way.listener.connections
        assert connection._transport is not None
        assert connection._transport.get_protocol() is connection
        assert type(connection._transport).__module__ in ("asyncio.sslproto", "uvloop.loop")
