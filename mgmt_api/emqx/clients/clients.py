"""Clients: every session there is, connected or waiting for its client to come back."""

import asyncio
from collections.abc import Mapping
from typing import Any

from ....broker.session import Session
from ...encoding import Page
from ...errors import ApiError
from ...paging import paginate
from ...routes import Call
from ...state import ApiState
from ..node.nodes import require_listed_node
from .client_filter import candidates, chosen_fields, is_counted, wanted
from .client_row import client_row, subscription_row
from .models import Client, ClientQuery, SessionsQuery, SubscriptionRow

_KICKED = 20
"""Clients that are kicked before others have their turn: each may leave subscriptions, messages and a will."""


async def list_clients(call: Call[ClientQuery, None]) -> Page:
    """List the clients that a query asks for."""
    state, query = call.state, call.query
    require_listed_node(state, query.node)
    fields = chosen_fields(query)
    keep = wanted(query)

    def render(session: Session) -> Mapping[str, Any]:
        row = row_of(state, session)
        return row if fields is None else {key: value for key, value in row.items() if key in fields}

    return await paginate(candidates(state, query), query, render, keep=keep, counted=is_counted(query))


async def get_client(call: Call[None, None]) -> Client:
    """Describe one client."""
    return row_of(call.state, find_session(call.state, call.path["clientid"]))


async def kick_client(call: Call[None, None]) -> None:
    """Close a client's connection and remove its session."""
    if not await call.state.broker.kick(call.path["clientid"]):
        raise unknown_client()


async def kick_clients(call: Call[None, list[str]]) -> None:
    """Kick several clients; ids that nobody has are passed over."""
    for index, client_id in enumerate(call.body, 1):
        call.state.broker.end_client(client_id)
        if index % _KICKED == 0:
            await asyncio.sleep(0)
    await call.state.broker.written()


async def list_client_subscriptions(call: Call[None, None]) -> list[SubscriptionRow]:
    """List the subscriptions of one client."""
    session = find_session(call.state, call.path["clientid"])
    node = call.state.node
    return [subscription_row(session.client_id, *item, node) for item in session.subscriptions.items()]


async def count_sessions(call: Call[SessionsQuery, None]) -> int:
    """Count the sessions there are, and those that have ended since a moment as far as that is remembered."""
    broker = call.state.broker
    return len(broker.registry) + broker.session_history.ended_since(call.query.since)


def find_session(state: ApiState, client_id: str) -> Session:
    """Return the session of a client id. Raises `ApiError` 404."""
    session = state.broker.registry.get(client_id)
    if session is None:
        raise unknown_client()
    return session


def row_of(state: ApiState, session: Session) -> Client:
    """Describe a session as a client."""
    return client_row(session, state.node, state.broker.settings.max_subscriptions)


def unknown_client() -> ApiError:
    """Say that there is no such client."""
    return ApiError(404, "CLIENTID_NOT_FOUND", "Client ID not found")
