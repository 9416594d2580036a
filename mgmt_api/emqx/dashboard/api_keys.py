"""Keys to the management API."""

from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ....store.errors import AlreadyExists
from ....store.records import LAST_SECOND, ApiKey, ApiRole
from ...errors import ApiError, bad_request
from ...limits import Body
from ...routes import Call
from ...timestamps import parse_milliseconds

_NEVER = "infinity"


def _read_end(value: Any) -> Any:
    """Read RFC 3339, seconds since the epoch or `infinity`, which is None."""
    if value is None or value == _NEVER:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be RFC 3339, seconds since the epoch or infinity")
    if isinstance(value, int):
        return value
    text = value.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LAST_SECOND)) else _moment(text)


def _moment(text: str) -> int:
    if text.isascii() and text.isdigit():
        raise ValueError("is too far in the future")
    return parse_milliseconds(text) // 1_000


def _check_end(value: int | None) -> int | None:
    if value is not None and not 0 <= value <= LAST_SECOND:
        raise ValueError("must be between the years 1970 and 9999")
    return value


End = Annotated[
    int | None,
    BeforeValidator(_read_end),
    AfterValidator(_check_end),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "format": "date-time"}, {"const": _NEVER}],
            "default": _NEVER,
        }
    ),
]
Description = Annotated[str, Field(max_length=10_000)]


class Key(TypedDict):
    """Describe a key; the secret is in the answer to its creation alone."""

    name: str
    api_key: str
    api_secret: NotRequired[str]
    enable: bool
    expired: bool
    expired_at: str
    created_at: str
    desc: str
    role: ApiRole


class NewKey(Body):
    """Describe a key to be created."""

    name: Annotated[str, Field(max_length=1_000)]
    desc: Description = ""
    enable: bool = True
    expired_at: End = None
    role: ApiRole = "administrator"
    expired: bool | None = Field(default=None, description="Of no effect")
    api_key: str | None = Field(default=None, max_length=1_000, description="Of no effect: it is generated")
    api_secret: str | None = Field(default=None, max_length=4_096, repr=False, description="Of no effect, too")


class KeyChange(Body):
    """Change a key: what is missing of end and role is reset, what is missing of the others stays."""

    desc: Description | None = None
    enable: bool | None = None
    expired_at: End = None
    role: ApiRole = "administrator"
    expired: bool | None = Field(default=None, description="Of no effect")


def _show(key: ApiKey, *, expired: bool) -> Key:
    return {
        "name": key.name,
        "api_key": key.api_key,
        "enable": key.enabled,
        "expired": expired,
        "expired_at": _NEVER if key.expires_at is None else _format(key.expires_at),
        "created_at": _format(key.created_at),
        "desc": key.description,
        "role": key.role,
    }


def _format(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds")


async def list_keys(call: Call[None, None]) -> list[Key]:
    """List all keys."""
    directory = call.state.directory
    return [_show(key, expired=directory.has_ended(key)) for key in directory.api_keys()]


async def create_key(call: Call[None, NewKey]) -> Key:
    """Create a key."""
    body, directory = call.body, call.state.directory
    try:
        key, secret = await directory.create_api_key(
            body.name,
            body.role,
            expires_at=body.expired_at,
            description=body.desc,
            enabled=body.enable,
            **call.origin,
        )
    except AlreadyExists as error:
        raise bad_request(error.message) from None
    return {**_show(key, expired=directory.has_ended(key)), "api_secret": secret}


async def get_key(call: Call[None, None]) -> Key:
    """Describe a key."""
    name, directory = call.path["name"], call.state.directory
    for key in directory.api_keys():
        if key.name == name:
            return _show(key, expired=directory.has_ended(key))
    raise ApiError(404, "NOT_FOUND", "API key not found")


async def update_key(call: Call[None, KeyChange]) -> Key:
    """Change a key, which holds at once."""
    body, directory = call.body, call.state.directory
    key = await directory.update_api_key(
        call.path["name"],
        role=body.role,
        enabled=body.enable,
        expires_at=body.expired_at,
        description=body.desc,
        **call.origin,
    )
    return _show(key, expired=directory.has_ended(key))


async def delete_key(call: Call[None, None]) -> None:
    """Delete a key, which holds at once."""
    await call.state.directory.delete_api_key(call.path["name"], **call.origin)
