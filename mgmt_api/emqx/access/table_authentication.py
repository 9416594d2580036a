"""The part of the route table that says how clients prove who they are."""

from typing import Any

from ....store.importing.lines import MAX_FILE_BYTES
from ...multipart import MEDIA_TYPE as MULTIPART
from ...multipart import UploadedFile
from ...routes import Route
from . import authentication, authentication_chain
from .models_authentication import (
    AuthenticatorRow,
    AuthenticatorStatus,
    ChangedUser,
    ImportedUser,
    ImportQuery,
    NewAuthenticator,
    NewUser,
    OrderEntry,
    User,
    UserPage,
    UserQuery,
)

_TAG = "Authentication"
_BAD = {400: ("BAD_REQUEST",)}
_UNKNOWN = {404: ("NOT_FOUND",)}
_ERRORS = {**_BAD, **_UNKNOWN}
_ONE = "/authentication/{id}"
_USERS = f"{_ONE}/users"
_IMPORT_OVERHEAD = 65_536
"""Bytes of an upload beside the file."""
_MAX_AUTHENTICATORS = 100

AUTHENTICATION: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/authentication",
        authentication_chain.list_authenticators,
        "List the authenticators in the order in which they are asked",
        _TAG,
        answer=list[AuthenticatorRow],
    ),
    Route(
        "POST",
        "/authentication",
        authentication_chain.create_authenticator,
        "Create an authenticator",
        _TAG,
        body=NewAuthenticator,
        answer=AuthenticatorRow,
        errors={**_BAD, 409: ("ALREADY_EXISTS",)},
    ),
    Route(
        "PUT",
        "/authentication/order",
        authentication_chain.reorder_authenticators,
        "Put the authenticators into another order",
        _TAG,
        body=list[OrderEntry],
        max_entries=_MAX_AUTHENTICATORS,
        status=204,
        errors=_BAD,
    ),
    Route(
        "GET",
        _ONE,
        authentication_chain.get_authenticator,
        "Show an authenticator",
        _TAG,
        answer=AuthenticatorRow,
        errors=_UNKNOWN,
    ),
    Route(
        "PUT",
        _ONE,
        authentication_chain.update_authenticator,
        "Set an authenticator up anew",
        _TAG,
        body=NewAuthenticator,
        status=204,
        errors=_ERRORS,
    ),
    Route(
        "DELETE",
        _ONE,
        authentication_chain.delete_authenticator,
        "Delete an authenticator, the built-in database with its users",
        _TAG,
        status=204,
    ),
    Route(
        "GET",
        f"{_ONE}/status",
        authentication_chain.get_status,
        "Show how an authenticator is doing",
        _TAG,
        answer=AuthenticatorStatus,
        errors=_UNKNOWN,
    ),
    Route(
        "PUT",
        f"{_ONE}/position/{{position}}",
        authentication_chain.move_authenticator,
        "Move an authenticator to the front, the rear, before:ID or after:ID",
        _TAG,
        status=204,
        errors=_ERRORS,
    ),
    Route(
        "GET",
        _USERS,
        authentication.list_users,
        "List users",
        _TAG,
        query=UserQuery,
        answer=UserPage,
        errors=_ERRORS,
    ),
    Route(
        "POST",
        _USERS,
        authentication.create_user,
        "Create a user",
        _TAG,
        body=NewUser,
        answer=User,
        status=201,
        errors={409: ("ALREADY_EXISTS",), **_ERRORS},
    ),
    Route(
        "GET",
        f"{_USERS}/{{user_id}}",
        authentication.get_user,
        "Show a user",
        _TAG,
        answer=User,
        errors=_ERRORS,
    ),
    Route(
        "PUT",
        f"{_USERS}/{{user_id}}",
        authentication.update_user,
        "Change a user's password",
        _TAG,
        body=ChangedUser,
        answer=User,
        errors=_ERRORS,
    ),
    Route(
        "DELETE",
        f"{_USERS}/{{user_id}}",
        authentication.delete_user,
        "Delete a user",
        _TAG,
        status=204,
        errors=_ERRORS,
    ),
    Route(
        "POST",
        f"{_ONE}/import_users",
        authentication.import_users,
        "Import users from a CSV or JSON file, or a JSON array",
        _TAG,
        query=ImportQuery,
        body=bytes,
        body_forms={MULTIPART: UploadedFile, "application/json": list[ImportedUser]},
        max_body_size=MAX_FILE_BYTES + _IMPORT_OVERHEAD,
        status=204,
        errors=_ERRORS,
    ),
)
