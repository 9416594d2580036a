"""Who has which role, and who is in which group: indexes in both directions, by id, without a word about names."""

from collections.abc import Callable, Collection, Iterable, Mapping

from .database import Database
from .records import MAX_PRIORITY, Change

_LOAD_ROLES = "SELECT principal_id, role_id, priority FROM principal_role"
_LOAD_MEMBERS = "SELECT group_id, principal_id, priority FROM group_member"
_LOAD_GROUP_ROLES = "SELECT group_id, role_id, priority FROM group_role"

Priorities = Mapping[str, int]
Row = tuple[str, str, int]


class Relation:
    """Hold pairs with a priority, found from either side."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._right: dict[str, dict[str, int]] = {}
        self._left: dict[str, set[str]] = {}
        for left, right, priority in rows:
            self.put(left, right, priority)

    def rows(self) -> list[Row]:
        """Return all pairs with their priorities."""
        return [(left, right, priority) for left, rights in self._right.items() for right, priority in rights.items()]

    def of(self, left: str) -> Priorities:
        return self._right.get(left, {})

    def with_(self, right: str) -> frozenset[str]:
        return frozenset(self._left.get(right, ()))

    def put(self, left: str, right: str, priority: int) -> None:
        self._right.setdefault(left, {})[right] = priority
        self._left.setdefault(right, set()).add(left)

    def take(self, left: str, right: str) -> None:
        if self._right.get(left, {}).pop(right, None) is None:
            return
        if not self._right[left]:
            del self._right[left]
        holders = self._left[right]
        holders.discard(left)
        if not holders:
            del self._left[right]

    def forget_left(self, left: str) -> None:
        for right in list(self.of(left)):
            self.take(left, right)

    def without_left(self, left: str) -> Callable[[], None]:
        """Prepare that `left` is forgotten; however many it is paired with, this takes no time to apply."""
        rights = self.of(left)
        holders = {right: self._left[right] - {left} for right in rights}
        emptied = [right for right, lefts in holders.items() if not lefts]

        def apply() -> None:
            if left in self._right:
                del self._right[left]
            self._left.update(holders)
            for right in emptied:
                del self._left[right]

        return apply

    def forget_right(self, right: str) -> None:
        for left in self.with_(right):
            self.take(left, right)


class Memberships:
    """Own the relations between principals, roles and groups; roles and groups change them as their writes apply."""

    def __init__(self) -> None:
        self.roles = Relation()
        """Principal to role."""
        self.members = Relation()
        """Group to principal."""
        self.group_roles = Relation()
        """Group to role."""
        self.anonymous_group: str | None = None
        """The id of the group that anonymous clients are in."""

    async def load(self, database: Database) -> None:
        """Read all memberships."""
        for relation, sql in (
            (self.roles, _LOAD_ROLES),
            (self.members, _LOAD_MEMBERS),
            (self.group_roles, _LOAD_GROUP_ROLES),
        ):
            for left, right, priority in await database.read(sql):
                relation.put(left, right, priority)

    def replace_all(self, roles: Relation, members: Relation, group_roles: Relation, anonymous: str | None) -> None:
        """Have these relations and no others, as part of a write."""
        self.roles, self.members, self.group_roles, self.anonymous_group = roles, members, group_roles, anonymous

    def groups_of(self, principal: str) -> dict[str, int]:
        """Return the groups that a principal is in, with its priorities."""
        return {group: self.members.of(group)[principal] for group in self.members.with_(principal)}

    def forget_principals(self, principals: Collection[str]) -> None:
        """Drop principals that are no more."""
        for principal in principals:
            self.forget_principal(principal)

    def forget_principal(self, principal: str) -> None:
        """Drop a principal that is no more."""
        self.roles.forget_left(principal)
        self.members.forget_right(principal)

    def forget_role(self, role: str) -> None:
        """Drop a role that is no more."""
        self.roles.forget_right(role)
        self.group_roles.forget_right(role)

    def without_group(self, group: str) -> Callable[[], None]:
        """Prepare that a group is no more."""
        parts = self.members.without_left(group), self.group_roles.without_left(group)

        def apply() -> None:
            for part in parts:
                part()

        return apply

    def effect_on_holders(self, role: str, *, disconnect: bool) -> Change:
        """Say whom a change of a role concerns: all who have it, directly or through a group."""
        groups = self.group_roles.with_(role)
        principals = self.roles.with_(role).union(*(self.members.of(group) for group in groups))
        return effect(principals, anonymous=self.anonymous_group in groups, disconnect=disconnect)

    def effect_on_members(self, group: str, *others: str, disconnect: bool) -> Change:
        """Say whom a change of a group concerns: its members, and `others` who were or are about to be some."""
        principals = frozenset(self.members.of(group)).union(others)
        return effect(principals, anonymous=self.anonymous_group == group, disconnect=disconnect)


def effect(principals: frozenset[str], *, anonymous: bool = False, disconnect: bool = False) -> Change:
    """Have what sessions hold checked again, and with `disconnect` their connections closed first."""
    closed = principals if disconnect else frozenset[str]()
    return Change(
        close_principals=closed, close_anonymous=anonymous and disconnect, principals=principals, anonymous=anonymous
    )


def clamp(priority: int) -> int:
    """Keep a priority within its bounds."""
    return max(-MAX_PRIORITY, min(MAX_PRIORITY, priority))
