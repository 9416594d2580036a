"""SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677): keys, messages and proofs, without a word about logins.

The client proves that it knows the password without showing it, and the server that it holds the keys:

    client  n,,n=NAME,r=CLIENT                              the "bare" part begins after the header `n,,`
    server  r=CLIENT+SERVER,s=SALT,i=ITERATIONS
    client  c=biws,r=CLIENT+SERVER,p=PROOF                  c is the header again, base64
    server  v=SIGNATURE

Both sides sign the same text, the three messages up to the proof, with keys derived from the salted password.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Any

from ..errors import StoreError
from .saslprep import Unprepared, prepare

METHOD = "SCRAM-SHA-256"
MIN_ITERATIONS = 4_096
"""Fewest iterations that RFC 7677 allows."""

MAX_MESSAGE_BYTES = 4_096
_MAX_NONCE = 256
_SALT_BYTES = 16
_DIGEST_BYTES = 32

# Printable ASCII without the comma that separates attributes.
_NONCE = re.compile(rf"[!-+\--~]{{1,{_MAX_NONCE}}}")
_EXTENSION = re.compile(r"[A-Za-z]=[^\0]+")


class BadMessage(StoreError):
    """Say that a client's message is not one of SCRAM's, or one that this server must refuse."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """Hold what the server keeps of a password for SCRAM; nobody can log in with it alone."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def prepare_password(password: bytes) -> bytes | None:
    """Return the password as SCRAM takes it, None where it cannot be used with SCRAM."""
    try:
        return prepare(password.decode(), "stored").encode() or None
    except (UnicodeDecodeError, Unprepared):
        return None


def derive_keys(prepared: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """Derive the keys of a prepared password; takes long by intention and lets other threads run meanwhile."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramKeys(iterations, salt, _hash(client_key), hmac.digest(salted, b"Server Key", "sha256"))


def keys_to_fields(keys: ScramKeys) -> dict[str, int | str]:
    """Give the JSON object in which a credential keeps its keys."""
    fields: dict[str, int | str] = {"iterations": keys.iterations}
    for name in ("salt", "stored_key", "server_key"):
        fields[name] = base64.b64encode(getattr(keys, name)).decode()
    return fields


def keys_from_fields(fields: Any) -> ScramKeys | None:
    """Read the keys of a credential from what JSON gave; None where it has none that can be used."""
    try:
        salt, stored_key, server_key = (base64.b64decode(fields[name]) for name in ("salt", "stored_key", "server_key"))
        keys = ScramKeys(int(fields["iterations"]), salt, stored_key, server_key)
    except (ValueError, KeyError, TypeError):
        return None
    whole = salt and keys.iterations > 0 and len(stored_key) == len(server_key) == _DIGEST_BYTES
    return keys if whole else None


def keys_of_nobody(secret: bytes, name: str, iterations: int) -> ScramKeys:
    """Make up the keys of a name, always the same ones; no password fits them.

    Their salt is also the one that real keys of the name are derived with. So what a stranger is told of a name stays
    the same whether there is such a login, whether it gets a new password, and when it is deleted.
    """

    def pick(what: bytes) -> bytes:
        return hmac.digest(secret, what + b"\0" + name.encode(), "sha256")

    return ScramKeys(iterations, pick(b"salt")[:_SALT_BYTES], pick(b"stored key"), pick(b"server key"))


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """Hold the client's first message."""

    header: str
    """What says that there is no channel binding; to be repeated in the second message."""
    bare: str = field(repr=False)
    name: str
    """Prepared, never empty."""
    nonce: str = field(repr=False)


def parse_client_first(data: bytes) -> ClientFirst:
    """Read the client's first message; raise BadMessage."""
    text = _decode(data)
    flag, authorization, *_ = _split(text, 3)
    bare = text[len(flag) + len(authorization) + 2 :]
    # "y": the client could bind to the TLS channel and thinks that the server cannot, which is right.
    if flag not in ("n", "y"):
        raise BadMessage("channel binding is not supported" if flag.startswith("p=") else "the header is damaged")
    if bare.startswith("m="):
        raise BadMessage("a mandatory extension is not known")
    name_attribute, nonce, *extensions = _split(bare, 2)
    if not name_attribute.startswith("n=") or not nonce.startswith("r=") or not _NONCE.fullmatch(nonce[2:]):
        raise BadMessage("the first message is damaged")
    _check_extensions(extensions)
    name = _parse_name(name_attribute[2:])
    if authorization:
        if not authorization.startswith("a="):
            raise BadMessage("the header is damaged")
        if _parse_name(authorization[2:]) != name:
            raise BadMessage("acting for another name is not supported")
    return ClientFirst(f"{flag},{authorization},", bare, name, nonce[2:])


class Challenged:
    """Be one exchange after the client's first message: give the challenge and check the answer to it."""

    __slots__ = ("_first", "_keys", "_nonce", "challenge", "name")

    def __init__(self, first: ClientFirst, server_nonce: str, keys: ScramKeys) -> None:
        """Take a nonce of printable ASCII without comma that was never used before."""
        self.name = first.name
        self._first = first
        self._keys = keys
        self._nonce = first.nonce + server_nonce
        salt = base64.b64encode(keys.salt).decode()
        self.challenge = f"r={self._nonce},s={salt},i={keys.iterations}"

    def check(self, data: bytes) -> bytes | None:
        """Return the server's last message where the client's proof is right, None where it is wrong.

        Raises BadMessage where the message is none or belongs to another exchange.
        """
        final, proof = self._parse(_decode(data))
        signed = f"{self._first.bare},{self.challenge},{final}".encode()
        signature = hmac.digest(self._keys.stored_key, signed, "sha256")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        answer = hmac.digest(self._keys.server_key, signed, "sha256")
        if not hmac.compare_digest(_hash(client_key), self._keys.stored_key):
            return None
        return b"v=" + base64.b64encode(answer)

    def _parse(self, text: str) -> tuple[str, bytes]:
        """Return the part of the last message that is signed, and the proof."""
        binding, nonce, *extensions, proof_attribute = _split(text, 3)
        if not proof_attribute.startswith("p="):
            raise BadMessage("the last message is damaged")
        if binding != "c=" + base64.b64encode(self._first.header.encode()).decode():
            raise BadMessage("the last message has another header than the first")
        if not hmac.compare_digest(nonce.encode(), f"r={self._nonce}".encode()):
            raise BadMessage("the last message has another nonce")
        _check_extensions(extensions)
        try:
            proof = base64.b64decode(proof_attribute[2:], validate=True)
        except (binascii.Error, ValueError):
            raise BadMessage("the proof is damaged") from None
        if len(proof) != _DIGEST_BYTES:
            raise BadMessage("the proof is damaged")
        return text[: -len(proof_attribute) - 1], proof


def _decode(data: bytes) -> str:
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage("the message is too long")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadMessage("the message is not UTF-8") from None


def _split(text: str, least: int) -> list[str]:
    """Return the attributes, of which there must be at least so many."""
    attributes = text.split(",")
    if len(attributes) < least:
        raise BadMessage("the message is incomplete")
    return attributes


def _parse_name(text: str) -> str:
    """Return the prepared name of an attribute, in which `=2C` is a comma and `=3D` an equals sign."""
    if re.search("=(?!2C|3D)", text):
        raise BadMessage("the name is damaged")
    try:
        name = prepare(text.replace("=2C", ",").replace("=3D", "="), "query")
    except Unprepared as error:
        raise BadMessage(f"the name cannot be used: {error}") from None
    if not name:
        raise BadMessage("the name is empty")
    return name


def _check_extensions(extensions: list[str]) -> None:
    """Let optional extensions be: whoever does not know them ignores them."""
    if not all(_EXTENSION.fullmatch(extension) for extension in extensions):
        raise BadMessage("an extension is damaged")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
