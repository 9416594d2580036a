"""Whom a rule of the file is about, and whether a client is one of them.

None of it changes while a client is connected, so that each is worked out once for a session.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Literal, TypeAlias

from ..names import check_text
from ..networks import Network, parse_network
from .conditions import ZONE, Circumstances
from .regular_expressions import MAX_LENGTH, RegularExpression

Field = Literal["clientid", "username", "listener", "zone"]

_logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Named:
    """Mean the clients of which something is exactly this."""

    field: Field
    text: str


@dataclass(frozen=True, slots=True)
class Like:
    """Mean the clients of which something is found by a regular expression."""

    field: Field
    expression: str


@dataclass(frozen=True, slots=True)
class From:
    """Mean the clients that come from one of these addresses or networks."""

    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HasAttribute:
    """Mean the clients that have an attribute; here none has."""

    name: str
    text: str
    is_expression: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """Mean the clients that all of these mean."""

    parts: "tuple[Who, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Mean the clients that at least one of these means."""

    parts: "tuple[Who, ...]"


Who: TypeAlias = Named | Like | From | HasAttribute | AllOf | AnyOf
"""Whom a rule is about where it is not about everybody."""

_Answer: TypeAlias = bool | None
_Question: TypeAlias = Callable[[Circumstances], _Answer]


class CompiledWho:
    """Hold one description, ready to be asked."""

    __slots__ = ("_ask",)

    def __init__(self, who: Who) -> None:
        """Compile; raise Invalid for an address or a regular expression that is none."""
        self._ask = _compile(who)

    def holds(self, circumstances: Circumstances) -> bool | None:
        """Tell whether a client is meant; None where a regular expression took too long to say."""
        return self._ask(circumstances)


def expressions_in(who: Who) -> list[str]:
    """Return the regular expressions of a description."""
    if isinstance(who, Like):
        return [who.expression]
    if isinstance(who, (AllOf, AnyOf)):
        return [text for part in who.parts for text in expressions_in(part)]
    return []


def _compile(who: Who) -> _Question:
    if isinstance(who, Named):
        return _named(who)
    if isinstance(who, Like):
        return _like(who)
    if isinstance(who, From):
        return _from([parse_network(network) for network in who.networks])
    if isinstance(who, HasAttribute):
        if who.is_expression:
            RegularExpression(who.text)
        return lambda _: False
    parts = [_compile(part) for part in who.parts]
    return _all_of(parts) if isinstance(who, AllOf) else _any_of(parts)


def _named(who: Named) -> _Question:
    wanted = who.text

    def ask(circumstances: Circumstances) -> bool:
        facts = circumstances.facts
        match who.field:
            case "clientid":
                return facts.client_id == wanted
            case "username":
                return facts.username == wanted
            case "listener":
                return wanted in (facts.listener, facts.listener.partition(":")[2])
            case "zone":
                return wanted == ZONE

    return ask


def _like(who: Like) -> _Question:
    check_text(who.expression, "regular expression", MAX_LENGTH)
    expression = RegularExpression(who.expression)
    reported = False

    def ask(circumstances: Circumstances) -> bool | None:
        nonlocal reported
        text = _text(circumstances, who.field)
        if text is None:
            return False
        found = circumstances.search(expression, text)
        if found is None and not reported:
            reported = True
            _logger.warning("the regular expression %r of a rule takes too long for some clients", expression.text)
        return found

    return ask


def _text(circumstances: Circumstances, field: Field) -> str | None:
    facts = circumstances.facts
    texts = {"clientid": facts.client_id, "username": facts.username, "listener": facts.listener, "zone": ZONE}
    return texts[field]


def _from(networks: Sequence[Network]) -> _Question:
    def ask(circumstances: Circumstances) -> bool:
        address = circumstances.address
        return address is not None and any(address in network for network in networks)

    return ask


def _all_of(parts: Sequence[_Question]) -> _Question:
    def ask(circumstances: Circumstances) -> bool | None:
        answer: _Answer = True
        for part in parts:
            found = part(circumstances)
            if found is False:
                return False
            if found is None:
                answer = None
        return answer

    return ask


def _any_of(parts: Sequence[_Question]) -> _Question:
    def ask(circumstances: Circumstances) -> bool | None:
        answer: _Answer = False
        for part in parts:
            found = part(circumstances)
            if found is True:
                return True
            if found is None:
                answer = None
        return answer

    return ask
