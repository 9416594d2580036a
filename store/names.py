"""What names and texts may hold, whoever brings them."""

import re

from .errors import Invalid

MAX_NAME_BYTES = 65_535
"""Longest client id or user name that MQTT can carry."""
MAX_OBJECT_NAME = 1_000
"""Characters of the name of a role, group or tenant."""
_SHOWN = 200
_NOT_IN_LEVELS = frozenset("/+#")
_NON_CHARACTERS = "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
_REFUSED = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NON_CHARACTERS}]")


def check_identifier(name: str, what: str) -> None:
    """Raise Invalid unless `name` can be a client id or user name.

    Control characters and non-characters are legal in MQTT but need not be taken (MQTT 5.0, 1.5.4); they are not, for
    they end up in logs, files and terminals.
    """
    if not name:
        raise Invalid(f"The {what} must not be empty.")
    check_text(name, what, MAX_NAME_BYTES)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise Invalid(f"The {what} must not be longer than {MAX_NAME_BYTES} bytes.")


def check_object_name(name: str, what: str) -> None:
    """Raise Invalid unless `name` can be that of a role, a group or a tenant."""
    if not name:
        raise Invalid(f"The name of the {what} must not be empty.")
    check_text(name, f"name of the {what}", MAX_OBJECT_NAME)


def check_text(text: str, what: str, limit: int) -> None:
    """Raise Invalid for a text that is too long or holds what no terminal or file should get."""
    if len(text) > limit:
        raise Invalid(f"The {what} must not be longer than {limit} characters.")
    if (found := _REFUSED.search(text)) is not None:
        raise Invalid(f"The {what} must not contain U+{ord(found.group()):04X}.")


def is_one_level(text: str) -> bool:
    """Tell whether a text can stand for one level of a topic."""
    return _NOT_IN_LEVELS.isdisjoint(text)


def shown(name: str) -> str:
    """Cut a name for a message."""
    return name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
