"""Regular expressions that an operator wrote and a client's texts are searched with, within bounds of time and memory.

The standard library's engine cannot be interrupted: `(a+)+$` and a client id of forty characters would hold the event
loop for hours. The `regex` package takes a time limit; what it does without looking at the clock (compiling, and tables
that grow with the cube of a literal's length) is bounded by the length of expressions and of texts.
"""

import re
from typing import Any, Protocol, cast

import regex

from ..errors import Invalid

MAX_LENGTH = 256
"""Characters of an expression."""
MAX_TEXT = 1_024
"""Characters of a text; in a longer one nothing is looked for."""
_MAX_EXPANDED = 10_000
"""Elements of an expression once its counted repeats are written out, as the compiler does."""

_OTHER_SYNTAX = re.compile(r"\(\?(#|[A-Za-z0-9]*[xV])")
"""Comments, and the flags after which what looks like one thing is another: the count of elements would be wrong."""
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\{(\d*)(?:,\d*)?\}|.", re.DOTALL)


class _Match(Protocol):
    def group(self) -> str: ...
    def groups(self) -> tuple[str | None, ...]: ...


class _Pattern(Protocol):
    def search(self, string: str, *, timeout: float) -> _Match | None: ...


class RegularExpression:
    """Hold one compiled expression."""

    __slots__ = ("_pattern", "text")

    def __init__(self, text: str) -> None:
        """Compile; raise Invalid for what is not valid or could cost too much."""
        self.text = text
        if len(text) > MAX_LENGTH:
            raise Invalid(f"A regular expression must not be longer than {MAX_LENGTH} characters.")
        if _OTHER_SYNTAX.search(text):
            raise Invalid(f"The regular expression '{text}' has comments or changes how it is to be read.")
        if _expanded(text) > _MAX_EXPANDED:
            raise Invalid(f"The regular expression '{text}' repeats too much.")
        engine = cast("Any", regex)
        try:
            self._pattern = cast("_Pattern", engine.compile(text))
        except (engine.error, ValueError, OverflowError, RecursionError) as error:
            raise Invalid(f"The regular expression '{text}' is not valid: {error}.") from None

    def search(self, text: str, seconds: float) -> bool | None:
        """Tell whether a part of the text matches; None where that was not found out in time."""
        if len(text) > MAX_TEXT or seconds <= 0:
            return None
        try:
            return self._pattern.search(text, timeout=seconds) is not None
        except TimeoutError:
            return None

    def groups(self, text: str, seconds: float) -> tuple[str | None, ...] | None:
        """Give what the first match and its groups are; None where nothing matches or it was not found out in time."""
        if len(text) > MAX_TEXT or seconds <= 0:
            return None
        try:
            found = self._pattern.search(text, timeout=seconds)
        except TimeoutError:
            return None
        return None if found is None else (found.group(), *found.groups())


def _expanded(text: str) -> int:
    """Count the elements of an expression with `x{3}` taken as `xxx`; `((x{99}){99}){99}` would fill the memory."""
    sums = [0]
    last = 0
    for found in _PART.finditer(text):
        part = found.group()
        if part == "(":
            sums.append(0)
        elif part == ")":
            if len(sums) > 1:
                last = sums.pop()
                sums[-1] += last
        elif found.group(1) is not None:
            times = max(int(found.group(1) or 0), 1)
            sums[-1] += last * (times - 1)
            last *= times
        elif part not in ("*", "+", "?"):
            last = 1
            sums[-1] += 1
    return sum(sums)
