"""Organizations: created, switched off and on, deleted with all that is theirs, and the same after a restart."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from wardenmq.store.admission import Outcome
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, InUse, Invalid, NotFound, StoreError, UnknownReference
from wardenmq.store.records import Change

from .restarts import assert_all_refused, record, rows
from .test_authentication import settle

Attempt = Callable[[Directory], Awaitable[object]]


@pytest.fixture
async def house(kept: Directory) -> Directory:
    """Have the organizations `acme`, with a publisher and a key that is linked, and `other`, with a publisher."""
    for name in ("acme", "other"):
        await kept.tenants.create(name, display_name=name.title())
        await kept.create_login("username", f"pub-{name}", "x", kind="portal_publisher", tenant=name, confined=True)
    await kept.create_login("username", "plain", "x")
    await kept.create_login(
        "username", "key", None, kind="haltian_key", tenant="acme", secret=store_token("token"), confined=True
    )
    integration = await kept.integrations.create("acme")
    await kept.integrations.link(integration.id, "key")
    await kept.integrations.assign_role("key", "MqttIntegrator")
    await kept.roles.create("role")
    await kept.roles.grant("username", "pub-acme", "role")
    await kept.groups.create("group", members={"pub-acme": 1, "pub-other": 1})
    return kept


async def outcome(directory: Directory, name: str, password: bytes = b"x") -> Outcome:
    return (await settle(directory.authenticate("c", name, password))).outcome


def ids(directory: Directory, *names: str) -> frozenset[str]:
    found = [directory.login("username", name) for name in names]
    return frozenset(login.id for login in found if login is not None)


async def test_there_is_one_from_the_start(kept: Directory) -> None:
    (default,) = kept.tenants.all()
    assert (default.name, default.enabled) == ("default", True)
    login = await kept.create_login("username", "alice", "x")
    assert login.tenant == default.id
    assert kept.tenants.by_id(default.id) == kept.tenants.get("default") == default


async def test_a_tenant_is_what_was_written(kept: Directory) -> None:
    tenant = await kept.tenants.create("äcme", display_name="Acme & Sons")
    assert (tenant.name, tenant.display_name, tenant.enabled) == ("äcme", "Acme & Sons", True)
    assert tenant.created_at > 1_600_000_000
    await kept.tenants.create("abc")
    assert [found.name for found in kept.tenants.all()] == ["default", "äcme", "abc"]
    assert kept.tenants.get("Äcme") is None
    assert not kept.tenants.is_enabled("nosuch")


@pytest.mark.parametrize("change", [{"display_name": "new"}, {"display_name": ""}, {"enabled": False}, {}])
async def test_an_update_changes_what_is_given_and_nothing_else(house: Directory, change: dict[str, object]) -> None:
    before = house.tenants.get("acme")
    after = await house.tenants.update("acme", **change)  # type: ignore[arg-type]
    for name in ("id", "name", "display_name", "enabled", "created_at"):
        assert getattr(after, name) == change.get(name, getattr(before, name)), name
    assert house.tenants.get("acme") == house.tenants.by_id(after.id) == after


async def test_nobody_of_a_tenant_that_is_switched_off_gets_in(house: Directory) -> None:
    changes = record(house)
    await house.tenants.update("acme", enabled=False)
    assert changes == [Change(close_principals=ids(house, "pub-acme", "key"))]
    outcomes = [await outcome(house, name) for name in ("pub-acme", "pub-other", "plain")]
    assert outcomes == [Outcome.NOT_ALLOWED, Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert await outcome(house, "key", b"token") is Outcome.NOT_ALLOWED
    assert await outcome(house, "pub-acme", b"wrong") is Outcome.WRONG
    changes.clear()
    await house.tenants.update("acme", enabled=False)  # again
    await house.tenants.update("acme", enabled=True)
    await house.tenants.update("acme", display_name="x")
    assert changes == []
    assert await outcome(house, "pub-acme") is Outcome.ACCEPTED
    assert await outcome(house, "key", b"token") is Outcome.ACCEPTED


async def test_the_logins_own_switches_stay_as_they_are(house: Directory) -> None:
    await house.update_login("username", "pub-acme", paused=True)
    await house.tenants.update("acme", enabled=False)
    await house.tenants.update("acme", enabled=True)
    assert await outcome(house, "pub-acme") is Outcome.NOT_ALLOWED


async def test_a_deleted_tenant_takes_all_that_is_its_own(house: Directory) -> None:
    changes = record(house)
    gone = ids(house, "pub-acme", "key")
    (integration,) = house.integrations.of_tenant("acme")
    await house.tenants.delete("acme")
    assert changes == [Change(end_principals=gone)]
    assert [tenant.name for tenant in house.tenants.all()] == ["default", "other"]
    assert [login.login for login in house.logins("username")] == ["pub-other", "plain"]
    assert house.integrations.get(integration.id) is None
    group = house.groups.get("group")
    assert group is not None
    assert dict(group.members) == {"pub-other": 1}
    assert await outcome(house, "pub-acme") is Outcome.WRONG
    # Nothing of it is left in the file, for whoever reads that.
    kept = await rows(house)
    audit = kept.pop("audit_log")
    assert not [row for table in kept.values() for row in table if {*gone, integration.id} & {*map(str, row)}]
    assert audit[-1][4:6] == ("tenant.delete", "acme")
    # The names are free again, and who gets them has nothing of what was there.
    await house.tenants.create("acme")
    again = await house.create_login("username", "pub-acme", "y", tenant="acme")
    assert house.roles.of_login(again.id) == {}
    assert house.groups.of_login(again.id) == {}
    assert house.integrations.of_tenant("acme") == []


REFUSED: dict[str, tuple[type[StoreError], Attempt]] = {
    "create empty": (Invalid, lambda d: d.tenants.create("")),
    "create control": (Invalid, lambda d: d.tenants.create("a\x9b")),
    "create long": (Invalid, lambda d: d.tenants.create("x" * 1_001)),
    "create again": (AlreadyExists, lambda d: d.tenants.create("acme")),
    "create default": (AlreadyExists, lambda d: d.tenants.create("default")),
    "create display name": (Invalid, lambda d: d.tenants.create("new", display_name="a\0")),
    "create long display name": (Invalid, lambda d: d.tenants.create("new", display_name="x" * 1_001)),
    "update unknown": (NotFound, lambda d: d.tenants.update("nosuch", enabled=False)),
    "update display name": (Invalid, lambda d: d.tenants.update("acme", enabled=False, display_name="\ud800")),
    "update long display name": (Invalid, lambda d: d.tenants.update("acme", display_name="x" * 1_001)),
    "delete unknown": (NotFound, lambda d: d.tenants.delete("x" * 60_000)),
    "delete default": (InUse, lambda d: d.tenants.delete("default")),
    "login of an unknown one": (UnknownReference, lambda d: d.create_login("username", "new", "x", tenant="nosuch")),
    "login of another one": (
        AlreadyExists,
        lambda d: d.create_login("username", "pub-acme", "x", kind="portal_publisher", tenant="other"),
    ),
}


async def test_what_is_refused_changes_nothing(house: Directory) -> None:
    attempts = {what: (error, partial(attempt, house)) for what, (error, attempt) in REFUSED.items()}
    await assert_all_refused(house, attempts)


async def test_each_write_is_in_the_audit_log(house: Directory) -> None:
    begun = await house.audit.count()
    await house.tenants.create("new", actor="root", facade="cli")
    await house.tenants.update("new", enabled=False, actor="root", facade="cli")
    await house.tenants.delete("new", actor="root", facade="cli")
    entries = [*reversed(await house.audit.entries())][begun:]
    assert {(entry.actor, entry.facade, entry.target) for entry in entries} == {("root", "cli", "new")}
    assert [(entry.action, dict(entry.detail)) for entry in entries] == [
        ("tenant.create", {}),
        ("tenant.update", {"enabled": False}),
        ("tenant.delete", {"logins": 0}),
    ]
