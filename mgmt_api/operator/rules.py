"""The rules of user names, of client ids and for all clients, and what holds where none fits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from ...store.directory import Directory
from ...store.errors import NotFound
from ...store.records import Rule, SubjectType
from ..encoding import Listing, Page, converted, listing
from ..errors import ApiError
from ..paging import paginate
from ..routes import Call
from .models_rules import (
    ChangedDefaults,
    Defaults,
    NewConditionalRule,
    NewSubjectRules,
    PlaceQuery,
    RuledSubject,
    SubjectQuery,
    SubjectRow,
    show,
)

_Subject = tuple[SubjectType, str]
_SUBJECT_TYPES: tuple[SubjectType, ...] = ("username", "clientid", "all")


async def list_subjects(call: Call[SubjectQuery, None]) -> Page:
    """List who has rules of their own, and how many."""
    directory, query = call.state.directory, call.query
    types = _SUBJECT_TYPES if query.subject_type is None else (query.subject_type,)
    part = query.like or ""

    def render(entry: _Subject) -> SubjectRow:
        subject_type, subject = entry
        rules = directory.rules(subject_type, subject) or ()
        return {"subject_type": subject_type, "subject": subject, "rule_count": len(rules)}

    return await paginate(_subjects(directory, types), query, render, keep=lambda entry: part in entry[1])


async def get_rules(call: Call[None, None]) -> Listing:
    """Show the rules of a user name or client id."""
    subject_type, subject = _named(call.path)
    return await _show(subject_type, subject, _existing(call.state.directory, subject_type, subject))


async def set_rules(call: Call[None, NewSubjectRules]) -> Listing:
    """Set the rules of a user name or client id, whether it has any or not."""
    return await _set(call, *_named(call.path))


async def add_rule(call: Call[PlaceQuery, NewConditionalRule]) -> Listing:
    """Add a rule to those of a user name or client id, which may have none."""
    return await _add(call, *_named(call.path))


async def delete_rules(call: Call[None, None]) -> None:
    """Delete the rules of a user name or client id."""
    await call.state.directory.delete_rules(*_named(call.path), **call.origin)


async def get_all_rules(call: Call[None, None]) -> Listing:
    """Show the rules for all clients; there may be none."""
    return await _show("all", "", call.state.directory.rules("all") or ())


async def set_all_rules(call: Call[None, NewSubjectRules]) -> Listing:
    """Set the rules for all clients."""
    return await _set(call, "all", "")


async def add_rule_for_all(call: Call[PlaceQuery, NewConditionalRule]) -> Listing:
    """Add a rule to those for all clients."""
    return await _add(call, "all", "")


async def delete_all_rules(call: Call[None, None]) -> None:
    """Delete the rules for all clients."""
    await call.state.directory.delete_rules("all", **call.origin)


async def get_defaults(call: Call[None, None]) -> Defaults:
    """Show what holds where no rule and no role fits."""
    return _defaults(call.state.directory)


async def set_defaults(call: Call[None, ChangedDefaults]) -> Defaults:
    """Change what holds where no rule and no role fits."""
    given: dict[str, str | None] = call.body.model_dump()
    wanted = {operation: decision == "allow" for operation, decision in given.items() if decision is not None}
    if wanted:
        await call.state.directory.set_default_access(wanted, **call.origin)
    return _defaults(call.state.directory)


def _subjects(directory: Directory, types: tuple[SubjectType, ...]) -> Iterator[_Subject]:
    for subject_type in types:
        for subject in directory.rule_subjects(subject_type):
            yield subject_type, subject


def _named(path: Mapping[str, str]) -> tuple[SubjectType, str]:
    subject_type = path["subject_type"]
    for known in get_args(RuledSubject):
        if subject_type == known:
            return known, path["subject"]
    raise ApiError(404, "NOT_FOUND", "Rules are those of a 'username' or a 'clientid', or for 'all'.")


def _existing(directory: Directory, subject_type: SubjectType, subject: str) -> Sequence[Rule]:
    rules = directory.rules(subject_type, subject)
    if rules is None:
        what = "user name" if subject_type == "username" else "client id"
        raise NotFound(f"The {what} '{subject[:200]}' has no rules of its own.")
    return rules


async def _show(subject_type: SubjectType, subject: str, rules: Sequence[Rule]) -> Listing:
    return await listing({"subject_type": subject_type, "subject": subject}, "rules", rules, show)


async def _set(call: Call[None, NewSubjectRules], subject_type: SubjectType, subject: str) -> Listing:
    rules = await converted(call.body.rules, NewConditionalRule.to_rule)
    await call.state.directory.set_rules(subject_type, subject, rules, **call.origin)
    return await _show(subject_type, subject, rules)


async def _add(call: Call[PlaceQuery, NewConditionalRule], subject_type: SubjectType, subject: str) -> Listing:
    rules = await call.state.directory.add_rule(
        subject_type, subject, call.body.to_rule(), first=call.query.first, **call.origin
    )
    return await _show(subject_type, subject, rules)


def _defaults(directory: Directory) -> Defaults:
    allowed = directory.default_access
    return {
        "publish": "allow" if allowed["publish"] else "deny",
        "receive": "allow" if allowed["receive"] else "deny",
        "subscribe": "allow" if allowed["subscribe"] else "deny",
        "unsubscribe": "allow" if allowed["unsubscribe"] else "deny",
    }
