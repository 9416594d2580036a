"""Organizations: whose logins are kept apart from everybody else's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Unpack
from uuid import uuid4

from .database import Database, Statement
from .errors import AlreadyExists, InUse, NotFound, UnknownReference
from .logins import Logins
from .names import check_object_name, check_text, shown
from .records import Change, Tenant
from .writer import Origin, Write, Writer

DEFAULT_TENANT = "default"
"""The name of the tenant that the operator's own objects are in."""
_MAX_DISPLAY_NAME = 1_000

_LOAD = "SELECT id, name, display_name, enabled, created_at FROM tenant ORDER BY rowid"
_INSERT = "INSERT INTO tenant (id, name, display_name, enabled, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)"
_UPDATE = "UPDATE tenant SET display_name = ?, enabled = ?, updated_at = ? WHERE id = ?"


class Tenants:
    """Own the tenants in memory and write them."""

    def __init__(self, writer: Writer, logins: Logins) -> None:
        self._writer = writer
        self._logins = logins
        self._by_name: dict[str, Tenant] = {}
        self._by_id: dict[str, Tenant] = {}
        self._on_forget: list[Callable[[str], None]] = []

    def on_forget(self, callback: Callable[[str], None]) -> None:
        """Call back with the id of each tenant that is no more, as part of the write that ends it."""
        self._on_forget.append(callback)

    async def load(self, database: Database) -> None:
        """Read all tenants."""
        for row in await database.read(_LOAD):
            self._put(Tenant(row[0], row[1], row[2], bool(row[3]), row[4] / 1_000_000))

    def all(self) -> Sequence[Tenant]:
        """Return all tenants, oldest first."""
        return list(self._by_name.values())

    def get(self, name: str) -> Tenant | None:
        """Return the tenant of this name."""
        return self._by_name.get(name)

    def by_id(self, tenant: str) -> Tenant | None:
        """Return the tenant of this id."""
        return self._by_id.get(tenant)

    def required(self, name: str) -> Tenant:
        """Return a tenant that something else is to be in; raise UnknownReference."""
        tenant = self._by_name.get(name)
        if tenant is None:
            raise UnknownReference("tenant", name)
        return tenant

    def is_enabled(self, tenant: str) -> bool:
        """Tell whether the tenant of this id is there and switched on."""
        found = self._by_id.get(tenant)
        return found is not None and found.enabled

    async def create(self, name: str, *, display_name: str = "", **origin: Unpack[Origin]) -> Tenant:
        """Create a tenant."""
        return await self._writer.write(lambda at: self._create(name, display_name, at), **origin)

    async def update(
        self, name: str, *, display_name: str | None = None, enabled: bool | None = None, **origin: Unpack[Origin]
    ) -> Tenant:
        """Change what is given; the live sessions of a tenant that is switched off are closed."""
        return await self._writer.write(lambda at: self._update(name, display_name, enabled, at), **origin)

    async def delete(self, name: str, **origin: Unpack[Origin]) -> None:
        """Delete a tenant with all that is its own, sessions included; raise InUse for `default`."""
        await self._writer.write(lambda at: self._delete(name), **origin)

    def _create(self, name: str, display_name: str, at: int) -> Write[Tenant]:
        check_object_name(name, "tenant")
        check_text(display_name, "display name", _MAX_DISPLAY_NAME)
        if name in self._by_name:
            raise AlreadyExists(f"The tenant '{shown(name)}' already exists.")
        tenant = Tenant(str(uuid4()), name, display_name, True, at / 1_000_000)
        row = (tenant.id, name, display_name, 1, at, at)
        return Write("tenant.create", name, [Statement(_INSERT, [row])], lambda: self._put(tenant), tenant)

    def _update(self, name: str, display_name: str | None, enabled: bool | None, at: int) -> Write[Tenant]:
        old = self._existing(name)
        if display_name is not None:
            check_text(display_name, "display name", _MAX_DISPLAY_NAME)
        tenant = replace(
            old,
            display_name=old.display_name if display_name is None else display_name,
            enabled=old.enabled if enabled is None else enabled,
        )
        row = (tenant.display_name, int(tenant.enabled), at, tenant.id)
        closed = old.enabled and not tenant.enabled
        return Write(
            "tenant.update",
            name,
            [Statement(_UPDATE, [row])],
            lambda: self._put(tenant),
            tenant,
            Change(close_principals=self._members(tenant) if closed else frozenset()),
            {"enabled": tenant.enabled},
        )

    def _delete(self, name: str) -> Write[None]:
        tenant = self._existing(name)
        if name == DEFAULT_TENANT:
            raise InUse("The tenant 'default' holds the operator's own objects and cannot be deleted.")
        members = self._members(tenant)

        def apply() -> None:
            del self._by_name[name], self._by_id[tenant.id]
            self._logins.remove(members)
            for callback in self._on_forget:
                callback(tenant.id)

        statement = Statement("DELETE FROM tenant WHERE id = ?", [(tenant.id,)])
        change = Change(end_principals=members)
        return Write("tenant.delete", name, [statement], apply, None, change, {"logins": len(members)})

    def _members(self, tenant: Tenant) -> frozenset[str]:
        return frozenset(login.id for login in self._logins.of_tenant(tenant.id))

    def _existing(self, name: str) -> Tenant:
        tenant = self._by_name.get(name)
        if tenant is None:
            raise NotFound(f"The tenant '{shown(name)}' does not exist.")
        return tenant

    def _put(self, tenant: Tenant) -> None:
        self._by_name[tenant.name] = self._by_id[tenant.id] = tenant
