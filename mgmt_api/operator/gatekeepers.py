"""Which plugins decide on clients and topics: what can be said of them without asking them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..state import ApiState

LOGINS = "wardenmq.plugins.credentials.CredentialAuthPlugin"
RULES = "wardenmq.plugins.topic_acl.TopicAclPlugin"


@dataclass(frozen=True, slots=True)
class Gatekeepers:
    """Say who is asked, of our own plugins and of others."""

    logins: bool
    """Whether the credential store is asked who may connect."""
    anonymous: bool
    """Whether it lets in clients that present no user name."""
    rules: bool
    """Whether the rules are asked."""
    admitting: tuple[str, ...]
    """The other plugins that must agree to a client."""
    deciding: tuple[str, ...]
    """The other plugins that must agree to a topic."""


def gatekeepers(state: ApiState) -> Gatekeepers:
    """Say which plugins the broker has loaded or, where none runs, which ones its settings name."""
    broker = state.broker
    if state.configured_plugins is not None:
        admitting = deciding = tuple(state.configured_plugins)
        options: Mapping[str, Any] = state.configured_plugins
    else:
        admitting, deciding = broker.authentication_plugins, broker.topic_plugins
        options = broker.config.plugins if isinstance(broker.config.plugins, dict) else {}
    own: Mapping[str, Any] = options.get(LOGINS) or {}
    return Gatekeepers(
        LOGINS in admitting,
        bool(own.get("allow_anonymous", False)),
        RULES in deciding,
        _others(admitting),
        _others(deciding),
    )


def _others(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in (LOGINS, RULES))
