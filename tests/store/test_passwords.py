"""Passwords: off the loop, a bounded number at a time, remembered once they were right."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from wardenmq.store.credentials.passwords import Passwords
from wardenmq.store.credentials.stored_secrets import (
    MAX_SECRET_BYTES,
    StoredSecret,
    matches_fast,
    store_supplied,
    store_token,
)
from wardenmq.store.errors import Invalid, Overloaded

from .argon2_gate import Argon2Gate
from .conditions import until


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    opened = Passwords()
    yield opened
    opened.close()


async def test_new_hashes_are_argon2id_with_the_house_parameters(passwords: Passwords) -> None:
    first, second = await passwords.hash("grün"), await passwords.hash("grün")
    assert first.algo == "argon2id"
    assert first.secret_hash.startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")
    assert first.secret_hash != second.secret_hash
    assert await passwords.check("id", first, "grün".encode())
    assert not await passwords.check("id", first, b"gruen")
    assert not await passwords.check("id", first, b"")
    assert not await passwords.check("id", first, b"\0\xff")


async def test_an_unknown_name_costs_a_real_check(passwords: Passwords) -> None:
    # passlib would raise where the made-up hash were not a valid one, and a cheaper one would show in the time taken.
    await passwords.check_unknown(b"whatever")
    assert passwords.check_now("id", StoredSecret("argon2id", passwords._dummy.encode()), b"whatever") is None
    assert passwords._dummy.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    real = await passwords.hash("x")
    assert len(passwords._dummy) == len(real.secret_hash)


async def test_the_loop_runs_on_while_a_password_is_hashed(passwords: Passwords) -> None:
    hashing = asyncio.ensure_future(passwords.hash("secret"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    # Hashing on the loop would have been done after the first turn or two.
    assert turns > 20


@pytest.mark.parametrize("password", ["", "x" * (MAX_SECRET_BYTES + 1), "\ud800"])
async def test_what_cannot_be_a_password_is_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(Invalid):
        await passwords.hash(password)


async def test_the_longest_password_is_accepted(passwords: Passwords) -> None:
    longest = "x" * MAX_SECRET_BYTES
    stored = await passwords.hash(longest)
    assert await passwords.check("id", stored, longest.encode())
    assert passwords.check_now("id", stored, longest.encode() + b"x") is False


async def test_a_verified_login_needs_no_thread(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    assert passwords.check_now("id", stored, b"secret") is None
    assert await passwords.check("id", stored, b"secret")
    assert passwords.check_now("id", stored, b"secret") is True
    assert passwords.check_now("id", stored, b"other") is None
    assert passwords.check_now("other id", stored, b"secret") is None
    assert passwords.check_now("id", await passwords.hash("other"), b"secret") is None
    assert gate.verified == [b"secret"]


async def test_a_wrong_password_is_not_remembered(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    assert not await passwords.check("id", stored, b"wrong")
    assert passwords.check_now("id", stored, b"wrong") is None


async def test_the_oldest_unused_login_is_forgotten(gate: Argon2Gate) -> None:
    passwords = Passwords(cache_size=2)
    stored = await passwords.hash("secret")
    await passwords.check("1", stored, b"secret")
    await passwords.check("2", stored, b"secret")
    assert passwords.check_now("1", stored, b"secret")
    await passwords.check("3", stored, b"secret")
    known = [passwords.check_now(principal, stored, b"secret") for principal in "123"]
    assert known == [True, None, True]
    passwords.close()


async def test_the_cache_holds_no_password(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("hunter2hunter2")
    await passwords.check("id", stored, b"hunter2hunter2")
    assert len(passwords._verified) == 1
    assert b"hunter2" not in b"".join(passwords._verified)


async def test_clients_that_share_a_login_share_the_check(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    checks = [passwords.check("id", stored, b"secret") for _ in range(50)]
    assert all(await asyncio.gather(*checks))
    assert len(gate.verified) <= 2  # as many as there are threads


async def test_waiting_is_bounded(gate: Argon2Gate) -> None:
    passwords = Passwords(wait_limit=3)
    gate.open.clear()
    checks = [asyncio.ensure_future(passwords.check_unknown(b"x")) for _ in range(10)]
    await until(lambda: len(gate.verified) == 2)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("password-check")]
    assert len(threads) >= 2
    assert passwords.waiting == 3
    gate.open.set()
    outcomes = await asyncio.gather(*checks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 5 + [Overloaded] * 5
    assert len(gate.verified) == 5
    assert passwords.waiting == 0
    await passwords.check_unknown(b"x")
    passwords.close()


async def test_a_client_that_goes_away_leaves_the_queue(gate: Argon2Gate) -> None:
    passwords = Passwords(wait_limit=3)
    gate.open.clear()
    checks = [asyncio.ensure_future(passwords.check_unknown(b"x")) for _ in range(5)]
    await until(lambda: len(gate.verified) == 2 and passwords.waiting == 3)
    for check in checks:
        check.cancel()
    await asyncio.gather(*checks, return_exceptions=True)
    assert passwords.waiting == 0
    last = asyncio.ensure_future(passwords.check_unknown(b"last"))
    await until(lambda: passwords.waiting == 1)  # both threads are still at the cancelled clients' checks
    gate.open.set()
    await last
    assert gate.verified == [b"x", b"x", b"last"]
    passwords.close()


async def test_a_storm_of_logins_does_not_hold_up_the_operator(gate: Argon2Gate, passwords: Passwords) -> None:
    gate.open.clear()
    storm = [asyncio.ensure_future(passwords.check_unknown(b"x")) for _ in range(20)]
    await until(lambda: len(gate.verified) == 2)
    async with asyncio.timeout(30):
        await passwords.hash("new")
    gate.open.set()
    await asyncio.gather(*storm)


async def test_a_closed_store_checks_nothing(gate: Argon2Gate, passwords: Passwords) -> None:
    passwords.close()
    with pytest.raises(Overloaded):
        await passwords.check_unknown(b"x")


def test_a_token_is_compared_at_once(passwords: Passwords) -> None:
    stored = store_token("a-token")
    assert passwords.check_now("id", stored, b"a-token") is True
    assert passwords.check_now("id", stored, b"b-token") is False


async def test_the_same_digest_of_a_password_is_not(gate: Argon2Gate, passwords: Passwords) -> None:
    """What somebody chose can be guessed, however it was hashed."""
    stored = store_supplied("a-token")
    assert matches_fast(stored, b"a-token")
    assert not matches_fast(stored, b"b-token")
    assert passwords.check_now("id", stored, b"a-token") is None
    assert passwords.check_now("id", stored, b"b-token") is None
    assert await passwords.check("id", stored, b"a-token")
    assert passwords.check_now("id", stored, b"a-token") is True


def test_a_stored_secret_does_not_show_itself() -> None:
    for stored in (store_token("a-token"), store_supplied("a-token")):
        assert repr(stored.secret_hash) not in repr(stored)
        assert repr(stored) == f"StoredSecret(algo={stored.algo!r})"
    assert store_supplied("same").secret_hash != store_supplied("same").secret_hash
