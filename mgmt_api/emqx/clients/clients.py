"""Clients: every session there is, connected or waiting for its client to come back."""

import asyncio
from collections.abc import Mapping
from typing import Any

from ....broker.session import Session
from ...encoding import SLICE, Page
from ...errors import ApiError
from ...paging import paginate
from ...routes import Call
from ...state import ApiState
from ..node.nodes import require_listed_node
from .client_filter import candidates, chosen_fields, is_counted, wanted
from .client_row import client_row, subscription_row
from .models import Client, ClientQuery, SubscriptionRow


async def list_clients(call: Call[ClientQuery, None]) -> Page:
    """List the clients that a query asks for."""
    state, query = call.state, call.query
    require_listed_node(state, query.node)
    fields = chosen_fields(query)
    keep = wanted(query)

    def render(session: Session) -> Mapping[str, Any]:
        row = _row(state, session)
        return row if fields is None else {key: value for key, value in row.items() if key in fields}

    return await paginate(candidates(state, query), query, render, keep=keep, counted=is_counted(query))


async def get_client(call: Call[None, None]) -> Client:
    """Describe one client."""
    return _row(call.state, find_session(call.state, call.path["clientid"]))


async def kick_client(call: Call[None, None]) -> None:
    """Close a client's connection and remove its session."""
    if not await call.state.broker.kick(call.path["clientid"]):
        raise _unknown_client()


async def kick_clients(call: Call[None, list[str]]) -> None:
    """Kick several clients; ids that nobody has are passed over."""
    for index, client_id in enumerate(call.body, 1):
        await call.state.broker.kick(client_id)
        if index % SLICE == 0:
            await asyncio.sleep(0)


async def list_client_subscriptions(call: Call[None, None]) -> list[SubscriptionRow]:
    """List the subscriptions of one client."""
    session = find_session(call.state, call.path["clientid"])
    node = call.state.node
    return [subscription_row(session.client_id, *item, node) for item in session.subscriptions.items()]


def find_session(state: ApiState, client_id: str) -> Session:
    """Return the session of a client id. Raises `ApiError` 404."""
    session = state.broker.registry.get(client_id)
    if session is None:
        raise _unknown_client()
    return session


def _row(state: ApiState, session: Session) -> Client:
    return client_row(session, state.node, state.broker.settings.max_subscriptions)


def _unknown_client() -> ApiError:
    return ApiError(404, "CLIENTID_NOT_FOUND", "Client ID not found")
