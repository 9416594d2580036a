"""Slow subscriptions: what is measured, and which subscriptions were slowest."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from ....broker.slow_subscriptions import SlowSettings, SlowSubscriptions, StatsType
from ...configuration import Governed, Root
from ...limits import Body
from ...paging import PageQuery
from ...quantities import PositiveDuration, seconds
from ...routes import Call
from ...timestamps import to_milliseconds

_MAX_ROWS = 1_000


class SlowSubscriptionSettings(Body):
    """What counts as slow, and how many subscriptions are listed."""

    enable: bool = False
    threshold: PositiveDuration = "500ms"
    expire_interval: PositiveDuration = "300s"
    top_k_num: Annotated[int, Field(ge=1, le=_MAX_ROWS)] = 10
    stats_type: StatsType = "whole"


class SlowSubscriptionRow(TypedDict):
    """A subscription that was slow; times in milliseconds."""

    clientid: str
    node: str
    topic: str
    timespan: int
    last_update_time: int


class SlowSubscriptionList(TypedDict):
    """What was slow, the slowest first."""

    data: list[SlowSubscriptionRow]


def _default(_governed: Governed) -> SlowSubscriptionSettings:
    return SlowSubscriptionSettings()


def _apply(governed: Governed, value: SlowSubscriptionSettings) -> None:
    governed.broker.slow_subscriptions.configure(
        SlowSettings(
            value.enable,
            seconds(value.threshold),
            seconds(value.expire_interval),
            value.top_k_num,
            value.stats_type,
        )
    )


SLOW_SUBS: Root[SlowSubscriptionSettings] = Root("slow_subs", SlowSubscriptionSettings, _default, _apply)
"""Whether deliveries are measured, and which are listed."""


async def list_slow(call: Call[PageQuery, None]) -> SlowSubscriptionList:
    """List the slowest subscriptions."""
    query, slow = call.query, call.state.broker.slow_subscriptions
    start = (query.page - 1) * query.limit
    return {"data": _rows(slow, call.state.node)[start : start + query.limit]}


async def clear_slow(call: Call[None, None]) -> None:
    """Forget which subscriptions were slow."""
    call.state.broker.slow_subscriptions.clear()


async def get_settings(call: Call[None, None]) -> object:
    """Tell what counts as slow."""
    return call.state.configuration.as_json(SLOW_SUBS)


async def set_settings(call: Call[None, SlowSubscriptionSettings]) -> object:
    """Say what counts as slow; what is left out has its default."""
    await call.state.configuration.put(SLOW_SUBS, call.body, **call.origin)
    return call.state.configuration.as_json(SLOW_SUBS)


def _rows(slow: SlowSubscriptions, node: str) -> list[SlowSubscriptionRow]:
    return [
        {
            "clientid": row.client_id,
            "node": node,
            "topic": row.topic,
            "timespan": to_milliseconds(row.timespan),
            "last_update_time": to_milliseconds(row.last_update_time),
        }
        for row in slow.rows()
    ]
