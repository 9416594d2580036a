"""EMQX's form of a rule: what limits it to some clients stands beside its topic."""

from dataclasses import asdict
from typing import NotRequired, cast

from ....store.records import Condition, Rule
from ... import rule_models
from ...rule_models import NewRule, RuleRow


class EmqxRuleRow(RuleRow):
    """Show a rule; the keys of its condition only where it has one, for EMQX 5 does not know them."""

    ipaddr: NotRequired[str]
    clientid_re: NotRequired[str]
    username_re: NotRequired[str]
    listener: NotRequired[str]
    listener_re: NotRequired[str]
    zone: NotRequired[str]
    zone_re: NotRequired[str]


class EmqxRule(NewRule):
    """A rule to be set."""

    ipaddr: str | None = None
    clientid_re: str | None = None
    username_re: str | None = None
    listener: str | None = None
    listener_re: str | None = None
    zone: str | None = None
    zone_re: str | None = None

    def to_rule(self) -> Rule:
        """Make the store's record."""
        rule = super().to_rule()
        condition = Condition(
            self.ipaddr,
            self.clientid_re,
            self.username_re,
            self.listener,
            self.listener_re,
            self.zone,
            self.zone_re,
        )
        if condition == Condition():
            return rule
        return Rule(rule.topic, rule.permission, rule.action, rule.qos, rule.retain, condition)


def show_rule(rule: Rule) -> EmqxRuleRow:
    """Show a rule with all that limits it, so that whoever writes back what was read takes no limit away."""
    given = {} if rule.condition is None else asdict(rule.condition)
    limits = {key: value for key, value in given.items() if value is not None}
    return cast("EmqxRuleRow", {**rule_models.show_rule(rule), **limits})
