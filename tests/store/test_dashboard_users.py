"""Dashboard users in the store: what is kept of them and who may be left."""

from pathlib import Path

import pytest
from wardenmq.store import dashboard_users
from wardenmq.store.credentials.stored_secrets import StoredSecret
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, InUse, Invalid, NotFound

from .argon2_gate import Argon2Gate

PASSWORD = "secret-12"


async def test_a_user_is_checked_by_password(kept: Directory) -> None:
    users = kept.dashboard_users
    made = await users.create("ann", PASSWORD, "viewer", description="two\nlines")
    assert (made.name, made.role, made.description) == ("ann", "viewer", "two\nlines")
    assert await users.check("ann", PASSWORD, "10.0.0.1") == made
    for name, password in (("ann", "other"), ("bob", PASSWORD), ("ann", ""), ("ann", "\ud800"), ("ann", "x" * 5_000)):
        assert await users.check(name, password, "10.0.0.1") is None
    assert users.all() == [made]
    assert PASSWORD not in repr(users.stored())


async def test_the_second_login_hashes_nothing(directory: Directory, gate: Argon2Gate) -> None:
    users = directory.dashboard_users
    await users.create("ann", PASSWORD)
    await users.check("ann", PASSWORD, "")
    hashed = len(gate.verified)
    assert await users.check("ann", PASSWORD, "") is not None
    assert len(gate.verified) == hashed
    await users.check("nobody", PASSWORD, "")
    assert len(gate.verified) == hashed + 1


async def test_a_password_that_is_changed_while_it_is_checked_opens_nothing(
    directory: Directory, gate: Argon2Gate
) -> None:
    users = directory.dashboard_users
    await users.create("ann", PASSWORD)
    checked = users._passwords.check

    async def check_late(*what: object, **more: object) -> bool:
        right = await checked(*what, **more)  # pyright: ignore[reportArgumentType]
        await users.set_password("ann", "secret-13")
        return right

    users._passwords.check = check_late  # pyright: ignore[reportAttributeAccessIssue]
    assert await users.check("ann", PASSWORD, "") is None


async def test_changes_and_revisions(kept: Directory) -> None:
    users = kept.dashboard_users
    await users.create("root", PASSWORD)
    made = await users.create("ann", PASSWORD)
    described = await users.update("ann", description="x")
    assert described.revision == made.revision
    demoted = await users.update("ann", role="viewer")
    assert demoted.revision != made.revision
    renewed = await users.set_password("ann", "secret-13")
    assert renewed.revision not in (made.revision, demoted.revision)
    assert await users.check("ann", "secret-13", "") == renewed
    assert await users.check("ann", PASSWORD, "") is None
    assert users.get("ann") == renewed
    await users.delete("ann")
    assert users.get("ann") is None
    assert await users.check("ann", "secret-13", "") is None


async def test_an_administrator_is_left(kept: Directory) -> None:
    users = kept.dashboard_users
    await users.create("root", PASSWORD)
    await users.create("guest", PASSWORD, "viewer")
    with pytest.raises(InUse):
        await users.update("root", role="viewer")
    with pytest.raises(InUse):
        await users.delete("root")
    await users.update("guest", role="administrator")
    await users.delete("root")
    assert [user.name for user in users.all()] == ["guest"]


@pytest.mark.parametrize("name", ["", "a-b", "a b", "é", "a\n", "x" * 101])
async def test_names_that_are_refused(kept: Directory, name: str) -> None:
    with pytest.raises(Invalid):
        await kept.dashboard_users.create(name, PASSWORD)
    assert kept.dashboard_users.all() == []


async def test_what_else_is_refused(kept: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    users = kept.dashboard_users
    await users.create("ann", PASSWORD)
    with pytest.raises(AlreadyExists):
        await users.create("ann", PASSWORD)
    with pytest.raises(Invalid):
        await users.create("bob", "")
    with pytest.raises(Invalid):
        await users.create("bob", PASSWORD, "publisher")
    with pytest.raises(Invalid):
        await users.create("bob", PASSWORD, description="\x1b")
    with pytest.raises(Invalid):
        await users.update("ann", description="x" * 10_001)
    for change in (users.update("bob"), users.set_password("bob", PASSWORD), users.delete("bob")):
        with pytest.raises(NotFound):
            await change
    monkeypatch.setattr(dashboard_users, "MAX_USERS", 1)
    with pytest.raises(Invalid, match="more than"):
        await users.create("bob", PASSWORD)


async def test_a_backup_brings_users_back(kept: Directory, gate: Argon2Gate) -> None:
    users = kept.dashboard_users
    await users.create("ann", PASSWORD, description="x")
    (stored,) = users.stored()
    other = await Directory.open(":memory:")
    put = other.dashboard_users.put
    await put("ann", stored.secret, stored.user.role, stored.user.description)
    restored = await other.dashboard_users.check("ann", PASSWORD, "")
    assert restored is not None
    assert (restored.role, restored.description) == ("administrator", "x")
    again = await put("ann", StoredSecret("argon2id", gate.hash(b"another").encode()), "administrator", "y")
    assert again.id == restored.id
    assert again.revision != restored.revision
    assert await other.dashboard_users.check("ann", "another", "") == again
    await other.close()


async def test_all_of_it_survives_a_restart(tmp_path: Path, gate: Argon2Gate) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.dashboard_users.create("root", PASSWORD)
    await directory.dashboard_users.create("ann", PASSWORD, "viewer", description="x")
    await directory.dashboard_users.set_password("ann", "secret-13")
    await directory.dashboard_users.create("gone", PASSWORD)
    await directory.dashboard_users.delete("gone")
    await directory.close()

    again = await Directory.open(path)
    users = again.dashboard_users
    assert [(user.name, user.role, user.description) for user in users.all()] == [
        ("root", "administrator", ""),
        ("ann", "viewer", "x"),
    ]
    assert await users.check("ann", "secret-13", "") == users.get("ann")
    assert await users.check("ann", PASSWORD, "") is None
    await again.close()
    assert PASSWORD.encode() not in path.read_bytes()
