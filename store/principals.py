"""SQL that every kind of principal shares. Column names come from the code that calls, values go as parameters."""

from uuid import uuid4

from .database import Statement
from .stored_secrets import StoredSecret

_INSERT_CREDENTIAL = """
    INSERT INTO credential (id, principal_id, kind, public_id, algo, secret_hash, salt, hint, issued_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


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
    row = (str(uuid4()), principal, kind, public_id, secret.algo, secret.secret_hash, secret.salt, hint, at)
    return Statement(_INSERT_CREDENTIAL, [row])


def replace_credential(principal: str, kind: str, secret: StoredSecret, at: int) -> list[Statement]:
    """Replace a principal's credential; the old hash does not stay behind."""
    delete = Statement("DELETE FROM credential WHERE principal_id = ? AND kind = ?", [(principal, kind)])
    return [delete, insert_credential(principal, kind, secret, at)]
