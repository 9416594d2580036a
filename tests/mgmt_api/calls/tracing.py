"""Calls about traces."""

from . import CallRow

_NAME = {"name": "t-1"}
_UNKNOWN = {"name": "unknown"}
_LATER = {"start_at": 4_000_000_000, "end_at": 4_000_000_600}

CALLS: list[CallRow] = [
    ("GET", "/trace", {}, "", None, 200),
    ("POST", "/trace", {}, "", {"name": "t-1", "type": "clientid", "clientid": "one"}, 200),
    ("POST", "/trace", {}, "", {"name": "t-1", "type": "clientid", "clientid": "two"}, 409),
    ("POST", "/trace", {}, "", {"name": "t-2", "type": "topic", "topic": "t/#", "formatter": "json", **_LATER}, 200),
    ("POST", "/trace", {}, "", {"name": "t-3", "type": "topic", "topic": "t/#", **_LATER}, 409),
    ("POST", "/trace", {}, "", {"name": "t-3", "type": "ip_address", "ip_address": "127.0.0.1", **_LATER}, 200),
    ("POST", "/trace", {}, "", {"name": "t-4", "type": "ruleid", "ruleid": "my_rule"}, 200),
    ("POST", "/trace", {}, "", {"name": "t-5", "type": "topic"}, 400),
    ("POST", "/trace", {}, "", {"name": "t-5", "type": "topic", "topic": "t/#", "end_at": 1}, 400),
    ("GET", "/trace", {}, "", None, 200),
    ("GET", "/trace/{name}/log", _NAME, "bytes=10&position=0", None, 200),
    ("GET", "/trace/{name}/log", {"name": "t-2"}, "", None, 200),
    ("GET", "/trace/{name}/log", _NAME, "position=-1", None, 400),
    ("GET", "/trace/{name}/log", _NAME, "node=other", None, 404),
    ("GET", "/trace/{name}/log", _UNKNOWN, "", None, 404),
    ("GET", "/trace/{name}/log_detail", _NAME, "", None, 200),
    ("GET", "/trace/{name}/log_detail", {"name": "t-2"}, "", None, 200),
    ("GET", "/trace/{name}/log_detail", _UNKNOWN, "", None, 404),
    ("GET", "/trace/{name}/download", _NAME, "", None, 200),
    ("GET", "/trace/{name}/download", {"name": "t-2"}, "", None, 404),
    ("GET", "/trace/{name}/download", _NAME, "node=other", None, 404),
    ("GET", "/trace/{name}/download", _UNKNOWN, "", None, 404),
    ("PUT", "/trace/{name}/stop", _NAME, "", None, 200),
    ("PUT", "/trace/{name}/stop", _UNKNOWN, "", None, 404),
    ("DELETE", "/trace/{name}", _NAME, "", None, 204),
    ("DELETE", "/trace/{name}", _NAME, "", None, 404),
    ("DELETE", "/trace", {}, "", None, 204),
]
