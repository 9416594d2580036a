"""Change what a client is subscribed to, and how long it may be silent; the ACL is not asked."""

import asyncio
from collections.abc import Sequence

from ....broker.protocol.packets import SubscribeRequest
from ....broker.router import weigh_filter
from ....broker.routing.topics import InvalidTopic, check_filter, has_wildcard, is_shared, split_share
from ....broker.session import Session
from ...errors import ApiError, bad_request
from ...routes import Call
from ...state import ApiState
from .clients import find_session, row_of, unknown_client
from .models import Client
from .models_changes import KeepAlive, Subscribe, Subscribed, Unsubscribe

_AT_ONCE = 20
"""Subscriptions that are entered before others have their turn: each may send up to 500 retained messages."""
_MAX_KEEP_ALIVE = 65_535


async def subscribe(call: Call[None, Subscribe]) -> Subscribed:
    """Subscribe a client to one filter."""
    [made] = await _subscribe(call.state, call.path["clientid"], [call.body])
    return made


async def subscribe_bulk(call: Call[None, list[Subscribe]]) -> list[Subscribed]:
    """Subscribe a client to several filters or, where one cannot be, to none."""
    return await _subscribe(call.state, call.path["clientid"], call.body)


async def unsubscribe(call: Call[None, Unsubscribe]) -> None:
    """Take one subscription of a client out, if it is there."""
    await _unsubscribe(call.state, call.path["clientid"], [call.body])


async def unsubscribe_bulk(call: Call[None, list[Unsubscribe]]) -> None:
    """Take several subscriptions of a client out, those that are there."""
    await _unsubscribe(call.state, call.path["clientid"], call.body)


async def set_keep_alive(call: Call[None, KeepAlive]) -> Client:
    """Change the keep-alive of a client."""
    session = find_session(call.state, call.path["clientid"])
    if not 0 <= call.body.interval <= _MAX_KEEP_ALIVE:
        raise bad_request("mqtt3.1.1 specification: keepalive must between 0~65535", "PARAM_ERROR")
    call.state.broker.change_keep_alive(session, call.body.interval)
    return row_of(call.state, session)


async def _subscribe(state: ApiState, client_id: str, wanted: Sequence[Subscribe]) -> list[Subscribed]:
    session = find_session(state, client_id)
    _check(state, session, wanted)
    made: list[Subscribed] = []
    for entry in wanted:
        _still_there(state, session)
        request = SubscribeRequest(entry.topic, entry.qos, entry.nl == 1, entry.rap == 1, entry.rh)
        made.append(
            {
                "clientid": client_id,
                "topic": entry.topic,
                "node": state.node,
                "qos": state.broker.subscribe_session(session, request),
                "nl": entry.nl,
                "rap": entry.rap,
                "rh": entry.rh,
            }
        )
        if len(made) % _AT_ONCE == 0:
            await asyncio.sleep(0)
    await _written(state, session)
    return made


def _check(state: ApiState, session: Session, wanted: Sequence[Subscribe]) -> None:
    """Raise `ApiError` for what cannot be subscribed to, before anything is."""
    settings = state.broker.settings
    fresh: set[str] = set()
    for entry in wanted:
        shared = is_shared(entry.topic)
        if shared and entry.nl:  # [MQTT-3.8.3-4]
            raise bad_request("Invalid Shared subscription option: nl", "INVALID_PARAMETER")
        if shared and not settings.shared_subscription:
            raise bad_request("shared subscriptions are switched off", "INVALID_PARAMETER")
        inner = split_share(entry.topic)[1]
        if has_wildcard(inner) and not settings.wildcard_subscription:
            raise bad_request("wildcard subscriptions are switched off", "INVALID_PARAMETER")
        try:
            check_filter(inner, settings.max_topic_levels, settings.max_topic_length)
        except InvalidTopic as error:
            raise bad_request(f"body: topic: {error}", "INVALID_PARAMETER") from None
        if entry.topic not in session.subscriptions:
            fresh.add(entry.topic)
    full = 0 < settings.max_subscriptions < len(session.subscriptions) + len(fresh)
    size = session.subscription_bytes + sum(map(weigh_filter, fresh))
    if fresh and (full or 0 < settings.max_subscription_bytes < size):
        raise bad_request("the client would have more subscriptions than it may", "EXCEED_LIMIT")
    if session.journaled and not state.broker.writable:
        raise _not_written()


async def _unsubscribe(state: ApiState, client_id: str, unwanted: Sequence[Unsubscribe]) -> None:
    session = find_session(state, client_id)
    for start in range(0, len(unwanted), _AT_ONCE):
        if start:
            await asyncio.sleep(0)
            _still_there(state, session)
        part = unwanted[start : start + _AT_ONCE]
        state.broker.unsubscribe_for(client_id, [entry.topic for entry in part])
    await _written(state, session)


def _still_there(state: ApiState, session: Session) -> None:
    if state.broker.registry.get(session.client_id) is not session:
        raise unknown_client()


async def _written(state: ApiState, session: Session) -> None:
    if session.journaled and not await state.broker.written():
        raise _not_written()


def _not_written() -> ApiError:
    return ApiError(503, "SERVICE_UNAVAILABLE", "subscriptions cannot be written to the disk for now")
