"""What rules, their subjects and the defaults after them look like."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ...store.records import Condition, Rule, SubjectType
from ...store.rules import MAX_RULES
from ..limits import Body
from ..paging import Meta, PageQuery, Query
from ..rule_models import NewRule, RuleRow, show_rule
from .fields import Decision

_MAX_CONDITION = 10_000


class ConditionRow(TypedDict):
    """Show which clients a rule is for; all that is not None must hold."""

    ipaddr: str | None
    clientid_re: str | None
    username_re: str | None
    listener: str | None
    listener_re: str | None
    zone: str | None
    zone_re: str | None


class ConditionalRule(RuleRow):
    """Show a rule with its condition; None where it is for every client of its subject."""

    condition: ConditionRow | None


class SubjectRules(TypedDict):
    """Show the rules of one subject in the order in which they are read; the subject of type `all` is empty."""

    subject_type: SubjectType
    subject: str
    rules: list[ConditionalRule]


class SubjectRow(TypedDict):
    """Show in a list who has rules of their own."""

    subject_type: SubjectType
    subject: str
    rule_count: int


class SubjectPage(TypedDict):
    """One page of subjects."""

    data: list[SubjectRow]
    meta: Meta


class SubjectQuery(PageQuery):
    """Ask who has rules."""

    subject_type: SubjectType | None = None
    like: str | None = Field(default=None, description="Part of the user name or client id")


class PlaceQuery(Query):
    """Say where in the list a rule goes."""

    first: bool = Field(default=False, description="Before all others; otherwise behind them")


_Text = Annotated[str, Field(min_length=1, max_length=_MAX_CONDITION)]


class NewCondition(Body):
    """Which clients a rule is for; all that is given must hold."""

    ipaddr: _Text | None = Field(default=None, description="An address, or a network as in 192.0.2.0/24")
    clientid_re: _Text | None = None
    username_re: _Text | None = None
    listener: _Text | None = Field(default=None, description="Its name, with or without its type: `tcp:default`")
    listener_re: _Text | None = None
    zone: _Text | None = None
    zone_re: _Text | None = None


class NewConditionalRule(NewRule):
    """A rule to be set."""

    condition: NewCondition | None = None

    def to_rule(self) -> Rule:
        """Make the store's record."""
        rule = super().to_rule()
        if self.condition is None or not self.condition.model_fields_set:
            return rule
        given = self.condition
        condition = Condition(
            ipaddr=given.ipaddr,
            clientid_re=given.clientid_re,
            username_re=given.username_re,
            listener=given.listener,
            listener_re=given.listener_re,
            zone=given.zone,
            zone_re=given.zone_re,
        )
        return Rule(rule.topic, rule.permission, rule.action, rule.qos, rule.retain, condition)


class NewSubjectRules(Body):
    """The rules that a subject is to have instead of its own."""

    rules: list[NewConditionalRule] = Field(fail_fast=True, max_length=MAX_RULES)


class Defaults(TypedDict):
    """Show what holds where no rule and no role fits; unsubscribe is kept for files that have it."""

    publish: Decision
    receive: Decision
    subscribe: Decision
    unsubscribe: Decision


class ChangedDefaults(Body):
    """What is to be another; what is not given stays."""

    publish: Decision | None = None
    receive: Decision | None = None
    subscribe: Decision | None = None
    unsubscribe: Decision | None = None


RuledSubject = Literal["username", "clientid"]


def show(rule: Rule) -> ConditionalRule:
    """Show a rule with its condition."""
    condition = rule.condition
    row: ConditionRow | None = None
    if condition is not None:
        row = {
            "ipaddr": condition.ipaddr,
            "clientid_re": condition.clientid_re,
            "username_re": condition.username_re,
            "listener": condition.listener,
            "listener_re": condition.listener_re,
            "zone": condition.zone,
            "zone_re": condition.zone_re,
        }
    return {**show_rule(rule), "condition": row}
