"""The part of the route table about single topics: rewritten, subscribed to by the server, measured."""

from typing import Any

from ...routes import Route
from . import auto_subscribe, topic_metrics, topic_rewrite

_UNKNOWN = {404: ("TOPIC_NOT_FOUND",)}
_TOPIC_METRICS = "/mqtt/topic_metrics"

TOPICS: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/mqtt/topic_rewrite",
        topic_rewrite.get_rules,
        "List the rules of topic rewrite",
        "MQTT",
        answer=list[topic_rewrite.Rule],
    ),
    Route(
        "PUT",
        "/mqtt/topic_rewrite",
        topic_rewrite.set_rules,
        "Set the rules of topic rewrite",
        "MQTT",
        body=list[topic_rewrite.Rule],
        max_entries=1_000,
        answer=list[topic_rewrite.Rule],
        errors={413: ("EXCEED_LIMIT",)},
    ),
    Route(
        "GET",
        "/mqtt/auto_subscribe",
        auto_subscribe.get_subscriptions,
        "List the subscriptions that every client gets",
        "Auto Subscribe",
        answer=list[auto_subscribe.Subscription],
    ),
    Route(
        "PUT",
        "/mqtt/auto_subscribe",
        auto_subscribe.set_subscriptions,
        "Set the subscriptions that every client gets",
        "Auto Subscribe",
        body=list[auto_subscribe.Subscription],
        max_entries=1_000,
        answer=list[auto_subscribe.Subscription],
        errors={409: ("EXCEED_LIMIT",)},
    ),
    Route(
        "GET",
        _TOPIC_METRICS,
        topic_metrics.list_metrics,
        "Show what was counted on topics",
        "MQTT",
        answer=list[topic_metrics.TopicMetricsRow],
    ),
    Route(
        "POST",
        _TOPIC_METRICS,
        topic_metrics.add_topic,
        "Measure a topic",
        "MQTT",
        body=topic_metrics.MeasuredTopic,
        answer=topic_metrics.TopicMetricsRow,
        errors={400: ("BAD_TOPIC",), 409: ("EXCEED_LIMIT",)},
    ),
    Route(
        "PUT",
        _TOPIC_METRICS,
        topic_metrics.act_on_metrics,
        "Begin to count anew",
        "MQTT",
        body=topic_metrics.MetricsAction,
        answer=topic_metrics.TopicMetricsRow | list[topic_metrics.TopicMetricsRow],
        errors=_UNKNOWN,
    ),
    Route(
        "GET",
        f"{_TOPIC_METRICS}/{{topic}}",
        topic_metrics.get_topic,
        "Show what was counted on a topic",
        "MQTT",
        answer=topic_metrics.TopicMetricsRow,
        errors=_UNKNOWN,
    ),
    Route(
        "DELETE",
        f"{_TOPIC_METRICS}/{{topic}}",
        topic_metrics.remove_topic,
        "Measure a topic no longer",
        "MQTT",
        status=204,
        errors=_UNKNOWN,
    ),
)
