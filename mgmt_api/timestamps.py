"""Times at the API: RFC 3339 with milliseconds in UTC outwards, RFC 3339 or epoch milliseconds inwards.

Both sides work in whole milliseconds, so that a bound copied from an answer includes the row it was copied from.
"""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS = 15


def to_milliseconds(seconds: float) -> int:
    """Translate seconds since the epoch into the whole milliseconds that the API shows."""
    return int(seconds * 1_000)


def format_time(seconds: float) -> str:
    """Write seconds since the epoch as RFC 3339 with milliseconds, UTC."""
    whole, milliseconds = divmod(to_milliseconds(seconds), 1_000)
    moment = datetime.fromtimestamp(whole, UTC).replace(microsecond=milliseconds * 1_000)
    return moment.isoformat(timespec="milliseconds")


def parse_milliseconds(text: str) -> int:
    """Read RFC 3339 or epoch milliseconds as epoch milliseconds. Raises ValueError with a sentence."""
    if text.isascii() and text.isdigit():
        if len(text) > _MAX_DIGITS:
            raise ValueError("is too far in the future")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be RFC 3339 or milliseconds since the epoch") from None
    if moment.tzinfo is None:
        raise ValueError("must name its offset from UTC, as in 2026-01-31T12:00:00Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
