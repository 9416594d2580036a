"""The root `alarm`: what becomes of alarms beside being listed."""

from typing import Annotated, Literal

from pydantic import Field

from ....broker.alarms import MAX_HISTORY, AlarmSettings
from ...configuration import Governed, Root
from ...limits import Body
from ...quantities import Duration, seconds

MAX_SIZE = 3_000


class AlarmHandling(Body):
    """Say what is done about alarms, and how long those that are over are remembered."""

    actions: Annotated[list[Literal["log", "publish"]], Field(max_length=2)] = Field(
        default_factory=lambda: list[Literal["log", "publish"]](("log", "publish"))
    )
    size_limit: Annotated[int, Field(ge=1, le=MAX_SIZE)] = MAX_HISTORY
    validity_period: Duration = "24h"


def _apply(governed: Governed, value: AlarmHandling) -> None:
    governed.broker.alarms.configure(
        AlarmSettings(
            log="log" in value.actions,
            publish="publish" in value.actions,
            size_limit=value.size_limit,
            validity_period=seconds(value.validity_period),
        )
    )


ALARM: Root[AlarmHandling] = Root("alarm", AlarmHandling, lambda _: AlarmHandling(), _apply)
