"""The topic of a rule or of a role's ACL: its check, and its levels with placeholders taken apart.

In rules `${clientid}` and `${username}` stand for the client's own value, as a whole level or inside one, and `${$}` is
a plain `$`. In ACLs of roles `%c` and `%u` do, as a whole level only, and so do the two others.
"""

import re
from dataclasses import dataclass
from enum import Enum

from ...broker.routing.topics import InvalidTopic, check_filter, is_shared
from ..errors import Invalid
from ..records import AclType

LITERAL_PREFIX = "eq "
LITERAL_TYPES: frozenset[AclType] = frozenset({"subscribeLiteral", "unsubscribeLiteral"})
"""Types of ACLs whose topic is compared as it stands."""

CONTROL = "$CONTROL"
"""How topics begin that no default allows, as in Mosquitto's dynamic security."""

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_UNUSABLE = frozenset("/+#")


class Value(Enum):
    """Name what a placeholder stands for."""

    CLIENT_ID = "clientid"
    USERNAME = "username"


_ACL_VALUES = {
    "%c": Value.CLIENT_ID,
    "%u": Value.USERNAME,
    "${clientid}": Value.CLIENT_ID,
    "${username}": Value.USERNAME,
}


@dataclass(frozen=True, slots=True)
class Template:
    """Hold one level that depends on the client, as literal texts and values in turn."""

    parts: tuple[str | Value, ...]

    @property
    def key(self) -> str:
        """A text that equal templates share and that is the level of no topic."""
        return "".join(f"\0{part.value}\0" if isinstance(part, Value) else part for part in self.parts)

    @property
    def begins_with_value(self) -> bool:
        """Whether the client chooses how the level begins."""
        return isinstance(self.parts[0], Value)

    def text(self, client_id: str, username: str | None) -> str | None:
        """Return the level for one client, None where a value is missing or could change the topic's structure."""
        texts: list[str] = []
        for part in self.parts:
            text = part
            if isinstance(part, Value):
                text = client_id if part is Value.CLIENT_ID else username
                if not text or not _UNUSABLE.isdisjoint(text):
                    return None
            texts.append(str(text))
        return "".join(texts)


def parse_level(text: str) -> str | Template:
    """Take one level of a rule's topic apart; raise Invalid for a placeholder that is not supported."""
    parts: list[str | Value] = []

    def add_text(piece: str) -> None:
        if "${" in piece:
            raise Invalid(f"The placeholder in '{text[:200]}' is not closed.")
        add(piece)

    def add(piece: str) -> None:
        if parts and isinstance(parts[-1], str):
            parts[-1] += piece
        elif piece:
            parts.append(piece)

    position = 0
    for found in _PLACEHOLDER.finditer(text):
        add_text(text[position : found.start()])
        position = found.end()
        name = found.group(1)
        if name == "$":
            add("$")
        elif name in (Value.CLIENT_ID.value, Value.USERNAME.value):
            parts.append(Value(name))
        else:
            # A rule that silently never matches is worse than one that is refused, above all a deny rule.
            raise Invalid(f"The placeholder '{found.group()[:200]}' is not supported.")
    add_text(text[position:])
    if any(isinstance(part, Value) for part in parts):
        return Template(tuple(parts))
    return str(parts[0]) if parts else ""


def parse_pattern(pattern: str) -> tuple[str | Template, ...]:
    """Split a rule's filter into levels; wildcards stay `+` and `#`."""
    if "${" not in pattern:
        return tuple(pattern.split("/"))
    return tuple([parse_level(level) for level in pattern.split("/")])


def parse_acl_level(text: str) -> str | Template:
    """Take one level of a role's ACL."""
    value = _ACL_VALUES.get(text)
    return text if value is None else Template((value,))


def parse_acl_pattern(pattern: str) -> tuple[str | Template, ...]:
    """Split the filter of a role's ACL into levels; wildcards stay `+` and `#`."""
    return tuple([parse_acl_level(level) for level in pattern.split("/")])


def check_acl_topic(acltype: AclType, topic: str) -> None:
    """Raise Invalid unless `topic` may stand in a role's ACL of this type."""
    try:
        check_filter(topic)
    except InvalidTopic as error:
        raise Invalid(f"The topic '{topic[:200]}' of an ACL is not valid: {error}.") from None
    if not acltype.startswith("unsubscribe"):  # those are never asked, whatever their topic
        _check_unshared(topic, topic)
    if acltype in LITERAL_TYPES:
        return
    for level in topic.split("/"):
        # `%c` inside a level is plain text to Mosquitto, and so it is here; nobody means these as plain text.
        if level not in _ACL_VALUES and any(value in level for value in _ACL_VALUES if value.startswith("$")):
            raise Invalid(f"The placeholder in '{level[:200]}' must be the whole level.")


def check_rule_topic(topic: str) -> None:
    """Raise Invalid unless `topic` may stand in a rule."""
    is_literal = topic.startswith(LITERAL_PREFIX)
    text = topic.removeprefix(LITERAL_PREFIX)
    try:
        check_filter(text)
    except InvalidTopic as error:
        raise Invalid(f"The topic '{topic[:200]}' of a rule is not valid: {error}.") from None
    levels = (text,) if is_literal else parse_pattern(text)
    _check_unshared(topic, text)
    if len(levels) > 1 and isinstance(levels[0], str):
        _check_unshared(topic, f"{levels[0]}/")


def _check_unshared(topic: str, text: str) -> None:
    """Raise Invalid for what no topic ever fits, above all where it was meant to deny shared subscriptions."""
    if is_shared(text):
        raise Invalid(
            f"The topic '{topic[:200]}' is that of a shared subscription. These are decided on by the filter behind "
            "their share name, so it would never fit."
        )
