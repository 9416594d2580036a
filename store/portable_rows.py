"""Logins, rules, bans, API keys and dashboard users as rows that another broker can take over, and back again.

Whoever brings rows may not have made them by an export: each is checked as if somebody had typed it, and a hash is
taken only if it can be verified, at a cost that holds nobody up. No refusal repeats a secret.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, cast

from .api_keys import NewApiKey
from .credentials.password_formats import check_api_secret, check_stored
from .credentials.stored_secrets import StoredSecret, load_secret
from .dashboard_users import StoredUser
from .errors import Invalid
from .login_index import StoredLogin
from .login_values import NewLogin
from .records import LAST_SECOND, ApiKey, Ban, BanType, Condition, Rule

T = TypeVar("T")

Subject = tuple[str, str]
"""Whose rules: a type and a name."""

_LOGIN = frozenset({field.name for field in fields(NewLogin)} - {"id", "kind", "tenant", "public_id", "parent"})
_RULE = frozenset(field.name for field in fields(Rule))
_CONDITION = frozenset(field.name for field in fields(Condition))
_SECRET = frozenset({"algo", "hash", "salt", "params"})
_MOST_QOS = 3


class Row:
    """Read the fields of a row; raises Invalid for what is missing, of another type or not known."""

    def __init__(self, given: object, known: Collection[str]) -> None:
        if not isinstance(given, dict):
            raise Invalid("The row must be an object.")
        self._fields = cast("Mapping[str, Any]", given)
        if not self._fields.keys() <= set(known):
            raise Invalid("The row has a field that is not known here.")

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        value = self._typed(name, str, default)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid(f"The field {name} must not contain surrogates.") from None
        return value

    def name_or_none(self, name: str) -> str | None:
        """Return a text or None, which it is where it is left out."""
        return None if self._fields.get(name) is None else self.text(name)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        return self._typed(name, bool, default)

    def number(self, name: str, most: int) -> int:
        """Return a whole number from 0 on."""
        value = self._typed(name, int, None)
        if isinstance(value, bool) or not 0 <= value <= most:
            raise Invalid(f"The field {name} must be a number from 0 to {most}.")
        return value

    def moment(self, name: str) -> float | None:
        """Return seconds since the epoch, or None."""
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_SECOND:
            raise Invalid(f"The field {name} must be a time in seconds since the epoch.")
        return float(value)

    def data(self, name: str) -> bytes:
        """Return bytes, which are written as base64."""
        try:
            return b64decode(self.text(name), validate=True)
        except ValueError:
            raise Invalid(f"The field {name} must be base64.") from None

    def levels(self, name: str) -> tuple[int, ...]:
        """Return a few numbers."""
        value = cast("list[object]", self._typed(name, list, None))
        if len(value) > _MOST_QOS or any(type(each) is not int for each in value):
            raise Invalid(f"The field {name} must be a list of QoS levels.")
        return tuple(cast("list[int]", value))

    def inner(self, name: str, known: Collection[str]) -> "Row | None":
        """Return an object's fields, or None."""
        value = self._fields.get(name)
        return None if value is None else Row(value, known)

    def raw(self, name: str) -> Any:
        """Return what is there, of whatever type."""
        return self._fields.get(name)

    def _typed(self, name: str, kind: type[T], default: T | None) -> T:
        value = self._fields.get(name, default)
        if not isinstance(value, kind):
            raise Invalid(f"The field {name} is missing or of another type.")
        return value


def write_row(row: Mapping[str, object]) -> bytes:
    """Write a row as a line."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_row(line: bytes) -> object:
    """Read a line; raises Invalid."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Invalid("The row is no JSON.") from None


def secret_fields(secret: StoredSecret) -> dict[str, object]:
    """Write what is kept of a secret."""
    return {
        "algo": secret.algo,
        "hash": b64encode(secret.secret_hash).decode(),
        "salt": b64encode(secret.salt).decode(),
        "params": json.loads(secret.params),
    }


def _secret(row: Row, check: Callable[[StoredSecret], StoredSecret]) -> StoredSecret | None:
    inner = row.inner("secret", _SECRET)
    if inner is None:
        return None
    params = inner.raw("params")
    return check(load_secret(inner.text("algo"), inner.data("hash"), inner.data("salt"), json.dumps(params or {})))


def _needed_secret(row: Row, check: Callable[[StoredSecret], StoredSecret]) -> StoredSecret:
    secret = _secret(row, check)
    if secret is None:
        raise Invalid("The field secret is missing.")
    return secret


# Logins


def login_row(stored: StoredLogin) -> dict[str, object]:
    """Write a plain login."""
    login, secret = stored.login, stored.secret
    return {
        "login_type": login.login_type,
        "login": login.login,
        "secret": None if secret is None else secret_fields(secret),
        "secret_expires_at": login.secret_expires_at,
        "superuser": login.superuser,
        "disabled": login.disabled,
        "confined": login.confined,
        "can_publish": login.can_publish,
        "can_subscribe": login.can_subscribe,
        "clientid": login.clientid,
        "clientid_mode": login.clientid_mode,
        "label": login.label,
        "description": login.description,
        "expires_at": login.expires_at,
    }


def read_login(given: object) -> NewLogin:
    """Read a plain login; raises Invalid."""
    row = Row(given, _LOGIN)
    return NewLogin(
        login_type=row.text("login_type"),
        login=row.text("login"),
        secret=_secret(row, check_stored),
        secret_expires_at=row.moment("secret_expires_at"),
        superuser=row.flag("superuser"),
        disabled=row.flag("disabled"),
        confined=row.flag("confined"),
        can_publish=row.flag("can_publish", True),
        can_subscribe=row.flag("can_subscribe", True),
        clientid=row.name_or_none("clientid"),
        clientid_mode=row.text("clientid_mode", "any"),
        label=row.text("label", ""),
        description=row.text("description", ""),
        expires_at=row.moment("expires_at"),
    )


# Rules


def rule_rows(subject: Subject, rules: Iterable[Rule]) -> Iterable[dict[str, object]]:
    """Write a subject's rules in their order, each a row of its own; one row without a rule where there is none."""
    head = {"subject_type": subject[0], "subject": subject[1]}
    written = False
    for rule in rules:
        written = True
        shown = {key: value for key, value in asdict(rule).items() if value is not None}
        if rule.condition is not None:
            shown["condition"] = {key: value for key, value in shown["condition"].items() if value is not None}
        yield {**head, "rule": shown}
    if not written:
        yield {**head, "rule": None}


def read_rule(given: object) -> tuple[Subject, Rule | None]:
    """Read a subject and one of its rules, None where it has none; raises Invalid.

    What the rule says is checked when it is compiled.
    """
    row = Row(given, ("subject_type", "subject", "rule"))
    subject = (row.text("subject_type"), row.text("subject"))
    rule = row.inner("rule", _RULE)
    if rule is None:
        return subject, None
    retain = rule.raw("retain")
    if not isinstance(retain, bool | None):
        raise Invalid("The field retain must be true or false.")
    condition = rule.inner("condition", _CONDITION)
    return subject, Rule(
        topic=rule.text("topic"),
        permission=cast("Any", rule.text("permission")),
        action=cast("Any", rule.text("action")),
        qos=rule.levels("qos"),
        retain=retain,
        condition=None
        if condition is None
        else Condition(**{name: condition.name_or_none(name) for name in _CONDITION}),
    )


# Bans


def ban_row(ban: Ban) -> dict[str, object]:
    """Write a ban."""
    return {
        "as": ban.who_type,
        "who": ban.who,
        "by": ban.by,
        "reason": ban.reason,
        "at": ban.at,
        "until": ban.until,
    }


def read_ban(given: object) -> Ban:
    """Read a ban, what it is about being checked when it is written; raises Invalid."""
    row = Row(given, ("as", "who", "by", "reason", "at", "until"))
    return Ban(
        cast("BanType", row.text("as")),
        row.text("who"),
        row.text("by", ""),
        row.text("reason", ""),
        row.moment("at") or 0.0,
        row.moment("until"),
    )


# API keys and dashboard users


def api_key_row(key: ApiKey, secret: StoredSecret) -> dict[str, object]:
    """Write an API key."""
    return {
        "name": key.name,
        "api_key": key.api_key,
        "secret": secret_fields(secret),
        "role": key.role,
        "enabled": key.enabled,
        "expires_at": key.expires_at,
        "description": key.description,
    }


def read_api_key(given: object) -> NewApiKey:
    """Read an API key; raises Invalid."""
    row = Row(given, {field.name for field in fields(NewApiKey)})
    return NewApiKey(
        name=row.text("name"),
        api_key=row.text("api_key"),
        secret=_needed_secret(row, check_api_secret),
        role=row.text("role"),
        enabled=row.flag("enabled", True),
        expires_at=row.moment("expires_at"),
        description=row.text("description", ""),
    )


def dashboard_user_row(stored: StoredUser) -> dict[str, object]:
    """Write a dashboard user."""
    user = stored.user
    return {
        "name": user.name,
        "role": user.role,
        "description": user.description,
        "secret": secret_fields(stored.secret),
    }


def read_dashboard_user(given: object) -> tuple[str, StoredSecret, str, str]:
    """Read a dashboard user: name, secret, role, description; raises Invalid."""
    row = Row(given, ("name", "role", "description", "secret"))
    return row.text("name"), _needed_secret(row, check_stored), row.text("role"), row.text("description", "")
