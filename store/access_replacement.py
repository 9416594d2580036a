"""Replace all that Mosquitto's dynamic security knows, in one transaction: users, roles, groups, defaults.

What it cannot know stays: the logins of organizations and those by client id, with what they were given; of a user that
stays the superuser flag, the ends, what confines it and who paused it; the rules of client ids, of user names and for
all. A user, role or group whose name is there before and after is the same one.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import uuid4

from . import role_acls
from .audit_details import names
from .database import Statement, grouped
from .default_access import DefaultAccess
from .errors import AlreadyExists, UnknownReference
from .groups import Groups, insert_group
from .login_batches import UserReplacement, replace_users
from .login_statements import in_bulk
from .login_values import NewLogin
from .logins import Logins
from .memberships import Memberships, Relation, Row, clamp
from .names import shown
from .records import Change, Group, Role
from .roles import Roles, insert_role
from .tenants import DEFAULT_TENANT, Tenants
from .writer import Write, merge

_PLAIN_USERS = """
    (SELECT id FROM principal WHERE kind = 'mqtt_client' AND login_type = 'username' AND login_scope = ''
     AND tenant_id = ?)"""

T = TypeVar("T", Role, Group)


@dataclass(frozen=True, slots=True)
class AccessConfiguration:
    """Hold what is to be there; the ids of roles and groups are of no meaning."""

    users: Sequence[NewLogin] = ()
    roles: Sequence[Role] = ()
    groups: Sequence[Group] = ()
    user_roles: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """User name -> role -> priority."""
    defaults: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """An operation that is not named keeps its default."""
    anonymous_group: str | None = None


class AccessReplacement:
    """Prepare the replacement against what is in memory."""

    def __init__(
        self,
        tenants: Tenants,
        logins: Logins,
        roles: Roles,
        groups: Groups,
        memberships: Memberships,
        defaults: DefaultAccess,
    ) -> None:
        self._tenants = tenants
        self._logins = logins
        self._roles = roles
        self._groups = groups
        self._memberships = memberships
        self._defaults = defaults

    def prepare(self, new: AccessConfiguration, at: int) -> Write[int]:
        """Return the write; its result is how many users were left alone, for logins of another kind have their names.

        Raises Invalid, UnknownReference or AlreadyExists.
        """
        tenant = self._tenants.required(DEFAULT_TENANT).id
        plan = replace_users(self._logins, new.users, tenant, at)
        roles = self._identified(new.roles, {role.name: role.id for role in self._roles.all()}, "role", at)
        groups = self._identified(new.groups, {group.name: group.id for group in self._groups.all()}, "group", at)
        role_ids = {role.name: role.id for role in roles}
        group_ids = {group.name: group.id for group in groups}
        if new.anonymous_group is not None and new.anonymous_group not in group_ids:
            raise UnknownReference("group", new.anonymous_group)
        checked = [replace(role, acls=role_acls.check_acls(role.acls)) for role in roles]
        user_ids = {stored.login.login: stored.login.id for stored in plan.stored}
        granted = [
            (_resolved(user_ids, user, "user"), role, priority)
            for user, wanted in new.user_roles.items()
            if user not in plan.left
            for role, priority in _resolve(wanted, role_ids, "role")
        ]
        group_roles = [
            (group.id, role, priority) for group in groups for role, priority in _resolve(group.roles, role_ids, "role")
        ]
        members = [
            (group.id, principal, priority)
            for group in groups
            for principal, priority in _resolve(
                {user: priority for user, priority in group.members.items() if user not in plan.left}, user_ids, "user"
            )
        ]
        anonymous = None if new.anonymous_group is None else group_ids[new.anonymous_group]
        defaults = self._defaults.set(new.defaults)
        statements = [
            *self._delete(tenant, plan, role_ids, group_ids),
            *in_bulk(plan.statements),
            # Behind those, for it takes along whoever still has one of these as parent.
            Statement("DELETE FROM principal WHERE id = ?", [(login.id,) for login in plan.removed]),
            *grouped(statement for role in checked for statement in insert_role(role, at)),
            *grouped(insert_group(group, at) for group in groups),
            Statement("INSERT INTO principal_role (principal_id, role_id, priority) VALUES (?, ?, ?)", granted),
            Statement("INSERT INTO group_role (group_id, role_id, priority) VALUES (?, ?, ?)", group_roles),
            Statement("INSERT INTO group_member (group_id, principal_id, priority) VALUES (?, ?, ?)", members),
            Statement("DELETE FROM setting WHERE key = 'anonymous_group'", [()]),
            Statement(
                "INSERT INTO setting (key, value) VALUES ('anonymous_group', ?)",
                [] if anonymous is None else [(anonymous,)],
            ),
            *defaults.statements,
        ]

        # All that takes long is done here, beside what is in force, so that to apply it only puts it in its place.
        replaced = {login.id for login in (*plan.before, *plan.removed)}
        kept_roles, kept_members = self._kept(replaced, {*role_ids.values()}, {*group_ids.values()})
        relations = Relation([*kept_roles, *granted]), Relation([*kept_members, *members]), Relation(group_roles)
        put_roles, put_groups = self._roles.replace_all(checked), self._groups.replace_all(groups)

        def apply() -> None:
            self._memberships.replace_all(*relations, anonymous)
            plan.apply()
            put_roles()
            put_groups()
            defaults.apply()

        return Write(
            action="access.replace",
            target="dynamic-security",
            statements=statements,
            apply=apply,
            result=len(plan.left),
            change=merge(
                Change(end_principals=frozenset(login.id for login in plan.removed), everyone=True), *plan.effects
            ),
            detail={
                **plan.detail,
                "roles": len(checked),
                "groups": len(groups),
                "role names": names(role_ids),
                "group names": names(group_ids),
                "anonymous group": new.anonymous_group,
                "defaults": defaults.detail,
            },
        )

    def _delete(
        self, tenant: str, plan: UserReplacement, roles: Mapping[str, str], groups: Mapping[str, str]
    ) -> Iterator[Statement]:
        yield Statement(role_acls.DELETE_ALL, [()])
        yield Statement(f"DELETE FROM principal_role WHERE principal_id IN {_PLAIN_USERS}", [(tenant,)])  # noqa: S608
        yield Statement(f"DELETE FROM group_member WHERE principal_id IN {_PLAIN_USERS}", [(tenant,)])  # noqa: S608
        yield Statement("DELETE FROM group_role", [()])
        gone = [(role.id,) for role in self._roles.all() if role.name not in roles]
        yield Statement("DELETE FROM role WHERE id = ?", gone)
        gone = [(group.id,) for group in self._groups.all() if group.name not in groups]
        yield Statement("DELETE FROM grp WHERE id = ?", gone)

    def _kept(self, replaced: Set[str], roles: Set[str], groups: Set[str]) -> tuple[list[Row], list[Row]]:
        """Return which principals keep which roles, and which groups keep whom: of others than those replaced."""
        memberships = self._memberships
        kept_roles = [row for row in memberships.roles.rows() if row[0] not in replaced and row[1] in roles]
        kept_members = [row for row in memberships.members.rows() if row[0] in groups and row[1] not in replaced]
        return kept_roles, kept_members

    def _identified(self, records: Sequence[T], known: Mapping[str, str], what: str, at: int) -> list[T]:
        seen: set[str] = set()
        for record in records:
            if record.name in seen:
                raise AlreadyExists(f"The {what} '{shown(record.name)}' is there twice.")
            seen.add(record.name)
        now = at / 1_000_000
        return [replace(record, id=known.get(record.name) or str(uuid4()), created_at=now) for record in records]


def _resolve(priorities: Mapping[str, int], ids: Mapping[str, str], what: str) -> Iterator[tuple[str, int]]:
    for name, priority in priorities.items():
        yield _resolved(ids, name, what), clamp(priority)


def _resolved(ids: Mapping[str, str], name: str, what: str) -> str:
    if name not in ids:
        raise UnknownReference(what, name)
    return ids[name]
