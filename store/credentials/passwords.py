"""Hash and verify passwords off the event loop, a bounded number at a time, and remember the logins that were right."""

import base64
import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Protocol, TypeVar, cast

# libpass, the maintained fork of passlib, carries no type information and makes its names on the fly.
from passlib.hash import (  # pyright: ignore[reportMissingTypeStubs]
    argon2 as _passlib_argon2,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
)

from .lanes import Lane
from .new_hashes import hash_as, is_hashed_here
from .password_formats import EmqxAlgorithm
from .scram import ScramKeys, derive_keys, prepare_password
from .stored_secrets import (
    ARGON2_VARIANTS,
    ARGON2ID,
    HOUSE_MEMORY_KIB,
    HOUSE_PREFIX,
    HOUSE_ROUNDS,
    MAX_SECRET_BYTES,
    PLAIN,
    StoredSecret,
    encode_secret,
    matches_fast,
)
from .verification import is_dear, verify

T = TypeVar("T")

_VERIFYING_THREADS = 2
_MAX_SUSPECTS_WAITING = 1_000
_SUSPECTS_INTERVAL = 0.1
"""Seconds between the beginnings of two checks of suspects, all of them together."""
_BACKGROUND = 10
_ASIDE = 5
"""The niceness of what somebody waits for, but which could take all processors for minutes."""
_SMOOTHING = 8
_MAX_HASHES_WAITING = 1_000
_MAX_RENEWALS_WAITING = 10

_logger = getLogger(__name__)


class _Argon2(Protocol):
    def using(self, *, type: str, rounds: int, memory_cost: int, parallelism: int) -> "_Argon2": ...
    def hash(self, secret: bytes) -> str: ...
    def verify(self, secret: bytes, hash: str) -> bool: ...


class _BecameSuspect(Exception):
    """Between a check's beginning and its turn others have failed."""


class Passwords:
    """Own the threads and the cache of verified logins."""

    def __init__(
        self,
        *,
        wait_limit: int = 10_000,
        cache_size: int = 100_000,
        scram_iterations: int = 0,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        """Let `wait_limit` checks wait for a thread and remember `cache_size` verified logins.

        With `scram_iterations` 0 no SCRAM keys are derived. `thread_time` tells what a check has cost.
        """
        self._argon2 = cast("_Argon2", _passlib_argon2).using(
            type="ID", rounds=HOUSE_ROUNDS, memory_cost=HOUSE_MEMORY_KIB, parallelism=1
        )
        self._checks = Lane(_VERIFYING_THREADS, wait_limit, "password-check")
        # Lanes of their own: for imported hashes that take long, whose owners a storm of the others would wait for,
        self._dear_checks = Lane(_VERIFYING_THREADS, wait_limit, "dear-check", niceness=_ASIDE)
        # for those who guess; not in the background, where a busy broker would keep the rightful among them out,
        self._suspect_checks = Lane(1, _MAX_SUSPECTS_WAITING, "suspect-check", interval=_SUSPECTS_INTERVAL)
        self._dear_suspect_checks = Lane(
            1, _MAX_SUSPECTS_WAITING, "dear-suspect-check", interval=_SUSPECTS_INTERVAL, niceness=_ASIDE
        )
        # for the operator, whom a storm of logins must not hold up while he ends it,
        self._hashes = Lane(1, _MAX_HASHES_WAITING, "password-hash")
        # and for what nobody waits for.
        self._renewals = Lane(1, _MAX_RENEWALS_WAITING, "password-renewal", niceness=_BACKGROUND)
        self._scram_iterations = scram_iterations
        self._dummy = _dummy_hash()
        self._thread_time = thread_time
        self._usual_cost = math.inf
        self._process_secret = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._cache_size = cache_size

    @property
    def waiting(self) -> int:
        """How many checks wait for a thread, those of suspects aside."""
        return self._checks.waiting + self._dear_checks.waiting

    async def hash(self, password: str, scram_salt: bytes | None = None) -> StoredSecret:
        """Hash a new password and, with a salt for them, derive its SCRAM keys; raise Invalid or Overloaded."""
        data = encode_secret(password)
        return await self._hashes.run(lambda: self._hash(data, scram_salt))

    async def hash_as(self, password: str, algorithm: EmqxAlgorithm | None) -> StoredSecret:
        """Hash a new password as an operator asked for; None for as usual. Raises Invalid or Overloaded."""
        data = encode_secret(password)
        if algorithm is None or not is_hashed_here(algorithm):
            return await self._hashes.run(lambda: self._hash(data, None))
        return await self._hashes.run(lambda: hash_as(data, algorithm))

    async def hash_many_as(self, plain: Sequence[StoredSecret], algorithm: EmqxAlgorithm) -> list[StoredSecret]:
        """Hash passwords that were imported as they are, one after the other in one turn; raise Invalid, Overloaded."""
        return await self._hashes.run(lambda: [hash_as(secret.secret_hash, algorithm) for secret in plain])

    def set_scram_iterations(self, iterations: int) -> None:
        """Derive SCRAM keys at this cost from now on; 0 for none."""
        self._scram_iterations = iterations

    async def hash_plain(self, secret: StoredSecret, scram_salt: bytes | None = None) -> StoredSecret:
        """Hash a password that was imported as it is, and return any other secret as it is; raise Overloaded."""
        if secret.algo != PLAIN:
            return secret
        return await self._hashes.run(lambda: self._hash(secret.secret_hash, scram_salt))

    async def renew(self, password: bytes, scram_salt: bytes | None) -> StoredSecret:
        """Hash a known password anew as nobody waits for it, else like `hash`; raise Overloaded."""
        return await self._renewals.run(lambda: self._hash(password, scram_salt))

    async def derive_keys(self, password: bytes, scram_salt: bytes) -> ScramKeys | None:
        """Derive a known password's SCRAM keys, None where it cannot be used with SCRAM; raise Overloaded."""
        return await self._renewals.run(lambda: self._derive(password, scram_salt))

    def check_now(self, principal: str, stored: StoredSecret, presented: bytes) -> bool | None:
        """Answer where no thread is needed: a login verified before, or a token; None where one is."""
        if len(presented) > MAX_SECRET_BYTES:
            return False
        if not stored.slow:
            return matches_fast(stored, presented)
        return self._remembered(self._key(principal, stored, presented))

    async def check(
        self,
        principal: str,
        stored: StoredSecret,
        presented: bytes,
        *,
        network: str = "",
        suspect: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Verify a password in a thread and remember it if right; raise Overloaded.

        Networks are served by turns. `suspect` is asked at the beginning and again when the check's turn comes: a
        suspect waits with other suspects only, who are checked at a slow pace.
        """
        key = self._key(principal, stored, presented)

        def learn(right: bool) -> None:
            if right:
                self._remember(key)

        # Many clients may share a login: the first one's answer is there when the others' turn comes.
        return await self._run(
            lambda: self._verify(principal, stored, presented),
            lambda: self._remembered(key),
            learn,
            network=network,
            suspect=suspect,
            dear=is_dear(stored, presented),
        )

    async def check_unknown(
        self, presented: bytes, *, network: str = "", suspect: Callable[[], bool] = lambda: False
    ) -> None:
        """Take as long as a real check does, for a name that does not exist; raise Overloaded."""
        await self._run(lambda: self._check_dummy(presented), network=network, suspect=suspect)

    def remember(self, principal: str, stored: StoredSecret, password: bytes) -> None:
        """Note that a password was proved in another way, so that the next check of it needs no thread."""
        self._remember(self._key(principal, stored, password))

    def close(self) -> None:
        """Stop the threads after the check that each is at, and forget the verified logins."""
        checks = (self._checks, self._dear_checks, self._suspect_checks, self._dear_suspect_checks)
        for lane in (*checks, self._hashes, self._renewals):
            lane.close()
        self._verified.clear()

    async def _run(
        self,
        call: Callable[[], T],
        known: Callable[[], T | None] = lambda: None,
        learn: Callable[[T], None] | None = None,
        *,
        network: str,
        suspect: Callable[[], bool],
        dear: bool = False,
    ) -> T:
        def known_unless_suspect() -> T | None:
            answer = known()
            if answer is None and suspect():
                raise _BecameSuspect
            return answer

        if not suspect():
            lane = self._dear_checks if dear else self._checks
            try:
                return await lane.run(call, known_unless_suspect, learn, network=network)
            except _BecameSuspect:
                # Many guesses that begin at once are all unsuspicious then.
                pass
        lane = self._dear_suspect_checks if dear else self._suspect_checks
        return await lane.run(call, known, learn, network=network)

    def _hash(self, password: bytes, scram_salt: bytes | None) -> StoredSecret:
        text = self._argon2.hash(password)
        return StoredSecret(ARGON2ID, text.encode(), scram=self._derive(password, scram_salt))

    def _derive(self, password: bytes, scram_salt: bytes | None) -> ScramKeys | None:
        if not self._scram_iterations or scram_salt is None or (prepared := prepare_password(password)) is None:
            return None
        return derive_keys(prepared, scram_salt, self._scram_iterations)

    def _verify(self, principal: str, stored: StoredSecret, presented: bytes) -> bool:
        begun = self._thread_time()
        usual = not stored.outdated
        try:
            if stored.algo in ARGON2_VARIANTS:
                right = self._argon2.verify(presented, stored.secret_hash.decode())
            else:
                right = verify(stored, presented)
        except (ValueError, KeyError, TypeError):
            # Not in the exception's words, which might quote the hash.
            _logger.error("the stored password of principal %s (%s) cannot be read", principal, stored.algo)
            right = usual = False
        if not right and not usual and self._thread_time() - begun < self._usual_cost:
            # A guess has its price whatever the format, and its duration does not tell that the name exists.
            self._check_dummy(presented)
        return right

    def _check_dummy(self, presented: bytes) -> None:
        begun = self._thread_time()
        self._argon2.verify(presented, self._dummy)
        cost = self._thread_time() - begun
        # An average, for one measurement alone may be off; threads that do this at once lose a measurement at most.
        usual = self._usual_cost
        self._usual_cost = cost if math.isinf(usual) else usual + (cost - usual) / _SMOOTHING

    def _remember(self, key: bytes) -> None:
        self._verified[key] = None
        if len(self._verified) > self._cache_size:
            self._verified.popitem(last=False)

    def _remembered(self, key: bytes) -> bool | None:
        if key not in self._verified:
            return None
        self._verified.move_to_end(key)
        return True

    def _key(self, principal: str, stored: StoredSecret, presented: bytes) -> bytes:
        # All that is stored is part of the key, so a changed password cannot be met by an old entry. The lengths see to
        # it that no two logins give the same text.
        parameters = sorted(stored.parameters.items()) if stored.parameters else ""
        sizes = f"{principal}\0{stored.algo}\0{parameters}\0{len(stored.secret_hash)}\0{len(stored.salt)}\0"
        text = b"".join((sizes.encode(), stored.secret_hash, stored.salt, presented))
        # Keyed, for whoever reads the memory shall not try passwords against it; BLAKE2 takes a third of HMAC's time.
        return hashlib.blake2b(text, key=self._process_secret, digest_size=32).digest()


def _dummy_hash() -> str:
    """Return a hash of the usual cost whose password nobody knows, without computing one."""

    def random_base64(size: int) -> str:
        return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")

    return f"{HOUSE_PREFIX}{random_base64(16)}${random_base64(32)}"
