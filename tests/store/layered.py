"""Access put together by hand, without a directory."""

from collections.abc import Sequence

from wardenmq.store.acl.access import ClientAccess, Layer, build_access
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.explanation import LayerKind
from wardenmq.store.acl.policy import Policy
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, AclType, Action, Role, RoleAcl, Rule

ALICE = ClientFacts("c1", "alice", "10.1.2.3", "tcp:default")


def allow(topic: str, action: Action = "all", **limits: object) -> Rule:
    return Rule(topic, "allow", action, **limits)  # type: ignore[arg-type]


def deny(topic: str, action: Action = "all", **limits: object) -> Rule:
    return Rule(topic, "deny", action, **limits)  # type: ignore[arg-type]


def acl(acltype: AclType, topic: str, allow: bool = True, priority: int = 0) -> RoleAcl:
    return RoleAcl(acltype, topic, allow, priority)


def role(*acls: RoleAcl, name: str = "role", wildcards: bool = True) -> Role:
    return Role(id=name, name=name, allow_wildcard_subs=wildcards, acls=acls)


def layer(kind: LayerKind, content: Sequence[Rule] | Role, name: str = "") -> Layer:
    if isinstance(content, Role):
        return Layer(kind, name or content.name, Policy.of_role(content))
    return Layer(kind, name, Policy.of_derived(content) if kind == "derived" else Policy.of_rules(content))


def defaults(publish: bool = False, receive: bool = True, subscribe: bool = False) -> dict[int, bool]:
    return {PUBLISH: publish, RECEIVE: receive, SUBSCRIBE: subscribe}


def access(
    *layers: Layer,
    facts: ClientFacts = ALICE,
    no_match: bool = False,
    receive: bool = True,
    confined: bool = False,
    enforce_on_delivery: bool = True,
    previous: ClientAccess | None = None,
    generation: int = 1,
) -> ClientAccess:
    return build_access(
        generation,
        layers,
        facts,
        defaults(no_match, receive, no_match),
        confined=confined,
        enforce_on_delivery=enforce_on_delivery,
        previous=previous,
    )


def access_by(rules: Sequence[Rule], facts: ClientFacts = ALICE, no_match: bool = False) -> ClientAccess:
    return access(layer("all", rules), facts=facts, no_match=no_match)
