"""Logins: created, changed, deleted, and the same after a restart."""

from pathlib import Path

import pytest
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound, StoreError
from wardenmq.store.records import Change

from .argon2_gate import Argon2Gate
from .test_authentication import settle


async def test_the_first_fact_about_a_login_is_its_name(directory: Directory) -> None:
    alice = await directory.create_login("username", "alice", "x")
    device = await directory.create_login("clientid", "alice", "x", superuser=True)
    assert alice.id != device.id
    assert directory.login("username", "alice") == alice
    assert directory.login("clientid", "alice") == device
    assert (alice.superuser, device.superuser, alice.disabled, alice.expires_at) == (False, True, False, None)
    assert directory.login("username", "bob") is None


async def test_logins_come_oldest_first(directory: Directory) -> None:
    for name in ("zoe", "adam", "mia"):
        await directory.create_login("username", name, "x")
    await directory.update_login("username", "zoe", superuser=True)
    assert [login.login for login in directory.logins("username")] == ["zoe", "adam", "mia"]
    assert directory.logins("clientid") == []


@pytest.mark.parametrize(
    ("login_type", "name", "password"),
    [
        ("email", "alice", "x"),
        ("username", "", "x"),
        ("username", "a\0b", "x"),
        ("username", "\ud800", "x"),
        ("username", "ü" * 32_768, "x"),
        ("username", "alice", ""),
    ],
)
async def test_what_is_no_login_is_refused(directory: Directory, login_type: str, name: str, password: str) -> None:
    with pytest.raises(Invalid):
        await directory.create_login(login_type, name, password)
    assert directory.logins("username") == []
    assert directory.generation == 0


async def test_names_are_taken_once(directory: Directory) -> None:
    await directory.create_login("username", "alice", "x")
    with pytest.raises(AlreadyExists, match="The user name 'alice' already exists"):
        await directory.create_login("username", "alice", "y")


@pytest.mark.parametrize("verb", ["update", "delete"])
async def test_an_unknown_login_is_not_found(directory: Directory, verb: str) -> None:
    with pytest.raises(NotFound, match="'bob' does not exist"):
        if verb == "update":
            await directory.update_login("username", "bob", password="x")
        else:
            await directory.delete_login("username", "bob")


async def test_a_changed_login_loses_its_sessions(directory: Directory) -> None:
    changes: list[Change] = []

    async def record(change: Change) -> None:
        changes.append(change)

    directory.on_change(record)
    login = await directory.create_login("username", "alice", "x")
    assert changes == []
    await directory.update_login("username", "alice", superuser=False)
    assert changes == []  # nothing is different
    await directory.update_login("username", "alice", superuser=True)
    await directory.update_login("username", "alice", password="y")
    await directory.update_login("username", "alice", disabled=True)
    await directory.delete_login("username", "alice")
    one = frozenset({login.id})
    assert changes == [Change(close_principals=one, principals=one)] * 3 + [Change(end_principals=one)]


async def test_logins_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.create_login("username", "zoë", "pässword")
    await directory.create_login("clientid", "adam", "x", superuser=True)
    await directory.create_login("username", "bob", "old")
    await directory.create_login("username", "gone", "x")
    await directory.update_login("clientid", "adam", disabled=True)
    await directory.update_login("username", "bob", password="new", expires_at=4_102_444_800.123456)
    await directory.delete_login("username", "gone")
    before = [directory.logins(kind) for kind in ("username", "clientid")]
    await directory.close()

    again = await Directory.open(path)
    assert [again.logins(kind) for kind in ("username", "clientid")] == before
    answers = {
        (name, password): (await settle(again.authenticate("c", name, password.encode()))).outcome.name
        for name, password in (("zoë", "pässword"), ("bob", "new"), ("bob", "old"), ("gone", "x"))
    }
    assert list(answers.values()) == ["ACCEPTED", "ACCEPTED", "WRONG", "WRONG"]
    assert (await settle(again.authenticate("adam", None, b"x"))).outcome.name == "NOT_ALLOWED"
    await again.close()


async def test_messages_are_sentences_of_bounded_length(directory: Directory, gate: Argon2Gate) -> None:
    with pytest.raises(StoreError) as caught:
        await directory.delete_login("username", "x" * 60_000)
    assert len(caught.value.message) < 300
    assert caught.value.message.endswith(".")
    assert not gate.verified
