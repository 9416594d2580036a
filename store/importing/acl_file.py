"""Mosquitto's ACL file.

Its broker reads the file into a list for each user name, one for clients without user name (the `topic` lines before
any `user`) and one of patterns for all clients. In each list the denies come first, wherever they stand in the file; a
deny holds for reading and writing. A client's own list is asked first, then the patterns; what neither allows is
denied. Writing is asked about on PUBLISH, reading on each delivery, SUBSCRIBE is always granted.

It does not start on a file with a line that it cannot read. Here such a line is left out and named; where it may deny
something it says so, for what is left would then allow more than the file does.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ...broker.routing.topics import InvalidTopic, check_filter
from ..acl.patterns import LITERAL_PREFIX, check_rule_topic
from ..errors import Invalid
from ..names import check_identifier
from ..records import AclType, Action, RoleAcl, Rule
from ..role_acls import MAX_ACLS
from ..rules import MAX_RULES
from .findings import Findings
from .lines import BLANKS, numbered_lines
from .records import ImportedRules, ParsedAcl

MAX_LEVELS = 201
"""Mosquitto allows 200 slashes."""

Access = Literal["read", "write", "readwrite", "deny"]

_ACCESS: dict[str, Access] = {"read": "read", "write": "write", "readwrite": "readwrite", "deny": "deny"}
_ACTIONS: dict[Access, Action] = {"read": "subscribe", "write": "publish", "readwrite": "all", "deny": "all"}
_ACL_TYPES: dict[Access, tuple[AclType, ...]] = {
    "read": ("subscribePattern", "publishClientReceive"),
    "write": ("publishClientSend",),
    "readwrite": ("publishClientSend", "subscribePattern", "publishClientReceive"),
    "deny": ("publishClientSend", "subscribePattern", "publishClientReceive"),
}
_PLACEHOLDERS = {"%c": "${clientid}", "%u": "${username}"}
_PLACEHOLDER = re.compile("%[cu]")
_ROLE_PLACEHOLDERS = frozenset((*_PLACEHOLDERS, *_PLACEHOLDERS.values()))
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

SUBSCRIBE_NOTE = (
    "Mosquitto grants every subscription and filters what is delivered; here a subscription is refused that is wider "
    "than each of the rules that allow reading, or that asks with # for what a rule denies with +."
)
DOLLAR_NOTE = (
    "No client may publish to topics that begin with $ here, whatever rules say; Mosquitto lets bridges publish to "
    "$SYS/broker/connection/."
)
PART_NOTE = (
    "A pattern has %c or %u as a part of a level. It stands for the client's value here, as in Mosquitto up to 2.0; "
    "from 2.1 on it is plain text there."
)
NAMES_NOTE = (
    "Mosquitto allows clients nothing by patterns whose client id or user name holds + or #; here only those patterns "
    "do not fit them that have %c or %u."
)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    access: Access
    topic: str

    @property
    def denies(self) -> bool:
        return self.access == "deny"

    @property
    def what(self) -> str:
        return f"{self.access} {self.topic}"


@dataclass(slots=True)
class _Section:
    number: int
    lines: dict[tuple[Access, str], _Line] = field(default_factory=dict[tuple[Access, str], _Line])

    def in_order(self) -> list[_Line]:
        """Give the lines as they are asked: what denies first."""
        return sorted(self.lines.values(), key=lambda line: not line.denies)


def parse_mosquitto_acl(data: bytes) -> ParsedAcl:
    """Read the file; raise Invalid where it is none at all."""
    reader = _Reader()
    for number, text in numbered_lines(data, reader.findings, may_deny=True):
        reader.read(number, text)
    return reader.result()


class _Reader:
    """Go through the lines and remember whose section it is."""

    def __init__(self) -> None:
        self.findings = Findings()
        self._anonymous = _Section(0)
        self._patterns = _Section(0)
        self._users: dict[str, _Section] = {}
        self._current: _Section | None = self._anonymous
        """None where what follows must fall to nobody, least of all to the user before."""
        self._lost = ""
        self._lost_matters = True

    def read(self, number: int, text: str | None) -> None:
        """Take one line; None for one that is not readable."""
        if text is None:
            self._lose(number)
            return
        keyword, _, rest = text.strip(BLANKS).partition(" ")
        rest = rest.strip(BLANKS)
        if keyword.startswith("#"):
            return
        if keyword == "user":
            self._user(number, rest)
        elif keyword in ("topic", "pattern"):
            self._topic(number, keyword, rest)
        else:
            # Not even a part of another one is shown: in another kind of file it may be a password.
            what = text if text.split(maxsplit=1)[:1] in (["topic"], ["pattern"], ["user"]) else ""
            self.findings.skip(number, what, "A line must begin with 'topic', 'pattern' or 'user'.", may_deny=True)
            self._lose(number)

    def result(self) -> ParsedAcl:
        """Turn the lines into rules."""
        users = [
            ImportedRules(name, tuple(self._rules(section, _own_topic)), section.number)
            for name, section in self._users.items()
        ]
        patterns = tuple(self._rules(self._patterns, _pattern_topic))
        anonymous = tuple(self._role_acls())
        self._add_notes()
        findings = self.findings
        return ParsedAcl(
            tuple(user for user in users if user.rules), patterns, anonymous, findings.skipped, findings.notes
        )

    def _lose(self, number: int) -> None:
        self._current = None
        self._lost = f"Since line {number} it is not known whose lines these are."
        self._lost_matters = True

    def _user(self, number: int, name: str) -> None:
        try:
            check_identifier(name, "user name")
        except Invalid as error:
            self.findings.skip(number, f"user {name}", error.message)
            self._lose(number)
            # Nobody can log in by a name that was refused.
            self._lost_matters = not name
            return
        self._current = self._users.setdefault(name, _Section(number))

    def _topic(self, number: int, keyword: str, rest: str) -> None:
        what = f"{keyword} {rest}"
        access, topic = _split(rest)
        section = self._patterns if keyword == "pattern" else self._current
        if not topic:
            self.findings.skip(number, what, "There is no topic.")
        elif _CONTROL.search(rest):
            # Behind a tab instead of a space `deny` would be a part of the topic.
            self.findings.skip(number, what, "There is a tab or another control character.", may_deny=True)
        elif access is None:
            reason = "The access must be 'read', 'write', 'readwrite' or 'deny'."
            self.findings.skip(number, what, reason, may_deny=True)
        elif section is None:
            self.findings.skip(number, what, self._lost, may_deny=access == "deny" and self._lost_matters)
        else:
            self._add(section, _Line(number, access, topic))

    def _add(self, section: _Section, line: _Line) -> None:
        try:
            check_filter(line.topic, max_levels=MAX_LEVELS)
        except InvalidTopic as error:
            self._skip(line, f"The topic is not valid: {error}.")
            return
        first = section.lines.setdefault((line.access, line.topic), line)
        if first is not line:
            self.findings.skip(line.number, line.what, f"It repeats line {first.number}.")

    def _rules(self, section: _Section, translate: Callable[[str], str]) -> Iterator[Rule]:
        count = 0
        for line in section.in_order():
            try:
                topic = translate(line.topic)
                check_rule_topic(topic)
            except Invalid as error:
                self._skip(line, error.message)
                continue
            if count == MAX_RULES:
                self._skip(line, f"A list must not have more than {MAX_RULES} rules.")
                continue
            count += 1
            yield Rule(topic, "deny" if line.denies else "allow", _ACTIONS[line.access])

    def _role_acls(self) -> Iterator[RoleAcl]:
        """Turn the lines for clients without user name into a role's ACLs, of which each type has a topic once."""
        seen: dict[tuple[AclType, str], _Line] = {}
        for line in self._anonymous.in_order():
            if not _ROLE_PLACEHOLDERS.isdisjoint(line.topic.split("/")):
                self._skip(line, "The topic has a level that stands for the client's own value here.")
                continue
            if len(seen) > MAX_ACLS - len(_ACL_TYPES["deny"]):
                self._skip(line, f"A role must not have more than {MAX_ACLS} ACLs.")
                continue
            for acltype in _ACL_TYPES[line.access]:
                first = seen.setdefault((acltype, line.topic), line)
                if first is line:
                    yield RoleAcl(acltype, line.topic, not line.denies, priority=int(line.denies))
                elif first.denies:
                    self._skip(line, f"Line {first.number} denies the topic.")
                    break

    def _add_notes(self) -> None:
        sections = (self._anonymous, self._patterns, *self._users.values())
        for access, topic in (key for section in sections for key in section.lines):
            if access in ("read", "readwrite"):
                self.findings.note(SUBSCRIBE_NOTE)
            if access in ("write", "readwrite") and topic.startswith("$"):
                self.findings.note(DOLLAR_NOTE)
        for access, topic in self._patterns.lines:
            if any(level not in _PLACEHOLDERS and _PLACEHOLDER.search(level) for level in topic.split("/")):
                self.findings.note(PART_NOTE)
            if access != "deny" and not _PLACEHOLDER.search(topic):
                self.findings.note(NAMES_NOTE)

    def _skip(self, line: _Line, reason: str) -> None:
        self.findings.skip(line.number, line.what, reason, may_deny=line.denies)


def _split(rest: str) -> tuple[Access | None, str]:
    """Take apart what follows `topic`: a single word is the topic, even where it is `deny`."""
    first, _, topic = rest.partition(" ")
    if not topic:
        return "readwrite", first
    return _ACCESS.get(first), topic.strip(BLANKS)


def _own_topic(topic: str) -> str:
    """Write a topic as a rule's, so that nothing in it is a placeholder."""
    if topic.startswith(LITERAL_PREFIX):
        # As a literal rule it would not keep the topic out of a wider subscription's deliveries.
        raise Invalid(f"A topic that begins with '{LITERAL_PREFIX}' cannot be kept.")
    return topic.replace("${", "${$}{")


def _pattern_topic(topic: str) -> str:
    return _PLACEHOLDER.sub(lambda found: _PLACEHOLDERS[found.group()], _own_topic(topic))
