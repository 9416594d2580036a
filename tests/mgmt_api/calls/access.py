"""Calls about authentication and authorization."""

from . import CallRow

RULES = "/authorization/sources/built_in_database/rules"
SETTINGS = "/authorization/settings"
SOURCES = "/authorization/sources"
SOURCE = SOURCES + "/{type}"
RULE = {"topic": "t/${clientid}", "permission": "allow", "action": "all"}

CALLS: list[CallRow] = [
    ("POST", RULES + "/users", {}, "", [{"username": "u", "rules": [RULE]}], 204),
    ("POST", RULES + "/users", {}, "", [{"username": "u", "rules": [RULE]}], 409),
    ("GET", RULES + "/users", {}, "", None, 200),
    ("GET", RULES + "/users/{username}", {"username": "u"}, "", None, 200),
    ("PUT", RULES + "/users/{username}", {"username": "u"}, "", {"username": "u", "rules": []}, 204),
    ("DELETE", RULES + "/users/{username}", {"username": "u"}, "", None, 204),
    ("POST", RULES + "/clients", {}, "", [{"clientid": "c", "rules": [RULE]}], 204),
    ("GET", RULES + "/clients", {}, "", None, 200),
    ("GET", RULES + "/clients/{clientid}", {"clientid": "c"}, "", None, 200),
    ("PUT", RULES + "/clients/{clientid}", {"clientid": "c"}, "", {"clientid": "c", "rules": []}, 204),
    ("DELETE", RULES + "/clients/{clientid}", {"clientid": "c"}, "", None, 204),
    ("POST", RULES + "/all", {}, "", {"rules": [RULE | {"qos": 1, "retain": False}]}, 204),
    ("GET", RULES + "/all", {}, "", None, 200),
    ("DELETE", RULES + "/all", {}, "", None, 204),
    ("DELETE", RULES, {}, "", None, 400),
    ("GET", SETTINGS, {}, "", None, 200),
    ("PUT", SETTINGS, {}, "", {"no_match": "deny", "deny_action": "ignore", "cache": {"enable": True}}, 200),
    ("PUT", SETTINGS, {}, "", {"no_match": "perhaps", "deny_action": "ignore"}, 400),
    ("DELETE", "/authorization/cache", {}, "", None, 204),
    ("GET", SOURCES, {}, "", None, 200),
    ("POST", SOURCES, {}, "", {"type": "file", "rules": "{allow, all}."}, 400),
    ("GET", SOURCE, {"type": "file"}, "", None, 200),
    ("GET", SOURCE, {"type": "built_in_database"}, "", None, 200),
    ("GET", SOURCE, {"type": "http"}, "", None, 404),
    ("GET", SOURCE, {"type": "abc"}, "", None, 400),
    ("GET", SOURCE + "/status", {"type": "file"}, "", None, 200),
    ("GET", SOURCE + "/status", {"type": "mysql"}, "", None, 404),
    ("PUT", SOURCE, {"type": "file"}, "", {"type": "file", "rules": '{deny, all, publish, ["x"]}.'}, 204),
    ("PUT", SOURCE, {"type": "file"}, "", {"type": "file", "rules": "{deny,"}, 400),
    ("PUT", SOURCE, {"type": "http"}, "", {"type": "built_in_database"}, 400),
    ("POST", SOURCE + "/move", {"type": "file"}, "", {"position": "rear"}, 204),
    ("POST", SOURCE + "/move", {"type": "file"}, "", {"position": "before:nothing"}, 400),
    ("POST", SOURCE + "/move", {"type": "http"}, "", {"position": "front"}, 404),
    ("PUT", SOURCES + "/order", {}, "", [{"type": "file"}, {"type": "built_in_database"}], 204),
    ("PUT", SOURCES + "/order", {}, "", [{"type": "file"}], 400),
    ("DELETE", SOURCE, {"type": "built_in_database"}, "", None, 204),
    ("DELETE", SOURCE, {"type": "built_in_database"}, "", None, 404),
    ("GET", RULES + "/all", {}, "", None, 404),
    ("POST", SOURCES, {}, "", {"type": "built_in_database"}, 204),
    ("POST", SOURCES, {}, "", {"type": "http", "url": "http://127.0.0.1/"}, 400),
    ("POST", "/banned", {}, "", {"as": "clientid", "who": "evil"}, 200),
    ("POST", "/banned", {}, "", {"as": "clientid", "who": "evil"}, 400),
    ("POST", "/banned", {}, "", {"as": "peerhost_net", "who": "nowhere"}, 400),
    ("POST", "/banned", {}, "", {"as": "username_re", "who": "^x", "until": 4_102_444_800}, 200),
    ("GET", "/banned", {}, "", None, 200),
    ("GET", "/banned", {}, "like_clientid=e", None, 200),
    ("GET", "/banned", {}, "clientid=a&username=b", None, 400),
    ("DELETE", "/banned/{as}/{who}", {"as": "clientid", "who": "evil"}, "", None, 204),
    ("DELETE", "/banned/{as}/{who}", {"as": "clientid", "who": "evil"}, "", None, 404),
    ("DELETE", "/banned/{as}/{who}", {"as": "name", "who": "evil"}, "", None, 400),
    ("DELETE", "/banned", {}, "", None, 204),
]
