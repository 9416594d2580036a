"""The part of the route table about those who manage the broker."""

from typing import Any

from ....store.records import ApiRole
from ...routes import Route
from . import api_keys, documentation, error_codes, login, users

_SMALL = 65_536
"""Bytes of a body about one user, with the longest description: more is not even read, above all from strangers."""
_ANYBODY: frozenset[ApiRole] = frozenset({"viewer"})
"""Besides administrators, as everywhere."""
_UNKNOWN_KEY = {404: ("NOT_FOUND",)}
_UNKNOWN_USER = {404: ("USER_NOT_FOUND",)}
_PROTECTED_USER = {400: ("NOT_ALLOWED",), **_UNKNOWN_USER}

_LOGIN = (
    Route(
        "POST",
        "/login",
        login.log_in,
        "Log in",
        "Dashboard",
        body=login.LoginBody,
        max_body_size=_SMALL,
        answer=login.Login,
        errors={401: ("BAD_USERNAME_OR_PWD",), 503: ("SERVICE_UNAVAILABLE",)},
        public=True,
    ),
    Route(
        "POST",
        "/logout",
        login.log_out,
        "Log out",
        "Dashboard",
        body=login.LogoutBody,
        max_body_size=_SMALL,
        status=204,
        errors={401: ("WRONG_TOKEN_OR_USERNAME",)},
        roles=_ANYBODY,
        bearer_only=True,
    ),
)

_USERS = (
    Route("GET", "/users", users.list_users, "List users", "Dashboard", answer=list[users.User], bearer_only=True),
    Route(
        "POST",
        "/users",
        users.create_user,
        "Create a user",
        "Dashboard",
        body=users.NewUser,
        max_body_size=_SMALL,
        answer=users.User,
        errors={503: ("SERVICE_UNAVAILABLE",)},
        bearer_only=True,
    ),
    Route(
        "PUT",
        "/users/{username}",
        users.update_user,
        "Change a user",
        "Dashboard",
        body=users.UserChange,
        max_body_size=_SMALL,
        answer=users.User,
        errors=_PROTECTED_USER,
        bearer_only=True,
    ),
    Route(
        "DELETE",
        "/users/{username}",
        users.delete_user,
        "Delete a user",
        "Dashboard",
        status=204,
        errors=_PROTECTED_USER,
        bearer_only=True,
    ),
    Route(
        "POST",
        "/users/{username}/change_pwd",
        users.change_password,
        "Change a password",
        "Dashboard",
        body=users.PasswordChange,
        max_body_size=_SMALL,
        status=204,
        errors={400: ("ERROR_PWD_NOT_MATCH",), 503: ("SERVICE_UNAVAILABLE",), **_UNKNOWN_USER},
        roles=_ANYBODY,
        bearer_only=True,
    ),
)

_API_KEYS = (
    Route("GET", "/api_key", api_keys.list_keys, "List keys", "API Keys", answer=list[api_keys.Key], bearer_only=True),
    Route(
        "POST",
        "/api_key",
        api_keys.create_key,
        "Create a key",
        "API Keys",
        body=api_keys.NewKey,
        answer=api_keys.Key,
        bearer_only=True,
    ),
    Route(
        "GET",
        "/api_key/{name}",
        api_keys.get_key,
        "Describe a key",
        "API Keys",
        answer=api_keys.Key,
        errors=_UNKNOWN_KEY,
        bearer_only=True,
    ),
    Route(
        "PUT",
        "/api_key/{name}",
        api_keys.update_key,
        "Change a key",
        "API Keys",
        body=api_keys.KeyChange,
        answer=api_keys.Key,
        errors=_UNKNOWN_KEY,
        bearer_only=True,
    ),
    Route(
        "DELETE",
        "/api_key/{name}",
        api_keys.delete_key,
        "Delete a key",
        "API Keys",
        status=204,
        errors=_UNKNOWN_KEY,
        bearer_only=True,
    ),
)

_ERROR_CODES = (
    Route(
        "GET",
        "/error_codes",
        error_codes.list_codes,
        "List error codes",
        "Error Codes",
        answer=list[error_codes.ErrorCode],
        public=True,
    ),
    Route(
        "GET",
        "/error_codes/{code}",
        error_codes.get_code,
        "Describe an error code",
        "Error Codes",
        answer=error_codes.ErrorCode,
        errors={404: ("NOT_FOUND",)},
        public=True,
    ),
)

DASHBOARD: tuple[Route[Any, Any], ...] = (*_LOGIN, *_USERS, *_API_KEYS, *_ERROR_CODES)


def _page(path: str) -> Route[Any, Any]:
    return Route("GET", path, documentation.get_page, "Show this document", "Documentation", answer=bytes, public=True)


DOCUMENTATION: tuple[Route[Any, Any], ...] = (
    _page("/api-docs"),
    _page("/api-docs/index.html"),
    Route(
        "GET",
        "/api-docs/swagger.json",
        documentation.get_document,
        "Give this document",
        "Documentation",
        answer=dict[str, Any],
        public=True,
    ),
    Route(
        "GET",
        "/api-docs/{file}",
        documentation.get_asset,
        "Give a file of the page",
        "Documentation",
        answer=bytes,
        public=True,
    ),
)
"""What stands beside the prefix."""
