"""Answers as bytes. Long lists are encoded in slices, so that one listing never holds up the broker."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")

SLICE = 100
"""Rows that are looked at, or encoded, at most before the event loop gets its turn."""
TURN = 0.001
"""Seconds of work on a listing after which it does so at any rate: a hundred clients take some 3 ms, and messages that
come meanwhile wait as long."""
STEP = 10
"""Rows between two looks at the clock."""


class Turn:
    """Tell when the event loop should get its turn: after so many rows, or after so long."""

    __slots__ = ("_ends", "_rows")

    def __init__(self) -> None:
        self._rows = 0
        self._ends = perf_counter() + TURN

    def over(self) -> bool:
        """Count a row that is about to be looked at; True where others should have their turn before."""
        self._rows += 1
        if self._rows % STEP:
            return False
        return self._rows >= SLICE or perf_counter() >= self._ends

    async def end(self) -> None:
        """Let others have their turn, and begin anew."""
        await asyncio.sleep(0)
        self._rows = 0
        self._ends = perf_counter() + TURN


@dataclass(frozen=True, slots=True)
class Page:
    """Hold one page of a list; answered as `{"data": [...], "meta": {...}}`.

    The rows are encoded already: ten thousand clients as dictionaries keep the garbage collector busy for longer than
    all the rest takes (measured: the event loop stood still for 200 ms, without them for 20 ms).
    """

    slices: Sequence[bytes]
    """Rows as `encode_rows` writes them."""
    meta: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Listing:
    """Hold an object the last of whose values is a long list; made by `listing`."""

    head: Mapping[str, object]
    """The other values, at least one."""
    name: str
    slices: Sequence[bytes]
    """The rows of the list as `encode_rows` writes them."""


async def listing(head: Mapping[str, object], name: str, items: Sequence[T], render: Callable[[T], object]) -> Listing:
    """Render and encode the rows of an object's list a slice at a time."""
    slices: list[bytes] = []
    for start in range(0, len(items), SLICE):
        if start:
            await asyncio.sleep(0)
        slices.append(encode_rows([render(item) for item in items[start : start + SLICE]]))
    return Listing(head, name, slices)


async def converted(items: Iterable[S], convert: Callable[[S], T]) -> list[T]:
    """Convert a long list a slice at a time."""
    done: list[T] = []
    for item in items:
        done.append(convert(item))
        if len(done) % SLICE == 0:
            await asyncio.sleep(0)
    return done


def encode(value: object) -> bytes:
    """Encode one value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def encode_rows(rows: Sequence[object]) -> bytes:
    """Encode at least one row of an array, without the brackets."""
    return encode(list(rows))[1:-1]


async def encode_answer(value: object) -> list[bytes]:
    """Encode an answer as parts that add up to it; a long array is encoded a slice at a time."""
    if isinstance(value, Page):
        return [b'{"data":[', *_with_commas(value.slices), b'],"meta":', encode(dict(value.meta)), b"}"]
    if isinstance(value, Listing):
        head = encode(dict(value.head))[:-1] + b"," + encode(value.name) + b":["
        return [head, *_with_commas(value.slices), b"]}"]
    if isinstance(value, list):
        rows: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        slices: list[bytes] = []
        for start in range(0, len(rows), SLICE):
            if start:
                await asyncio.sleep(0)
            slices.append(encode_rows(rows[start : start + SLICE]))
        return [b"[", *_with_commas(slices), b"]"]
    return [encode(value)]


def _with_commas(slices: Sequence[bytes]) -> list[bytes]:
    return [part for piece in slices for part in (b",", piece)][1:]
