"""The cluster, which is this node and stays so."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from ...errors import ApiError, bad_request
from ...limits import Body
from ...routes import Call

_MAX_TIMEOUT = 86_400_000


class Cluster(TypedDict):
    """Name the cluster and its nodes."""

    name: str
    nodes: list[str]
    self: str


class Replicant(TypedDict):
    """A node that follows a core node."""

    node: str
    streams: int


class Core(TypedDict):
    """A core node and those that follow it."""

    core_node: str
    replicant_nodes: list[Replicant]


class Invitation(TypedDict):
    """A node that was invited."""

    node: str


class Invitations(TypedDict):
    """What became of invitations."""

    succeed: list[Invitation]
    in_progress: list[Invitation]
    failed: list[Invitation]


class Invite(Body):
    """How long to wait for another node."""

    timeout: Annotated[int, Field(strict=True, ge=5_000, le=_MAX_TIMEOUT, description="Milliseconds")] = 15_000


async def get_cluster(call: Call[None, None]) -> Cluster:
    """Name the cluster and its nodes."""
    node = call.state.node
    return {"name": call.state.settings.cluster_name, "nodes": [node], "self": node}


async def get_topology(call: Call[None, None]) -> list[Core]:
    """Say which nodes follow which."""
    return [{"core_node": call.state.node, "replicant_nodes": []}]


async def get_invitations(call: Call[None, None]) -> Invitations:
    """Say what became of invitations, of which there are none."""
    return {"succeed": [], "in_progress": [], "failed": []}


async def invite(call: Call[None, Invite]) -> None:
    """Refuse to take another node in."""
    name = call.path["node"]
    if name == call.state.node:
        raise bad_request("Cannot invite the node itself to join the cluster")
    raise bad_request(f"The node {name} cannot be reached: this server is a cluster of one node")


async def invite_async(call: Call[None, Invite]) -> None:
    """Refuse to take another node in, without having anybody wait."""
    await invite(call)


async def force_leave(call: Call[None, None]) -> None:
    """Refuse to put a node out."""
    if call.path["node"] == call.state.node:
        raise bad_request("Cannot force the node itself to leave the cluster")
    raise ApiError(404, "NOT_FOUND", "The node is not in the cluster")
