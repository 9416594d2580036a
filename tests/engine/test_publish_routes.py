"""What is remembered of one publisher's topics, and how much."""

from unittest.mock import patch

from wardenmq.broker import publish_routes
from wardenmq.broker.protocol.runs import Relay
from wardenmq.broker.publish_routes import PublishRoute, PublishRoutes
from wardenmq.broker.router import Route

RELAY = Relay(("receiver",))


def route(number: int, generation: int = 1, size: int = 8) -> PublishRoute:
    topic = f"{number:0{size}}"
    return PublishRoute(generation, topic, topic.encode(), "publisher", True, Route(()))


def kept(routes: PublishRoutes) -> list[int]:
    return sorted(int(topic) for found in routes.by_flags for topic in found)


def test_routes_are_found_by_flags_and_topic() -> None:
    routes = PublishRoutes()
    known = [(flags, route(flags)) for flags in range(8)]
    for flags, each in known:
        routes.remember(flags, each, RELAY if flags == 0 else None)
    for flags, each in known:
        assert routes.by_flags[flags] == {each.topic_bytes: each}
    assert routes.relays == {b"00000000": RELAY}
    assert routes.generation == 1


def test_another_generation_and_clear_forget_all_and_keep_the_list() -> None:
    routes = PublishRoutes()
    by_flags = routes.by_flags
    routes.remember(0, route(1), RELAY)
    routes.remember(2, route(2, generation=2), None)
    assert (kept(routes), routes.relays, routes.generation) == ([2], {}, 2)
    routes.clear()
    assert kept(routes) == [] and routes.by_flags is by_flags


def test_nothing_is_shared_between_publishers() -> None:
    one, other = PublishRoutes(), PublishRoutes()
    one.remember(0, route(1), RELAY)
    assert kept(other) == [] and other.relays == {}


def test_long_topics_are_not_kept() -> None:
    routes = PublishRoutes()
    routes.remember(0, route(1, size=513), RELAY)
    routes.remember(0, route(2, size=512), RELAY)
    assert kept(routes) == [2] and len(routes.relays) == 1


def test_topics_that_come_round_find_the_first_ones_until_all_are_forgotten() -> None:
    with patch.object(publish_routes, "_LIMIT", 10), patch.object(publish_routes, "_TURNED_AWAY", 30):
        routes = PublishRoutes()
        for _ in range(3):
            for number in range(15):
                if number not in kept(routes):
                    routes.remember(number % 2, route(number), RELAY)
            assert kept(routes) == list(range(10))
        for number in range(100, 115):  # the publisher turns to other topics, and they are kept in the end
            routes.remember(0, route(number), RELAY)
        assert kept(routes) == [114]
        assert len(routes.relays) == 1
