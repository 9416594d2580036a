"""Calls about authentication and authorization."""

from . import CallRow

USERS = "/authentication/{id}/users"
RULES = "/authorization/sources/built_in_database/rules"
RULE = {"topic": "t/${clientid}", "permission": "allow", "action": "all"}

CALLS: list[CallRow] = [
    ("POST", USERS, {}, "", {"user_id": "alice", "password": "x"}, 201),
    ("POST", USERS, {}, "", {"user_id": "alice", "password": "x"}, 409),
    ("GET", USERS, {}, "", None, 200),
    ("GET", USERS, {}, "like_user_id=a", None, 200),
    ("GET", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 200),
    ("PUT", USERS + "/{user_id}", {"user_id": "alice"}, "", {"password": "y"}, 200),
    ("DELETE", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 204),
    ("DELETE", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 404),
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
]
