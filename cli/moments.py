"""Times as they are typed: RFC 3339, or how long from now."""

import re
from datetime import UTC, datetime, timedelta

from .failures import Unusable

HELP = "RFC 3339, or how long from now: 90s, 15m, 12h, 30d."

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, *, past: bool = False) -> str:
    """Write a time for the API; `past` counts durations backwards. Raises `Unusable`."""
    duration = _DURATION.fullmatch(text)
    try:
        if duration is not None:
            span = timedelta(**{_UNITS[duration[2]]: int(duration[1])})
            now = datetime.now(UTC)
            return (now - span if past else now + span).isoformat(timespec="milliseconds")
        when = datetime.fromisoformat(text)
        # A time without an offset is the one on the operator's clock.
        return (when if when.tzinfo is not None else when.astimezone()).isoformat()
    except (ValueError, OverflowError):
        ago = "ago" if past else "from now"
        raise Unusable(
            f"'{text[:100]}' is no time: write it as in 2026-01-31T12:00:00Z, or how long {ago} as in 15m, 12h, 30d."
        ) from None


def end_of(text: str | None) -> str | None:
    """Write an end for the API: None for `never`."""
    return None if text is None or text == "never" else moment(text)
