"""The long soak: who takes part in it, and what its judge says of memory and messages."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from soak import FLAT, MEBIBYTE, Founding, Population, Reading, judge, mean_resident, minute_line
from soak_clients import Counts, World
from wardenmq.broker.routing.topics import matches

CONNECTIONS = 2_000
MINUTE = 60.0
MINUTES = 9


@pytest.fixture
def world() -> Iterator[World]:
    world = World("127.0.0.1", 1, "user", "word")
    yield world
    world.epoll.close()


@pytest.fixture
def population(world: World) -> Population:
    return Founding(world, CONNECTIONS, 1).found()


# -- the population


def test_so_many_are_away_that_the_others_are_the_connections(population: Population) -> None:
    assert len(population.everybody) == CONNECTIONS * 1.1
    assert len(population.comers) == CONNECTIONS * 0.4
    assert len({client.name for client in population.everybody}) == len(population.everybody)


def test_every_mixture_takes_part(population: Population) -> None:
    for clients in (population.steady, population.comers):
        kinds = Counter(
            (client._version, client.persistent, client._qos) for client in clients if client.source is None
        )
        missing = [
            (version, persistent, qos)
            for version in (4, 5)
            for persistent in (False, True)
            for qos in (0, 1, 2)
            # Those that come anew each time ask for a retained message, which is not owed at QoS 0.
            if not kinds[version, persistent, qos] and (clients is population.steady or persistent or qos)
        ]
        assert missing == []
    assert {client.source.qos for client in population.publishers if client.source is not None} == {0, 1, 2}


def test_nobody_is_sent_a_message_by_two_subscriptions(world: World, population: Population) -> None:
    for client in population.everybody:
        filters = [wish.topic_filter.decode() for wish in client._wishes]
        for topic in world.sources:
            assert sum(matches(each, topic.decode()) for each in filters) <= 1, client.name


def test_what_is_owed_is_what_matches(world: World, population: Population) -> None:
    for client in population.everybody:
        if not client.next:
            continue
        matching = {
            topic
            for topic, source in world.sources.items()
            if any(matches(wish.topic_filter.decode(), topic.decode()) for wish in client._wishes)
            and min(source.qos, client._qos)
        }
        assert set(client.next) == matching, client.name


def test_publishers_that_come_and_go_do_so_at_qos_2(population: Population) -> None:
    coming = [client for client in population.comers if client.source is not None]
    assert coming
    assert all(client.persistent and client.source is not None and client.source.qos == 2 for client in coming)


def test_everybody_who_watches_expects_every_will(world: World, population: Population) -> None:
    watchers = [client for client in population.steady if client.will_at]
    assert len(watchers) > 1
    assert all(set(watcher.will_at) == set(world.wills) for watcher in watchers)


def test_a_seed_makes_one_population() -> None:
    def names(seed: int) -> list[tuple[str, int, bool, tuple[bytes, ...]]]:
        world = World("127.0.0.1", 1, "user", "word")
        clients = Founding(world, 200, seed).found().everybody
        world.epoll.close()
        return [
            (client.name, client._version, client.persistent, tuple(wish.topic_filter for wish in client._wishes))
            for client in clients
        ]

    assert names(1) == names(1) != names(2)


# -- the judge


def readings(resident: Callable[[float], float]) -> list[Reading]:
    """Give what is read each second of a run in which the memory is so many MiB at a minute."""
    return [
        Reading(
            second, int(resident(second / 60) * MEBIBYTE), second / 3, second / 9, 500 * second, 9_000 * second, 0, 2
        )
        for second in range(int(MINUTES * MINUTE) + 1)
    ]


def right_counts() -> Counts:
    return Counts(published=1, acknowledged=1, delivered=1, redelivered=1, connects=1, wills=1, retained=1)


def verdict(resident: Callable[[float], float], counts: Counts | None = None, missing: int = 0) -> list[str]:
    return judge(readings(resident), MINUTES, MINUTE, counts or right_counts(), missing)


def test_the_mean_of_a_minute_is_of_that_minute() -> None:
    found = readings(lambda minute: 100 + int(minute))
    assert [mean_resident(found, number, MINUTE) / MEBIBYTE for number in range(MINUTES)] == list(range(100, 109))


@pytest.mark.parametrize(
    ("resident", "flat"),
    [
        (lambda _: 100.0, True),
        (lambda minute: 100.0 if minute < 8 else 104.9, True),
        (lambda minute: 100.0 if minute < 8 else 105.2, False),
        (lambda minute: 50.0 if minute < 2 else 100.0, True),
        (lambda minute: 100.0 if minute < 8 else 60.0, True),
        (lambda minute: 100.0 + 200.0 * (4 < minute < 5), True),
        (lambda minute: 100.0 + minute, False),
    ],
)
def test_the_last_minute_is_held_against_the_third(resident: Callable[[float], float], flat: bool) -> None:
    wrong = verdict(resident)
    assert (wrong == []) == flat, wrong
    assert FLAT == 1.05


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda counts: setattr(counts, "lost", 3), "3 messages lost"),
        (lambda counts: setattr(counts, "out_of_turn", 1), "twice"),
        (lambda counts: setattr(counts, "altered", 1), "altered"),
        (lambda counts: counts.faults.update(["the broker closed a connection"]), "closed"),
        (lambda counts: setattr(counts, "wills", 0), "did nothing"),
        (lambda counts: setattr(counts, "redelivered", 0), "did nothing"),
    ],
)
def test_everything_that_is_wrong_is_said(spoil: Callable[[Counts], None], word: str) -> None:
    counts = right_counts()
    spoil(counts)
    (wrong,) = verdict(lambda _: 100.0, counts)
    assert word in wrong


def test_what_never_came_is_wrong() -> None:
    assert verdict(lambda _: 100.0, missing=2) == ["2 messages or acknowledgements never came"]


def test_what_was_missed_at_qos_0_is_not() -> None:
    counts = right_counts()
    counts.missed = 10
    assert verdict(lambda _: 100.0, counts) == []


def test_a_minute_has_its_own_rates_and_everybody_s_counts() -> None:
    counts = right_counts()
    counts.connects = 12_345
    cells = minute_line(readings(lambda minute: 100 + int(minute)), 4, MINUTE, counts).split()
    assert cells[:8] == ["5", "2", "500", "9,000", "0.33", "0.11", "104.0", "104.0"]
    assert cells[8] == "12,345"
