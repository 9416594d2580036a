"""Topic rewrite: the whole list of rules is shown and replaced."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ....broker.routing.topics import InvalidTopic, check_filter, check_name
from ....broker.topic_rewrite import RewriteRule
from ....store.acl.regular_expressions import RegularExpression
from ....store.errors import Invalid
from ...configuration import Governed, Root
from ...errors import ApiError
from ...limits import Body
from ...routes import Call

MAX_RULES = 19
"""EMQX says 20 and takes 19."""
_SECONDS = 0.01
"""For one search; a topic for which that is too short is not rewritten."""


class Rule(Body):
    """One rule; of several whose source matches a topic, the last one counts."""

    action: Literal["subscribe", "publish", "all"]
    source_topic: Annotated[str, Field(min_length=1, max_length=1_024)]
    dest_topic: Annotated[str, Field(min_length=1, max_length=1_024)]
    re: Annotated[str, Field(min_length=1, max_length=256)]

    @field_validator("source_topic")
    @classmethod
    def _is_filter(cls, value: str) -> str:
        try:
            check_filter(value)
        except InvalidTopic as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("re")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        try:
            RegularExpression(value)
        except Invalid as error:
            raise ValueError(error.message) from None
        return value

    @model_validator(mode="after")
    def _has_destination(self) -> "Rule":
        check = check_filter if self.action == "subscribe" else check_name
        try:
            check(self.dest_topic)
        except InvalidTopic as error:
            raise ValueError(f"dest_topic: {error}") from None
        return self


def _none(governed: Governed) -> list[Rule]:
    return []


def _apply(governed: Governed, rules: list[Rule]) -> None:
    governed.broker.rewrite_topics(_compiled(rule) for rule in rules)


def _compiled(rule: Rule) -> RewriteRule:
    search = partial(RegularExpression(rule.re).groups, seconds=_SECONDS)
    return RewriteRule(rule.action, rule.source_topic, rule.dest_topic, search)


REWRITE: Root[list[Rule]] = Root("rewrite", list[Rule], _none, _apply)
"""The rules of topic rewrite."""


async def get_rules(call: Call[None, None]) -> object:
    """List the rules."""
    return call.state.configuration.as_json(REWRITE)


async def set_rules(call: Call[None, list[Rule]]) -> object:
    """Take the place of all rules."""
    if len(call.body) > MAX_RULES:
        raise ApiError(413, "EXCEED_LIMIT", f"Max rewrite rules count is {MAX_RULES + 1}")
    configuration = call.state.configuration
    await configuration.put(REWRITE, call.body, **call.origin)
    return configuration.as_json(REWRITE)
