"""Those who log in to manage the broker: name, role, and a password that is checked like a client's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Unpack, cast, get_args
from uuid import uuid4

from .credentials.login_limiter import LoginLimiter
from .credentials.passwords import Passwords
from .credentials.stored_secrets import MAX_SECRET_BYTES, StoredSecret, encode_secret, load_secret
from .database import Database, Statement
from .errors import AlreadyExists, InUse, Invalid, NotFound
from .names import check_text, shown
from .networks import network_of
from .principals import delete_principal, insert_credential, insert_principal, replace_credential, update_principal
from .writer import Origin, Write, Writer

DashboardRole = Literal["administrator", "viewer"]

MAX_USERS = 1_000
_NAME = re.compile(r"[_a-zA-Z0-9]+")
_MAX_NAME = 100
_MAX_DESCRIPTION = 10_000
_SCOPE = "dashboard"

_LOAD = """
    SELECT p.id, p.login, p.http_role, p.description, p.created_at, c.algo, c.secret_hash, c.salt, c.params
    FROM principal p JOIN credential c ON c.principal_id = p.id AND c.kind = 'password' AND c.revoked_at IS NULL
    WHERE p.login_scope = ? ORDER BY p.rowid"""


@dataclass(frozen=True, slots=True)
class DashboardUser:
    """Describe somebody who may log in to the management API."""

    id: str
    name: str
    role: DashboardRole
    description: str
    created_at: float
    revision: int = 0
    """Another one after each change of password or role, of no meaning beyond this process: whatever was granted
    before ends with it."""


@dataclass(frozen=True, slots=True)
class StoredUser:
    """Hold a user with what is kept of the password."""

    user: DashboardUser
    secret: StoredSecret = field(repr=False)


class DashboardUsers:
    """Own the dashboard users in memory.

    Each is a principal with a login scope of its own, so that it is no MQTT login and takes no name from them.
    """

    def __init__(self, writer: Writer, passwords: Passwords, limiter: LoginLimiter) -> None:
        """Take a limiter for these logins alone: who guesses at clients' passwords must not slow down the operator."""
        self._writer = writer
        self._passwords = passwords
        self._limiter = limiter
        self._users: dict[str, StoredUser] = {}
        self._revisions = 0

    async def load(self, database: Database) -> None:
        """Read all users."""
        for row in await database.read(_LOAD, [_SCOPE]):
            role = cast("DashboardRole", row[2] if row[2] in get_args(DashboardRole) else "viewer")
            user = DashboardUser(row[0], row[1], role, row[3], row[4] / 1_000_000)
            self._users[user.name] = StoredUser(user, load_secret(row[5], row[6], row[7], row[8]))

    def all(self) -> Sequence[DashboardUser]:
        """Return all users, oldest first."""
        return [stored.user for stored in self._users.values()]

    def get(self, name: str) -> DashboardUser | None:
        """Return the user of this name."""
        stored = self._users.get(name)
        return None if stored is None else stored.user

    def stored(self) -> Sequence[StoredUser]:
        """Return all users with what is kept of their passwords, for a backup."""
        return [*self._users.values()]

    async def check(self, name: str, password: str, peer_host: str) -> DashboardUser | None:
        """Return the user if the password is right; takes as long for a name that does not exist.

        Whoever guesses is served slowly, and nobody is locked out by the guesses of others. Raises Overloaded.
        """
        presented = password.encode(errors="surrogatepass")
        if len(presented) > MAX_SECRET_BYTES:
            return None
        stored = self._users.get(name)
        if stored is not None and self._passwords.check_now(stored.user.id, stored.secret, presented):
            return stored.user
        network, names = network_of(peer_host), [name]

        def suspect() -> bool:
            return self._limiter.suspect(network, names)

        if stored is None:
            await self._passwords.check_unknown(presented, network=network, suspect=suspect)
            right = False
        else:
            right = await self._passwords.check(
                stored.user.id, stored.secret, presented, network=network, suspect=suspect
            )
        if stored is None or not right:
            self._limiter.failed(network, names)
            return None
        self._limiter.succeeded(network, names)
        # The check took its time: what counts is the user as it is now, under the password that was checked.
        current = self._users.get(name)
        return current.user if current is not None and current.secret is stored.secret else None

    async def create(
        self,
        name: str,
        password: str,
        role: str = "administrator",
        *,
        description: str = "",
        **origin: Unpack[Origin],
    ) -> DashboardUser:
        """Create a user."""
        self._check_new(name)
        _check(role, description)
        encode_secret(password)
        secret = await self._passwords.hash(password)
        return await self._writer.write(lambda at: self._create(name, secret, role, description, at), **origin)

    def holds(self, name: str, secret: StoredSecret, role: str, description: str) -> bool:
        """Tell whether `put` would change nothing."""
        stored = self._users.get(name)
        if stored is None or stored.secret != secret:
            return False
        return (stored.user.role, stored.user.description) == (role, description)

    async def put(
        self, name: str, secret: StoredSecret, role: str, description: str, **origin: Unpack[Origin]
    ) -> DashboardUser:
        """Create a user whose password is hashed already, or make one that exists like that; for a backup."""

        def prepare(at: int) -> Write[DashboardUser]:
            if name in self._users:
                return self._update(name, at, role=role, description=description, secret=secret)
            return self._create(name, secret, role, description, at)

        return await self._writer.write(prepare, **origin)

    async def update(
        self, name: str, *, role: str | None = None, description: str | None = None, **origin: Unpack[Origin]
    ) -> DashboardUser:
        """Change what is given. Raises InUse where no administrator would be left."""
        return await self._writer.write(lambda at: self._update(name, at, role=role, description=description), **origin)

    async def set_password(
        self, name: str, password: str, *, expected: DashboardUser | None = None, **origin: Unpack[Origin]
    ) -> DashboardUser:
        """Set another password; raises Invalid where `expected` is given and has been changed since."""
        self._named(name)
        secret = await self._passwords.hash(password)

        def write(at: int) -> Write[DashboardUser]:
            if expected is not None and self._named(name).user.revision != expected.revision:
                raise Invalid("The user has been changed meanwhile.")
            return self._update(name, at, secret=secret)

        return await self._writer.write(write, **origin)

    async def delete(self, name: str, **origin: Unpack[Origin]) -> None:
        """Delete a user. Raises InUse for the last administrator."""
        await self._writer.write(lambda at: self._delete(name), **origin)

    def _create(self, name: str, secret: StoredSecret, role: str, description: str, at: int) -> Write[DashboardUser]:
        self._check_new(name)
        checked = _check(role, description)
        user = DashboardUser(str(uuid4()), name, checked, description, at / 1_000_000, self._next_revision())
        columns: dict[str, object] = {
            "id": user.id,
            "kind": "human",
            "login_type": "username",
            "login_scope": _SCOPE,
            "login": name,
            "http_role": checked,
            "description": description,
        }

        def apply() -> None:
            self._users[name] = StoredUser(user, secret)

        return Write(
            action="dashboard_user.create",
            target=name,
            statements=[insert_principal(columns, at), insert_credential(user.id, "password", secret, at)],
            apply=apply,
            result=user,
            detail={"role": checked},
        )

    def _update(
        self,
        name: str,
        at: int,
        *,
        role: str | None = None,
        description: str | None = None,
        secret: StoredSecret | None = None,
    ) -> Write[DashboardUser]:
        old = self._named(name)
        text = old.user.description if description is None else description
        checked = _check(role or old.user.role, text)
        if checked != "administrator":
            self._keep_an_administrator(old.user)
        user = replace(old.user, role=checked, description=text)
        columns: dict[str, object] = {"http_role": checked, "description": text}
        statements: list[Statement] = [update_principal(user.id, columns, at)]
        changed = {"role": checked} if checked != old.user.role else {}
        if secret is not None:
            statements += replace_credential(user.id, "password", secret, at)
            changed["password"] = "changed"  # noqa: S105
        if changed:
            user = replace(user, revision=self._next_revision())

        def apply() -> None:
            self._users[name] = StoredUser(user, secret or old.secret)

        return Write(
            action="dashboard_user.update",
            target=name,
            statements=statements,
            apply=apply,
            result=user,
            detail=changed,
        )

    def _delete(self, name: str) -> Write[None]:
        user = self._named(name).user
        self._keep_an_administrator(user)

        def apply() -> None:
            del self._users[name]

        statements = [delete_principal(user.id)]
        return Write(action="dashboard_user.delete", target=name, statements=statements, apply=apply, result=None)

    def _next_revision(self) -> int:
        self._revisions += 1
        return self._revisions

    def _keep_an_administrator(self, user: DashboardUser) -> None:
        others = (stored.user for stored in self._users.values() if stored.user.name != user.name)
        if user.role == "administrator" and not any(other.role == "administrator" for other in others):
            raise InUse(f"'{shown(user.name)}' is the last administrator.")

    def _named(self, name: str) -> StoredUser:
        stored = self._users.get(name)
        if stored is None:
            raise NotFound(f"The dashboard user '{shown(name)}' does not exist.")
        return stored

    def _check_new(self, name: str) -> None:
        if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
            raise Invalid(f"The user name must have 1 to {_MAX_NAME} letters, digits and _.")
        if name in self._users:
            raise AlreadyExists(f"The dashboard user '{name}' already exists.")
        if len(self._users) >= MAX_USERS:
            raise Invalid(f"There must not be more than {MAX_USERS} dashboard users.")


def _check(role: str, description: str) -> DashboardRole:
    if role not in get_args(DashboardRole):
        raise Invalid("The role must be 'administrator' or 'viewer'.")
    check_text(description.replace("\n", " ").replace("\t", " "), "description", _MAX_DESCRIPTION)
    return cast("DashboardRole", role)
