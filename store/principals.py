"""SQL that every kind of principal shares. Column names come from the code that calls, values go as parameters."""

from uuid import uuid4

from .database import Statement
from .scram import keys_to_params
from .stored_secrets import StoredSecret

_INSERT_CREDENTIAL = """
    INSERT INTO credential (id, principal_id, kind, public_id, algo, secret_hash, salt, params, hint, issued_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_KEEP_SCRAM_KEYS = "UPDATE credential SET params = ? WHERE principal_id = ? AND kind = 'password' AND secret_hash = ?"


def insert_principal(values: dict[str, object], at: int) -> Statement:
    """Insert a principal of the tenant `default`; `values` by column name, `at` in microseconds."""
    columns = {**values, "created_at": at, "updated_at": at}
    names = ", ".join(columns)
    marks = ", ?" * len(columns)
    tenant = "(SELECT id FROM tenant WHERE name = 'default')"
    sql = f"INSERT INTO principal (tenant_id, {names}) VALUES ({tenant}{marks})"  # noqa: S608
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
    principal: str, kind: str, secret: StoredSecret, at: int, *, public_id: str | None = None, hint: str = ""
) -> Statement:
    """Insert a principal's credential; `hint` is safe to display."""
    stored = (secret.algo, secret.secret_hash, secret.salt, keys_to_params(secret.scram))
    return Statement(_INSERT_CREDENTIAL, [(str(uuid4()), principal, kind, public_id, *stored, hint, at)])


def replace_credential(principal: str, kind: str, secret: StoredSecret, at: int) -> list[Statement]:
    """Replace a principal's credential; the old hash does not stay behind."""
    delete = Statement("DELETE FROM credential WHERE principal_id = ? AND kind = ?", [(principal, kind)])
    return [delete, insert_credential(principal, kind, secret, at)]


def keep_scram_keys(principal: str, secret: StoredSecret) -> Statement:
    """Set the SCRAM keys of a principal's password, if it still is this one."""
    return Statement(_KEEP_SCRAM_KEYS, [(keys_to_params(secret.scram), principal, secret.secret_hash)])
