"""Topic metrics: which topics are measured, and what was counted on them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ....broker.routing.topics import InvalidTopic, check_name
from ....broker.topic_metrics import MAX_TOPICS, Meter, TopicCounters
from ...configuration import Governed, Root
from ...errors import ApiError, bad_request
from ...limits import Body
from ...routes import Call
from ...timestamps import format_time


class MeasuredTopic(Body):
    """A topic that is measured."""

    topic: Annotated[str, Field(min_length=1, max_length=65_535)]


class MetricsAction(Body):
    """What to do with the counters; without a topic with all."""

    action: Literal["reset"]
    topic: Annotated[str | None, Field(max_length=65_535)] = None


Counters = TypedDict(
    "Counters",
    {
        "messages.in.count": int,
        "messages.in.rate": float,
        "messages.out.count": int,
        "messages.out.rate": float,
        "messages.qos0.in.count": int,
        "messages.qos0.in.rate": float,
        "messages.qos0.out.count": int,
        "messages.qos0.out.rate": float,
        "messages.qos1.in.count": int,
        "messages.qos1.in.rate": float,
        "messages.qos1.out.count": int,
        "messages.qos1.out.rate": float,
        "messages.qos2.in.count": int,
        "messages.qos2.in.rate": float,
        "messages.qos2.out.count": int,
        "messages.qos2.out.rate": float,
        "messages.dropped.count": int,
        "messages.dropped.rate": float,
    },
)
"""Counts since the topic was added or reset; rates in messages per second."""


class TopicMetricsRow(TypedDict):
    """What was counted on one topic."""

    topic: str
    create_time: str
    reset_time: NotRequired[str]
    metrics: Counters


def _none(governed: Governed) -> list[MeasuredTopic]:
    return []


def _apply(governed: Governed, topics: list[MeasuredTopic]) -> None:
    governed.broker.topic_metrics.set_topics([entry.topic for entry in topics])


TOPIC_METRICS: Root[list[MeasuredTopic]] = Root("topic_metrics", list[MeasuredTopic], _none, _apply)
"""The topics that are measured."""


async def list_metrics(call: Call[None, None]) -> list[TopicMetricsRow]:
    """Show the counters of all topics that are measured."""
    return _rows(call)


async def add_topic(call: Call[None, MeasuredTopic]) -> TopicMetricsRow:
    """Measure one more topic."""
    configuration, topic = call.state.configuration, call.body.topic
    try:
        check_name(topic)
    except InvalidTopic as error:
        raise bad_request(str(error), "BAD_TOPIC") from None

    def with_topic(topics: list[MeasuredTopic]) -> list[MeasuredTopic]:
        if any(entry.topic == topic for entry in topics):
            raise bad_request("The topic is measured already", "BAD_TOPIC")
        if len(topics) >= MAX_TOPICS:
            raise ApiError(409, "EXCEED_LIMIT", f"Max topic metrics count is {MAX_TOPICS}")
        return [*topics, call.body]

    await configuration.change(TOPIC_METRICS, with_topic, **call.origin)
    return _row(_counters(call, topic), call.state.broker.topic_metrics.second)


async def act_on_metrics(call: Call[None, MetricsAction]) -> TopicMetricsRow | list[TopicMetricsRow]:
    """Begin to count anew, on one topic or on all."""
    metrics, topic = call.state.broker.topic_metrics, call.body.topic
    if topic is None:
        metrics.reset()
        return _rows(call)
    counters = _counters(call, topic)
    metrics.reset(topic)
    return _row(counters, metrics.second)


async def get_topic(call: Call[None, None]) -> TopicMetricsRow:
    """Show the counters of one topic."""
    return _row(_counters(call, call.path["topic"]), call.state.broker.topic_metrics.second)


async def remove_topic(call: Call[None, None]) -> None:
    """Measure a topic no longer."""
    topic = _counters(call, call.path["topic"]).topic
    await call.state.configuration.change(
        TOPIC_METRICS, lambda topics: [entry for entry in topics if entry.topic != topic], **call.origin
    )


def _counters(call: Call[None, Any], topic: str) -> TopicCounters:
    counters = call.state.broker.topic_metrics.get(topic)
    if counters is None:
        raise ApiError(404, "TOPIC_NOT_FOUND", "Topic not found")
    return counters


def _rows(call: Call[None, Any]) -> list[TopicMetricsRow]:
    metrics = call.state.broker.topic_metrics
    return [_row(counters, metrics.second) for counters in metrics.topics]


def _row(counters: TopicCounters, second: int) -> TopicMetricsRow:
    numbers: dict[str, float] = {}
    for name, meters in (
        ("messages.in", counters.incoming),
        ("messages.out", counters.outgoing),
        *((f"messages.qos{qos}.in", [meter]) for qos, meter in enumerate(counters.incoming)),
        *((f"messages.qos{qos}.out", [meter]) for qos, meter in enumerate(counters.outgoing)),
        ("messages.dropped", [counters.dropped]),
    ):
        numbers |= _count_and_rate(name, meters, second)
    row: TopicMetricsRow = {
        "topic": counters.topic,
        "create_time": format_time(counters.created_at),
        "metrics": numbers,  # pyright: ignore[reportAssignmentType]
    }
    if counters.reset_at is not None:
        row["reset_time"] = format_time(counters.reset_at)
    return row


def _count_and_rate(name: str, meters: list[Meter], second: int) -> dict[str, float]:
    return {
        f"{name}.count": sum(meter.count for meter in meters),
        f"{name}.rate": round(sum(meter.rate(second) for meter in meters), 4),
    }
