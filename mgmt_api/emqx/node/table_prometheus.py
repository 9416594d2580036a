"""The part of the route table about Prometheus."""

from collections.abc import Awaitable, Callable
from typing import Any

from ...routes import Answer, Call, Route
from . import prometheus
from .prometheus_settings import PrometheusSettings


def _scrape(
    name: str, handler: Callable[[Call[prometheus.ScrapeQuery, None]], Awaitable[Answer]], summary: str
) -> Route[Any, Any]:
    return Route(
        "GET",
        f"/prometheus/{name}",
        handler,
        summary,
        "Monitor",
        query=prometheus.ScrapeQuery,
        answer=str,
        other_types={"application/json": dict[str, Any]},
        # where it takes a credential
        errors={401: ("AUTHORIZATION_HEADER_ERROR", "BAD_API_KEY_OR_SECRET"), 403: ("UNAUTHORIZED_ROLE",)},
        public=prometheus.scrape_is_public,
    )


PROMETHEUS: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/prometheus",
        prometheus.get_settings,
        "Show the settings for Prometheus",
        "Monitor",
        answer=PrometheusSettings,
    ),
    Route(
        "PUT",
        "/prometheus",
        prometheus.put_settings,
        "Change the settings for Prometheus",
        "Monitor",
        body=PrometheusSettings,
        answer=PrometheusSettings,
    ),
    _scrape("stats", prometheus.scrape_stats, "Give counters and gauges to Prometheus"),
    _scrape("auth", prometheus.scrape_auth, "Give the numbers of authentication and authorization to Prometheus"),
    _scrape("data_integration", prometheus.scrape_data_integration, "Give the numbers of rules to Prometheus"),
)
