"""Hash and verify passwords off the event loop, a bounded number at a time, and remember the logins that were right."""

import asyncio
import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, cast

# libpass, the maintained fork of passlib, carries no type information and makes its names on the fly.
from passlib.hash import (  # pyright: ignore[reportMissingTypeStubs]
    argon2 as _passlib_argon2,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
)

from .errors import Overloaded
from .scram import ScramKeys, derive_keys, prepare_password
from .stored_secrets import ARGON2ID, MAX_SECRET_BYTES, StoredSecret, encode_secret, matches_fast

T = TypeVar("T")

_ROUNDS = 2
_MEMORY_KIB = 19_456
_VERIFYING_THREADS = 2
_MAX_HASHES_WAITING = 1_000
_MAX_DERIVATIONS_WAITING = 10


class _Argon2(Protocol):
    def using(self, *, type: str, rounds: int, memory_cost: int, parallelism: int) -> "_Argon2": ...
    def hash(self, secret: bytes) -> str: ...
    def verify(self, secret: bytes, hash: str) -> bool: ...


class _Lane:
    """Run calls in a few threads; those that wait do so on the loop, so that a cancelled one leaves nothing behind."""

    def __init__(self, threads: int, max_waiting: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(threads)
        self._max_waiting = max_waiting
        self.waiting = 0

    async def run(
        self,
        call: Callable[[], T],
        known: Callable[[], T | None] = lambda: None,
        learn: Callable[[T], None] | None = None,
    ) -> T:
        """Return the call's result, or what `known` has by the time it is this call's turn.

        `learn` gets the result before the next call's turn, even where the caller has been cancelled. Raises
        Overloaded where too many wait or the lane is closed.
        """
        if self.waiting >= self._max_waiting:
            raise Overloaded("Too many password checks are waiting.")
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        if (answer := known()) is not None:
            self._slots.release()
            return answer
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        except RuntimeError:
            self._slots.release()
            raise Overloaded("The store is closing.") from None

        def finish(done: asyncio.Future[T]) -> None:
            if learn is not None and not done.cancelled() and done.exception() is None:
                learn(done.result())
            self._slots.release()

        # The slot is free when the thread is, which a cancelled caller does not change.
        future.add_done_callback(finish)
        return await asyncio.shield(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class Passwords:
    """Own the threads and the cache of verified logins."""

    def __init__(self, *, wait_limit: int = 10_000, cache_size: int = 10_000, scram_iterations: int = 0) -> None:
        """Let `wait_limit` checks wait for a thread and remember `cache_size` verified logins.

        With `scram_iterations` 0 no SCRAM keys are derived.
        """
        self._argon2 = cast("_Argon2", _passlib_argon2).using(
            type="ID", rounds=_ROUNDS, memory_cost=_MEMORY_KIB, parallelism=1
        )
        self._checks = _Lane(_VERIFYING_THREADS, wait_limit, "password-check")
        # A lane of its own, so that a storm of logins does not hold up the operator who ends it.
        self._hashes = _Lane(1, _MAX_HASHES_WAITING, "password-hash")
        # And one for what nobody waits for.
        self._derivations = _Lane(1, _MAX_DERIVATIONS_WAITING, "scram-keys")
        self._scram_iterations = scram_iterations
        self._dummy = _dummy_hash()
        self._process_secret = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._cache_size = cache_size

    @property
    def waiting(self) -> int:
        """How many checks wait for a thread."""
        return self._checks.waiting

    async def hash(self, password: str, scram_salt: bytes | None = None) -> StoredSecret:
        """Hash a new password and, with a salt for them, derive its SCRAM keys; raise Invalid or Overloaded."""
        data = encode_secret(password)

        def work() -> StoredSecret:
            text = self._argon2.hash(data)
            return StoredSecret(ARGON2ID, text.encode(), scram=self._derive(data, scram_salt))

        return await self._hashes.run(work)

    async def derive_keys(self, password: bytes, scram_salt: bytes) -> ScramKeys | None:
        """Derive a known password's SCRAM keys, None where it cannot be used with SCRAM; raise Overloaded."""
        return await self._derivations.run(lambda: self._derive(password, scram_salt))

    def check_now(self, principal: str, stored: StoredSecret, presented: bytes) -> bool | None:
        """Answer where no thread is needed: a login verified before, or a fast kind of secret; None where it is."""
        if len(presented) > MAX_SECRET_BYTES:
            return False
        if not stored.slow:
            return matches_fast(stored, presented)
        return self._remembered(self._key(principal, stored, presented))

    async def check(self, principal: str, stored: StoredSecret, presented: bytes) -> bool:
        """Verify a password in a thread and remember it if right; raise Overloaded."""
        key = self._key(principal, stored, presented)

        def learn(right: bool) -> None:
            if right:
                self._verified[key] = None
                if len(self._verified) > self._cache_size:
                    self._verified.popitem(last=False)

        # Many clients may share a login: the first one's answer is there when the others' turn comes.
        return await self._checks.run(
            lambda: self._argon2.verify(presented, stored.secret_hash.decode()), lambda: self._remembered(key), learn
        )

    async def check_unknown(self, presented: bytes) -> None:
        """Take as long as a real check does, for a name that does not exist; raise Overloaded."""
        await self._checks.run(lambda: self._argon2.verify(presented, self._dummy))

    def close(self) -> None:
        """Stop the threads after the check that each is at, and forget the verified logins."""
        self._checks.close()
        self._hashes.close()
        self._derivations.close()
        self._verified.clear()

    def _derive(self, password: bytes, scram_salt: bytes | None) -> ScramKeys | None:
        if not self._scram_iterations or scram_salt is None or (prepared := prepare_password(password)) is None:
            return None
        return derive_keys(prepared, scram_salt, self._scram_iterations)

    def _remembered(self, key: bytes) -> bool | None:
        if key not in self._verified:
            return None
        self._verified.move_to_end(key)
        return True

    def _key(self, principal: str, stored: StoredSecret, presented: bytes) -> bytes:
        # The stored hash is part of the key, so a changed password cannot be met by an old entry. Neither an id nor
        # a hash holds a zero byte, so no two triples give the same text.
        text = b"\0".join((principal.encode(), stored.secret_hash, presented))
        return hmac.digest(self._process_secret, text, "sha256")


def _dummy_hash() -> str:
    """Return a hash of the usual cost whose password nobody knows, without computing one."""

    def random_base64(size: int) -> str:
        return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")

    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_ROUNDS},p=1${random_base64(16)}${random_base64(32)}"
