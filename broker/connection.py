"""One socket: the driver between asyncio's transport and the engine.

It owns the socket's life: timers, reasons not to read, the packets that open, subscribe, re-authenticate and close.
What a client publishes goes through `incoming.py`, what it is sent through `outgoing.py`. Only what must wait (a
password hash, a foreign plugin) leaves the loop, and then this one socket is not read.
"""

import asyncio
from collections.abc import Coroutine
from enum import IntFlag
from logging import getLogger
from time import time
from typing import Any, Protocol, cast

from amqtt.contexts import Action

from .access import Challenge
from .admission import Admission, Refused, limit_expiry
from .engine import Engine
from .incoming import Incoming
from .outgoing import WRITE_HIGH_WATER, Flusher, Outgoing
from .protocol.encode import (
    PINGRESP,
    SUBACK_FAILURE,
    encode_auth,
    encode_connack,
    encode_connack5,
    encode_suback,
    encode_suback5,
    encode_unsuback,
    encode_unsuback5,
)
from .protocol.errors import MqttError, ProtocolError
from .protocol.packets import (
    Auth,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    Pingreq,
    Properties,
    Subscribe,
    Unsubscribe,
)
from .protocol.properties import PropertyId, encode_properties
from .protocol.reader import PacketReader
from .protocol.reason_codes import ReasonCode, connack_return_code
from .rates import TokenBucket
from .reauthentication import Reauthentication
from .routing.topics import has_wildcard, is_shared
from .session import Session
from .topic_aliases import IncomingAliases
from .traffic import Traffic

_logger = getLogger(__name__)

_CONNACK = 2
_TURN_AWAY_TIMEOUT = 2.0
"""Seconds in which a client that is turned away may send the CONNECT that is answered with the reason."""


class Door(Protocol):
    """The listener that a connection came through."""

    listener_id: str

    def turn_away(self, peer_host: str) -> ReasonCode | None:
        """Give the reason for not serving another client from this address now, None where there is none."""
        ...

    def certificate_name(self, transport: asyncio.BaseTransport) -> str | None:
        """Give the user name that the client's certificate proves, where the listener takes it from there."""
        ...

    def entered(self, connection: "Connection") -> None:
        """Count a connection in."""
        ...

    def left(self, connection: "Connection") -> None:
        """Count a connection out."""
        ...


class Hold(IntFlag):
    """Reasons for not reading from a socket."""

    TASK = 1
    """Something that this client asked for must be awaited first."""
    UNREAD_ACKS = 2
    """The client does not read what it is answered."""
    PACE = 4
    """A consumer of what it publishes has to catch up."""
    RATE = 8
    """It sent more than it may."""


class Connection(asyncio.Protocol):
    """Drive one client's socket."""

    def __init__(self, engine: Engine, door: Door, flusher: Flusher, loop: asyncio.AbstractEventLoop) -> None:
        settings = engine.settings
        self.engine = engine
        self.traffic = Traffic()
        self.peer_host = ""
        self.peer_port = 0
        self.listener_id = door.listener_id
        self.certificate_name: str | None = None
        self.session: Session | None = None
        self.out = Outgoing(loop, flusher, engine.pace, self.traffic, settings.max_outgoing_bytes)
        self.out.unread_acks = self._hold_unread
        self._door = door
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming(engine, self, self.out)
        events = engine.events
        slow_path = engine.access.waits or events.messages or events.packets
        self._reader = PacketReader(
            self._incoming,
            settings.max_packet_size,
            coalesce=not slow_path,
            tap=self._show_received if events.packets else None,
        )
        if events.packets:
            self.out.tap = self._show_sent
        self._holds = Hold(0)
        self._byte_rate = _bucket(settings.max_byte_rate)
        self._message_rate = _bucket(settings.max_message_rate)
        self._messages_seen = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._keep_alive: asyncio.TimerHandle | None = None
        self._last_received = 0.0
        self._entered = False
        self._turned_away: ReasonCode | None = None
        self._admission: Admission | None = None
        self._reauthentication: Reauthentication | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Tell whether nothing more is read or sent."""
        return self.out.closed

    @property
    def ssl_object(self) -> object | None:
        """The TLS connection, where there is one."""
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the CONNECT; a client that there is no room for is told so in answer to it."""
        # uvloop's transports have the methods, but not the base class
        self._transport = transport = cast("asyncio.Transport", transport)
        self.out.transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) > 1:  # pyright: ignore[reportUnknownArgumentType]
            self.peer_host, self.peer_port = str(peer[0]), int(peer[1])  # pyright: ignore[reportUnknownArgumentType]
        engine = self.engine
        reason = self._door.turn_away(self.peer_host)
        self._last_received = self._loop.time()
        if reason is not None:
            engine.counters.connections_refused += 1
            if not engine.may_explain(self):
                self.out.abort()
                return
            self._turned_away = reason
            self._later(_TURN_AWAY_TIMEOUT, self.out.abort)
            return
        self._entered = True
        self._door.entered(self)
        self.certificate_name = self._door.certificate_name(transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._later(engine.settings.connect_timeout, self._connect_timed_out)

    def data_received(self, data: bytes) -> None:
        """Take what the socket had."""
        traffic = self.traffic
        traffic.bytes_received += len(data)
        traffic.reads += 1
        self._last_received = self._loop.time()
        if self.out.closed:
            return
        self._read(data)
        if self._byte_rate is not None or self._message_rate is not None:
            self._check_rates(len(data))

    def eof_received(self) -> bool | None:
        """Close when the peer has."""
        return None

    def pause_writing(self) -> None:
        """Note that the peer reads slowly."""
        self.out.pause()

    def resume_writing(self) -> None:
        """Go on sending."""
        out = self.out
        out.resume()
        if Hold.UNREAD_ACKS in self._holds and not out.paused:
            self._free(Hold.UNREAD_ACKS)
        session = self.session
        if session is not None and session.link is out:
            session.drain()
            if session.replays:
                self.engine.replays.go_on(session)
        out.catch_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the session off the connection and count the traffic."""
        for timer in self._timers:
            timer.cancel()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        if self._task is not None:
            self._task.cancel()
        self.out.lost()
        engine = self.engine
        if self._entered:
            self._door.left(self)
        engine.turned_away.discard(self)
        session = self.session
        if session is not None and session.link is self.out:
            engine.detach(session, graceful=False)
            _logger.info("client %r: connection lost", session.client_id)
        engine.ended.add(self.traffic)

    # -- reading, and reasons not to

    def _read(self, data: bytes) -> None:
        try:
            self._reader.receive_data(data)
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver: a fault of ours ends this one connection and is heard of
            self._crashed()

    def _hold(self, reason: Hold) -> None:
        if not self._holds and self._transport is not None and not self.out.closed:
            self._transport.pause_reading()
        self._holds |= reason

    def _free(self, reason: Hold) -> None:
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if self._holds or self._transport is None or self.out.closed:
            return
        self._transport.resume_reading()
        if self._reader.stopped:
            self._last_received = self._loop.time()
            self._resume_reader()

    def _resume_reader(self) -> None:
        try:
            self._reader.resume()
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver, as above
            self._crashed()

    def _hold_unread(self) -> None:
        self._hold(Hold.UNREAD_ACKS)

    def hold_for_pace(self) -> bool:
        """Stop reading until nobody is behind any more; True."""
        if Hold.PACE not in self._holds:
            self._hold(Hold.PACE)
            self.engine.pace.hold(self)
        return True

    def go_on(self) -> None:
        """Read again: nobody is behind any more."""
        self._free(Hold.PACE)

    def leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for something with reading from this socket held, so that order holds."""
        self._hold(Hold.TASK)
        self._task = self._loop.create_task(self._wait_for(work))
        return True

    async def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver, as above
            self._crashed()
        self._task = None
        self._free(Hold.TASK)

    def _check_rates(self, size: int) -> None:
        """Let a client wait that sent more than it may, or close it, as the settings say."""
        now = self._loop.time()
        debt = 0.0 if self._byte_rate is None else self._byte_rate.take(size, now)
        if self._message_rate is not None:
            seen = sum(self.traffic.messages_received_qos)
            debt = max(debt, self._message_rate.take(seen - self._messages_seen, now))
            self._messages_seen = seen
        if debt <= 0 or self.out.closed:
            return
        counters = self.engine.counters
        if self.engine.settings.rate_exceeded == "disconnect":
            counters.disconnected_for_rate += 1
            self._end(ReasonCode.MESSAGE_RATE_TOO_HIGH)
            return
        counters.paused_for_rate += 1
        self._hold(Hold.RATE)
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > now]
        self._later(debt, lambda: self._free(Hold.RATE))

    # -- packets other than PUBLISH and acknowledgements

    def packet(self, packet: Packet) -> bool | None:
        """Take a packet that is none of the others'."""
        received = self.traffic.acks_received
        if isinstance(packet, Connect):
            received[PacketType.CONNECT] += 1
            return self._connect(packet)
        if self.session is None and not isinstance(packet, Auth | Disconnect):  # [MQTT-3.1.2-30]
            raise ProtocolError("another packet before the CONNECT was answered")
        match packet:
            case Pingreq():
                received[PacketType.PINGREQ] += 1
                self.out.send(PINGRESP, PacketType.PINGRESP)  # [MQTT-3.12.4-1]
            case Subscribe():
                received[PacketType.SUBSCRIBE] += 1
                return self._subscribe(packet)
            case Unsubscribe():
                received[PacketType.UNSUBSCRIBE] += 1
                self._unsubscribe(packet)
            case Auth():
                received[PacketType.AUTH] += 1
                return self._authenticate(packet)
            case Disconnect():
                received[PacketType.DISCONNECT] += 1
                self._disconnected(packet)
                return True
        return None

    def _subscribe(self, packet: Subscribe) -> bool | None:
        session = self.session
        if session is None:
            return True
        if session.protocol_version < 5:  # in 3.1 and 3.1.1 a filter that is none is a protocol violation
            self.engine.check_filters(request.topic_filter for request in packet.requests)
        self._check_available(session, packet)
        if self.engine.access.waits:
            return self.leave_loop(self._subscribe_when_allowed(session, packet))
        identifier = cast("int | None", packet.properties.get(PropertyId.SUBSCRIPTION_IDENTIFIER))
        engine = self.engine
        codes: list[int] = []
        replayed: list[tuple[str, int]] = []
        for request in packet.requests:  # [MQTT-3.8.4-4], [MQTT5-3.8.4-5]
            wanted = engine.replays.wanted(session, request)
            code = engine.subscribe(session, request, identifier)
            codes.append(code)
            if wanted and code < SUBACK_FAILURE:
                replayed.append((request.topic_filter, code))
        self._send_suback(session, packet, codes)
        for topic_filter, qos in replayed:
            engine.replays.begin(session, topic_filter, qos)  # [MQTT-3.3.1-6], [MQTT5-3.8.4-4]
        return None

    def _check_available(self, session: Session, packet: Subscribe) -> None:
        """Raise `ProtocolError` for what an MQTT 5 client was told is not to be had (3.2.2.3.11 to 3.2.2.3.13)."""
        if session.protocol_version < 5:
            return
        settings = self.engine.settings
        if not settings.subscription_identifiers and PropertyId.SUBSCRIPTION_IDENTIFIER in packet.properties:
            raise ProtocolError("a subscription identifier", ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
        for request in packet.requests:
            if not settings.wildcard_subscription and has_wildcard(request.topic_filter):
                raise ProtocolError("a wildcard", ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)
            if not settings.shared_subscription and is_shared(request.topic_filter):
                raise ProtocolError("a shared subscription", ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)

    def _send_suback(self, session: Session, packet: Subscribe, codes: list[int]) -> None:
        self.engine.events.subscribed(session.client_id, packet, codes)
        # [MQTT-3.8.4-1], [MQTT-3.8.4-2]
        if session.protocol_version < 5:
            # 3.1 has no code for a failure: what is refused looks granted there
            answers = [
                # [MQTT-3.8.4-5], [MQTT-3.9.3-2]
                code if code < SUBACK_FAILURE else SUBACK_FAILURE if session.protocol_version == 4 else request.qos
                for request, code in zip(packet.requests, codes, strict=True)
            ]
            self.out.send(encode_suback(packet.packet_id, answers), PacketType.SUBACK)
            return
        self.out.send_with_reason(
            PacketType.SUBACK,
            ReasonCode(max(codes)),
            # [MQTT5-3.8.4-6], [MQTT5-3.8.4-7]
            lambda properties: encode_suback5(packet.packet_id, codes, encode_properties(properties)),
        )

    async def _subscribe_when_allowed(self, session: Session, packet: Subscribe) -> None:
        view, engine = session.view, self.engine
        identifier = cast("int | None", packet.properties.get(PropertyId.SUBSCRIPTION_IDENTIFIER))
        codes: list[int] = []
        replayed: list[tuple[str, int]] = []
        for request in packet.requests:
            wanted = engine.replays.wanted(session, request)
            allowed = view is not None and await engine.access.consult(view, Action.SUBSCRIBE, request.topic_filter)
            code = engine.subscribe(session, request, identifier) if allowed else int(ReasonCode.NOT_AUTHORIZED)
            codes.append(code)
            if wanted and code < SUBACK_FAILURE:
                replayed.append((request.topic_filter, code))
        if self.closed:
            return
        self._send_suback(session, packet, codes)
        for topic_filter, qos in replayed:
            await engine.replays.begin_allowed(session, topic_filter, qos)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        session = self.session
        if session is None:
            return
        if session.protocol_version < 5:
            self.engine.check_filters(packet.topic_filters)
        codes = [  # [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2]
            ReasonCode.SUCCESS if self.engine.unsubscribe(session, topic_filter) else ReasonCode.NO_SUBSCRIPTION_EXISTED
            for topic_filter in packet.topic_filters
        ]
        # [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.11.3-1]
        five = session.protocol_version == 5
        data = encode_unsuback5(packet.packet_id, codes) if five else encode_unsuback(packet.packet_id)
        self.out.send(data, PacketType.UNSUBACK)

    def _disconnected(self, packet: Disconnect) -> None:
        session = self.session
        if session is not None and session.link is self.out:
            expiry = cast("int | None", packet.properties.get(PropertyId.SESSION_EXPIRY_INTERVAL))
            if expiry is not None:
                if expiry and not session.expiry_interval:  # 3.14.2.2.2
                    raise ProtocolError("a session expiry interval at DISCONNECT, and none at CONNECT")
                session.expiry_interval = limit_expiry(expiry, self.engine.settings.max_session_expiry_interval)
            with_will = packet.reason != ReasonCode.SUCCESS  # [MQTT-3.14.4-3], [MQTT5-3.14.4-3]
            self.engine.detach(session, graceful=not with_will)
        self.out.close(ReasonCode.SUCCESS)

    # -- CONNECT and AUTH

    def _connect(self, connect: Connect) -> bool | None:
        engine = self.engine
        engine.counters.connects += 1
        self.out.version = connect.protocol_version
        self._admission = admission = Admission(engine, self, connect)
        admission.respect_client()
        try:
            if self._turned_away is not None:
                raise Refused(self._turned_away, "a limit or a rate of connections is reached")
            decision = admission.begin()
        except Refused as refusal:
            self._refuse(refusal)
            return True
        if decision is None:
            return None
        if isinstance(decision, Challenge):
            self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, admission.method, decision.data)  # [MQTT-4.12.0-2]
            return None
        return self.leave_loop(self._connect_when_decided(admission, decision))

    async def _connect_when_decided(self, admission: Admission, decision: Any) -> None:
        try:
            answer = await decision
            if not self.closed:
                admission.decided(answer)
        except Refused as refusal:
            self._refuse(refusal)

    def _authenticate(self, packet: Auth) -> bool | None:
        """Take the next step of the authentication that opens the connection, or of one that renews it."""
        admission = self._admission
        if admission is None or admission.method is None:  # [MQTT-4.12.0-7]
            raise ProtocolError("AUTH, and no authentication method in the CONNECT")
        if packet.properties.get(PropertyId.AUTHENTICATION_METHOD) != admission.method:  # [MQTT-4.12.1-1]
            raise ProtocolError("another authentication method than in the CONNECT")
        data = cast("bytes | None", packet.properties.get(PropertyId.AUTHENTICATION_DATA))
        if self.session is not None:
            return self._reauthenticate(admission, self.session, packet.reason, data)
        if packet.reason != ReasonCode.CONTINUE_AUTHENTICATION:  # [MQTT-4.12.0-3]
            raise ProtocolError("re-authentication before the CONNECT was answered")
        try:
            challenge = admission.proceed(data)
        except Refused as refusal:
            self._refuse(refusal)
            return True
        if challenge is not None:
            self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, admission.method, challenge.data)
        return None

    def _reauthenticate(
        self, admission: Admission, session: Session, reason: ReasonCode, data: bytes | None
    ) -> bool | None:
        if reason == ReasonCode.REAUTHENTICATE:
            self._reauthentication = Reauthentication(admission.begin_exchange(), session.identity)
        if self._reauthentication is None:
            raise ProtocolError("AUTH, and no authentication is going on")
        try:
            answer = self._reauthentication.respond(data)
        except Refused as refusal:  # [MQTT-4.12.1-2]
            self.engine.counters.auth_failure += 1
            _logger.warning("client %r: re-authentication failed: %s", session.client_id, refusal)
            self._end(refusal.reason)
            return True
        if isinstance(answer, Challenge):
            self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, admission.method, answer.data)
            return None
        self._reauthentication = None
        self.engine.counters.auth_success += 1
        session.identity.superuser, session.identity.confined = answer.superuser, answer.confined
        self.engine.router.invalidate()
        self._send_auth(ReasonCode.SUCCESS, admission.method, answer.auth_data)
        for timer in self._timers:  # the only one left is the end of the credential before this one
            timer.cancel()
        self._timers.clear()
        if answer.valid_until is not None:
            self.end_at(max(0.0, answer.valid_until - time()))
        return None

    def _send_auth(self, reason: ReasonCode, method: str | None, data: bytes | None) -> None:
        properties: Properties = {PropertyId.AUTHENTICATION_METHOD: method}  # [MQTT-4.12.0-5]
        if data is not None:
            properties[PropertyId.AUTHENTICATION_DATA] = data
        self.out.send(encode_auth(reason, properties), PacketType.AUTH)

    def admitted(self, session: Session, session_present: bool, properties: Properties) -> None:
        """Send the CONNACK and watch the keep-alive."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.session = self._incoming.session = session
        out, settings = self.out, self.engine.settings
        out.session_waits = lambda: session.queue_filling
        if session.protocol_version == 5:
            self._incoming.aliases = IncomingAliases(settings.max_topic_alias)
            out.send(encode_connack5(session_present, ReasonCode.SUCCESS, properties), _CONNACK)
        else:
            # 3.1 reserves the byte that tells of a stored session
            out.send(encode_connack(session_present and session.protocol_version > 3, 0), _CONNACK)
        out.acknowledged = True
        if session.keep_alive:
            self._watch_keep_alive(session.keep_alive * settings.keepalive_multiplier)
        _logger.info("client %r connected from %s:%s", session.client_id, self.peer_host, self.peer_port)

    def end_at(self, delay: float) -> None:
        """Close the connection after `delay` seconds, because the credential is valid no longer."""
        self._later(delay, self._credential_expired)

    def _refuse(self, refusal: Refused) -> None:
        client_id = self._admission.connect.client_id if self._admission is not None else ""
        _logger.warning("client %r from %s:%s refused: %s", client_id, self.peer_host, self.peer_port, refusal)
        self.engine.counters.connects_refused += 1
        self._answer_refusal(refusal.reason)
        self.out.close(refusal.reason)  # [MQTT-3.2.2-5], [MQTT-3.1.4-5], [MQTT5-3.2.2-7], [MQTT5-3.1.4-6]

    def _answer_refusal(self, reason: ReasonCode) -> None:
        """Send a CONNACK that says why not; Session Present is 0 in it [MQTT5-3.2.2-6]."""
        if self.out.version == 5:  # [MQTT-3.2.2-8]
            self.out.send_with_reason(
                _CONNACK, reason, lambda properties: encode_connack5(False, reason, properties), always=True
            )
        else:
            self.out.send(encode_connack(False, connack_return_code(reason)), _CONNACK)

    # -- timers and failures

    def _later(self, delay: float, callback: Any) -> None:
        self._timers.append(self._loop.call_later(delay, callback))

    def _connect_timed_out(self) -> None:
        _logger.info("connection from %s:%s closed: not connected in time", self.peer_host, self.peer_port)
        if self._admission is not None:  # the CONNECT is there, but its authentication takes too long
            self._answer_refusal(ReasonCode.SERVER_UNAVAILABLE)
        self.out.close(ReasonCode.KEEP_ALIVE_TIMEOUT)

    def _credential_expired(self) -> None:
        session = self.session
        if session is not None and session.link is self.out:
            self.engine.close_link(session, ReasonCode.MAXIMUM_CONNECT_TIME)

    def _watch_keep_alive(self, allowed: float) -> None:
        silent = self._loop.time() - self._last_received
        if self.closed:
            return
        if self._holds:  # it is we who do not read
            silent = 0.0
        if silent < allowed:
            self._keep_alive = self._loop.call_later(allowed - silent, self._watch_keep_alive, allowed)
            return
        session = self.session
        if session is not None and session.link is self.out:  # [MQTT-3.1.2-24], [MQTT5-3.1.2-22]
            _logger.info("client %r: keep-alive exceeded", session.client_id)
            self.engine.close_link(session, ReasonCode.KEEP_ALIVE_TIMEOUT)

    def _fail(self, error: MqttError) -> None:
        session = self.session
        _logger.info(
            "client %r at %s:%s: %s",
            session.client_id if session is not None else "",
            self.peer_host,
            self.peer_port,
            error,
        )
        if session is None and not self.closed:
            # Before it is known which version is spoken, nothing can be said; 3.1 and 3.1.1 can only be told of a
            # version that is not served. [MQTT-3.1.2-2], [MQTT-3.14.0-1]
            version = error.protocol_version or (self.out.version if self._admission is not None else None)
            unsupported = error.reason is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
            if version == 5 or unsupported:  # [MQTT-3.1.4-1], [MQTT-3.2.2-6], [MQTT5-3.1.4-1]
                self.out.version = version or 4
                self._answer_refusal(error.reason)
        self._end(error.reason)  # [MQTT-4.8.0-1], [MQTT5-4.13.1-1]

    def _crashed(self) -> None:
        _logger.exception("connection from %s:%s closed by a fault of the broker", self.peer_host, self.peer_port)
        self._end(ReasonCode.UNSPECIFIED_ERROR)  # [MQTT-4.8.0-2]

    def _end(self, reason: ReasonCode) -> None:
        self._reader.stopped = True
        session = self.session
        if session is not None and session.link is self.out:
            self.engine.close_link(session, reason)
        else:
            self.out.close(reason)

    # -- amqtt's packet events

    def _show_received(self, packet: bytes) -> None:
        session = self.session
        view = None if session is None else session.view
        self.engine.events.packet_received(view, packet, self._reader.version)

    def _show_sent(self, data: bytes) -> None:
        session = self.session
        view = None if session is None else session.view
        self.engine.events.packets_sent(view, data, self.out.version)


def _bucket(rate: float) -> TokenBucket | None:
    return TokenBucket(rate, max(1.0, rate)) if rate else None
