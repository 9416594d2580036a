"""How busy the broker is and was: the stored series, and the rates and sizes of now."""

from time import time
from typing import NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ....store.history.monitor_samples import NAMES
from ...paging import Query
from ...routes import Call
from ...state import ApiState
from .monitoring import MONITORING
from .nodes import require_node

_FORGOTTEN = tuple(0 for _ in NAMES)
"""What is shown for a time of which there is no sample: the broker did not run."""


class Sample(TypedDict):
    """Give the sizes at a time, in milliseconds since the epoch, and what was counted since the sample before."""

    time_stamp: int
    connections: int
    live_connections: int
    topics: int
    subscriptions: int
    subscriptions_durable: int
    disconnected_durable_sessions: int
    received: int
    sent: int
    dropped: int
    persisted: int
    validation_succeeded: int
    validation_failed: int
    transformation_succeeded: int
    transformation_failed: int


class Current(TypedDict):
    """Give messages per second over the last interval, as whole numbers, and the sizes of now."""

    received_msg_rate: int
    sent_msg_rate: int
    dropped_msg_rate: int
    persisted_rate: int
    validation_succeeded_rate: int
    validation_failed_rate: int
    transformation_succeeded_rate: int
    transformation_failed_rate: int
    connections: int
    live_connections: int
    topics: int
    subscriptions: int
    subscriptions_durable: int
    disconnected_durable_sessions: int
    retained_msg_count: int
    shared_subscriptions: int
    cluster_sessions: NotRequired[int]


class NodeCurrent(Current):
    """Say also for how many seconds the node has been up."""

    node_uptime: int


class MonitorQuery(Query):
    """Choose how far back to look."""

    latest: int | None = Field(default=None, ge=1, description="Seconds back from now; all that is stored without it")


async def list_samples(call: Call[MonitorQuery, None]) -> list[Sample]:
    """List the stored samples, oldest first; the older the first one, the wider apart they are."""
    now = int(time())
    series = await call.state.part(MONITORING).samples.series(now, call.query.latest)
    known = dict(series.points)
    if not known:
        return []
    times = range(min(known), max(known) + 1, series.step)
    return [_sample(moment, known.get(moment, _FORGOTTEN)) for moment in times]


async def list_node_samples(call: Call[MonitorQuery, None]) -> list[Sample]:
    """List the stored samples of one node."""
    require_node(call)
    return await list_samples(call)


async def forget_samples(call: Call[None, None]) -> None:
    """Forget all stored samples."""
    await call.state.part(MONITORING).samples.clear()


async def get_current(call: Call[None, None]) -> Current:
    """Give the rates of the last interval and the sizes of now."""
    return _current(call.state)


async def get_node_current(call: Call[None, None]) -> NodeCurrent:
    """Give the rates and sizes of one node."""
    require_node(call)
    uptime = max(0, int(time() - call.state.broker.started_at))
    return {**_current(call.state), "node_uptime": uptime}


def _sample(moment: int, values: tuple[int, ...]) -> Sample:
    row = {"time_stamp": moment * 1_000, **dict(zip(NAMES, values, strict=True))}
    return row  # pyright: ignore[reportReturnType]


def _current(state: ApiState) -> Current:
    sampler, stats = state.part(MONITORING).sampler, state.broker.stats()
    rates, gauges = sampler.rates, sampler.gauges()
    return {
        "received_msg_rate": rates["received"],
        "sent_msg_rate": rates["sent"],
        "dropped_msg_rate": rates["dropped"],
        "persisted_rate": rates["persisted"],
        "validation_succeeded_rate": rates["validation_succeeded"],
        "validation_failed_rate": rates["validation_failed"],
        "transformation_succeeded_rate": rates["transformation_succeeded"],
        "transformation_failed_rate": rates["transformation_failed"],
        "connections": gauges["connections"],
        "live_connections": gauges["live_connections"],
        "topics": gauges["topics"],
        "subscriptions": gauges["subscriptions"],
        "subscriptions_durable": gauges["subscriptions_durable"],
        "disconnected_durable_sessions": gauges["disconnected_durable_sessions"],
        "retained_msg_count": stats["retained.count"],
        "shared_subscriptions": stats["subscriptions.shared.count"],
        "cluster_sessions": stats["cluster_sessions.count"],
    }
