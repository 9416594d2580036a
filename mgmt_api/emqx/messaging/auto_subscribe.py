"""Auto subscribe: the whole list of subscriptions that every client gets is shown and replaced."""

from typing import Annotated

from pydantic import Field, field_validator

from ....broker.auto_subscribe import AutoSubscription
from ....broker.routing.topics import InvalidTopic, check_filter, split_share
from ...configuration import Governed, Root
from ...errors import ApiError
from ...limits import Body
from ...routes import Call

MAX_SUBSCRIPTIONS = 20
"""EMQX's bound."""


class Subscription(Body):
    """A subscription that every client gets when it connects."""

    topic: Annotated[str, Field(min_length=1, max_length=1_024)]
    qos: Annotated[int, Field(ge=0, le=2)] = 0
    rh: Annotated[int, Field(ge=0, le=2)] = 0
    rap: Annotated[int, Field(ge=0, le=1)] = 0
    nl: Annotated[int, Field(ge=0, le=1)] = 0

    @field_validator("topic")
    @classmethod
    def _is_filter(cls, value: str) -> str:
        try:
            check_filter(split_share(value)[1])
        except InvalidTopic as error:
            raise ValueError(str(error)) from None
        return value


def _none(governed: Governed) -> list[Subscription]:
    return []


def _apply(governed: Governed, wanted: list[Subscription]) -> None:
    governed.broker.subscribe_everybody(
        AutoSubscription(entry.topic, entry.qos, bool(entry.nl), bool(entry.rap), entry.rh) for entry in wanted
    )


AUTO_SUBSCRIBE: Root[list[Subscription]] = Root("auto_subscribe", list[Subscription], _none, _apply)
"""The subscriptions that every client gets."""


async def get_subscriptions(call: Call[None, None]) -> object:
    """List them."""
    return call.state.configuration.as_json(AUTO_SUBSCRIBE)


async def set_subscriptions(call: Call[None, list[Subscription]]) -> object:
    """Take the place of them all; whoever is connected keeps what it has."""
    if len(call.body) > MAX_SUBSCRIPTIONS:
        raise ApiError(409, "EXCEED_LIMIT", f"Max auto subscribe topic count is {MAX_SUBSCRIPTIONS}")
    configuration = call.state.configuration
    await configuration.put(AUTO_SUBSCRIBE, call.body, **call.origin)
    return configuration.as_json(AUTO_SUBSCRIBE)
