"""Messages that wait for a client, and those that it has not acknowledged, in pages that go on where one ended."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from re import compile as compile_pattern

from ....broker.listed import Listed, Part
from ....broker.session import Session
from ...encoding import SLICE, Page, encode_rows
from ...errors import ApiError, bad_request
from ...message_ids import id_of
from ...quantities import size
from ...routes import Call
from ...state import ApiState
from ...timestamps import to_milliseconds
from ..senders import username_of
from .clients import find_session
from .models_queues import INFLIGHT_POSITION, MQUEUE_POSITION, PAYLOAD_MODES, MessageQuery, MessageRow

NONE = "none"
PRIORITY = 0
"""There is one priority here."""
_MOST_PAYLOAD = 64 << 20
"""Bytes of payload on a page, whatever was asked for."""
_PIECE = 262_144
"""Bytes of payload that are encoded at once."""
_POSITIONS = {kind: compile_pattern(pattern) for kind, pattern in ((True, MQUEUE_POSITION), (False, INFLIGHT_POSITION))}


async def list_queued(call: Call[MessageQuery, None]) -> Page:
    """List the messages that wait for a client."""
    session, query = find_session(call.state, call.path["clientid"]), call.query
    checked = _Checked(query, queued=True)
    part = await call.state.broker.queued(session, checked.after, query.limit)
    return await _page(call.state, session, query, checked, part)


async def list_in_flight(call: Call[MessageQuery, None]) -> Page:
    """List the messages that a client has been sent and has not acknowledged."""
    session, query = find_session(call.state, call.path["clientid"]), call.query
    checked = _Checked(query, queued=False)
    part = await call.state.broker.in_flight(session, checked.after, query.limit)
    return await _page(call.state, session, query, checked, part)


class _Checked:
    """Hold what a query means; raises `ApiError`."""

    def __init__(self, query: MessageQuery, *, queued: bool) -> None:
        self.queued = queued
        if query.payload not in PAYLOAD_MODES:
            raise bad_request("query: payload: must be none, base64 or plain", "INVALID_PARAMETER")
        try:
            most = size(query.max_payload_bytes)
        except ValueError as error:
            raise bad_request(f"query: max_payload_bytes: {error}", "INVALID_PARAMETER") from None
        if not most:
            raise bad_request("query: max_payload_bytes: must be more than 0", "INVALID_PARAMETER")
        self.most = min(most, _MOST_PAYLOAD)
        self.after = None if query.position == NONE else self._place(query.position)

    def _place(self, position: str) -> int:
        found = _POSITIONS[self.queued].fullmatch(position)
        if found is None:
            raise bad_request("query: position: must be one that an answer named", "INVALID_PARAMETER")
        return int(found[1])

    def position(self, place: int) -> str:
        """Write a place as the position of a page."""
        return f"{place}_{PRIORITY}" if self.queued else str(place)


async def _page(state: ApiState, session: Session, query: MessageQuery, checked: _Checked, part: Part) -> Page:
    slices: list[bytes] = []
    rows: list[MessageRow] = []
    in_rows = 0
    async for row, length in _rows(state, query, checked, part):
        rows.append(row)
        in_rows += length
        if len(rows) == SLICE or in_rows > _PIECE:
            slices.append(encode_rows(rows))
            rows.clear()
            in_rows = 0
            await _others(state, session)
    if rows:
        slices.append(encode_rows(rows))
    last = checked.position(part.entries[-1].place) if part.entries else query.position
    start = NONE if part.first is None else checked.position(part.first)
    return Page(slices, {"start": start, "position": last})


async def _others(state: ApiState, session: Session) -> None:
    """Give others their turn; raises `ApiError` where the session has ended meanwhile."""
    await asyncio.sleep(0)
    if state.broker.registry.get(session.client_id) is not session:
        raise ApiError(404, "CLIENT_SHUTDOWN", "Client connection has been shutdown")


async def _rows(
    state: ApiState, query: MessageQuery, checked: _Checked, part: Part
) -> AsyncIterator[tuple[MessageRow, int]]:
    """Make rows with the lengths of their payloads, up to the budget; the first comes however long it is."""
    written = _WRITERS[query.payload]
    spent: int | None = None
    async for message in state.broker.read(part):
        row = _row(state, message)
        length = 0
        if written is not None:
            text = written(message.payload)
            length = len(text) if text.isascii() else len(text.encode())
            if spent is not None and spent + length > checked.most:
                return
            spent = (spent or 0) + length
            row["payload"] = text
        if checked.queued:
            row["mqueue_priority"] = PRIORITY
        yield row, length


def _row(state: ApiState, message: Listed) -> MessageRow:
    return {
        "msgid": id_of(message),
        "topic": message.topic,
        "qos": message.qos,
        "publish_at": to_milliseconds(message.published_at),
        "from_clientid": message.sender,
        "from_username": username_of(state.broker.registry, message),
        "inserted_at": str(round(message.published_at * 1_000_000) * 1_000),
    }


def _base64(payload: bytes) -> str:
    return b64encode(payload).decode()


def _plain(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise bad_request(
            "query: payload: a message is no UTF-8 and cannot be shown as plain", "INVALID_PARAMETER"
        ) from None


_WRITERS: dict[str, Callable[[bytes], str] | None] = {NONE: None, "base64": _base64, "plain": _plain}
