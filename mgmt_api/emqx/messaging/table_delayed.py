"""The part of the route table about delayed publish."""

from typing import Any

from ...paging import PageQuery
from ...routes import Route
from . import delayed

_TAG = "MQTT"
_MESSAGE = "/mqtt/delayed/messages/{node}/{msgid}"
_UNKNOWN = {400: ("INVALID_NODE", "MESSAGE_ID_SCHEMA_ERROR"), 404: ("MESSAGE_ID_NOT_FOUND",)}

DELAYED: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/mqtt/delayed",
        delayed.get_settings,
        "Tell whether messages can be delayed",
        _TAG,
        answer=delayed.DelayedSettings,
    ),
    Route(
        "PUT",
        "/mqtt/delayed",
        delayed.set_settings,
        "Say whether messages can be delayed",
        _TAG,
        body=delayed.DelayedSettings,
        answer=delayed.DelayedSettings,
    ),
    Route(
        "GET",
        "/mqtt/delayed/messages",
        delayed.list_messages,
        "List the messages that wait to be published",
        _TAG,
        query=PageQuery,
        answer=delayed.WaitingPage,
    ),
    Route(
        "GET",
        _MESSAGE,
        delayed.get_message,
        "Show a message that waits, with its payload",
        _TAG,
        answer=delayed.Waiting,
        errors=_UNKNOWN,
    ),
    Route(
        "DELETE", _MESSAGE, delayed.delete_message, "Discard a message that waits", _TAG, status=204, errors=_UNKNOWN
    ),
    Route(
        "DELETE",
        "/mqtt/delayed/messages/{topic}",
        delayed.delete_messages_of_topic,
        "Discard the messages that wait for a topic",
        _TAG,
        status=204,
        errors={400: ("INVALID_TOPIC_NAME",), 404: ("MESSAGE_NOT_FOUND",)},
    ),
)
