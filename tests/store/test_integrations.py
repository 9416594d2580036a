"""Integrations, links and organization roles: which events a key may read, who is told, and after a restart."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import get_args

import pytest
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound, StoreError, UnknownReference
from wardenmq.store.records import Change, Integration, Login, OrgRole

from .restarts import assert_all_refused, assert_refused, record

Attempt = Callable[["House"], Awaitable[object]]


class House:
    """Have `acme` with two integrations and the keys `one` and `two`, and `other` with one of each."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.integrations = directory.integrations
        self.first: Integration
        self.second: Integration
        self.foreign: Integration

    async def fill(self) -> "House":
        for tenant in ("acme", "other"):
            await self.directory.tenants.create(tenant)
        for tenant, key in (("acme", "one"), ("acme", "two"), ("other", "foreign")):
            await self.add_key(tenant, key)
        await self.directory.create_login("username", "plain", "x", tenant="acme")
        self.first = await self.integrations.create("acme", description="first")
        self.second = await self.integrations.create("acme")
        self.foreign = await self.integrations.create("other")
        return self

    async def add_key(self, tenant: str, key: str) -> Login:
        return await self.directory.create_login(
            "username",
            key,
            None,
            kind="haltian_key",
            tenant=tenant,
            secret=store_token(key),
            id=f"id-of-{key}",
            confined=True,
            can_publish=False,
        )

    def readable(self, key: str) -> tuple[str, ...]:
        return self.integrations.readable(f"id-of-{key}")


@pytest.fixture
async def house(kept: Directory) -> House:
    return await House(kept).fill()


def told(*keys: str) -> Change:
    return Change(principals=frozenset(f"id-of-{key}" for key in keys))


def closed(*keys: str) -> Change:
    return Change(close_principals=frozenset(f"id-of-{key}" for key in keys))


async def test_an_integration_is_what_was_written(house: House) -> None:
    new = await house.integrations.create("acme", description="für alle", state="inactive")
    assert (new.description, new.state) == ("für alle", "inactive")
    tenant = house.directory.tenants.get("acme")
    assert tenant is not None
    assert new.tenant == tenant.id
    assert house.integrations.get(new.id) == new
    assert [*house.integrations.of_tenant("acme")] == [house.first, house.second, new]
    assert [*house.integrations.of_tenant("other")] == [house.foreign]
    assert [*house.integrations.of_tenant("default")] == []
    assert new.created_at > 1_600_000_000


@pytest.mark.parametrize("change", [{"description": "new"}, {"description": ""}, {"state": "inactive"}, {}])
async def test_an_update_changes_what_is_given_and_nothing_else(house: House, change: dict[str, str]) -> None:
    before = house.first
    after = await house.integrations.update(before.id, **change)
    for name in ("id", "tenant", "description", "state", "created_at"):
        assert getattr(after, name) == change.get(name, getattr(before, name)), name
    assert house.integrations.get(before.id) == after


async def test_a_key_reads_its_active_links_and_nothing_without_the_role(house: House) -> None:
    await house.integrations.link(house.first.id, "one")
    assert house.readable("one") == ()
    for role in get_args(OrgRole):
        if role != "MqttIntegrator":
            await house.integrations.assign_role("one", role)
    assert house.readable("one") == ()
    await house.integrations.assign_role("one", "MqttIntegrator")
    assert house.readable("one") == (house.first.id,)
    await house.integrations.link(house.second.id, "one")
    assert house.readable("one") == (house.first.id, house.second.id)
    assert house.readable("two") == ()
    await house.integrations.update(house.first.id, state="inactive")
    assert house.readable("one") == (house.second.id,)
    await house.integrations.update(house.first.id, state="active")
    assert house.readable("one") == (house.first.id, house.second.id)
    await house.integrations.unlink(house.first.id, "one")
    assert house.readable("one") == (house.second.id,)
    await house.integrations.delete(house.second.id)
    assert house.readable("one") == ()
    assert house.integrations.links_of("id-of-one") == []
    await house.integrations.link(house.first.id, "one")
    await house.integrations.unassign_role("one", "MqttIntegrator")
    assert house.readable("one") == ()
    assert house.integrations.roles_of("id-of-one") == {*get_args(OrgRole)} - {"MqttIntegrator"}


async def test_links_come_oldest_first(house: House) -> None:
    """After a restart too, which the fixture sees to."""
    several = [await house.integrations.create("acme") for _ in range(8)]
    for integration in several:
        await house.integrations.link(integration.id, "one")
    await house.integrations.unlink(several[0].id, "one")
    await house.integrations.link(several[0].id, "one")
    expected = [integration.id for integration in [*several[1:], several[0]]]
    assert house.integrations.links_of("id-of-one") == expected


async def test_a_key_that_is_deleted_leaves_nothing(house: House) -> None:
    await house.integrations.link(house.first.id, "one")
    await house.integrations.assign_role("one", "MqttIntegrator")
    await house.directory.delete_login("username", "one")
    assert house.integrations.links_of("id-of-one") == []
    assert house.integrations.roles_of("id-of-one") == frozenset()
    await house.add_key("acme", "one")
    assert house.readable("one") == ()
    await house.integrations.delete(house.first.id)


async def test_an_integration_that_is_deleted_does_not_come_back_with_its_links(house: House) -> None:
    for key in ("one", "two"):
        await house.integrations.link(house.first.id, key)
    await house.integrations.delete(house.first.id)
    assert house.integrations.get(house.first.id) is None
    assert [house.integrations.links_of(f"id-of-{key}") for key in ("one", "two")] == [[], []]
    await assert_refused(house.directory, UnknownReference, house.integrations.unlink(house.first.id, "one"))


async def test_keys_are_told_and_those_with_nothing_left_are_closed(house: House) -> None:
    changes = record(house.directory)
    for key in ("one", "two"):
        await house.integrations.assign_role(key, "MqttIntegrator")
        await house.integrations.link(house.first.id, key)
    await house.integrations.link(house.second.id, "one")
    assert changes == [told("one"), told("one"), told("two"), told("two"), told("one")]
    changes.clear()
    # `one` has another integration to read, `two` has not, and so may not even connect.
    both = Change(principals=told("one").principals, close_principals=closed("two").close_principals)
    await house.integrations.update(house.first.id, state="inactive")
    assert changes == [both]
    changes.clear()
    await house.integrations.update(house.first.id, state="inactive")
    await house.integrations.update(house.first.id, description="x")
    assert changes == []
    await house.integrations.update(house.first.id, state="active")
    assert changes == [told("one", "two")]
    changes.clear()
    await house.integrations.update(house.first.id, state="active", description="y")
    assert changes == []
    await house.integrations.unlink(house.second.id, "one")
    await house.integrations.link(house.second.id, "one")
    await house.integrations.unlink(house.first.id, "two")
    await house.integrations.link(house.first.id, "two")
    assert changes == [told("one"), told("one"), closed("two"), told("two")]
    changes.clear()
    await house.integrations.delete(house.first.id)
    assert changes == [both]
    changes.clear()
    await house.integrations.assign_role("one", "DataViewer")
    assert changes == [told("one")]
    changes.clear()
    await house.integrations.unassign_role("one", "DataViewer")  # it gave it nothing
    assert changes == []
    await house.integrations.unassign_role("one", "MqttIntegrator")
    assert changes == [closed("one")]


REFUSED: dict[str, tuple[type[StoreError], Attempt]] = {
    "create for nobody": (UnknownReference, lambda h: h.integrations.create("nosuch")),
    "create state": (Invalid, lambda h: h.integrations.create("acme", state="on")),
    "create text": (Invalid, lambda h: h.integrations.create("acme", description="a\0")),
    "create long text": (Invalid, lambda h: h.integrations.create("acme", description="x" * 10_001)),
    "update unknown": (NotFound, lambda h: h.integrations.update("nosuch", state="active")),
    "update state": (Invalid, lambda h: h.integrations.update(h.first.id, state="")),
    "update text": (Invalid, lambda h: h.integrations.update(h.first.id, state="inactive", description="\ud800")),
    "delete unknown": (NotFound, lambda h: h.integrations.delete("x" * 60_000)),
    "link unknown": (UnknownReference, lambda h: h.integrations.link("nosuch", "one")),
    "link no key": (UnknownReference, lambda h: h.integrations.link(h.first.id, "nosuch")),
    "link a plain login": (UnknownReference, lambda h: h.integrations.link(h.first.id, "plain")),
    "link across organizations": (UnknownReference, lambda h: h.integrations.link(h.foreign.id, "two")),
    "link again": (AlreadyExists, lambda h: h.integrations.link(h.first.id, "one")),
    "unlink unknown": (UnknownReference, lambda h: h.integrations.unlink("nosuch", "one")),
    "unlink no key": (UnknownReference, lambda h: h.integrations.unlink(h.first.id, "nosuch")),
    "unlink across organizations": (UnknownReference, lambda h: h.integrations.unlink(h.first.id, "foreign")),
    "unlink unlinked": (NotFound, lambda h: h.integrations.unlink(h.first.id, "two")),
    "assign no key": (UnknownReference, lambda h: h.integrations.assign_role("plain", "DataViewer")),
    "assign no role": (Invalid, lambda h: h.integrations.assign_role("one", "mqttintegrator")),
    "assign again": (AlreadyExists, lambda h: h.integrations.assign_role("one", "MqttIntegrator")),
    "unassign no key": (UnknownReference, lambda h: h.integrations.unassign_role("nosuch", "DataViewer")),
    "unassign no role": (Invalid, lambda h: h.integrations.unassign_role("one", "x" * 60_000)),
    "unassign not held": (NotFound, lambda h: h.integrations.unassign_role("one", "DataViewer")),
}


async def test_what_is_refused_changes_nothing(house: House) -> None:
    await house.integrations.link(house.first.id, "one")
    await house.integrations.assign_role("one", "MqttIntegrator")
    attempts = {what: (error, partial(attempt, house)) for what, (error, attempt) in REFUSED.items()}
    await assert_all_refused(house.directory, attempts)


async def test_integrations_of_nobody_cannot_be_asked_for(house: House) -> None:
    with pytest.raises(UnknownReference, match="tenant 'nosuch'"):
        house.integrations.of_tenant("nosuch")


async def test_each_write_is_in_the_audit_log(house: House) -> None:
    begun = await house.directory.audit.count()
    new = await house.integrations.create("acme", actor="root", facade="graphql")
    await house.integrations.update(new.id, state="inactive", actor="root", facade="graphql")
    await house.integrations.link(new.id, "one", actor="root", facade="graphql")
    await house.integrations.unlink(new.id, "one", actor="root", facade="graphql")
    await house.integrations.assign_role("one", "DataViewer", actor="root", facade="graphql")
    await house.integrations.unassign_role("one", "DataViewer", actor="root", facade="graphql")
    await house.integrations.delete(new.id, actor="root", facade="graphql")
    entries = [*reversed(await house.directory.audit.entries())][begun:]
    assert {(entry.actor, entry.facade) for entry in entries} == {("root", "graphql")}
    assert [(entry.action, entry.target, dict(entry.detail)) for entry in entries] == [
        ("integration.create", new.id, {"tenant": "acme"}),
        ("integration.update", new.id, {"state": "inactive"}),
        ("integration.link", new.id, {"key": "id-of-one"}),
        ("integration.unlink", new.id, {"key": "id-of-one"}),
        ("key.assign_role", "id-of-one", {"role": "DataViewer"}),
        ("key.unassign_role", "id-of-one", {"role": "DataViewer"}),
        ("integration.delete", new.id, {}),
    ]
