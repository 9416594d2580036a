"""How a login stands in the database: a principal with a credential."""

from collections.abc import Iterable, Iterator

from .credentials.stored_secrets import StoredSecret
from .database import Statement, grouped
from .principals import insert_credential, insert_principal, replace_credential, update_principal
from .records import Login, LoginKind, to_microseconds


def secret_kind(kind: LoginKind) -> str:
    """Say which kind of credential a kind of login has."""
    return "jwt" if kind == "haltian_key" else "password"


def insertions(login: Login, secret: StoredSecret | None, public_id: str | None, at: int) -> Iterator[Statement]:
    yield insert_principal({"id": login.id, **columns(login)}, at, login.tenant or None)
    if secret is not None:
        expires_at = to_microseconds(login.secret_expires_at)
        kind = secret_kind(login.kind)
        yield insert_credential(login.id, kind, secret, at, public_id=public_id, expires_at=expires_at)


def replacements(login: Login, secret: StoredSecret | None, public_id: str | None, at: int) -> Iterator[Statement]:
    yield update_principal(login.id, columns(login), at)
    if secret is not None:
        expires_at = to_microseconds(login.secret_expires_at)
        kind = secret_kind(login.kind)
        yield from replace_credential(login.id, kind, secret, at, public_id=public_id, expires_at=expires_at)


def columns(login: Login) -> dict[str, object]:
    return {
        "kind": login.kind,
        "login_type": login.login_type,
        "login": login.login,
        "superuser": int(login.superuser),
        "disabled_at": to_microseconds(login.disabled_at),
        "paused_at": to_microseconds(login.paused_at),
        "expires_at": to_microseconds(login.expires_at),
        "confined": int(login.confined),
        "clientid": login.clientid,
        "clientid_mode": login.clientid_mode,
        "can_publish": int(login.can_publish),
        "can_subscribe": int(login.can_subscribe),
        "label": login.label,
        "description": login.description,
        "parent_id": login.parent,
    }


def in_bulk(statements: Iterable[Statement]) -> list[Statement]:
    """Group the statements of many logins: first the principals, then the credentials that go, then those that come."""

    def phase(statement: Statement) -> int:
        verb, *_, table = statement.sql.replace("(", " ").split(maxsplit=3)[:3]
        if table != "credential":
            return 0
        return 1 if verb == "DELETE" else 2

    return grouped(sorted(statements, key=phase))
