"""The logins that may connect over MQTT: in memory by name, in SQLite as principals with a password credential."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast, get_args
from uuid import uuid4

from .database import Database, Statement
from .errors import AlreadyExists, Invalid, NotFound
from .principals import (
    delete_principal,
    insert_credential,
    insert_principal,
    keep_scram_keys,
    replace_credential,
    update_principal,
)
from .records import Change, Login, LoginType, Unset, to_microseconds, to_seconds
from .scram import ScramKeys, keys_from_params
from .stored_secrets import StoredSecret
from .writer import Write

MAX_NAME_BYTES = 65_535
"""Longest client id or user name that MQTT can carry."""

_LOAD = """
    SELECT p.id, p.login_type, p.login, p.superuser, p.disabled_at IS NOT NULL OR p.paused_at IS NOT NULL,
           p.expires_at, p.created_at, p.kind, p.confined, c.algo, c.secret_hash, c.salt, c.params
    FROM principal p
    LEFT JOIN credential c ON c.principal_id = p.id AND c.kind = 'password' AND c.revoked_at IS NULL
    WHERE p.login_type IN ('username', 'clientid') AND p.login_scope = ''
    ORDER BY p.rowid"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """Pair a login with its secret; None where it has none and so cannot be used."""

    login: Login
    secret: StoredSecret | None = field(repr=False)


def check_login_type(login_type: str) -> LoginType:
    """Return the login type; raise Invalid where there is none of this name."""
    if login_type not in get_args(LoginType):
        raise Invalid("The login type must be 'username' or 'clientid'.")
    return cast("LoginType", login_type)


def check_name(name: str, what: str) -> None:
    """Raise Invalid unless `name` can be a client id or user name."""
    if not name:
        raise Invalid(f"The {what} must not be empty.")
    if "\0" in name:
        raise Invalid(f"The {what} must not contain U+0000.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Invalid(f"The {what} must not contain surrogates.") from None
    if size > MAX_NAME_BYTES:
        raise Invalid(f"The {what} must not be longer than {MAX_NAME_BYTES} bytes.")


class Logins:
    """Own the logins in memory; each change comes as a Write whose `apply` is the only thing that alters them."""

    def __init__(self) -> None:
        self._by_name: dict[LoginType, dict[str, StoredLogin]] = {"username": {}, "clientid": {}}

    async def load(self, database: Database) -> None:
        """Read all logins."""
        for row in await database.read(_LOAD):
            login = Login(
                id=row[0],
                login_type=row[1],
                login=row[2],
                superuser=bool(row[3]),
                disabled=bool(row[4]),
                expires_at=to_seconds(row[5]),
                created_at=row[6] / 1_000_000,
                kind=row[7],
                confined=bool(row[8]),
            )
            secret = None
            if row[9] is not None:
                secret = StoredSecret(row[9], bytes(row[10]), bytes(row[11]), keys_from_params(row[12]))
            self._by_name[login.login_type][login.login] = StoredLogin(login, secret)

    def find(self, login_type: LoginType, name: str) -> StoredLogin | None:
        """Return the login of this name with its secret."""
        return self._by_name[login_type].get(name)

    def get(self, login_type: str, name: str) -> Login | None:
        """Return the login of this name."""
        stored = self._by_name[check_login_type(login_type)].get(name)
        return None if stored is None else stored.login

    def of_type(self, login_type: str) -> Sequence[Login]:
        """Return all logins of a type, oldest first."""
        return [stored.login for stored in self._by_name[check_login_type(login_type)].values()]

    def check_new(self, login_type: str, name: str) -> LoginType:
        """Raise Invalid or AlreadyExists unless a login of this name can be created."""
        checked = check_login_type(login_type)
        check_name(name, _WHAT[checked])
        if name in self._by_name[checked]:
            raise AlreadyExists(f"The {_WHAT[checked]} '{_shown(name)}' already exists.")
        return checked

    def existing(self, login_type: str, name: str) -> StoredLogin:
        """Return a login; raise Invalid or NotFound."""
        checked = check_login_type(login_type)
        stored = self._by_name[checked].get(name)
        if stored is None:
            raise NotFound(f"The {_WHAT[checked]} '{_shown(name)}' does not exist.")
        return stored

    def create(self, login_type: str, name: str, secret: StoredSecret, superuser: bool, at: int) -> Write[Login]:
        """Prepare a new login."""
        checked = self.check_new(login_type, name)
        login = Login(str(uuid4()), checked, name, superuser, created_at=at / 1_000_000)
        columns: dict[str, object] = {
            "id": login.id,
            "kind": login.kind,
            "login_type": checked,
            "login": name,
            "superuser": int(superuser),
        }
        return Write(
            action="login.create",
            target=f"{checked}:{name}",
            statements=[insert_principal(columns, at), insert_credential(login.id, "password", secret, at)],
            apply=lambda: self._put(StoredLogin(login, secret)),
            result=login,
            detail={"superuser": superuser},
        )

    def update(
        self,
        login_type: str,
        name: str,
        *,
        secret: StoredSecret | None,
        superuser: bool | None,
        disabled: bool | None,
        expires_at: float | Unset | None,
        at: int,
    ) -> Write[Login]:
        """Prepare a change of what is not None or UNSET; the login's live sessions are to be closed."""
        old = self.existing(login_type, name)
        login = replace(
            old.login,
            superuser=_chosen(superuser, old.login.superuser),
            disabled=_chosen(disabled, old.login.disabled),
            expires_at=old.login.expires_at if isinstance(expires_at, Unset) else expires_at,
        )
        columns: dict[str, object] = {
            "superuser": int(login.superuser),
            "expires_at": to_microseconds(login.expires_at),
        }
        if disabled is not None:
            # The operator's word is final: enabling lifts the owner's switch too.
            columns |= {"disabled_at": at} if disabled else {"disabled_at": None, "paused_at": None}
        statements: list[Statement] = [update_principal(login.id, columns, at)]
        changed = [
            key for key in ("superuser", "disabled", "expires_at") if getattr(login, key) != getattr(old.login, key)
        ]
        if secret is not None:
            statements += replace_credential(login.id, "password", secret, at)
            changed.append("password")
        return Write(
            action="login.update",
            target=f"{login.login_type}:{name}",
            statements=statements,
            apply=lambda: self._put(StoredLogin(login, secret or old.secret)),
            result=login,
            change=Change(close_principals=frozenset({login.id} if changed else ())),
            detail={"changed": changed},
        )

    def keep_scram_keys(self, login: Login, secret: StoredSecret, keys: ScramKeys) -> Write[None]:
        """Prepare keys that were derived from a login's password; raise NotFound where it has another by now."""
        stored = self._by_name[login.login_type].get(login.login)
        if stored is None or stored.login.id != login.id or stored.secret != secret:
            raise NotFound("The login was changed while its keys were being derived.")
        current, with_keys = stored, replace(secret, scram=keys)
        return Write(
            action="login.derive_keys",
            target=f"{login.login_type}:{login.login}",
            statements=[keep_scram_keys(login.id, with_keys)],
            apply=lambda: self._put(StoredLogin(current.login, with_keys)),
            result=None,
            derived=True,
        )

    def delete(self, login_type: str, name: str) -> Write[None]:
        """Prepare the end of a login and of its live sessions."""
        login = self.existing(login_type, name).login

        def apply() -> None:
            del self._by_name[login.login_type][name]

        return Write(
            action="login.delete",
            target=f"{login.login_type}:{name}",
            statements=[delete_principal(login.id)],
            apply=apply,
            result=None,
            change=Change(close_principals=frozenset({login.id})),
        )

    def _put(self, stored: StoredLogin) -> None:
        self._by_name[stored.login.login_type][stored.login.login] = stored


_WHAT: dict[LoginType, str] = {"username": "user name", "clientid": "client id"}


def _shown(name: str) -> str:
    return name if len(name) <= 200 else name[:200] + "..."


def _chosen(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
