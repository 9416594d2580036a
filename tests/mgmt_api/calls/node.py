"""Calls about the node."""

from . import CallRow

NODE = "wardenmq@127.0.0.1"

CALLS: list[CallRow] = [
    ("GET", "/status", {}, "", None, 200),
    ("GET", "/nodes", {}, "", None, 200),
    ("GET", "/nodes/{node}", {"node": NODE}, "", None, 200),
    ("GET", "/nodes/{node}/metrics", {"node": NODE}, "", None, 200),
    ("GET", "/nodes/{node}/stats", {"node": NODE}, "", None, 200),
    ("GET", "/metrics", {}, "", None, 200),
    ("GET", "/metrics", {}, "aggregate=true", None, 200),
    ("GET", "/stats", {}, "", None, 200),
    ("GET", "/stats", {}, "aggregate", None, 200),
    ("GET", "/metrics", {}, "node=other", None, 200),
    ("GET", "/nodes/{node}", {"node": "other"}, "", None, 404),
    ("GET", "/nodes/{node}/metrics", {"node": "other"}, "", None, 404),
    ("GET", "/nodes/{node}/stats", {"node": "other"}, "", None, 404),
    ("GET", "/cluster", {}, "", None, 200),
    ("GET", "/cluster/topology", {}, "", None, 200),
    ("GET", "/cluster/invitation", {}, "", None, 200),
    ("PUT", "/cluster/{node}/invite", {"node": NODE}, "", None, 400),
    ("PUT", "/cluster/{node}/invite_async", {"node": "other"}, "", {"timeout": 5_000}, 400),
    ("DELETE", "/cluster/{node}/force_leave", {"node": NODE}, "", None, 400),
    ("DELETE", "/cluster/{node}/force_leave", {"node": "other"}, "", None, 404),
    ("GET", "/bridges", {}, "", None, 200),
    ("GET", "/rules", {}, "", None, 200),
    ("GET", "/alarms", {}, "", None, 200),
    ("GET", "/alarms", {}, "activated=false", None, 200),
    ("GET", "/alarms", {}, "activated=soon", None, 400),
    ("DELETE", "/alarms", {}, "", None, 204),
]
