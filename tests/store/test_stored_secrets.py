"""Stored secrets: what the column `params` holds, what survives in it, and which secrets are of yesterday."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.credentials.password_formats import from_modular, from_mosquitto, from_plain
from wardenmq.store.credentials.scram import ScramKeys, keys_from_fields, keys_to_fields
from wardenmq.store.credentials.stored_secrets import (
    HOUSE_PREFIX,
    StoredSecret,
    load_secret,
    store_supplied,
    store_token,
)
from wardenmq.store.database import Database, Statement
from wardenmq.store.principals import insert_credential, insert_principal, keep_secret

KEYS = ScramKeys(4_096, b"0" * 16, b"1" * 32, b"2" * 32)
DERIVED = StoredSecret("pbkdf2-sha512", bytes(range(64)), b"\0\xff", parameters={"iterations": 101})
HOUSE = StoredSecret("argon2id", HOUSE_PREFIX.encode() + b"salt$hash", scram=KEYS)


def test_keys_are_read_as_written() -> None:
    assert keys_from_fields(keys_to_fields(KEYS)) == KEYS
    assert keys_from_fields(json.loads(json.dumps(keys_to_fields(KEYS)))) == KEYS


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 0},
        {"iterations": "many"},
        {"iterations": None},
        {"salt": ""},
        {"salt": 5},
        {"stored_key": "AAAA"},
        {"server_key": "A"},
        {"server_key": None},
    ],
)
def test_damaged_keys_are_none(change: dict[str, object]) -> None:
    params = json.dumps({"scram-sha-256": {**keys_to_fields(KEYS), **change}, "iterations": 5})
    loaded = load_secret("pbkdf2-sha512", b"hash", b"salt", params)
    assert (loaded.scram, loaded.parameters) == (None, {"iterations": 5})


@pytest.mark.parametrize(
    "params", ["", "{}", "{ }", "[]", "null", "5", "{", '{"scram-sha-256": null}', '{"scram-sha-256": {}}', '{"r": []}']
)
def test_without_parameters_there_are_none(params: str) -> None:
    loaded = load_secret("argon2id", b"hash", b"salt", params)
    assert (loaded.algo, loaded.secret_hash, loaded.salt) == ("argon2id", b"hash", b"salt")
    assert loaded.scram is None
    assert loaded.parameters == {}
    assert loaded.params == "{}"


@given(
    scram=st.none()
    | st.builds(ScramKeys, st.integers(1, 10**9), *(st.binary(min_size=n, max_size=n) for n in (16, 32, 32))),
    parameters=st.dictionaries(
        st.sampled_from(["iterations", "salt_position", "ln", "r", "p"]), st.integers() | st.text()
    ),
)
def test_params_are_read_as_written(scram: ScramKeys | None, parameters: dict[str, int | str]) -> None:
    secret = StoredSecret("any", b"hash", b"salt", scram, parameters)
    loaded = load_secret("any", b"hash", b"salt", secret.params)
    assert loaded == secret
    assert loaded.scram == scram


def test_what_is_not_for_this_release_is_not_read() -> None:
    loaded = load_secret("any", b"hash", b"salt", '{"iterations": 5, "pepper": 7, "scram-sha-512": {}}')
    assert loaded.parameters == {"iterations": 5}


@pytest.mark.parametrize(
    "params",
    ["{}", '{"pepper": 7, "scram-sha-512": {"iterations": 1}, "iterations": 101}', "{damaged", "[1]", "5", ""],
)
async def test_what_another_release_keeps_survives_a_new_hash(params: str) -> None:
    database = await Database.open(":memory:")
    secrets = {name: DERIVED for name in ("alice", "bob")}
    for name, secret in secrets.items():
        principal = insert_principal({"id": name, "kind": "mqtt_client", "login_type": "username", "login": name}, 1)
        await database.transact([principal, insert_credential(name, "password", secret, 1)])
    await database.transact([Statement("UPDATE credential SET params = ?", [(params,)])])
    await database.transact([keep_secret("alice", "password", DERIVED, HOUSE)])
    # Not where it is another one by now.
    await database.transact([keep_secret("bob", "password", HOUSE, DERIVED)])
    rows = await database.read("SELECT algo, secret_hash, salt, params FROM credential ORDER BY principal_id")
    loaded = load_secret(*rows[0])
    assert loaded == HOUSE
    assert loaded.scram == KEYS
    survived = {"pepper": 7, "scram-sha-512": {"iterations": 1}} if "pepper" in params else {}
    assert json.loads(rows[0][3]) == {"scram-sha-256": keys_to_fields(KEYS), **survived}
    assert rows[1] == (DERIVED.algo, DERIVED.secret_hash, DERIVED.salt, params)
    # The other way round: keys that are none any more go, and the parameters come.
    await database.transact([keep_secret("alice", "password", HOUSE, DERIVED)])
    rows = await database.read("SELECT algo, secret_hash, salt, params FROM credential ORDER BY principal_id")
    assert load_secret(*rows[0]) == DERIVED
    assert json.loads(rows[0][3]) == {"iterations": 101, **survived}
    await database.close()


async def test_a_password_is_never_stored_as_it_is() -> None:
    for write in (
        lambda: insert_credential("id", "password", from_plain("secret"), 1),
        lambda: keep_secret("id", "password", HOUSE, from_plain("secret")),
    ):
        with pytest.raises(ValueError, match="must be hashed"):
            write()


def test_which_secrets_are_of_yesterday() -> None:
    assert not HOUSE.outdated
    assert not store_token("token").outdated
    for text in (
        "$argon2id$v=19$m=19456,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=19456,t=2,p=10$c2FsdHNhbHQ$" + "A" * 43,
        "$2b$04$" + "." * 53,
    ):
        assert from_modular(text).outdated
    assert from_mosquitto("$6$AAAA$" + "A" * 86 + "==").outdated


def test_only_a_token_needs_no_slow_comparison() -> None:
    assert not store_token("token").slow
    for stored in (HOUSE, DERIVED, store_supplied("chosen"), from_modular("$2b$04$" + "." * 53)):
        assert stored.slow


def test_two_secrets_are_told_apart_by_all_but_their_keys() -> None:
    assert StoredSecret("argon2id", b"hash", scram=KEYS) == StoredSecret("argon2id", b"hash")
    assert hash(HOUSE) == hash(StoredSecret(HOUSE.algo, HOUSE.secret_hash))
    for other in (
        StoredSecret("pbkdf2-sha256", DERIVED.secret_hash, DERIVED.salt, parameters=DERIVED.parameters),
        StoredSecret(DERIVED.algo, b"", DERIVED.salt, parameters=DERIVED.parameters),
        StoredSecret(DERIVED.algo, DERIVED.secret_hash, b"", parameters=DERIVED.parameters),
        StoredSecret(DERIVED.algo, DERIVED.secret_hash, DERIVED.salt, parameters={"iterations": 102}),
    ):
        assert other != DERIVED


def test_a_secret_shows_nothing_but_its_kind() -> None:
    assert repr(HOUSE) == "StoredSecret(algo='argon2id')"
    assert repr(DERIVED) == "StoredSecret(algo='pbkdf2-sha512')"
