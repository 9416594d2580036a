"""The part of the route table about retained messages."""

from typing import Any

from ...routes import Route
from . import retainer

_TAG = "Retainer"
_MESSAGE = "/mqtt/retainer/message/{topic}"
_UNKNOWN = {404: ("NOT_FOUND",)}

RETAINER: tuple[Route[Any, Any], ...] = (
    Route(
        "GET", "/mqtt/retainer", retainer.get_settings, "Tell what is retained", _TAG, answer=retainer.RetainerSettings
    ),
    Route(
        "PUT",
        "/mqtt/retainer",
        retainer.set_settings,
        "Say what is retained",
        _TAG,
        body=retainer.RetainerSettings,
        answer=retainer.RetainerSettings,
        errors={400: ("UPDATE_FAILED",)},
    ),
    Route(
        "GET",
        "/mqtt/retainer/messages",
        retainer.list_messages,
        "List retained messages",
        _TAG,
        query=retainer.RetainedQuery,
        answer=retainer.SummaryPage,
    ),
    Route(
        "DELETE", "/mqtt/retainer/messages", retainer.delete_messages, "Forget all retained messages", _TAG, status=204
    ),
    Route(
        "GET",
        _MESSAGE,
        retainer.get_message,
        "Show a retained message, with its payload",
        _TAG,
        answer=retainer.Detail,
        errors=_UNKNOWN,
    ),
    Route("DELETE", _MESSAGE, retainer.delete_message, "Forget a retained message", _TAG, status=204, errors=_UNKNOWN),
)
