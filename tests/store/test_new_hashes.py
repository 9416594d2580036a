"""New passwords in EMQX's forms: made, verified, and read as EMQX writes them."""

import hashlib

import pytest
from wardenmq.store.credentials.new_hashes import check_algorithm, hash_as, is_kept_as
from wardenmq.store.credentials.password_formats import EmqxAlgorithm, from_emqx
from wardenmq.store.credentials.stored_secrets import StoredSecret
from wardenmq.store.credentials.verification import verify
from wardenmq.store.errors import Invalid

ALGORITHMS = [
    *[
        EmqxAlgorithm(name=name, salt_position=position)
        for name in ("md5", "sha", "sha256", "sha512")
        for position in ("disable", "prefix", "suffix")
    ],
    EmqxAlgorithm(name="bcrypt", salt_rounds=5),
    *[
        EmqxAlgorithm(name="pbkdf2", mac_fun=mac, iterations=3)
        for mac in ("md5", "sha", "sha224", "sha256", "sha384", "sha512")
    ],
    EmqxAlgorithm(name="pbkdf2", mac_fun="sha256", iterations=2, dk_length=50),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_what_is_made_is_verified_and_differs_each_time(algorithm: EmqxAlgorithm) -> None:
    assert check_algorithm(algorithm) is algorithm
    secret = hash_as(b"password", algorithm)
    assert verify(secret, b"password")
    assert not verify(secret, b"Password")
    assert is_kept_as(secret, algorithm)
    salted = algorithm.salt_position != "disable"
    assert (hash_as(b"password", algorithm) != secret) is salted


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_it_is_what_emqx_would_have_stored(algorithm: EmqxAlgorithm) -> None:
    secret = hash_as(b"password", algorithm)
    text = secret.secret_hash.decode() if algorithm.name == "bcrypt" else secret.secret_hash.hex()
    assert from_emqx(text, secret.salt.decode(), algorithm) == secret


def test_the_salt_is_hashed_as_the_text_it_is() -> None:
    secret = hash_as(b"password", EmqxAlgorithm(name="sha256", salt_position="suffix"))
    assert len(secret.salt) == 32
    assert int(secret.salt, 16) >= 0
    assert secret.secret_hash == hashlib.sha256(b"password" + secret.salt).digest()


@pytest.mark.parametrize(
    "algorithm",
    [
        EmqxAlgorithm(name="sha3"),  # type: ignore[arg-type]
        EmqxAlgorithm(salt_position="middle"),  # type: ignore[arg-type]
        EmqxAlgorithm(name="bcrypt", salt_rounds=4),
        EmqxAlgorithm(name="bcrypt", salt_rounds=11),
        EmqxAlgorithm(name="pbkdf2", mac_fun="md4", iterations=1),
        EmqxAlgorithm(name="pbkdf2", mac_fun="sha256", iterations=0),
        EmqxAlgorithm(name="pbkdf2", mac_fun="sha256", iterations=1, dk_length=7),
        EmqxAlgorithm(name="pbkdf2", mac_fun="sha256", iterations=10_000_000, dk_length=33),
    ],
    ids=str,
)
def test_algorithms_that_are_not_taken(algorithm: EmqxAlgorithm) -> None:
    with pytest.raises(Invalid):
        check_algorithm(algorithm)


def test_bcrypt_takes_long_passwords_and_no_zero_bytes() -> None:
    secret = hash_as(b"x" * 100, EmqxAlgorithm(name="bcrypt", salt_rounds=5))
    assert verify(secret, b"x" * 100)
    with pytest.raises(Invalid):
        hash_as(b"a\0b", EmqxAlgorithm(name="bcrypt", salt_rounds=5))


def test_the_form_of_others() -> None:
    secret = StoredSecret("sha512", b"x" * 64)
    assert not is_kept_as(secret, EmqxAlgorithm(name="sha256"))
    assert not is_kept_as(secret, None)
    assert is_kept_as(StoredSecret("argon2id", b""), EmqxAlgorithm(name="plain"))
