"""The conditions of rules: their check, and whether they hold for a client.

A condition speaks of what does not change while a client is connected, so each is worked out once for a session.
"""

import time
from collections.abc import Iterable
from logging import getLogger

from ..errors import Invalid
from ..names import check_text
from ..networks import parse_network, read_address
from ..records import Condition
from .client_facts import ClientFacts
from .regular_expressions import MAX_LENGTH, RegularExpression

MAX_EXPRESSIONS = 1_000
"""Different regular expressions in the rules of one subject."""
ZONE = "default"

_MAX_TEXT = 256
_SEARCH_SECONDS = 0.005
_CLIENT_SECONDS = 0.01
"""What all regular expressions of one subject's rules may cost for one client."""

_logger = getLogger(__name__)


class CompiledCondition:
    """Hold one condition, ready to be asked."""

    __slots__ = ("_client_id", "_listener", "_listener_name", "_network", "_reported", "_username", "_zone", "_zone_re")

    def __init__(self, condition: Condition) -> None:
        """Compile; raise Invalid for an address, a network or a regular expression that is none."""
        self._network = None if condition.ipaddr is None else parse_network(condition.ipaddr)
        self._client_id = _expression(condition.clientid_re)
        self._username = _expression(condition.username_re)
        self._listener = _expression(condition.listener_re)
        self._zone_re = _expression(condition.zone_re)
        self._listener_name = _checked(condition.listener, "listener")
        self._zone = _checked(condition.zone, "zone")
        self._reported = False

    def holds(self, circumstances: "Circumstances") -> bool | None:
        """Tell whether all that is set holds; None where a regular expression took too long to say."""
        facts = circumstances.facts
        if self._network is not None:
            address = circumstances.address
            if address is None or address not in self._network:
                return False
        if self._listener_name is not None and self._listener_name not in (
            facts.listener,
            facts.listener.partition(":")[2],
        ):
            return False
        if self._zone is not None and self._zone != ZONE:
            return False
        answer: bool | None = True
        for expression, text in (
            (self._client_id, facts.client_id),
            (self._username, facts.username),
            (self._listener, facts.listener),
            (self._zone_re, ZONE),
        ):
            if expression is None:
                continue
            found = False if text is None else circumstances.search(expression, text)
            if found is False:
                return False
            if found is None:
                answer = None
                self._report(expression)
        return answer

    def _report(self, expression: RegularExpression) -> None:
        if not self._reported:
            self._reported = True
            _logger.warning("the regular expression %r of a rule takes too long for some clients", expression.text)


class Circumstances:
    """Hold what one client's conditions are asked about, and the time that is left for its regular expressions."""

    __slots__ = ("_seconds", "address", "facts")

    def __init__(self, facts: ClientFacts) -> None:
        self.facts = facts
        self.address = read_address(facts.peer_host)
        self._seconds = _CLIENT_SECONDS

    def search(self, expression: RegularExpression, text: str) -> bool | None:
        """Look for an expression in a text; None where that takes too long, alone or with those before it."""
        begun = time.thread_time()
        found = expression.search(text, min(self._seconds, _SEARCH_SECONDS))
        self._seconds -= time.thread_time() - begun
        return found


def check_condition(condition: Condition) -> None:
    """Raise Invalid unless the condition can be asked."""
    CompiledCondition(condition)


def check_conditions(conditions: Iterable[Condition]) -> None:
    """Raise Invalid unless all the conditions of one list of rules can be asked, and are not too many.

    A regular expression may take a millisecond to compile, so that a list with many of them belongs into a thread.
    """
    different = dict.fromkeys(conditions)
    expressions = {text for condition in different for text in expressions_of(condition)}
    if len(expressions) > MAX_EXPRESSIONS:
        raise Invalid(f"A list must not have more than {MAX_EXPRESSIONS} different regular expressions.")
    for condition in different:
        check_condition(condition)


def expressions_of(condition: Condition) -> list[str]:
    """Return the regular expressions of a condition."""
    texts = (condition.clientid_re, condition.username_re, condition.listener_re, condition.zone_re)
    return [text for text in texts if text is not None]


def _expression(text: str | None) -> RegularExpression | None:
    if text is None:
        return None
    check_text(text, "regular expression", MAX_LENGTH)
    return RegularExpression(text)


def _checked(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    if not 0 < len(text) <= _MAX_TEXT:
        raise Invalid(f"The {what} of a rule must have 1 to {_MAX_TEXT} characters.")
    check_text(text, f"{what} of a rule", _MAX_TEXT)
    return text
