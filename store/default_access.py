"""What holds where no rule fits, for each operation."""

from collections.abc import Mapping
from typing import get_args

from .database import Database, Statement
from .errors import Invalid
from .records import PUBLISH, RECEIVE, SUBSCRIBE, Change, Permission
from .writer import Write

_OPERATIONS = {"publish": PUBLISH, "receive": RECEIVE, "subscribe": SUBSCRIBE}


class DefaultAccess:
    """Own the defaults in memory; until loaded everything is denied."""

    def __init__(self) -> None:
        self._allowed: Mapping[int, bool] = dict.fromkeys(_OPERATIONS.values(), False)

    async def load(self, database: Database) -> None:
        """Read the defaults."""
        rows = await database.read("SELECT op, allow FROM default_access")
        self._allowed = {**self._allowed, **{_OPERATIONS[op]: bool(allow) for op, allow in rows if op in _OPERATIONS}}

    @property
    def allowed(self) -> Mapping[int, bool]:
        """Whether each operation is allowed; replaced, never altered, by a write."""
        return self._allowed

    @property
    def no_match(self) -> Permission:
        """EMQX's one switch for publish and subscribe."""
        return "allow" if self._allowed[PUBLISH] and self._allowed[SUBSCRIBE] else "deny"

    def set_no_match(self, permission: str) -> Write[None]:
        """Prepare both defaults anew."""
        if permission not in get_args(Permission):
            raise Invalid("no_match must be 'allow' or 'deny'.")
        allow = permission == "allow"

        def apply() -> None:
            self._allowed = {**self._allowed, PUBLISH: allow, SUBSCRIBE: allow}

        return Write(
            action="default_access.set",
            target="no_match",
            statements=[
                Statement(
                    "INSERT INTO default_access (op, allow) VALUES (?, ?) "
                    "ON CONFLICT (op) DO UPDATE SET allow = excluded.allow",
                    [("publish", int(allow)), ("subscribe", int(allow))],
                )
            ],
            apply=apply,
            result=None,
            change=Change(everyone=True),
            detail={"no_match": permission},
        )
