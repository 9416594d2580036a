"""The part of the route table about the node."""

from typing import Any

from ...routes import Route
from . import alarms, metrics, nodes, status
from .table_cluster import CLUSTER
from .table_monitor import MONITOR
from .table_prometheus import PROMETHEUS

_NOT_FOUND = {404: ("NOT_FOUND",)}

STATUS = (
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
    Route(
        "POST",
        "/alarms/force_deactivate",
        alarms.force_deactivate,
        "End an alarm by hand",
        "Alarms",
        body=alarms.AlarmName,
        status=204,
        errors={400: ("NOT_FOUND",)},
    ),
)

NODE: tuple[Route[Any, Any], ...] = (*STATUS, *_NODES, *CLUSTER, *MONITOR, *PROMETHEUS, *_ALARMS)
