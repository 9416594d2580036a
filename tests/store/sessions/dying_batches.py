"""A store that writes one batch after the other until it is killed; run by `test_killed.py`.

Run as `python -m tests.store.sessions.dying_batches FILE FIRST`. Prints the number of each batch once it is committed.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

from wardenmq.store.sessions import SessionStore

from .journals import Row, delivery, message, retained, session, subscription, upserts

KEPT = 4
"""Batches whose messages are still there."""
ROWS = 30
AT_ONCE = 3


def batch(number: int) -> dict[str, dict[Any, Row | None]]:
    """Make the batch of a number; what earlier ones wrote goes in part."""
    generator = random.Random(number)
    ids = range(number * ROWS, (number + 1) * ROWS)
    changes = upserts(
        sessions=[session(number % 3, sent=number)],
        subscriptions=[subscription(number % 3, f"f/{number % 7}", number % 3)],
        messages=[message(key, generator.randbytes(generator.randrange(3_000))) for key in ids],
        deliveries=[delivery(key % 3, key, key) for key in ids],
        unreleased=[(number % 3, number % 11)],
        retained=[retained(f"t/{number % 5}", b"%d" % number)],
    )
    old = range((number - KEPT) * ROWS, (number - KEPT + 1) * ROWS)
    changes["messages"].update(dict.fromkeys(old))
    changes["deliveries"].update({(key % 3, key): None for key in old})
    if number % 10 == 9:
        changes["ended"] = {(number + 1) % 3: None}
    return changes


async def run(path: Path, number: int) -> None:
    store = await SessionStore.open(path, "process")
    failed = asyncio.get_running_loop().create_future()

    def committed(done: int) -> None:
        os.write(1, b"%d\n" % done)
        store.submit(done + AT_ONCE, batch(done + AT_ONCE))

    store.bind(committed, lambda *said: failed.set_exception(RuntimeError(said)))
    for ahead in range(AT_ONCE):
        store.submit(number + ahead, batch(number + ahead))
    await failed


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
