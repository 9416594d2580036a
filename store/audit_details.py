"""What the audit log keeps of a write beside its target: what was done, bounded, and never a secret."""

from collections.abc import Iterable, Sequence
from itertools import islice

from .names import shown

MAX_NAMES = 100
"""Of more, the first ones are named."""


def names(named: Iterable[str]) -> list[str]:
    """Name the first ones, each cut."""
    return [shown(name) for name in islice(named, MAX_NAMES)]


def differences(old: object, new: object, fields: Sequence[str]) -> dict[str, object]:
    """Name the fields in which a record is another now, with what they were and are."""
    changed = [field for field in fields if getattr(old, field) != getattr(new, field)]
    if not changed:
        return {"changed": []}
    return {
        "changed": changed,
        "from": {field: _value(getattr(old, field)) for field in changed},
        "to": {field: _value(getattr(new, field)) for field in changed},
    }


def _value(value: object) -> object:
    return shown(value) if isinstance(value, str) else value
