"""From CONNECT to CONNACK: a list of named steps.

Authentication comes before any session is looked up: a stranger who knows a client id can neither end nor inherit
what belongs to it.
"""

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from logging import getLogger
from secrets import token_hex
from time import time
from typing import Protocol

from amqtt.events import BrokerEvents
from amqtt.session import Session as AmqttSession

from .access import Accept, ConnectRequest, Identity, Refuse
from .engine import Engine
from .events import build_view
from .protocol.packets import Connect
from .protocol.reason_codes import ReasonCode
from .session import Link, Session

_logger = getLogger(__name__)


class Refused(Exception):
    """End an admission: a reason for the peer, a sentence for the log."""

    def __init__(self, reason: ReasonCode, log: str) -> None:
        super().__init__(log)
        self.reason = reason


class Gate(Link, Protocol):
    """The connection, as far as admission needs it."""

    peer_host: str
    peer_port: int
    listener_id: str

    def admitted(self, session: Session, session_present: bool) -> None:
        """Send the CONNACK and start the session's timers."""
        ...

    def end_at(self, delay: float) -> None:
        """Close the connection after `delay` seconds, because the credential is valid no longer."""
        ...


class Admission:
    """Carry one CONNECT through its steps."""

    def __init__(self, engine: Engine, gate: Gate, connect: Connect) -> None:
        self.engine = engine
        self.gate = gate
        self.connect = connect
        self.client_id = connect.client_id
        self.accept = Accept()
        self.view: AmqttSession | None = None
        self.session: Session | None = None
        self.session_present = False

    def begin(self) -> Awaitable[Accept | Refuse] | None:
        """Run the steps; where authentication must wait, return what to await and hand to `decided`.

        Raises `Refused`.
        """
        self.check_limits()
        self.choose_client_id()
        decision = self.authenticate()
        if isawaitable(decision):
            return decision
        self.decided(decision)
        return None

    def decided(self, decision: Accept | Refuse) -> None:
        """Take the authenticators' answer and run the remaining steps; raises `Refused`."""
        self.require_acceptance(decision)
        for step in _STEPS:
            step(self)

    def check_limits(self) -> None:
        """Refuse a client id that is too long."""
        if len(self.connect.client_id.encode()) > self.engine.settings.max_clientid_len:
            raise Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the client id is too long")

    def choose_client_id(self) -> None:
        """Give a client id to a client without one, if it may be without."""
        if self.client_id:
            return
        if not self.connect.clean_start or self.connect.protocol_version == 3:  # [MQTT-3.1.3-8]
            raise Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client id, and a session to be kept")
        self.client_id = f"auto-{token_hex(12)}"  # [MQTT-3.1.3-6]

    def authenticate(self) -> Accept | Refuse | Awaitable[Accept | Refuse]:
        """Ask who this is."""
        connect, gate = self.connect, self.gate
        request = ConnectRequest(
            connect.client_id,
            connect.username,
            connect.password,
            gate.peer_host,
            gate.peer_port,
            gate.listener_id,
            connect.protocol_version,
        )
        if self.engine.access.needs_view or self.engine.events.wants_view():
            self.view = build_view(
                client_id=self.client_id,
                username=connect.username,
                password=connect.password,
                clean_session=connect.clean_start,
                keep_alive=connect.keep_alive,
                peer_host=gate.peer_host,
                peer_port=gate.peer_port,
            )
        return self.engine.access.authenticate(request, self.view)

    def require_acceptance(self, decision: Accept | Refuse) -> None:
        """Turn away who was not accepted; nothing has been touched up to here."""
        counters = self.engine.counters
        if isinstance(decision, Refuse):
            counters.auth_failure += 1
            raise Refused(decision.reason, decision.log)
        counters.auth_success += 1
        counters.auth_anonymous += self.connect.username is None and decision.principal is None
        self.accept = decision

    def check_owner(self) -> None:
        """Keep a confined principal's session from anybody else, and the other way round."""
        existing = self.engine.registry.get(self.client_id)
        if existing is None:
            limit = self.engine.settings.max_sessions
            if limit and len(self.engine.registry) >= limit:
                raise Refused(ReasonCode.SERVER_UNAVAILABLE, "as many sessions as the settings allow")
            return
        if self._owns(existing):
            return
        if existing.identity.confined or self.accept.confined:
            raise Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the client id belongs to another principal")

    def take_over(self) -> None:
        """Close the connection that holds the client id, and discard its session unless it is to be resumed."""
        engine = self.engine
        existing = engine.registry.get(self.client_id)
        if existing is None:
            return
        if existing.link is not None:
            engine.counters.sessions_takenover += 1
            engine.close_link(existing, ReasonCode.SESSION_TAKEN_OVER)  # [MQTT-3.1.4-2]
        existing = engine.registry.get(self.client_id)  # a session that was not persistent has ended with its link
        if existing is None:
            return
        if self.connect.clean_start or not self._owns(existing) or existing.expired:  # [MQTT-3.1.2-6]
            engine.end_session(existing)
            engine.counters.sessions_discarded += 1
            return
        self.session = existing
        self.session_present = True

    def restore(self) -> None:
        """Find or make the session and give it this client's identity."""
        engine, accept = self.engine, self.accept
        identity = Identity(
            self.client_id,
            self.connect.username,
            accept.principal,
            self.gate.peer_host,
            self.gate.listener_id,
            accept.superuser,
            accept.confined,
        )
        session = self.session
        if session is None:
            session = self.session = Session(identity, engine.settings, engine.absent)
            engine.counters.sessions_created += 1
        else:
            engine.registry.remove(session)
            session.identity = identity
            engine.router.invalidate()
            engine.counters.sessions_resumed += 1
        session.claimed = True
        engine.registry.add(session)
        session.view = self.view
        if self.session_present:
            engine.recheck_subscriptions(session)

    def attach(self) -> None:
        """Let the connection carry the session."""
        session, connect, gate = self._session(), self.connect, self.gate
        session.protocol_version = connect.protocol_version
        session.protocol_name = connect.protocol_name
        session.keep_alive = connect.keep_alive
        session.clean_start = connect.clean_start
        session.expiry_interval = 0.0 if connect.clean_start else self._expiry_interval()
        session.will = connect.will
        session.connected_at = time()
        session.disconnected_at = None
        session.peer_host, session.peer_port, session.listener = gate.peer_host, gate.peer_port, gate.listener_id
        session.traffic = gate.traffic
        session.link = gate
        self.engine.registry.connected_count += 1
        self.engine.counters.connected += 1

    def acknowledge(self) -> None:
        """Send the CONNACK."""
        self.gate.admitted(self._session(), self.session_present)  # [MQTT-3.2.2-1] to [MQTT-3.2.2-3]
        if self.accept.valid_until is not None:
            self.gate.end_at(max(0.0, self.accept.valid_until - time()))
        self.engine.events.fire(BrokerEvents.CLIENT_CONNECTED, client_id=self.client_id, client_session=self.view)

    def deliver_backlog(self) -> None:
        """Send again what was in flight, then what has been queued."""
        session = self._session()
        session.resend()
        session.drain()

    def _owns(self, session: Session) -> bool:
        """Tell whether a stored session is this client's own, or was made by the server for whoever has its id."""
        if not session.claimed:
            return True
        identity, accept = session.identity, self.accept
        if identity.principal is None and accept.principal is None:
            return identity.username == self.connect.username
        return identity.principal == accept.principal

    def _expiry_interval(self) -> float:
        return self.engine.settings.session_expiry_interval or float("inf")

    def _session(self) -> Session:
        session = self.session
        if session is None:
            raise AssertionError("a step ran before `restore`")
        return session


_STEPS: tuple[Callable[[Admission], None], ...] = (
    Admission.check_owner,
    Admission.take_over,
    Admission.restore,
    Admission.attach,
    Admission.acknowledge,
    Admission.deliver_backlog,
)
"""What follows authentication, in this order."""
