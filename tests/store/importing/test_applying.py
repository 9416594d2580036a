"""Imports: what exists, what fails in between, what a dry run says, and that nothing is half written."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher
from wardenmq.store.admission import Outcome, Verdict
from wardenmq.store.credentials.password_formats import EmqxAlgorithm
from wardenmq.store.directory import Directory
from wardenmq.store.errors import Invalid, StoreError
from wardenmq.store.importing import acl_import, user_import
from wardenmq.store.importing.applying import EmqxOptions, Source, import_file
from wardenmq.store.importing.reports import ImportReport
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Change, Rule

from ..restarts import facts
from .test_acl_file import FILE as ACL_FILE
from .test_dynsec import FILE as DYNSEC_FILE
from .test_password_files import ARGON2, BCRYPT, CRYPT, PBKDF2, SHA512

PASSWORD = "correct horse"
SALT = "de1024f462fb83910fd13151bd4bd235"
CHEAP = {"memory_cost": 8, "time_cost": 1, "parallelism": 1}


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    opened = await Directory.open(":memory:", scram_iterations=0)
    yield opened
    await opened.close()


async def verdict(directory: Directory, username: str | None, password: str, client_id: str = "c") -> Verdict:
    found = directory.authenticate(client_id, username, password.encode())
    return await found if isinstance(found, Awaitable) else found


async def can_log_in(directory: Directory, username: str | None, password: str, client_id: str = "c") -> bool:
    return (await verdict(directory, username, password, client_id)).outcome is Outcome.ACCEPTED


def may(directory: Directory, operation: int, username: str | None, topic: str, client_id: str = "c") -> bool:
    access = directory.access(client_id, username, directory.principal_of(client_id, username))
    return access.decide(operation, topic, 0, False)


async def audited(directory: Directory) -> list[str]:
    return [entry.action for entry in reversed(await directory.audit.entries(limit=1_000))]


async def dry_and_real(directory: Directory, data: bytes, source: Source, **options: Any) -> ImportReport:
    """Import twice, at first without writing; both must report the same."""
    before = facts(directory)
    dry = await import_file(directory, data, source, dry_run=True, **options)
    assert facts(directory) == before
    real = await import_file(directory, data, source, **options)
    assert real == dry
    return real


MOSQUITTO = f"alice:{PBKDF2}\nbob:{SHA512}\nbroken\ncarol:{ARGON2}\n".encode()


async def test_users_of_mosquittos_file_log_in(directory: Directory) -> None:
    report = await dry_and_real(directory, MOSQUITTO, "mosquitto-passwords", actor="me", facade="test")
    assert report.counts == {"created": 3, "replaced": 0, "unchanged": 0}
    assert [(skipped.line, skipped.what) for skipped in report.skipped] == [(3, "")]
    for name, password in (("alice", PASSWORD), ("bob", "battery: staple"), ("carol", PASSWORD)):
        assert await can_log_in(directory, name, password)
        assert not await can_log_in(directory, name, password + "!")
        assert not await can_log_in(directory, name, "")
    (entry,) = await directory.audit.entries()
    assert (entry.action, entry.actor, entry.facade) == ("login.import", "me", "test")


async def test_who_is_replaced_stays_whose_they_are_and_paused(directory: Directory) -> None:
    """Paused by its owner, not switched off by the operator, of which only the operator could free it."""
    owner = await directory.create_login("username", "owner", None)
    await directory.create_login("username", "alice", "x", parent=owner.id, confined=True)
    before = await directory.update_login("username", "alice", paused=True)
    report = await dry_and_real(directory, MOSQUITTO, "mosquitto-passwords", overwrite=True)
    assert report.counts == {"created": 2, "replaced": 1, "unchanged": 0}
    assert directory.login("username", "alice") == before


async def test_who_is_in_the_file_as_they_are_is_left_alone_and_counted(directory: Directory) -> None:
    await import_file(directory, MOSQUITTO, "mosquitto-passwords")
    await directory.update_login("username", "bob", password="another")
    changes: list[Change] = []

    async def record(change: Change) -> None:
        changes.append(change)

    directory.on_change(record)
    generation = directory.generation
    report = await dry_and_real(directory, MOSQUITTO, "mosquitto-passwords", overwrite=True)
    assert report.counts == {"created": 0, "replaced": 1, "unchanged": 2}
    assert [skipped.line for skipped in report.skipped] == [3]
    bob = directory.login("username", "bob")
    assert bob is not None
    assert [change.close_principals for change in changes] == [{bob.id}]
    again = await dry_and_real(directory, MOSQUITTO, "mosquitto-passwords", overwrite=True)
    assert again.counts == {"created": 0, "replaced": 0, "unchanged": 3}
    assert directory.generation == generation + 1


async def test_a_file_makes_nobody_a_superuser_who_is_confined(directory: Directory) -> None:
    await directory.create_login("username", "alice", "x", confined=True)
    data = f"user_id,password_hash,salt,is_superuser\nalice,{'ab' * 32},{SALT},true\n".encode()
    report = await dry_and_real(directory, data, "emqx-csv", overwrite=True)
    assert report.counts == {"created": 0, "replaced": 0, "unchanged": 0}
    assert [(skipped.line, skipped.what) for skipped in report.skipped] == [(2, "alice")]


async def test_users_of_amqtts_file_log_in(directory: Directory) -> None:
    theirs = Argon2Hasher(**CHEAP).hash(PASSWORD)
    data = f"# amqtt\nalice:{theirs}\nbob:{CRYPT}\ncarol:{BCRYPT}\n".encode()
    report = await dry_and_real(directory, data, "amqtt-passwords")
    assert (report.counts, report.skipped) == ({"created": 3, "replaced": 0, "unchanged": 0}, ())
    for name in ("alice", "bob", "carol"):
        assert await can_log_in(directory, name, PASSWORD)
        assert not await can_log_in(directory, name, "correct")


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize(
    ("algorithm", "hashed"),
    [
        (EmqxAlgorithm(), hashlib.sha256((SALT + PASSWORD).encode()).hexdigest()),
        (EmqxAlgorithm("sha512", "suffix"), hashlib.sha512((PASSWORD + SALT).encode()).hexdigest()),
        (EmqxAlgorithm("md5", "disable"), hashlib.md5(PASSWORD.encode()).hexdigest()),
        (EmqxAlgorithm("bcrypt"), BCRYPT),
        (
            EmqxAlgorithm("pbkdf2", mac_fun="sha256", iterations=10),
            hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT.encode(), 10).hex(),
        ),
        (EmqxAlgorithm("plain", "disable"), PASSWORD),
    ],
)
async def test_users_of_emqx_log_in(directory: Directory, form: str, algorithm: EmqxAlgorithm, hashed: str) -> None:
    rows = [
        {"user_id": "alice", "password_hash": hashed, "salt": SALT, "is_superuser": "true"},
        {"user_id": "bob", "password_hash": hashed, "salt": SALT, "is_superuser": "false"},
    ]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    data = ("\n".join(lines) if form == "csv" else json.dumps(rows)).encode()
    source: Source = "emqx-csv" if form == "csv" else "emqx-json"
    report = await dry_and_real(directory, data, source, emqx=EmqxOptions(algorithm=algorithm))
    assert (report.counts, report.skipped) == ({"created": 2, "replaced": 0, "unchanged": 0}, ())
    accepted = await verdict(directory, "alice", PASSWORD)
    assert (accepted.outcome, accepted.superuser) == (Outcome.ACCEPTED, True)
    accepted = await verdict(directory, "bob", PASSWORD)
    assert (accepted.outcome, accepted.superuser) == (Outcome.ACCEPTED, False)
    assert not await can_log_in(directory, "bob", SALT + PASSWORD)


async def test_client_ids_of_emqx_log_in_and_belong_to_their_logins(directory: Directory) -> None:
    data = b"user_id,password\nsensor-1,one\nsensor-2,two\n"
    options = EmqxOptions(kind="plain", login_type="clientid")
    await dry_and_real(directory, data, "emqx-csv", emqx=options)
    assert await can_log_in(directory, None, "one", "sensor-1")
    assert not await can_log_in(directory, None, "one", "sensor-2")
    assert [login.clientid_mode for login in directory.logins("clientid")] == ["reserved", "reserved"]


async def test_what_exists_is_left_alone_or_gets_the_password(directory: Directory) -> None:
    await directory.create_login(
        "username", "alice", "old", True, label="Alice", clientid="c", clientid_mode="required"
    )
    await directory.create_login("username", "bob", "old", disabled=True, description="Bob")
    before = facts(directory)
    report = await import_file(directory, MOSQUITTO, "mosquitto-passwords")
    assert report.counts == {"created": 1, "replaced": 0, "unchanged": 0}
    assert [(skipped.line, skipped.what, skipped.reason) for skipped in report.skipped[1:]] == [
        (1, "alice", "It exists already."),
        (2, "bob", "It exists already."),
    ]
    assert facts(directory)["logins"][:2] == before["logins"]  # type: ignore[index]
    assert await can_log_in(directory, "alice", "old")

    report = await dry_and_real(directory, MOSQUITTO, "mosquitto-passwords", overwrite=True)
    assert report.counts == {"created": 0, "replaced": 2, "unchanged": 1}
    assert await can_log_in(directory, "alice", PASSWORD)
    assert not await can_log_in(directory, "alice", "old")
    alice, bob, _ = directory.logins("username")
    assert (alice.superuser, alice.label, alice.clientid, alice.clientid_mode) == (True, "Alice", "c", "required")
    assert (bob.disabled, bob.description) == (True, "Bob")
    assert not await can_log_in(directory, "bob", "battery: staple")


async def test_emqx_says_who_is_a_superuser(directory: Directory) -> None:
    await directory.create_login("username", "alice", "old", True)
    data = b"user_id,password\nalice,new\n"
    await import_file(directory, data, "emqx-csv", emqx=EmqxOptions(kind="plain"), overwrite=True)
    verdict_of_alice = await verdict(directory, "alice", "new")
    assert (verdict_of_alice.outcome, verdict_of_alice.superuser) == (Outcome.ACCEPTED, False)


async def test_logins_of_other_kinds_are_left_alone(directory: Directory) -> None:
    tenant = (await directory.tenants.create("acme")).name
    await directory.create_login("username", "alice", "old", tenant=tenant, kind="portal_publisher", clientid="alice")
    await directory.create_login("username", "bob", "old", tenant=tenant)
    for overwrite in (False, True):
        report = await dry_and_real(directory, MOSQUITTO, "mosquitto-passwords", overwrite=overwrite)
        assert [(skipped.what, skipped.reason) for skipped in report.skipped[1:3]] == [
            ("alice", "A login of another kind has the name."),
            ("bob", "A login of another kind has the name."),
        ]
    assert await can_log_in(directory, "alice", "old", "alice")
    assert await can_log_in(directory, "bob", "old")


async def test_many_users_are_written_in_parts(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_import, "BATCH", 10)
    data = "\n".join(f"user-{number}:{PBKDF2}" for number in range(25)).encode()
    report = await import_file(directory, data, "mosquitto-passwords")
    assert report.counts == {"created": 25, "replaced": 0, "unchanged": 0}
    assert await audited(directory) == ["login.import"] * 3
    assert len(directory.logins("username")) == 25


async def test_one_that_does_not_go_does_not_hold_up_the_others(directory: Directory) -> None:
    await directory.create_login("username", "owner", None, clientid="sensor-2", clientid_mode="reserved")
    data = b"user_id,password\nsensor-1,x\nsensor-2,x\nsensor-3,x\n"
    options = EmqxOptions(kind="plain", login_type="clientid")
    report = await import_file(directory, data, "emqx-csv", emqx=options)
    assert report.counts == {"created": 2, "replaced": 0, "unchanged": 0}
    (skipped,) = report.skipped
    assert (skipped.line, skipped.what) == (3, "sensor-2")
    assert "reserved" in skipped.reason
    assert [login.login for login in directory.logins("clientid")] == ["sensor-1", "sensor-3"]


async def test_who_is_created_meanwhile_is_left_alone(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    import_logins = directory.import_logins

    async def after_another(*arguments: Any, **options: Any) -> Any:
        if directory.login("username", "bob") is None:
            await directory.create_login("username", "bob", "old")
        return await import_logins(*arguments, **options)

    monkeypatch.setattr(directory, "import_logins", after_another)
    report = await import_file(directory, MOSQUITTO, "mosquitto-passwords")
    assert report.counts == {"created": 2, "replaced": 0, "unchanged": 0}
    assert [(skipped.what, skipped.reason) for skipped in report.skipped[1:]] == [("bob", "It exists already.")]
    assert await can_log_in(directory, "bob", "old")


# Mosquitto's ACL file


async def test_rules_of_mosquittos_file_decide(directory: Directory) -> None:
    report = await dry_and_real(directory, ACL_FILE.encode(), "mosquitto-acl", actor="me")
    assert report.counts == {"users": 2, "rules": 6, "patterns": 3, "anonymous": 8}
    assert not report.skipped
    assert may(directory, PUBLISH, "roger", "foo/bar")
    assert not may(directory, PUBLISH, "roger", "foo/secret")
    assert may(directory, SUBSCRIBE, "roger", "house/1/#")
    assert not may(directory, PUBLISH, "roger", "house/1")
    assert may(directory, PUBLISH, "anybody", "devices/anybody/c/x")
    assert not may(directory, PUBLISH, "anybody", "devices/anybody/c/firmware")
    assert not may(directory, PUBLISH, "anybody", "devices/roger/c/x")
    assert may(directory, PUBLISH, None, "public/x")
    assert not may(directory, PUBLISH, None, "public/private/x")
    assert may(directory, SUBSCRIBE, None, "public/#")
    assert not may(directory, RECEIVE, None, "public/private/x")
    assert not may(directory, PUBLISH, "anybody", "public/x")
    assert directory.groups.anonymous == "anonymous"
    assert {entry.actor for entry in await directory.audit.entries()} == {"me"}


async def test_rules_that_exist_are_left_alone_or_replaced(directory: Directory) -> None:
    mine = (Rule("mine", "allow", "all"),)
    await directory.set_rules("username", "roger", mine)
    await directory.set_rules("all", "", mine)
    await directory.roles.create("anonymous")
    before = facts(directory)
    report = await dry_and_real(directory, ACL_FILE.encode(), "mosquitto-acl")
    assert report.counts == {"users": 1, "rules": 1, "patterns": 0, "anonymous": 0}
    assert [(skipped.line, skipped.what, skipped.reason) for skipped in report.skipped] == [
        (6, "user roger", "There are rules for the user name already."),
        (0, "role anonymous", "It exists already."),
        (0, "patterns", "There are rules for all already."),
    ]
    assert directory.rules("username", "roger") == directory.rules("all") == mine
    assert facts(directory)["roles"] == before["roles"]

    report = await dry_and_real(directory, ACL_FILE.encode(), "mosquitto-acl", overwrite=True)
    assert report.counts == {"users": 2, "rules": 6, "patterns": 3, "anonymous": 8}
    assert report.skipped == ()
    assert mine not in (directory.rules("username", "roger"), directory.rules("all"))
    assert may(directory, PUBLISH, None, "public/x")


async def test_the_group_of_clients_without_user_name_gets_the_role(directory: Directory) -> None:
    await directory.roles.create("other")
    await directory.groups.create("nobody", roles={"other": 7})
    await directory.groups.set_anonymous("nobody")
    for _ in range(2):
        await import_file(directory, ACL_FILE.encode(), "mosquitto-acl", overwrite=True)
        group = directory.groups.get("nobody")
        assert group is not None
        assert group.roles == {"other": 7, "anonymous": -1}
        assert directory.groups.get("anonymous") is None
        assert may(directory, PUBLISH, None, "public/x")


async def test_a_group_with_members_does_not_become_that_of_clients_without_user_name(directory: Directory) -> None:
    await directory.create_login("username", "alice", "x")
    await directory.groups.create("anonymous", members={"alice": 0})
    report = await dry_and_real(directory, b"topic read a\n", "mosquitto-acl", overwrite=True)
    assert report.counts["anonymous"] == 0
    assert [skipped.what for skipped in report.skipped] == ["group anonymous"]
    assert directory.groups.anonymous is None
    await directory.groups.remove_member("anonymous", "alice")
    await import_file(directory, b"topic read a\n", "mosquitto-acl")
    assert directory.groups.anonymous == "anonymous"
    assert may(directory, SUBSCRIBE, None, "a")


@pytest.mark.parametrize("line", ["topic dany b", "topic deny b/#/c", "usr bob", "pattern deny eq x", "user \0"])
async def test_nothing_is_written_where_something_that_may_deny_is_left_out(directory: Directory, line: str) -> None:
    before = facts(directory)
    data = f"user alice\ntopic readwrite #\n{line}\nuser bob\ntopic read x\n".encode()
    with pytest.raises(Invalid, match="line 3"):
        await import_file(directory, data, "mosquitto-acl", overwrite=True)
    assert facts(directory) == before
    report = await import_file(directory, data, "mosquitto-acl", dry_run=True)
    assert "line 3" in report.refusal
    assert (report.skipped[0].line, report.skipped[0].may_deny) == (3, True)


async def test_the_refusal_names_some_of_many_lines(directory: Directory) -> None:
    data = b"nonsense\n" * 100
    with pytest.raises(Invalid, match="line 1, line 2, .*line 10 and 90 more") as raised:
        await import_file(directory, data, "mosquitto-acl")
    assert len(raised.value.message) < 300


async def test_an_open_default_is_noted(directory: Directory) -> None:
    assert (await import_file(directory, b"", "mosquitto-acl")).notes == ()
    await directory.set_default_access({"publish": True})
    (note,) = (await import_file(directory, b"", "mosquitto-acl")).notes
    assert note.endswith("here the default access allows to publish.")
    await directory.set_no_match("allow")
    (note,) = (await import_file(directory, b"", "mosquitto-acl")).notes
    assert note.endswith("allows to publish and subscribe.")


async def test_many_rules_are_written_in_parts(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_import, "BATCH", 10)
    sizes = [4, 4, 4, 25, 1, 9, 1]
    data = "\n".join(f"user {name}\n" + "\n".join(f"topic {x}" for x in range(size)) for name, size in enumerate(sizes))
    report = await import_file(directory, data.encode(), "mosquitto-acl")
    assert report.counts["users"] == len(sizes)
    assert report.counts["rules"] == sum(sizes)
    assert [len(directory.rules("username", str(name)) or ()) for name in range(len(sizes))] == sizes
    assert await audited(directory) == ["rules.create"] * 5


async def test_rules_that_are_made_meanwhile_are_left_alone(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_rules = directory.create_rules

    async def after_another(*arguments: Any, **options: Any) -> None:
        if directory.rules("username", "b") is None:
            await directory.set_rules("username", "b", ())
        await create_rules(*arguments, **options)

    monkeypatch.setattr(directory, "create_rules", after_another)
    report = await import_file(directory, b"user a\ntopic x\nuser b\ntopic x\nuser c\ntopic x\n", "mosquitto-acl")
    assert report.counts["users"] == 2
    assert [(skipped.line, skipped.what) for skipped in report.skipped] == [(3, "user b")]
    assert directory.rules("username", "b") == ()


# Dynamic security


async def test_a_configuration_of_dynamic_security_takes_the_place_of_what_was_there(directory: Directory) -> None:
    await directory.create_login("username", "old", "x")
    await directory.create_login("username", "alice", "x")
    await directory.roles.create("old role")
    await directory.set_rules("username", "carol", [Rule("mine", "allow", "all")])
    tenant = (await directory.tenants.create("acme")).name
    await directory.create_login("username", "pub-1", "p", tenant=tenant, kind="portal_publisher", clientid="pub-1")
    report = await dry_and_real(directory, json.dumps(DYNSEC_FILE).encode(), "dynamic-security", actor="me")
    assert report.counts == {"users": 3, "roles": 2, "groups": 2, "removed": 1}
    assert report.skipped == ()
    assert [login.login for login in directory.logins("username")] == ["alice", "pub-1", "bob", "carol"]
    assert await can_log_in(directory, "alice", PASSWORD, "c1")
    assert not await can_log_in(directory, "alice", PASSWORD, "c2")
    assert not await can_log_in(directory, "alice", "x", "c1")
    assert (await verdict(directory, "bob", PASSWORD)).outcome is Outcome.NOT_ALLOWED
    assert not await can_log_in(directory, "carol", PASSWORD)
    assert await can_log_in(directory, "pub-1", "p", "pub-1")
    assert may(directory, PUBLISH, "alice", "sensors/alice/x", "c1")
    assert not may(directory, PUBLISH, "alice", "sensors/bob/x", "c1")
    assert may(directory, PUBLISH, "carol", "mine")
    assert [role.name for role in directory.roles.all()] == ["admin", "sensor"]
    assert directory.groups.anonymous == "unauthenticated"
    assert dict(directory.default_access) == {
        "publish": False,
        "receive": True,
        "subscribe": False,
        "unsubscribe": True,
    }
    people = directory.groups.get("people")
    assert people is not None
    assert people.members == {"carol": 3, "alice": -1}
    assert people.roles == {"admin": 100_000}
    again = await import_file(directory, json.dumps(DYNSEC_FILE).encode(), "dynamic-security")
    assert again.counts == {"users": 3, "roles": 2, "groups": 2, "removed": 0}


async def test_names_of_other_logins_are_not_taken_from_them(directory: Directory) -> None:
    tenant = (await directory.tenants.create("acme")).name
    await directory.create_login("username", "alice", "p", tenant=tenant, kind="portal_publisher", clientid="alice")
    report = await dry_and_real(directory, json.dumps(DYNSEC_FILE).encode(), "dynamic-security")
    assert report.counts["users"] == 2
    assert [skipped.what for skipped in report.skipped] == ["clients[0] alice", "groups[0] people clients[1] alice"]
    assert await can_log_in(directory, "alice", "p", "alice")


async def test_a_configuration_without_one_of_its_denies_is_refused(directory: Directory) -> None:
    await directory.create_login("username", "old", "x")
    before = facts(directory)
    acls = [{"acltype": "publishClientSend", "topic": "a/#/b", "allow": False}]
    data = json.dumps({**DYNSEC_FILE, "roles": [{"rolename": "sensor", "acls": acls}]}).encode()
    with pytest.raises(Invalid, match=r"roles\[0\] sensor acls\[0\]"):
        await import_file(directory, data, "dynamic-security")
    assert facts(directory) == before
    assert (await import_file(directory, data, "dynamic-security", dry_run=True)).refusal


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("nothing", b""),
        ("mosquitto-passwords", "x".encode("utf-16")),
        ("amqtt-passwords", "x".encode("utf-16")),
        ("mosquitto-acl", "x".encode("utf-16")),
        ("dynamic-security", b"{}"),
        ("emqx-csv", b"a,b\n"),
        ("emqx-json", b"{}"),
    ],
)
async def test_what_is_no_such_file_changes_nothing(directory: Directory, source: Source, data: bytes) -> None:
    before = facts(directory)
    with pytest.raises(StoreError):
        await import_file(directory, data, source, overwrite=True)
    assert facts(directory) == before
    assert await audited(directory) == []
