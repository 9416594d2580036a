"""JSON Web Tokens (RFC 7515, RFC 7519) taken apart: compact form, bounded, nothing believed before it is verified."""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

MAX_TOKEN_BYTES = 16_384
"""A longer one is no token here."""
MAX_TRIED = 16
"""Keys that are tried on one token which does not name its own."""
_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TIMES = ("exp", "nbf", "iat")


class Key(Protocol):
    """What verifies a signature."""

    @property
    def id(self) -> str | None:
        """The name that a token may choose it by."""
        ...

    def verifies(self, algorithm: str, data: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's."""
        ...


class BadClaim(Exception):
    """Say why a token that is genuine is not accepted; for the log."""


@dataclass(frozen=True, slots=True)
class Token:
    """Hold a token in parts; nothing of it is proved yet."""

    algorithm: str
    key_id: str | None
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    def is_signed_by(self, keys: Iterable[Key]) -> bool:
        """Tell whether one of the keys has signed it; of those that it names, where it names one that is there."""
        known = list(keys)
        named = [key for key in known if key.id is not None and key.id == self.key_id]
        # A name that is not among them may be that of a key which has none of its own in the set.
        candidates = named or [key for key in known if self.key_id is None or key.id is None]
        return any(key.verifies(self.algorithm, self.signed, self.signature) for key in candidates[:MAX_TRIED])

    def claims(self) -> Mapping[str, Any]:
        """Read the payload; raise BadClaim where it is not a JSON object."""
        claims = _json_object(self.payload)
        if claims is None:
            raise BadClaim("the payload is not a JSON object")
        return claims


def read_token(data: bytes) -> Token | None:
    """Take a token apart; None for what is none."""
    if len(data) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(data):
        return None
    signed, _, last = data.rpartition(b".")
    head, _, body = signed.partition(b".")
    parts = [_unbase64(part) for part in (head, body, last)]
    if None in parts:
        return None
    header, payload, signature = cast("list[bytes]", parts)
    fields = _json_object(header)
    if fields is None or "crit" in fields or fields.get("b64") is False:  # extensions that would have to be understood
        return None
    algorithm, key_id = fields.get("alg"), fields.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        return None
    return Token(algorithm, key_id, signed, signature, payload)


def check_times(claims: Mapping[str, Any], now: float) -> float | None:
    """Return when a token ends, None for never; raise BadClaim where it has ended or has not begun."""
    times = {name: _time(claims[name], name) for name in _TIMES if claims.get(name) is not None}
    if times.get("exp", math.inf) <= now:
        raise BadClaim("the token has expired")
    if times.get("nbf", -math.inf) > now:
        raise BadClaim("the token is not valid yet")
    if times.get("iat", -math.inf) > now:
        raise BadClaim("the token was issued in the future")
    return times.get("exp")


def _time(value: object, name: str) -> float:
    """Take a number, also one in quotation marks as EMQX does."""
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = float(value)
        except ValueError:
            raise BadClaim(f"the claim {name} is not a time") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadClaim(f"the claim {name} is not a time")
    try:
        seconds = float(value)
    except OverflowError:
        raise BadClaim(f"the claim {name} is not a time") from None
    if not math.isfinite(seconds):
        raise BadClaim(f"the claim {name} is not a time")
    return seconds


def _json_object(data: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(data.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    """Keep NaN and Infinity out, which are not JSON."""
    raise ValueError(constant)


def _unbase64(part: bytes) -> bytes | None:
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        return None
    # The same bytes may be written in several ways; only one of them is right.
    return decoded if base64.urlsafe_b64encode(decoded).rstrip(b"=") == part else None
