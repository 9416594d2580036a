"""Erlang terms as the rule file has them: atoms, strings, integers, tuples and lists; each clause ends in a dot.

The syntax is that of https://www.erlang.org/doc/system/data_types.html, as far as `file:consult/1` would take it and a
rule can use it. Nothing is evaluated.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ..errors import Invalid

MAX_DEPTH = 16
"""Tuples and lists within each other."""
_MAX_DIGITS = 15
_SHOWN = 40

_TOKEN = re.compile(
    r"""(?P<space>\s+|%[^\n]*)
      | (?P<string>(?:<<\s*)?"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*/\s*utf8)?(?:\s*>>)?)
      | '(?P<quoted>[^'\\]*(?:\\.[^'\\]*)*)'
      | (?P<integer>-?[0-9]+)
      | (?P<atom>[a-z][A-Za-z0-9_@]*)
      | (?P<sign>[][{},.])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|\^(.)|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "d": "\x7f", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "s": " ", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Atom:
    """Hold an atom, quoted or not."""

    name: str


Term: TypeAlias = "Atom | str | int | tuple[Term, ...] | list[Term]"
"""A string and a binary are the same here."""


class Clause(NamedTuple):
    """Hold one term of a file and the line, from 1, on which it begins."""

    line: int
    term: Term


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def read_clauses(text: str) -> Iterator[Clause]:
    """Read terms one by one; raise Invalid with the line for what is none."""
    tokens = _tokens(text)
    for token in tokens:
        term = _read(token, tokens, 1)
        dot = _next(tokens, token.line)
        if dot != ("sign", ".", dot.line):
            raise problem(dot.line, f"there is {_show(dot)} where a dot should end the rule")
        yield Clause(token.line, term)


def problem(line: int, what: str) -> Invalid:
    """Make the error that names a line."""
    return Invalid(f"The rules are not valid: line {line}: {what}.")


def _tokens(text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise problem(line, f"'{text[position : position + _SHOWN].splitlines()[0]}' cannot be read")
        kind = found.lastgroup or "space"
        if kind != "space":
            yield _Token(kind, found[kind], line)
        line += text.count("\n", position, found.end())
        position = found.end()


def _next(tokens: Iterator[_Token], line: int) -> _Token:
    for token in tokens:
        return token
    raise problem(line, "the text ends within the rule that begins here")


def _read(token: _Token, tokens: Iterator[_Token], depth: int) -> Term:
    match token.kind:
        case "string":
            return _unescape(token.text[token.text.index('"') + 1 : token.text.rindex('"')], token.line)
        case "quoted":
            return Atom(_unescape(token.text, token.line))
        case "atom":
            return Atom(token.text)
        case "integer":
            if len(token.text) > _MAX_DIGITS:
                raise problem(token.line, "a number is too long")
            return int(token.text)
        case _ if token.text in ("{", "["):
            if depth > MAX_DEPTH:
                raise problem(token.line, f"more than {MAX_DEPTH} brackets are within each other")
            items = list(_items(token, tokens, depth))
            return tuple(items) if token.text == "{" else items
        case _:
            raise problem(token.line, f"there is {_show(token)} where a term should be")


def _items(opening: _Token, tokens: Iterator[_Token], depth: int) -> Iterator[Term]:
    closing = "}" if opening.text == "{" else "]"
    token = _next(tokens, opening.line)
    if (token.kind, token.text) == ("sign", closing):
        return
    while True:
        yield _read(token, tokens, depth + 1)
        token = _next(tokens, opening.line)
        if token.kind != "sign" or token.text not in (",", closing):
            raise problem(token.line, f"there is {_show(token)} where , or {closing} should be")
        if token.text == closing:
            return
        token = _next(tokens, opening.line)


def _unescape(text: str, line: int) -> str:
    return _ESCAPE.sub(lambda found: _escaped(found, line), text) if "\\" in text else text


def _escaped(found: re.Match[str], line: int) -> str:
    braced, short, octal, control, other = found.groups()
    if other is not None:
        return _ESCAPED.get(other, other)
    if control is not None:
        return chr(ord(control) & 31)
    code = int(octal, 8) if octal is not None else int(braced or short, 16)
    if code > 0x10FFFF:
        raise problem(line, f"{found.group()} is no character")
    return chr(code)


def _show(token: _Token) -> str:
    text = token.text
    return f"'{text[:_SHOWN]}...'" if len(text) > _SHOWN else f"'{text}'"
