"""The rules of the built-in database: for user names, for client ids, for all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ....store.directory import Directory
from ....store.errors import AlreadyExists, NotFound
from ....store.records import Rule
from ....store.source_order import BuiltInSource
from ...encoding import Page
from ...errors import ApiError, bad_request
from ...paging import PageQuery, paginate
from ...routes import Call
from ...state import ApiState
from .models import (
    AllRules,
    ClientRules,
    ClientRulesQuery,
    NewClientRules,
    NewRules,
    NewUserRules,
    UserRules,
    UserRulesQuery,
)
from .models_rules import EmqxRule, EmqxRuleRow, show_rule

MAX_SUBJECTS = 1_000
"""User names or client ids that one request may give rules to."""
MAX_NEW_RULES = 10_000
"""Rules that one request may bring for all of them: the store checks them without a pause."""

SubjectType: TypeAlias = Literal["username", "clientid"]


@dataclass(frozen=True, slots=True)
class _Words:
    """Hold how EMQX speaks of a kind of subject in its errors."""

    exists: str
    missing: str


_WORDS: dict[SubjectType, _Words] = {
    "username": _Words("User '{}' already exist", "Username Not Found"),
    "clientid": _Words("Client '{}' already exist", "ClientID Not Found"),
}


async def list_user_rules(call: Call[UserRulesQuery, None]) -> Page:
    """List the user names that have rules, with their rules."""
    return await _list(call.state, "username", call.query.like_username, call.query)


async def list_client_rules(call: Call[ClientRulesQuery, None]) -> Page:
    """List the client ids that have rules, with their rules."""
    return await _list(call.state, "clientid", call.query.like_clientid, call.query)


async def create_user_rules(call: Call[None, list[NewUserRules]]) -> None:
    """Give rules to user names that have none: to all of these or to none."""
    await _create(call, "username", [(entry.username, entry.rules) for entry in call.body])


async def create_client_rules(call: Call[None, list[NewClientRules]]) -> None:
    """Give rules to client ids that have none: to all of these or to none."""
    await _create(call, "clientid", [(entry.clientid, entry.rules) for entry in call.body])


async def get_user_rules(call: Call[None, None]) -> UserRules:
    """Show the rules of a user name."""
    _source(call.state)
    username = call.path["username"]
    return {"username": username, "rules": _existing(call.state, "username", username)}


async def get_client_rules(call: Call[None, None]) -> ClientRules:
    """Show the rules of a client id."""
    _source(call.state)
    clientid = call.path["clientid"]
    return {"clientid": clientid, "rules": _existing(call.state, "clientid", clientid)}


async def set_user_rules(call: Call[None, NewUserRules]) -> None:
    """Set the rules of a user name, whether it has any or not."""
    await _set(call, "username", call.body.username, call.body.rules)


async def set_client_rules(call: Call[None, NewClientRules]) -> None:
    """Set the rules of a client id, whether it has any or not."""
    await _set(call, "clientid", call.body.clientid, call.body.rules)


async def delete_user_rules(call: Call[None, None]) -> None:
    """Delete the rules of a user name."""
    await _delete(call, "username")


async def delete_client_rules(call: Call[None, None]) -> None:
    """Delete the rules of a client id."""
    await _delete(call, "clientid")


async def get_all_rules(call: Call[None, None]) -> AllRules:
    """Show the rules for all clients."""
    _source(call.state)
    return {"rules": [show_rule(rule) for rule in call.state.directory.rules("all") or ()]}


async def set_all_rules(call: Call[None, NewRules]) -> None:
    """Set the rules for all clients."""
    await call.state.directory.set_rules("all", "", _records(call.state, call.body.rules), **call.origin)


async def delete_all_rules(call: Call[None, None]) -> None:
    """Delete the rules for all clients; there may be none."""
    _source(call.state)
    try:
        await call.state.directory.delete_rules("all", **call.origin)
    except NotFound:
        return


async def purge_rules(call: Call[None, None]) -> None:
    """Delete every rule of user names, of client ids and for all, while the source is switched off."""
    if _source(call.state).enabled:  # EMQX's guard: nobody shall lose all access by one request
        raise bad_request("The built_in_database source must be disabled before purge")
    await call.state.directory.delete_all_rules(**call.origin)


def max_rules(state: ApiState, source: BuiltInSource) -> int:
    """Tell how many rules one user name, one client id or all may have."""
    return state.settings.max_rules if source.max_rules is None else source.max_rules


def _source(state: ApiState) -> BuiltInSource:
    """Return the source that the rules belong to; raises `ApiError` 404 where there is none."""
    source = state.directory.sources.get("built_in_database")
    if not isinstance(source, BuiltInSource):
        raise ApiError(404, "NOT_FOUND", "There is no source of the type built_in_database")
    return source


async def _list(state: ApiState, kind: SubjectType, part: str | None, query: PageQuery) -> Page:
    _source(state)
    subjects: Iterable[str] = state.directory.rule_subjects(kind)
    if part:
        subjects = (subject for subject in subjects if part in subject)

    def render(subject: str) -> dict[str, Any]:
        rules = state.directory.rules(kind, subject) or ()
        return {kind: subject, "rules": [show_rule(rule) for rule in rules]}

    return await paginate(subjects, query, render, counted=not part)


async def _create(call: Call[None, Any], kind: SubjectType, entries: Sequence[tuple[str, Sequence[EmqxRule]]]) -> None:
    _source(call.state)
    directory = call.state.directory
    if sum(len(rules) for _, rules in entries) > MAX_NEW_RULES:
        raise bad_request(f"body: there are more than {MAX_NEW_RULES} rules")
    lists = [(subject, _records(call.state, rules)) for subject, rules in entries]
    try:
        await directory.create_rules(kind, lists, **call.origin)
    except AlreadyExists:
        raise ApiError(409, "ALREADY_EXISTS", _WORDS[kind].exists.format(_taken(directory, kind, entries))) from None


def _taken(directory: Directory, kind: SubjectType, entries: Iterable[tuple[str, object]]) -> str:
    """Name the first subject that has rules already, or is named a second time."""
    seen: set[str] = set()
    for subject, _ in entries:
        if subject in seen or directory.rules(kind, subject) is not None:
            break
        seen.add(subject)
    else:
        subject = ""  # whoever stood in the way is gone by now
    return subject


def _existing(state: ApiState, kind: SubjectType, subject: str) -> list[EmqxRuleRow]:
    rules = state.directory.rules(kind, subject)
    if rules is None:
        raise ApiError(404, "NOT_FOUND", "Not Found")
    return [show_rule(rule) for rule in rules]


async def _set(call: Call[None, Any], kind: SubjectType, subject: str, rules: Sequence[EmqxRule]) -> None:
    _source(call.state)
    if subject != call.path[kind]:
        raise bad_request(f"body: {kind}: must be the one in the path")
    await call.state.directory.set_rules(kind, subject, _records(call.state, rules), **call.origin)


async def _delete(call: Call[None, None], kind: SubjectType) -> None:
    _source(call.state)
    try:
        await call.state.directory.delete_rules(kind, call.path[kind], **call.origin)
    except NotFound:
        raise ApiError(404, "NOT_FOUND", _WORDS[kind].missing) from None


def _records(state: ApiState, rules: Sequence[EmqxRule]) -> list[Rule]:
    limit = max_rules(state, _source(state))
    if len(rules) > limit:
        raise bad_request(f"body: rules: there are more than {limit}")
    return [rule.to_rule() for rule in rules]
