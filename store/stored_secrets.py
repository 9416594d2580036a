"""Stored secrets: what is kept of a password or token, and the fast comparisons that need no thread."""

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass, field

from .errors import Invalid
from .scram import ScramKeys

ARGON2ID = "argon2id"
SHA256_TOKEN = "sha256-token"  # noqa: S105
SHA256 = "sha256"

MAX_SECRET_BYTES = 4_096
"""Longest secret accepted, UTF-8 encoded; passlib's own bound."""

_ALPHABET = string.digits + string.ascii_letters
_TOKEN_BITS = 256


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """Hold what the database keeps of one secret. Compared by identity of its parts, shown without them."""

    algo: str
    secret_hash: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)
    scram: ScramKeys | None = field(default=None, repr=False, compare=False)
    """Derived from the same password, so that it takes no part in telling two secrets apart."""

    @property
    def slow(self) -> bool:
        """Whether a comparison takes milliseconds and so belongs into a thread."""
        return self.algo == ARGON2ID


NO_SECRET = StoredSecret(SHA256_TOKEN, bytes(32))
"""Equals no secret that anybody knows; compared with where a name is unknown, so that timing does not tell."""


def base62(length: int) -> str:
    """Return random text of 0-9, A-Z, a-z."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def generate_token() -> str:
    """Return 256 random bits as base-62 text."""
    value = secrets.randbits(_TOKEN_BITS)
    digits: list[str] = []
    while value:
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits).rjust(43, "0")


def store_token(token: str) -> StoredSecret:
    """Keep a generated secret: 256 random bits cannot be guessed, so one SHA-256 is enough and needs no salt."""
    return StoredSecret(SHA256_TOKEN, digest(token.encode()))


def store_supplied(secret: str) -> StoredSecret:
    """Keep an API secret that somebody chose.

    It is compared on every HTTP request, so it gets a salted SHA-256 as in EMQX and not a slow hash; prefer generated
    ones.
    """
    salt = secrets.token_bytes(16)
    return StoredSecret(SHA256, digest(salt + encode_secret(secret)), salt)


def matches_fast(stored: StoredSecret, presented: bytes) -> bool:
    """Compare a secret of one of the fast kinds in constant time."""
    if stored.algo not in (SHA256_TOKEN, SHA256):
        return False
    return hmac.compare_digest(stored.secret_hash, digest(stored.salt + presented))


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def encode_secret(secret: str) -> bytes:
    """Return the secret's bytes; raise Invalid where it is empty, too long or not Unicode text."""
    try:
        data = secret.encode()
    except UnicodeEncodeError:
        raise Invalid("The password must not contain surrogates.") from None
    if not data:
        raise Invalid("The password must not be empty.")
    if len(data) > MAX_SECRET_BYTES:
        raise Invalid(f"The password must not be longer than {MAX_SECRET_BYTES} bytes.")
    return data
