"""The values that several bodies and answers of the operator's API have in common."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ...store.records import NO_PRIORITY
from ..limits import Body
from ..paging import Query
from ..timestamps import format_time, parse_milliseconds

MAX_MEMBERSHIPS = 1_000
"""Roles or groups that one body may name."""

Decision = Literal["allow", "deny"]


def _read_moment(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be text, as in 2026-01-31T12:00:00Z")
    return parse_milliseconds(value) / 1_000


Moment: TypeAlias = Annotated[
    float, BeforeValidator(_read_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""RFC 3339, or milliseconds since the epoch as text; to the handlers, seconds since the epoch."""
Priority = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""Beyond 100,000 either way the store clamps it."""


class Membership(TypedDict):
    """Show what somebody has or is in, and how early it is asked."""

    name: str
    priority: int


class NewMembership(Body):
    """A role or group to be given."""

    name: str = Field(min_length=1)
    priority: Priority = NO_PRIORITY


class NewPriority(Body):
    """How early a role or group is asked: the highest first."""

    priority: Priority = NO_PRIORITY


class DisconnectQuery(Query):
    """Say what becomes of the live sessions that a change concerns."""

    disconnect: bool = Field(default=False, description="Close them, instead of checking them again as they are")


def shown_time(seconds: float | None) -> str | None:
    """Write a time for an answer; None where there is none."""
    return None if seconds is None else format_time(seconds)


def memberships(priorities: Mapping[str, int]) -> list[Membership]:
    """List memberships in the order in which they are asked."""
    return [
        {"name": name, "priority": priority}
        for name, priority in sorted(priorities.items(), key=lambda item: (-item[1], item[0]))
    ]


def priorities(entries: Iterable[NewMembership]) -> dict[str, int]:
    """Turn a body's memberships into the store's form; of a name given twice the last counts."""
    return {entry.name: entry.priority for entry in entries}
