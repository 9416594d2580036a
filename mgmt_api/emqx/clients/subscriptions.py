"""Subscriptions of all clients, and the topic filters that they add up to."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from ....broker.deliveries import Subscription
from ....broker.routing.topics import InvalidTopic, check_filter, matches, split_share
from ....broker.session import Session
from ...encoding import Page
from ...errors import ApiError, bad_request
from ...paging import paginate
from ...routes import Call
from ..node.nodes import require_listed_node
from .client_row import subscription_row
from .models import SubscriptionQuery, SubscriptionRow, TopicQuery, TopicRow

Entry: TypeAlias = tuple[str, str, Subscription]
"""Client id, topic filter, options."""


async def list_subscriptions(call: Call[SubscriptionQuery, None]) -> Page:
    """List the subscriptions that a query asks for."""
    state, query = call.state, call.query
    require_listed_node(state, query.node)
    keep = _wanted(query)
    registry = state.broker.registry
    sessions: Iterable[Session]
    if query.clientid is None:
        sessions = list(registry)
    else:
        session = registry.get(query.clientid)
        sessions = [] if session is None else [session]

    def render(entry: Entry) -> SubscriptionRow:
        return subscription_row(*entry, state.node)

    return await paginate(_entries(sessions), query, render, keep=keep, counted=query.match_topic is None)


async def list_topics(call: Call[TopicQuery, None]) -> Page:
    """List the distinct topic filters that somebody subscribes to."""
    state, query = call.state, call.query
    require_listed_node(state, query.node)
    router = state.broker.router
    filters: Iterable[str]
    if query.topic is None:
        filters = router.filters()  # of those that there are now, whatever is subscribed to during a pause
    else:
        _check_topic_filter(query.topic, "INVALID_PARAMTER", "topic_filter_invalid")  # EMQX's spelling on the wire
        filters = [query.topic] if router.has_filter(query.topic) else []

    def render(topic_filter: str) -> TopicRow:
        return {"topic": topic_filter, "node": state.node}

    return await paginate(filters, query, render)


async def get_topic(call: Call[None, None]) -> list[TopicRow]:
    """Say on which nodes somebody subscribes to a topic filter."""
    topic_filter = call.path["topic"]
    if not call.state.broker.router.has_filter(topic_filter):
        raise ApiError(404, "TOPIC_NOT_FOUND", "Topic not found")
    return [{"topic": topic_filter, "node": call.state.node}]


def _entries(sessions: Iterable[Session]) -> Iterator[Entry]:
    """Walk over all subscriptions; each session's are copied, so that a pause does no harm."""
    for session in sessions:
        for topic_filter, subscription in list(session.subscriptions.items()):
            yield session.client_id, topic_filter, subscription


def _wanted(query: SubscriptionQuery) -> Callable[[Entry], bool] | None:
    tests: list[Callable[[Entry], bool]] = []
    qos, topic, group, pattern = query.qos, query.topic, query.share_group, query.match_topic
    if qos is not None:
        tests.append(lambda entry: entry[2].qos == qos)
    if topic is not None:
        tests.append(lambda entry: split_share(entry[1])[1] == topic)
    if group is not None:
        tests.append(lambda entry: split_share(entry[1])[0] == group)
    if pattern is not None:
        if pattern.startswith(("$share/", "$queue/")):
            raise bad_request("match_topic_invalid", "INVALID_PARAMETER")
        _check_topic_filter(pattern, "INVALID_PARAMETER", "match_topic_invalid")
        tests.append(lambda entry: matches(pattern, split_share(entry[1])[1]))
    if query.durable:  # no session here is one of EMQX's durable sessions
        tests.append(lambda entry: False)
    if not tests:
        return None
    return lambda entry: all(test(entry) for test in tests)


def _check_topic_filter(text: str, code: str, message: str) -> None:
    try:
        check_filter(split_share(text)[1])
    except InvalidTopic:
        raise bad_request(message, code) from None
