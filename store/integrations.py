"""Integrations of organizations, the API keys linked to them, and the organization roles that keys need."""

from collections.abc import Collection, Sequence
from typing import Unpack, cast, get_args
from uuid import uuid4

from .database import Database, Statement
from .errors import AlreadyExists, Invalid, NotFound, UnknownReference
from .logins import Logins
from .names import check_text, shown
from .records import Change, Integration, IntegrationState, Login, OrgRole
from .tenants import Tenants
from .writer import Origin, Write, Writer

_MAX_DESCRIPTION = 10_000
_GATE: OrgRole = "MqttIntegrator"

_LOAD = "SELECT id, tenant_id, description, state, created_at FROM integration ORDER BY rowid"
_LOAD_LINKS = "SELECT integration_id, principal_id FROM integration_key ORDER BY created_at"
_LOAD_ROLES = "SELECT principal_id, role_name FROM org_role"
_INSERT = """
    INSERT INTO integration (id, tenant_id, description, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)"""
_UPDATE = "UPDATE integration SET description = ?, state = ?, updated_at = ? WHERE id = ?"
_DELETE = "DELETE FROM integration WHERE id = ?"
_LINK = "INSERT INTO integration_key (integration_id, principal_id, created_at) VALUES (?, ?, ?)"
_UNLINK = "DELETE FROM integration_key WHERE integration_id = ? AND principal_id = ?"
_ASSIGN = "INSERT INTO org_role (principal_id, role_name, created_at) VALUES (?, ?, ?)"
_UNASSIGN = "DELETE FROM org_role WHERE principal_id = ? AND role_name = ?"


class Integrations:
    """Own integrations, links and organization roles in memory and write them."""

    def __init__(self, writer: Writer, tenants: Tenants, logins: Logins) -> None:
        self._writer = writer
        self._tenants = tenants
        self._logins = logins
        self._by_id: dict[str, Integration] = {}
        self._links: dict[str, dict[str, None]] = {}
        """Principal -> integrations, oldest link first."""
        self._roles: dict[str, set[OrgRole]] = {}
        """Principal -> organization roles."""
        logins.on_forget(self._forget_principals)
        tenants.on_forget(self._forget_tenant)

    async def load(self, database: Database) -> None:
        """Read everything."""
        for row in await database.read(_LOAD):
            self._by_id[row[0]] = Integration(row[0], row[1], row[2], row[3], row[4] / 1_000_000)
        for integration, principal in await database.read(_LOAD_LINKS):
            self._links.setdefault(principal, {})[integration] = None
        for principal, role in await database.read(_LOAD_ROLES):
            self._roles.setdefault(principal, set()).add(role)

    # Reading

    def get(self, integration: str) -> Integration | None:
        """Return the integration of this id."""
        return self._by_id.get(integration)

    def of_tenant(self, tenant: str) -> Sequence[Integration]:
        """Return the integrations of the tenant of this name, oldest first."""
        wanted = self._tenants.required(tenant).id
        return [integration for integration in self._by_id.values() if integration.tenant == wanted]

    def links_of(self, principal: str) -> list[str]:
        """Return the integrations that a key is linked to."""
        return list(self._links.get(principal, ()))

    def roles_of(self, principal: str) -> frozenset[OrgRole]:
        """Return the organization roles of a principal."""
        return frozenset(self._roles.get(principal, ()))

    def readable(self, principal: str) -> tuple[str, ...]:
        """Return the integrations whose events a key may read: its active links, and none without the role for it."""
        if _GATE not in self._roles.get(principal, ()):
            return ()
        return tuple(link for link in self._links.get(principal, ()) if self._by_id[link].state == "active")

    # Writing

    async def create(
        self, tenant: str, *, description: str = "", state: str = "active", **origin: Unpack[Origin]
    ) -> Integration:
        """Create an integration of the tenant of this name."""

        def prepare(at: int) -> Write[Integration]:
            owner = self._tenants.required(tenant).id
            integration = Integration(str(uuid4()), owner, _text(description), _state(state), at / 1_000_000)
            row = (integration.id, owner, description, state, at, at)
            return Write(
                "integration.create",
                integration.id,
                [Statement(_INSERT, [row])],
                lambda: self._put(integration),
                integration,
                detail={"tenant": tenant},
            )

        return await self._writer.write(prepare, **origin)

    async def update(
        self,
        integration: str,
        *,
        description: str | None = None,
        state: str | None = None,
        **origin: Unpack[Origin],
    ) -> Integration:
        """Change what is given."""

        def prepare(at: int) -> Write[Integration]:
            old = self._existing(integration)
            new = Integration(
                old.id,
                old.tenant,
                old.description if description is None else _text(description),
                old.state if state is None else _state(state),
                old.created_at,
            )
            return Write(
                "integration.update",
                integration,
                [Statement(_UPDATE, [(new.description, new.state, at, integration)])],
                lambda: self._put(new),
                new,
                self._without(integration) if new.state != "active" and old.state == "active" else self._with(new, old),
                {"state": new.state},
            )

        return await self._writer.write(prepare, **origin)

    async def delete(self, integration: str, **origin: Unpack[Origin]) -> None:
        """Delete an integration and its links."""

        def prepare(at: int) -> Write[None]:
            self._existing(integration)

            def apply() -> None:
                del self._by_id[integration]
                for principal in self._linked(integration):
                    self._unlink(integration, principal)

            statement = Statement(_DELETE, [(integration,)])
            return Write("integration.delete", integration, [statement], apply, None, self._without(integration))

        await self._writer.write(prepare, **origin)

    async def link(self, integration: str, key: str, **origin: Unpack[Origin]) -> None:
        """Link a key of the same organization; raise UnknownReference or AlreadyExists."""

        def prepare(at: int) -> Write[None]:
            found, login = self._pair(integration, key)
            if integration in self._links.get(login.id, ()):
                raise AlreadyExists("The key is linked to the integration already.")
            return Write(
                "integration.link",
                found.id,
                [Statement(_LINK, [(found.id, login.id, at)])],
                lambda: self._links.setdefault(login.id, {}).update({found.id: None}),
                None,
                Change(principals=frozenset({login.id})),
                {"key": login.id},
            )

        await self._writer.write(prepare, **origin)

    async def unlink(self, integration: str, key: str, **origin: Unpack[Origin]) -> None:
        """Take a link away; raise NotFound where there is none."""

        def prepare(at: int) -> Write[None]:
            found, login = self._pair(integration, key)
            if integration not in self._links.get(login.id, ()):
                raise NotFound("The key is not linked to the integration.")
            return Write(
                "integration.unlink",
                found.id,
                [Statement(_UNLINK, [(found.id, login.id)])],
                lambda: self._unlink(found.id, login.id),
                None,
                self._loses(login.id, found.id),
                {"key": login.id},
            )

        await self._writer.write(prepare, **origin)

    async def assign_role(self, key: str, role: str, **origin: Unpack[Origin]) -> None:
        """Give a key an organization role; raise Invalid, UnknownReference or AlreadyExists."""

        def prepare(at: int) -> Write[None]:
            login, checked = self._key(key), _role(role)
            if checked in self._roles.get(login.id, ()):
                raise AlreadyExists("The key has the role already.")
            return Write(
                "key.assign_role",
                login.id,
                [Statement(_ASSIGN, [(login.id, checked, at)])],
                lambda: self._roles.setdefault(login.id, set()).add(checked),
                None,
                Change(principals=frozenset({login.id})),
                {"role": checked},
            )

        await self._writer.write(prepare, **origin)

    async def unassign_role(self, key: str, role: str, **origin: Unpack[Origin]) -> None:
        """Take an organization role from a key; raise NotFound where it does not have it."""

        def prepare(at: int) -> Write[None]:
            login, checked = self._key(key), _role(role)
            if checked not in self._roles.get(login.id, ()):
                raise NotFound("The key does not have the role.")
            closes = frozenset({login.id} if checked == _GATE else ())
            return Write(
                "key.unassign_role",
                login.id,
                [Statement(_UNASSIGN, [(login.id, checked)])],
                lambda: self._roles[login.id].discard(checked),
                None,
                Change(close_principals=closes),
                {"role": checked},
            )

        await self._writer.write(prepare, **origin)

    def _forget_principals(self, principals: Collection[str]) -> None:
        """Drop principals that are no more."""
        for principal in principals:
            self._links.pop(principal, None)
            self._roles.pop(principal, None)

    def _forget_tenant(self, tenant: str) -> None:
        """Drop the integrations of a tenant that is no more, whose keys are dropped one by one."""
        for integration in [known.id for known in self._by_id.values() if known.tenant == tenant]:
            del self._by_id[integration]

    def _with(self, new: Integration, old: Integration) -> Change:
        """Say whom it concerns that an integration can be read again."""
        return Change(principals=frozenset(self._linked(new.id) if new.state != old.state else ()))

    def _without(self, integration: str) -> Change:
        """Say whom it concerns that an integration cannot be read any more."""
        changes = [self._loses(principal, integration) for principal in self._linked(integration)]
        return Change(
            close_principals=frozenset[str]().union(*(change.close_principals for change in changes)),
            principals=frozenset[str]().union(*(change.principals for change in changes)),
        )

    def _loses(self, principal: str, integration: str) -> Change:
        """Have a key's sessions closed where it has nothing left to read, for then it may not even connect."""
        one, left = frozenset({principal}), set(self.readable(principal)) - {integration}
        return Change(principals=one) if left else Change(close_principals=one)

    def _linked(self, integration: str) -> list[str]:
        return [principal for principal, links in self._links.items() if integration in links]

    def _unlink(self, integration: str, principal: str) -> None:
        links = self._links[principal]
        del links[integration]
        if not links:
            del self._links[principal]

    def _pair(self, integration: str, key: str) -> tuple[Integration, Login]:
        found, login = self._by_id.get(integration), self._key(key)
        if found is None:
            raise UnknownReference("integration", integration)
        if found.tenant != login.tenant:  # of another organization, and so not there for this one
            raise UnknownReference("key", key)
        return found, login

    def _key(self, key: str) -> Login:
        stored = self._logins.find("username", key)
        if stored is None or stored.login.kind != "haltian_key":
            raise UnknownReference("key", key)
        return stored.login

    def _existing(self, integration: str) -> Integration:
        found = self._by_id.get(integration)
        if found is None:
            raise NotFound(f"The integration '{shown(integration)}' does not exist.")
        return found

    def _put(self, integration: Integration) -> None:
        self._by_id[integration.id] = integration


def _role(name: str) -> OrgRole:
    if name not in get_args(OrgRole):
        raise Invalid(f"There is no organization role '{shown(name)}'.")
    return cast("OrgRole", name)


def _state(name: str) -> IntegrationState:
    if name not in get_args(IntegrationState):
        raise Invalid("The state of an integration must be 'active' or 'inactive'.")
    return cast("IntegrationState", name)


def _text(description: str) -> str:
    check_text(description, "description", _MAX_DESCRIPTION)
    return description
