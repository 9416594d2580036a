"""The part of the route table about clients, their subscriptions, and messages published over HTTP."""

from typing import Any

from ....store.records import ApiRole
from ...routes import Route
from . import clients, publish, subscriptions
from .models import (
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

CLIENTS: tuple[Route[Any, Any], ...] = (*_CLIENTS, *_SUBSCRIPTIONS, *_PUBLISH)
