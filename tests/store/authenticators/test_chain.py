"""The chain in the directory: who gets in by which authenticator, and what a restart finds."""

import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from wardenmq.store.admission import Outcome, Verdict
from wardenmq.store.authenticators.settings import (
    DATABASE_ID,
    HIDDEN,
    SCRAM_ID,
    DatabaseSettings,
    JwtSettings,
    KeySet,
    PublicKey,
    ScramSettings,
    Settings,
    SharedSecret,
    from_fields,
    to_fields,
)
from wardenmq.store.authenticators.token_rights import TokenRights
from wardenmq.store.credentials.password_formats import EmqxAlgorithm
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound
from wardenmq.store.records import Change

from ..conditions import until
from .signing import SECRET, jwk, pem, rsa_key, signed

JWT = JwtSettings(keys=SharedSecret(secret=SECRET))
OFF = DatabaseSettings(enable=False)
BY_CLIENT_ID = DatabaseSettings(user_id_type="clientid")


async def ask(
    directory: Directory, client_id: str, username: str | None, password: bytes | None, *, anonymous: bool = False
) -> Verdict:
    verdict: Verdict | Awaitable[Verdict] = directory.authenticate(
        client_id, username, password, allow_anonymous=anonymous
    )
    return verdict if isinstance(verdict, Verdict) else await verdict


async def outcome(directory: Directory, client_id: str, username: str | None, password: bytes | None) -> Outcome:
    return (await ask(directory, client_id, username, password)).outcome


@pytest.fixture
async def people(directory: Directory) -> Directory:
    await directory.create_login("username", "alice", "wonderland")
    await directory.create_login("clientid", "device", "firmware")
    await directory.tenants.create("acme")
    await directory.create_login("username", "acme-1", "tenant", tenant="acme")
    return directory


def ids(directory: Directory) -> list[str]:
    return [settings.id for settings in directory.authenticators.all()]


def counts(directory: Directory, authenticator: str = DATABASE_ID) -> tuple[int, int, int, int]:
    report = directory.authenticators.report_of(authenticator)
    assert report is not None
    return report.counts[:4]


async def test_a_new_directory_has_the_database_by_user_name(directory: Directory) -> None:
    assert directory.authenticators.all() == [DatabaseSettings()]


async def test_the_default_chain_counts(people: Directory) -> None:
    assert counts(people) == (0, 0, 0, 0)
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.ACCEPTED
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.ACCEPTED
    assert await outcome(people, "c", "alice", b"wrong") is Outcome.WRONG
    assert await outcome(people, "c", "mallory", b"x") is Outcome.WRONG
    assert await outcome(people, "c", "mallory", None) is Outcome.WRONG
    assert counts(people) == (5, 2, 1, 2)
    await ask(people, "c", None, None, anonymous=True)
    assert counts(people) == (5, 2, 1, 2)


async def test_a_disabled_database_lets_tenants_in_and_nobody_else(people: Directory) -> None:
    await people.authenticators.update(DATABASE_ID, OFF)
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.WRONG
    assert await outcome(people, "device", None, b"firmware") is Outcome.WRONG
    assert await outcome(people, "c", "acme-1", b"tenant") is Outcome.ACCEPTED
    assert await outcome(people, "c", "acme-1", b"wrong") is Outcome.WRONG
    assert (await ask(people, "c", None, None, anonymous=True)).outcome is Outcome.ACCEPTED
    assert (await ask(people, "device", None, None, anonymous=True)).outcome is Outcome.WRONG
    assert await outcome(people, "c", None, None) is Outcome.NOT_ALLOWED
    await people.authenticators.update(DATABASE_ID, DatabaseSettings())
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.ACCEPTED


async def test_a_database_by_client_id(people: Directory) -> None:
    await people.authenticators.update(DATABASE_ID, BY_CLIENT_ID)
    assert await outcome(people, "device", None, b"firmware") is Outcome.ACCEPTED
    assert await outcome(people, "device", "alice", b"firmware") is Outcome.ACCEPTED
    assert await outcome(people, "device", "alice", b"wonderland") is Outcome.WRONG
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.WRONG
    assert await outcome(people, "c", "acme-1", b"tenant") is Outcome.ACCEPTED


async def test_the_database_goes_with_its_logins(people: Directory) -> None:
    changes: list[Change] = []

    async def note(change: Change) -> None:
        changes.append(change)

    people.on_change(note)
    gone = {
        login.id
        for login in (people.login("username", "alice"), people.login("clientid", "device"))
        if login is not None
    }
    await people.authenticators.delete(DATABASE_ID)
    assert changes[-1].end_principals == gone
    assert people.login("username", "alice") is None
    assert people.login("clientid", "device") is None
    assert await outcome(people, "c", "acme-1", b"tenant") is Outcome.ACCEPTED
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.WRONG
    await people.authenticators.delete(DATABASE_ID)
    assert ids(people) == []


async def test_a_token_is_one_more_way_in(people: Directory) -> None:
    await people.authenticators.create(JWT)
    verdict = await ask(people, "c", "bob", signed({"is_superuser": True, "exp": 4_102_444_800}))
    assert verdict == Verdict(
        Outcome.ACCEPTED, superuser=True, valid_until=4_102_444_800.0, username="bob", rights=TokenRights()
    )
    assert verdict.principal is None
    assert await outcome(people, "c", "bob", signed({"exp": 1})) is Outcome.WRONG
    assert await outcome(people, "c", "bob", signed({}, "other")) is Outcome.WRONG
    assert await outcome(people, "c", "alice", b"wonderland") is Outcome.ACCEPTED
    assert counts(people, "jwt") == (3, 1, 1, 1)


async def test_the_first_with_an_opinion_decides(people: Directory) -> None:
    await people.authenticators.create(JWT)
    token = signed({})
    assert await outcome(people, "c", "alice", token) is Outcome.WRONG
    await people.authenticators.move("jwt", "front")
    assert await outcome(people, "c", "alice", token) is Outcome.ACCEPTED
    assert (await ask(people, "c", "alice", b"wonderland")).principal is not None
    await people.authenticators.reorder([DATABASE_ID, "jwt"])
    assert await outcome(people, "c", "alice", token) is Outcome.WRONG


async def test_a_token_opens_nothing_that_is_closed(people: Directory) -> None:
    await people.authenticators.create(JWT)
    await people.authenticators.move("jwt", "front")
    token = signed({})
    assert await outcome(people, "c", "acme-1", token) is Outcome.WRONG
    assert await outcome(people, "device", "bob", token) is Outcome.WRONG
    await people.bans.create("username", "bob")
    assert await outcome(people, "c", "bob", token) is Outcome.BANNED
    await people.update_login("username", "alice", disabled=True)
    assert await outcome(people, "c", "alice", token) is Outcome.NOT_ALLOWED
    await people.bans.create("clientid", "evil")
    assert await outcome(people, "evil", "carol", token) is Outcome.BANNED
    by_name = JwtSettings(keys=SharedSecret(secret=SECRET), source="username")
    await people.authenticators.update("jwt", by_name)
    assert await outcome(people, "c", signed({"username": "acme-1"}).decode(), None) is Outcome.WRONG
    assert await outcome(people, "c", signed({"username": "bob"}).decode(), None) is Outcome.BANNED
    assert (await ask(people, "c", signed({"username": "zoe"}).decode(), None)).username == "zoe"


async def test_a_token_without_a_name_where_anonymous_clients_get_in(people: Directory) -> None:
    await people.authenticators.create(JWT)
    verdict = await ask(people, "c", None, signed({}), anonymous=True)
    assert verdict.rights is not None
    for password in (signed({"exp": 1}), b"x", None):
        verdict = await ask(people, "c", None, password, anonymous=True)
        assert (verdict.outcome, verdict.rights) == (Outcome.ACCEPTED, None)
    assert (await ask(people, "c", None, signed({}))).rights is not None
    assert await outcome(people, "c", None, signed({"exp": 1})) is Outcome.WRONG


async def test_passwords_are_hashed_and_kept_as_the_operator_asks(people: Directory) -> None:
    await people.authenticators.update(DATABASE_ID, DatabaseSettings(algorithm=EmqxAlgorithm()))
    secret = await people.authenticators.hash_password("secret")
    await people.create_login("username", "bob", None, secret=secret)
    assert await outcome(people, "c", "bob", b"secret") is Outcome.ACCEPTED
    await until(lambda: not people._derivation._deriving)
    stored = people._logins.find("username", "bob")
    assert stored is not None
    assert stored.secret is not None
    assert stored.secret.algo == "sha256"
    await people.authenticators.update(DATABASE_ID, DatabaseSettings())
    assert await outcome(people, "c", "bob", b"secret") is Outcome.ACCEPTED
    await until(lambda: not people._derivation._deriving)
    stored = people._logins.find("username", "bob")
    assert stored is not None
    assert stored.secret is not None
    assert stored.secret.algo == "argon2id"


async def test_plain_passwords_are_hashed_all_the_same(people: Directory) -> None:
    await people.authenticators.update(DATABASE_ID, DatabaseSettings(algorithm=EmqxAlgorithm(name="plain")))
    assert (await people.authenticators.hash_password("secret")).algo == "argon2id"


async def test_scram_is_offered_unless_it_is_switched_off(people: Directory) -> None:
    assert people.begin_scram(["alice"]) is not None
    created = await people.authenticators.create(ScramSettings(enable=False))
    assert isinstance(created, ScramSettings)
    assert created.iterations == people._scram.iterations
    assert people.begin_scram(["alice"]) is None
    await people.authenticators.update(SCRAM_ID, ScramSettings(iterations=5_000))
    assert people.begin_scram(["alice"]) is not None
    assert people._scram.iterations == 5_000
    await people.authenticators.delete(SCRAM_ID)
    assert people._scram.iterations != 5_000


async def test_scram_follows_the_database(people: Directory) -> None:
    stored = people._scram.keys("alice")[0]
    assert stored is not None
    await people.authenticators.update(DATABASE_ID, OFF)
    assert people._scram.keys("alice")[0] is None
    assert people._scram.keys("acme-1")[0] is not None
    await people.authenticators.create(ScramSettings())
    assert people._scram.keys("alice")[0] is not None


async def test_what_cannot_be_done(people: Directory) -> None:
    authenticators = people.authenticators
    with pytest.raises(AlreadyExists):
        await authenticators.create(DatabaseSettings())
    with pytest.raises(NotFound):
        await authenticators.update("jwt", JWT)
    with pytest.raises(Invalid):
        await authenticators.update(DATABASE_ID, JWT)
    with pytest.raises(NotFound):
        await authenticators.move("jwt", "front")
    await authenticators.create(JWT)
    for position in ("", "first", "before:", "before", "after:jwt", "front:jwt"):
        with pytest.raises(Invalid):
            await authenticators.move("jwt", position)
    with pytest.raises(NotFound):
        await authenticators.move("jwt", "before:nobody")
    for order in ([], ["jwt"], ["jwt", "jwt"], ["jwt", DATABASE_ID, "x"], ["jwt", "x"]):
        with pytest.raises(Invalid):
            await authenticators.reorder(order)
    assert ids(people) == [DATABASE_ID, "jwt"]


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("front", ["jwt", DATABASE_ID, SCRAM_ID]),
        ("rear", [DATABASE_ID, SCRAM_ID, "jwt"]),
        (f"before:{DATABASE_ID}", ["jwt", DATABASE_ID, SCRAM_ID]),
        (f"after:{DATABASE_ID}", [DATABASE_ID, "jwt", SCRAM_ID]),
        (f"after:{SCRAM_ID}", [DATABASE_ID, SCRAM_ID, "jwt"]),
    ],
)
async def test_positions(directory: Directory, position: str, expected: list[str]) -> None:
    await directory.authenticators.create(JWT)
    await directory.authenticators.create(ScramSettings())
    await directory.authenticators.move("jwt", position)
    assert ids(directory) == expected


async def test_a_restart_keeps_the_chain(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(f'{{"keys": [{{"kty": "oct"}}, {_json(jwk(rsa_key()))}]}}')
    chain: list[Settings] = [
        JwtSettings(
            keys=KeySet(endpoint=str(file), headers={"X-Key": "value"}, refresh_interval=5),
            source="username",
            verify_claims={"a": "${username}"},
            acl_claim_name="rules",
            disconnect_after_expire=False,
        ),
        DatabaseSettings(
            enable=False,
            user_id_type="clientid",
            algorithm=EmqxAlgorithm(name="pbkdf2", mac_fun="sha512", iterations=7, dk_length=20),
            bootstrap_file="/nowhere.csv",
            bootstrap_type="hash",
        ),
        ScramSettings(iterations=5_000),
    ]
    directory = await Directory.open(tmp_path / "d.db")
    await directory.authenticators.replace(chain)
    await directory.close()
    directory = await Directory.open(tmp_path / "d.db")
    assert directory.authenticators.all() == chain
    assert directory._scram.iterations == 5_000
    token = signed({"username": "bob", "a": ""}, rsa_key(), "RS256").decode()
    assert await outcome(directory, "c", token, None) is Outcome.WRONG
    report = directory.authenticators.report_of("jwt")
    assert report is not None
    assert report.counts.failed == 1
    await directory.close()


async def test_keys_that_are_gone_after_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem(rsa_key()))
    directory = await Directory.open(tmp_path / "d.db")
    await directory.authenticators.create(JwtSettings(keys=PublicKey(text=str(file))))
    token = signed({}, rsa_key(), "RS256")
    assert await outcome(directory, "c", "bob", token) is Outcome.ACCEPTED
    await directory.close()
    file.unlink()
    with caplog.at_level(logging.WARNING):
        directory = await Directory.open(tmp_path / "d.db")
    assert "keys" in caplog.text
    assert await outcome(directory, "c", "bob", token) is Outcome.WRONG
    report = directory.authenticators.report_of("jwt")
    assert report is not None
    assert report.status == "disconnected"
    await directory.close()


async def test_what_a_later_release_stored_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = await Directory.open(tmp_path / "d.db")
    await directory.create_login("username", "alice", "wonderland")
    await directory.configurations.put("authenticators", [{"mechanism": "thought"}, 7, {}])
    await directory.close()
    directory = await Directory.open(tmp_path / "d.db")
    assert ids(directory) == []
    assert await outcome(directory, "c", "alice", b"wonderland") is Outcome.WRONG
    assert caplog.text.count("left out") == 3
    await directory.close()


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


@pytest.mark.parametrize(
    "settings",
    [
        DatabaseSettings(),
        DatabaseSettings(algorithm=EmqxAlgorithm(name="bcrypt", salt_rounds=7)),
        ScramSettings(iterations=4_096),
        JWT,
        JwtSettings(keys=PublicKey(text="-----BEGIN")),
        JwtSettings(keys=KeySet(endpoint="https://a/b", headers={"Authorization": "x"}, tls=True, ca_file="/ca")),
    ],
    ids=lambda settings: settings.id,
)
def test_the_form_in_json(settings: Settings) -> None:
    assert from_fields(to_fields(settings, masked=False)) in (settings, from_fields(to_fields(settings, masked=False)))
    shown = to_fields(settings)
    assert from_fields(shown, settings) == from_fields(to_fields(settings, masked=False))
    assert SECRET not in str(shown)
    assert SECRET not in repr(settings)


def test_a_hidden_secret_needs_one_that_is_there() -> None:
    assert to_fields(JWT)["secret"] == HIDDEN
    with pytest.raises(Invalid):
        from_fields(to_fields(JWT))
    with pytest.raises(Invalid):
        from_fields(to_fields(JWT), JwtSettings(keys=PublicKey(text="x")))
