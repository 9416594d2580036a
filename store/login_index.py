"""Logins by all that they are found by: name, id, the client id that is theirs alone, and parent."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from .credentials.stored_secrets import StoredSecret
from .records import Login, LoginType


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """Pair a login with its secret; None where it has none and so cannot be used."""

    login: Login
    secret: StoredSecret | None = field(repr=False)


class LoginIndex:
    """Find logins; whoever writes is the only one that alters it, or alters a copy and puts it in its place."""

    __slots__ = ("by_id", "by_name", "children", "reserved")

    def __init__(self) -> None:
        self.by_name: dict[LoginType, dict[str, StoredLogin]] = {"username": {}, "clientid": {}}
        self.by_id: dict[str, StoredLogin] = {}
        self.reserved: dict[str, str] = {}
        """Client id -> the one principal that may connect with it."""
        self.children: dict[str, set[str]] = {}
        """Principal -> those whose parent it is."""

    def copy(self) -> "LoginIndex":
        """Return one that can be altered without this one."""
        other = LoginIndex()
        other.by_name = {login_type: {**logins} for login_type, logins in self.by_name.items()}
        other.by_id = {**self.by_id}
        other.reserved = {**self.reserved}
        other.children = {parent: {*children} for parent, children in self.children.items()}
        return other

    def change(self, removed: Iterable[str], put: Iterable[StoredLogin]) -> None:
        """Take logins out by id, and put others in, or in the place of those of their name and id."""
        for principal in removed:
            stored = self.by_id.pop(principal)
            del self.by_name[stored.login.login_type][stored.login.login]
            self._release(stored.login)
        coming = [*put]
        # All of them first: one may get the client id that another one gives up.
        for stored in coming:
            if (old := self.by_id.get(stored.login.id)) is not None:
                self._release(old.login)
        for stored in coming:
            self.put(stored)

    def put(self, stored: StoredLogin) -> None:
        """Put a login in, as at start."""
        login = stored.login
        self.by_name[login.login_type][login.login] = stored
        self.by_id[login.id] = stored
        if login.clientid_mode == "reserved" and login.clientid is not None:
            self.reserved[login.clientid] = login.id
        if login.parent is not None:
            self.children.setdefault(login.parent, set()).add(login.id)

    def with_children(self, principals: Iterable[str], but: Collection[str] = ()) -> frozenset[str]:
        """Return principals and all that belong to them, however indirectly, without those of `but` and theirs."""
        new = {*principals}
        found = {*new}
        while new:
            new = {child for parent in new for child in self.children.get(parent, ()) if child not in but} - found
            found |= new
        return frozenset(found)

    def _release(self, login: Login) -> None:
        if login.clientid is not None and self.reserved.get(login.clientid) == login.id:
            del self.reserved[login.clientid]
        if login.parent is not None:
            siblings = self.children[login.parent]
            siblings.discard(login.id)
            if not siblings:
                del self.children[login.parent]
