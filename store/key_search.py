"""Keys between two keys of a damaged table at which rows may be found again, behind what cannot be read.

Nothing tells how far a damage reaches. So candidates lie close together near its two ends and ever farther apart
towards the middle: of what is left there, a part that is as wide as a tenth of the way to it is met.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import cast

KeyPart = int | bytes
Key = tuple[KeyPart, ...]
"""Texts are in UTF-8, compared as SQLite's BINARY does."""

_LEAST = -(1 << 63)
_BEYOND = 1 << 63
_EACH = 2_048
"""So many numbers are tried one by one."""
_EVENLY = 64
_STEPS = (1, 2, 4, 8, 16, 32, 64)
_ENDS = (b"", b"\x80", b"\x80\x80", b"\xa0\x80", b"\x80\x80\x80", b"\x90\x80\x80")
_DEPTH = 64
"""Bytes of a text that are varied, from the first in which the two ends differ."""


def between(low: Key | None, high: Key | None, kinds: tuple[type[int] | type[bytes], ...]) -> Iterator[Key]:
    """Give candidates above `low` and below `high`, each None where the table ends; `kinds` are the types of the parts.

    The order has no meaning, and a candidate may come more than once.
    """
    first, *_ = kinds
    above = None if low is None else low[0]
    below = None if high is None else high[0]
    if len(kinds) == 1:
        return ((part,) for part in _parts(above, below, first))
    rest = kinds[1:]
    if above is not None and above == below:
        return _beginning_with(above, between(low and low[1:], high and high[1:], rest))
    least: Key = tuple(_LEAST if kind is int else b"" for kind in rest)
    before_high = chain([least], between(None, high[1:], rest)) if high and high[1:] > least else iter(())
    return chain(
        ((part, *least) for part in _parts(above, below, first)),
        _beginning_with(above, between(low and low[1:], None, rest)),
        _beginning_with(below, before_high),
    )


def _parts(low: KeyPart | None, high: KeyPart | None, kind: type[int] | type[bytes]) -> Iterator[KeyPart]:
    if kind is int:
        return _numbers(cast("int | None", low), cast("int | None", high))
    return _texts(cast("bytes | None", low), cast("bytes | None", high))


def _beginning_with(first: KeyPart | None, rest: Iterator[Key]) -> Iterator[Key]:
    return iter(()) if first is None else ((first, *parts) for parts in rest)


def _numbers(low: int | None, high: int | None) -> Iterator[int]:
    if low is None and (high is None or high > 0):
        yield from (0, *_numbers(-1, high))  # ids count from there
        return
    start = (_LEAST - 1 if low is None else low) + 1
    end = _BEYOND if high is None else high
    count = end - start
    if count <= _EACH:
        yield from range(start, end)
        return
    distance = 0
    while distance < count:
        yield start + distance
        yield end - 1 - distance
        distance = max(distance + 1, distance * 11 // 10)
    yield from range(start, end, count // _EVENLY)


def _texts(low: bytes | None, high: bytes | None) -> Iterator[bytes]:
    for varied in chain(_above(low or b"", high), _before(low or b"", high or b"")):
        candidate = _completed(varied)
        if (low is None or candidate > low) and (high is None or candidate < high):
            yield candidate


def _completed(text: bytes) -> bytes:
    """Make UTF-8 of bytes that may end within a letter: with its least end, or without the letter."""
    for end in _ENDS:
        with suppress(UnicodeDecodeError):
            (text + end).decode()
            return text + end
    return text.decode(errors="ignore").encode()


def _above(low: bytes, high: bytes | None) -> Iterator[bytes]:
    """Give what follows a text with more and more of its end left off, as numbers that are counted up."""
    common = _common(low, high)
    for length in range(min(len(low), common + _DEPTH), common - 1, -1):
        following = low[length] + 1 if length < len(low) else 0x20
        for step in _STEPS if length > common else range(256):
            if following + step - 1 < 256:
                yield low[:length] + bytes([following + step - 1])


def _before(low: bytes, high: bytes) -> Iterator[bytes]:
    """Give beginnings of a text, and what comes before it as `_above` gives what comes after."""
    common = _common(low, high)
    for length in range(min(len(high), common + _DEPTH), common, -1):
        last = high[length - 1]
        for step in _STEPS:
            if last >= step:
                yield high[: length - 1] + bytes([last - step])
        yield high[:length]


def _common(low: bytes, high: bytes | None) -> int:
    """Count the bytes that both begin with."""
    if high is None:
        return 0
    pairs = zip(low, high, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(low), len(high)))
