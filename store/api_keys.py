"""Keys to the management API: a name, a public half, and a secret of which only a digest is kept."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast, get_args
from uuid import uuid4

from .credentials.stored_secrets import (
    NO_SECRET,
    StoredSecret,
    base62,
    encode_secret,
    generate_token,
    matches_fast,
    store_supplied,
    store_token,
)
from .database import Database, Statement
from .errors import AlreadyExists, Invalid, NotFound
from .principals import delete_principal, insert_credential, insert_principal, update_principal
from .records import LAST_SECOND, ApiKey, ApiRole, Unset, to_microseconds, to_seconds
from .writer import Write

MAX_API_KEYS = 100
_NAME = re.compile(r"[A-Za-z]+[A-Za-z0-9-_]*")
_MAX_NAME = 256
_MAX_API_KEY = 256
_MAX_DESCRIPTION = 10_000
_GENERATED_API_KEY = 16

_LOAD = """
    SELECT p.id, p.label, c.public_id, p.http_role, p.disabled_at IS NULL, p.expires_at, p.description, p.created_at,
           c.algo, c.secret_hash, c.salt
    FROM principal p JOIN credential c ON c.principal_id = p.id AND c.kind = 'api_secret' AND c.revoked_at IS NULL
    WHERE p.kind = 'emqx_api_key' ORDER BY p.rowid"""


@dataclass(frozen=True, slots=True)
class _StoredKey:
    key: ApiKey
    secret: StoredSecret = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """Describe a key both halves of which are known: from a bootstrap file or a backup."""

    name: str
    api_key: str
    secret: str | StoredSecret = field(repr=False)
    role: str = "administrator"
    enabled: bool = True
    expires_at: float | None = None
    description: str = ""


class ApiKeys:
    """Own the API keys in memory."""

    def __init__(self) -> None:
        self._by_key: dict[str, _StoredKey] = {}

    async def load(self, database: Database) -> None:
        """Read all keys."""
        for row in await database.read(_LOAD):
            key = ApiKey(row[0], row[1], row[2], row[3], bool(row[4]), to_seconds(row[5]), row[6], row[7] / 1_000_000)
            self._by_key[key.api_key] = _StoredKey(key, StoredSecret(row[8], bytes(row[9]), bytes(row[10])))

    def all(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first."""
        return [stored.key for stored in self._by_key.values()]

    def verify(self, api_key: str, secret: str, now: float) -> ApiKey | None:
        """Return the key if the secret is right and the key is enabled and in date."""
        stored = self._by_key.get(api_key)
        try:
            presented = encode_secret(secret)
        except Invalid:
            return None
        right = matches_fast(NO_SECRET if stored is None else stored.secret, presented)
        if stored is None or not right or not stored.key.enabled:
            return None
        expires_at = stored.key.expires_at
        return None if expires_at is not None and expires_at <= now else stored.key

    def create(
        self,
        name: str,
        role: str,
        *,
        expires_at: float | None,
        description: str,
        api_key: str | None,
        secret: str | None,
        enabled: bool,
        at: int,
    ) -> Write[tuple[ApiKey, str]]:
        """Prepare a key; what is not supplied of its two halves is generated."""
        self._check_new(name, api_key)
        checked_role = _check(role, description, expires_at)
        if secret is None:
            secret = generate_token()
            stored_secret = store_token(secret)
        else:
            stored_secret = store_supplied(secret)
        key = ApiKey(
            id=str(uuid4()),
            name=name,
            api_key=api_key or base62(_GENERATED_API_KEY),
            role=checked_role,
            enabled=enabled,
            expires_at=expires_at,
            description=description,
            created_at=at / 1_000_000,
        )

        def apply() -> None:
            self._by_key[key.api_key] = _StoredKey(key, stored_secret)

        return Write(
            action="api_key.create",
            target=name,
            statements=[
                insert_principal(_columns(key) | {"disabled_at": None if enabled else at}, at),
                insert_credential(key.id, "api_secret", stored_secret, at, public_id=key.api_key),
            ],
            apply=apply,
            result=(key, secret),
            detail={"role": checked_role},
        )

    def update(
        self,
        name: str,
        *,
        role: str | None,
        enabled: bool | None,
        expires_at: float | Unset | None,
        description: str | None,
        at: int,
    ) -> Write[ApiKey]:
        """Prepare a change of what is not None or UNSET."""
        old = self._named(name)
        end = old.key.expires_at if isinstance(expires_at, Unset) else expires_at
        key = replace(
            old.key,
            role=_check(role or old.key.role, description or "", end),
            enabled=old.key.enabled if enabled is None else enabled,
            expires_at=end,
            description=old.key.description if description is None else description,
        )
        columns: dict[str, object] = {
            "http_role": key.role,
            "disabled_at": None if key.enabled else at,
            "expires_at": to_microseconds(key.expires_at),
            "description": key.description,
        }

        def apply() -> None:
            self._by_key[key.api_key] = _StoredKey(key, old.secret)

        statements: list[Statement] = [update_principal(key.id, columns, at)]
        return Write(action="api_key.update", target=name, statements=statements, apply=apply, result=key)

    def stored(self) -> Sequence[tuple[ApiKey, StoredSecret]]:
        """Return all keys with what is kept of their secrets, for a backup."""
        return [(stored.key, stored.secret) for stored in self._by_key.values()]

    def holds(self, new: NewApiKey) -> bool:
        """Tell whether `put` would change nothing."""
        stored = self._by_key.get(new.api_key)
        if stored is None or isinstance(new.secret, StoredSecret):
            return False
        key = stored.key
        known = (key.name, key.role, key.enabled, key.expires_at, key.description)
        wanted = (new.name, new.role, new.enabled, new.expires_at, new.description)
        return known == wanted and matches_fast(stored.secret, encode_secret(new.secret))

    def put(self, new: NewApiKey, at: int) -> Write[ApiKey]:
        """Prepare a key that takes the place of whatever has its public half or its name."""
        _check_name(new.name)
        _check_api_key(new.api_key)
        role = _check(new.role, new.description, new.expires_at)
        secret = new.secret if isinstance(new.secret, StoredSecret) else store_supplied(new.secret)
        replaced = [
            stored.key
            for stored in self._by_key.values()
            if stored.key.name == new.name or stored.key.api_key == new.api_key
        ]
        same = self._by_key.get(new.api_key)
        key = ApiKey(
            id=str(uuid4()),
            name=new.name,
            api_key=new.api_key,
            role=role,
            enabled=new.enabled,
            expires_at=new.expires_at,
            description=new.description,
            created_at=at / 1_000_000 if same is None else same.key.created_at,
        )

        def apply() -> None:
            for old in replaced:
                del self._by_key[old.api_key]
            self._by_key[key.api_key] = _StoredKey(key, secret)

        columns = {**_columns(key), "disabled_at": None if key.enabled else at}
        created = at if same is None else round(key.created_at * 1_000_000)
        statements = [delete_principal(old.id) for old in replaced]
        statements.append(insert_principal(columns, created))
        statements.append(insert_credential(key.id, "api_secret", secret, at, public_id=key.api_key))
        return Write(
            action="api_key.put", target=key.name, statements=statements, apply=apply, result=key, detail={"role": role}
        )

    def delete(self, name: str) -> Write[None]:
        """Prepare the end of a key."""
        key = self._named(name).key

        def apply() -> None:
            del self._by_key[key.api_key]

        statements = [delete_principal(key.id)]
        return Write(action="api_key.delete", target=name, statements=statements, apply=apply, result=None)

    def _check_new(self, name: str, api_key: str | None) -> None:
        _check_name(name)
        if any(stored.key.name == name for stored in self._by_key.values()):
            raise AlreadyExists(f"The API key '{name}' already exists.")
        if api_key is not None:
            _check_api_key(api_key)
            if api_key in self._by_key:
                raise AlreadyExists("This API key already exists.")
        if len(self._by_key) >= MAX_API_KEYS:
            raise Invalid(f"There must not be more than {MAX_API_KEYS} API keys.")

    def _named(self, name: str) -> _StoredKey:
        for stored in self._by_key.values():
            if stored.key.name == name:
                return stored
        raise NotFound(f"The API key '{name[:200]}' does not exist.")


def _columns(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "kind": "emqx_api_key",
        "label": key.name,
        "description": key.description,
        "expires_at": to_microseconds(key.expires_at),
        "http_role": key.role,
    }


def _check_name(name: str) -> None:
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise Invalid(f"The name must begin with a letter and hold at most {_MAX_NAME} letters, digits, - and _.")


def _check_api_key(api_key: str) -> None:
    # HTTP Basic separates the two halves by the first colon.
    if not 0 < len(api_key) <= _MAX_API_KEY or ":" in api_key or not api_key.isprintable():
        raise Invalid(f"An API key must have 1 to {_MAX_API_KEY} printable characters and no colon.")


def _check(role: str, description: str, expires_at: float | None) -> ApiRole:
    if role not in get_args(ApiRole):
        raise Invalid("The role must be 'administrator', 'viewer' or 'publisher'.")
    if len(description) > _MAX_DESCRIPTION:
        raise Invalid(f"The description must not be longer than {_MAX_DESCRIPTION} characters.")
    if expires_at is not None and not 0 <= expires_at <= LAST_SECOND:
        raise Invalid("The end of an API key must be between the years 1970 and 9999.")
    return cast("ApiRole", role)
