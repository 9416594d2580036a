"""The layers of a client asked one after the other: what `ClientAccess` must agree with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.records import SUBSCRIBE, Role, RoleAcl, Rule

from .linear_roles import GUARD, first_acl
from .linear_rules import first_rule


@dataclass(frozen=True)
class Subject:
    """Hold one layer as it was written."""

    kind: str
    name: str
    content: Sequence[Rule] | Role


@dataclass(frozen=True)
class Decision:
    """Say what was decided, by which kind of layer, and by which of its rules."""

    allowed: bool
    decided_by: str
    layer: int | None = None
    place: int | None = None
    rule: Rule | RoleAcl | None = None


def decide(
    subjects: Sequence[Subject],
    defaults: Mapping[int, bool],
    confined: bool,
    facts: ClientFacts,
    operation: int,
    topic: str,
    qos: int,
    retain: bool,
) -> Decision:
    """Give the decision of the first layer that has one."""
    if operation == SUBSCRIBE and topic.startswith("$share/"):
        topic = topic.split("/", 2)[2]
    asked = [subject for subject in subjects if not (confined and subject.kind == "all")]
    for number, subject in enumerate(asked):
        content = subject.content
        if isinstance(content, Role):
            place = first_acl(content, facts, operation, topic)
            if place == GUARD:
                return Decision(False, subject.kind, number)
            if place is not None:
                acl = content.acls[place]
                return Decision(acl.allow, subject.kind, number, place, acl)
        else:
            place = first_rule(content, facts, operation, topic, qos, retain)
            if place is not None:
                rule = content[place]
                return Decision(rule.permission == "allow", subject.kind, number, place, rule)
    if confined:
        return Decision(False, "confined")
    if topic.startswith("$CONTROL"):
        return Decision(False, "reserved")
    return Decision(defaults[operation], "default")
