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
    ("GET", "/alarms", {}, "", None, 200),
    ("GET", "/alarms", {}, "activated=false", None, 200),
    ("GET", "/alarms", {}, "activated=soon", None, 400),
    ("DELETE", "/alarms", {}, "", None, 204),
]
