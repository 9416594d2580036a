"""The logins that may connect over MQTT: in memory by name and id, in SQLite as principals with a credential."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import cast, get_args
from uuid import uuid4

from .audit_details import differences, names
from .credentials.stored_secrets import StoredSecret, load_secret
from .database import Database, Statement
from .errors import AlreadyExists, CircularReference, Invalid, NotFound, UnknownReference
from .login_changes import FIELDS, changed_login, check_login, detail_of, effect_of_change, reservations
from .login_index import LoginIndex, StoredLogin
from .login_statements import columns, insertions, secret_kind
from .login_values import LoginChange, NewLogin
from .names import check_identifier, shown
from .principals import delete_principal, keep_secret, replace_credential, update_principal
from .records import Change, ClientIdMode, Login, LoginKind, LoginType, to_microseconds, to_seconds
from .writer import Write

__all__ = ["Logins", "StoredLogin", "check_login_name", "check_login_type"]

_FEW = 1_000
"""Logins that are changed in place: a copy of all takes longer."""

_LOAD = """
    SELECT p.id, p.login_type, p.login, p.superuser, p.disabled_at, p.paused_at, p.expires_at, p.created_at, p.kind,
           p.confined, p.tenant_id, p.clientid, p.clientid_mode, p.can_publish, p.can_subscribe, p.label, p.description,
           c.expires_at, p.parent_id, c.algo, c.secret_hash, c.salt, c.params
    FROM principal p
    LEFT JOIN credential c ON c.principal_id = p.id AND c.kind IN ('password', 'jwt') AND c.revoked_at IS NULL
    WHERE p.login_type IN ('username', 'clientid') AND p.login_scope = ''
    ORDER BY p.rowid"""


def check_login_type(login_type: str) -> LoginType:
    """Return the login type; raise Invalid where there is none of this name."""
    if login_type not in get_args(LoginType):
        raise Invalid("The login type must be 'username' or 'clientid'.")
    return cast("LoginType", login_type)


def check_login_name(login_type: str, name: str) -> LoginType:
    """Return the login type; raise Invalid unless a login of this type could have the name."""
    checked = check_login_type(login_type)
    check_identifier(name, _WHAT[checked])
    return checked


class Logins:
    """Own the logins in memory; each change comes as a Write whose `apply` is the only thing that alters them."""

    def __init__(self) -> None:
        self._index = LoginIndex()
        self._on_forget: list[Callable[[Collection[str]], None]] = []

    def on_forget(self, callback: Callable[[Collection[str]], None]) -> None:
        """Call back with the ids of logins that are no more, as part of the write that ends them."""
        self._on_forget.append(callback)

    async def load(self, database: Database) -> None:
        """Read all logins."""
        for row in await database.read(_LOAD):
            login = Login(
                id=row[0],
                login_type=row[1],
                login=row[2],
                superuser=bool(row[3]),
                disabled_at=to_seconds(row[4]),
                paused_at=to_seconds(row[5]),
                expires_at=to_seconds(row[6]),
                created_at=row[7] / 1_000_000,
                kind=row[8],
                confined=bool(row[9]),
                tenant=row[10],
                clientid=row[11],
                clientid_mode=row[12],
                can_publish=bool(row[13]),
                can_subscribe=bool(row[14]),
                label=row[15],
                description=row[16],
                secret_expires_at=to_seconds(row[17]),
                parent=row[18],
            )
            secret = None if row[19] is None else load_secret(row[19], row[20], row[21], row[22])
            self._index.put(StoredLogin(login, secret))

    # Reading

    def find(self, login_type: LoginType, name: str) -> StoredLogin | None:
        """Return the login of this name with its secret."""
        return self._index.by_name[login_type].get(name)

    def by_id(self, principal: str) -> StoredLogin | None:
        """Return the login of this id."""
        return self._index.by_id.get(principal)

    def get(self, login_type: str, name: str) -> Login | None:
        """Return the login of this name."""
        stored = self._index.by_name[check_login_type(login_type)].get(name)
        return None if stored is None else stored.login

    def of_type(self, login_type: str) -> Sequence[Login]:
        """Return all logins of a type, oldest first."""
        return [stored.login for stored in self._index.by_name[check_login_type(login_type)].values()]

    def stored(self) -> list[StoredLogin]:
        """Return all logins with their secrets, of both types."""
        return [*self._index.by_id.values()]

    def count(self, login_type: LoginType) -> int:
        """Return how many logins of a type there are."""
        return len(self._index.by_name[login_type])

    def of_tenant(self, tenant: str) -> list[Login]:
        """Return all logins of a tenant."""
        return [stored.login for stored in self._index.by_id.values() if stored.login.tenant == tenant]

    def records(self, principals: Iterable[str]) -> list[Login]:
        """Return the logins of these ids, by name."""
        found = [self._index.by_id[principal].login for principal in principals]
        return sorted(found, key=lambda login: (login.login, login.login_type))

    def with_children(self, principals: Iterable[str], but: Collection[str] = ()) -> frozenset[str]:
        """Return principals and all that go with them, without those of `but` and who belongs to those."""
        return self._index.with_children(principals, but)

    def owner_of(self, client_id: str) -> str | None:
        """Return the principal for which a client id is reserved."""
        return self._index.reserved.get(client_id)

    def existing(self, login_type: str, name: str) -> StoredLogin:
        """Return a login; raise Invalid or NotFound."""
        checked = check_login_type(login_type)
        stored = self._index.by_name[checked].get(name)
        if stored is None:
            raise NotFound(f"The {_WHAT[checked]} '{shown(name)}' does not exist.")
        return stored

    # Writing

    def check_new(self, login_type: str, name: str) -> LoginType:
        """Raise Invalid or AlreadyExists unless a login of this name can be created."""
        checked = check_login_name(login_type, name)
        if name in self._index.by_name[checked]:
            raise AlreadyExists(f"The {_WHAT[checked]} '{shown(name)}' already exists.")
        return checked

    def create(self, new: NewLogin, at: int) -> Write[Login]:
        """Prepare a new login."""
        self.check_new(new.login_type, new.login)
        login = self.build(new, at)
        self.check_reservation(login)
        stored = StoredLogin(login, new.secret)
        return Write(
            action="login.create",
            target=f"{login.login_type}:{login.login}",
            statements=list(insertions(stored.login, stored.secret, new.public_id, at)),
            apply=lambda: self._index.change((), [stored]),
            result=login,
            change=Change(banned_client_ids=reservations(login)),
            detail=detail_of(login),
        )

    def update(self, login_type: str, name: str, change: LoginChange, at: int) -> Write[Login]:
        """Prepare a change; live sessions end where they would not be let in again as they are."""
        old = self.existing(login_type, name)
        login = changed_login(old.login, change, at)
        self.check(login)
        self.check_reservation(login)
        detail = differences(old.login, login, FIELDS)
        stored = StoredLogin(login, change.secret or old.secret)
        statements: list[Statement] = [update_principal(login.id, columns(login), at)]
        if change.public_id is not None:
            check_identifier(change.public_id, "public id")
        if change.secret is not None:
            kind, end = secret_kind(login.kind), to_microseconds(change.secret_expires_at)
            statements += replace_credential(
                login.id, kind, change.secret, at, public_id=change.public_id, expires_at=end
            )
            detail["changed"] = [*cast("list[str]", detail["changed"]), "password"]
        return Write(
            action="login.update",
            target=f"{login.login_type}:{name}",
            statements=statements,
            apply=lambda: self._index.change((), [stored]),
            result=login,
            change=effect_of_change(old.login, login, change.secret is not None, at),
            detail=detail,
        )

    def keep_secret(self, login: Login, old: StoredSecret, new: StoredSecret) -> Write[None]:
        """Prepare another form of the same password; raise NotFound where the login has another password by now."""
        stored = self._index.by_id.get(login.id)
        if stored is None or stored.secret != old:
            raise NotFound("The login was changed while its password was being hashed.")
        kept = StoredLogin(stored.login, new)
        return Write(
            action="login.keep_secret",
            target=f"{login.login_type}:{login.login}",
            statements=[keep_secret(login.id, secret_kind(login.kind), old, new)],
            apply=lambda: self._index.change((), [kept]),
            result=None,
            derived=True,
        )

    def delete(self, login_type: str, name: str) -> Write[None]:
        """Prepare the end of a login and of its sessions."""
        login = self.existing(login_type, name).login
        ended = self.with_children([login.id])
        return Write(
            action="login.delete",
            target=f"{login.login_type}:{name}",
            statements=[delete_principal(login.id)],
            apply=lambda: self.remove(ended),
            result=None,
            change=Change(end_principals=ended),
            detail={
                "superuser": login.superuser,
                "with it": names(f"{child.login_type}:{child.login}" for child in self.records(ended - {login.id})),
            },
        )

    def remove(self, principals: Collection[str]) -> None:
        """Forget logins in memory, as part of another write that deletes their rows."""
        self._index.change(principals, ())
        self._tell(principals)

    def change_many(self, removed: Collection[str], stored: Sequence[StoredLogin]) -> Callable[[], None]:
        """Prepare logins that go, by id, and that come; many are put into a copy, so that it takes no time to apply."""
        index = self._index
        swap = len(removed) + len(stored) > _FEW
        if swap:
            index = index.copy()
            index.change(removed, stored)

        def apply() -> None:
            if swap:
                self._index = index
            else:
                index.change(removed, stored)
            self._tell(removed)

        return apply

    def _tell(self, removed: Collection[str]) -> None:
        for callback in self._on_forget:
            callback(removed)

    def build(self, new: NewLogin, at: int) -> Login:
        """Make a login; raise Invalid, AlreadyExists, UnknownReference or CircularReference."""
        checked = check_login_type(new.login_type)
        if new.kind not in get_args(LoginKind):
            raise Invalid("This kind of principal is no MQTT login.")
        if new.id is not None and new.id in self._index.by_id:
            raise AlreadyExists(f"There is a login of the id '{shown(new.id)}' already.")
        clientid, mode = new.clientid, new.clientid_mode
        if checked == "clientid":
            if clientid not in (None, new.login):
                raise Invalid("A login by client id has no other client id.")
            # Its password would protect nothing if others could connect under it.
            clientid, mode = new.login, "reserved"
        login = Login(
            id=new.id or str(uuid4()),
            login_type=checked,
            login=new.login,
            superuser=new.superuser,
            disabled_at=at / 1_000_000 if new.disabled else None,
            expires_at=new.expires_at,
            created_at=at / 1_000_000,
            kind=cast("LoginKind", new.kind),
            confined=new.confined,
            tenant=new.tenant,
            clientid=clientid,
            clientid_mode=cast("ClientIdMode", mode),
            can_publish=new.can_publish,
            can_subscribe=new.can_subscribe,
            label=new.label,
            description=new.description,
            secret_expires_at=None if new.secret is None else new.secret_expires_at,
            parent=new.parent,
        )
        if new.public_id is not None:
            check_identifier(new.public_id, "public id")
        self.check(login)
        return login

    def check(self, login: Login) -> None:
        """Raise Invalid, UnknownReference or CircularReference for values that do not go together or with others."""
        check_login(login)
        self._check_parent(login)

    def _check_parent(self, login: Login) -> None:
        """Raise UnknownReference unless the parent is there in the same tenant, CircularReference for a descendant."""
        parent = login.parent
        if parent is None:
            return
        stored = self._index.by_id.get(parent)
        if parent != login.id and (stored is None or stored.login.tenant != login.tenant):
            raise UnknownReference("parent", parent)
        if parent in self.with_children([login.id]):
            raise CircularReference("A login cannot belong to itself or to one that belongs to it.")

    def check_reservation(self, login: Login, others: dict[str, str] | None = None) -> None:
        """Raise AlreadyExists where a client id is another login's, or one of `others`, to which it is added."""
        if login.clientid_mode != "reserved" or login.clientid is None:
            return
        owner = self._index.reserved.get(login.clientid, login.id)
        if others is not None and owner == login.id:
            owner = others.setdefault(login.clientid, login.id)
        if owner != login.id:
            raise AlreadyExists(f"The client id '{shown(login.clientid)}' is reserved for another login.")


_WHAT: dict[LoginType, str] = {"username": "user name", "clientid": "client id"}
