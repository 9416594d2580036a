"""Roles: named lists of ACLs that logins and groups are given, as in Mosquitto's dynamic security."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Unpack
from uuid import uuid4

from . import role_acls
from .acl.policy import Policy
from .audit_details import differences
from .background_work import full_collection_put_off, in_slices
from .database import Database, Statement
from .errors import AlreadyExists, Invalid, NotFound, UnknownReference
from .logins import Logins
from .memberships import Memberships, clamp, effect
from .names import check_object_name, check_text, shown
from .records import NO_PRIORITY, Change, Role, RoleAcl
from .role_acls import check_acls
from .writer import Origin, Write, Writer

MAX_ROLES = 100_000
_MAX_TEXT = 10_000
_FIELDS = ("text_name", "text_description", "allow_wildcard_subs")

_QUICK = 200
"""ACLs that are checked and compiled without leaving the event loop."""

_LOAD = "SELECT id, name, text_name, text_description, allow_wildcard_subs, created_at FROM role ORDER BY rowid"
_INSERT = """
    INSERT INTO role (id, name, text_name, text_description, allow_wildcard_subs, created_at, updated_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET text_name = excluded.text_name, text_description = excluded.text_description,
    allow_wildcard_subs = excluded.allow_wildcard_subs, updated_at = excluded.updated_at"""
_UPDATE = """
    UPDATE role SET text_name = ?, text_description = ?, allow_wildcard_subs = ?, updated_at = ? WHERE id = ?"""
_DELETE = "DELETE FROM role WHERE id = ?"
_GRANT = """
    INSERT INTO principal_role (principal_id, role_id, priority) VALUES (?, ?, ?)
    ON CONFLICT (principal_id, role_id) DO UPDATE SET priority = excluded.priority"""
_REVOKE = "DELETE FROM principal_role WHERE principal_id = ? AND role_id = ?"


class Roles:
    """Own the roles in memory, what was compiled from them, and which logins have which."""

    def __init__(self, writer: Writer, logins: Logins, memberships: Memberships) -> None:
        self._writer = writer
        self._logins = logins
        self._memberships = memberships
        self._by_name: dict[str, Role] = {}
        self._names: dict[str, str] = {}
        """By id."""
        self._policies: dict[str, Policy] = {}
        """By id."""

    async def load(self, database: Database) -> None:
        """Read all roles."""
        acls: dict[str, list[RoleAcl]] = {}
        for role, *columns in await database.read(role_acls.LOAD):
            acls.setdefault(role, []).append(role_acls.from_row(*columns))
        for row in await database.read(_LOAD):
            role = Role(row[0], row[1], row[2], row[3], bool(row[4]), tuple(acls.get(row[0], ())), row[5] / 1_000_000)
            self._put(role, _compiled(role))  # now, and not while the first client waits for it

    # Reading

    def all(self) -> Sequence[Role]:
        """Return all roles, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, name: str) -> Role | None:
        """Return the role of this name."""
        return self._by_name.get(name)

    def name_of(self, role: str) -> str:
        """Return the name of the role of this id."""
        return self._names[role]

    def of_login(self, principal: str) -> dict[str, int]:
        """Return the names of a login's own roles with their priorities, in the order in which they are asked."""
        return self.in_order(self._memberships.roles.of(principal))

    def in_order(self, priorities: Mapping[str, int]) -> dict[str, int]:
        """Turn role ids with priorities into names with priorities, in the order in which they are asked."""
        if not priorities:
            return {}
        named = [(self._names[role], priority) for role, priority in priorities.items()]
        return dict(sorted(named, key=lambda item: (-item[1], item[0])))

    def policy(self, name: str) -> Policy | None:
        """Return a role compiled; None where it can decide nothing."""
        role = self._by_name[name]
        if not role.acls and role.allow_wildcard_subs:
            return None
        policy = self._policies.get(role.id)
        if policy is None:
            policy = self._policies[role.id] = Policy.of_role(role)
        return policy

    def ids(self, priorities: Mapping[str, int]) -> dict[str, int]:
        """Turn role names with priorities into ids with priorities; raise UnknownReference."""
        return {self.required(name).id: clamp(priority) for name, priority in priorities.items()}

    def required(self, name: str) -> Role:
        """Return a role that something else refers to; raise UnknownReference."""
        role = self._by_name.get(name)
        if role is None:
            raise UnknownReference("role", name)
        return role

    # Writing

    async def create(
        self,
        name: str,
        *,
        text_name: str = "",
        text_description: str = "",
        allow_wildcard_subs: bool = True,
        acls: Iterable[RoleAcl] = (),
        **origin: Unpack[Origin],
    ) -> Role:
        """Create a role."""
        checked = await _check(acls)
        return await self._writer.write(
            lambda at: self._create(name, text_name, text_description, allow_wildcard_subs, checked, at),
            in_thread=len(checked) > _QUICK,
            **origin,
        )

    async def update(
        self,
        name: str,
        *,
        text_name: str | None = None,
        text_description: str | None = None,
        allow_wildcard_subs: bool | None = None,
        acls: Iterable[RoleAcl] | None = None,
        disconnect: bool = False,
        **origin: Unpack[Origin],
    ) -> Role:
        """Change what is given; `acls` replaces all of them."""
        checked = None if acls is None else await _check(acls)

        def prepare(at: int) -> Write[Role]:
            old = self._existing(name)
            role = replace(
                old,
                text_name=old.text_name if text_name is None else text_name,
                text_description=old.text_description if text_description is None else text_description,
                allow_wildcard_subs=old.allow_wildcard_subs if allow_wildcard_subs is None else allow_wildcard_subs,
                acls=old.acls if checked is None else checked,
            )
            statements: list[Statement] = []
            if role.acls != old.acls:
                statements = [Statement(role_acls.DELETE, [(role.id,)]), Statement(role_acls.INSERT, _rows(role))]
            detail = {**differences(old, role, _FIELDS), "acls": len(role.acls)}
            if role.acls != old.acls:
                detail["acls before"] = len(old.acls)
            return self._update("role.update", old, role, statements, detail, disconnect, at)

        in_thread = len(checked or ()) > _QUICK or self._is_big(name)
        return await self._writer.write(prepare, in_thread=in_thread, **origin)

    async def add_acl(self, name: str, acl: RoleAcl, *, disconnect: bool = False, **origin: Unpack[Origin]) -> Role:
        """Add an ACL behind those of its priority; raise AlreadyExists for a second one of its type and topic."""

        def prepare(at: int) -> Write[Role]:
            old = self._existing(name)
            acls, added = role_acls.with_acl(old.acls, acl)
            # Behind all rows there are, which is where those of its priority are read in the order of their ids.
            statements = [Statement(role_acls.INSERT, [role_acls.to_row(old.id, added)])]
            detail = {"acl": _shown(added), "acls": len(acls)}
            return self._update("role.add_acl", old, replace(old, acls=acls), statements, detail, disconnect, at)

        return await self._writer.write(prepare, in_thread=self._is_big(name), **origin)

    async def remove_acl(
        self, name: str, acltype: str, topic: str, *, disconnect: bool = False, **origin: Unpack[Origin]
    ) -> Role:
        """Take an ACL out; raise NotFound where there is none of this type and topic."""

        def prepare(at: int) -> Write[Role]:
            old = self._existing(name)
            position = role_acls.find_acl(old.acls, acltype, topic)
            if position is None:
                raise NotFound(f"The role has no ACL {acltype[:50]} for '{shown(topic)}'.")
            acls = (*old.acls[:position], *old.acls[position + 1 :])
            removed = old.acls[position]
            statements = [Statement(role_acls.DELETE_ONE, [role_acls.key_of(old.id, removed)])]
            detail = {"acl": _shown(removed), "acls": len(acls)}
            return self._update("role.remove_acl", old, replace(old, acls=acls), statements, detail, disconnect, at)

        return await self._writer.write(prepare, in_thread=self._is_big(name), **origin)

    async def delete(self, name: str, *, disconnect: bool = False, **origin: Unpack[Origin]) -> None:
        """Delete a role and take it from all who have it."""
        await self._writer.write(lambda at: self._delete(name, disconnect), **origin)

    async def grant(
        self,
        login_type: str,
        login: str,
        role: str,
        priority: int = NO_PRIORITY,
        *,
        disconnect: bool = False,
        **origin: Unpack[Origin],
    ) -> None:
        """Give a login a role, or the one it has another priority."""

        def prepare(at: int) -> Write[None]:
            principal = self._logins.existing(login_type, login).login.id
            return replace(
                self.grants(principal, {role: priority}),
                target=f"{login_type}:{login}",
                change=effect(frozenset({principal}), disconnect=disconnect),
            )

        return await self._writer.write(prepare, **origin)

    async def revoke(
        self, login_type: str, login: str, role: str, *, disconnect: bool = False, **origin: Unpack[Origin]
    ) -> None:
        """Take a role from a login; raise NotFound where it does not have it."""

        def prepare(at: int) -> Write[None]:
            principal = self._logins.existing(login_type, login).login.id
            role_id = self.required(role).id
            if role_id not in self._memberships.roles.of(principal):
                raise NotFound(f"The login does not have the role '{shown(role)}'.")
            return Write(
                "role.revoke",
                f"{login_type}:{login}",
                [Statement(_REVOKE, [(principal, role_id)])],
                lambda: self._memberships.roles.take(principal, role_id),
                None,
                effect(frozenset({principal}), disconnect=disconnect),
                {"role": role},
            )

        return await self._writer.write(prepare, **origin)

    def grants(self, principal: str, priorities: Mapping[str, int]) -> Write[None]:
        """Prepare roles for a login that may be about to be created; raise UnknownReference."""
        wanted = self.ids(priorities)

        def apply() -> None:
            for role, priority in wanted.items():
                self._memberships.roles.put(principal, role, priority)

        rows = [(principal, role, priority) for role, priority in wanted.items()]
        detail: dict[str, object] = {"roles": dict(priorities)} if priorities else {}
        return Write("role.grant", principal, [Statement(_GRANT, rows)], apply, None, detail=detail)

    def replace_all(self, roles: Sequence[Role]) -> Callable[[], None]:
        """Prepare these roles and no others, as part of a write; a role that stays is as old as it was."""
        by_name: dict[str, Role] = {}
        same: set[str] = set()
        compiled: dict[str, Policy] = {}
        for role in roles:
            old = self._by_name.get(role.name)
            by_name[role.name] = role if old is None else replace(role, created_at=old.created_at)
            if old is not None and not _decides_otherwise(old, role):
                same.add(role.id)
            elif (policy := _compiled(role)) is not None:
                compiled[role.id] = policy
        names = {role.id: role.name for role in roles}

        def apply() -> None:
            # What was compiled meanwhile, too: by a policy being the same sessions know that their decisions hold.
            kept = {role: policy for role, policy in self._policies.items() if role in same}
            self._by_name, self._names, self._policies = by_name, names, {**kept, **compiled}

        return apply

    def _create(
        self, name: str, text_name: str, text_description: str, wildcards: bool, acls: tuple[RoleAcl, ...], at: int
    ) -> Write[Role]:
        if name in self._by_name:
            raise AlreadyExists(f"The role '{shown(name)}' already exists.")
        if len(self._by_name) >= MAX_ROLES:
            raise Invalid(f"There must not be more than {MAX_ROLES} roles.")
        role = Role(str(uuid4()), name, text_name, text_description, wildcards, acls, at / 1_000_000)
        policy = _compiled(role)
        return Write(
            "role.create",
            name,
            insert_role(role, at),
            lambda: self._put(role, policy),
            role,
            detail={"acls": len(acls), "allow_wildcard_subs": wildcards},
        )

    def _update(
        self,
        action: str,
        old: Role,
        role: Role,
        statements: Sequence[Statement],
        detail: Mapping[str, object],
        disconnect: bool,
        at: int,
    ) -> Write[Role]:
        _check_texts(role)
        row = (role.text_name, role.text_description, int(role.allow_wildcard_subs), at, role.id)
        decides = _decides_otherwise(old, role)
        policy = _compiled(role) if decides else None
        change = self._memberships.effect_on_holders(role.id, disconnect=disconnect) if decides else Change()
        return Write(
            action,
            role.name,
            [Statement(_UPDATE, [row]), *statements],
            lambda: self._put(role, policy),
            role,
            change,
            detail,
        )

    def _delete(self, name: str, disconnect: bool) -> Write[None]:
        role = self._existing(name)

        def apply() -> None:
            self._memberships.forget_role(role.id)
            del self._by_name[name], self._names[role.id]
            self._policies.pop(role.id, None)

        statements = [Statement(role_acls.DELETE, [(role.id,)]), Statement(_DELETE, [(role.id,)])]
        change = self._memberships.effect_on_holders(role.id, disconnect=disconnect)
        return Write("role.delete", name, statements, apply, None, change)

    def _is_big(self, name: str) -> bool:
        role = self._by_name.get(name)
        return role is not None and len(role.acls) > _QUICK

    def _existing(self, name: str) -> Role:
        role = self._by_name.get(name)
        if role is None:
            raise NotFound(f"The role '{shown(name)}' does not exist.")
        return role

    def _put(self, role: Role, policy: Policy | None) -> None:
        """Put a role in, with what was compiled from it; None where nothing was or where it decides as before."""
        old = self._by_name.get(role.name)
        if policy is not None:
            self._policies[role.id] = policy
        elif old is None or _decides_otherwise(old, role):
            # Only then: sessions know by a policy being the same that their decisions still hold.
            self._policies.pop(role.id, None)
        self._by_name[role.name] = role
        self._names[role.id] = role.name


def insert_role(role: Role, at: int) -> list[Statement]:
    """Insert a role with its ACLs; where there is one of this id, it gets the new texts."""
    _check_texts(role)
    row = (role.id, role.name, role.text_name, role.text_description, int(role.allow_wildcard_subs), at, at)
    return [Statement(_INSERT, [row]), Statement(role_acls.INSERT, _rows(role))]


async def _check(acls: Iterable[RoleAcl]) -> tuple[RoleAcl, ...]:
    """Check ACLs, many of them in a thread."""
    fixed = tuple(acls)
    return check_acls(fixed) if len(fixed) <= _QUICK else await asyncio.to_thread(check_acls, fixed)


def _compiled(role: Role) -> Policy | None:
    """Compile a big role; a small one is, when it is first asked for."""
    if len(role.acls) <= _QUICK:
        return None
    with full_collection_put_off():
        return Policy.of_role(role)


def _decides_otherwise(old: Role, new: Role) -> bool:
    return (old.acls, old.allow_wildcard_subs) != (new.acls, new.allow_wildcard_subs)


def _shown(acl: RoleAcl) -> dict[str, object]:
    return {"acltype": acl.acltype, "topic": shown(acl.topic), "allow": acl.allow, "priority": acl.priority}


def _rows(role: Role) -> list[tuple[object, ...]]:
    return [role_acls.to_row(role.id, acl) for acl in in_slices(role.acls)]


def _check_texts(role: Role) -> None:
    check_object_name(role.name, "role")
    check_text(role.text_name, "text name", _MAX_TEXT)
    check_text(role.text_description, "text description", _MAX_TEXT)
