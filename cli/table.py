"""Answers as text for people. What a terminal would obey is shown instead of sent to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

Value = Callable[[Mapping[str, Any]], object]
Column = tuple[str, Value]
"""A heading, and what a row has below it."""


def column(heading: str, key: str | None = None) -> Column:
    """Make a column of one key of a row."""
    name = heading if key is None else key
    return heading, lambda row: row[name]


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """Lay rows out below each other."""
    lines = [[heading.upper() for heading, _ in columns]]
    lines += [[format_value(value(row)) for _, value in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def format_fields(record: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """Lay the fields of one record out below each other; a list gets a line for each entry."""
    width = max(len(heading) for heading, _ in columns)
    lines: list[str] = []
    for heading, value in columns:
        shown = value(record)
        entries = [format_value(entry) for entry in _entries(shown)]
        for index, entry in enumerate(entries or ["-"]):
            lines.append(f"{heading if index == 0 else '':<{width}}  {entry}")
    return "\n".join(lines)


def format_value(value: object) -> str:
    """Write one value for a cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(format_value(entry) for entry in _entries(cast("object", value))) or "-"
    return visible(str(value))


def _entries(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def visible(text: str) -> str:
    """Replace what is not printable by its escape: a name may hold what moves a cursor or hides a line."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
