"""Why a client may do something or not, by the very rules that the broker asks."""

from dataclasses import dataclass
from typing import TypeAlias

from ...broker.routing.topics import has_wildcard, split_share
from ...broker.settings import MqttSettings
from ...store.acl import explanation
from ...store.admission import ANONYMOUS_REFUSED
from ...store.authenticators.token_rights import TokenRights
from ...store.directory import Directory
from ...store.records import PUBLISH, RECEIVE, SUBSCRIBE, RoleAcl, Rule
from ..routes import Call
from ..state import ApiState
from .gatekeepers import Gatekeepers, gatekeepers
from .models_explain import Decider, Explained, ExplainedClient, ExplainedOperation, ExplainQuery, LayerAnswer
from .models_roles import Acl
from .models_rules import ConditionalRule, show

_OPERATIONS: dict[ExplainedOperation, int] = {"publish": PUBLISH, "subscribe": SUBSCRIBE, "receive": RECEIVE}

SYSTEM_TOPIC = "No client may publish to a topic that begins with $."
NO_PLUGIN = "The plugin of the rules is not loaded, so no rule is asked."
OTHER_LOGINS = "The credential store is not asked who may connect, for its plugin is not loaded."
NOBODY_ADMITS = "No client can connect: no plugin is loaded that lets one in."
OTHERS_ADMIT = "Other plugins have a word in who may connect:"
OTHERS_DECIDE = "Other plugins may deny more than the rules:"
CANNOT_CONNECT = "The client cannot connect: {}."


_Decision: TypeAlias = tuple[bool, Decider, list[LayerAnswer], list[str]]


@dataclass(frozen=True, slots=True)
class _Client:
    username: str | None
    principal: str | None
    superuser: bool
    address: str
    listener: str
    session: bool
    connected: bool
    rights: object | None = None
    """What its token says that it may do."""


async def explain_decision(call: Call[ExplainQuery, None]) -> Explained:
    """Decide anew what a client asks for, and say which rule of which layer decided."""
    query, directory = call.query, call.state.directory
    keepers = gatekeepers(call.state)
    client = _client(call.state, query, keepers)
    login = None if client.principal is None else directory.login_by_id(client.principal)
    shown: ExplainedClient = {
        "clientid": query.clientid,
        "username": client.username,
        "login": None if login is None else login.login,
        "login_type": None if login is None else login.login_type,
        "superuser": client.superuser,
        "address": client.address,
        "listener": client.listener,
        "session": client.session,
        "connected": client.connected,
    }
    access = directory.access(
        query.clientid,
        client.username,
        client.principal,
        peer_host=client.address,
        listener=client.listener,
        rights=client.rights if isinstance(client.rights, TokenRights) else None,
    )
    decision = access.explain(_OPERATIONS[query.action], query.topic, query.qos, query.retain)
    remarks = [*_refusals(directory, keepers, query.clientid, client), *_others(keepers)]
    if query.action == "publish" and query.topic.startswith("$"):
        decided: _Decision = (False, "system_topic", [], [SYSTEM_TOPIC])
    elif (obstacle := _obstacle(call.state.broker.settings, query)) is not None:
        decided = (False, "settings", [], [obstacle])
    elif not keepers.rules:
        decided = (True, "other_plugins" if keepers.deciding else "no_plugin", [], [NO_PLUGIN])
    elif client.superuser:
        decided = (True, "superuser", [], [])
    else:
        decided = (decision.allowed, decision.decided_by, [_layer(answer) for answer in decision.layers], [])
    allowed, decided_by, layers, more = decided
    return {
        "allowed": allowed,
        "decided_by": decided_by,
        "client": shown,
        "layers": layers,
        "remarks": [*remarks, *more],
    }


def _client(state: ApiState, query: ExplainQuery, keepers: Gatekeepers) -> _Client:
    """Say who is asked about: the session's client, or who would come with the given name."""
    directory = state.directory
    session = state.broker.registry.get(query.clientid)
    address, listener = query.address, query.listener
    if session is not None:
        identity = session.identity
        address = identity.peer_host if address is None else address
        listener = identity.listener if listener is None else listener
        if query.username is None or query.username == identity.username:
            return _Client(
                identity.username,
                identity.principal,
                identity.superuser,
                address,
                listener,
                session=True,
                connected=session.connected,
                rights=identity.rights,
            )
    username = query.username or None
    return _Client(
        username,
        # Who was let in by others has no login, whatever name it came under.
        directory.principal_of(query.clientid, username) if keepers.logins else None,
        keepers.logins and directory.is_superuser(query.clientid, username),
        address or "",
        listener or "",
        session=session is not None,
        connected=session is not None and session.connected,
    )


def _refusals(directory: Directory, keepers: Gatekeepers, client_id: str, client: _Client) -> list[str]:
    """Say what keeps the client from connecting at all, whatever the rules are: in the words of the server's log."""
    if not keepers.logins:
        return [OTHER_LOGINS if keepers.admitting else NOBODY_ADMITS]
    verdicts = directory.refusals(client_id, client.username, client.principal, peer_host=client.address)
    if client.username is None and client.principal is None and not keepers.anonymous:
        verdicts.append(ANONYMOUS_REFUSED)
    return [CANNOT_CONNECT.format(verdict.log) for verdict in verdicts]


def _others(keepers: Gatekeepers) -> list[str]:
    """Say which plugins have a word too; what they would say, only they know."""
    remarks: list[str] = []
    if keepers.admitting:
        remarks.append(f"{OTHERS_ADMIT} {', '.join(keepers.admitting)}.")
    if keepers.deciding:
        remarks.append(f"{OTHERS_DECIDE} {', '.join(keepers.deciding)}.")
    return remarks


def _obstacle(settings: MqttSettings, query: ExplainQuery) -> str | None:
    """Say which of the server's settings refuses what is asked for; nobody is exempt from them."""
    if query.action == "receive":
        return None
    topic = query.topic
    if query.action == "subscribe":
        group, topic = split_share(topic)  # which the rules have read already
        if group is not None and not settings.shared_subscription:
            return "The server's settings allow no shared subscriptions."
        if not settings.wildcard_subscription and has_wildcard(topic):
            return "The server's settings allow no subscriptions with + or #."
    elif query.qos > settings.max_qos_allowed:
        return f"The server's settings allow no QoS above {settings.max_qos_allowed}."
    elif query.retain and not settings.retain_available:
        return "The server's settings allow no retained messages."
    if len(topic.encode()) > settings.max_topic_length:
        return f"The server's settings allow no topics of more than {settings.max_topic_length} bytes."
    if 0 < settings.max_topic_levels <= topic.count("/"):
        return f"The server's settings allow no topics of more than {settings.max_topic_levels} levels."
    return None


def _layer(answer: explanation.LayerAnswer) -> LayerAnswer:
    return {
        "kind": answer.kind,
        "name": answer.name,
        "allowed": answer.allowed,
        "rule": _rule(answer.rule),
        "position": None if answer.position is None else answer.position + 1,
        "wildcard_guard": answer.wildcard_guard,
    }


def _rule(rule: Rule | RoleAcl | None) -> ConditionalRule | Acl | None:
    if isinstance(rule, RoleAcl):
        return {"acltype": rule.acltype, "topic": rule.topic, "allow": rule.allow, "priority": rule.priority}
    return None if rule is None else show(rule)
