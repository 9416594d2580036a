"""The cluster of one node, and what programs for EMQX ask for that there is none of."""

from typing import Any

import pytest

from .callers import V5, Api

NODE = "wardenmq@127.0.0.1"


async def test_the_cluster(api: Api) -> None:
    assert (await api.get("/cluster")).json == {"name": "wardenmq", "nodes": [NODE], "self": NODE}
    assert (await api.get("/cluster/topology")).json == [{"core_node": NODE, "replicant_nodes": []}]
    assert (await api.get("/cluster/invitation")).json == {"succeed": [], "in_progress": [], "failed": []}
    assert [row["node"] for row in (await api.get("/nodes")).json] == (await api.get("/cluster")).json["nodes"]


@pytest.mark.parametrize("path", ["invite", "invite_async"])
@pytest.mark.parametrize("node", [NODE, "other@127.0.0.1"])
@pytest.mark.parametrize("body", [None, {}, {"timeout": 5_000}, {"timeout": 4_999}, {"timeout": "15s"}, {"more": 1}])
async def test_nobody_is_invited(api: Api, path: str, node: str, body: Any) -> None:
    reply = await api.call("PUT", f"{V5}/cluster/{node}/{path}", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    fine = body is None or list(body.values()) in ([], [5_000])
    assert ("Cannot invite" in reply.json["message"] or "cannot be reached" in reply.json["message"]) == fine


async def test_nobody_is_put_out(api: Api) -> None:
    reply = await api.call("DELETE", f"{V5}/cluster/{NODE}/force_leave")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    reply = await api.call("DELETE", f"{V5}/cluster/other@127.0.0.1/force_leave")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert [row["node"] for row in (await api.get("/nodes")).json] == [NODE]


async def test_there_are_no_rules_and_no_bridges(api: Api) -> None:
    assert (await api.get("/bridges")).json == []
    assert (await api.get("/rules")).json == {
        "data": [],
        "meta": {"page": 1, "limit": 100, "count": 0, "hasnext": False},
    }
    assert (await api.get("/rules", page=3, limit=7)).meta == {"page": 3, "limit": 7, "count": 0, "hasnext": False}
    assert (await api.get("/rules", limit=0)).code == "BAD_REQUEST"


@pytest.mark.parametrize(
    "path", ["/rules/one", "/rules/one/metrics", "/rule_events", "/bridges/mqtt:x/metrics", "/license", "/actions"]
)
async def test_what_is_not_here_is_not_found(api: Api, path: str) -> None:
    reply = await api.call("GET", V5 + path, headers={"Accept": "application/json"})
    assert (reply.status, reply.code) == (404, "NOT_FOUND")


# -- what the exporter for EMQX does


class Strict:
    """Read fields as the exporter does: what is missing is nothing, what is of another type is an error."""

    def __init__(self, value: Any) -> None:
        assert type(value) is dict
        self.value: dict[str, Any] = value

    def text(self, name: str) -> str:
        found = self.value.get(name, "")
        assert type(found) is str, (name, found)
        return found

    def whole(self, name: str) -> int:
        found = self.value.get(name, 0)
        assert type(found) is int, (name, found)
        return found

    def flag(self, name: str) -> bool:
        found = self.value.get(name, False)
        assert type(found) is bool, (name, found)
        return found

    def number(self, name: str) -> float:
        found = self.value.get(name, 0)
        assert type(found) in (int, float), (name, found)
        return found

    def inner(self, name: str) -> "Strict":
        return Strict(self.value.get(name, {}))

    def rows(self, name: str) -> list["Strict"]:
        return [Strict(row) for row in self.value.get(name, [])]


async def exported(api: Api, path: str) -> Any:
    """Call as the exporter does, as a viewer and without a query."""
    reply = await api.call("GET", V5 + path, role="viewer")
    assert reply.status == 200, (path, reply.body)
    answer = reply.json
    if isinstance(answer, dict):
        assert "code" not in answer
    return answer


async def test_the_exporter_for_emqx_walks_through(api: Api) -> None:
    assert (await api.call("GET", "/api/v4/nodes", role="viewer")).status == 404
    [node] = [Strict(row) for row in await exported(api, "/nodes")]
    assert node.text("node").partition("@")[2] == "127.0.0.1"
    assert node.text("node_status") == "running"
    assert node.text("edition") == "Opensource"  # or it would ask for the license
    assert node.text("version")
    assert min(node.whole("uptime"), node.whole("connections")) >= 0 < node.whole("max_fds")
    assert min(node.number("load1"), node.number("load5"), node.number("load15")) >= 0
    current = Strict(await exported(api, "/monitor_current"))
    assert min(current.whole("sent_msg_rate"), current.whole("received_msg_rate")) >= 0
    for bridge in await exported(api, "/bridges"):
        assert Strict(bridge).text("name")
    for rule in Strict(await exported(api, "/rules")).rows("data"):
        assert rule.text("id")
    for authenticator in map(Strict, await exported(api, "/authentication")):
        authenticator.text("backend")
        if authenticator.flag("enable"):
            await check_status(
                api, f"/authentication/{authenticator.text('id')}/status", ("total", "success", "failed")
            )
    for source in Strict(await exported(api, "/authorization/sources")).rows("sources"):
        if source.flag("enable"):
            path = f"/authorization/sources/{source.text('type')}/status"
            await check_status(api, path, ("total", "allow", "deny"))


async def check_status(api: Api, path: str, counted: tuple[str, ...]) -> None:
    status = Strict(await exported(api, path))
    assert status.text("status") == "connected"
    for node in status.rows("node_metrics"):
        assert node.text("node") == NODE
        metrics = node.inner("metrics")
        assert min(metrics.whole(name) for name in counted) >= 0
        assert min(metrics.number(name) for name in ("rate", "rate_last5m", "rate_max")) >= 0
