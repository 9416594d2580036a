"""Calls about clients, their subscriptions and published messages."""

from . import CallRow

MESSAGE = {"topic": "t/1", "payload": "x"}
UNWANTED = {"topic": "unwanted", "payload": "x"}
BAD = {"topic": "#", "payload": "x"}

CALLS: list[CallRow] = [
    ("GET", "/clients", {}, "", None, 200),
    ("GET", "/clients", {}, "like_clientid=o", None, 200),
    ("GET", "/clients", {}, "ip_address=x", None, 400),
    ("GET", "/clients", {}, "node=x", None, 500),
    ("GET", "/clients/{clientid}", {"clientid": "one"}, "", None, 200),
    ("GET", "/clients/{clientid}", {"clientid": "away"}, "", None, 200),
    ("GET", "/clients/{clientid}", {"clientid": "nobody"}, "", None, 404),
    ("GET", "/clients/{clientid}/subscriptions", {"clientid": "one"}, "", None, 200),
    ("GET", "/subscriptions", {}, "", None, 200),
    ("GET", "/subscriptions", {}, "match_topic=%23", None, 200),
    ("GET", "/topics", {}, "", None, 200),
    ("GET", "/topics", {}, "topic=", None, 400),
    ("GET", "/topics/{topic}", {"topic": "t%2F%2B"}, "", None, 200),
    ("POST", "/publish", {}, "", MESSAGE, 200),
    ("POST", "/publish", {}, "", UNWANTED, 202),
    ("POST", "/publish", {}, "", BAD, 400),
    ("POST", "/publish", {}, "", {}, 400),
    ("POST", "/publish/bulk", {}, "", [MESSAGE, MESSAGE], 200),
    ("POST", "/publish/bulk", {}, "", [MESSAGE, UNWANTED], 202),
    ("POST", "/publish/bulk", {}, "", [MESSAGE, BAD], 400),
    ("DELETE", "/clients/{clientid}", {"clientid": "one"}, "", None, 204),
    ("POST", "/clients/kickout/bulk", {}, "", ["away"], 204),
]
