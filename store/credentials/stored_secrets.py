"""Stored secrets: what is kept of a password or token, how a row holds it, and the comparison that needs no thread."""

import hashlib
import hmac
import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from ..errors import Invalid
from .scram import ScramKeys, keys_from_fields, keys_to_fields

ARGON2ID = "argon2id"
ARGON2_VARIANTS = (ARGON2ID, "argon2i", "argon2d")
SHA256_TOKEN = "sha256-token"  # noqa: S105
SHA256 = "sha256"
PLAIN = "plain"
"""The password itself: what an importer read, to be hashed before anything else happens to it; never stored."""

HOUSE_ROUNDS = 2
HOUSE_MEMORY_KIB = 19_456
HOUSE_PREFIX = f"${ARGON2ID}$v=19$m={HOUSE_MEMORY_KIB},t={HOUSE_ROUNDS},p=1$"
"""What the text of each new hash begins with."""
_HOUSE_PREFIX = HOUSE_PREFIX.encode()

MAX_SECRET_BYTES = 4_096
"""Longest secret accepted, UTF-8 encoded; passlib's own bound."""

NO_PARAMETERS: Mapping[str, int | str] = MappingProxyType({})

SCRAM = "scram-sha-256"
"""Under this name `params` holds the SCRAM keys."""
PARAMETERS = ("iterations", "salt_position", "ln", "r", "p")
"""The parameters that formats have. Others in a row are not for this release: they are neither read nor lost."""
_VALUES = (int, str)
_NO_PARAMS = "{}"
_ALPHABET = string.digits + string.ascii_letters
_TOKEN_BITS = 256


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """Hold what the database keeps of one secret. Compared by identity of its parts, shown without them."""

    algo: str
    secret_hash: bytes = field(repr=False)
    """The digest or key, or the whole text of a format that describes itself."""
    salt: bytes = field(default=b"", repr=False)
    scram: ScramKeys | None = field(default=None, repr=False, compare=False)
    """Derived from the same password, so that it takes no part in telling two secrets apart."""
    parameters: Mapping[str, int | str] = field(default_factory=lambda: NO_PARAMETERS, repr=False, hash=False)
    """What the format needs beside hash and salt: `iterations`, `salt_position`, `ln`, `r`, `p`."""

    @property
    def params(self) -> str:
        """The column `params`: JSON with the format's parameters and the SCRAM keys."""
        if self.scram is None and not self.parameters:
            return _NO_PARAMS
        fields: dict[str, object] = dict(self.parameters)
        if self.scram is not None:
            fields[SCRAM] = keys_to_fields(self.scram)
        return json.dumps(fields)

    @property
    def slow(self) -> bool:
        """Whether it can be guessed, so that a comparison must cost something and belongs into a thread."""
        return self.algo != SHA256_TOKEN

    @property
    def outdated(self) -> bool:
        """Whether it is a password that is hashed in another way than new ones are."""
        return self.slow and not self.secret_hash.startswith(_HOUSE_PREFIX)


def load_secret(algo: str, secret_hash: bytes, salt: bytes, params: str) -> StoredSecret:
    """Make a secret of the columns of a credential; of damaged `params` nothing is taken."""
    if params == _NO_PARAMS:
        return StoredSecret(algo, bytes(secret_hash), bytes(salt))
    try:
        fields: Any = json.loads(params)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return StoredSecret(algo, bytes(secret_hash), bytes(salt))
    read = cast("dict[str, Any]", fields)
    scram = keys_from_fields(read.pop(SCRAM, None))
    parameters = {name: value for name, value in read.items() if name in PARAMETERS and isinstance(value, _VALUES)}
    return StoredSecret(algo, bytes(secret_hash), bytes(salt), scram, parameters or NO_PARAMETERS)


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
    """Compare a token or the secret of an API key in constant time."""
    if stored.algo not in (SHA256_TOKEN, SHA256) or stored.parameters:
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
