"""Calls about slow subscriptions."""

from . import CallRow

_SETTINGS = "/slow_subscriptions/settings"
_ON = {"enable": True, "threshold": "1s", "expire_interval": 60_000, "top_k_num": 5, "stats_type": "response"}

CALLS: list[CallRow] = [
    ("GET", _SETTINGS, {}, "", None, 200),
    ("PUT", _SETTINGS, {}, "", _ON, 200),
    ("PUT", _SETTINGS, {}, "", {"top_k_num": 1_001}, 400),
    ("PUT", _SETTINGS, {}, "", {"threshold": "soon"}, 400),
    ("GET", "/slow_subscriptions", {}, "page=1&limit=10", None, 200),
    ("GET", "/slow_subscriptions", {}, "limit=0", None, 400),
    ("DELETE", "/slow_subscriptions", {}, "", None, 204),
    ("PUT", _SETTINGS, {}, "", {}, 200),
]
