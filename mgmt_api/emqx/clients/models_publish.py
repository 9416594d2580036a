"""What can be published over HTTP, and what is said about it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field
from typing_extensions import TypedDict

from ....broker.routing.topics import check_name
from ...limits import MAX_KEYS, Body, check_keys

Qos = Annotated[int, Field(strict=True, ge=0, le=2)]

_MAX_TEXT_BYTES = 65_535


def _check_data(text: str) -> str:
    if len(text.encode()) > _MAX_TEXT_BYTES:
        raise ValueError(f"it is longer than {_MAX_TEXT_BYTES} bytes")
    return text


def _check_text(text: str) -> str:
    if "\0" in text:  # [MQTT-1.5.4-2]
        raise ValueError("it contains U+0000")
    return _check_data(text)


def _check_response_topic(topic: str) -> str:
    check_name(topic)  # [MQTT-3.3.2-14]
    return topic


Text = Annotated[str, AfterValidator(_check_text)]
"""What MQTT can carry as a text."""


class MessageProperties(Body):
    """MQTT 5's properties of a message."""

    payload_format_indicator: Annotated[int, Field(strict=True, ge=0, le=1)] | None = None
    message_expiry_interval: Annotated[int, Field(strict=True, ge=0, le=0xFFFF_FFFF, description="Seconds")] | None = (
        None
    )
    response_topic: Annotated[str, AfterValidator(_check_response_topic)] | None = None
    correlation_data: Annotated[str, AfterValidator(_check_data)] | None = None
    content_type: Text | None = None
    user_properties: Annotated[dict[Text, Text], Field(max_length=MAX_KEYS), BeforeValidator(check_keys)] | None = None


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
    properties: MessageProperties | None = Field(default=None, description="For subscribers that speak MQTT 5")


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
