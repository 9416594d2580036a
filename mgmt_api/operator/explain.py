"""Why a client may do something or not, by the very rules that the broker asks."""

from dataclasses import dataclass
from time import time

from ...store.acl import explanation
from ...store.directory import Directory
from ...store.records import PUBLISH, RECEIVE, SUBSCRIBE, Login, RoleAcl, Rule
from ..routes import Call
from ..state import ApiState
from .models_explain import Explained, ExplainedClient, ExplainedOperation, ExplainQuery, LayerAnswer
from .models_roles import Acl
from .models_rules import ConditionalRule, show

_OPERATIONS: dict[ExplainedOperation, int] = {"publish": PUBLISH, "subscribe": SUBSCRIBE, "receive": RECEIVE}

SYSTEM_TOPIC = "No client may publish to a topic that begins with $."
UNKNOWN_USER = "There is no such user, so no client can connect under this name."
DISABLED = "The user is disabled, so no client can connect under this name."
EXPIRED = "The user has expired, so no client can connect under this name."
BANNED = "The client id or the address is banned, so the client cannot connect."
BANNED_NAME = "The user name is banned, so no client can connect under it."


@dataclass(frozen=True, slots=True)
class _Client:
    username: str | None
    principal: str | None
    superuser: bool
    address: str
    listener: str
    session: bool
    connected: bool


async def explain_decision(call: Call[ExplainQuery, None]) -> Explained:
    """Decide anew what a client asks for, and say which rule of which layer decided."""
    query, directory = call.query, call.state.directory
    client = _client(call.state, query)
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
        query.clientid, client.username, client.principal, peer_host=client.address, listener=client.listener
    )
    decision = access.explain(_OPERATIONS[query.action], query.topic, query.qos, query.retain)
    remarks = _remarks(directory, query.clientid, client, login)
    if query.action == "publish" and query.topic.startswith("$"):
        remarks.append(SYSTEM_TOPIC)
        return {"allowed": False, "decided_by": "system_topic", "client": shown, "layers": [], "remarks": remarks}
    if client.superuser:
        return {"allowed": True, "decided_by": "superuser", "client": shown, "layers": [], "remarks": remarks}
    return {
        "allowed": decision.allowed,
        "decided_by": decision.decided_by,
        "client": shown,
        "layers": [_layer(answer) for answer in decision.layers],
        "remarks": remarks,
    }


def _client(state: ApiState, query: ExplainQuery) -> _Client:
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
            )
    username = query.username or None
    return _Client(
        username,
        directory.principal_of(query.clientid, username),
        directory.is_superuser(query.clientid, username),
        address or "",
        listener or "",
        session=session is not None,
        connected=session is not None and session.connected,
    )


def _remarks(directory: Directory, client_id: str, client: _Client, login: Login | None) -> list[str]:
    """Say what keeps the client from connecting at all, whatever the rules are."""
    remarks: list[str] = []
    if directory.bans.find(client_id, client.address) is not None:
        remarks.append(BANNED)
    if client.username is not None and directory.bans.find_username(client.username) is not None:
        remarks.append(BANNED_NAME)
    if login is None:
        return [*remarks, UNKNOWN_USER] if client.username is not None else remarks
    if login.disabled:
        remarks.append(DISABLED)
    if login.valid_until is not None and login.valid_until <= time():
        remarks.append(EXPIRED)
    return remarks


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
