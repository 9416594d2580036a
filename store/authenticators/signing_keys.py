"""Keys that tokens are verified with. What a key is for is said by the key: a token's header only chooses among that.

So an HMAC secret never verifies an RSA signature, a public key is never taken for an HMAC secret, and `none` verifies
nothing. PyJWT supplies the primitives; this module is imported when the first such authenticator is set up.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm
from jwt.exceptions import PyJWTError

from ..errors import Invalid

MAX_KEYS = 100
"""Keys of one set."""
MAX_SET_BYTES = 512 * 1024
MIN_RSA_BITS = 2_048
MAX_RSA_BITS = 8_192
"""A larger key takes the event loop too long."""
_MAX_EXPONENT_BITS = 33
"""The usual exponents have 2 and 17 bits; a long one makes a signature dear to verify."""


class _Verifier(Protocol):
    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool: ...


_HMAC: Mapping[str, _Verifier] = {
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
    "HS384": HMACAlgorithm(HMACAlgorithm.SHA384),
    "HS512": HMACAlgorithm(HMACAlgorithm.SHA512),
}
_RSA: Mapping[str, _Verifier] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
    "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "PS384": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384),
    "PS512": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512),
}
_EDDSA: Mapping[str, _Verifier] = {"EdDSA": OKPAlgorithm()}
_CURVES: Sequence[tuple[type[Any], Mapping[str, _Verifier]]] = (
    (SECP256R1, {"ES256": ECAlgorithm(ECAlgorithm.SHA256)}),
    (SECP384R1, {"ES384": ECAlgorithm(ECAlgorithm.SHA384)}),
    (SECP521R1, {"ES512": ECAlgorithm(ECAlgorithm.SHA512)}),
)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """Pair a key with the only algorithms it may be used with."""

    key: object = field(repr=False)
    algorithms: Mapping[str, object] = field(repr=False)
    id: str | None = None

    def verifies(self, algorithm: str, data: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's; False for an algorithm that is not the key's."""
        verifier = cast("_Verifier | None", self.algorithms.get(algorithm))
        if verifier is None:
            return False
        try:
            return verifier.verify(data, self.key, signature)
        except (PyJWTError, ValueError, TypeError):
            return False


def read_secret(secret: str, *, is_base64: bool) -> VerificationKey:
    """Take an HMAC secret; raise Invalid."""
    key = secret.encode()
    if is_base64:
        try:
            key = base64.b64decode(secret.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("The secret is not base64.") from None
    if not key:
        raise Invalid("The secret is empty.")
    if b"-----BEGIN " in key:
        raise Invalid("The secret is a key in PEM; algorithm must be public-key for it.")
    return VerificationKey(key, _HMAC)


def read_pem(text: str) -> VerificationKey:
    """Take a public key, or that of a certificate, in PEM; raise Invalid."""
    data = text.strip().encode(errors="replace")
    if b"PRIVATE KEY-----" in data:
        raise Invalid("This is a private key; only the public one is needed, and wanted, here.")
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return _of_public_key(load_pem_x509_certificate(data).public_key())
        return _of_public_key(load_pem_public_key(data))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Invalid("The public key is neither a key nor a certificate in PEM.") from None


def read_key_set(data: bytes) -> tuple[VerificationKey, ...]:
    """Take the keys of a JSON Web Key Set that signatures can be verified with; raise Invalid where there is none.

    Keys of other kinds are passed over, symmetric ones among them: whoever can read the set could sign with those.
    """
    if len(data) > MAX_SET_BYTES:
        raise Invalid(f"The key set is larger than {MAX_SET_BYTES} bytes.")
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError):
        raise Invalid("The key set is not JSON.") from None
    items = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise Invalid("The key set has no array 'keys'.")
    listed = cast("list[object]", items)
    if len(listed) > MAX_KEYS:
        raise Invalid(f"The key set has more than {MAX_KEYS} keys.")
    keys = [key for item in listed if (key := _of_jwk(item)) is not None]
    if not keys:
        raise Invalid("The key set has no key that signatures could be verified with.")
    return tuple(keys)


def _of_jwk(item: object) -> VerificationKey | None:
    if not isinstance(item, dict):
        return None
    jwk = cast("dict[str, Any]", item)
    operations = jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    # Without the private part, should somebody have published it.
    public = {name: value for name, value in jwk.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        if jwk.get("kty") == "RSA":
            key = _of_public_key(RSAAlgorithm.from_jwk(public))
        elif jwk.get("kty") == "EC":
            key = _of_public_key(ECAlgorithm.from_jwk(public))
        elif jwk.get("kty") == "OKP":
            key = _of_public_key(OKPAlgorithm.from_jwk(public))
        else:
            return None
    except (PyJWTError, Invalid, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        return None
    algorithm, key_id = jwk.get("alg"), jwk.get("kid")
    algorithms = key.algorithms
    if algorithm is not None:
        if algorithm not in algorithms:
            return None
        algorithms = {algorithm: algorithms[algorithm]}
    return VerificationKey(key.key, algorithms, key_id if isinstance(key_id, str) else None)


def _of_public_key(key: object) -> VerificationKey:
    if isinstance(key, RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise Invalid(f"An RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits.")
        if key.public_numbers().e.bit_length() > _MAX_EXPONENT_BITS:
            raise Invalid("The RSA key has too large an exponent.")
        return VerificationKey(key, _RSA)
    if isinstance(key, EllipticCurvePublicKey):
        for curve, algorithms in _CURVES:
            if isinstance(key.curve, curve):
                return VerificationKey(key, algorithms)
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return VerificationKey(key, _EDDSA)
    raise Invalid("The public key is of a kind that signs no tokens: it must be RSA, P-256, P-384, P-521 or EdDSA.")
