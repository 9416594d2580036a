"""Calls about messages that the broker keeps: retained and delayed."""

from . import CallRow

RETAINED = "/mqtt/retainer/message/{topic}"
WAITING = "/mqtt/delayed/messages/{node}/{msgid}"
OF_TOPIC = "/mqtt/delayed/messages/{topic}"
NODE = {"node": "wardenmq@127.0.0.1"}
UNKNOWN = {**NODE, "msgid": "0" * 32}

CALLS: list[CallRow] = [
    ("GET", "/mqtt/retainer", {}, "", None, 200),
    ("PUT", "/mqtt/retainer", {}, "", {"msg_expiry_interval": "1h", "backend": {"storage_type": "disc"}}, 200),
    ("PUT", "/mqtt/retainer", {}, "", {"msg_expiry_interval": "soon"}, 400),
    ("PUT", "/mqtt/retainer", {}, "", {"backend": {"max_retained_messages": -1}}, 400),
    ("PUT", "/mqtt/retainer", {}, "", {"backend": {"storage_type": "disc"}}, 200),
    ("POST", "/publish", {}, "", {"topic": "kept/1", "payload": "x", "retain": True}, 202),
    ("GET", "/mqtt/retainer/messages", {}, "", None, 200),
    ("GET", "/mqtt/retainer/messages", {}, "topic=kept/%2B", None, 200),
    ("GET", "/mqtt/retainer/messages", {}, "topic=kept/%23/x", None, 400),
    ("GET", "/mqtt/retainer/messages", {}, "page=0", None, 400),
    ("GET", RETAINED, {"topic": "kept%2F1"}, "", None, 200),
    ("GET", RETAINED, {"topic": "kept%2F2"}, "", None, 404),
    ("DELETE", RETAINED, {"topic": "kept%2F1"}, "", None, 204),
    ("DELETE", RETAINED, {"topic": "kept%2F1"}, "", None, 404),
    ("DELETE", "/mqtt/retainer/messages", {}, "", None, 204),
    ("GET", "/mqtt/delayed", {}, "", None, 200),
    ("PUT", "/mqtt/delayed", {}, "", {"enable": True, "max_delayed_messages": 10}, 200),
    ("PUT", "/mqtt/delayed", {}, "", {"max_delayed_messages": -1}, 400),
    ("POST", "/publish", {}, "", {"topic": "$delayed/3600/later/1", "payload": "x"}, 200),
    ("GET", "/mqtt/delayed/messages", {}, "", None, 200),
    ("GET", "/mqtt/delayed/messages", {}, "limit=0", None, 400),
    ("GET", WAITING, UNKNOWN, "", None, 404),
    ("GET", WAITING, {**NODE, "msgid": "x"}, "", None, 400),
    ("GET", WAITING, {"node": "else", "msgid": "0" * 32}, "", None, 400),
    ("DELETE", WAITING, UNKNOWN, "", None, 404),
    ("DELETE", OF_TOPIC, {"topic": "later%2F%23"}, "", None, 400),
    ("DELETE", OF_TOPIC, {"topic": "later%2F1"}, "", None, 204),
    ("DELETE", OF_TOPIC, {"topic": "later%2F1"}, "", None, 404),
]
