"""Passwords of other kinds are hashed anew once they were right; nobody notices, and nothing is lost by it."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable
from pathlib import Path

import bcrypt
import pytest
from wardenmq.store.admission import Outcome, Verdict
from wardenmq.store.credentials import passwords
from wardenmq.store.credentials.password_formats import EmqxAlgorithm, from_emqx, from_modular
from wardenmq.store.credentials.scram import MIN_ITERATIONS, derive_keys
from wardenmq.store.credentials.stored_secrets import HOUSE_PREFIX, StoredSecret, store_token
from wardenmq.store.credentials.verification import verify
from wardenmq.store.directory import Directory
from wardenmq.store.errors import Overloaded
from wardenmq.store.records import Change

from .argon2_gate import Argon2Gate
from .conditions import TIME_LIMIT, until

PBKDF2 = EmqxAlgorithm("pbkdf2", mac_fun="sha512", iterations=3)


def imported(password: bytes) -> StoredSecret:
    return from_emqx(hashlib.pbkdf2_hmac("sha512", password, b"salt", 3).hex(), "salt", PBKDF2)


async def log_in(directory: Directory, name: str, password: bytes) -> Outcome:
    verdict: Verdict | Awaitable[Verdict] = directory.authenticate("c", name, password)
    return (verdict if isinstance(verdict, Verdict) else await verdict).outcome


async def stored(directory: Directory) -> list[StoredSecret]:
    rows = await directory._database.read("SELECT algo, secret_hash, salt, params FROM credential ORDER BY rowid")
    return [StoredSecret(algo, secret_hash, salt) for algo, secret_hash, salt, _ in rows]


async def idle(directory: Directory) -> None:
    await until(lambda: not directory._derivation._deriving)


async def test_an_imported_password_is_hashed_anew_after_a_good_login(gate: Argon2Gate, tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path, scram_iterations=MIN_ITERATIONS)
    login = await directory.create_login("username", "alice", None, secret=imported(b"wonderland"))
    changes: list[Change] = []

    async def note(change: Change) -> None:
        changes.append(change)

    directory.on_change(note)
    generation = directory.generation
    audit = await directory._database.read("SELECT action FROM audit_log")

    assert await log_in(directory, "alice", b"wrong") is Outcome.WRONG
    await idle(directory)
    assert [secret.algo for secret in await stored(directory)] == ["pbkdf2-sha512"]

    assert await log_in(directory, "alice", b"wonderland") is Outcome.ACCEPTED
    await idle(directory)
    [renewed] = await stored(directory)
    assert (renewed.algo, renewed.salt) == ("argon2id", b"")
    assert renewed.secret_hash.startswith(HOUSE_PREFIX.encode())
    [(params,)] = await directory._database.read("SELECT params FROM credential")
    assert list(json.loads(params)) == ["scram-sha-256"]
    # Nobody did anything: no session is closed, no access computed again, and nothing stands in the audit log.
    assert (changes, directory.generation) == ([], generation)
    assert await directory._database.read("SELECT action FROM audit_log") == audit

    # The next login is as cheap as if there had been no other hash.
    gate.verified.clear()
    verdict = directory.authenticate("c", "alice", b"wonderland")
    assert isinstance(verdict, Verdict)
    assert verdict.principal == login.id
    assert gate.verified == []
    assert await log_in(directory, "alice", b"wrong") is Outcome.WRONG
    await directory.close()

    directory = await Directory.open(path, scram_iterations=MIN_ITERATIONS)
    assert await log_in(directory, "alice", b"wrong") is Outcome.WRONG
    assert await log_in(directory, "alice", b"wonderland") is Outcome.ACCEPTED
    await idle(directory)
    assert await stored(directory) == [renewed]
    await directory.close()


async def test_where_scram_is_off_only_the_hash_is_made(gate: Argon2Gate) -> None:
    directory = await Directory.open(":memory:", scram_iterations=0)
    await directory.create_login("clientid", "c", None, secret=imported(b"firmware"))
    verdict = directory.authenticate("c", None, b"firmware")
    assert not isinstance(verdict, Verdict)
    assert (await verdict).outcome is Outcome.ACCEPTED
    await idle(directory)
    assert await directory._database.read("SELECT algo, params FROM credential") == [("argon2id", "{}")]
    await directory.close()


async def test_keys_that_there_are_stay(gate: Argon2Gate) -> None:
    directory = await Directory.open(":memory:", scram_iterations=MIN_ITERATIONS)
    salt = directory._scram.salt("username", "alice")
    assert salt is not None
    keys = derive_keys(b"wonderland", salt, MIN_ITERATIONS)
    old = imported(b"wonderland")
    with_keys = StoredSecret(old.algo, old.secret_hash, old.salt, keys, old.parameters)
    await directory.create_login("username", "alice", None, secret=with_keys)
    assert await log_in(directory, "alice", b"wonderland") is Outcome.ACCEPTED
    await idle(directory)
    login = directory._logins.find("username", "alice")
    assert login is not None
    assert login.secret is not None
    assert not login.secret.outdated
    assert login.secret.scram is keys
    await directory.close()


async def test_a_new_hash_of_todays_kind_or_a_token_stays(gate: Argon2Gate) -> None:
    directory = await Directory.open(":memory:", scram_iterations=0)
    await directory.create_login("username", "alice", "wonderland")
    await directory.create_login("username", "token", None, secret=store_token("t0ken"))
    before = await stored(directory)
    assert await log_in(directory, "alice", b"wonderland") is Outcome.ACCEPTED
    assert await log_in(directory, "token", b"t0ken") is Outcome.ACCEPTED
    assert not directory._derivation._deriving
    assert await stored(directory) == before
    await directory.close()


async def test_a_password_of_which_only_a_part_was_looked_at_is_not_hashed(gate: Argon2Gate) -> None:
    """Else whoever comes first would choose the rest, and those with another rest were locked out."""
    directory = await Directory.open(":memory:", scram_iterations=MIN_ITERATIONS)
    bcrypted = from_modular(bcrypt.hashpw(b"p" * 72, bcrypt.gensalt(4)).decode())
    for name, secret, password in (("alice", bcrypted, b"p" * 73), ("bob", imported(b"wonderland"), b"wonderland\0")):
        await directory.create_login("username", name, None, secret=secret)
        assert await log_in(directory, name, password) is Outcome.ACCEPTED
        assert not directory._derivation._deriving
    assert await stored(directory) == [
        StoredSecret(secret.algo, secret.secret_hash, secret.salt) for secret in (bcrypted, imported(b"wonderland"))
    ]
    await directory.close()


async def test_those_who_are_being_checked_meanwhile_get_in_as_well(
    gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash that they are checked against is no longer there when they are through."""
    directory = await Directory.open(":memory:", scram_iterations=0)
    await directory.create_login("username", "alice", None, secret=imported(b"wonderland"))
    calls: list[bytes] = []
    released = threading.Event()

    def check(secret: StoredSecret, presented: bytes) -> bool:
        calls.append(presented)
        if len(calls) > 1:
            assert released.wait(TIME_LIMIT)
        return verify(secret, presented)

    monkeypatch.setattr(passwords, "verify", check)
    clients = [asyncio.ensure_future(log_in(directory, "alice", b"wonderland")) for _ in range(2)]
    await until(lambda: len(calls) == 2 and any(client.done() for client in clients))
    await idle(directory)
    assert [secret.algo for secret in await stored(directory)] == ["argon2id"]
    assert not all(client.done() for client in clients)
    released.set()
    assert await asyncio.gather(*clients) == [Outcome.ACCEPTED] * 2
    await directory.close()


async def test_a_password_that_was_changed_meanwhile_stays_changed(
    gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = await Directory.open(":memory:", scram_iterations=0)
    await directory.create_login("username", "alice", None, secret=imported(b"wonderland"))
    renew = directory._passwords.renew
    changed = asyncio.Event()

    async def change_first(password: bytes, salt: bytes | None) -> StoredSecret:
        await directory.update_login("username", "alice", password="looking-glass")
        changed.set()
        return await renew(password, salt)

    monkeypatch.setattr(directory._passwords, "renew", change_first)
    assert await log_in(directory, "alice", b"wonderland") is Outcome.ACCEPTED
    await changed.wait()
    await idle(directory)
    assert await log_in(directory, "alice", b"wonderland") is Outcome.WRONG
    assert await log_in(directory, "alice", b"looking-glass") is Outcome.ACCEPTED
    await directory.close()


async def test_many_that_come_at_once_are_hashed_a_few_at_a_time(
    gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = await Directory.open(":memory:", scram_iterations=0)
    names = [f"user {number}" for number in range(30)]
    for name in names:
        await directory.create_login("username", name, None, secret=imported(b"wonderland"))
    released = asyncio.Event()
    renew = directory._passwords.renew

    async def held(password: bytes, salt: bytes | None) -> StoredSecret:
        await released.wait()
        return await renew(password, salt)

    monkeypatch.setattr(directory._passwords, "renew", held)
    for name in (*names, *names):
        assert await log_in(directory, name, b"wonderland") is Outcome.ACCEPTED
    # Each that waits keeps a password in memory.
    assert len(directory._derivation._deriving) == 10
    released.set()
    for turn in range(1, 4):
        await idle(directory)
        algos = [secret.algo for secret in await stored(directory)]
        assert algos.count("argon2id") == 10 * turn
        # The others' next login takes it up, though their passwords were verified before.
        for name in names:
            assert await log_in(directory, name, b"wonderland") is Outcome.ACCEPTED
    await directory.close()


async def test_what_cannot_be_hashed_now_is_told_without_the_password(
    gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = await Directory.open(":memory:", scram_iterations=0)
    await directory.create_login("username", "alice", None, secret=imported(b"wonderland"))

    async def refuse(password: bytes, salt: bytes | None) -> StoredSecret:
        raise Overloaded("Too many password checks are waiting.")

    monkeypatch.setattr(directory._passwords, "renew", refuse)
    assert await log_in(directory, "alice", b"wonderland") is Outcome.ACCEPTED
    await idle(directory)
    assert [record.getMessage() for record in caplog.records] == [
        "the password of login 'alice' was not hashed anew: Too many password checks are waiting."
    ]
    assert [secret.algo for secret in await stored(directory)] == ["pbkdf2-sha512"]
    await directory.close()
