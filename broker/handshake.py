"""What opens a connection and proves who is there: CONNECT, CONNACK and AUTH."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from inspect import isawaitable
from logging import getLogger
from typing import Any, Protocol, cast

from .access import Accept, Challenge
from .admission import Admission, Decision, Gate, Refused
from .engine import Engine
from .protocol.encode import encode_auth, encode_connack, encode_connack5
from .protocol.errors import MqttError, ProtocolError
from .protocol.packets import Auth, Connect, PacketType, Properties
from .protocol.properties import PropertyId
from .protocol.reason_codes import ReasonCode, connack_return_code
from .reauthentication import Reauthentication
from .session import Session
from .session_watch import word_for

_logger = getLogger(__name__)


class Host(Gate, Protocol):
    """The connection that is being opened."""

    session: Session | None

    def leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for something with reading held; True."""
        ...

    def end(self, reason: ReasonCode) -> None:
        """Close the connection."""
        ...


class Handshake:
    """Carry the opening dialogue of one connection, and later ones that renew the authentication."""

    __slots__ = ("_admission", "_engine", "_host", "_out", "_reauthentication")

    def __init__(self, engine: Engine, host: Host) -> None:
        self._engine = engine
        self._host = host
        self._out = host.out
        self._admission: Admission | None = None
        self._reauthentication: Reauthentication | None = None

    @property
    def begun(self) -> bool:
        """Tell whether there was a CONNECT."""
        return self._admission is not None

    @property
    def renewable(self) -> bool:
        """Tell whether the client may authenticate anew: it must have opened the connection by the same method."""
        return self._admission is not None and self._admission.method is not None

    def connect(self, connect: Connect, turned_away: ReasonCode | None) -> bool | None:
        """Take the CONNECT; `turned_away` is the reason why nobody is served now. True if reading stops here."""
        engine = self._engine
        engine.counters.connects += 1
        self._out.version = connect.protocol_version
        self._admission = admission = Admission(engine, self._host, connect)
        admission.respect_client()
        if turned_away is not None:
            self._refuse(Refused(turned_away, "a limit or a rate of connections is reached"))
            return True
        return self._take_step(admission, admission.begin)

    def _take_step(
        self, admission: Admission, step: Callable[[], Challenge | Awaitable[Decision | None] | None]
    ) -> bool | None:
        """Go on with the dialogue; True if reading stops here."""
        try:
            decision = step()
        except Refused as refusal:
            self._refuse(refusal)
            return True
        if decision is None:
            return None
        if isinstance(decision, Challenge):
            self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, decision.data)  # [MQTT-4.12.0-2]
            return None
        return self._host.leave_loop(self._connect_when_decided(admission, decision))

    async def _connect_when_decided(self, admission: Admission, decision: Awaitable[Decision | None]) -> None:
        try:
            answer = await decision
            if answer is not None and not self._out.closed:
                rest = admission.decided(answer)
                if isawaitable(rest):
                    await rest
        except Refused as refusal:
            self._refuse(refusal)

    def authenticate(self, packet: Auth) -> bool | None:
        """Take the next step of the authentication that opens the connection, or of one that renews it.

        Raises `ProtocolError`; True if reading stops here.
        """
        admission = self._admission
        if admission is None or admission.method is None:  # [MQTT-4.12.0-7]
            raise ProtocolError("AUTH, and no authentication method in the CONNECT")
        if packet.properties.get(PropertyId.AUTHENTICATION_METHOD) != admission.method:  # [MQTT-4.12.1-1]
            raise ProtocolError("another authentication method than in the CONNECT")
        data = cast("bytes | None", packet.properties.get(PropertyId.AUTHENTICATION_DATA))
        session = self._host.session
        if session is not None:
            return self._reauthenticate(admission, session, packet.reason, data)
        if packet.reason != ReasonCode.CONTINUE_AUTHENTICATION:  # [MQTT-4.12.0-3]
            raise ProtocolError("re-authentication before the CONNECT was answered")
        return self._take_step(admission, lambda: admission.proceed(data))

    def _reauthenticate(
        self, admission: Admission, session: Session, reason: ReasonCode, data: bytes | None
    ) -> bool | None:
        if reason == ReasonCode.REAUTHENTICATE:
            self._reauthentication = Reauthentication(admission.begin_exchange(), session.identity)
        if self._reauthentication is None:
            raise ProtocolError("AUTH, and no authentication is going on")
        try:
            answer = self._reauthentication.respond(data)
        except Refused as refusal:
            self._refuse_renewal(session, refusal)
            return True
        if isinstance(answer, Challenge):
            self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, answer.data)
            return None
        if isawaitable(answer):
            return self._host.leave_loop(self._renew_when_decided(session, answer))
        rest = self._renew(session, answer)
        return None if rest is None else self._host.leave_loop(rest)

    async def _renew_when_decided(self, session: Session, answer: Awaitable[Accept]) -> None:
        try:
            accept = await answer
        except Refused as refusal:
            self._refuse_renewal(session, refusal)
            return
        if session.link is self._out:  # neither closed nor taken over meanwhile
            rest = self._renew(session, accept)
            if rest is not None:
                await rest

    def _renew(self, session: Session, accept: Accept) -> Coroutine[Any, Any, None] | None:
        """Let a client go on that has proved again who it is, with what it may do as of now; the rest is awaited."""
        engine = self._engine
        self._reauthentication = None
        engine.counters.auth_success += 1
        session.identity.superuser, session.identity.confined = accept.superuser, accept.confined
        engine.validity.set(session, accept.valid_until)
        checks = engine.rechecks.recheck(session, renewed=True)
        if checks is not None:
            return self._confirm_when_checked(session, accept, checks)
        self._send_auth(ReasonCode.SUCCESS, accept.auth_data)
        return None

    async def _confirm_when_checked(self, session: Session, accept: Accept, checks: Coroutine[Any, Any, None]) -> None:
        await checks
        if session.link is self._out:
            self._send_auth(ReasonCode.SUCCESS, accept.auth_data)

    def _refuse_renewal(self, session: Session, refusal: Refused) -> None:
        """Close the connection of a client that could not prove again who it is [MQTT-4.12.1-2]."""
        self._engine.counters.auth_failure += 1
        _logger.warning("client %r: re-authentication failed: %s", session.client_id, refusal)
        self._host.end(refusal.reason)

    def _send_auth(self, reason: ReasonCode, data: bytes | None) -> None:
        method = None if self._admission is None else self._admission.method
        properties: Properties = {PropertyId.AUTHENTICATION_METHOD: method}  # [MQTT-4.12.0-5]
        if data is not None:
            properties[PropertyId.AUTHENTICATION_DATA] = data
        self._out.send(encode_auth(reason, properties), PacketType.AUTH)

    def accept(self, session: Session, session_present: bool, properties: Properties) -> None:
        """Send the CONNACK that lets the client in, and keep of its CONNECT only what a later AUTH needs."""
        admission = self._admission
        if admission is not None and admission.method is not None:
            admission.connect = replace(admission.connect, password=None, will=None, properties={})
            admission.answer = {}
        if session.protocol_version == 5:
            data = encode_connack5(session_present, ReasonCode.SUCCESS, properties)
        else:
            # 3.1 reserves the byte that tells of a stored session
            data = encode_connack(session_present and session.protocol_version > 3, 0)
        self._out.send(data, PacketType.CONNACK)
        self._out.acknowledged = True

    def _refuse(self, refusal: Refused) -> None:
        client_id = self._admission.connect.client_id if self._admission is not None else ""
        host = self._host
        _logger.warning("client %r from %s:%s refused: %s", client_id, host.peer_host, host.peer_port, refusal)
        self._engine.counters.connects_refused += 1
        username = self._admission.connect.username if self._admission is not None else None
        for watch in self._engine.session_watches:
            watch.refused(client_id, username, host.peer_host, word_for(refusal.reason))
        self.answer_refusal(refusal.reason)
        self._out.close(refusal.reason)  # [MQTT-3.2.2-5], [MQTT-3.1.4-5], [MQTT5-3.2.2-7], [MQTT5-3.1.4-6]

    def explain(self, error: MqttError) -> None:
        """Answer a CONNECT that cannot be parsed, or what came in place of the rest of the dialogue.

        Before it is known which version is spoken, nothing can be said; 3.1 and 3.1.1 can only be told of a version
        that is not served. [MQTT-3.1.2-2], [MQTT-3.14.0-1]
        """
        version = error.protocol_version or (self._out.version if self.begun else None)
        unsupported = error.reason is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        if version == 5 or unsupported:  # [MQTT-3.1.4-1], [MQTT-3.2.2-6], [MQTT5-3.1.4-1]
            self._out.version = version or 4
            self.answer_refusal(error.reason)

    def answer_refusal(self, reason: ReasonCode) -> None:
        """Send a CONNACK that says why not; Session Present is 0 in it [MQTT5-3.2.2-6]."""
        if self._out.version == 5:  # [MQTT-3.2.2-8]
            self._out.send_with_reason(
                PacketType.CONNACK, reason, lambda properties: encode_connack5(False, reason, properties), always=True
            )
        else:
            self._out.send(encode_connack(False, connack_return_code(reason)), PacketType.CONNACK)
