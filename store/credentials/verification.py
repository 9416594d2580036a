"""Compare a password with what other programs made of it. Each comparison of a guess costs, so it is for threads."""

import hashlib
import hmac
import re
from typing import Any, cast

import bcrypt

# libpass, the maintained fork of passlib, carries no type information and makes its names on the fly.
from passlib.hash import (  # pyright: ignore[reportMissingTypeStubs]
    sha256_crypt as _sha256_crypt,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
)
from passlib.hash import (  # pyright: ignore[reportMissingTypeStubs]
    sha512_crypt as _sha512_crypt,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
)

from .stored_secrets import ARGON2_VARIANTS, HOUSE_MEMORY_KIB, HOUSE_ROUNDS, StoredSecret

BCRYPT = "bcrypt"
SCRYPT = "scrypt"
PBKDF2 = "pbkdf2-"
"""Followed by the name of the digest."""
SHA256_CRYPT = "sha256-crypt"
SHA512_CRYPT = "sha512-crypt"

DIGESTS = ("md5", "sha1", "sha256", "sha512")
PBKDF2_DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

BCRYPT_BYTES = 72
"""So many bytes of a password are what bcrypt looks at."""
_ARGON2_COSTS = re.compile(rb"\$m=([0-9]+),t=([0-9]+),")
_CRYPT_COSTS = re.compile(rb"\$[56]\$rounds=([0-9]+)\$")
_CRYPT_ROUNDS = 5_000
"""Where the text does not say."""
_MOST_ARGON2_KIB = 2 * HOUSE_MEMORY_KIB * HOUSE_ROUNDS
_MOST_ITERATIONS = 150_000
_MOST_SCRYPT_BYTES = 1 << 24
_MOST_BCRYPT_COST = 10
_MOST_ROUNDS = 150_000
_SCRYPT_SPARE = 1 << 20


def verify(stored: StoredSecret, presented: bytes) -> bool:
    """Tell whether a password is right, where it is not kept as argon2 text.

    Raises ValueError, KeyError or TypeError where what is stored is damaged or of a format not known here.
    """
    if stored.algo in DIGESTS:
        return hmac.compare_digest(_digest(stored, presented), stored.secret_hash)
    if stored.algo.startswith(PBKDF2):
        return hmac.compare_digest(_pbkdf2(stored, presented), stored.secret_hash)
    if stored.algo == SCRYPT:
        return hmac.compare_digest(_scrypt(stored, presented), stored.secret_hash)
    # Those below were made for C strings: they end at a zero byte, or would take two passwords with one for the same.
    if b"\0" in presented:
        return False
    if stored.algo == BCRYPT:
        return bcrypt.checkpw(presented[:BCRYPT_BYTES], stored.secret_hash)
    if stored.algo in (SHA256_CRYPT, SHA512_CRYPT):
        crypt = cast("Any", _sha256_crypt if stored.algo == SHA256_CRYPT else _sha512_crypt)
        return crypt.verify(presented, stored.secret_hash.decode())
    raise ValueError(f"the format {stored.algo!r} is not known")


def is_dear(stored: StoredSecret, presented: bytes) -> bool:
    """Tell whether a comparison takes more than about twice as long as one with a hash of this program's own."""
    try:
        return _relative_cost(stored, presented) > 1
    except (ValueError, LookupError, TypeError):
        return False  # damaged, which is found out at once


def _relative_cost(stored: StoredSecret, presented: bytes) -> float:
    """Estimate a comparison's cost in units of the most that is not dear; they were measured."""
    if stored.algo in ARGON2_VARIANTS:
        costs = _ARGON2_COSTS.search(stored.secret_hash)
        return 0 if costs is None else int(costs[1]) * int(costs[2]) / _MOST_ARGON2_KIB
    if stored.algo.startswith(PBKDF2):
        size = hashlib.new(stored.algo.removeprefix(PBKDF2), usedforsecurity=False).digest_size
        blocks = -(-len(stored.secret_hash) // size)
        return int(stored.parameters["iterations"]) * blocks / _MOST_ITERATIONS
    if stored.algo == SCRYPT:
        n, r, p = _scrypt_costs(stored)
        return 128 * n * r * p / _MOST_SCRYPT_BYTES
    if stored.algo == BCRYPT:
        return int(stored.secret_hash.split(b"$")[2]) / _MOST_BCRYPT_COST
    if stored.algo in (SHA256_CRYPT, SHA512_CRYPT):
        rounds = _CRYPT_COSTS.match(stored.secret_hash)
        # Every round hashes the password.
        return int(rounds[1] if rounds else _CRYPT_ROUNDS) * (1 + len(presented) / 128) / _MOST_ROUNDS
    return 0


def is_whole(stored: StoredSecret, password: bytes) -> bool:
    """Tell whether no other password that somebody could type is as right as this one, which is.

    bcrypt cuts, and HMAC takes a long key for its digest and a short one as if zero bytes stood behind it.
    """
    if stored.algo in ARGON2_VARIANTS:
        return True
    if stored.algo == BCRYPT and len(password) > BCRYPT_BYTES:
        return False
    try:
        return "\0" not in password.decode()
    except UnicodeDecodeError:
        return False


def _digest(stored: StoredSecret, presented: bytes) -> bytes:
    suffixed = stored.parameters.get("salt_position") == "suffix"
    data = presented + stored.salt if suffixed else stored.salt + presented
    return hashlib.new(stored.algo, data, usedforsecurity=False).digest()


def _pbkdf2(stored: StoredSecret, presented: bytes) -> bytes:
    algorithm, iterations = stored.algo.removeprefix(PBKDF2), int(stored.parameters["iterations"])
    return hashlib.pbkdf2_hmac(algorithm, presented, stored.salt, iterations, len(stored.secret_hash))


def _scrypt(stored: StoredSecret, presented: bytes) -> bytes:
    n, r, p = _scrypt_costs(stored)
    memory = 128 * r * (n + p + 2) + _SCRYPT_SPARE
    return hashlib.scrypt(presented, salt=stored.salt, n=n, r=r, p=p, maxmem=memory, dklen=len(stored.secret_hash))


def _scrypt_costs(stored: StoredSecret) -> tuple[int, int, int]:
    return 1 << int(stored.parameters["ln"]), int(stored.parameters["r"]), int(stored.parameters["p"])
