"""HOCON, as much of it as configurations of EMQX use, read and written.

The format's own includes and substitutions read files, addresses and the environment of whoever parses: they are
refused here, for the text comes over the network. What is left is small: objects, lists, scalars, comments and
dotted keys.
"""

import json
from collections.abc import Mapping, Sequence
from re import compile as compile_pattern
from typing import Any, cast

MAX_DEPTH = 32
MAX_VALUES = 20_000
_BLANK = compile_pattern(r"(?:[ \t\r\n,]|#[^\n]*|//[^\n]*)*")
_INLINE = compile_pattern(r"(?:[ \t\r]|#[^\n]*|//[^\n]*)*")
_BLANK_LINES = compile_pattern(r"(?:[ \t\r\n]|#[^\n]*|//[^\n]*)*")
_KEY_PART = compile_pattern(r'"(?:[^"\\\n]|\\.)*"|[^\s"{}\[\]:=,+#`^?!@*&\\.$]+')
_QUOTED = compile_pattern(r'"(?:[^"\\\n]|\\.)*"')
_TRIPLE = compile_pattern(r'"""(.*?)"""(?!")', 16)
_UNQUOTED = compile_pattern(r'(?:(?!//)[^"{}\[\]=,+#`^?!&\\$\n:]|:(?=\S))+')
_NUMBER = compile_pattern(r"-?(?:0|[1-9]\d{0,18})(?:\.\d{1,18})?(?:[eE][+-]?\d{1,3})?")
_PLAIN_KEY = compile_pattern(r"[A-Za-z0-9_$-]+")
_PLAIN_TEXT = compile_pattern(r"[A-Za-z0-9_][A-Za-z0-9_%./-]*")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}


class HoconError(ValueError):
    """Say what is wrong, and in which line."""

    def __init__(self, kind: str, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.kind = kind
        """scan_error where something is no word of the language, parse_error where it stands in a wrong place."""
        self.line = line
        self.reason = reason


def read_hocon(text: str) -> dict[str, Any]:
    """Read an object, with or without its braces; raises HoconError."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._values = 0

    def read(self) -> dict[str, Any]:
        self._skip(_BLANK)
        result = self._object() if self._peek() == "{" else self._fields("")
        self._skip(_BLANK)
        if self._at < len(self._text):
            raise self._error("parse_error", f"unexpected {self._text[self._at]!r}")
        return result

    def _error(self, kind: str, reason: str) -> HoconError:
        return HoconError(kind, self._text.count("\n", 0, self._at) + 1, reason)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: Any) -> None:
        self._at = pattern.match(self._text, self._at).end()

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error("parse_error", f"more than {MAX_DEPTH} levels")

    def _object(self) -> dict[str, Any]:
        self._enter()
        self._at += 1
        result = self._fields("}")
        if self._peek() != "}":
            raise self._error("parse_error", "an object is not closed")
        self._at += 1
        self._depth -= 1
        return result

    def _fields(self, end: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text) or (end and self._peek() == end):
                return result
            path = self._key()
            self._skip(_BLANK_LINES)
            sign = self._peek()
            if self._text.startswith("+=", self._at):
                raise self._error("parse_error", "'+=' is not supported")
            if sign in ("=", ":"):
                self._at += 1
                self._skip(_BLANK_LINES)
            elif sign != "{":
                raise self._error("parse_error", f"no value for {'.'.join(path)[:100]!r}")
            self._place(result, path, self._value())

    def _key(self) -> list[str]:
        path: list[str] = []
        while True:
            found = _KEY_PART.match(self._text, self._at)
            if found is None:
                shown = self._peek()
                raise self._error("scan_error" if shown in "$`^?!@*&\\" else "parse_error", f"unexpected {shown!r}")
            part = found[0]
            self._at = found.end()
            path.append(self._unescape(part) if part.startswith('"') else part)
            if path == ["include"] and not part.startswith('"') and self._text[self._at : self._at + 1] in (" ", "\t"):
                self._skip(_INLINE)
                if self._peek() not in ("=", ":", "{"):
                    raise self._error("parse_error", "'include' is not supported")
            if len(path) > MAX_DEPTH:
                raise self._error("parse_error", f"more than {MAX_DEPTH} levels")
            if self._peek() != ".":
                return path
            self._at += 1

    def _place(self, into: dict[str, Any], path: list[str], value: Any) -> None:
        for part in path[:-1]:
            below = into.get(part)
            if not isinstance(below, dict):
                below = into[part] = {}
            into = cast("dict[str, Any]", below)
        present = into.get(path[-1])
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(cast("dict[str, Any]", present), cast("dict[str, Any]", value))
        else:
            into[path[-1]] = value

    def _value(self) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error("parse_error", f"more than {MAX_VALUES} values")
        first = self._peek()
        if first == "{":
            return self._object()
        if first == "[":
            return self._list()
        triple = _TRIPLE.match(self._text, self._at)
        if triple is not None:
            self._at = triple.end()
            return triple[1]
        if first == '"':
            return self._string()
        return self._word()

    def _list(self) -> list[Any]:
        self._enter()
        self._at += 1
        result: list[Any] = []
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                raise self._error("parse_error", "a list is not closed")
            if self._peek() == "]":
                self._at += 1
                self._depth -= 1
                return result
            result.append(self._value())

    def _string(self) -> str:
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise self._error("scan_error", "a string is not closed")
        text = self._unescape(found[0])
        self._at = found.end()
        return text

    def _unescape(self, quoted: str) -> str:
        try:
            return str(json.loads(quoted, strict=False))
        except ValueError:
            raise self._error("scan_error", "a string with an escape that there is not") from None

    def _word(self) -> Any:
        found = _UNQUOTED.match(self._text, self._at)
        if found is None or not found[0].strip():
            shown = self._peek()
            if shown == "$":
                raise self._error("parse_error", "substitutions are not supported")
            raise self._error("parse_error", f"unexpected {shown!r}" if shown else "a value is missing")
        word = found[0].strip()
        self._at = found.end()
        if word in _WORDS:
            return _WORDS[word]
        if _NUMBER.fullmatch(word):
            return json.loads(word)
        if self._peek() == "$":
            raise self._error("parse_error", "substitutions are not supported")
        return word


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge an object into an object, and what it holds likewise."""
    result = dict(below)
    for key, value in above.items():
        present = result.get(key)
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            result[key] = merged(cast("Mapping[str, Any]", present), cast("Mapping[str, Any]", value))
        else:
            result[key] = value
    return result


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        present = below.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(cast("dict[str, Any]", present), cast("dict[str, Any]", value))
        else:
            below[key] = value


def write_hocon(value: Mapping[str, Any]) -> str:
    """Write an object without its braces, each value in a line of its own."""
    lines: list[str] = []
    _write_fields(value, "", lines)
    return "\n".join(lines) + "\n" if lines else ""


def _write_fields(value: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    for key, entry in value.items():
        name = key if _PLAIN_KEY.fullmatch(key) and "$" not in key else json.dumps(key)
        if isinstance(entry, Mapping):
            inner = cast("Mapping[str, Any]", entry)
            if not inner:
                lines.append(f"{indent}{name} {{}}")
                continue
            lines.append(f"{indent}{name} {{")
            _write_fields(inner, f"{indent}  ", lines)
            lines.append(f"{indent}}}")
        else:
            lines.append(f"{indent}{name} = {_scalar(entry)}")


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN_TEXT.fullmatch(value) and value not in _WORDS and not _NUMBER.fullmatch(value)
        return value if plain and "//" not in value else json.dumps(value)
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, Any]", value)
        return "{" + ", ".join(f"{json.dumps(key)} = {_scalar(entry)}" for key, entry in inner.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_scalar(entry) for entry in cast("Sequence[Any]", value)) + "]"
    return json.dumps(value)
