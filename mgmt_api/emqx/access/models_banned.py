"""What bans look like."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ....store.acl.regular_expressions import MAX_LENGTH
from ....store.records import LAST_SECOND, BanType
from ...limits import Body
from ...paging import Meta, PageQuery

INFINITY = "infinity"
_MAX_DIGITS = 12
_MAX_TEXT = 64


def _read_time(value: object) -> object:
    """Read RFC 3339, or seconds since the epoch as a number or as text."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= LAST_SECOND:
            raise ValueError("must be between the years 1970 and 9999")
        return value
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError("must be RFC 3339 or seconds since the epoch")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be RFC 3339 or seconds since the epoch") from None
    if moment.tzinfo is None:
        raise ValueError("must name its offset from UTC, as in 2026-01-31T12:00:00Z")
    return moment.astimezone(UTC).timestamp()


def _read_end(value: object) -> object:
    return value if value == INFINITY else _read_time(value)


def format_seconds(seconds: float) -> str:
    """Write seconds since the epoch as RFC 3339 in whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds")


_SCHEMA = WithJsonSchema({"type": "string", "example": "2026-01-31T12:00:00+00:00"})
Moment: TypeAlias = Annotated[float, BeforeValidator(_read_time), _SCHEMA]
End: TypeAlias = Annotated[float | Literal["infinity"], BeforeValidator(_read_end), _SCHEMA]

As: TypeAlias = BanType
"""What a ban is about."""


class NewBan(Body):
    """Whom to keep out from now on."""

    as_: As = Field(alias="as")
    who: str = Field(min_length=1, max_length=65_535)
    by: str = Field(default="mgmt_api", max_length=1_000)
    reason: str = Field(default="", max_length=10_000)
    at: Moment | None = Field(default=None, description="Now, where it is not given")
    until: End = Field(default=INFINITY, description="RFC 3339, seconds since the epoch, or `infinity`")


Ban = TypedDict(
    "Ban",
    {"as": As, "who": str, "by": str, "reason": str, "at": str, "until": str},
)
"""Show who is kept out; `until` is `infinity` for ever."""


class BanPage(TypedDict):
    """One page of bans, oldest first."""

    data: list[Ban]
    meta: Meta


Like: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]


class BanQuery(PageQuery):
    """Ask for bans, by one of these at most."""

    clientid: str | None = None
    username: str | None = None
    peerhost: str | None = None
    like_clientid: Like | None = Field(default=None, description="A regular expression")
    like_username: Like | None = Field(default=None, description="A regular expression")
    like_peerhost: Like | None = Field(default=None, description="A regular expression")
    like_peerhost_net: Like | None = Field(default=None, description="A regular expression")
