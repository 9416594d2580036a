"""What the parsers hand out: what a file held, what of it was left out and why, and what is not quite the same here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..credentials.stored_secrets import StoredSecret
from ..records import Group, LoginType, Operation, Role, RoleAcl, Rule


@dataclass(frozen=True, slots=True)
class Skipped:
    """Say what of a file was left out and why; holds no secret."""

    line: int
    """The first one is 1; 0 where the document has no lines and `what` leads to the item."""
    what: str
    reason: str
    may_deny: bool = False
    """Whether it may deny something, so that without it the rest could allow more than the file does."""


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """Describe a login of a file."""

    name: str
    login_type: LoginType = "username"
    secret: StoredSecret | None = field(default=None, repr=False)
    """None where the file has no usable one; then nobody can log in until a password is set. A password that the file
    has in plain text is still to be hashed."""
    superuser: bool | None = None
    """None where files of this kind do not say."""
    disabled: bool = False
    clientid: str | None = None
    """The only client id that may be used with the login."""
    label: str = ""
    description: str = ""
    roles: Mapping[str, int] = field(default_factory=dict[str, int])
    """Names with priorities."""
    line: int = 0


@dataclass(frozen=True, slots=True)
class ImportedRules:
    """Hold the rules of one user name, in the order in which they are asked."""

    name: str
    rules: tuple[Rule, ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class ParsedUsers:
    """Hold the users of a file of users or passwords; no two have the same name."""

    users: tuple[ImportedUser, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedAcl:
    """Hold the rules of Mosquitto's ACL file."""

    users: tuple[ImportedRules, ...] = ()
    patterns: tuple[Rule, ...] = ()
    """For all clients, after the rules of their names."""
    anonymous: tuple[RoleAcl, ...] = ()
    """For clients without user name."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """What is decided otherwise here than by Mosquitto."""


@dataclass(frozen=True, slots=True)
class ParsedAccess:
    """Hold a whole configuration of Mosquitto's dynamic security; what it refers to is in it, and names are unique.

    Roles and groups have no ids yet.
    """

    users: tuple[ImportedUser, ...] = ()
    roles: tuple[Role, ...] = ()
    groups: tuple[Group, ...] = ()
    anonymous_group: str | None = None
    default_access: Mapping[Operation, bool] = field(default_factory=dict[Operation, bool])
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
