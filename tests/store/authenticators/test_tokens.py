"""Tokens, taken apart and verified: the right ones, and all that pretends."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.authenticators.signing_keys import (
    MAX_KEYS,
    VerificationKey,
    read_key_set,
    read_pem,
    read_secret,
)
from wardenmq.store.authenticators.tokens import (
    MAX_TOKEN_BYTES,
    BadClaim,
    Token,
    check_times,
    read_token,
)
from wardenmq.store.errors import Invalid

from .signing import SECRET, by_hand, ec_key, ed_key, encoded, jwk, pem, rsa_key, signed

CLAIMS = {"sub": "device", "n": 1}
HMAC = read_secret(SECRET, is_base64=False)


def genuine(data: bytes, *keys: VerificationKey) -> bool:
    token = read_token(data)
    return token is not None and token.is_signed_by(keys)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_shared_secrets(algorithm: str) -> None:
    data = signed(CLAIMS, SECRET, algorithm)
    assert genuine(data, HMAC)
    assert not genuine(data, read_secret("another secret", is_base64=False))
    token = read_token(data)
    assert token is not None
    assert token.claims() == CLAIMS


def test_a_secret_in_base64() -> None:
    key = read_secret("AAECAwQFBgcICQ==", is_base64=True)
    assert genuine(by_hand({"alg": "HS256"}, b"{}", bytes(range(10))), key)
    assert not genuine(by_hand({"alg": "HS256"}, b"{}", "AAECAwQFBgcICQ=="), key)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_rsa(algorithm: str) -> None:
    data = signed(CLAIMS, rsa_key(), algorithm)
    assert genuine(data, read_pem(pem(rsa_key())))
    assert not genuine(data, read_pem(pem(rsa_key(1))))


@pytest.mark.parametrize(("curve", "algorithm"), [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")])
def test_elliptic_curves(curve: str, algorithm: str) -> None:
    data = signed(CLAIMS, ec_key(curve), algorithm)
    assert genuine(data, read_pem(pem(ec_key(curve))))
    for other in {"P-256", "P-384", "P-521"} - {curve}:
        assert not genuine(data, read_pem(pem(ec_key(other))))


def test_edwards_curves() -> None:
    assert genuine(signed(CLAIMS, ed_key(), "EdDSA"), read_pem(pem(ed_key())))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", "HS256 ", "hs256", "RS256", "ES256", "EdDSA", "HS1"])
@pytest.mark.parametrize("signature", [b"", b"x" * 32])
def test_an_hmac_key_takes_no_other_algorithm(name: str, signature: bytes) -> None:
    unsigned = b".".join((encoded(json.dumps({"alg": name}).encode()), encoded(b"{}"), encoded(signature)))
    assert not genuine(unsigned, HMAC)
    assert not genuine(by_hand({"alg": name}, b"{}"), HMAC)


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key()], ids=["rsa", "ec", "ed"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "none", "RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_secret(key: Any, algorithm: str) -> None:
    text = pem(key)
    for secret in (text, text.strip(), text.replace("\n", "")):
        assert not genuine(by_hand({"alg": algorithm}, b"{}", secret, "sha256"), read_pem(text))


def test_a_key_in_pem_is_no_secret_either() -> None:
    with pytest.raises(Invalid, match="public-key"):
        read_secret(pem(rsa_key()), is_base64=False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"password",
        b"a.b",
        b"..",
        b"a.b.c",
        b"a.b.c.d",
        signed(CLAIMS) + b".",
        signed(CLAIMS) + b"=",
        signed(CLAIMS) + b"\n",
        b" " + signed(CLAIMS),
        by_hand(b"[]", b"{}"),
        by_hand(b"{", b"{}"),
        by_hand(b"[" * 10_000, b"{}"),
        by_hand(b'{"alg": NaN}', b"{}"),
        by_hand({"alg": 1}, b"{}"),
        by_hand({"typ": "JWT"}, b"{}"),
        by_hand({"alg": "HS256", "kid": 1}, b"{}"),
        by_hand({"alg": "HS256", "crit": ["exp"]}, b"{}"),
        by_hand({"alg": "HS256", "b64": False}, b"{}"),
        by_hand({"alg": "HS256"}, b"x" * MAX_TOKEN_BYTES),
    ],
)
def test_what_is_no_token(data: bytes) -> None:
    assert read_token(data) is None


def test_a_changed_token_is_not_genuine() -> None:
    data = signed(CLAIMS)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] = ord("A") if data[position] != ord("A") else ord("B")
        assert not genuine(bytes(changed), HMAC)


@given(st.binary(max_size=200))
def test_nothing_breaks_the_reader(data: bytes) -> None:
    assert read_token(data) is None or isinstance(read_token(data), Token)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_nothing_in_a_signed_token_breaks_it(header: bytes, payload: bytes) -> None:
    token = read_token(by_hand(header or b"{}", payload or b"{}"))
    if token is not None:
        assert token.is_signed_by([HMAC]) is (token.algorithm == "HS256")


@pytest.mark.parametrize("payload", [b"[]", b"1", b"{", b"[" * 9_000, b'{"exp": Infinity}', b"\xff"])
def test_a_payload_that_is_no_object(payload: bytes) -> None:
    token = read_token(by_hand({"alg": "HS256"}, payload))
    assert token is not None
    with pytest.raises(BadClaim):
        token.claims()


@pytest.mark.parametrize(
    ("claims", "end"),
    [
        ({}, None),
        ({"exp": 101}, 101.0),
        ({"exp": 100.5}, 100.5),
        ({"exp": "101"}, 101.0),
        ({"exp": None}, None),
        ({"nbf": 100}, None),
        ({"iat": 100, "nbf": 1, "exp": 200}, 200.0),
    ],
)
def test_times_that_fit(claims: dict[str, Any], end: float | None) -> None:
    assert check_times(claims, 100.0) == end


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 100},
        {"exp": 99},
        {"exp": -1},
        {"nbf": 101},
        {"iat": 101},
        {"exp": "soon"},
        {"exp": True},
        {"exp": [101]},
        {"exp": {}},
        {"exp": "nan"},
        {"exp": "inf"},
        {"exp": 10**400},
        {"nbf": "x" * 1_000},
    ],
)
def test_times_that_do_not(claims: dict[str, Any]) -> None:
    with pytest.raises(BadClaim):
        check_times(claims, 100.0)


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_key_set() -> None:
    keys = read_key_set(key_set(jwk(rsa_key(), kid="r"), jwk(ec_key(), kid="e", use="sig"), jwk(ed_key())))
    assert [key.id for key in keys] == ["r", "e", None]
    assert genuine(signed(CLAIMS, rsa_key(), "RS256", kid="r"), *keys)
    assert genuine(signed(CLAIMS, rsa_key(), "RS256"), *keys)
    assert genuine(signed(CLAIMS, ec_key(), "ES256", kid="e"), *keys)
    assert genuine(signed(CLAIMS, ed_key(), "EdDSA", kid="unknown"), *keys)


@pytest.mark.parametrize("key_id", ["e", "nobody", "../../etc/passwd", "' OR 1=1 --", "r\0"])
def test_a_key_id_chooses_only_among_the_keys(key_id: str) -> None:
    keys = read_key_set(key_set(jwk(rsa_key(), kid="r"), jwk(ec_key(), kid="e")))
    assert not genuine(signed(CLAIMS, rsa_key(), "RS256", kid=key_id), *keys)


@pytest.mark.parametrize("field", ["jwk", "jku", "x5u", "x5c"])
def test_a_token_does_not_bring_its_own_key(field: str) -> None:
    value = jwk(rsa_key(1)) if field == "jwk" else "http://127.0.0.1:1/keys"
    data = signed(CLAIMS, rsa_key(1), "RS256", **{field: value})
    assert not genuine(data, read_pem(pem(rsa_key())))


def test_keys_are_used_for_what_they_are_for() -> None:
    usable = jwk(ed_key())
    for other in (
        jwk(rsa_key(), use="enc"),
        jwk(rsa_key(), key_ops=["encrypt"]),
        jwk(rsa_key(), alg="HS256"),
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        jwk(ec_key("k1")),
        {"kty": "EC"},
        {},
        "key",
        None,
    ):
        assert len(read_key_set(key_set(other, usable))) == 1
        with pytest.raises(Invalid):
            read_key_set(key_set(other))
    (only,) = read_key_set(key_set(jwk(rsa_key(), alg="RS512")))
    assert genuine(signed(CLAIMS, rsa_key(), "RS512"), only)
    assert not genuine(signed(CLAIMS, rsa_key(), "RS256"), only)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b"[" * 9_000, key_set(*[{}] * (MAX_KEYS + 1))]
)
def test_key_sets_that_are_none(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_key_set(data)


@pytest.mark.parametrize("text", ["", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "\ud800"])
def test_pem_that_is_none(text: str) -> None:
    with pytest.raises(Invalid):
        read_pem(text)


def test_a_private_key_is_not_taken() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    text = ed_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(Invalid, match="private"):
        read_pem(text)
