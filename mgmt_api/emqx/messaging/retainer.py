"""Retained messages: what is retained and for how long, and the messages that there are."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from heapq import merge
from re import compile as compile_pattern
from time import time
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from ....broker.message import Message
from ....broker.retention import RetentionPolicy
from ....broker.routing.topics import InvalidTopic, check_filter
from ...configuration import Governed, Root
from ...encoding import SLICE, Page, encode_rows
from ...errors import ApiError, bad_request
from ...limits import Body
from ...message_ids import id_of
from ...paging import Meta, PageQuery
from ...quantities import ByteSize, Duration, seconds, size
from ...routes import Call
from ...state import ApiState
from ...timestamps import format_time
from ..senders import username_of

_OWN = "$SYS/"
"""What the broker says about itself is not among the messages that are managed."""
_MOST_SHOWN = 1_048_576
"""Bytes of a payload that is shown."""
_RUN = 1_000
"""Messages that are put in order before others have their turn."""
_UNLIMITED = "infinity"
_RATE = compile_pattern(r"(\d{1,9})(?:/(\d{0,6}(?:ms|s|m|h|d)))?")
_SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


def rate(text: str) -> float:
    """Read a rate such as `1000/s` as a number in a second; 0 for `infinity`. Raises ValueError with a sentence."""
    if text == _UNLIMITED:
        return 0.0
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError("must be a rate such as 1000/s or 10/1m, or infinity")
    period = found[2] or "s"
    length = seconds(period if period[0].isdigit() else f"1{period}")
    if not int(found[1]) or not length:
        raise ValueError("must be more than nothing")
    return int(found[1]) / length


def _check_rate(text: str) -> str:
    rate(text)
    return text


Rate = Annotated[
    str,
    Field(max_length=64),
    AfterValidator(_check_rate),
    WithJsonSchema({"type": "string", "example": "1000/s"}),
]
Position = Annotated[int, Field(ge=1, le=1_000)]
IndexSpec = Annotated[list[Position], Field(max_length=128)]


class Backend(Body):
    """Where retained messages are kept."""

    type: Literal["built_in_database"] = "built_in_database"
    storage_type: Literal["ram", "disc"] = Field(
        default="disc", description="ram: in memory alone; disc: they outlive the broker, where it keeps anything"
    )
    max_retained_messages: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        default=100_000, description="0 for no bound but memory"
    )
    index_specs: Annotated[list[IndexSpec], Field(max_length=128)] = Field(
        default=[[1, 2, 3], [1, 3], [2, 3], [3]], description="Kept and shown; topics are found without"
    )
    enable: bool = True


class RetainerSettings(Body):
    """What is retained, and for how long."""

    enable: bool = True
    msg_expiry_interval: Duration = Field(default="0s", description="0s for ever; a message may say otherwise itself")
    msg_clear_interval: Duration = Field(
        default="0s", description="Kept and shown; what has expired is taken away within seconds at any rate"
    )
    max_payload_size: ByteSize = Field(default="1MB", description="0 for no bound")
    stop_publish_clear_msg: bool = Field(
        default=False, description="Whether the empty message that clears a topic is kept from its subscribers"
    )
    delivery_rate: Rate = Field(default=_UNLIMITED, description="Of what new subscribers are sent, all together")
    backend: Backend = Backend()


class Summary(TypedDict):
    """A retained message without its payload."""

    msgid: str
    topic: str
    qos: int
    publish_at: str
    from_clientid: str
    from_username: str | None


class Detail(Summary):
    """A retained message; the payload is base64, and left out where it is longer than 1 MB."""

    payload: NotRequired[str]


class SummaryPage(TypedDict):
    """One page of retained messages."""

    data: list[Summary]
    meta: Meta


class RetainedQuery(PageQuery):
    """Ask for retained messages."""

    topic: str | None = Field(default=None, max_length=65_535, description="A topic filter")


# -- settings


def _running(governed: Governed) -> RetainerSettings:
    """Give what holds while nothing was changed: what the broker was started with."""
    broker = governed.broker
    settings = broker.retention.settings
    return RetainerSettings(
        max_payload_size=_size_text(settings.max_retained_payload),
        backend=Backend(
            storage_type="disc" if broker.journaled else "ram", max_retained_messages=settings.max_retained
        ),
    )


def _size_text(number: int) -> str:
    for unit, name in _SIZES:
        if number and number % unit == 0:
            return f"{number // unit}{name}"
    return f"{number}B"


async def _apply(governed: Governed, wanted: RetainerSettings) -> None:
    await governed.broker.change_retention(
        RetentionPolicy(
            enabled=wanted.enable and wanted.backend.enable,
            expiry_interval=seconds(wanted.msg_expiry_interval),
            max_payload=size(wanted.max_payload_size),
            max_messages=wanted.backend.max_retained_messages,
            forward_clearing=not wanted.stop_publish_clear_msg,
            journaled=wanted.backend.storage_type == "disc",
            delivery_rate=rate(wanted.delivery_rate),
        )
    )


RETAINER: Root[RetainerSettings] = Root("retainer", RetainerSettings, _running, _apply)
"""What is retained, and for how long."""


async def get_settings(call: Call[None, None]) -> object:
    """Tell what is retained."""
    return call.state.configuration.as_json(RETAINER)


async def set_settings(call: Call[None, RetainerSettings]) -> object:
    """Say what is retained from now on."""
    await call.state.configuration.put(RETAINER, call.body, **call.origin)
    await call.state.broker.written()
    return call.state.configuration.as_json(RETAINER)


# -- messages


async def list_messages(call: Call[RetainedQuery, None]) -> Page:
    """List the retained messages, those of a filter if one is given, in the order in which they were published."""
    state, query = call.state, call.query
    topic_filter = query.topic or None
    if topic_filter is not None:
        _check(topic_filter)
    runs = await _runs(state, topic_filter)
    start, end = (query.page - 1) * query.limit, query.page * query.limit
    count = sum(map(len, runs))
    slices: list[bytes] = []
    rows: list[Summary] = []
    for number, (_, topic) in enumerate(merge(*runs) if start < count else ()):
        if number == end:
            break
        if number and number % SLICE == 0:
            if rows:
                slices.append(encode_rows(rows))
                rows.clear()
            await asyncio.sleep(0)
        message = _get(state, topic) if number >= start else None
        if message is not None:
            rows.append(_summary(state, message))
    if rows:
        slices.append(encode_rows(rows))
    meta: dict[str, int | bool] = {"page": query.page, "limit": query.limit, "hasnext": count > end}
    if topic_filter is None:
        meta["count"] = count
    return Page(slices, meta)


async def get_message(call: Call[None, None]) -> Detail:
    """Show the retained message of a topic, or the first one that a filter matches."""
    async for message in _found(call):
        detail: Detail = {**_summary(call.state, message)}
        if len(message.payload) <= _MOST_SHOWN:
            detail["payload"] = b64encode(message.payload).decode()
        return detail
    raise _not_found()


async def delete_message(call: Call[None, None]) -> None:
    """Forget the retained message of a topic, or all that a filter matches."""
    retention, deleted = call.state.broker.retention, 0
    async for message in _found(call):
        deleted += retention.discard(message.topic)
    if not deleted:
        raise _not_found()
    await call.state.broker.written()


async def delete_messages(call: Call[None, None]) -> None:
    """Forget all retained messages."""
    retention = call.state.broker.retention
    for number, topic in enumerate(retention.messages.topics(), 1):
        if not topic.startswith(_OWN):
            retention.discard(topic)
        if number % SLICE == 0:
            await asyncio.sleep(0)
    await call.state.broker.written()


async def _found(call: Call[None, None]) -> AsyncIterator[Message]:
    """Iterate over the messages of the topic or filter in the path."""
    topic_filter = call.path["topic"]
    _check(topic_filter)
    now = time()
    for number, match in enumerate(call.state.broker.retention.messages.match(topic_filter), 1):
        if match is None or number % SLICE == 0:
            await asyncio.sleep(0)
        if match is not None and _is_shown(match[1], now):
            yield match[1]


async def _runs(state: ApiState, topic_filter: str | None) -> list[list[tuple[float, str]]]:
    """Find when messages were published and their topics, in runs that are in order; most of the work is done later."""
    messages, now = state.broker.retention.messages, time()
    every = map(messages.get, messages.topics())
    found: Iterable[Message | None] = every if topic_filter is None else _messages(messages.match(topic_filter))
    runs: list[list[tuple[float, str]]] = [[]]
    for number, message in enumerate(found, 1):
        if message is None or number % _RUN == 0:
            await asyncio.sleep(0)
        if message is None or not _is_shown(message, now):
            continue
        if len(runs[-1]) == _RUN:
            runs[-1].sort()
            runs.append([])
        runs[-1].append((message.published_at, message.topic))
    runs[-1].sort()
    return runs


def _messages(matches: Iterator[tuple[str, Message] | None]) -> Iterator[Message | None]:
    return (None if match is None else match[1] for match in matches)


def _get(state: ApiState, topic: str) -> Message | None:
    return state.broker.retention.messages.get(topic)


def _is_shown(message: Message, now: float) -> bool:
    return not message.topic.startswith(_OWN) and not message.expired(now)


def _check(topic_filter: str) -> None:
    try:
        check_filter(topic_filter)
    except InvalidTopic as error:
        raise bad_request(str(error)) from None


def _not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "Viewed message doesn't exist")


def _summary(state: ApiState, message: Message) -> Summary:
    return {
        "msgid": id_of(message),
        "topic": message.topic,
        "qos": message.qos,
        "publish_at": format_time(message.published_at),
        "from_clientid": message.sender,
        "from_username": username_of(state.broker.registry, message),
    }
