"""Hashes of other programs: theirs as they publish them, and some made by independent implementations."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf import argon2 as openssl_argon2
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from hypothesis import given
from hypothesis import strategies as st
from passlib.crypto._blowfish import raw_bcrypt
from passlib.hash import argon2 as passlib_argon2
from passlib.hash import pbkdf2_sha1, pbkdf2_sha256, pbkdf2_sha512, scrypt, sha256_crypt, sha512_crypt
from wardenmq.store.credentials.password_formats import (
    MAX_HASH_LENGTH,
    EmqxAlgorithm,
    from_dynsec,
    from_emqx,
    from_modular,
    from_mosquitto,
    from_plain,
)
from wardenmq.store.credentials.passwords import Passwords
from wardenmq.store.credentials.stored_secrets import MAX_SECRET_BYTES, PLAIN, StoredSecret, load_secret
from wardenmq.store.credentials.verification import is_whole, verify
from wardenmq.store.errors import Invalid

from .scram_client import salt_password

PASSWORD = "correct horse"

# Mosquitto 2.0 and 2.1: PBKDF2-HMAC-SHA512.
TRIPLE_2_0 = (
    "AAECAwQFBgcICQoL",
    101,
    "lp0Cm29zl+CI/RXyXDKvLye7OxM3OuE6RMzgXTX/f3imS/pFh2Ur7yarLDpKRUKpB0tOj6l0UrRv41zqxmD4tg==",
)
TRIPLE_2_1 = (
    base64.b64encode(bytes(range(64))).decode(),
    1000,
    "53KiEygVzVVEVUVTe4h79yMtYp0OxxoKFip82vf7OCrEbcm4/E88oGkCyN0NhQ7fLOSBIpiITuELG/0ldDPFMQ==",
)


ONE_ITERATION = EmqxAlgorithm("pbkdf2", mac_fun="sha512", iterations=1)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    opened = Passwords()
    yield opened
    opened.close()


async def fits(passwords: Passwords, stored: StoredSecret, password: str | bytes) -> None:
    """Assert that this password is right and others are not, as read and as the database gives it back."""
    data = password.encode() if isinstance(password, str) else password
    again = load_secret(stored.algo, stored.secret_hash, stored.salt, stored.params)
    assert again == stored
    assert stored.slow
    assert stored.outdated
    assert await passwords.check("first", stored, data)
    assert await passwords.check("second", again, data)
    # The last one: bcrypt repeats its key, with a zero byte behind each copy.
    for wrong in (b"", data[:-1], data.swapcase(), data + b" ", b"\0" + data, data + b"\0" + data):
        assert not await passwords.check("first", stored, wrong)


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Mosquitto's password file


@pytest.mark.parametrize(("salt", "iterations", "key"), [TRIPLE_2_0, TRIPLE_2_1])
async def test_mosquitto_pbkdf2(passwords: Passwords, salt: str, iterations: int, key: str) -> None:
    stored = from_mosquitto(f"$7${iterations}${salt}${key}")
    assert stored.algo == "pbkdf2-sha512"
    await fits(passwords, stored, PASSWORD)


async def test_mosquitto_salted_digest(passwords: Passwords) -> None:
    salt = bytes(range(12))
    key = hashlib.sha512(PASSWORD.encode() + salt).digest()
    await fits(passwords, from_mosquitto(f"$6${encode(salt)}${encode(key)}"), PASSWORD)


async def test_mosquitto_argon2id(passwords: Passwords) -> None:
    kdf = openssl_argon2.Argon2id(salt=b"0" * 64, length=64, iterations=1, lanes=1, memory_cost=47_104)
    await fits(passwords, from_mosquitto(kdf.derive_phc_encoded(PASSWORD.encode())), PASSWORD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain text",
        PASSWORD,
        "$",
        "$7$",
        "$7$101$AAAA",
        f"$7$0${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}",
        f"$7$-1${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}",
        f"$7$1e3${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}",
        f"$7$٣${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}",
        f"$7$10000001${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}",
        f"$7$101$${TRIPLE_2_0[2]}",
        f"$7$101${TRIPLE_2_0[0]}$",
        f"$7$101${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}$",
        f"$7$101${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}\n",
        f"$7$101${TRIPLE_2_0[0]}${TRIPLE_2_0[2][:-1]}",
        f"$7$101${TRIPLE_2_0[0]}${TRIPLE_2_0[2][:40]}",
        f"$7$101$====${TRIPLE_2_0[2]}",
        f"$7$101$AAA${TRIPLE_2_0[2]}",
        f"$8$101${TRIPLE_2_0[0]}${TRIPLE_2_0[2]}",
        "$6$AAAA$" + "A" * 86,
        "$6$AAAA$" + encode(bytes(32)),
        "$6$" + encode(bytes(1_025)) + "$" + encode(bytes(64)),
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        "$argon2id$",
        "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$2b$04$" + "." * 53,
        "$7$101$" + "A" * MAX_HASH_LENGTH + "$AAAA",
    ],
)
def test_what_mosquitto_never_wrote_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        from_mosquitto(text)
    assert_silent(refusal.value, text)


# dynamic-security.json


@pytest.mark.parametrize(("salt", "iterations", "key"), [TRIPLE_2_0, TRIPLE_2_1])
async def test_dynamic_security_triple(passwords: Passwords, salt: str, iterations: int, key: str) -> None:
    stored = from_dynsec({"username": "alice", "Password": key, "SALT": salt, "iterations": iterations})
    assert stored is not None
    assert stored == from_mosquitto(f"$7${iterations}${salt}${key}")
    await fits(passwords, stored, PASSWORD)


async def test_dynamic_security_prefers_the_newer_field() -> None:
    salt, iterations, key = TRIPLE_2_1
    client: dict[str, object] = {"password": "?", "salt": "?", "encoded_password": f"$7${iterations}${salt}${key}"}
    stored = from_dynsec(client)
    assert stored is not None
    assert stored.parameters == {"iterations": 1000}
    # Of a key that is there twice, in another case, the first one counts.
    assert from_dynsec({"Encoded_Password": client["encoded_password"], "encoded_password": "?"}) == stored


@pytest.mark.parametrize("client", [{}, {"username": "alice"}, {"iterations": 101}, {"password": None, "salt": None}])
def test_a_dynamic_security_client_may_have_no_password(client: Mapping[str, object]) -> None:
    assert from_dynsec(client) is None


@pytest.mark.parametrize(
    "change",
    [
        {"password": None},
        {"password": 5},
        {"password": "?"},
        {"password": encode(bytes(63))},
        {"password": "A" * (MAX_HASH_LENGTH + 1)},
        {"salt": None},
        {"salt": ""},
        {"salt": []},
        {"salt": "A"},
        {"salt": encode(bytes(1_026))},
        {"salt": "A" * (MAX_HASH_LENGTH + 1)},
        {"iterations": None},
        {"iterations": "101"},
        {"iterations": True},
        {"iterations": 0},
        {"iterations": -5},
        {"iterations": 10**4_000},
        {"encoded_password": 7},
        {"encoded_password": ""},
        {"encoded_password": "$7$damaged"},
    ],
)
def test_a_damaged_triple_is_refused(change: Mapping[str, object]) -> None:
    salt, iterations, key = TRIPLE_2_0
    with pytest.raises(Invalid) as refusal:
        from_dynsec({"password": key, "salt": salt, "iterations": iterations, **change})
    assert_silent(refusal.value, key)


# EMQX


@pytest.mark.parametrize("name", ["md5", "sha", "sha256", "sha512"])
@pytest.mark.parametrize("salt_position", ["disable", "prefix", "suffix"])
async def test_emqx_digests(passwords: Passwords, name: Any, salt_position: Any) -> None:
    salt, password = "4b7f3f0e9b3ab9a4", PASSWORD
    salted = {"disable": password, "prefix": salt + password, "suffix": password + salt}[salt_position]
    key = hashlib.new("sha1" if name == "sha" else name, salted.encode()).hexdigest()
    algorithm = EmqxAlgorithm(name, salt_position)
    await fits(passwords, from_emqx(key, salt, algorithm), password)
    assert from_emqx(key.upper(), salt, algorithm) == from_emqx(key, salt, algorithm)


async def test_emqx_salts_with_the_salts_text(passwords: Passwords) -> None:
    """It looks like hexadecimal digits, but is none to EMQX, and may as well be empty or any text."""
    for salt in ("", "ff00", "grün"):
        key = hashlib.sha256((salt + PASSWORD).encode()).hexdigest()
        assert await passwords.check("id", from_emqx(key, salt, EmqxAlgorithm()), PASSWORD.encode())


@pytest.mark.parametrize("mac_fun", ["md5", "sha", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("length", [8, 20, 64, 100])
async def test_emqx_pbkdf2(passwords: Passwords, mac_fun: str, length: int) -> None:
    digest = {"md5": hashes.MD5, "sha": hashes.SHA1}.get(mac_fun) or getattr(hashes, mac_fun.upper())
    key = PBKDF2HMAC(digest(), length, b"a salt", 3).derive(PASSWORD.encode()).hex()
    for dk_length in (None, length):
        algorithm = EmqxAlgorithm("pbkdf2", mac_fun=mac_fun, iterations=3, dk_length=dk_length)
        stored = from_emqx(key, "a salt", algorithm)
        assert await passwords.check("id", stored, PASSWORD.encode())
        assert not await passwords.check("id", stored, b"another horse")


async def test_one_iteration_is_enough_for_the_standards_own_vectors(passwords: Passwords) -> None:
    for mac_fun, iterations, password, key in (
        # RFC 6070
        ("sha", 1, "password", "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
        ("sha", 4096, "password", "4b007901b765489abead49d926f721d065a429c1"),
        # RFC 7914
        ("sha256", 1, "passwd", "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
    ):
        stored = from_emqx(key, "salt", EmqxAlgorithm("pbkdf2", mac_fun=mac_fun, iterations=iterations))
        await fits(passwords, stored, password)


async def test_emqx_bcrypt_carries_its_own_salt(passwords: Passwords) -> None:
    text = "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"  # OpenBSD's test suite
    await fits(passwords, from_emqx(text, "$2a$06$If6bvum7DFjUnE9p2uDeDu", EmqxAlgorithm("bcrypt")), "abc")


@pytest.mark.parametrize(
    ("password_hash", "salt_position"), [("abc", "disable"), ("saltabc", "prefix"), ("abcsalt", "suffix")]
)
async def test_emqx_plain_is_a_password(passwords: Passwords, password_hash: str, salt_position: Any) -> None:
    stored = from_emqx(password_hash, "salt", EmqxAlgorithm("plain", salt_position))
    assert stored == from_plain("abc")
    hashed = await passwords.hash_plain(stored)
    assert not hashed.outdated
    assert await passwords.check("id", hashed, b"abc")


@pytest.mark.parametrize(
    ("password_hash", "algorithm"),
    [
        ("", EmqxAlgorithm()),
        ("00" * 31, EmqxAlgorithm()),
        ("00" * 32, EmqxAlgorithm("md5")),
        ("0" * 63, EmqxAlgorithm()),
        ("zz" * 32, EmqxAlgorithm()),
        ("00 " * 32, EmqxAlgorithm()),
        ("00" * 32, EmqxAlgorithm("pbkdf2")),
        ("00" * 32, EmqxAlgorithm("pbkdf2", iterations=-1)),
        ("00" * 32, EmqxAlgorithm("pbkdf2", iterations=1, dk_length=31)),
        ("00" * 32, EmqxAlgorithm("pbkdf2", iterations=10_000_001)),
        ("00" * 1_024, EmqxAlgorithm("pbkdf2", iterations=1_000_000)),
        ("00" * 1_025, EmqxAlgorithm("pbkdf2", iterations=1)),
        ("00" * 7, EmqxAlgorithm("pbkdf2", iterations=1)),
        ("00" * 32, EmqxAlgorithm("pbkdf2", iterations=1, mac_fun="md4")),
        ("00" * 32, EmqxAlgorithm("pbkdf2", iterations=1, mac_fun="ripemd160")),
        ("00" * 32, EmqxAlgorithm("pbkdf2", iterations=1, mac_fun="shake_128")),
        ("00" * 32, EmqxAlgorithm("bcrypt")),
        ("00" * (MAX_HASH_LENGTH // 2 + 1), EmqxAlgorithm()),
        ("secretsecret", EmqxAlgorithm("plain")),
        ("", EmqxAlgorithm("plain", "disable")),
        ("salt", EmqxAlgorithm("plain")),
    ],
)
def test_what_emqx_never_wrote_is_refused(password_hash: str, algorithm: EmqxAlgorithm) -> None:
    with pytest.raises(Invalid) as refusal:
        from_emqx(password_hash, "salt", algorithm)
    assert_silent(refusal.value, password_hash)


@pytest.mark.parametrize("salt", ["\ud800", "s" * 1_025, "s" * (MAX_HASH_LENGTH + 1)])
def test_a_salt_that_cannot_be_is_refused(salt: str) -> None:
    for algorithm in (EmqxAlgorithm(), EmqxAlgorithm("pbkdf2", iterations=1)):
        with pytest.raises(Invalid):
            from_emqx("00" * 32, salt, algorithm)


# Modular crypt format


@pytest.mark.parametrize("variant", ["Argon2id", "Argon2i", "Argon2d"])
async def test_argon2_by_another_implementation(passwords: Passwords, variant: str) -> None:
    kdf = getattr(openssl_argon2, variant)(salt=b"8 bytes!", length=24, iterations=2, lanes=4, memory_cost=64)
    await fits(passwords, from_modular(kdf.derive_phc_encoded(PASSWORD.encode())), PASSWORD)


@pytest.mark.parametrize("kind", ["2a", "2b", "2y"])
@pytest.mark.parametrize("password", ["x", "grün", "p" * 71, "p" * 72])
async def test_bcrypt_by_another_implementation(passwords: Passwords, kind: str, password: str) -> None:
    salt = "abcdefghijklmnopqrstuu"
    checksum = raw_bcrypt(password.encode(), kind, salt.encode(), 4).decode()
    stored = from_modular(f"${kind}$04${salt}{checksum}")
    assert await passwords.check("id", stored, password.encode())
    assert not await passwords.check("id", stored, password[:-1].encode() + b"?")


async def test_bcrypt_looks_at_72_bytes(passwords: Passwords) -> None:
    """Those who use it have long passwords too, and their programs cut them."""
    salt = "abcdefghijklmnopqrstuu"
    stored = from_modular(f"$2b$04${salt}{raw_bcrypt(b'p' * 72, '2b', salt.encode(), 4).decode()}")
    for password in (b"p" * 72, b"p" * 73, b"p" * 72 + b"anything"):
        assert await passwords.check("id", stored, password)
    assert not await passwords.check("id", stored, b"p" * 71)


@pytest.mark.parametrize("scheme", [pbkdf2_sha1, pbkdf2_sha256, pbkdf2_sha512])
@pytest.mark.parametrize("rounds", [1, 1_000])
async def test_pbkdf2_of_passlib(passwords: Passwords, scheme: Any, rounds: int) -> None:
    for salt_size in (0, 10, 64):
        text = scheme.using(rounds=rounds, salt_size=salt_size).hash(PASSWORD)
        assert await passwords.check("id", from_modular(text), PASSWORD.encode())
    await fits(passwords, from_modular(text), PASSWORD)


async def test_pbkdf2_as_the_standard_spells_it_out(passwords: Passwords) -> None:
    key = salt_password(PASSWORD, b"a salt!!", 7)
    text = f"$pbkdf2-sha256$7${encode(b'a salt!!').rstrip('=')}${encode(key).rstrip('=').replace('+', '.')}"
    await fits(passwords, from_modular(text), PASSWORD)


async def test_scrypt_of_passlib_and_by_another_implementation(passwords: Passwords) -> None:
    for salt_size in (0, 16, 64):
        text = scrypt.using(rounds=4, block_size=3, parallelism=2, salt_size=salt_size).hash(PASSWORD)
        await fits(passwords, from_modular(text), PASSWORD)
    key = Scrypt(b"NaCl", 32, 2**10, 8, 16).derive(b"password")
    assert key.hex().startswith("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162")  # RFC 7914
    text = f"$scrypt$ln=10,r=8,p=16${encode(b'NaCl').rstrip('=')}${encode(key).rstrip('=')}"
    await fits(passwords, from_modular(text), "password")


@pytest.mark.parametrize(
    "text",
    [
        "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
        "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs"
        "/y3RnOaw5v.",
    ],
)
async def test_the_crypt_of_unix(passwords: Passwords, text: str) -> None:
    """The inputs are the specification's; glibc and OpenSSL make these of them."""
    await fits(passwords, from_modular(text), "Hello world!")


async def test_the_crypt_of_passlib(passwords: Passwords) -> None:
    for scheme in (sha256_crypt, sha512_crypt):
        await fits(passwords, from_modular(scheme.using(rounds=1_000).hash(PASSWORD)), PASSWORD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "$1$salt$" + "a" * 22,
        "$apr1$salt$" + "a" * 22,
        "$2$04$" + "." * 53,
        "$2x$04$" + "." * 53,
        "$2b$03$" + "." * 53,
        "$2b$04$" + "a" * 53,
        "$2b$16$" + "." * 53,
        "$2b$04$" + "." * 52,
        "$2b$04$" + "." * 54,
        "$argon2$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=18$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=7,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=262144,t=5,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=65536,t=1,p=17$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$" + "A" * 43,
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHR$" + "A" * 43,
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 42 + "B",
        "$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA$c2FsdHNhbHQ$" + "A" * 43,
        "$pbkdf2-sha256$0$AAAA$" + "A" * 43,
        "$pbkdf2-sha256$10000001$AAAA$" + "A" * 43,
        "$pbkdf2-md4$1$AAAA$" + "A" * 43,
        "$pbkdf2-sha256$1$AAAA$AAAA",
        "$scrypt$ln=22,r=1,p=1$AAAA$" + "A" * 43,
        "$scrypt$ln=16,r=1,p=1$AAAA$" + "A" * 43,
        "$scrypt$ln=18,r=8,p=2$AAAA$" + "A" * 43,
        "$scrypt$ln=9999999999,r=1,p=1$AAAA$" + "A" * 43,
        "$scrypt$ln=4,r=9999999999,p=1$AAAA$" + "A" * 43,
        "$5$rounds=999$salt$" + "A" * 43,
        "$5$rounds=1000001$salt$" + "A" * 43,
        "$5$saltsaltsaltsaltsalt$" + "A" * 43,
        "$5$salt$" + "A" * 42,
        "$6$salt$" + "A" * 43,
        "$7$" + TRIPLE_2_0[0],
        "$2b$04$" + "a" * MAX_HASH_LENGTH,
    ],
)
def test_what_cannot_be_verified_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        from_modular(text)
    assert_silent(refusal.value, text)


# All of them


def test_whether_another_password_would_do_as_well() -> None:
    bcrypted = from_modular("$2b$04$" + "." * 53)
    derived = from_mosquitto("$7$101$AAECAwQFBgcICQoL$" + TRIPLE_2_0[2])
    argon2 = from_modular("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43)
    for stored in (bcrypted, derived, argon2):
        assert is_whole(stored, b"p" * 72)
        assert is_whole(stored, "grün".encode())
    assert not is_whole(bcrypted, b"p" * 73)
    # HMAC: a zero byte at the end, and the digest of a password that is longer than a block.
    assert not is_whole(derived, b"password\0")
    assert verify(
        from_emqx(hashlib.pbkdf2_hmac("sha512", b"p" * 200, b"", 1).hex(), "", ONE_ITERATION),
        hashlib.sha512(b"p" * 200).digest(),
    )
    assert not is_whole(derived, hashlib.sha512(b"p" * 200).digest())
    for password in (b"p" * 73, b"password\0", b"\xff"):
        assert is_whole(argon2, password)


@pytest.mark.parametrize("password", ["", "x" * (MAX_SECRET_BYTES + 1), "\ud800"])
def test_what_cannot_be_a_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid):
        from_plain(password)


async def test_a_password_does_not_show_itself(passwords: Passwords) -> None:
    stored = from_plain(PASSWORD)
    assert repr(stored) == f"StoredSecret(algo={PLAIN!r})"
    # It is right for nobody as long as it is not hashed.
    assert not await passwords.check("id", stored, PASSWORD.encode())


def test_new_hashes_of_this_program_are_read_too() -> None:
    text = passlib_argon2.using(type="ID", rounds=2, memory_cost=19_456, parallelism=1).hash("x")
    assert not from_modular(text).outdated
    assert from_modular(text.replace("p=1$", "p=16$")).outdated


HASHES = [
    "$7$101$AAECAwQFBgcICQoL$" + TRIPLE_2_0[2],
    "$6$AAAA$" + encode(bytes(64)),
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$2b$04$" + "." * 53,
    "$pbkdf2-sha256$1$AAAA$" + "A" * 43,
    "$scrypt$ln=4,r=8,p=1$AAAA$" + "A" * 43,
    "$5$rounds=1000$salt$" + "A" * 43,
    "$6$salt$" + "A" * 86,
    "00" * 32,
]


@given(text=st.sampled_from(HASHES), at=st.integers(0, 120), width=st.integers(0, 3), other=st.text(max_size=3))
def test_a_damaged_hash_is_refused_or_can_be_verified(text: str, at: int, width: int, other: str) -> None:
    damaged = text[:at] + other + text[at + width :]
    for read in (
        from_mosquitto,
        from_modular,
        lambda text: from_emqx(text, "salt", EmqxAlgorithm()),
        lambda text: from_emqx(text, "salt", EmqxAlgorithm("bcrypt")),
        lambda text: from_dynsec({"encoded_password": text}),
    ):
        try:
            stored = read(damaged)
        except Invalid as error:
            assert_silent(error, damaged)
            continue
        assert stored is not None
        if is_quick(stored):
            # What is wrong by a digit is another hash; but none may be stored that fails at a login.
            assert not compare(stored, b"a guess")


def is_quick(stored: StoredSecret) -> bool:
    """Tell whether a verification is over soon: a number that got another digit may ask for much."""
    if stored.algo.startswith("argon2"):
        return re.search(rb"m=[0-9]{1,4},t=[0-9],", stored.secret_hash) is not None
    if stored.algo == "bcrypt":
        return stored.secret_hash[4:6] < b"08"
    if stored.algo.endswith("-crypt"):
        return re.search(rb"rounds=[0-9]{4}[$]", stored.secret_hash) is not None
    return all(number < 10_000 for number in stored.parameters.values() if isinstance(number, int)) and (
        int(stored.parameters.get("ln", 0)) < 10 and int(stored.parameters.get("r", 0)) < 100
    )


def compare(stored: StoredSecret, password: bytes) -> bool:
    if stored.algo.startswith("argon2"):
        return bool(passlib_argon2.verify(password, stored.secret_hash.decode()))
    return verify(stored, password)


def assert_silent(error: Invalid, text: str) -> None:
    """Assert that a refusal holds no part of what was refused that tells something about it."""
    for part in text.split("$"):
        assert len(part) < 10 or part not in error.message
