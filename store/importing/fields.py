"""The objects of a JSON document and their fields, of which any may be missing or of another type."""

from collections.abc import Container, Iterator, Mapping
from typing import Any, cast

from ..errors import Invalid
from ..names import check_text
from ..records import MAX_PRIORITY
from .findings import Findings

Item = Mapping[str, Any]


class Fields:
    """Read fields; what cannot be used is among the findings, with the path that leads to it."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def skip(self, path: str, reason: str, *, may_deny: bool = False) -> None:
        """Say that something was left out."""
        self._findings.skip(0, path, reason, may_deny=may_deny)

    def items(self, parent: Item, key: str, path: str = "") -> Iterator[tuple[str, Item]]:
        """Give the objects of an array with their paths."""
        found = parent.get(key)
        prefix = f"{path} {key}" if path else key
        if not isinstance(found, list):
            if found is not None:
                self.skip(prefix, "This is not an array.")
            return
        for position, item in enumerate(cast("list[object]", found)):
            if isinstance(item, dict):
                yield f"{prefix}[{position}]", cast("Item", item)
            else:
                self.skip(f"{prefix}[{position}]", "This is not an object.")

    def name(self, item: Item, key: str, path: str, taken: Container[str]) -> str | None:
        """Return a name that did not come before; None where there is none."""
        name = item.get(key)
        if not isinstance(name, str) or not name:
            self.skip(path, f"There is no {key}.")
            return None
        if name in taken:
            self.skip(f"{path} {name}", "The name came before, and the first one counts.")
            return None
        return name

    def references(
        self, items: Iterator[tuple[str, Item]], key: str, known: Container[str], others: Container[str] = ()
    ) -> dict[str, Item]:
        """Return by name the items that lead to something known, each name once; `others` are left alone."""
        found: dict[str, Item] = {}
        for path, item in items:
            name = self.name(item, key, path, found)
            if name is not None and name not in known:
                reason = "It is left as it is here." if name in others else f"There is no such {key}."
                self.skip(f"{path} {name}", reason)
            elif name is not None:
                found[name] = item
        return found

    def priority(self, item: Item, path: str, default: int) -> int:
        """Return a number within the bounds of a priority."""
        value = item.get("priority", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.skip(f"{path} priority", f"This is not a number; {default} is taken.")
            return default
        return int(min(max(value, -MAX_PRIORITY), MAX_PRIORITY))

    def flag(self, item: Item, key: str, path: str, default: bool, *, otherwise: bool = False) -> bool:
        """Return a boolean; for what is none, `otherwise`, the value that allows less."""
        value = item.get(key, default)
        if isinstance(value, bool):
            return value
        self.skip(f"{path} {key}", f"This is neither true nor false; {str(otherwise).lower()} is taken.")
        return otherwise

    def text(self, item: Item, key: str, path: str, limit: int) -> str:
        """Return a text that somebody wrote for others to read; nothing where it cannot be kept."""
        value = item.get(key, "")
        try:
            if not isinstance(value, str):
                raise Invalid(f"The {key} must be text.")
            check_text(value, key, limit)
        except Invalid as error:
            self.skip(f"{path} {key}", error.message)
            return ""
        return value
