"""How connections end: what the peer had sent is worked off, what it is told arrives, and it takes nobody's place."""

import pytest
from wardenmq.broker import incoming
from wardenmq.broker.connection import Connection
from wardenmq.broker.settings import MqttSettings

from .brokers import Clients, serving
from .conditions import until
from .wire import CONNACK, GOODBYE, Will, connect, publish


def _connection(clients: Clients, client_id: str) -> Connection:
    return next(
        found
        for found in clients.broker._listeners.connections
        if found.session is not None and found.session.client_id == client_id
    )


async def test_what_came_before_the_end_is_worked_off(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS hears of the peer's end while nothing is read; its messages and its DISCONNECT still count."""
    monkeypatch.setattr(incoming, "_WORK", 1)
    subscribers = [await clients.connected(f"s{number}") for number in range(20)]  # so many that turns are taken
    for subscriber in subscribers:
        await subscriber.subscribe(("t", 0))
    watcher = await clients.connected("watcher")
    await watcher.subscribe(("gone", 0))
    publisher = await clients.connected("p", will=Will("gone"))
    connection = _connection(clients, "p")
    monkeypatch.setattr(type(connection), "take_turns", lambda self: True)  # the turn never comes: the end is first
    payloads = [b"%d" % number * (1 + number % 2) for number in range(200)]  # no two alike, so no run
    publisher.send(*(publish("t", payload) for payload in payloads), GOODBYE)
    await until(lambda: connection._reader.stopped)
    connection.connection_lost(None)
    for subscriber in subscribers:
        assert await subscriber.messages(200) == payloads
    await watcher.nothing_came()
    await until(lambda: clients.broker.registry.get("p") is None)


async def test_a_peer_that_does_not_close_takes_nobodys_place() -> None:
    async with serving(settings=MqttSettings(max_connections=2, max_clientid_len=30, connect_timeout=0.5)) as clients:
        for _ in range(2):
            refused = await clients.open()
            refused.send(connect("x" * 31))
            assert (await refused.expect(CONNACK)).body[1] == 2
        await until(lambda: clients.broker.live_connections == 0)
        await (await clients.connected("good")).ping()
        await until(lambda: not clients.broker._engine.lingering)  # it is not waited for without end
        assert clients.broker.metrics()["packets.connack.sent"] == 3  # and the time for its CONNECT is over for good


async def test_what_a_client_that_is_turned_away_sends_is_counted() -> None:
    async with serving(settings=MqttSettings(max_connections=1)) as clients:
        await clients.connected("one")
        assert await (await clients.open()).refused(connect("two")) == 3
        await until(lambda: clients.broker.metrics()["packets.connect.received"] == 2)
        assert clients.broker.metrics()["packets.connack.sent"] == 2


async def test_a_peer_that_has_gone_unnoticed_does_not_stop_who_closes_it(clients: Clients) -> None:
    """`write_eof` fails on a socket that was reset while it was not read."""
    await clients.connected("c")
    connection = _connection(clients, "c")
    transport = connection.out.transport
    assert transport is not None

    class Reset:
        def __getattr__(self, name: str) -> object:
            return getattr(transport, name)

        def write_eof(self) -> None:
            raise OSError(107, "Transport endpoint is not connected")

    connection.out.transport = Reset()  # type: ignore[assignment]
    assert await clients.broker.kick("c")
    await until(lambda: clients.broker.live_connections == 0)


async def test_a_slow_reader_is_told_all_before_it_is_cut_off(clients: Clients) -> None:
    subscriber = await clients.connected("slow")
    await subscriber.subscribe(("t", 0))
    connection = _connection(clients, "slow")
    for _ in range(6):
        clients.broker.publish("t", b"x" * 1_000_000)
    await until(lambda: connection.out.paused)
    assert await clients.broker.kick("slow")
    assert [len(payload) for payload in await subscriber.messages(6)] == [1_000_000] * 6
    await subscriber.hung_up()
