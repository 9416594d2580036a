"""Calls about what is done with messages."""

from . import CallRow

RULE = {"action": "publish", "source_topic": "old/#", "dest_topic": "new/$1", "re": "^old/(.+)$"}
METRICS = "/mqtt/topic_metrics"

CALLS: list[CallRow] = [
    ("PUT", "/mqtt/topic_rewrite", {}, "", [RULE], 200),
    ("GET", "/mqtt/topic_rewrite", {}, "", None, 200),
    ("PUT", "/mqtt/topic_rewrite", {}, "", [RULE | {"re": "("}], 400),
    ("PUT", "/mqtt/topic_rewrite", {}, "", [RULE] * 20, 413),
    ("PUT", "/mqtt/topic_rewrite", {}, "", [], 200),
    ("PUT", "/mqtt/auto_subscribe", {}, "", [{"topic": "hello/${clientid}", "qos": 1}], 200),
    ("GET", "/mqtt/auto_subscribe", {}, "", None, 200),
    ("PUT", "/mqtt/auto_subscribe", {}, "", [{"topic": "t"}] * 21, 409),
    ("PUT", "/mqtt/auto_subscribe", {}, "", [], 200),
    ("POST", METRICS, {}, "", {"topic": "t/1"}, 200),
    ("POST", METRICS, {}, "", {"topic": "t/1"}, 400),
    ("POST", METRICS, {}, "", {"topic": "t/#"}, 400),
    ("GET", METRICS, {}, "", None, 200),
    ("GET", METRICS + "/{topic}", {"topic": "t%2F1"}, "", None, 200),
    ("GET", METRICS + "/{topic}", {"topic": "t%2F2"}, "", None, 404),
    ("PUT", METRICS, {}, "", {"action": "reset", "topic": "t/1"}, 200),
    ("PUT", METRICS, {}, "", {"action": "reset"}, 200),
    ("PUT", METRICS, {}, "", {"action": "reset", "topic": "t/2"}, 404),
    ("DELETE", METRICS + "/{topic}", {"topic": "t%2F1"}, "", None, 204),
    ("DELETE", METRICS + "/{topic}", {"topic": "t%2F1"}, "", None, 404),
]
