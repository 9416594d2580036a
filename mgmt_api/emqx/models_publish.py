"""What can be published over HTTP, and what is said about it."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field
from typing_extensions import TypedDict

from ..limits import MAX_KEYS, Body, check_keys

Qos = Annotated[int, Field(strict=True, ge=0, le=2)]


class MessageProperties(Body):
    """MQTT 5's properties of a message."""

    payload_format_indicator: Annotated[int, Field(strict=True, ge=0, le=1)] | None = None
    message_expiry_interval: Annotated[int, Field(strict=True, ge=0, le=0xFFFF_FFFF, description="Seconds")] | None = (
        None
    )
    response_topic: str | None = None
    correlation_data: str | None = None
    content_type: str | None = None
    user_properties: Annotated[dict[str, str], Field(max_length=MAX_KEYS), BeforeValidator(check_keys)] | None = None


class PublishMessage(Body):
    """One message."""

    topic: str
    payload: str
    payload_encoding: Literal["plain", "base64"] = Field(
        default="plain", validation_alias=AliasChoices("payload_encoding", "encoding")
    )
    qos: Qos = 0
    retain: bool = False
    clientid: str | None = Field(default=None, deprecated=True, description="Ignored: the sender is `http_api`")
    properties: MessageProperties | None = Field(
        default=None, description="Checked; clients of MQTT 3.1 and 3.1.1 are not sent any"
    )


class Published(TypedDict):
    """Name a message that reached at least one session."""

    id: str


class NotPublished(TypedDict):
    """Say with an MQTT reason code what became of a message."""

    reason_code: int
    message: str


class ErrorBody(TypedDict):
    """The shape of all other errors."""

    code: str
    message: str
