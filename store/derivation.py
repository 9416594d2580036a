"""Rules that follow from what a principal is; never stored, so that they cannot drift from it. They only ever allow."""

from collections.abc import Sequence

from .records import Login, Rule

_EVENTS = "haltian-iot/events"


def derive(login: Login, readable: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules of a publisher or subscriber of a tenant, or of an API key that may read these integrations.

    A subscribe rule counts for what the subscription brings, too.
    """
    if login.kind == "portal_publisher":
        shared = login.clientid_mode == "per_connection"
        own = f"{_literal(login.tenant)}/{'${clientid}' if shared else _literal(login.login)}/#"
        publish = (Rule(own, "allow", "publish"),) if login.can_publish else ()
        return (*publish, Rule(own, "allow", "subscribe")) if login.can_subscribe else publish
    if login.kind == "portal_subscriber":
        return (Rule(f"{_literal(login.tenant)}/#", "allow", "subscribe"),)
    if login.kind == "haltian_key":
        return tuple(
            Rule(f"{_EVENTS}/{_literal(integration)}/{_literal(login.id)}/#", "allow", "subscribe")
            for integration in readable
        )
    return ()


def _literal(level: str) -> str:
    """Keep a level from being read as a placeholder."""
    return level.replace("$", "${$}")
