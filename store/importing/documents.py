"""JSON documents of others: bounded, with nothing but what JSON knows, and Invalid as their only failure."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ..errors import Invalid
from .lines import without_mark

_BLANK = re.compile(r"[ \t\r\n]*")


def load_object(data: bytes) -> dict[str, Any]:
    """Return the document's object with its keys in lower case, at any depth.

    Of keys that differ by case alone the first counts, as for the library that Mosquitto uses. Raises Invalid.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_first_of_each, parse_constant=_refuse_constant)
    text = _text(data)
    value, end = _decode(decoder, text, _skip_blank(text, 0))
    if _skip_blank(text, end) != len(text):
        raise Invalid("There is something behind the end of the document.")
    if not isinstance(value, dict):
        raise Invalid("The document is not a JSON object.")
    return value  # pyright: ignore[reportUnknownVariableType]


def array_items(data: bytes) -> Iterator[tuple[int, Any]]:
    """Give the items of the document's array, one after the other, with the numbers of the lines they begin on.

    Raises Invalid, also after some of the items.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    text = _text(data)
    position = _skip_blank(text, 0)
    if not text.startswith("[", position):
        raise Invalid("The document is not a JSON array.")
    line, counted = 1, 0
    position = _skip_blank(text, position + 1)
    closed = text.startswith("]", position)
    while not closed:
        item, end = _decode(decoder, text, position)
        line += text.count("\n", counted, position)
        counted = position
        yield line, item
        position = _skip_blank(text, end)
        closed = text.startswith("]", position)
        if not closed:
            if not text.startswith(",", position):
                raise Invalid(f"The document is not valid JSON behind the item that begins on line {line}.")
            position = _skip_blank(text, position + 1)
    if _skip_blank(text, position + 1) != len(text):
        raise Invalid("There is something behind the end of the document.")


def _text(data: bytes) -> str:
    try:
        return without_mark(data).decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"The document is not UTF-8 at byte {error.start}.") from None


def _skip_blank(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return position if found is None else found.end()


def _decode(decoder: json.JSONDecoder, text: str, position: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        # Its other texts hold the whole document.
        raise Invalid(f"The document is not valid JSON in line {error.lineno}: {error.msg}.") from None
    except RecursionError:
        raise Invalid("The document is nested too deeply.") from None
    except ValueError:
        raise Invalid("The document has a number that is none or too long.") from None


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key.lower(), value)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
