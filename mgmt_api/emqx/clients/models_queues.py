"""What messages that wait for a client look like, and how they are asked for."""

from typing import Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ...paging import Query

PAYLOAD_MODES = ("none", "base64", "plain")
MQUEUE_POSITION = r"([0-9]{1,20})_[0-9]{1,3}"
INFLIGHT_POSITION = r"([0-9]{1,20})"


class MessageQuery(Query):
    """Ask for messages of one client."""

    payload: str = Field(
        default="base64",
        max_length=20,
        description="Whether and how to return payloads",
        json_schema_extra={"enum": [*PAYLOAD_MODES]},
    )
    max_payload_bytes: str = Field(
        default="1MB",
        max_length=20,
        description="How much payload a page may hold; what is beyond is left out, but for the first message",
    )
    position: str = Field(default="none", max_length=64, description="Go on behind this position of an earlier answer")
    limit: int = Field(default=100, ge=1, le=10_000, description="Rows on a page")


class MessageRow(TypedDict):
    """One message; times in milliseconds and, as `inserted_at`, in nanoseconds since the epoch."""

    msgid: str
    topic: str
    qos: int
    publish_at: int
    from_clientid: str
    from_username: str | None
    payload: NotRequired[str]
    inserted_at: str
    mqueue_priority: NotRequired[int | Literal["infinity"]]


class Position(TypedDict):
    """Say where a page stands: the oldest message there is now, and the last one on the page."""

    start: str
    position: str


class MessagePage(TypedDict):
    """One page of messages."""

    data: list[MessageRow]
    meta: Position
