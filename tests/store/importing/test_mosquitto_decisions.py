"""An imported ACL file decides as Mosquitto does by it."""

import random
from collections.abc import AsyncIterator
from itertools import product

import pytest
from wardenmq.broker.routing.topics import covers, matches
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.directory import Directory
from wardenmq.store.importing.acl_file import parse_mosquitto_acl
from wardenmq.store.importing.acl_import import import_acl
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE

from .mosquitto_access import Line, as_file, in_order, may

FILES = 150
LEVELS = ("a", "b", "c")
TOPICS = [
    *("/".join(levels) for depth in (1, 2, 3) for levels in product(LEVELS, repeat=depth)),
    *("$SYS/a", "$SYS/a/b", "/a", "a/", "/", "alice", "alice/a", "a/alice", "c1", "a/c1", "c1/alice/b"),
    *("${clientid}/a", "%c/a", "%c", "a/%u"),
]
CLIENTS = [("c1", None), ("c1", "alice"), ("a", "bob"), ("b", "nobody"), ("a/b", "alice"), ("%c", "%u")]
WILD = ("+", "#")
"""A client id and a user name for which Mosquitto has all patterns denied, here those with placeholders."""
FILTER_LEVELS = (*LEVELS, *LEVELS, "+", "+", "+", "")


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    opened = await Directory.open(":memory:", scram_iterations=0)
    yield opened
    await opened.close()


def random_filter(randomness: random.Random, extra: tuple[str, ...] = ()) -> str:
    levels = [randomness.choice((*FILTER_LEVELS, *extra)) for _ in range(randomness.choice((0, 1, 1, 2, 2, 3)))]
    if randomness.random() < 0.1:
        levels.insert(0, "$SYS")
    if not levels or randomness.random() < 0.4:
        levels.append("#")
    return "/".join(levels) or "/"


def random_file(randomness: random.Random) -> list[Line]:
    def line(user: str | None) -> Line:
        access = randomness.choice(("read", "write", "readwrite", "read", "deny"))
        if randomness.random() < 0.3:
            return Line("pattern", None, access, random_filter(randomness, ("%c", "%u", "%c", "%u", "d-%c", "%u%c")))
        # For clients without user name they would be the client's own values here, and such lines are left out.
        extra = () if user is None else ("${clientid}", "%c", "%u")
        return Line("topic", user, access, random_filter(randomness, extra))

    users = [None, *randomness.choices(("alice", "bob", "alice", "%u", "#"), k=randomness.randint(0, 5))]
    return [line(user) for user in users for _ in range(randomness.randint(0, 4))]


def may_subscribe(lines: list[Line], client_id: str, username: str | None, topic_filter: str) -> bool:
    """Say what is stated of subscriptions here: the first line that covers the whole of it decides.

    A deny, those of roles excepted, also refuses what it matches if the levels asked for are taken as words.
    """
    roles = sum(line.keyword == "topic" and line.user is None for line in lines) if username is None else 0
    for number, (access, own) in enumerate(in_order(lines, client_id, username)):
        if access == "deny" and (covers(own, topic_filter) or (number >= roles and matches(own, topic_filter))):
            return False
        if access in ("read", "readwrite") and covers(own, topic_filter):
            return True
    return False


def receives(access: ClientAccess, topic: str) -> bool:
    return not access.checks_delivery or access.decide(RECEIVE, topic, 0, False)


async def test_decisions_are_mosquittos(directory: Directory) -> None:
    randomness = random.Random(4)
    counts = dict.fromkeys(["allowed", "denied", "subscribed", "refused", "delivered", "hidden"], 0)
    for _ in range(FILES):
        lines = random_file(randomness)
        parsed = parse_mosquitto_acl(as_file(lines))
        assert not any(skipped.may_deny for skipped in parsed.skipped)
        await directory.delete_all_rules()
        await import_acl(directory, parsed, overwrite=True)
        if not parsed.anonymous and directory.groups.anonymous is not None:
            await directory.groups.set_anonymous(None)
            await directory.groups.delete("anonymous")
            await directory.roles.delete("anonymous")
        filters = [*(random_filter(randomness) for _ in range(15)), "#", "+/+", "$SYS/#"]
        plain = any(line.keyword == "pattern" and "%" not in line.topic for line in lines)
        for client_id, username in CLIENTS if plain else [*CLIENTS, WILD]:
            access = directory.access(client_id, username)
            for topic in TOPICS:
                wanted = may(lines, "write", client_id, username, topic)
                counts["allowed" if wanted else "denied"] += 1
                assert access.decide(PUBLISH, topic, 0, False) is wanted, (lines, client_id, username, topic)
                readable = may(lines, "read", client_id, username, topic)
                subscribed = access.decide(SUBSCRIBE, topic, 0, False)
                assert (subscribed and receives(access, topic)) is readable, (lines, client_id, username, topic)
            for topic_filter in filters:
                subscribed = access.decide(SUBSCRIBE, topic_filter, 0, False)
                wanted = may_subscribe(lines, client_id, username, topic_filter)
                assert subscribed is wanted, (lines, client_id, username, topic_filter)
                counts["subscribed" if subscribed else "refused"] += 1
                for topic in TOPICS:
                    if subscribed and matches(topic_filter, topic):
                        readable = may(lines, "read", client_id, username, topic)
                        assert receives(access, topic) is readable, (lines, client_id, username, topic_filter, topic)
                        counts["delivered" if readable else "hidden"] += 1
    assert min(counts.values()) > 700, counts


async def test_a_subscription_wider_than_the_rules_is_refused_and_not_filtered(directory: Directory) -> None:
    """This is where Mosquitto differs: it grants any subscription and delivers what may be read."""
    lines = [Line("topic", "alice", "read", "a/b"), Line("topic", "alice", "read", "a/c")]
    await import_acl(directory, parse_mosquitto_acl(as_file(lines)))
    access = directory.access("c", "alice")
    assert access.decide(SUBSCRIBE, "a/b", 0, False)
    assert not access.decide(SUBSCRIBE, "a/+", 0, False)
    assert may(lines, "read", "c", "alice", "a/c")
