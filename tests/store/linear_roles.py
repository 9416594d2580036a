"""One role as Mosquitto's dynamic security evaluates it, step by step, with the public matcher."""

from wardenmq.broker.routing.topics import covers, matches
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.records import PUBLISH, RECEIVE, Role, RoleAcl

GUARD = -1
"""Stands for the place of an ACL where the role denies because it allows no wildcard subscriptions."""


def first_acl(role: Role, facts: ClientFacts, operation: int, topic: str) -> int | None:
    """Give the place, among the role's ACLs, of the one that decides."""
    if operation == PUBLISH:
        return first_pattern(role, "publishClientSend", facts, operation, topic)
    if operation == RECEIVE:
        return first_pattern(role, "publishClientReceive", facts, operation, topic)
    if not role.allow_wildcard_subs and ("+" in topic or "#" in topic):
        return GUARD
    for place, acl in enumerate(role.acls):
        if acl.acltype == "subscribeLiteral" and acl.topic == topic:
            return place
    return first_pattern(role, "subscribePattern", facts, operation, topic)


def first_pattern(role: Role, acltype: str, facts: ClientFacts, operation: int, topic: str) -> int | None:
    """Read the ACLs of one type by priority, those of equal priority as they came."""
    for place, acl in sorted(enumerate(role.acls), key=lambda numbered: -numbered[1].priority):
        if acl.acltype == acltype and concerns(acl, facts, operation, topic):
            return place
    return None


def concerns(acl: RoleAcl, facts: ClientFacts, operation: int, topic: str) -> bool:
    """Tell whether an ACL's filter matches a topic name, or covers a requested filter."""
    levels: list[str] = []
    for number, level in enumerate(acl.topic.split("/")):
        if level in ("%c", "${clientid}", "%u", "${username}"):
            value = facts.client_id if level in ("%c", "${clientid}") else facts.username
            if not value or any(sign in value for sign in "/+#") or (number == 0 and value.startswith("$")):
                return False
            levels.append(value)
        else:
            levels.append(level)
    pattern = "/".join(levels)
    return matches(pattern, topic) if operation in (PUBLISH, RECEIVE) else covers(pattern, topic)
