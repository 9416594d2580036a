"""What a token says that its bearer may do: EMQX's two forms of the claim `acl`."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from ..acl.conditions import check_conditions, expressions_of
from ..acl.patterns import check_rule_topic
from ..acl.policy import Policy
from ..errors import Invalid
from ..records import Action, Condition, Rule

MAX_RULES = 1_000
"""Rules of one token; its size allows hardly more."""
MAX_EXPRESSIONS = 5
"""Different regular expressions of one token, which may take a millisecond each to compile."""
_KNOWN = 256

_ACTIONS: Mapping[object, Action] = {
    "publish": "publish",
    "pub": "publish",
    "subscribe": "subscribe",
    "sub": "subscribe",
    "all": "all",
    "pubsub": "all",
}
_OLD_KEYS: Mapping[str, Action] = {"pub": "publish", "sub": "subscribe", "all": "all"}
_CONDITIONS = ("ipaddr", "clientid_re", "username_re")
_RULE_KEYS = frozenset({"permission", "action", "topic", "topics", "qos", "retain", *_CONDITIONS})


class TokenRights(NamedTuple):
    """Hold what is asked before the rules of everybody."""

    policy: Policy | None = None
    """None where the token says nothing about topics."""
    final: bool = False
    """Whether nothing else is asked: what the token does not allow is denied."""
    text: str = "null"
    """The claim as JSON."""


NO_RIGHTS = TokenRights()


class TokenRightsReader:
    """Compile claims, and keep what was compiled last: many clients have tokens of the same rules."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, TokenRights] = OrderedDict()

    def read(self, claim: object) -> TokenRights:
        """Return the rights that a claim gives; raise Invalid."""
        if claim is None:
            return NO_RIGHTS
        key = json.dumps(claim)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _compile(claim, key)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known

    def restore(self, text: str) -> TokenRights:
        """Return rights again by their text; where that cannot be read, they allow nothing."""
        try:
            return self.read(json.loads(text))
        except (Invalid, RecursionError, TypeError, ValueError):
            return TokenRights(Policy.of_rules(()), final=True, text=text)


def _compile(claim: object, text: str) -> TokenRights:
    if isinstance(claim, dict):
        rules = _old_form(cast("Mapping[str, Any]", claim))
    elif isinstance(claim, list):
        rules = [rule for item in cast("list[object]", claim) for rule in _rules_of(item)]
    else:
        raise Invalid("The token's rules are neither an array nor an object.")
    if len(rules) > MAX_RULES:
        raise Invalid(f"The token has more than {MAX_RULES} rules.")
    for rule in rules:
        check_rule_topic(rule.topic)
    conditions = [rule.condition for rule in rules if rule.condition is not None]
    if len({text for condition in conditions for text in expressions_of(condition)}) > MAX_EXPRESSIONS:
        raise Invalid(f"The token has more than {MAX_EXPRESSIONS} regular expressions.")
    check_conditions(conditions)
    return TokenRights(Policy.of_rules(tuple(rules)), final=isinstance(claim, dict), text=text)


def _old_form(claim: Mapping[str, Any]) -> list[Rule]:
    if not set(claim) <= set(_OLD_KEYS):
        raise Invalid("The token's rules have other keys than pub, sub and all.")
    return [Rule(topic, "allow", _OLD_KEYS[key]) for key, topics in claim.items() for topic in _topics(topics)]


def _rules_of(item: object) -> list[Rule]:
    if not isinstance(item, dict):
        raise Invalid("A rule of the token is not an object.")
    rule = cast("Mapping[str, Any]", item)
    if not set(rule) <= _RULE_KEYS:
        raise Invalid("A rule of the token has keys that are not known.")
    permission = rule.get("permission")
    if permission not in ("allow", "deny"):
        raise Invalid("A rule of the token neither allows nor denies.")
    given = rule.get("action", "all")
    action = _ACTIONS.get(given) if isinstance(given, str) else None
    if action is None:
        raise Invalid("A rule of the token has an action that is not known.")
    topics = _topics(rule["topics"]) if "topics" in rule else _topics([rule.get("topic")])
    retain = {True: True, False: False, "true": True, "false": False}.get(_scalar(rule.get("retain", "all")))
    condition = _condition(rule)
    return [Rule(topic, permission, action, _qos(rule.get("qos")), retain, condition) for topic in topics]


def _scalar(value: object) -> bool | str:
    if value == "all" or isinstance(value, bool) or value in ("true", "false"):
        return cast("bool | str", value)
    raise Invalid("The retain flag of a token's rule is none of true, false and all.")


def _qos(value: object) -> tuple[int, ...]:
    if value is None:
        return (0, 1, 2)
    if isinstance(value, str):
        value = value.split(",")
    levels = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = [str(level).strip() for level in levels]
    if not texts or not set(texts) <= {"0", "1", "2"}:
        raise Invalid("The QoS of a token's rule is not 0, 1 or 2.")
    return tuple(sorted({int(text) for text in texts}))


def _topics(topics: object) -> list[str]:
    if not isinstance(topics, list):
        raise Invalid("The topics of a token's rules are not an array.")
    if not all(isinstance(topic, str) for topic in cast("list[object]", topics)):
        raise Invalid("A topic of a token's rules is not text.")
    return cast("list[str]", topics)


def _condition(rule: Mapping[str, Any]) -> Condition | None:
    given = {name: rule[name] for name in _CONDITIONS if name in rule}
    if not all(isinstance(value, str) for value in given.values()):
        raise Invalid("A condition of a token's rule is not text.")
    return Condition(**given) if given else None
