"""Prepare user names and passwords for comparison across clients: the SASLprep profile of stringprep (RFC 4013)."""

import stringprep
import unicodedata
from typing import Literal

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


MAX_CHARACTERS = 1_024
"""Longest text with more than printable ASCII in it, before and after: strangers' names are prepared on the event loop.

Composing takes time that grows with the square of the length, and one character can become eighteen.
"""


class Unprepared(ValueError):
    """Say that a text cannot be prepared; the message does not hold it."""


def prepare(text: str, kind: Literal["query", "stored"]) -> str:
    """Return the prepared text, which may be empty; raise Unprepared for what is prohibited or too long.

    A `query` may hold code points that Unicode 3.2 did not assign, a `stored` string may not (RFC 3454, section 7).
    """
    if text.isascii() and text.isprintable():
        return text
    _check_length(text)
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    _check_length(prepared)
    for character in prepared:
        if any(prohibits(character) for prohibits in _PROHIBITED):
            raise Unprepared("a character is prohibited")
        if kind == "stored" and stringprep.in_table_a1(character):
            raise Unprepared("a code point is not assigned in Unicode 3.2")
    _check_direction(prepared)
    return prepared


def _check_length(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise Unprepared("it is too long")


def _check_direction(text: str) -> None:
    """Refuse right-to-left text that is mixed with left-to-right text or does not stand at both ends."""
    if not any(stringprep.in_table_d1(character) for character in text):
        return
    if any(stringprep.in_table_d2(character) for character in text):
        raise Unprepared("the writing directions are mixed")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise Unprepared("right-to-left text must be at both ends")
