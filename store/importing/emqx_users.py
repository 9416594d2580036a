"""The users of EMQX's built-in database, as its REST API imports them from CSV and JSON.

The CSV has a header and a row for each user. EMQX cuts rows at their commas and knows no quoting; here a field that
begins with a quotation mark is read as other programs write it.
"""

import csv
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from ..credentials.password_formats import EmqxAlgorithm, from_emqx, from_plain
from ..credentials.stored_secrets import StoredSecret
from ..errors import Invalid
from ..names import check_identifier
from ..records import LoginType
from .documents import array_items
from .findings import Findings
from .lines import numbered_lines
from .records import ImportedUser, ParsedUsers
from .user_list import UserList

MAX_ROWS = 500_000
_MAX_COLUMNS = 100

Form = Literal["csv", "json"]
Kind = Literal["hash", "plain"]
Row = Mapping[str, Any]

_NEEDED: Mapping[Kind, str] = {"hash": "password_hash", "plain": "password"}
_WHAT: Mapping[LoginType, str] = {"username": "user name", "clientid": "client id"}
_TRUTH: Mapping[object, bool] = {True: True, False: False, "true": True, "false": False, "": False, None: False}

QUOTES_NOTE = (
    "Fields that begin with a quotation mark were read as quoted; EMQX takes the marks for a part of the text."
)


def parse_emqx_users(
    data: bytes, *, form: Form, kind: Kind, algorithm: EmqxAlgorithm, login_type: LoginType = "username"
) -> ParsedUsers:
    """Read the users; raise Invalid where the document as a whole cannot be read.

    `algorithm` and `login_type` are those of the authenticator that the users come from: they are not in the file.
    """
    findings = Findings()
    users = UserList(findings)
    rows = _csv_rows(data, kind, findings) if form == "csv" else _json_rows(data, findings)
    for count, (line, row) in enumerate(rows):
        if count >= MAX_ROWS:
            raise Invalid(f"There must not be more than {MAX_ROWS} users in a file.")
        name = row.get("user_id")
        try:
            users.add(_user(name, row, kind, algorithm, login_type, line))
        except Invalid as error:
            findings.skip(line, name if isinstance(name, str) else "", error.message)
    return users.result()


def _user(
    name: object, row: Row, kind: Kind, algorithm: EmqxAlgorithm, login_type: LoginType, line: int
) -> ImportedUser:
    if not isinstance(name, str):
        raise Invalid("There is no user_id, or it is not text.")
    check_identifier(name, _WHAT[login_type])
    if row.get("namespace"):
        raise Invalid("The user belongs to a namespace, of which there is one only here.")
    superuser = row.get("is_superuser")
    if not isinstance(superuser, bool | str | None) or superuser not in _TRUTH:
        raise Invalid("is_superuser must be true or false.")
    secret = _secret(row, kind, algorithm)
    return ImportedUser(name, login_type, secret, superuser=_TRUTH[superuser], line=line)


def _secret(row: Row, kind: Kind, algorithm: EmqxAlgorithm) -> StoredSecret:
    needed = _NEEDED[kind]
    text, salt = row.get(needed), row.get("salt")
    if not isinstance(text, str) or not text:
        raise Invalid(f"There is no {needed}, or it is not text.")
    if kind == "plain" or algorithm.name == "plain":
        return from_plain(text)
    if not isinstance(salt, str | None):
        raise Invalid("The salt must be text.")
    return from_emqx(text, salt or "", algorithm)


def _json_rows(data: bytes, findings: Findings) -> Iterator[tuple[int, Row]]:
    for line, item in array_items(data):
        if isinstance(item, dict):
            yield line, cast("Row", item)
        else:
            findings.skip(line, "", "The item is not an object.")


def _csv_rows(data: bytes, kind: Kind, findings: Findings) -> Iterator[tuple[int, Row]]:
    header: list[str] | None = None
    for line, text in numbered_lines(data, findings):
        if text is None:
            if header is None:
                raise Invalid("The header cannot be read.")
            continue
        fields = _fields(text, findings)
        if header is None:
            header = _header(fields, kind)
        elif fields is None:
            findings.skip(line, "", "The quotation marks do not match.")
        elif len(fields) != len(header):
            findings.skip(line, "", f"There are {len(fields)} fields and {len(header)} columns.")
        else:
            yield line, dict(zip(header, fields, strict=True))


def _header(fields: list[str] | None, kind: Kind) -> list[str]:
    needed = ("user_id", _NEEDED[kind])
    if fields is None or not set(needed) <= set(fields):
        raise Invalid(f"The first line must name the columns, {' and '.join(needed)} among them.")
    if len(set(fields)) != len(fields) or len(fields) > _MAX_COLUMNS:
        raise Invalid(f"The first line must name each column once and {_MAX_COLUMNS} of them at most.")
    return fields


def _fields(text: str, findings: Findings) -> list[str] | None:
    """Take a row apart; None where it has an open quotation mark or text behind a closed one."""
    fields = [field.strip() for field in text.split(",")]
    if not any(field.startswith('"') for field in fields):
        return fields
    findings.note(QUOTES_NOTE)
    try:
        return next(csv.reader([text], strict=True, skipinitialspace=True))
    except csv.Error:
        return None
