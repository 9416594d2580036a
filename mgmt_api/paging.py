"""Pages of long lists: page number and limit in, rows and meta out, the event loop never held for long."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from typing import Any, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from .encoding import Page, Turn, encode_rows

T = TypeVar("T")
Row = TypeVar("Row", bound=tuple[str, int])
_RUN = 1_000
"""Items that are put in order at a time."""


class Query(BaseModel):
    """Be the base of all query models: unknown keys are ignored, as EMQX does."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PageQuery(Query):
    """Ask for one page."""

    page: int = Field(default=1, ge=1, description="Number of the page, from 1")
    limit: int = Field(default=100, ge=1, le=10_000, description="Rows on a page")


class Meta(TypedDict):
    """Say where a page stands; `count`, all matching rows, is left out where EMQX does not know it."""

    page: int
    limit: int
    hasnext: bool
    count: NotRequired[int]


async def paginate(
    items: Iterable[T],
    query: PageQuery,
    render: Callable[[T], Mapping[str, Any]],
    *,
    keep: Callable[[T], bool] | None = None,
    counted: bool = True,
) -> Page:
    """Take the page that `query` asks for out of the items that `keep` lets through.

    Pauses now and then: what `items` iterates over must bear being changed meanwhile.
    Not `counted` means no total in the answer, and an end as soon as the page is full.
    """
    start = (query.page - 1) * query.limit
    end = start + query.limit
    slices: list[bytes] = []
    rows: list[Mapping[str, Any]] = []
    matched = 0
    turn = Turn()
    for item in items:
        if turn.over():
            if rows:
                slices.append(encode_rows(rows))
                rows.clear()
            await turn.end()
        if keep is not None and not keep(item):
            continue
        if start <= matched < end:
            rows.append(render(item))
        matched += 1
        if not counted and matched > end:
            break
    if rows:
        slices.append(encode_rows(rows))
    meta: dict[str, int | bool] = {"page": query.page, "limit": query.limit, "hasnext": matched > end}
    if counted:
        meta["count"] = matched
    return Page(slices, meta)


async def sort_in_runs(items: Iterable[Row]) -> Iterator[Row]:
    """Put many items in order without holding the event loop; much of the work is done as they are taken."""
    runs: list[list[Row]] = [[]]
    for item in items:
        if len(runs[-1]) == _RUN:
            runs[-1].sort()
            runs.append([])
            await asyncio.sleep(0)
        runs[-1].append(item)
    runs[-1].sort()
    return merge(*runs)
