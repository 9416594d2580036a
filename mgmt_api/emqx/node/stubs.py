"""What programs written for EMQX ask for though there is none of it: rules and bridges."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

from ...encoding import Page
from ...paging import Meta, PageQuery, paginate
from ...routes import Call


class Bridge(TypedDict):
    """A bridge, of which there is none."""

    name: str
    type: str


class Rule(TypedDict):
    """A rule, of which there is none."""

    id: str


class RulePage(TypedDict):
    """One page of rules, always empty."""

    data: list[Rule]
    meta: Meta


async def list_bridges(call: Call[None, None]) -> list[Bridge]:
    """List no bridges."""
    return []


async def list_rules(call: Call[PageQuery, None]) -> Page:
    """List no rules."""
    none: Sequence[Mapping[str, Any]] = ()
    return await paginate(none, call.query, lambda row: row)
