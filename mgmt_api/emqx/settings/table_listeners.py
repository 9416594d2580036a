"""The part of the route table about listeners."""

from typing import Any

from ...routes import Route
from . import listeners
from .models_listeners import Listener, ListenerBody, ListenerQuery, ListenerRow, NewListener, TypeRow

_ONE = {400: ("BAD_REQUEST",), 404: ("BAD_LISTENER_ID",)}

LISTENER_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/listeners",
        listeners.list_listeners,
        "List listeners",
        "Listeners",
        query=ListenerQuery,
        answer=list[ListenerRow],
    ),
    Route(
        "POST",
        "/listeners",
        listeners.create_listener,
        "Make a listener and open it",
        "Listeners",
        body=NewListener,
        answer=Listener,
        errors={400: ("BAD_LISTENER_ID", "BAD_REQUEST"), 500: ("INTERNAL_ERROR",)},
    ),
    Route(
        "GET",
        "/listeners_status",
        listeners.list_types,
        "Sum the listeners up by type",
        "Listeners",
        answer=list[TypeRow],
    ),
    Route(
        "GET", "/listeners/{id}", listeners.get_listener, "Show a listener", "Listeners", answer=Listener, errors=_ONE
    ),
    Route(
        "PUT",
        "/listeners/{id}",
        listeners.update_listener,
        "Change a listener",
        "Listeners",
        body=ListenerBody,
        answer=Listener,
        errors={400: ("BAD_REQUEST", "BAD_LISTENER_ID"), 404: ("BAD_LISTENER_ID",), 500: ("INTERNAL_ERROR",)},
    ),
    Route(
        "DELETE",
        "/listeners/{id}",
        listeners.delete_listener,
        "Close a listener and its connections, and forget it",
        "Listeners",
        status=204,
        errors=_ONE,
    ),
    Route("POST", "/listeners/{id}/start", listeners.start_listener, "Open a listener", "Listeners", errors=_ONE),
    Route(
        "POST",
        "/listeners/{id}/stop",
        listeners.stop_listener,
        "Close a listener and its connections",
        "Listeners",
        errors=_ONE,
    ),
    Route(
        "POST",
        "/listeners/{id}/restart",
        listeners.restart_listener,
        "Close a listener and its connections and open it anew",
        "Listeners",
        errors=_ONE,
    ),
)
