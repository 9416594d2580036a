"""The rules of client ids, of user names and for all: in memory by subject, compiled when first asked for."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast, get_args

from .acl.conditions import check_conditions, expressions_of
from .acl.patterns import LITERAL_PREFIX, check_rule_topic
from .acl.policy import Policy, operations, qos_mask
from .background_work import full_collection_put_off, in_slices
from .database import Database, Statement
from .errors import AlreadyExists, Invalid, NotFound
from .names import check_identifier
from .records import Action, Change, Condition, Permission, Rule, SubjectType
from .writer import Write

MAX_RULES = 10_000
"""Rules of one subject; a facade may set a lower bound."""
LONG = 1_000
"""Rules of which more are put into rows in a thread."""
_QUICK = 200
"""Rules that are checked and compiled without leaving the event loop."""

_LOAD_RULES = """
    SELECT subject_type, subject, topic, match, allow, ops, qos_mask, retain, cond FROM acl_rule
    WHERE subject_type IN ('clientid', 'username', 'all') ORDER BY subject_type, subject, ord, id"""
_INSERT_RULE = """
    INSERT INTO acl_rule (subject_type, subject, ord, ops, match, allow, topic, qos_mask, retain, cond)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_APPEND_RULE = """
    INSERT INTO acl_rule (subject_type, subject, ord, ops, match, allow, topic, qos_mask, retain, cond)
    SELECT ?, ?, coalesce(max(ord), -1) + 1, ?, ?, ?, ?, ?, ?, ? FROM acl_rule
    WHERE subject_type = ? AND subject = ?"""
_PREPEND_RULE = """
    INSERT INTO acl_rule (subject_type, subject, ord, ops, match, allow, topic, qos_mask, retain, cond)
    SELECT ?, ?, coalesce(min(ord), 1) - 1, ?, ?, ?, ?, ?, ?, ? FROM acl_rule
    WHERE subject_type = ? AND subject = ?"""
_DELETE_RULES = "DELETE FROM acl_rule WHERE subject_type = ? AND subject = ?"
_DELETE_SUBJECT = "DELETE FROM acl_subject WHERE subject_type = ? AND subject = ?"
_INSERT_SUBJECT = "INSERT INTO acl_subject (subject_type, subject) VALUES (?, ?) ON CONFLICT DO NOTHING"

_ACTIONS: dict[int, Action] = {1: "publish", 4: "subscribe", 5: "all"}
_SUBJECT_NAMES: dict[SubjectType, str] = {"username": "user name", "clientid": "client id", "all": "subject"}


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """Hold a valid list and what was compiled from it."""

    rules: tuple[Rule, ...]
    policy: Policy | None
    """None where the list is empty, or left to be compiled when it is first asked for."""


async def check_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return a list as it is kept, a long one or one with conditions from a thread; raise Invalid."""
    fixed = tuple(rules)
    return _check_rules(fixed) if _is_quick(fixed) else await asyncio.to_thread(_check_rules, fixed)


async def compile_rules(rules: Iterable[Rule]) -> CompiledRules:
    """Check a list and compile it, a long one or one with conditions in a thread; raise Invalid."""
    fixed = tuple(rules)
    return CompiledRules(_check_rules(fixed), None) if _is_quick(fixed) else await asyncio.to_thread(_compile, fixed)


def _is_quick(rules: Sequence[Rule]) -> bool:
    return len(rules) <= _QUICK and not any(rule.condition for rule in rules)


def _compile(rules: tuple[Rule, ...]) -> CompiledRules:
    with full_collection_put_off():
        checked = _check_rules(rules)
        return CompiledRules(checked, Policy.of_rules(checked))


class Rules:
    """Own the rules in memory and what was compiled from them."""

    def __init__(self) -> None:
        self._rules: dict[SubjectType, dict[str, tuple[Rule, ...]]] = {"username": {}, "clientid": {}, "all": {}}
        self._policies: dict[tuple[SubjectType, str], Policy] = {}

    async def load(self, database: Database) -> None:
        """Read all rules."""
        for subject_type, subject in await database.read("SELECT subject_type, subject FROM acl_subject"):
            self._rules[subject_type][subject] = ()
        lists: dict[tuple[SubjectType, str], list[Rule]] = {}
        for row in await database.read(_LOAD_RULES):
            lists.setdefault((row[0], row[1]), []).append(_from_row(*row[2:]))
        for (subject_type, subject), rules in lists.items():
            self._rules[subject_type][subject] = tuple(rules)
            if len(rules) > _QUICK:  # now, and not while the first client waits for it
                self._policies[subject_type, subject] = Policy.of_rules(tuple(rules))

    def of(self, subject_type: str, subject: str) -> tuple[Rule, ...] | None:
        """Return a subject's rules, None where it has no record."""
        return self._rules[_check_subject_type(subject_type)].get(subject)

    def subjects(self, subject_type: str) -> list[str]:
        """Return the subjects of a type that have a record, in alphabetical order."""
        return sorted(self._rules[_check_subject_type(subject_type)])

    def stored(self, subject_type: str) -> list[tuple[str, tuple[Rule, ...]]]:
        """Return the records of a type, oldest first."""
        return [*self._rules[_check_subject_type(subject_type)].items()]

    def count(self) -> int:
        """Count the subjects that have a record; all together is one."""
        return sum(map(len, self._rules.values()))

    def policy(self, subject_type: SubjectType, subject: str) -> Policy | None:
        """Return a subject's rules compiled, None where it has none."""
        rules = self._rules[subject_type].get(subject)
        if not rules:
            return None
        key = (subject_type, subject)
        policy = self._policies.get(key)
        if policy is None:
            policy = self._policies[key] = Policy.of_rules(rules)
        return policy

    def set(self, subject_type: str, subject: str, rules: CompiledRules) -> Write[None]:
        """Prepare a subject's list anew, whether it has one or not."""
        checked = _check_subject(subject_type, subject)
        return self._write("rules.set", checked, [(subject, rules)])

    def add(self, subject_type: str, subject: str, rule: Rule, *, first: bool) -> Write[tuple[Rule, ...]]:
        """Prepare one more rule of a subject, which was checked, behind the others or before them."""
        checked = _check_subject(subject_type, subject)
        before = self._rules[checked].get(subject) or ()
        rules = (rule, *before) if first else (*before, rule)
        _check_count(len(rules))
        if rule.condition is not None and expressions_of(rule.condition):
            check_conditions(dict.fromkeys(each.condition for each in rules if each.condition is not None))
        known = self._policies.get((checked, subject))
        policy = known.with_rule(rule, first=first) if known is not None else None
        if policy is None and len(rules) > _QUICK:
            policy = Policy.of_rules(rules)
        _, _, _, *columns = _to_row(checked, subject, 0, rule)
        key = (checked, subject)
        return Write(
            action="rules.add",
            target=f"{checked}:{subject}",
            statements=[
                Statement(_INSERT_SUBJECT, [key]),
                Statement(_PREPEND_RULE if first else _APPEND_RULE, [(*key, *columns, *key)]),
            ],
            apply=lambda: self._put(checked, subject, CompiledRules(rules, policy)),
            result=rules,
            change=_change(checked, [subject]),
            detail={"subjects": 1, "rules": len(rules)},
        )

    def create(self, subject_type: str, entries: Iterable[tuple[str, CompiledRules]]) -> Write[None]:
        """Prepare lists for subjects that have none; raise AlreadyExists where one has, or is named twice."""
        checked = _check_subject_type(subject_type)
        lists: list[tuple[str, CompiledRules]] = []
        seen: set[str] = set()
        for subject, rules in entries:
            _check_subject(subject_type, subject)
            if subject in self._rules[checked] or subject in seen:
                raise AlreadyExists(f"Rules for the {_SUBJECT_NAMES[checked]} '{subject[:200]}' already exist.")
            seen.add(subject)
            lists.append((subject, rules))
        return self._write("rules.create", checked, lists)

    def put(self, subject_type: str, entries: Iterable[tuple[str, CompiledRules]]) -> Write[None]:
        """Prepare lists for subjects, whether they have any or not; of one that is named twice the last one counts."""
        lists = dict(entries)
        for subject in lists:
            _check_subject(subject_type, subject)
        return self._write("rules.put", _check_subject_type(subject_type), [*lists.items()])

    def delete(self, subject_type: str, subject: str) -> Write[None]:
        """Prepare the end of a subject's record; raise NotFound where it has none."""
        checked = _check_subject_type(subject_type)
        if subject not in self._rules[checked]:
            raise NotFound(f"There are no rules for the {_SUBJECT_NAMES[checked]} '{subject[:200]}'.")

        def apply() -> None:
            del self._rules[checked][subject]
            self._policies.pop((checked, subject), None)

        key = [(checked, subject)]
        return Write(
            action="rules.delete",
            target=f"{checked}:{subject}",
            statements=[Statement(_DELETE_RULES, key), Statement(_DELETE_SUBJECT, key)],
            apply=apply,
            result=None,
            change=_change(checked, [subject]),
        )

    def delete_all(self) -> Write[None]:
        """Prepare the end of all records."""

        def apply() -> None:
            for records in self._rules.values():
                records.clear()
            self._policies.clear()

        return Write(
            action="rules.delete_all",
            target="*",
            statements=[
                Statement("DELETE FROM acl_rule WHERE subject_type <> 'role'", [()]),
                Statement("DELETE FROM acl_subject", [()]),
            ],
            apply=apply,
            result=None,
            change=Change(everyone=True),
        )

    def _write(self, action: str, subject_type: SubjectType, lists: Sequence[tuple[str, CompiledRules]]) -> Write[None]:
        def apply() -> None:
            for subject, new in lists:
                self._put(subject_type, subject, new)

        keys = [(subject_type, subject) for subject, _ in lists]
        with full_collection_put_off():
            rows = [
                _to_row(subject_type, subject, rank, rule)
                for subject, new in lists
                for rank, rule in enumerate(in_slices(new.rules))
            ]
        return Write(
            action=action,
            target=", ".join(f"{subject_type}:{subject}" for subject, _ in lists[:100]),
            statements=[
                Statement(_DELETE_RULES, keys),
                Statement(_INSERT_SUBJECT, keys),
                Statement(_INSERT_RULE, rows),
            ],
            apply=apply,
            result=None,
            change=_change(subject_type, [subject for subject, _ in lists]),
            detail={"subjects": len(lists), "rules": len(rows)},
        )

    def _put(self, subject_type: SubjectType, subject: str, new: CompiledRules) -> None:
        self._rules[subject_type][subject] = new.rules
        self._policies.pop((subject_type, subject), None)
        if new.policy is not None:
            self._policies[subject_type, subject] = new.policy


def _change(subject_type: SubjectType, subjects: Iterable[str]) -> Change:
    if subject_type == "username":
        return Change(usernames=frozenset(subjects))
    if subject_type == "clientid":
        return Change(client_ids=frozenset(subjects))
    return Change(everyone=True)


def _check_subject_type(subject_type: str) -> SubjectType:
    if subject_type not in get_args(SubjectType):
        raise Invalid("The subject type must be 'username', 'clientid' or 'all'.")
    return cast("SubjectType", subject_type)


def _check_subject(subject_type: str, subject: str) -> SubjectType:
    checked = _check_subject_type(subject_type)
    if checked != "all":
        check_identifier(subject, _SUBJECT_NAMES[checked])
    elif subject:
        raise Invalid("Rules for all have no subject.")
    return checked


def _check_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    checked = tuple(rules)
    _check_count(len(checked))
    for rule in in_slices(checked):
        if rule.permission not in get_args(Permission):
            raise Invalid("The permission of a rule must be 'allow' or 'deny'.")
        if rule.action not in get_args(Action):
            raise Invalid("The action of a rule must be 'publish', 'subscribe' or 'all'.")
        if not rule.qos or not set(rule.qos) <= {0, 1, 2}:
            raise Invalid("The QoS list of a rule must name 0, 1 or 2 at least once and nothing else.")
        check_rule_topic(rule.topic)
    check_conditions(rule.condition for rule in checked if rule.condition is not None)
    # As they will be read back after a restart.
    return tuple(
        [replace(rule, qos=tuple([qos for qos in range(3) if qos in rule.qos])) for rule in in_slices(checked)]
    )


def _check_count(count: int) -> None:
    if count > MAX_RULES:
        raise Invalid(f"A list must not have more than {MAX_RULES} rules.")


def _to_row(subject_type: SubjectType, subject: str, rank: int, rule: Rule) -> tuple[object, ...]:
    is_literal = rule.topic.startswith(LITERAL_PREFIX)
    return (
        subject_type,
        subject,
        rank,
        operations(rule),
        "literal" if is_literal else "pattern",
        int(rule.permission == "allow"),
        rule.topic.removeprefix(LITERAL_PREFIX),
        qos_mask(rule),
        None if rule.retain is None else int(rule.retain),
        None if rule.condition is None else _condition_to_json(rule.condition),
    )


def _condition_to_json(condition: Condition) -> str:
    return json.dumps({key: value for key, value in asdict(condition).items() if value is not None}, ensure_ascii=False)


def _from_row(
    topic: str, match: str, allow: int, ops: int, mask: int, retain: int | None, condition: str | None
) -> Rule:
    return Rule(
        topic=LITERAL_PREFIX + topic if match == "literal" else topic,
        permission="allow" if allow else "deny",
        action=_ACTIONS[ops],
        qos=tuple(qos for qos in range(3) if mask >> qos & 1),
        retain=None if retain is None else bool(retain),
        condition=None if condition is None else Condition(**json.loads(condition)),
    )
