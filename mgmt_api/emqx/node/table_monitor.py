"""The part of the route table about how busy the broker is and was."""

from typing import Any

from ...routes import Route
from . import monitor

_NOT_FOUND = {404: ("NOT_FOUND",)}

MONITOR: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/monitor",
        monitor.list_samples,
        "Give the series of samples",
        "Metrics",
        query=monitor.MonitorQuery,
        answer=list[monitor.Sample],
    ),
    Route("DELETE", "/monitor", monitor.forget_samples, "Forget the stored samples", "Metrics", status=204),
    Route(
        "GET",
        "/monitor/nodes/{node}",
        monitor.list_node_samples,
        "Give a node's series of samples",
        "Metrics",
        query=monitor.MonitorQuery,
        answer=list[monitor.Sample],
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        "/monitor_current",
        monitor.get_current,
        "Give the rates and sizes of now",
        "Metrics",
        answer=monitor.Current,
    ),
    Route(
        "GET",
        "/monitor_current/nodes/{node}",
        monitor.get_node_current,
        "Give a node's rates and sizes of now",
        "Metrics",
        answer=monitor.NodeCurrent,
        errors=_NOT_FOUND,
    ),
)
