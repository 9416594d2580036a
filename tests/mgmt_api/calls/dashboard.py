"""Calls about those who manage the broker."""

from . import CallRow

PASSWORD = "secret-12"
CREDENTIALS = {"username": "one_more", "password": PASSWORD}
USER = "/users/{username}"
KEY = "/api_key/{name}"

CALLS: list[CallRow] = [
    ("POST", "/users", {}, "", {**CREDENTIALS, "description": "x", "role": "viewer", "unknown": 1}, 200),
    ("POST", "/users", {}, "", CREDENTIALS, 400),
    ("POST", "/users", {}, "", CREDENTIALS | {"username": "a-b"}, 400),
    ("POST", "/users", {}, "", {"username": "weak", "password": "password"}, 400),
    ("GET", "/users", {}, "", None, 200),
    ("PUT", USER, {"username": "one_more"}, "", {"description": "y", "role": "administrator"}, 200),
    ("PUT", USER, {"username": "nobody"}, "", {"description": "y"}, 404),
    ("PUT", USER, {"username": "admin"}, "", {"role": "viewer"}, 400),
    ("POST", "/login", {}, "", CREDENTIALS, 200),
    ("POST", "/login", {}, "", CREDENTIALS | {"password": "wrong"}, 401),
    ("POST", "/login", {}, "", {"username": "one_more"}, 400),
    ("POST", f"{USER}/change_pwd", {"username": "one_more"}, "", {"old_pwd": PASSWORD, "new_pwd": "secret-13"}, 204),
    ("POST", f"{USER}/change_pwd", {"username": "one_more"}, "", {"old_pwd": PASSWORD, "new_pwd": "secret-14"}, 400),
    ("POST", f"{USER}/change_pwd", {"username": "nobody"}, "", {"old_pwd": PASSWORD, "new_pwd": "secret-14"}, 404),
    ("POST", "/logout", {}, "", {"username": "administrator"}, 204),
    ("POST", "/logout", {}, "", {"username": "one_more"}, 401),
    ("DELETE", USER, {"username": "one_more"}, "", None, 204),
    ("DELETE", USER, {"username": "one_more"}, "", None, 404),
    ("DELETE", USER, {"username": "admin"}, "", None, 400),
    ("DELETE", USER, {"username": "administrator"}, "", None, 400),
    ("POST", "/api_key", {}, "", {"name": "new", "desc": "x", "enable": True, "expired_at": "infinity"}, 200),
    ("POST", "/api_key", {}, "", {"name": "ended", "expired_at": 1, "role": "publisher"}, 200),
    ("POST", "/api_key", {}, "", {"name": "new"}, 400),
    ("POST", "/api_key", {}, "", {"name": "1"}, 400),
    ("POST", "/api_key", {}, "", {"name": "other", "unknown": 1}, 400),
    ("GET", "/api_key", {}, "", None, 200),
    ("GET", KEY, {"name": "new"}, "", None, 200),
    ("GET", KEY, {"name": "nobody"}, "", None, 404),
    ("PUT", KEY, {"name": "new"}, "", {"enable": False, "expired_at": "2030-01-01T00:00:00Z"}, 200),
    ("PUT", KEY, {"name": "new"}, "", {"expired_at": "soon"}, 400),
    ("PUT", KEY, {"name": "nobody"}, "", {}, 404),
    ("DELETE", KEY, {"name": "new"}, "", None, 204),
    ("DELETE", KEY, {"name": "new"}, "", None, 404),
    ("GET", "/error_codes", {}, "", None, 200),
    ("GET", "/error_codes/{code}", {"code": "BAD_REQUEST"}, "", None, 200),
    ("GET", "/error_codes/{code}", {"code": "NONE"}, "", None, 404),
]
