"""The part of the route table about slow subscriptions."""

from typing import Any

from ...paging import PageQuery
from ...routes import Route
from . import slow_subscriptions

_TAG = "Slow Subscriptions"
_SETTINGS = "/slow_subscriptions/settings"

SLOW_SUBSCRIPTIONS: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/slow_subscriptions",
        slow_subscriptions.list_slow,
        "List the slowest subscriptions",
        _TAG,
        query=PageQuery,
        answer=slow_subscriptions.SlowSubscriptionList,
    ),
    Route(
        "DELETE",
        "/slow_subscriptions",
        slow_subscriptions.clear_slow,
        "Forget which subscriptions were slow",
        _TAG,
        status=204,
    ),
    Route(
        "GET",
        _SETTINGS,
        slow_subscriptions.get_settings,
        "Tell what counts as slow",
        _TAG,
        answer=slow_subscriptions.SlowSubscriptionSettings,
    ),
    Route(
        "PUT",
        _SETTINGS,
        slow_subscriptions.set_settings,
        "Say what counts as slow",
        _TAG,
        body=slow_subscriptions.SlowSubscriptionSettings,
        answer=slow_subscriptions.SlowSubscriptionSettings,
    ),
)
