"""Rows of a backup: what is written is read back as it was, and what nobody can have written is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store import portable_rows
from wardenmq.store.bans import MAX_EXPRESSIONS
from wardenmq.store.credentials.password_formats import (
    EmqxAlgorithm,
    check_api_secret,
    check_stored,
    from_emqx,
    from_modular,
)
from wardenmq.store.credentials.scram import ScramKeys
from wardenmq.store.credentials.stored_secrets import StoredSecret, store_supplied, store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import Invalid
from wardenmq.store.login_index import StoredLogin
from wardenmq.store.portable_rows import read_row, write_row
from wardenmq.store.records import Ban, Condition, Login, Rule

KEYS = ScramKeys(5_000, b"salt", bytes(32), bytes(range(32)))
SECRETS = [
    from_emqx("00" * 32, "salt", EmqxAlgorithm()),
    from_emqx("00" * 16, "salt", EmqxAlgorithm("md5", "suffix")),
    from_emqx("00" * 20, "", EmqxAlgorithm("sha", "disable")),
    from_emqx("00" * 32, "salt", EmqxAlgorithm("pbkdf2", iterations=1_000)),
    from_modular("$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234"),
    from_modular("$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43),
    from_modular("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43),
    from_modular("$5$rounds=5000$salt$" + "a" * 43),
    from_modular("$6$rounds=5000$salt$" + "a" * 86),
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.algo)
def test_every_kind_of_password_comes_back(secret: StoredSecret) -> None:
    for scram in (None, KEYS):
        stored = StoredLogin(Login("id", "username", "alice"), replace(secret, scram=scram))
        read = portable_rows.read_login(read_row(write_row(portable_rows.login_row(stored))))
        assert read.secret == secret
        assert read.secret is not None
        assert read.secret.scram == scram


@pytest.mark.parametrize("secret", [store_token("token"), store_supplied("secret")])
def test_secrets_of_api_keys_come_back_and_are_no_passwords(secret: StoredSecret) -> None:
    assert check_api_secret(secret) == secret
    if secret.algo == "sha256-token":
        with pytest.raises(Invalid):
            check_stored(secret)


def test_keys_that_cost_a_client_too_much_are_left_out() -> None:
    assert check_stored(replace(SECRETS[0], scram=replace(KEYS, iterations=10**9))).scram is None


@given(
    st.builds(
        Rule,
        topic=st.text(),
        permission=st.sampled_from(["allow", "deny"]),
        action=st.sampled_from(["publish", "subscribe", "all"]),
        qos=st.lists(st.integers(0, 2), max_size=3).map(tuple),
        retain=st.sampled_from([None, True, False]),
        condition=st.none() | st.builds(Condition, ipaddr=st.none() | st.text(), zone_re=st.none() | st.text()),
    ),
    st.text(),
)
def test_rules_come_back(rule: Rule, subject: str) -> None:
    (row,) = portable_rows.rule_rows(("username", subject), [rule])
    assert portable_rows.read_rule(read_row(write_row(row))) == (("username", subject), rule)


_NAMES = (
    "as",
    "who",
    "at",
    "until",
    "login",
    "login_type",
    "secret",
    "rule",
    "subject",
    "subject_type",
    "name",
    "role",
)
_VALUES = st.none() | st.booleans() | st.floats() | st.text()


@given(st.recursive(_VALUES, lambda each: st.lists(each) | st.dictionaries(st.sampled_from(_NAMES), each)))
def test_whatever_a_row_holds_it_is_read_or_refused(value: Any) -> None:
    for read in (
        portable_rows.read_ban,
        portable_rows.read_login,
        portable_rows.read_rule,
        portable_rows.read_api_key,
        portable_rows.read_dashboard_user,
    ):
        try:
            read(read_row(json.dumps(value).encode()))
        except Invalid as error:
            assert error.message


async def test_bans_in_one_write(tmp_path: Path) -> None:
    directory = await Directory.open(tmp_path / "wardenmq.db")
    old = await directory.bans.create("peerhost", "192.0.2.1", reason="old")
    given = [
        replace(old, reason="new"),
        Ban("username_re", "^a", at=1.0),
        Ban("clientid", "ended", until=2.0),
        Ban("clientid", "twice", reason="first"),
        Ban("clientid", "twice", reason="last"),
    ]
    assert await directory.bans.put(given) == 3
    assert await directory.bans.put(given[:2]) == 0
    shown = {(ban.who, ban.reason, ban.at) for ban in directory.bans.all()}
    await directory.close()
    directory = await Directory.open(tmp_path / "wardenmq.db")
    assert {(ban.who, ban.reason, ban.at) for ban in directory.bans.all()} == shown
    assert {who for who, _, _ in shown} == {"192.0.2.1", "^a", "twice"}
    assert directory.bans.find("twice", "") is not None
    assert directory.bans.find_username("alice") is not None
    await directory.close()


async def test_of_bans_that_are_wrong_or_too_many_none_is_written() -> None:
    directory = await Directory.open(":memory:")
    for wrong in ([Ban("clientid", "")], [Ban("username_re", f"^{n}") for n in range(MAX_EXPRESSIONS + 1)]):
        with pytest.raises(Invalid):
            await directory.bans.put([Ban("clientid", "right"), *wrong])
    assert directory.bans.all() == []
    await directory.close()


async def test_rules_of_many_subjects_in_one_write(tmp_path: Path) -> None:
    directory = await Directory.open(tmp_path / "wardenmq.db")
    rule = Rule("t", "allow", "publish")
    await directory.set_rules("username", "u1", [rule, rule])
    await directory.set_rules("username", "stays", [rule])
    await directory.put_rules("username", [(f"u{number}", [rule]) for number in range(150)])
    with pytest.raises(Invalid):
        await directory.put_rules("username", [("u1", []), ("", [])])
    await directory.close()
    directory = await Directory.open(tmp_path / "wardenmq.db")
    assert len(directory.rule_subjects("username")) == 151
    assert directory.rules("username", "u1") == directory.rules("username", "stays") == (rule,)
    await directory.close()
