"""From CONNECT to CONNACK: a list of named steps.

Authentication comes before any session is looked up: a stranger who knows a client id can neither end nor inherit
what belongs to it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from logging import getLogger
from secrets import token_hex
from time import time
from typing import Any, Protocol, TypeAlias, cast

from amqtt.events import BrokerEvents

from .access import Accept, AuthExchange, Challenge, ConnectRequest, Identity, Refuse
from .amqtt_session import SessionView, build_view
from .engine import Engine
from .journal.journal import Journal
from .outgoing import Outgoing
from .protocol.encode import encode_connack5
from .protocol.packets import Connect, Properties
from .protocol.properties import PropertyId
from .protocol.reason_codes import ReasonCode
from .reservation import Reservation
from .session import Session
from .topic_aliases import OutgoingAliases

_logger = getLogger(__name__)
_FOR_EVER = 0xFFFF_FFFF
"""The session expiry interval that has no end."""

Decision: TypeAlias = Accept | Refuse | Challenge
_DECISIONS = (Accept, Refuse, Challenge)
_UNDECIDED = Accept()


class Refused(Exception):
    """End an admission: a reason for the peer, a sentence for the log."""

    def __init__(self, reason: ReasonCode, log: str) -> None:
        super().__init__(log)
        self.reason = reason


class Gate(Protocol):
    """The connection, as far as admission needs it."""

    out: Outgoing
    peer_host: str
    peer_port: int
    listener_id: str
    certificate_name: str | None

    @property
    def ssl_object(self) -> object | None:
        """The TLS connection, where there is one."""
        ...

    def admitted(self, session: Session, session_present: bool, properties: Properties) -> None:
        """Send the CONNACK and start the session's timers."""
        ...


class Admission:
    """Carry one CONNECT through its steps."""

    __slots__ = (
        "_opening",
        "accept",
        "answer",
        "checks",
        "client_id",
        "connect",
        "engine",
        "exchange",
        "expiry_interval",
        "gate",
        "keep_alive",
        "method",
        "session",
        "session_present",
        "view",
    )

    def __init__(self, engine: Engine, gate: Gate, connect: Connect) -> None:
        self.engine = engine
        self.gate = gate
        self.connect = connect
        self.method = cast("str | None", connect.properties.get(PropertyId.AUTHENTICATION_METHOD))
        """The authentication method of the CONNECT."""
        self.client_id = connect.client_id
        self.keep_alive = connect.keep_alive
        self.expiry_interval = 0.0
        self.exchange: AuthExchange | None = None
        """The enhanced authentication that is going on."""
        self.accept = _UNDECIDED
        self.view: SessionView | None = None
        self.session: Session | None = None
        self.checks: Coroutine[Any, Any, None] | None = None
        """What is left of looking through the session that is taken up, or of ending the one that was there."""
        self._opening: asyncio.Future[None] | None = None
        self.session_present = False  # [MQTT-3.2.2-1], [MQTT-3.2.2-3], [MQTT5-3.2.2-2]
        self.answer: Properties = {}

    def respect_client(self) -> None:
        """Keep to what limits even a refusal."""
        out, properties = self.gate.out, self.connect.properties
        if not properties:
            return
        out.max_packet_size = cast("int", properties.get(PropertyId.MAXIMUM_PACKET_SIZE, 0))
        out.problem_information = bool(properties.get(PropertyId.REQUEST_PROBLEM_INFORMATION, 1))

    def begin(self) -> Challenge | Awaitable[Decision | None] | None:
        """Run the steps; None when all are done.

        A `Challenge` goes to the client, whose answer goes to `proceed`; what must be awaited goes to `decided`, or if
        it is None there is nothing left to do. Raises `Refused`, also when awaited.
        """
        self.check_limits()
        self.choose_client_id()
        self.choose_keep_alive()
        self.choose_expiry()
        self.check_certificate()
        return self._take(self.authenticate())

    def proceed(self, data: bytes | None) -> Challenge | Awaitable[Decision | None] | None:
        """Take the client's next word in an enhanced authentication; the answer is that of `begin`."""
        if self.exchange is None:
            raise Refused(ReasonCode.PROTOCOL_ERROR, "AUTH without an authentication method")
        return self._take(self.exchange.respond(data))

    def _take(self, decision: Decision | Awaitable[Decision]) -> Challenge | Awaitable[Decision | None] | None:
        if isinstance(decision, _DECISIONS):
            return self.decided(decision)
        if not isawaitable(decision):
            raise TypeError(f"an authentication plugin answered with {type(decision).__name__}")
        return decision

    def decided(self, decision: Decision) -> Challenge | Awaitable[None] | None:
        """Take the authenticators' answer and, if it is the last one, run the remaining steps.

        What is returned must be awaited if it can be. Raises `Refused`, also then.
        """
        if isinstance(decision, Challenge):
            return decision
        self.require_acceptance(decision)
        for step in _STEPS:
            step(self)
        if self.checks is not None:
            self._opening = asyncio.ensure_future(self._open_when_checked(self.checks))
            return asyncio.shield(self._opening)  # or a client that goes would leave its place taken
        self._open()
        return None

    async def _open_when_checked(self, checks: Coroutine[Any, Any, None]) -> None:
        """Let the client in once its session has been looked through, unless it was closed meanwhile."""
        session, out = self._session(), self.gate.out
        place, checked = session.link, False
        try:
            await checks
            checked = not out.closed
        finally:
            if not checked and session.link is place:  # the client has gone, or its time to connect is over
                self.engine.detach(session, graceful=True)
        if not checked:
            return
        if session.link is not place or not isinstance(place, Reservation):
            closed_for = place.closed_for if isinstance(place, Reservation) else None
            taken_over = closed_for is ReasonCode.SESSION_TAKEN_OVER
            reason = ReasonCode.SERVER_UNAVAILABLE if taken_over else ReasonCode.NOT_AUTHORIZED
            raise Refused(reason, "closed before it was let in")
        session.will, session.link = self.connect.will, out
        session.touch()
        self._open()

    def _open(self) -> None:
        for step in _LAST_STEPS:
            step(self)

    def check_limits(self) -> None:
        """Refuse what is too long, and a will that could not be published."""
        settings, will = self.engine.settings, self.connect.will
        # [MQTT-3.1.3-5], [MQTT-3.1.3-9], [MQTT5-3.1.3-8]
        if len(self.connect.client_id.encode()) > settings.max_clientid_len:
            raise Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the client id is too long")
        if will is None:
            return
        if will.qos > settings.max_qos_allowed:  # [MQTT-3.2.2-12]
            raise Refused(ReasonCode.QOS_NOT_SUPPORTED, "a will at a QoS that is not supported")
        if will.retain and not settings.retain_available:  # [MQTT-3.2.2-13]
            raise Refused(ReasonCode.RETAIN_NOT_SUPPORTED, "a retained will, and retaining is not supported")
        levels = settings.max_topic_levels
        if len(will.topic.encode()) > settings.max_topic_length or (levels and will.topic.count("/") >= levels):
            raise Refused(ReasonCode.TOPIC_NAME_INVALID, "the will's topic is too long")

    def choose_client_id(self) -> None:
        """Give a client id to a client without one, if it may be without; where the settings say so, its user name."""
        if self.connect.username and self.engine.settings.use_username_as_clientid:
            self.client_id = self.connect.username
            if len(self.client_id.encode()) > self.engine.settings.max_clientid_len:
                raise Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the user name is too long for a client id")
        if self.client_id:
            return
        version = self.connect.protocol_version
        if version == 3 or (version == 4 and not self.connect.clean_start):  # [MQTT-3.1.3-7], [MQTT-3.1.3-8]
            raise Refused(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client id, and a session to be kept")
        self.client_id = f"auto-{token_hex(12)}"  # [MQTT-3.1.3-6]

    def choose_keep_alive(self) -> None:
        """Hold the client to the longest keep-alive, which only MQTT 5 can tell it."""
        limit = self.engine.settings.max_keepalive
        if self.engine.settings.server_keepalive and self.connect.protocol_version == 5:
            self.keep_alive = min(self.engine.settings.server_keepalive, limit)
        if limit == 65_535 or 0 < self.keep_alive <= limit:
            return
        if self.connect.protocol_version == 5:
            self.keep_alive = limit
        else:
            raise Refused(ReasonCode.NOT_AUTHORIZED, f"a keep-alive of {self.keep_alive} seconds, and {limit} allowed")

    def choose_expiry(self) -> None:
        """Find how long the session outlives its connection."""
        settings, connect = self.engine.settings, self.connect
        if connect.protocol_version < 5:
            kept = settings.session_expiry_interval or float("inf")
            self.expiry_interval = 0.0 if connect.clean_start else kept
            return
        asked = cast("int", connect.properties.get(PropertyId.SESSION_EXPIRY_INTERVAL, 0))
        self.expiry_interval = limit_expiry(asked, settings.max_session_expiry_interval)

    def check_certificate(self) -> None:
        """Refuse a user name that is not the one of the client's certificate, whatever plugins decide by it."""
        proved, presented = self.gate.certificate_name, self.connect.username
        if proved == "":
            raise Refused(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "the certificate names nobody")
        if proved is not None and presented is not None and presented != proved:
            raise Refused(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "the user name is not that of the certificate")

    def authenticate(self) -> Decision | Awaitable[Decision]:
        """Ask who this is."""
        connect, access = self.connect, self.engine.access
        request = self._request()
        asked = self.engine.authentications.get(self.gate.listener_id)
        if asked == "unchecked" and self.method is None:
            decision = access.admit_unchecked(request)
            if decision is not None:
                return decision
        if asked == "named" and connect.username is None and self.method is None and not self.gate.certificate_name:
            return Refuse(ReasonCode.NOT_AUTHORIZED, "no user name, and the listener lets in nobody without one")
        if access.needs_view or self.engine.events.views:
            self.view = build_view(
                client_id=self.client_id,
                username=self._username,
                password=connect.password,
                clean_session=connect.clean_start,
                keep_alive=connect.keep_alive,
                peer_host=self.gate.peer_host,
                peer_port=self.gate.peer_port,
                will=connect.will,
                ssl_object=self.gate.ssl_object,
            )
        if self.method is None:
            return cast("Accept | Refuse | Awaitable[Decision]", access.authenticate(request, self.view))
        self.exchange = self.begin_exchange()
        if self.exchange is None:  # [MQTT-4.12.0-1]
            raise Refused(ReasonCode.BAD_AUTHENTICATION_METHOD, "an authentication method that nobody offers")
        return self.exchange.respond(cast("bytes | None", connect.properties.get(PropertyId.AUTHENTICATION_DATA)))

    def begin_exchange(self) -> AuthExchange | None:
        """Begin an enhanced authentication, for the CONNECT or again later; None if nobody offers the method."""
        return self.engine.access.exchange(self._request(), self.method or "")

    def _request(self) -> ConnectRequest:
        connect, gate = self.connect, self.gate
        return ConnectRequest(
            # An id that is the server's choice is nobody's login.
            self.client_id if connect.client_id or self.client_id == connect.username else "",
            connect.username,
            connect.password,
            gate.peer_host,
            gate.peer_port,
            gate.listener_id,
            connect.protocol_version,
            gate.certificate_name,
        )

    def require_acceptance(self, decision: Accept | Refuse) -> None:
        """Turn away who was not accepted; nothing has been touched up to here."""
        counters = self.engine.counters
        if isinstance(decision, Refuse):
            counters.auth_failure += 1
            raise Refused(decision.reason, decision.log)  # [MQTT5-3.1.4-2], [MQTT-4.12.0-4]
        counters.auth_success += 1
        counters.auth_anonymous += (
            self.connect.username is None and decision.principal is None and decision.rights is None
        )
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
        if existing.link is not None:  # [MQTT-3.1.3-2], [MQTT-3.1.4-3], [MQTT5-3.1.4-4]
            engine.counters.sessions_takenover += 1
            word = "discarded" if self.connect.clean_start else "takenover"
            engine.close_link(existing, ReasonCode.SESSION_TAKEN_OVER, word)  # [MQTT-3.1.4-2], [MQTT5-3.1.4-3]
        existing = engine.registry.get(self.client_id)  # a session that was not persistent has ended with its link
        if existing is None:
            return
        if self.connect.clean_start or not self._owns(existing) or existing.expired:  # [MQTT-3.1.2-6], [MQTT5-3.1.2-4]
            engine.end_session(existing)
            engine.counters.sessions_discarded += 1
            if existing.journaled and engine.journal is not None:
                self.checks = _settle(engine.journal)  # who is told that it is gone must not meet it again
            return
        self.session = existing  # [MQTT-3.1.2-4], [MQTT5-3.1.2-5]
        self.session_present = True  # [MQTT-3.2.2-2], [MQTT5-3.2.2-3]

    def restore(self) -> None:
        """Find or make the session and give it this client's identity."""
        engine, accept = self.engine, self.accept
        identity = Identity(
            self.client_id,
            self._username,
            accept.principal,
            self.gate.peer_host,
            self.gate.listener_id,
            accept.superuser,
            accept.confined,
            self.gate.certificate_name,
            rights=accept.rights,
        )
        session = self.session
        if session is None:  # [MQTT5-3.1.2-6]
            session = self.session = engine.new_session(
                identity, self.gate.out.traffic, persistent=self.expiry_interval > 0
            )
            engine.rechecks.enter(session)
            engine.counters.sessions_created += 1
        else:
            engine.registry.remove(session)
            engine.wills.forget(session)
            if not session.claimed:
                session.checked_by = None  # nobody was asked about what the server subscribed it to
            # So that its authoriser sees whether anything has changed; what is allowed now is to be found out anew.
            identity.former = session.identity.policy
            session.identity = identity
            engine.router.invalidate()
            engine.counters.sessions_resumed += 1
        session.claimed = True
        engine.registry.add(session)
        if self.view is not None:
            self.view.bind(session, resumed=self.session_present)
            if accept.username is not None:
                self.view.username = accept.username
        session.view = self.view
        if self.session_present:
            self.checks = engine.rechecks.recheck(session)

    def attach(self) -> None:
        """Let the connection carry the session, or keep its place while the session is being looked through."""
        session, connect, gate = self._session(), self.connect, self.gate
        session.protocol_version = connect.protocol_version
        session.protocol_name = connect.protocol_name
        session.keep_alive = self.keep_alive  # [MQTT5-3.2.2-22]
        session.clean_start = connect.clean_start
        session.expiry_interval = self.expiry_interval
        session.will = connect.will if self.checks is None else None  # [MQTT5-3.1.2-7]
        session.connected_at = time()
        session.disconnected_at = None  # [MQTT-4.1.0-2], [MQTT5-4.1.0-1]
        session.peer_host, session.peer_port, session.listener = gate.peer_host, gate.peer_port, gate.listener_id
        session.traffic = gate.out.traffic
        self._take_client_limits(session)
        session.link = gate.out if self.checks is None else Reservation(gate.out.traffic)
        if self.session_present:
            session.returned()
        else:
            session.touch()
        self.engine.registry.connected_count += 1
        self.engine.counters.connected += 1
        if self.accept.valid_until is not None:
            self.engine.validity.set(session, self.accept.valid_until)

    def _take_client_limits(self, session: Session) -> None:
        """Keep to what an MQTT 5 client says that it can take."""
        out, properties, settings = self.gate.out, self.connect.properties, self.engine.settings
        if not properties:
            session.max_inflight, session.limited, out.aliases = settings.max_inflight, False, None
            return
        receive_maximum = cast("int", properties.get(PropertyId.RECEIVE_MAXIMUM, 65_535))
        session.max_inflight = min(settings.max_inflight, receive_maximum)  # [MQTT-3.3.4-9], [MQTT-4.9.0-1]
        aliases = min(settings.max_topic_alias, cast("int", properties.get(PropertyId.TOPIC_ALIAS_MAXIMUM, 0)))
        out.aliases = OutgoingAliases(aliases) if aliases else None
        session.limited = bool(out.max_packet_size or aliases)

    def prepare_answer(self) -> None:
        """Compose the CONNACK's properties; a client that cannot even take those cannot be served."""
        if self.connect.protocol_version < 5:
            return
        self.answer = self._answer()
        limit = cast("int", self.connect.properties.get(PropertyId.MAXIMUM_PACKET_SIZE, 0))
        if limit and len(encode_connack5(False, ReasonCode.SUCCESS, self.answer)) > limit:
            self.answer.pop(PropertyId.RESPONSE_INFORMATION, None)
            if len(encode_connack5(False, ReasonCode.SUCCESS, self.answer)) > limit:
                raise Refused(ReasonCode.PACKET_TOO_LARGE, "the client's Maximum Packet Size has no room for a CONNACK")

    def acknowledge(self) -> None:
        """Send the CONNACK."""
        self.gate.admitted(self._session(), self.session_present, self.answer)  # [MQTT-3.1.4-4], [MQTT5-3.1.4-5]
        engine, session = self.engine, self._session()
        engine.events.fire(BrokerEvents.CLIENT_CONNECTED, client_id=self.client_id, client_session=self.view)
        for watch in engine.session_watches:
            watch.connected(session)
        if engine.admitted is not None:
            engine.admitted(session)

    def _answer(self) -> Properties:
        """Tell an MQTT 5 client what differs from the standard's defaults or from what it asked for."""
        settings, asked = self.engine.settings, self.connect.properties
        answer: Properties = {}
        expiry = min(self.expiry_interval, _FOR_EVER)
        if expiry != asked.get(PropertyId.SESSION_EXPIRY_INTERVAL, 0):
            answer[PropertyId.SESSION_EXPIRY_INTERVAL] = int(expiry)
        if settings.max_awaiting_rel < 65_535:
            answer[PropertyId.RECEIVE_MAXIMUM] = settings.max_awaiting_rel
        if settings.max_qos_allowed < 2:  # [MQTT-3.2.2-9]
            answer[PropertyId.MAXIMUM_QOS] = settings.max_qos_allowed
        if not settings.retain_available:
            answer[PropertyId.RETAIN_AVAILABLE] = 0
        answer[PropertyId.MAXIMUM_PACKET_SIZE] = settings.max_packet_size
        if not self.connect.client_id:  # [MQTT-3.2.2-16]
            answer[PropertyId.ASSIGNED_CLIENT_IDENTIFIER] = self.client_id  # [MQTT5-3.1.3-7]
        if settings.max_topic_alias:
            answer[PropertyId.TOPIC_ALIAS_MAXIMUM] = settings.max_topic_alias
        if not settings.wildcard_subscription:
            answer[PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE] = 0
        if not settings.subscription_identifiers:
            answer[PropertyId.SUBSCRIPTION_IDENTIFIER_AVAILABLE] = 0
        if not settings.shared_subscription:
            answer[PropertyId.SHARED_SUBSCRIPTION_AVAILABLE] = 0
        if self.keep_alive != self.connect.keep_alive:  # [MQTT-3.2.2-21]
            answer[PropertyId.SERVER_KEEP_ALIVE] = self.keep_alive
        if settings.response_information and asked.get(PropertyId.REQUEST_RESPONSE_INFORMATION, 0):  # [MQTT-3.1.2-28]
            answer[PropertyId.RESPONSE_INFORMATION] = settings.response_information
        if self.method is not None:  # [MQTT-4.12.0-5], [MQTT-4.12.0-6]
            answer[PropertyId.AUTHENTICATION_METHOD] = self.method
            if self.accept.auth_data is not None:
                answer[PropertyId.AUTHENTICATION_DATA] = self.accept.auth_data
        return answer

    def deliver_backlog(self) -> None:
        """Send again what was in flight, then what has been queued."""
        session = self._session()
        if self.session_present:
            session.resend()
        session.drain()
        if session.replays:
            self.engine.replays.go_on(session)
        self.engine.pace.met = False  # what leaves a queue holds nobody

    def _owns(self, session: Session) -> bool:
        """Tell whether a stored session is this client's own, or was made by the server for whoever has its id."""
        if not session.claimed:
            return True
        identity, accept = session.identity, self.accept
        if identity.principal is None and accept.principal is None:
            # A name that a certificate proved is not the same as one that was merely presented.
            proved = self.gate.certificate_name
            # And who had a token, which may have said more than a name, is not who has none.
            tokens_agree = (identity.rights is None) == (accept.rights is None)
            return identity.username == self._username and identity.certificate_name == proved and tokens_agree
        return identity.principal == accept.principal

    @property
    def _username(self) -> str | None:
        """The user name that was proved, else the one that was presented."""
        return self.accept.username or self.gate.certificate_name or self.connect.username

    def _session(self) -> Session:
        session = self.session
        if session is None:
            raise AssertionError("a step ran before `restore`")
        return session


_STEPS: tuple[Callable[[Admission], None], ...] = (
    Admission.prepare_answer,
    Admission.check_owner,
    Admission.take_over,
    Admission.restore,
    Admission.attach,
)
"""What follows authentication, in this order."""

_LAST_STEPS: tuple[Callable[[Admission], None], ...] = (
    Admission.acknowledge,  # [MQTT-3.2.0-1], [MQTT5-3.2.0-1]
    Admission.deliver_backlog,
)
"""What follows those, once the session has been looked through."""


async def _settle(journal: Journal) -> None:
    """Wait until the journal is written, or cannot be for now."""
    await journal.written()


def limit_expiry(asked: int, limit: float) -> float:
    """Turn a Session Expiry Interval into seconds; `limit` 0 for no bound."""
    interval = float("inf") if asked == _FOR_EVER else float(asked)
    return min(interval, limit) if limit else interval
