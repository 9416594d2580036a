"""New passwords hashed in EMQX's ways, where an operator asks for one of them instead of this program's own."""

import hashlib
import secrets
from typing import get_args

import bcrypt

from ..errors import Invalid
from .password_formats import EMQX_DIGESTS, MAX_KEY_BYTES, MAX_PBKDF2_ITERATIONS, MIN_KEY_BYTES, EmqxAlgorithm
from .stored_secrets import ARGON2ID, StoredSecret
from .verification import BCRYPT, BCRYPT_BYTES, PBKDF2, PBKDF2_DIGESTS

MIN_SALT_ROUNDS = 5
MAX_SALT_ROUNDS = 10
_SALT_BYTES = 16


def check_algorithm(algorithm: EmqxAlgorithm) -> EmqxAlgorithm:
    """Return an algorithm that passwords can be hashed with; raise Invalid."""
    if algorithm.name not in get_args(EmqxAlgorithm.__annotations__["name"]):
        raise Invalid("The name of the password hash algorithm is not known.")
    if algorithm.salt_position not in get_args(EmqxAlgorithm.__annotations__["salt_position"]):
        raise Invalid("salt_position must be disable, prefix or suffix.")
    if algorithm.name == "bcrypt" and not MIN_SALT_ROUNDS <= algorithm.salt_rounds <= MAX_SALT_ROUNDS:
        raise Invalid(f"salt_rounds must be between {MIN_SALT_ROUNDS} and {MAX_SALT_ROUNDS}.")
    if algorithm.name == "pbkdf2":
        _check_pbkdf2(algorithm)
    return algorithm


def _check_pbkdf2(algorithm: EmqxAlgorithm) -> None:
    digest = EMQX_DIGESTS.get(algorithm.mac_fun, algorithm.mac_fun)
    if digest not in PBKDF2_DIGESTS:
        known = ", ".join("sha" if name == "sha1" else name for name in PBKDF2_DIGESTS)
        raise Invalid(f"PBKDF2 is there with these values of mac_fun only: {known}.")
    if algorithm.iterations < 1:
        raise Invalid("iterations must be at least 1.")
    length = algorithm.dk_length
    if length is not None and not MIN_KEY_BYTES <= length <= MAX_KEY_BYTES:
        raise Invalid(f"dk_length must be between {MIN_KEY_BYTES} and {MAX_KEY_BYTES}.")
    size = hashlib.new(digest, usedforsecurity=False).digest_size
    if algorithm.iterations * -(-(length or size) // size) > MAX_PBKDF2_ITERATIONS:
        raise Invalid(f"There may be at most {MAX_PBKDF2_ITERATIONS} iterations for all blocks of the key together.")


def is_hashed_here(algorithm: EmqxAlgorithm) -> bool:
    """Tell whether a password is hashed in EMQX's way; for `plain`, which would keep it as it is, it is not."""
    return algorithm.name != "plain"


def hash_as(password: bytes, algorithm: EmqxAlgorithm) -> StoredSecret:
    """Hash a password; takes its time. Raises Invalid where the algorithm cannot take the password."""
    if algorithm.name == "bcrypt":
        if b"\0" in password:
            raise Invalid("bcrypt takes no password with U+0000.")
        return StoredSecret(BCRYPT, bcrypt.hashpw(password[:BCRYPT_BYTES], bcrypt.gensalt(algorithm.salt_rounds)))
    salt = secrets.token_hex(_SALT_BYTES).encode()
    if algorithm.name == "pbkdf2":
        digest = EMQX_DIGESTS.get(algorithm.mac_fun, algorithm.mac_fun)
        key = hashlib.pbkdf2_hmac(digest, password, salt, algorithm.iterations, algorithm.dk_length)
        return StoredSecret(PBKDF2 + digest, key, salt, parameters={"iterations": algorithm.iterations})
    digest = EMQX_DIGESTS.get(algorithm.name, algorithm.name)
    position = algorithm.salt_position
    if position == "disable":
        salt, position = b"", "prefix"
    data = password + salt if position == "suffix" else salt + password
    key = hashlib.new(digest, data, usedforsecurity=False).digest()
    return StoredSecret(digest, key, salt, parameters={"salt_position": position})


def is_kept_as(secret: StoredSecret, algorithm: EmqxAlgorithm | None) -> bool:
    """Tell whether a secret already has the form that an operator asked for."""
    if algorithm is None or not is_hashed_here(algorithm):
        return secret.algo == ARGON2ID
    if algorithm.name == "pbkdf2":
        return secret.algo == PBKDF2 + EMQX_DIGESTS.get(algorithm.mac_fun, algorithm.mac_fun)
    return secret.algo == EMQX_DIGESTS.get(algorithm.name, algorithm.name)
