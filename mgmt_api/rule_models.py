"""What a rule looks like at every facade that lists rules of user names, client ids and all."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, FailFast, Field
from typing_extensions import TypedDict

from ..store.records import Rule
from .limits import Body

_MAX_QOS_LEVELS = 16
"""Levels of one rule; each may be named more than once."""


def _refuse_bool(value: object) -> object:
    """Keep `true` from counting as 1."""
    if isinstance(value, bool):
        raise ValueError("must be 0, 1 or 2")  # not TypeError: pydantic would let it through
    return value


def _split_qos(value: object) -> object:
    """Accept what EMQX does: a list, one number, or numbers separated by commas."""
    if isinstance(value, str):
        return value.split(",", _MAX_QOS_LEVELS)
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _read_retain(value: object) -> object:
    """Accept what EMQX does, and not all that pydantic takes for a boolean."""
    given = {"true": True, "false": False, "all": "all"}.get(value, value) if isinstance(value, str) else value
    if isinstance(given, bool) or given == "all":
        return given
    raise ValueError("must be true, false or 'all'")


def _spell_out(value: object) -> object:
    """Accept the short forms of actions."""
    return {"pub": "publish", "sub": "subscribe"}.get(value, value) if isinstance(value, str) else value


QosLevel = Annotated[int, Field(ge=0, le=2), BeforeValidator(_refuse_bool)]
_QosLevels = Annotated[list[QosLevel], FailFast(), Field(max_length=_MAX_QOS_LEVELS), BeforeValidator(_split_qos)]


class RuleRow(TypedDict):
    """Show a rule, all its keys filled in."""

    topic: str
    permission: Literal["allow", "deny"]
    action: Literal["publish", "subscribe", "all"]
    qos: list[int]
    retain: bool | Literal["all"]


class NewRule(Body):
    """A rule to be set."""

    topic: str = Field(description="A filter; `${clientid}` and `${username}` are filled in; `eq ...` is literal")
    permission: Literal["allow", "deny"]
    action: Annotated[Literal["publish", "subscribe", "all"], BeforeValidator(_spell_out)]
    qos: _QosLevels = Field(default=[0, 1, 2])
    retain: Annotated[bool | Literal["all"], BeforeValidator(_read_retain)] = Field(
        default="all", description="The retain flag a publish must have"
    )

    def to_rule(self) -> Rule:
        """Make the store's record."""
        retain = None if self.retain == "all" else self.retain
        return Rule(self.topic, self.permission, self.action, tuple(self.qos), retain)


def show_rule(rule: Rule) -> RuleRow:
    """Show a rule."""
    return {
        "topic": rule.topic,
        "permission": rule.permission,
        "action": rule.action,
        "qos": list(rule.qos),
        "retain": "all" if rule.retain is None else rule.retain,
    }
