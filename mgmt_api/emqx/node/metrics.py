"""Counters and gauges of the broker, under EMQX's names."""

from typing import Any

from pydantic import Field, create_model

from ...paging import Query
from ...routes import Call
from ...state import ApiState
from .nodes import require_node

METRICS = (
    *("bytes.received", "bytes.sent", "packets.received", "packets.sent"),
    *("packets.connect.received", "packets.connack.sent", "packets.connack.error", "packets.connack.auth_error"),
    *("packets.publish.received", "packets.publish.sent", "packets.publish.inuse", "packets.publish.error"),
    *("packets.publish.auth_error", "packets.publish.dropped"),
    *("packets.puback.received", "packets.puback.sent", "packets.puback.inuse", "packets.puback.missed"),
    *("packets.pubrec.received", "packets.pubrec.sent", "packets.pubrec.inuse", "packets.pubrec.missed"),
    *("packets.pubrel.received", "packets.pubrel.sent", "packets.pubrel.missed"),
    *("packets.pubcomp.received", "packets.pubcomp.sent", "packets.pubcomp.inuse", "packets.pubcomp.missed"),
    *("packets.subscribe.received", "packets.subscribe.error", "packets.subscribe.auth_error", "packets.suback.sent"),
    *("packets.unsubscribe.received", "packets.unsubscribe.error", "packets.unsuback.sent"),
    *("packets.pingreq.received", "packets.pingresp.sent"),
    *("packets.disconnect.received", "packets.disconnect.sent", "packets.auth.received", "packets.auth.sent"),
    *("messages.received", "messages.sent", "messages.qos0.received", "messages.qos0.sent"),
    *("messages.qos1.received", "messages.qos1.sent", "messages.qos2.received", "messages.qos2.sent"),
    *("messages.publish", "messages.dropped", "messages.dropped.await_pubrel_timeout"),
    *("messages.dropped.no_subscribers", "messages.forward", "messages.delayed", "messages.delivered"),
    *("messages.acked", "messages.persisted", "messages.validation_failed", "messages.validation_succeeded"),
    *("messages.transformation_failed", "messages.transformation_succeeded"),
    *("delivery.dropped", "delivery.dropped.no_local", "delivery.dropped.too_large", "delivery.dropped.qos0_msg"),
    *("delivery.dropped.queue_full", "delivery.dropped.expired"),
    *("client.connect", "client.connack", "client.connected", "client.authenticate", "client.auth.anonymous"),
    *("client.authorize", "client.subscribe", "client.unsubscribe", "client.disconnected"),
    *("session.created", "session.resumed", "session.takenover", "session.discarded", "session.terminated"),
    *("authorization.allow", "authorization.deny", "authorization.cache_hit", "authorization.cache_miss"),
    *("authorization.matched.allow", "authorization.matched.deny", "authorization.nomatch", "authorization.superuser"),
    *("authentication.success", "authentication.success.anonymous", "authentication.failure"),
    *("overload_protection.delay.ok", "overload_protection.delay.timeout", "overload_protection.hibernation"),
    *("overload_protection.gc", "overload_protection.new_conn"),
)
"""Every key of EMQX 5.8; what this broker has no feature for stays at zero."""

_GAUGES = (
    *("channels", "connections", "live_connections", "sessions", "cluster_sessions", "topics", "suboptions"),
    *("subscribers", "subscriptions", "subscriptions.shared", "retained", "delayed"),
)
STATS = tuple(f"{gauge}.{kind}" for gauge in _GAUGES for kind in ("count", "max"))


def _model(name: str, doc: str, keys: tuple[str, ...], *, with_node: bool) -> Any:
    """Make the answer model of a set of numbers under dotted keys."""
    fields: dict[str, Any] = {key.replace(".", "_"): (int, Field(alias=key)) for key in keys}
    if with_node:
        fields["node"] = (str, ...)
    return create_model(name, __doc__=doc, **fields)


Metrics: Any = _model("Metrics", "All counters since start.", METRICS, with_node=False)
NodeMetrics: Any = _model("NodeMetrics", "All counters of one node since its start.", METRICS, with_node=True)
Stats: Any = _model("Stats", "All gauges.", STATS, with_node=False)
NodeStats: Any = _model("NodeStats", "All gauges of one node.", STATS, with_node=True)


class MetricsQuery(Query):
    """Choose between one object for the cluster and one for each node."""

    aggregate: bool = False
    node: str | None = None


class StatsQuery(Query):
    """Choose between one object for the cluster and one for each node."""

    aggregate: bool = False


async def get_metrics(call: Call[MetricsQuery, None]) -> object:
    """Give the counters: their sums, or for each node."""
    state, query = call.state, call.query
    if query.aggregate:
        return await _metrics(state)
    if query.node is not None and query.node != state.node:
        return []
    return [{**await _metrics(state), "node": state.node}]


async def get_stats(call: Call[StatsQuery, None]) -> object:
    """Give the gauges: for the cluster, or for each node."""
    state = call.state
    return _stats(state) if call.query.aggregate else [{**_stats(state), "node": state.node}]


async def get_node_metrics(call: Call[None, None]) -> object:
    """Give the counters of one node."""
    require_node(call)
    return await _metrics(call.state)


async def get_node_stats(call: Call[None, None]) -> object:
    """Give the gauges of one node."""
    require_node(call)
    return _stats(call.state)


async def _metrics(state: ApiState) -> dict[str, int]:
    counters = await state.broker.gather_metrics()
    return {key: counters.get(key, 0) for key in METRICS}


def _stats(state: ApiState) -> dict[str, int]:
    gauges = state.broker.stats()
    return {key: gauges[key] for key in STATS}
