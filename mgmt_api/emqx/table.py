"""The route table of the EMQX facade: what there is, who may call it, what it takes and what it answers."""

from typing import Any

from ...store.records import ApiRole
from ..errors import ApiError
from ..routes import Facade, Route
from . import alarms, clients, metrics, nodes, publish, status, subscriptions
from .credentials import FORBIDDEN, authenticate
from .models_clients import (
    Client,
    ClientPage,
    ClientQuery,
    SubscriptionPage,
    SubscriptionQuery,
    SubscriptionRow,
    TopicPage,
    TopicQuery,
    TopicRow,
)
from .models_publish import NotPublished, Published, PublishMessage
from .table_access import AUTHENTICATION, AUTHORIZATION

_PUBLISHER: frozenset[ApiRole] = frozenset({"publisher"})
_UNKNOWN_CLIENT = {404: ("CLIENTID_NOT_FOUND",)}
_NODE_DOWN = {500: ("NODE_DOWN",)}
_NOT_FOUND = {404: ("NOT_FOUND",)}

_STATUS = (
    Route(
        "GET",
        "/status",
        status.get_status,
        "Say whether the broker runs",
        "Status",
        query=status.StatusQuery,
        answer=str,
        other_answers={503: str},
        public=True,
    ),
)

_CLIENTS = (
    Route(
        "GET",
        "/clients",
        clients.list_clients,
        "List clients",
        "Clients",
        query=ClientQuery,
        answer=ClientPage,
        errors={400: ("INVALID_PARAMETER",), **_NODE_DOWN},
    ),
    Route("POST", "/clients/kickout/bulk", clients.kick_clients, "Kick clients", "Clients", body=list[str], status=204),
    Route(
        "GET",
        "/clients/{clientid}",
        clients.get_client,
        "Describe a client",
        "Clients",
        answer=Client,
        errors=_UNKNOWN_CLIENT,
    ),
    Route(
        "DELETE",
        "/clients/{clientid}",
        clients.kick_client,
        "Kick a client",
        "Clients",
        status=204,
        errors=_UNKNOWN_CLIENT,
    ),
    Route(
        "GET",
        "/clients/{clientid}/subscriptions",
        clients.list_client_subscriptions,
        "List the subscriptions of a client",
        "Clients",
        answer=list[SubscriptionRow],
        errors=_UNKNOWN_CLIENT,
    ),
)

_SUBSCRIPTIONS = (
    Route(
        "GET",
        "/subscriptions",
        subscriptions.list_subscriptions,
        "List subscriptions",
        "Subscriptions",
        query=SubscriptionQuery,
        answer=SubscriptionPage,
        errors={400: ("INVALID_PARAMETER",), **_NODE_DOWN},
    ),
    Route(
        "GET",
        "/topics",
        subscriptions.list_topics,
        "List topic filters in use",
        "Topics",
        query=TopicQuery,
        answer=TopicPage,
        errors={400: ("INVALID_PARAMTER",), **_NODE_DOWN},
    ),
    Route(
        "GET",
        "/topics/{topic}",
        subscriptions.get_topic,
        "Look a topic filter up",
        "Topics",
        answer=list[TopicRow],
        errors={404: ("TOPIC_NOT_FOUND",)},
    ),
)

_PUBLISH = (
    Route(
        "POST",
        "/publish",
        publish.publish,
        "Publish a message",
        "Publish",
        body=PublishMessage,
        answer=Published,
        other_answers={202: NotPublished, 400: publish.Refusal, 503: NotPublished},
        roles=_PUBLISHER,
    ),
    Route(
        "POST",
        "/publish/bulk",
        publish.publish_bulk,
        "Publish several messages, all or none",
        "Publish",
        body=list[PublishMessage],
        answer=list[Published],
        other_answers={202: list[Published | NotPublished], 400: publish.Refusal, 503: list[NotPublished]},
        roles=_PUBLISHER,
    ),
)

_NODES = (
    Route("GET", "/nodes", nodes.list_nodes, "List nodes", "Nodes", answer=list[nodes.Node]),
    Route("GET", "/nodes/{node}", nodes.get_node, "Describe a node", "Nodes", answer=nodes.Node, errors=_NOT_FOUND),
    Route(
        "GET",
        "/nodes/{node}/metrics",
        metrics.get_node_metrics,
        "Give a node's counters",
        "Nodes",
        answer=metrics.Metrics,
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        "/nodes/{node}/stats",
        metrics.get_node_stats,
        "Give a node's gauges",
        "Nodes",
        answer=metrics.Stats,
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        "/metrics",
        metrics.get_metrics,
        "Give the counters",
        "Metrics",
        query=metrics.MetricsQuery,
        answer=metrics.Metrics | list[metrics.NodeMetrics],
    ),
    Route(
        "GET",
        "/stats",
        metrics.get_stats,
        "Give the gauges",
        "Metrics",
        query=metrics.StatsQuery,
        answer=metrics.Stats | list[metrics.NodeStats],
    ),
)

_ALARMS = (
    Route(
        "GET",
        "/alarms",
        alarms.list_alarms,
        "List alarms",
        "Alarms",
        query=alarms.AlarmQuery,
        answer=alarms.AlarmPage,
    ),
    Route("DELETE", "/alarms", alarms.clear_alarm_history, "Forget the alarms that are over", "Alarms", status=204),
)


def _error_body(error: ApiError) -> object:
    return {"code": error.code, "message": error.message}


def _facade(prefix: str, routes: tuple[Route[Any, Any], ...]) -> Facade:
    return Facade(
        name="emqx",
        title="wardenmq, EMQX 5 management API",
        prefix=prefix,
        routes=routes,
        authenticate=authenticate,
        forbidden=FORBIDDEN,
        error_body=_error_body,
        security={"basicAuth": {"type": "http", "scheme": "basic"}},
        caller_errors={
            401: ("AUTHORIZATION_HEADER_ERROR", "BAD_API_KEY_OR_SECRET"),
            403: ("UNAUTHORIZED_ROLE",),
        },
    )


EMQX = _facade(
    "/api/v5",
    (*_STATUS, *_CLIENTS, *_SUBSCRIPTIONS, *_PUBLISH, *AUTHENTICATION, *AUTHORIZATION, *_NODES, *_ALARMS),
)
"""What stands under `/api/v5`."""

ROOT = _facade(
    "",
    (
        *_STATUS,
        Route(
            "GET",
            "/health",
            status.get_health,
            "Say whether the broker does all that it is there for",
            "Status",
            answer=status.Health,
            other_answers={503: status.Health},
            public=True,
        ),
        Route(
            "GET",
            "/api-docs/swagger.json",
            status.get_document,
            "Give this document",
            "Status",
            answer=dict[str, Any],
            public=True,
        ),
    ),
)
"""What EMQX has beside its prefix."""
