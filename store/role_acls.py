"""The ACLs of a role: their check, their order, and how the database keeps them."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

from .acl.patterns import check_acl_topic
from .background_work import in_slices
from .errors import AlreadyExists, Invalid
from .memberships import clamp
from .names import shown
from .records import AclType, RoleAcl

MAX_ACLS = 10_000
"""ACLs of one role."""

_STORED_AS: Mapping[AclType, tuple[int, str]] = {
    "publishClientSend": (1, "pattern"),
    "publishClientReceive": (2, "pattern"),
    "subscribeLiteral": (4, "literal"),
    "subscribePattern": (4, "pattern"),
    "unsubscribeLiteral": (8, "literal"),
    "unsubscribePattern": (8, "pattern"),
}
_ACL_TYPES: Mapping[tuple[int, str], AclType] = {stored: name for name, stored in _STORED_AS.items()}

LOAD = """
    SELECT subject, ops, match, topic, allow, -ord FROM acl_rule
    WHERE subject_type = 'role' ORDER BY subject, ord, id"""
INSERT = """
    INSERT INTO acl_rule (subject_type, subject, ord, ops, match, allow, topic) VALUES ('role', ?, ?, ?, ?, ?, ?)"""
DELETE = "DELETE FROM acl_rule WHERE subject_type = 'role' AND subject = ?"
DELETE_ONE = """
    DELETE FROM acl_rule WHERE subject_type = 'role' AND subject = ? AND ops = ? AND match = ? AND topic = ?"""
DELETE_ALL = "DELETE FROM acl_rule WHERE subject_type = 'role'"


def check_acls(acls: Iterable[RoleAcl]) -> tuple[RoleAcl, ...]:
    """Return ACLs in the order in which they are read; raise Invalid, or AlreadyExists for two of one topic."""
    checked: list[RoleAcl] = []
    seen: set[tuple[str, str]] = set()
    for given in in_slices(acls):
        acl = _check_acl(given)
        if (acl.acltype, acl.topic) in seen:
            raise AlreadyExists(f"The role has two ACLs {acl.acltype} for '{shown(acl.topic)}'.")
        seen.add((acl.acltype, acl.topic))
        checked.append(acl)
    _check_count(len(checked))
    return tuple(sorted(checked, key=_rank))


def with_acl(acls: tuple[RoleAcl, ...], acl: RoleAcl) -> tuple[tuple[RoleAcl, ...], RoleAcl]:
    """Put an ACL behind those of its priority, and return it as it is kept; raise Invalid or AlreadyExists."""
    checked = _check_acl(acl)
    if find_acl(acls, checked.acltype, checked.topic) is not None:
        raise AlreadyExists(f"The role has an ACL {checked.acltype} for '{shown(checked.topic)}' already.")
    _check_count(len(acls) + 1)
    position = bisect_right(acls, _rank(checked), key=_rank)
    return (*acls[:position], checked, *acls[position:]), checked


def find_acl(acls: tuple[RoleAcl, ...], acltype: str, topic: str) -> int | None:
    """Return the position of the one ACL of this type and topic."""
    for position, acl in enumerate(acls):
        if acl.topic == topic and acl.acltype == acltype:
            return position
    return None


def key_of(role: str, acl: RoleAcl) -> tuple[object, ...]:
    """Give the parameters of `DELETE_ONE`."""
    return role, *_STORED_AS[acl.acltype], acl.topic


def _check_acl(acl: RoleAcl) -> RoleAcl:
    if acl.acltype not in get_args(AclType):
        raise Invalid(f"The ACL type must be one of {', '.join(get_args(AclType))}.")
    check_acl_topic(acl.acltype, acl.topic)
    return acl if acl.priority == clamp(acl.priority) else replace(acl, priority=clamp(acl.priority))


def _check_count(count: int) -> None:
    if count > MAX_ACLS:
        raise Invalid(f"A role must not have more than {MAX_ACLS} ACLs.")


def _rank(acl: RoleAcl) -> int:
    return -acl.priority


def to_row(role: str, acl: RoleAcl) -> tuple[object, ...]:
    """Give the parameters of `INSERT`."""
    operation, match = _STORED_AS[acl.acltype]
    return role, -acl.priority, operation, match, int(acl.allow), acl.topic


def from_row(operation: int, match: str, topic: str, allow: int, priority: int) -> RoleAcl:
    """Read what `LOAD` gives after the role."""
    return RoleAcl(_ACL_TYPES[operation, match], topic, bool(allow), priority)
