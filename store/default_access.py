"""What holds where no rule fits, for each operation."""

from collections.abc import Mapping
from typing import cast, get_args

from .database import Database, Statement
from .errors import Invalid
from .records import PUBLISH, RECEIVE, SUBSCRIBE, UNSUBSCRIBE, Change, Operation, Permission
from .writer import Write

OPERATIONS: Mapping[Operation, int] = {
    "publish": PUBLISH,
    "receive": RECEIVE,
    "subscribe": SUBSCRIBE,
    "unsubscribe": UNSUBSCRIBE,
}

_SET = "INSERT INTO default_access (op, allow) VALUES (?, ?) ON CONFLICT (op) DO UPDATE SET allow = excluded.allow"


class DefaultAccess:
    """Own the defaults in memory; until loaded everything is denied."""

    def __init__(self) -> None:
        self._allowed: Mapping[int, bool] = dict.fromkeys(OPERATIONS.values(), False)

    async def load(self, database: Database) -> None:
        """Read the defaults."""
        rows = await database.read("SELECT op, allow FROM default_access")
        self._allowed = {**self._allowed, **{OPERATIONS[op]: bool(allow) for op, allow in rows}}

    @property
    def allowed(self) -> Mapping[int, bool]:
        """Whether each operation is allowed; replaced, never altered, by a write."""
        return self._allowed

    @property
    def by_operation(self) -> dict[Operation, bool]:
        """Whether each operation is allowed, by its name."""
        return {name: self._allowed[bit] for name, bit in OPERATIONS.items()}

    @property
    def no_match(self) -> Permission:
        """EMQX's one switch for publish and subscribe."""
        return "allow" if self._allowed[PUBLISH] and self._allowed[SUBSCRIBE] else "deny"

    def set_no_match(self, permission: str) -> Write[None]:
        """Prepare the defaults of publish and subscribe anew."""
        if permission not in get_args(Permission):
            raise Invalid("no_match must be 'allow' or 'deny'.")
        return self.set({"publish": permission == "allow", "subscribe": permission == "allow"})

    def set(self, allowed: Mapping[str, bool]) -> Write[None]:
        """Prepare the defaults of some operations anew.

        That of unsubscribe is kept for files that have it, but nobody is refused by it: MQTT 3.1.1 has no way to.
        """
        if unknown := allowed.keys() - OPERATIONS.keys():
            raise Invalid(f"There is no operation '{sorted(unknown)[0][:200]}': it is one of {', '.join(OPERATIONS)}.")
        if any(allow not in (True, False) for allow in allowed.values()):
            raise Invalid("A default must be true or false.")
        new = {OPERATIONS[cast("Operation", name)]: bool(allow) for name, allow in allowed.items()}
        before = {name: self.by_operation[cast("Operation", name)] for name in allowed}

        def apply() -> None:
            self._allowed = {**self._allowed, **new}

        return Write(
            action="default_access.set",
            target=", ".join(sorted(allowed)),
            statements=[Statement(_SET, [(name, int(allow)) for name, allow in allowed.items()])],
            apply=apply,
            result=None,
            change=Change(everyone=any(self._allowed[bit] != allow for bit, allow in new.items())),
            detail={"from": before, "to": {**allowed}},
        )
