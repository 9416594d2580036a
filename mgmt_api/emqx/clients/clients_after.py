"""Clients in parts that go on where one ended, without counting those before."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from typing import Any

from ....broker.session import Session
from ...encoding import Page, Turn, encode_rows
from ...errors import bad_request
from ...routes import Call
from ..node.nodes import require_listed_node
from .client_filter import candidates, chosen_fields, wanted
from .clients import row_of
from .models import ClientCursorQuery

_NONE = "none"


async def list_clients_after(call: Call[ClientCursorQuery, None]) -> Page:
    """List the clients that a query asks for, behind its cursor."""
    state, query = call.state, call.query
    require_listed_node(state, query.node)
    fields, keep = chosen_fields(query), wanted(query)
    sessions = list(candidates(state, query))
    turn = Turn()
    slices: list[bytes] = []
    rows: list[Mapping[str, Any]] = []
    count = 0
    last: Session | None = None
    more = False
    for session in sessions[_start(sessions, query.cursor) :]:
        if turn.over():
            if rows:
                slices.append(encode_rows(rows))
                rows.clear()
            await turn.end()
        if keep is not None and not keep(session):
            continue
        if count == query.limit:
            more = True
            break
        row = row_of(state, session)
        rows.append(row if fields is None else {key: value for key, value in row.items() if key in fields})
        count, last = count + 1, session
    if rows:
        slices.append(encode_rows(rows))
    meta: dict[str, object] = {"count": count}
    if more and last is not None:
        meta["cursor"] = _cursor(last)
    return Page(slices, meta)


def _cursor(session: Session) -> str:
    """Name a session by its id, and by its age in case that it is gone when somebody goes on."""
    return urlsafe_b64encode(f"{session.created_at!r} {session.client_id}".encode()).decode()


def _start(sessions: Sequence[Session], cursor: str) -> int:
    """Find where to go on; raises `ApiError` for what is no cursor."""
    if cursor == _NONE:
        return 0
    try:
        age, space, client_id = urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        created_at = float(age)
    except (NotBase64, ValueError):
        raise bad_request("query: cursor: must be one that an answer named") from None
    if not space:
        raise bad_request("query: cursor: must be one that an answer named")
    younger = len(sessions)
    for index, session in enumerate(sessions):
        if session.client_id == client_id:
            return index + 1
        if session.created_at > created_at and younger == len(sessions):
            younger = index
    return younger
