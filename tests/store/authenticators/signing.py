"""Sign tokens for tests, rightly and in every wrong way."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a secret that is long enough for every HMAC there is, " + "x" * 32


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@cache
def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "k1": ec.SECP256K1()}
    return ec.generate_private_key(curves[curve])


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    """Give the public half of a private key as PEM."""
    data = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


def jwk(key: Any, **fields: object) -> dict[str, Any]:
    """Give the public half of a private key as JWK."""
    public = key.public_key()
    kinds = {
        rsa.RSAPublicKey: RSAAlgorithm,
        ec.EllipticCurvePublicKey: ECAlgorithm,
        ed25519.Ed25519PublicKey: OKPAlgorithm,
    }
    for kind, algorithm in kinds.items():
        if isinstance(public, kind):
            return {**cast("dict[str, Any]", json.loads(cast("Any", algorithm).to_jwk(public))), **fields}
    raise TypeError(type(public))


def signed(claims: Mapping[str, Any] | bytes, key: Any = SECRET, algorithm: str = "HS256", **header: object) -> bytes:
    """Sign claims, or bytes that pretend to be some."""
    if isinstance(claims, bytes) or algorithm.startswith("HS"):
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return by_hand({"alg": algorithm, "typ": "JWT", **header}, payload, key)
    return jwt.encode(dict(claims), key, algorithm=algorithm, headers=dict(header)).encode()


def by_hand(header: Mapping[str, object] | bytes, payload: bytes, key: str | bytes = SECRET, digest: str = "") -> bytes:
    """Put a token together whose signature is an HMAC, whatever its header says."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    algorithm = "" if isinstance(header, bytes) else str(header.get("alg"))
    name = digest or {"HS384": "sha384", "HS512": "sha512"}.get(algorithm, "sha256")
    data = encoded(head) + b"." + encoded(payload)
    secret = key.encode() if isinstance(key, str) else key
    return data + b"." + encoded(hmac.new(secret, data, getattr(hashlib, name)).digest())


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
