"""Packets of live connections shown to several at a time, switched on and off in the middle of traffic."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from wardenmq.broker.connection import Connection
from wardenmq.broker.outgoing import Outgoing

from . import wire
from .brokers import Clients, serving
from .conditions import until


class Watch:
    """Keep what is shown."""

    def __init__(self, *, reads: bool = True) -> None:
        self.reads = reads
        self.came: list[bytes] = []
        self.went = b""
        self.over = 0

    def received(self, packet: bytes) -> None:
        self.came.append(packet)

    def sent(self, data: bytes) -> None:
        self.went += data

    def ended(self) -> None:
        self.over += 1


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients]:
    async with serving() as opened:
        yield opened


def connection_of(clients: Clients, client_id: str) -> Connection:
    session = clients.broker.registry.get(client_id)
    assert session is not None
    assert isinstance(session.link, Outgoing)
    connection = session.link._owner  # pyright: ignore[reportPrivateUsage]
    assert isinstance(connection, Connection)
    return connection


async def test_runs_are_shown_packet_by_packet_and_delivered_all_the_same(clients: Clients) -> None:
    publisher, subscriber = await clients.pair(("t", 1))
    connection, watch = connection_of(clients, "publisher"), Watch()
    reader = connection._reader  # pyright: ignore[reportPrivateUsage]
    assert reader.coalesce
    connection.watch_packets(watch)
    assert not reader.coalesce
    sent = [wire.publish("t", b"%d" % number) for number in range(30)]
    sent += [wire.publish("t", b"%d" % number, 1, number + 1) for number in range(30)]
    publisher.send(*sent)
    assert len(await subscriber.messages(60)) == 60
    assert watch.came == sent
    connection.unwatch_packets(watch)
    assert reader.coalesce
    assert reader.tap is None
    assert connection.out.tap is None
    assert watch.over == 1
    went = watch.went
    for number in range(30):
        assert (await publisher.expect(wire.PUBACK)).packet_id == number + 1
    await publisher.publish("t", b"after", 1)
    assert await subscriber.messages(1) == [b"after"]
    assert (watch.came, watch.went) == (sent, went)


async def test_what_is_sent_in_runs_is_shown(clients: Clients) -> None:
    publisher, subscriber = await clients.pair(("t", 1))
    watch = Watch(reads=False)
    connection = connection_of(clients, "subscriber")
    connection.watch_packets(watch)
    assert connection._reader.coalesce, "what comes is not asked for"  # pyright: ignore[reportPrivateUsage]
    publisher.send(*[wire.publish("t", b"%d" % number, 1, number + 1) for number in range(20)])
    await subscriber.messages(20)
    await subscriber.ping()
    assert [watch.went.count(b"\x00\x01t"), watch.went.count(wire.PING), len(watch.came)] == [20, 0, 0]


async def test_several_watch_one_connection(clients: Clients) -> None:
    client = await clients.connected("dev")
    connection = connection_of(clients, "dev")
    watches = [Watch(), Watch(), Watch(reads=False)]
    for watch in watches:
        connection.out.watch_packets(watch)
    await client.ping()
    connection.out.unwatch_packets(watches[0])
    connection.out.unwatch_packets(watches[0])
    await client.ping()
    assert [watch.came for watch in watches] == [[wire.PING], [wire.PING] * 2, []]
    assert [len(watch.went) for watch in watches] == [2, 4, 4]
    assert [watch.over for watch in watches] == [1, 0, 0]
    client.abort()
    await until(lambda: [watch.over for watch in watches] == [1, 1, 1])
    late = Watch()
    connection.watch_packets(late)
    assert late.over == 1, "who comes too late is told"


async def test_a_watch_that_fails_ends_that_connection_alone(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Watch):
        def received(self, packet: bytes) -> None:
            raise RuntimeError("this watch is broken")

    broken, other = await clients.connected("broken"), await clients.connected("other")
    connection_of(clients, "broken").watch_packets(Broken())
    broken.send(wire.PING)
    await broken.hung_up()
    await other.ping()
    assert "this watch is broken" in caplog.text
