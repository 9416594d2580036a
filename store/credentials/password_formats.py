"""Password hashes of other programs, read into stored secrets.

Which program wrote a hash has to be known: `$6$` alone may be Mosquitto's salted SHA-512 or the crypt of Unix. Whatever
could not be verified, or only at a cost that would hold up others, is refused here and not at somebody's login. No
sentence of a refusal holds a part of the hash.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import Invalid
from .scram_cost import MAX_ITERATIONS
from .stored_secrets import ARGON2_VARIANTS, PLAIN, SHA256, SHA256_TOKEN, StoredSecret, encode_secret
from .verification import BCRYPT, DIGESTS, PBKDF2, PBKDF2_DIGESTS, SCRYPT, SHA256_CRYPT, SHA512_CRYPT

MAX_HASH_LENGTH = 4_096
MAX_SALT_BYTES = 1_024
MIN_KEY_BYTES = 8
"""A shorter key would fit passwords that somebody comes upon by trying."""
MAX_KEY_BYTES = 1_024

MAX_ARGON2_MEMORY_KIB = 262_144
MAX_ARGON2_WORK_KIB = 4 * MAX_ARGON2_MEMORY_KIB
"""Memory times passes: about two seconds."""
MAX_ARGON2_LANES = 16
MAX_BCRYPT_COST = 15
MAX_PBKDF2_ITERATIONS = 10_000_000
"""For all blocks of the key together."""
MAX_SCRYPT_MEMORY = 1 << 28
MAX_SCRYPT_WORK = 1 << 28
MIN_CRYPT_ROUNDS = 1_000
MAX_CRYPT_ROUNDS = 1_000_000

_MOSQUITTO_KEY_BYTES = 64
_MOSQUITTO_DIGEST = "sha512"
_DIGEST_SIZES = {"md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}
EMQX_DIGESTS = {"sha": "sha1"}
"""What EMQX calls otherwise than Python."""

_NUMBER = "([1-9][0-9]{0,9})"
_B64 = "([A-Za-z0-9+/]+)"
_AB64 = "([A-Za-z0-9./]+)"
_ARGON2 = re.compile(rf"\$(argon2(?:id|i|d))\$(?:v=(?:16|19)\$)?m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_B64}\${_B64}")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[A-Za-z0-9./]{21}[.Oeu][A-Za-z0-9./]{31}")
_PBKDF2 = re.compile(rf"\$pbkdf2(?:-(sha256|sha512))?\${_NUMBER}\$([A-Za-z0-9./]*)\${_AB64}")
_SCRYPT = re.compile(rf"\$scrypt\$ln={_NUMBER},r={_NUMBER},p={_NUMBER}\$([A-Za-z0-9+/]*)\${_B64}")
_CRYPT = re.compile(r"\$([56])\$(?:rounds=([1-9][0-9]{0,9})\$)?[A-Za-z0-9./]{0,16}\$([A-Za-z0-9./]+)")
_CRYPT_KINDS = {"5": (SHA256_CRYPT, 43), "6": (SHA512_CRYPT, 86)}
_MOSQUITTO = re.compile(rf"\$7\${_NUMBER}\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_MOSQUITTO_OLD = re.compile(r"\$6\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class EmqxAlgorithm:
    """Describe `password_hash_algorithm` of EMQX's built-in database, which its exported users do not tell."""

    name: Literal["plain", "md5", "sha", "sha256", "sha512", "bcrypt", "pbkdf2"] = "sha256"
    salt_position: Literal["disable", "prefix", "suffix"] = "prefix"
    mac_fun: str = "sha256"
    """Of pbkdf2, like what follows."""
    iterations: int = 0
    dk_length: int | None = None
    salt_rounds: int = 10
    """Of bcrypt, for new passwords."""


def from_plain(password: str) -> StoredSecret:
    """Read a password that is no hash; it has to be hashed before it can be stored."""
    return StoredSecret(PLAIN, encode_secret(password))


def from_mosquitto(text: str) -> StoredSecret:
    """Read what stands behind the name in Mosquitto's password file."""
    _check_length(text)
    if match := _MOSQUITTO.fullmatch(text):
        return _mosquitto_pbkdf2(_base64(match[2]), _base64(match[3]), int(match[1]))
    if match := _MOSQUITTO_OLD.fullmatch(text):
        salt, key = _base64(match[1]), _base64(match[2])
        if len(key) == _MOSQUITTO_KEY_BYTES:
            return _digested(_MOSQUITTO_DIGEST, key, salt, "suffix")
    if text.startswith("$argon2id$"):
        return _argon2(text)
    raise Invalid("The hash is not one of Mosquitto's: $7$, $6$ or $argon2id$.")


def from_dynsec(client: Mapping[str, object]) -> StoredSecret | None:
    """Read the password of a client in `dynamic-security.json`; None where it has none and so cannot log in."""
    fields = {key.lower(): value for key, value in reversed([*client.items()])}
    encoded = fields.get("encoded_password")
    if encoded is not None:
        if not isinstance(encoded, str):
            raise Invalid("encoded_password must be text.")
        return from_mosquitto(encoded)
    key, salt, iterations = (fields.get(name) for name in ("password", "salt", "iterations"))
    if key is None and salt is None:
        return None
    if not isinstance(key, str) or not isinstance(salt, str):
        raise Invalid("password and salt must both be there, as text.")
    if not isinstance(iterations, int) or isinstance(iterations, bool):
        raise Invalid("iterations must be an integer.")
    _check_length(key)
    _check_length(salt)
    return _mosquitto_pbkdf2(_base64(salt), _base64(key), iterations)


def from_emqx(password_hash: str, salt: str, algorithm: EmqxAlgorithm) -> StoredSecret:
    """Read a user of EMQX's built-in database: digests are hexadecimal, and the salt is hashed as the text it is."""
    _check_length(password_hash)
    _check_length(salt)
    if algorithm.name == "plain":
        return from_plain(_without_salt(password_hash, salt, algorithm.salt_position))
    if algorithm.name == "bcrypt":
        return _bcrypt(password_hash)
    try:
        salted_with = salt.encode()
    except UnicodeEncodeError:
        raise Invalid("The salt must not contain surrogates.") from None
    if not _HEX.fullmatch(password_hash):
        raise Invalid("The hash is not hexadecimal.")
    key = bytes.fromhex(password_hash)
    if algorithm.name == "pbkdf2":
        if algorithm.dk_length is not None and len(key) != algorithm.dk_length:
            raise Invalid("The hash has another length than dk_length.")
        mac = EMQX_DIGESTS.get(algorithm.mac_fun, algorithm.mac_fun)
        return _pbkdf2(mac, key, salted_with, algorithm.iterations)
    digest = EMQX_DIGESTS.get(algorithm.name, algorithm.name)
    if algorithm.salt_position == "disable":
        return _digested(digest, key, b"", "prefix")
    return _digested(digest, key, salted_with, algorithm.salt_position)


def from_modular(text: str) -> StoredSecret:
    """Read a hash in modular crypt format, as passlib, htpasswd and Unix write it: its prefix tells what it is."""
    _check_length(text)
    if text.startswith("$argon2"):
        return _argon2(text)
    if text.startswith("$2"):
        return _bcrypt(text)
    if match := _PBKDF2.fullmatch(text):
        return _pbkdf2(match[1] or "sha1", _adapted_base64(match[4]), _adapted_base64(match[3]), int(match[2]))
    if match := _SCRYPT.fullmatch(text):
        ln, r, p = (int(number) for number in match.group(1, 2, 3))
        return _scrypt(_unpadded(match[5]), _unpadded(match[4]), ln, r, p)
    if match := _CRYPT.fullmatch(text):
        algo, length = _CRYPT_KINDS[match[1]]
        if len(match[3]) == length:
            rounds = int(match[2] or MIN_CRYPT_ROUNDS)
            if rounds < MIN_CRYPT_ROUNDS:
                raise Invalid(f"The hash must have at least {MIN_CRYPT_ROUNDS} rounds.")
            _check_cost(rounds, MAX_CRYPT_ROUNDS, "rounds")
            return StoredSecret(algo, text.encode())
    raise Invalid("The hash is none of $argon2, $2b$, $pbkdf2, $scrypt$, $5$ and $6$, or it is damaged.")


def check_stored(secret: StoredSecret) -> StoredSecret:
    """Return a password's hash that was stored elsewhere as it is stored here."""
    algo, key, salt, parameters = secret.algo, secret.secret_hash, secret.salt, secret.parameters
    if algo in (*ARGON2_VARIANTS, BCRYPT, SHA256_CRYPT, SHA512_CRYPT):
        made = from_modular(key.decode("ascii", "replace"))
    elif algo in DIGESTS:
        position = parameters.get("salt_position", "prefix")
        if position not in ("prefix", "suffix"):
            raise Invalid("The salt must stand before or behind the password.")
        made = _digested(algo, key, salt, str(position))
    elif algo.startswith(PBKDF2):
        made = _pbkdf2(algo.removeprefix(PBKDF2), key, salt, _whole(parameters, "iterations"))
    elif algo == SCRYPT:
        made = _scrypt(key, salt, *(_whole(parameters, name) for name in ("ln", "r", "p")))
    else:
        raise Invalid("The hash is of a kind that is not known here.")
    if made.algo != algo:
        raise Invalid("The hash is of another kind than it is said to be.")
    scram = secret.scram
    return replace(made, scram=scram if scram is not None and scram.iterations <= MAX_ITERATIONS else None)


def check_api_secret(secret: StoredSecret) -> StoredSecret:
    """Return the digest of an API key's secret that was stored elsewhere as it is stored here."""
    if secret.algo not in (SHA256, SHA256_TOKEN) or len(secret.secret_hash) != _DIGEST_SIZES[SHA256]:
        raise Invalid("The hash is not one of an API key.")
    _check_sizes(secret.secret_hash, secret.salt)
    return StoredSecret(secret.algo, secret.secret_hash, secret.salt)


def _whole(parameters: Mapping[str, int | str], name: str) -> int:
    value = parameters.get(name)
    if type(value) is not int or value < 1:
        raise Invalid(f"The hash must name its {name} as a number.")
    return value


def _argon2(text: str) -> StoredSecret:
    match = _ARGON2.fullmatch(text)
    if match is None:
        raise Invalid("The argon2 hash is damaged.")
    memory, passes, lanes = (int(number) for number in match.group(2, 3, 4))
    _check_cost(memory, MAX_ARGON2_MEMORY_KIB, "KiB of memory")
    _check_cost(memory * passes, MAX_ARGON2_WORK_KIB, "KiB of memory times passes")
    _check_cost(lanes, MAX_ARGON2_LANES, "lanes")
    if memory < 8 * lanes:
        raise Invalid("The argon2 hash has less memory than its lanes need.")
    _check_sizes(_unpadded(match[6]), _unpadded(match[5]), least_salt=8)
    return StoredSecret(match[1], text.encode())


def _bcrypt(text: str) -> StoredSecret:
    match = _BCRYPT.fullmatch(text)
    if match is None or int(match[1]) < 4:
        raise Invalid("The bcrypt hash is damaged, or of another kind than $2a$, $2b$ and $2y$.")
    _check_cost(int(match[1]), MAX_BCRYPT_COST, "as the cost")
    return StoredSecret(BCRYPT, text.encode())


def _mosquitto_pbkdf2(salt: bytes, key: bytes, iterations: int) -> StoredSecret:
    if len(key) != _MOSQUITTO_KEY_BYTES or not salt:
        raise Invalid(f"The hash must have {_MOSQUITTO_KEY_BYTES} bytes, and a salt.")
    return _pbkdf2(_MOSQUITTO_DIGEST, key, salt, iterations)


def _pbkdf2(digest: str, key: bytes, salt: bytes, iterations: int) -> StoredSecret:
    if digest not in PBKDF2_DIGESTS:
        raise Invalid(f"PBKDF2 is verified with {', '.join(PBKDF2_DIGESTS)} only.")
    if iterations < 1:
        raise Invalid("There must be at least one iteration.")
    _check_sizes(key, salt)
    blocks = -(-len(key) // _DIGEST_SIZES[digest])
    _check_cost(iterations * blocks, MAX_PBKDF2_ITERATIONS, "iterations")
    return StoredSecret(PBKDF2 + digest, key, salt, parameters={"iterations": iterations})


def _scrypt(key: bytes, salt: bytes, ln: int, r: int, p: int) -> StoredSecret:
    _check_sizes(key, salt)
    _check_cost(ln, MAX_SCRYPT_MEMORY.bit_length(), "as ln")
    _check_cost(128 * r << ln, MAX_SCRYPT_MEMORY, "bytes of memory")
    if ln >= 16 * r:
        raise Invalid("The scrypt hash has a larger ln than its r allows.")
    _check_cost((128 * r << ln) * p, MAX_SCRYPT_WORK, "bytes of memory times lanes")
    return StoredSecret(SCRYPT, key, salt, parameters={"ln": ln, "r": r, "p": p})


def _digested(digest: str, key: bytes, salt: bytes, salt_position: str) -> StoredSecret:
    if digest not in DIGESTS:
        raise Invalid(f"Digests are verified of {', '.join(DIGESTS)} only.")
    if len(key) != _DIGEST_SIZES[digest]:
        raise Invalid(f"The hash must have the {_DIGEST_SIZES[digest]} bytes of {digest}.")
    _check_sizes(key, salt)
    return StoredSecret(digest, key, salt, parameters={"salt_position": salt_position})


def _without_salt(password: str, salt: str, position: str) -> str:
    """Return a password without the salt that EMQX has put before or behind it."""
    if position == "disable" or not salt:
        return password
    if position == "prefix" and password.startswith(salt):
        return password.removeprefix(salt)
    if position == "suffix" and password.endswith(salt):
        return password.removesuffix(salt)
    raise Invalid("The password does not hold its salt.")


def _check_length(text: str) -> None:
    if len(text) > MAX_HASH_LENGTH:
        raise Invalid(f"The hash must not be longer than {MAX_HASH_LENGTH} characters.")


def _check_sizes(key: bytes, salt: bytes, *, least_salt: int = 0) -> None:
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise Invalid(f"The hash must have {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes.")
    if not least_salt <= len(salt) <= MAX_SALT_BYTES:
        raise Invalid(f"The salt must have {least_salt} to {MAX_SALT_BYTES} bytes.")


def _check_cost(cost: int, most: int, what: str) -> None:
    if cost > most:
        raise Invalid(f"The hash costs too much to verify: there may be at most {most} {what}.")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Hash and salt must be base64.") from None


def _unpadded(text: str) -> bytes:
    data = _base64(text + "=" * (-len(text) % 4))
    if base64.b64encode(data).decode().rstrip("=") != text:
        # Bits behind the last byte, which those who verify argon2 would refuse.
        raise Invalid("Hash and salt must be base64.")
    return data


def _adapted_base64(text: str) -> bytes:
    """Decode passlib's base64, which has a full stop for the plus sign and no padding."""
    return _unpadded(text.replace(".", "+"))
