"""Delayed publish: whether there is any, and the messages that wait."""

import asyncio
from base64 import b64encode
from math import ceil
from time import time
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ....broker.delayed_message import DelayedMessage
from ....broker.routing.topics import InvalidTopic, check_name
from ...configuration import Governed, Root
from ...encoding import SLICE, Page, encode_rows
from ...errors import ApiError
from ...limits import Body
from ...message_ids import id_while_delayed, number_of
from ...paging import Meta, PageQuery
from ...routes import Call
from ...state import ApiState
from ...timestamps import format_time
from ..senders import username_of

_MOST_SHOWN = 2_048
_TOO_LARGE = "PAYLOAD_TOO_LARGE"


class DelayedSettings(Body):
    """Whether messages can be delayed."""

    enable: bool = Field(default=True, description="Off: what waits is discarded, and the topics are like any others")
    max_delayed_messages: Annotated[int, Field(ge=0, le=1_000_000_000, description="0 for no bound but memory")] = 0


class Waiting(TypedDict):
    """A message that waits to be published."""

    msgid: str
    node: str
    publish_at: str
    delayed_interval: int
    delayed_remaining: int
    expected_at: str
    topic: str
    qos: int
    from_clientid: str
    from_username: str | None
    payload: NotRequired[str]


class WaitingPage(TypedDict):
    """One page of messages that wait."""

    data: list[Waiting]
    meta: Meta


def _running(governed: Governed) -> DelayedSettings:
    delayed = governed.broker.delayed
    return DelayedSettings(enable=delayed.enabled, max_delayed_messages=delayed.max_messages)


async def _apply(governed: Governed, wanted: DelayedSettings) -> None:
    await governed.broker.delayed.configure(wanted.enable, wanted.max_delayed_messages)


DELAYED: Root[DelayedSettings] = Root("delayed", DelayedSettings, _running, _apply)
"""Whether messages can be delayed, and how many."""


async def get_settings(call: Call[None, None]) -> object:
    """Tell whether messages can be delayed."""
    return call.state.configuration.as_json(DELAYED)


async def set_settings(call: Call[None, DelayedSettings]) -> object:
    """Say whether messages can be delayed."""
    await call.state.configuration.put(DELAYED, call.body, **call.origin)
    await call.state.broker.written()
    return call.state.configuration.as_json(DELAYED)


async def list_messages(call: Call[PageQuery, None]) -> Page:
    """List the messages that wait, the one that is due first at the head."""
    state, query = call.state, call.query
    delayed, now = state.broker.delayed, time()
    start = (query.page - 1) * query.limit
    slices: list[bytes] = []
    rows: list[Waiting] = []
    for taken, waiting in enumerate(delayed.from_place(start)):
        if taken == query.limit:
            break
        if taken and taken % SLICE == 0:
            slices.append(encode_rows(rows))
            rows.clear()
            await asyncio.sleep(0)
        rows.append(_row(state, waiting, now))
    if rows:
        slices.append(encode_rows(rows))
    count = len(delayed)
    more = count > start + query.limit
    return Page(slices, {"page": query.page, "limit": query.limit, "hasnext": more, "count": count})


async def get_message(call: Call[None, None]) -> Waiting:
    """Show a message that waits, with its payload."""
    waiting = _find(call)
    payload = waiting.message.payload
    shown = _TOO_LARGE if len(payload) > _MOST_SHOWN else b64encode(payload).decode()
    return {**_row(call.state, waiting, time()), "payload": shown}


async def delete_message(call: Call[None, None]) -> None:
    """Discard a message that waits."""
    call.state.broker.delayed.discard(_find(call))
    await call.state.broker.written()


async def delete_messages_of_topic(call: Call[None, None]) -> None:
    """Discard all messages that wait for a topic."""
    topic = call.path["topic"]
    try:
        check_name(topic)
    except InvalidTopic:
        raise ApiError(400, "INVALID_TOPIC_NAME", topic) from None
    delayed, found = call.state.broker.delayed, 0
    for seen, waiting in enumerate(delayed.all(), 1):
        if waiting.message.topic == topic:
            found += delayed.discard(waiting)
        if seen % SLICE == 0:
            await asyncio.sleep(0)
    if not found:
        raise ApiError(404, "MESSAGE_NOT_FOUND", f"No delayed message for topic {topic}")
    await call.state.broker.written()


def _find(call: Call[None, None]) -> DelayedMessage:
    """Return the message that the path names, or raise `ApiError`."""
    node, message_id = call.path["node"], call.path["msgid"]
    if node != call.state.node:
        raise ApiError(400, "INVALID_NODE", node)
    try:
        number = number_of(message_id)
    except ValueError:
        raise ApiError(400, "MESSAGE_ID_SCHEMA_ERROR", message_id) from None
    waiting = call.state.broker.delayed.get(number)
    if waiting is None or id_while_delayed(waiting) != message_id.upper():
        raise ApiError(404, "MESSAGE_ID_NOT_FOUND", message_id)
    return waiting


def _row(state: ApiState, waiting: DelayedMessage, now: float) -> Waiting:
    message = waiting.message
    return {
        "msgid": id_while_delayed(waiting),
        "node": state.node,
        "publish_at": format_time(message.published_at),
        "delayed_interval": round(waiting.delay),
        "delayed_remaining": max(0, ceil(waiting.due - now)),
        "expected_at": format_time(waiting.due),
        "topic": message.topic,
        "qos": message.qos,
        "from_clientid": message.sender,
        "from_username": username_of(state.broker.registry, message),
    }
