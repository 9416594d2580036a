"""The part of the route table about the cluster, and about what there is none of."""

from typing import Any

from ...paging import PageQuery
from ...routes import Route
from . import cluster, stubs

CLUSTER: tuple[Route[Any, Any], ...] = (
    Route("GET", "/cluster", cluster.get_cluster, "Name the cluster", "Cluster", answer=cluster.Cluster),
    Route(
        "GET",
        "/cluster/topology",
        cluster.get_topology,
        "Say which nodes follow which",
        "Cluster",
        answer=list[cluster.Core],
    ),
    Route(
        "GET",
        "/cluster/invitation",
        cluster.get_invitations,
        "Say what became of invitations",
        "Cluster",
        answer=cluster.Invitations,
    ),
    *(
        Route(
            "PUT",
            path,
            handler,
            "Invite a node; always refused",
            "Cluster",
            body=cluster.Invite,
            errors={400: ("BAD_REQUEST",)},
        )
        for path, handler in (
            ("/cluster/{node}/invite", cluster.invite),
            ("/cluster/{node}/invite_async", cluster.invite_async),
        )
    ),
    Route(
        "DELETE",
        "/cluster/{node}/force_leave",
        cluster.force_leave,
        "Put a node out of the cluster; always refused",
        "Cluster",
        status=204,
        errors={400: ("BAD_REQUEST",), 404: ("NOT_FOUND",)},
    ),
    Route("GET", "/bridges", stubs.list_bridges, "List bridges: none", "Bridges", answer=list[stubs.Bridge]),
    Route("GET", "/rules", stubs.list_rules, "List rules: none", "Rules", query=PageQuery, answer=stubs.RulePage),
)
