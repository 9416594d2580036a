"""Calls about how the broker fares: samples, Prometheus, alarms."""

from . import CallRow

NODE = "wardenmq@127.0.0.1"

CALLS: list[CallRow] = [
    ("GET", "/monitor", {}, "", None, 200),
    ("GET", "/monitor", {}, "latest=300", None, 200),
    ("GET", "/monitor", {}, "latest=0", None, 400),
    ("GET", "/monitor/nodes/{node}", {"node": NODE}, "", None, 200),
    ("GET", "/monitor/nodes/{node}", {"node": "other"}, "", None, 404),
    ("GET", "/monitor_current", {}, "", None, 200),
    ("GET", "/monitor_current/nodes/{node}", {"node": NODE}, "", None, 200),
    ("GET", "/monitor_current/nodes/{node}", {"node": "other"}, "", None, 404),
    ("DELETE", "/monitor", {}, "", None, 204),
    ("GET", "/prometheus", {}, "", None, 200),
    ("PUT", "/prometheus", {}, "", {"enable_basic_auth": True, "push_gateway": {"headers": {"X-A": "b"}}}, 200),
    ("PUT", "/prometheus", {}, "", {"push_gateway": {"url": "ftp://nowhere"}}, 400),
    ("PUT", "/prometheus", {}, "", {"enable": False, "interval": "30s", "vm_dist_collector": "enabled"}, 200),
    ("GET", "/prometheus/stats", {}, "", None, 200),
    ("GET", "/prometheus/stats", {}, "mode=all_nodes_unaggregated", None, 200),
    ("GET", "/prometheus/stats", {}, "mode=some", None, 400),
    ("GET", "/prometheus/auth", {}, "", None, 200),
    ("GET", "/prometheus/data_integration", {}, "", None, 200),
    ("POST", "/alarms/force_deactivate", {}, "", {"name": "nothing"}, 400),
    ("POST", "/alarms/force_deactivate", {}, "", {"name": "active"}, 204),
]
