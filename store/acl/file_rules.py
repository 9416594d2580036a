"""The rules of the file source: EMQX's syntax read into rules that a policy can be compiled of.

    {allow, {username, {re, "^dashboard$"}}, subscribe, ["$SYS/#"]}.
    {deny, {'and', [{ipaddr, "10.0.0.0/8"}, {clientid, "c1"}]}, {publish, [{qos, 1}, {retain, false}]}, [{eq, "#"}]}.

The first rule that fits decides; `%` begins a comment. See https://docs.emqx.com/en/emqx/v5.8/access-control/authz/file.html.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ..errors import Invalid
from ..names import MAX_NAME_BYTES, check_text
from ..records import Action, Permission, Rule
from .erlang_terms import Atom, Clause, Term, problem, read_clauses
from .patterns import LITERAL_PREFIX, check_rule_topic
from .who import AllOf, AnyOf, CompiledWho, Field, From, HasAttribute, Like, Named, Who, expressions_in

MAX_SIZE = 1_048_576
"""Bytes of the text."""
MAX_RULES = 10_000
"""Topics of all rules together."""
MAX_PARTS = 50_000
"""Descriptions of whom rules are about, those within others counted one by one."""
MAX_EXPRESSIONS = 1_000
"""Different regular expressions."""

_EVERYTHING = "#"
_ALL_QOS = (0, 1, 2)
_FIELDS: dict[str, Field] = {
    "username": "username",
    "user": "username",
    "clientid": "clientid",
    "client": "clientid",
    "listener": "listener",
    "zone": "zone",
}
_ACTIONS: dict[str, Action] = {"publish": "publish", "subscribe": "subscribe", "all": "all"}
_FORMS = "it must be {Permission, Who}, {Permission, Who, Action} or {Permission, Who, Action, Topics}"


@dataclass(frozen=True, slots=True)
class FileRule(Rule):
    """Hold one topic of a rule of the file."""

    who: Who | None = None
    """None for everybody."""
    line: int = 1
    """Where the rule begins."""


def read_rules(text: str) -> tuple[FileRule, ...]:
    """Read a file's rules, one for each topic; raise Invalid that names the line of what is wrong.

    A long text takes a while: that belongs into a thread.
    """
    if len(text) > MAX_SIZE or len(text.encode(errors="replace")) > MAX_SIZE:
        raise Invalid(f"The rules must not be longer than {MAX_SIZE} bytes.")
    reader = _Reader()
    for clause in read_clauses(text):
        reader.add(clause)
    return tuple(reader.rules)


class _Reader:
    """Gather the rules of one text."""

    def __init__(self) -> None:
        self.rules: list[FileRule] = []
        self._line = 1
        self._parts = 0
        self._expressions: set[str] = set()
        self._checked: set[Who] = set()

    def add(self, clause: Clause) -> None:
        self._line = clause.line
        term = clause.term
        if not isinstance(term, tuple) or not 2 <= len(term) <= 4:
            raise self._problem(_FORMS)
        permission, who, *rest = term
        if permission not in (Atom("allow"), Atom("deny")):
            raise self._problem("the permission must be allow or deny")
        described = None if who == Atom("all") else self._who(who)
        action, qos, retain = self._action(rest[0]) if rest else ("all", _ALL_QOS, None)
        topics = self._topics(rest[1]) if len(rest) > 1 else [_EVERYTHING]
        if len(self.rules) + len(topics) > MAX_RULES:
            raise self._problem(f"there are more than {MAX_RULES} topics")
        granted: Permission = "allow" if permission == Atom("allow") else "deny"
        self.rules += [FileRule(topic, granted, action, qos, retain, None, described, clause.line) for topic in topics]

    def _problem(self, what: str) -> Invalid:
        return problem(self._line, what)

    def _asked(self, check: Callable[[], object]) -> None:
        """Do what may refuse a value, and name the line if it does."""
        try:
            check()
        except Invalid as error:
            raise self._problem(error.message.rstrip(".")) from None

    # -- who

    def _who(self, term: Term) -> Who:
        who = self._part(term)
        if who not in self._checked:
            self._checked.add(who)
            self._expressions.update(expressions_in(who))
            if len(self._expressions) > MAX_EXPRESSIONS:
                raise self._problem(f"there are more than {MAX_EXPRESSIONS} different regular expressions")
            self._asked(lambda: CompiledWho(who))
        return who

    def _part(self, term: Term) -> Who:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise self._problem(f"more than {MAX_PARTS} descriptions say whom the rules are about")
        match term:
            case Atom("all"):
                return AllOf(())
            case list():
                pass
            case (Atom("ipaddr"), str() as network):
                return From((network,))
            case (Atom("ipaddrs"), list() as networks):
                return From(tuple([self._text(network, "an address") for network in networks]))
            case (Atom("and"), list() as parts):
                return AllOf(tuple([self._part(part) for part in parts]))
            case (Atom("or"), list() as parts):
                return AnyOf(tuple([self._part(part) for part in parts]))
            case (Atom("client_attr"), name, (Atom("re"), str() as expression)):
                return HasAttribute(self._text(name, "an attribute's name"), expression, is_expression=True)
            case (Atom("client_attr"), name, value):
                return HasAttribute(self._text(name, "an attribute's name"), self._text(value, "an attribute's value"))
            case (Atom(name), (Atom("re"), str() as expression)) if name in _FIELDS:
                return Like(_FIELDS[name], expression)
            case (Atom(name), value) if name in _FIELDS:
                return Named(_FIELDS[name], self._text(value, f"what comes after {name}"))
            case _:
                pass
        raise self._problem("whom the rule is about is not understood")

    def _text(self, term: Term, what: str) -> str:
        """Take a string, or an atom as its name."""
        text = term.name if isinstance(term, Atom) else term
        if not isinstance(text, str):
            raise self._problem(f"{what} must be a string")
        self._asked(lambda: check_text(text, what, MAX_NAME_BYTES))
        return text

    # -- what

    def _action(self, term: Term) -> tuple[Action, tuple[int, ...], bool | None]:
        conditions: list[Term] = []
        match term:
            case Atom(name):
                pass
            case (Atom(name), list() as given):
                conditions = given
            case _:
                name = ""
        if name not in _ACTIONS:
            raise self._problem("the action must be publish, subscribe, all, or one of these with its conditions")
        qos, retain = _ALL_QOS, cast("bool | None", None)
        for condition in conditions:
            match condition:
                case (Atom("qos"), levels):
                    qos = self._qos(levels)
                case (Atom("retain"), Atom("true" | "false" | "all" as flag)) if name != "subscribe":
                    retain = None if flag == "all" else flag == "true"
                case _:
                    raise self._problem("a condition of an action must be {qos, 0..2} or {retain, true|false|all}")
        return _ACTIONS[name], qos, retain

    def _qos(self, term: Term) -> tuple[int, ...]:
        levels = term if isinstance(term, list) else [term]
        if not levels or any(level not in _ALL_QOS for level in levels):
            raise self._problem("a QoS must be 0, 1 or 2")
        return tuple([level for level in _ALL_QOS if level in levels])

    def _topics(self, term: Term) -> list[str]:
        if term == Atom("all"):
            return [_EVERYTHING]
        if not isinstance(term, list):
            raise self._problem("the topics must be all or a list")
        if len(term) > MAX_RULES:
            raise self._problem(f"there are more than {MAX_RULES} topics")
        return [self._topic(topic) for topic in term]

    def _topic(self, term: Term) -> str:
        match term:
            case str():
                topic = term
            case (Atom("eq"), str() as literal):
                topic = LITERAL_PREFIX + literal
            case _:
                raise self._problem("a topic must be a string or {eq, a string}")
        self._asked(lambda: check_rule_topic(topic))
        return topic
