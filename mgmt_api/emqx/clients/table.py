"""The part of the route table about clients, their subscriptions, and messages published over HTTP."""

from typing import Any

from ....store.records import ApiRole
from ...routes import Route
from . import authorization_cache, changes, clients, clients_after, publish, queues, subscriptions
from .models import (
    Client,
    ClientCursorQuery,
    ClientPage,
    ClientPart,
    ClientQuery,
    SessionsQuery,
    SubscriptionPage,
    SubscriptionQuery,
    SubscriptionRow,
    TopicPage,
    TopicQuery,
    TopicRow,
)
from .models_changes import KeepAlive, Subscribe, Subscribed, Unsubscribe
from .models_publish import NotPublished, Published, PublishMessage
from .models_queues import MessagePage, MessageQuery

_PUBLISHER: frozenset[ApiRole] = frozenset({"publisher"})
_UNKNOWN_CLIENT = {404: ("CLIENTID_NOT_FOUND",)}
_NODE_DOWN = {500: ("NODE_DOWN",)}

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
    Route(
        "GET",
        "/clients_v2",
        clients_after.list_clients_after,
        "List clients behind a cursor",
        "Clients",
        query=ClientCursorQuery,
        answer=ClientPart,
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

_SUBSCRIBE_ERRORS = {
    400: ("INVALID_PARAMETER", "EXCEED_LIMIT"),
    503: ("SERVICE_UNAVAILABLE",),
    **_UNKNOWN_CLIENT,
}
_UNSUBSCRIBE_ERRORS = {503: ("SERVICE_UNAVAILABLE",), **_UNKNOWN_CLIENT}
_MESSAGE_ERRORS = {400: ("INVALID_PARAMETER",), 404: ("CLIENTID_NOT_FOUND", "CLIENT_SHUTDOWN")}

_CHANGES = (
    Route(
        "POST",
        "/clients/{clientid}/subscribe",
        changes.subscribe,
        "Subscribe a client",
        "Clients",
        body=Subscribe,
        answer=Subscribed,
        errors=_SUBSCRIBE_ERRORS,
    ),
    Route(
        "POST",
        "/clients/{clientid}/subscribe/bulk",
        changes.subscribe_bulk,
        "Subscribe a client to several filters",
        "Clients",
        body=list[Subscribe],
        answer=list[Subscribed],
        errors=_SUBSCRIBE_ERRORS,
    ),
    Route(
        "POST",
        "/clients/{clientid}/unsubscribe",
        changes.unsubscribe,
        "Unsubscribe a client",
        "Clients",
        body=Unsubscribe,
        status=204,
        errors=_UNSUBSCRIBE_ERRORS,
    ),
    Route(
        "POST",
        "/clients/{clientid}/unsubscribe/bulk",
        changes.unsubscribe_bulk,
        "Unsubscribe a client from several filters",
        "Clients",
        body=list[Unsubscribe],
        status=204,
        errors=_UNSUBSCRIBE_ERRORS,
    ),
    Route(
        "PUT",
        "/clients/{clientid}/keepalive",
        changes.set_keep_alive,
        "Change the keep-alive of a client",
        "Clients",
        body=KeepAlive,
        answer=Client,
        errors={400: ("PARAM_ERROR",), **_UNKNOWN_CLIENT},
    ),
)

_CACHES = (
    Route(
        "GET",
        "/clients/{clientid}/authorization/cache",
        authorization_cache.list_cache,
        "List what is remembered of a client's rights",
        "Clients",
        answer=list[authorization_cache.CachedDecision],
        errors=_UNKNOWN_CLIENT,
    ),
    Route(
        "DELETE",
        "/clients/{clientid}/authorization/cache",
        authorization_cache.clear_cache,
        "Forget what is remembered of a client's rights",
        "Clients",
        status=204,
        errors=_UNKNOWN_CLIENT,
    ),
    Route(
        "GET",
        "/sessions_count",
        clients.count_sessions,
        "Count sessions",
        "Clients",
        query=SessionsQuery,
        answer=int,
    ),
)

_QUEUES = (
    Route(
        "GET",
        "/clients/{clientid}/mqueue_messages",
        queues.list_queued,
        "List the messages that wait for a client",
        "Clients",
        query=MessageQuery,
        answer=MessagePage,
        errors=_MESSAGE_ERRORS,
    ),
    Route(
        "GET",
        "/clients/{clientid}/inflight_messages",
        queues.list_in_flight,
        "List the messages that a client has not acknowledged",
        "Clients",
        query=MessageQuery,
        answer=MessagePage,
        errors=_MESSAGE_ERRORS,
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

CLIENTS: tuple[Route[Any, Any], ...] = (*_CLIENTS, *_CHANGES, *_CACHES, *_QUEUES, *_SUBSCRIPTIONS, *_PUBLISH)
