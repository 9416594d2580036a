"""Suspects and others: lanes of their own, turns by network, and what a guess costs whatever the format."""

import asyncio
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from unittest.mock import ANY

import pytest
from wardenmq.store.credentials import lanes
from wardenmq.store.credentials import passwords as passwords_module
from wardenmq.store.credentials.lanes import Lane
from wardenmq.store.credentials.password_formats import EmqxAlgorithm, from_emqx, from_modular, from_plain
from wardenmq.store.credentials.passwords import Passwords
from wardenmq.store.credentials.stored_secrets import HOUSE_PREFIX, StoredSecret
from wardenmq.store.credentials.verification import is_dear
from wardenmq.store.errors import Overloaded

from .argon2_gate import Argon2Gate
from .conditions import until

NOW = 1_000.0


def yes() -> bool:
    return True


def no() -> bool:
    return False


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Callable[[], None]]]:
    """Keep what the lanes set a time for, instead of waiting for it; their time stands still."""
    kept: list[tuple[float, Callable[[], None]]] = []

    class Loop:
        def __getattr__(self, name: str) -> object:
            return getattr(asyncio.get_running_loop(), name)

        def time(self) -> float:
            return NOW

        def call_at(self, when: float, callback: Callable[[], None]) -> None:
            kept.append((when, callback))

    class Asyncio:
        def __getattr__(self, name: str) -> object:
            return getattr(asyncio, name)

        def get_running_loop(self) -> Loop:
            return Loop()

    monkeypatch.setattr(lanes, "asyncio", Asyncio())
    return kept


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    opened = Passwords()
    yield opened
    opened.close()


# Suspects


async def test_suspects_are_in_nobodys_way(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    gate.open.clear()
    suspects = [asyncio.ensure_future(passwords.check("id", stored, b"guess", suspect=yes)) for _ in range(3)]
    await until(lambda: gate.verified == [b"guess"])
    # One at a time, and the others are checked beside it.
    others = [asyncio.ensure_future(passwords.check("id", stored, b"secret")) for _ in range(2)]
    await until(lambda: gate.verified == [b"guess", b"secret", b"secret"])
    assert passwords.waiting == 0
    gate.open.set()
    assert await asyncio.gather(*suspects) == [False] * 3
    assert await asyncio.gather(*others) == [True] * 2


async def test_a_suspect_with_the_right_password_gets_in(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    assert await passwords.check("id", stored, b"secret", suspect=yes)
    assert passwords.check_now("id", stored, b"secret") is True


async def test_an_unknown_name_may_be_suspect_too(gate: Argon2Gate, passwords: Passwords) -> None:
    gate.open.clear()
    unknown = [asyncio.ensure_future(passwords.check_unknown(b"x", suspect=yes)) for _ in range(3)]
    await until(lambda: gate.verified == [b"x"])
    assert passwords.waiting == 0
    gate.open.set()
    await asyncio.gather(*unknown)
    assert gate.verified == [b"x"] * 3


async def test_suspects_are_paced_all_together(
    gate: Argon2Gate, passwords: Passwords, timers: list[tuple[float, Callable[[], None]]]
) -> None:
    """Else they would be the fast way to guess while nobody else is there."""
    tries = [asyncio.ensure_future(passwords.check_unknown(b"x", suspect=yes, network=f"{n}")) for n in range(3)]
    for number in range(3):
        await until(lambda number=number: len(timers) == number + 1)
        # The thread has nothing to do, and yet nobody's turn has come.
        assert passwords._suspect_checks.waiting == 2 - number
        assert len(gate.verified) == number + 1
        when, release = timers[number]
        assert NOW < when <= NOW + 0.1
        release()
    await asyncio.gather(*tries)
    assert [thread.name for thread in threading.enumerate() if "suspect" in thread.name] == ["suspect-check_0"]
    # Nobody else is.
    await asyncio.gather(*(passwords.check_unknown(b"x") for _ in range(20)))
    assert len(timers) == 3


async def test_a_suspect_waits_for_one_of_each_other_network(
    gate: Argon2Gate, passwords: Passwords, timers: list[tuple[float, Callable[[], None]]]
) -> None:
    stored = await passwords.hash("secret")
    gate.open.clear()
    attack = [
        asyncio.ensure_future(passwords.check("id", stored, f"{n % 3}".encode(), suspect=yes, network=f"{n % 3}"))
        for n in range(900)
    ]
    await until(lambda: len(gate.verified) == 1)
    rightful = asyncio.ensure_future(passwords.check("id", stored, b"secret", suspect=yes, network="new"))
    await until(lambda: passwords._suspect_checks.waiting == 900)
    gate.open.set()
    for number in range(4):
        await until(lambda number=number: len(timers) == number + 1)
        timers[number][1]()
    assert await rightful
    assert gate.verified == [b"0", b"1", b"2", b"0", b"secret"]
    for attempt in attack:
        attempt.cancel()
    await asyncio.gather(*attack, return_exceptions=True)
    assert passwords._suspect_checks.waiting == 0


@pytest.mark.parametrize(("suspect", "limit"), [(no, 6), (yes, 1_000)])
async def test_a_full_lane_refuses_the_network_that_fills_it(
    gate: Argon2Gate, suspect: Callable[[], bool], limit: int
) -> None:
    passwords = Passwords(wait_limit=6)
    gate.open.clear()

    def begin(network: str) -> asyncio.Future[None]:
        return asyncio.ensure_future(passwords.check_unknown(b"x", network=network, suspect=suspect))

    attack = [begin("bad") for _ in range(limit + 10)]
    await until(lambda: any(attempt.done() for attempt in attack))
    refused = sum(attempt.done() for attempt in attack)
    rightful = [begin(f"good {number % 2}") for number in range(4)]
    await until(lambda: sum(attempt.done() for attempt in attack) == refused + 4)
    assert not any(attempt.done() for attempt in rightful)
    # Its newest, whoever came first is not passed over.
    done = [attempt.done() for attempt in attack]
    assert done == sorted(done)
    for attempt in attack:
        attempt.cancel()
    gate.open.set()
    outcomes = await asyncio.gather(*attack, *rightful, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes[:-4]} == {asyncio.CancelledError, Overloaded}
    assert outcomes[-4:] == [None] * 4
    passwords.close()


async def test_one_networks_storm_does_not_hold_up_another(gate: Argon2Gate, passwords: Passwords) -> None:
    gate.open.clear()
    storm = [asyncio.ensure_future(passwords.check_unknown(b"storm", network="one")) for _ in range(500)]
    await until(lambda: len(gate.verified) == 2)
    late = asyncio.ensure_future(passwords.check_unknown(b"late", network="other"))
    await until(lambda: passwords.waiting == 499)
    gate.open.set()
    await asyncio.gather(late, *storm)
    # Each of the two threads may have taken one between; the line goes by turns from then on.
    assert gate.verified.index(b"late") <= 4


async def test_who_becomes_suspect_while_waiting_goes_to_the_suspects(gate: Argon2Gate, passwords: Passwords) -> None:
    """Or guesses that begin all at once would all be free."""
    failures = 0
    gate.open.clear()

    async def guess() -> None:
        nonlocal failures
        await passwords.check_unknown(b"x", suspect=lambda: failures >= 5)
        failures += 1

    guesses = [asyncio.ensure_future(guess()) for _ in range(100)]
    await until(lambda: passwords.waiting == 98)
    gate.open.set()
    await until(lambda: passwords.waiting == 0 and passwords._suspect_checks.waiting > 50)
    # At most those whose turn came before the fifth failure was noted; the suspects' own lane is slow.
    assert len(gate.verified) < 50
    for attempt in guesses:
        attempt.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)


async def test_what_was_found_right_meanwhile_is_not_suspect(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    suspicious = False
    gate.open.clear()
    checks = [asyncio.ensure_future(passwords.check("id", stored, b"secret", suspect=lambda: suspicious))]
    await until(lambda: gate.verified == [b"secret"])
    checks += [
        asyncio.ensure_future(passwords.check("id", stored, b"secret", suspect=lambda: suspicious)) for _ in range(50)
    ]
    await until(lambda: passwords.waiting == 49)
    suspicious = True
    gate.open.set()
    assert all(await asyncio.gather(*checks))
    assert len(gate.verified) == 2


# Formats that take long


DEAR = {
    "argon2": from_modular("$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$" + "A" * 43),
    "bcrypt": from_modular("$2b$12$" + "." * 53),
    "pbkdf2": from_modular("$pbkdf2-sha256$1000000$AAAA$" + "A" * 43),
    "pbkdf2 of many blocks": from_modular("$pbkdf2-sha256$29000$AAAA$" + "A" * 1_024),
    "scrypt": from_modular("$scrypt$ln=16,r=8,p=1$c2FsdA$" + "A" * 43),
    "sha512-crypt": from_modular("$6$rounds=656000$salt$" + "A" * 86),
}
NOT_DEAR = {
    "argon2": from_modular("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43),
    "bcrypt": from_modular("$2b$10$" + "." * 53),
    "pbkdf2": from_modular("$pbkdf2-sha256$29000$AAAA$" + "A" * 43),
    "scrypt": from_modular("$scrypt$ln=14,r=8,p=1$c2FsdA$" + "A" * 43),
    "sha256-crypt": from_modular("$5$salt$" + "A" * 43),
    "digest": from_emqx("0" * 64, "salt", EmqxAlgorithm()),
    "house": StoredSecret("argon2id", HOUSE_PREFIX.encode() + b"salt$hash"),
    "damaged": StoredSecret("scrypt", b"k" * 64, b"salt", parameters={"ln": 4}),
    "unknown": StoredSecret("unheard-of", b"hash"),
}


@pytest.mark.parametrize("name", DEAR)
def test_which_formats_are_dear(name: str) -> None:
    assert is_dear(DEAR[name], b"x")


@pytest.mark.parametrize("name", NOT_DEAR)
def test_which_formats_are_not(name: str) -> None:
    assert not is_dear(NOT_DEAR[name], b"x")


def test_a_long_password_makes_crypt_dear() -> None:
    assert is_dear(NOT_DEAR["sha256-crypt"], b"x" * 4_096)
    assert not is_dear(NOT_DEAR["digest"], b"x" * 4_096)


async def test_dear_formats_hold_up_nobody_else(
    gate: Argon2Gate, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    monkeypatch.setattr(passwords_module, "verify", lambda stored, presented: held.wait(30) and False)
    for suspicious in (no, yes):
        dear = [
            asyncio.ensure_future(passwords.check("id", DEAR["bcrypt"], b"x", suspect=suspicious)) for _ in range(5)
        ]
        await until(lambda: passwords.waiting + passwords._dear_suspect_checks.waiting >= 3)
        async with asyncio.timeout(30):
            await passwords.check_unknown(b"x", suspect=suspicious)
        assert not any(check.done() for check in dear)
        for check in dear:
            check.cancel()
        await asyncio.gather(*dear, return_exceptions=True)
    held.set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
async def test_what_may_take_minutes_steps_back(gate: Argon2Gate, passwords: Passwords) -> None:
    for suspicious in (no, yes):
        await passwords.check_unknown(b"x", suspect=suspicious)
        await passwords.check("id", DEAR["argon2"], b"x", suspect=suspicious)
    await passwords.renew(b"x", None)
    niceness = {
        thread.name.rsplit("_", 1)[0]: os.getpriority(os.PRIO_PROCESS, thread.native_id or 0)
        for thread in threading.enumerate()
    }
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    # A busy broker must not keep the rightful among the suspects out.
    assert niceness["password-check"] == niceness["suspect-check"] == usual
    assert niceness["dear-check"] == niceness["dear-suspect-check"] == min(usual + 5, 19)
    assert niceness["password-renewal"] == min(usual + 10, 19)


# A lane


async def test_a_lane_is_first_come_first_served() -> None:
    lane = Lane(1, 10, "test")
    order: list[int] = []
    await asyncio.gather(*(lane.run(lambda number=number: order.append(number)) for number in range(10)))
    assert order == list(range(10))
    assert lane.waiting == 0
    lane.close()


async def test_a_turn_that_came_too_late_goes_to_the_next() -> None:
    lane = Lane(1, 10, "test")
    held = threading.Event()
    ran: list[int] = []

    def cancel_the_second(_: object) -> None:
        # After its turn has been granted, and before it knows.
        asyncio.get_running_loop().call_soon(second.cancel)

    first = asyncio.ensure_future(lane.run(held.wait, learn=cancel_the_second))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(lane.run(lambda: ran.append(2)))
    third = asyncio.ensure_future(lane.run(lambda: 3))
    await until(lambda: lane.waiting == 2)
    held.set()
    async with asyncio.timeout(30):
        assert await third == 3
    assert await first
    assert second.cancelled()
    assert ran == []
    lane.close()


async def test_a_failed_call_frees_its_thread() -> None:
    lane = Lane(1, 10, "test")

    def fail() -> None:
        raise RuntimeError("nobody knows")

    learned: list[object] = []
    for _ in range(3):
        with pytest.raises(RuntimeError, match="nobody knows"):
            await lane.run(fail, learn=learned.append)
    assert await lane.run(lambda: 5, learn=learned.append) == 5
    assert learned == [5]
    lane.close()


async def test_one_who_is_going_away_may_be_the_one_who_makes_room() -> None:
    lane = Lane(1, 2, "test")
    held = threading.Event()
    first = asyncio.ensure_future(lane.run(held.wait, network="a"))
    await asyncio.sleep(0)
    second, third = (asyncio.ensure_future(lane.run(lambda: None, network="a")) for _ in range(2))
    await until(lambda: lane.waiting == 2)
    other = asyncio.ensure_future(lane.run(lambda: "other", network="b"))
    third.cancel()  # which it learns after the other has come
    held.set()
    assert await asyncio.gather(first, second, third, other, return_exceptions=True) == [True, None, ANY, "other"]
    assert third.cancelled()
    assert lane.waiting == 0
    lane.close()


async def test_those_who_wait_at_a_closed_lane_are_refused() -> None:
    lane = Lane(1, 10, "test")
    held = threading.Event()
    calls = [asyncio.ensure_future(lane.run(held.wait)) for _ in range(4)]
    await until(lambda: lane.waiting == 3)
    lane.close()
    held.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [bool, Overloaded, Overloaded, Overloaded]


# What a guess costs


class Processor:
    """Count what the checks take: 30 for argon2, and as much as a format is given for the others."""

    def __init__(self, gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spent = 0.0
        self.cost = 0.0
        verify_at_gate = gate.verify

        def verify_argon2(secret: bytes, hash: str) -> bool:
            self.spent += 30 if hash.startswith(HOUSE_PREFIX) else self.cost
            return verify_at_gate(secret, hash)

        def verify_other(stored: StoredSecret, presented: bytes) -> bool:
            self.spent += self.cost
            return presented == b"secret"

        monkeypatch.setattr(gate, "verify", verify_argon2)
        monkeypatch.setattr(passwords_module, "verify", verify_other)

    def __call__(self) -> float:
        return self.spent


@pytest.mark.parametrize("name", ["argon2", "bcrypt", "pbkdf2", "scrypt", "sha256-crypt", "digest", "unknown"])
async def test_a_wrong_guess_takes_what_an_unknown_name_takes(
    gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    processor = Processor(gate, monkeypatch)
    passwords = Passwords(thread_time=processor)
    stored = NOT_DEAR[name]
    for cost, spent in ((1, 31), (29, 59), (30, 30), (300, 300)):
        processor.cost, processor.spent = cost, 0
        assert not await passwords.check("id", stored, b"guess")
        # The first has nothing to compare with and so takes both.
        assert processor.spent == spent
    for _ in range(3):
        processor.spent = 0
        await passwords.check_unknown(b"guess")
        assert processor.spent == 30
    passwords.close()


async def test_a_right_password_takes_no_more_than_it_must(gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = Processor(gate, monkeypatch)
    processor.cost = 1
    passwords = Passwords(thread_time=processor)
    assert await passwords.check("id", NOT_DEAR["digest"], b"secret")
    assert processor.spent == 1
    processor.spent = 0
    house = await passwords.hash("secret")
    assert not await passwords.check("id", house, b"guess")
    assert processor.spent == 30
    passwords.close()


async def test_one_measurement_that_is_off_does_not_count_for_much(
    gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = Processor(gate, monkeypatch)
    passwords = Passwords(thread_time=processor)
    for _ in range(5):
        await passwords.check_unknown(b"guess")
    verify_argon2 = gate.verify

    def verify_slowly(secret: bytes, hash: str) -> bool:
        processor.spent += 100
        return verify_argon2(secret, hash)

    monkeypatch.setattr(gate, "verify", verify_slowly)
    await passwords.check_unknown(b"guess")
    monkeypatch.setattr(gate, "verify", verify_argon2)
    processor.cost, processor.spent = 60, 0
    await passwords.check("id", NOT_DEAR["bcrypt"], b"guess")
    assert processor.spent == 60
    passwords.close()


@pytest.mark.parametrize(
    "damaged",
    [
        StoredSecret("unheard-of", b"hash"),
        StoredSecret("argon2id", b"$argon2id$v=19$m=8,t=1,p=1$damaged"),
        StoredSecret("argon2id", b"\xff"),
        StoredSecret("bcrypt", b"$2b$04$damaged"),
        StoredSecret("sha512-crypt", b"$6$damaged"),
        StoredSecret("pbkdf2-sha512", b"k" * 64, b"salt"),
        StoredSecret("pbkdf2-sha512", b"k" * 64, b"salt", parameters={"iterations": 0}),
        StoredSecret("pbkdf2-sha512", b"k" * 64, b"salt", parameters={"iterations": "many"}),
        StoredSecret("pbkdf2-whirlpool", b"k" * 64, b"salt", parameters={"iterations": 1}),
        StoredSecret("scrypt", b"k" * 64, b"salt", parameters={"ln": 4}),
        StoredSecret("scrypt", b"k" * 64, b"salt", parameters={"ln": 4, "r": 0, "p": 1}),
        from_plain("the password itself"),
    ],
)
async def test_what_is_damaged_lets_nobody_in(
    passwords: Passwords, damaged: StoredSecret, caplog: pytest.LogCaptureFixture
) -> None:
    for guess in (b"", b"guess", b"the password itself"):
        assert not await passwords.check("a principal", damaged, guess)
    [message] = {record.getMessage() for record in caplog.records}
    assert message == f"the stored password of principal a principal ({damaged.algo}) cannot be read"
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert not any(record.exc_info for record in caplog.records)


# The cache


async def test_only_the_very_same_secret_was_verified(gate: Argon2Gate, passwords: Passwords) -> None:
    """A hash says nothing without its salt and parameters."""
    key = hashlib.sha256(b"saltsecret").digest()
    verified = StoredSecret("sha256", key, b"salt", parameters={"salt_position": "prefix"})
    assert await passwords.check("id", verified, b"secret")
    assert passwords.check_now("id", verified, b"secret") is True
    for other in (
        StoredSecret("sha256", key, b"salt", parameters={"salt_position": "suffix"}),
        StoredSecret("sha256", key, b"salt"),
        StoredSecret("sha256", key, b"SALT", parameters={"salt_position": "prefix"}),
        StoredSecret("md5", key, b"salt", parameters={"salt_position": "prefix"}),
        StoredSecret("sha256", key[:-1], b"salt", parameters={"salt_position": "prefix"}),
        StoredSecret("sha256", key + b"s", b"alt", parameters={"salt_position": "prefix"}),
        StoredSecret("sha256", key, b"sal", parameters={"salt_position": "prefix"}),
        StoredSecret("sha256", key + b"s", b"alts", parameters={"salt_position": "prefix"}),
    ):
        for presented in (b"secret", b"tsecret", b"ecret"):
            assert passwords.check_now("id", other, presented) is None


async def test_what_was_proved_otherwise_can_be_noted(gate: Argon2Gate, passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    passwords.remember("id", stored, b"secret")
    assert passwords.check_now("id", stored, b"secret") is True
    assert passwords.check_now("id", stored, b"other") is None
    assert gate.verified == []


async def test_only_a_plain_password_is_hashed_at_import(gate: Argon2Gate) -> None:
    passwords = Passwords(scram_iterations=4_096)
    imported = from_modular("$2b$04$" + "." * 53)
    assert await passwords.hash_plain(imported, b"salt") is imported
    hashed = await passwords.hash_plain(from_plain("secret"), b"salt")
    assert (hashed.algo, hashed.outdated) == ("argon2id", False)
    assert hashed.scram is not None
    assert hashed.scram.salt == b"salt"
    passwords.close()
