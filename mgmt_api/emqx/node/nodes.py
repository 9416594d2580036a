"""The nodes of the cluster, of which there is one."""

import platform
import sys
from time import time
from typing import Any

from typing_extensions import TypedDict

from ... import host
from ...errors import ApiError
from ...routes import Call
from ...state import ApiState


class Node(TypedDict):
    """Describe a node: uptime in milliseconds, sizes as text."""

    node: str
    node_status: str
    version: str
    edition: str
    role: str
    uptime: int
    otp_release: str
    connections: int
    live_connections: int
    cluster_sessions: int
    load1: float
    load5: float
    load15: float
    max_fds: int
    memory_total: str
    memory_used: str
    process_available: int
    process_used: int
    sys_path: str
    log_path: str


async def list_nodes(call: Call[None, None]) -> list[Node]:
    """List the nodes."""
    return [describe_node(call.state)]


async def get_node(call: Call[None, None]) -> Node:
    """Describe one node."""
    require_node(call)
    return describe_node(call.state)


def require_node(call: Call[Any, Any]) -> None:
    """Raise `ApiError` 404 unless the path names this node."""
    name = call.path["node"]
    if name != call.state.node:
        raise ApiError(404, "NOT_FOUND", f"Node not found: {name}")


def require_listed_node(state: ApiState, node: str | None) -> None:
    """Raise `ApiError` 500 where a list is asked for a node that is not there, as EMQX does."""
    if node is not None and node != state.node:
        raise ApiError(500, "NODE_DOWN", f"Node {node} is not running")


def describe_node(state: ApiState) -> Node:
    """Describe this node as it is now."""
    broker = state.broker
    sessions = len(broker.registry)
    load1, load5, load15 = host.load_averages()
    memory_total, memory_used = host.memory()
    return {
        "node": state.node,
        "node_status": "running" if broker.transitions.is_started() else "stopped",
        "version": state.version,
        "edition": "Opensource",
        "role": "core",
        "uptime": max(0, int((time() - broker.started_at) * 1_000)),
        "otp_release": f"{platform.python_implementation()} {platform.python_version()}",
        "connections": sessions,
        "live_connections": broker.registry.connected_count,
        "cluster_sessions": sessions,
        "load1": load1,
        "load5": load5,
        "load15": load15,
        "max_fds": host.descriptor_limit(),
        "memory_total": host.format_size(memory_total),
        "memory_used": host.format_size(memory_used),
        "process_available": host.thread_limit(),
        "process_used": host.thread_count(),
        "sys_path": sys.prefix,
        "log_path": "stderr",
    }
