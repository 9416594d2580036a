"""Groups: logins that have roles in common, as in Mosquitto's dynamic security; one may be for anonymous clients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from logging import getLogger
from typing import Unpack
from uuid import uuid4

from .acl.policy import Policy
from .audit_details import differences, names
from .database import Database, Statement
from .errors import AlreadyExists, InUse, Invalid, NotFound, UnknownReference
from .logins import Logins
from .memberships import Memberships, clamp, effect
from .names import check_object_name, check_text, shown
from .records import NO_CHANGE, NO_PRIORITY, Group
from .roles import Roles
from .writer import Origin, Write, Writer

MAX_GROUPS = 100_000
_MAX_TEXT = 10_000
_QUICK = 1_000
"""Members that are looked through without leaving the event loop."""

_LOAD = "SELECT id, name, text_name, text_description, created_at FROM grp ORDER BY rowid"
_LOAD_ANONYMOUS = "SELECT value FROM setting WHERE key = 'anonymous_group'"
_INSERT = """
    INSERT INTO grp (id, name, text_name, text_description, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET text_name = excluded.text_name, text_description = excluded.text_description,
    updated_at = excluded.updated_at"""
_UPDATE = "UPDATE grp SET text_name = ?, text_description = ?, updated_at = ? WHERE id = ?"
_DELETE = "DELETE FROM grp WHERE id = ?"
_JOIN = """
    INSERT INTO group_member (group_id, principal_id, priority) VALUES (?, ?, ?)
    ON CONFLICT (group_id, principal_id) DO UPDATE SET priority = excluded.priority"""
_LEAVE = "DELETE FROM group_member WHERE group_id = ? AND principal_id = ?"
_EMPTY = "DELETE FROM group_member WHERE group_id = ?"
_GRANT = """
    INSERT INTO group_role (group_id, role_id, priority) VALUES (?, ?, ?)
    ON CONFLICT (group_id, role_id) DO UPDATE SET priority = excluded.priority"""
_REVOKE = "DELETE FROM group_role WHERE group_id = ? AND role_id = ?"
_STRIP = "DELETE FROM group_role WHERE group_id = ?"
_SET_ANONYMOUS = """
    INSERT INTO setting (key, value) VALUES ('anonymous_group', ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_UNSET_ANONYMOUS = "DELETE FROM setting WHERE key = 'anonymous_group'"


_logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Group:
    id: str
    name: str
    text_name: str
    text_description: str
    created_at: float


class Members(Mapping[str, int]):
    """Give the user names in a group with their priorities, by name; looked up when first asked for.

    Who only changes a group's text shall not wait for a hundred thousand names. What is given is who was in it when
    this was made, without those who have been deleted since.
    """

    def __init__(self, logins: Logins, priorities: Mapping[str, int]) -> None:
        self._logins = logins
        self._priorities = {**priorities}
        self._by_name: dict[str, int] | None = None

    def unordered(self) -> Iterator[tuple[str, int]]:
        """Give user names and priorities without the names having to be put in order first."""
        for principal, priority in self._priorities.items():
            stored = self._logins.by_id(principal)
            if stored is not None:
                yield stored.login.login, priority

    def __getitem__(self, username: str) -> int:
        return self._named()[username]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._priorities if self._by_name is None else self._by_name)

    def __repr__(self) -> str:
        return f"<{len(self._priorities)} members>"

    def _named(self) -> dict[str, int]:
        if self._by_name is None:
            self._by_name = dict(sorted(self.unordered()))
        return self._by_name


class Groups:
    """Own the groups in memory and write them and who is in them."""

    def __init__(self, writer: Writer, logins: Logins, roles: Roles, memberships: Memberships) -> None:
        self._writer = writer
        self._logins = logins
        self._roles = roles
        self._memberships = memberships
        self._by_name: dict[str, _Group] = {}
        self._names: dict[str, str] = {}
        """By id."""

    async def load(self, database: Database) -> None:
        """Read all groups."""
        for row in await database.read(_LOAD):
            self._put(_Group(row[0], row[1], row[2], row[3], row[4] / 1_000_000))
        for (group,) in await database.read(_LOAD_ANONYMOUS):
            if group in self._names:
                self._memberships.anonymous_group = group
            else:
                _logger.warning("The group of anonymous clients does not exist; they are in none.")

    # Reading

    def all(self) -> Sequence[Group]:
        """Return all groups, by name."""
        return [self._show(self._by_name[name]) for name in sorted(self._by_name)]

    def get(self, name: str) -> Group | None:
        """Return the group of this name."""
        group = self._by_name.get(name)
        return None if group is None else self._show(group)

    def members(self, name: str) -> Iterator[tuple[str, int]]:
        """Give the user names in a group with their priorities, in no order; raise NotFound.

        What is given is who is in it now, without those who are deleted before their turn comes.
        """
        return Members(self._logins, self._memberships.members.of(self._existing(name).id)).unordered()

    @property
    def anonymous(self) -> str | None:
        """The name of the group that anonymous clients are in."""
        group = self._memberships.anonymous_group
        return None if group is None else self._names[group]

    def of_login(self, principal: str) -> dict[str, int]:
        """Return the names of a login's groups with its priorities, in the order in which they are asked."""
        return self._in_order(self._memberships.groups_of(principal))

    def policies_of(self, principal: str | None) -> Iterator[tuple[str, Policy]]:
        """Give what a login, or with None an anonymous client, has through groups, as `GROUP/ROLE` and policy."""
        anonymous = self._memberships.anonymous_group
        if principal is None:
            ids: Mapping[str, int] = {} if anonymous is None else {anonymous: 0}
        else:
            ids = self._memberships.groups_of(principal)
        for name in self._in_order(ids):
            for role in self._roles.in_order(self._memberships.group_roles.of(self._by_name[name].id)):
                if (policy := self._roles.policy(role)) is not None:
                    yield f"{name}/{role}", policy

    # Writing

    async def create(
        self,
        name: str,
        *,
        text_name: str = "",
        text_description: str = "",
        roles: Mapping[str, int] | None = None,
        members: Mapping[str, int] | None = None,
        **origin: Unpack[Origin],
    ) -> Group:
        """Create a group; `roles` and `members` (user names) come with a priority each."""

        def prepare(at: int) -> Write[_Group]:
            check_object_name(name, "group")
            if name in self._by_name:
                raise AlreadyExists(f"The group '{shown(name)}' already exists.")
            if len(self._by_name) >= MAX_GROUPS:
                raise Invalid(f"There must not be more than {MAX_GROUPS} groups.")
            group = _Group(str(uuid4()), name, text_name, text_description, at / 1_000_000)
            row = (group.id, name, text_name, text_description, at, at)
            return self._write(
                "group.create", group, None, Statement(_INSERT, [row]), roles or {}, members or {}, False
            )

        return self._show(await self._writer.write(prepare, **origin))

    async def update(
        self,
        name: str,
        *,
        text_name: str | None = None,
        text_description: str | None = None,
        roles: Mapping[str, int] | None = None,
        members: Mapping[str, int] | None = None,
        disconnect: bool = False,
        **origin: Unpack[Origin],
    ) -> Group:
        """Change what is given; `roles` and `members` replace all of them."""

        def prepare(at: int) -> Write[_Group]:
            old = self._existing(name)
            group = replace(
                old,
                text_name=old.text_name if text_name is None else text_name,
                text_description=old.text_description if text_description is None else text_description,
            )
            row = (group.text_name, group.text_description, at, group.id)
            return self._write("group.update", group, old, Statement(_UPDATE, [row]), roles, members, disconnect)

        return self._show(await self._writer.write(prepare, **origin))

    async def delete(self, name: str, *, disconnect: bool = False, **origin: Unpack[Origin]) -> None:
        """Delete a group; raise InUse for the one of anonymous clients."""

        def prepare(at: int) -> Write[None]:
            group = self._existing(name)
            if group.id == self._memberships.anonymous_group:
                raise InUse("The group of anonymous clients cannot be deleted.")

            forget = self._memberships.without_group(group.id)

            def apply() -> None:
                forget()
                del self._by_name[name], self._names[group.id]

            change = self._memberships.effect_on_members(group.id, disconnect=disconnect)
            return Write("group.delete", name, [Statement(_DELETE, [(group.id,)])], apply, None, change)

        members = self._memberships.members.of(self._existing(name).id)
        await self._writer.write(prepare, in_thread=len(members) > _QUICK, **origin)

    async def add_member(
        self,
        name: str,
        username: str,
        priority: int = NO_PRIORITY,
        *,
        disconnect: bool = False,
        **origin: Unpack[Origin],
    ) -> None:
        """Put a user into a group, or give the membership another priority."""

        def prepare(at: int) -> Write[None]:
            group = self._existing(name)
            return replace(
                self._join(group.id, {username: priority}),
                target=name,
                change=effect(frozenset({self._principal(username)}), disconnect=disconnect),
                detail={"member": username, "priority": priority},
            )

        await self._writer.write(prepare, **origin)

    async def remove_member(
        self, name: str, username: str, *, disconnect: bool = False, **origin: Unpack[Origin]
    ) -> None:
        """Take a user out of a group; raise NotFound where they are not in it."""

        def prepare(at: int) -> Write[None]:
            group, principal = self._existing(name), self._principal(username)
            if principal not in self._memberships.members.of(group.id):
                raise NotFound(f"The user '{shown(username)}' is not in the group.")
            return Write(
                "group.remove_member",
                name,
                [Statement(_LEAVE, [(group.id, principal)])],
                lambda: self._memberships.members.take(group.id, principal),
                None,
                effect(frozenset({principal}), disconnect=disconnect),
                {"member": username},
            )

        await self._writer.write(prepare, **origin)

    async def add_role(
        self, name: str, role: str, priority: int = NO_PRIORITY, *, disconnect: bool = False, **origin: Unpack[Origin]
    ) -> None:
        """Give a group a role, or the one it has another priority."""

        def prepare(at: int) -> Write[None]:
            group = self._existing(name)
            change = self._memberships.effect_on_members(group.id, disconnect=disconnect)
            return replace(self._grant(group.id, {role: priority}), target=name, change=change)

        await self._writer.write(prepare, **origin)

    async def remove_role(self, name: str, role: str, *, disconnect: bool = False, **origin: Unpack[Origin]) -> None:
        """Take a role from a group; raise NotFound where it does not have it."""

        def prepare(at: int) -> Write[None]:
            group, role_id = self._existing(name), self._roles.required(role).id
            if role_id not in self._memberships.group_roles.of(group.id):
                raise NotFound(f"The group does not have the role '{shown(role)}'.")
            return Write(
                "group.remove_role",
                name,
                [Statement(_REVOKE, [(group.id, role_id)])],
                lambda: self._memberships.group_roles.take(group.id, role_id),
                None,
                self._memberships.effect_on_members(group.id, disconnect=disconnect),
                {"role": role},
            )

        await self._writer.write(prepare, **origin)

    async def set_anonymous(self, name: str | None, *, disconnect: bool = False, **origin: Unpack[Origin]) -> None:
        """Set which group anonymous clients are in, None for none."""

        def prepare(at: int) -> Write[None]:
            group = None if name is None else self.required(name).id

            def apply() -> None:
                self._memberships.anonymous_group = group

            before = self.anonymous
            statement = Statement(_UNSET_ANONYMOUS, [()]) if group is None else Statement(_SET_ANONYMOUS, [(group,)])
            change = effect(frozenset(), anonymous=True, disconnect=disconnect)
            detail = {"from": before, "to": name}
            return Write("group.set_anonymous", name or "", [statement], apply, None, change, detail)

        await self._writer.write(prepare, **origin)

    def joins(self, principal: str, priorities: Mapping[str, int]) -> Write[None]:
        """Prepare memberships of a login that may be about to be created; raise UnknownReference."""
        wanted = {self.required(name).id: clamp(priority) for name, priority in priorities.items()}

        def apply() -> None:
            for group, priority in wanted.items():
                self._memberships.members.put(group, principal, priority)

        rows = [(group, principal, priority) for group, priority in wanted.items()]
        detail: dict[str, object] = {"groups": dict(priorities)} if priorities else {}
        return Write("group.add_member", principal, [Statement(_JOIN, rows)], apply, None, detail=detail)

    def required(self, name: str) -> _Group:
        """Return a group that something else refers to; raise UnknownReference."""
        group = self._by_name.get(name)
        if group is None:
            raise UnknownReference("group", name)
        return group

    def replace_all(self, groups: Sequence[Group]) -> Callable[[], None]:
        """Prepare these groups and no others, as part of a write that sees to who is in them."""
        by_name: dict[str, _Group] = {}
        for new in groups:
            old = self._by_name.get(new.name)
            created_at = new.created_at if old is None else old.created_at
            by_name[new.name] = _Group(new.id, new.name, new.text_name, new.text_description, created_at)
        by_id = {group.id: group.name for group in groups}

        def apply() -> None:
            self._by_name, self._names = by_name, by_id

        return apply

    def _write(
        self,
        action: str,
        group: _Group,
        old: _Group | None,
        statement: Statement,
        roles: Mapping[str, int] | None,
        members: Mapping[str, int] | None,
        disconnect: bool,
    ) -> Write[_Group]:
        """Prepare a group's texts and, where given, all of its roles and all of its members."""
        check_text(group.text_name, "text name", _MAX_TEXT)
        check_text(group.text_description, "text description", _MAX_TEXT)
        memberships = self._memberships
        new_members = frozenset(self._principal(username) for username in members or {})
        decides = roles is not None or members is not None
        write: Write[_Group] = Write(
            action,
            group.name,
            [statement],
            lambda: self._put(group),
            group,
            memberships.effect_on_members(group.id, *new_members, disconnect=disconnect) if decides else NO_CHANGE,
            {} if old is None else differences(old, group, ("text_name", "text_description")),
        )
        parts: list[Write[None]] = []
        if roles is not None:
            parts += [self._clear(_STRIP, group.id, memberships.group_roles.forget_left), self._grant(group.id, roles)]
        if members is not None:
            parts += [self._clear(_EMPTY, group.id, memberships.members.forget_left), self._join(group.id, members)]
        return write.followed_by(*parts)

    def _clear(self, sql: str, group: str, forget: Callable[[str], None]) -> Write[None]:
        return Write("group.update", group, [Statement(sql, [(group,)])], lambda: forget(group), None)

    def _grant(self, group: str, priorities: Mapping[str, int]) -> Write[None]:
        wanted = self._roles.ids(priorities)

        def apply() -> None:
            for role, priority in wanted.items():
                self._memberships.group_roles.put(group, role, priority)

        rows = [(group, role, priority) for role, priority in wanted.items()]
        return Write("group.add_role", group, [Statement(_GRANT, rows)], apply, None, detail={"roles": {**priorities}})

    def _join(self, group: str, priorities: Mapping[str, int]) -> Write[None]:
        wanted = {self._principal(username): clamp(priority) for username, priority in priorities.items()}

        def apply() -> None:
            for principal, priority in wanted.items():
                self._memberships.members.put(group, principal, priority)

        rows = [(group, principal, priority) for principal, priority in wanted.items()]
        detail: dict[str, object] = {"members": len(priorities), "named": names(priorities)}
        return Write("group.add_member", group, [Statement(_JOIN, rows)], apply, None, detail=detail)

    def _principal(self, username: str) -> str:
        stored = self._logins.find("username", username)
        if stored is None:
            raise UnknownReference("user", username)
        return stored.login.id

    def _existing(self, name: str) -> _Group:
        group = self._by_name.get(name)
        if group is None:
            raise NotFound(f"The group '{shown(name)}' does not exist.")
        return group

    def _in_order(self, priorities: Mapping[str, int]) -> dict[str, int]:
        named = [(self._names[group], priority) for group, priority in priorities.items()]
        return dict(sorted(named, key=lambda item: (-item[1], item[0])))

    def _show(self, group: _Group) -> Group:
        members = Members(self._logins, self._memberships.members.of(group.id))
        roles = self._roles.in_order(self._memberships.group_roles.of(group.id))
        return Group(group.id, group.name, group.text_name, group.text_description, roles, members, group.created_at)

    def _put(self, group: _Group) -> None:
        self._by_name[group.name] = group
        self._names[group.id] = group.name


def insert_group(group: Group, at: int) -> Statement:
    """Insert a group without its roles and members; where there is one of this id, it gets the new texts."""
    check_object_name(group.name, "group")
    check_text(group.text_name, "text name", _MAX_TEXT)
    check_text(group.text_description, "text description", _MAX_TEXT)
    return Statement(_INSERT, [(group.id, group.name, group.text_name, group.text_description, at, at)])
