"""A whole configuration of Mosquitto's dynamic security: `dynamic-security.json`.

Read as Mosquitto does: keys whatever their case; defaults, then roles, clients and groups; of the same name the first
one counts; what has no name, or refers to what is not there, is left out, and here it is said.
"""

from collections.abc import Iterator, Mapping, Set
from typing import cast, get_args

from ..credentials.password_formats import from_dynsec
from ..credentials.stored_secrets import StoredSecret
from ..errors import Invalid
from ..groups import MAX_GROUPS
from ..login_changes import MAX_DESCRIPTION, MAX_LABEL
from ..names import check_identifier, check_object_name
from ..records import NO_PRIORITY, AclType, Group, Operation, Role, RoleAcl
from ..role_acls import MAX_ACLS, check_acls
from ..roles import MAX_ROLES
from .documents import load_object
from .fields import Fields, Item
from .findings import Findings
from .records import ImportedUser, ParsedAccess

MAX_CLIENTS = 500_000
MAX_TEXT = 10_000

_SECTIONS = ("defaultaclaccess", "clients", "groups", "roles")
_DEFAULTS: Mapping[str, Operation] = {
    "publishclientsend": "publish",
    "publishclientreceive": "receive",
    "subscribe": "subscribe",
    "unsubscribe": "unsubscribe",
}
_ACL_TYPES: Mapping[str, AclType] = {name.lower(): name for name in get_args(AclType)}

UNSUBSCRIBE_NOTE = "ACLs for unsubscribing are kept, but nobody is kept from unsubscribing."
NO_DEFAULTS_NOTE = "The file has no defaultACLAccess, which denies everything that no role allows."


def parse_dynsec(data: bytes, *, other_users: Set[str] = frozenset()) -> ParsedAccess:
    """Read the configuration; raise Invalid where the document as a whole cannot be read.

    `other_users` are logins of another kind, which an import leaves alone with all that they were given.
    """
    return _Reader(load_object(data), other_users).read()


class _Reader:
    """Hold what was read, since each section refers to those before."""

    def __init__(self, document: Item, other_users: Set[str]) -> None:
        inner = document.get("data")
        if isinstance(inner, dict) and not any(section in document for section in _SECTIONS):
            document = cast("Item", inner)  # as BunkerM's API answers
        if not any(section in document for section in _SECTIONS):
            raise Invalid("This is no configuration of dynamic security: it has neither clients nor groups nor roles.")
        self._document = document
        self._other_users = other_users
        self._findings = Findings()
        self._fields = Fields(self._findings)
        self._roles: dict[str, Role] = {}
        self._users: dict[str, ImportedUser] = {}
        self._groups: dict[str, Group] = {}

    def read(self) -> ParsedAccess:
        defaults = self._default_access()
        for path, item in self._section("roles", MAX_ROLES):
            self._role(path, item)
        for path, item in self._section("clients", MAX_CLIENTS):
            self._user(path, item)
        for path, item in self._section("groups", MAX_GROUPS):
            self._group(path, item)
        return ParsedAccess(
            users=tuple(self._users.values()),
            roles=tuple(self._roles.values()),
            groups=tuple(self._groups.values()),
            anonymous_group=self._anonymous_group(),
            default_access=defaults,
            skipped=self._findings.skipped,
            notes=self._findings.notes,
        )

    def _default_access(self) -> dict[Operation, bool]:
        """Read the four defaults; what is missing is denied."""
        section = self._document.get("defaultaclaccess")
        if not isinstance(section, dict):
            self._findings.note(NO_DEFAULTS_NOTE)
            return dict.fromkeys(_DEFAULTS.values(), False)
        given = cast("Item", section)
        return {
            operation: self._fields.flag(given, name, "defaultACLAccess", False)
            for name, operation in _DEFAULTS.items()
        }

    def _role(self, path: str, item: Item) -> None:
        name = self._fields.name(item, "rolename", path, self._roles)
        if name is None:
            return
        try:
            check_object_name(name, "role")
        except Invalid as error:
            self._fields.skip(f"{path} {name}", error.message, may_deny=True)
            return
        path = f"{path} {name}"
        self._roles[name] = Role(
            "",
            name,
            self._fields.text(item, "textname", path, MAX_TEXT),
            self._fields.text(item, "textdescription", path, MAX_TEXT),
            # Mosquitto takes what is no boolean for true, but it was meant to be something else.
            self._fields.flag(item, "allowwildcardsubs", path, True),
            tuple(self._acls(item, path)),
        )

    def _acls(self, role: Item, path: str) -> Iterator[RoleAcl]:
        seen: set[tuple[str, str]] = set()
        for item_path, item in self._fields.items(role, "acls", path):
            named, topic = item.get("acltype"), item.get("topic")
            acltype = _ACL_TYPES.get(named.lower()) if isinstance(named, str) else None
            if acltype is None:
                self._fields.skip(item_path, "The ACL type is missing or unknown.")
                continue
            if not isinstance(topic, str) or not topic:
                self._fields.skip(item_path, "There is no topic.")
                continue
            if (acltype, topic) in seen:
                self._fields.skip(f"{item_path} {topic}", f"The role has an ACL {acltype} for the topic already.")
                continue
            allow = self._fields.flag(item, "allow", item_path, False)
            acl = RoleAcl(acltype, topic, allow, self._fields.priority(item, item_path, 0))
            try:
                check_acls([acl])
                if len(seen) == MAX_ACLS:
                    raise Invalid(f"A role must not have more than {MAX_ACLS} ACLs.")
            except Invalid as error:
                self._fields.skip(f"{item_path} {topic}", error.message, may_deny=not allow)
                continue
            seen.add((acltype, topic))
            if acltype.startswith("unsubscribe"):
                self._findings.note(UNSUBSCRIBE_NOTE)
            yield acl

    def _user(self, path: str, item: Item) -> None:
        name = self._fields.name(item, "username", path, self._users)
        if name is None:
            return
        path = f"{path} {name}"
        client_id = item.get("clientid")
        try:
            check_identifier(name, "user name")
            if name in self._other_users:
                raise Invalid("A login of another kind has the name here, and it is left as it is.")
            if not isinstance(client_id, str | None):
                raise Invalid("The client id must be text.")
            if client_id:
                check_identifier(client_id, "client id")
        except Invalid as error:
            self._fields.skip(path, error.message)
            return
        self._users[name] = ImportedUser(
            name,
            secret=self._secret(item, path),
            # Mosquitto takes what is no boolean for false, but it was meant to be something else.
            disabled=self._fields.flag(item, "disabled", path, False, otherwise=True),
            clientid=client_id or None,
            label=self._fields.text(item, "textname", path, MAX_LABEL),
            description=self._fields.text(item, "textdescription", path, MAX_DESCRIPTION),
            roles=self._granted(item, path),
        )

    def _secret(self, item: Item, path: str) -> StoredSecret | None:
        try:
            return from_dynsec(item)
        except Invalid as error:
            self._fields.skip(f"{path} password", f"{error.message} The user has no password now.")
            return None

    def _group(self, path: str, item: Item) -> None:
        name = self._fields.name(item, "groupname", path, self._groups)
        if name is None:
            return
        try:
            check_object_name(name, "group")
        except Invalid as error:
            self._fields.skip(f"{path} {name}", error.message, may_deny=True)
            return
        path = f"{path} {name}"
        self._groups[name] = Group(
            "",
            name,
            self._fields.text(item, "textname", path, MAX_TEXT),
            self._fields.text(item, "textdescription", path, MAX_TEXT),
            self._granted(item, path),
            self._members(item, path),
        )

    def _granted(self, item: Item, path: str) -> dict[str, int]:
        roles = self._fields.references(self._fields.items(item, "roles", path), "rolename", self._roles)
        return {name: self._fields.priority(role, f"{path} role {name}", NO_PRIORITY) for name, role in roles.items()}

    def _members(self, item: Item, path: str) -> dict[str, int]:
        items = self._fields.items(item, "clients", path)
        members = self._fields.references(items, "username", self._users, self._other_users)
        return {name: self._fields.priority(user, f"{path} user {name}", NO_PRIORITY) for name, user in members.items()}

    def _anonymous_group(self) -> str | None:
        name = self._document.get("anonymousgroup")
        if name is None or (isinstance(name, str) and name in self._groups):
            return name
        self._fields.skip("anonymousGroup", "There is no group of this name.")
        return None

    def _section(self, section: str, limit: int) -> Iterator[tuple[str, Item]]:
        found = self._document.get(section)
        if found is None:
            return
        if not isinstance(found, list):
            raise Invalid(f"'{section}' is not an array.")
        if len(cast("list[object]", found)) > limit:
            raise Invalid(f"'{section}' must not have more than {limit} items.")
        yield from self._fields.items(self._document, section)
