"""Prometheus's text format, version 0.0.4.

EMQX's counters lack the ending `_total` that prometheus-client puts behind the names of all counters, so it cannot
write them; the format is small.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Number = int | float
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """Hold all samples of one name."""

    name: str
    kind: Literal["counter", "gauge"]
    words: str
    """What it is, in a line."""
    samples: list[tuple[Labels, Number]] = field(default_factory=list[tuple[Labels, Number]])


def write_text(families: Iterable[Family]) -> str:
    """Write families with their types; those without a sample are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape(family.words)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            lines.append(f"{family.name}{_labels(labels)} {_number(value)}")
    return "\n".join([*lines, ""]) if lines else ""


def as_rows(families: Sequence[Family]) -> list[dict[str, Number | str]]:
    """Give one object for each set of labels: the labels, and the values under their names."""
    rows: dict[Labels, dict[str, Number | str]] = {}
    for family in families:
        for labels, value in family.samples:
            rows.setdefault(labels, dict(labels))[family.name] = value
    return list(rows.values())


def as_object(families: Sequence[Family]) -> Mapping[str, Number | str]:
    """Give the values of families without labels under their names."""
    return {family.name: value for family in families for _, value in family.samples}


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value, quoted=True)}"' for name, value in labels) + "}"


def _escape(text: str, *, quoted: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quoted else escaped


def _number(value: Number) -> str:
    return str(value) if isinstance(value, int) else repr(value)
