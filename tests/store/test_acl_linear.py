"""Compiled decisions against the linear reading, on 24,000 random cases."""

import random
from collections import Counter
from dataclasses import replace

from wardenmq.store.directory import Directory
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Rule

from .linear_rules import decide

RULE_SETS = 400
QUERIES = 60

WORDS = ["a", "b", "c", "", "dev-b", "bc"]
LEVELS = [
    *WORDS, "+", "+", "+", "${clientid}", "${username}", "dev-${clientid}", "${clientid}${username}", "x${$}",
]  # fmt: skip
FIRST_LEVELS = [*LEVELS, "$SYS", "${$}SYS"]
CLIENT_IDS = ["a", "b", "b", "c", "$SYS", "a/b", "+", "#", "x$"]
USERNAMES = ["a", "b", "c", "c", "$SYS", "", "a+", None]


def random_pattern(rng: random.Random) -> str:
    levels = [rng.choice(FIRST_LEVELS), *(rng.choice(LEVELS) for _ in range(rng.randint(0, 3)))]
    if rng.random() < 0.4:
        levels[rng.randint(0, len(levels)) :] = ["#"]
    return "/".join(levels) or "a"


def random_rule(rng: random.Random) -> Rule:
    topic = random_pattern(rng)
    if rng.random() < 0.15:
        topic = "eq " + topic
    qos = rng.choice([(0, 1, 2), (0, 1, 2), (0, 1, 2), (0,), (1, 2), (2,)])
    return Rule(
        topic,
        rng.choice(["allow", "deny"]),
        rng.choice(["publish", "subscribe", "all"]),
        qos,
        rng.choice([None, None, True, False]),
    )


def random_rules(rng: random.Random) -> list[Rule]:
    rules = [random_rule(rng) for _ in range(rng.choice([0, 1, 3, 10, 30]))]
    # Some stand on the same topic with another answer or other conditions.
    return [replace(rule, topic=rng.choice(rules).topic) if rng.random() < 0.3 else rule for rule in rules]


def random_topic(rng: random.Random, operation: int) -> str:
    words = [*WORDS, "x$", "$SYS"]
    if operation != SUBSCRIBE:
        return "/".join(rng.choice(words) for _ in range(rng.randint(1, 4))) or "a"
    levels = [rng.choice([*words, "+"]) for _ in range(rng.randint(0, 4))]
    if not levels or rng.random() < 0.4:
        levels.append("#")
    topic_filter = "/".join(levels) or "+"
    return f"$share/g/{topic_filter}" if rng.random() < 0.1 else topic_filter


async def test_compiled_rules_decide_as_the_list_read_from_the_top(directory: Directory) -> None:
    rng = random.Random(20_261_120)
    seen: Counter[tuple[int, bool]] = Counter()
    for _ in range(RULE_SETS):
        client_id, username = rng.choice(CLIENT_IDS), rng.choice(USERNAMES)
        subjects = [("clientid", client_id), ("username", username), ("all", "")]
        layers: list[list[Rule]] = []
        await directory.delete_all_rules()
        for subject_type, subject in subjects:
            rules = random_rules(rng)
            if subject or subject_type == "all":
                await directory.set_rules(subject_type, subject or "", rules)
                layers.append(rules)
        await directory.set_no_match(rng.choice(["allow", "deny"]))
        access = directory.access(client_id, username)
        hidden = False
        for _ in range(QUERIES):
            operation = rng.choice([PUBLISH, SUBSCRIBE, SUBSCRIBE, RECEIVE])
            topic, qos, retain = random_topic(rng, operation), rng.randint(0, 2), rng.random() < 0.5
            expected = decide(layers, directory.no_match == "allow", client_id, username, operation, topic, qos, retain)
            found = access.decide(operation, topic, qos, retain)
            assert found == expected, (layers, client_id, username, operation, topic, qos, retain)
            seen[operation, found] += 1
            hidden = hidden or (operation == RECEIVE and not found)
        # What deliveries are not checked for must not be denied by a check.
        assert access.checks_delivery or not hidden

    assert seen.total() == RULE_SETS * QUERIES
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        allowed, denied = seen[operation, True], seen[operation, False]
        assert min(allowed, denied) > 0.1 * (allowed + denied), seen  # or the test would show little
