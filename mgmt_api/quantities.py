"""Durations, sizes and percentages as EMQX writes them: `15s`, `1m30s`, `64KB`, `80%`; kept as they were sent."""

from re import ASCII
from re import compile as compile_pattern
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

MAX_DIGITS = 15
_MAX_LENGTH = 64
_MAX_SECONDS = 1_000 * 366 * 86_400
_DURATION = compile_pattern(r"(?:\d{1,15}(?:\.\d{1,6})?(?:ms|s|m|h|d|w))+", ASCII)
_DURATION_PART = compile_pattern(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", ASCII)
_SIZE = compile_pattern(r"(\d{1,15})(B|KB|MB|GB)?", ASCII)
_PERCENT = compile_pattern(r"(\d{1,3}(?:\.\d{1,6})?)%", ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_SIZES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_DISABLED = "disabled"


def seconds(text: str) -> float:
    """Read a duration as seconds; `infinity` and `disabled` are none. Raises ValueError with a sentence."""
    lowered = text.strip().lower()
    if len(lowered) > _MAX_LENGTH or not _DURATION.fullmatch(lowered):
        raise ValueError("must be a duration such as 500ms, 15s, 1m30s or 2h")
    total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(lowered))
    if total > _MAX_SECONDS:
        raise ValueError("is too long")
    return round(total, 6)


def size(text: str) -> int:
    """Read a size as bytes. Raises ValueError with a sentence."""
    found = _SIZE.fullmatch(text.strip().upper())
    if found is None:
        raise ValueError("must be a size such as 100B, 64KB or 1MB")
    return int(found[1]) * _SIZES[found[2] or ""]


def fraction(text: str) -> float:
    """Read a percentage as a number from 0 to 1. Raises ValueError with a sentence."""
    found = _PERCENT.fullmatch(text.strip())
    value = float(found[1]) / 100 if found is not None else 2.0
    if value > 1:
        raise ValueError("must be a percentage from 0% to 100%")
    return value


def _duration(value: Any) -> Any:
    """Take milliseconds as a number, too."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_DIGITS:
        value = f"{value}ms"
    if isinstance(value, str):
        seconds(value)
    return value


def _positive(value: Any) -> Any:
    checked = _duration(value)
    if isinstance(checked, str) and seconds(checked) <= 0:
        raise ValueError("must be longer than nothing")
    return checked


def _or_disabled(value: Any) -> Any:
    return value if value == _DISABLED else _positive(value)


def _size(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_DIGITS:
        value = f"{value}B"
    if isinstance(value, str):
        size(value)
    return value


def _size_or_disabled(value: Any) -> Any:
    return value if value == _DISABLED else _size(value)


def _percent(value: Any) -> Any:
    """Take a number from 0 to 1, too, as EMQX does."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        value = f"{value * 100:g}%"
    if isinstance(value, str):
        fraction(value)
    return value


def _text(example: str) -> Any:
    return WithJsonSchema({"type": "string", "example": example})


Duration = Annotated[str, BeforeValidator(_duration), _text("15s")]
"""How long something takes, which may be no time at all."""
PositiveDuration = Annotated[str, BeforeValidator(_positive), _text("15s")]
DurationOrDisabled = Annotated[str, BeforeValidator(_or_disabled), _text("15s")]
ByteSize = Annotated[str, BeforeValidator(_size), _text("1MB")]
ByteSizeOrDisabled = Annotated[str, BeforeValidator(_size_or_disabled), _text("1MB")]
Percent = Annotated[str, Field(max_length=_MAX_LENGTH), BeforeValidator(_percent), _text("80%")]


def interval(text: str) -> float | None:
    """Read a duration as seconds, None for `disabled`. Raises ValueError with a sentence."""
    return None if text == _DISABLED else seconds(text)
