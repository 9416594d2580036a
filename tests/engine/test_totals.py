"""Traffic added up in slices: the same sum as in one go, and never less than before."""

import asyncio
import random

from wardenmq.broker.totals import SLICE, add_up
from wardenmq.broker.traffic import Traffic

from .brokers import Clients


def some_traffic(number: int) -> Traffic:
    """Give traffic with a number of its own in each counter."""
    chance = random.Random(number)
    traffic = Traffic()
    for name in Traffic.__slots__:
        value = getattr(traffic, name)
        if isinstance(value, list):
            setattr(traffic, name, [chance.randrange(1_000) for _ in value])
        else:
            setattr(traffic, name, chance.randrange(1_000))
    return traffic


def counters(traffic: Traffic) -> dict[str, object]:
    return {name: getattr(traffic, name) for name in Traffic.__slots__}


async def test_the_sum_is_that_of_one_after_the_other(clients: Clients) -> None:
    engine = clients.broker._engine
    engine.ended.add(some_traffic(-1))
    engine.absent.add(some_traffic(-2))
    for count in (0, 1, SLICE, 2 * SLICE + 3):
        live = [some_traffic(number) for number in range(count)]
        expected = Traffic()
        for traffic in (*live, some_traffic(-1), some_traffic(-2)):
            expected.add(traffic)
        assert counters(await add_up(engine, live)) == counters(expected)


async def test_a_connection_that_ends_meanwhile_is_counted_once(clients: Clients) -> None:
    engine = clients.broker._engine
    live = [some_traffic(number) for number in range(3 * SLICE)]
    expected = sum(traffic.bytes_received for traffic in live)
    adding = asyncio.ensure_future(add_up(engine, live))
    await asyncio.sleep(0)
    assert not adding.done()
    engine.ended.add(live[0])
    engine.ended.add(live[-1])
    assert (await adding).bytes_received == expected


async def test_the_broker_names_the_same_numbers_in_both_ways(clients: Clients) -> None:
    publisher, subscriber = await clients.pair(("t", 1))
    await publisher.publish("t", b"x", 1)
    await subscriber.message()
    await publisher.ping()
    assert await clients.broker.gather_metrics() == clients.broker.metrics()
