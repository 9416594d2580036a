"""SQL that every kind of principal shares. Column names come from the code that calls, values go as parameters."""

import json
from uuid import uuid4

from .credentials.stored_secrets import PARAMETERS, PLAIN, SCRAM, StoredSecret
from .database import Statement

_INSERT_CREDENTIAL = """
    INSERT INTO credential
    (id, principal_id, kind, public_id, algo, secret_hash, salt, params, hint, issued_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_KEEP_FORM = """
    UPDATE credential SET algo = ?, secret_hash = ?, salt = ?,
      params = json_patch(CASE json_valid(params) WHEN 1 THEN params ELSE '{}' END, ?)
    WHERE principal_id = ? AND kind = ? AND algo = ? AND secret_hash = ? AND revoked_at IS NULL"""


def insert_principal(values: dict[str, object], at: int, tenant: str | None = None) -> Statement:
    """Insert a principal of the tenant of this id, else of `default`; `values` by column name, `at` in microseconds."""
    columns = {**values, "created_at": at, "updated_at": at}
    names = ", ".join(columns)
    marks = ", ?" * len(columns)
    if tenant is not None:
        sql = f"INSERT INTO principal (tenant_id, {names}) VALUES (?{marks})"  # noqa: S608
        return Statement(sql, [(tenant, *columns.values())])
    default = "(SELECT id FROM tenant WHERE name = 'default')"
    sql = f"INSERT INTO principal (tenant_id, {names}) VALUES ({default}{marks})"  # noqa: S608
    return Statement(sql, [tuple(columns.values())])


def update_principal(principal: str, values: dict[str, object], at: int) -> Statement:
    """Set columns of a principal."""
    columns = {**values, "updated_at": at}
    assignments = ", ".join(f"{column} = ?" for column in columns)
    sql = f"UPDATE principal SET {assignments} WHERE id = ?"  # noqa: S608
    return Statement(sql, [(*columns.values(), principal)])


def delete_principal(principal: str) -> Statement:
    """Delete a principal and, by the foreign key, its credentials."""
    return Statement("DELETE FROM principal WHERE id = ?", [(principal,)])


def insert_credential(
    principal: str,
    kind: str,
    secret: StoredSecret,
    at: int,
    *,
    public_id: str | None = None,
    hint: str = "",
    expires_at: int | None = None,
) -> Statement:
    """Insert a principal's credential; `hint` is safe to display, times are in microseconds."""
    stored = (_storable(secret), secret.secret_hash, secret.salt, secret.params)
    return Statement(_INSERT_CREDENTIAL, [(str(uuid4()), principal, kind, public_id, *stored, hint, at, expires_at)])


def replace_credential(
    principal: str,
    kind: str,
    secret: StoredSecret,
    at: int,
    *,
    public_id: str | None = None,
    expires_at: int | None = None,
) -> list[Statement]:
    """Replace a principal's credential; the old hash does not stay behind."""
    delete = Statement("DELETE FROM credential WHERE principal_id = ? AND kind = ?", [(principal, kind)])
    return [delete, insert_credential(principal, kind, secret, at, public_id=public_id, expires_at=expires_at)]


def delete_credential(principal: str, kind: str) -> Statement:
    """Delete a principal's credential."""
    return Statement("DELETE FROM credential WHERE principal_id = ? AND kind = ?", [(principal, kind)])


def keep_secret(principal: str, kind: str, old: StoredSecret, new: StoredSecret) -> Statement:
    """Keep the same secret in another form, if the principal still has it in the old one.

    What a later release has put beside the parameters known here stays.
    """
    gone = dict.fromkeys((SCRAM, *PARAMETERS))
    params = json.dumps({**gone, **json.loads(new.params)})
    return Statement(
        _KEEP_FORM, [(_storable(new), new.secret_hash, new.salt, params, principal, kind, old.algo, old.secret_hash)]
    )


def _storable(secret: StoredSecret) -> str:
    if secret.algo == PLAIN:
        raise ValueError("a password must be hashed before it is stored")
    return secret.algo
