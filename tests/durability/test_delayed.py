"""Delayed messages and SIGKILL: what was acknowledged comes, to a persistent session; at QoS 2 from its queue once."""

from collections import Counter
from pathlib import Path

import pytest

from ..engine.packets5 import P
from ..engine.wire5 import Client5
from .crashing_servers import CrashingServer

KEPT: list[tuple[int, object]] = [(P.SESSION_EXPIRY, 0xFFFFFFFF)]


async def connected(server: CrashingServer, client_id: str) -> Client5:
    client = await Client5.open(server.place.address)
    assert isinstance(client, Client5)
    await client.connect(
        client_id, clean=False, username=server.place.username, password=server.place.password, properties=KEPT
    )
    return client


@pytest.mark.parametrize("seconds", [0, 1, 2])
async def test_what_was_acknowledged_comes_after_a_kill(tmp_path: Path, seconds: int) -> None:
    """Killed at once, at about the moment when they are due, and while they wait."""
    server = CrashingServer(tmp_path)
    payloads = [b"%04d" % number for number in range(200)]
    try:
        await server.start()
        subscriber = await connected(server, "subscriber")
        await subscriber.subscribe(("t", 2))
        subscriber.abort()
        publisher = await connected(server, "publisher")
        await publisher.publish_all(f"$delayed/{seconds}/t", payloads, 2)
        publisher.abort()
        await server.kill()
        await server.start()
        subscriber = await connected(server, "subscriber")
        received = Counter[bytes]()
        while len(received) < len(payloads):
            received[(await subscriber.message()).payload] += 1
        await subscriber.nothing_came()
        assert received == Counter(payloads)
        subscriber.abort()
    finally:
        await server.end()
