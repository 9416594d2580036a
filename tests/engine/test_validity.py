"""A live session ends with its credential: by the wall clock, wherever that is set, and whenever the end is put."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from wardenmq.broker import validity
from wardenmq.store.records import Change

from ..clocks import WallClock
from .conditions import until
from .guarded import Guarded, guarding
from .wire import Will


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    wall = WallClock()
    monkeypatch.setattr(validity, "time", wall)
    return wall


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with guarding("alice", "bob") as opened:
        yield opened


async def test_it_ends_in_time(guarded: Guarded) -> None:
    """[MQTT-3.14.2-1]: not before, and MQTT 5 clients are told why; the will is said and the session kept."""
    directory = guarded.directory
    alice = await guarded.connected("alice", clean=False, will=Will("w"))
    bob = await guarded.connected5("bob")
    ends = time.time() + 0.5
    for username in ("alice", "bob"):
        await directory.update_login("username", username, expires_at=ends)
    await alice.hung_up()
    assert time.time() >= ends
    await bob.disconnected(0xA0)
    assert guarded.session("alice").valid_until is None
    assert guarded.clients.broker._engine.wills.denied == 1  # asked about, and no rule allows it


async def test_an_end_that_is_put_earlier_or_off(guarded: Guarded, clock: WallClock) -> None:
    """While the session is live: exactly its own counts, of whichever write was the last."""
    directory = guarded.directory
    now = time.time()
    await directory.update_login("username", "alice", expires_at=now + 1_000)
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    for ends in (now + 50, now + 5_000, now + 100):
        await directory.update_login("username", "alice", expires_at=ends)
        assert guarded.session("alice").valid_until == ends
    assert guarded.session("bob").valid_until is None
    clock.ahead = 90
    await asyncio.sleep(2 * validity._LOOK_INTERVAL)  # what must not happen in this time is what is tested
    await alice.ping()
    clock.ahead = 101
    await alice.hung_up()
    await bob.ping()


async def test_an_end_that_is_taken_back(guarded: Guarded, clock: WallClock) -> None:
    directory = guarded.directory
    await directory.update_login("username", "alice", expires_at=time.time() + 50)
    alice = await guarded.connected("alice")
    await directory.update_login("username", "alice", expires_at=None)
    clock.ahead = 100
    await asyncio.sleep(2 * validity._LOOK_INTERVAL)
    await alice.ping()
    assert guarded.clients.broker._engine.validity._timer is None


async def test_an_end_that_is_past_closes_before_the_answer(guarded: Guarded) -> None:
    await guarded.connected("alice")
    session = guarded.session("alice")
    principal = session.identity.principal
    assert principal is not None
    await guarded.clients.broker.apply_access_change(Change(valid_until={principal: time.time() - 1}))
    assert not session.connected
    bob = await guarded.connected("bob")
    await guarded.directory.update_login("username", "bob", expires_at=time.time() - 1)
    assert {session.client_id for session in guarded.clients.broker.registry if session.connected} == set()
    await bob.hung_up()


async def test_a_clock_that_is_set_forward(guarded: Guarded, clock: WallClock) -> None:
    """A timer that was started for an hour does not know of it."""
    await guarded.directory.update_login("username", "alice", expires_at=time.time() + 3_600)
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    clock.ahead = 3_601
    await alice.hung_up()
    await bob.ping()


async def test_a_clock_that_is_set_back(guarded: Guarded, clock: WallClock) -> None:
    """The session goes on for as long as it has, and no longer."""
    alice = await guarded.connected("alice")
    clock.ahead = -3_600
    await guarded.directory.update_login("username", "alice", expires_at=time.time() + 0.2)
    await asyncio.sleep(2 * validity._LOOK_INTERVAL)  # what must not happen in this time is what is tested
    await alice.ping()
    clock.ahead = 0
    await alice.hung_up()


async def test_many_ends_do_not_put_each_other_off(guarded: Guarded, clock: WallClock) -> None:
    """Each new one starts the timer for itself, and none may start it later than it was."""
    engine = guarded.clients.broker._engine
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    session, ending = guarded.session("bob"), guarded.session("alice")
    engine.validity.set(ending, time.time() + 0.4)

    def put_off() -> bool:
        engine.validity.set(session, time.time() + 3_600)
        return not ending.connected

    await until(put_off)
    await alice.hung_up()
    await bob.ping()


async def test_many_that_end_at_once_leave_others_their_turn(
    guarded: Guarded, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validity, "_TURN", 0.0)
    clients = [await guarded.connected("alice", f"c{number}") for number in range(20)]
    registry = guarded.clients.broker.registry
    left: list[int] = []
    principal = guarded.session("c0").identity.principal
    assert principal is not None
    ends = time.time() + 3_600
    for session in list(registry):
        guarded.clients.broker._engine.validity.set(session, ends)
    clock.advance(3_601)
    while registry.connected_count:
        left.append(registry.connected_count)
        await asyncio.sleep(0)
    assert set(left) == set(range(1, 21))
    for client in clients:
        await client.hung_up()


async def test_nothing_is_left_of_connections_that_have_gone(guarded: Guarded) -> None:
    """Nor does anybody look at the clock for them."""
    await guarded.directory.update_login("username", "alice", expires_at=time.time() + 3_600)
    looking = guarded.clients.broker._engine.validity
    for number in range(300):
        client = await guarded.connected("alice", f"c{number}")
        await client.disconnect()
    await until(lambda: guarded.clients.broker.registry.connected_count == 0)
    assert len(looking._ends) <= 256
    await until(lambda: looking._timer is None)
    assert len(looking._ends) == 0
