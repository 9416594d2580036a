"""The part of the route table that says who may connect and do what."""

from typing import Any

from ...routes import Route
from . import authentication, authorization
from .models import (
    AllRules,
    ChangedUser,
    ClientRules,
    ClientRulesPage,
    ClientRulesQuery,
    NewClientRules,
    NewRules,
    NewUser,
    NewUserRules,
    User,
    UserPage,
    UserQuery,
    UserRules,
    UserRulesPage,
    UserRulesQuery,
)

_NOT_FOUND = {404: ("NOT_FOUND",)}
_USERS = "/authentication/{id}/users"
_RULES = "/authorization/sources/built_in_database/rules"


def _bulk_summary(whose: str) -> str:
    most, rules = authorization.MAX_SUBJECTS, authorization.MAX_NEW_RULES
    return f"Create rules of {whose}: at most {most:_} {whose} and {rules:_} rules in one request"


AUTHENTICATION = (
    Route(
        "GET",
        _USERS,
        authentication.list_users,
        "List users",
        "Authentication",
        query=UserQuery,
        answer=UserPage,
        errors=_NOT_FOUND,
    ),
    Route(
        "POST",
        _USERS,
        authentication.create_user,
        "Create a user",
        "Authentication",
        body=NewUser,
        answer=User,
        status=201,
        errors={409: ("ALREADY_EXISTS",), **_NOT_FOUND},
    ),
    Route(
        "GET",
        f"{_USERS}/{{user_id}}",
        authentication.get_user,
        "Show a user",
        "Authentication",
        answer=User,
        errors=_NOT_FOUND,
    ),
    Route(
        "PUT",
        f"{_USERS}/{{user_id}}",
        authentication.update_user,
        "Change a user's password",
        "Authentication",
        body=ChangedUser,
        answer=User,
        errors=_NOT_FOUND,
    ),
    Route(
        "DELETE",
        f"{_USERS}/{{user_id}}",
        authentication.delete_user,
        "Delete a user",
        "Authentication",
        status=204,
        errors=_NOT_FOUND,
    ),
)

AUTHORIZATION = (
    Route(
        "DELETE",
        _RULES,
        authorization.purge_rules,
        "Delete all rules",
        "Authorization",
        status=204,
        errors={400: ("BAD_REQUEST",)},
    ),
    Route(
        "GET",
        f"{_RULES}/users",
        authorization.list_user_rules,
        "List the rules of users",
        "Authorization",
        query=UserRulesQuery,
        answer=UserRulesPage,
    ),
    Route(
        "POST",
        f"{_RULES}/users",
        authorization.create_user_rules,
        _bulk_summary("users"),
        "Authorization",
        body=list[NewUserRules],
        max_entries=authorization.MAX_SUBJECTS,
        status=204,
        errors={409: ("ALREADY_EXISTS",)},
    ),
    Route(
        "GET",
        f"{_RULES}/users/{{username}}",
        authorization.get_user_rules,
        "Show the rules of a user",
        "Authorization",
        answer=UserRules,
        errors=_NOT_FOUND,
    ),
    Route(
        "PUT",
        f"{_RULES}/users/{{username}}",
        authorization.set_user_rules,
        "Set the rules of a user",
        "Authorization",
        body=NewUserRules,
        status=204,
    ),
    Route(
        "DELETE",
        f"{_RULES}/users/{{username}}",
        authorization.delete_user_rules,
        "Delete the rules of a user",
        "Authorization",
        status=204,
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        f"{_RULES}/clients",
        authorization.list_client_rules,
        "List the rules of clients",
        "Authorization",
        query=ClientRulesQuery,
        answer=ClientRulesPage,
    ),
    Route(
        "POST",
        f"{_RULES}/clients",
        authorization.create_client_rules,
        _bulk_summary("clients"),
        "Authorization",
        body=list[NewClientRules],
        max_entries=authorization.MAX_SUBJECTS,
        status=204,
        errors={409: ("ALREADY_EXISTS",)},
    ),
    Route(
        "GET",
        f"{_RULES}/clients/{{clientid}}",
        authorization.get_client_rules,
        "Show the rules of a client",
        "Authorization",
        answer=ClientRules,
        errors=_NOT_FOUND,
    ),
    Route(
        "PUT",
        f"{_RULES}/clients/{{clientid}}",
        authorization.set_client_rules,
        "Set the rules of a client",
        "Authorization",
        body=NewClientRules,
        status=204,
    ),
    Route(
        "DELETE",
        f"{_RULES}/clients/{{clientid}}",
        authorization.delete_client_rules,
        "Delete the rules of a client",
        "Authorization",
        status=204,
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        f"{_RULES}/all",
        authorization.get_all_rules,
        "Show the rules for all",
        "Authorization",
        answer=AllRules,
    ),
    Route(
        "POST",
        f"{_RULES}/all",
        authorization.set_all_rules,
        "Set the rules for all",
        "Authorization",
        body=NewRules,
        status=204,
    ),
    Route(
        "DELETE",
        f"{_RULES}/all",
        authorization.delete_all_rules,
        "Delete the rules for all",
        "Authorization",
        status=204,
    ),
)

ACCESS: tuple[Route[Any, Any], ...] = (*AUTHENTICATION, *AUTHORIZATION)
