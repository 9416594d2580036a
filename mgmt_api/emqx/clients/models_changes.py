"""What can be changed about a client: its subscriptions and its keep-alive."""

from typing import Annotated

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from ....broker.routing.topics import check_filter, split_share
from ...limits import Body

_MAX_TOPIC = 65_535


def _check(topic_filter: str) -> str:
    check_filter(split_share(topic_filter)[1])
    return topic_filter


TopicFilter = Annotated[str, Field(max_length=_MAX_TOPIC), AfterValidator(_check)]
Flag = Annotated[int, Field(strict=True, ge=0, le=1)]
UpToTwo = Annotated[int, Field(strict=True, ge=0, le=2)]


class Subscribe(Body):
    """A subscription to be made for a client; what MQTT 5 has beyond the QoS holds for clients of 3.1.1, too."""

    topic: TopicFilter = Field(description="The topic filter, `$share/group/filter` for a shared subscription")
    qos: UpToTwo = 0
    nl: Flag = Field(default=0, description="No Local: not what the client publishes itself")
    rap: Flag = Field(default=0, description="Retain As Published")
    rh: UpToTwo = Field(default=0, description="Retain Handling: 0 sends retained messages, 1 if new, 2 never")


class Unsubscribe(Body):
    """A subscription to be taken out."""

    topic: TopicFilter


class KeepAlive(Body):
    """For how long a client may be silent."""

    interval: int = Field(strict=True, description="Seconds, 0 to 65535; 0 is for ever")


class Subscribed(TypedDict):
    """A subscription that was made."""

    clientid: str
    topic: str
    node: str
    qos: int
    nl: int
    rap: int
    rh: int
