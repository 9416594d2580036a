"""Alarms, active and over."""

from time import time
from typing import Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ....broker.alarms import Alarm
from ...encoding import Page
from ...errors import ApiError
from ...limits import Body
from ...paging import Meta, PageQuery, paginate
from ...routes import Call
from ...timestamps import format_time


class AlarmRow(TypedDict):
    """Describe an alarm: duration in milliseconds; `deactivate_at` once it is over."""

    node: str
    name: str
    message: str
    details: dict[str, Any]
    duration: int
    activate_at: str
    deactivate_at: NotRequired[str]


class AlarmPage(TypedDict):
    """One page of alarms."""

    data: list[AlarmRow]
    meta: Meta


class AlarmQuery(PageQuery):
    """Choose between the alarms that are active and those that are over."""

    # EMQX's document says that the default is false; its code, and so what its clients rely on, says true
    activated: bool = Field(
        default=True, description="Whether to list the alarms that are active or those that are over"
    )


async def list_alarms(call: Call[AlarmQuery, None]) -> Page:
    """List the active alarms as they came, or those that are over, newest first."""
    node, query, alarms = call.state.node, call.query, call.state.broker.alarms
    now = time()

    def render(alarm: Alarm) -> AlarmRow:
        return _row(node, alarm, now)

    return await paginate(alarms.active() if query.activated else alarms.history(), query, render)


class AlarmName(Body):
    """Name an alarm."""

    name: str = Field(max_length=1_000)


async def force_deactivate(call: Call[None, AlarmName]) -> None:
    """End an active alarm; one whose cause is still there comes again."""
    alarms = call.state.broker.alarms
    if not alarms.is_active(call.body.name):
        raise ApiError(400, "NOT_FOUND", f"There is no active alarm {call.body.name!r}")
    alarms.deactivate(call.body.name)


async def clear_alarm_history(call: Call[None, None]) -> None:
    """Forget the alarms that are over; those that are active stay."""
    call.state.broker.alarms.clear_history()


def _row(node: str, alarm: Alarm, now: float) -> AlarmRow:
    row: AlarmRow = {
        "node": node,
        "name": alarm.name,
        "message": alarm.message,
        "details": alarm.details,
        "duration": round(alarm.duration(now) * 1_000),
        "activate_at": format_time(alarm.activated_at),
    }
    if alarm.deactivated_at is not None:
        row["deactivate_at"] = format_time(alarm.deactivated_at)
    return row
